"""The engine against plain NumPy oracles in extended precision: every indicator, every primitive, values and nulls."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qtfeat as qf
from barsets import BARSETS, real_bars, with_null_rows
from contract.specs import SHIPPED, VARIANTS, registered, spec_of
from oracles import LD, ORACLES, PRIMITIVES, TINY, Bars, lag, log, ratio, sqrt
from parity_talib import TALIB_ORACLES
from tolerances import EPS, PRIMITIVE_TOLERANCES, TOLERANCES, tolerance_of

SERIES = (*BARSETS, "real BTCUSDT", "real TRXUSDT")
ROWS = 1_500
HARD = ("random_walk", "outlier_1e9", "one_ulp", "volume_gaps", "huge_jumps", "regimes")  # for each primitive alone
PRIMITIVE_ROWS = 300
FEATURES_PAGE = Path(__file__).resolve().parent.parent / "docs" / "features.md"
FUNCTIONS = {"abs", "sqrt", "log", "sign", "where", "clip", "ratio"}  # elementwise, in test_elementwise below


@cache
def bars_of(name: str, holes: bool) -> Bars:
    bars = real_bars(name.removeprefix("real "))[5_000 : 5_000 + ROWS] if " " in name else BARSETS[name](ROWS, 3)
    return with_null_rows(bars, every=41, positions=(0,)) if holes else bars


def table_of(bars: Bars) -> dict[str, Any]:
    assert bars.time is not None
    return {"time": bars.time.view("datetime64[ns]"), **bars.columns()}


@cache
def catalog() -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in qf.catalog().to_pylist():
        rows.setdefault(row["id"], []).append(row)
    return rows


def defaults(name: str) -> dict[str, Any]:
    """Read the parameters of a catalogue row: `period=20, seed="sma"`."""
    parts = (part.split("=") for part in filter(None, catalog()[name][0]["params"].split(", ")))
    return {key: {"true": True, "false": False}.get(value) if value in ("true", "false") else ast.literal_eval(value)
            for key, value in parts}  # fmt: skip


def cases() -> list[Any]:
    each = [(name, {}) for name in registered()] + [row for row in VARIANTS if row[0] in registered()]
    return [pytest.param(name, params, id=spec_of(name, params)) for name, params in each]


def assert_close(expected: np.ndarray, found: np.ndarray, allowed: np.ndarray, where: str) -> None:
    """Compare values within the allowed distance, and nulls exactly."""
    wrong = np.flatnonzero(np.isnan(expected) != np.isnan(found))
    assert not len(wrong), f"{where}: null in one only at rows {wrong[:5]} ({len(wrong)} in all)"
    known = np.flatnonzero(~np.isnan(expected))
    far = known[np.abs(found[known].astype(LD) - expected[known]) > allowed[known]]
    if len(far):
        row = int(far[0])
        raise AssertionError(
            f"{where}: {len(far)} rows too far; row {row}: oracle {expected[row]!r}, engine {found[row]!r},"
            f" allowed {float(allowed[row]):.3g}"
        )


@pytest.mark.parametrize("profile", ["safe", "talib"])
@pytest.mark.parametrize(("name", "params"), cases())
def test_indicator(name, params, profile):
    fs = qf.FeatureSet([spec_of(name, params)], profile)
    oracle = TALIB_ORACLES.get(name, ORACLES[name]) if profile == "talib" else ORACLES[name]
    outputs = [row["output"] for row in catalog()[name]]
    for series in SERIES if profile == "safe" else (*HARD, "real TRXUSDT"):
        for holes in (False, True):
            bars = bars_of(series, holes)
            found = qf.compute(table_of(bars), fs, time="time", on_bad="null")
            expected = oracle(bars, **params)
            for output, column in zip(outputs, fs.columns, strict=True):
                want = expected[output if len(outputs) > 1 else ""]
                allowed = tolerance_of(name, output).allowed(bars, want, {**defaults(name), **params})
                assert_close(want, found[column], allowed, f"{column} {profile} on {series}{' with holes' * holes}")


# --- primitives ---------------------------------------------------------------------------------------------

OPERANDS = {"close": lambda b: b.close, "volume": lambda b: b.volume, "close - open": lambda b: b.close - b.open}


def primitive_cases() -> list[tuple[str, str, dict[str, Any]]]:
    out: list[tuple[str, str, dict[str, Any]]] = []
    for name in PRIMITIVES:
        options: list[dict[str, Any]] = [{}]
        if name in ("var", "std", "cov"):
            options = [{}, {"ddof": 1}]
        if name in ("ema", "rma"):
            options = [{}, {"seed": "first"}]
        out += [(name, operand, option) for operand in OPERANDS for option in options]
    return out


@pytest.mark.parametrize(("name", "operand", "options"), primitive_cases())
def test_primitive(name, operand, options):
    """Every window from the smallest to beyond a block, on positive and on signed operands."""
    ulps, scale, _ = PRIMITIVE_TOLERANCES[name]
    lengths = [None] if name == "cumsum" else [2, 3, 5, 8, 20, 31, 64, 100]
    keys = "".join(f', {k}="{v}"' if isinstance(v, str) else f", {k}={v}" for k, v in options.items())
    second = ", volume" if name == "cov" else ""
    specs = [f"x{n or ''} = {name}({operand}{second}{'' if n is None else f', {n}'}{keys})" for n in lengths]
    fs = qf.FeatureSet(specs)
    for series in HARD:
        for holes in (False, True):
            bars = bars_of(series, holes)[:PRIMITIVE_ROWS]
            found = qf.compute(table_of(bars), fs, on_bad="null")
            operands = [OPERANDS[operand](bars), *([bars.volume] if second else [])]
            for n, column in zip(lengths, fs.columns, strict=True):
                want = PRIMITIVES[name](*operands, *([] if n is None else [n]), **options)
                sizes = np.asarray(scale(want, n, *operands), LD)
                where = f"{fs.describe()[0]['spec']} n={n} on {series}{' with holes' * holes}"
                assert_close(want, found[column], ulps * EPS * sizes, where)


ELEMENTWISE: dict[str, Any] = {
    "abs(close - open)": lambda b: np.abs(b.close - b.open),
    "sqrt(close - open)": lambda b: sqrt((b.close - b.open).astype(LD)),
    "sqrt(volume)": lambda b: np.sqrt(b.volume),
    "log(close)": lambda b: np.log(b.close.astype(LD)),
    "log(close - open)": lambda b: log((b.close - b.open).astype(LD)),
    "log(volume, neutral=-3)": lambda b: log(b.volume.astype(LD), -3.0),
    "sign(close - open)": lambda b: np.sign(b.close - b.open),
    "where(close > open, high, low)": lambda b: np.where(b.close > b.open, b.high, b.low),
    "where(volume, 1, -1)": lambda b: np.where(np.isnan(b.volume), np.nan, np.where(b.volume != 0, 1.0, -1.0)),
    "clip(volume, 5, 20)": lambda b: np.clip(b.volume, 5, 20),
    "min(open, close)": lambda b: np.minimum(b.open, b.close),
    "max(open, close)": lambda b: np.maximum(b.open, b.close),
    "close <= open": lambda b: np.where(np.isnan(b.close), np.nan, b.close <= b.open),
    "close == lag(close, 1)": lambda b: np.where(
        np.isnan(b.close + lag(b.close, 1)), np.nan, b.close == lag(b.close, 1)
    ),
    "close - 2 * open": lambda b: b.close - 2 * b.open,
    "-close": lambda b: -b.close,
    "close / lag(close, 1)": lambda b: ratio(b.close, lag(b.close, 1), TINY * b.close.astype(LD), 0.0),
    "ratio(close - low, high - low, neutral=0.25)": lambda b: ratio(
        b.close - b.low, b.high - b.low, TINY * b.close.astype(LD), 0.25
    ),
    "volume / lag(volume, 1)": lambda b: ratio(b.volume, lag(b.volume, 1), 0.0, 0.0),
    "1 / close": lambda b: 1 / b.close.astype(LD),
    "(close / open) / (volume / lag(volume, 1) - 1)": lambda b: ratio(
        ratio(b.close, b.open, TINY * b.close.astype(LD), 0.0),
        ratio(b.volume, lag(b.volume, 1), 0.0, 0.0).astype(np.float64) - 1,
        TINY,
        0.0,
    ),
}


@pytest.mark.parametrize("text", ELEMENTWISE)
def test_elementwise(text):
    """Within an ulp or two of the value; a null operand gives null."""
    fs = qf.FeatureSet([f"x = {text}"])
    for series in SERIES:
        if series == "huge_jumps" and text == "close / lag(close, 1)":
            continue
        for holes in (False, True):
            bars = bars_of(series, holes)
            found = qf.compute(table_of(bars), fs, on_bad="null")["x"]
            with np.errstate(all="ignore"):
                want = np.asarray(ELEMENTWISE[text](bars), np.float64)
            size = np.maximum(np.abs(want), 1.0 if "log" in text else 0.0)
            assert_close(want, found, 2 * EPS * size.astype(LD), f"{text} on {series}{' with holes' * holes}")


# --- completeness -------------------------------------------------------------------------------------------


def test_registry_and_oracles_and_tolerances_agree():
    ids = set(registered())
    assert set(ORACLES) == ids, f"catalogue and tests/oracles.py differ in {sorted(set(ORACLES) ^ ids)}"
    assert set(TOLERANCES) == ids, f"catalogue and tests/tolerances.py differ in {sorted(set(TOLERANCES) ^ ids)}"
    for name, rows in catalog().items():
        outputs = {row["output"] for row in rows} if len(rows) > 1 else {""}
        assert set(ORACLES[name](bars_of("random_walk", False))) == outputs, name


def test_primitives_have_oracles_and_tolerances():
    assert set(PRIMITIVES) == set(PRIMITIVE_TOLERANCES)
    tested = " ".join(ELEMENTWISE)
    for function in FUNCTIONS | {"min", "max"}:
        assert f"{function}(" in tested, function


def test_every_parameter_has_a_variant():
    """A variant with each parameter away from its default goes through every contract test."""
    for name in registered():
        for parameter, default in defaults(name).items():
            values = [params[parameter] for other, params in VARIANTS if other == name and parameter in params]
            assert any(value != default for value in values), f"no variant of {name} sets {parameter}"
    assert {name for name, _ in VARIANTS} <= set(registered()), "a variant of an indicator that is not registered"


def test_docs_have_a_row_for_every_output_and_no_other():
    if not FEATURES_PAGE.exists():
        pytest.skip("docs/features.md is not there: `make docs` writes it")
    text = FEATURES_PAGE.read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+)[^`]*` \| `(\w+)` \|", text, flags=re.MULTILINE)
    assert table == [(row["id"], row["output"]) for row in qf.catalog().to_pylist()]
    formulas = re.findall(r"^\| `(\w+)` \| `", text.split("## Formulas")[1], flags=re.MULTILINE)
    assert formulas == list(registered())
    for name in SHIPPED:
        assert qf.FeatureSet.load(name).fingerprint in text, f"docs/features.md has another fingerprint of {name}"
