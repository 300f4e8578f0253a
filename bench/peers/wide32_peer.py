"""The 32 columns of `wide32`: as polars expressions (the peer) and from TA-Lib (its check)."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl
import talib

from bench.columns import Columns
from bench.data import Bars

Named = dict[str, pl.Expr]


def _wilder(values: pl.Expr, period: int = 14) -> pl.Expr:
    return values.ewm_mean(alpha=1 / period, adjust=False)


def _mean_abs_dev(values: pl.Series) -> pl.Series:
    view = np.lib.stride_tricks.sliding_window_view(values.to_numpy(), 20)
    mean = view.mean(axis=1, keepdims=True)
    out = np.full(len(values), np.nan)
    np.mean(np.abs(view - mean), axis=1, out=out[19:])
    return pl.Series(out)


def _candle() -> Named:
    open_, high, low, close = (pl.col(name) for name in ("open", "high", "low", "close"))
    before = close.shift(1)
    return {
        "ret": close / before - 1.0,
        "gap": open_ / before - 1.0,
        "range_hl": (high - low) / close,
        "body": (close - open_) / open_,
        "upper_wick": (high - pl.max_horizontal(open_, close)) / close,
        "lower_wick": (pl.min_horizontal(open_, close) - low) / close,
    }


def _trend() -> Named:
    close = pl.col("close")
    ema = {span: close.ewm_mean(span=span, adjust=False) for span in (10, 12, 20, 26, 50)}
    macd = ema[12] - ema[26]
    signal = macd.ewm_mean(span=9, adjust=False)
    named = {f"roc_{n}": close / close.shift(n) - 1.0 for n in (3, 5, 10, 20)}
    named |= {f"ema_gap_{n}": close / ema[n] - 1.0 for n in (10, 20, 50)}
    named |= {f"ema_cross_10_{n}": ema[10] / ema[n] - 1.0 for n in (20, 50)}
    return named | {
        "macd_pct": macd / close,
        "macd_pct_signal": signal / close,
        "macd_pct_hist": (macd - signal) / close,
    }


def _oscillators() -> Named:
    high, low, close, volume = (pl.col(name) for name in ("high", "low", "close", "volume"))
    change = close.diff()
    gain = _wilder(change.clip(lower_bound=0.0))
    loss = _wilder((-change).clip(lower_bound=0.0))
    bottom, top = low.rolling_min(14), high.rolling_max(14)
    stoch_k = (100.0 * (close - bottom) / (top - bottom)).rolling_mean(3)
    typical = (high + low + close) / 3.0
    move = typical.diff()
    flow = typical * volume
    inflow = pl.when(move > 0.0).then(flow).otherwise(0.0).rolling_sum(14)
    outflow = pl.when(move < 0.0).then(flow).otherwise(0.0).rolling_sum(14)
    deviation = typical.map_batches(_mean_abs_dev, return_dtype=pl.Float64)
    return {
        "rsi": 100.0 * gain / (gain + loss),
        "stoch_k": stoch_k,
        "stoch_d": stoch_k.rolling_mean(3),
        "cci": (typical - typical.rolling_mean(20)) / (0.015 * deviation),
        "mfi": 100.0 * inflow / (inflow + outflow),
    }


def _directional() -> Named:
    high, low, close = (pl.col(name) for name in ("high", "low", "close"))
    before = close.shift(1)
    true_range = pl.max_horizontal(high, before) - pl.min_horizontal(low, before)
    atr = _wilder(true_range)
    up, down = high.diff(), -low.diff()
    plus = _wilder(pl.when((up > down) & (up > 0.0)).then(up).otherwise(0.0))
    minus = _wilder(pl.when((down > up) & (down > 0.0)).then(down).otherwise(0.0))
    return {
        # 0 / 0 in the first row is NaN, which polars would carry on for ever; a null it skips.
        "adx": _wilder((100.0 * (plus - minus).abs() / (plus + minus)).fill_nan(None)),
        "adx_plus_di": 100.0 * plus / atr,
        "adx_minus_di": 100.0 * minus / atr,
        "natr": 100.0 * atr / close,
    }


def _bands() -> Named:
    close, volume = pl.col("close"), pl.col("volume")
    mean, width = close.rolling_mean(20), 4.0 * close.rolling_std(20, ddof=0)
    typical = (pl.col("high") + pl.col("low") + close) / 3.0
    vwap = (typical * volume).rolling_sum(20) / volume.rolling_sum(20)
    return {
        "bb_pct": (close - mean) / width + 0.5,
        "bb_width": width / mean,
        "volatility": (close / close.shift(1) - 1.0).rolling_std(20, ddof=0),
        "volume_ratio": volume / volume.rolling_mean(20),
        "vwap_gap": close / vwap - 1.0,
    }


@cache
def _expressions() -> tuple[pl.Expr, ...]:
    named = _candle() | _trend() | _oscillators() | _directional() | _bands()
    return tuple(expr.alias(name) for name, expr in named.items())


def polars_wide32(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the 32 columns of one series; the expressions are built once and reused."""
    return frame.select(_expressions())


def talib_oscillators(bars: Bars) -> Columns:
    """Return the columns of `wide32` that TA-Lib has itself, for checking the expressions."""
    high, low, close, volume = (bars[name] for name in ("high", "low", "close", "volume"))
    stoch_k, stoch_d = talib.STOCH(high, low, close, fastk_period=14, slowk_period=3, slowd_period=3)
    return {
        "rsi": talib.RSI(close, 14),
        "stoch_k": stoch_k,
        "stoch_d": stoch_d,
        "cci": talib.CCI(high, low, close, 20),
        "mfi": talib.MFI(high, low, close, volume, 14),
        "adx": talib.ADX(high, low, close, 14),
        "adx_plus_di": talib.PLUS_DI(high, low, close, 14),
        "adx_minus_di": talib.MINUS_DI(high, low, close, 14),
        "natr": talib.NATR(high, low, close, 14),
        "roc_3": talib.ROCP(close, 3),
        "roc_20": talib.ROCP(close, 20),
    }
