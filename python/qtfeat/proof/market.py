"""Bars of any table in one form: symbol after symbol, NumPy, with what is needed to run any mode on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat import _tables
from qtfeat._columns import symbols
from qtfeat._times import array_ns, interval_ns, unit_ns
from qtfeat.errors import SchemaError
from qtfeat.features import FeatureSet, compute

OHLCV = ("open", "high", "low", "close", "volume")
SYMBOL, TIME = "qtfeat_symbol", "qtfeat_time"
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Policy:
    """What to do with bad rows and holes."""

    on_bad: Any = "raise"
    on_gap: Any = "ignore"
    interval: int | None = None

    def options(self) -> dict[str, Any]:
        """As keyword arguments of compute, windows and the streams."""
        interval = None if self.interval is None else np.timedelta64(self.interval, "ns")
        return {"on_bad": self.on_bad, "on_gap": self.on_gap, "interval": interval}


@dataclass(frozen=True)
class Market:
    """Bars of one or more symbols, one symbol after the other, rows of a symbol in the caller's order."""

    columns: dict[str, Floats]
    """The bar and extra columns that the caller's table has, (n,) each."""
    times: Ints | None
    """Nanoseconds."""
    symbols: tuple[str | None, ...]
    starts: Ints
    """(S + 1,): rows starts[s] .. starts[s + 1] are symbol s."""
    rows: Ints
    """The caller's row of each row."""
    bad: Bools
    """Rows that the engine does not accept."""
    policy: Policy

    def __len__(self) -> int:
        return len(self.rows)

    def span(self, s: int) -> slice:
        """The rows of symbol s."""
        return slice(int(self.starts[s]), int(self.starts[s + 1]))

    def codes(self) -> Ints:
        """Symbol number of each row."""
        return np.repeat(np.arange(len(self.symbols)), np.diff(self.starts))

    def rank(self) -> Ints:
        """Row number within its symbol, of each row."""
        return np.arange(len(self)) - np.repeat(self.starts[:-1], np.diff(self.starts))

    def table(self, rows: Ints | slice | None = None) -> dict[str, Any]:
        """As a dict of arrays that `compute` takes; `rows` may pick and reorder."""
        pick = slice(None) if rows is None else rows
        table: dict[str, Any] = {n: np.ascontiguousarray(c[pick]) for n, c in self.columns.items()}
        table[SYMBOL] = np.ascontiguousarray(self.codes()[pick])
        if self.times is not None:
            table[TIME] = np.ascontiguousarray(self.times[pick])
        return table

    def keys(self, *, by: bool = True) -> dict[str, Any]:
        """The arguments that go with `table`."""
        time = TIME if self.times is not None else None
        unit = "ns" if time else None
        return {"by": SYMBOL if by else None, "time": time, "time_unit": unit, **self.policy.options()}

    def take(self, keep: Bools) -> Market:
        """The rows where `keep` is true."""
        counts = [int(np.count_nonzero(keep[self.span(s)])) for s in range(len(self.symbols))]
        some = [s for s, n in enumerate(counts) if n]
        return Market(
            columns={n: c[keep] for n, c in self.columns.items()},
            times=None if self.times is None else self.times[keep],
            symbols=tuple(self.symbols[s] for s in some),
            starts=np.concatenate([[0], np.cumsum([counts[s] for s in some])]).astype(np.int64),
            rows=self.rows[keep],
            bad=self.bad[keep],
            policy=self.policy,
        )

    def ohlcv(self) -> Floats:
        """(n, 5), with columns that the table lacks made up so that a good row stays good and a bad one bad.

        A stream checks all five values, a table those that it has.
        """
        have = self.columns
        price = next((have[c] for c in ("close", "open", "high", "low") if c in have), np.ones(len(self)))
        opened, close = have.get("open", price), have.get("close", price)
        high = have.get("high", np.maximum(opened, close))
        low = have.get("low", np.minimum(opened, close))
        volume = have.get("volume", np.ones(len(self)))
        cube = np.column_stack([opened, high, low, close, volume])
        # Five NaN mean "no bar now" in a panel; one odd value more makes the row bad in every mode alike.
        cube[np.isnan(cube).all(axis=1), 4] = -1.0
        return np.ascontiguousarray(cube)

    def extra_values(self, fs: FeatureSet) -> Floats | None:
        """(n, E) values of the set's extra columns."""
        if not fs.extras:
            return None
        return np.ascontiguousarray(np.column_stack([self.columns[name] for name in fs.extras]))


