"""The server process: loads, warms up, listens, drains."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from qtfeat.errors import SchemaError, SnapshotError
from qtfeat.serve.app import make_app
from qtfeat.serve.engine import Engine
from qtfeat.serve.guard import Limits
from qtfeat.serve.logs import set_up, tell
from qtfeat.serve.metrics import Metrics
from qtfeat.serve.policy import Policy
from qtfeat.serve.record import Recorder
from qtfeat.serve.reload import load_live
from qtfeat.serve.service import Service
from qtfeat.serve.tokens import Tokens

_MOST_CONNECTIONS = 512
_DRAIN_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a server.

    Attributes:
        models: folder of all models.
        name: the model; its `production` version is served.
        symbols: the universe.
        interval: length of a bar.
        host: address to listen at.
        port: port; 0 takes a free one.
        policy: a policy file; None for the shipped policy.
        store: folder for the state and the recorded signals; None keeps neither.
        tokens: file of bearer tokens; needed where others than this machine can connect.
        limits: what is taken.
        on_bad: what a bad bar does.
        on_gap: what missing bars do.
        snapshot_every: bars between two snapshots.
        history: bars per symbol kept in memory for other models.
        watch_every: seconds between two looks at the alias file.
        log_level: `"DEBUG"`, `"INFO"`, `"WARNING"` or `"ERROR"`.
    """

    models: Path
    name: str
    symbols: Sequence[str]
    interval: str
    host: str = "127.0.0.1"
    port: int = 8001
    policy: Path | None = None
    store: Path | None = None
    tokens: Path | None = None
    limits: Limits = field(default_factory=Limits)
    on_bad: str = "raise"
    on_gap: str = "ignore"
    snapshot_every: int = 500
    history: int = 1000
    watch_every: float = 0.5
    log_level: str = "INFO"


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_service(settings: Settings) -> Service:
    """Load the models, make the engine and restore its state.

    A state that does not fit any more (another universe, features or interval) is put aside, and the engine starts in
    warm-up.

    Raises:
        QtfeatError: nothing in production, or a setting that makes no sense.
    """
    live = load_live(settings.models, settings.name)
    state = None if settings.store is None else settings.store / "engine.state"
    engine = Engine(
        live.production,
        settings.symbols,
        interval=settings.interval,
        policy=Policy.load(settings.policy),
        shadow=live.shadow,
        on_bad=settings.on_bad,
        on_gap=settings.on_gap,
        state=state,
        snapshot_every=settings.snapshot_every,
        history=settings.history,
    )
    recorder = None if settings.store is None else Recorder(settings.store / "signals")
    try:
        if engine.load():
            tell("state restored", bars=engine.counters["taken"])
    except SnapshotError as error:
        if state is not None:
            state.replace(state.with_suffix(".unusable"))
        tell("the state does not fit and was put aside; symbols warm up anew", logging.ERROR, error=str(error))
    return Service(engine, live, Metrics(), recorder)


def serve(settings: Settings, *, prepare: Any = None) -> None:
    """Serve until SIGTERM or SIGINT; requests that have begun are answered, then the state is saved.

    Args:
        settings: what to serve, and where.
        prepare: called with the service before the first request, as for warming up.

    Raises:
        SchemaError: an address that others can reach, without tokens.
        QtfeatError: as `make_service`.
    """
    loopback = is_loopback(settings.host)
    tokens = Tokens() if settings.tokens is None else Tokens.load(settings.tokens)
    if not loopback and not len(tokens):
        raise SchemaError(
            f"{settings.host} can be reached from other machines: give --tokens FILE (see `qtfeat token add`), or "
            "listen on 127.0.0.1"
        )
    set_up(settings.log_level)
    service = make_service(settings)
    if prepare is not None:
        prepare(service)
    app = make_app(
        service,
        settings.models,
        settings.name,
        tokens=tokens,
        limits=settings.limits,
        loopback=loopback,
        watch_every=settings.watch_every,
    )
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=type("Protocol", (_Protocol,), {"silent_seconds": settings.limits.deadline}),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    _Server(config, service).run()


class _Server(uvicorn.Server):
    """Ends the event streams as soon as the process is told to end, and then leaves with exit code 0."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Drain on SIGTERM and SIGINT; a second SIGINT ends at once."""
        before = {sig: signal.signal(sig, self._end) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def _end(self, sig: int, _frame: Any) -> None:
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
        self._service.end_streams()


class _Protocol(HttpToolsProtocol):
    """Closes connections that send no request, and those beyond the number that one process can serve.

    Attributes:
        silent_seconds: how long a new connection may take for its first request.
    """

    silent_seconds: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.close()
        else:
            self.loop.call_later(self.silent_seconds, self._close_if_silent)

    def _close_if_silent(self) -> None:
        begun: object = self.cycle  # None until the first request, whatever its annotation says
        if begun is None and not self.transport.is_closing():
            self.transport.close()
