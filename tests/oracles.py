"""Plain NumPy oracles for every primitive and every indicator of the catalogue (`safe` profile).

Nothing here shares an idea with the engine. A sliding aggregate looks at its whole window, a recursion is a
loop over rows, and both work in extended precision, so a difference is the engine's rounding or a mistake.
Values that decide a branch (typical price, moves between bars) are rounded to float64 exactly as their
formula is written, because a tie must be a tie on both sides.

A null is NaN. A null row (all of OHLCV NaN) counts as a row: lags and windows stay positional, a recursion
is null where its input is null, keeps its state and counts only non-null inputs for its seed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
Outputs = dict[str, FloatArray]

LD = np.longdouble
TINY = LD(2.0) ** -44
SATURATED = LD(1e100)
LN2 = np.log(LD(2.0))


@dataclass(frozen=True)
class Bars:
    """One series of bars: float64 arrays of one length, and the bar times as int64 ns UTC if known."""

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    time: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.close)

    def __getitem__(self, rows: slice) -> Bars:
        time = None if self.time is None else self.time[rows]
        return Bars(self.open[rows], self.high[rows], self.low[rows], self.close[rows], self.volume[rows], time)

    def columns(self) -> dict[str, FloatArray]:
        """Return the five OHLCV columns by name."""
        return {name: getattr(self, name) for name in ("open", "high", "low", "close", "volume")}


# --- primitives (any float dtype in; extended precision out where arithmetic is done) -----------------------


def lag(x: Array, n: int) -> Array:
    """Value n rows ago."""
    return np.concatenate([np.full(min(n, len(x)), np.nan, x.dtype), x[: max(len(x) - n, 0)]])


def _windows(x: Array, n: int) -> Array:
    """Row t holds the n values ending at t, in extended precision; rows before the start are NaN."""
    return sliding_window_view(np.concatenate([np.full(n - 1, np.nan, LD), x.astype(LD)]), n)


def wsum(x: Array, n: int) -> Array:
    """Sum of the last n rows."""
    return np.asarray(_windows(x, n).sum(axis=1))


def wmean(x: Array, n: int) -> Array:
    """Mean of the last n rows."""
    return wsum(x, n) / n


def wvar(x: Array, n: int, ddof: int = 0) -> Array:
    """Variance of the last n rows in two passes; the shift makes that of a constant window exactly 0."""
    shifted = _windows(x, n) - _windows(x, n)[:, :1]
    deviation = shifted - shifted.mean(axis=1, keepdims=True)
    return np.asarray((deviation * deviation).sum(axis=1) / (n - ddof))


def wstd(x: Array, n: int, ddof: int = 0) -> Array:
    """Square root of `wvar`."""
    return np.asarray(np.sqrt(wvar(x, n, ddof)))


def wmin(x: Array, n: int) -> Array:
    """Smallest of the last n rows."""
    return np.asarray(_windows(x, n).min(axis=1))


def wmax(x: Array, n: int) -> Array:
    """Largest of the last n rows."""
    return np.asarray(_windows(x, n).max(axis=1))


def wmean_abs_dev(x: Array, n: int) -> Array:
    """Mean distance of the last n rows from their own mean."""
    shifted = _windows(x, n) - _windows(x, n)[:, :1]
    return np.asarray(np.abs(shifted - shifted.mean(axis=1, keepdims=True)).mean(axis=1))


def wcov(x: Array, y: Array, n: int, ddof: int = 0) -> Array:
    """Covariance of the last n rows of x and y."""
    dx = _windows(x, n) - _windows(x, n)[:, :1]
    dy = _windows(y, n) - _windows(y, n)[:, :1]
    product = (dx - dx.mean(axis=1, keepdims=True)) * (dy - dy.mean(axis=1, keepdims=True))
    return np.asarray(product.sum(axis=1) / (n - ddof))


def _smooth(x: Array, n: int, k: Any, seed: str) -> Array:
    """s += k * (x - s), from the mean of the first n inputs (`sma`) or from the first input (`first`)."""
    wanted = {"sma": n, "first": 1}[seed]
    out = np.full(len(x), np.nan, LD)
    seen: list[Any] = []
    state = LD(0.0)
    for row, value in enumerate(x.astype(LD)):
        if np.isnan(value):
            continue
        if len(seen) < wanted:
            seen.append(value)
            if len(seen) == wanted:
                state = np.sum(seen, dtype=LD) / wanted
        else:
            # k = 1 keeps nothing of the past; written out it would keep its rounding
            state = value if k == 1 else state + k * (value - state)
        if len(seen) == wanted:
            out[row] = state
    return out


def ema_of(x: Array, n: int, seed: str = "sma") -> Array:
    """Exponential mean with k = 2 / (n + 1)."""
    return _smooth(x, n, LD(2.0) / LD(n + 1), seed)


def rma_of(x: Array, n: int, seed: str = "sma") -> Array:
    """Wilder's exponential mean, k = 1 / n."""
    return _smooth(x, n, LD(1.0) / LD(n), seed)


