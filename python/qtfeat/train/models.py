"""The four models (XGBoost and LightGBM, classifier and regressor) and the weighted mean of each pair."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat.errors import QtfeatError, RegistryError
from qtfeat.labels import SIDES
from qtfeat.train.config import TrainConfig

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Tick = Callable[[int], None]

FILES = ("xgb_cls.ubj", "lgbm_cls.txt", "xgb_reg.ubj", "lgbm_reg.txt")
MODELS = len(FILES)


def library(name: str) -> Any:
    """Import XGBoost or LightGBM.

    Raises:
        QtfeatError: it is not installed.
    """
    # Threads that spin while they wait make a busy machine many times slower. Read once, when OpenMP is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return import_module(name)
    except ImportError as error:
        raise QtfeatError(f"training needs {name}, which is not installed: pip install 'qtfeat[train]'") from error


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Four trained boosters; predictions are weighted means of the pairs.

    Attributes:
        xgb_cls: XGBoost classifier over SELL, HOLD, BUY.
        lgbm_cls: LightGBM classifier over the same.
        xgb_reg: XGBoost regressor of the forward return.
        lgbm_reg: LightGBM regressor of the same.
        config: the settings they were trained with.
    """

    xgb_cls: Any
    lgbm_cls: Any
    xgb_reg: Any
    lgbm_reg: Any
    config: TrainConfig

    def probabilities(self, X: Floats) -> Floats:
        """Return the class probabilities, (n, 3) in the order of `SIDES`, for (n, F) features."""
        return self._mean(self.xgb_cls.inplace_predict(X), self.lgbm_cls.predict(X, num_threads=self.config.threads))

    def forecast(self, X: Floats) -> Floats:
        """Return the expected forward return, (n,), a fraction."""
        return self._mean(self.xgb_reg.inplace_predict(X), self.lgbm_reg.predict(X, num_threads=self.config.threads))

    def _mean(self, xgb: Any, lgbm: Any) -> Floats:
        weight = self.config.xgb_weight
        return weight * np.asarray(xgb, dtype=np.float64) + (1.0 - weight) * np.asarray(lgbm, dtype=np.float64)

    def files(self) -> dict[str, bytes]:
        """Return the four models as file name and content, in the libraries' own open formats."""
        return {
            "xgb_cls.ubj": bytes(self.xgb_cls.save_raw("ubj")),
            "lgbm_cls.txt": self.lgbm_cls.model_to_string().encode(),
            "xgb_reg.ubj": bytes(self.xgb_reg.save_raw("ubj")),
            "lgbm_reg.txt": self.lgbm_reg.model_to_string().encode(),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], config: TrainConfig) -> Ensemble:
        """Read the four models back.

        Raises:
            RegistryError: one is missing or cannot be read by its library.
        """
        xgb, lgb = library("xgboost"), library("lightgbm")
        try:
            boosters = [xgb.Booster(), xgb.Booster()]
            for booster, file in zip(boosters, ("xgb_cls.ubj", "xgb_reg.ubj"), strict=True):
                booster.load_model(bytearray(files[file]))
                booster.set_param({"nthread": config.threads})
            lgbm = [lgb.Booster(model_str=files[file].decode()) for file in ("lgbm_cls.txt", "lgbm_reg.txt")]
        except (KeyError, UnicodeDecodeError, xgb.core.XGBoostError, lgb.basic.LightGBMError) as error:
            raise RegistryError(f"model file missing or unreadable: {error}") from error
        return cls(boosters[0], lgbm[0], boosters[1], lgbm[1], config)


