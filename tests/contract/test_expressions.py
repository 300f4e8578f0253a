"""The promises for expressions nobody thought of: random ones, as users write them."""

from __future__ import annotations

import random

import numpy as np
import pytest

import qtfeat as qf
from contract.bits import assert_same_bits
from contract.modes import OHLCV, Case, batch, cases, record_batches, restored, stream, window_inputs
from contract.specs import EXTRA
from contract.test_finite import assert_finite
from contract.test_scale import _inside, _times_power, _with
from sizes import scaled

ROWS = 160
LEAVES = (*OHLCV, "close", EXTRA, "2.5", "100")
INDICATORS = (
    "rsi(3)",
    "atr(3)",
    "bb(5,2).pct",
    "obv",
    "vwap(4)",
    "mfi(3)",
    "cci(4)",
    "zscore(3)",
    "ema(5)",
    "stoch(3,2,2).d",
)
FORMS = (
    "({} + {})", "({} - {})", "({} * {})", "({} / {})", "({} < {})", "({} == {})", "lag({}, N)", "sum({}, N)",
    "mean({}, N)", "std({}, N)", "var({}, N, ddof=1)", "min({}, N)", "max({}, N)", "min({}, {})", "max({}, {})",
    "mean_abs_dev({}, N)", "cov({}, {}, N)", "log({})", "sqrt({})", "abs({})", "sign({})", "where({}, {}, {})",
    "clip({}, {}, {})", "ema({}, N)", "rma({}, N, seed=\"first\")", "cumsum({})", "ratio({}, {}, neutral=0.5)", "-{}",
)  # fmt: skip


def expression(rng: random.Random, depth: int) -> str:
    """Return a random expression; many are nonsense, which the engine refuses."""
    if depth == 0 or rng.random() < 0.15:
        return rng.choice(LEAVES if rng.random() < 0.8 else INDICATORS)
    form = rng.choice(FORMS).replace("N", str(rng.choice((1, 2, 3, 7, 16))))
    return form.format(*(expression(rng, depth - 1) for _ in range(form.count("{}"))))


def accepted(rng: random.Random, count: int, profile: str) -> list[qf.FeatureSet]:
    """Return sets of one random expression each, for the expressions that make sense."""
    out: list[qf.FeatureSet] = []
    while len(out) < count:
        text = expression(rng, rng.choice((1, 2, 2, 3, 4)))
        try:
            out.append(qf.FeatureSet([f"x = {text}"], profile, fill=None, name=text))
        except qf.FeatureSpecError:
            continue
    return out


@pytest.mark.soak
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("profile", ["safe", "talib", "legacy"])
@pytest.mark.parametrize("name", ["random_walk", "huge_jumps", "volume_gaps", "one_ulp"])
def test_promises_hold_for_random_expressions(name, profile):
    rng = random.Random(f"{name} {profile}")
    template = next(cases(profile, name, rows=ROWS))
    for fs in accepted(rng, scaled(6_000), profile):
        case = Case(fs, template.series, "raise")
        want, label = batch(case), f"{fs.name} {profile} {name}"
        for mode in (stream, restored):
            assert_same_bits(want, mode(case), fs.columns, f"{mode.__name__} {label}")
        assert_same_bits(want, record_batches(case, 33), fs.columns, f"record batches {label}")
        assert_finite(fs, want.T[None], 0, label)
        described = fs.describe()[0]
        length = described["finite_rows"]
        if length is not None and length <= ROWS:
            window = qf.windows(**window_inputs(case, [ROWS - length], length))
            assert_same_bits(want[:, -1:], window.T.copy(), fs.columns, f"window of {length} rows {label}")
        if described["scale_free"] and profile != "legacy":
            _assert_scale_free(case, label)


def _assert_scale_free(case: Case, label: str) -> None:
    inside = _with(case, _inside(case.series.ohlcv))
    want = batch(inside)
    for price, volume in ((7, 0), (0, -9), (-40, 40)):
        found = batch(_with(case, _times_power(inside.series.ohlcv, price, volume)))
        assert_same_bits(want, found, case.fs.columns, f"prices * 2^{price}, volumes * 2^{volume} {label}")


def test_random_expressions_are_mostly_refused_for_a_reason_and_often_accepted():
    """The generator is no test of anything if it made only trivial expressions."""
    sets = accepted(random.Random(1), 200, "safe")
    specs = [str(fs.name) for fs in sets]
    assert np.mean([len(spec) > 20 for spec in specs]) > 0.3
    assert all(any(part in spec for spec in specs) for part in ("cov(", "where(", "cumsum(", "/", EXTRA))
