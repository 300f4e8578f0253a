"""Run the slow suites whole, part by part, and remember what passed.

    python tools/soak.py              all parts that have not passed at this commit
    python tools/soak.py contract     only parts whose name contains the text
    python tools/soak.py --again      all parts, also those that have passed
    python tools/soak.py --jobs 2     two parts at a time
    python tools/soak.py --report     what has run at this commit, as a Markdown table

It takes hours. Ctrl-C kills the parts at hand and stops; the next call goes on from there. What passed
is kept in `target/soak.json` and counts for the commit it ran at, with a clean working tree, and for no other.
Exit code 1 if a part failed, or (with --report) if one has not passed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "target" / "soak.json"
CORE = "core, ignored tests too"
MIRI = "Miri and cargo-fuzz"
# What follows the commit where the working tree differs from it.
CHANGED = " with changes"
# The line that a test runner ends with.
SUMMARY = re.compile(r"^(?:=+ )?(\d+ (?:passed|failed|skipped|deselected|error).*?)(?: =+)?$|^(test result: .*)$")


def parts(fuzz_seconds: int) -> dict[str, list[str]]:
    """Return each part's name and command: the core, every file of tests, Miri and the fuzzers."""
    pytest = [sys.executable, "-m", "pytest", "-o", "timeout=7200", "-q"]
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    named = {str(file.relative_to(ROOT)): [*pytest, str(file)] for file in files}
    core = ["cargo", "test", "-p", "qtfeat-core", "--release", "--quiet", "--", "--include-ignored"]
    return {CORE: core, **named, MIRI: ["bash", "tools/miri_and_fuzz.sh", str(fuzz_seconds)]}


def commit() -> str:
    """Return the commit that is checked out, marked where the working tree differs from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + (CHANGED if git("status", "--porcelain") else "")


def passed_before() -> dict[str, Any]:
    """Return what is known of this commit's parts, by name; nothing where the working tree has changes."""
    try:
        record: dict[str, dict[str, Any]] = json.loads(RECORD.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {} if commit().endswith(CHANGED) else record.get(commit(), {})


def remember(known: dict[str, Any]) -> None:
    """Write what is known of this commit; other commits are forgotten."""
    RECORD.parent.mkdir(exist_ok=True)
    new = RECORD.with_suffix(".next")
    new.write_text(json.dumps({commit(): known}, indent=1), encoding="utf-8")
    new.replace(RECORD)


class Runner:
    """Runs parts, some at a time, each in a process group of its own that Ctrl-C kills."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def results(self, todo: dict[str, list[str]], jobs: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give each part's name and result as it ends."""
        with ThreadPoolExecutor(jobs) as pool:
            running = {pool.submit(self._run, command): name for name, command in todo.items()}
            try:
                for ended in as_completed(running):
                    yield running[ended], ended.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._kill()
                raise

    def _kill(self) -> None:
        with self._lock:
            self._stopped = True
            for child in self._children:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)

    def _run(self, command: list[str]) -> dict[str, Any]:
        """Run one part: whether it passed, its summary line, its seconds and, where it failed, what it wrote."""
        start = time.monotonic()
        with self._lock:
            if self._stopped:
                return {"passed": False, "line": "stopped", "seconds": 0.0}
            child = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "QTFEAT_SOAK": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            self._children.add(child)
        output, _ = child.communicate()
        with self._lock:
            self._children.remove(child)
        found = [m for m in map(SUMMARY.match, output.splitlines()) if m]
        line = next((group for group in found[-1].groups() if group), "") if found else ""
        result = {"passed": child.returncode == 0, "line": line, "seconds": round(time.monotonic() - start, 1)}
        return result if result["passed"] else {**result, "output": output}


def table(known: dict[str, Any], names: list[str]) -> str:
    """Return what has run as a Markdown table."""
    rows = [f"Soak of {commit()}.", "", "| part | result | seconds |", "|---|---|---:|"]
    for name in names:
        entry = known.get(name)
        if entry is None:
            rows.append(f"| {name} | not run | - |")
        else:
            rows.append(
                f"| {name} | {'' if entry['passed'] else '**failed** '}{entry['line']} | {entry['seconds']:.0f} |"
            )
    return "\n".join(rows)


def main() -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="?", default="", help="parts whose name contains this text")
    parser.add_argument("--again", action="store_true", help="also what has passed at this commit")
    parser.add_argument("--jobs", type=int, default=1, help="parts at a time (default: 1)")
    parser.add_argument("--report", action="store_true", help="print what has run, run nothing")
    parser.add_argument("--fuzz-seconds", type=int, default=600, help="seconds for each fuzz target")
    given = parser.parse_args()
    every = {name: command for name, command in parts(given.fuzz_seconds).items() if given.only in name}
    if given.jobs < 1:
        parser.error("--jobs must be at least 1")
    if not every:
        parser.error(f"no part's name contains {given.only!r}")
    known = passed_before()
    todo = {n: c for n, c in every.items() if given.again or not known.get(n, {}).get("passed")}
    if not given.report:
        try:
            for at, (name, result) in enumerate(Runner().results(todo, given.jobs), 1):
                print(result.pop("output", ""), end="")
                known[name] = result
                remember(known)
                failed = "" if result["passed"] else "FAILED "
                print(f"[{at}/{len(todo)}] {name}: {failed}{result['line']} in {result['seconds']:.0f} s", flush=True)
        except KeyboardInterrupt:
            print("stopped; the next call goes on here")
            return 130
    print(table(known, list(every)))
    return 0 if all(known.get(name, {}).get("passed") for name in every) else 1


if __name__ == "__main__":
    sys.exit(main())
