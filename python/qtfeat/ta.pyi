# Written by tools/ta_stub.py from the catalogue: do not edit.
# ruff: noqa: A002, E501, PYI021 - `open` is the name of the price; the docstrings are what an editor shows
"""One function per indicator: bar columns, then parameters. See `qtfeat.catalog()`."""

from typing import Any, TypeVar

from qtfeat.features import Numerics, OnBad

_A = TypeVar("_A")
"""A NumPy array, or a pandas or polars series; the result is of the same kind, in float64."""

__all__ = [
    "adx",
    "atr",
    "bb",
    "body",
    "cci",
    "donchian",
    "dow_cos",
    "dow_sin",
    "drawdown",
    "ema",
    "ema_cross",
    "ema_gap",
    "gap",
    "garman_klass",
    "hour_cos",
    "hour_sin",
    "log_ret",
    "log_volatility",
    "lower_wick",
    "macd",
    "macd_pct",
    "mfi",
    "momentum",
    "natr",
    "obv",
    "obv_slope",
    "parkinson",
    "range_hl",
    "ret",
    "rma",
    "roc",
    "rsi",
    "sma",
    "stoch",
    "trix",
    "true_range",
    "upper_wick",
    "volatility",
    "volume_change",
    "volume_ratio",
    "vwap",
    "vwap_gap",
    "willr",
    "zscore",
]

