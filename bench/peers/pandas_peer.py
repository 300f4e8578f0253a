"""pandas: the 17 columns as its users write them (rolling and ewm)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.columns import KLINE17, Columns
from bench.data import FIELDS, Array


def _rsi(close: pd.Series[float]) -> pd.Series[float]:
    change = close.diff()
    gain = change.clip(lower=0.0).ewm(alpha=1 / 14, adjust=False).mean()
    loss = (-change).clip(lower=0.0).ewm(alpha=1 / 14, adjust=False).mean()
    return 100.0 * gain / (gain + loss)


def kline17(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame of the 17 columns for one series with columns `open high low close volume`."""
    close, volume = frame["close"], frame["volume"]
    ema = {span: close.ewm(span=span, adjust=False).mean() for span in (10, 12, 20, 26, 50)}
    macd = ema[12] - ema[26]
    signal = macd.ewm(span=9, adjust=False).mean()
    rolling = close.rolling(20)
    mean, width = rolling.mean(), 4.0 * rolling.std(ddof=0)
    ret = close.pct_change()
    return pd.DataFrame(
        {
            "ret": ret,
            "range_hl": (frame["high"] - frame["low"]) / close,
            "volume_change": volume.pct_change(),
            "volume_ratio": volume / volume.rolling(20).mean(),
            "ema_10": ema[10],
            "ema_20": ema[20],
            "ema_50": ema[50],
            "ema_cross_10_20": ema[10] / ema[20] - 1.0,
            "ema_cross_10_50": ema[10] / ema[50] - 1.0,
            "rsi": _rsi(close),
            "macd": macd,
            "macd_signal": signal,
            "macd_hist": macd - signal,
            "bb_pct": (close - mean) / width + 0.5,
            "bb_width": width / mean,
            "momentum": close.diff(10),
            "volatility": ret.rolling(20).std(ddof=0),
        },
        copy=False,
    )


def columns(frame: pd.DataFrame) -> Columns:
    """Return the frame's columns as float64 arrays."""
    return {str(name): frame[name].to_numpy(dtype=np.float64) for name in frame.columns}


def last_row(window: Array) -> tuple[float, ...]:
    """Return the 17 values of the last row of one `(rows, 5)` window, through a frame."""
    row = kline17(pd.DataFrame(window, columns=list(FIELDS))).iloc[-1]
    return tuple(float(row[name]) for name in KLINE17)
