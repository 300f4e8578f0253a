"""What one server takes: sizes, rates, time, connections, and where it may listen."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time

from served import NAME, SYMBOLS, bars_json, named, serving, symbols


def test_limits_of_body_rate_and_time(models):
    with serving(models, "--most-body", "2000", "--deadline", "2", "--rate", "5") as one:
        status, problem = one.client.post("/v1/predict", b" " * 3000)
        assert (status, problem["status"]) == (413, 413)
        # A body of unknown length is counted as it comes; one that never ends is given up.
        with socket.create_connection(("127.0.0.1", one.port), timeout=10) as slow:
            head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:{one.port}\r\nContent-Type: application/json\r\n"
            slow.sendall(head.encode() + b"Content-Length: 100\r\n\r\n{")
            start = time.monotonic()
            assert slow.recv(1000).startswith(b"HTTP/1.1 408")
            assert time.monotonic() - start < 8.0
        with socket.create_connection(("127.0.0.1", one.port), timeout=10) as large:
            large.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + b" " * 1000 + b"\r\n")
            large.sendall(2 * (b"3e8\r\n" + b" " * 1000 + b"\r\n"))
            assert large.recv(1000).startswith(b"HTTP/1.1 413")
        found = [one.client.get("/v1/models")[0] for _ in range(300)]
        assert set(found) == {200, 429}
        assert one.client.get("/v1/models")[0] == 429
        assert one.client.headers["retry-after"] == "1"
        assert one.client.get("/health")[0] == 200


def test_an_answer_that_takes_too_long_is_given_up(models, table):
    with serving(models, "--deadline", "0.05") as one:
        status, problem = one.client.post("/v1/bars", {"bars": bars_json(table, 0, 1200)})
        assert (status, problem["error"]) == (504, "deadline")
        # What was begun is done to its end: a bar is taken or not, and never taken twice.
        taken, end = f'qtfeat_bars_total{{result="taken"}} {1200.0 * SYMBOLS}', time.monotonic() + 30
        while taken not in str(one.client.get("/metrics")[1]):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert one.end() == 0


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
