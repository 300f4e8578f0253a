"""The four models (XGBoost and LightGBM, classifier and regressor) and what turns their outputs into signals."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat.errors import RegistryError
from qtfeat.labels import Labels
from qtfeat.train.combine import Calibration, Meta, RawOutputs, combine, forecast
from qtfeat.train.config import TrainConfig
from qtfeat.train.fit import Task, Tick, fit_lgbm, fit_xgb
from qtfeat.train.libraries import library
from qtfeat.train.sample import Sample, class_sample, value_sample
from qtfeat.train.scaler import Scaler
from qtfeat.trees import TreeModel

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

BOOSTERS = ("xgb_cls.ubj", "lgbm_cls.txt", "xgb_reg.ubj", "lgbm_reg.txt")
FILES = (*BOOSTERS, "meta.json", "scaler.json", "calibration.json")
MODELS = len(BOOSTERS)


@dataclass(frozen=True, slots=True)
class Boosters:
    """Four trained boosters and the scaler of their features.

    Attributes:
        xgb_cls: XGBoost classifier over SELL, HOLD, BUY.
        lgbm_cls: LightGBM classifier over the same.
        xgb_reg: XGBoost regressor of the target.
        lgbm_reg: LightGBM regressor of the same.
        scaler: applied to the features first.
        threads: threads of predictions; they do not change a bit.
    """

    xgb_cls: Any
    lgbm_cls: Any
    xgb_reg: Any
    lgbm_reg: Any
    scaler: Scaler
    threads: int

    def raw(self, X: Floats) -> RawOutputs:
        """Return what the models say of (n, F) features, before any transformation."""
        X = self.scaler.apply(np.ascontiguousarray(X))
        lgbm = {"raw_score": True, "num_threads": self.threads}
        outputs = (
            self.xgb_cls.inplace_predict(X, predict_type="margin"),
            self.lgbm_cls.predict(X, **lgbm),
            self.xgb_reg.inplace_predict(X, predict_type="margin"),
            self.lgbm_reg.predict(X, **lgbm),
        )
        return RawOutputs(*(np.asarray(values, dtype=np.float64) for values in outputs))

    def forecast(self, X: Floats, meta: Meta) -> Floats:
        """Return the forecast of (n, F) features alone, without asking the classifiers."""
        return _pair_forecast(self.xgb_reg, self.lgbm_reg, self.scaler, self.threads, X, meta)

    def files(self) -> dict[str, bytes]:
        """Return the models and the scaler as file name and content, in the libraries' own open formats."""
        return {
            "xgb_cls.ubj": bytes(self.xgb_cls.save_raw("ubj")),
            "lgbm_cls.txt": _lgbm_text(self.lgbm_cls),
            "xgb_reg.ubj": bytes(self.xgb_reg.save_raw("ubj")),
            "lgbm_reg.txt": _lgbm_text(self.lgbm_reg),
            "scaler.json": self.scaler.to_json(),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], threads: int = 1) -> Boosters:
        """Read the models back.

        Raises:
            RegistryError: one is missing or cannot be read.
        """
        xgb, lgb = library("xgboost"), library("lightgbm")
        try:
            # The libraries abort the process over some damaged files; ours names what is wrong.
            for file in ("xgb_cls.ubj", "xgb_reg.ubj", "lgbm_cls.txt", "lgbm_reg.txt"):
                TreeModel.load(files[file])
            boosters = [xgb.Booster(), xgb.Booster()]
            for booster, file in zip(boosters, ("xgb_cls.ubj", "xgb_reg.ubj"), strict=True):
                booster.load_model(bytearray(files[file]))
                booster.set_param({"nthread": threads})
            lgbm = [lgb.Booster(model_str=files[file].decode()) for file in ("lgbm_cls.txt", "lgbm_reg.txt")]
            scaler = Scaler.from_json(files["scaler.json"], lgbm[0].num_feature())
        except (KeyError, UnicodeDecodeError, xgb.core.XGBoostError, lgb.basic.LightGBMError) as error:
            raise RegistryError(f"model file missing or unreadable: {error}") from error
        return cls(boosters[0], lgbm[0], boosters[1], lgbm[1], scaler, threads)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Boosters with what combines and calibrates them: all that predicts, and all that is saved.

    Attributes:
        boosters: the four models.
        meta: how the pairs become one.
        calibration: how the classes' probabilities are corrected.
    """

    boosters: Boosters
    meta: Meta
    calibration: Calibration

    def predict(self, X: Floats) -> tuple[Floats, Floats, Floats]:
        """Return (p_raw, p, score) of (n, F) features, as `combine` does."""
        return combine(self.boosters.raw(X), self.meta, self.calibration)

    def files(self) -> dict[str, bytes]:
        """Return everything as file name and content: the names in `FILES`."""
        rest = {"meta.json": self.meta.to_json(), "calibration.json": self.calibration.to_json()}
        return {**self.boosters.files(), **rest}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], threads: int = 1) -> Ensemble:
        """Read everything back.

        Raises:
            RegistryError: a file is missing, damaged or not what it should be.
        """
        for name in FILES:
            if name not in files:
                raise RegistryError(f"model file {name!r} is missing")
        return cls(
            Boosters.from_files(files, threads),
            Meta.from_json(files["meta.json"]),
            Calibration.from_json(files["calibration.json"]),
        )


def train(
    X: Floats,
    labels: Labels,
    *,
    fit: Rows,
    tail: Rows,
    config: TrainConfig,
    tick: Tick = lambda _rounds: None,
) -> Boosters:
    """Train the four models, each stopped early on the tail.

    Args:
        X: features, (n, F), finite on the rows used.
        labels: labels of the n rows, known on the rows used.
        fit: rows to fit on.
        tail: later rows, purged against `fit`, that decide when to stop.
        config: settings.
        tick: called with rounds done; adds up to MODELS * config.rounds.

    Raises:
        QtfeatError: a library is not installed.
    """
    scaler = scaler_for(X, fit, config)
    scaled = scaler.apply(X)
    samples: dict[Task, Sample] = {
        "cls": class_sample(labels, fit, tail, config),
        "reg": value_sample(labels, fit, tail, config),
    }
    xgb = fit_xgb(scaled, samples, config, tick)
    lgbm = fit_lgbm(scaled, samples, config, tick)
    return Boosters(xgb["cls"], lgbm["cls"], xgb["reg"], lgbm["reg"], scaler, config.threads)


def forecast_only(
    X: Floats,
    labels: Labels,
    *,
    fit: Rows,
    tail: Rows,
    config: TrainConfig,
    tick: Tick = lambda _rounds: None,
) -> Callable[[Floats, Meta], Floats]:
    """Train the regressors alone; arguments as in `train`, ticks add up to 2 * config.rounds.

    Returns:
        A function of (n, F) features and a `Meta` that gives the forecast.
    """
    scaler = scaler_for(X, fit, config)
    scaled = scaler.apply(X)
    samples: dict[Task, Sample] = {"reg": value_sample(labels, fit, tail, config)}
    xgb = fit_xgb(scaled, samples, config, tick)["reg"]
    lgbm = fit_lgbm(scaled, samples, config, tick)["reg"]
    return lambda rows, meta: _pair_forecast(xgb, lgbm, scaler, config.threads, rows, meta)


def _pair_forecast(xgb: Any, lgbm: Any, scaler: Scaler, threads: int, X: Floats, meta: Meta) -> Floats:
    X = scaler.apply(np.ascontiguousarray(X))
    first = np.asarray(xgb.inplace_predict(X, predict_type="margin"), dtype=np.float64)
    return forecast(first, lgbm.predict(X, raw_score=True, num_threads=threads), meta)


def scaler_for(X: Floats, fit: Rows, config: TrainConfig) -> Scaler:
    """Return the scaler that the settings ask for, fitted on the rows fitted on."""
    return Scaler.fit(X[fit]) if config.scale else Scaler.identity(X.shape[1])


def _lgbm_text(booster: Any) -> bytes:
    """Return the model without the thread count among its parameters: it says nothing about the trees."""
    return re.sub(r"(?m)^\[num_threads: \d+\]$", "[num_threads: 0]", booster.model_to_string()).encode()
