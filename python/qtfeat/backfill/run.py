"""A backfill: the features of every bar in a lake, of which only what is missing or changed is computed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import qtfeat
from qtfeat import _strict_json
from qtfeat.backfill.executors import Executor, Threads
from qtfeat.backfill.lake import Lake
from qtfeat.backfill.partition import Partition, month
from qtfeat.backfill.store import Store, write
from qtfeat.backfill.task import Job, Outcome, Stop
from qtfeat.errors import SchemaError
from qtfeat.feature_set import FeatureSet, as_feature_set
from qtfeat.features import _options, thread_count

LOCK = ".lock"
CONFIG = "_set.json"
_SETTINGS = ("dtype", "on_bad", "on_gap")
Progress = Callable[[int], Any]
"""Takes the bars of all partitions; gives a context manager of a function that takes the bars just done."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a backfill did.

    Attributes:
        folder: where the features are.
        outcomes: one per partition, in the order of the partitions.
        partitions: how many there were to bring up to date.
    """

    folder: str
    outcomes: tuple[Outcome, ...]
    partitions: int

    @property
    def rows(self) -> int:
        """Bars of the months computed."""
        return sum(o.rows for o in self.outcomes)

    @property
    def computed(self) -> int:
        """Months computed."""
        return sum(o.computed for o in self.outcomes)

    @property
    def skipped(self) -> int:
        """Months that were there."""
        return sum(o.skipped for o in self.outcomes)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The partitions that could not be finished."""
        return tuple(o for o in self.outcomes if o.error)

    @property
    def complete(self) -> bool:
        """True when every partition is up to date."""
        finished = [o for o in self.outcomes if not o.error and not o.stopped]
        return len(finished) == self.partitions


def run_backfill(
    lake: Lake | str | os.PathLike[str],
    features: FeatureSet | str | Iterable[str] = "wide32",
    *,
    markets: Collection[str] | None = None,
    symbols: Collection[str] | None = None,
    intervals: Collection[str] | None = None,
    first: str | None = None,
    last: str | None = None,
    dtype: str = "float32",
    on_bad: str = "raise",
    on_gap: str = "ignore",
    workers: int | None = None,
    executor: Executor | None = None,
    name: str | None = None,
    replace_settings: bool = False,
    check: bool = False,
    progress: Progress | None = None,
    stop: Stop = lambda: False,
) -> Report:
    """Compute the features of a lake's bars into `features/set=<name>-<fingerprint>/` of the same lake.

    The result has the bits of one pass over the whole history of each symbol: the engine's state goes from month to
    month, and is kept in the footer of each. So a run that was killed goes on where it was, a month whose bars changed
    is computed again with those after it, and nothing else is. Running twice gives the same bytes.

    Args:
        lake: the lake, its folder or its URL.
        features: a set without a fill.
        markets: only these; so with `symbols` and `intervals`.
        symbols: only these.
        intervals: only these.
        first: first month (`2023-01`) whose features are written. Months before it are computed too where their state
            is not known, because the state depends on them, but not written.
        last: last month.
        dtype: "float32" (which saturates) or "float64".
        on_bad: as in `qtfeat.compute`; a bad bar under "raise" fails its symbol and no other.
        on_gap: as in `qtfeat.compute`; the distance between bars is the partition's interval.
        workers: threads; None takes all processors.
        executor: where to work instead of threads, such as `Dask("tcp://...")`.
        name: the set's name in the folder; default its own name, or "custom".
        replace_settings: compute anew where the folder was made with another dtype or policy.
        check: read the features that are there and verify their checksums; without it only their footers are read.
        progress: shows how far it is.
        stop: asked between months; True ends the run cleanly.

    Returns:
        What was done. A partition that failed has its reason there; the others are not stopped by it.

    Raises:
        SchemaError: settings that do not fit; no bars; a folder made with other settings.
        LakeBusyError: another backfill of the same set is at work.
    """
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    job = _job(lake, as_feature_set(features), name, dtype, on_bad, on_gap, first, last, check=check)
    executor = executor or Threads(thread_count(workers))
    paths, rows = _plan(lake, lake.partitions(markets=markets, symbols=symbols, intervals=intervals), job)
    outcomes: dict[str, Outcome] = {}
    with lake.store.lock(f"{job.folder}/{LOCK}", f"{lake.root}/{job.folder}"):
        _settle(lake.store, job, replace_settings=replace_settings)
        with progress(rows) if progress else nullcontext(lambda _rows: None) as tick:
            for outcome in executor.run(job, paths, tick, stop):
                outcomes[outcome.path] = outcome
    return Report(f"{lake.root}/{job.folder}", tuple(outcomes[p] for p in sorted(outcomes)), len(paths))


def _job(
    lake: Lake,
    features: FeatureSet,
    name: str | None,
    dtype: str,
    on_bad: str,
    on_gap: str,
    first: str | None,
    last: str | None,
    *,
    check: bool,
) -> Job:
    if features.fill is not None:
        raise SchemaError(f"fill={features.fill!r} needs the whole table: a backfill takes FeatureSet(..., fill=None)")
    _options(None, on_bad, on_gap, None, 1, dtype)
    for column in features.columns:
        if column == "open_time":
            raise SchemaError("a feature is named open_time, as the time beside it: rename it", column=column)
    name = name or features.name or "custom"
    if not name.replace("-", "_").isidentifier() and not name.replace("-", "_").isalnum():
        raise SchemaError(f"the set's name {name!r} goes into a path: letters, digits, - and _ only")
    first = None if first is None else month(first, "first")
    last = None if last is None else month(last, "last")
    if first and last and first > last:
        raise SchemaError(f"first month {first} is after the last, {last}")
    return Job(lake.root, features, name, dtype, on_bad, on_gap, first, last, check)


def _plan(lake: Lake, partitions: list[Partition], job: Job) -> tuple[list[str], int]:
    """Paths, the longest first so that workers end together, and the bars of all."""
    sizes = []
    for partition in partitions:
        months = lake.months(partition).values()
        sizes.append((sum(m.rows for m in months if job.last is None or m.month <= job.last), partition.path))
    sizes.sort(key=lambda s: (-s[0], s[1]))
    return [path for _, path in sizes], sum(rows for rows, _ in sizes)


def _settle(store: Store, job: Job, *, replace_settings: bool) -> None:
    """Say in the folder what it holds; refuse one that was made with other settings."""
    path = f"{job.folder}/{CONFIG}"
    told = {
        "format": 1,
        "set": job.name,
        "fingerprint": job.features.fingerprint,
        "engine": qtfeat.__version__,
        **{key: getattr(job, key) for key in _SETTINGS},
        "toml": job.features.to_toml(),
        "columns": job.features.describe(),
    }
    data = (json.dumps(told, indent=1, default=str) + "\n").encode()
    try:
        there = store.read(path).to_pybytes()
    except FileNotFoundError:
        there = b""
    if there == data:
        return
    if there and not replace_settings:
        _refuse_other(f"{store.root}/{path}", there, told)
    write(store, path, data, sync=True)


def _refuse_other(where: str, there: bytes, told: dict[str, Any]) -> None:
    try:
        old = _strict_json.parse(there)
        differ = [(key, old[key], told[key]) for key in _SETTINGS if old[key] != told[key]]
    except (ValueError, KeyError, TypeError) as error:
        raise SchemaError(f"{where}: damaged ({error}); remove it, and run again") from error
    for key, old_value, value in differ:
        text = f"{where}: made with {key} {old_value!r}, not {value!r}: say the same, or --replace to compute anew"
        raise SchemaError(text)
