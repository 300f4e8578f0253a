"""Fitting one booster of either library to a sample, with early stopping on its tail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qtfeat.labels import SIDES
from qtfeat.train.config import TrainConfig
from qtfeat.train.libraries import library
from qtfeat.train.sample import Sample

Floats = npt.NDArray[np.float64]
Tick = Callable[[int], None]
Task = Literal["cls", "reg"]

_XGB_TASKS: dict[Task, dict[str, Any]] = {
    "cls": {"objective": "multi:softprob", "num_class": len(SIDES), "eval_metric": "mlogloss"},
    "reg": {"objective": "reg:squarederror", "eval_metric": "rmse"},
}
_LGBM_TASKS: dict[Task, dict[str, Any]] = {
    "cls": {"objective": "multiclass", "num_class": len(SIDES), "metric": "multi_logloss"},
    "reg": {"objective": "regression", "metric": "l2"},
}


def fit_xgb(X: Floats, samples: dict[Task, Sample], config: TrainConfig, tick: Tick) -> dict[Task, Any]:
    """Fit an XGBoost booster per task.

    Args:
        X: features, (n, F), finite on the rows used.
        samples: what to fit; the rows are binned once where tasks share them.
        config: settings.
        tick: called with rounds done; adds up to config.rounds per task.

    Returns:
        A `Booster` per task, cut after its best round.
    """
    xgb = library("xgboost")
    common = {
        "tree_method": "hist",
        "max_depth": config.depth,
        "learning_rate": config.learning_rate,
        "subsample": config.subsample,
        "colsample_bytree": config.colsample,
        "min_child_weight": config.min_child,
        "reg_lambda": config.l2,
        "nthread": config.threads,
        "seed": config.seed,
        "verbosity": 0,
    }

    class Count(xgb.callback.TrainingCallback):  # type: ignore[misc,name-defined]
        rounds = 0

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
            self.rounds += 1
            tick(1)
            return False

    out = {}
    binned: tuple[Any, Any, Any] = (None, None, None)
    for task, sample in samples.items():
        if binned[0] is not sample.rows:
            fitted = xgb.QuantileDMatrix(X[sample.rows], nthread=config.threads)
            binned = (sample.rows, fitted, xgb.QuantileDMatrix(X[sample.tail], ref=fitted, nthread=config.threads))
        _, fitted, watched = binned
        for matrix, target, weight in (
            (fitted, sample.target, sample.weight),
            (watched, sample.tail_target, sample.tail_weight),
        ):
            matrix.set_label(target)
            matrix.set_weight(np.ones(len(target)) if weight is None else weight)
        count = Count()
        out[task] = xgb.train(
            {**common, **_XGB_TASKS[task]},
            fitted,
            num_boost_round=config.rounds,
            evals=[(watched, "tail")],
            verbose_eval=False,
            callbacks=[count, xgb.callback.EarlyStopping(rounds=config.patience, save_best=True)],
        )
        tick(config.rounds - count.rounds)
    return out


def fit_lgbm(X: Floats, samples: dict[Task, Sample], config: TrainConfig, tick: Tick) -> dict[Task, Any]:
    """Fit a LightGBM booster per task; arguments and result as in `fit_xgb`."""
    lgb = library("lightgbm")
    common = {
        "max_depth": config.depth,
        "num_leaves": 2**config.depth,
        "learning_rate": config.learning_rate,
        "bagging_fraction": config.subsample,
        "bagging_freq": 1,
        "feature_fraction": config.colsample,
        "lambda_l2": config.l2,
        "num_threads": config.threads,
        "seed": config.seed,
        "deterministic": True,
        "force_row_wise": True,
        # The least rows in a leaf may differ between tasks that share binned data.
        "feature_pre_filter": False,
        "verbosity": -1,
    }
    out = {}
    binned: tuple[Any, Any, Any] = (None, None, None)
    for task, sample in samples.items():
        if binned[0] is not sample.rows:
            fitted = lgb.Dataset(X[sample.rows], sample.target, params=common, free_raw_data=False).construct()
            watched = lgb.Dataset(
                X[sample.tail], sample.tail_target, reference=fitted, params=common, free_raw_data=False
            ).construct()
            binned = (sample.rows, fitted, watched)
        _, fitted, watched = binned
        fitted.set_label(sample.target).set_weight(sample.weight)
        watched.set_label(sample.tail_target).set_weight(sample.tail_weight)
        rounds = 0

        def count(_env: Any) -> None:
            nonlocal rounds
            rounds += 1
            tick(1)

        booster = lgb.train(
            {**common, **_LGBM_TASKS[task], "min_data_in_leaf": config.min_child * sample.copies},
            fitted,
            num_boost_round=config.rounds,
            valid_sets=[watched],
            callbacks=[count, lgb.early_stopping(stopping_rounds=config.patience, verbose=False)],
        )
        tick(config.rounds - rounds)
        # Written and read back: the trees after the best round are gone, as in the saved file.
        out[task] = lgb.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))
    return out
