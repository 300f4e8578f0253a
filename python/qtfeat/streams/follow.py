"""The thread of a server that follows streams, and its metrics."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from qtfeat.errors import SchemaError
from qtfeat.serve.logs import tell
from qtfeat.serve.service import Service
from qtfeat.streams.connection import Backoff
from qtfeat.streams.consumer import Consumer, Settings
from qtfeat.streams.messages import StreamSpec, parse_streams
from qtfeat.streams.serving import SIGNALS, Serving

STREAMS = ("market.klines", "market.tick", "exchange.normalized", "trade.closed")
_STOP_SECONDS = 30.0


class Following:
    """Follows streams for a server until it is stopped; a Redis that is away is waited for.

    Args:
        url: the server: `redis://`, `rediss://` or `unix://`.
        streams: names of streams.
        handler: what is done with the messages.
        settings: of the consumer.
    """

    def __init__(self, url: str, streams: Sequence[str], handler: Serving, settings: Settings) -> None:
        self.handler = handler
        self.consumer = Consumer(url, streams, handler, settings)
        handler.lag = self.consumer.lag
        self._stop, self._backoff = threading.Event(), (1.0, 60.0)
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is in hand, save, and end the thread."""
        self._stop.set()
        self._thread.join(_STOP_SECONDS)
        if not self._thread.is_alive():
            self.handler.close()

    def _run(self) -> None:
        backoff = Backoff(*self._backoff)
        while not self._stop.is_set():
            try:
                self.consumer.run(self._stop)
            except SchemaError as error:
                tell("the streams cannot be followed; it is tried again", logging.ERROR, error=str(error))
            except Exception:
                # What a message makes fail is delivered again a few times, in the end alone, and then a dead letter.
                logging.getLogger(__name__).exception("a message could not be processed")
            self._stop.wait(0 if self._stop.is_set() else backoff.next())


class StreamMetrics(Collector):
    """What became of messages, read when someone asks.

    Args:
        following: whose counts.
    """

    def __init__(self, following: Following) -> None:
        self._following = following

    def describe(self) -> Iterable[Metric]:
        """Name nothing in advance."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Read the counts."""
        one = self._following
        found = CounterMetricFamily("qtfeat_stream_messages", "Stream messages by what became of them", labels=["what"])
        for name, count in sorted({**one.consumer.counts, **one.handler.counts, **one.handler.tick_counts}.items()):
            found.add_metric([name], count)
        yield found
        yield GaugeMetricFamily("qtfeat_stream_following", "1 while streams are followed", value=int(one.alive))


def following(
    url: str,
    store: Path | None,
    *,
    streams: Sequence[StreamSpec] | None = None,
    signals: str = SIGNALS,
    consumer: str = "server",
    wait: float = 2.0,
) -> Callable[[Service], Following]:
    """Return what makes a follower of a service; `qtfeat.serve.feed.prepare` takes it.

    Making it takes up what was interrupted; `start` begins to consume.

    Args:
        url: the Redis.
        store: folder of the server's state; `streams/` in it is used.
        streams: what to follow; by default those of `STREAMS`.
        signals: stream that signals go to.
        consumer: name in the consumer group. The same on every host: what a server left behind must come first when
            it starts again somewhere else, for the engine takes bars in order.
        wait: seconds that the bars of one open time wait for each other.

    Raises:
        SchemaError: no store.
    """
    if store is None:
        raise SchemaError("--redis needs --store: what is acknowledged must be on the disk")
    specs = tuple(streams or parse_streams(list(STREAMS)))

    def make(service: Service) -> Following:
        group = f"qtfeat-serve-{service.live.production.name}"
        handler = Serving(service, specs, store / "streams", group=group, signals=signals, wait=wait)
        several = sum(spec.kind != "trades" for spec in specs) > 1
        settings = Settings(group, consumer, block=0.2, in_order=several)
        one = Following(url, [spec.name for spec in specs], handler, settings)
        service.metrics.registry.register(StreamMetrics(one))
        tell("following streams", streams=[spec.name for spec in specs], group=group, **handler.counts)
        return one

    return make
