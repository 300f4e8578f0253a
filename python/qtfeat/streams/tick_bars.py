"""Time bars from ticks, one tick at a time: the same bars, bit for bit, as `qtfeat.bars.time_bars` of all of them."""

from __future__ import annotations

from array import array
from base64 import b64decode, b64encode
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qtfeat._times import interval_ns
from qtfeat.bars.calendar import bucket_origin
from qtfeat.bars.group import fold_trades
from qtfeat.errors import SchemaError, SnapshotError
from qtfeat.streams.seen import Seen

MS = 1_000_000
Bar = tuple[str, int, list[float]]
"""Symbol, open time in nanoseconds, open, high, low, close and volume."""


@dataclass(slots=True)
class _Open:
    """The bar of one symbol that is being built: its ticks, in the order in which they came."""

    start: int
    times: array[int] = field(default_factory=lambda: array("q"))
    prices: array[float] = field(default_factory=lambda: array("d"))
    amounts: array[float] = field(default_factory=lambda: array("d"))
    seen: Seen = field(default_factory=Seen)

    def folded(self) -> list[float]:
        """The five numbers of its ticks, in order of time and then of arrival."""
        times, prices, amounts = (np.array(part) for part in (self.times, self.prices, self.amounts))
        order = np.argsort(times, kind="stable")
        whole = np.array([0]), np.array([len(order)])
        return [float(value[0]) for value in fold_trades(prices[order], amounts[order], *whole)]


class TickBars:
    """Builds closed bars of many symbols from one stream of ticks.

    A bar has the ticks of [start, start + interval); starts are those of `qtfeat.bars.time_bars`. It closes when its
    symbol has a tick at or after its end, or when any symbol has one `grace` later than that: so the bars are a
    function of the stream alone. A period without ticks has no bar. Until a bar closes its ticks are kept, 24 bytes
    each, because a sum of floats depends on its order.

    Args:
        interval: length of a bar, such as `"1h"`, or whole nanoseconds.
        grace: seconds that a quiet symbol's bar waits for its own ticks.

    Raises:
        SchemaError: an interval that is not whole milliseconds, or a negative grace.

    Attributes:
        counts: `ticks`; those of them that do not count: `late` (their bar has closed) and `duplicate` (its trade id
            is in their bar already); and `partial`: bars left out because the stream began inside them.
    """

    def __init__(self, interval: Any, grace: float = 2.0) -> None:
        self._width, rest = divmod(interval_ns(interval), MS)
        if rest or grace < 0:
            raise SchemaError(f"bars of ticks need whole milliseconds and grace >= 0, got {interval!r} and {grace!r}")
        self._origin, self._grace = bucket_origin(self._width), int(grace * 1000)
        self._since: int | None = None
        self._open: dict[str, _Open] = {}
        self._closed: dict[str, int] = {}
        # Starts of open bars, to see at once that none is due.
        self._due: list[tuple[int, str]] = []
        self.counts: Counter[str] = Counter()

    def add(self, symbol: str, time_ns: int, price: float, amount: float, trade_id: str | None = None) -> list[Bar]:
        """Take a tick; return the bars that it closes, oldest first."""
        self.counts["ticks"] += 1
        at = time_ns // MS
        start = at - (at - self._origin) % self._width
        if self._since is None:
            self._since = at
        one = self._open.get(symbol)
        out = self._past(at, symbol, start, one)
        one = self._open.get(symbol)
        if start < (one.start if one else self._closed.get(symbol, start - 1) + 1):
            self.counts["late"] += 1
            return out
        if one is None:
            one = self._open[symbol] = _Open(start)
            self._due.insert(bisect_left(self._due, (start, symbol)), (start, symbol))
        if trade_id is not None and not one.seen.add(trade_id):
            self.counts["duplicate"] += 1
            return out
        one.times.append(time_ns)
        one.prices.append(price)
        one.amounts.append(amount)
        return out

    def _past(self, at: int, symbol: str, start: int, own: _Open | None) -> list[Bar]:
        """Close what is over: bars whose grace has passed, and the symbol's own."""
        over = [name for _, name in self._due[: bisect_left(self._due, (at - self._width - self._grace + 1, ""))]]
        if own is not None and own.start < start and symbol not in over:
            over.append(symbol)
        if not over:
            return []
        closed = sorted((self._open[name].start, name) for name in over)
        self._due = [entry for entry in self._due if entry[1] not in over]
        out: list[Bar] = []
        for begin, name in closed:
            bar = self._open.pop(name)
            self._closed[name] = begin
            if self._since is not None and begin < self._since:
                self.counts["partial"] += 1
            else:
                out.append((name, begin * MS, bar.folded()))
        return out

    # --- another process ----------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as JSON values."""
        return {
            "width": self._width,
            "since": self._since,
            "open": {
                symbol: [one.start, _packed(one.times), _packed(one.prices), _packed(one.amounts), *one.seen.state()]
                for symbol, one in self._open.items()
            },
            "closed": dict(self._closed),
            "counts": dict(self.counts),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken. Raises SnapshotError for another interval or a damaged state."""
        try:
            if state["width"] != self._width:
                raise SnapshotError("the state is of bars of another interval")
            opened = {}
            for symbol, (start, times, prices, amounts, bounds, names) in state["open"].items():
                columns = _unpacked("q", times), _unpacked("d", prices), _unpacked("d", amounts)
                if len({len(column) for column in columns}) != 1:
                    raise SnapshotError(f"the ticks of {symbol} are not of one length")
                opened[symbol] = _Open(int(start), *columns, Seen(bounds, set(names)))
            since, closed, counts = state["since"], dict(state["closed"]), Counter(state["counts"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, SnapshotError):
                raise
            raise SnapshotError(f"the state of the bars being built is damaged: {error}") from error
        self._since, self._closed, self.counts, self._open = since, closed, counts, opened
        self._due = sorted((one.start, symbol) for symbol, one in opened.items())


def _packed(values: array[Any]) -> str:
    return b64encode(values.tobytes()).decode()


def _unpacked(kind: str, text: str) -> array[Any]:
    out: array[Any] = array(kind)
    out.frombytes(b64decode(text, validate=True))
    return out
