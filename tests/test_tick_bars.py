"""Bars from ticks one by one: the bits of the batch, exact edges, and every tick that does not count is counted."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtfeat.bars import read_trades, time_bars
from qtfeat.errors import SchemaError, SnapshotError
from qtfeat.streams.seen import Seen
from qtfeat.streams.tick_bars import TickBars

DATA = Path(os.environ.get("QTFEAT_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))
MINUTE, SECOND = 60_000, 1_000
START = 1_700_000_040_000  # a whole minute
FIVE = ["open", "high", "low", "close", "volume"]


def batch(ticks, interval):
    """Bars of `qtfeat.bars.time_bars` by symbol and open time in ns."""
    ordered = sorted(ticks, key=lambda tick: (tick[0], tick[1]))
    columns = list(zip(*ordered, strict=True))
    trades = pa.table(
        {
            "symbol": pa.array(columns[0]),
            "time": pa.array(np.array(columns[1], dtype="datetime64[ns]").astype("datetime64[ms]")),
            "price": pa.array(columns[2]),
            "amount": pa.array(columns[3]),
        }
    )
    return {
        (row["symbol"], round(row["open_time"].timestamp()) * 10**9): [row[name] for name in FIVE]
        for row in time_bars(trades, interval).to_pylist()
    }


def stream(ticks, bars):
    return [bar for tick in ticks for bar in bars.add(*tick)]


def by_key(found):
    keys = [(symbol, at) for symbol, at, _ in found]
    assert len(set(keys)) == len(keys)
    return {(symbol, at): values for symbol, at, values in found}


ticks_of_some_minutes = st.lists(
    st.tuples(
        st.sampled_from(["A", "B", "C"]),
        # Near edges more often than anywhere else, and not in whole milliseconds.
        st.builds(
            lambda minute, ms, ns: (START + minute * MINUTE + ms) * 10**6 + ns,
            st.integers(0, 9),
            st.sampled_from([0, 1, MINUTE - 1]) | st.integers(0, MINUTE - 1),
            st.integers(0, 999_999),
        ),
        st.floats(1e-8, 1e8),
        st.floats(1e-8, 1e8),
    ),
    min_size=1,
    max_size=120,
)


@settings(deadline=None, max_examples=150)
@given(ticks_of_some_minutes, st.integers(0, 120))
def test_bars_have_the_bits_of_the_batch(ticks, cut):
    ticks.sort(key=lambda tick: tick[1])
    one = TickBars("1m")
    found = stream(ticks[:cut], one)
    # A state that went through JSON, in another process, changes nothing.
    other = TickBars("1m")
    other.restore(json.loads(json.dumps(one.state())))
    found = by_key(found + stream(ticks[cut:], other))
    expected = batch(ticks, "1m")
    last = ticks[-1][1]
    partial = {key for key in expected if key[1] < ticks[0][1] // 10**6 * 10**6}
    still_open = {key for key in expected if max(t for s, t, *_ in ticks if s == key[0]) < key[1] + MINUTE * 10**6}
    waiting = {key for key in still_open if key[1] // 10**6 + MINUTE + 2 * SECOND > last // 10**6}
    assert found == {key: bar for key, bar in expected.items() if key not in partial | waiting}
    assert other.counts["late"] == other.counts["duplicate"] == 0
    assert other.counts["partial"] == len(partial - waiting)
    assert other.counts["ticks"] == len(ticks)


def test_a_bar_has_what_lies_from_its_start_to_just_before_its_end():
    one = TickBars("1m")
    at = START * 10**6
    edges = [at, at + 59_999_999_999, at + 60_000_000_000, at + 120_000_000_000]
    found = stream([("A", t, 1.0 + k, 1.0) for k, t in enumerate(edges)], one)
    assert found == [("A", at, [1.0, 2.0, 1.0, 2.0, 2.0]), ("A", at + 60 * 10**9, [3.0, 3.0, 3.0, 3.0, 1.0])]


def test_weeks_open_on_mondays():
    one = TickBars("1w")
    monday = np.datetime64("2024-03-04", "ns").astype(int)
    (bar,) = stream([("A", int(monday) + k * 24 * 3600 * 10**9, 1.0, 1.0) for k in range(8)], one)
    assert bar == ("A", int(monday), [1.0, 1.0, 1.0, 1.0, 7.0])


def test_ticks_out_of_order_inside_their_bar_make_the_same_bar():
    rng = random.Random(3)
    inside = [("A", START * 10**6 + rng.randrange(60 * 10**9), rng.uniform(1, 2), rng.random()) for _ in range(500)]
    inside.append(("A", START * 10**6, 1.5, 1.0))
    closing = ("A", (START + MINUTE) * 10**6, 1.0, 1.0)
    first = [("A", (START - 1) * 10**6, 1.0, 1.0)]
    (want,) = stream([*first, *sorted(inside, key=lambda tick: tick[1]), closing], TickBars("1m"))
    for _ in range(5):
        rng.shuffle(inside)
        assert stream([*first, *inside, closing], TickBars("1m")) == [want]


def test_late_and_repeated_ticks_are_counted_and_change_nothing():
    def at(ms):
        return (START + ms) * 10**6

    one = TickBars("1m")
    ticks = [
        ("A", at(0), 1.0, 1.0, "7"),
        ("A", at(1), 9.0, 1.0, "7"),  # the id again
        ("A", at(MINUTE), 2.0, 1.0, "8"),  # closes the first bar
        ("A", at(MINUTE - 1), 9.0, 1.0, "9"),  # late
        ("B", at(MINUTE + 1), 1.0, 1.0, "7"),  # another symbol may have the id
        ("A", at(2 * MINUTE), 3.0, 1.0, "8"),  # a closed bar's id says nothing
        ("A", at(4 * MINUTE), 3.0, 1.0, None),
        ("A", at(3 * MINUTE), 9.0, 1.0, None),  # late, though no bar was there
    ]
    found = stream(ticks, one)
    assert [(symbol, values[4], values[1]) for symbol, _, values in found] == [
        ("A", 1.0, 1.0),
        ("A", 1.0, 2.0),
        ("B", 1.0, 1.0),
        ("A", 1.0, 3.0),
    ]
    assert one.counts == {"ticks": 8, "late": 2, "duplicate": 1}


def test_a_quiet_symbol_waits_for_its_grace_and_no_longer():
    one = TickBars("1m", grace=2.0)
    assert one.add("A", START * 10**6, 1.0, 1.0) == []
    assert one.add("B", (START + MINUTE + 1_999) * 10**6, 1.0, 1.0) == []
    (bar,) = one.add("B", (START + MINUTE + 2_000) * 10**6, 1.0, 1.0)
    assert bar[:2] == ("A", START * 10**6)


def test_the_bar_in_which_the_stream_began_is_left_out():
    one = TickBars("1m")
    found = stream([("A", (START + 5 + k * MINUTE) * 10**6, 1.0, 1.0) for k in range(4)], one)
    assert [at for _, at, _ in found] == [(START + MINUTE) * 10**6, (START + 2 * MINUTE) * 10**6]
    assert one.counts["partial"] == 1


@pytest.mark.parametrize("interval", ["1m", "5m", "1h"])
def test_recorded_trades(interval):
    if not DATA.is_dir():
        pytest.skip(f"no recorded market data at {DATA}: set QTFEAT_DATA")
    table, _ = read_trades(DATA / "ticks_funding_trades" / "binance_XRPETH_trades_2019-10.parquet")
    table = table.slice(0, 40_000)
    times = table["time"].cast(pa.int64()).to_pylist()
    columns = (table[name].to_pylist() for name in ("price", "amount"))
    ticks = [("X", t * 10**6, price, amount) for t, price, amount in zip(times, *columns, strict=True)]
    found = by_key(stream(ticks, TickBars(interval)))
    expected = batch(ticks, interval)
    keys = sorted(expected)
    assert found == {key: expected[key] for key in keys[1:-1]}
    assert len(found) > 50


@given(st.lists(st.integers(0, 60).map(str) | st.sampled_from(["007", "0", "00", "a", "²", "18446744073709551616"])))
def test_seen_is_a_set(ids):
    one, known = Seen(), set()
    for id_ in ids:
        assert one.add(id_) == (id_ not in known)
        known.add(id_)
    bounds, names = json.loads(json.dumps(one.state()))
    again = Seen(bounds, set(names))
    assert not any(again.add(id_) for id_ in known)


def test_bad_states_and_settings_are_refused():
    one = TickBars("1m")
    one.add("A", START * 10**6, 1.0, 1.0)
    good = one.state()
    cut = {**good, "open": {"A": [START, "AA==", *good["open"]["A"][2:]]}}
    for state in ({}, cut, {**good, "open": {"A": []}}, {**good, "width": 1}, {**good, "counts": 3}):
        with pytest.raises(SnapshotError):
            TickBars("1m").restore(state)
    for interval, grace in ((1, 2.0), ("1m", -1.0), ("1x", 2.0)):
        with pytest.raises(SchemaError):
            TickBars(interval, grace)
