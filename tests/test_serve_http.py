"""Serving over HTTP: a real server process, asked as a client would ask it."""

from __future__ import annotations

import http.client
import json
import socket
import time

import numpy as np
import pytest

import qtfeat as qf
from qtfeat import registry
from qtfeat.serve.model import ServedModel
from qtfeat.serve.record import read
from qtfeat.serve.tokens import Tokens
from served import BARS, NAME, SYMBOLS, Client, bars_json, market, publish, serving, symbols

FIELDS = ("open", "high", "low", "close", "volume")


@pytest.fixture(scope="module")
def table():
    return market()


@pytest.fixture(scope="module")
def models(tmp_path_factory, table):
    """A registry with two versions; the second is in production, the first is the previous one."""
    root = tmp_path_factory.mktemp("models")
    for seed in (0, 1):
        registry.promote(root, NAME, publish(root, table, seed))
    return root


@pytest.fixture(scope="module")
def server(models):
    with serving(models) as one:
        yield one


@pytest.fixture(scope="module")
def client(server):
    return server.client


@pytest.fixture(scope="module")
def features(table):
    """The features of every bar, (S, B, F), and their names."""
    fs = qf.FeatureSet.load("kline17")
    out = qf.compute(table, fs, by="symbol", time="open_time")
    X = np.stack([out[name].to_numpy() for name in fs.columns], axis=1)
    return X.reshape(SYMBOLS, BARS, -1), tuple(fs.columns)


def named(columns, row):
    return dict(zip(columns, row.tolist(), strict=True))


def production(models):
    return ServedModel.load(models, NAME)


# --- predictions ------------------------------------------------------------------------------------------------------


def test_features_by_name_give_the_bits_of_the_model(client, models, features):
    X, columns = features
    model = production(models)
    rows = X[:, 400:420].reshape(-1, X.shape[-1])
    p, score = model.predict(rows)
    shuffled = [dict(reversed(list(named(columns, row).items()))) for row in rows]
    status, answer = client.post("/v1/predict", {"features": shuffled})
    assert status == 200
    assert [tuple(one["p"]) for one in answer["predictions"]] == [tuple(row) for row in p.tolist()]
    assert [one["score"] for one in answer["predictions"]] == score.tolist()
    assert (answer["model"], answer["fingerprint"]) == (f"{NAME}/{model.version}", model.fingerprint)


def test_a_window_gives_the_features_of_its_last_bar(client, table, features):
    X, columns = features
    rows = table.slice(0, 300).to_pylist()
    bars = [[row[name] for name in FIELDS] for row in rows]
    status, answer = client.post("/v1/predict", {"bars": bars})
    assert status == 200
    assert answer["features"] == named(columns, X[0, 299])
    direct = client.post("/v1/predict", {"features": answer["features"]})[1]
    assert direct["predictions"][0]["p"] == answer["predictions"][0]["p"]
    status, problem = client.post("/v1/predict", {"bars": bars[:20]})
    assert (status, problem["error"]) == (422, "SchemaError")


