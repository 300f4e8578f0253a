"""The computation of features from tables and windows of bars."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qtfeat import _core, _tables
from qtfeat._columns import count, plain, wide
from qtfeat._times import array_ns, interval_ns, scalar_ns, unit_ns
from qtfeat.errors import SchemaError
from qtfeat.feature_set import FILL, FeatureSet, Numerics, as_feature_set

__all__ = [
    "FILL",
    "FeatureSet",
    "Numerics",
    "as_feature_set",
    "catalog",
    "compute",
    "compute_batches",
    "cpu",
    "release_memory",
    "sequences",
    "windows",
    "windows_at",
]

OnBad = Literal["raise", "null", "reset"]
OnGap = Literal["ignore", "raise", "reset"]
_OHLCV = ("open", "high", "low", "close", "volume")


def thread_count(threads: int | None) -> int:
    """`threads`, or the processors this process may use."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count(threads, "threads")


def _options(
    time_unit: str | None, on_bad: str, on_gap: str, interval: Any, threads: int | None, dtype: Any
) -> dict[str, Any]:
    return {
        "time_unit_ns": unit_ns(time_unit),
        "on_bad": on_bad,
        "on_gap": on_gap,
        "interval_ns": None if interval is None else interval_ns(interval),
        "threads": thread_count(threads),
        "dtype": dtype if isinstance(dtype, str) else _dtype(dtype),
    }


def _dtype(dtype: Any) -> str:
    try:
        return np.dtype(dtype).name if dtype is not None else "None"
    except TypeError:
        raise SchemaError(f'dtype must be "float64" or "float32", not {dtype!r}') from None


def _carried(by: str | None, time: str | None, keep: Sequence[str], fs: FeatureSet) -> list[str]:
    """The columns that come along, each once, none of them named as a feature."""
    for argument, name in (("by", by), ("time", time)):
        if name is not None and not isinstance(name, str):
            raise SchemaError(f"{argument} must be the name of a column, not {name!r}")
    kept = [keep] if isinstance(keep, str) else keep
    if not isinstance(kept, Iterable) or not all(isinstance(name, str) for name in kept):
        raise SchemaError(f"keep must be names of columns, not {keep!r}")
    carry = [*dict.fromkeys(c for c in (by, time, *kept) if c is not None)]
    for name in carry:
        if name in fs._columns:
            raise SchemaError(f"column {name!r} would come along, but a feature has that name: rename one", column=name)
    return carry


def compute(
    bars: Any,
    fs: FeatureSet | str | Iterable[str],
    *,
    by: str | None = None,
    time: str | None = None,
    dtype: str = "float64",
    on_bad: OnBad = "raise",
    on_gap: OnGap = "ignore",
    interval: Any = None,
    time_unit: str | None = None,
    threads: int | None = None,
    keep: Sequence[str] = (),
    out: npt.NDArray[Any] | None = None,
    fill: str | None = "default",
) -> Any:
    """Features of a table of bars, one row out for each row in, in the caller's order.

    Args:
        bars: an Arrow table of any library (pyarrow, polars, pandas, duckdb, arro3, ...) or a dict of NumPy
            arrays, with columns open, high, low, close, volume (those the set reads; all that are there are
            checked) and the extra columns the set names: float16, 32 or 64, or integers of any width. A masked
            value is a null.
        fs: the feature set, or the name of a shipped one, or specs.
        by: column that tells symbols apart (texts, integers, or categories); each symbol is a series of its own.
        time: column of timestamps, dates or integers (with `time_unit`); must strictly increase within a symbol.
        dtype: "float64", or "float32" (which saturates).
        on_bad: a bad bar is an error ("raise"), a null row ("null"), or a null row after which a new series
            starts ("reset").
        on_gap: what to do where two times are further apart than `interval` ("ignore", "raise", "reset").
        interval: distance between bars: "5m", "1h", a timedelta.
        time_unit: unit of an integer time column: "s", "ms", "us", "ns".
        threads: at most so many threads over symbols; None takes all processors.
        keep: further columns of `bars` that come along.
        out: C-contiguous array (F, n) of `dtype` to write into, apart from the memory of `bars`; the result is
            then that array.
        fill: only for sets that have a fill (legacy): None leaves it out of this call.

    Returns:
        The caller's kind: pyarrow table, polars frame, pandas frame (index kept), dict of NumPy arrays; anything
        else gets an object with `__arrow_c_stream__`. `by`, `time` and `keep` come first. No value is an Arrow
        null, and NaN in NumPy and pandas.

    Raises:
        SchemaError, BadBarError, UnsortedError, GapError: with `.column`, `.row` and `.value`.
    """
    fs = as_feature_set(fs)
    options = _options(time_unit, on_bad, on_gap, interval, threads, dtype)
    carry = _carried(by, time, keep, fs)
    if fill not in ("default", None, fs.fill):
        raise SchemaError(f"fill must be None, or left out, for a set with fill={fs.fill!r}; not {fill!r}")
    step = fs.fill if fill == "default" else fill
    return _tables.compute(bars, fs, by, time, carry, options, out, step)


