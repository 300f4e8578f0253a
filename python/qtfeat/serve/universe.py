"""The symbols of an engine: what was last seen of each, and which bars follow it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat._times import scalar_ns, unit_ns
from qtfeat.errors import SchemaError, SnapshotError

Floats = npt.NDArray[np.float64]
Bars = dict[int, list[float]]
"""Bars by row of the universe."""
FIELDS = ("open", "high", "low", "close", "volume")

_NEVER = np.iinfo(np.int64).min
_LAST = np.iinfo(np.int64).max
_NANOSECONDS = unit_ns("ns")
_ABSENT = np.full(len(FIELDS), np.nan)


class Universe:
    """The last bar of each symbol, and counts of what came.

    Args:
        symbols: the universe.
        interval_ns: length of a bar.

    Raises:
        SchemaError: no or doubled symbols.

    Attributes:
        symbols: their names, in row order.
        counters: events by name; see `Engine`.
        refused: symbol to reason, of the bars of the last call that were not taken.
        seen: bars taken, by row.
    """

    def __init__(self, symbols: Iterable[str], interval_ns: int) -> None:
        self.symbols = tuple(symbols)
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise SchemaError("an engine needs at least one symbol, each named once")
        self.interval_ns = interval_ns
        self.rows = {symbol: row for row, symbol in enumerate(self.symbols)}
        self.counters: Counter[str] = Counter()
        self.refused: dict[str, str] = {}
        self.seen = [0] * len(self.symbols)
        # Plain lists: one bar of one symbol is the common case, and NumPy costs a microsecond per touch.
        self._last_time = [_NEVER] * len(self.symbols)
        self._last_bar: list[list[float]] = [[] for _ in self.symbols]
        self._block = np.full((len(self.symbols), len(FIELDS)), np.nan)
        self._filled: list[int] = []

    # --- bars as they are given ---------------------------------------------------------------------------------

    def row(self, symbol: str) -> int:
        """Return the row of a symbol; raises SchemaError for one outside the universe."""
        row = self.rows.get(symbol)
        if row is None:
            raise SchemaError(f"symbol {symbol!r} is not in the universe of {len(self.symbols)} symbols", symbol=symbol)
        return row

    def one(self, symbol: str, bar: Mapping[str, Any] | Sequence[float], time: Any) -> tuple[int, list[float], int]:
        """Return row, values and time of a bar as a caller gives it.

        Raises:
            SchemaError: an unknown symbol, a field that is missing or no number, no time.
        """
        row = self.row(symbol)
        if isinstance(bar, Mapping):
            time = bar.get("open_time") if time is None else time
            missing = [name for name in FIELDS if name not in bar]
            if missing:
                raise SchemaError(f"{symbol}: the bar has no {missing[0]!r}", column=missing[0])
            bar = [bar[name] for name in FIELDS]
        try:
            values = list(map(float, bar))
        except (TypeError, ValueError) as error:
            raise SchemaError(f"{symbol}: a bar is five numbers (open, high, low, close, volume): {error}") from error
        if len(values) != len(FIELDS):
            raise SchemaError(f"{symbol}: a bar is five numbers (open, high, low, close, volume), not {len(values)}")
        if all(value != value for value in values):
            raise SchemaError(f"{symbol}: the bar is empty")
        return row, values, _ns(time)

    def times(self, time: Any) -> list[int]:
        """Return a time per symbol of one for all, or of one each."""
        array = np.asarray(time)
        if array.ndim == 0:
            return [_ns(time)] * len(self.symbols)
        if array.shape != (len(self.symbols),):
            raise SchemaError(f"times have shape {array.shape}, expected one or {len(self.symbols)}")
        whole = array.astype("datetime64[ns]").astype(np.int64) if array.dtype.kind == "M" else array.astype(np.int64)
        return [int(stamp) for stamp in whole]

    def block(self, bars: Bars, times: Mapping[int, int]) -> tuple[Floats, int | npt.NDArray[np.int64]]:
        """Return bars (S, 5), NaN where there is none, and their times: one where all have the same.

        The next call fills the same block again.
        """
        for row in self._filled:
            self._block[row] = _ABSENT
        self._filled = list(bars)
        for row, bar in bars.items():
            self._block[row] = bar
        distinct = {times[row] for row in bars}
        if len(distinct) == 1:
            return self._block, distinct.pop()
        stamps = np.zeros(len(self.symbols), dtype=np.int64)
        for row in bars:
            stamps[row] = times[row]
        return self._block, stamps

    # --- what follows what --------------------------------------------------------------------------------------

    def keep_new(self, bars: Bars, times: Mapping[int, int]) -> None:
        """Take out the bars that do not follow their symbol's last, and count why."""
        for row in list(bars):
            last = self._last_time[row]
            if last == _NEVER:
                continue
            since = times[row] - last
            if since > 0 and since % self.interval_ns == 0:
                continue
            if since > 0:
                self.refuse(self.symbols[row], "misaligned", "no whole number of intervals after the last bar")
            elif since < 0:
                self.refuse(self.symbols[row], "late", "older than the last bar")
            elif bars[row] == self._last_bar[row]:
                self.refuse(self.symbols[row], "duplicate", "the last bar again")
            else:
                self.refuse(self.symbols[row], "conflict", "the last bar's time, with other values")
            del bars[row]

    def refuse(self, symbol: str, why: str, text: str) -> None:
        """Count a bar that is not taken."""
        self.counters[why] += 1
        self.refused[symbol] = f"{why}: {text}"

    def took(self, bars: Bars, times: Mapping[int, int]) -> None:
        """Remember bars that were taken."""
        for row, bar in bars.items():
            last, time = self._last_time[row], times[row]
            if last != _NEVER and time - last > self.interval_ns:
                self.counters["gap"] += 1
            self._last_time[row], self._last_bar[row] = time, bar
            self.seen[row] += 1
        self.counters["taken"] += len(bars)

    def is_new(self, row: int, time_ns: int) -> bool:
        """Whether a time lies after the symbol's last bar."""
        return time_ns > self._last_time[row]

    @property
    def last_times(self) -> dict[str, int | None]:
        """Open time of each symbol's last bar; None before the first."""
        return {s: None if t == _NEVER else t for s, t in zip(self.symbols, self._last_time, strict=True)}

    # --- another process ----------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return what `restored` takes, as JSON values."""
        return {
            "symbols": self.symbols,
            "interval_ns": self.interval_ns,
            "last_time": self._last_time,
            "last_bar": [[value.hex() for value in bar] for bar in self._last_bar],
            "seen": self.seen,
            "counters": dict(self.counters),
        }

    def restored(self, state: Mapping[str, Any]) -> Universe:
        """Return this universe where `state` was taken.

        Raises:
            SnapshotError: it is of another universe or interval, or of another number of symbols.
        """
        if tuple(state["symbols"]) != self.symbols or state["interval_ns"] != self.interval_ns:
            raise SnapshotError("the state is of another universe or interval")
        other = Universe(self.symbols, self.interval_ns)
        other._last_time = [int(time) for time in state["last_time"]]
        other._last_bar = [list(map(float.fromhex, bar)) for bar in state["last_bar"]]
        other.seen = [int(count) for count in state["seen"]]
        other.counters = Counter({str(name): int(count) for name, count in state["counters"].items()})
        if not len(other._last_time) == len(other._last_bar) == len(other.seen) == len(self.symbols):
            raise SnapshotError("the state is of another number of symbols")
        return other


def _ns(time: Any) -> int:
    if type(time) is int and _NEVER < time <= _LAST:
        return time
    if time is None:
        raise SchemaError("the bar has no time: give `open_time`")
    return scalar_ns(time, _NANOSECONDS)
