"""The policy: side, confidence, fallback, filter, ranking, size; and files that are none."""

from __future__ import annotations

import math

import pytest

from qtfeat.errors import SchemaError
from qtfeat.serve.paper import Book
from qtfeat.serve.policy import Decision, Opinion, Policy

NAN = float("nan")


def opinion(symbol="A", p=(0.1, 0.2, 0.7), score=0.01, rsi=50.0, volatility=0.01, close=100.0, drift=0.0):
    return Opinion(symbol, p, score, rsi, volatility, close, drift)


def decide(*opinions, policy=None, **kwargs):
    return (policy or Policy()).decide(opinions, **kwargs)


@pytest.mark.parametrize(
    ("p", "side"),
    [
        ((0.24, 0.5, 0.26), "BUY"),  # share exactly 0.52
        ((0.26, 0.5, 0.24), "SELL"),  # share exactly 0.48
        ((0.25, 0.5, 0.25), "HOLD"),
        ((0.0, 1.0, 0.0), "HOLD"),
        ((0.0, 0.9, 0.1), "BUY"),
    ],
)
def test_the_side_is_buys_share_of_buy_and_sell(p, side):
    assert decide(opinion(p=p))[0].side == side


def test_confidence_is_the_largest_probability_and_the_old_one_on_request():
    p = (0.1, 0.3, 0.6)
    assert decide(opinion(p=p))[0].confidence == 0.6
    old = decide(opinion(p=p), policy=Policy({"confidence": {"kind": "legacy"}}))[0]
    assert old.confidence == pytest.approx(abs(0.6 / 0.7 - 0.5) * 2)


def test_below_the_fallback_the_rule_speaks_under_its_own_name():
    flat = (0.33, 0.34, 0.33)
    low, high, mid, none = decide(
        *(opinion(s, flat, rsi=r) for s, r in zip("ABCD", (20.0, 90.0, 50.0, NAN), strict=True))
    )
    assert [d.source for d in (low, high, mid, none)] == ["rule"] * 4
    assert [d.side for d in (low, high, mid, none)] == ["BUY", "SELL", "HOLD", "HOLD"]
    assert (low.confidence, high.confidence, mid.confidence) == (0.6, 0.8, 0.0)
    assert not any(d.selected for d in (low, high, mid, none))


def test_a_rule_may_be_selected_only_where_the_policy_says_so():
    allowed = Policy({"rule": {"selectable": True}})
    assert decide(opinion(p=(0.33, 0.34, 0.33), rsi=10.0), policy=allowed)[0].selected


def test_under_the_filter_a_signal_is_published_and_not_selected():
    found = decide(opinion(p=(0.1, 0.35, 0.55)))[0]
    assert (found.side, found.selected) == ("BUY", False)
    assert "0.58" in found.reason


def test_the_strongest_forecasts_in_their_own_direction_are_selected():
    many = [opinion(f"S{i}", score=i / 100) for i in range(8)] + [opinion("X", (0.7, 0.2, 0.1), score=-0.5)]
    policy = Policy({"select": {"positions": 100}})
    found = decide(*many, policy=policy)
    assert {d.symbol for d in found if d.selected} == {"X", "S7", "S6", "S5", "S4"}
    assert {d.symbol for d in decide(*reversed(many), policy=policy) if d.selected} == {"X", "S7", "S6", "S5", "S4"}


def test_four_positions_are_the_maximum_and_an_open_symbol_is_not_selected_again():
    many = [opinion(f"S{i}", score=i / 100) for i in range(5)]
    assert sum(d.selected for d in decide(*many)) == 4
    held = decide(*many, open_symbols=frozenset({"S4", "Q", "R"}))
    assert [d.symbol for d in held if d.selected] == ["S3"]
    assert held[4].reason == "a position is open"


@pytest.mark.parametrize("volatility", [1e-9, 0.001, 0.01, 0.1, 10.0, 0.0, NAN])
@pytest.mark.parametrize("chance", [0.58, 0.7, 1.0])
def test_leverage_and_notional_stay_in_their_bounds(volatility, chance):
    found = decide(opinion(p=(0.0, 1.0 - chance, chance), volatility=volatility))[0]
    assert found.selected
    assert 5.0 <= found.leverage <= 15.0
    assert 0.0 < found.notional <= 4000.0
    if not volatility > 0.0:
        assert found.leverage == 5.0


