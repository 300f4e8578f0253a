"""What stands around serving from streams: the log, the cycles, the thread, the command."""

from __future__ import annotations

import random
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import redis_serving as rs
from qtfeat import registry
from qtfeat.cli.app import app
from qtfeat.errors import SchemaError, SnapshotError
from qtfeat.serve.feed import prepare
from qtfeat.serve.ingest import ClosedBar
from qtfeat.serve.service import Live
from qtfeat.streams import Consumer, Parser, Settings, parse_streams
from qtfeat.streams.closed_trades import ClosedTrades, read_closed_trades
from qtfeat.streams.follow import Following, following
from qtfeat.streams.log import Log
from qtfeat.streams.publish import fields_of, publish
from redis_server import server  # noqa: F401 - a fixture
from served import NAME, Server, bars_json, market, symbols
from served import publish as publish_model
from test_redis_serving import KLINES, kline, signals, trade

HOUR = 3_600_000


# --- the log ----------------------------------------------------------------------------------------------------------


def test_the_log_gives_back_what_was_written(tmp_path):
    one = Log(tmp_path / "log")
    rows = [["s", k, 0, "bar", ["X", 1, [0.1, 1e-300, k / 3]]] for k in range(7)]
    one.append(10, rows[:3])
    one.append(13, rows[3:])
    assert list(one.read(0)) == list(enumerate(rows, 10))
    assert list(one.read(14)) == list(enumerate(rows, 10))[4:]
    one.close()
    again = Log(tmp_path / "log")
    assert again.rows == 7
    again.clear()
    assert list(again.read(0)) == []
    again.append(17, rows[:1])
    again.close()
    last = Log(tmp_path / "log")
    assert last.rows == 1
    last.close()


def test_a_log_cut_anywhere_in_its_last_line_loses_that_line_only(tmp_path):
    path = tmp_path / "log"
    one = Log(path)
    one.append(0, [["first"]])
    whole = path.stat().st_size
    one.append(1, [["second", 1.5]])
    one.close()
    data = path.read_bytes()
    for cut in range(whole, len(data)):
        path.write_bytes(data[:cut])
        again = Log(path)
        assert list(again.read(0)) == [(0, ["first"])]
        again.append(1, [["third"]])
        assert list(again.read(0)) == [(0, ["first"]), (1, ["third"])]
        again.close()


def test_a_log_damaged_before_its_last_line_is_refused(tmp_path):
    path = tmp_path / "log"
    one = Log(path)
    for k in range(3):
        one.append(k, [[k]])
    one.close()
    data = bytearray(path.read_bytes())
    data[12] ^= 1
    path.write_bytes(data)
    with pytest.raises(SnapshotError, match="damaged before byte"):
        Log(path)


def test_a_log_has_one_server_at_a_time(tmp_path):
    one = Log(tmp_path / "log")
    with pytest.raises(SchemaError, match="another server"):
        Log(tmp_path / "log")
    one.close()
    Log(tmp_path / "log").close()


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    one = Log(tmp_path / "log")
    one.append(0, [["first"]])
    with monkeypatch.context() as patched:
        patched.setattr("qtfeat.streams.log.os.fsync", raise_full)
        with pytest.raises(OSError, match="No space"):
            one.append(1, [["second"]])
    one.append(1, [["third"]])
    assert list(one.read(0)) == [(0, ["first"]), (1, ["third"])]
    one.close()


def raise_full(_):
    raise_full.calls = getattr(raise_full, "calls", 0) + 1
    if raise_full.calls == 1:
        raise OSError(28, "No space left on device")


# --- signals and trades -----------------------------------------------------------------------------------------------


def test_a_signal_is_published_once_whatever_is_sent(server, tmp_path):  # noqa: F811
    client = server.client()
    service = rs.make_service(tmp_path)
    found = [service.engine.on_bar(s, five, t) for s, t, five in rs.market(30)]
    fields = [fields_of(one, service.engine.interval_ns) for one in found]
    rng, added = random.Random(1), 0
    for start in range(0, len(fields), 25):
        for _ in range(rng.randrange(1, 4)):
            added += publish(client, "out", "out:known", fields[max(0, start - 40) : start + 25], 10**6)
    assert added == len(fields)
    assert signals(client, "out") == fields
    assert publish(client, "out", "out:known", fields[:3], 10**6) == 0


def test_closed_trades_are_there_once(tmp_path):
    spec = parse_streams(["trade.closed"])[0]
    parser = Parser(spec)
    rows = [(*parser.parse({k.encode(): str(v).encode() for k, v in trade(i).items()}), 7, i) for i in range(3)]
    one = ClosedTrades(tmp_path)
    assert [one.add(row) for row in [*rows[:2], rows[0]]] == [True, True, False]
    one.flush()
    again = ClosedTrades(tmp_path)
    assert [again.add(row) for row in rows] == [False, False, True]
    again.flush()
    table = read_closed_trades(tmp_path)
    assert table["trade_id"].to_pylist() == ["t0", "t1", "t2"]
    assert table["pnl"].to_pylist() == [i / 7 for i in range(3)]
    (tmp_path / "trades-0.parquet").write_bytes(b"no")
    with pytest.raises(SchemaError, match="trades-0"):
        ClosedTrades(tmp_path)