def cumsum(x: Array) -> Array:
    """Sum of all non-null values so far; null where x is."""
    known = ~np.isnan(x)
    return np.where(known, np.cumsum(np.where(known, x, 0.0).astype(LD)), np.nan)


def ratio(num: Array, den: Array, limit: Array | Any, neutral: Array | float, most: Any = SATURATED) -> Array:
    """Return num / den within ±most, or `neutral` where |den| <= limit; null where num or den is null.
    A ratio without dimension saturates at 1e100: only prices 100 decades apart in one bar reach that.
    """
    null = np.isnan(num) | np.isnan(den)
    dead = np.abs(den) <= limit
    quotient = num.astype(LD) / np.where(dead | null, LD(1.0), den)
    return np.where(null, np.nan, np.where(dead, neutral, np.clip(quotient, -most, most)))


def log(x: Array, neutral: float = 0.0) -> Array:
    """Natural logarithm, `neutral` where x <= 0."""
    return np.where(x <= 0, neutral, np.log(np.where(x <= 0, 1.0, x)))


def sqrt(x: Array) -> Array:
    """Square root, 0 where x < 0."""
    return np.asarray(np.sqrt(np.where(x < 0, 0.0, x)))


def _rounded(function: Callable[..., Array]) -> Callable[..., FloatArray]:
    return lambda *args, **params: function(*args, **params).astype(np.float64)


PRIMITIVES: dict[str, Callable[..., FloatArray]] = {
    "lag": _rounded(lag), "sum": _rounded(wsum), "mean": _rounded(wmean), "var": _rounded(wvar),
    "std": _rounded(wstd), "min": _rounded(wmin), "max": _rounded(wmax),
    "mean_abs_dev": _rounded(wmean_abs_dev), "cov": _rounded(wcov), "ema": _rounded(ema_of),
    "rma": _rounded(rma_of), "cumsum": _rounded(cumsum),
}  # fmt: skip

# --- indicators ---------------------------------------------------------------------------------------------


def _price_ratio(b: Bars, num: Array, den: Array, neutral: float) -> Array:
    """Ratio of prices: below 2^-44 of the row's close a difference of prices is nothing."""
    return ratio(num, den, TINY * b.close.astype(LD), neutral)


def _change(x: Array) -> Array:
    return x - lag(x, 1)


def _over(b: Bars, now: Array, before: Array) -> Array:
    """Relative distance of two prices; equal, hence 0, where the second is nothing beside the close."""
    return _price_ratio(b, now, before, 1.0) - 1


def _log_over(b: Bars, now: Array, before: Array) -> Array:
    return log(_price_ratio(b, now, before, 1.0))


def _hlc3(b: Bars) -> Array:
    return (b.high + b.low + b.close) / 3.0


def _true_range(b: Bars, tr0: bool) -> Array:
    """Null where the previous close is unknown (first row, or after a null row); with tr0, high - low."""
    before = lag(b.close, 1)
    span = np.maximum(b.high, before) - np.minimum(b.low, before)
    return np.where(np.isnan(before), b.high - b.low, span) if tr0 else span


def _macd(b: Bars, fast: int = 12, slow: int = 26, signal: int = 9) -> dict[str, Array]:
    line = ema_of(b.close, fast) - ema_of(b.close, slow)
    smoothed = ema_of(line, signal)
    return {"line": line, "signal": smoothed, "hist": line - smoothed}


def _macd_pct(b: Bars, fast: int = 12, slow: int = 26, signal: int = 9) -> dict[str, Array]:
    outputs = _macd(b, fast, slow, signal)
    return {name: _price_ratio(b, values, b.close, 0.0) for name, values in outputs.items()}


def _trix(b: Bars, period: int = 15) -> Array:
    triple = ema_of(ema_of(ema_of(b.close, period), period), period)
    return 100 * _over(b, triple, lag(triple, 1))


def _rsi(b: Bars, period: int = 14, smoothing: str = "wilder") -> Array:
    mean = {"wilder": rma_of, "sma": wmean, "ema": ema_of}[smoothing]
    move = _change(b.close)
    gain, loss = mean(np.maximum(move, 0.0), period), mean(np.maximum(-move, 0.0), period)
    return 100 * _price_ratio(b, gain, gain + loss, 0.5)


