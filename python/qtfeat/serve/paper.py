"""The paper book: positions that the signals would have opened. Nothing here places an order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from qtfeat.serve.policy import Decision


@dataclass(frozen=True, slots=True)
class Position:
    """An open paper position.

    Attributes:
        side: BUY or SELL.
        entry: close of the bar that opened it.
        notional: quote currency.
        stop: price of the stop loss.
        target: price of the take profit.
        opened_ns: open time of that bar.
        bars: closed bars since.
    """

    side: str
    entry: float
    notional: float
    stop: float
    target: float
    opened_ns: int
    bars: int = 0


@dataclass(frozen=True, slots=True)
class Closed:
    """A paper position that ended.

    Attributes:
        symbol: its symbol.
        position: as it was.
        exit: price.
        why: `"stop"`, `"target"`, `"time"` or `"signal"`.
        pnl: share of the notional, before costs.
        closed_ns: open time of the bar that ended it.
    """

    symbol: str
    position: Position
    exit: float
    why: str
    pnl: float
    closed_ns: int


class Book:
    """Open positions by symbol."""

    def __init__(self, hold_bars: int) -> None:
        self.hold_bars = hold_bars
        self.open: dict[str, Position] = {}

    def bar(self, symbol: str, time_ns: int, high: float, low: float, close: float) -> Closed | None:
        """Show the book a closed bar; stop and target touched in one bar count as the stop."""
        held = self.open.get(symbol)
        if held is None:
            return None
        long = held.side == "BUY"
        if (low <= held.stop) if long else (high >= held.stop):
            return self._close(symbol, time_ns, held.stop, "stop")
        if (high >= held.target) if long else (low <= held.target):
            return self._close(symbol, time_ns, held.target, "target")
        if held.bars + 1 >= self.hold_bars:
            return self._close(symbol, time_ns, close, "time")
        self.open[symbol] = replace(held, bars=held.bars + 1)
        return None

    def signal(self, decision: Decision, time_ns: int, close: float) -> Closed | None:
        """Open what was selected; a model's opposite signal ends a position."""
        held = self.open.get(decision.symbol)
        if held is not None:
            against = decision.source == "model" and decision.side not in ("HOLD", held.side)
            return self._close(decision.symbol, time_ns, close, "signal") if against else None
        if decision.selected and decision.stop is not None and decision.target is not None:
            self.open[decision.symbol] = Position(
                decision.side, close, decision.notional, decision.stop, decision.target, time_ns
            )
        return None

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, as JSON values."""
        return {symbol: asdict(held) for symbol, held in self.open.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.open = {symbol: Position(**held) for symbol, held in state.items()}

    def _close(self, symbol: str, time_ns: int, price: float, why: str) -> Closed:
        held = self.open.pop(symbol)
        sign = 1.0 if held.side == "BUY" else -1.0
        return Closed(symbol, held, price, why, sign * (price / held.entry - 1.0), time_ns)