def adx(
    high: _A,
    low: Any,
    close: Any,
    period: int = 14,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> dict[str, _A]:
    """di = 100 * rma(dm, period) / rma(true_range, period); adx = rma(100 * abs(plus_di - minus_di) / (plus_di + minus_di), period). Outputs: adx, plus_di, minus_di."""

def atr(
    high: _A,
    low: Any,
    close: Any,
    period: int = 14,
    tr0: bool = False,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """rma(true_range, period)."""

def bb(
    close: _A,
    period: int = 20,
    k: float = 2,
    ddof: int = 0,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> dict[str, _A]:
    """mid = mean(close, period); upper, lower = mid + and - k * std(close, period); pct = (close - lower) / (upper - lower); width = (upper - lower) / mid. Outputs: upper, mid, lower, pct, width."""

def body(
    open: _A,
    close: Any,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """(close - open) / open."""

def cci(
    high: _A,
    low: Any,
    close: Any,
    period: int = 20,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """(hlc3 - mean(hlc3, period)) / (0.015 * mean_abs_dev(hlc3, period)), hlc3 = (high + low + close) / 3."""

def donchian(
    high: _A,
    low: Any,
    period: int = 20,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> dict[str, _A]:
    """upper = max(high, period); lower = min(low, period); mid = (upper + lower) / 2. Outputs: upper, lower, mid."""

def dow_cos(
    time: _A,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """cos(2 pi weekday / 7), Monday = 0, of the timestamp in UTC."""

def dow_sin(
    time: _A,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """sin(2 pi weekday / 7), Monday = 0, of the timestamp in UTC."""

def drawdown(
    close: _A,
    period: int = 100,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """close / max(close, period) - 1."""

def ema(
    close: _A,
    period: int = 20,
    seed: str = "sma",
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """ema(close, period)."""

def ema_cross(
    close: _A,
    fast: int = 10,
    slow: int = 20,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """ema(close, fast) / ema(close, slow) - 1."""

def ema_gap(
    close: _A,
    period: int = 20,
    seed: str = "sma",
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """close / ema(close, period) - 1."""

def gap(
    open: _A,
    close: Any,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """open / lag(close, 1) - 1."""

def garman_klass(
    open: _A,
    high: Any,
    low: Any,
    close: Any,
    period: int = 20,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """sqrt(mean(0.5 log(high / low)^2 - (2 ln 2 - 1) log(close / open)^2, period))."""

def hour_cos(
    time: _A,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """cos(2 pi hour / 24), hour of the timestamp in UTC."""

def hour_sin(
    time: _A,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """sin(2 pi hour / 24), hour of the timestamp in UTC."""

def log_ret(
    close: _A,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """log(close / lag(close, 1))."""

def log_volatility(
    close: _A,
    period: int = 20,
    ddof: int = 0,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """std(log(close / lag(close, 1)), period)."""

def lower_wick(
    open: _A,
    low: Any,
    close: Any,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """(min(open, close) - low) / close."""

def macd(
    close: _A,
    fast: int = 12,
    slow: int = 26,
    signal: int = 9,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> dict[str, _A]:
    """line = ema(close, fast) - ema(close, slow); signal = ema(line, signal); hist = line - signal. Outputs: line, signal, hist."""

def macd_pct(
    close: _A,
    fast: int = 12,
    slow: int = 26,
    signal: int = 9,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> dict[str, _A]:
    """macd(fast, slow, signal) / close. Outputs: line, signal, hist."""

def mfi(
    high: _A,
    low: Any,
    close: Any,
    volume: Any,
    period: int = 14,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """100 * sum(up, period) / (sum(up, period) + sum(down, period)), up and down = hlc3 * volume where hlc3 rose or fell."""

def momentum(
    close: _A,
    period: int = 10,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """close - lag(close, period)."""

def natr(
    high: _A,
    low: Any,
    close: Any,
    period: int = 14,
    tr0: bool = False,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """100 * atr(period) / close."""

def obv(
    close: _A,
    volume: Any,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """cumsum(sign(close - lag(close, 1)) * volume), 0 on the first bar."""

def obv_slope(
    close: _A,
    volume: Any,
    period: int = 20,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """sum(sign(close - lag(close, 1)) * volume, period) / sum(volume, period)."""

def parkinson(
    high: _A,
    low: Any,
    close: Any,
    period: int = 20,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """sqrt(mean(log(high / low)^2, period) / (4 ln 2))."""

def range_hl(
    high: _A,
    low: Any,
    close: Any,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """(high - low) / close."""

def ret(
    close: _A,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """close / lag(close, 1) - 1."""

def rma(
    close: _A,
    period: int = 14,
    seed: str = "sma",
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """rma(close, period)."""

def roc(
    close: _A,
    period: int = 10,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """close / lag(close, period) - 1."""

def rsi(
    close: _A,
    period: int = 14,
    smoothing: str = "wilder",
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """100 * rma(up, period) / (rma(up, period) + rma(down, period)), up = max(close - lag(close, 1), 0), down = max(lag(close, 1) - close, 0)."""

def sma(
    close: _A,
    period: int = 20,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """mean(close, period)."""

def stoch(
    high: _A,
    low: Any,
    close: Any,
    k: int = 14,
    smooth: int = 3,
    d: int = 3,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> dict[str, _A]:
    """k = mean(100 * (close - min(low, k)) / (max(high, k) - min(low, k)), smooth); d = mean(k, d). Outputs: k, d."""

def trix(
    close: _A,
    period: int = 15,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """100 * (t / lag(t, 1) - 1), t = ema(ema(ema(close, period), period), period)."""

def true_range(
    high: _A,
    low: Any,
    close: Any,
    tr0: bool = False,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """max(high, lag(close, 1)) - min(low, lag(close, 1))."""

def upper_wick(
    open: _A,
    high: Any,
    close: Any,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """(high - max(open, close)) / close."""

def volatility(
    close: _A,
    period: int = 20,
    ddof: int = 0,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """std(close / lag(close, 1) - 1, period)."""

def volume_change(
    volume: _A,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """volume / lag(volume, 1) - 1."""

def volume_ratio(
    volume: _A,
    period: int = 20,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """volume / mean(volume, period)."""

def vwap(
    high: _A,
    low: Any,
    close: Any,
    volume: Any,
    period: int = 20,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """sum(hlc3 * volume, period) / sum(volume, period), hlc3 = (high + low + close) / 3."""

def vwap_gap(
    high: _A,
    low: Any,
    close: Any,
    volume: Any,
    period: int = 20,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """close / vwap(period) - 1."""

def willr(
    high: _A,
    low: Any,
    close: Any,
    period: int = 14,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """100 * (close - max(high, period)) / (max(high, period) - min(low, period))."""

def zscore(
    close: _A,
    period: int = 20,
    ddof: int = 0,
    *,
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    time_unit: str | None = None,
) -> _A:
    """(close - mean(close, period)) / std(close, period)."""
