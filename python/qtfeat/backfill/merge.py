"""Bars put together by time: what `Lake.add` does to one month."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qtfeat._times import interval_text
from qtfeat.backfill.partition import Partition
from qtfeat.bars.schema import BAR_SCHEMA
from qtfeat.errors import SchemaError

_LAST_MS = (2**63 - 1) // 10**6
"""Labels and features count in nanoseconds."""
Tally = tuple[int, int, int, int]
"""Bars that are new, the same, replaced, kept."""


def conform(bars: pa.Table) -> pa.Table:
    """The bar columns in the bar schema, then the others; no metadata.

    Raises:
        SchemaError: a column missing, of another kind, or with nulls where a bar needs a value.
    """
    if not isinstance(bars, pa.Table):
        try:
            bars = pa.table(bars)
        except (TypeError, ValueError) as error:
            raise SchemaError(f"no bars: a {type(bars).__name__} is no table: {error}") from error
    missing = [name for name in BAR_SCHEMA.names if name not in bars.column_names]
    if missing:
        have = ", ".join(bars.column_names)
        raise SchemaError(f"no bars: column {missing[0]!r} is missing; there are {have}", column=missing[0])
    fields, columns = [], []
    for field in [*BAR_SCHEMA, *(f for f in bars.schema if f.name not in BAR_SCHEMA.names)]:
        column = bars[field.name]
        wanted = field.type
        if field.name not in BAR_SCHEMA.names and not _kept(wanted):
            text = f"column {field.name!r} of type {wanted} is kept in no lake: numbers and times are"
            raise SchemaError(text, column=field.name)
        if field.name in ("symbol", "open_time") and column.null_count:
            row = int(np.argmax(np.asarray(column.is_null())))
            raise SchemaError(f"column {field.name!r}, row {row}: null", column=field.name, row=row)
        try:
            columns.append(column.cast(wanted))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            text = f"column {field.name!r} of type {column.type} cannot be {wanted}: {error}"
            raise SchemaError(text, column=field.name) from error
        fields.append(pa.field(field.name, wanted))
    if bars.num_rows == 0:
        raise SchemaError("there are no bars")
    out = pa.Table.from_arrays(columns, schema=pa.schema(fields)).combine_chunks()
    far = np.flatnonzero((millis(out) > _LAST_MS) | (millis(out) < -_LAST_MS))
    if len(far):
        row, ms = int(far[0]), int(millis(out)[far[0]])
        text = f"column 'open_time', row {row}: {ms} ms since 1970 is not between 1677 and 2262: is the unit right?"
        raise SchemaError(text, column="open_time", row=row, value=ms)
    return out


def _kept(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_timestamp(kind))


def millis(bars: pa.Table) -> npt.NDArray[np.int64]:
    """Open times in ms since 1970 UTC."""
    return np.asarray(bars["open_time"].cast(pa.int64()), dtype=np.int64)


def infer_interval(bars: pa.Table) -> str:
    """The most common distance between a symbol's bars, as text.

    Raises:
        SchemaError: fewer than two bars of any symbol, or a distance that is no whole number of seconds.
    """
    codes = np.asarray(pc.dictionary_encode(bars["symbol"].combine_chunks()).indices)
    times = millis(bars)
    order = np.lexsort((times, codes))
    steps = np.diff(times[order])[np.diff(codes[order]) == 0]
    steps, counts = np.unique(steps[steps > 0], return_counts=True)
    if len(steps) == 0:
        raise SchemaError("one bar tells no interval: say which, as in interval='1h'")
    step = int(steps[np.argmax(counts)])
    if step % 1_000:
        raise SchemaError(f"bars are {step} ms apart: say the interval, as in interval='1s'")
    return interval_text(step * 10**6)


def months_of(bars: pa.Table, partition: Partition) -> Iterator[tuple[str, pa.Table]]:
    """The bars by month, each sorted by time.

    Raises:
        SchemaError: bars closer together than the interval; a time twice with different values.
    """
    times = millis(bars)
    order = np.argsort(times, kind="stable")
    bars, times = bars.take(pa.array(order)), times[order]
    steps = np.diff(times)
    close = np.flatnonzero((steps > 0) & (steps < partition.seconds * 1000))
    if len(close):
        at = int(close[0])
        text = f"{partition}: bars at {_iso(times[at])} and {_iso(times[at + 1])} are closer than {partition.interval}"
        raise SchemaError(text, column="open_time")
    names = times.astype("datetime64[ms]").astype("datetime64[M]")
    bounds = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)]
    for start, stop in pairwise(bounds):
        yield str(names[start]), bars.slice(start, stop - start)


def merged(old: pa.Table | None, new: pa.Table, where: str, on_conflict: str) -> tuple[pa.Table | None, Tally]:
    """One month of the lake with more bars; None where nothing changes. Both are sorted by time.

    Raises:
        SchemaError: other columns than the lake has, or other values under `on_conflict="raise"`.
    """
    new, _ = _join(new.slice(0, 0), new, where, on_conflict)
    if old is None:
        return new.combine_chunks(), (new.num_rows, 0, 0, 0)
    if old.schema != new.schema:
        text = f"{where}: the lake has columns {', '.join(old.column_names)}, these bars {', '.join(new.column_names)}"
        raise SchemaError(text)
    table, (same, replaced, kept) = _join(old, new, where, on_conflict)
    added = table.num_rows - old.num_rows
    return (table.combine_chunks() if added or replaced else None), (added, same, replaced, kept)


def _join(old: pa.Table, new: pa.Table, where: str, on_conflict: str) -> tuple[pa.Table, tuple[int, int, int]]:
    """Rows of both by time, each time once: what stands first wins, or last with "replace"."""
    both = pa.concat_tables([old, new])
    times = millis(both)
    order = np.argsort(times, kind="stable")
    if on_conflict == "replace":
        order = np.argsort(times[::-1], kind="stable")
        order = len(times) - 1 - order
    ordered = times[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    # Position of the row that is taken for each time, compared with those that are not.
    taken = order[first]
    chosen = both.take(pa.array(taken))
    rest = order[~first]
    against = taken[np.cumsum(first)[~first] - 1]
    differs = _differs(both, rest, against)
    if differs.any() and on_conflict == "raise":
        _refuse(
            both,
            int(min(rest[differs][0], against[differs][0])),
            int(max(rest[differs][0], against[differs][0])),
            where,
        )
    n = int(differs.sum())
    same = len(rest) - n
    return chosen, (same, n if on_conflict == "replace" else 0, n if on_conflict == "keep" else 0)


def _differs(table: pa.Table, a: npt.NDArray[np.intp], b: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Rows a[i] and b[i] differ in some column, bit by bit where they are floats (so NaN equals NaN)."""
    out = np.zeros(len(a), dtype=np.bool_)
    if len(a) == 0:
        return out
    for name in table.column_names:
        if name == "symbol":
            continue
        column = table[name].combine_chunks()
        null = np.asarray(column.is_null())
        values = np.asarray(column.fill_null(0) if column.null_count else column)
        raw = values.view(np.dtype(f"i{values.dtype.itemsize}"))
        out |= (raw[a] != raw[b]) | (null[a] != null[b])
    return out


def _refuse(table: pa.Table, one: int, other: int, where: str) -> None:
    for name in table.column_names:
        x, y = table[name][one].as_py(), table[name][other].as_py()
        if x != y:
            text = (
                f"{where}: the bar of {_iso(millis(table)[one])} has {name} {x!r} and, again, {y!r}; "
                "on_conflict='keep' keeps the first, 'replace' takes the second"
            )
            raise SchemaError(text, column=name, value=y)


def _iso(ms: np.int64) -> str:
    return f"{np.datetime64(int(ms), 'ms')}Z"
