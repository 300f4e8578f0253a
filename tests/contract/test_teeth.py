"""The contract finds faults: each promise is broken on purpose once, and its check must name the column."""

from __future__ import annotations

from dataclasses import replace

import pytest

import qtfeat as qf
from contract import modes
from contract.bits import assert_same_bits
from contract.modes import batch, cases
from contract.specs import SHIPPED
from contract.test_finite import assert_finite


def _faulty(name: str) -> modes.Case:
    specs = qf.FeatureSet.load(SHIPPED[0]).specs
    case = next(cases("safe", "random_walk", rows=300))
    return replace(case, fs=qf.FeatureSet(["natr(14)", *specs], name="faulty", _fault=name))


@pytest.mark.parametrize(("fault", "mode"), [("fused", modes.stream), ("stale_snapshot", modes.restored)])
def test_a_mode_of_its_own_is_found(fault, mode):
    case = _faulty(fault)
    with pytest.raises(AssertionError, match="natr"):
        assert_same_bits(batch(case), mode(case), case.fs.columns, fault)


def test_an_infinity_is_found():
    case = _faulty("infinite")
    with pytest.raises(AssertionError, match="natr infinite"):
        assert_finite(case.fs, batch(case).T[None], 0, "infinite")


def test_a_look_ahead_is_found():
    case = _faulty("lookahead")
    cut = batch(replace(case, series=case.series[:200]))
    with pytest.raises(AssertionError, match="natr"):
        assert_same_bits(batch(case)[:, :200].copy(), cut, case.fs.columns, "lookahead")
