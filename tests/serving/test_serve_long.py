"""A server that runs for long: memory stays flat, and slow or silent clients are let go."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time

import pytest

from bench.serving.client import run
from served import BARS, bars_json, named, serving
from sizes import SOAK, scaled

MEGABYTE = 1 << 20


@pytest.mark.soak
def test_memory_is_flat(shadowed, table, features, tmp_path):
    X, columns = features
    bodies = [{"features": named(columns, row)} for row in X[0, 300:332]]
    bodies.append({"bars": [[row[name] for name in ("open", "high", "low", "close", "volume")] for row in bars(table)]})
    requests = scaled(200_000)
    with serving(shadowed, "--store", str(tmp_path)) as one:
        for start in range(0, BARS, 300):
            one.client.post("/v1/bars", {"bars": bars_json(table, start, start + 300)})
        stop, failed = threading.Event(), []
        beside = threading.Thread(target=others, args=(one, table, stop, failed))
        beside.start()
        try:
            # Caches and pools fill at first.
            first = run(one.port, 8, 600.0, bodies, requests // 4)
            before = memory(one)
            rest = run(one.port, 8, 7000.0, bodies, requests - requests // 4)
            after = memory(one)
        finally:
            stop.set()
            beside.join(60)
        assert first["errors"] + rest["errors"] == 0
        assert not failed
        assert first["requests"] + rest["requests"] >= requests - 16
        print(f"\n{requests:,} requests: {before / MEGABYTE:.1f} MB, then {after / MEGABYTE:.1f} MB")
        # What the allocator keeps for itself swings by some megabytes; 150,000 requests that leave 100 bytes are 15.
        assert after - before < (8 if SOAK else 16) * MEGABYTE
        assert one.end() == 0


def bars(table):
    return table.slice(0, 120).to_pylist()


def memory(one):
    found = re.search(r"^process_resident_memory_bytes (\S+)$", one.client.get("/metrics")[1], re.MULTILINE)
    return float(found[1])


def others(one, table, stop, failed):
    """Event streams that come and go, bars that were seen, requests that are wrong."""
    again = {"bars": bars_json(table, BARS - 5, BARS)}
    while not stop.wait(0.05):
        stream = http.client.HTTPConnection("127.0.0.1", one.port, timeout=20)
        stream.request("GET", "/v1/stream")
        answer = stream.getresponse()
        answer.readline()
        for status, wanted in (
            (one.client.post("/v1/bars", again)[0], 200),
            (one.client.post("/v1/predict", b"{")[0], 400),
            (one.client.get("/v1/state")[0], 200),
            (one.client.get("/nothing" + str(time.monotonic_ns()))[0], 404),
        ):
            if status != wanted:
                failed.append(status)
        answer.close()
        stream.close()


def test_clients_that_say_nothing_or_read_nothing_are_let_go(models):
    with serving(models, "--deadline", "1.5") as server:
        let_go(server)


def let_go(server):
    silent = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    half = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    half.sendall(b"GET /health HTTP/1.1\r\nHost: loc")
    deaf = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    many = f"GET /v1/models HTTP/1.1\r\nHost: localhost:{server.port}\r\n\r\n".encode() * 400
    deaf.settimeout(0.2)
    try:
        while deaf.send(many):
            pass
    except TimeoutError:
        pass
    start = time.monotonic()
    assert server.client.get("/health")[0] == 200
    assert time.monotonic() - start < 5.0
    for one in (silent, half):
        assert one.recv(100) in (b"", b"HTTP/1.1 408")
        assert time.monotonic() - start < 8.0
        one.close()
    deaf.close()
    assert server.client.get("/v1/models")[0] == 200