def _stoch(b: Bars, k: int = 14, smooth: int = 3, d: int = 3) -> dict[str, Array]:
    low, high = wmin(b.low, k), wmax(b.high, k)
    slow = wmean(100 * _price_ratio(b, b.close - low, high - low, 0.5), smooth)
    return {"k": slow, "d": wmean(slow, d)}


def _willr(b: Bars, period: int = 14) -> Array:
    low, high = wmin(b.low, period), wmax(b.high, period)
    return -100 * _price_ratio(b, high - b.close, high - low, 0.5)


def _cci(b: Bars, period: int = 20) -> Array:
    typical = _hlc3(b)
    spread = LD(3.0) / LD(200.0) * wmean_abs_dev(typical, period)
    return _price_ratio(b, typical - wmean(typical, period), spread, 0.0)


def _mfi(b: Bars, period: int = 14) -> Array:
    """Flow counts where the typical price moved by over 2^-44 of the close; less is rounding of the thirds."""
    typical = _hlc3(b)
    move = _change(typical)
    side = np.where(np.abs(move) <= float(TINY) * b.close, 0.0, np.sign(move))
    flow = typical.astype(LD) * b.volume
    up, down = wsum(np.maximum(side, 0.0) * flow, period), wsum(np.maximum(-side, 0.0) * flow, period)
    return 100 * ratio(up, up + down, 0.0, 0.5)


def _adx(b: Bars, period: int = 14) -> dict[str, Array]:
    up, down = _change(b.high), -_change(b.low)
    null = np.isnan(up)
    plus = np.where(null, np.nan, np.where((up > down) & (up > 0), up, 0.0))
    minus = np.where(null, np.nan, np.where((down > up) & (down > 0), down, 0.0))
    travelled = rma_of(_true_range(b, tr0=False), period)
    plus_di = 100 * _price_ratio(b, rma_of(plus, period), travelled, 0.0)
    minus_di = 100 * _price_ratio(b, rma_of(minus, period), travelled, 0.0)
    dx = 100 * ratio(np.abs(plus_di - minus_di), plus_di + minus_di, TINY, 0.0)
    return {"adx": rma_of(dx, period), "plus_di": plus_di, "minus_di": minus_di}


def _bb(b: Bars, period: int = 20, k: float = 2.0, ddof: int = 0) -> dict[str, Array]:
    mid, reach = wmean(b.close, period), LD(k) * wstd(b.close, period, ddof)
    pct = _price_ratio(b, b.close - (mid - reach), 2 * reach, 0.5)
    width = _price_ratio(b, 2 * reach, mid, 0.0)
    return {"upper": mid + reach, "mid": mid, "lower": mid - reach, "pct": pct, "width": width}


def _parkinson(b: Bars, period: int = 20) -> Array:
    return sqrt(wmean(_log_over(b, b.high, b.low) ** 2, period) / (4 * LN2))


def _garman_klass(b: Bars, period: int = 20) -> Array:
    span, drift = _log_over(b, b.high, b.low), _log_over(b, b.close, b.open)
    return sqrt(wmean(span**2 / 2 - (2 * LN2 - 1) * drift**2, period))


def _zscore(b: Bars, period: int = 20, ddof: int = 0) -> Array:
    return _price_ratio(b, b.close - wmean(b.close, period), wstd(b.close, period, ddof), 0.0)


def _donchian(b: Bars, period: int = 20) -> dict[str, Array]:
    upper, lower = wmax(b.high, period), wmin(b.low, period)
    return {"upper": upper, "lower": lower, "mid": (upper + lower) / 2}


def _obv(b: Bars) -> Array:
    """Sum of signed volumes; a bar with no known previous close (first, or after a null row) adds 0."""
    move = np.where(np.isnan(lag(b.close, 1)), 0.0, np.sign(_change(b.close)))
    return cumsum(move * b.volume)


def _obv_slope(b: Bars, period: int = 20) -> Array:
    signed = np.sign(_change(b.close)) * b.volume
    return ratio(wsum(signed, period), wsum(b.volume, period), 0.0, 0.0)


def _vwap(b: Bars, period: int = 20) -> Array:
    traded = wsum(_hlc3(b).astype(LD) * b.volume, period)
    return ratio(traded, wsum(b.volume, period), 0.0, _hlc3(b), LD(1e110))


