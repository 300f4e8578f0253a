"""Recent klines by REST pages: every closed bar once, none that is open, and the rate limit heeded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from fetch_server import Fault, Server, Site, klines
from qtfeat.bars import BAR_SCHEMA, KLINE_SCHEMA, fetch_recent, read_bars, recent_klines
from qtfeat.bars.http import Client, Policy
from qtfeat.bars.simulate import simulate
from qtfeat.cli.app import app
from qtfeat.errors import FetchError, SchemaError

HOUR = 3_600_000
BARS = 3_200
START = datetime(2024, 11, 1, tzinfo=UTC)
END = START + timedelta(hours=BARS)
QUICK = Policy(timeout=0.5, attempts=3, backoff=0.01, longest_wait=2.0)


class Exchange:
    """The klines endpoint as documented: pages, limits, times included at both ends; its clock can be set."""

    def __init__(self) -> None:
        self.now = END - timedelta(minutes=20)
        self.weight = 2
        self.pages = {"api/v3/klines": 1_000, "fapi/v1/klines": 1_500}
        self.rows = {}
        table = simulate(symbols=2, bars=BARS, start=START, seed=8)
        for symbol, name in (("BTCUSDT", "SIM000"), ("ETHUSDT", "SIM001")):
            self.rows[symbol] = klines(table.filter(pa.compute.equal(table.column("symbol"), name)), HOUR)
        self.queries: list[dict[str, str]] = []

    def __call__(self, path: str, query: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        self.queries.append(query)
        stamp = self.now.timestamp()
        headers = {"Date": formatdate(stamp, usegmt=True), "X-MBX-USED-WEIGHT-1M": str(self.weight)}
        if query["symbol"] not in self.rows:
            return 400, headers, {"code": -1121, "msg": "Invalid symbol."}
        limit = int(query.get("limit", 500))
        if not 1 <= limit <= self.pages[path]:
            return 400, headers, {"code": -1130, "msg": "Data sent for parameter 'limit' is not valid."}
        start, end = int(query.get("startTime", 0)), int(query.get("endTime", 2**62))
        rows = [r for r in self.rows[query["symbol"]] if start <= r[0] <= end and r[0] <= stamp * 1_000]
        return 200, headers, rows[:limit] if "startTime" in query else rows[-limit:]

    def closed(self, symbol: str = "BTCUSDT") -> list[list[Any]]:
        return [row for row in self.rows[symbol] if row[6] < self.now.timestamp() * 1_000]


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def server(exchange: Exchange) -> Iterator[Server]:
    with Server(Site(api=exchange)) as running:
        yield running


def opened(table: pa.Table) -> list[int]:
    return np.asarray(table.column("open_time").cast(pa.int64())).tolist()


@pytest.mark.parametrize("market", ["spot", "um"])
@pytest.mark.parametrize("bars", [1, 2, 999, 1_000, 1_001, 2_345, 10_000])
def test_the_last_closed_bars(server: Server, exchange: Exchange, bars: int, market: str) -> None:
    table = recent_klines("BTCUSDT", "1h", bars, base_url=server.url, market=market)
    wanted = exchange.closed()[-bars:]
    assert table.schema == BAR_SCHEMA
    assert opened(table) == [row[0] for row in wanted]
    assert table.column("close").to_pylist() == [float(row[4]) for row in wanted]
    page = 1_000 if market == "spot" else 1_500
    assert len(exchange.queries) <= -(-min(bars + 1, BARS) // page) + 1


def test_several_symbols_and_all_columns(server: Server, exchange: Exchange) -> None:
    table = recent_klines(["ethusdt", "BTCUSDT"], "1h", 5, base_url=server.url, kline_columns=True)
    assert table.schema == KLINE_SCHEMA
    assert table.column("symbol").to_pylist() == ["BTCUSDT"] * 5 + ["ETHUSDT"] * 5
    row = exchange.closed("ETHUSDT")[-1]
    last = table.slice(9).to_pylist()[0]
    assert last["close_time"].timestamp() == pytest.approx(row[6] / 1_000)
    assert (last["count"], last["quote_volume"]) == (row[8], float(row[7]))


@pytest.mark.parametrize(("seconds", "closed"), [(-1, 0), (0, 0), (1, 1), (2, 1)])
def test_a_bar_counts_when_it_has_closed_by_the_server(
    server: Server, exchange: Exchange, seconds: int, closed: int
) -> None:
    edge = START + timedelta(hours=100)
    exchange.now = edge + timedelta(seconds=seconds)
    table = recent_klines("BTCUSDT", "1h", 10, base_url=server.url)
    assert opened(table)[-1] == edge.timestamp() * 1_000 + (closed - 2) * HOUR


def test_since_and_until_by_pages(server: Server, exchange: Exchange) -> None:
    since, until = START + timedelta(hours=17, minutes=1), START + timedelta(hours=2_900)
    table = recent_klines("BTCUSDT", "1h", since=since.replace(tzinfo=None), until=until, base_url=server.url)
    assert opened(table) == [row[0] for row in exchange.rows["BTCUSDT"][18:2_900]]
    assert len(exchange.queries) == 3
    everything = recent_klines("BTCUSDT", "1h", since=START, base_url=server.url)
    assert opened(everything) == [row[0] for row in exchange.closed()]
    assert recent_klines("BTCUSDT", "1h", since=END, base_url=server.url).num_rows == 0


def test_rate_limit(server: Server, exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(Client, "pause", lambda self, seconds: pauses.append(seconds))
    recent_klines("BTCUSDT", "1h", 5, base_url=server.url)
    assert pauses == []
    exchange.weight = 4_900
    exchange.now = exchange.now.replace(second=45)
    recent_klines("BTCUSDT", "1h", 5, base_url=server.url)
    # to the next minute of the server's clock, and a second
    assert pauses == [16.0]
    monkeypatch.undo()
    server.site.faults["api/v3/klines"] = [Fault(429, (("Retry-After", "1"),))]
    exchange.weight = 2
    began = time.monotonic()
    assert recent_klines("BTCUSDT", "1h", 5, base_url=server.url).num_rows == 5
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("fault", [Fault(500), Fault(cut=0.5), Fault(reset=True), Fault(stall=0.8)])
def test_faults_are_survived(server: Server, exchange: Exchange, fault: Fault) -> None:
    server.site.etag = False
    server.site.faults["api/v3/klines"] = [fault]
    table = recent_klines("BTCUSDT", "1h", 1_500, base_url=server.url, policy=QUICK)
    assert opened(table) == [row[0] for row in exchange.closed()[-1_500:]]


ANSWERS = {
    "not a list of klines": {"code": 0},
    "not a list of klines in order": [[1, "1"]],
    "column 'open' holds no numbers": [[1_700_000_000_000, "x", *["1"] * 4, 1_700_003_599_999, "1", 1, "1", "1", "0"]],
}


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_that_is_no_klines(text: str) -> None:
    with Server(Site(api=lambda *_: (200, {}, ANSWERS[text]))) as odd, pytest.raises(FetchError, match=text):
        recent_klines("BTCUSDT", "1h", 5, base_url=odd.url, policy=QUICK)


def test_refusals(server: Server) -> None:
    with pytest.raises(FetchError, match=r"HTTP 400.*Invalid symbol") as caught:
        recent_klines("NOPE", "1h", 5, base_url=server.url)
    assert caught.value.status == 400
    with pytest.raises(SchemaError, match="bars must be at least 1"):
        recent_klines("BTCUSDT", "1h", 0, base_url=server.url)
    with pytest.raises(SchemaError, match="interval must be one of"):
        recent_klines("BTCUSDT", "7h", 5, base_url=server.url)


# --- files


def test_files_by_month_are_continued(server: Server, exchange: Exchange, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"base_url": server.url, "policy": QUICK, "workers": 2}
    symbols = ["BTCUSDT", "ETHUSDT"]
    exchange.now = START + timedelta(days=40, minutes=30)
    first = fetch_recent(tmp_path, symbols, "1h", "2024-11", today=date(2024, 12, 11), **settings)
    assert first.ok
    folder = "data/spot/rest/klines/{0}/1h/{0}-1h-2024-{1}.parquet"
    assert first.fetched == [folder.format(s, m) for s in symbols for m in ("11", "12")]
    table, report = read_bars(tmp_path)
    assert report.ok
    assert table.num_rows == 2 * 40 * 24
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.parquet")}
    again = fetch_recent(tmp_path, symbols, "1h", "2024-11", today=date(2024, 12, 11), **settings)
    assert (again.fetched, len(again.kept)) == ([], 4)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.parquet")} == before
    exchange.now = END - timedelta(minutes=20)
    exchange.queries.clear()
    later = fetch_recent(tmp_path, symbols, "1h", "2024-12", today=date(2025, 3, 15), **settings)
    assert len(later.fetched) == 2 * 4
    # continued after the last bar, not from the start of the month
    assert min(int(q["startTime"]) for q in exchange.queries) > (START + timedelta(days=39)).timestamp() * 1_000
    table, report = read_bars(tmp_path)
    assert report.ok, str(report)
    for symbol in symbols:
        own = table.filter(pa.compute.equal(table.column("symbol"), symbol))
        assert opened(own) == [row[0] for row in exchange.closed(symbol)]
    assert pq.read_schema(next(tmp_path.rglob("*.parquet"))).names == KLINE_SCHEMA.names


def test_a_file_that_begins_later_is_completed(server: Server, exchange: Exchange, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"base_url": server.url, "today": date(2025, 3, 15)}
    fetch_recent(tmp_path, ["BTCUSDT"], "1h", "2024-12-20", "2024-12-22", **settings)
    fetch_recent(tmp_path, ["BTCUSDT"], "1h", "2024-12", "2024-12", **settings)
    table, report = read_bars(tmp_path)
    assert report.ok
    assert table.num_rows == 31 * 24


def test_one_symbol_that_fails_does_not_stop_the_others(server: Server, tmp_path: Path) -> None:
    base = ("--from", "2024-12", "--to", "2024-12", "--source", "rest", "--base-url", server.url, "-o", str(tmp_path))
    done = CliRunner().invoke(app, ["fetch", "binance", "-s", "NOPE,BTCUSDT", *base], env={"COLUMNS": "200"})
    assert done.exit_code == 4
    assert "Invalid symbol" in done.output
    assert read_bars(tmp_path)[0].num_rows == 31 * 24


def test_a_damaged_file_is_named_not_overwritten(server: Server, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"base_url": server.url, "today": date(2025, 3, 15)}
    (path,) = fetch_recent(tmp_path, ["BTCUSDT"], "1h", "2024-12", "2024-12", **settings).fetched
    (tmp_path / path).write_bytes(b"PAR1 no more")
    report = fetch_recent(tmp_path, ["BTCUSDT"], "1h", "2024-12", "2024-12", **settings)
    assert report.failed[0][0] == path
    assert (tmp_path / path).read_bytes() == b"PAR1 no more"
