"""Every way to compute features, each as a function of one series that gives an (F, n) float64 matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import qtfeat as qf
from barsets import BARSETS, real_bars, with_null_rows
from contract.specs import EXTRA, feature_sets
from oracles import Bars
from qtfeat import _core
from qtfeat.features import _options
from sizes import scaled

Matrix = npt.NDArray[np.float64]
OHLCV = ("open", "high", "low", "close", "volume")
ROWS = 1_300  # more than two blocks
SEEDS = range(1, 1 + scaled(50))
REAL = ("real BTCUSDT", "real DOGEUSDT")
SERIES = (*BARSETS, *REAL)
NULL_EVERY = 37


@dataclass(frozen=True)
class Series:
    """Bars (n, 5), their times and one extra column."""

    ohlcv: Matrix
    time: npt.NDArray[np.datetime64]
    extra: Matrix
    name: str = ""

    def __len__(self) -> int:
        return len(self.ohlcv)

    def __getitem__(self, rows: slice) -> Series:
        return Series(self.ohlcv[rows], self.time[rows], self.extra[rows], self.name)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the columns as a table by name."""
        values = {name: self.ohlcv[:, i].copy() for i, name in enumerate(OHLCV)}
        return {"time": self.time, **values, EXTRA: self.extra}

    def table(self) -> pa.Table:
        """Return an Arrow table in which a missing value is a null."""
        return pa.table({name: pa.array(values, from_pandas=True) for name, values in self.columns().items()})


def series_of(bars: Bars, name: str = "") -> Series:
    """Give bars an extra column that is a function of the row."""
    assert bars.time is not None
    ohlcv = np.column_stack([bars.open, bars.high, bars.low, bars.close, bars.volume])
    extra = np.sin(0.7 * np.arange(len(bars))) * 10.0 ** (np.arange(len(bars)) % 7 - 3)
    return Series(ohlcv, bars.time.view("datetime64[ns]"), extra, name)


@cache
def _bars(name: str, seed: int, rows: int) -> Bars:
    if name.startswith("real "):
        start = 977 * seed
        return real_bars(name.removeprefix("real "))[start % 18_000 : start % 18_000 + rows]
    return BARSETS[name](rows, seed)


@dataclass(frozen=True)
class Case:
    """A feature set, a series, and what happens to bad rows."""

    fs: qf.FeatureSet
    series: Series
    on_bad: str

    @property
    def label(self) -> str:
        """Name of the case for messages."""
        return f"{self.fs.name} {self.fs.numerics} {self.series.name} on_bad={self.on_bad}"


def cases(profile: str, name: str, rows: int = ROWS) -> Iterator[Case]:
    """All sets on one kind of series: clean, and with null rows under both policies that take them."""
    for seed in SEEDS:
        bars = _bars(name, seed, rows)
        clean = series_of(bars, name)
        holed = series_of(with_null_rows(bars, every=NULL_EVERY, positions=(0, 1, 1_023)[: 2 + (rows > 1_023)]), name)
        for fs in feature_sets(profile):
            yield Case(fs, clean, "raise")
            yield Case(fs, holed, "null")
            yield Case(fs, holed, "reset")


# --- the modes ----------------------------------------------------------------------------------------------


def _stack(table: Any, fs: qf.FeatureSet) -> Matrix:
    def values(name: str) -> Any:
        column = table[name]
        return column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()

    return np.array([table[name] if isinstance(table, dict) else values(name) for name in fs.columns])


def batch(case: Case, **options: Any) -> Matrix:
    """All rows in one call."""
    options = {"threads": 1, **options}
    return _stack(qf.compute(case.series.columns(), case.fs, time="time", on_bad=case.on_bad, **options), case.fs)


def arrow(case: Case, **options: Any) -> Matrix:
    """All rows in one call, as an Arrow table of uneven chunks with nulls."""
    table = case.series.table()
    cuts = [0, *(c for c in (1, 8, 500, 501) if c < len(case.series)), len(case.series)]
    chunked = pa.concat_tables([table.slice(a, b - a) for a, b in pairwise(cuts)])
    return _stack(qf.compute(chunked, case.fs, time="time", on_bad=case.on_bad, **options), case.fs)


def record_batches(case: Case, size: int) -> Matrix:
    """Record batches of `size` rows, one after the other."""
    table = case.series.table()
    parts = [part for at in range(0, len(case.series), size) for part in table.slice(at, size).to_batches()]
    out = qf.compute_batches(parts, case.fs, time="time", on_bad=case.on_bad)
    return _stack(pa.Table.from_batches(list(out)), case.fs)


def open_batches(case: Case) -> _core.Batches:
    """Record batches of one series that can be set aside between two."""
    options = _options(None, case.on_bad, "ignore", None, 1, "float64")
    return _core.Batches(case.fs._core, None, "time", [], options)


def open_stream(case: Case) -> qf.Stream:
    """Return a stream with the case's policy that takes integer nanoseconds."""
    return qf.Stream(case.fs, on_bad=case.on_bad, time_unit="ns")


def pushed(stream: qf.Stream, case: Case, rows: slice) -> Matrix:
    """Push some rows of the case; (F, rows)."""
    part = case.series[rows]
    extras = [[x] for x in part.extra.tolist()] if case.fs.extras else [None] * len(part)
    bars = zip(part.ohlcv.tolist(), part.time.astype(np.int64).tolist(), extras, strict=True)
    out = [stream.push(*bar, time, extra) for bar, time, extra in bars]
    return np.array(out).reshape(len(part), len(case.fs)).T.copy()


def stream(case: Case) -> Matrix:
    """One bar at a time."""
    return pushed(open_stream(case), case, slice(None))


def peeked(case: Case) -> Matrix:
    """What `peek` says of each bar before it is pushed; a peek leaves no trace."""
    run = open_stream(case)
    out = np.empty((len(case.fs), len(case.series)))
    times = case.series.time.astype(np.int64).tolist()
    for row, bar in enumerate(case.series.ohlcv.tolist()):
        extra = [float(case.series.extra[row])] if case.fs.extras else None
        out[:, row] = run.peek(*bar, times[row], extra)
        run.push(*bar, times[row], extra)
    return out


def cloned(case: Case) -> Matrix:
    """A clone taken on the way, continued after the original has moved on."""
    half = len(case.series) // 2
    original = open_stream(case)
    first = pushed(original, case, slice(0, half))
    copy = original.clone()
    pushed(original, case, slice(half, half + 50))
    return np.concatenate([first, pushed(copy, case, slice(half, None))], axis=1)


def restored(case: Case) -> Matrix:
    """A stream that is written down and restored every so often."""
    run, parts, at = open_stream(case), [], 0
    while at < len(case.series):
        step = 1 + (7 * at) % 90
        parts.append(pushed(run, case, slice(at, at + step)))
        run, at = qf.Stream.restore(case.fs, run.snapshot(), time_unit="ns"), at + step
    return np.concatenate(parts, axis=1)


def window_inputs(case: Case, starts: list[int], length: int) -> dict[str, Any]:
    """Arguments of `qf.windows` for windows that begin at `starts`."""
    rows = np.add.outer(starts, np.arange(length))
    return {
        "ohlcv": case.series.ohlcv[rows],
        "fs": case.fs,
        "time": case.series.time[rows],
        "extra": case.series.extra[rows][:, :, None] if case.fs.extras else None,
        "on_bad": case.on_bad,
    }
