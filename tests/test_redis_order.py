"""Messages of several streams in one order, and the bars of a moment as one cycle."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qtfeat.errors import SnapshotError
from qtfeat.serve.ingest import ClosedBar
from qtfeat.streams import Entry
from qtfeat.streams.cycles import Cycles
from qtfeat.streams.order import Order, place

HOUR = 3_600_000


def bar(symbol, hour):
    return ClosedBar(symbol, hour * HOUR * 10**6, (1.0, 1.0, 1.0, 1.0, 1.0))


# --- several streams in one order -------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=80, unique=True),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), max_size=120),
    st.integers(1, 5),
)
@example([("a", 5), ("b", 1), ("c", 5)], [("b", 4), ("a", 1)], 1)
def test_messages_come_in_one_order_however_they_are_read(messages, reads, most):
    """Streams that grow only at the end; a read takes the oldest not read, and may be full or not."""
    # At the end each is read to its end: a may wait for b and b for c, so that takes three rounds.
    queues = {
        stream: sorted((Entry(s, f"5-{q}", {}) for s, q in messages if s == stream), key=place) for stream in "abc"
    }
    order, out = Order("abc", most), []
    for stream, count in [*reads, *((stream, 100) for stream in "abc" * 3)]:
        if stream not in order.readable():
            continue
        some, queues[stream] = queues[stream][:count], queues[stream][count:]
        # What is not there yet comes in a later millisecond than the moment of the read.
        order.read(stream, some, full=bool(queues[stream]) or count < 100, moment_ms=5)
        out += order.release()
        assert all(order.holds(one.stream, one.id) == (one not in out) for one in some)
    assert len(order) == 0
    assert out == sorted((Entry(s, f"5-{seq}", {}) for s, seq in messages), key=place)


def test_what_was_left_pending_waits_for_its_turn():
    order = Order("ab", 2)
    order.add([Entry("b", f"{ms}-0", {}) for ms in (3, 4, 9)])
    order.add([Entry("b", "9-0", {})])
    assert (order.release(), order.readable(), len(order)) == ([], ["a"], 3)
    order.read("a", [Entry("a", "3-1", {})], full=True, moment_ms=10)
    assert order.release() == []
    order.read("b", [], full=False, moment_ms=10)
    assert [one.id for one in order.release()] == ["3-0", "3-1"]
    order.read("a", [], full=False, moment_ms=9)
    assert [one.id for one in order.release()] == ["4-0", "9-0"]


# --- cycles -----------------------------------------------------------------------------------------------------------


def drained(cycles):
    out = []
    while (one := cycles.pop()) is not None:
        out.append([(b.symbol, b.time_ns // 10**6 // HOUR) for b in one])
    return out


def test_a_cycle_is_complete_or_has_waited():
    one = Cycles(2, wait=2.0)
    one.add(bar("A", 1), 1000)
    assert drained(one) == []
    one.add(bar("B", 1), 1500)
    assert drained(one) == [[("A", 1), ("B", 1)]]
    one.add(bar("A", 2), 2000)
    one.advance(4000)
    assert drained(one) == []
    assert one.waiting
    one.advance(4001)
    assert drained(one) == [[("A", 2)]]
    one.add(bar("B", 2), 5000)
    assert drained(one) == [[("B", 2)]]


def test_a_complete_cycle_waits_for_an_older_one():
    one = Cycles(2, wait=2.0)
    one.add(bar("A", 1), 0)
    one.add(bar("A", 2), 10)
    one.add(bar("B", 2), 20)
    assert drained(one) == []
    one.add(bar("B", 1), 30)
    assert drained(one) == [[("A", 1), ("B", 1)], [("A", 2), ("B", 2)]]


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, 6), st.integers(0, 900)), max_size=60),
    st.integers(0, 60),
)
def test_cycles_lose_nothing_and_a_state_changes_nothing(moves, cut):
    plain, first, ms, clock = Cycles(3, 1.0), Cycles(3, 1.0), 0, []
    for _, _, step in moves:
        ms += step
        clock.append(ms)
    out = []
    for (symbol, hour, _), at in zip(moves, clock, strict=True):
        plain.advance(at)
        plain.add(bar(symbol, hour), at)
    for k, ((symbol, hour, _), at) in enumerate(zip(moves, clock, strict=True)):
        if k == cut:
            again = Cycles(3, 1.0)
            again.restore(json.loads(json.dumps(first.state())))
            first = again
        first.advance(at)
        first.add(bar(symbol, hour), at)
        out += drained(first)
    wanted = drained(plain)
    assert out == wanted
    plain.advance(ms + 10_000)
    wanted += drained(plain)
    assert sorted(b for cycle in wanted for b in cycle) == sorted((s, h) for s, h, _ in moves)


def test_a_damaged_state_of_cycles_is_refused():
    for state in ({}, {"open": [[1, []]], "closed": [], "last": None}, {"open": 3, "closed": [], "last": None}):
        with pytest.raises(SnapshotError):
            Cycles(1).restore(state)
