"""Streams into the lake, against a real server: kill anything at any time, and every message is there once."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
import redis
from typer.testing import CliRunner

from qtfeat.backfill import LakeBusyError
from qtfeat.cli.app import app
from qtfeat.errors import SchemaError
from qtfeat.streams import Consumer, Settings, StreamArchive, StreamSpec, bars_into_lake, parse_streams, read_stream
from redis_server import Server, server  # noqa: F401 - a fixture
from redis_victim import Victim
from sizes import SOAK, scaled

FAST = {"group": "archive", "name": "one", "block": 0.05, "retry_after": 0.02}
START = 1_700_000_000_000


@pytest.fixture(scope="module")
def victim():
    one = Victim()
    yield one
    one.close()


def tick(i, **fields):
    """Message i: 7 symbols, several a second, over some days."""
    return {
        "symbol": f"S{i % 7}",
        "time": str(START + i * 7_000),
        "price": repr(1.0 + (i * 0.37) % 5),
        "quantity": repr(0.5 + i % 11),
        "trade_id": str(i),
    } | fields


def kline(i, **fields):
    price = 1.0 + (i % 13) / 7
    bar = {"open": price, "high": price * 1.1, "low": price * 0.9, "close": price * 1.05, "volume": float(i)}
    times = {"symbol": "BTC/USDT", "interval": "1h", "open_time": START // 3_600_000 * 3_600_000 + i * 3_600_000}
    return times | {name: repr(value) for name, value in bar.items()} | fields


def add(client, stream, messages, ids=None):
    pipe = client.pipeline(transaction=False)
    for k, message in enumerate(messages):
        pipe.xadd(stream, message, id=ids[k] if ids else "*")
    return [id_.decode() for id_ in pipe.execute()]


def consume(server, root, streams, **settings):  # noqa: F811
    specs = parse_streams(streams)
    with StreamArchive(root, specs) as archive:
        one = Consumer(server.url, [s.name for s in specs], archive, Settings(**FAST | settings))
        one.run(threading.Event(), until_idle=True)
    return one, archive


def hashes(root):
    """Every daily file and its hash."""
    found = sorted(Path(root).rglob("*.parquet"))
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def letters(client, stream):
    return [(fields[b"dead.id"].decode(), fields) for _, fields in client.xrange(f"{stream}.dead")]


def test_every_kind_arrives_as_it_was_sent(server, tmp_path):  # noqa: F811
    client = server.client()
    add(client, "market.klines", [kline(i) for i in range(30)] + [kline(30, closed="false")])
    add(client, "market.tick", [tick(0), tick(1, source_seq="77")])
    normalized = {"exchange": "bybit", "s": "X", "ts": START, "p": 2, "q": 3, "id": "a"}
    add(client, "exchange.normalized", [{"data": json.dumps(normalized)}])
    closed = {
        "id": 7,
        "pair": "TRX/BTC",
        "open_date": "2018-01-10 07:15:00+00:00",
        "close_timestamp": "1515568800000.0",
    }
    add(client, "trade.closed", [{"payload": json.dumps(closed | {"open_rate": 9.64e-05, "close_rate": 1e-4})}])
    add(client, "market.funding", [{"symbol": "X", "fundingTime": START, "fundingRate": "-0.0001"}])
    book = {"topic": "orderbook.500.X", "type": "snapshot", "ts": START, "data": {"s": "X", "b": [["2", "0"]], "a": []}}
    add(client, "market.orderbook", [{"data": json.dumps(book)}])
    streams = [
        "market.klines",
        "market.tick",
        "exchange.normalized",
        "trade.closed",
        "market.funding",
        "market.orderbook",
    ]
    one, archive = consume(server, tmp_path / "lake", streams)
    assert dict(archive.counts) | {"folds": 0} == {"written": 36, "forming": 1, "malformed": 0, "rows": 36, "folds": 0,
                                                  "duplicates": 0, "conflicts": 0}  # fmt: skip
    assert one.lag() == {name: {"pending": 0.0, "seconds": 0.0} for name in streams}
    got = {spec.name: read_stream(tmp_path / "lake", spec).to_pylist() for spec in parse_streams(streams)}
    assert [row["volume"] for row in got["market.klines"]] == [float(i) for i in range(30)]
    assert got["market.tick"][1]["extra"] == '{"source_seq": "77"}'
    assert (got["exchange.normalized"][0]["exchange"], got["exchange.normalized"][0]["price"]) == ("bybit", 2.0)
    trade = got["trade.closed"][0]
    assert (trade["trade_id"], str(trade["entry_time"]), str(trade["exit_time"])[11:16]) == (
        "7",
        "2018-01-10 07:15:00+00:00",
        "07:20",
    )
    assert got["market.funding"][0]["funding_rate"] == -0.0001
    assert got["market.orderbook"][0]["bids"] == [{"price": 2.0, "size": 0.0}]
    files = [name for name in hashes(tmp_path / "lake") if "klines" in name]
    assert files[0] == "streams/stream=market.klines/symbol=BTC%2FUSDT/interval=1h/2023-11-14.parquet"


def test_archived_klines_become_bars_of_the_lake(server, tmp_path):  # noqa: F811
    add(server.client(), "market.klines", [kline(i) for i in range(50)])
    consume(server, tmp_path / "lake", ["market.klines"])
    spec = StreamSpec("market.klines", "klines")
    for new, same in ((50, 0), (0, 50)):
        (added,) = bars_into_lake(tmp_path / "lake", spec, "spot")
        assert (str(added.partition), added.new, added.same) == ("spot/BTC/USDT/1h", new, same)
    with pytest.raises(SchemaError, match="carries ticks, not klines"):
        bars_into_lake(tmp_path / "lake", StreamSpec("market.tick", "ticks"), "spot")


def test_duplicates_by_key_are_one_row_and_the_first_message_stays(server, tmp_path):  # noqa: F811
    client = server.client()
    add(client, "market.tick", [tick(3), tick(3), tick(3, price="9.5"), tick(4, trade_id=""), tick(4, trade_id="")])
    _, archive = consume(server, tmp_path / "lake", ["market.tick"])
    rows = read_stream(tmp_path / "lake", StreamSpec("market.tick", "ticks")).to_pylist()
    # Without a trade id nothing says that two ticks are one.
    assert [row["trade_id"] for row in rows] == ["3", None, None]
    assert rows[0]["price"] == float(tick(3)["price"])
    assert (archive.counts["duplicates"], archive.counts["conflicts"]) == (2, 1)


def test_malformed_messages_are_dead_letters_with_their_reason(server, tmp_path):  # noqa: F811
    client = server.client()
    bad = {
        "price": tick(1, price="nan"),
        "time": tick(2, time="57111"),
        "quantity": tick(3, quantity="-1"),
        "symbol": {k: v for k, v in tick(4).items() if k != "symbol"},
        "data": {"data": '{"symbol": "X", '},
    }
    ids = add(client, "market.tick", [tick(0), *bad.values(), tick(9)])
    one, _ = consume(server, tmp_path / "lake", ["market.tick"], max_deliveries=3)
    assert one.counts["dead"] == one.counts["failed"] == len(bad)
    dead = dict(letters(client, "market.tick"))
    assert list(dead) == ids[1:-1]
    for (column, message), fields in zip(bad.items(), dead.values(), strict=True):
        assert column in fields[b"dead.reason"].decode()
        assert (fields[b"dead.deliveries"], fields[b"dead.stream"]) == (b"3", b"market.tick")
        assert {k.decode(): v.decode() for k, v in fields.items() if not k.startswith(b"dead.")} == message
    assert read_stream(tmp_path / "lake", StreamSpec("market.tick", "ticks")).num_rows == 2
    assert client.xpending("market.tick", "archive")["pending"] == 0


def test_a_message_that_kills_takes_no_other_with_it(server, tmp_path, victim):  # noqa: F811
    client = server.client()
    ids = add(client, "market.tick", [tick(i) for i in range(40)])

    class Mine(StreamArchive):
        def process(self, entries):
            if any(entry.fields[b"trade_id"] == b"20" for entry in entries):
                raise KeyError("as a bug would")
            return super().process(entries)

    runs = 0
    while client.xlen("market.tick.dead") == 0:
        runs += 1
        assert runs < 10
        specs = parse_streams(["market.tick"])
        with Mine(tmp_path / "lake", specs) as archive:
            one = Consumer(server.url, ["market.tick"], archive, Settings(**FAST))
            try:
                one.run(threading.Event(), until_idle=True)
            except KeyError:
                continue
    ((dead, fields),) = letters(client, "market.tick")
    assert (dead, fields[b"dead.deliveries"]) == (ids[20], b"6")
    rows = read_stream(tmp_path / "lake", specs[0])
    assert sorted(map(int, rows["trade_id"].to_pylist())) == [i for i in range(40) if i != 20]


def test_messages_of_a_dead_consumer_are_taken_over(server, tmp_path):  # noqa: F811
    client = server.client()
    add(client, "market.tick", [tick(i) for i in range(2500)])
    client.xgroup_create("market.tick", "archive", id="0")
    client.xreadgroup("archive", "dead", {"market.tick": ">"}, count=2200)
    one, archive = consume(server, tmp_path / "lake", ["market.tick"], claim_after=60)
    assert (one.counts["claimed"], archive.counts["rows"]) == (0, 300)
    one, archive = consume(server, tmp_path / "lake", ["market.tick"], claim_after=0.001)
    assert (one.counts["claimed"], archive.counts["rows"], archive.counts["duplicates"]) == (2200, 2200, 0)


def test_messages_trimmed_before_they_were_processed_are_counted(server, tmp_path):  # noqa: F811
    client = server.client()
    ids = add(client, "market.tick", [tick(i) for i in range(5)])
    client.xgroup_create("market.tick", "archive", id="0")
    client.xreadgroup("archive", "one", {"market.tick": ">"})
    client.xdel("market.tick", *ids[:2])
    one, archive = consume(server, tmp_path / "lake", ["market.tick"])
    assert (one.counts["trimmed"], archive.counts["rows"]) == (2, 3)
    assert client.xpending("market.tick", "archive")["pending"] == 0


def test_a_full_disk_makes_no_dead_letters(server, tmp_path):  # noqa: F811
    add(server.client(), "market.tick", [tick(i) for i in range(20)])
    tries = 0

    class Full(StreamArchive):
        def process(self, entries):
            nonlocal tries
            tries += 1
            if tries < 4:
                raise OSError(28, "No space left on device")
            return super().process(entries)

    with Full(tmp_path / "lake", parse_streams(["market.tick"])) as archive:
        one = Consumer(server.url, ["market.tick"], archive, Settings(**FAST))
        one.run(threading.Event(), until_idle=True)
    assert (archive.counts["rows"], one.counts["dead"], tries) == (20, 0, 4)


def command(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_the_commands(server, tmp_path):  # noqa: F811
    add(server.client(), "market.klines", [kline(i) for i in range(30)])
    add(server.client(), "my.trades", [tick(i) for i in range(9)])
    streams = ("-s", "market.klines", "-s", "my.trades=ticks")
    for new, had in ((39, 0), (0, 39)):
        group = f"group{had}"
        done = command(
            "archive", "redis", "--url", server.url, "--lake", tmp_path, *streams, "--group", group, "--once"
        )
        assert done.exit_code == 0, done.output
        assert f"39 messages archived: {new} new, {had} had been there (0 with other values)" in done.output
    done = command("archive", "bars", "--lake", tmp_path, "--market", "spot")
    assert (done.exit_code, done.output.strip()) == (0, "spot/BTC/USDT/1h: 30 new, 0 the same")
    for args, text in (
        (("redis", "--lake", tmp_path, "-s", "what"), "say what it carries"),
        (("redis", "--lake", tmp_path, "--url", "http://x"), "not a Redis URL"),
        (("bars", "--lake", tmp_path, "--market", "spot", "--stream", "none"), "nothing archived"),
    ):
        done = command("archive", *args)
        assert done.exit_code == (0 if args[0] == "bars" else 2)
        assert text in done.output


def test_one_process_at_a_time(tmp_path):
    with StreamArchive(tmp_path, parse_streams(["market.tick"])), pytest.raises(LakeBusyError, match="being written"):
        StreamArchive(tmp_path, parse_streams(["market.tick"])).__enter__()


@pytest.fixture(scope="module")
def undisturbed(victim, tmp_path_factory):
    """Hashes of the archive of 300 messages that nothing interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed")
    one = Server(folder / "redis")
    try:
        job = staged(one)
        assert victim.run(**job, root=str(folder / "lake")) == 0
    finally:
        one.stop()
    return hashes(folder / "lake")


