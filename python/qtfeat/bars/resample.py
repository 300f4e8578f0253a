"""Bars of a longer interval from bars of a shorter one; a bucket with bars missing is never passed off as whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np
import pyarrow as pa

from qtfeat.bars.calendar import bucket_starts, interval_ms
from qtfeat.bars.group import Ints, column_folds, fold, refuse_unsorted, runs, symbol_codes
from qtfeat.bars.schema import BAR_SCHEMA, VALUES
from qtfeat.errors import GapError, SchemaError

OnPartial = Literal["drop", "keep", "raise"]

_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class ResampleReport:
    """What became of the buckets.

    Attributes:
        source_interval: of the bars that went in.
        interval: of the bars that came out.
        bars_in: rows that went in.
        bars_out: rows that came out.
        partial: buckets that lacked some of their bars.
        policy: what was done with those.
        bars_dropped: rows that went in and are in no bar that came out.
        absent: buckets between a symbol's first and last of which no bar was there; they are gaps, nothing is filled.
        examples: the first partial ones: symbol, time, bars there of bars wanted.
    """

    source_interval: timedelta
    interval: timedelta
    bars_in: int
    bars_out: int
    partial: int
    policy: str
    bars_dropped: int
    absent: int
    examples: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every bucket was whole and none was absent."""
        return not (self.partial or self.absent)

    def __str__(self) -> str:
        lines = [f"{self.bars_in:,} bars of {self.source_interval} to {self.bars_out:,} of {self.interval}"]
        if self.partial:
            done = "kept" if self.policy == "keep" else f"dropped with {self.bars_dropped:,} bars"
            lines.append(f"  {self.partial:,} partial bucket(s) {done}")
            lines += [f"    {example}" for example in self.examples]
        if self.absent:
            lines.append(f"  {self.absent:,} bucket(s) without any bar stay gaps")
        return "\n".join(lines)


def resample(
    bars: pa.Table,
    interval: str,
    *,
    source_interval: str | None = None,
    on_partial: OnPartial = "drop",
    folds: Mapping[str, str] | None = None,
) -> tuple[pa.Table, ResampleReport]:
    """Make bars of a longer interval.

    Buckets start at multiples of the interval since 1970-01-01 UTC, weeks on Mondays. A bar belongs to the bucket that
    its open time is in. A bucket is whole when each bar of the source interval is there; so the first and last ones,
    and those around a gap, mostly are not.

    Args:
        bars: `BAR_SCHEMA`, sorted by symbol and time, as `read_bars` gives it; columns of klines are folded too.
        interval: such as `"5m"`, `"1h"`, `"1d"`, `"1w"`: a multiple of the source's.
        source_interval: of `bars`; default the most frequent distance.
        on_partial: `"drop"` leaves partial buckets out, `"keep"` keeps them, `"raise"` refuses them. Dropped and kept
            ones are counted in the report.
        folds: for further columns: `first`, `last`, `min`, `max` or `sum`.

    Returns:
        (table with the columns of `bars`, report). A NaN in a bucket makes a NaN in its bar.

    Raises:
        GapError: a partial bucket under `on_partial="raise"`.
        SchemaError: columns missing, intervals that do not fit, bars off the grid of the source interval.
        UnsortedError: not sorted by symbol and strictly by time.
    """
    missing = [name for name in ("open_time", *VALUES) if name not in bars.column_names]
    if missing:
        raise SchemaError(f"no column {', '.join(map(repr, missing))}; read_bars gives them all", column=missing[0])
    if on_partial not in ("drop", "keep", "raise"):
        raise SchemaError(f'on_partial must be "drop", "keep" or "raise"; got {on_partial!r}')
    width = interval_ms(interval)
    code, names = symbol_codes(bars)
    time = np.asarray(bars.column("open_time").cast(BAR_SCHEMA.field("open_time").type).cast(pa.int64()))
    refuse_unsorted(code, time, names, "open_time", strictly=True)
    step = interval_ms(source_interval) if source_interval else _usual_step(code, time)
    _refuse_misfit(time, step, width, interval)
    bucket = bucket_starts(time, width)
    starts, ends = runs(code, bucket)
    partial = (ends - starts) < width // step
    report = _report(code[starts], bucket[starts], ends - starts, names, step, width, on_partial, partial)
    if on_partial == "raise" and partial.any():
        raise GapError(f"partial bucket: {report.examples[0]}; on_partial='drop' leaves such buckets out")
    kept = ~partial if on_partial == "drop" else np.ones(len(starts), dtype=np.bool_)
    return _folded(bars, bucket, starts, ends, kept, folds), report


def _usual_step(code: Ints, time: Ints) -> int:
    steps = np.diff(time)[np.diff(code) == 0]
    if not len(steps):
        raise SchemaError("one bar per symbol does not tell the interval; say source_interval='1m'")
    values, counts = np.unique(steps, return_counts=True)
    return int(values[np.argmax(counts)])


def _refuse_misfit(time: Ints, step: int, width: int, interval: str) -> None:
    source = timedelta(milliseconds=step)
    if width % step:
        raise SchemaError(f"bars of {source} cannot be made into {interval}: not a multiple")
    off = np.flatnonzero(time != bucket_starts(time, step))
    if len(off):
        row = int(off[0])
        raise SchemaError(
            f"row {row}: open_time {np.datetime64(int(time[row]), 'ms')} is not on the grid of {source}; "
            "is source_interval right?",
            row=row,
            column="open_time",
        )


def _report(
    code: Ints, bucket: Ints, there: Ints, names: list[str], step: int, width: int, policy: str, partial: np.ndarray
) -> ResampleReport:
    distance = np.diff(bucket)[np.diff(code) == 0] // width - 1
    shown = np.flatnonzero(partial)[:_EXAMPLES]
    dropped = int(there[partial].sum()) if policy == "drop" else 0
    return ResampleReport(
        source_interval=timedelta(milliseconds=step),
        interval=timedelta(milliseconds=width),
        bars_in=int(there.sum()),
        bars_out=len(code) - (int(partial.sum()) if policy == "drop" else 0),
        partial=int(partial.sum()),
        policy=policy,
        bars_dropped=dropped,
        absent=int(distance.sum()),
        examples=tuple(
            f"{names[code[i]]} {np.datetime64(int(bucket[i]), 'ms')}: {there[i]} of {width // step} bars" for i in shown
        ),
    )


def _folded(
    bars: pa.Table, bucket: Ints, starts: Ints, ends: Ints, kept: np.ndarray, folds: Mapping[str, str] | None
) -> pa.Table:
    kinds = column_folds(bars.column_names, ("symbol", "open_time"), folds)
    columns = []
    for name in bars.column_names:
        kind = bars.schema.field(name).type
        if name == "symbol":
            columns.append(bars.column(name).take(pa.array(starts[kept])).combine_chunks())
        elif name == "open_time":
            columns.append(pa.array(bucket[starts][kept]).cast(BAR_SCHEMA.field(name).type))
        else:
            integer = pa.types.is_timestamp(kind) or (pa.types.is_integer(kind) and not bars.column(name).null_count)
            values = np.asarray(bars.column(name).cast(pa.int64() if integer else pa.float64()))
            columns.append(pa.array(fold(values, starts, ends, kinds[name])[kept]).cast(kind))
    return pa.table(columns, names=bars.column_names)
