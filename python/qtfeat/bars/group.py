"""Rows that make up one bar, folded into it: the one place that says what open, high, low, close and volume are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qtfeat.errors import SchemaError, UnsortedError

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

# How each column of a bar follows from the rows that make it up. A NaN in any of them is a NaN in the bar.
FOLDS: dict[str, str] = {
    "open": "first",
    "high": "max",
    "low": "min",
    "close": "last",
    "volume": "sum",
    "close_time": "last",
    "quote_volume": "sum",
    "count": "sum",
    "taker_buy_volume": "sum",
    "taker_buy_quote_volume": "sum",
    "ignore": "sum",
}
KINDS = ("first", "last", "min", "max", "sum")


def fold(column: Array, starts: Ints, ends: Ints, kind: str) -> Array:
    """Fold each run of rows `starts[i]..ends[i]` (exclusive; in order, not overlapping) into one value."""
    if kind == "first" or not len(starts):
        return column[starts]
    if kind == "last":
        return column[ends - 1]
    reduce = {"min": np.minimum, "max": np.maximum, "sum": np.add}[kind]
    # Every other piece is what lies between two runs. One more element, so that the last end is an index too.
    edges = np.stack([starts, ends], axis=1).ravel()
    return np.asarray(reduce.reduceat(np.append(column, column[:1]), edges)[::2])


def fold_trades(price: Array, amount: Array, starts: Ints, ends: Ints) -> list[Array]:
    """Fold each run of trades, in order of time, into open, high, low, close and volume."""
    prices = [fold(price, starts, ends, FOLDS[name]) for name in ("open", "high", "low", "close")]
    return [*prices, fold(amount, starts, ends, FOLDS["volume"])]


def runs(*keys: Array) -> tuple[Ints, Ints]:
    """Return (starts, ends) of the runs of equal keys."""
    n = len(keys[0])
    new = np.ones(n, dtype=np.bool_)
    if n:
        new[1:] = False
        for key in keys:
            new[1:] |= key[1:] != key[:-1]
    starts = np.flatnonzero(new).astype(np.int64)
    return starts, np.append(starts[1:], n) if n else starts


def symbol_codes(table: pa.Table) -> tuple[Ints, list[str]]:
    """Return (code of each row, the symbols); a table without a symbol column is one symbol."""
    if "symbol" not in table.column_names:
        return np.zeros(table.num_rows, dtype=np.int64), [""]
    encoded = table.column("symbol").combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return np.asarray(encoded.indices).astype(np.int64), encoded.dictionary.to_pylist()


def refuse_unsorted(code: Ints, time: Ints, names: list[str], name: str, *, strictly: bool) -> None:
    """Each symbol's rows must be in one piece and in order of time.

    Raises:
        UnsortedError: they are not; `row` is the first that is out of place.
    """
    same = code[1:] == code[:-1]
    wrong = same & ((time[1:] <= time[:-1]) if strictly else (time[1:] < time[:-1]))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0]) + 1
        raise UnsortedError(
            f"row {row}: {name} {_stamp(time[row])} of {names[code[row]]!r} is not after {_stamp(time[row - 1])}; "
            "sort by symbol and time and drop what is there twice (read_bars does both)",
            row=row,
            column=name,
            symbol=names[code[row]],
        )
    pieces = code[np.concatenate(([0], np.flatnonzero(~same) + 1))] if len(code) else code
    if len(np.unique(pieces)) < len(pieces):
        raise UnsortedError("the rows of a symbol are not in one piece; sort by symbol, then time", column="symbol")


def _stamp(millis: int) -> str:
    return str(np.datetime64(int(millis), "ms"))


def column_folds(names: list[str], known: tuple[str, ...], given: Mapping[str, str] | None) -> dict[str, str]:
    """Return how each column beside `known` is folded.

    Raises:
        SchemaError: a column that no rule covers, or a rule that does not exist.
    """
    folds = {}
    for name in names:
        kind = (given or {}).get(name) or FOLDS.get(name)
        if name in known:
            continue
        if kind not in KINDS:
            raise SchemaError(
                f"column {name!r}: say how its rows become one, as in folds={{{name!r}: 'last'}} "
                f"({', '.join(KINDS)}), or drop it",
                column=name,
            )
        folds[name] = kind
    return folds
