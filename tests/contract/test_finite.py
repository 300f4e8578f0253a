"""P2: every value finite and in its declared range, null in warm-up only, for every accepted bar."""

from __future__ import annotations

import numpy as np
import pytest

import qtfeat as qf
from contract import adversary
from contract.modes import SERIES, Matrix, batch, cases
from contract.specs import PROFILES, everything, registered
from oracles import TINY, Bars, rma_of
from sizes import scaled

WINDOWS = 10_000_000  # adversarial windows in a soak, over all kinds and profiles
# (rows, rows that are looked at, windows in a chunk): most are judged by their last row, some by all
SHAPES = ((128, "only", 4_000), (7, "all", 4_000), (64, "all", 400), (200, "only", 2_000))
in_all = pytest.mark.parametrize("profile", PROFILES)


def assert_finite(fs: qf.FeatureSet, values: Matrix, first_row: int, where: str) -> None:
    """Check (windows, rows, F): null before the warm-up is over and a value in the declared range after it.

    The legacy profile divides as IEEE does, as the engine that it reproduces: there 0/0 is a null, until the fill.
    """
    row = first_row + np.arange(values.shape[1])
    warm = row[:, None] >= np.array(list(fs.warmup.values()))
    null = np.isnan(values)
    early, late = ~null & ~warm[None], null & warm[None]
    assert not early.any(), f"{where}: {_names(fs, early)} not null in warm-up"
    assert fs.numerics == "legacy" or not late.any(), f"{where}: {_names(fs, late)} null after warm-up"
    described = fs.describe()
    lowest = np.array([-np.inf if r["min"] is None else r["min"] for r in described])
    highest = np.array([np.inf if r["max"] is None else r["max"] for r in described])
    infinite = np.isinf(values)
    assert not infinite.any(), f"{where}: {_names(fs, infinite)} infinite"
    outside = ~null & ((values < lowest) | (values > highest))
    if outside.any():
        w, t, f = (int(i) for i in np.argwhere(outside)[0])
        raise AssertionError(
            f"{where}: {_names(fs, outside)} out of range; {fs.columns[f]} = {values[w, t, f]!r}"
            f" in window {w}, row {first_row + t}; declared {described[f]['min']}..{described[f]['max']}"
        )


def _names(fs: qf.FeatureSet, mask: np.ndarray) -> str:
    return ", ".join(fs.columns[i] for i in np.flatnonzero(mask.any(axis=(0, 1))))


@pytest.mark.soak
@pytest.mark.timeout(14_400)
@in_all
@pytest.mark.parametrize("kind", adversary.GENERATORS)
def test_adversarial_windows(kind, profile):
    fs = everything(profile)
    left = scaled(WINDOWS) // (len(PROFILES) * len(adversary.GENERATORS)) + 1
    chunk = 0
    while left > 0:
        rows, last, most = SHAPES[chunk % len(SHAPES)]
        m = min(most, left)
        ohlcv = adversary.windows(kind, m, rows, chunk)
        extra = np.random.default_rng(chunk).choice([0.0, 1e-100, -1e100, 1e100, 0.3], (m, rows, 1))
        hours = chunk + np.arange(rows, dtype=np.int64) * 3_600_000_000_000
        time = np.tile(hours, (m, 1)).view("datetime64[ns]")
        values = qf.windows(ohlcv, fs, time=time, extra=extra, last=last)
        values = values if last == "all" else values[:, None, :]
        assert_finite(fs, values, 0 if last == "all" else rows - 1, f"{kind} {profile} chunk {chunk}")
        left, chunk = left - m, chunk + 1


@in_all
@pytest.mark.parametrize("name", SERIES)
def test_every_series_is_finite_and_warm_up_is_as_declared(name, profile):
    for case in cases(profile, name):
        if case.on_bad == "raise":
            assert_finite(case.fs, batch(case).T[None], 0, case.label)
        else:
            assert not np.isinf(batch(case)).any(), case.label


