"""Bars from the exchange's REST pages: history first, then each bar once it has closed, holes filled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import numpy as np
import pyarrow as pa
import pytest

from fetch_server import Server, Site, klines
from qtfeat.bars.simulate import simulate
from qtfeat.errors import SchemaError
from qtfeat.serve import Engine
from qtfeat.serve.feed import Poller, bars_of, prepare
from qtfeat.serve.metrics import Metrics
from qtfeat.serve.service import Live, Service
from served import BARS, SYMBOLS, production, serving, symbols

HOUR_NS = 3_600_000_000_000
START = 700


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now_ns):
        self.now_ns = now_ns

    def __call__(self):
        return self.now_ns / 1e9


@pytest.fixture
def exchange(models, table):
    """A service, its clock, and a function that fetches what has closed by that clock."""
    opened = table["open_time"].cast(pa.int64()).to_numpy()[:BARS] * 1_000_000
    clock = Clock(int(opened[START]) + 1_000_000_000)
    model = production(models)
    service = Service(Engine(model, symbols(), interval="1h"), Live(model), Metrics(), clock=clock)
    asked = []

    def fetch(bars):
        asked.append(bars)
        closed = int(np.searchsorted(opened + HOUR_NS, clock.now_ns, side="right"))
        return pa.concat_tables(
            [table.slice(k * BARS + max(0, closed - bars), min(bars, closed)) for k in range(SYMBOLS)]
        )

    return service, clock, fetch, asked


def test_history_first_then_each_bar_and_holes_are_filled(exchange, models, table):
    service, clock, fetch, asked = exchange
    poller = Poller(service, fetch)
    poller.start()
    poller.stop()
    assert all(service.ready().values())
    assert not service.engine.signals
    assert poller.once() == 0
    clock.now_ns += HOUR_NS
    assert poller.once() == SYMBOLS
    assert poller.once() == 0
    clock.now_ns += 7 * HOUR_NS
    assert poller.once() == 7 * SYMBOLS
    assert service.engine.counters["gap"] == 0
    assert asked[-1] <= 10
    # The signals are those of the same bars in one piece.
    model = production(models)
    other = Engine(model, symbols(), interval="1h")
    rows = pa.concat_tables([table.slice(k * BARS + START - asked[0], asked[0]) for k in range(SYMBOLS)])
    other.warm_up(rows)
    tail = Service(other, Live(model), Metrics(), clock=clock)
    tail.take(bars_of(pa.concat_tables([table.slice(k * BARS + START, 8) for k in range(SYMBOLS)])))
    assert list(tail.recent) == list(service.recent)
    assert len(tail.recent) == 8 * SYMBOLS


def test_what_is_still_open_is_not_taken(exchange, table):
    service, clock, _, _ = exchange
    out = service.take(bars_of(table.slice(START, 1)))
    assert [why for _, why in out.refused] == ["forming: the bar has not closed yet"]
    clock.now_ns += HOUR_NS
    assert len(service.take(bars_of(table.slice(START, 1))).signals) == 1


def test_pages_and_streams_exclude_each_other():
    with pytest.raises(SchemaError, match="not both"):
        prepare("1h", poll=("spot", None), streams=lambda service: None)


def test_a_server_warms_up_from_the_exchange(models):
    hours, now = 900, datetime.now(UTC)
    start = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours)
    table = simulate(SYMBOLS, hours + 1, 4, start=start)
    rows = {n: klines(table.filter(pa.compute.equal(table["symbol"], n)), 3_600_000) for n in symbols()}

    def pages(path, query):
        assert path == "api/v3/klines"
        first, last = int(query.get("startTime", 0)), int(query.get("endTime", 2**62))
        found = [row for row in rows[query["symbol"]] if first <= row[0] <= last]
        limit = int(query.get("limit", 500))
        headers = {"Date": formatdate(now.timestamp(), usegmt=True)}
        return 200, headers, found[:limit] if "startTime" in query else found[-limit:]

    with Server(Site(api=pages)) as exchange, serving(models, "--poll", "--poll-url", exchange.url) as one:
        assert one.client.get("/ready")[0] == 200
        state = one.client.get("/v1/state")[1]
        last = int((start + timedelta(hours=hours - 1)).timestamp()) * 10**9
        assert {row["time_ns"] for row in state["symbols"]} == {last}
        assert any(line["event"] == "warmed up" and line["source"] == "REST" for line in one.lines())
        assert one.end() == 0
