"""What a model is to predict: what a decision at the close of a bar earns, its class, and when that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qtfeat import _core, _tables
from qtfeat._columns import count, plain, symbols, wide
from qtfeat._times import array_ns, interval_ns, refuse_longer, unit_ns
from qtfeat.errors import SchemaError

SIDES = ("SELL", "HOLD", "BUY")
"""Class names; a class is an index into them."""

Kind = Literal["forward", "volatility_scaled", "market_neutral", "win_loss", "triple_barrier"]
OnBad = Literal["raise", "null", "reset"]
Floats = npt.NDArray[np.float64]
Sides = npt.NDArray[np.int8]
Times = npt.NDArray[np.datetime64]

THRESHOLDS: Mapping[str, float] = {
    "forward": 0.005,
    "volatility_scaled": 0.5,
    "market_neutral": 0.005,
    "win_loss": 0.0,
    "triple_barrier": 0.0,
}
"""Default threshold of each kind, in units of its `value`."""


# The prices that the engine accepts.
_PRICES = (1e-110, 1e110)


@dataclass(frozen=True, slots=True)
class Labels:
    """One label per row, in the caller's order. A row without a label is empty in every field but `t`.

    Attributes:
        value: float64, what a regressor is to predict; NaN where there is none.
        ret: float64, the raw return realised over `[t, t_end]`, a fraction; NaN where there is none. Equals `value`
            for kind "forward". (For "market_neutral" the row's own outcome may be known a little before `t_end`.)
        side: int8 class, 0 SELL, 1 HOLD, 2 BUY; -1 where there is none.
        t: datetime64[ns], when the decision can be made: the close time of the row's bar (the entry of a trade).
        t_end: datetime64[ns], when the outcome is known: the close time of the bar that decides it (the exit of a
            trade); NaT where there is none. Both ends belong to the interval.
        kind: which label this is.
        horizon: most bars ahead; 0 where bars are not what ends it.
        threshold: what separates HOLD from BUY and SELL, in units of `value`.
        label_leak: True if the features of these rows were made from their outcomes (see `qtfeat.synthetic`); nothing
            that learnt from them may go further than a shadow model.
        settings: further settings of the kind: `take_profit` and `stop_loss` of "triple_barrier".
    """

    value: Floats
    ret: Floats
    side: Sides
    t: Times
    t_end: Times
    kind: str = "forward"
    horizon: int = 0
    threshold: float = 0.0
    label_leak: bool = False
    settings: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        """Rows."""
        return len(self.side)

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """True where the row has a label."""
        return self.side >= 0


def make_labels(
    bars: Any,
    kind: Kind = "forward",
    horizon: int = 5,
    threshold: float | None = None,
    *,
    take_profit: float = 0.03,
    stop_loss: float = 0.02,
    by: str | None = "symbol",
    time: str = "open_time",
    interval: Any = None,
    time_unit: str | None = None,
    on_bad: OnBad = "raise",
) -> Labels:
    """Label every bar of a panel.

    The kinds, r being the return over the next `horizon` bars of the same symbol:

    - "forward": `value` is r; BUY above `threshold`, SELL below minus it, HOLD within (a fraction, default 0.005).
    - "volatility_scaled": `value` is r / (volatility(20) * sqrt(horizon)), the feature at the bar; none in its warm-up
      and where it is 0. The threshold applies to this `value`, in standard deviations (default 0.5), not to r.
    - "market_neutral": `value` is r less the equal-weighted mean r of all symbols that have one at the same close
      time, itself included; none with fewer than 5. `t_end` is the latest of theirs. The threshold applies to this
      `value`, a fraction (default 0.005), not to r.
    - "win_loss": `value` is 1.0 and BUY where r is above `threshold` (default 0), else 0.0 and SELL.
    - "triple_barrier": a long position from the close. `value` is `take_profit` (BUY) or -`stop_loss` (SELL), by the
      barrier that a high or low of the next `horizon` bars touches first, else r (HOLD). A bar that touches both is a
      stop. Where a bar opens beyond a barrier, `ret` is the return to that open. Not used: `threshold`.

    Args:
        bars: a table or dict, as in `qtfeat.compute`, with `close`, the `by` and `time` columns, for barriers `open`,
            `high` and `low` too; rows in any order. With a column `close_time`, that is when bars close.
        kind: which label.
        horizon: bars ahead, at least 1; over a hole in the bars that takes longer, and `t_end` says so.
        threshold: what separates HOLD from BUY and SELL; None for the default of the kind.
        take_profit: rise that is taken, a fraction.
        stop_loss: fall at which the position is left, a fraction below 1.
        by: column that names the symbol; None for one symbol.
        time: column of open times, without nulls.
        interval: length of a bar ("1h", a timedelta), where there is no `close_time`. None takes the most common
            distance between bars, if there is no doubt about it. Bars may have gaps, but three bars or more of a
            symbol, and no two that follow each other as close as that in any symbol, are refused.
        time_unit: unit of integer times.
        on_bad: what to do with a price that no bar can have: "raise", or "null" for a null bar. "reset", as in
            `qtfeat.compute`, is "null" here.

    Returns:
        The labels, one per bar. None have the last bars of each symbol and those whose outcome needs a null bar;
        null bars count as bars.

    Raises:
        SchemaError: a missing column, a null time or symbol, a price that no bar can have, a bad setting, or bars that
            do not tell their length; `.column`, `.row` and `.value` where one is concerned.
        UnsortedError: two bars of a symbol at the same time.
    """
    if not isinstance(kind, str) or kind not in THRESHOLDS:
        raise SchemaError(f"labels: kind must be one of {', '.join(map(repr, THRESHOLDS))}, not {kind!r}")
    horizon = count(horizon, "labels: horizon")
    limit = _number(THRESHOLDS[kind] if threshold is None else threshold, "threshold")
    barriers = (_number(take_profit, "take_profit"), _number(stop_loss, "stop_loss"))
    if on_bad not in ("raise", "null", "reset"):
        raise SchemaError(f"labels: on_bad must be 'raise', 'null' or 'reset', not {on_bad!r}")
    panel, _ = panel_of(bars, by=by, time=time, interval=interval, time_unit=time_unit, prices=kind == "triple_barrier")
    if on_bad != "raise":
        panel = _without_bad(panel)
    value, ret, side, t, t_end = _core.label_panel(panel, kind, horizon, limit, barriers)
    settings = dict(zip(("take_profit", "stop_loss"), barriers, strict=True)) if kind == "triple_barrier" else {}
    return Labels(value, ret, side, _stamps(t), _stamps(t_end), kind, horizon, limit, settings=settings)


def forward_labels(
    bars: Any,
    horizon: int = 5,
    threshold: float = 0.005,
    *,
    by: str | None = "symbol",
    time: str = "open_time",
    interval: Any = None,
) -> Labels:
    """Label every bar with the return over the next `horizon` bars of its symbol: `make_labels` of kind "forward"."""
    return make_labels(bars, "forward", horizon, threshold, by=by, time=time, interval=interval)


def sides(value: Floats, threshold: float) -> Sides:
    """Classes of outcomes, all of them finite: BUY above `threshold`, SELL below minus it, HOLD within.

    Raises:
        SchemaError: a threshold that is negative or not finite.
    """
    limit = _number(threshold, "threshold")
    if not 0.0 <= limit < np.inf:
        raise SchemaError(f"labels: threshold must be finite and not negative, got {limit}")
    return np.where(value > limit, np.int8(2), np.where(value < -limit, np.int8(0), np.int8(1)))


def panel_of(
    bars: Any,
    *,
    by: str | None = "symbol",
    time: str = "open_time",
    interval: Any = None,
    time_unit: str | None = None,
    prices: bool = False,
) -> tuple[_core._Panel, list[str]]:
    """Read what labels need of a table of bars, checked: the columns for the core, and the names of the symbols.

    Arguments and errors as in `make_labels`.
    """
    have = _tables.names(held := _tables.held(bars))
    own_times = "close_time" in have and time != "close_time"
    wanted = ["close", time, *(["open", "high", "low"] if prices else []), *(["close_time"] if own_times else [])]
    for name in (*wanted, *([by] if by else [])):
        if name not in have:
            raise SchemaError(f"labels need a column {name!r}; there are {', '.join(map(repr, have))}", column=name)
    columns = _tables.arrays(held, wanted)
    codes, names = (None, [""]) if by is None else _symbols(held, by)
    unit = unit_ns(time_unit)
    length = None if interval is None else interval_ns(interval)
    opened = array_ns(columns[time], unit, time)
    if length is not None and not own_times:
        refuse_longer(codes, opened, length, "labels")
    return {
        "symbols": codes,
        "open_time": opened,
        "close_time": array_ns(columns["close_time"], unit, "close_time") if own_times else None,
        "interval": length,
        "prices": (wide(columns["open"], "open"), wide(columns["high"], "high"), wide(columns["low"], "low"))
        if prices
        else None,
        "close": wide(columns["close"], "close"),
    }, names


def _without_bad(panel: _core._Panel) -> _core._Panel:
    """The same bars, null where a price is none or does not fit the others."""
    close, prices = panel["close"], panel["prices"]
    read = np.stack([close] if prices is None else [close, *prices])
    bad = ~((read >= _PRICES[0]) & (read <= _PRICES[1])).all(axis=0)  # NaN is bad too
    if prices is not None:
        open_, high, low = prices
        bad |= (np.minimum(open_, close) < low) | (np.maximum(open_, close) > high) | (high < low)
    close, *rest = np.where(bad, np.nan, read)
    return {**panel, "close": close, "prices": None if prices is None else (rest[0], rest[1], rest[2])}


def _symbols(bars: Any, by: str) -> tuple[npt.NDArray[np.int64], list[str]]:
    """A number per row that tells symbols apart, and their names."""
    if _tables.kind(bars) in ("dict", "pandas"):
        return symbols(_tables.arrays(bars, [by])[by], by)
    column = pa.table(bars)[by]
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_integer(kind) or str(kind) in ("string", "large_string", "string_view", "null")):
        raise SchemaError(f"column {by!r} has {column.type}: texts, integers or categories are needed", column=by)
    column = _decoded(column)
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise SchemaError(f"column {by!r}, row {row}: the symbol is null", column=by, row=row)
    codes, names = _encoded(column)
    return codes.astype(np.int64), [str(name) for name in names]


def symbol_codes(column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    """Return a number per row that tells symbols apart, by order of first appearance."""
    return _encoded(column)[0]


def _encoded(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], list[Any]]:
    """Numbers by order of first appearance, and the names they stand for."""
    chunks = pc.dictionary_encode(_decoded(column)).chunks
    # Encoding a chunked column gives every chunk the same dictionary.
    codes = np.concatenate([np.zeros(0, np.int32), *(np.asarray(chunk.indices, np.int32) for chunk in chunks)])
    return codes, chunks[-1].dictionary.to_pylist() if chunks else []


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A dictionary as its values: it may hold names that no row has, or a null."""
    if not pa.types.is_dictionary(column.type):
        return column
    kind = column.type.value_type
    # Arrow cannot take views (polars' categories) from a dictionary.
    kind = pa.large_string() if str(kind) == "string_view" else kind
    return pa.chunked_array([part.dictionary.cast(kind).take(part.indices) for part in column.chunks], kind)


def _stamps(ns: npt.NDArray[np.int64]) -> Times:
    return ns.view("datetime64[ns]")


def _number(value: Any, name: str) -> float:
    array = plain(value, name)
    if array.ndim != 0 or array.dtype.kind not in "fiu":
        raise SchemaError(f"labels: {name} must be a number, not {value!r}")
    return float(array)
