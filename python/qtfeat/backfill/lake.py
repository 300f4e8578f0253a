"""A lake of bars: Parquet by market, symbol, interval and month, with hashes, appended without a trace of the order."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qtfeat._times import interval_ns, interval_text, refuse_longer
from qtfeat.backfill import manifest, parquet
from qtfeat.backfill.manifest import BARS, Month
from qtfeat.backfill.merge import conform, infer_interval, merged, millis, months_of
from qtfeat.backfill.partition import Partition, month
from qtfeat.backfill.store import Store, open_store
from qtfeat.bars.schema import BAR_SCHEMA
from qtfeat.errors import SchemaError

OnConflict = Literal["raise", "keep", "replace"]
LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Added:
    """What `Lake.add` did to one partition.

    Attributes:
        partition: which.
        new: bars that were not there before.
        same: bars that were there already, with the same values.
        replaced: bars whose values were replaced (`on_conflict="replace"`).
        kept: bars of the lake that were kept against other values (`on_conflict="keep"`).
        months: files written anew.
    """

    partition: Partition
    new: int
    same: int
    replaced: int
    kept: int
    months: tuple[str, ...]


class Lake:
    """A lake under a folder, or under a URL that fsspec knows.

    Bars are at `bars/market=.../symbol=.../interval=.../YYYY-MM.parquet`, features beside them under `features/`.
    Readers never meet a half-written file. Writers take turns: the second one gets a `LakeBusyError` (on local file
    systems; in an object store one writer at a time is up to you).

    Args:
        root: folder or URL; it need not exist yet.

    Raises:
        SchemaError: neither of them, or a URL that fsspec does not know.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.store: Store = open_store(root)

    @property
    def root(self) -> str:
        """The folder or URL."""
        return self.store.root

    def partitions(
        self,
        *,
        markets: Collection[str] | None = None,
        symbols: Collection[str] | None = None,
        intervals: Collection[str] | None = None,
    ) -> list[Partition]:
        """The series that the lake has, sorted; only the named markets, symbols and intervals.

        Raises:
            SchemaError: the lake has no bars, or none of a symbol that was named; an interval that is none.
        """
        markets, symbols, intervals = map(_named, ("markets", "symbols", "intervals"), (markets, symbols, intervals))
        intervals = None if intervals is None else {interval_text(i) for i in intervals}
        found = [p for p in self._partitions() if _in(p.market, markets) and _in(p.interval, intervals)]
        if symbols is not None:
            missing = sorted(set(symbols) - {p.symbol for p in found})
            if missing:
                have = ", ".join(sorted({p.symbol for p in found})[:10]) or "none"
                raise SchemaError(f"{self.root}: no bars of {', '.join(map(repr, missing))}; symbols there: {have}")
        found = sorted(p for p in found if _in(p.symbol, symbols))
        if not found:
            raise SchemaError(f"{self.root}: no bars there; add some: qtfeat lake add LAKE PATH")
        return found

    def _partitions(self) -> Iterator[Partition]:
        for m in _folders(self.store, BARS, "market="):
            for s in _folders(self.store, f"{BARS}/{m}", "symbol="):
                for i in _folders(self.store, f"{BARS}/{m}/{s}", "interval="):
                    yield Partition.of_path(f"{m}/{s}/{i}")

    def months(self, partition: Partition) -> dict[str, Month]:
        """The files of a partition by month, in order, as its manifest has them. Raises SchemaError."""
        if manifest.unfinished(self.store, partition):
            # A writer was killed after its change was decided: carry it out, or leave it to the writer at work.
            with self.store.lock(LOCK, self.root):
                manifest.recover(self.store, partition)
        return manifest.read(self.store, partition)

    def data(self, partition: Partition, entry: Month) -> pa.Buffer:
        """The bytes of one month, as the manifest has hashed them. Raises SchemaError."""
        path = f"{manifest.folder(partition)}/{entry.month}.parquet"
        try:
            data = self.store.read(path)
        except FileNotFoundError:
            raise SchemaError(f"{self.root}/{path} is missing; {_MEND}") from None
        if manifest.digest(data) != entry.sha256:
            raise SchemaError(f"{self.root}/{path} is not what its manifest says (sha256 differs); {_MEND}")
        return data

    def read(self, partition: Partition, first: str | None = None, last: str | None = None) -> pa.Table:
        """The bars of a partition, from month `first` to month `last`, both inclusive.

        Raises:
            SchemaError: nothing there, or a file that is not what the manifest says.
        """
        entries = [e for e in self.months(partition).values() if within(e.month, first, last)]
        if not entries:
            raise SchemaError(f"{self.root}: no bars of {partition} between {first or 'the start'} and {last or 'now'}")
        tables = [parquet.reader(self.data(partition, e)).read(use_threads=False) for e in entries]
        # Months may differ in columns beyond those of a bar: null where a month has none.
        return pa.concat_tables(tables, promote_options="default")

    def add(
        self, bars: pa.Table, market: str, interval: str | None = None, *, on_conflict: OnConflict = "raise"
    ) -> list[Added]:
        """Add bars. Adding the same bars again, in any order or in other pieces, gives the same bytes.

        Args:
            bars: a table with the columns of `BAR_SCHEMA`, as `qtfeat.read_bars` gives, in any order; further
                columns of numbers or times are kept.
            market: such as `spot` or `um`.
            interval: such as `1h`; None takes the most common distance between bars.
            on_conflict: what to do with a bar that the lake has with other values: an error, keep the lake's, or
                replace it.

        Returns:
            What was done, by partition. Each partition changes as a whole or not at all.

        Raises:
            SchemaError: bars that do not fit; a bar with other values under `on_conflict="raise"`; three bars or more
                of a symbol, with those of the lake, of which no two that follow each other are as close as `interval`.
            LakeBusyError: another process is writing.
        """
        if on_conflict not in ("raise", "keep", "replace"):
            raise SchemaError(f"on_conflict must be 'raise', 'keep' or 'replace', not {on_conflict!r}")
        bars = conform(bars)
        interval = interval_text(infer_interval(bars) if interval is None else interval)
        done = []
        with self.store.lock(LOCK, self.root):
            for symbol, rows in _by_symbol(bars):
                done.append(self._add(Partition(market, symbol, interval), bars.take(rows), on_conflict))
        return done

    def _add(self, partition: Partition, bars: pa.Table, on_conflict: OnConflict) -> Added:
        manifest.recover(self.store, partition)
        months = manifest.read(self.store, partition)
        self._refuse_longer(partition, months, bars)
        counts = np.zeros(4, dtype=np.int64)
        changed: dict[str, Month] = {}
        for name, part in months_of(bars, partition):
            old = None
            if name in months:
                old = parquet.reader(self.data(partition, months[name])).read(use_threads=False)
            table, tally = merged(old, part, f"{partition} {name}", on_conflict)
            counts += tally
            if table is not None:
                changed[name] = self._stage(partition, name, table)
        if changed:
            manifest.commit(self.store, partition, months | changed)
        new, same, replaced, kept = map(int, counts)
        return Added(partition, new, same, replaced, kept, tuple(changed))

    def _refuse_longer(self, partition: Partition, months: dict[str, Month], bars: pa.Table) -> None:
        """Refuse hourly bars as those of half an hour. The lake is looked into where the bars alone do not tell."""
        times = np.unique(millis(bars))
        span = interval_ns(partition.interval) // 10**6
        for entry in reversed(months.values()):
            if len(times) > 1 and np.diff(times).min() <= span:
                return
            held = parquet.reader(self.data(partition, entry)).read(columns=["open_time"], use_threads=False)
            times = np.union1d(times, millis(held))
        refuse_longer(None, times * 10**6, span * 10**6, str(partition))

    def _stage(self, partition: Partition, name: str, table: pa.Table) -> Month:
        path = manifest.staged(f"{manifest.folder(partition)}/{name}.parquet")
        with self.store.writing(path, sync=True) as sink, parquet.writer(sink, table.schema) as writer:
            writer.write_table(table, row_group_size=parquet.ROW_GROUP)
        return entry_of(name, self.store.read(path), table)


