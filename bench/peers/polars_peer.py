"""polars: the 17 columns as expressions, for one series or `.over("symbol")`."""

from __future__ import annotations

import numpy as np
import polars as pl

from bench.columns import Columns


def kline17() -> list[pl.Expr]:
    """Return the 17 named expressions; polars shares their common parts itself."""
    close, volume = pl.col("close"), pl.col("volume")
    ema = {span: close.ewm_mean(span=span, adjust=False) for span in (10, 12, 20, 26, 50)}
    change = close.diff()
    gain = change.clip(lower_bound=0.0).ewm_mean(alpha=1 / 14, adjust=False)
    loss = (-change).clip(lower_bound=0.0).ewm_mean(alpha=1 / 14, adjust=False)
    macd = ema[12] - ema[26]
    signal = macd.ewm_mean(span=9, adjust=False)
    mean, width = close.rolling_mean(20), 4.0 * close.rolling_std(20, ddof=0)
    ret = close / close.shift(1) - 1.0
    named = {
        "ret": ret,
        "range_hl": (pl.col("high") - pl.col("low")) / close,
        "volume_change": volume / volume.shift(1) - 1.0,
        "volume_ratio": volume / volume.rolling_mean(20),
        "ema_10": ema[10],
        "ema_20": ema[20],
        "ema_50": ema[50],
        "ema_cross_10_20": ema[10] / ema[20] - 1.0,
        "ema_cross_10_50": ema[10] / ema[50] - 1.0,
        "rsi": 100.0 * gain / (gain + loss),
        "macd": macd,
        "macd_signal": signal,
        "macd_hist": macd - signal,
        "bb_pct": (close - mean) / width + 0.5,
        "bb_width": width / mean,
        "momentum": close.diff(10),
        "volatility": ret.rolling_std(20, ddof=0),
    }
    return [expr.alias(name) for name, expr in named.items()]


def one_series(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the 17 columns of one series from one select."""
    return frame.select(kline17())


def by_symbol(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the 17 columns per symbol, in the caller's row order."""
    return frame.select([expr.over("symbol") for expr in kline17()])


def staged(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the 17 columns of one series, each shared part computed once in a stage of its own."""
    close, volume, ret = pl.col("close"), pl.col("volume"), pl.col("ret")
    change, gain, loss = pl.col("change"), pl.col("gain"), pl.col("loss")
    mean, width, macd = pl.col("mean"), pl.col("bb_width"), pl.col("macd")
    spans = (10, 12, 20, 26, 50)
    first = frame.with_columns(
        *[close.ewm_mean(span=span, adjust=False).alias(f"ema_{span}") for span in spans],
        (close / close.shift(1) - 1.0).alias("ret"),
        close.diff().alias("change"),
        close.rolling_mean(20).alias("mean"),
        (4.0 * close.rolling_std(20, ddof=0)).alias("bb_width"),
    )
    second = first.with_columns(
        (pl.col("ema_12") - pl.col("ema_26")).alias("macd"),
        change.clip(lower_bound=0.0).ewm_mean(alpha=1 / 14, adjust=False).alias("gain"),
        (-change).clip(lower_bound=0.0).ewm_mean(alpha=1 / 14, adjust=False).alias("loss"),
    )
    third = second.with_columns(macd.ewm_mean(span=9, adjust=False).alias("macd_signal"))
    return third.select(
        *("ret", "ema_10", "ema_20", "ema_50", "macd", "macd_signal"),
        ((pl.col("high") - pl.col("low")) / close).alias("range_hl"),
        (volume / volume.shift(1) - 1.0).alias("volume_change"),
        (volume / volume.rolling_mean(20)).alias("volume_ratio"),
        (pl.col("ema_10") / pl.col("ema_20") - 1.0).alias("ema_cross_10_20"),
        (pl.col("ema_10") / pl.col("ema_50") - 1.0).alias("ema_cross_10_50"),
        (100.0 * gain / (gain + loss)).alias("rsi"),
        (macd - pl.col("macd_signal")).alias("macd_hist"),
        ((close - mean) / width + 0.5).alias("bb_pct"),
        (width / mean).alias("bb_width"),
        close.diff(10).alias("momentum"),
        ret.rolling_std(20, ddof=0).alias("volatility"),
    )


def columns(frame: pl.DataFrame) -> Columns:
    """Return the frame's columns as float64 arrays, null as NaN."""
    return {name: frame[name].to_numpy().astype(np.float64) for name in frame.columns}
