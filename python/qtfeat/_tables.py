"""Tables of any library in, the same kind out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qtfeat import _core
from qtfeat._times import array_ns
from qtfeat.errors import SchemaError

if TYPE_CHECKING:
    from qtfeat.features import FeatureSet

_OHLCV = ("open", "high", "low", "close", "volume")
Arrays = dict[str, npt.NDArray[Any]]


def kind(bars: Any) -> str:
    """One of dict, pandas, polars, pyarrow, or arrow for anything else that speaks the PyCapsule interface."""
    if isinstance(bars, dict):
        return "dict"
    top = type(bars).__module__.partition(".")[0]
    name = type(bars).__name__
    if top == "pandas" and name == "DataFrame":
        return "pandas"
    if top == "polars" and name == "DataFrame":
        return "polars"
    if top == "pyarrow" and name in ("Table", "RecordBatch"):
        return "pyarrow"
    if hasattr(bars, "__arrow_c_stream__") or hasattr(bars, "__arrow_c_array__"):
        return "arrow"
    hint = "; call .collect() first" if top == "polars" and name == "LazyFrame" else ""
    raise SchemaError(
        f"bars are a {top}.{name}{hint}: a table that speaks the Arrow PyCapsule interface (pyarrow, polars, pandas, "
        "duckdb, ...) or a dict of NumPy arrays is needed"
    )


def held(bars: Any) -> Any:
    """A table that can be read more than once: a stream of any library is read into a pyarrow table."""
    if kind(bars) != "arrow":
        return bars
    import pyarrow as pa

    return pa.table(bars)


def needed(bars: Any, fs: FeatureSet, by: str | None, time: str | None) -> list[str]:
    """The columns to take from `bars`: what the set reads, and the bar columns that are there to be checked."""
    have = names(bars)
    bar = [c for c in _OHLCV if c in have or c in fs.inputs]
    return [*bar, *fs.extras, *(c for c in (by, time) if c is not None)]


def names(bars: Any) -> list[str]:
    """Column names of a table."""
    match kind(bars):
        case "dict":
            return list(bars)
        case "pandas" | "polars":
            return list(bars.columns)
        case "pyarrow":
            return list(bars.schema.names)
        case _:
            return list(held(bars).schema.names)


def arrays(bars: Any, columns: list[str]) -> Arrays:
    """The named columns as NumPy arrays; a missing one is a SchemaError that names it."""
    which = kind(bars)
    if which in ("arrow", "pyarrow", "polars"):
        import pyarrow as pa

        bars = pa.table(bars)
    have = list(bars.column_names) if which in ("arrow", "pyarrow", "polars") else list(bars)
    for name in columns:
        if name not in have:
            raise SchemaError(f"column {name!r} is missing; the table has: {', '.join(map(str, have))}", column=name)
    if which == "dict":
        return {name: _plain(np.asarray(bars[name]), name) for name in columns}
    if which == "pandas":
        return {name: _series(bars[name]) for name in columns}
    return {name: bars.column(name).to_numpy() for name in columns}


def _plain(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    if array.ndim != 1:
        raise SchemaError(f"column {name!r} has {array.ndim} axes, one is needed", column=name)
    return np.ascontiguousarray(array)


def _series(series: Any) -> npt.NDArray[Any]:
    """A pandas column as NumPy: nullable numbers as NaN, times with a zone as UTC."""
    dtype = series.dtype
    if getattr(dtype, "tz", None) is not None:
        return np.ascontiguousarray(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
    if isinstance(dtype, np.dtype):
        return np.ascontiguousarray(series.to_numpy())
    if getattr(dtype, "kind", "O") in "fiu":
        return np.ascontiguousarray(series.to_numpy(dtype="float64", na_value=np.nan))
    return np.ascontiguousarray(series.to_numpy())


def matrix(columns: Arrays, fs: FeatureSet, time: str | None, options: dict[str, Any]) -> npt.NDArray[Any]:
    """Features of one series of NumPy columns, as an (F, n) view."""
    return _from_arrays(columns, fs, None, time, options, None).matrix()


def _from_arrays(
    columns: Arrays, fs: FeatureSet, by: str | None, time: str | None, options: dict[str, Any], out: Any
) -> _core.Output:
    symbols = None if by is None else _codes(columns[by])
    times = None if time is None else array_ns(columns[time], options["time_unit_ns"], time)
    data = {n: c for n, c in columns.items() if n not in (by, time) or n in _OHLCV or n in fs.extras}
    options = options | {"time_unit_ns": 1}
    return _core.compute_arrays(fs._core, data, symbols, times, time or "time", options, out)


def _codes(column: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Row-wise codes and names of a symbol column; a null symbol has code -1."""
    if column.dtype.kind == "O":
        ids: dict[Any, int] = {}
        codes = np.fromiter(
            (-1 if x is None or x != x else ids.setdefault(x, len(ids)) for x in column), np.int64, len(column)
        )
        return codes, [str(x) for x in ids]
    names, inverse = np.unique(column, return_inverse=True)
    return np.ascontiguousarray(inverse, dtype=np.int64), [str(x) for x in names]


