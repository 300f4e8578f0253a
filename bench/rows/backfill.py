"""A small lake through the backfill's work item, against pyarrow that computes nothing, and against polars.

The whole of it, at 500 symbols, with two threads, Dask and peak memory, is `make bench-backfill`.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench import ours
from bench.columns import KLINE17, WIDE32, Columns
from bench.harness import Case, memset_floor

SYMBOLS = 6
BARS = 20_000
INTERVAL = "1m"


class _Lake:
    """A lake of simulated bars, its features, and where the peers write theirs."""

    def __init__(self, name: str, dtype: str, symbols: int) -> None:
        import qtfeat as qf
        from bench import backfill
        from qtfeat.backfill import Job, run_partition

        self._run = run_partition
        self._folder = tempfile.TemporaryDirectory(prefix="qtfeat-bench-")
        self.close = self._folder.cleanup
        self.lake = backfill.fill(Path(self._folder.name), symbols, BARS, INTERVAL)
        # Another policy for bad bars, of which there are none, each time: nothing is up to date, all is written over.
        job = Job(self.lake.root, qf.FeatureSet.load(name), name, dtype)
        self._jobs = itertools.cycle([job, replace(job, on_bad="null")])
        self.partitions = self.lake.partitions()
        self.run()
        for partition in self.partitions:
            backfill.compare(self.lake, job, partition)
        self.months = [month for p in self.partitions for month in backfill.files(self.lake, job, p)]
        self.names = job.features.columns

    def run(self) -> None:
        job = next(self._jobs)
        for partition in self.partitions:
            outcome = self._run(job, partition.path)
            assert not outcome.error, outcome.error

    def written(self, at: int) -> Columns:
        """What is in the first symbol's files: 1 ours, 2 the peer's."""
        here = [month[at] for month in self.months if f"/{self.partitions[0].path}/" in month[0]]
        table = pa.concat_tables(pq.ParquetFile(file).read(columns=self.names) for file in here)
        return {name: table[name].to_numpy() for name in self.names}

    def one_pass(self, dtype: str) -> Columns:
        """The first symbol's features by `qtfeat.compute`."""
        import qtfeat as qf

        frame = self.lake.read(self.partitions[0])
        table = qf.compute(frame, next(self._jobs).features, time="open_time", dtype=dtype, threads=1)
        return {name: table[name].to_numpy() for name in self.names}


def _case(lake: _Lake, names: tuple[str, ...], size: int, peer: Callable[[], Any], **compared: Any) -> Case:
    rows = SYMBOLS * BARS
    return Case(
        unit="bar",
        ours=lake.run,
        ours_units=rows,
        names=names,
        floor=memset_floor(size * rows * len(names)),
        ours_columns=lambda _: lake.written(1),
        peer=peer,
        peer_units=rows,
        close=lake.close,
        **compared,
    )


def _absent() -> Case:
    """Without qtfeat there is no lake that a peer could read."""
    raise ModuleNotFoundError("the peers of this row read what qtfeat has written")


def _pyarrow(name: str, dtype: str, names: tuple[str, ...]) -> Case:
    from bench import backfill

    lake = _Lake(name, dtype, SYMBOLS)
    months = [(bars, pq.ParquetFile(features).read(), target) for bars, features, target in lake.months]
    return _case(
        lake,
        names,
        8 if dtype == "float64" else 4,
        lambda: backfill.copy(months),
        peer_columns=lambda _: lake.written(2),
    )


def pyarrow_kline17(*, quick: bool) -> Case:
    """pyarrow reads the same bars and writes the same 17 columns of float64."""
    return _absent() if ours.module() is None else _pyarrow("kline17", "float64", KLINE17)


def pyarrow_wide32(*, quick: bool) -> Case:
    """pyarrow reads the same bars and writes the same 32 columns of float32."""
    return _absent() if ours.module() is None else _pyarrow("wide32", "float32", WIDE32)


def polars_wide32(*, quick: bool) -> Case:
    """polars reads each symbol, computes 32 expressions, and writes its months."""
    if ours.module() is None:
        return _absent()
    import polars as pl

    from bench import backfill
    from bench.peers import polars_peer, wide32_peer

    lake = _Lake("wide32", "float32", SYMBOLS)
    side = backfill.polars_side("wide32")
    per_symbol = [[m for m in lake.months if f"/{p.path}/" in m[0]] for p in lake.partitions]

    def peer() -> None:
        for months in per_symbol:
            side(months)

    def theirs() -> Columns:
        frame = pl.from_arrow(lake.lake.read(lake.partitions[0]))
        assert isinstance(frame, pl.DataFrame)
        return polars_peer.columns(wide32_peer.polars_wide32(frame))

    # In float64: rounding to float32 would hide what the two differ by.
    return _case(lake, WIDE32, 4, peer, compare_ours=lambda: lake.one_pass("float64"), compare_peer=theirs)
