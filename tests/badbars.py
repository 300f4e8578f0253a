"""Bars with one thing wrong, and every way to hand a table of bars to the engine.

A mode takes bars as a dict of NumPy columns and gives the features as one (n, F) float64 array, NaN where there
is no value, so that modes can be compared bit by bit.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa

import qtfeat as qf

Table = dict[str, Any]
Matrix = npt.NDArray[np.float64]

OHLCV = ("open", "high", "low", "close", "volume")
HOUR = 3_600_000_000_000
START = 1_704_067_200_000_000_000

# Finite, recursive, anchored and custom features, one of them over an extra column and one over the clock.
SPECS = (
    "rsi(5)",
    "ema(4)",
    "bb(6,2).pct",
    "atr(3)",
    "obv",
    "stoch(3,2,2)",
    "volume_ratio(4)",
    "carry = lag(flow,2) - flow",
    "hour_sin",
    "pick = where(close > open, close / open, 1)",
)


def features(*specs: str) -> qf.FeatureSet:
    """The set above, or one of `specs`."""
    return qf.FeatureSet(specs or SPECS)


def good(n: int = 40, seed: int = 7) -> Table:
    """Valid hourly bars with an extra column `flow` and a `time` column."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    opened = np.concatenate([close[:1], close[:-1]])
    return {
        "open": opened,
        "high": np.maximum(opened, close) * 1.01,
        "low": np.minimum(opened, close) * 0.99,
        "close": close,
        "volume": rng.lognormal(3, 1, n),
        "flow": rng.normal(0, 5, n),
        "time": (START + HOUR * np.arange(n, dtype=np.int64)).view("datetime64[ns]"),
    }


def copy(bars: Table) -> Table:
    """The same columns in memory of their own."""
    return {name: np.array(column) for name, column in bars.items()}


def take(bars: Table, rows: Any) -> Table:
    """Some rows."""
    return {name: column[rows] for name, column in bars.items()}


@dataclass(frozen=True)
class Fault:
    """One way for a bar to be bad: `column` gets a value, from the bar's (low, high)."""

    name: str
    column: str
    value: Callable[[float, float], float]
    null: bool = False

    def spoil(self, bars: Table, row: int) -> float:
        """Puts the value into `row` and returns it."""
        value = self.value(float(bars["low"][row]), float(bars["high"][row]))
        bars[self.column][row] = value
        return value


def _constant(x: float) -> Callable[[float, float], float]:
    return lambda low, high: x


def _faults() -> Iterator[Fault]:
    for column in (*OHLCV, "flow"):
        yield Fault(f"{column}_null", column, _constant(np.nan), null=True)
        yield Fault(f"{column}_nan", column, _constant(np.nan))
        yield Fault(f"{column}_inf", column, _constant(np.inf))
        yield Fault(f"{column}_minus_inf", column, _constant(-np.inf))
    for column in OHLCV[:4]:
        for name, x in (("zero", 0.0), ("minus_zero", -0.0), ("negative", -1.0), ("huge", 1.1e110), ("tiny", 9e-111)):
            yield Fault(f"{column}_{name}", column, _constant(x))
    yield Fault("high_below_low", "high", lambda low, high: low * 0.9)
    yield Fault("open_above_high", "open", lambda low, high: high * 1.001)
    yield Fault("open_below_low", "open", lambda low, high: low * 0.999)
    yield Fault("close_above_high", "close", lambda low, high: high * 1.001)
    yield Fault("close_below_low", "close", lambda low, high: low * 0.999)
    for name, x in (("negative", -1e-300), ("huge", 1.1e30), ("tiny", 9e-31)):
        yield Fault(f"volume_{name}", "volume", _constant(x))
    for name, x in (("huge", 1.1e100), ("minus_huge", -1.1e100)):
        yield Fault(f"flow_{name}", "flow", _constant(x))


FAULTS = list(_faults())


# --- tables ----------------------------------------------------------------------------------------------------------


def arrow(bars: Table, nulls: bool = True) -> pa.Table:
    """An Arrow table whose arrays start inside longer ones (offsets); NaN becomes null if `nulls`."""

    def column(values: Any) -> pa.Array:
        array = np.asarray(values)
        lost = np.isnan(array) if array.dtype.kind == "f" and nulls else np.zeros(len(array), bool)
        lead = array[:3] if len(array) >= 3 else np.resize(array, 3) if len(array) else np.zeros(3, array.dtype)
        whole = np.concatenate([lead, array])
        return pa.array(whole, mask=np.concatenate([[True, False, True], lost])).slice(3)

    return pa.table({name: column(values) for name, values in bars.items()})


def chunked(table: pa.Table, size: int) -> pa.Table:
    """The table in chunks of `size` rows."""
    return pa.Table.from_batches(table.to_batches(max_chunksize=size), schema=table.schema)