# --- the thread -------------------------------------------------------------------------------------------------------


def until(what, seconds=20.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_bars_that_come_another_way_are_published_too(server, tmp_path):  # noqa: F811
    service = rs.make_service(tmp_path)
    one = following(server.url, tmp_path)(service)
    one.start()
    service.take([ClosedBar(s, t, tuple(five)) for s, t, five in rs.market(3)])
    until(lambda: server.client().xlen("ai.signals") == 3 * rs.SYMBOLS)
    one.stop()
    assert not one.alive
    text = service.metrics.text().decode()
    assert 'qtfeat_stream_messages_total{what="published"} 18.0' in text
    assert "qtfeat_stream_following 0.0" in text


def test_a_quiet_stream_closes_its_last_cycle(server, tmp_path):  # noqa: F811
    service = rs.make_service(tmp_path)
    one = following(server.url, tmp_path, wait=0.3)(service)
    one.start()
    for each in rs.market(1)[:2]:
        server.client().xadd("market.klines", kline(*each))
    until(lambda: server.client().xlen("ai.signals") == 2)
    until(lambda: 'qtfeat_stream_lag_seconds{stream="market.klines"} 0.0' in service.metrics.text().decode())
    one.stop()


def test_months_are_no_minutes(server, tmp_path):  # noqa: F811
    service = rs.make_service(tmp_path, interval="1m")
    handler = rs.handler(service, tmp_path, KLINES)
    for interval in ("1M", "5m", "1m"):
        server.client().xadd("market.klines", kline("SIM000", 1_700_000_040_000 * 10**6, [1.0] * 5, interval))
    settings = Settings("serve", block=0.02, max_deliveries=1)
    Consumer(server.url, KLINES, handler, settings).run(threading.Event(), until_idle=True)
    handler.close()
    assert (handler.counts["malformed"], handler.counts["other"], handler.counts["bars"]) == (1, 1, 1)


def test_messages_of_a_server_that_is_gone_are_taken_over(server, tmp_path):  # noqa: F811
    client = server.client()
    for each in rs.market(2):
        client.xadd("market.klines", kline(*each))
    client.xgroup_create("market.klines", "serve", id="0")
    client.xreadgroup("serve", "gone", {"market.klines": ">"}, count=7)
    service = rs.make_service(tmp_path)
    one = rs.handler(service, tmp_path, KLINES)
    consumer = Consumer(server.url, KLINES, one, Settings("serve", "here", block=0.05, claim_after=0.001))
    consumer.run(threading.Event(), until_idle=True)
    one.close()
    assert (consumer.counts["claimed"], service.engine.counters["taken"]) == (7, 2 * rs.SYMBOLS)


def test_a_message_that_the_engine_fails_over_is_a_dead_letter_and_the_others_go_on(server, tmp_path):  # noqa: F811
    client, bars = server.client(), rs.market(4)
    ids = [client.xadd("market.klines", kline(*each)) for each in bars]
    service = rs.make_service(tmp_path)
    handler = rs.handler(service, tmp_path, ["market.klines"])
    take = handler._take

    def fails(row):
        if row[4][:2] == [*bars[9][:2]]:
            raise KeyError("as a bug would")
        take(row)

    handler._take = fails
    settings = Settings("serve", "one", block=0.02, retry_after=0.01, max_deliveries=3)
    one = Following(server.url, ["market.klines"], handler, settings)
    one._backoff = (0.001, 0.01)
    one.start()
    until(lambda: client.xlen("market.klines.dead") == 1)
    ((_, letter),) = client.xrange("market.klines.dead")
    assert letter[b"dead.id"] == ids[9]
    handler._take = take
    client.xadd("market.klines", kline(*bars[9]))
    until(lambda: service.engine.counters["taken"] == len(bars))
    one.stop()


def test_another_model_starts_from_a_snapshot(server, tmp_path):  # noqa: F811
    service = rs.make_service(tmp_path, snapshot_every=10**6)
    handler = rs.handler(service, tmp_path, KLINES)
    for each in rs.market(2):
        server.client().xadd("market.klines", kline(*each))
    consumer = Consumer(server.url, KLINES, handler, Settings("serve", block=0.02))
    consumer.run(threading.Event(), until_idle=True)
    assert handler._log.rows == 2 * rs.SYMBOLS
    service.replace(Live(service.live.production))
    handler.after()
    assert handler._log.rows == 0
    handler.close()
    assert rs.make_service(tmp_path).engine.counters["taken"] == 2 * rs.SYMBOLS


def test_history_warms_up_an_engine_that_has_seen_nothing_and_no_other(server, tmp_path):  # noqa: F811
    bars = rs.market(20)
    table = pa.table(
        {
            "symbol": [symbol for symbol, _, _ in bars],
            "open_time": pa.array([t // 10**6 for _, t, _ in bars], pa.timestamp("ms", tz="UTC")),
            **{name: [five[k] for _, _, five in bars] for k, name in enumerate(rs.FIVE)},
        }
    )
    early, late = table.slice(0, 10 * rs.SYMBOLS), table
    for history in (early, late):
        pq.write_table(
            history.sort_by([("symbol", "ascending"), ("open_time", "ascending")]), tmp_path / "bars.parquet"
        )
        service = rs.make_service(tmp_path)
        prepare("1h", warm_up=tmp_path / "bars.parquet", streams=following(server.url, tmp_path))(service)
        for each in bars[10 * rs.SYMBOLS :][: rs.SYMBOLS]:
            server.client().xadd("market.klines", kline(*each))
        until(lambda: service.engine.counters["taken"] >= 11 * rs.SYMBOLS)  # noqa: B023 - called at once
        until(lambda: server.client().xlen("ai.signals") == rs.SYMBOLS)
        # As after kill -9: no end, no snapshot of it.
        one = service.on_end[0].__self__
        one._stop.set()
        one._thread.join()
        one.handler._log.close()


def test_what_cannot_work_is_refused(tmp_path):
    service = rs.make_service(tmp_path)
    with pytest.raises(SchemaError, match="needs --store"):
        following("redis://x", None)
    with pytest.raises(SchemaError, match="not both"):
        prepare("1h", poll=("spot", None), streams=lambda _: None)
    with pytest.raises(SchemaError, match="serving reads streams of klines"):
        rs.handler(service, tmp_path, ["market.funding"])
    service.engine._state = None
    with pytest.raises(SchemaError, match="state file"):
        rs.handler(service, tmp_path, KLINES)


def test_an_exchange_whose_clock_is_ahead_loses_no_bar(server, tmp_path):  # noqa: F811
    """A bar that its ticks have closed is closed, whatever our clock says; but a tick of next year closes nothing."""
    service = rs.make_service(tmp_path, interval="1s")
    handler = rs.handler(service, tmp_path, ["market.tick"], wait=0.01)
    now = time.time_ns() // 10**9 * 10**9

    def tick(seconds):
        fields = {"symbol": "SIM000", "time": str(now // 10**6 + round(seconds * 1000)), "price": "2", "quantity": "1"}
        server.client().xadd("market.tick", fields)

    for seconds in (0, 20, 21.5, 22, 1e7):
        tick(seconds)
    settings = Settings("serve", block=0.02, retry_after=0.01, max_deliveries=2)
    consumer = Consumer(server.url, ["market.tick"], handler, settings)
    consumer.run(threading.Event(), until_idle=True)
    handler.after()
    handler.after()
    assert (service.engine.counters["taken"], consumer.counts["dead"]) == (3, 1)
    handler.close()


# --- the command ------------------------------------------------------------------------------------------------------


def test_redis_needs_a_store(tmp_path):
    args = ["serve", "--name", "x", "--symbols", "A", "--interval", "1h", "--redis", "redis://127.0.0.1:1"]
    done = CliRunner().invoke(app, args, env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 2
    assert "--redis needs --store" in done.output
    done = CliRunner().invoke(app, [*args, "--store", str(tmp_path), "--streams", "a", "--stream-config", "b"])
    assert done.exit_code == 2


def test_the_server_goes_on_after_kill_9(server, tmp_path):  # noqa: F811
    table = market()
    registry.promote(tmp_path, NAME, publish_model(tmp_path, table))
    bars = [{k: str(v) for k, v in each.items() if k in ("symbol", "open_time", *rs.FIVE)} | {"interval": "1h"}
            for each in bars_json(table, 900, 960)]  # fmt: skip
    client, options = server.client(), ("--redis", server.url, "--store", str(tmp_path / "state"))
    one = Server(tmp_path, *options).wait()
    for each in bars[:120]:
        client.xadd("market.klines", each)
    until(lambda: client.xlen("ai.signals") >= 60)
    one.process.kill()
    one.process.wait()
    for each in bars[120:]:
        client.xadd("market.klines", each)
    again = Server(tmp_path, *options).wait()
    until(lambda: client.xlen("ai.signals") >= len(bars))
    status, text = again.client.get("/metrics")
    assert status == 200
    assert "qtfeat_stream_following 1.0" in text
    assert again.client.get("/v1/state")[1]["counters"]["taken"] == len(bars)
    assert again.end() == 0
    assert (tmp_path / "state" / "streams" / "messages.log").read_bytes() == b""
    found = signals(client)
    assert [one["id"] for one in found] == [f"{b['symbol']}:{HOUR}:{b['open_time']}" for b in bars]
    assert len({one["symbol"] for one in found}) == len(symbols())
    assert np.isfinite([float(one["score"]) for one in found[-8:]]).all()
