"""P2: features that are declared scale-free do not change a bit when prices or volumes are multiplied by 2^k."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import qtfeat as qf
from contract import adversary
from contract.bits import assert_same_bits
from contract.modes import SERIES, Case, Matrix, Series, batch, cases
from contract.specs import SHIPPED, everything
from sizes import scaled

POWERS = range(-40, 41)
PROFILES = ("safe", "talib")  # the legacy profile adds an absolute epsilon: it has no scale-free ratios


def _inside(ohlcv: Matrix) -> Matrix:
    """Pull prices and volumes in so far that 40 doublings either way stay accepted."""
    price = np.clip(ohlcv[..., :4], 1e-97, 1e97)
    volume = np.where(ohlcv[..., 4:] > 0, np.clip(ohlcv[..., 4:], 1e-17, 1e17), 0.0)
    return np.concatenate([price, volume], axis=-1)


def _times_power(ohlcv: Matrix, price: int, volume: int) -> Matrix:
    """Multiply by powers of two."""
    return ohlcv * np.array([2.0**price] * 4 + [2.0**volume])


def _scale_free(fs: qf.FeatureSet) -> list[int]:
    return [i for i, row in enumerate(fs.describe()) if row["scale_free"]]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", SERIES)
def test_bits_stay_when_prices_or_volumes_are_scaled(name, profile):
    for case in cases(profile, name, rows=300):
        if case.fs.name != "everything":
            continue
        free, columns = _scale_free(case.fs), np.array(case.fs.columns)
        ohlcv = _inside(case.series.ohlcv)
        want = batch(_with(case, ohlcv))[free]
        for k in POWERS:
            for price, volume in ((k, 0), (0, k), (k, -k // 2)):
                found = batch(_with(case, _times_power(ohlcv, price, volume)))[free]
                where = f"prices * 2^{price}, volumes * 2^{volume} {case.label}"
                assert_same_bits(want, found, columns[free].tolist(), where)


def _with(case: Case, ohlcv: Matrix) -> Case:
    series: Series = replace(case.series, ohlcv=ohlcv)
    return replace(case, series=series)


@pytest.mark.soak
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", adversary.GENERATORS)
def test_bits_of_adversarial_windows_stay(kind, profile):
    fs = everything(profile)
    free = _scale_free(fs)
    columns = [fs.columns[i] for i in free]
    for chunk in range(scaled(250)):
        ohlcv = _inside(adversary.windows(kind, 200, 128, 10_000 + chunk))
        time = np.tile(np.arange(128, dtype=np.int64), (200, 1)).view("datetime64[ns]")
        options = {"time": time, "extra": np.ones((200, 128))}
        want = qf.windows(ohlcv, fs, **options)[:, free].T.copy()
        for k in (-40, -17, -1, 1, 23, 40):
            found = qf.windows(_times_power(ohlcv, k, -k), fs, **options)[:, free].T.copy()
            assert_same_bits(want, found, columns, f"{kind} {profile} chunk {chunk} * 2^{k}")


def test_wide32_and_seq8_are_scale_free_and_the_price_level_is_not():
    for name in ("wide32", "seq8"):
        fs = qf.FeatureSet.load(name)
        assert _scale_free(fs) == list(range(len(fs))), name
    levels = {"ema", "sma", "macd", "momentum", "atr", "vwap", "donchian_upper", "bb_upper", "obv", "true_range"}
    assert not levels & {row["column"] for row in qf.catalog().to_pylist() if row["scale_free"]}


def test_a_feature_that_is_not_scale_free_does_change():
    """The other way round: nothing is declared less than it is, among the catalogue's own features."""
    fs = qf.FeatureSet(_timeless())
    case = next(c for c in cases("safe", "random_walk", rows=300) if c.on_bad == "raise")
    ohlcv = _inside(case.series.ohlcv)
    one, other = (qf.compute(_dict(x), fs) for x in (ohlcv, _times_power(ohlcv, 3, 5)))
    for row in fs.describe():
        same = np.array_equal(one[row["name"]], other[row["name"]], equal_nan=True)
        assert same == row["scale_free"], row["name"]


def _timeless() -> list[str]:
    ids = dict.fromkeys(qf.catalog().column("id").to_pylist())
    return [name for name in ids if not qf.FeatureSet([name]).needs_time]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_sets_read_no_time_and_no_extra_column(name):
    fs = qf.FeatureSet.load(name)
    assert not fs.needs_time
    assert not fs.extras


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("formula", "free"),
    [
        ("abs((100 / high) * high)", False),  # 100 / 1e-109 is more than a price to the power of -1 may be
        ("(1 / high) * high", True),
        ("(close / 0.001) / close", False),
        ("((high + low + close) / 3) / close", True),
        ("volume / std(close, 3) * close / volume", False),
        ("close / (sum((high + low + close) / 3 * volume, 5) / sum(volume, 5))", True),
        ("close / (ema(close * volume, 5) / ema(volume, 5))", True),
        ("close / (sum(close * volume, 5) / sum(volume, 6))", False),
        ("close / (sum(close * volume, 5) / sum(high, 5))", False),
        ("close / (sum(close * (volume - 5), 5) / sum(volume - 5, 5))", False),
    ],
)
def test_a_quotient_that_could_saturate_at_a_level_is_not_scale_free(formula, free, profile):
    """Prices next to the smallest and the largest that are accepted."""
    fs = qf.FeatureSet([f"x = {formula}"], profile)
    assert fs.describe()[0]["scale_free"] == free
    rng = np.random.default_rng(5)
    close = np.exp2(rng.uniform(0.0, 2.0, 64))
    bars = np.stack([close, close * 1.25, close * 0.75, close, rng.integers(1, 9, 64)], axis=1)
    if free:
        want, *found = (qf.compute(_dict(_times_power(bars, price, volume)), fs)["x"] for price, volume in _EDGES)
        for (price, volume), values in zip(_EDGES[1:], found, strict=True):
            assert_same_bits(
                want[None], values[None], fs.columns, f"prices * 2^{price}, volumes * 2^{volume} {formula}"
            )


_EDGES = ((0, 0), (-364, 0), (361, 0), (0, -99), (0, 96), (-364, 96), (361, -99))


def _dict(ohlcv: Matrix) -> dict[str, Matrix]:
    return {name: ohlcv[:, i].copy() for i, name in enumerate(("open", "high", "low", "close", "volume"))}
