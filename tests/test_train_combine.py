"""The ensemble and its calibration: known answers, files that hold what they should, and files that do not."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtfeat.errors import RegistryError, SchemaError
from qtfeat.train.combine import Calibration, Meta, RawOutputs, Stack, combine, softmax

KNOTS = np.array([[0.1, 0.3, 0.6], [0.05, 0.3, 0.9]])
ISOTONIC = Calibration("isotonic", (KNOTS, KNOTS, KNOTS))
PLATT = Calibration("platt", tuple(np.array(line) for line in ([1.1, 0.2], [0.7, -0.1], [1.0, 0.0])))
STACK = Stack(np.arange(18.0).reshape(3, 6) / 10 - 0.8, np.array([0.1, 0.0, -0.1]), np.array([0.7, 0.2]), 1e-4)
METAS = (Meta(), Meta("mean", 0.3), Meta("consensus"), Meta("stack", 0.5, STACK))


def outputs(n, seed=0):
    rng = np.random.default_rng(seed)
    return RawOutputs(*(rng.standard_normal(shape) for shape in ((n, 3), (n, 3), (n,), (n,))))


def test_the_mean_by_hand():
    raw = outputs(50)
    p_raw, p, score = combine(raw, Meta("mean", 0.25), Calibration())
    each = [np.exp(m) / np.exp(m).sum(axis=1, keepdims=True) for m in (raw.xgb_cls, raw.lgbm_cls)]
    assert p_raw == pytest.approx(0.25 * each[0] + 0.75 * each[1], rel=1e-14)
    assert np.array_equal(p, p_raw)
    assert score == pytest.approx(0.25 * raw.xgb_reg + 0.75 * raw.lgbm_reg, rel=1e-14)


def test_consensus_votes():
    raw = outputs(2_000)
    mean, _, forecast = combine(raw, Meta(), Calibration())
    p, _, score = combine(raw, Meta("consensus"), Calibration())
    agree = raw.xgb_cls.argmax(axis=1) == raw.lgbm_cls.argmax(axis=1)
    assert 0.2 < agree.mean() < 0.8
    assert np.array_equal(p[agree], mean[agree])
    assert (p[~agree].argmax(axis=1) == 1).all()
    assert p[~agree][:, [0, 2]] == pytest.approx(mean[~agree][:, [0, 2]] / 2)
    assert p.sum(axis=1) == pytest.approx(1.0)
    same = raw.xgb_reg * raw.lgbm_reg > 0
    assert np.array_equal(score[same], forecast[same])
    assert (score[~same] == 0.0).all()


def test_the_stack_by_hand():
    raw = outputs(50)
    p, _, score = combine(raw, Meta("stack", 0.5, STACK), Calibration())
    logs = np.log(np.hstack([softmax(raw.xgb_cls), softmax(raw.lgbm_cls)]))
    assert p == pytest.approx(softmax(logs @ STACK.coef.T + STACK.intercept), rel=1e-12)
    assert score == pytest.approx(1e-4 + 0.7 * raw.xgb_reg + 0.2 * raw.lgbm_reg, rel=1e-12)


def test_calibration_by_hand():
    p = np.array([[0.05, 0.2, 0.75], [0.45, 0.1, 0.45]])
    isotonic = np.array([[0.05, 0.175, 0.9], [0.6, 0.05, 0.6]])
    assert ISOTONIC.apply(p) == pytest.approx(isotonic / isotonic.sum(axis=1, keepdims=True))
    z = np.log(p / (1 - p)) * [1.1, 0.7, 1.0] + [0.2, -0.1, 0.0]
    platt = 1 / (1 + np.exp(-z))
    assert PLATT.apply(p) == pytest.approx(platt / platt.sum(axis=1, keepdims=True))
    nothing = Calibration("isotonic", (np.zeros((2, 1)),) * 3)
    assert nothing.apply(p) == pytest.approx(np.full((2, 3), 1 / 3))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(0, 2**20),
    st.sampled_from([0.0, 1e-300, 1.0, 40.0, 800.0, 1e30]),
    st.sampled_from(METAS),
    st.sampled_from([Calibration(), ISOTONIC, PLATT]),
)
def test_a_row_has_the_same_bits_alone_and_in_a_batch(n, seed, scale, meta, calibration):
    raw = outputs(n, seed)
    raw = RawOutputs(raw.xgb_cls * scale, raw.lgbm_cls * scale, raw.xgb_reg, raw.lgbm_reg)
    whole = combine(raw, meta, calibration)
    for p in whole[:2]:
        assert np.isfinite(p).all()
        assert (p >= 0).all()
        assert p.sum(axis=1) == pytest.approx(1.0)
    for i in range(n):
        for one, all_rows in zip(combine(raw.take(np.array([i])), meta, calibration), whole, strict=True):
            assert one.tobytes() == all_rows[i : i + 1].tobytes()


@pytest.mark.parametrize("meta", METAS)
def test_meta_survives_its_file(meta):
    again = Meta.from_json(meta.to_json())
    assert again.to_json() == meta.to_json()
    for one, other in zip(combine(outputs(9), meta, PLATT), combine(outputs(9), again, PLATT), strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("calibration", [Calibration(), ISOTONIC, PLATT])
def test_calibration_survives_its_file(calibration):
    again = Calibration.from_json(calibration.to_json())
    assert again.to_json() == calibration.to_json()
    p = softmax(outputs(9).xgb_cls)
    assert again.apply(p).tobytes() == calibration.apply(p).tobytes()


def broken(good, *changes):
    """Return copies of a JSON file, each with one value replaced along a path of keys."""
    out = [b"", b"[]", b"{}", b"null", b"[" * 100_000, b'{"format": NaN}', b"\xff\xfe", b" " * (17 << 20)]
    for *path, key, value in changes:
        found = json.loads(good)
        place = found
        for step in path:
            place = place[step]
        place[key] = value
        out.append(json.dumps(found).encode())
    return out


META_FILES = broken(
    METAS[3].to_json(),
    ("format", 2),
    ("format", True),
    ("method", "median"),
    ("method", []),
    ("method", "mean"),
    ("xgb_weight", "0.5"),
    ("xgb_weight", 1.5),
    ("xgb_weight", float("nan")),
    ("xgb_weight", 10**400),
    ("stack", None),
    ("stack", []),
    ("stack", "cls", "coef", [[1.0] * 6] * 2),
    ("stack", "cls", "coef", [[1.0] * 6, [1.0] * 6, [1.0] * 5]),
    ("stack", "cls", "coef", [["1.0"] * 6] * 3),
    ("stack", "reg", "coef", [1.0, float("inf")]),
    ("stack", "reg", "intercept", [1.0]),
)
# Which of the two would count?
TWICE = b'{"format": 1, "method": "mean", "method": "consensus", "xgb_weight": 0.5, "stack": null}'
CALIBRATION_FILES = broken(
    ISOTONIC.to_json(),
    ("format", 0),
    ("method", "linear"),
    ("method", "platt"),
    ("method", "none"),
    ("classes", []),
    ("classes", {}),
    ("classes", 1, None),
    ("classes", 0, "x", [0.1, 0.3]),
    ("classes", 0, "x", [0.3, 0.1, 0.6]),
    ("classes", 0, "x", [0.1, 0.1, 0.6]),
    ("classes", 0, "x", [0.1, float("nan"), 0.6]),
    ("classes", 0, "y", [0.5, 0.3, 0.9]),
    ("classes", 0, "y", [-0.1, 0.3, 0.9]),
    ("classes", 0, "y", [0.1, 0.3, 1.9]),
    ("classes", 0, "y", "0.1"),
)


@pytest.mark.parametrize("data", [*META_FILES, TWICE])
def test_hostile_meta_is_refused(data):
    with pytest.raises(RegistryError, match=r"meta\.json"):
        Meta.from_json(data)


@pytest.mark.parametrize("data", CALIBRATION_FILES)
def test_hostile_calibration_is_refused(data):
    with pytest.raises(RegistryError, match=r"calibration\.json"):
        Calibration.from_json(data)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Meta("median"), "method"),
        (lambda: Meta("mean", -0.1), "xgb_weight"),
        (lambda: Meta("stack"), "without"),
        (lambda: Meta("mean", 0.5, STACK), "with meta-learners"),
        (lambda: Calibration("linear"), "calibration"),
        (lambda: Calibration("platt"), "0 maps"),
        (lambda: Calibration("platt", (np.zeros(3),) * 3), "SELL"),
        (lambda: softmax(np.zeros((2, 4))), r"\(2, 4\)"),
    ],
)
def test_bad_settings_are_named(make, text):
    with pytest.raises(SchemaError, match=text):
        make()


def test_serving_needs_no_training_library():
    code = "import sys, qtfeat.train.combine; print([m for m in ('xgboost', 'lightgbm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