def test_stop_and_target_lie_on_their_sides():
    buy, sell = decide(opinion("A"), opinion("B", (0.7, 0.2, 0.1), score=-0.01))
    assert (buy.stop, buy.target) == pytest.approx((98.0, 103.0))
    assert (sell.stop, sell.target) == pytest.approx((102.0, 97.0))


def test_a_stale_or_drifted_model_holds_and_says_why():
    stale = decide(opinion(), halt="the model is stale")[0]
    drifted = decide(opinion(drift=0.3))[0]
    unknown = decide(opinion(drift=NAN))[0]
    assert [(d.side, d.source) for d in (stale, drifted, unknown)] == [("HOLD", "guard")] * 3
    assert "stale" in stale.reason
    assert "drift" in drifted.reason
    assert decide(opinion(p=None))[0].reason.startswith("warm-up")


def test_a_forecast_that_is_none_ranks_last():
    found = decide(*(opinion(f"S{i}", score=NAN if i == 0 else i / 100) for i in range(6)))
    assert not found[0].selected


def test_equal_settings_have_equal_hashes_and_others_have_others(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("format = 1\n[side]\nbuy = 0.52\n")
    assert Policy.load(path).hash == Policy().hash
    path.write_text("format = 1\n[side]\nbuy = 0.53\n")
    assert Policy.load(path).hash != Policy().hash


@pytest.mark.parametrize(
    "text",
    [
        "",
        "format = 2",
        "format = true",
        "format = 1\n[sides]\nbuy = 0.6",
        "format = 1\n[side]\nbye = 0.6",
        "format = 1\n[side]\nbuy = 'x'",
        "format = 1\n[side]\nbuy = true",
        "format = 1\n[side]\nbuy = nan",
        "format = 1\n[side]\nbuy = 0.4",
        "format = 1\n[side]\nsell = inf",
        "format = 1\n[select]\ntop = 2.5",
        "format = 1\n[select]\ntop = -1",
        "format = 1\n[confidence]\nkind = 'other'",
        "format = 1\n[size]\nleverage_min = 20.0",
        "format = 1\nside = 3",
        "format = 1\n[side",
        "format = 1\n" + "#" * 70_000,
    ],
)
def test_a_file_that_is_no_policy_is_refused(tmp_path, text):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(SchemaError):
        Policy.load(path)


def selected(side="BUY"):
    stop, target = (98.0, 103.0) if side == "BUY" else (102.0, 97.0)
    return Decision("A", side, 0.7, "model", "", True, 10.0, 4000.0, stop, target)


@pytest.mark.parametrize(
    ("side", "high", "low", "close", "why", "pnl"),
    [
        ("BUY", 101.0, 97.9, 99.0, "stop", -0.02),
        ("BUY", 103.0, 99.0, 102.0, "target", 0.03),
        ("BUY", 104.0, 97.0, 100.0, "stop", -0.02),  # both in one bar: the stop
        ("SELL", 102.5, 99.0, 100.0, "stop", -0.02),
        ("SELL", 101.0, 96.0, 98.0, "target", 0.03),
    ],
)
def test_a_paper_position_ends_at_its_stop_or_target(side, high, low, close, why, pnl):
    book = Book(5)
    book.signal(selected(side), 0, 100.0)
    closed = book.bar("A", 1, high, low, close)
    assert closed is not None
    assert (closed.why, closed.pnl) == (why, pytest.approx(pnl))
    assert not book.open


def test_a_paper_position_ends_in_time_and_at_an_opposite_signal():
    book = Book(2)
    book.signal(selected(), 0, 100.0)
    assert book.bar("A", 1, 101.0, 99.0, 100.0) is None
    again = Book(2)
    again.restore(book.state())
    closed = again.bar("A", 2, 101.0, 99.0, 101.0)
    assert closed is not None
    assert (closed.why, math.isclose(closed.pnl, 0.01)) == ("time", True)
    book.signal(Decision("A", "HOLD", 0.7, "model", ""), 2, 100.0)
    book.signal(Decision("A", "SELL", 0.7, "rule", ""), 2, 100.0)
    assert book.open
    ended = book.signal(Decision("A", "SELL", 0.7, "model", ""), 2, 100.0)
    assert ended is not None
    assert ended.why == "signal"
