"""Bars of one open time together, however they come in: a cycle is a function of the messages alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from qtfeat.errors import SnapshotError
from qtfeat.serve.ingest import ClosedBar


@dataclass(slots=True)
class _Open:
    """A cycle that waits for bars; `first_ms` is the time of the message that opened it."""

    first_ms: int
    bars: list[ClosedBar] = field(default_factory=list)
    symbols: set[str] = field(default_factory=set)


class Cycles:
    """Collects bars by open time. A cycle closes when every symbol has its bar, or `wait` after its first one.

    The clock is that of the messages: the milliseconds in their ids. So the same messages make the same cycles,
    however they were read and whatever was interrupted. Cycles close in order of time; a bar of a cycle that has
    closed is a cycle of its own.

    Args:
        symbols: number of symbols of the universe.
        wait: seconds that a cycle waits for the rest of its bars.
    """

    def __init__(self, symbols: int, wait: float = 2.0) -> None:
        self._symbols, self._wait = symbols, int(wait * 1000)
        self._open: dict[int, _Open] = {}
        self._last: int | None = None
        self._closed: deque[list[ClosedBar]] = deque()

    @property
    def waiting(self) -> bool:
        """Whether some cycle waits for bars."""
        return bool(self._open)

    def add(self, bar: ClosedBar, ms: int) -> None:
        """Take a bar that a message of that millisecond brought."""
        if self._last is not None and bar.time_ns <= self._last:
            self._closed.append([bar])
            return
        one = self._open.setdefault(bar.time_ns, _Open(ms))
        one.bars.append(bar)
        one.symbols.add(bar.symbol)
        self.advance(ms)

    def advance(self, ms: int) -> None:
        """Close what is complete, and what has waited long enough when a message of that millisecond comes."""
        while self._open:
            time = min(self._open)
            one = self._open[time]
            if len(one.symbols) < self._symbols and one.first_ms + self._wait >= ms:
                return
            self._closed.append(self._open.pop(time).bars)
            self._last = time

    def pop(self) -> list[ClosedBar] | None:
        """Return the oldest closed cycle that was not returned yet; None if there is none."""
        return self._closed.popleft() if self._closed else None

    # --- another process ----------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as JSON values."""
        return {
            "open": [[one.first_ms, [_packed(bar) for bar in one.bars]] for one in self._open.values()],
            "closed": [[_packed(bar) for bar in cycle] for cycle in self._closed],
            "last": self._last,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken. Raises SnapshotError for a damaged state."""
        try:
            opened = {}
            for first_ms, packed in state["open"]:
                bars = _unpacked(packed)
                opened[bars[0].time_ns] = _Open(int(first_ms), bars, {bar.symbol for bar in bars})
            closed, last = deque(_unpacked(cycle) for cycle in state["closed"]), state["last"]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise SnapshotError(f"the state of the cycles is damaged: {error}") from error
        self._open, self._closed, self._last = opened, closed, last


def _packed(bar: ClosedBar) -> list[Any]:
    return [bar.symbol, bar.time_ns, *(value.hex() for value in bar.values)]


def _unpacked(bars: Iterable[list[Any]]) -> list[ClosedBar]:
    out = []
    for symbol, time_ns, *five in bars:
        o, h, lo, c, v = map(float.fromhex, five)
        out.append(ClosedBar(str(symbol), int(time_ns), (o, h, lo, c, v)))
    return out
