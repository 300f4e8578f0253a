"""Synthetic windows: valid, repeatable, one stream each, and related to the outcome exactly as asked."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qtfeat as qf
from qtfeat.errors import QtfeatError, SchemaError
from qtfeat.synthetic import leaks, synthetic_features, synthetic_labels, synthetic_windows


def outcomes(n: int, seed: int = 0) -> np.ndarray:
    return 2.0 * np.random.default_rng(seed).standard_normal(n)


def last_return(windows: np.ndarray, bars: int = 10) -> np.ndarray:
    return np.log(windows[:, -1, 3] / windows[:, -1 - bars, 3])


@given(
    n=st.integers(0, 40),
    bars=st.integers(12, 130),
    seed=st.integers(0, 2**64 - 1),
    kind=st.sampled_from(["context", "outcome"]),
    volatility=st.floats(1e-6, 0.1),
    tick=st.sampled_from([0.0, 1e-5, 1e-3, 0.1]),
)
@settings(max_examples=60, deadline=None)
def test_every_bar_is_valid(n, bars, seed, kind, volatility, tick):
    pnl = np.clip(outcomes(n, 1) * 10, -99.0, None)
    w = synthetic_windows(pnl, bars, seed, kind, volatility=volatility, tick=tick)
    assert w.shape == (n, bars, 5)
    assert w.dtype == np.float64
    open_, high, low, close, volume = np.moveaxis(w, 2, 0)
    assert (low > 0).all()
    assert (low <= np.minimum(open_, close)).all()
    assert (high >= np.maximum(open_, close)).all()
    assert (volume > 0).all()
    assert np.isfinite(w).all()
    if tick == 0.0 and n:
        assert (w[:, 0, 0] >= 1e-4 * (1 - 1e-12)).all()
        assert (w[:, 0, 0] <= 1e5 * (1 + 1e-12)).all()


def test_an_outcome_window_ends_exactly_at_its_outcome():
    pnl = outcomes(3000)
    w = synthetic_windows(pnl, kind="outcome")
    assert np.array_equal(w[:, -1, 3], w[:, 0, 0] * (1 + pnl / 100))
    assert np.array_equal(w, synthetic_windows(pnl / 100, kind="outcome", unit="fraction"))
    ticked = synthetic_windows(pnl, kind="outcome", tick=1e-3)
    steps = ticked[:, :, :4] / (ticked[:, :1, :1] * 1e-3)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    np.testing.assert_allclose(ticked[:, -1, 3] / ticked[:, 0, 0], 1 + pnl / 100, atol=0.5e-3 * (1 + 1e-9))


@pytest.mark.parametrize("rho", [-1.0, -0.5, 0.0, 0.7, 1.0])
@pytest.mark.parametrize("signal_bars", [1, 10, 30])
def test_the_planted_correlation(rho, signal_bars):
    n = 20_000
    pnl = outcomes(n) ** 3  # far from Gaussian
    w = synthetic_windows(pnl, 40, 3, rho=rho, signal_bars=signal_bars)
    found = np.corrcoef(last_return(w, signal_bars), pnl)[0, 1]
    assert abs(found - rho) < 4 / np.sqrt(n)
    # The window before it has nothing to do with the outcome.
    before = np.log(w[:, -1 - signal_bars, 3] / w[:, 0, 3])
    assert abs(np.corrcoef(before, pnl)[0, 1]) < 4 / np.sqrt(n)


def test_a_context_window_is_an_ordinary_random_walk():
    w = synthetic_windows(outcomes(20_000), 60, 8, rho=0.7, volatility=0.02)
    returns = np.diff(np.log(w[:, :, 3]), axis=1)
    np.testing.assert_allclose(returns.std(axis=0), 0.02, rtol=0.03)
    assert abs(returns.mean()) < 1e-4
    correlations = [np.corrcoef(returns[:, i], returns[:, i + 1])[0, 1] for i in range(0, 58, 7)]
    assert np.abs(correlations).max() < 0.03
    # Levels are even over their decades and know nothing.
    decade = np.log10(w[:, 0, 0])
    assert np.histogram(decade, bins=9, range=(-4, 5))[0].min() > 20_000 / 9 * 0.9
    assert abs(np.corrcoef(decade, outcomes(20_000))[0, 1]) < 0.03


def test_outcome_windows_are_half_as_loud_as_their_outcomes():
    for scale in (0.1, 1.0, 20.0):
        pnl = scale * outcomes(5000) / 2
        w = synthetic_windows(np.clip(pnl, -99, None), kind="outcome")
        noise = np.diff(np.log(w[:, :, 3]), axis=1).std() * 10
        assert 0.5 < noise / (scale / 100) < 0.62  # the drift to the outcome adds a little
    assert np.isfinite(synthetic_windows([3.0, 3.0], kind="outcome")).all()


def test_volume_rises_with_the_return():
    w = synthetic_windows(outcomes(2000))
    size = np.abs(np.diff(np.log(w[:, :, 3]), axis=1))
    volume = w[:, 1:, 4] / w[:, :, 4].mean(axis=1, keepdims=True)
    assert np.corrcoef(size.ravel(), volume.ravel())[0, 1] > 0.5


@pytest.mark.parametrize("kind", ["context", "outcome"])
@pytest.mark.parametrize("name", ["trade14", "kline17", "wide32"])
def test_fused_features_have_the_bits_of_features_of_windows(kind, name):
    rho = 0.5 if kind == "context" else 0.0
    pnl = outcomes(1003)
    w = synthetic_windows(pnl, 100, 5, kind, rho=rho, tick=1e-4)
    for dtype in ("float64", "float32"):
        apart = qf.windows(w, name, dtype=dtype)
        for threads in (1, 2):
            fused = synthetic_features(pnl, name, 100, 5, kind, rho=rho, tick=1e-4, dtype=dtype, threads=threads)
            assert fused.dtype == dtype
            assert fused.tobytes() == apart.tobytes()


def test_a_set_with_a_fill():
    fs = qf.FeatureSet(["rsi(14)", "ema(50)"], "legacy")
    w = synthetic_windows(outcomes(9), 30)
    assert synthetic_features(outcomes(9), fs, 30).tobytes() == qf.windows(w, fs).tobytes()


def test_threads_sizes_and_seeds():
    pnl = outcomes(700)
    one = synthetic_windows(pnl, 50, 1, threads=1)
    assert np.array_equal(one, synthetic_windows(pnl, 50, 1, threads=2))
    assert np.array_equal(one, synthetic_windows(pnl, 50, 1, threads=7))
    assert np.array_equal(one[:300], synthetic_windows(pnl[:300], 50, 1))
    other = synthetic_windows(pnl, 50, 2)
    assert not np.isin(one[:, :, 3], other[:, :, 3]).any()
    assert len(np.unique(one[:, :, 3])) == one[:, :, 3].size


@pytest.mark.parametrize("level", ["sse2", "avx2"])
def test_cpu_levels_keep_the_bits(level):
    code = (
        "import hashlib, numpy as np, qtfeat as qf; p = np.linspace(-3, 3, 333);"
        "x = qf.synthetic_features(p, 'trade14', rho=0.7); w = qf.synthetic_windows(p, rho=0.7);"
        "print(hashlib.sha256(x.tobytes() + w.tobytes()).hexdigest())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
        for env in ({"QTFEAT_CPU": level}, {})
    ]
    assert runs[0] == runs[1]


def test_labels_say_what_leaks():
    pnl = np.array([1.0, -1.0, 0.1])
    labels = synthetic_labels(pnl, "outcome")
    assert labels.label_leak
    assert leaks("outcome")
    assert labels.side.tolist() == [2, 0, 1]
    assert labels.value.tolist() == [0.01, -0.01, 0.001]
    assert (labels.t_end > labels.t).all()
    assert (labels.t[1:] > labels.t_end[:-1]).all()
    assert not synthetic_labels(pnl, "context").label_leak
    assert (leaks("context"), leaks("context", 0.3)) == (False, True)


HOSTILE = {
    "bars": [0, -1, 10, 1.5, 200_000, None],
    "seed": [-1, 2**64, 1.5, None],
    "kind": ["future", None],
    "rho": [1.1, -1.1, float("nan"), "0.7", None],
    "signal_bars": [0, 100, 2**70, None],
    "volatility": [0.0, 0.2, float("nan"), float("inf"), "x"],
    "tick": [-1e-3, 0.2, float("nan")],
    "unit": ["bp"],
    "threads": [0, -1],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in HOSTILE.items() for v in values])
def test_hostile_settings(name, value):
    with pytest.raises(QtfeatError):
        synthetic_windows([1.0, 2.0], **{name: value})
    with pytest.raises(QtfeatError):
        synthetic_features([1.0, 2.0], "trade14", **{name: value})


def test_hostile_outcomes():
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(SchemaError) as caught:
            synthetic_windows([1.0, bad])
        assert (caught.value.row, caught.value.column) == (1, "pnl_pct")
    for bad in (-100.0, -250.0, 1e9):
        with pytest.raises(SchemaError, match="row 1"):
            synthetic_windows([1.0, bad], kind="outcome")
    for bad in ([[1.0]], ["x"], None, [1 + 2j]):
        with pytest.raises(SchemaError):
            synthetic_windows(bad)
    with pytest.raises(SchemaError, match="rho belongs"):
        synthetic_windows([1.0], kind="outcome", rho=0.5)
    with pytest.raises(SchemaError, match="calendar"):
        synthetic_features([1.0], ["hour_sin()"])
    before = np.array([1.0, -2.0])
    synthetic_windows(before)
    assert before.tolist() == [1.0, -2.0]
    assert synthetic_features([], "trade14").shape == (0, 14)