def train(
    X: Floats,
    side: npt.NDArray[np.int8],
    forward: Floats,
    *,
    fit: Rows,
    tail: Rows,
    config: TrainConfig,
    tick: Tick = lambda _rounds: None,
) -> Ensemble:
    """Train the four models, each stopped early on the tail.

    Args:
        X: features, (n, F), finite.
        side: classes, (n,), 0..2 on the rows used.
        forward: forward returns, (n,), finite on the rows used.
        fit: rows to fit on.
        tail: later rows, purged against `fit`, that decide when to stop.
        config: settings.
        tick: called with rounds done; adds up to 4 * config.rounds.

    Raises:
        QtfeatError: a library is not installed.
    """
    xgb_cls, xgb_reg = _train_xgb(X, side, forward, fit, tail, config, tick)
    lgbm_cls, lgbm_reg = _train_lgbm(X, side, forward, fit, tail, config, tick)
    return Ensemble(xgb_cls, lgbm_cls, xgb_reg, lgbm_reg, config)


def _train_xgb(
    X: Floats, side: npt.NDArray[np.int8], forward: Floats, fit: Rows, tail: Rows, config: TrainConfig, tick: Tick
) -> list[Any]:
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
    tasks: list[tuple[dict[str, Any], npt.NDArray[Any]]] = [
        ({"objective": "multi:softprob", "num_class": len(SIDES), "eval_metric": "mlogloss"}, side),
        ({"objective": "reg:squarederror", "eval_metric": "rmse"}, forward),
    ]

    class Count(xgb.callback.TrainingCallback):  # type: ignore[misc,name-defined]
        rounds = 0

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
            self.rounds += 1
            tick(1)
            return False

    # Binned once; only the target differs between the two.
    fitted = xgb.QuantileDMatrix(X[fit], nthread=config.threads)
    watched = xgb.QuantileDMatrix(X[tail], ref=fitted, nthread=config.threads)
    boosters = []
    for task, target in tasks:
        fitted.set_label(target[fit])
        watched.set_label(target[tail])
        count = Count()
        booster = xgb.train(
            {**common, **task},
            fitted,
            num_boost_round=config.rounds,
            evals=[(watched, "tail")],
            verbose_eval=False,
            callbacks=[count, xgb.callback.EarlyStopping(rounds=config.patience, save_best=True)],
        )
        tick(config.rounds - count.rounds)
        boosters.append(booster)
    return boosters


def _train_lgbm(
    X: Floats, side: npt.NDArray[np.int8], forward: Floats, fit: Rows, tail: Rows, config: TrainConfig, tick: Tick
) -> list[Any]:
    lgb = library("lightgbm")
    common = {
        "max_depth": config.depth,
        "num_leaves": 2**config.depth,
        "learning_rate": config.learning_rate,
        "bagging_fraction": config.subsample,
        "bagging_freq": 1,
        "feature_fraction": config.colsample,
        "min_data_in_leaf": config.min_child,
        "lambda_l2": config.l2,
        "num_threads": config.threads,
        "seed": config.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    tasks: list[tuple[dict[str, Any], npt.NDArray[Any]]] = [
        ({"objective": "multiclass", "num_class": len(SIDES), "metric": "multi_logloss"}, side),
        ({"objective": "regression", "metric": "l2"}, forward),
    ]
    data = lgb.Dataset(X[fit], label=forward[fit], params=common, free_raw_data=False).construct()
    watched = lgb.Dataset(X[tail], label=forward[tail], reference=data, params=common, free_raw_data=False).construct()
    boosters = []
    for task, target in tasks:
        data.set_label(target[fit])
        watched.set_label(target[tail])
        ran = 0

        def count(_env: Any) -> None:
            nonlocal ran
            ran += 1
            tick(1)

        booster = lgb.train(
            {**common, **task},
            data,
            num_boost_round=config.rounds,
            valid_sets=[watched],
            callbacks=[count, lgb.early_stopping(stopping_rounds=config.patience, verbose=False)],
        )
        tick(config.rounds - ran)
        # Written and read back: the trees after the best round are gone, as in the saved file.
        text = booster.model_to_string(num_iteration=booster.best_iteration)
        boosters.append(lgb.Booster(model_str=text))
    return boosters