def test_the_open_inference_protocol_in_both_forms(client, models, features):
    X, columns = features
    rows = X[1, 500:507]
    p, score = production(models).predict(np.ascontiguousarray(rows))
    order = list(reversed(range(len(columns))))
    one = {
        "name": "x",
        "shape": list(rows.shape),
        "datatype": "FP64",
        "data": rows[:, order].tolist(),
        "parameters": {"columns": [columns[k] for k in order]},
    }
    many = [{"name": columns[k], "shape": [7, 1], "datatype": "FP64", "data": rows[:, k].tolist()} for k in order]
    for inputs in ([one], many):
        status, answer = client.post(f"/v2/models/{NAME}/infer", {"id": "a", "inputs": inputs})
        assert status == 200
        assert answer["id"] == "a"
        found = {out["name"]: out for out in answer["outputs"]}
        assert found["probabilities"]["data"] == p.ravel().tolist()
        assert found["score"]["data"] == score.tolist()
        assert set(found["side"]["data"]) <= {"BUY", "HOLD", "SELL"}
    wanted = {"inputs": [one], "outputs": [{"name": "score"}]}
    assert [out["name"] for out in client.post(f"/v2/models/{NAME}/infer", wanted)[1]["outputs"]] == ["score"]
    assert client.post("/v2/models/other/infer", wanted)[0] == 404
    assert len(client.get(f"/v2/models/{NAME}")[1]["inputs"]) == len(columns)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda row: row.pop("rsi"), "missing: rsi"),
        (lambda row: row.update(extra=1.0), "unknown: extra"),
        (lambda row: row.update(rsj=row.pop("rsi")), "did you mean 'rsi'"),
        (lambda row: row.update(rsi="50"), "Expected `float`"),
        (lambda row: row.update(rsi=None), "Expected `float`"),
        (lambda row: row.update(rsi=float("nan")), ""),
        (lambda row: row.update(rsi=float("inf")), ""),
    ],
)
def test_columns_that_do_not_fit_are_refused(client, features, change, text):
    X, columns = features
    row = named(columns, X[0, 400])
    change(row)
    status, problem = client.post("/v1/predict", {"features": row})
    assert status in (400, 422)
    assert text in problem["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"features": {}}',
        b'{"features": []}',
        b'{"bars": [[1,2,3]]}',
        b'{"x": 1}',
        b"\xff\xfe",
        b'{"features": {"a": 1e999}}',
        b"[" * 100_000,
    ],
)
def test_bodies_that_make_no_sense_are_refused(client, body):
    for path in ("/v1/predict", f"/v2/models/{NAME}/infer", "/v1/bars", "/v1/models/promote"):
        assert client.post(path, body)[0] in (400, 413, 422)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [3, 17]},
        {"shape": [17]},
        {"shape": [0, 17]},
        {"data": [[0.0] * 17, [0.0] * 16]},
        {"parameters": {"columns": ["ret"] * 17}},
        {"parameters": {"columns": "ret"}},
        {"parameters": {}},
        {"datatype": "BYTES"},
    ],
)
def test_tensors_that_do_not_fit_are_refused(client, features, change):
    tensor = {"name": "x", "shape": [2, 17], "datatype": "FP64", "data": [0.0] * 34}
    tensor["parameters"] = {"columns": list(features[1])}
    assert client.post(f"/v2/models/{NAME}/infer", {"inputs": [tensor]})[0] == 200
    assert client.post(f"/v2/models/{NAME}/infer", {"inputs": [tensor | change]})[0] in (400, 422)


# --- bars -------------------------------------------------------------------------------------------------------------


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


# --- events, metrics, page --------------------------------------------------------------------------------------------


def test_signals_are_streamed_and_sigterm_ends_the_stream(models, table):
    with serving(models) as one:
        stream = http.client.HTTPConnection("127.0.0.1", one.port, timeout=20)
        stream.request("GET", "/v1/stream")
        answer = stream.getresponse()
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


def test_the_page_and_what_belongs_to_it(client):
    status, page = client.get("/")
    assert (status, "<!doctype html>" in page.lower()) == (200, True)
    assert "default-src 'self'" in client.headers["content-security-policy"]
    assert "http://" not in page.replace("http://127.0.0.1", "")
    for file in ("app.js", "style.css", "api.html", "api.js"):
        assert client.get(f"/page/{file}")[0] == 200
    for file in ("secret", "..%2fserver.py", "%2e%2e/server.py"):
        assert client.get(f"/page/{file}")[0] == 404


def test_health_readiness_and_unknown_paths(client):
    assert client.get("/health")[0] == 200
    assert client.get("/ready")[0] == 503
    assert client.get("/ready?need=none")[0] == 200
    assert client.get("/v2/health/live")[0] == 200
    status, problem = client.get("/nothing", x_request_id="abc-1")
    assert (status, problem["request_id"], client.headers["x-request-id"]) == (404, "abc-1", "abc-1")
    assert client.call("DELETE", "/v1/models")[0] == 405


# --- who may do what --------------------------------------------------------------------------------------------------


def test_pages_of_other_sites_are_refused(client):
    assert client.get("/v1/models", origin="http://evil.example")[0] == 403
    assert client.get("/v1/models", host="evil.example:8001")[0] == 403
    assert client.post("/v1/models/rollback", b"{}", content_type="text/plain")[0] == 415
    assert client.get("/v1/models", origin=client.url)[0] == 200