def matrix(bars: Any, fs: FeatureSet, rows: int, **options: Any) -> Floats:
    """Features without the fill as a fresh (F, rows) array, NaN where there is none."""
    out = np.empty((len(fs.columns), rows))
    compute(bars, fs, out=out, fill=None, **options)
    return out


def probe(fs: FeatureSet) -> FeatureSet:
    """A set of one-row features with the inputs of `fs`: what is null in it is a bad row."""
    specs = [f"probe_{k} = {name}" for k, name in enumerate([*fs.inputs, *fs.extras])]
    return FeatureSet([*specs, *(["hour_sin"] if fs.needs_time else [])])


def read(
    bars: Any, fs: FeatureSet, by: str | None, time: str | None, time_unit: str | None, policy: dict[str, Any]
) -> Market:
    """The caller's table in one form.

    Raises what `compute` raises for it, with the caller's rows.
    """
    kinds = _tables.arrays(bars, list(dict.fromkeys(_tables.needed(bars, fs, by, time))))
    n = len(next(iter(kinds.values()), ()))
    checked = matrix(bars, probe(fs), n, by=by, time=time, time_unit=time_unit, threads=1, **policy)
    bad: Bools = np.zeros(n, np.bool_)
    for column in checked[: len(fs.inputs) + len(fs.extras)]:
        bad |= np.isnan(column)
    codes, names = (np.zeros(n, np.int64), [None]) if by is None else symbols(kinds[by], by)
    order = np.argsort(codes, kind="stable")
    columns = {c: _floats(kinds[c], c)[order] for c in [*OHLCV, *fs.extras] if c in kinds}
    times = None if time is None else array_ns(kinds[time], unit_ns(time_unit), time)[order]
    interval = policy.get("interval")
    return Market(
        columns=columns,
        times=times,
        symbols=tuple(names),
        starts=np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(names)))]).astype(np.int64),
        rows=order,
        bad=bad[order],
        policy=Policy(policy["on_bad"], policy["on_gap"], None if interval is None else interval_ns(interval)),
    )


def _floats(column: npt.NDArray[Any], name: str) -> Floats:
    if column.dtype.kind not in "fiu":
        raise SchemaError(f"column {name!r} has type {column.dtype}: numbers are needed", column=name)
    return np.ascontiguousarray(column, dtype=np.float64)


def sample(market: Market, most: int, rng: np.random.Generator) -> Market:
    """At most about `most` rows: a stretch of each of some symbols, all of everything where that fits."""
    if len(market) <= most:
        return market
    lengths = np.diff(market.starts)
    keep = np.zeros(len(market), dtype=np.bool_)
    chosen = rng.permutation(len(lengths))
    left = most
    for i, s in enumerate(chosen):
        # What remains is shared out, but no stretch is shorter than most features' memory.
        share = min(int(lengths[s]), max(left // (len(chosen) - i), 2000), left)
        first = int(market.starts[s]) + int(rng.integers(int(lengths[s]) - share + 1))
        keep[first : first + share] = True
        left -= share
        if left <= 0:
            break
    return market.take(keep)


def head(market: Market, most: int) -> tuple[Market, Bools]:
    """The first rows of every symbol, about `most` in all, and which rows of `market` they are."""
    each = max(most // max(len(market.symbols), 1), 1)
    keep = market.rank() < each
    return (market if keep.all() else market.take(keep)), keep
