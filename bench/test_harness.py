"""The harness refuses figures that cannot be."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pytest

from bench.harness import (
    Case,
    ImplausibleFigureError,
    Timing,
    measure,
    memset_floor,
    memset_seconds,
    refuse_below,
)
from bench.page import judge
from bench.rows import ROWS, row
from bench.runner import Outcome


def _case(ours: object, floor: float) -> Case:
    return Case(
        unit="bar",
        ours=lambda: ours() if callable(ours) else ours,
        ours_units=1,
        names=("x",),
        floor=lambda: floor,
        ours_columns=lambda result: {"x": np.asarray(result)},
        peer=lambda: sum(range(1_000)),
    )


def test_faster_than_its_floor_is_refused() -> None:
    with pytest.raises(ImplausibleFigureError, match="faster than the floor"):
        measure(_case(1.0, floor=1.0), pairs=2)
    with pytest.raises(ImplausibleFigureError):
        refuse_below(1e-9, 1e-3)


def test_an_empty_call_does_not_pass_for_a_million_bars() -> None:
    case = _case(1.0, floor=0.0)
    case.floor = memset_floor(8 * 17 * 1_000_000)
    with pytest.raises(ImplausibleFigureError):
        measure(case, pairs=2)


def test_a_result_that_changes_is_refused() -> None:
    counter = itertools.count()
    with pytest.raises(ImplausibleFigureError, match="other values"):
        measure(_case(lambda: float(next(counter)), floor=0.0), pairs=2)


def test_ratio_is_of_pairs() -> None:
    timing = measure(_case(lambda: sum(range(1_000)), floor=0.0), pairs=5)
    assert isinstance(timing, Timing)
    assert timing.ratio is not None
    assert 0.2 < timing.ratio < 5.0


def test_memset_grows_with_size() -> None:
    assert memset_seconds(64 << 20) > memset_seconds(1 << 20)


@pytest.mark.parametrize(("ratio", "verdict"), [(2.2, "BELOW"), (2.3, "floor"), (3.5, "goal"), (9.0, "goal")])
def test_verdicts(ratio: float, verdict: str) -> None:
    outcome = Outcome(unit="bar", ours=1e-8, peer=ratio * 1e-8, ratio=ratio)
    line = judge(row("series_talib"), outcome, {"floor": 2.3, "goal": 3.5})
    assert line.verdict == verdict


@pytest.mark.parametrize(("micros", "verdict"), [(26.0, "BELOW"), (20.0, "floor"), (9.0, "goal")])
def test_verdicts_of_absolute_limits(micros: float, verdict: str) -> None:
    outcome = Outcome(unit="push", ours=micros * 1e-6)
    line = judge(row("panel_stream"), outcome, {"floor_us": 25.0, "goal_us": 15.0})
    assert line.verdict == verdict


def test_ids_are_unique() -> None:
    assert len({one.id for one in ROWS}) == len(ROWS)


def test_every_row_has_its_limits() -> None:
    with (Path(__file__).parent / "floors.toml").open("rb") as file:
        limits = tomllib.load(file)["rows"]
    assert set(limits) == {one.id for one in ROWS} | {"first_call"}
