"""What the contract covers: every catalogue row at its defaults, variants of every parameter, expressions that use
every primitive, and the shipped sets. Nothing is left out: there is no exemption list."""

from __future__ import annotations

from functools import cache
from typing import Any

import qtfeat as qf

PROFILES = ("safe", "talib", "legacy")
SHIPPED = ("kline17", "trade14", "seq8", "wide32")
EXTRA = "flow"  # an extra column that some expressions read

# (indicator, parameters): every parameter of every indicator away from its default. Periods are powers of two, one
# less, one more, and 1 or 2, because a sliding window is put together from powers of two.
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("sma", {"period": 1}), ("sma", {"period": 7}), ("sma", {"period": 64}),
    ("ema", {"period": 1}), ("ema", {"period": 50}), ("ema", {"period": 20, "seed": "first"}),
    ("rma", {"period": 5}), ("rma", {"period": 14, "seed": "first"}),
    ("ema_gap", {"period": 50}), ("ema_gap", {"period": 9, "seed": "first"}),
    ("ema_cross", {"fast": 10, "slow": 50}), ("ema_cross", {"fast": 1, "slow": 2}),
    ("macd", {"fast": 3, "slow": 10, "signal": 16}), ("macd", {"fast": 5, "slow": 35, "signal": 5}),
    ("macd_pct", {"fast": 8, "slow": 17, "signal": 1}),
    ("trix", {"period": 5}),
    ("rsi", {"period": 2}), ("rsi", {"period": 14, "smoothing": "sma"}), ("rsi", {"period": 21, "smoothing": "ema"}),
    ("roc", {"period": 1}), ("roc", {"period": 20}), ("momentum", {"period": 3}),
    ("stoch", {"k": 5, "smooth": 1, "d": 1}), ("stoch", {"k": 21, "smooth": 4, "d": 7}),
    ("willr", {"period": 33}), ("cci", {"period": 2}), ("cci", {"period": 14}), ("mfi", {"period": 3}),
    ("adx", {"period": 1}), ("adx", {"period": 7}),
    ("bb", {"period": 10, "k": 2.5}), ("bb", {"period": 2, "k": 1}), ("bb", {"period": 33, "k": 2, "ddof": 1}),
    ("true_range", {"tr0": True}), ("atr", {"period": 14, "tr0": True}), ("atr", {"period": 5}),
    ("natr", {"period": 7}), ("natr", {"period": 14, "tr0": True}),
    ("volatility", {"period": 5}), ("volatility", {"period": 20, "ddof": 1}),
    ("log_volatility", {"period": 63}), ("log_volatility", {"period": 20, "ddof": 1}),
    ("parkinson", {"period": 1}), ("parkinson", {"period": 15}), ("garman_klass", {"period": 31}),
    ("zscore", {"period": 3}), ("zscore", {"period": 20, "ddof": 1}), ("donchian", {"period": 55}),
    ("drawdown", {"period": 17}), ("volume_ratio", {"period": 5}), ("obv_slope", {"period": 9}),
    ("vwap", {"period": 1}), ("vwap", {"period": 12}), ("vwap_gap", {"period": 65}),
)  # fmt: skip

EXPRESSIONS = (
    "x_lag = lag(close, 3)",
    "x_lag_deep = lag(ema(lag(close, 2), 5), 40)",
    "x_sum = sum(volume, 13)",
    "x_mean = mean(close - open, 31)",
    "x_var = var(close, 17)",
    "x_var_sample = var(high - low, 2, ddof=1)",
    "x_std = std(volume, 23)",
    "x_min_over = min(low, 13)",
    "x_max_over = max(high, 63)",
    "x_min = min(open, close)",
    "x_max = max(close - open, 0.0)",
    "x_mad = mean_abs_dev(close, 5)",
    "x_cov = cov(close, volume, 7)",
    "x_cov_sample = cov(high, low, 12, ddof=1)",
    "x_cov_itself = cov(close, close, 16)",
    "x_log = log(close / lag(close, 4), neutral=1)",
    "x_log_negative = log(close - open)",
    "x_sqrt = sqrt(close - lag(close, 1))",
    "x_abs = abs(close - open)",
    "x_sign = sign(close - mean(close, 4))",
    "x_where = where(close > open, lag(close, 3), high)",
    "x_where_warm = where(ema(close, 30) > close, 1, 0)",
    "x_clip = clip(close / open - 1, -0.01, 0.01)",
    "x_cumsum = cumsum(close - open)",
    "x_ema_first = ema(volume, 9, seed=\"first\")",
    "x_rma = rma(high - low, 6)",
    "x_chain = ema(rma(ema(close, 3), 4), 5)",
    "x_ratio = ratio(close - min(low, 20), max(high, 20) - min(low, 20), neutral=0.5)",
    "x_over_volume = (close - open) / volume",
    "x_squares = (close * close) / (open * high)",
    "x_compare = (close < open) + (close <= lag(close, 1)) + (high >= low) + (volume == lag(volume, 1))",
    "x_minus = -close / 7",
    f"x_extra = {EXTRA} * 2 + mean({EXTRA}, 3)",
    f"x_extra_cov = cov({EXTRA}, close, 9)",
    "x_trend = (close - ema(close, 50)) / atr(14)",
    "x_squeeze = bb(20,2).width / mean(bb(20,2).width, 40)",
)  # fmt: skip


def spec_of(name: str, params: dict[str, Any]) -> str:
    """Write an indicator with named parameters as a spec."""

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        return f'"{value}"' if isinstance(value, str) else f"{value}"

    return f"{name}({', '.join(f'{key}={text(value)}' for key, value in params.items())})" if params else name


@cache
def registered() -> tuple[str, ...]:
    """Ids of the catalogue, in its order."""
    return tuple(dict.fromkeys(qf.catalog().column("id").to_pylist()))


def variants() -> list[tuple[str, dict[str, Any]]]:
    """Return the variants of registered indicators."""
    return [(name, params) for name, params in VARIANTS if name in registered()]


@cache
def features() -> tuple[str, ...]:
    """Every spec of the contract, each once."""
    return (*registered(), *(spec_of(name, params) for name, params in variants()), *EXPRESSIONS)


@cache
def everything(profile: str) -> qf.FeatureSet:
    """One set of all the features, so that one pass covers them all."""
    return qf.FeatureSet(features(), profile, fill=None, name="everything")


@cache
def feature_sets(profile: str) -> tuple[qf.FeatureSet, ...]:
    """Return the set of everything and the shipped sets, which have plans of their own."""
    return (everything(profile), *(qf.FeatureSet.load(name, numerics=profile, fill=None) for name in SHIPPED))