def compute_batches(
    reader: Any,
    fs: FeatureSet | str | Iterable[str],
    *,
    by: str | None = None,
    time: str | None = None,
    dtype: str = "float64",
    on_bad: OnBad = "raise",
    on_gap: OnGap = "ignore",
    interval: Any = None,
    time_unit: str | None = None,
    keep: Sequence[str] = (),
) -> Iterator[Any]:
    """Features of record batches that follow each other, in constant memory; one pyarrow batch out for each in.

    Each symbol's series goes on from batch to batch, with the bits of one pass over everything. `reader` is
    anything that speaks the Arrow C stream interface, or an iterable of record batches. Other arguments, and
    errors, as in `compute`; rows in errors count from the first batch.
    """
    fs = as_feature_set(fs)
    if fs.fill is not None:
        raise SchemaError(f"fill={fs.fill!r} needs the whole table: compute_batches takes FeatureSet(..., fill=None)")
    options = _options(time_unit, on_bad, on_gap, interval, 1, dtype)
    carry = _carried(by, time, keep, fs)
    return _tables.batches(reader, _core.Batches(fs._core, by, time, carry, options))


def windows(
    ohlcv: npt.ArrayLike,
    fs: FeatureSet | str | Iterable[str],
    *,
    time: npt.ArrayLike | None = None,
    extra: npt.ArrayLike | None = None,
    last: Literal["only", "all"] = "only",
    on_bad: OnBad = "raise",
    on_gap: OnGap = "ignore",
    interval: Any = None,
    time_unit: str | None = None,
    dtype: str = "float64",
    threads: int | None = None,
) -> npt.NDArray[Any]:
    """Features of many windows of bars, each a series of its own.

    Args:
        ohlcv: (n, T, 5) floats or integers: open, high, low, close, volume.
        fs: the feature set.
        time: (n, T) datetime64, or integers with `time_unit`.
        extra: (n, T, E) values of the set's extra columns, in the order of `fs.extras`; (n, T) for one.
        last: "only" gives the features of each window's last row, "all" those of every row.
        on_bad: as in `compute`; so are `on_gap`, `interval`, `time_unit`, `dtype` and `threads`.

    Returns:
        (n, F), or (n, T, F) with last="all"; NaN where there is no value.

    Raises:
        SchemaError, BadBarError, UnsortedError, GapError: with `.window`, and `.row` inside it.
    """
    fs = as_feature_set(fs)
    options = _options(time_unit, on_bad, on_gap, interval, threads, dtype)
    bars = _cube(ohlcv, "windows", "(n, T, 5): open, high, low, close, volume")
    times = None if time is None else array_ns(time, options["time_unit_ns"], axes=2)
    if extra is not None:
        extra = plain(extra, "extra")
        extra = _cube(extra[:, :, None] if extra.ndim == 2 else extra, "extra", "(n, T, E)")
    every = _last(last) or fs.fill is not None
    result = _core.windows(fs._core, bars, extra, times, options, every)
    if fs.fill is not None:
        result = _tables.fill_windows(result)
        result = result if last == "all" else np.ascontiguousarray(result[:, -1, :])
    return result


def windows_at(
    bars: Any,
    fs: FeatureSet | str | Iterable[str],
    ends: npt.ArrayLike,
    *,
    length: int = 100,
    time: str | None = None,
    last: Literal["only", "all"] = "only",
    on_bad: OnBad = "raise",
    on_gap: OnGap = "ignore",
    interval: Any = None,
    time_unit: str | None = None,
    dtype: str = "float64",
    threads: int | None = None,
) -> npt.NDArray[Any]:
    """Features of windows of one symbol's history; the given row or timestamp is the last in its window.

    Args:
        bars: the history, as in `compute`.
        fs: the feature set.
        ends: row numbers, or timestamps (then `time` names the column they are looked up in).
        length: rows of a window.
        time: timestamp column.
        last: as in `windows`; so are the arguments after it.

    Returns:
        (n, F), or (n, length, F) with last="all".

    Raises:
        SchemaError: an end that is no row, or has fewer than `length` rows up to it.
    """
    fs = as_feature_set(fs)
    options = _options(time_unit, on_bad, on_gap, interval, threads, dtype)
    length = count(length, "length")
    named = _carried(None, time, (), fs)
    columns = _tables.arrays(bars, [*_OHLCV, *fs.extras, *named])
    times = array_ns(columns[time], options["time_unit_ns"], time) if time else None
    rows = _ends(ends, times, time)
    ohlcv = [wide(columns[c], c) for c in _OHLCV]
    extras = [wide(columns[c], c) for c in fs.extras]
    every = _last(last) or fs.fill is not None
    result = _core.windows_at(fs._core, ohlcv, extras, times, rows, length, options, every)
    if fs.fill is not None:
        result = _tables.fill_windows(result)
        result = result if last == "all" else np.ascontiguousarray(result[:, -1, :])
    return result


