"""Backfill Parquet -> Parquet, against pyarrow that reads and writes the same columns without computing anything.

    python bench/backfill.py                       # 500 symbols x 20,000 bars, about --seconds per row
    python bench/backfill.py --symbols 40 --seconds 10 --only pyarrow

Rows against pyarrow are pairs on one pinned core, in CPU seconds, one pair per symbol, the median of their ratios: both
read the same bar files and write the same feature tables with the same settings, ours computes them in between. Before
anything is timed the features are compared, bit for bit, with one pass over the symbol's whole history.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import qtfeat as qf
from bench.harness import busy_seconds, pin_to_one_core
from qtfeat.backfill import Job, Lake, Partition, Threads, parquet, run_backfill, run_partition
from qtfeat.bars.simulate import simulate

COLUMNS = ["open_time", "open", "high", "low", "close", "volume"]
SETS = (("kline17", "float64"), ("wide32", "float32"))
CHUNK = 20
DISTURBED = 0.15
"""Cores that neighbours may take before a figure of the wall clock is void."""


@dataclass(frozen=True)
class Line:
    """One line of the table; `figure` is held against `limit` in the sense of `better`."""

    name: str
    figure: float
    unit: str
    limit: float | None = None
    better: str = "lower"
    note: str = ""

    @property
    def passed(self) -> bool:
        if self.limit is None:
            return True
        return self.figure <= self.limit if self.better == "lower" else self.figure >= self.limit


def limits() -> dict[str, float]:
    with Path(__file__).with_name("floors.toml").open("rb") as file:
        return dict(tomllib.load(file)["backfill"])


def fill(root: Path, symbols: int, bars: int, interval: str) -> Lake:
    """A lake of simulated bars. Symbols are made in chunks, so that this takes little memory."""
    lake = Lake(root)
    names: list[str] = []
    for start in range(0, symbols, CHUNK):
        table = simulate(symbols=min(CHUNK, symbols - start), bars=bars, seed=start, interval=interval)
        index = table["symbol"].combine_chunks().dictionary_encode()
        names = [f"SIM{start + i:03d}" for i in range(len(index.dictionary))]
        renamed = pa.DictionaryArray.from_arrays(index.indices, pa.array(names)).dictionary_decode()
        lake.add(table.set_column(0, "symbol", renamed), "sim", interval)
    return lake


def files(lake: Lake, job: Job, partition: Partition) -> list[tuple[str, str, str]]:
    """Bars, features, and where a peer writes the same features, of each month."""
    root = lake.root
    out = Path(root, "peer", partition.path)
    out.mkdir(parents=True, exist_ok=True)
    return [
        (
            f"{root}/bars/{partition.path}/{m}.parquet",
            f"{root}/{job.folder}/{partition.path}/{m}.parquet",
            f"{out}/{m}.parquet",
        )
        for m in lake.months(partition)
    ]


def compare(lake: Lake, job: Job, partition: Partition) -> None:
    """Months that were computed one by one have the bits of one pass."""
    whole = qf.compute(lake.read(partition), job.features, time="open_time", dtype=job.dtype, threads=1)
    found = pa.concat_tables(pq.ParquetFile(f).read() for _, f, _ in files(lake, job, partition))
    kind = np.uint32 if job.dtype == "float32" else np.uint64
    for name in job.features.columns:
        if not np.array_equal(whole[name].to_numpy().view(kind), found[name].to_numpy().view(kind)):
            raise AssertionError(f"{partition}: {name} differs from one pass")


def copy(months: list[tuple[str, pa.Table, str]]) -> None:
    """What the peer does: read the bars, write the features; in the leanest form of either."""
    for bars, features, target in months:
        pq.ParquetFile(bars).read(columns=COLUMNS, use_threads=False)
        pq.write_table(features, target, **parquet.SETTINGS)


def pairs(lake: Lake, name: str, dtype: str, seconds: float) -> Iterator[tuple[float, float]]:
    """CPU seconds of ours and of pyarrow, symbol by symbol."""
    job = Job(lake.root, qf.FeatureSet.load(name), name, dtype)
    until = time.monotonic() + seconds
    for i, partition in enumerate(lake.partitions()):
        folder = Path(lake.root, job.folder, partition.path)
        assert not run_partition(job, partition.path).error
        if i < 3:
            compare(lake, job, partition)
        months = [(b, pq.ParquetFile(f).read(use_threads=False), t) for b, f, t in files(lake, job, partition)]
        seconds_of = {}
        for side in ("ours", "peer") if i % 2 else ("peer", "ours"):
            if side == "ours":
                shutil.rmtree(folder)
            begun = time.process_time()
            if side == "ours":
                run_partition(job, partition.path)
            else:
                copy(months)
            seconds_of[side] = time.process_time() - begun
        if i:  # the first symbol warms both up
            yield seconds_of["ours"], seconds_of["peer"]
        shutil.rmtree(folder)
        if time.monotonic() > until and i >= 8:
            return


def against_pyarrow(lake: Lake, interval: str, seconds: float, limit: dict[str, float]) -> Iterator[Line]:
    for name, dtype in SETS:
        measured = list(pairs(lake, name, dtype, seconds))
        ratio = statistics.median(a / b for a, b in measured)
        ours = statistics.median(a for a, _ in measured)
        note = f"{len(measured)} pairs, {ours * 1e3:.1f} ms of CPU per symbol"
        yield Line(
            f"{name} {dtype}, {interval} bars / pyarrow", ratio, "x its time", limit.get(f"pyarrow_{name}"), note=note
        )


# --- pandas and polars ----------------------------------------------------------------------------------------------


def polars_side(name: str) -> Callable[[list[tuple[str, str, str]]], None]:
    """A symbol in polars: scan its months, one select, write its months."""
    import polars as pl

    from bench.peers import polars_peer, wide32_peer

    features = polars_peer.one_series if name == "kline17" else wide32_peer.polars_wide32
    kind = pl.Float64 if name == "kline17" else pl.Float32

    def run(months: list[tuple[str, str, str]]) -> None:
        frame = pl.read_parquet([bars for bars, _, _ in months], columns=COLUMNS, hive_partitioning=False)
        out = features(frame).cast(kind).insert_column(0, frame["open_time"])
        at = frame["open_time"].dt.strftime("%Y-%m")
        for (_, _, target), (_, part) in zip(months, out.group_by(at, maintain_order=True), strict=True):
            part.write_parquet(target, compression="zstd", compression_level=1)

    return run


def pandas_side() -> Callable[[list[tuple[str, str, str]]], None]:
    """A symbol in pandas, kline17."""
    import pandas as pd

    from bench.peers import pandas_peer

    def run(months: list[tuple[str, str, str]]) -> None:
        frame = pd.concat([pd.read_parquet(bars, columns=COLUMNS) for bars, _, _ in months], ignore_index=True)
        out = pandas_peer.kline17(frame)
        out.insert(0, "open_time", frame["open_time"])
        names = frame["open_time"].dt.strftime("%Y-%m")
        for (_, _, target), (_, part) in zip(months, out.groupby(names), strict=True):
            part.to_parquet(target, compression="zstd", index=False)

    return run


def against_frames(lake: Lake, interval: str, symbols: int, limit: dict[str, float]) -> Iterator[Line]:
    """End to end on one core: CPU seconds of all threads, pairs by symbol."""
    sides = [("polars", name, dtype, polars_side(name)) for name, dtype in SETS]
    sides.append(("pandas", "kline17", "float64", pandas_side()))
    for peer, name, dtype, side in sides:
        job = Job(lake.root, qf.FeatureSet.load(name), name, dtype)
        ratios, alone = [], []
        for i, partition in enumerate(lake.partitions()[: symbols + 1]):
            months = files(lake, job, partition)
            begun = time.process_time()
            side(months)
            theirs = time.process_time() - begun
            begun = time.process_time()
            assert not run_partition(job, partition.path).error
            ours = time.process_time() - begun
            written = [(b, pq.ParquetFile(f).read(use_threads=False), t) for b, f, t in months]
            begun = time.process_time()
            copy(written)
            nothing = time.process_time() - begun
            shutil.rmtree(Path(lake.root, job.folder, partition.path))
            if i:
                ratios.append(theirs / ours)
                alone.append(theirs / nothing)
        wanted = limit.get(peer) if name == "wide32" and interval == "1m" else None
        yield Line(f"{peer} {name}, {interval} bars / ours", statistics.median(ratios), "x faster", wanted, "higher")
        if peer == "polars":
            name = f"{peer} {name}, {interval} bars / pyarrow alone"
            yield Line(name, statistics.median(alone), "x faster", note="which computes nothing")


# --- two workers, Dask, memory --------------------------------------------------------------------------------------


def clean(lake: Lake) -> None:
    shutil.rmtree(Path(lake.root, "features"), ignore_errors=True)


def wall(lake: Lake, symbols: list[str], **how: Any) -> float:
    clean(lake)
    begun = time.perf_counter()
    report = run_backfill(lake, "wide32", symbols=symbols, **how)
    seconds = time.perf_counter() - begun
    assert report.complete, report.failed
    return seconds


def pieces(symbols: list[str], size: int, seconds: float) -> Iterator[list[str]]:
    """The symbols in pieces, over and over if there is time, at least five times."""
    until, count = time.monotonic() + seconds, 0
    while count < 5 or time.monotonic() < until:
        at = count * size % max(len(symbols) - size + 1, 1)
        yield symbols[at : at + size]
        count += 1


def workers(lake: Lake, interval: str, symbols: list[str], seconds: float, limit: dict[str, float]) -> Iterator[Line]:
    """Two threads against one, by the wall clock: pairs that neighbours disturbed are not counted."""
    ratios, alone, undisturbed = [], [], 0
    for some in pieces(symbols, 40 if interval == "1m" else 10, seconds):
        with neighbours() as busy:
            one, two = (wall(lake, some, executor=Threads(n)) for n in (1, 2))
        free = busy[0] < DISTURBED
        if free and not undisturbed:
            ratios.clear()
        if free or not undisturbed:
            ratios.append(one / two)
        undisturbed += free
        rows = sum(m.rows for p in lake.partitions(symbols=some) for m in lake.months(p).values())
        alone.append(rows / one)
    judged = undisturbed >= 3
    note = (
        f"{undisturbed} undisturbed pairs"
        if judged
        else f"not judged: neighbours took the cores ({undisturbed} undisturbed)"
    )
    name, bound = f"2 threads / 1 thread, {interval} bars, wall clock", limit.get("threads") if judged else None
    yield Line(name, statistics.median(ratios), "x faster", bound, "higher", note)
    yield Line(f"wide32 float32, {interval} bars, 1 thread", max(alone) / 1e6, "M bars/s")
    yield from dask(lake, interval, symbols[:40])


@contextmanager
def neighbours() -> Iterator[list[float]]:
    """How many cores other processes kept busy, on average, inside the block (Linux; elsewhere none)."""
    told = [0.0]
    before, own, begun = busy_seconds(), time.process_time(), time.perf_counter()
    yield told
    after = busy_seconds()
    if before is not None and after is not None:
        others = (after - before) - (time.process_time() - own)
        told[0] = max(others, 0.0) / (time.perf_counter() - begun)


def dask(lake: Lake, interval: str, symbols: list[str]) -> Iterator[Line]:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        return
    from qtfeat.backfill import Dask

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 50}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        wall(lake, symbols[:4], executor=Dask(client=client))
        ratios = [
            wall(lake, symbols, executor=Threads(1)) / wall(lake, symbols, executor=Dask(client=client))
            for _ in range(3)
        ]
    yield Line(f"Dask with 2 workers / 1 thread, {interval} bars, wall clock", statistics.median(ratios), "x faster")


_PEAK = """
import sys, time
from pathlib import Path
from qtfeat.backfill import run_backfill
begun = time.perf_counter()
report = run_backfill(sys.argv[1], "wide32", workers=2, symbols=sys.stdin.read().split(","))
assert report.complete
peak = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM")).split()[1]
print(peak, report.rows, time.perf_counter() - begun)
"""


def memory(lake: Lake, interval: str, symbols: list[str], limit: dict[str, float]) -> Iterator[Line]:
    """Half of the lake, and all of it, each in a process of its own."""
    peaks = []
    for some in (symbols[: len(symbols) // 2], symbols):
        clean(lake)
        command = [sys.executable, "-c", _PEAK, lake.root]
        done = subprocess.run(command, input=",".join(some), capture_output=True, text=True, check=True)
        peak, rows, seconds = map(float, done.stdout.split())
        peaks.append(peak / 1024)
    name = f"peak memory, {interval} bars, 2 threads"
    note = f"{rows / 1e6:.1f} M bars in {seconds:.1f} s"
    yield Line(name, peaks[1], "MB", limit.get("peak_mb"), note=note)
    bound = limit.get("peak_growth") if len(symbols) >= 100 else None  # of a small lake, Python itself is the peak
    yield Line(f"{name}, the lake / half of it", peaks[1] / peaks[0], "x", bound, note=f"{peaks[0]:.0f} MB on half")


def measured(interval: str, given: argparse.Namespace) -> Iterator[Line]:
    """All lines about bars of one interval."""
    limit = limits()
    # Hourly bars are 28 times as many files as those of a minute: a fifth of the symbols is enough.
    symbols = given.symbols if interval == "1m" else max(given.symbols // 5, min(given.symbols, 20))
    with tempfile.TemporaryDirectory(prefix="qtfeat-bench-", dir=os.environ.get("TMPDIR")) as folder:
        begun = time.perf_counter()
        lake = fill(Path(folder), symbols, given.bars, interval)
        print(f"{interval}: {symbols} symbols x {given.bars:,} bars in {time.perf_counter() - begun:.0f} s")
        names = [p.symbol for p in lake.partitions()]
        rows: dict[str, Callable[[], Iterator[Line]]] = {
            "workers": lambda: workers(lake, interval, names, given.seconds, limit),
            "memory": lambda: memory(lake, interval, names, limit),
            "pyarrow": lambda: against_pyarrow(lake, interval, given.seconds, limit),
            "frames": lambda: against_frames(lake, interval, 20, limit),
        }
        for name, row in rows.items():
            if given.only in (None, name):
                with one_core(wanted=name in ("pyarrow", "frames")):
                    yield from row()


@contextmanager
def one_core(*, wanted: bool) -> Iterator[None]:
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if wanted:
        pin_to_one_core()
    try:
        yield
    finally:
        if cores is not None:
            os.sched_setaffinity(0, cores)


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--symbols", type=int, default=500)
    ask.add_argument("--bars", type=int, default=20_000)
    ask.add_argument("--intervals", default="1m,1h", help="1m: one file of 20,000 rows; 1h: 28 files of 730 rows")
    ask.add_argument("--seconds", type=float, default=60.0, help="about how long a row takes that measures in pairs")
    ask.add_argument("--only", choices=("pyarrow", "frames", "workers", "memory"))
    ask.add_argument("--json", type=Path, help="also write the lines here")
    given = ask.parse_args()
    lines = []
    for interval in given.intervals.split(","):
        for line in measured(interval, given):
            lines.append(line)
            show(line)
    if given.json:
        given.json.write_text(json.dumps([line.__dict__ for line in lines], indent=1) + "\n")
    return 0 if all(line.passed for line in lines) else 1


def show(line: Line) -> None:
    held = ""
    if line.limit is not None:
        side = "at most" if line.better == "lower" else "at least"
        held = f"  ({side} {line.limit:g}{'' if line.passed else ': MISSED'})"
    print(f"  {line.name:<58} {line.figure:8.2f} {line.unit}{held}  {line.note}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
