"""Streaming peers: talipp (all 17 columns) and nautilus_trader (its 7 matching indicators)."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from bench.columns import KLINE17, Columns
from bench.data import Array


class Pushable(Protocol):
    """Anything that takes one bar at a time."""

    def push(self, open_: float, high: float, low: float, close: float, volume: float) -> Any:
        """Take one bar and return its values."""


class TalippStream:
    """The 17 columns from talipp indicators plus plain Python arithmetic."""

    names = KLINE17

    def __init__(self) -> None:
        """Start with no bars."""
        from talipp.indicators import BB, EMA, MACD, RSI, SMA, StdDev

        self._ema_10, self._ema_20, self._ema_50 = EMA(10), EMA(20), EMA(50)
        self._rsi, self._macd, self._bb = RSI(14), MACD(12, 26, 9), BB(20, 2.0)
        self._mean_volume, self._volatility = SMA(20), StdDev(20)
        self._closes: list[float] = []
        self._last_volume = float("nan")

    def push(self, open_: float, high: float, low: float, close: float, volume: float) -> tuple[float, ...] | None:
        """Return the 17 values, or None during warm-up."""
        closes = self._closes
        before = closes[-1] if closes else None
        closes.append(close)
        for indicator in (self._ema_10, self._ema_20, self._ema_50, self._rsi, self._macd, self._bb):
            indicator.add(close)
        self._mean_volume.add(volume)
        last_volume, self._last_volume = self._last_volume, volume
        if before is None:
            return None
        ret = close / before - 1.0
        self._volatility.add(ret)
        if len(closes) < 51:
            return None
        band = self._bb[-1]
        return self._row(ret, high - low, close, volume, last_volume, band)

    def _row(
        self, ret: float, span: float, close: float, volume: float, last_volume: float, band: Any
    ) -> tuple[float, ...]:
        fast, middle, slow = self._ema_10[-1], self._ema_20[-1], self._ema_50[-1]
        macd = self._macd[-1]
        width = band.ub - band.lb
        return (
            ret,
            span / close,
            volume / last_volume - 1.0,
            volume / self._mean_volume[-1],
            fast,
            middle,
            slow,
            fast / middle - 1.0,
            fast / slow - 1.0,
            self._rsi[-1],
            macd.macd,
            macd.signal,
            macd.histogram,
            (close - band.lb) / width,
            width / band.cb,
            close - self._closes[-11],
            self._volatility[-1],
        )


class NautilusStream:
    """Seven nautilus_trader indicators that carry the costly columns; the rest is left out."""

    names = (
        *("ema_10", "ema_20", "ema_50", "rsi", "macd"),
        *("bb_pct", "bb_width", "volume_ratio"),
    )

    def __init__(self) -> None:
        """Start with no bars."""
        from nautilus_trader.indicators import (
            BollingerBands,
            ExponentialMovingAverage,
            MovingAverageConvergenceDivergence,
            MovingAverageType,
            RelativeStrengthIndex,
            SimpleMovingAverage,
        )

        self._ema_10 = ExponentialMovingAverage(10)
        self._ema_20 = ExponentialMovingAverage(20)
        self._ema_50 = ExponentialMovingAverage(50)
        self._rsi = RelativeStrengthIndex(14, MovingAverageType.WILDER)
        self._macd = MovingAverageConvergenceDivergence(12, 26, MovingAverageType.EXPONENTIAL)
        self._bb = BollingerBands(20, 2.0)
        self._mean_volume = SimpleMovingAverage(20)

    def push(self, open_: float, high: float, low: float, close: float, volume: float) -> tuple[float, ...]:
        """Return eight values; the two Bollinger columns come from one indicator."""
        self._ema_10.update_raw(close)
        self._ema_20.update_raw(close)
        self._ema_50.update_raw(close)
        self._rsi.update_raw(close)
        self._macd.update_raw(close)
        # Its typical price is (high + low + close) / 3: three times the close is the close.
        self._bb.update_raw(close, close, close)
        self._mean_volume.update_raw(volume)
        lower, width = self._bb.lower, self._bb.upper - self._bb.lower
        return (
            self._ema_10.value,
            self._ema_20.value,
            self._ema_50.value,
            100.0 * self._rsi.value,
            self._macd.value,
            (close - lower) / width if width > 0.0 else 0.5,
            width / self._bb.middle,
            volume / self._mean_volume.value,
        )


class NautilusRustStream(NautilusStream):
    """The same seven, Bollinger and mean volume from nautilus_trader's Rust classes.

    Those two are many times faster there; the other five are a little faster in Cython.
    """

    def __init__(self) -> None:
        """Start with no bars."""
        super().__init__()
        from nautilus_trader.core import nautilus_pyo3

        self._bb = nautilus_pyo3.BollingerBands(20, 2.0)
        self._mean_volume = nautilus_pyo3.SimpleMovingAverage(20)


def collect(stream: Pushable, names: tuple[str, ...], rows: Array) -> Columns:
    """Push every `(open high low close volume)` row and return the columns; NaN while warming up."""
    out = np.full((len(rows), len(names)), np.nan)
    for index, row in enumerate(rows.tolist()):
        values = stream.push(*row)
        if values is not None:
            out[index] = values
    return {name: np.ascontiguousarray(out[:, k]) for k, name in enumerate(names)}