def staged(server):  # noqa: F811
    """300 messages, 50 of them twice, under ids that are the same in every run; and the job that archives them."""
    add(server.client(), "market.tick", [tick(i % 250) for i in range(300)], [f"{START + i}-0" for i in range(300)])
    job = {"do": "archive", "url": server.url, "streams": ["market.tick"], "fold_rows": 100}
    return job | {"settings": {"batch": 50}}


@pytest.mark.parametrize("stage", ["receive", "persist", "ack", "fold", "drop"])
def test_kill_in_every_stage(server, tmp_path, victim, undisturbed, stage):  # noqa: F811
    job = staged(server) | {"root": str(tmp_path / "lake")}
    assert victim.run(**job, kill={"stage": stage, "hit": 2}) == -9
    assert victim.run(**job) == 0
    assert hashes(tmp_path / "lake") == undisturbed
    rows = read_stream(tmp_path / "lake", StreamSpec("market.tick", "ticks"))
    assert sorted(map(int, rows["trade_id"].to_pylist())) == list(range(250))
    assert not list((tmp_path / "lake").rglob("*.part"))
    assert not list((tmp_path / "lake").rglob("*.arrows"))


class Producer(threading.Thread):
    """Sends messages, 500 at a time, through restarts of the server: some malformed, some a second time."""

    def __init__(self, server, total):  # noqa: F811
        super().__init__()
        self.server, self.total, self.rng = server, total, random.Random(7)
        self.messages = {}
        self.malformed = 0

    def message(self, i):
        if i % 500 == 250:
            self.malformed += 1
            return tick(i, price="-1")
        if self.rng.random() < 0.05 and i > 400:
            again = i - self.rng.randrange(1, 400)
            i = again if again in self.messages else i
        self.messages[i] = tick(i)
        return self.messages[i]

    def run(self):
        for start in range(0, self.total, 500):
            chunk = [self.message(i) for i in range(start, min(start + 500, self.total))]
            while not self.sent(start, chunk):
                time.sleep(0.05)
            time.sleep(0 if SOAK else 0.05)

    def sent(self, start, chunk):
        """Send all of them or none, also where the server dies before it answers."""
        try:
            client = self.server.client()
            if int(client.get("produced") or 0) == start:
                pipe = client.pipeline(transaction=True)
                pipe.incrby("produced", len(chunk))
                for one in chunk:
                    pipe.xadd("market.tick", one)
                pipe.execute()
            return True
        except (redis.RedisError, ConnectionError):
            return False


