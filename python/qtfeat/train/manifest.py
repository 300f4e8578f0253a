"""What a saved model says about itself: data, settings, scores and versions."""

from __future__ import annotations

import platform
from importlib import import_module
from typing import Any

import numpy as np

from qtfeat.features import FeatureSet
from qtfeat.labels import SIDES
from qtfeat.train.champion import Champion
from qtfeat.train.config import TrainConfig
from qtfeat.train.data import Dataset
from qtfeat.train.drift import reference
from qtfeat.train.evaluate import Evaluation
from qtfeat.train.models import Ensemble
from qtfeat.train.walkforward import Split

_LIBRARIES = ("qtfeat", "numpy", "pyarrow", "xgboost", "lightgbm", "sklearn")


def describe(
    data: Dataset, features: FeatureSet, target: str, split: Split, config: TrainConfig, attempts: int
) -> dict[str, Any]:
    """Return the manifest as JSON values; nothing in it depends on when or where the run was made."""
    labels, rows = data.labels, data.usable
    return {
        "fingerprint": features.fingerprint,
        "feature_set": features.name or "",
        "features": {
            "specs": list(features.specs),
            "numerics": features.numerics,
            "eps": features.eps,
            "fill": features.fill,
        },
        "columns": list(data.columns),
        "label": {
            "target": target,
            "kind": labels.kind,
            "horizon": labels.horizon,
            "threshold": labels.threshold,
            "classes": list(SIDES),
            "label_leak": labels.label_leak,
        },
        "split": {
            "folds": split.folds,
            "embargo_seconds": split.embargo.total_seconds(),
            "train_size": split.train_size,
        },
        "config": config.as_dict(),
        "attempts": attempts,
        "interval_seconds": data.interval_seconds,
        "data": {
            "sha256": data.sha256,
            "bars": len(data.X),
            "rows": len(rows),
            "symbols": sorted(data.symbols),
            "first": str(labels.t.min()),
            "last": str(labels.t.max()),
            "known_until": str(labels.t_end[rows].max()),
        },
        "drift": reference(data.X[rows]),
        "versions": {name: str(import_module(name).__version__) for name in _LIBRARIES},
        "platform": f"{platform.system()}-{platform.machine()}",
    }


def outcome(evaluation: Evaluation, champion: Champion | None) -> dict[str, Any]:
    """Return the part of the manifest that says how good the model is, for lists of models."""
    found = evaluation.as_dict()
    keep = ("form", "stride", "pooled", "positive_folds", "gap_rank_ic", "gap_r2", "baselines")
    beside = champion and {"version": champion.version, "t": champion.t, "how": champion.how}
    return {"scores": {name: found[name] for name in keep}, "champion": beside or None}


def importance(model: Ensemble, columns: tuple[str, ...]) -> dict[str, float]:
    """Return each feature's share of the gain, meaned over the four models, largest first."""
    total = np.zeros(len(columns))
    boosters = model.boosters
    for xgb in (boosters.xgb_cls, boosters.xgb_reg):
        gain = xgb.get_score(importance_type="total_gain")
        total += _share(np.array([float(gain.get(f"f{i}", 0.0)) for i in range(len(columns))]))
    for lgbm in (boosters.lgbm_cls, boosters.lgbm_reg):
        total += _share(lgbm.feature_importance("gain"))
    shares = _share(total)
    order = np.argsort(-shares, kind="stable")
    return {columns[i]: float(shares[i]) for i in order}


def _share(values: Any) -> Any:
    return values / values.sum() if values.sum() > 0.0 else np.zeros(len(values))
