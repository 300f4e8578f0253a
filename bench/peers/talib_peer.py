"""TA-Lib + NumPy, the leanest form of the 17 columns that we could find.

The typed entry points (`talib._ta_lib`) skip the pandas/polars wrapper; a mean is computed once
and used by both Bollinger columns; elementwise work runs in blocks that stay in cache, into
buffers made once.
"""

from __future__ import annotations

import numpy as np
from talib import _ta_lib as ta

from bench.columns import Columns
from bench.data import Array, Bars

BLOCK = 16_384


def kline17(bars: Bars) -> Columns:
    """Return the 17 columns of one series; rows before a column's warm-up are NaN."""
    close, volume = bars["close"], bars["volume"]
    rows = close.size
    macd, signal, hist = ta.MACD(close, fastperiod=12, slowperiod=26, signalperiod=9)
    out: Columns = {
        "ema_10": ta.EMA(close, timeperiod=10),
        "ema_20": ta.EMA(close, timeperiod=20),
        "ema_50": ta.EMA(close, timeperiod=50),
        "rsi": ta.RSI(close, timeperiod=14),
        "macd": macd,
        "macd_signal": signal,
        "macd_hist": hist,
        "momentum": ta.MOM(close, timeperiod=10),
        # In place below: mean volume -> volume_ratio, 4 sd -> bb_width, mean -> bb_pct.
        "volume_ratio": ta.SMA(volume, timeperiod=20),
        "bb_width": ta.STDDEV(close, timeperiod=20, nbdev=4.0),
        "bb_pct": ta.SMA(close, timeperiod=20),
    }
    for name in ("ret", "range_hl", "volume_change", "ema_cross_10_20", "ema_cross_10_50"):
        out[name] = np.empty(rows)
    out["ret"][0] = out["volume_change"][0] = np.nan
    for start in range(0, rows, BLOCK):
        _elementwise(bars, out, slice(start, min(start + BLOCK, rows)))
    out["volatility"] = ta.STDDEV(out["ret"], timeperiod=20, nbdev=1.0)
    return out


def _change(source: Array, target: Array, part: slice) -> None:
    first = max(part.start, 1)
    into = target[first : part.stop]
    np.divide(source[first : part.stop], source[first - 1 : part.stop - 1], out=into)
    into -= 1.0


def _elementwise(bars: Bars, out: Columns, part: slice) -> None:
    close = bars["close"][part]
    _change(bars["close"], out["ret"], part)
    _change(bars["volume"], out["volume_change"], part)
    into = out["range_hl"][part]
    np.subtract(bars["high"][part], bars["low"][part], out=into)
    into /= close
    into = out["volume_ratio"][part]
    np.divide(bars["volume"][part], into, out=into)
    fast = out["ema_10"][part]
    for slow in ("20", "50"):
        into = out[f"ema_cross_10_{slow}"][part]
        np.divide(fast, out[f"ema_{slow}"][part], out=into)
        into -= 1.0
    mean, width = out["bb_pct"][part], out["bb_width"][part]
    inverse = close - mean
    inverse /= width
    inverse += 0.5
    width /= mean
    mean[:] = inverse


def last_row(window: Array) -> tuple[float, ...]:
    """Return the 17 values of the last row of one `(rows, 5)` window.

    Columns of finite memory see only the rows they need, the recursive ones the whole window.
    """
    high, low = window[-1, 1], window[-1, 2]
    close = np.ascontiguousarray(window[:, 3])
    recent = close[-21:]
    closes = recent.tolist()
    volumes = window[-20:, 4].tolist()
    last, before = closes[-1], closes[-2]
    macd, signal, hist = ta.MACD(close, fastperiod=12, slowperiod=26, signalperiod=9)
    ema_10 = ta.EMA(close, timeperiod=10).item(-1)
    ema_20 = ta.EMA(close, timeperiod=20).item(-1)
    ema_50 = ta.EMA(close, timeperiod=50).item(-1)
    mean = sum(closes[1:]) / 20.0
    width = ta.STDDEV(recent, timeperiod=20, nbdev=4.0).item(-1)
    returns = recent[1:] / recent[:-1]
    return (
        last / before - 1.0,
        float(high - low) / last,
        volumes[-1] / volumes[-2] - 1.0,
        volumes[-1] / (sum(volumes) / 20.0),
        ema_10,
        ema_20,
        ema_50,
        ema_10 / ema_20 - 1.0,
        ema_10 / ema_50 - 1.0,
        ta.RSI(close, timeperiod=14).item(-1),
        macd.item(-1),
        signal.item(-1),
        hist.item(-1),
        (last - mean) / width + 0.5,
        width / mean,
        last - closes[-11],
        ta.STDDEV(returns, timeperiod=20, nbdev=1.0).item(-1),
    )


def ema_chain(bars: Bars) -> Array:
    """Return EMA 10 of the close: one recursive chain, whose latency bounds any one-series run."""
    result: Array = ta.EMA(bars["close"], timeperiod=10)
    return result
