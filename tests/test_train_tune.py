"""The search for settings: repeatable, recorded, and blind to the test blocks."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from qtfeat.bars.simulate import simulate
from qtfeat.errors import SchemaError
from qtfeat.features import FeatureSet
from qtfeat.train import TrainConfig
from qtfeat.train.data import prepare
from qtfeat.train.run import run_main_job
from qtfeat.train.tune import FOLDS, tune
from qtfeat.train.walkforward import Split

pytest.importorskip("optuna")
pytest.importorskip("xgboost")
pytest.importorskip("lightgbm")

CONFIG = TrainConfig(threads=1, rounds=15, min_child=20, learning_rate=0.1)


@pytest.fixture(scope="module")
def data():
    return prepare(simulate(5, 1_500, 3, signal_r2=0.2), FeatureSet.load("trade14"))


def test_same_seed_same_trials_and_all_are_recorded(data, tmp_path):
    rounds = []
    found = [tune(data, Split(3), CONFIG, 6, record=tmp_path / name, tick=rounds.append) for name in "ab"]
    assert found[0] == found[1]
    best, trials = found[0]
    lines = [json.loads(line) for line in (tmp_path / "a").read_text().splitlines()]
    assert [(x["number"], x["settings"], x["rank_ic"]) for x in lines] == [
        (t.number, t.settings, t.rank_ic) for t in trials
    ]
    assert [t.number for t in trials] == list(range(6))
    assert sum(rounds) == 2 * 6 * FOLDS * 2 * CONFIG.rounds
    top = max(trials, key=lambda t: t.rank_ic)
    assert top.rank_ic > 0.1
    assert best == replace(CONFIG, **top.settings)
    assert len({json.dumps(t.settings) for t in trials}) == 6


def test_the_test_blocks_have_no_say(data):
    labels = data.labels
    _, test = next(iter(Split(3).blocks(data)))
    later = labels.t >= labels.t[test].min()
    rng = np.random.default_rng(0)
    value = labels.value.copy()
    value[later] = rng.standard_normal(later.sum())
    X = data.X.copy()
    X[later] = rng.standard_normal(X[later].shape)
    other = replace(data, X=X, labels=replace(labels, value=value))
    assert tune(data, Split(3), CONFIG, 2) == tune(other, Split(3), CONFIG, 2)


def test_every_trial_counts_as_an_attempt(tmp_path):
    settings = {"symbols": 5, "bars": 900, "folds": 2, "quiet": True, "signal_r2": 0.2}
    made = run_main_job(out=tmp_path, config=replace(CONFIG, rounds=5), tune=3, attempts=2, **settings)
    assert made.verdicts.evidence.attempts == 5
    manifest = json.loads((made.path / "manifest.json").read_text())
    assert manifest["attempts"] == 5
    assert len((tmp_path / "trials-kline17.jsonl").read_text().splitlines()) == 3
    assert manifest["config"]["depth"] in range(2, 6)


def test_no_trial_is_an_error(data):
    with pytest.raises(SchemaError, match="trials"):
        tune(data, Split(3), CONFIG, 0)
