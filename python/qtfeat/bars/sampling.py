"""Bars from trades: by time, by volume, by money."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qtfeat.bars.calendar import bucket_starts, interval_ms
from qtfeat.bars.group import Ints, fold, fold_trades, refuse_unsorted, runs, symbol_codes
from qtfeat.bars.schema import BAR_SCHEMA, KLINE_SCHEMA
from qtfeat.errors import BadBarError, SchemaError

Floats = npt.NDArray[np.float64]

SAMPLED_SCHEMA = pa.schema(
    [
        *BAR_SCHEMA,
        *(KLINE_SCHEMA.field(name) for name in ("close_time", "quote_volume", "count", "taker_buy_volume")),
    ]
)


def time_bars(trades: pa.Table, interval: str) -> pa.Table:
    """Make bars of equal duration from trades.

    A trade at time t belongs to the bar with open_time <= t < open_time + interval; open times are multiples of the
    interval since 1970-01-01 UTC (weeks on Mondays). Where nothing was traded there is no bar: a gap, not a copy.
    The last bar has what was traded so far; leave it out unless its time is over.

    Args:
        trades: `TRADE_SCHEMA` (symbol, time, price, amount; taker_buys if known), sorted by symbol and time.
        interval: such as `"1s"`, `"1m"`, `"1h"`.

    Returns:
        `BAR_SCHEMA` with close_time (the last millisecond of the bar), quote_volume (sum of price * amount), count and
        taker_buy_volume (null where a side is unknown).

    Raises:
        SchemaError, UnsortedError, BadBarError: trades that `read_trades` would not give.
    """
    width = interval_ms(interval)
    source = _Trades(trades)
    bucket = bucket_starts(source.time, width)
    starts, ends = runs(source.code, bucket)
    opened = bucket[starts]
    return source.bars(starts, ends, opened, opened + width - 1)


def volume_bars(trades: pa.Table, volume: float) -> pa.Table:
    """Make bars that each hold at least `volume` of the base asset.

    A bar closes with the first millisecond in which the amount since its first trade reaches the threshold. Trades of
    one millisecond are never divided between bars: so open times strictly increase, and a bar depends only on trades up
    to its close. What is left at the end fills no bar and is left out.

    Args:
        trades: as for `time_bars`.
        volume: above 0, in units of the base asset.

    Returns:
        As `time_bars`; open_time and close_time are those of the first and last trade.

    Raises:
        SchemaError, UnsortedError, BadBarError: trades that `read_trades` would not give, or no threshold above 0.
    """
    return _threshold_bars(trades, volume, "volume", lambda source: source.amount)


def dollar_bars(trades: pa.Table, value: float) -> pa.Table:
    """Make bars that each hold trades worth at least `value` in the quote asset; else as `volume_bars`."""
    return _threshold_bars(trades, value, "value", lambda source: source.price * source.amount)


def _threshold_bars(trades: pa.Table, threshold: float, name: str, weight: Callable[[_Trades], Floats]) -> pa.Table:
    if not (np.isfinite(threshold) and threshold > 0):
        raise SchemaError(f"{name} must be a number above 0, got {threshold!r}")
    source = _Trades(trades)
    first, last = runs(source.code, source.time)
    moment = fold(weight(source), first, last, "sum")
    begins, ends = _cuts(source.code[first], moment, threshold)
    starts, stops = first[begins], last[ends - 1]
    return source.bars(starts, stops, source.time[starts], source.time[stops - 1])


def _cuts(code: Ints, weight: Floats, threshold: float) -> tuple[Ints, Ints]:
    """Return (starts, ends) of the runs of moments that reach the threshold, symbol by symbol."""
    begins: list[int] = []
    ends: list[int] = []
    for low, high in zip(*runs(code), strict=True):
        start = int(low)
        while start < high:
            end = _reach(weight, start, int(high), threshold)
            if end < 0:
                break
            begins.append(start)
            ends.append(end)
            start = end
    return np.array(begins, dtype=np.int64), np.array(ends, dtype=np.int64)


def _reach(weight: Floats, start: int, high: int, threshold: float) -> int:
    """The end (exclusive) of the shortest run from `start` that reaches the threshold; -1 if none does.

    The sum starts anew with each bar, so that a bar is the same whatever came before it.
    """
    size, total = 64, 0.0
    while start < high:
        piece = weight[start : min(start + size, high)]
        sums = np.cumsum(np.concatenate(([total], piece)))[1:]
        at = int(np.searchsorted(sums, threshold, side="left"))
        if at < len(sums):
            return start + at + 1
        start, total, size = start + len(piece), float(sums[-1]), min(2 * size, 1 << 16)
    return -1


class _Trades:
    """The columns of a table of trades, checked."""

    def __init__(self, trades: pa.Table) -> None:
        missing = [name for name in ("time", "price", "amount") if name not in trades.column_names]
        if missing:
            raise SchemaError(f"no column {', '.join(map(repr, missing))}; read_trades gives them", column=missing[0])
        self.code, self.names = symbol_codes(trades)
        stamps = trades.column("time").cast(BAR_SCHEMA.field("open_time").type, safe=False)
        if stamps.null_count:
            raise SchemaError("column 'time' has nulls; a trade without a time has no bar", column="time")
        self.time: Ints = np.asarray(stamps.cast(pa.int64()))
        self.price = self._above_zero(trades, "price")
        self.amount = self._above_zero(trades, "amount")
        buys = trades.column("taker_buys").combine_chunks() if "taker_buys" in trades.column_names else None
        self.bought: Floats | None = None
        if buys is not None and not buys.null_count:
            self.bought = np.where(np.asarray(buys.to_numpy(zero_copy_only=False), dtype=np.bool_), self.amount, 0.0)
        refuse_unsorted(self.code, self.time, self.names, "time", strictly=False)

    @staticmethod
    def _above_zero(trades: pa.Table, name: str) -> Floats:
        values = np.asarray(trades.column(name).cast(pa.float64()).to_numpy())
        wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(wrong):
            row = int(wrong[0])
            raise BadBarError(
                f"row {row}: {name} {values[row]:g} is not a number above 0",
                column=name,
                row=row,
                value=float(values[row]),
            )
        return values

    def bars(self, starts: Ints, ends: Ints, opened: Ints, closed: Ints) -> pa.Table:
        """Fold each run of trades into a bar."""
        stamp = BAR_SCHEMA.field("open_time").type
        bought = (
            pa.nulls(len(starts), pa.float64())
            if self.bought is None
            else pa.array(fold(self.bought, starts, ends, "sum"))
        )
        columns = [
            pa.array([self.names[code] for code in self.code[starts]], pa.string()),
            pa.array(opened).cast(stamp),
            *map(pa.array, fold_trades(self.price, self.amount, starts, ends)),
            pa.array(closed).cast(stamp),
            pa.array(fold(self.price * self.amount, starts, ends, "sum")),
            pa.array(ends - starts),
            bought,
        ]
        return pa.table(columns, schema=SAMPLED_SCHEMA)
