"""How far the engine may be from an oracle in extended precision: one table, a reason for every row.

The distance allowed is `ulps * 2^-52 * scale`, row by row. The scale is the size of what is rounded on the way, not
the size of the result: a difference of two prices of 40,000 carries the rounding of 40,000, however small it is.
`ulps` counts roundings: a few for a formula, some dozens for a recursion, which carries its own along for about its
period. Each is a few times the largest distance seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from oracles import Array, Bars, cumsum, ema_of, lag, wmax, wmean_abs_dev, wstd

EPS = 2.0**-52
Params = Mapping[str, Any]
Scale = Callable[[Bars, Array, Params], Array]


@dataclass(frozen=True)
class Tolerance:
    """Allowed distance, and why."""

    ulps: float
    scale: Scale
    why: str

    def allowed(self, bars: Bars, values: Array, params: Params) -> Array:
        """Return the allowed |engine - oracle| for each row; where there is no scale (0/0), that of the value."""
        with np.errstate(all="ignore"):
            scale = np.asarray(self.scale(bars, values, params), np.longdouble)
        scale = np.where(np.isfinite(scale), scale, np.abs(values))
        return np.asarray(self.ulps * EPS * scale)


# --- scales -------------------------------------------------------------------------------------------------


def own(_b: Bars, v: Array, _p: Params) -> Array:
    """Size of the value itself."""
    return np.abs(v)


def beside_one(_b: Bars, v: Array, _p: Params) -> Array:
    """A quotient near 1 from which 1 is taken."""
    return 1 + np.abs(v)


def hundred(_b: Bars, v: Array, _p: Params) -> Array:
    """An index of 0 to 100 in which differences of indices are taken."""
    return np.full(len(v), 100.0)


def hundred_beside_one(_b: Bars, v: Array, _p: Params) -> Array:
    """100 times a quotient near 1 from which 1 is taken."""
    return 100 + np.abs(v)


def one(_b: Bars, v: Array, _p: Params) -> Array:
    """A share of a whole."""
    return np.ones(len(v))


def _typical(b: Bars) -> Array:
    return (b.high + b.low + b.close) / 3.0


def _returns(b: Bars) -> Array:
    return np.asarray(b.close / lag(b.close, 1))


def _tame(x: Array) -> Array:
    """Ratios of prices that are nothing beside each other are neutral: none passes 2^44."""
    return np.where(np.abs(x) > 2.0**44, 1.0, np.abs(x))


def macd_level(b: Bars, v: Array, p: Params) -> Array:
    """Both means, smoothed as the signal: their difference is small beside them."""
    level = ema_of(b.close, p["fast"]) + ema_of(b.close, p["slow"])
    smooth = ema_of(level, p["signal"])
    return np.where(np.isnan(smooth), level, level + smooth)


def macd_level_over_close(b: Bars, v: Array, p: Params) -> Array:
    """The same, divided by the close."""
    return macd_level(b, v, p) / b.close


def bb_level(b: Bars, v: Array, p: Params) -> Array:
    """Highest price of the window: mean and deviation are rounded on its scale."""
    return wmax(b.close, p["period"]) * (1 + p["k"])


def bb_pct(b: Bars, v: Array, p: Params) -> Array:
    """Price over deviation: a hundred times less deviation is two digits less."""
    span = 2 * p["k"] * wstd(b.close, p["period"], p["ddof"])
    return wmax(b.close, p["period"]) / span * (1 + 2 * p["k"] * np.abs(v - 0.5)) + np.abs(v)


def bb_width(b: Bars, v: Array, p: Params) -> Array:
    """The deviation is rounded on the scale of the price that it is divided by."""
    return 2 * p["k"] + np.abs(v)


def zscore(b: Bars, v: Array, p: Params) -> Array:
    """Price over deviation."""
    return wmax(b.close, p["period"]) / wstd(b.close, p["period"], p["ddof"]) * (1 + np.abs(v)) + np.abs(v)


def cci(b: Bars, v: Array, p: Params) -> Array:
    """Price over mean deviation, in the unit of 0.015."""
    n, typical = p["period"], _typical(b)
    return wmax(typical, n) / wmean_abs_dev(typical, n) * (1 / 0.015 + np.abs(v)) + np.abs(v)


def spread_of_returns(b: Bars, v: Array, p: Params) -> Array:
    """Each return is rounded beside 1, large ones beside themselves."""
    return wmax(1 + _tame(_returns(b)), p["period"]) + np.abs(v)


def spread_of_logs(b: Bars, v: Array, p: Params) -> Array:
    """A logarithm of a rounded quotient is off by an ulp of 1."""
    return wmax(1 + np.abs(np.log(_returns(b))), p["period"]) + np.abs(v)


def log_range(b: Bars, v: Array, p: Params) -> Array:
    """Logarithm of a rounded quotient of the bar."""
    return wmax(1 + np.log(b.high / b.low), p["period"])


def garman_klass(b: Bars, v: Array, p: Params) -> Array:
    """A difference of squares under a root: where it nearly vanishes the root magnifies its rounding."""
    span, drift = np.log(b.high / b.low), np.log(b.close / b.open)
    squares = wmax((1 + span) * span + (1 + np.abs(drift)) * np.abs(drift) + EPS, p["period"])
    return squares / np.maximum(v, np.sqrt(EPS * squares))


def traded_so_far(b: Bars, v: Array, p: Params) -> Array:
    """A running sum carries the rounding of all that passed through it."""
    known = np.where(np.isnan(b.volume), 0.0, b.volume)
    return np.cumsum(known.astype(np.longdouble))


EXACT = Tolerance(0, own, "one subtraction or comparison: correctly rounded, so equal")
FEW = Tolerance(4, own, "a handful of roundings of positive terms")
MEAN = Tolerance(6, own, "pairwise mean or sum of positive terms")
CHANGE = Tolerance(2, beside_one, "a quotient rounded beside 1, then minus 1")
SLOW = Tolerance(40, own, "recursion over positive terms: about a rounding per bar of memory")
SLOW_CHANGE = Tolerance(20, beside_one, "quotient of recursions, then minus 1")

TOLERANCES: dict[str, Tolerance | dict[str, Tolerance]] = {
    "ret": CHANGE, "gap": CHANGE, "roc": CHANGE,
    "log_ret": Tolerance(2, beside_one, "logarithm of a quotient rounded beside 1"),
    "range_hl": FEW, "body": FEW, "upper_wick": FEW, "lower_wick": FEW,
    "sma": MEAN, "ema": SLOW, "rma": SLOW, "ema_gap": SLOW_CHANGE, "ema_cross": SLOW_CHANGE,
    "macd": Tolerance(20, macd_level, "difference of means: rounded on the scale of the price"),
    "macd_pct": Tolerance(20, macd_level_over_close, "difference of means, over the close"),
    "trix": Tolerance(60, hundred_beside_one, "three recursions, a quotient, minus 1, times 100"),
    "rsi": SLOW, "momentum": EXACT, "stoch": FEW, "willr": FEW,
    "cci": Tolerance(4, cci, "distance from the mean over the mean deviation, both rounded on the price's scale"),
    "mfi": MEAN,
    "adx": {
        "adx": Tolerance(40, hundred, "difference of two indices, recursively smoothed"),
        "plus_di": SLOW, "minus_di": SLOW,
    },
    "bb": {
        "upper": Tolerance(4, bb_level, "mean and deviation on the price's scale"),
        "lower": Tolerance(4, bb_level, "mean and deviation on the price's scale"),
        "mid": MEAN,
        "pct": Tolerance(4, bb_pct, "eps * price / deviation"),
        "width": Tolerance(4, bb_width, "deviation on the price's scale, over the price"),
    },
    "true_range": EXACT, "atr": SLOW, "natr": SLOW,
    "volatility": Tolerance(4, spread_of_returns, "returns are rounded beside 1"),
    "log_volatility": Tolerance(4, spread_of_logs, "logarithms are off by an ulp of 1"),
    "parkinson": Tolerance(4, log_range, "logarithms are off by an ulp of 1"),
    "garman_klass": Tolerance(4, garman_klass, "a root of a difference of squares"),
    "zscore": Tolerance(4, zscore, "eps * price / deviation"),
    "donchian": {"upper": EXACT, "lower": EXACT, "mid": FEW},
    "drawdown": CHANGE,
    "volume_change": CHANGE, "volume_ratio": MEAN,
    "obv": Tolerance(40, traded_so_far, "running sum of the whole history"),
    "obv_slope": Tolerance(6, one, "signed sum over the sum of sizes"),
    "vwap": MEAN, "vwap_gap": Tolerance(6, beside_one, "a quotient of pairwise sums, then minus 1"),
    "hour_sin": Tolerance(6, one, "the angle, up to 2 pi, is rounded"),
    "hour_cos": Tolerance(6, one, "the angle, up to 2 pi, is rounded"),
    "dow_sin": Tolerance(6, one, "the angle, up to 2 pi, is rounded"),
    "dow_cos": Tolerance(6, one, "the angle, up to 2 pi, is rounded"),
}  # fmt: skip


def tolerance_of(name: str, output: str) -> Tolerance:
    """Return the row of one output."""
    row = TOLERANCES[name]
    return row[output] if isinstance(row, dict) else row


# --- primitives: scale as a function of the operands' sizes --------------------------------------------------
# (ulps, what is rounded); x and y are the operands, n the rows, v the oracle's values

PrimitiveScale = Callable[..., Array]


def recursion(x: Array, k: float) -> Array:
    """Add up what s + k * (x - s) rounds in each step, faded by the steps since, whatever the seed."""
    out, state, error = np.zeros(len(x), np.longdouble), None, np.longdouble(0)
    for row, value in enumerate(np.abs(x).astype(np.longdouble)):
        if not np.isnan(value):
            before = value if state is None else np.maximum(state, value)
            state = value if state is None or k == 1 else state + k * (value - state)
            error = (1 - k) * error + k * before + state
        out[row] = error
    return out


PRIMITIVE_TOLERANCES: dict[str, tuple[float, PrimitiveScale, str]] = {
    "lag": (0, lambda v, n, x: np.abs(v), "moves values, rounds nothing"),
    "min": (0, lambda v, n, x: np.abs(v), "picks a value, rounds nothing"),
    "max": (0, lambda v, n, x: np.abs(v), "picks a value, rounds nothing"),
    "sum": (6, lambda v, n, x: n * wmax(np.abs(x), n), "pairwise: a rounding per doubling, on the size of the terms"),
    "mean": (6, lambda v, n, x: wmax(np.abs(x), n), "a rounding per doubling, on the size of the terms"),
    "mean_abs_dev": (1, lambda v, n, x: (n + 8) / 2 * wmax(np.abs(x), n), "added up in order: a rounding per term"),
    "std": (4, lambda v, n, x: wmax(np.abs(x), n), "eps * size / std of the value, so eps * size in all"),
    "var": (
        8,
        lambda v, n, x: wmax(np.abs(x), n) * (np.sqrt(v) + EPS * wmax(np.abs(x), n)),
        "twice the deviation's, times the deviation",
    ),
    "cov": (
        8,
        lambda v, n, x, y: (
            wmax(np.abs(x), n) * wstd(y, n)
            + wmax(np.abs(y), n) * wstd(x, n)
            + EPS * wmax(np.abs(x), n) * wmax(np.abs(y), n)
        ),
        "each mean on its own scale, times the other's deviation",
    ),
    "ema": (2, lambda v, n, x: recursion(x, 2 / (n + 1)), "each step rounds, and forgets as the value does"),
    "rma": (2, lambda v, n, x: recursion(x, 1 / n), "each step rounds, and forgets as the value does"),
    "cumsum": (40, lambda v, n, x: cumsum(np.abs(x)), "a running sum carries the rounding of all before"),
}
