"""What a model is to predict: the return over the next bars, its class, and when it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qtfeat import _core
from qtfeat._times import interval_ns
from qtfeat.errors import SchemaError

SIDES = ("SELL", "HOLD", "BUY")
"""Class names; a class is an index into them."""

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class Labels:
    """One label per row of the bars, in the caller's order. A row without a label is empty in every field but `t`.

    Attributes:
        value: float64, what a regressor is to predict; NaN where there is none.
        ret: float64, the raw return that is realised over `[t, t_end]`, a fraction; NaN where there is none. Equals
            `value` for kind "forward".
        side: int8 class, 0 SELL, 1 HOLD, 2 BUY; -1 where there is none.
        t: datetime64[ns], when the decision can be made: the close time of the row's bar.
        t_end: datetime64[ns], when the outcome is known: the close time of the bar that decides it; NaT where there
            is none. `t` and `t_end` both belong to the interval of the outcome.
        kind: which label this is.
        horizon: bars ahead.
        threshold: what separates HOLD from BUY and SELL, in units of `value`.
        label_leak: True if the rows hold traces of their own outcome (see `docs/labels.md`); nothing made from such
            rows may go further than a shadow model.
    """

    value: Floats
    ret: Floats
    side: npt.NDArray[np.int8]
    t: Times
    t_end: Times
    kind: str = "forward"
    horizon: int = 0
    threshold: float = 0.0
    label_leak: bool = False

    def __len__(self) -> int:
        """Rows."""
        return len(self.side)

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """True where the row has a label."""
        return self.side >= 0


def forward_labels(
    bars: Any,
    horizon: int = 5,
    threshold: float = 0.005,
    *,
    by: str | None = "symbol",
    time: str = "open_time",
    interval: Any = None,
) -> Labels:
    """Label every bar with the return over the next `horizon` bars of its symbol.

    Args:
        bars: anything Arrow with a `close`, the `by` and the `time` column; rows in any order.
        horizon: bars ahead, at least 1.
        threshold: BUY above it, SELL below minus it, HOLD within; a fraction.
        by: column that names the symbol; None for one symbol.
        time: column of open times, without nulls.
        interval: length of a bar ("1h", a timedelta). Not needed where the bars have a `close_time` column; without
            either it is the most common distance between bars.

    Returns:
        The labels. The last `horizon` bars of each symbol, and bars whose outcome needs a null close, have none.

    Raises:
        SchemaError: a missing column, a null time or symbol, a close that is not positive, a bad setting, or bars
            that do not tell their length.
    """
    table = bars if isinstance(bars, pa.Table) else pa.table(bars)
    for name in ("close", time, *([by] if by else [])):
        if name not in table.column_names:
            raise SchemaError(f"labels need a column {name!r}; there are {', '.join(map(repr, table.column_names))}")
        if name != "close" and table[name].null_count:
            raise SchemaError(f"column {name!r} has {table[name].null_count} nulls; every bar needs a value")
    start = np.asarray(table[time].to_numpy())
    if start.dtype.kind != "M":
        raise SchemaError(f"column {time!r} must be a timestamp, not {table[time].type}")
    close = np.asarray(table["close"].cast(pa.float64()).to_numpy(), dtype=np.float64)
    bad = np.flatnonzero((close <= 0.0) | np.isinf(close))
    if len(bad):
        raise SchemaError(f"row {bad[0]}: column 'close' = {close[bad[0]]}: must be positive and finite for a label")
    codes = symbol_codes(table[by]) if by else np.zeros(len(close), dtype=np.int32)
    order = np.lexsort((start, codes))
    bounds = np.flatnonzero(np.diff(codes[order])) + 1
    groups = np.split(order, bounds)
    if "close_time" in table.column_names:
        t = table["close_time"].to_numpy().astype("datetime64[ns]")
    else:
        step = _common_step(start, groups) if interval is None else np.timedelta64(interval_ns(interval), "ns")
        t = start.astype("datetime64[ns]") + step

    forward = np.full(len(close), np.nan)
    side = np.full(len(close), -1, dtype=np.int8)
    end = np.full(len(close), "NaT", dtype="datetime64[ns]")
    for rows in groups:
        try:
            forward[rows], side[rows], last = _core.forward_labels(close[rows], horizon, threshold)
        except (ValueError, OverflowError) as error:
            raise SchemaError(f"labels: {error}") from error
        has = last >= 0
        end[rows[has]] = t[rows[last[has]]]
    return Labels(forward, forward.copy(), side, t, end, "forward", horizon, threshold)


def _common_step(start: Times, groups: list[npt.NDArray[np.intp]]) -> np.timedelta64:
    """Return the most common distance between bars; it must be the smallest one too, or it is ambiguous."""
    steps = np.concatenate([np.diff(start[rows]).astype("timedelta64[ns]") for rows in groups])
    if not len(start):
        return np.timedelta64(0, "ns")
    found, counts = np.unique(steps, return_counts=True)
    best = np.flatnonzero(counts == counts.max(initial=0))
    if len(best) != 1 or best[0] != 0 or found[0] <= np.timedelta64(0, "ns"):
        raise SchemaError("the bars do not tell how long they are: pass interval='1h' or a column close_time")
    return np.timedelta64(found[0])


def symbol_codes(column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    """Return a number per row that tells symbols apart, by order of first appearance."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    chunks = pc.dictionary_encode(column).chunks
    # Encoding a chunked column gives every chunk the same dictionary.
    return np.concatenate([np.zeros(0, np.int32), *(np.asarray(chunk.indices, np.int32) for chunk in chunks)])
