"""Closed bars into the engine, in the order of time: the one way in, for HTTP, polling and streams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from qtfeat.errors import SchemaError
from qtfeat.serve.engine import Engine
from qtfeat.serve.signal import Signal


@dataclass(frozen=True, slots=True)
class ClosedBar:
    """A closed bar.

    Attributes:
        symbol: one of the universe.
        time_ns: its open time, nanoseconds since 1970 UTC.
        values: open, high, low, close, volume.
    """

    symbol: str
    time_ns: int
    values: tuple[float, float, float, float, float]


@dataclass(slots=True)
class Ingested:
    """What became of some bars.

    Attributes:
        signals: signals of production, in the order of time.
        shadow: signals of the shadow, for the same bars.
        refused: bars that were not taken, with the reason.
        stages: seconds by stage, and in `total`, of each cycle that made signals.
    """

    signals: list[Signal] = field(default_factory=list)
    shadow: list[Signal] = field(default_factory=list)
    refused: list[tuple[ClosedBar, str]] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)


def cycles(bars: Iterable[ClosedBar]) -> list[list[ClosedBar]]:
    """Group bars by open time, oldest first; in a group no symbol comes twice."""
    by_time: dict[int, list[list[ClosedBar]]] = {}
    for bar in bars:
        rounds = by_time.setdefault(bar.time_ns, [])
        free = next((one for one in rounds if all(other.symbol != bar.symbol for other in one)), None)
        if free is None:
            rounds.append([bar])
        else:
            free.append(bar)
    return [one for time in sorted(by_time) for one in by_time[time]]


def ingest(engine: Engine, bars: Sequence[ClosedBar]) -> Ingested:
    """Show the engine closed bars: those of one open time are one cycle of ranking and selection.

    Raises:
        SchemaError: a symbol outside the universe; nothing was taken then.
    """
    known = set(engine.symbols)
    for bar in bars:
        if bar.symbol not in known:
            raise SchemaError(
                f"symbol {bar.symbol!r} is not in the universe of {len(known)} symbols", symbol=bar.symbol
            )
    out = Ingested()
    for cycle in cycles(bars):
        start = perf_counter()
        before = len(out.signals)
        one_cycle(engine, cycle, out)
        if len(out.signals) > before:
            out.stages.append({**engine.stages, "total": perf_counter() - start})
    return out


def one_cycle(engine: Engine, cycle: Sequence[ClosedBar], out: Ingested) -> None:
    """Show the engine bars of one open time, each of another symbol, and add what came of them."""
    if len(cycle) == 1:
        bar = cycle[0]
        signal = engine.on_bar(bar.symbol, bar.values, bar.time_ns)
        found = [] if signal is None else [signal]
    else:
        row = {symbol: k for k, symbol in enumerate(engine.symbols)}
        block = np.full((len(row), 5), np.nan)
        for bar in cycle:
            block[row[bar.symbol]] = bar.values
        found = engine.on_bars(block, cycle[0].time_ns)
    out.signals += found
    if engine.shadow is not None:
        out.shadow += [engine.shadow_signals[s.symbol] for s in found if s.symbol in engine.shadow_signals]
    out.refused += [(bar, engine.refused[bar.symbol]) for bar in cycle if bar.symbol in engine.refused]
