"""The running service: one engine behind a lock, the models that answer requests, and who listens to signals."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from qtfeat.errors import SchemaError
from qtfeat.serve.engine import Engine
from qtfeat.serve.ingest import ClosedBar, Ingested, ingest
from qtfeat.serve.metrics import Metrics
from qtfeat.serve.model import ServedModel
from qtfeat.serve.record import Recorder
from qtfeat.serve.signal import Signal

RECENT = 500
# How far the clock of whoever sends bars may be ahead of this one.
SETTLE_NS = 2_000_000_000
MOST_SUBSCRIBERS = 32
_WAITING_EVENTS = 256


@dataclass(frozen=True, slots=True)
class Live:
    """The models that answer: one reference, replaced whole. A request reads it once.

    Attributes:
        production: the model of all answers.
        shadow: the model beside it, if any.
        previous: version that `rollback` returns to, if any.
    """

    production: ServedModel
    shadow: ServedModel | None = None
    previous: str | None = None


class Service:
    """Bars in and signals out, from several threads; predictions without state need no lock.

    Args:
        engine: the engine; nobody else may touch it from now on.
        live: its models.
        metrics: what is measured.
        recorder: where signals are stored; None stores none.
        clock: seconds since 1970, for what has not closed yet and for stale models.

    Attributes:
        live: the models that answer now.
        draining: True from the moment that the process was told to end.
        reload_error: why the last load of another version failed; empty if it did not.
        recent: the last signals of production, oldest first.
        on_end: called when the server ends, before its state is saved: feeds stop here.
    """

    def __init__(
        self,
        engine: Engine,
        live: Live,
        metrics: Metrics,
        recorder: Recorder | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.engine, self.live, self.metrics = engine, live, metrics
        self.draining, self.reload_error = False, ""
        self.recent: deque[Signal] = deque(maxlen=RECENT)
        self.seconds: deque[float] = deque(maxlen=2000)
        self.on_end: list[Callable[[], None]] = []
        self._recorder, self._clock = recorder, clock
        self._lock = threading.RLock()
        self._listeners: dict[asyncio.Queue[bytes | None], asyncio.AbstractEventLoop] = {}
        if recorder is not None:
            engine.on_signals, engine.on_save = self._record, recorder.flush
        metrics.watch(self._facts)

    # --- bars ---------------------------------------------------------------------------------------------------

    def take(self, bars: Sequence[ClosedBar], *, known_closed: bool = False) -> Ingested:
        """Show the engine closed bars; one that has not closed by the clock is refused.

        Args:
            bars: the bars, in any order.
            known_closed: the caller has made sure that they have closed; the clock is not asked.

        Raises:
            SchemaError: a symbol outside the universe; nothing was taken then.
        """
        latest = self.now_ns + SETTLE_NS - self.engine.interval_ns
        closed = [bar for bar in bars if known_closed or bar.time_ns <= latest]
        with self._lock:
            out = ingest(self.engine, closed)
        if not known_closed:
            out.refused += [(bar, "forming: the bar has not closed yet") for bar in bars if bar.time_ns > latest]
        self._measure(out)
        self.recent.extend(out.signals)
        self._publish(out)
        return out

    def peek(self, bar: ClosedBar) -> Signal:
        """Return the signal that a forming bar would give if it closed now.

        Raises:
            SchemaError: a symbol outside the universe, or a bar that is not newer than the last closed one.
        """
        with self._lock:
            return self.engine.peek(bar.symbol, bar.values, bar.time_ns)

    def warm_up(self, bars: Any) -> int:
        """Show the engine history; see `Engine.warm_up`."""
        with self._lock:
            return self.engine.warm_up(bars)

    def end(self) -> None:
        """Stop the feeds, and make state and signals durable."""
        for stop in self.on_end:
            stop()
        self.save()

    def save(self) -> None:
        """Make state and signals durable."""
        with self._lock:
            self.engine.save()
            if self._recorder is not None:
                self._recorder.flush()

    # --- models -------------------------------------------------------------------------------------------------

    def replace(self, live: Live) -> None:
        """Put other models in place between two bars; on an error all stays as it was."""
        with self._lock:
            if live.production.version != self.live.production.version:
                self.engine.swap(live.production)
            if live.shadow is None:
                self.engine.drop_shadow()
            elif self.engine.shadow is None or self.engine.shadow.version != live.shadow.version:
                self.engine.swap(live.shadow, shadow=True)
            self.live = live

    def stale(self, model: ServedModel) -> str:
        """Return why a model must not speak now; empty if it may."""
        expires = model.expires_after_ns
        return "" if expires is None or self.now_ns <= expires else "the model is stale: it has expired"

    # --- what is known ------------------------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        """The time, nanoseconds since 1970 UTC."""
        return int(self._clock() * 1e9)

    def read(self, what: Callable[[Engine], Any]) -> Any:
        """Return what a function reads from the engine, between two bars."""
        with self._lock:
            return what(self.engine)

    @contextmanager
    def between_bars(self) -> Iterator[None]:
        """Hold the engine: what is done inside is one thing to everybody else."""
        with self._lock:
            yield

    def ready(self) -> dict[str, bool]:
        """Tell per symbol whether it has seen enough bars, without waiting for bars that are being taken."""
        return self.engine.ready()

    # --- listeners ----------------------------------------------------------------------------------------------

    def subscribe(self) -> asyncio.Queue[bytes | None]:
        """Return a queue of server-sent events for the running loop; None ends it.

        Raises:
            SchemaError: there are as many as may be.
        """
        if len(self._listeners) >= MOST_SUBSCRIBERS:
            raise SchemaError(f"{MOST_SUBSCRIBERS} event streams are open; close one")
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING_EVENTS)
        self._listeners[queue] = asyncio.get_running_loop()
        self.metrics.subscribers.set(len(self._listeners))
        return queue

    def unsubscribe(self, queue: asyncio.Queue[bytes | None]) -> None:
        """Forget a queue."""
        self._listeners.pop(queue, None)
        self.metrics.subscribers.set(len(self._listeners))

    def announce(self, event: str, facts: Any) -> None:
        """Send an event to all listeners, from any thread."""
        if self._listeners:
            self._send(b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(facts)))

    def end_streams(self) -> None:
        """End all event streams: the process is about to stop."""
        self.draining = True
        self._send(None)

    def _publish(self, out: Ingested) -> None:
        if not self._listeners:
            return
        for lane, signals in (("signal", out.signals), ("shadow", out.shadow)):
            for signal in signals:
                self.announce(lane, signal)

    def _send(self, event: bytes | None) -> None:
        for queue, loop in list(self._listeners.items()):
            loop.call_soon_threadsafe(_put, queue, event)

    # --- inside -------------------------------------------------------------------------------------------------

    def _record(self, signals: Sequence[Signal]) -> None:
        """Store the signals of a cycle; the engine calls this before a snapshot covers their bars."""
        if self._recorder is None:
            return
        for signal in signals:
            self._recorder.add("production", signal, self.engine.features(signal.symbol))
            beside = self.engine.shadow_signals.get(signal.symbol)
            if beside is not None:
                self._recorder.add("shadow", beside)

    def _measure(self, out: Ingested) -> None:
        for stages in out.stages:
            for stage, seconds in stages.items():
                self.metrics.stage.labels(stage).observe(seconds)
            self.seconds.append(stages["total"])
        for lane, signals in (("production", out.signals), ("shadow", out.shadow)):
            for signal in signals:
                self.metrics.signals.labels(lane, signal.source, signal.side).inc()

    def _facts(self) -> dict[str, Any]:
        """Return what the metrics read when they are asked."""
        with self._lock:
            ready = self.engine.ready()
            counters, drift = dict(self.engine.counters), self.engine.drift
        live = self.live
        models = {"production": live.production} | ({"shadow": live.shadow} if live.shadow else {})
        return {
            "counters": counters,
            "drift": drift,
            "symbols": len(ready),
            "ready": sum(ready.values()),
            "models": {
                lane: {
                    "version": model.version,
                    "fingerprint": model.fingerprint,
                    "trained_until_ns": model.trained_until_ns,
                    "expires_ns": model.expires_after_ns,
                }
                for lane, model in models.items()
            },
        }


def _put(queue: asyncio.Queue[bytes | None], event: bytes | None) -> None:
    """Queue an event; a listener that reads too slowly loses the oldest."""
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(event)
