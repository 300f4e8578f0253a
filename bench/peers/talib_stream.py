"""TA-Lib's own incremental API (0.8): all 17 columns, one bar at a time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from talib import stream

from bench.columns import KLINE17

# Every indicator opens on history; the longest of them needs 50 bars.
HISTORY = 60


class TalibStream:
    """The 17 columns; the first `HISTORY` bars are collected to open the indicators on."""

    names = KLINE17

    def __init__(self) -> None:
        self._closes: list[float] = []
        self._volumes: list[float] = []
        self._open = False

    def push(self, open_: float, high: float, low: float, close: float, volume: float) -> tuple[float, ...] | None:
        """Return the 17 values, or None while history is collected."""
        closes, volumes = self._closes, self._volumes
        closes.append(close)
        volumes.append(volume)
        if not self._open:
            if len(closes) == HISTORY:
                self._start()
            return None
        ret = close / closes[-2] - 1.0
        fast, middle, slow = self._ema_10(close), self._ema_20(close), self._ema_50(close)
        macd, signal, hist = self._macd(close)
        mean, width = self._mean(close), self._width(close)
        return (
            ret,
            (high - low) / close,
            volume / volumes[-2] - 1.0,
            volume / self._mean_volume(volume),
            fast,
            middle,
            slow,
            fast / middle - 1.0,
            fast / slow - 1.0,
            self._rsi(close),
            macd,
            signal,
            hist,
            (close - mean) / width + 0.5,
            width / mean,
            close - closes[-11],
            self._volatility(ret),
        )

    def _start(self) -> None:
        close, volume = np.array(self._closes), np.array(self._volumes)
        returns = np.array([b / a - 1.0 for a, b in pairwise(self._closes)])
        self._ema_10 = stream.EMA(close, timeperiod=10).update
        self._ema_20 = stream.EMA(close, timeperiod=20).update
        self._ema_50 = stream.EMA(close, timeperiod=50).update
        self._rsi = stream.RSI(close, timeperiod=14).update
        self._macd = stream.MACD(close, fastperiod=12, slowperiod=26, signalperiod=9).update
        self._mean = stream.SMA(close, timeperiod=20).update
        self._width = stream.STDDEV(close, timeperiod=20, nbdev=4.0).update
        self._mean_volume = stream.SMA(volume, timeperiod=20).update
        self._volatility = stream.STDDEV(returns, timeperiod=20, nbdev=1.0).update
        self._open = True