KINDS: dict[str, Callable[[Table], Any]] = {
    "dict": copy,
    "pyarrow": arrow,
    "chunked": lambda bars: chunked(arrow(bars), 7),
    "polars": lambda bars: pl.DataFrame(arrow(bars)),
    "pandas": pd.DataFrame,
    "duckdb": lambda bars: duckdb.from_arrow(arrow(bars)),
    "reader": lambda bars: arrow(bars).to_reader(max_chunksize=9),
}


def matrix(result: Any, columns: list[str]) -> Matrix:
    """Any kind of result as (n, F) float64."""
    if isinstance(result, dict | pd.DataFrame):
        return np.column_stack([np.asarray(result[c], dtype=np.float64) for c in columns])
    table = pa.table(result)
    return np.column_stack([table.column(c).to_numpy().astype(np.float64) for c in columns])


# --- modes -----------------------------------------------------------------------------------------------------------

Mode = Callable[..., Matrix]


def _timed(bars: Table, options: dict[str, Any]) -> dict[str, Any]:
    return options | {"time": "time"} if "time" in bars else options


def _as(convert: Callable[[Table], Any]) -> Mode:
    def run(bars: Table, fs: qf.FeatureSet, **options: Any) -> Matrix:
        return matrix(qf.compute(convert(bars), fs, **_timed(bars, options)), fs.columns)

    return run


def _reader(bars: Table) -> pa.RecordBatchReader:
    table = arrow(bars)
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=5))


def _batches(bars: Table, fs: qf.FeatureSet, **options: Any) -> Matrix:
    parts = list(qf.compute_batches(chunked(arrow(bars), 7), fs, **_timed(bars, options)))
    return matrix(pa.Table.from_batches(parts), fs.columns)


def cube(bars: Table) -> Matrix:
    """(1, n, 5)."""
    return np.stack([bars[c] for c in OHLCV], axis=1)[None]


def extras(bars: Table, fs: qf.FeatureSet) -> Matrix | None:
    """(1, n, E), or None where the set reads none."""
    return np.stack([bars[c] for c in fs.extras], axis=1)[None] if fs.extras else None


def _windows(bars: Table, fs: qf.FeatureSet, **options: Any) -> Matrix:
    time = bars["time"][None] if "time" in bars else None
    return qf.windows(cube(bars), fs, time=time, extra=extras(bars, fs), last="all", **options)[0]


def _windows_at(bars: Table, fs: qf.FeatureSet, **options: Any) -> Matrix:
    n = len(bars["close"])
    return qf.windows_at(bars, fs, [n - 1], length=n, last="all", **_timed(bars, options))[0]


def _sequences(bars: Table, fs: qf.FeatureSet, **options: Any) -> Matrix:
    return qf.sequences(bars, fs, length=1, **_timed(bars, options))[:, 0, :]


def pushes(bars: Table, fs: qf.FeatureSet) -> Iterator[tuple[list[float], dict[str, Any]]]:
    """The arguments of `Stream.push`, row by row."""
    for row in range(len(bars["close"])):
        extra = [float(bars[c][row]) for c in fs.extras] or None
        time = bars["time"][row] if "time" in bars else None
        yield [float(bars[c][row]) for c in OHLCV], {"time": time, "extra": extra}


def _stream(bars: Table, fs: qf.FeatureSet, **options: Any) -> Matrix:
    stream = qf.Stream(fs, **options)
    return np.array([stream.push(*bar, **rest) for bar, rest in pushes(bars, fs)])


def _peek(bars: Table, fs: qf.FeatureSet, **options: Any) -> Matrix:
    stream = qf.Stream(fs, **options)
    rows = []
    for bar, rest in pushes(bars, fs):
        rows.append(stream.peek(*bar, **rest))
        stream.push(*bar, **rest)
    return np.array(rows)


def _panel(bars: Table, fs: qf.FeatureSet, **options: Any) -> Matrix:
    panel = qf.PanelStream(fs, ["absent", "here"], **options)
    rows = []
    for bar, rest in pushes(bars, fs):
        extra = None if rest["extra"] is None else np.array([[np.nan] * len(fs.extras), rest["extra"]])
        rows.append(panel.push(np.array([[np.nan] * 5, bar]), time=rest["time"], extra=extra)[1])
    return np.array(rows)


MODES: dict[str, Mode] = {
    "dict": _as(lambda bars: bars),
    "pyarrow": _as(arrow),
    "pyarrow_chunked": _as(lambda bars: chunked(arrow(bars), 3)),
    "record_batch": _as(lambda bars: arrow(bars).to_batches()[0]),
    "polars": _as(lambda bars: pl.DataFrame(arrow(bars))),
    "polars_nan": _as(lambda bars: pl.DataFrame(arrow(bars, nulls=False))),
    "pandas": _as(pd.DataFrame),
    "pandas_nullable": _as(lambda bars: pd.DataFrame(bars).convert_dtypes(convert_integer=False)),
    "duckdb": _as(lambda bars: duckdb.from_arrow(arrow(bars))),
    "reader": _as(_reader),
    "batches": _batches,
    "windows": _windows,
    "windows_at": _windows_at,
    "sequences": _sequences,
    "stream": _stream,
    "peek": _peek,
    "panel": _panel,
}


