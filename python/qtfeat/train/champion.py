"""The model in production, scored on the same rows as the one that wants its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qtfeat import registry
from qtfeat.errors import QtfeatError, RegistryError
from qtfeat.features import FeatureSet
from qtfeat.registry import SavedModel
from qtfeat.train.combine import forecast
from qtfeat.train.config import TrainConfig
from qtfeat.train.data import Dataset, matrix
from qtfeat.train.evaluate.series import clock_of, ic_series, over_time
from qtfeat.train.evidence import forecast_walk, plain_meta
from qtfeat.train.fit import Tick
from qtfeat.train.models import Ensemble
from qtfeat.train.oos import OutOfSample
from qtfeat.train.walkforward import Split, WalkForward

Floats = npt.NDArray[np.float64]

LEAST_UNSEEN = 100
"""Decisions with outcomes apart from each other that make a comparison on rows the champion never saw."""


@dataclass(frozen=True, slots=True)
class Champion:
    """The comparison with the model in production.

    Attributes:
        version: its version.
        t: t of the paired difference in rank IC per timestamp, candidate less champion; 0 where they say the same.
        how: "unseen rows": the saved models, on rows after their training data; "same recipe": its features and
            settings trained anew in the same folds, where too few such rows exist.
        timestamps: how many the t is made of.
    """

    version: str
    t: float
    how: str
    timestamps: int


def champion(
    root: str | Path,
    name: str,
    data: Dataset,
    split: Split,
    walk: WalkForward,
    config: TrainConfig,
    tick: Tick = lambda _rounds: None,
) -> Champion | None:
    """Compare with the model in production on the same rows; None where there is none.

    A saved champion has seen the rows it was trained on, so it is scored on later ones. Where those are too few, what
    is compared is its recipe: its features and settings, trained fold by fold as the candidate was.

    Args:
        root: folder of all models.
        name: the model.
        data: features and labels of the candidate.
        split: the folds.
        walk: the candidate's walk-forward.
        config: the candidate's settings.
        tick: called with rounds done.

    Raises:
        RegistryError: the champion is damaged, or its manifest does not say how it was made.
    """
    if not (Path(root) / name).is_dir() or registry.aliases(root, name).production is None:
        return None
    saved = registry.load(root, name, "production")
    X, complete = _its_features(saved, data, config.threads)
    oos = walk.oos
    unseen = (oos.t > _end_of_training(saved)) & complete[walk.rows]
    if len(np.unique(oos.t[unseen])) >= LEAST_UNSEEN * max(1, oos.horizon):
        score = Ensemble.from_files(saved.files, config.threads).predict(X[walk.rows[unseen]])[2]
        return _paired(saved, oos.take(unseen), oos.score[unseen], score, "unseen rows")
    its_config = replace(_its_config(saved), threads=config.threads)
    if saved.manifest["fingerprint"] == data.fingerprint and its_config == config:
        return _paired(saved, oos, oos.score, oos.score, "same recipe")
    rival = replace(data, X=X, complete=complete & data.complete)
    score = forecast_walk(rival, split, its_config, tick)[walk.rows]
    both = ~np.isnan(score)
    own = forecast(walk.raw.xgb_reg, walk.raw.lgbm_reg, plain_meta(config))
    return _paired(saved, oos.take(both), own[both], score[both], "same recipe")


def _paired(saved: SavedModel, oos: OutOfSample, own: Floats, its: Floats, how: str) -> Champion:
    clock = clock_of(oos)
    ours, theirs = (ic_series(score, oos.value, oos.symbol, clock) for score in (own, its))
    # A forecast without any difference between symbols has no rank IC: it knows nothing, which is 0.
    gain = np.nan_to_num(ours) - np.nan_to_num(theirs)
    t = over_time(gain, clock.stride).t if gain.any() else 0.0
    return Champion(saved.version, t, how, len(gain))


def _its_features(saved: SavedModel, data: Dataset, threads: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the champion's features of all bars, and which rows have all of them."""
    if saved.manifest["fingerprint"] == data.fingerprint:
        return data.X, data.complete
    X, _ = matrix(data.bars, _its_set(saved), threads=threads, on_bad="null")
    return X, np.asarray(~np.isnan(X).any(axis=1))


def _its_set(saved: SavedModel) -> FeatureSet:
    found = saved.manifest.get("features")
    if not isinstance(found, dict):
        raise RegistryError(f"{saved.path}: the manifest does not say which features the model reads")
    try:
        features = FeatureSet(found["specs"], found["numerics"], found["eps"], fill=found["fill"])
    except (KeyError, TypeError, QtfeatError) as error:
        raise RegistryError(f"{saved.path}: `features` of the manifest: {error}") from error
    if features.fingerprint != saved.manifest["fingerprint"]:
        raise RegistryError(f"{saved.path}: `features` of the manifest do not have its fingerprint")
    return features


def _its_config(saved: SavedModel) -> TrainConfig:
    try:
        return TrainConfig.from_dict(saved.manifest["config"])
    except (KeyError, QtfeatError) as error:
        raise RegistryError(f"{saved.path}: `config` of the manifest: {error}") from error


def _end_of_training(saved: SavedModel) -> np.datetime64:
    """Return when the last outcome that the champion learnt from was known."""
    try:
        return np.datetime64(saved.manifest["data"]["known_until"], "ns")
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryError(f"{saved.path}: the manifest does not say when its training data end") from error