def _clock(b: Bars, unit_ns: int, start: int, turn: int, wave: Callable[[Any], Any]) -> Array:
    """Wave over the whole units since 1970 plus start, modulo turn; null in a null row."""
    if b.time is None:
        raise ValueError("this indicator needs bar times")
    phase = (b.time // unit_ns + start) % turn
    values = wave(8 * np.arctan(LD(1.0)) * phase.astype(LD) / turn)
    return np.where(np.isnan(b.close), np.nan, values)


_HOUR = 3_600_000_000_000
_DAY = 24 * _HOUR
_THURSDAY = 3  # 1970-01-01 was one, and Monday is 0

_INDICATORS: dict[str, Callable[..., Array | dict[str, Array]]] = {
    # candle
    "ret": lambda b: _over(b, b.close, lag(b.close, 1)),
    "log_ret": lambda b: _log_over(b, b.close, lag(b.close, 1)),
    "gap": lambda b: _over(b, b.open, lag(b.close, 1)),
    "range_hl": lambda b: _price_ratio(b, b.high - b.low, b.close, 0.0),
    "body": lambda b: _price_ratio(b, b.close - b.open, b.open, 0.0),
    "upper_wick": lambda b: _price_ratio(b, b.high - np.maximum(b.open, b.close), b.close, 0.0),
    "lower_wick": lambda b: _price_ratio(b, np.minimum(b.open, b.close) - b.low, b.close, 0.0),
    # trend
    "sma": lambda b, period=20: wmean(b.close, period),
    "ema": lambda b, period=20, seed="sma": ema_of(b.close, period, seed),
    "rma": lambda b, period=14, seed="sma": rma_of(b.close, period, seed),
    "ema_gap": lambda b, period=20, seed="sma": _over(b, b.close, ema_of(b.close, period, seed)),
    "ema_cross": lambda b, fast=10, slow=20: _over(b, ema_of(b.close, fast), ema_of(b.close, slow)),
    "macd": _macd,
    "macd_pct": _macd_pct,
    "trix": _trix,
    # momentum
    "rsi": _rsi,
    "roc": lambda b, period=10: _over(b, b.close, lag(b.close, period)),
    "momentum": lambda b, period=10: b.close - lag(b.close, period),
    "stoch": _stoch,
    "willr": _willr,
    "cci": _cci,
    "mfi": _mfi,
    "adx": _adx,
    # volatility
    "bb": _bb,
    "true_range": lambda b, tr0=False: _true_range(b, tr0),
    "atr": lambda b, period=14, tr0=False: rma_of(_true_range(b, tr0), period),
    "natr": lambda b, period=14, tr0=False: 100 * _price_ratio(b, rma_of(_true_range(b, tr0), period), b.close, 0.0),
    "volatility": lambda b, period=20, ddof=0: wstd(_over(b, b.close, lag(b.close, 1)), period, ddof),
    "log_volatility": lambda b, period=20, ddof=0: wstd(_log_over(b, b.close, lag(b.close, 1)), period, ddof),
    "parkinson": _parkinson,
    "garman_klass": _garman_klass,
    "zscore": _zscore,
    "donchian": _donchian,
    "drawdown": lambda b, period=100: _over(b, b.close, wmax(b.close, period)),
    # volume
    "volume_change": lambda b: ratio(b.volume, lag(b.volume, 1), 0.0, 1.0) - 1,
    "volume_ratio": lambda b, period=20: ratio(b.volume, wmean(b.volume, period), 0.0, 1.0),
    "obv": _obv,
    "obv_slope": _obv_slope,
    "vwap": _vwap,
    "vwap_gap": lambda b, period=20: _over(b, b.close, _vwap(b, period)),
    # calendar
    "hour_sin": lambda b: _clock(b, _HOUR, 0, 24, np.sin),
    "hour_cos": lambda b: _clock(b, _HOUR, 0, 24, np.cos),
    "dow_sin": lambda b: _clock(b, _DAY, _THURSDAY, 7, np.sin),
    "dow_cos": lambda b: _clock(b, _DAY, _THURSDAY, 7, np.cos),
}


def outputs_in_float64(function: Callable[..., Array | dict[str, Array]]) -> Callable[..., Outputs]:
    """Name the outputs ("" for an only one) and round them to float64, once, at the end."""

    @functools.wraps(function)
    def call(bars: Bars, *args: Any, **params: Any) -> Outputs:
        result = function(bars, *args, **params)
        named = result if isinstance(result, dict) else {"": result}
        return {name: np.asarray(values, dtype=np.float64) for name, values in named.items()}

    return call


ORACLES: dict[str, Callable[..., Outputs]] = {
    name: outputs_in_float64(function) for name, function in _INDICATORS.items()
}
