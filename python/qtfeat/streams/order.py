"""Messages of several streams in one order, that of their ids, however far each stream was read."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

Place = tuple[int, int, str]
"""Milliseconds, sequence number and stream: where a message stands among all."""

_END = 2**64


class Message(Protocol):
    """What is put in order."""

    @property
    def stream(self) -> str:
        """The stream."""

    @property
    def id(self) -> str:
        """Its id, `ms-seq`."""


M = TypeVar("M", bound=Message)


def place(entry: Message) -> Place:
    """Where a message stands."""
    ms, _, seq = entry.id.partition("-")
    return int(ms), int(seq or 0), entry.stream


class Order(Generic[M]):
    """Holds messages back until no stream can bring one that comes before them.

    Up to its mark everything of a stream was delivered: the last message of a full read; the moment before the read
    where the read took all there was, for ids are given by the same clock.

    Args:
        streams: names of the streams.
        most: messages of one stream that are held before it is not read any further.
    """

    def __init__(self, streams: Sequence[str], most: int) -> None:
        self._marks: dict[str, Place] = {stream: (-1, 0, stream) for stream in streams}
        self._heap: list[tuple[Place, M]] = []
        self._held: set[tuple[str, str]] = set()
        self._count: Counter[str] = Counter()
        self._most = most

    def __len__(self) -> int:
        """How many are held."""
        return len(self._heap)

    def holds(self, stream: str, id_: str) -> bool:
        """Whether a message is held."""
        return (stream, id_) in self._held

    def readable(self) -> list[str]:
        """The streams that may be read: one that is far ahead of another waits."""
        last = min(self._marks.values())[2]
        return [stream for stream in self._marks if stream == last or self._count[stream] < self._most]

    def add(self, entries: Iterable[M]) -> None:
        """Hold messages."""
        for entry in entries:
            key = entry.stream, entry.id
            if key not in self._held:
                self._held.add(key)
                self._count[entry.stream] += 1
                heapq.heappush(self._heap, (place(entry), entry))

    def read(self, stream: str, entries: Sequence[M], *, full: bool, moment_ms: int) -> None:
        """Take what a read of new messages gave: all there was, unless it is full, since a moment before the read."""
        marks = [self._marks[stream]] + ([place(entries[-1])] if entries else [])
        if not full:
            marks.append((moment_ms, _END, stream))
        self._marks[stream] = max(marks)
        self.add(entries)

    def release(self) -> list[M]:
        """Return the messages that no other can come before, in order."""
        until = min(self._marks.values())
        out = []
        while self._heap and self._heap[0][0] <= until:
            _, entry = heapq.heappop(self._heap)
            self._held.discard((entry.stream, entry.id))
            self._count[entry.stream] -= 1
            out.append(entry)
        return out
