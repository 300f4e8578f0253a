"""Run one row in this process and print its result as one line of JSON.

`python -m bench.worker ROW [--quick] [--peers-only]`. Each row has a process of its own, so that
allocator settings, thread pools and leftovers of one peer touch no other.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from dataclasses import asdict, dataclass, replace

from bench.harness import Timing, check, idle_cores, measure, pin_to_one_core
from bench.rows import Row, row

# Two free cores are needed to judge a two-thread row; below this the figure says nothing.
FREE_CORES = 1.7
WAITS = 5


@dataclass(frozen=True)
class Result:
    """What a row printed: timing, and how far the compared outputs were apart."""

    id: str
    unit: str
    timing: Timing
    difference: float
    judged: bool
    note: str = ""


def run(one: Row, *, quick: bool, peers_only: bool) -> Result:
    """Build, compare, then time one row; raises when outputs differ or a figure is void."""
    if one.pinned:
        pin_to_one_core()
    case = one.build(quick=quick)
    if peers_only:
        case = replace(case, ours=None, compare_ours=None)
    try:
        difference = check(case)
        free = one.threads == 1 or _wait_for_cores()
        clock = time.process_time if one.pinned else time.perf_counter
        timing = measure(case, pairs=3 if quick else one.pairs, clock=clock)
    finally:
        case.close()
    note = "" if free else "not judged: both cores were not free"
    return Result(one.id, case.unit, timing, difference, free, note)


def _wait_for_cores() -> bool:
    return any(idle_cores() >= FREE_CORES for _ in range(WAITS))


def main() -> None:
    """Command line of one row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers-only", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    result = run(row(arguments.row), quick=arguments.quick, peers_only=arguments.peers_only)
    print(json.dumps(asdict(result)), flush=True)
    # Some peers leave threads behind that would hold up the end of the process.
    os._exit(0)


if __name__ == "__main__":
    main()
