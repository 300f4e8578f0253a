"""Time bars from ticks, one tick at a time, with exact edges: a bar has the ticks of [start, start + interval)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from qtfeat._times import interval_ns
from qtfeat.errors import SnapshotError


@dataclass(slots=True)
class _Open:
    """The bar of one symbol that is being built; first and last are the times of open and close."""

    start: int
    first: int
    last: int
    bar: list[float]
    seen: Seen


@dataclass(slots=True)
class Seen:
    """Trade ids of one bar: numbers as ranges, for exchanges number trades without holes; others one by one."""

    bounds: list[int] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def add(self, id_: str) -> bool:
        """Remember an id; return whether it is new."""
        if not (id_.isascii() and id_.isdigit()) or (id_[0] == "0" and id_ != "0"):
            new = id_ not in self.names
            self.names.add(id_)
            return new
        number = int(id_)
        # Bounds are start, stop, start, stop, ...: an odd position is inside a range.
        at = bisect_right(self.bounds, number)
        if at % 2:
            return False
        left = at > 0 and self.bounds[at - 1] == number
        right = at < len(self.bounds) and self.bounds[at] == number + 1
        if left and right:
            del self.bounds[at - 1 : at + 1]
        elif left:
            self.bounds[at - 1] = number + 1
        elif right:
            self.bounds[at] = number
        else:
            self.bounds[at:at] = [number, number + 1]
        return True


class TickBars:
    """Builds closed bars of many symbols from one stream of ticks.

    A bar closes when its symbol has a tick at or after its end, or when any symbol has one `grace` later than that:
    so the bars are a function of the stream alone. A period without ticks has no bar. A tick of a bar that has closed
    is `late`, and one whose trade id its bar has seen is a `duplicate`; neither counts.

    Args:
        interval: length of a bar, such as `"1h"`; bars start at whole multiples since 1970 UTC.
        grace: how long a quiet symbol's bar waits for its own ticks, such as `"2s"`.

    Attributes:
        counts: `ticks`, `late`, `duplicate`.
    """

    def __init__(self, interval: str, grace: str = "2s") -> None:
        self._width, self._grace = interval_ns(interval), interval_ns(grace)
        self._open: dict[str, _Open] = {}
        self._closed: dict[str, int] = {}
        # Ends of open bars, to see at once that none is due.
        self._due: list[tuple[int, str]] = []
        self.counts: Counter[str] = Counter()

    def add(
        self, symbol: str, time_ns: int, price: float, quantity: float, trade_id: str | None = None
    ) -> list[tuple[str, int, list[float]]]:
        """Take a tick; return the bars that it closes, oldest first: symbol, open time in ns, five numbers."""
        self.counts["ticks"] += 1
        start = time_ns - time_ns % self._width
        out = self._past(time_ns, symbol, start)
        one = self._open.get(symbol)
        if start < (one.start if one else self._closed.get(symbol, start - 1) + 1):
            self.counts["late"] += 1
            return out
        if one is None:
            one = _Open(start, time_ns, time_ns, [price, price, price, price, 0.0], Seen())
            self._open[symbol] = one
            self._due.insert(bisect_left(self._due, (start, symbol)), (start, symbol))
        if trade_id is not None and not one.seen.add(trade_id):
            self.counts["duplicate"] += 1
            return out
        bar = one.bar
        if time_ns < one.first:
            one.first, bar[0] = time_ns, price
        if time_ns >= one.last:
            one.last, bar[3] = time_ns, price
        bar[1], bar[2] = max(bar[1], price), min(bar[2], price)
        bar[4] += quantity
        return out

    def _past(self, time_ns: int, symbol: str, start: int) -> list[tuple[str, int, list[float]]]:
        """Close what is over: bars whose grace has passed, and the symbol's own."""
        over = [s for t, s in self._due[: self._count_due(time_ns)]]
        own = self._open.get(symbol)
        if own is not None and own.start < start and symbol not in over:
            over.append(symbol)
        if not over:
            return []
        closed = sorted((self._open[s].start, s) for s in over)
        self._due = [entry for entry in self._due if entry[1] not in over]
        out = []
        for at, name in closed:
            out.append((name, at, self._open.pop(name).bar))
            self._closed[name] = at
        return out

    def _count_due(self, time_ns: int) -> int:
        return bisect_left(self._due, (time_ns - self._width - self._grace + 1, ""))

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as JSON values."""
        return {
            "width": self._width,
            "open": {
                symbol: [one.start, one.first, one.last, [value.hex() for value in one.bar], one.seen.bounds,
                         sorted(one.seen.names)]
                for symbol, one in self._open.items()
            },
            "closed": self._closed,
            "counts": dict(self.counts),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken. Raises SnapshotError for another interval or a damaged state."""
        try:
            if state["width"] != self._width:
                raise SnapshotError("the state is of bars of another interval")
            opened = {}
            for symbol, (start, first, last, bar, bounds, names) in state["open"].items():
                opened[symbol] = _Open(start, first, last, list(map(float.fromhex, bar)), Seen(bounds, set(names)))
            self._closed, self.counts = dict(state["closed"]), Counter(state["counts"])
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, SnapshotError):
                raise
            raise SnapshotError(f"the state of the bars being built is damaged: {error}") from error
        self._open = opened
        self._due = sorted((one.start, symbol) for symbol, one in opened.items())
