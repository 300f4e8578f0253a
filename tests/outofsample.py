"""Walk-forward predictions made up for the tests of evaluation, with a skill that is known."""

from __future__ import annotations

from dataclasses import replace
from math import erf

import numpy as np

from qtfeat.train.oos import FoldInfo, OutOfSample

_PHI = np.vectorize(lambda x: 0.5 * (1.0 + erf(x / 2**0.5)))


def made_up(symbols=15, stamps=600, horizon=5, folds=3, seed=0, r2=0.03, size=0.012, market=0.7):
    """Overlapping forward returns with a forecast that explains `r2` of them, and true probabilities."""
    g = np.random.default_rng(seed)
    shape = (stamps + horizon - 1, symbols)
    signal = _sums(g.standard_normal(shape), horizon)
    noise = _sums(g.standard_normal(shape) + market * g.standard_normal((shape[0], 1)), horizon)
    noise /= np.sqrt(1.0 + market**2)
    score = size * np.sqrt(r2) * signal.ravel()
    value = score + size * np.sqrt(1.0 - r2) * noise.ravel()
    sd = size * np.sqrt(1.0 - r2)
    levels, at = np.unique(score, return_inverse=True)
    sell, buy = _PHI((-0.005 - levels) / sd)[at], _PHI((levels - 0.005) / sd)[at]
    return assemble(value, score, np.stack([sell, 1.0 - buy - sell, buy], axis=1), symbols, horizon, folds, g)


def assemble(value, score, p, symbols, horizon=5, folds=3, generator=None):
    """Rows of a regular hourly panel, timestamp by timestamp."""
    g = generator or np.random.default_rng(0)
    n = len(value)
    stamps = n // symbols
    t = np.repeat(np.datetime64("2024-01-01", "ns") + np.arange(stamps) * np.timedelta64(3600, "s"), symbols)
    fold = np.repeat(np.arange(stamps) * folds // max(1, stamps) + 1, symbols).astype(np.int16)
    return OutOfSample(
        fold=fold,
        t=t,
        t_end=t + np.timedelta64(3600 * horizon, "s"),
        symbol=np.tile(np.arange(symbols, dtype=np.int32), stamps),
        symbols=tuple(f"S{i:03d}" for i in range(symbols)),
        value=value,
        ret=value.copy(),
        side=np.where(value > 0.005, 2, np.where(value < -0.005, 0, 1)).astype(np.int8),
        p=p,
        p_raw=p,
        score=score,
        baselines={
            "zero": np.zeros(n),
            "neg_momentum10": 0.01 * g.standard_normal(n),
            "neg_ret": 0.01 * g.standard_normal(n),
        },
        rsi=g.uniform(10.0, 90.0, n),
        folds=tuple(_info(k, t[fold == k]) for k in range(1, folds + 1)),
        horizon=horizon,
        interval_seconds=3600.0,
    )


def change(oos, **values):
    return replace(oos, **values)


def _sums(x, horizon):
    total = np.cumsum(np.vstack([np.zeros((1, x.shape[1])), x]), axis=0)
    return (total[horizon:] - total[:-horizon]) / np.sqrt(horizon)


def _info(fold, t):
    hour, start = np.timedelta64(3600, "s"), np.datetime64("2023-01-01", "ns")
    first, last = (t.min(), t.max()) if len(t) else (start, start)
    return FoldInfo(fold, 1000 * fold, len(t), start, first - hour, first, last, 0.25, 0.05)
