"""Array-likes as checked NumPy arrays: the one rule of what a column of numbers is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat.errors import SchemaError

# The types that the engine reads as they are: float32, float64, and integers of any width.
_READ = frozenset("fdbhilqpBHILQP")


def plain(values: Any, name: str) -> npt.NDArray[Any]:
    """Array-like `values` as a NumPy array of any type; masked numbers and times become NaN and NaT.

    Raises SchemaError (`column` is `name`) for what is no array: ragged lists, masked texts.
    """
    if type(values) is np.ndarray:
        return values
    if isinstance(values, np.ma.MaskedArray):
        return _unmasked(values, name)
    if type(values).__module__.partition(".")[0] == "pandas" and hasattr(values, "dtype"):
        return series(values)
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"column {name!r} is no array: {error}", column=name) from None


def _unmasked(values: np.ma.MaskedArray[Any, Any], name: str) -> npt.NDArray[Any]:
    mask = np.ma.getmaskarray(values)
    if not mask.any():
        return np.asarray(values.data)
    kind = values.dtype.kind
    if kind in "fiu":
        return np.where(mask, np.nan, values.data)
    if kind in "mM":
        return np.where(mask, np.array("NaT", dtype=values.dtype), values.data)
    if kind == "O":
        shown = np.array(values.data, dtype=object)
        shown[mask] = None
        return shown
    at = np.argwhere(mask)[0]
    raise SchemaError(f"column {name!r}, row {int(at[0])}: the value is masked", column=name, row=int(at[0]))


def series(values: Any) -> npt.NDArray[Any]:
    """A pandas column as NumPy: numbers with nulls as floats with NaN, times with a zone as UTC."""
    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        return np.asarray(values.to_numpy())
    if getattr(dtype, "tz", None) is not None:
        # An index has no `.dt`; the array behind either has the methods itself.
        zoned = getattr(values, "array", values)
        return np.asarray(zoned.tz_convert("UTC").tz_localize(None).to_numpy())
    if getattr(dtype, "name", "") == "category":
        return np.asarray(values.to_numpy(), dtype=object)
    kind = getattr(dtype, "kind", "O")
    if kind in "iu" and not values.isna().any():
        return np.asarray(values.to_numpy(dtype=dtype.numpy_dtype))
    if kind in "fiu":
        return np.asarray(values.to_numpy(dtype="float64", na_value=np.nan))
    return np.asarray(values.to_numpy())


def floats(values: Any, name: str, axes: int = 1) -> npt.NDArray[Any]:
    """A contiguous array with `axes` axes of float32, float64 or integers, which the engine widens once.

    float16 becomes float32; masked values become NaN. Anything else (text, flags, objects, complex and decimal
    numbers, times, float128) is a SchemaError with `column`.
    """
    array = plain(values, name)
    if array.ndim != axes:
        ask = "one is" if axes == 1 else f"{axes} are"
        raise SchemaError(f"column {name!r} has {array.ndim} axes, {ask} needed", column=name)
    if array.dtype.char not in _READ:
        if array.dtype.char != "e":
            message = f"column {name!r} has type {array.dtype}: float32, float64 or integers are needed"
            raise SchemaError(message, column=name)
        array = array.astype(np.float32)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    # Zero axes aside, this copies only what is not in a row already.
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def wide(values: Any, name: str, axes: int = 1) -> npt.NDArray[np.float64]:
    """As `floats`, widened to float64."""
    return np.asarray(floats(values, name, axes), dtype=np.float64)


def matrix(values: Any, shape: tuple[int, int], name: str) -> npt.NDArray[np.float64]:
    """Numbers of the given shape as a contiguous float64 array."""
    array = plain(values, name)
    if array.shape != shape:
        raise SchemaError(f"{name} must be an array of shape {shape}, not {array.shape}", column=name)
    return wide(array, name, 2)


def number(value: Any, column: str) -> float:
    """One number of a bar that is neither a Python number nor a NumPy scalar; pandas' NA and a masked value are NaN.

    Raises SchemaError for text, flags and whatever else is no number.
    """
    if value is np.ma.masked or type(value).__name__ == "NAType":
        return float("nan")
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "fiu":
        return float(value)
    raise SchemaError(f"{column} is {value!r}, a {type(value).__name__}: a number is needed", column=column)


def count(value: Any, name: str) -> int:
    """A whole number of at least 1 (Python's or NumPy's); anything else is a SchemaError."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64) and 1 <= value < 2**62:
        return int(value)
    raise SchemaError(f"{name} must be a whole number of at least 1, not {value!r}")


