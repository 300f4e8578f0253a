"""P3: a row depends on no later row. Cutting the future off, or changing it, changes nothing before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import qtfeat as qf
from contract import modes
from contract.bits import assert_same_bits
from contract.modes import ROWS, SERIES, batch, cases
from contract.panels import joined, owners_of, split, symbols
from contract.specs import PROFILES, everything

in_all = pytest.mark.parametrize("profile", PROFILES)


def _cuts(rows: int, seed: int, count: int) -> list[int]:
    """Random rows, and those around the ends of warm-ups and blocks."""
    fixed = [1, 2, 14, 20, 34, 100, 1_023, 1_024, 1_025, rows - 1]
    return fixed + np.random.default_rng(seed).integers(1, rows, count).tolist()


@in_all
@pytest.mark.parametrize("name", SERIES)
def test_features_of_the_first_rows_are_the_first_features(name, profile):
    for case in cases(profile, name):
        want = batch(case)
        for t in _cuts(ROWS, 1, 12):
            found = batch(replace(case, series=case.series[:t]))
            assert_same_bits(want[:, :t].copy(), found, case.fs.columns, f"cut at {t} {case.label}")


@in_all
@pytest.mark.parametrize("name", SERIES)
def test_another_future_changes_nothing_before_it(name, profile):
    future = next(c for c in cases("safe", "huge_jumps", ROWS)).series.ohlcv
    for case in cases(profile, name):
        want = batch(case)
        for t in _cuts(ROWS, 2, 6):
            ohlcv, extra = case.series.ohlcv.copy(), case.series.extra.copy()
            ohlcv[t:], extra[t:] = future[t:], -1e99
            changed = replace(case, series=replace(case.series, ohlcv=ohlcv, extra=extra))
            for mode in (batch, modes.arrow):
                found = mode(changed)[:, :t].copy()
                assert_same_bits(want[:, :t].copy(), found, case.fs.columns, f"future from {t} {case.label}")


@in_all
@pytest.mark.parametrize("on_bad", ["raise", "null", "reset"])
@pytest.mark.parametrize("layout", ["interleaved", "moments"])
def test_the_first_rows_of_a_panel(layout, on_bad, profile):
    """Also across symbols: a later row of any symbol changes no row before it."""
    fs = everything(profile)
    own = symbols(fs, on_bad, seed=2, rows=120)
    owners = owners_of(own, layout, 2)
    table = joined(own, owners)
    want = split(qf.compute(table, fs, by="symbol", time="time", on_bad=on_bad), own, owners)
    for t in _cuts(len(owners), 3, 8)[1:]:
        out = qf.compute(table.slice(0, t), fs, by="symbol", time="time", on_bad=on_bad)
        for case, whole, found in zip(own, want, split(out, own, owners[:t]), strict=True):
            first = whole[:, : found.shape[1]].copy()
            assert_same_bits(first, found, fs.columns, f"first {t} rows of a panel, {case.label}")