def test_tokens_and_their_scopes(models, table, tmp_path):
    path = tmp_path / "tokens.json"
    tokens = Tokens()
    secret = {scope: tokens.add(scope, [scope]) for scope in ("read", "predict", "admin")}
    tokens.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(token in path.read_text() for token in secret.values())
    bars = {"bars": bars_json(table, 0, 1)}
    calls = {
        "read": lambda c: c.get("/v1/models"),
        "predict": lambda c: c.post("/v1/bars", bars),
        "admin": lambda c: c.post("/v1/models/shadow", {"version": None}),
    }
    with serving(models, "--tokens", str(path)) as one:
        for holder, token in secret.items():
            for scope, call in calls.items():
                assert call(Client(one.port, token))[0] == (200 if holder == scope else 403), (holder, scope)
        for wrong in (None, "nonsense", secret["read"][:-1], "é"):
            assert calls["read"](Client(one.port, wrong and wrong.encode().decode("latin-1")))[0] == 401
        assert Client(one.port).get("/health")[0] == 200
        assert Client(one.port).get("/")[0] == 200
        for path in ("/metrics", "/schema/openapi.json", "/v1/state", "/nothing"):
            assert Client(one.port).get(path)[0] == 401
        assert not any(token in one.log for token in secret.values())
        assert {line["client"] for line in one.lines() if line["event"] == "request"} == {None, *secret}


def test_the_log_names_request_and_model_and_no_features(server, features):
    X, columns = features
    row = named(columns, X[0, 401])
    server.client.post("/v1/predict?rsi=77", {"features": row}, x_request_id="find-me")
    line = next(line for line in server.lines() if line.get("request_id") == "find-me")
    assert {"method", "path", "status", "ms", "model", "fingerprint"} <= set(line)
    assert str(row["rsi"]) not in json.dumps(line)
    assert "77" not in line["path"]


# --- limits -----------------------------------------------------------------------------------------------------------


def test_limits_of_body_rate_and_time(models):
    with serving(models, "--most-body", "2000", "--deadline", "0.5", "--rate", "5") as one:
        status, problem = one.client.post("/v1/predict", b" " * 3000)
        assert (status, problem["status"]) == (413, 413)
        # A body of unknown length is counted as it comes; one that never ends is given up.
        with socket.create_connection(("127.0.0.1", one.port), timeout=10) as slow:
            head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:{one.port}\r\nContent-Type: application/json\r\n"
            slow.sendall(head.encode() + b"Content-Length: 100\r\n\r\n{")
            start = time.monotonic()
            assert slow.recv(1000).startswith(b"HTTP/1.1 408")
            assert time.monotonic() - start < 5.0
        with socket.create_connection(("127.0.0.1", one.port), timeout=10) as large:
            large.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + b" " * 1000 + b"\r\n")
            large.sendall(2 * (b"3e8\r\n" + b" " * 1000 + b"\r\n"))
            assert large.recv(1000).startswith(b"HTTP/1.1 413")
        found = [one.client.get("/v1/models")[0] for _ in range(300)]
        assert set(found) == {200, 429}
        assert one.client.get("/v1/models")[0] == 429
        assert one.client.headers["retry-after"] == "1"
        assert one.client.get("/health")[0] == 200


def test_too_many_at_once_are_told_to_come_back(models, table):
    with serving(models, "--in-flight", "2") as one:
        waiting = []
        for _ in range(2):
            slow = socket.create_connection(("127.0.0.1", one.port), timeout=10)
            slow.sendall(
                f"POST /v1/predict HTTP/1.1\r\nHost: localhost:{one.port}\r\nContent-Type: application/json\r\n"
                "Content-Length: 10\r\n\r\n{".encode()
            )
            waiting.append(slow)
        end = time.monotonic() + 5
        while (status := one.client.get("/v1/models")[0]) != 503 and time.monotonic() < end:
            time.sleep(0.02)
        assert status == 503
        assert one.client.headers["retry-after"] == "1"
        for slow in waiting:
            slow.sendall(b"         ")
            assert slow.recv(100).startswith(b"HTTP/1.1 400")
            slow.close()
        assert one.client.get("/v1/models")[0] == 200


def test_two_hundred_connections_are_served_or_refused(server, features):
    X, columns = features
    body = json.dumps({"features": named(columns, X[0, 402])}).encode()
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost:{server.port}\r\nContent-Type: application/json\r\n"
    text = head.encode() + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
    many = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(200)]
    for one in many:
        one.sendall(text)
    found = []
    for one in many:
        found.append(int(one.recv(100)[9:12]))
        one.close()
    assert set(found) <= {200, 503}
    assert 200 in found
    assert server.client.get("/health")[0] == 200


def test_a_public_address_needs_tokens(models):
    import subprocess
    import sys

    command = [sys.executable, "-c", "from qtfeat.cli import main; main()", "serve", "--models", str(models)]
    command += [
        "--name",
        NAME,
        "--symbols",
        ",".join(symbols()),
        "--interval",
        "1h",
        "--host",
        "0.0.0.0",
        "--port",
        "0",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "tokens" in done.stderr
