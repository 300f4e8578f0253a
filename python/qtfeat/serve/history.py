"""The last bars of each symbol, for warming up the features of a model that comes later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qtfeat.serve.universe import FIELDS, Bars


class History:
    """A ring of closed bars per symbol.

    Args:
        symbols: the universe, in row order.
        bars: bars kept per symbol; 0 keeps none.
    """

    def __init__(self, symbols: Sequence[str], bars: int) -> None:
        self.symbols, self.bars = tuple(symbols), bars
        self._values = np.empty((len(self.symbols), bars, 5))
        self._times = np.empty((len(self.symbols), bars), dtype=np.int64)
        self._count = [0] * len(self.symbols)

    def add(self, bars: Mapping[int, Sequence[float]], times: Mapping[int, int]) -> None:
        """Take bars by row of the universe."""
        if not self.bars:
            return
        for row, bar in bars.items():
            at = self._count[row] % self.bars
            self._values[row, at] = bar
            self._times[row, at] = times[row]
            self._count[row] += 1

    def table(self) -> pa.Table:
        """Return the bars kept, sorted by symbol and time: symbol, open_time (ns, UTC), five values."""
        parts = [self._rows(row) for row in range(len(self.symbols))]
        values: npt.NDArray[np.float64] = np.concatenate([values for values, _ in parts])
        times: npt.NDArray[np.int64] = np.concatenate([times for _, times in parts])
        names = [name for name, (_, times) in zip(self.symbols, parts, strict=True) for _ in range(len(times))]
        columns = {"symbol": pa.array(names, pa.string()), "open_time": pa.array(times, pa.timestamp("ns", tz="UTC"))}
        for k, name in enumerate(FIELDS):
            columns[name] = pa.array(np.ascontiguousarray(values[:, k]))
        return pa.table(columns)

    def _rows(self, row: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        count = self._count[row]
        order = np.arange(max(0, count - self.bars), count) % max(1, self.bars)
        return self._values[row, order], self._times[row, order]


def by_time(table: pa.Table, universe: Mapping[str, int]) -> Iterator[tuple[Bars, int]]:
    """Yield bars by row of the universe, and their open time, oldest first; other symbols are left out.

    Args:
        table: in the bar schema.
        universe: symbol to row.
    """
    rows = np.array([universe.get(name, -1) for name in table["symbol"].to_pylist()], dtype=np.int64)
    times = table["open_time"].cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64()).to_numpy()
    values = np.stack([table[name].cast(pa.float64()).to_numpy() for name in FIELDS], axis=1)
    keep = np.flatnonzero(rows >= 0)
    keep = keep[np.argsort(times[keep], kind="stable")]
    for group in np.split(keep, np.flatnonzero(np.diff(times[keep])) + 1):
        if len(group):
            yield dict(zip(rows[group].tolist(), values[group].tolist(), strict=True)), int(times[group[0]])
