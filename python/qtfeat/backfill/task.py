"""The work item of a backfill: one partition, month after month, wherever it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pyarrow as pa

import qtfeat
from qtfeat import _core
from qtfeat.backfill import parquet, state
from qtfeat.backfill.lake import Lake, within
from qtfeat.backfill.manifest import Month
from qtfeat.backfill.partition import Partition
from qtfeat.backfill.state import State
from qtfeat.errors import QtfeatError, SchemaError, SnapshotError
from qtfeat.feature_set import FeatureSet
from qtfeat.features import _options as table_options

FEATURES = "features"
Tick = Callable[[int], None]
Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Job:
    """What all work items of a backfill share. It travels to workers, so it holds values only.

    Attributes:
        root: folder or URL of the lake.
        features: the set.
        name: the set's name in the folder.
        dtype: float32 or float64.
        on_bad: what to do with a bad bar.
        on_gap: what to do with a hole; the distance between bars is the partition's interval.
        first: first month whose features are wanted, or None.
        last: last month, or None.
        check: read features that are there, and verify the checksums of their pages.
    """

    root: str
    features: FeatureSet
    name: str
    dtype: str = "float32"
    on_bad: str = "raise"
    on_gap: str = "ignore"
    first: str | None = None
    last: str | None = None
    check: bool = False

    @property
    def folder(self) -> str:
        """Where the features of the set go."""
        return f"{FEATURES}/set={self.name}-{self.features.fingerprint}"

    @property
    def identity(self) -> str:
        """All that decides bits, apart from bars."""
        f = self.features.fingerprint
        return f"{f} {qtfeat.__version__} {self.dtype} {self.on_bad} {self.on_gap}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one partition.

    Attributes:
        path: the partition's path.
        computed: months computed.
        skipped: months that were there already.
        rows: bars of the computed months.
        seconds: time it took.
        error: what went wrong, or empty.
        stopped: True where it was told to stop before its end.
    """

    path: str
    computed: int = 0
    skipped: int = 0
    rows: int = 0
    seconds: float = 0.0
    error: str = ""
    stopped: bool = False


def run_partition(job: Job, path: str, tick: Tick = lambda _rows: None, stop: Stop = lambda: False) -> Outcome:
    """Bring the features of one partition up to date.

    Args:
        job: what is wanted.
        path: `market=.../symbol=.../interval=...`.
        tick: takes the bars of each month that is done or was there.
        stop: asked before each month; True ends the work after a whole month.

    Returns:
        What was done; with `error` where bars or files are bad. What was finished before stays, and is sound.
    """
    begun = time.perf_counter()
    item = _Item(job, Partition.of_path(path))
    try:
        try:
            outcome = item.run(tick, stop)
        except SnapshotError:  # a damaged state is as good as none
            item.forget()
            outcome = item.run(lambda _rows: None, stop)
    except (QtfeatError, pa.ArrowInvalid) as error:
        outcome = replace(item.outcome(), error=f"{type(error).__name__}: {error}")
    return replace(outcome, seconds=time.perf_counter() - begun)


