"""What a model is to predict: the return over the next bars, its class, and when it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qtfeat import _core
from qtfeat.errors import SchemaError

SIDES = ("SELL", "HOLD", "BUY")
"""Class names; a class is an index into them."""

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class Labels:
    """One label per row of the bars, in the caller's order.

    Attributes:
        value: return over the next `horizon` bars of the same symbol, a fraction; NaN where it is not known yet.
        side: int8 class, 0 SELL, 1 HOLD, 2 BUY; -1 where there is none.
        t: datetime64, the bar's own time.
        t_end: datetime64, the time of the bar that decides the outcome; NaT where there is none. A bar stands for its
            open time on both sides, so `[t, t_end]` is the interval of the outcome less one bar at either end.
    """

    value: Floats
    side: npt.NDArray[np.int8]
    t: Times
    t_end: Times

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """True where the row has a label."""
        return self.side >= 0


def forward_labels(
    bars: Any, horizon: int = 5, threshold: float = 0.005, *, by: str | None = "symbol", time: str = "open_time"
) -> Labels:
    """Label every bar with the return over the next `horizon` bars of its symbol.

    Args:
        bars: anything Arrow with a `close`, the `by` and the `time` column; rows in any order.
        horizon: bars ahead, at least 1.
        threshold: BUY above it, SELL below minus it, HOLD within; a fraction.
        by: column that names the symbol; None for one symbol.
        time: column of timestamps, without nulls.

    Returns:
        The labels. The last `horizon` bars of each symbol, and bars whose outcome needs a null close, have none.

    Raises:
        SchemaError: a missing column, a null time or symbol, a close that is not positive, or a bad setting.
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

    forward = np.full(len(close), np.nan)
    side = np.full(len(close), -1, dtype=np.int8)
    end = np.full(len(close), "NaT", dtype=start.dtype)
    for rows in np.split(order, bounds):
        try:
            forward[rows], side[rows], last = _core.forward_labels(close[rows], horizon, threshold)
        except (ValueError, OverflowError) as error:
            raise SchemaError(f"labels: {error}") from error
        has = last >= 0
        end[rows[has]] = start[rows[last[has]]]
    return Labels(forward, side, start, end)


def symbol_codes(column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    """Return a number per row that tells symbols apart, by order of first appearance."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    chunks = pc.dictionary_encode(column).chunks
    # Encoding a chunked column gives every chunk the same dictionary.
    return np.concatenate([np.zeros(0, np.int32), *(np.asarray(chunk.indices, np.int32) for chunk in chunks)])
