"""What a model can learn from synthetic windows: what was planted, and nothing else."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import qtfeat as qf
from qtfeat.splits import PurgedWalkForward, purged_tail
from qtfeat.synthetic import synthetic_features, synthetic_labels, synthetic_windows
from qtfeat.train.config import TrainConfig
from sizes import scaled

xgb = pytest.importorskip("xgboost")

N = 5_000
SEEDS = range(scaled(20))
RHO = 0.7
# Raw prices and their averages beside the scale-free set.
LEVELS = ["price = close", "ema(10)", "ema(50)", "bb(20,2).upper", "bb(20,2).lower", "atr(14)", "macd(12,26,9).line"]


def outcomes(seed: int) -> np.ndarray:
    return 2.0 * np.random.default_rng(10_000 + seed).standard_normal(N)


def forest(X: np.ndarray, y: np.ndarray, rows: np.ndarray, labels, seed: int):
    """XGBoost with the defaults of training, stopped early on a purged tail of the training rows."""
    c = TrainConfig(threads=1)
    fit, tail = purged_tail(labels.t[rows], labels.t_end[rows], c.tail)
    settings = {
        "objective": "reg:squarederror",
        "tree_method": "hist",
        "max_depth": c.depth,
        "learning_rate": c.learning_rate,
        "subsample": c.subsample,
        "colsample_bytree": c.colsample,
        "min_child_weight": c.min_child,
        "lambda": c.l2,
        "seed": seed,
        "nthread": c.threads,
    }
    part = [xgb.DMatrix(X[rows[part]], y[rows[part]]) for part in (fit, tail)]
    return xgb.train(
        settings, part[0], c.rounds, evals=[(part[1], "tail")], early_stopping_rounds=c.patience, verbose_eval=False
    )


def out_of_sample_r2(X: np.ndarray, labels, *, linear: bool = False, seed: int = 0) -> float:
    """R² of the pooled predictions of a purged walk-forward of five folds."""
    y = labels.value / labels.value.std()
    forecast = np.full(len(y), np.nan)
    splits = PurgedWalkForward(5).split(times=labels.t, label_end=labels.t_end)
    for train, test in splits:
        if linear:
            slope, level = np.polyfit(X[train, 0], y[train], 1)
            forecast[test] = level + slope * X[test, 0]
        else:
            model = forest(X, y, train, labels, seed)
            forecast[test] = model.predict(xgb.DMatrix(X[test]), iteration_range=(0, model.best_iteration + 1))
    seen = ~np.isnan(forecast)
    left, whole = y[seen] - forecast[seen], y[seen] - y[seen].mean()
    return float(1 - (left @ left) / (whole @ whole))


@cache
def planted(seed: int) -> float:
    pnl = outcomes(seed)
    return out_of_sample_r2(synthetic_features(pnl, "wide32", seed=seed, rho=RHO), synthetic_labels(pnl))


@pytest.mark.soak
@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_relation_there_is_nothing_to_learn(seed):
    pnl = outcomes(seed)
    r2 = out_of_sample_r2(synthetic_features(pnl, "wide32", seed=seed), synthetic_labels(pnl))
    print(f"rho 0, seed {seed}: R2 {r2:.4f}")
    assert r2 <= 0.02


@pytest.mark.soak
@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_planted_is_found(seed):
    pnl = outcomes(seed)
    labels = synthetic_labels(pnl)
    windows = synthetic_windows(pnl, seed=seed, rho=RHO)
    realised = np.log(windows[:, -1, 3] / windows[:, -11, 3])
    linear = out_of_sample_r2(realised[:, None], labels, linear=True)
    r2 = planted(seed)
    print(f"rho 0.7, seed {seed}: R2 {r2:.4f}, linear fit {linear:.4f}")
    assert 0.49 - 0.08 <= r2 <= 0.49 + 0.04
    assert r2 >= 0.85 * linear


@pytest.mark.soak
@pytest.mark.parametrize("seed", SEEDS)
def test_price_levels_add_nothing(seed):
    pnl = outcomes(seed)
    labels = synthetic_labels(pnl)
    windows = synthetic_windows(pnl, seed=seed, rho=RHO)
    both = np.hstack([qf.windows(windows, "wide32"), qf.windows(windows, LEVELS)])
    r2 = out_of_sample_r2(both, labels)
    print(f"with price levels, seed {seed}: R2 {r2:.4f} against {planted(seed):.4f}")
    assert abs(r2 - planted(seed)) <= 0.02


@pytest.mark.soak
@pytest.mark.parametrize("seed", SEEDS)
def test_outcome_windows_know_their_outcome_and_say_so(seed):
    pnl = outcomes(seed)
    labels = synthetic_labels(pnl, "outcome")
    r2 = out_of_sample_r2(synthetic_features(pnl, "wide32", kind="outcome", seed=seed), labels)
    print(f"outcome windows, seed {seed}: R2 {r2:.4f}")
    assert r2 > 0.5
    assert labels.label_leak