def symbols(values: Any, name: str) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Row-wise codes and names of a symbol column of texts, integers or categories of those.

    Raises SchemaError with `column`, and `row` for a null symbol.
    """
    array = plain(values, name)
    if array.ndim != 1:
        raise SchemaError(f"column {name!r} has {array.ndim} axes, one is needed", column=name)
    if array.dtype.kind == "O":
        return _objects(array, name)
    if array.dtype.kind not in "iuUT":
        null = np.isnan(array) if array.dtype.kind in "fmM" else np.zeros(len(array), np.bool_)
        raise _no_symbol(null, name, str(array.dtype))
    # Bars of a symbol mostly stand together: look up one row of each run.
    starts = _runs(array)
    names, inverse = np.unique(array[starts], return_inverse=True)
    return _spread(inverse, starts, array.size), [str(x) for x in names]


def _runs(array: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Rows that differ from the one before them, the first one included."""
    return np.flatnonzero(np.concatenate([np.ones(min(1, array.size), np.bool_), array[1:] != array[:-1]]))


def _spread(codes: npt.NDArray[Any], starts: npt.NDArray[np.intp], rows: int) -> npt.NDArray[np.int64]:
    """The code of each of `rows` rows, from those of the rows in which runs start."""
    return np.repeat(np.ascontiguousarray(codes, dtype=np.int64), np.diff(np.append(starts, rows)))


class _Identities:
    """The addresses of the objects of an array, for NumPy to read as numbers."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        interface = array.__array_interface__
        # The array lives as long as this does, and so do its objects.
        self._array = array
        self.__array_interface__ = interface | {
            "typestr": np.dtype(np.intp).str,
            "descr": [("", np.dtype(np.intp).str)],
        }


def _objects(array: npt.NDArray[Any], name: str) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Symbols among Python objects: all texts, or all integers (1 and "1" would be one symbol by name)."""
    # Readers give equal texts one object: of each run of the same one, its first row is looked at.
    starts = _runs(np.asarray(_Identities(array)))
    heads = array[starts] if len(starts) < len(array) else array
    kinds = set(map(type, heads))
    texts = all(issubclass(kind, str) for kind in kinds)
    if not texts and not all(issubclass(k, int | np.integer) and k is not bool for k in kinds):
        null = np.array([_is_null(x) for x in array], dtype=np.bool_)
        raise _no_symbol(null, name, " and ".join(sorted(kind.__name__ for kind in kinds)))
    ids = {symbol: code for code, symbol in enumerate(dict.fromkeys(heads))}
    codes = np.fromiter(map(ids.__getitem__, heads), np.int64, len(heads))
    return _spread(codes, starts, array.size), [str(x) for x in ids]


def _is_null(x: Any) -> bool:
    return x is None or type(x).__name__ in ("NAType", "NaTType") or (isinstance(x, float) and x != x)


def _no_symbol(null: npt.NDArray[np.bool_], name: str, found: str) -> SchemaError:
    if null.any():
        row = int(np.argmax(null))
        return SchemaError(f"column {name!r}, row {row}: the symbol is null", column=name, row=row)
    return SchemaError(f"column {name!r} has {found}: texts, integers or categories are needed", column=name)
