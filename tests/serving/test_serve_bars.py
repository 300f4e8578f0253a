"""Bars over HTTP: signals, what is recorded, what is refused, a server that was killed, event streams."""

from __future__ import annotations

import contextlib
import http.client
import json
import time

import numpy as np

from qtfeat.serve.record import read
from served import SYMBOLS, bars_json, named, production, serving


def test_what_the_server_records_is_what_training_saw(models, table, features, tmp_path):
    X, columns = features
    with serving(models, "--store", str(tmp_path), "--snapshot-every", "300") as one:
        for start in range(0, 300, 50):
            status, answer = one.client.post("/v1/bars", {"bars": bars_json(table, start, start + 50)})
            assert status == 200
            assert len(answer["signals"]) == 50 * SYMBOLS
        status, state = one.client.get("/v1/state")
        assert status == 200
        assert state["symbols"][1]["features"] == named(columns, X[1, 299])
        assert one.end() == 0
    found = read(tmp_path / "signals")
    assert found.num_rows == 300 * SYMBOLS
    rows = np.array(found["features"].to_pylist()).reshape(SYMBOLS, 300, -1)
    assert rows.tobytes() == np.ascontiguousarray(X[:, :300]).tobytes()
    p, _ = production(models).predict(np.ascontiguousarray(X[:, 299]))
    sides = [found[f"p_{side}"].to_numpy().reshape(SYMBOLS, 300)[:, -1] for side in ("sell", "hold", "buy")]
    assert np.stack(sides, 1).tolist() == p.tolist()


def test_bars_that_are_not_taken_come_back_with_the_reason(models, table):
    bars = bars_json(table, 0, 3)
    with serving(models) as one:
        assert not one.client.post("/v1/bars", {"bars": bars})[1]["refused"]
        again = [bars[-1], bars[-1] | {"volume": 1.0}, bars[0], bars[-2] | {"high": -1.0}]
        again[3]["open_time"] += 3_600_000
        future = bars[0] | {"open_time": int(time.time() * 1000)}
        status, answer = one.client.post("/v1/bars", {"bars": [*again, future]})
        assert status == 200
        assert not answer["signals"]
        kinds = sorted(refused["reason"].split(":")[0] for refused in answer["refused"])
        assert kinds == ["bad", "conflict", "duplicate", "forming", "late"]
        status, problem = one.client.post("/v1/bars", {"bars": [bars[0] | {"symbol": "NOBODY"}]})
        assert (status, problem["symbol"]) == (422, "NOBODY")
        text = bars_json(table, 3, 4)
        for bar in text:
            bar["open_time"] = str(np.datetime64(bar["open_time"], "ms"))
        peeked = one.client.post("/v1/bars", {"bars": text, "forming": True})[1]["signals"]
        assert all(signal["forming"] for signal in peeked)
        taken = one.client.post("/v1/bars", {"bars": text})[1]["signals"]
        assert [signal["time_ns"] for signal in taken] == [signal["time_ns"] for signal in peeked]
        assert one.client.post("/v1/bars", {"bars": text, "time_unit": "h"})[0] == 400
        wrong = [bars[0] | {"open_time": bars[0]["open_time"] * 1000}]
        assert one.client.post("/v1/bars", {"bars": wrong})[0] == 422
        metrics = one.client.get("/metrics")[1]
        assert 'qtfeat_bars_total{result="late"} 1.0' in metrics
        assert f'qtfeat_bars_total{{result="taken"}} {4.0 * SYMBOLS}' in metrics
        newest = one.client.get("/v1/signals?symbol=SIM001")[1]
        assert [signal["time_ns"] for signal in newest] == [taken[1]["time_ns"]]
        assert len(one.client.get("/v1/signals?limit=7")[1]) == 7


def test_killed_and_restarted_the_signals_are_those_of_the_uninterrupted_run(models, table, tmp_path):
    options = ("--store", str(tmp_path), "--snapshot-every", "100")
    with serving(models) as one:
        whole = one.client.post("/v1/bars", {"bars": bars_json(table, 0, 200)})[1]["signals"]
    with serving(models, *options) as one:
        first = one.client.post("/v1/bars", {"bars": bars_json(table, 0, 90)})[1]["signals"]
        one.process.kill()
        one.process.wait()
    with serving(models, *options) as one:
        assert any(line["event"] == "state restored" for line in one.lines())
        # The feed is replayed from the beginning: what the snapshot covers gives no second signal.
        answer = one.client.post("/v1/bars", {"bars": bars_json(table, 0, 200)})[1]
        assert one.end() == 0
    again = answer["signals"]
    assert len(again) < len(whole)
    assert again == whole[len(whole) - len(again) :]
    assert first == whole[: len(first)]
    recorded = read(tmp_path / "signals")
    assert recorded.num_rows == len(whole)


def test_signals_are_streamed_and_sigterm_ends_the_stream(models, table):
    with (
        serving(models) as one,
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", one.port, timeout=20)) as stream,
    ):
        stream.request("GET", "/v1/stream")
        with contextlib.closing(stream.getresponse()) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.readline() == b": on\n"
            sent = one.client.post("/v1/bars", {"bars": bars_json(table, 0, 1)})[1]["signals"]
            got = []
            while len(got) < SYMBOLS:
                line = answer.readline()
                if line.startswith(b"data: "):
                    got.append(json.loads(line[6:]))
            assert got == sent
            assert one.end() == 0
            assert answer.read() == b"\n"
