"""The client in a process of its own: keeps connections busy for a while and prints what it saw, as JSON.

    python -m bench.serving.client PORT CONNECTIONS SECONDS < bodies.json

Standard input holds a list of bodies for `POST /v1/predict`. Each connection sends its next request when it has its
answer. The answer to each body must always be the same.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from typing import Any


class Connection:
    """One connection with at most one request on the way."""

    def __init__(self, port: int, requests: list[bytes], at: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests, self.at, self.data, self.start = requests, at, b"", 0

    def send(self) -> None:
        self.start = time.perf_counter_ns()
        self.socket.sendall(self.requests[self.at])

    def receive(self) -> tuple[int, bytes] | None:
        """Status and body, once the answer is whole."""
        self.data += self.socket.recv(1 << 16)
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not found:
            return None
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) < length:
            return None
        self.data = b""
        return int(head[9:12]), body


def run(port: int, connections: int, seconds: float, bodies: list[Any], most: int = sys.maxsize) -> dict[str, Any]:
    """Ask for so many seconds, or until so many requests were answered; return quantiles in microseconds and counts."""
    texts = [json.dumps(body).encode() for body in bodies]
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    requests = [f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text for text in texts]
    taken: list[int] = []
    answers: dict[int, Any] = {}
    errors = 0
    with selectors.DefaultSelector() as selector:
        for k in range(connections):
            one = Connection(port, requests, k % len(requests))
            selector.register(one.socket, selectors.EVENT_READ, one)
            one.send()
        end = time.monotonic() + seconds
        open_now = connections
        while open_now:
            for key, _ in selector.select(30):
                one = key.data
                found = one.receive()
                if found is None:
                    continue
                taken.append(time.perf_counter_ns() - one.start)
                said = found[1].partition(b'"predictions":')[2]
                errors += found[0] != 200 or answers.setdefault(one.at, said) != said
                one.at = (one.at + 1) % len(requests)
                if time.monotonic() < end and len(taken) + open_now <= most:
                    one.send()
                else:
                    selector.unregister(one.socket)
                    one.socket.close()
                    open_now -= 1
    ordered = sorted(taken)
    quantile = {f"p{q}": ordered[min(len(ordered) - 1, len(ordered) * q // 100)] / 1e3 for q in (50, 99)}
    return {
        **quantile,
        "requests": len(taken),
        "errors": errors,
        "answers": {str(at): said.decode() for at, said in answers.items()},
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), json.load(sys.stdin))))
