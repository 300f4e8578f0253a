"""Shared by the pytest-benchmark suites: run one row of the table under `benchmark`."""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import ours
from bench.harness import check, measure
from bench.rows import ROWS, Row

FLOORS: dict[str, Any] = tomllib.loads((Path(__file__).parent / "floors.toml").read_text(encoding="utf-8"))["rows"]

# Peers warn about their own affairs (old spellings, optional parts); that is not ours to judge.
LENIENT = pytest.mark.filterwarnings("ignore")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(LENIENT)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each suite the rows whose builders stand in the module that it is named after."""
    if "run_row" in metafunc.fixturenames:
        topic = metafunc.module.__name__.rpartition("test_")[2]
        rows = [row for row in ROWS if row.builder.split(":")[0] == topic]
        metafunc.parametrize("row", rows, ids=[row.id for row in rows])


@pytest.fixture
def run_row(benchmark: Any) -> Callable[[Row], None]:
    """Return a function that compares a row, times it in pairs, and holds it to its floor.

    pytest-benchmark times our side alone, for its history; the ratio that is judged comes from
    pairs in this same process and goes into its `extra_info`. `QTFEAT_BENCH_QUICK=1` shrinks it.
    """

    def run(row: Row) -> None:
        if ours.module() is None:
            pytest.skip("qtfeat is not installed")
        quick = os.environ.get("QTFEAT_BENCH_QUICK") == "1"
        case = row.build(quick=quick)
        try:
            benchmark.extra_info["difference"] = check(case)
            clock = time.process_time if row.pinned else time.perf_counter
            timing = measure(case, pairs=3 if quick else row.pairs, clock=clock)
            benchmark.extra_info["ratio"] = timing.ratio
            benchmark.extra_info["seconds_per_unit"] = timing.ours
            benchmark.pedantic(case.ours, rounds=3, warmup_rounds=1)
        finally:
            case.close()
        _hold(row, timing.ours, timing.ratio)

    return run


def _hold(row: Row, seconds: float | None, ratio: float | None) -> None:
    limits = FLOORS.get(row.id, {})
    if row.threads > 1:
        return  # two-thread figures swing with the neighbours; `make bench` waits for free cores
    if "floor" in limits:
        assert ratio is not None
        assert ratio >= limits["floor"], f"{row.id}: {ratio:.3g}x is below {limits['floor']}x"
    if "floor_us" in limits:
        assert seconds is not None
        assert seconds * 1e6 <= limits["floor_us"], f"{row.id}: {seconds * 1e6:.3g} us per push"
