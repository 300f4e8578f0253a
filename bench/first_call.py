"""The very first call of a process: memory that nobody has touched yet.

Each sample is a process of its own (`python -m bench.first_call ours|peer ROWS`): data made, the
library warmed on a few bars, pooled memory released, then one call on the clock. The peer runs
with huge pages from malloc, its fastest setting here, as ours asks for huge pages itself.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import ours
from bench.columns import KLINE17, compare
from bench.data import bars
from bench.harness import ImplausibleFigureError, Timing, digest, memset_seconds, pin_to_one_core, refuse_below
from bench.peers import talib_peer

ROWS = 1_000_000
WARM_ROWS = 2_000
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
ROOT = Path(__file__).resolve().parent.parent


def _our_call() -> Any:
    qf = ours.module()
    if qf is None:
        raise ModuleNotFoundError("qtfeat is not installed")
    features = qf.FeatureSet.load("kline17")
    return lambda one: qf.compute(one, features, threads=1)


def sample(side: str, rows: int) -> dict[str, Any]:
    """Time one first call in this process; returns its seconds and the checksum of its result."""
    pin_to_one_core()
    one = bars(rows)
    call = _our_call() if side == "ours" else talib_peer.kline17
    call(bars(WARM_ROWS))
    if side == "ours":
        ours.release_memory()
    start = time.process_time()
    result = call(one)
    seconds = time.process_time() - start
    return {"seconds": seconds, "digest": digest(ours.columns(result))}


def _in_new_process(side: str, rows: int) -> dict[str, Any]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-m", "bench.first_call", side, str(rows)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env | (HUGE_PAGES if side == "peer" else {}),
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def run(*, pairs: int, peers_only: bool, rows: int = ROWS) -> tuple[Timing, float]:
    """Compare the outputs, then time `pairs` pairs of new processes in turn."""
    difference = 0.0
    expected = ""
    sides = ("peer",) if peers_only else ("ours", "peer")
    if not peers_only:
        one = bars(rows)
        result = ours.columns(_our_call()(one))
        difference = compare(result, talib_peer.kline17(one), names=KLINE17)
        expected = digest(result)
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(pairs):
        for side in sides:
            answer = _in_new_process(side, rows)
            if side == "ours" and answer["digest"] != expected:
                raise ImplausibleFigureError("the first call returned other values than the compared one")
            seconds[side].append(answer["seconds"] / rows)
    floor = memset_seconds(8 * rows * len(KLINE17)) / rows
    mine, theirs = seconds["ours"], seconds["peer"]
    if mine:
        refuse_below(min(mine), floor)
    ratios = [b / a for a, b in zip(mine, theirs, strict=False)]
    timing = Timing(
        ours=statistics.median(mine) if mine else None,
        peer=statistics.median(theirs),
        ratio=statistics.median(ratios) if ratios else None,
        pairs=pairs,
        floor=floor,
    )
    return timing, difference


if __name__ == "__main__":
    print(json.dumps(sample(sys.argv[1], int(sys.argv[2]))))