def compute(
    bars: Any,
    fs: FeatureSet,
    by: str | None,
    time: str | None,
    carry: list[str],
    options: dict[str, Any],
    out: Any,
    fill: str | None,
) -> Any:
    """`qtfeat.compute`, arguments checked."""
    which = kind(bars)
    if which in ("dict", "pandas"):
        columns = arrays(bars, list(dict.fromkeys([*needed(bars, fs, by, time), *(carry if which == "dict" else [])])))
        if which == "pandas":
            arrays_missing(bars, carry)
        bare = {n: c for n, c in columns.items() if n in _OHLCV or n in fs.extras or n in (by, time)}
        result = _from_arrays(bare, fs, by, time, options, out)
        features = _features(result, out)
        symbols = columns[by] if by is not None else None
    else:
        result = _core.compute_table(fs._core, bars, by, time, carry, options, out)
        if fill is None and out is None:
            return _wrap(result, which)
        features = _features(result, out)
        symbols = arrays(bars, [by])[by] if by is not None else None
    if fill is not None:
        fill_series(features, symbols)
    if out is not None:
        return out
    if which == "dict":
        return {n: columns[n] for n in carry} | dict(zip(fs.columns, features, strict=True))
    if which == "pandas":
        return _pandas(bars, carry, fs, features)
    return _filled_table(bars, which, carry, fs, features)


def arrays_missing(bars: Any, carry: list[str]) -> None:
    """Refuses a column to carry that a pandas frame lacks."""
    for name in carry:
        if name not in bars.columns:
            raise SchemaError(
                f"column {name!r} is missing; the table has: {', '.join(map(str, bars.columns))}", column=name
            )


def _features(result: _core.Output, out: Any) -> npt.NDArray[Any]:
    return out if out is not None else result.matrix()


def _wrap(result: _core.Output, which: str) -> Any:
    if which == "pyarrow":
        return sys.modules["pyarrow"].table(result)
    if which == "polars":
        return sys.modules["polars"].DataFrame(result)
    return result


def _pandas(bars: Any, carry: list[str], fs: FeatureSet, features: npt.NDArray[Any]) -> Any:
    pd = sys.modules["pandas"]
    frame = pd.DataFrame(features.T, index=bars.index, columns=fs.columns, copy=False)
    if not carry:
        return frame
    return pd.concat([bars[carry], frame], axis=1)


def _filled_table(bars: Any, which: str, carry: list[str], fs: FeatureSet, features: npt.NDArray[Any]) -> Any:
    import pyarrow as pa

    source = pa.table(bars)
    table = pa.table({n: source.column(n) for n in carry} | dict(zip(fs.columns, features, strict=True)))
    table = table.replace_schema_metadata({"qtfeat.fingerprint": fs.fingerprint, "qtfeat.fill": str(fs.fill)})
    return sys.modules["polars"].DataFrame(table) if which == "polars" else table


def fill_series(features: npt.NDArray[Any], symbols: npt.NDArray[Any] | None) -> None:
    """The legacy fill, in place: forward, then backward, then 0, per symbol. `features` is (F, n)."""
    if symbols is None:
        _fill_rows(features)
        return
    codes, names = _codes(symbols)
    for code in range(len(names)):
        rows = np.flatnonzero(codes == code)
        part = np.ascontiguousarray(features[:, rows])
        _fill_rows(part)
        features[:, rows] = part


def fill_windows(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The legacy fill of every window of (n, T, F)."""
    n, t, f = values.shape
    rows = np.ascontiguousarray(values.transpose(0, 2, 1)).reshape(n * f, t)
    _fill_rows(rows)
    return np.ascontiguousarray(rows.reshape(n, f, t).transpose(0, 2, 1))


def _fill_rows(rows: npt.NDArray[Any]) -> None:
    """Fills each row of a 2-D array along its last axis."""
    if rows.shape[1] == 0:
        return
    for row in rows:
        good = np.flatnonzero(~np.isnan(row))
        if good.size == 0:
            row[:] = 0.0
            continue
        at = np.searchsorted(good, np.arange(row.size), side="right") - 1
        row[:] = row[good[np.maximum(at, 0)]]


def batches(reader: Any, state: _core.Batches) -> Iterator[Any]:
    """Pyarrow batches of features, one for each batch of `reader`."""
    import pyarrow as pa

    source = pa.RecordBatchReader.from_stream(reader) if hasattr(reader, "__arrow_c_stream__") else reader
    for batch in source:
        table = pa.table(state.push(batch))
        yield from table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
