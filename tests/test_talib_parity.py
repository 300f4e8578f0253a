"""The `talib` profile against the installed TA-Lib: values and positions of every output that both have."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import qtfeat as qf
from barsets import BARSETS, REAL_SYMBOLS, real_bars
from contract.specs import registered
from oracles import Bars
from parity_talib import ROWS, Row, compare, first_valid

ROOT = Path(__file__).resolve().parent.parent
IMPLEMENTED = [row for row in ROWS if row.id in registered()]
each = pytest.mark.parametrize("row", IMPLEMENTED, ids=lambda row: row.spec)


def ours(row: Row, bars: Bars, profile: str) -> np.ndarray:
    out = qf.compute(bars.columns(), qf.FeatureSet([row.spec], profile))
    return next(iter(out.values()))


@cache
def simulated(seed: int) -> Bars:
    table = qf.simulate(symbols=1, bars=5_000, seed=seed)
    return Bars(*(table[name].to_numpy() for name in ("open", "high", "low", "close", "volume")))


def assert_agrees(row: Row, bars: Bars, where: str) -> None:
    found = compare(row, bars, ours(row, bars, "talib"))
    assert found.first == found.first_wanted, f"{row.spec} on {where} starts at {found.first}"
    assert found.first_talib == row.first, f"TA-Lib's {row.spec} starts at {found.first_talib} on {where}"
    assert found.rows == len(bars) - row.first, f"{row.spec} on {where}: both have {found.rows} rows"
    assert found.excess <= 1.0, f"{row.spec} on {where}: {found}"


@each
@pytest.mark.parametrize("symbol", REAL_SYMBOLS)
def test_values_and_positions_on_recorded_bars(symbol, row):
    assert_agrees(row, real_bars(symbol), symbol)


@each
def test_values_and_positions_on_simulated_bars(row):
    """The same without the recordings, which a clone of the project does not have."""
    for seed in (1, 2):
        assert_agrees(row, simulated(seed), f"simulation {seed}")
    assert_agrees(row, BARSETS["random_walk"](4_000, 7), "random_walk")


@each
def test_our_own_conventions_differ_where_the_table_says_so_and_only_there(row):
    """The default profile needs no reason where it agrees, and has one where it does not."""
    found = compare(row, simulated(1), ours(row, simulated(1), "safe"))
    assert found.holds == (row.recipe == "ours"), f"{row.spec}: {found}"
    assert (row.recipe == "ours") == (row.why == ""), row.spec
    assert (row.ours is None) == (row.beyond == ""), row.spec


@each
def test_flat_market_is_ours_and_the_table_says_what_talib_gives(row):
    bars = BARSETS["flat"](120, 1)
    mine, theirs = ours(row, bars, "talib"), np.asarray(row.call(bars)) * row.scale
    settled = slice(max(first_valid(mine), first_valid(theirs)), None)
    differs = not np.allclose(mine[settled], theirs[settled], rtol=1e-9, atol=1e-9)
    assert differs == (row.flat != ""), f"{row.spec}: ours {mine[-1]}, TA-Lib's {theirs[-1]}"
    if row.flat:
        assert theirs[-1] == float(row.flat)


def page_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("parity_page", ROOT / "tools" / "parity_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_the_table():
    tool = page_tool()
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page(), "docs/parity.md is old: run tools/parity_page.py"


def test_page_speaks_of_every_indicator():
    text = page_tool().page()
    listed = set(re.findall(r"`(\w+)", text))
    assert not set(registered()) - listed, f"docs/parity.md leaves out {sorted(set(registered()) - listed)}"
