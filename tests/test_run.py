"""The main job from end to end on small data, and the folder of models it leaves behind."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from qtfeat import registry
from qtfeat.bars.simulate import simulate
from qtfeat.errors import QtfeatError, RegistryError, SchemaError
from qtfeat.features import FeatureSet
from qtfeat.train import TrainConfig
from qtfeat.train.data import prepare
from qtfeat.train.evaluate import class_mix, hit_rate, rank_ic
from qtfeat.train.models import FILES, Ensemble, library
from qtfeat.train.predict import predict
from qtfeat.train.run import run_main_job

try:
    library("xgboost")
    library("lightgbm")
except QtfeatError as missing:
    pytest.skip(str(missing), allow_module_level=True)

SMALL = {"symbols": 4, "bars": 2_500, "signal_r2": 0.2, "folds": 3, "threads": 1, "quiet": True}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return run_main_job(out=tmp_path_factory.mktemp("models"), **SMALL)


def test_finds_the_planted_signal(result):
    assert result.bars == 10_000
    assert len(result.folds) == 3
    assert np.mean([fold.rank_ic for fold in result.folds]) > 0.2
    assert all(sum(fold.class_mix) == pytest.approx(1.0) for fold in result.folds)
    assert len(result.predictions) == 4
    for made in result.predictions:
        assert made.side in ("SELL", "HOLD", "BUY")
        assert made.confidence == max(made.probabilities)
        assert sum(made.probabilities) == pytest.approx(1.0)
        assert made.time == np.datetime64("2023-04-15T03:00")


def test_folder_lists_what_it_holds(result):
    manifest = json.loads((result.path / "manifest.json").read_text())
    assert sorted(manifest["files"]) == sorted(FILES)
    assert {p.name for p in result.path.iterdir()} == {*FILES, "manifest.json"}
    assert manifest["fingerprint"] == FeatureSet.load("kline17").fingerprint
    assert manifest["config"]["seed"] == 0
    assert manifest["data"]["rows"] == result.rows
    assert {"xgboost", "lightgbm", "qtfeat"} <= set(manifest["versions"])


def test_saved_models_predict_what_was_printed(result):
    features, config = FeatureSet.load("kline17"), TrainConfig(threads=1)
    saved = registry.load_folder(result.path, fingerprint=features.fingerprint)
    bars = simulate(SMALL["symbols"], SMALL["bars"], 0, signal_r2=SMALL["signal_r2"])
    data = prepare(bars, features, horizon=5, threshold=0.005, threads=1)
    models = Ensemble.from_files(saved.files, config)
    assert tuple(predict(data, models)) == result.predictions
    assert models.files() == saved.files


@pytest.mark.parametrize("threads", [1, 2])
def test_same_seed_same_bytes(tmp_path, threads):
    config = TrainConfig(threads=threads, rounds=40)
    settings = {**SMALL, "symbols": 2, "bars": 1_200, "folds": 2, "config": config}
    paths = [run_main_job(out=tmp_path / name, **settings).path for name in "ab"]
    assert paths[0].name == paths[1].name
    for file in (*FILES, "manifest.json"):
        assert (paths[0] / file).read_bytes() == (paths[1] / file).read_bytes()
    other = run_main_job(out=tmp_path / "a", **{**settings, "config": replace(config, seed=1)}).path
    assert other.name != paths[0].name
    # Saving the same again changes nothing.
    assert run_main_job(out=tmp_path / "b", **settings).path == paths[1]


def test_prints_tables_with_and_without_rich(tmp_path, capsys, monkeypatch):
    settings = {**SMALL, "symbols": 2, "bars": 800, "folds": 2, "quiet": False}
    monkeypatch.setattr("qtfeat.train.report.find_spec", lambda _name: None)
    run_main_job(out=tmp_path, **settings)
    plain = capsys.readouterr().out
    monkeypatch.undo()
    pytest.importorskip("rich")
    run_main_job(out=tmp_path, **settings)
    rich = capsys.readouterr().out
    for text in (plain, rich):
        assert "this is no market" in text
        assert "rank IC" in text
        assert "SIM001" in text
        assert "saved:" in text


def test_unreadable_models_are_refused(result):
    saved = registry.load_folder(result.path)
    for file in FILES:
        with pytest.raises(RegistryError):
            Ensemble.from_files({**saved.files, file: b"no model"}, TrainConfig())


def test_missing_extra_is_named(monkeypatch, tmp_path):
    def fail(name):
        raise ImportError(name)

    monkeypatch.setattr("qtfeat.train.models.import_module", fail)
    with pytest.raises(QtfeatError, match=r"qtfeat\[train\]"):
        run_main_job(out=tmp_path, **SMALL)


@pytest.mark.parametrize(
    "setting",
    [{"threads": 0}, {"seed": -1}, {"tail": 1.0}, {"depth": 0}, {"learning_rate": float("nan")}, {"xgb_weight": 2.0}],
)
def test_bad_settings_are_named(setting):
    with pytest.raises(SchemaError, match=next(iter(setting))):
        TrainConfig(**setting)


def test_scores_by_hand():
    actual = np.array([0.01, -0.02, 0.03, 0.0])
    assert rank_ic(actual**3, actual) == pytest.approx(1.0)
    assert rank_ic(-actual, actual) == pytest.approx(-1.0)
    assert rank_ic(np.array([1.0, 1.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(2 / np.sqrt(5))
    assert np.isnan(rank_ic(np.zeros(4), actual))
    side = np.array([2, 0, 2, 1], dtype=np.int8)
    assert hit_rate(np.array([1.0, 1.0, 1.0, -1.0]), actual, side) == pytest.approx(2 / 3)
    assert np.isnan(hit_rate(actual, actual, np.ones(4, dtype=np.int8)))
    assert class_mix(np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])) == (0.5, 0.0, 0.5)
