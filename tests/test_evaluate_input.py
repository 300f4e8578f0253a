"""Evaluation of degenerate, empty and bad input: reasons and typed errors, and nothing infinite."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from outofsample import change, made_up
from qtfeat.errors import SchemaError
from qtfeat.train.evaluate import Costs, SignalFilter, evaluate


def _figures(value, path=""):
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _figures(part, f"{path}.{name}")
    elif isinstance(value, list):
        for part in value:
            yield from _figures(part, path)
    else:
        yield path, value


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("symbols", [1, 6])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda o: o.take(np.zeros(len(o), dtype=bool)),
        lambda o: o.take(o.t == o.t[0]),
        lambda o: o.take(np.arange(len(o)) == 0),
        lambda o: o.take(o.fold != 2),
        lambda o: change(o, score=np.zeros(len(o))),
        lambda o: change(o, score=np.full(len(o), 0.1)),
        lambda o: change(o, value=np.zeros(len(o)), ret=np.zeros(len(o)), side=np.ones(len(o), dtype=np.int8)),
        lambda o: change(o, value=np.full(len(o), 0.1), side=np.full(len(o), 2, dtype=np.int8)),
        lambda o: change(o, p=np.tile([0.0, 1.0, 0.0], (len(o), 1))),
        lambda o: change(o, p=np.eye(3)[o.side]),
        lambda o: change(o, ret=np.full(len(o), np.nan)),
        lambda o: change(o, interval_seconds=float("nan")),
        lambda o: change(o, horizon=0),
        lambda o: change(o, horizon=10**6),
        lambda o: change(o, value=o.value * 1e300, score=o.score * -1e308),
        lambda o: change(o, value=o.value * 1e-300, score=o.score * 1e-310),
        lambda o: change(o, rsi=np.full(len(o), np.nan)),
    ],
)
def test_degenerate_input_gives_reasons_and_nothing_infinite(spoil, symbols):
    result = evaluate(spoil(made_up(symbols=symbols, stamps=60)))
    for path, value in _figures(result.as_dict(curve=True)):
        assert not isinstance(value, float) or math.isfinite(value), path
    json.dumps(result.as_dict(), allow_nan=False)
    for part in (result.pooled, *(f.scores for f in result.folds)):
        figures = part.forecast
        missing = [math.isnan(v) for v in (figures.r2, figures.rank_ic, figures.ic.t, figures.hit_rate)]
        named = [n in part.reasons for n in ("forecast.r2", "forecast.rank_ic", "forecast.ic.t", "forecast.hit_rate")]
        assert missing == named
        assert all(part.reasons.values())
    evidence = result.evidence()
    assert not any(isinstance(v, float) and math.isinf(v) for v in evidence.values())


@pytest.mark.parametrize(
    ("column", "name", "value"),
    [
        ("value", "value", np.nan),
        ("score", "score", np.inf),
        ("ret", "ret", -np.inf),
        ("side", "side", -1),
        ("symbol", "symbol", 99),
        ("t", "t", np.datetime64("NaT")),
    ],
)
def test_bad_rows_are_named(column, name, value):
    oos = made_up(stamps=20)
    bad = getattr(oos, column).copy()
    bad[7] = value
    with pytest.raises(SchemaError, match=rf"row 7: {name} = ") as caught:
        evaluate(change(oos, **{column: bad}))
    assert (caught.value.row, caught.value.column) == (7, name)


@pytest.mark.parametrize(("row", "text"), [([0.5, 0.6, -0.1], r"p\[SELL\]|p\[BUY\]"), ([0.5, 0.5, 0.5], "sum")])
def test_bad_probabilities_are_named(row, text):
    oos = made_up(stamps=20)
    p = oos.p.copy()
    p[3] = row
    with pytest.raises(SchemaError, match=f"row 3: .*({text})"):
        evaluate(change(oos, p=p))


@pytest.mark.parametrize("make", [lambda: Costs(fee=-1.0), lambda: Costs(slippage=float("nan"))])
def test_bad_costs_are_refused(make):
    with pytest.raises(SchemaError, match="must be at least 0"):
        make()


@pytest.mark.parametrize("value", ["x", "0.001", None, True, (0.1,), 1j])
@pytest.mark.parametrize("name", ["fee", "slippage"])
def test_costs_are_numbers(name, value):
    with pytest.raises(SchemaError, match=f"{name} must be a number") as caught:
        Costs(**{name: value})
    assert caught.value.column == name
    assert Costs(np.float32(0.5), 0).per_side == 0.5


def test_a_prediction_that_is_there_twice_is_refused():
    oos = made_up(symbols=3, stamps=60)
    rows = np.append(np.arange(len(oos)), 7)
    again = oos.take(np.random.default_rng(0).permutation(rows))
    with pytest.raises(SchemaError, match=r"row \d+: .* is in fold \d twice") as caught:
        evaluate(again)
    row = caught.value.row
    seen = [(again.fold[i], again.t[i], again.symbol[i]) for i in range(row + 1)]
    assert seen.count(seen[row]) == 2
    evaluate(replace(again, repeats=True))


def test_bad_filter_is_refused():
    with pytest.raises(SchemaError, match="rule_below"):
        SignalFilter(rule_below=0.9)
