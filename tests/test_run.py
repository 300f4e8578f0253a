"""The main job from end to end on small data, and the folder of models it leaves behind."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from qtfeat import registry
from qtfeat.bars.simulate import simulate
from qtfeat.errors import GateFailed, QtfeatError, RegistryError, SchemaError
from qtfeat.features import FeatureSet
from qtfeat.gates import Limits, Verdicts
from qtfeat.train import TrainConfig
from qtfeat.train.data import prepare
from qtfeat.train.libraries import library
from qtfeat.train.models import FILES, Ensemble
from qtfeat.train.predict import predict
from qtfeat.train.run import run_main_job

try:
    library("xgboost")
    library("lightgbm")
except QtfeatError as missing:
    pytest.skip(str(missing), allow_module_level=True)

KEPT = {*FILES, "gates.json", "golden.json", "report.html"}
SMALL = {"symbols": 5, "bars": 2_000, "folds": 3, "quiet": True}
QUICK = TrainConfig(threads=1, rounds=60, min_child=20, learning_rate=0.1)
# Looser limits for what a small run cannot reach, so that the way of a model that passes is tested too.
OWN_LIMITS = """
version = 1
[skill]
min_folds = 3
[overfit]
max_rank_ic_gap = 0.4
max_r2_gap = 0.4
[calibration]
max_ece = 0.1
[diversity]
max_class_share = 0.9
min_class_share = 0.05
[ceiling]
max_r2 = 0.14
max_hit = 0.7
"""


@pytest.fixture(scope="module")
def limits(tmp_path_factory):
    path = tmp_path_factory.mktemp("limits") / "own.toml"
    path.write_text(OWN_LIMITS)
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def result(models, limits):
    return run_main_job(out=models, config=QUICK, signal_r2=0.12, limits=limits, promote=True, **SMALL)


def test_a_planted_signal_passes_and_goes_live(result, models):
    assert result.bars == 10_000
    assert [v.gate for v in result.verdicts.failures] == []
    assert result.status == "candidate"
    assert registry.aliases(models, "kline17").production == result.path.name
    assert result.evaluation.pooled.forecast.ic.mean > 0.15
    assert len(result.predictions) == 5
    for made in result.predictions:
        assert made.side in ("SELL", "HOLD", "BUY")
        assert made.confidence == max(made.probabilities)
        assert sum(made.probabilities) == pytest.approx(1.0)
        assert made.time == np.datetime64("2023-03-25T07:00")


def test_the_shipped_limits_stop_it_by_the_ceiling(result):
    from qtfeat.gates import check

    failed = {v.gate for v in check(result.verdicts.evidence, Limits.load()).failures}
    assert "ceiling.hit" in failed


def test_folder_lists_what_it_holds(result):
    manifest = json.loads((result.path / "manifest.json").read_text())
    assert set(manifest["files"]) == KEPT
    assert {p.name for p in result.path.iterdir()} == {*KEPT, "manifest.json"}
    assert manifest["fingerprint"] == FeatureSet.load("kline17").fingerprint
    assert manifest["config"] == QUICK.as_dict()
    assert manifest["data"]["rows"] == result.rows
    assert manifest["label"]["kind"] == "forward"
    assert {"xgboost", "lightgbm", "sklearn", "qtfeat"} <= set(manifest["versions"])
    assert len(manifest["drift"]["edges"]) == 17
    assert Verdicts.from_json((result.path / "gates.json").read_bytes()).allowed == "production"
    page = (result.path / "report.html").read_text()
    assert "kline17" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_no_thread_count_in_the_model_text(result):
    for file in ("lgbm_cls.txt", "lgbm_reg.txt"):
        assert b"[num_threads: 0]" in (result.path / file).read_bytes()


def test_saved_models_predict_what_was_printed(result):
    features = FeatureSet.load("kline17")
    saved = registry.load_folder(result.path, fingerprint=features.fingerprint)
    data = prepare(simulate(5, 2_000, 0, signal_r2=0.12), features)
    models = Ensemble.from_files(saved.files, 1)
    assert tuple(predict(data, models)) == result.predictions
    assert models.files() == {name: saved.files[name] for name in FILES}
    assert registry.check_golden(saved.files, lambda files, X: Ensemble.from_files(files).predict(X)[1:]) == 64


@pytest.mark.parametrize("name", ["xgb_cls.ubj", "xgb_reg.ubj", "lgbm_cls.txt", "lgbm_reg.txt"])
def test_a_damaged_booster_is_named_before_its_library_sees_it(result, name):
    files = dict(registry.load_folder(result.path).files)
    for cut in (0, 10, len(files[name]) // 2):
        with pytest.raises(RegistryError):
            Ensemble.from_files(files | {name: files[name][:cut]})


def test_noise_is_refused_and_production_stays(result, models, limits):
    before = registry.aliases(models, "kline17")
    noise = run_main_job(out=models, config=QUICK, signal_r2=0.0, limits=limits, promote=True, **SMALL)
    assert noise.status == "rejected"
    failed = {v.gate for v in noise.verdicts.failures}
    assert {"skill.t", "baselines.margin"} & failed
    assert noise.predictions == ()
    assert registry.aliases(models, "kline17") == before
    assert registry.load_folder(noise.path).status == "rejected"
    with pytest.raises((GateFailed, RegistryError)):
        registry.promote(models, "kline17", noise.path.name)
    # The champion was there: it was compared on the same data.
    assert noise.verdicts.evidence.has_champion
    assert np.isfinite(noise.verdicts.evidence.champion_t)


def test_the_champion_itself_is_no_worse_than_itself(result, models, limits):
    again = run_main_job(out=models, config=QUICK, signal_r2=0.12, limits=limits, **SMALL)
    assert again.verdicts.evidence.champion_t == 0.0
    manifest = json.loads((again.path / "manifest.json").read_text())
    assert manifest["champion"] == {"how": "same recipe", "t": 0.0, "version": result.path.name}


@pytest.mark.parametrize("threads", [1, 2])
def test_same_seed_same_bytes(tmp_path, threads):
    config = replace(QUICK, threads=threads, rounds=30)
    settings = {"symbols": 5, "bars": 900, "folds": 2, "quiet": True}
    paths = [run_main_job(out=tmp_path / name, config=config, **settings).path for name in "ab"]
    assert paths[0].name == paths[1].name
    for file in (*KEPT, "manifest.json"):
        assert (paths[0] / file).read_bytes() == (paths[1] / file).read_bytes()
    other = run_main_job(out=tmp_path / "a", config=replace(config, seed=1), **settings).path
    assert other.name != paths[0].name


@pytest.mark.parametrize(
    "choice",
    [
        {"target": "volatility", "ensemble": "stack", "calibration": "platt"},
        {"target": "neutral", "ensemble": "consensus", "calibration": "none"},
        {"half_life": 20.0, "smoothing": 0.1, "scale": True, "balance": False},
    ],
)
def test_every_choice_runs_and_is_kept(tmp_path, choice):
    settings = {"symbols": 5, "bars": 900, "folds": 2, "quiet": True, "signal_r2": 0.2}
    tuning = {k: v for k, v in choice.items() if k != "target"}
    made = run_main_job(
        out=tmp_path, config=replace(QUICK, rounds=20, **tuning), target=choice.get("target", "raw"), **settings
    )
    evidence = made.verdicts.evidence
    assert evidence.rank_ic > 0.05
    assert evidence.parity_feature_diffs == evidence.parity_prediction_diffs == 0
    manifest = json.loads((made.path / "manifest.json").read_text())
    assert {k: manifest["config"][k] for k in tuning} == tuning
    assert manifest["label"]["target"] == choice.get("target", "raw")


def test_prints_tables_with_and_without_rich(tmp_path, capsys, monkeypatch):
    settings = {"symbols": 5, "bars": 700, "folds": 2, "config": replace(QUICK, rounds=10)}
    monkeypatch.setattr("qtfeat.train.report.find_spec", lambda _name: None)
    run_main_job(out=tmp_path, **settings)
    plain = capsys.readouterr().out
    monkeypatch.undo()
    pytest.importorskip("rich")
    run_main_job(out=tmp_path, **settings)
    rich = capsys.readouterr().out
    for text in (plain, rich):
        for part in ("this is no market", "rank IC", "neg_momentum10", "FAIL", "REJECTED", "report.html"):
            assert part in text


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_args, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr("qtfeat.train.candidate.canaries", stop)
    with pytest.raises(KeyboardInterrupt):
        run_main_job(out=tmp_path, config=replace(QUICK, rounds=5), symbols=5, bars=700, folds=2, quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_why_and_exits_with_3(tmp_path):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from qtfeat.cli.app import app

    size = ["--symbols", "5", "--bars", "700", "--folds", "2", "--rounds", "10", "--threads", "1", "-o", str(tmp_path)]
    done = CliRunner().invoke(app, ["run", *size, "--signal-r2", "0"])
    assert done.exit_code == 3
    assert "skill.t" in done.output
    assert "REJECTED" in done.output
    bad = CliRunner().invoke(app, ["run", *size, "--embargo", "100000"])
    assert bad.exit_code == 2
    assert "fold 1" in bad.output


def test_missing_extra_is_named(monkeypatch, tmp_path):
    def fail(name):
        raise ImportError(name)

    monkeypatch.setattr("qtfeat.train.libraries.import_module", fail)
    with pytest.raises(QtfeatError, match=r"qtfeat\[train\]"):
        run_main_job(out=tmp_path, **SMALL)


@pytest.mark.parametrize("job", ["run", "trades"])
def test_a_place_for_no_model_is_refused_before_training(tmp_path, monkeypatch, job):
    typer_testing = pytest.importorskip("typer.testing")
    from qtfeat.cli.app import app

    def trained(*_args, **_settings):
        pytest.fail("it trained")

    for module in ("qtfeat.train.run.prepare", "qtfeat.train.trades.walk_forward"):
        monkeypatch.setattr(module, trained)
    (tmp_path / "file").write_text("x")
    closed = tmp_path / "closed.csv"
    days = [f"2024-01-{day:02d}T{hour:02d}:00:00" for day in range(1, 29) for hour in (1, 9)]
    lines = [f"A,{day}+00:00,{day.replace(':00:00', ':30:00')}+00:00,{i % 7 - 3}" for i, day in enumerate(days)]
    closed.write_text("\n".join(["symbol,entry_time,exit_time,pnl_pct", *lines]))
    command = {"run": ["run"], "trades": ["train", "trades", str(closed)]}[job]
    for more, text in ((["--name", "../x"], "model name"), (["-o", str(tmp_path / "file")], "is no folder")):
        done = typer_testing.CliRunner().invoke(app, [*command, *more], env={"COLUMNS": "200"})
        assert (done.exit_code, text in done.output) == (2, True), done.output
    assert {at.name for at in tmp_path.iterdir()} == {"file", "closed.csv"}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"folds": 0}, "folds"),
        ({"attempts": 0}, "attempts"),
        ({"embargo": -1}, "embargo"),
        ({"expires_days": -1.0}, "expires_days"),
        ({"target": "alpha", "bars": 100}, "target"),
        ({"set_name": "kline99"}, "kline99"),
        ({"name": "../up", "bars": 900, "symbols": 5, "folds": 2}, "model name"),
    ],
)
def test_bad_settings_are_named(tmp_path, settings, text):
    with pytest.raises(QtfeatError, match=text):
        run_main_job(out=tmp_path / "models", config=replace(QUICK, rounds=2), quiet=True, **settings)


@pytest.mark.parametrize(
    "setting",
    [
        {"threads": 0},
        {"threads": 1.5},
        {"rounds": True},
        {"seed": -1},
        {"seed": "1"},
        {"balance": 1},
        {"tail": 1.0},
        {"depth": 0},
        {"learning_rate": float("nan")},
        {"xgb_weight": 2.0},
        {"smoothing": 1.0},
        {"half_life": 0.0},
        {"clip": 0.5},
        {"ensemble": "vote"},
        {"calibration": "beta"},
    ],
)
def test_bad_training_settings_are_named(setting):
    with pytest.raises(SchemaError, match=next(iter(setting))):
        TrainConfig(**setting)
    with pytest.raises(SchemaError, match=next(iter(setting))):
        TrainConfig.from_dict(setting)


@pytest.mark.parametrize("setting", [{"depht": 3}, {"l2": "1"}, {"half_life": [1]}, {"tail": None}])
def test_settings_of_a_manifest_are_not_trusted(setting):
    with pytest.raises(SchemaError, match="settings"):
        TrainConfig.from_dict(setting)
