"""What was known when a bar closed: funding rates, bars of a longer interval, anything that is published at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa

from qtfeat.bars.calendar import interval_ms
from qtfeat.bars.group import Ints, refuse_unsorted, symbol_codes
from qtfeat.errors import SchemaError


def join_asof(
    bars: pa.Table,
    interval: str,
    other: pa.Table,
    columns: Sequence[str],
    *,
    time: str = "time",
    other_interval: str | None = None,
    delay: timedelta = timedelta(0),
    tolerance: timedelta | None = None,
    prefix: str = "",
) -> pa.Table:
    """Add to each bar the last values of another table that were known when the bar closed.

    A bar closes at open_time + interval. A row of `other` is known at its `time`; if `other` holds bars, it is known
    when they close, so say their `other_interval`. A row that becomes known at the very moment of the close counts.

    Args:
        bars: with open_time, and symbol if there is more than one; in any order.
        interval: of `bars`, such as `"5m"`.
        other: sorted by symbol and strictly by time. Without a symbol column it holds for every symbol.
        columns: numeric columns of `other` to take, as float64.
        time: the time column of `other`: any timestamp.
        other_interval: for bars of a longer interval: a row is known only when its bar has closed.
        delay: further time until a row is known, such as that of its publication; 0 or more.
        tolerance: values known for longer than this at the close are null.
        prefix: before the names of the added columns.

    Returns:
        `bars`, row for row, with the columns added; null where nothing was known yet.

    Raises:
        SchemaError: a column that is missing, not numeric, or there twice; a setting outside its range; bars of a
            symbol that are closer together than `interval`.
        UnsortedError: `other` is not sorted.
    """
    names = [prefix + name for name in columns]
    _refuse(bars, other, columns, names, time, delay, tolerance)
    code, symbols = symbol_codes(bars)
    close = _millis(bars, "open_time") + interval_ms(interval)
    other_code, other_symbols = symbol_codes(other)
    stamps = _millis(other, time)
    refuse_unsorted(other_code, stamps, other_symbols, time, strictly=True)
    known = stamps + (interval_ms(other_interval) if other_interval else 0) + round(delay / timedelta(milliseconds=1))
    if "symbol" in other.column_names and "symbol" not in bars.column_names:
        raise SchemaError("the other table has symbols and the bars have none; add a symbol column", column="symbol")
    _refuse_overlap(code, close, interval)
    row = _last_known(code, symbols, close, other_code, other_symbols, known)
    fresh = row >= 0
    if tolerance is not None and len(known):
        fresh &= close - known[np.maximum(row, 0)] <= round(tolerance / timedelta(milliseconds=1))
    for name, source in zip(names, columns, strict=True):
        taken = other.column(source).cast(pa.float64()).combine_chunks().take(pa.array(row, mask=~fresh))
        bars = bars.append_column(name, taken)
    return bars


def _refuse(
    bars: pa.Table,
    other: pa.Table,
    columns: Sequence[str],
    names: Sequence[str],
    time: str,
    delay: timedelta,
    tolerance: timedelta | None,
) -> None:
    for table, wanted, what in ((bars, ("open_time",), "the bars"), (other, (time, *columns), "the other table")):
        for name in wanted:
            if name not in table.column_names:
                raise SchemaError(f"{what} have no column {name!r}; found {', '.join(table.column_names)}", column=name)
    for name in columns:
        kind = other.schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise SchemaError(f"column {name!r} of type {kind} holds no numbers", column=name)
    for name in names:
        if name in bars.column_names or names.count(name) > 1:
            raise SchemaError(f"the bars would have {name!r} twice; set it apart by prefix='...'", column=name)
    for setting in (delay, timedelta(0) if tolerance is None else tolerance):
        if not isinstance(setting, timedelta) or setting < timedelta(0):
            raise SchemaError(f"delay and tolerance must be 0 or more, as timedeltas, not {setting!r}")


def _refuse_overlap(code: Ints, close: Ints, interval: str) -> None:
    """An interval longer than the bars would show each of them what was known after its close."""
    order = np.lexsort((close, code))
    apart = np.diff(close[order])
    short = (np.diff(code[order]) == 0) & (apart > 0) & (apart < interval_ms(interval))
    if short.any():
        first = int(np.argmax(short))
        row = int(order[first + 1])
        raise SchemaError(
            f"row {row}: its bar opens {apart[first] / 1000:g} s after the one before it, closer than interval "
            f"{interval!r}; say the bars' own interval",
            column="open_time",
            row=row,
        )


def _millis(table: pa.Table, name: str) -> Ints:
    """Times in ms; finer ones are rounded up, so that nothing is known early."""
    column = table.column(name)
    if not pa.types.is_timestamp(column.type) or column.null_count:
        raise SchemaError(f"column {name!r} of type {column.type} must be a timestamp without nulls", column=name)
    ticks = np.asarray(column.cast(pa.int64()), dtype=np.int64)
    per_ms = {"us": 1_000, "ns": 1_000_000}.get(column.type.unit)
    if column.type.unit == "s":
        return ticks * 1_000
    return -(-ticks // per_ms) if per_ms else ticks


def _last_known(
    code: Ints, symbols: list[str], close: Ints, other_code: Ints, other_symbols: list[str], known: Ints
) -> Ints:
    """The row of the other table that each bar sees; -1 for none."""
    row = np.full(len(code), -1, dtype=np.int64)
    pieces = {
        name: (int(rows[0]), int(rows[-1]) + 1)
        for number, name in enumerate(other_symbols)
        if len(rows := np.flatnonzero(other_code == number))
    }
    for number, name in enumerate(symbols):
        start, stop = pieces.get(name) or pieces.get("", (0, 0))
        own = code == number
        at = np.searchsorted(known[start:stop], close[own], side="right") - 1
        row[own] = np.where(at >= 0, at + start, -1)
    return row
