"""The peers against each other, without our library: the baseline has to be right first."""

from __future__ import annotations

import pytest

from bench.columns import DisagreementError, compare
from bench.data import FIELDS, bars, panel, stacked, windows
from bench.harness import check
from bench.rows import ROWS, Row

WITH_PEER = [row for row in ROWS if row.peer != "-"]


@pytest.mark.parametrize("row", WITH_PEER, ids=[row.id for row in WITH_PEER])
def test_peer_agrees_with_reference(row: Row) -> None:
    case = row.build(quick=True)
    case.ours = case.compare_ours = None
    assert check(case) < 1e-5


def test_bars_are_valid_and_reproducible() -> None:
    one, again = bars(5_000), bars(5_000)
    for field in FIELDS:
        assert (one[field] == again[field]).all()
        assert (one[field] > 0.0).all()
    assert (one["high"] >= one["open"]).all()
    assert (one["high"] >= one["close"]).all()
    assert (one["low"] <= one["open"]).all()
    assert (one["low"] <= one["close"]).all()


def test_panel_and_windows_have_the_stated_shapes() -> None:
    assert stacked(panel(3, 40))["close"].shape == (120,)
    assert windows(5, 30).shape == (5, 30, 5)


def test_compare_names_column_and_row() -> None:
    one = bars(50)
    other = {name: values.copy() for name, values in one.items()}
    other["close"][33] += 0.5
    with pytest.raises(DisagreementError, match="column close, row 33"):
        compare(one, other, names=FIELDS, skip_rows=0)
    with pytest.raises(DisagreementError, match="gone is missing"):
        compare(one, other, names=("gone",))
