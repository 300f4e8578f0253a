"""What every request passes before its handler: identity, origin, limits, a deadline, and one line in the log."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import msgspec

from qtfeat.serve.logs import tell
from qtfeat.serve.messages import Problem
from qtfeat.serve.service import Service
from qtfeat.serve.tokens import Tokens

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
# Anyone may ask these; they tell nothing of bars or models.
OPEN_PATHS = frozenset({"/", "/health", "/ready", "/v2/health/live", "/v2/health/ready"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{1,64}")
_MOST_CLIENTS = 4096
_STREAM = "/v1/stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one server takes.

    Attributes:
        body: bytes of a request's body.
        in_flight: requests answered at the same time; more get 503.
        rate: requests per second and client (token, else address); 0 for no limit. More get 429.
        burst: requests at once that the rate allows.
        deadline: seconds for a request from its first line to its answer; 408 while its body is missing, else 504.
            A new connection that sends nothing for so long is closed.
    """

    body: int = 4 << 20
    in_flight: int = 64
    rate: float = 0.0
    burst: int = 200
    deadline: float = 10.0


class Guard:
    """ASGI application around the handlers.

    Args:
        app: the handlers.
        service: for metrics and for whether the process is draining.
        tokens: bearer tokens; none means that everybody may do everything, which only loopback allows.
        limits: what is taken.
        loopback: whether the server listens on loopback only; other `Host` names are refused then, which keeps
            web pages from reaching it through a name of theirs.
    """

    def __init__(self, app: Any, service: Service, tokens: Tokens, limits: Limits, *, loopback: bool) -> None:
        self._app, self._service, self._tokens, self._limits = app, service, tokens, limits
        self._loopback = loopback
        self._metrics = service.metrics
        self._in_flight = 0
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = _Call(scope, receive, send)
        try:
            refusal = self._refusal(call)
            if refusal is not None:
                reason, status, message = refusal
                self._metrics.turned_away.labels(reason).inc()
                await call.refuse(status, reason, message)
            else:
                await self._answer(call)
        finally:
            self._finish(call)

    async def _answer(self, call: _Call) -> None:
        streaming = call.path == _STREAM
        counted = not streaming and call.path not in OPEN_PATHS
        self._in_flight += counted
        self._metrics.in_flight.set(self._in_flight)
        try:
            async with asyncio.timeout(None if streaming else self._limits.deadline):
                await self._app(call.scope, call.receive, call.send)
        except TimeoutError:
            self._metrics.turned_away.labels("deadline").inc()
            if call.status == 0:
                text = f"no answer within {self._limits.deadline:g} s"
                await call.refuse(504 if call.body_done else 408, "deadline", text)
        finally:
            self._in_flight -= counted
            self._metrics.in_flight.set(self._in_flight)

    def _refusal(self, call: _Call) -> tuple[str, int, str] | None:
        """Return (reason, status, message) of a request that no handler shall see."""
        open_to_all = call.path in OPEN_PATHS or call.path.startswith("/page/")
        if not self._from_here(call):
            return "origin", 403, "the request's Host or Origin is not this server's"
        if call.has_token:
            call.holder = self._tokens.find(call.token)
        if len(self._tokens) and not open_to_all and call.holder is None:
            return "token", 401, "a bearer token is needed: Authorization: Bearer ..."
        call.scope["qtfeat.scopes"] = call.holder.scopes if call.holder else None if len(self._tokens) else "all"
        if call.path in OPEN_PATHS:
            return None
        if self._service.draining:
            return "draining", 503, "the server is ending"
        if self._limits.rate > 0.0 and not self._within_rate(call.client):
            return "rate", 429, f"more than {self._limits.rate:g} requests per second"
        if call.length > self._limits.body:
            return "body", 413, f"the body has more than {self._limits.body:,} bytes"
        if call.method == "POST" and call.length and call.content_type != b"application/json":
            return "media", 415, "the body must be application/json"
        if self._in_flight >= self._limits.in_flight:
            return "concurrency", 503, f"{self._limits.in_flight} requests are being answered; try again"
        return None

    def _from_here(self, call: _Call) -> bool:
        host = call.header(b"host").decode("latin-1").lower()
        if self._loopback and host.rsplit(":", 1)[0] not in LOOPBACK_HOSTS and host not in LOOPBACK_HOSTS:
            return False
        origin = call.header(b"origin").decode("latin-1").lower()
        return not origin or origin.split("://", 1)[-1] == host

    def _within_rate(self, client: str) -> bool:
        """Take a token from the client's bucket; clients that were seen last stay."""
        now = time.monotonic()
        left, at = self._buckets.pop(client, (float(self._limits.burst), now))
        left = min(float(self._limits.burst), left + (now - at) * self._limits.rate)
        allowed = left >= 1.0
        self._buckets[client] = (left - allowed, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return allowed

    def _finish(self, call: _Call) -> None:
        seconds = time.perf_counter() - call.start
        route = str(call.scope.get("path_template") or ("-" if call.status else call.path[:40]))
        self._metrics.request.labels(route, str(call.status)).observe(seconds)
        level = logging.DEBUG if call.path in OPEN_PATHS or call.path == "/metrics" else logging.INFO
        model = self._service.live.production
        tell(
            "request",
            level,
            request_id=call.id,
            method=call.method,
            path=call.path[:200],
            status=call.status,
            ms=round(seconds * 1e3, 3),
            client=call.holder.name if call.holder else None,
            model=model.version,
            fingerprint=model.fingerprint,
        )


class _Call:
    """One request: what its headers say, and what became of it."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.start = time.perf_counter()
        self.path, self.method = str(scope["path"]), str(scope["method"])
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.header(b"x-request-id")
        self.id = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["qtfeat.request_id"] = self.id
        self.holder: Any = None
        self.status = 0
        self.body_done = False
        kind, _, credential = self.header(b"authorization").decode("latin-1").partition(" ")
        self.has_token = kind.lower() == "bearer"
        self.token = credential.strip()
        self.content_type = self.header(b"content-type").split(b";")[0].strip().lower()
        length = self.header(b"content-length")
        chunked = bool(self.header(b"transfer-encoding"))
        # A body of unknown length is counted as it is read.
        self.length = int(length) if length.isdigit() else int(chunked)

    @property
    def client(self) -> str:
        """Whose bucket the request draws on."""
        if self.holder:
            return f"token {self.holder.name}"
        return str((self.scope.get("client") or ("?",))[0])

    def header(self, name: bytes) -> bytes:
        """Return a header, empty if there is none."""
        return self._headers.get(name, b"")

    async def receive(self) -> Any:
        """Pass on what comes in, and note when the body is whole."""
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.body_done = True
        return message

    async def send(self, message: Any) -> None:
        """Pass on what goes out, with the request id."""
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            message["headers"] = [*message.get("headers", []), (b"x-request-id", self.id.encode())]
        await self._send(message)

    async def refuse(self, status: int, reason: str, message: str) -> None:
        """Answer instead of a handler."""
        body = msgspec.json.encode(Problem(status, reason, message, self.id))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if status in (429, 503):
            headers.append((b"retry-after", b"1"))
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if not self.body_done and (status in (408, 413) or self.length):
            # What is left of the body is not read.
            headers.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
