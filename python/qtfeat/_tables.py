"""Tables of any library in, the same kind out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qtfeat import _core
from qtfeat._columns import floats, plain, series, symbols
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
    speaks = hasattr(bars, "__arrow_c_stream__") or hasattr(bars, "__arrow_c_array__")
    if speaks and not (top in ("pandas", "polars", "pyarrow") and name.endswith(("Series", "Array"))):
        return "arrow"
    hint = "; call .collect() first" if top == "polars" and name == "LazyFrame" else ""
    raise SchemaError(
        f"bars are a {top}.{name}{hint}: a table that speaks the Arrow PyCapsule interface (pyarrow, polars, pandas, "
        "duckdb, ...) or a dict of NumPy arrays is needed"
    )


def held(bars: Any) -> Any:
    """A table that can be read more than once: a stream of any library is read into a pyarrow table."""
    return _arrow(bars) if kind(bars) == "arrow" else bars


def _arrow(bars: Any) -> Any:
    import pyarrow as pa

    try:
        return pa.table(bars)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"this cannot be read as a table of bars: {error}") from error


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
    """The named columns as NumPy arrays of any type; one that is missing or there twice is a SchemaError."""
    which = kind(bars)
    if which == "dict":
        _present(columns, list(bars))
        return {name: _one_axis(plain(bars[name], name), name) for name in columns}
    if which == "pandas":
        _present(columns, list(bars.columns))
        return {name: series(bars[name]) for name in columns}
    table = _arrow(bars)
    _present(columns, table.column_names)
    return {name: _from_arrow(table.column(name)) for name in columns}


def _present(columns: list[str], have: list[Any]) -> None:
    for name in columns:
        found = have.count(name)
        if found == 0:
            raise SchemaError(f"column {name!r} is missing; the table has: {', '.join(map(str, have))}", column=name)
        if found > 1:
            raise SchemaError(f"the table has column {name!r} more than once", column=name)


def _one_axis(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    if array.ndim != 1:
        raise SchemaError(f"column {name!r} has {array.ndim} axes, one is needed", column=name)
    return array


def _from_arrow(column: Any) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = column.to_numpy()
    if array.dtype.kind in "fiu" and not str(column.type).startswith(("int", "uint", "float", "double", "half")):
        # Numbers that stand behind a dictionary or in another wrapping: `compute` refuses them as values, and
        # takes a dictionary as symbols.
        return array.astype(object)
    return array


def matrix(columns: Arrays, fs: FeatureSet, time: str | None, options: dict[str, Any]) -> npt.NDArray[Any]:
    """Features of one series of NumPy columns, as an (F, n) view."""
    return _from_arrays(columns, fs, None, time, options, None).matrix()


def matrix_of(bars: Any, fs: FeatureSet, time: str | None, options: dict[str, Any]) -> npt.NDArray[Any]:
    """Features of a table of one series, as an (F, n) view."""
    if kind(bars) in ("dict", "pandas"):
        return matrix(arrays(bars, needed(bars, fs, None, time)), fs, time, options)
    return _core.compute_table(fs._core, bars, None, time, [], options).matrix()


def _from_arrays(
    columns: Arrays, fs: FeatureSet, by: str | None, time: str | None, options: dict[str, Any], out: Any
) -> _core.Output:
    codes = None if by is None else symbols(columns[by], by)
    times = None if time is None else array_ns(columns[time], options["time_unit_ns"], time)
    data = {n: floats(columns[n], n) for n in (*_OHLCV, *fs.extras) if n in columns}
    rows = len(next(iter(data.values()), times if times is not None else ()))
    if codes is not None and len(codes[0]) != rows:
        raise SchemaError(f"column {by!r} has {len(codes[0])} rows, the others {rows}", column=by)
    return _core.compute_arrays(fs._core, data, codes, times, time or "time", options, out)


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
        return _compute_arrays(bars, which, fs, by, time, carry, options, out, fill)
    bars = bars if fill is None else held(bars)
    result = _core.compute_table(fs._core, bars, by, time, carry, options, out)
    if fill is not None:
        codes = None if by is None else symbols(arrays(bars, [by])[by], by)
        fill_series(result.matrix() if out is None else out, codes)
        result = result.filled(fill)
    return out if out is not None else _wrap(result, which)


def _compute_arrays(
    bars: Any,
    which: str,
    fs: FeatureSet,
    by: str | None,
    time: str | None,
    carry: list[str],
    options: dict[str, Any],
    out: Any,
    fill: str | None,
) -> Any:
    wanted = [*needed(bars, fs, by, time), *(carry if which == "dict" else [])]
    columns = arrays(bars, list(dict.fromkeys(wanted)))
    if which == "pandas":
        _present(carry, list(bars.columns))
    result = _from_arrays(columns, fs, by, time, options, out)
    features = result.matrix() if out is None else out
    for name in carry if which == "dict" else ():
        if len(columns[name]) != features.shape[1]:
            raise SchemaError(
                f"column {name!r} has {len(columns[name])} rows, the others {features.shape[1]}", column=name
            )
    if fill is not None:
        fill_series(features, None if by is None else symbols(columns[by], by))
    if out is not None:
        return out
    if which == "dict":
        return {n: columns[n] for n in carry} | dict(zip(fs._columns, features, strict=True))
    return _pandas(bars, carry, fs, features)


def _wrap(result: _core.Output, which: str) -> Any:
    if which == "pyarrow":
        return sys.modules["pyarrow"].table(result)
    if which == "polars":
        return sys.modules["polars"].DataFrame(result.frame() or result)
    return result


def _pandas(bars: Any, carry: list[str], fs: FeatureSet, features: npt.NDArray[Any]) -> Any:
    pd = sys.modules["pandas"]
    frame = pd.DataFrame(features.T, index=bars.index, columns=fs._columns, copy=False)
    if not carry:
        return frame
    # `bars[carry]` is a copy of its own. pandas 3 copies what it joins only when it is written to.
    joining: dict[str, Any] = {} if int(pd.__version__.split(".")[0]) >= 3 else {"copy": False}
    return pd.concat([bars[carry], frame], axis=1, **joining)


def fill_series(features: npt.NDArray[Any], codes: tuple[npt.NDArray[np.int64], list[str]] | None) -> None:
    """The legacy fill, in place: forward, then backward, then 0, per symbol. `features` is (F, n)."""
    if codes is None:
        _fill_rows(features)
        return
    for code in range(len(codes[1])):
        rows = np.flatnonzero(codes[0] == code)
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

    for batch in _source(reader):
        table = pa.table(state.push(batch))
        yield from table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]


def _source(reader: Any) -> Iterable[Any]:
    import pyarrow as pa

    try:
        source: Iterable[Any]
        source = pa.RecordBatchReader.from_stream(reader) if hasattr(reader, "__arrow_c_stream__") else iter(reader)
        return source
    except (TypeError, ValueError) as error:
        raise SchemaError(
            f"a {type(reader).__name__} is no source of record batches: an Arrow stream or an iterable is needed"
        ) from error