_MEND = "add the bars again, or accept what is there: qtfeat lake repair"


def entry_of(name: str, data: pa.Buffer, table: pa.Table) -> Month:
    """The manifest's line for a month."""
    times = table["open_time"].cast(pa.int64())
    return Month(name, manifest.digest(data), data.size, table.num_rows, times[0].as_py(), times[-1].as_py())


def within(name: str, first: str | None, last: str | None) -> bool:
    """True for a month between two others, both inclusive; None is no bound."""
    return (first is None or name >= month(first)) and (last is None or name <= month(last))


def _by_symbol(bars: pa.Table) -> Iterator[tuple[str, Any]]:
    codes = pc.dictionary_encode(bars["symbol"].combine_chunks())
    indices = np.asarray(codes.indices)
    names = codes.dictionary.to_pylist()
    for at in sorted(range(len(names)), key=names.__getitem__):
        yield names[at], np.flatnonzero(indices == at)


def _folders(store: Store, path: str, prefix: str) -> list[str]:
    return [name for name in store.names(path) if name.startswith(prefix)]


def _named(what: str, names: Collection[str] | None) -> set[str] | None:
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Iterable) or not all(isinstance(n, str) for n in names):
        raise SchemaError(f"{what} must be a list of names, such as [{names if isinstance(names, str) else 'A'!r}]")
    return set(names)


def _in(value: str, wanted: Collection[str] | None) -> bool:
    return wanted is None or value in wanted


__all__ = ["BAR_SCHEMA", "Added", "Lake", "OnConflict", "entry_of", "within"]
