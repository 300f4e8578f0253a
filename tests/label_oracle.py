"""Every label again, bar by bar in plain Python and pandas, sharing no idea with the engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

NOTHING = (math.nan, math.nan, -1, None)


@dataclass(frozen=True)
class Expected:
    """One list entry per row of the frame."""

    value: list[float]
    ret: list[float]
    side: list[int]
    t_end: list[Any]


def expected(frame: pd.DataFrame, kind: str, h: int, threshold: float, tp: float = 0.03, sl: float = 0.02) -> Expected:
    """Labels of a frame with columns symbol, close_at, open, high, low, close; NaN for null."""
    out: dict[Any, tuple[float, float, int, Any]] = dict.fromkeys(frame.index, NOTHING)
    for _, one in frame.groupby("symbol"):
        bars = one.sort_values("close_at")
        volatility = (bars["close"] / bars["close"].shift(1) - 1).rolling(20).std(ddof=0)
        rows = list(bars.itertuples())
        for i, bar in enumerate(rows):
            if kind == "triple_barrier":
                out[bar.Index] = _barrier(rows, i, h, tp, sl)
                continue
            if i + h >= len(rows):
                continue
            ret = rows[i + h].close / bar.close - 1
            if math.isnan(ret):
                continue
            value = ret
            if kind == "volatility_scaled":
                scale = volatility.iloc[i] * math.sqrt(h)
                if not scale > 0:
                    continue
                value = ret / scale
            if kind == "win_loss":
                value = float(ret > threshold)
            side = (2 if value else 0) if kind == "win_loss" else _side(value, threshold)
            out[bar.Index] = (value, ret, side, rows[i + h].close_at)
    if kind == "market_neutral":
        out = _neutral(frame, out, threshold)
    return Expected(*(list(column) for column in zip(*(out[i] for i in frame.index), strict=True)))


def _side(value: float, threshold: float) -> int:
    return 2 if value > threshold else 0 if value < -threshold else 1


def _neutral(frame: pd.DataFrame, raw: dict[Any, Any], threshold: float) -> dict[Any, Any]:
    out = dict.fromkeys(frame.index, NOTHING)
    for _, market in frame.groupby("close_at"):
        labelled = [i for i in market.index if raw[i][2] >= 0]
        if len(labelled) < 5:
            continue
        mean = math.fsum(raw[i][1] for i in labelled) / len(labelled)
        last = max(raw[i][3] for i in labelled)
        for i in labelled:
            value = raw[i][1] - mean
            out[i] = (value, raw[i][1], _side(value, threshold), last)
    return out


def _barrier(rows: list[Any], i: int, h: int, tp: float, sl: float) -> tuple[float, float, int, Any]:
    entry = rows[i].close
    for step in range(1, h + 1):
        if i + step >= len(rows):
            return NOTHING
        bar = rows[i + step]
        if math.isnan(entry) or np.isnan([bar.high, bar.low]).any():
            return NOTHING
        if bar.low <= entry * (1 - sl):
            return -sl, min(-sl, bar.open / entry - 1) if bar.open < entry * (1 - sl) else -sl, 0, bar.close_at
        if bar.high >= entry * (1 + tp):
            return tp, max(tp, bar.open / entry - 1) if bar.open > entry * (1 + tp) else tp, 2, bar.close_at
    ret = rows[i + h].close / entry - 1
    return NOTHING if math.isnan(ret) else (ret, ret, 1, rows[i + h].close_at)
