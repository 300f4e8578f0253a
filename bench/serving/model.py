"""A model of the size that is measured: each of the four boosters has 500 trees or a few more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qtfeat import registry
from qtfeat.bars.simulate import simulate
from qtfeat.features import FeatureSet
from qtfeat.gates import check
from qtfeat.train.combine import Calibration, Meta
from qtfeat.train.config import TrainConfig
from qtfeat.train.data import prepare
from qtfeat.train.drift import reference
from qtfeat.train.models import Boosters, Ensemble, train
from qtfeat.train.scaler import Scaler

NAME, SYMBOLS, BARS, TREES, CLASSES = "bench", 4, 3000, 500, 3


def market() -> Any:
    """Simulated bars of a few symbols, sorted by symbol and time."""
    return simulate(SYMBOLS, BARS, 5, signal_r2=0.2)


def grown(table: Any) -> tuple[FeatureSet, Ensemble, Any]:
    """Train the pairs: 167 rounds of three classes, 500 rounds of the forecast."""
    fs = FeatureSet.load("kline17")
    data = prepare(table, fs, horizon=5, threshold=0.005, threads=1, on_bad="raise")
    order = data.usable[np.argsort(data.labels.t[data.usable], kind="stable")]
    cut = len(order) * 4 // 5

    def at(rounds: int) -> Boosters:
        config = TrainConfig(seed=0, threads=1, rounds=rounds, patience=rounds, learning_rate=0.01)
        return train(data.X, data.labels, fit=order[:cut], tail=order[cut:], config=config)

    few, many = at(-(-TREES // CLASSES)), at(TREES)
    boosters = Boosters(few.xgb_cls, few.lgbm_cls, many.xgb_reg, many.lgbm_reg, Scaler.identity(data.X.shape[1]), 1)
    maps = tuple(np.array(line) for line in ([1.1, 0.2], [0.9, -0.1], [1.0, 0.0]))
    return fs, Ensemble(boosters, Meta("mean", 0.5), Calibration("platt", maps)), data


def publish(root: Path, good: Any) -> Ensemble:
    """Publish such a model and put it into production; return the models as the libraries run them."""
    table = market()
    fs, model, data = grown(table)
    rows = data.usable
    evidence = replace(good, fingerprint=fs.fingerprint, expected_fingerprint=fs.fingerprint)
    _, p, score = model.predict(data.X[rows])
    files = {
        **model.files(),
        registry.GATES: check(evidence).to_json(),
        registry.GOLDEN: registry.golden(data.columns, data.X[rows], p, score),
        "report.html": b"<!doctype html>",
    }
    manifest = {
        "fingerprint": fs.fingerprint,
        "feature_set": fs.name,
        "features": {"specs": list(fs.specs), "numerics": fs.numerics, "eps": fs.eps, "fill": fs.fill},
        "columns": list(data.columns),
        "label": {"horizon": 5},
        "config": {},
        "data": {"sha256": "0" * 64, "last": str(data.labels.t.max())},
        "drift": reference(data.X[rows]),
        "versions": {"qtfeat": "0"},
    }
    registry.promote(root, NAME, registry.publish(root, NAME, files, manifest).name)
    return model