def sequences(
    bars: Any,
    fs: FeatureSet | str | Iterable[str] = "seq8",
    *,
    length: int = 128,
    time: str | None = None,
    on_bad: OnBad = "raise",
    on_gap: OnGap = "ignore",
    interval: Any = None,
    time_unit: str | None = None,
    dtype: str = "float64",
) -> npt.NDArray[Any]:
    """Features of one symbol as overlapping sequences, a read-only view (n, length, F) without a copy.

    Sequence i is rows i..i+length of the feature table, so i + length - 1 is the row that it ends with, and
    the first sequences hold the NaN of the warm-up. Arguments and errors as in `compute`; SchemaError when
    the table has fewer than `length` rows.
    """
    fs = as_feature_set(fs)
    if fs.fill is not None:
        raise SchemaError(f"fill={fs.fill!r} needs the whole table: sequences takes FeatureSet(..., fill=None)")
    length = count(length, "length")
    _carried(None, time, (), fs)
    options = _options(time_unit, on_bad, on_gap, interval, 1, dtype)
    matrix = _tables.matrix_of(bars, fs, time, options)
    f, n = matrix.shape
    if n < length:
        raise SchemaError(f"{n} rows are fewer than length={length}")
    column, row = matrix.strides
    return np.lib.stride_tricks.as_strided(matrix, (n - length + 1, length, f), (row, row, column), writeable=False)


def _cube(values: npt.ArrayLike, name: str, shape: str) -> npt.NDArray[np.float64]:
    cube = plain(values, name)
    if cube.ndim != 3:
        raise SchemaError(f"{name} must be {shape}; this has {cube.ndim} axes", column=name)
    return wide(cube, name, 3)


def _last(last: str) -> bool:
    if last not in ("only", "all"):
        raise SchemaError(f"last must be 'only' or 'all', not {last!r}")
    return last == "all"


def _ends(ends: npt.ArrayLike, times: npt.NDArray[np.int64] | None, time: str | None) -> list[int]:
    array = np.atleast_1d(plain(ends, "ends"))
    if array.ndim != 1:
        raise SchemaError("ends must be one row or timestamp per window", column="ends")
    if array.size == 0:
        return []
    if array.dtype.kind in "iu":
        # Beyond every row: named as such by the core.
        return [min(int(e), 2**62) for e in array]
    if times is None:
        raise SchemaError("ends are timestamps: name the time column with time=", column="ends")
    wanted = array_ns(array, None, "ends") if array.dtype.kind == "M" else _each_ns(array)
    at = np.searchsorted(times, wanted)
    at = np.minimum(at, max(len(times) - 1, 0))
    missing = np.flatnonzero(times[at] != wanted) if len(times) else np.arange(len(wanted))
    if missing.size:
        i = int(missing[0])
        raise SchemaError(
            f"ends[{i}] = {np.datetime64(int(wanted[i]), 'ns')} is no time in column {time!r}", column="ends"
        )
    return [int(e) for e in at]


def _each_ns(ends: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    wanted = np.empty(len(ends), dtype=np.int64)
    for i, end in enumerate(ends.tolist()):
        try:
            wanted[i] = scalar_ns(end, None)
        except SchemaError as error:
            raise SchemaError(f"ends[{i}]: {error}", column="ends", row=i) from None
    return wanted


def catalog() -> Any:
    """The catalogue: a pyarrow table with one row per output of every indicator, at its defaults.

    Columns: id, output, column, params, unit, min, max (null = unbounded), neutral, warmup, memory (rows, or
    "recursive", or "anchored"), scale_free, formula, source.
    """
    import pyarrow as pa

    names = [
        "id",
        "output",
        "column",
        "params",
        "unit",
        "min",
        "max",
        "neutral",
        "warmup",
        "memory",
        "scale_free",
        "formula",
        "source",
    ]
    rows = _core.catalog_rows()
    kinds: Mapping[str, pa.DataType] = {"min": pa.float64(), "max": pa.float64(), "neutral": pa.float64()}
    return pa.table({n: pa.array([r[n] for r in rows], type=kinds.get(n)) for n in names})


def cpu() -> str:
    """The CPU level in use: "sse2", "avx2", "avx512" or "baseline". `QTFEAT_CPU` forces a lower one."""
    return _core.cpu()


def release_memory() -> int:
    """Gives the output memory kept for the next call back to the system; returns its bytes."""
    return _core.release_memory()
