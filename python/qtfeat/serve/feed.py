"""Where bars come from beside HTTP: history to warm up with, the exchange's REST pages, Redis streams."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from qtfeat.bars import read_bars
from qtfeat.errors import QtfeatError, SchemaError
from qtfeat.serve.ingest import ClosedBar
from qtfeat.serve.logs import tell
from qtfeat.serve.service import Service

Fetch = Callable[[int], pa.Table]
"""From a number of bars to the latest closed ones of all symbols, in the bar schema."""


class Follower(Protocol):
    """What follows streams in a thread of its own."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End after what is in hand."""


Streams = Callable[[Service], Follower]

# A bar is asked for this long after it has closed, then again until it is there.
_SETTLE_SECONDS = 2.0
_MARGIN = 20


def prepare(
    interval: str,
    *,
    warm_up: Path | None = None,
    poll: tuple[str, str | None] | None = None,
    streams: Streams | None = None,
) -> Callable[[Service], None]:
    """Return what a server calls before its first request.

    Args:
        interval: length of a bar.
        warm_up: bars to warm up with.
        poll: market and base URL of REST pages to warm up from and then to follow.
        streams: makes what follows the streams of a Redis, such as `qtfeat.streams.follow.following` returns. Then
            only an engine that has seen nothing is warmed up.

    Raises:
        SchemaError: both REST pages and streams: a restart would take the bars between from the pages, silently.
    """
    if poll is not None and streams is not None:
        raise SchemaError("bars come from REST pages or from streams: give --poll or --redis, not both")

    def start(service: Service) -> None:
        # What streams brought before a restart must not be passed over by history that reaches further.
        fresh = streams is None or not any(service.read(lambda engine: engine.last_times).values())
        if warm_up is not None and fresh:
            table, quality = read_bars(warm_up)
            tell("warmed up", bars=service.warm_up(table), source=str(warm_up), quality=str(quality))
            service.save()
        if poll is not None:
            Poller(service, rest(service, interval, *poll)).start()
        if streams is not None:
            follower = streams(service)
            service.on_end.append(follower.stop)
            follower.start()

    return start


def rest(service: Service, interval: str, market: str, base_url: str | None) -> Fetch:
    """Return a function that takes the latest closed bars from the exchange."""
    from qtfeat.bars import recent_klines

    symbols = service.engine.symbols
    return lambda bars: recent_klines(symbols, interval, bars, market=market, base_url=base_url)


class Poller:
    """Asks for the latest closed bars after each interval, and shows the engine those it has not seen.

    Args:
        service: where the bars go.
        fetch: where they come from.
    """

    def __init__(self, service: Service, fetch: Fetch) -> None:
        self._service, self._fetch = service, fetch
        self._stop = threading.Event()

    def start(self) -> None:
        """Warm up with what is there, then follow in a daemon thread.

        Raises:
            QtfeatError: the history cannot be had.
        """
        needed = self._service.live.production.features.bars_for(digits=4) + _MARGIN
        table = self._fetch(needed)
        tell("warmed up", bars=self._service.warm_up(table), source="REST")
        threading.Thread(target=self._follow, name="poll", daemon=True).start()

    def stop(self) -> None:
        """End the thread after its present request."""
        self._stop.set()

    def once(self) -> int:
        """Take what is new and return how many bars were taken; a hole since the last call is filled."""
        service = self._service
        seen = [time for time in service.read(lambda engine: engine.last_times).values() if time is not None]
        missing = (service.now_ns - min(seen)) // service.engine.interval_ns if seen else 1
        out = service.take(bars_of(self._fetch(max(2, min(1000, int(missing) + 1)))))
        return len(out.signals)

    def _follow(self) -> None:
        interval = self._service.engine.interval_ns / 1e9
        wait = self._until_next()
        while not self._stop.wait(wait):
            try:
                taken = self.once()
                wait = self._until_next() if taken else min(5.0, interval / 4)
            except (QtfeatError, OSError) as error:
                tell("polling failed; it is tried again", logging.WARNING, error=str(error))
                wait = min(30.0, interval / 2)

    def _until_next(self) -> float:
        interval = self._service.engine.interval_ns
        return (interval - self._service.now_ns % interval) / 1e9 + _SETTLE_SECONDS


def bars_of(table: Any) -> list[ClosedBar]:
    """Return the bars of a table in the bar schema."""
    times = table["open_time"].cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64()).to_pylist()
    values = [table[name].to_pylist() for name in ("open", "high", "low", "close", "volume")]
    return [
        ClosedBar(symbol, time, (o, h, lo, c, v))
        for symbol, time, o, h, lo, c, v in zip(table["symbol"].to_pylist(), times, *values, strict=True)
    ]
