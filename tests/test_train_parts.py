"""The parts of training: samples and weights, scaler, calibration, the walk-forward and the evidence."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from qtfeat.bars.simulate import simulate
from qtfeat.errors import BadBarError, RegistryError, SchemaError
from qtfeat.features import FeatureSet
from qtfeat.train import TrainConfig
from qtfeat.train.calibrate import fit_combination
from qtfeat.train.combine import RawOutputs, combine, softmax
from qtfeat.train.data import holes, prepare
from qtfeat.train.evidence import canaries, next_return, permuted, seed_rank_ics
from qtfeat.train.judge import purged_bars
from qtfeat.train.models import train
from qtfeat.train.parity import parity
from qtfeat.train.sample import class_factors, class_sample, value_sample
from qtfeat.train.scaler import Scaler
from qtfeat.train.walkforward import Split, final_model, walk_forward

pytest.importorskip("xgboost")
pytest.importorskip("lightgbm")

CONFIG = TrainConfig(threads=1, rounds=25, min_child=20, learning_rate=0.1)
SET = FeatureSet.load("kline17")
SPLIT = Split(3)


@pytest.fixture(scope="module")
def data():
    return prepare(simulate(6, 1_200, 5, signal_r2=0.15), SET)


@pytest.fixture(scope="module")
def walk(data):
    return walk_forward(data, SPLIT, CONFIG)


def test_a_bar_that_is_let_pass_has_no_label_and_no_features():
    bars = simulate(1, 300, 5)
    close = bars["close"].to_numpy().copy()
    close[200] = 0.0
    bars = bars.set_column(bars.column_names.index("close"), "close", pa.array(close))
    with pytest.raises(BadBarError):
        prepare(bars, SET)
    made = prepare(bars, SET, on_bad="null")
    assert not made.complete[200]
    assert np.flatnonzero(np.isnan(made.labels.value)).tolist() == [195, 200, 295, 296, 297, 298, 299]


# --- samples and weights ----------------------------------------------------------------------------------------------


def test_balanced_classes_have_equal_weight(data):
    fit, tail = SPLIT.tail(data, data.usable, 0.2)
    sample = class_sample(data.labels, fit, tail, CONFIG)
    total = np.bincount(sample.target, sample.weight)
    assert total == pytest.approx(np.full(3, len(fit) / 3))
    # The factors come from the rows fitted on, and nothing of the tail's own mix.
    assert sample.tail_weight == pytest.approx(class_factors(data.labels.side[fit])[data.labels.side[tail]])
    plain = class_sample(data.labels, fit, tail, replace(CONFIG, balance=False))
    assert plain.weight is None
    assert plain.tail_weight is None


def test_a_class_that_is_absent_weighs_nothing():
    assert class_factors(np.array([0, 0, 2], dtype=np.int8)) == pytest.approx([0.75, 0.0, 1.5])


def test_smoothed_labels_are_exact_soft_labels(data):
    fit, tail = SPLIT.tail(data, data.usable, 0.2)
    config = replace(CONFIG, balance=False, smoothing=0.3)
    sample = class_sample(data.labels, fit, tail, config)
    assert sample.copies == 3
    soft = np.zeros((data.bars.num_rows, 3))
    np.add.at(soft, (sample.rows, sample.target), sample.weight)
    wanted = np.full((len(fit), 3), 0.1)
    wanted[np.arange(len(fit)), data.labels.side[fit]] = 0.8
    assert soft[fit] == pytest.approx(wanted)


def test_smoothing_moves_probabilities_towards_thirds(data):
    fit, tail = SPLIT.tail(data, data.usable, 0.2)
    spread = []
    for smoothing in (0.0, 0.5):
        config = replace(CONFIG, smoothing=smoothing)
        raw = train(data.X, data.labels, fit=fit, tail=tail, config=config).raw(data.X[tail])
        spread.append(softmax(raw.xgb_cls).std() + softmax(raw.lgbm_cls).std())
    assert 0.3 < spread[1] / spread[0] < 0.75


def test_recent_rows_weigh_more(data):
    fit, tail = SPLIT.tail(data, data.usable, 0.2)
    sample = value_sample(data.labels, fit, tail, replace(CONFIG, half_life=5.0))
    t = data.labels.t[fit]
    days = (t.max() - t) / np.timedelta64(1, "D")
    assert sample.weight / sample.weight.max() == pytest.approx(0.5 ** (days / 5.0))
    assert sample.weight.mean() == pytest.approx(1.0)


def test_the_target_is_clipped_by_the_rows_fitted_on(data):
    fit, tail = SPLIT.tail(data, data.usable, 0.2)
    sample = value_sample(data.labels, fit, tail, replace(CONFIG, clip=0.05))
    low, high = np.quantile(data.labels.value[fit], [0.05, 0.95])
    assert (sample.target.min(), sample.target.max()) == (low, high)
    assert sample.tail_target.min() >= low
    whole = value_sample(data.labels, fit, tail, replace(CONFIG, clip=0.0))
    assert np.array_equal(whole.target, data.labels.value[fit])


# --- scaler -----------------------------------------------------------------------------------------------------------


def test_the_scaler_standardises_and_survives_its_file():
    X = np.random.default_rng(0).standard_normal((500, 3)) * [1.0, 1e-8, 0.0] + [5.0, 1e5, 7.0]
    scaler = Scaler.fit(X)
    assert scaler.scale[2] == 1.0
    assert scaler.apply(X)[:, 0].std() == pytest.approx(1.0)
    again = Scaler.from_json(scaler.to_json(), 3)
    assert again.apply(X).tobytes() == scaler.apply(X).tobytes()
    same = Scaler.identity(3)
    assert same.apply(X) is X
    assert Scaler.from_json(same.to_json(), 3).is_identity


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format": 1, "mean": [0.0], "scale": [0.0]}', b"[1]"])
def test_a_hostile_scaler_is_refused(data):
    with pytest.raises(RegistryError, match=r"scaler\.json"):
        Scaler.from_json(data, 1)
    with pytest.raises(RegistryError):
        Scaler.from_json(Scaler.identity(2).to_json(), 3)


# --- calibration and stacking -----------------------------------------------------------------------------------------


def made_up(n, seed=0, sharpness=2.0):
    """Outputs whose true class probabilities are known: the margins are too sharp by a factor."""
    rng = np.random.default_rng(seed)
    margins = rng.standard_normal((n, 3))
    truth = softmax(margins)
    side = (rng.random(n)[:, None] > truth.cumsum(axis=1)).sum(axis=1).astype(np.int8)
    forecast = rng.standard_normal(n) * 0.01
    value = forecast + rng.standard_normal(n) * 0.02
    noisy = forecast + rng.standard_normal(n) * 0.05
    return RawOutputs(sharpness * margins, sharpness * margins, forecast, noisy), side, value, truth


@pytest.mark.parametrize("kind", ["isotonic", "platt"])
def test_calibration_finds_the_true_probabilities(kind):
    raw, side, value, _ = made_up(40_000)
    meta, calibration = fit_combination(raw, side, value, replace(CONFIG, calibration=kind))
    other, _, _, truth = made_up(20_000, seed=1)
    p_raw, p, _ = combine(other, meta, calibration)
    before, after = np.abs(p_raw - truth).mean(), np.abs(p - truth).mean()
    assert before > 0.09
    assert after < before / 3


def test_the_stack_weighs_what_is_worth_it():
    raw, side, value, truth = made_up(40_000)
    meta, calibration = fit_combination(raw, side, value, replace(CONFIG, ensemble="stack", calibration="none"))
    assert meta.stack.reg_coef[0] == pytest.approx(1.0, abs=0.05)
    assert meta.stack.reg_coef[1] == pytest.approx(0.0, abs=0.03)
    p, _, _ = combine(raw, meta, calibration)
    assert np.abs(p - truth).mean() < 0.02


@pytest.mark.parametrize("ensemble", ["mean", "consensus", "stack"])
@pytest.mark.parametrize("kind", ["none", "isotonic", "platt"])
@pytest.mark.parametrize("classes", [(1,), (0, 2), (0, 1, 2)])
def test_absent_classes_and_few_rows_are_no_trouble(ensemble, kind, classes):
    raw, _, value, _ = made_up(30)
    side = np.resize(np.array(classes, dtype=np.int8), 30)
    meta, calibration = fit_combination(raw, side, value, replace(CONFIG, ensemble=ensemble, calibration=kind))
    for p in combine(raw, meta, calibration)[:2]:
        assert np.isfinite(p).all()
        assert p.sum(axis=1) == pytest.approx(1.0)


def test_nothing_to_calibrate_on_is_an_error():
    raw, side, value, _ = made_up(5)
    with pytest.raises(SchemaError, match="out-of-sample"):
        fit_combination(raw.take(np.zeros(0, dtype=np.intp)), side[:0], value[:0], CONFIG)


# --- the walk-forward -------------------------------------------------------------------------------------------------


def test_rows_are_every_test_row_once_in_order(data, walk):
    oos = walk.oos
    assert len(np.unique(walk.rows)) == len(walk.rows) == len(oos)
    order = np.lexsort((oos.symbol, oos.t, oos.fold))
    assert np.array_equal(order, np.arange(len(oos)))
    assert np.array_equal(oos.value, data.labels.value[walk.rows])
    assert np.isfinite(oos.score).all()
    assert np.isfinite(oos.rsi).all()
    assert [info.test_rows for info in oos.folds] == np.bincount(oos.fold)[1:].tolist()
    for info in oos.folds:
        assert info.train_end < info.test_start
    assert oos.interval_seconds == 3600.0
    assert purged_bars(data, SPLIT) == 5
    assert purged_bars(data, Split(3, timedelta(hours=7))) == 12


@pytest.mark.parametrize("ensemble", ["mean", "stack"])
def test_no_number_of_a_fold_depends_on_what_comes_after(data, ensemble):
    config = replace(CONFIG, ensemble=ensemble, rounds=8)
    whole = walk_forward(data, SPLIT, config).oos
    start = whole.folds[1].test_start
    labels, later = data.labels, data.labels.t >= start
    rng = np.random.default_rng(0)
    value, side = labels.value.copy(), labels.side.copy()
    known = later & labels.known
    value[known] = rng.standard_normal(known.sum())
    side[known] = rng.integers(0, 3, known.sum())
    other = walk_forward(data.with_labels(replace(labels, value=value, side=side)), SPLIT, config).oos
    # Labels of the second block and later are others: what was said up to and in that block stays, bit for bit.
    same = whole.fold <= 2
    for name in ("p", "p_raw", "score"):
        assert getattr(whole, name)[same].tobytes() == getattr(other, name)[same].tobytes()
    assert other.score[~same].tobytes() != whole.score[~same].tobytes()


# --- evidence ---------------------------------------------------------------------------------------------------------


def test_the_next_bar_s_return_by_hand(data):
    found = next_return(data)
    close = np.asarray(data.bars["close"]).reshape(6, 1_200)
    assert found.reshape(6, 1_200)[:, :-1] == pytest.approx(close[:, 1:] / close[:, :-1] - 1.0)
    assert np.isnan(found.reshape(6, 1_200)[:, -1]).all()


def test_permuted_labels_are_the_same_labels_elsewhere(data):
    other = permuted(data, np.random.default_rng(1))
    rows = data.usable
    assert np.array_equal(other.usable, rows)
    assert np.array_equal(np.sort(other.labels.value[rows]), np.sort(data.labels.value[rows]))
    assert np.mean(other.labels.value[rows] == data.labels.value[rows]) < 0.01
    # Value, return and class stay together.
    assert ((other.labels.value[rows] > 0.005) == (other.labels.side[rows] == 2)).all()


def test_canaries_and_seeds(data, walk):
    found = canaries(data, SPLIT, CONFIG)
    assert len(found.permuted_rank_ic) == 5
    assert np.mean(np.abs(found.permuted_rank_ic)) <= 4 / np.sqrt(found.permuted_test_rows)
    assert found.next_return_r2 > 0.05 or found.next_return_hit > 0.6
    ics = seed_rank_ics(data, SPLIT, walk, CONFIG)
    assert len(set(ics)) == 3
    assert np.std(ics, ddof=1) <= 0.5 * np.mean(ics)


def test_a_leak_trips_the_permuted_canary(data):
    """A feature that is the label itself, made after the labels were dealt out: what a leaking pipeline does."""
    from qtfeat.train import evidence

    original = evidence.permuted

    def leaking(given, rng):
        made = original(given, rng)
        return made.with_column("leak", np.where(made.labels.known, made.labels.value, np.nan))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "permuted", leaking)
        found = canaries(data, SPLIT, CONFIG)
    assert np.mean(np.abs(found.permuted_rank_ic)) > 4 / np.sqrt(found.permuted_test_rows)


def test_parity_sees_a_single_bit(data, walk):
    model = final_model(data, SPLIT, walk, CONFIG)
    files = model.files()
    good = parity(data, SET, model, files)
    assert (good.feature_diffs, good.prediction_diffs) == (0, 0)
    assert good.rows == data.bars.num_rows
    X = data.X.copy()
    X[-1, 3] = np.nextafter(X[-1, 3], np.inf)
    assert parity(replace(data, X=X), SET, model, files).feature_diffs == 1
    meta = files["meta.json"].replace(b'"xgb_weight": 0.5', b'"xgb_weight": 0.50001')
    assert parity(data, SET, model, {**files, "meta.json": meta}).prediction_diffs > 0


def test_holes_are_what_is_missing_beyond_the_warm_up(data):
    assert holes(data, SET) == 0
    X = data.X.copy()
    X[1_199, 0] = np.nan  # the end of the first symbol
    X[1_200, 0] = np.nan  # the start of the second, which is warm-up anyway
    assert holes(replace(data, X=X), SET) == 1
