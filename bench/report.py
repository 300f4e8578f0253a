"""Run every row, print the table, fail below a floor.

`python bench/report.py [--quick] [--write] [--peers-only] [--only TEXT]`. Exit code 1 when a row
is below its floor, a limit is passed, or outputs differ. `--write` puts the table into
`docs/performance.md`. `--peers-only` times the peers alone and needs no qtfeat.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench import page, runner  # noqa: E402  (the path comes first)
from bench.rows import ROWS, Row  # noqa: E402

FIRST_CALL = Row(
    "first_call",
    "kline17, one series, 1 M bars, very first call",
    "TA-Lib + NumPy, first call too",
    "first_call",
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer pairs and smaller data")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    parser.add_argument("--peers-only", action="store_true", help="time the peers alone")
    parser.add_argument("--only", default="", help="rows whose id contains this text")
    return parser.parse_args()


def main() -> int:
    """Run the rows and return the exit code."""
    arguments = _arguments()
    floors: dict[str, Any] = tomllib.loads((ROOT / "bench" / "floors.toml").read_text(encoding="utf-8"))
    rows = [ROWS[0], FIRST_CALL, *ROWS[1:]]
    lines = []
    for row in rows:
        if arguments.only not in row.id:
            continue
        if arguments.peers_only and row.peer == "-":
            continue
        print(f"{row.id} ...", file=sys.stderr, flush=True)
        outcome = runner.run_row(row, quick=arguments.quick, peers_only=arguments.peers_only)
        lines.append(page.judge(row, outcome, floors["rows"].get(row.id, {})))
    facts = [] if arguments.only else runner.run_extras(quick=arguments.quick)
    absent = [] if arguments.peers_only or arguments.only else list(floors.get("absent", {}).values())
    print(page.table(lines, absent))
    print(page.fact_table(facts))
    if arguments.write:
        page.write(ROOT / "docs" / "performance.md", lines, absent, facts)
    failures = page.failures(lines, facts)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