@pytest.mark.timeout(1800)
def test_soak_consumer_and_server_killed(server, tmp_path, victim):  # noqa: F811
    """A million messages, the consumer killed 10 times and the server twice, while the producer goes on.

    Outside of a soak: 20,000 messages, 3 kills and one.
    """
    total = scaled(1_000_000)
    kills, restarts = (10, (3, 7)) if SOAK else (3, (1,))
    producer, rng = Producer(server, total), random.Random(11)
    job = {"do": "archive", "url": server.url, "streams": ["market.tick"]}
    # Every kill may meet the same message; that it is no poison is what the deliveries beyond them say.
    settings = {"batch": 500, "max_deliveries": kills + 3, "retry_after": 0.002}
    producer.start()
    for kill in range(kills):
        seconds = rng.uniform(0.4, 6.4) if SOAK else rng.uniform(0.05, 0.6)
        pid = victim.start(**job, root=str(tmp_path / "lake"), fold_rows=total // 9, settings=settings, once=False)
        time.sleep(seconds)
        if kill in restarts:
            server.kill()
            time.sleep(0.3)
            server.start()
            time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        assert victim.end() == -9
    producer.join()
    assert victim.run(**job, root=str(tmp_path / "lake"), settings=settings) == 0

    rows = read_stream(tmp_path / "lake", StreamSpec("market.tick", "ticks"))
    columns = (rows[name].to_pylist() for name in ("trade_id", "symbol", "price", "quantity"))
    times = rows["time"].cast(pa.int64()).to_pylist()
    got = sorted((int(i), s, p, q, t // 10**6) for (i, s, p, q, t) in zip(*columns, times, strict=True))
    source = [
        (i, m["symbol"], float(m["price"]), float(m["quantity"]), int(m["time"])) for i, m in producer.messages.items()
    ]
    assert len(got) == len(source)
    assert hashlib.sha256(repr(got).encode()).hexdigest() == hashlib.sha256(repr(sorted(source)).encode()).hexdigest()
    assert server.client().xlen("market.tick") == total
    dead = letters(server.client(), "market.tick")
    assert len(dead) == len({id_ for id_, _ in dead}) == producer.malformed > 0
    assert all(b"price is b'-1'" in fields[b"dead.reason"] for _, fields in dead)
    # The same stream, archived without interruption: the same bytes.
    assert victim.run(**job, root=str(tmp_path / "whole"), settings={"group": "whole", "max_deliveries": 1}) == 0
    assert hashes(tmp_path / "lake") == hashes(tmp_path / "whole")
