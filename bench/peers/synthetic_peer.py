"""Synthetic windows in NumPy, all at once, and trade14 of the last row of each with TA-Lib."""

from __future__ import annotations

import numpy as np
from talib import _ta_lib as ta

from bench.data import Array

TRADE14 = (
    *("rsi", "macd", "macd_signal", "macd_hist", "bb_upper", "bb_lower", "bb_pct", "bb_width", "volatility", "ret"),
    *("range_hl", "volume_ratio", "ema_cross", "momentum"),
)


def windows(pnl: Array, bars: int, rho: float, seed: int, signal_bars: int = 10, volatility: float = 0.01) -> Array:
    """Return `(n, bars, 5)` paths before an entry, drawn as qtfeat describes it, from NumPy's own numbers."""
    rng = np.random.default_rng(seed)
    n = len(pnl)
    returns = rng.standard_normal((n, bars))
    last = returns[:, -signal_bars:].sum(axis=1)
    target = rho * (pnl - pnl.mean()) / pnl.std() * np.sqrt(signal_bars) + np.sqrt(1 - rho * rho) * last
    returns[:, -signal_bars:] += ((target - last) / signal_bars)[:, None]
    returns *= volatility
    base = 10.0 ** rng.uniform(-4, 5, (n, 1))
    out = np.empty((n, bars, 5))
    open_, high, low, close, volume = (out[:, :, k] for k in range(5))
    close[:] = base * np.exp(np.cumsum(returns, axis=1))
    open_[:, 0] = base[:, 0]
    open_[:, 1:] = close[:, :-1] * (1 + 0.1 * volatility * rng.uniform(-1, 1, (n, bars - 1)))
    high[:] = np.maximum(open_, close) * (1 + 0.8 * volatility * rng.random((n, bars)) ** 2)
    low[:] = np.minimum(open_, close) * (1 - 0.8 * volatility * rng.random((n, bars)) ** 2)
    size = (0.5 + rng.random((n, bars))) * (0.5 + np.abs(returns) / volatility)
    volume[:] = 10.0 ** rng.uniform(0, 8, (n, 1)) * size
    return out


def last_row(window: Array) -> tuple[float, ...]:
    """Return trade14 of the last row of one `(rows, 5)` window; sliding columns see only the rows they need."""
    close = np.ascontiguousarray(window[:, 3])
    recent = close[-21:]
    last = recent.item(-1)
    macd, signal, hist = ta.MACD(close, fastperiod=12, slowperiod=26, signalperiod=9)
    mean = sum(recent[-10:].tolist()) / 10.0
    width = ta.STDDEV(recent[-10:], timeperiod=10, nbdev=4.0).item(-1)
    volumes = window[-20:, 4].tolist()
    returns = recent[1:] / recent[:-1]
    return (
        ta.RSI(close, timeperiod=14).item(-1),
        macd.item(-1),
        signal.item(-1),
        hist.item(-1),
        mean + 0.5 * width,
        mean - 0.5 * width,
        (last - mean) / width + 0.5,
        width / mean,
        ta.STDDEV(returns, timeperiod=20, nbdev=1.0).item(-1),
        last / recent.item(-2) - 1.0,
        float(window[-1, 1] - window[-1, 2]) / last,
        volumes[-1] / (sum(volumes) / 20.0),
        ta.EMA(close, timeperiod=10).item(-1) / ta.EMA(close, timeperiod=20).item(-1) - 1.0,
        last - recent.item(-11),
    )


def features(pnl: Array, bars: int, rho: float, seed: int) -> Array:
    """Return trade14 of windows drawn for `pnl`, (n, 14)."""
    return np.array([last_row(window) for window in windows(pnl, bars, rho, seed)])