@dataclass(frozen=True)
class Place:
    """Where a mode says that caller's row `row` is."""

    row: int
    window: int | None
    symbol: str | None


def place(mode: str, row: int) -> Place:
    """What an error's attributes must say."""
    if mode == "panel":
        return Place(1, None, "here")
    return Place(row, 0 if mode.startswith("windows") else None, None)


def same_bits(a: Matrix, b: Matrix) -> bool:
    """Equal shapes and equal bits, any NaN equal to any NaN."""
    a, b = np.ascontiguousarray(a, dtype=np.float64), np.ascontiguousarray(b, dtype=np.float64)
    return a.shape == b.shape and bool(((a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))).all())


# --- times in every form ---------------------------------------------------------------------------------------------

NAIVE = good(12)["time"].astype("datetime64[s]")


def timed(times: Any) -> Table:
    """Twelve good bars with these times."""
    return {k: v for k, v in good(12).items() if k != "time"} | {"time": times}


def _zoned(unit: str, zone: str | None) -> pa.Array:
    return pa.array(NAIVE.astype(f"datetime64[{unit}]")).cast(pa.int64()).cast(pa.timestamp(unit, tz=zone))


NUMBERS = ("int64", "int32", "uint32", "uint64")
TIMES: dict[str, Callable[[], Any]] = {
    **{f"numpy_{u}": (lambda u=u: timed(NAIVE.astype(f"datetime64[{u}]"))) for u in ("h", "m", "s", "ms", "us", "ns")},
    "datetimes": lambda: timed([t.item() for t in NAIVE]),
    "aware": lambda: timed([t.item().replace(tzinfo=dt.UTC) for t in NAIVE]),
    "pandas_nullable_int": lambda: pd.DataFrame(timed(pd.array(NAIVE.astype(np.int64), dtype="Int64"))),
    **{f"{t}_seconds": (lambda t=t: timed(NAIVE.astype(t))) for t in NUMBERS},
    **{f"arrow_{t}_seconds": (lambda t=t: pa.table(timed(NAIVE.astype(t)))) for t in NUMBERS},
    **{
        f"{library}_{unit}_{zone}": (lambda u=unit, z=zone, make=make: make(pa.table(timed(_zoned(u, z)))))
        for library, make in {
            "arrow": lambda t: t,
            "polars": pl.DataFrame,
            "pandas": lambda t: t.to_pandas(),
            "pandas_arrow": lambda t: t.to_pandas(types_mapper=pd.ArrowDtype),
            "duckdb": duckdb.from_arrow,
        }.items()
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "Asia/Tokyo")
        if not (library == "polars" and unit == "s")
    },
}

FAR = np.datetime64("2300-01-01", "s") + np.arange(12) * np.timedelta64(3600, "s")
BAD_TIMES: dict[str, Callable[[], Any]] = {
    "no_unit": lambda: timed(NAIVE.astype(np.int64)),
    "no_unit_arrow": lambda: pa.table(timed(NAIVE.astype(np.int64))),
    "floats": lambda: timed(NAIVE.astype(np.float64)),
    "floats_arrow": lambda: pa.table(timed(NAIVE.astype(np.float64))),
    "bools": lambda: timed(NAIVE.astype(np.int64) > 0),
    "null": lambda: timed(np.where(np.arange(12) == 4, np.datetime64("NaT"), NAIVE)),
    "null_arrow": lambda: pa.table(timed(pa.array([None if i == 4 else t for i, t in enumerate(NAIVE.tolist())]))),
    "null_pandas": lambda: pd.DataFrame(timed(np.where(np.arange(12) == 4, np.datetime64("NaT"), NAIVE))),
    "null_object": lambda: timed(np.array([None if i == 4 else t for i, t in enumerate(NAIVE.tolist())], dtype=object)),
    **{f"far_{u}": (lambda u=u: timed(FAR.astype(f"datetime64[{u}]"))) for u in ("s", "ms", "us")},
    **{f"far_arrow_{u}": (lambda u=u: pa.table(timed(FAR.astype(f"datetime64[{u}]")))) for u in ("s", "ms", "us")},
    "far_object": lambda: timed(np.array(FAR.tolist(), dtype=object)),
    "far_date32": lambda: pa.table(timed(pa.array(np.arange(12) + 200_000, pa.int32()).cast(pa.date32()))),
}