class _Item:
    """One partition being worked on."""

    def __init__(self, job: Job, partition: Partition) -> None:
        self.job = job
        self.partition = partition
        self.lake = _lake(job.root)
        self.store = self.lake.store
        self.folder = f"{job.folder}/{partition.path}"
        self.computed = self.skipped = self.rows = 0
        self.schema = _schema(job)
        self.batches: _core.Batches | None = None
        self.blind = False

    def run(self, tick: Tick, stop: Stop) -> Outcome:
        months = self.lake.months(self.partition)
        keys = state.keys(self.job.identity, months)
        self._clean(months)
        before: State | None = None
        for name, entry in months.items():
            if self.job.last is not None and name > self.job.last:
                break
            if stop():
                return replace(self.outcome(), stopped=True)
            known = self._known(name, keys[name])
            if known is not None:
                self.batches = None  # what comes next goes on from this state
                before = known
                self.skipped += 1
            else:
                before = self._month(entry, keys[name], before)
                self.computed += 1
                self.rows += entry.rows
            tick(entry.rows)
        return self.outcome()

    def outcome(self) -> Outcome:
        """What was done so far."""
        return Outcome(self.partition.path, self.computed, self.skipped, self.rows)

    def _clean(self, months: dict[str, Month]) -> None:
        """Remove what a killed worker left, what the lake no longer has, and states that features will hold."""
        self.store.sweep(self.folder)
        for name in self.store.names(self.folder):
            at = name.removesuffix(".parquet").removesuffix(".state").lstrip(".")
            if at not in months or (name.endswith(".state") and self._wanted(at)):
                self.store.remove(f"{self.folder}/{name}")

    def forget(self) -> None:
        """Start over, without the states of earlier runs."""
        self.batches, self.blind = None, True
        self.computed = self.skipped = self.rows = 0

    def _wanted(self, name: str) -> bool:
        return within(name, self.job.first, self.job.last)

    def _known(self, name: str, key: str) -> State | None:
        """The state of a month of which nothing is left to do."""
        if self.blind:
            return None
        if not self._wanted(name):
            known = state.saved(self.store, self.folder, name)
            if known is not None and known.key == key:
                return known
        known = state.of_features(self.store, self.folder, name)
        if known is None or known.key != key:
            return None
        path = state.features_path(self.folder, name)
        return None if self.job.check and not parquet.sound(self.store.read(path)) else known

    def _month(self, entry: Month, key: str, before: State | None) -> State:
        """Compute one month, starting from the state of the month before."""
        if self.batches is None:
            self.batches = self._engine(before)
        name, rows = entry.month, before.rows if before else 0
        source = parquet.reader(self.lake.data(self.partition, entry))
        if source.metadata.num_rows != entry.rows:
            text = f"{name}.parquet: {source.metadata.num_rows} bars, the manifest says {entry.rows}"
            raise SchemaError(f"{text}; run qtfeat lake repair")
        path = state.features_path(self.folder, name)
        try:
            if not self._wanted(name):
                self._compute(source, None)
                after = State(key, rows + entry.rows, self.batches.snapshot())
                state.save(self.store, self.folder, name, after)
                return after
            with self.store.writing(path, sync=False) as sink, parquet.writer(sink, self.schema) as writer:
                self._compute(source, writer)
                after = State(key, rows + entry.rows, self.batches.snapshot())
                state.put(writer, after)
            return after
        except QtfeatError as error:
            raise _located(error, name, rows) from error

    def _engine(self, before: State | None) -> _core.Batches:
        job = self.job
        gap = None if job.on_gap == "ignore" else self.partition.interval
        options = table_options(None, job.on_bad, job.on_gap, gap, 1, job.dtype)
        batches = _core.Batches(job.features._core, None, "open_time", ["open_time"], options)
        if before is not None:
            batches.restore(before.snapshot)
        return batches

    def _compute(self, source: Any, writer: Any) -> None:
        wanted, there = ["open_time", *_BAR, *self.job.features.extras], set(source.schema_arrow.names)
        missing = [name for name in wanted if name not in there]
        if missing:
            raise SchemaError(f"column {missing[0]!r} is missing: the feature set reads it", column=missing[0])
        for group in range(source.num_row_groups):
            bars = source.read_row_group(group, columns=wanted, use_threads=False)
            output = self.batches.push(bars)  # type: ignore[union-attr]
            if writer is not None:
                frame = output.frame()
                table = pa.table(output) if frame is None else pa.Table.from_batches([pa.record_batch(frame)])
                writer.write_table(table, row_group_size=parquet.ROW_GROUP)


_BAR = ("open", "high", "low", "close", "volume")


def _located(error: QtfeatError, name: str, rows: int) -> QtfeatError:
    """The same error with the month, and the row inside it: the engine counts from the symbol's first bar."""
    row = f", row {error.row - rows} of the file" if error.row is not None and error.row >= rows else ""
    told = type(error)(f"{name}.parquet{row}: {error}")
    told.__dict__.update(error.__dict__)
    return told


@lru_cache(maxsize=4)
def _lake(root: str) -> Lake:
    return Lake(root)


@lru_cache(maxsize=4)
def _schema(job: Job) -> pa.Schema:
    kind = pa.float32() if job.dtype == "float32" else pa.float64()
    metadata = {
        "qtfeat.fingerprint": job.features.fingerprint,
        "qtfeat.numerics": job.features.numerics,
        "qtfeat.set": job.name,
        "qtfeat.engine": qtfeat.__version__,
    }
    fields = [pa.field("open_time", pa.timestamp("ms", tz="UTC")), *(pa.field(c, kind) for c in job.features.columns)]
    return pa.schema(fields, metadata=metadata)
