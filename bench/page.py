"""The verdicts and the Markdown: the printed table and `docs/performance.md`."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.rows import Row
from bench.runner import Outcome

PACKAGES = (
    *("qtfeat", "numpy", "TA-Lib", "pandas", "polars", "pyarrow"),
    *("KunQuant", "talipp", "nautilus_trader"),
    *("xgboost-cpu", "lightgbm"),
)


@dataclass(frozen=True)
class Line:
    """One judged row."""

    row: Row
    outcome: Outcome
    floor: float | None
    goal: float | None
    verdict: str


def judge(row: Row, outcome: Outcome, floors: dict[str, float]) -> Line:
    """Return the row with its verdict: `goal`, `floor`, `BELOW`, `ERROR`, `info` or why not."""
    floor, goal = floors.get("floor"), floors.get("goal")
    value = outcome.ratio
    if "floor_us" in floors:
        # A most, not a least: negated, the same comparisons serve.
        floor, goal = -floors["floor_us"], -floors["goal_us"]
        value = None if outcome.ours is None else -outcome.ours * 1e6
    return Line(row, outcome, floor, goal, _verdict(outcome, value, floor, goal))


def _verdict(outcome: Outcome, value: float | None, floor: float | None, goal: float | None) -> str:
    if outcome.error:
        return "ERROR"
    if outcome.ours is None:
        return "peer only"
    if not outcome.judged:
        return outcome.note
    if floor is None or value is None:
        return "info"
    if value < floor:
        return "BELOW"
    return "goal" if goal is not None and value >= goal else "floor"


def failures(lines: list[Line], facts: list[dict[str, Any]]) -> list[str]:
    """Return one sentence for each row or limit that fails."""
    found = []
    for line in lines:
        if line.verdict == "ERROR":
            found.append(f"{line.row.id}: {line.outcome.error}")
        elif line.verdict == "BELOW":
            found.append(f"{line.row.id}: below its floor of {_limit(line.floor)}")
    found.extend(
        f"{fact['what']}: {fact['value']:.3g} {fact['unit']}, at most {fact['limit']:g}"
        for fact in facts
        if fact["limit"] is not None and fact["value"] > fact["limit"]
    )
    return found


def _time(seconds: float | None, unit: str) -> str:
    if seconds is None:
        return "-"
    for scale, name in ((1e-3, "ms"), (1e-6, "us")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {name}/{unit}"
    return f"{seconds * 1e9:.3g} ns/{unit}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:,.3g}x" if value < 1000 else f"{value:,.0f}x"


def _limit(value: float | None) -> str:
    if value is not None and value < 0:
        return f"<= {-value:g} us"
    return _ratio(value)


def table(lines: list[Line], absent: list[dict[str, Any]]) -> str:
    """Return the Markdown table of the rows."""
    out = [
        "| work | peer | ours | peer's | ratio | floor | goal | verdict |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for line in lines:
        result = line.outcome
        cells = (
            line.row.work,
            line.row.peer,
            _time(result.ours, result.unit),
            _time(result.peer, result.unit),
            _ratio(result.ratio),
            _limit(line.floor),
            _limit(line.goal),
            line.verdict if not result.error else f"ERROR: {result.error}"[:160],
        )
        out.append("| " + " | ".join(cells) + " |")
    for one in absent:
        limits = f"{_ratio(one['floor'])} | {_ratio(one['goal'])}"
        out.append(f"| {one['work']} | {one['peer']} | - | - | - | {limits} | absent: {one['reason']} |")
    return "\n".join(out) + "\n"


def fact_table(facts: list[dict[str, Any]]) -> str:
    """Return the Markdown table of the figures beside the rows."""
    if not facts:
        return ""
    out = ["| measured | value | at most |", "|---|---:|---:|"]
    for fact in facts:
        limit = "-" if fact["limit"] is None else f"{fact['limit']:g} {fact['unit']}"
        out.append(f"| {fact['what']} | {fact['value']:.3g} {fact['unit']} | {limit} |")
    return "\n".join(out) + "\n"


def machine() -> str:
    """Return one line about this machine and the versions compared."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return (
        f"{_cpu_name()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}; {', '.join(versions)}"
    )


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.processor()


HEAD = """# Performance

Generated by `make bench`; do not edit. A ratio is the peer's time over ours: both run in pairs in
one process on the same data, outputs are compared before timing, and the median of the pairs'
ratios is printed. Rows of one thread are pinned to one core and timed in CPU seconds, so that
neighbours on the machine do not matter; the others by the wall clock. Peers are called in
the form their documentation shows; where a faster form was found, it has a line of its own
without a floor.

"""


def write(path: Path, lines: list[Line], absent: list[dict[str, Any]], facts: list[dict[str, Any]]) -> None:
    """Write the page: machine, date, versions, both tables."""
    today = datetime.now(UTC).date().isoformat()
    parts = [HEAD, f"{today}, {machine()}.\n\n", table(lines, absent), "\n", fact_table(facts)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(parts), encoding="utf-8")
