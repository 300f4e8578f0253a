"""A map of where bars are: a line per symbol, a cell per stretch of time, filled by the share of bars there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Counts = npt.NDArray[np.int64]

# Equal steps of what is there; a full cell is a complete one, so that no rounding hides a gap.
_MARKS = " ▁▂▃▄▅▆▇"
_FULL = "█"
_FULL_SHARE = 1.0 - 1e-9
# The finest distance that bars are counted by; the map of a short series cannot be finer.
_LEAST_CELL = 1_000
_MOST_UNITS = 10_000


@dataclass(frozen=True, slots=True)
class SymbolTimes:
    """The bars of one symbol, counted in equal units of time: small, however many there are.

    Attributes:
        interval: of the bars; None where unknown.
        first: open time of the first bar, ms.
        last: open time of the last bar, ms.
        unit: width of a count, ms.
        counts: bars that open in each unit from `first` on.
    """

    interval: timedelta | None
    first: int
    last: int
    unit: int
    counts: Counts


def count_times(millis: npt.NDArray[np.int64], interval: timedelta | None) -> SymbolTimes:
    """Count the open times of one symbol (sorted, in ms)."""
    first, last = int(millis[0]), int(millis[-1])
    step = round(interval.total_seconds() * 1_000) if interval else _LEAST_CELL
    unit = step * max(1, -(-(last - first) // (step * _MOST_UNITS)))
    return SymbolTimes(interval, first, last, unit, np.bincount((millis - first) // unit))


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which share of its bars each symbol has in each stretch of time.

    Attributes:
        symbols: one per line.
        start: begin of the first cell.
        end: end of the last cell.
        share: (symbols, cells); 1 is complete, 0 is nothing; where a symbol's interval is unknown, 1 is any bar.
    """

    symbols: tuple[str, ...]
    start: datetime
    end: datetime
    share: npt.NDArray[np.float64]

    def __str__(self) -> str:
        width = max(len(symbol) for symbol in self.symbols)
        lines = [f"{'':{width}}  {self.start:%Y-%m-%d} .. {self.end:%Y-%m-%d}, full = every bar there"]
        for symbol, row in zip(self.symbols, self.share, strict=True):
            cells = "".join(_FULL if x >= _FULL_SHARE else _MARKS[_level(x)] for x in row)
            lines.append(f"{symbol:{width}} |{cells}|")
        return "\n".join(lines)

    def figure(self) -> Figure:
        """Draw the map; needs matplotlib."""
        from matplotlib.figure import Figure

        height = 1.2 + 0.22 * len(self.symbols)
        figure = Figure(figsize=(12, min(height, 60)), layout="constrained")
        axes = figure.subplots()
        image = axes.pcolormesh(
            np.linspace(0, 1, self.share.shape[1] + 1),
            np.arange(len(self.symbols) + 1),
            self.share,
            cmap="RdYlGn",
            vmin=0,
            vmax=1,
        )
        axes.invert_yaxis()
        axes.set_yticks(np.arange(len(self.symbols)) + 0.5, self.symbols, fontsize=7)
        ticks = np.linspace(0, 1, 7)
        axes.set_xticks(ticks, [f"{self.start + x * (self.end - self.start):%Y-%m-%d}" for x in ticks])
        axes.set_title("share of bars that are there")
        figure.colorbar(image, ax=axes, fraction=0.03)
        return figure


def _level(share: float) -> int:
    """The mark of an incomplete cell; what has any bar shows."""
    return 0 if share <= 0 else 1 + min(len(_MARKS) - 2, int(share * (len(_MARKS) - 1)))


def coverage(times: dict[str, SymbolTimes], cells: int = 72) -> Coverage:
    """Lay the counts of all symbols over the same cells.

    Args:
        times: by symbol, from `count_times`.
        cells: at most so many; a short history has fewer.
    """
    first = min(symbol.first for symbol in times.values())
    ends = [s.last + (round(s.interval.total_seconds() * 1_000) if s.interval else _LEAST_CELL) for s in times.values()]
    end = max(ends)
    widest = max(s.unit for s in times.values())
    cells = max(1, min(cells, -(-(end - first) // widest)))
    edges = np.linspace(first, end, cells + 1)
    share = np.stack([_share(symbol, edges) for symbol in times.values()])
    start, stop = (datetime.fromtimestamp(t / 1_000, UTC) for t in (first, end))
    return Coverage(tuple(times), start, stop, share)


def _share(symbol: SymbolTimes, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The share of the bars that could open in each cell; what lacks in a unit is spread evenly over it."""
    n = len(symbol.counts)
    units = symbol.first + symbol.unit * np.arange(n + 1, dtype=np.float64)
    if symbol.interval is None:
        total = np.concatenate(([0], np.cumsum(symbol.counts)))
        return (np.diff(np.interp(edges, units, total)) > 0).astype(np.float64)
    step = symbol.interval.total_seconds() * 1_000
    units[-1] = symbol.last + step
    lacking = np.maximum(0.0, np.diff(units) / step - symbol.counts)
    inside = np.interp(edges, units, np.concatenate(([0], np.cumsum(lacking))))
    outside = np.diff(edges) - np.diff(np.clip(edges, units[0], units[-1]))
    return np.clip(1.0 - (np.diff(inside) + outside / step) / (np.diff(edges) / step), 0.0, 1.0)
