"""A consumer of Redis streams that loses nothing: process, make durable, only then acknowledge."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from qtfeat.errors import SchemaError
from qtfeat.streams.connection import Backoff, connect, redis_module, transient
from qtfeat.streams.dead import Dead, bury
from qtfeat.streams.order import Order

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)
Key = tuple[str, str]
"""Stream and message id."""
Run = tuple[list[str], bool]
"""Ids, and whether there is one of them only because it may kill."""

# How long a read waits while messages are held: only for the clock to go on.
_HELD_SECONDS = 0.002

# JUSTID: taking over is no delivery. A script, because redis-py drops the cursor of this form.
_CLAIM = "return redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', 1000, 'JUSTID')"


@dataclass(frozen=True, slots=True)
class Entry:
    """One message: its stream, its id `ms-seq`, its fields in bytes."""

    stream: str
    id: str
    fields: Mapping[bytes, bytes]

    @property
    def key(self) -> Key:
        """What `Handler.process` names it by."""
        return self.stream, self.id


class Handler(Protocol):
    """What is done with messages."""

    def connected(self, client: Redis) -> None:
        """Called after every connection, before the first message: the place to finish what was interrupted."""

    def process(self, entries: Sequence[Entry]) -> Mapping[Key, str]:
        """Do the work and make it durable; return what can never be processed, with the reason.

        May get a message again, and must then not count it twice. An OSError is tried again with the same messages;
        any other exception ends the consumer, and the messages come again when it starts again.
        """

    def acknowledge(self, client: Redis, group: str, entries: Sequence[Entry]) -> None:
        """Acknowledge what was processed."""

    def after(self) -> None:
        """Called after messages were acknowledged, and when there was nothing to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a consumer behaves.

    Attributes:
        group: consumer group; made where it is missing.
        name: consumer in the group; the host's name if empty. What it left pending is its own after a restart.
        start: where a new group starts: `0` the stream's first message, `$` what comes from now on.
        batch: messages per read and stream.
        block: seconds to wait for a message.
        max_deliveries: a message that failed so often goes to the dead-letter stream; one over which the consumer
            died, so that nobody knows why, is delivered once more.
        retry_after: seconds before a failed message is tried again; doubles with every delivery,
        retry_longest: up to so many.
        claim_after: seconds after which messages that another consumer holds are taken over.
        in_order: messages of several streams come in the order of their ids, whatever was interrupted, milliseconds
            later; else each stream in its own.
        dead_letter: name of the dead-letter stream; `{stream}` is the message's own.
    """

    group: str
    name: str = ""
    start: str = "0"
    batch: int = 1000
    block: float = 1.0
    max_deliveries: int = 5
    retry_after: float = 0.5
    retry_longest: float = 60.0
    claim_after: float = 60.0
    in_order: bool = False
    dead_letter: str = "{stream}.dead"

    def __post_init__(self) -> None:
        """Refuse what cannot work. Raises SchemaError."""
        if not self.group:
            raise SchemaError("a consumer needs a group")
        if self.batch < 1 or self.max_deliveries < 1:
            raise SchemaError("batch and max_deliveries must be at least 1")
        if min(self.block, self.retry_after, self.claim_after) <= 0:
            raise SchemaError("block, retry_after and claim_after must be more than 0 seconds")

    @property
    def consumer(self) -> str:
        """The name in the group."""
        return self.name or socket.gethostname()


class Consumer:
    """One consumer of a group on some streams.

    Its own pending messages come first, then new ones, each stream in order. A message counts as delivered each time
    Redis hands it out, also to a process that died over it: so what kills the consumer is found as well. The last
    deliveries of such a message are alone, so that it takes no other with it.

    Args:
        client: a client from `connect`, or a URL.
        streams: names of the streams.
        handler: what is done with the messages.
        settings: see there.

    Attributes:
        counts: `received`, `acknowledged`, `failed`, `dead`, `claimed`, `trimmed` (gone from the stream before they
            were processed), `reconnects`.
    """

    def __init__(self, client: Redis | str, streams: Sequence[str], handler: Handler, settings: Settings) -> None:
        if not streams:
            raise SchemaError("a consumer needs at least one stream")
        timeout = settings.block + 10
        self._client: Any = connect(client, timeout=timeout) if isinstance(client, str) else client
        self._streams, self._handler, self.settings = tuple(streams), handler, settings
        self._failed: dict[Key, str] = {}
        self._order = self._new_order()
        self._claim_at = self._retry_at = 0.0
        self._backoff = Backoff()
        self.counts: Counter[str] = Counter()

    def run(self, stop: threading.Event, *, until_idle: bool = False) -> None:
        """Consume until `stop` is set, or with `until_idle` until nothing is new and nothing pending.

        A server that is away is waited for; it may restart at any time.

        Raises:
            SchemaError: the server refuses the user or its commands.
        """
        e = redis_module().exceptions
        backoff = Backoff()
        while not stop.is_set():
            try:
                self._begin()
                while not stop.is_set():
                    idle = self._turn(stop)
                    backoff.reset()
                    if idle and until_idle and not self._has_pending():
                        return
            except (e.RedisError, ConnectionError) as error:
                if not transient(error):
                    raise SchemaError(f"Redis refuses: {error}") from error
                wait = backoff.next()
                self.counts["reconnects"] += 1
                log.warning("redis: %s; next attempt in %.1f s", error, wait)
                stop.wait(wait)

    def lag(self) -> dict[str, dict[str, float]]:
        """Per stream: `pending` messages of the group, `seconds` between the last message and the last delivered."""
        out = {}
        for stream in self._streams:
            groups = [g for g in self._client.xinfo_groups(stream) if g["name"] == self.settings.group.encode()]
            last = self._client.xinfo_stream(stream)["last-generated-id"]
            seen = groups[0]["last-delivered-id"] if groups else b"0-0"
            pending = groups[0]["pending"] if groups else 0
            behind = 0.0 if seen == b"0-0" and last == b"0-0" else (_millis(last) - _millis(seen)) / 1000
            out[stream] = {"pending": float(pending), "seconds": max(behind, 0.0)}
        return out

    # --- one connection -----------------------------------------------------------------------------------------

    def _begin(self) -> None:
        e = redis_module().exceptions
        for stream in self._streams:
            try:
                self._client.xgroup_create(stream, self.settings.group, id=self.settings.start, mkstream=True)
            except e.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise
        self._handler.connected(self._client)
        # What was held is pending, and comes again.
        self._order = self._new_order()
        self._claim_at = self._retry_at = 0.0

    def _turn(self, stop: threading.Event) -> bool:
        """Do what there is to do; return whether there was nothing new."""
        now = time.monotonic()
        if now >= self._claim_at:
            if self._claim():
                self._retry_at = 0.0
            self._claim_at = now + self.settings.claim_after / 2
        if now >= self._retry_at:
            self._own_pending(stop)
            self._retry_at = time.monotonic() + self.settings.retry_after
        if stop.is_set():
            return False
        wait = self.settings.block
        if self._failed:
            wait = min(wait, max(self._retry_at - time.monotonic(), 0.001))
        entries = self._read(wait) if self._order is None else self._read_in_order(self._order, wait)
        if entries:
            self._work(entries, stop)
        elif not self._order:
            self._handler.after()
        return not entries and not self._order

    def _read(self, wait: float, streams: Sequence[str] = ()) -> list[Entry]:
        """Read new messages, each stream in order."""
        s, wanted = self.settings, dict.fromkeys(streams or self._streams, ">")
        found = self._client.xreadgroup(s.group, s.consumer, wanted, count=s.batch, block=max(1, int(wait * 1000)))
        return [Entry(_text(stream), _text(id_), fields) for stream, some in found or () for id_, fields in some]

    def _read_in_order(self, order: Order[Entry], wait: float) -> list[Entry]:
        """Read new messages and return those whose turn it is."""
        seconds, micros = self._client.time()
        streams = order.readable()
        by_stream: dict[str, list[Entry]] = {stream: [] for stream in streams}
        for entry in self._read(_HELD_SECONDS if order else wait, streams):
            by_stream[entry.stream].append(entry)
        # Milliseconds are not over before the next one has begun.
        moment = seconds * 1000 + micros // 1000 - 1
        for stream, some in by_stream.items():
            order.read(stream, some, full=len(some) >= self.settings.batch, moment_ms=moment)
        return order.release()

    def _new_order(self) -> Order[Entry] | None:
        several = self.settings.in_order and len(self._streams) > 1
        return Order(self._streams, self.settings.batch) if several else None

    def _work(self, entries: Sequence[Entry], stop: threading.Event) -> None:
        self.counts["received"] += len(entries)
        while True:
            try:
                failed = self._handler.process(entries)
                break
            except OSError as error:
                # A full disk must not make good messages look like poison: they are not delivered again.
                wait = self._backoff.next()
                log.warning("cannot process: %s; next attempt in %.1f s", error, wait)
                if stop.wait(wait):
                    return
        self._backoff.reset()
        done = [entry for entry in entries if entry.key not in failed]
        if done:
            self._handler.acknowledge(self._client, self.settings.group, done)
            self.counts["acknowledged"] += len(done)
            for entry in done:
                self._failed.pop(entry.key, None)
        self.counts["failed"] += len([key for key in failed if key not in self._failed])
        self._failed.update(failed)
        self._handler.after()

    # --- what was delivered before ------------------------------------------------------------------------------

    def _claim(self) -> int:
        """Take over what other consumers hold for too long; it is processed as our own pending."""
        s, claimed = self.settings, 0
        for stream in self._streams:
            held = self._client.xpending(stream, s.group)["consumers"]
            cursor: bytes = b"0-0" if any(_text(c["name"]) != s.consumer for c in held) else b""
            while cursor:
                idle = int(s.claim_after * 1000)
                reply = self._client.eval(_CLAIM, 1, stream, s.group, s.consumer, idle, cursor)
                claimed += len(reply[1])
                cursor = b"" if reply[0] == b"0-0" else reply[0]
        if claimed:
            self.counts["claimed"] += claimed
            log.info("took over %d messages", claimed)
        return claimed

    def _own_pending(self, stop: threading.Event) -> None:
        for stream in self._streams:
            for page in self._pages(stream):
                dead, runs = self._sorted(stream, page)
                if dead:
                    bury(self._client, self.settings, dead)
                    self.counts["dead"] += len(dead)
                    for one in dead:
                        self._failed.pop((one.stream, one.id), None)
                for ids, alone in runs:
                    if stop.is_set():
                        return
                    entries = self._again(stream, ids)
                    if self._order is not None and not alone:
                        self._order.add(entries)
                    elif entries:
                        self._work(entries, stop)

    def _pages(self, stream: str) -> Iterator[list[dict[str, Any]]]:
        s, first = self.settings, "-"
        while True:
            page = self._client.xpending_range(stream, s.group, first, "+", s.batch, s.consumer)
            if page:
                yield page
            if len(page) < s.batch:
                return
            first = "(" + _text(page[-1]["message_id"])

    def _sorted(self, stream: str, page: list[dict[str, Any]]) -> tuple[list[Dead], list[Run]]:
        """What is dead, and runs of ids to deliver together, in order."""
        s = self.settings
        dead: list[Dead] = []
        runs: list[Run] = []
        for pending in page:
            id_, times = _text(pending["message_id"]), int(pending["times_delivered"])
            if self._order is not None and self._order.holds(stream, id_):
                continue
            reason = self._failed.get((stream, id_))
            # Whoever died may have known a reason and taken it along: one more delivery finds it, or dies again.
            if times >= s.max_deliveries + (reason is None):
                dead.append(Dead(stream, id_, times, reason or f"the consumer died over it {times} times"))
                continue
            due = min(s.retry_after * 2.0 ** min(times - 1, 60), s.retry_longest)
            if reason is not None and pending["time_since_delivered"] < due * 1000:
                continue
            # A message that failed without a reason may be one that kills: its last two deliveries are alone.
            alone = reason is None and times >= max(1, s.max_deliveries - 2)
            if alone or not runs or runs[-1][1]:
                runs.append(([id_], alone))
            else:
                runs[-1][0].append(id_)
        return dead, runs

    def _again(self, stream: str, ids: list[str]) -> list[Entry]:
        """Deliver messages once more."""
        s = self.settings
        found = self._client.xclaim(stream, s.group, s.consumer, 0, ids)
        entries = [Entry(stream, _text(id_), fields) for id_, fields in found if id_ is not None and fields is not None]
        missing = sorted(set(ids) - {entry.id for entry in entries})
        if missing:
            self.counts["trimmed"] += len(missing)
            log.error(
                "%s: %d messages were trimmed away before they were processed: %s", stream, len(missing), missing[:3]
            )
            self._client.xack(stream, s.group, *missing)
        return entries

    def _has_pending(self) -> bool:
        s = self.settings
        return any(self._client.xpending_range(name, s.group, "-", "+", 1, s.consumer) for name in self._streams)


def acknowledge(client: Any, group: str, keys: Sequence[Key]) -> None:
    """Acknowledge messages, by stream."""
    by_stream: dict[str, list[str]] = {}
    for stream, id_ in keys:
        by_stream.setdefault(stream, []).append(id_)
    pipe = client.pipeline(transaction=False)
    for stream, ids in by_stream.items():
        pipe.xack(stream, group, *ids)
    pipe.execute()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _millis(id_: bytes) -> int:
    return int(id_.partition(b"-")[0])
