"""Streams through the engine, against a real server: kill anything at any time; the signals are the same, each once."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter

import pytest

import redis_serving as rs
from qtfeat.serve.record import read
from qtfeat.streams import Consumer, Settings
from qtfeat.streams.closed_trades import read_closed_trades
from redis_server import Server, server  # noqa: F401 - a fixture
from redis_victim import Victim
from sizes import SOAK

BASE = 1_750_000_000_000
HOUR = 3_600_000
STAGES = ("receive", "compute", "persist", "publish", "ack", "snapshot", "clear")
KLINES = ["market.klines", "trade.closed"]


@pytest.fixture(scope="module")
def victim():
    one = Victim("redis_serving")
    yield one
    one.close()


def kline(symbol, time_ns, five, interval="1h", **fields):
    named = {name: repr(value) for name, value in zip(rs.FIVE, five, strict=True)}
    return {"symbol": symbol, "interval": interval, "open_time": str(time_ns // 10**6)} | named | fields


def trade(i, **fields):
    entry = BASE + i * 1000
    prices = {"entry_price": "2.0", "exit_price": repr(2.0 + i / 7), "pnl": repr(i / 7)}
    return {"trade_id": f"t{i}", "symbol": "SIM001", "entry_time": entry, "exit_time": entry + 500} | prices | fields


def add(client, messages):
    """Send (stream, fields), 20 ms apart by their ids, so that every run sees the same ones."""
    pipe = client.pipeline(transaction=False)
    for k, (stream, fields) in enumerate(messages):
        pipe.xadd(stream, fields, id=f"{BASE + 20 * k}-0")
    pipe.execute()


def disturbed(bars):
    """Klines of a day that goes wrong: disordered, missing, again, with other values; and what is for others."""
    rng, out = random.Random(2), []
    for symbol, time_ns, five in bars:
        if rng.random() < 0.03:
            continue
        out.append((time_ns + rng.random() * 0.9 * HOUR * 10**6, kline(symbol, time_ns, five)))
        if rng.random() < 0.04:
            out.append((time_ns + rng.random() * 3 * HOUR * 10**6, out[-1][1]))
        if rng.random() < 0.02:
            out.append((time_ns + rng.random() * 3 * HOUR * 10**6, kline(symbol, time_ns, [v * 1.5 for v in five])))
        if rng.random() < 0.05:
            noise = rng.choice(
                [
                    kline(symbol, time_ns, five, interval="5m"),
                    kline("OTHER", time_ns, five),
                    kline(symbol, time_ns, five, closed="false"),
                    kline(symbol, time_ns, [*five[:4], -1.0]),
                ]
            )
            out.append((time_ns, noise))
    messages = [("market.klines", fields) for _, fields in sorted(out, key=lambda one: one[0])]
    for i in range(60):
        messages.insert(rng.randrange(len(messages)), ("trade.closed", trade(i % 40)))
    return messages


def signals(client, stream="ai.signals"):
    return [{k.decode(): v.decode() for k, v in fields.items()} for _, fields in client.xrange(stream)]


def outcome(server, root):  # noqa: F811
    """All that must not depend on interruptions."""
    found = json.loads((root / "facts.json").read_text())
    counts = found.pop("counts")
    ids = [one["id"] for one in signals(server.client())]
    assert len(set(ids)) == len(ids)
    trades = sorted(read_closed_trades(root / "streams" / "trades")["trade_id"].to_pylist())
    return {
        "signals": signals(server.client()),
        "engine": found,
        "recorded": repr(read(root / "signals").to_pylist()),
        "trades": trades,
    }, counts


def whole(tmp_path_factory, victim, name, messages, job):
    """The outcome that nothing interrupted."""
    root = tmp_path_factory.mktemp(name)
    one = Server(root / "redis")
    try:
        add(one.client(), messages)
        assert victim.run(do="serve", url=one.url, root=str(root), **job) == 0
        return outcome(one, root)
    finally:
        one.stop()


KLINE_JOB = {"streams": KLINES, "settings": {"batch": 60}, "options": {"wait": 0.3, "log_rows": 400}}


@pytest.fixture(scope="module")
def klines():
    return disturbed(rs.market(200 if SOAK else 130))


@pytest.fixture(scope="module")
def undisturbed(victim, tmp_path_factory, klines):
    return whole(tmp_path_factory, victim, "undisturbed", klines, KLINE_JOB)


def test_signals_are_those_of_the_engine_fed_directly(server, tmp_path):  # noqa: F811
    bars = rs.market(120)
    add(server.client(), [("market.klines", kline(*bar)) for bar in bars])
    service = rs.make_service(tmp_path / "streams")
    one = rs.handler(service, tmp_path / "streams", KLINES)
    consumer = Consumer(server.url, KLINES, one, Settings("serve", block=0.05, batch=50))
    consumer.run(threading.Event(), until_idle=True)
    direct = rs.make_service(tmp_path / "direct")
    found = []
    for k in range(0, len(bars), rs.SYMBOLS):
        cycle = bars[k : k + rs.SYMBOLS]
        found += direct.engine.on_bars([five for _, _, five in cycle], cycle[0][1])
    got = signals(server.client())
    assert len(got) == len(found) == len(bars)
    assert len({one["side"] for one in got}) == 3
    for message, known in zip(got, found, strict=True):
        assert message["id"] == f"{known.symbol}:3600000:{known.time_ns // 10**6}"
        assert int(message["close_time"]) - int(message["open_time"]) == HOUR
        for name in ("close", "confidence", "score", "drift", "leverage", "notional", "stop", "target"):
            value = getattr(known, name)
            assert (float(message[name]) if name in message else None) == value
        p = tuple(float(message[f"p_{name}"]) for name in ("sell", "hold", "buy")) if known.p else None
        assert p == known.p
        for name in ("symbol", "side", "source", "reason", "model", "fingerprint", "policy"):
            assert message[name] == getattr(known, name)
        assert message["selected"] == str(int(known.selected))
    one.close()
    assert rs.facts(service) == rs.facts(direct)
    assert consumer.lag()["market.klines"] == {"pending": 0.0, "seconds": 0.0}


def test_what_is_not_for_the_engine_is_counted(undisturbed, klines):
    found, counts = undisturbed
    sent = Counter(fields.get("volume") == "-1.0" for _, fields in klines)
    assert counts["handler"]["malformed"] >= sent[True] > 0
    assert counts["consumer"]["dead"] == sent[True]
    assert counts["handler"]["forming"] > 0 < counts["handler"]["other"]
    assert found["trades"] == sorted(f"t{i}" for i in range(40))
    assert counts["handler"]["repeated_trades"] == 20
    engine = found["engine"]["counters"]
    assert engine["duplicate"] > 0 < engine["conflict"]
    assert engine["taken"] == len(found["signals"])


def kills(rng, count):
    """Moments: every stage in turn, at a random entry, at once or a little later."""
    for k in range(count):
        stage = STAGES[k % len(STAGES)]
        hit = rng.randrange(1, {"compute": 40, "snapshot": 3, "clear": 2}.get(stage, 6))
        yield {"stage": stage, "hit": hit, "delay": rng.choice([0, 0, rng.uniform(0, 0.01)])}


def interrupted(server, root, victim, job, moments):  # noqa: F811
    """Kill at these moments, then let it end; return what was hit."""
    hits: Counter[str] = Counter()
    for kill in moments:
        code = victim.run(do="serve", url=server.url, root=str(root), kill=kill, **job)
        assert code in (0, -9)
        hits[kill["stage"]] += code == -9
    assert victim.run(do="serve", url=server.url, root=str(root), **job) == 0
    return hits


@pytest.mark.timeout(900)
def test_killed_in_every_stage(server, tmp_path, victim, klines, undisturbed):  # noqa: F811
    """20 moments in a soak, one of each stage otherwise."""
    add(server.client(), klines)
    moments = kills(random.Random(4), 21 if SOAK else len(STAGES))
    hits = interrupted(server, tmp_path, victim, KLINE_JOB, moments)
    print("killed by stage:", dict(hits))
    assert sum(hits.values()) >= (20 if SOAK else 5)
    found, _ = outcome(server, tmp_path)
    for name, wanted in undisturbed[0].items():
        assert found[name] == wanted, name


def ticks(count, seconds):
    """Ticks of every symbol over some minutes, a few again and a few late; the first one on an edge."""
    rng, price, out = random.Random(6), [100.0] * rs.SYMBOLS, []
    for i in range(count):
        k = i % rs.SYMBOLS if i < rs.SYMBOLS else rng.randrange(rs.SYMBOLS)
        price[k] *= 1.0 + rng.gauss(0, 0.0005)
        ms = BASE // 60_000 * 60_000 + i * seconds * 1000 // count
        late = rng.choice([0] * 30 + [90_000]) if i > count // 10 else 0
        fields = {
            "symbol": f"SIM{k:03}",
            "time": str(ms - late),
            "price": repr(price[k]),
            "quantity": repr(rng.random()),
        }
        out.append(("market.tick", fields | {"trade_id": str(i - (rng.random() < 0.02))}))
    return out


TICK_JOB = {
    "streams": ["market.tick"],
    "interval": "1m",
    "settings": {"batch": 150},
    "options": {"wait": 0.3, "log_rows": 1500},
}


@pytest.mark.timeout(900)
def test_ticks_killed_in_every_stage(server, tmp_path, victim, tmp_path_factory):  # noqa: F811
    messages = ticks(*((20_000, 6_000) if SOAK else (3_000, 3_600)))
    wanted, counts = whole(tmp_path_factory, victim, "ticks", messages, TICK_JOB)
    assert min(counts["ticks"].values()) >= 0 < min(counts["ticks"][f"tick_{name}"] for name in ("late", "duplicate"))
    assert len(wanted["signals"]) > 300
    add(server.client(), messages)
    moments = list(kills(random.Random(8), 21 if SOAK else 2))
    hits = interrupted(server, tmp_path, victim, TICK_JOB, moments)
    print("ticks, killed by stage:", dict(hits))
    found, _ = outcome(server, tmp_path)
    for name, value in wanted.items():
        assert found[name] == value, name


def two_streams(count, minutes):
    """Three symbols by klines, three by ticks, in one order of time."""
    rng, begin = random.Random(9), BASE // 60_000 * 60_000
    out = [(int(f["time"]), s, f) for s, f in ticks(count, minutes * 60) if f["symbol"] > "SIM002"]
    for k, (symbol, _, five) in enumerate(rs.market(minutes)):
        at = begin + k // rs.SYMBOLS * 60_000
        if symbol <= "SIM002" and rng.random() < 0.97:
            out.append((at + 60_000 + rng.randrange(3_000), "market.klines", kline(symbol, at * 10**6, five, "1m")))
    return [(stream, fields) for _, stream, fields in sorted(out, key=lambda one: one[0])]


def test_two_streams_are_taken_in_one_order(server, tmp_path, victim, tmp_path_factory):  # noqa: F811
    messages = two_streams(*((12_000, 300) if SOAK else (2_500, 60)))
    job = TICK_JOB | {"streams": ["market.klines", "market.tick", "trade.closed"]}
    job["settings"] = {"batch": 40, "in_order": True}
    wanted, _ = whole(tmp_path_factory, victim, "two", messages, job)
    assert {one["symbol"] for one in wanted["signals"]} == set(rs.symbols())
    add(server.client(), messages)
    hits = interrupted(server, tmp_path, victim, job, list(kills(random.Random(5), 21 if SOAK else 3)))
    print("two streams, killed by stage:", dict(hits))
    found, _ = outcome(server, tmp_path)
    for name, value in wanted.items():
        assert found[name] == value, name
    # However far each stream is read at once.
    job["settings"] = {"batch": 7, "in_order": True}
    assert whole(tmp_path_factory, victim, "seven", messages, job)[0] == wanted


class Market(threading.Thread):
    """Sends the bars of an hour together, hour after hour, through restarts of the server; each message once."""

    def __init__(self, server, bars, pause):  # noqa: F811
        super().__init__()
        self.server, self.bars, self.pause = server, bars, pause

    def run(self):
        for start in range(0, len(self.bars), rs.SYMBOLS):
            while not self.sent(start):
                time.sleep(0.05)
            time.sleep(self.pause)

    def sent(self, start):
        try:
            client = self.server.client()
            if int(client.get("sent") or 0) == start:
                pipe = client.pipeline(transaction=True)
                pipe.incrby("sent", rs.SYMBOLS)
                for bar in self.bars[start : start + rs.SYMBOLS]:
                    pipe.xadd("market.klines", kline(*bar))
                pipe.execute()
        except Exception:  # noqa: BLE001 - the server is away
            return False
        return True


@pytest.mark.timeout(900)
def test_while_bars_flow_consumer_and_server_are_killed(server, tmp_path, victim, tmp_path_factory):  # noqa: F811
    """20 kills of the consumer and 4 of the server in a soak, 2 and 1 otherwise, while a market goes on."""
    bars = rs.market(400 if SOAK else 80)
    job = {"streams": KLINES, "settings": {"batch": 10}, "options": {"wait": 60.0, "log_rows": 100}}
    messages = [("market.klines", kline(*bar)) for bar in bars]
    wanted, _ = whole(tmp_path_factory, victim, "flow", messages, job)
    job["until"] = len(bars)
    market, rng = Market(server, bars, 0.06 if SOAK else 0.05), random.Random(12)
    market.start()
    codes = Counter()
    for k in range(20 if SOAK else 2):
        pid = victim.start(do="serve", url=server.url, root=str(tmp_path), **job)
        time.sleep(rng.uniform(0.3, 1.2))
        if k % 5 == 1:
            server.kill()
            time.sleep(0.2)
            server.start()
            time.sleep(rng.uniform(0.3, 1.2))
        # All bars may have come already.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        codes[victim.end()] += 1
    market.join()
    print("ended by SIGKILL:", codes[-9])
    assert set(codes) <= {-9, 0}
    assert codes[-9] >= (15 if SOAK else 1)
    assert victim.run(do="serve", url=server.url, root=str(tmp_path), **job) == 0
    found, _ = outcome(server, tmp_path)
    for name, value in wanted.items():
        assert found[name] == value, name
