"""Labels in pandas (forward return) and in NumPy (triple barrier), panel-aware, as leanly as we could."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.columns import Columns
from bench.data import Array

STEP = np.timedelta64(3_600_000_000_000, "ns")


def forward(frame: Any, horizon: int, threshold: float) -> dict[str, Any]:
    """Return, class and times of a pandas frame in time order within each symbol."""
    by = frame.groupby("symbol", sort=False)
    value = (by["close"].shift(-horizon) / frame["close"] - 1).to_numpy()
    t_end = (by["open_time"].shift(-horizon) + STEP).to_numpy()
    side = np.select([np.isnan(value), value > threshold, value < -threshold], [-1, 2, 0], 1)
    return {"value": value, "side": side, "t_end": t_end}


def barrier(symbols: list[dict[str, Array]], horizon: int, take_profit: float, stop_loss: float) -> Columns:
    """First barrier of every bar, symbol after symbol: all steps of the horizon at once."""
    values, sides = [], []
    for one in symbols:
        value, side = _barrier(one["high"], one["low"], one["close"], horizon, take_profit, stop_loss)
        values.append(value)
        sides.append(side)
    return {"value": np.concatenate(values), "side": np.concatenate(sides)}


def _barrier(high: Array, low: Array, close: Array, h: int, tp: float, sl: float) -> tuple[Array, Array]:
    rows = close.size
    upper, lower = close * (1 + tp), close * (1 - sl)
    value, side = np.full(rows, np.nan), np.full(rows, -1.0)
    value[:-h], side[:-h] = close[h:] / close[:-h] - 1, 1.0
    # Later steps first, so that the first touch has the last word; in one bar the stop has it.
    for step in range(h, 0, -1):
        up = np.flatnonzero(high[step:] >= upper[:-step])
        value[up], side[up] = tp, 2.0
        down = np.flatnonzero(low[step:] <= lower[:-step])
        value[down], side[down] = -sl, 0.0
    return value, side


def comparable(columns: dict[str, Any]) -> Columns:
    """Numbers without nulls: times as seconds, and -9 where there is no label."""
    out: Columns = {}
    for name, values in columns.items():
        dated = values.dtype.kind == "M"
        empty = np.isnat(values) if dated else np.isnan(values)
        out[name] = (values.astype("datetime64[s]") if dated else values).astype(np.float64)
        out[name][empty] = -9.0
    return out
