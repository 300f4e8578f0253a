"""What is measured beside the rows: growth, threads, memory, import time, wheel, the limits.

`python -m bench.extras [--quick]` prints one JSON list of `Fact`s.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import ours
from bench.columns import KLINE17
from bench.data import bars, panel, stacked, symbol_names
from bench.harness import Call, Clock, memset_seconds
from bench.peers import talib_peer

ROOT = Path(__file__).resolve().parent.parent
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
SYMBOLS = (1, 10, 100, 1_000)
PANEL_BARS = 2_000_000


@dataclass(frozen=True)
class Fact:
    """One measured figure; `limit` is the most it may be, or None where nothing is promised."""

    what: str
    value: float
    unit: str
    limit: float | None = None


def median_seconds(call: Call, samples: int, clock: Clock = time.process_time) -> float:
    """Return the median seconds of `samples` calls after one that is not counted."""
    call()
    taken = []
    for _ in range(samples):
        start = clock()
        call()
        taken.append(clock() - start)
    return statistics.median(taken)


def _ns_per_bar(table: Any, rows: int, samples: int, **options: Any) -> float:
    call = ours.compute(table, "kline17", **options)
    assert call is not None
    # One thread in CPU seconds, as everywhere; two can only be told by the wall clock.
    clock = time.process_time if options["threads"] == 1 else time.perf_counter
    return median_seconds(call, samples, clock) * 1e9 / rows


def growth(limit: float, samples: int) -> list[Fact]:
    """ns per bar of one series from ten thousand to ten million bars, one thread."""
    facts, per_bar = [], {}
    for size in SIZES:
        per_bar[size] = _ns_per_bar(bars(size), size, samples, threads=1)
        facts.append(Fact(f"one series, {size:,} bars", per_bar[size], "ns/bar"))
    ratio = per_bar[10_000_000] / per_bar[1_000_000]
    facts.append(Fact("ns per bar at 10 M bars over 1 M bars", ratio, "x", limit))
    return facts


def symbols_and_threads(samples: int) -> list[Fact]:
    """ns per bar of a panel of two million bars cut into 1 to 1,000 symbols, 1 and 2 threads."""
    import pyarrow as pa

    facts = []
    for symbols in SYMBOLS:
        rows = PANEL_BARS // symbols
        keys = [name for name in symbol_names(symbols) for _ in range(rows)]
        table = pa.table({"symbol": pa.array(keys), **stacked(panel(symbols, rows))})
        for threads in (1, 2):
            value = _ns_per_bar(table, PANEL_BARS, samples, by="symbol", threads=threads)
            name = f"{symbols:,} symbols x {rows:,} bars, {threads} thread(s)"
            facts.append(Fact(name, value, "ns/bar"))
    return facts


def memory(qf: Any, samples: int) -> list[Fact]:
    """ns per bar into memory released before each call, and into pooled memory."""
    features = qf.FeatureSet.load("kline17")
    one = bars(1_000_000)

    def call() -> None:
        qf.compute(one, features, threads=1)

    fresh = []
    for _ in range(samples):
        ours.release_memory()
        start = time.process_time()
        call()
        fresh.append((time.process_time() - start) * 1e9 / 1_000_000)
    pooled = median_seconds(call, samples) * 1e9 / 1_000_000
    return [
        Fact("fresh memory, 1 M bars", statistics.median(fresh), "ns/bar"),
        Fact("pooled memory, 1 M bars", pooled, "ns/bar"),
    ]


def limits_of_the_machine() -> list[Fact]:
    """What no implementation can beat: writing the output, and one recursion's latency."""
    rows = 1_000_000
    one = bars(rows)
    chain = median_seconds(lambda: talib_peer.ema_chain(one), 9) * 1e9 / rows
    output = memset_seconds(8 * rows * len(KLINE17)) * 1e9 / rows
    return [
        Fact("memset of the output of kline17", output, "ns/bar"),
        Fact("latency of one EMA chain (TA-Lib's EMA)", chain, "ns/bar"),
    ]


def import_time(limit: float, samples: int) -> Fact:
    """Milliseconds that `import qtfeat` adds to the start of Python."""
    with_it, without = [], []
    for _ in range(samples):
        with_it.append(_process_seconds("import qtfeat"))
        without.append(_process_seconds("pass"))
    added = min(with_it) - min(without)  # neighbours only ever add
    return Fact("import qtfeat", added * 1e3, "ms", limit)


def _process_seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "bench")
    return time.perf_counter() - start


def wheel_size(limit: float) -> list[Fact]:
    """Megabytes of the newest wheel under `dist/` or `target/wheels/`, where one was built."""
    wheels = [*ROOT.glob("dist/*.whl"), *ROOT.glob("target/wheels/*.whl")]
    if not wheels:
        return []
    newest = max(wheels, key=lambda path: path.stat().st_mtime)
    return [Fact(f"wheel {newest.name}", newest.stat().st_size / 1e6, "MB", limit)]


def measure(limits: dict[str, float], *, quick: bool) -> list[Fact]:
    """Return all facts; those about the library only where it is installed."""
    samples = 3 if quick else 7
    facts = limits_of_the_machine()
    qf = ours.module()
    if qf is None:
        return facts
    facts += memory(qf, samples)
    facts += growth(limits["growth"], 3 if quick else 5)
    facts += symbols_and_threads(3 if quick else 5)
    facts.append(import_time(limits["import_ms"], samples))
    return facts + wheel_size(limits["wheel_mb"])


def main() -> None:
    """Print the facts as JSON."""
    import tomllib

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    limits = tomllib.loads((ROOT / "bench" / "floors.toml").read_text(encoding="utf-8"))["limits"]
    print(json.dumps([asdict(fact) for fact in measure(limits, quick=arguments.quick)]), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