@pytest.mark.parametrize("profile", ["safe", "talib"])
@pytest.mark.parametrize("name", SERIES)
def test_every_indicator_is_null_in_a_null_row(name, profile):
    """An expression may read the past only (`lag(close, 3)`); every indicator reads its own bar."""
    for case in cases(profile, name):
        if case.on_bad != "raise":
            indicators = [i for i, row in enumerate(case.fs.describe()) if row["indicator"] is not None]
            values = batch(case)[np.ix_(indicators, np.isnan(case.series.ohlcv).all(axis=1))]
            names = [case.fs.columns[i] for i in indicators]
            given = [name for name, row in zip(names, values, strict=True) if not np.isnan(row).all()]
            assert not given, f"{case.label}: {given}"


@pytest.mark.parametrize("kind", adversary.GENERATORS)
def test_the_legacy_fill_leaves_no_null(kind):
    fs = qf.FeatureSet(everything("legacy").specs, "legacy")
    ohlcv = adversary.windows(kind, 30, 150, seed=5)
    time = np.tile(np.arange(150, dtype=np.int64), (30, 1)).view("datetime64[ns]")
    values = qf.windows(ohlcv, fs, time=time, extra=np.ones((30, 150)), last="all")
    assert (np.abs(values) <= 1e6).all()


def test_ranges_of_the_set_are_the_ranges_of_the_catalogue():
    catalog = {row["column"]: row for row in qf.catalog().to_pylist()}
    described = {row["name"]: row for row in qf.FeatureSet(registered()).describe()}
    assert catalog.keys() == described.keys()
    for column, row in catalog.items():
        for key in ("min", "max", "neutral", "warmup", "memory", "scale_free", "unit"):
            assert described[column][key] == row[key], (column, key)


def _steady(rows: int, price: float, volume: float = 1.0) -> Matrix:
    return np.column_stack([np.full(rows, price)] * 4 + [np.full(rows, volume)])


@pytest.mark.parametrize("profile", ["safe", "talib"])
@pytest.mark.parametrize("price", [0.1, 0.7, 1e-8, 33_333.3, 1e100 / 3])
def test_spread_is_exactly_zero_once_an_outlier_has_left(price, profile):
    """No running sum remembers the outlier: the first window without it is constant, and its spread is 0."""
    for n in (2, 3, 5, 7, 8, 14, 20, 31, 33, 64, 100):
        fs = qf.FeatureSet(
            [f"s = std(close, {n})", f"v = var(close, {n})", f"m = mean_abs_dev(close, {n})",
             f"c = cov(close, high, {n})",
             f"bb({n},2)", f"zscore({n})", f"cci({n})", f"q = std(volume, {n})"], profile,
        )  # fmt: skip
        ohlcv = _steady(n + 40, price)
        ohlcv[15] = [price * 1e9] * 4 + [1e9]
        values = dict(zip(fs.columns, qf.windows(ohlcv[None], fs, last="all")[0].T, strict=True))
        clean = np.r_[n - 1 : 15, 15 + n : n + 40] if n <= 15 else np.arange(15 + n, n + 40)
        zeros = dict.fromkeys(("s", "v", "m", "c", "q", "zscore", "cci", "bb_width"), 0.0)
        levels = dict.fromkeys(("bb_upper", "bb_mid", "bb_lower"), price)
        for name, constant in {**zeros, **levels, "bb_pct": 0.5}.items():
            column = next(c for c in fs.columns if c == name or c.startswith(f"{name}_{n}"))
            assert (values[column][clean] == constant).all(), (name, n, price)


def test_rsi_in_a_frozen_feed_keeps_its_ratio_then_is_neutral():
    """Gains and losses fade together, so their ratio stays, until both are nothing beside the price."""
    rng = np.random.default_rng(11)
    close = 50.0 * np.exp(np.cumsum(0.002 * rng.standard_normal(200)))
    close = np.concatenate([close, np.full(600, close[-1])])
    bars = Bars(close, close, close, close, np.ones(len(close)))
    rsi = qf.compute(bars.columns(), ["rsi(14)"])["rsi"]
    move = np.diff(close, prepend=np.nan)
    fading = rma_of(np.maximum(move, 0.0), 14) + rma_of(np.maximum(-move, 0.0), 14)
    gone = int(np.flatnonzero(fading <= TINY * close)[0])
    assert 280 <= gone - 199 <= 360
    np.testing.assert_allclose(rsi[199:gone], rsi[199], rtol=1e-9)
    assert rsi[199] != 50.0
    assert (rsi[gone:] == 50.0).all()
