"""Is a lake what its manifests say, and what to do where it is not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from qtfeat.backfill import manifest, parquet
from qtfeat.backfill.lake import LOCK, Lake, entry_of
from qtfeat.backfill.manifest import Month
from qtfeat.backfill.merge import millis
from qtfeat.backfill.partition import Partition
from qtfeat.bars.schema import BAR_SCHEMA
from qtfeat.errors import SchemaError

QUARANTINE = "quarantine"
_FILE = re.compile(r"(\d{4}-\d{2})\.parquet")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a lake that is not as it should be.

    Attributes:
        partition: where.
        file: which file.
        what: what is wrong with it.
        action: what `repair` did; empty after `check`.
    """

    partition: Partition
    file: str
    what: str
    action: str = ""

    def __str__(self) -> str:
        return f"{self.partition} {self.file}: {self.what}" + (f"; {self.action}" if self.action else "")


def check(lake: Lake, partitions: Iterable[Partition]) -> Iterator[Problem]:
    """Read every file and compare it with its manifest; nothing is changed.

    What the bars themselves are like (gaps, jumps, frozen feeds) is another question: `qtfeat inspect`.
    """
    for partition in partitions:
        store, home = lake.store, manifest.folder(partition)
        names = store.names(home)
        if manifest.unfinished(store, partition):
            yield Problem(partition, manifest.MANIFEST, "a writer was killed before it had finished a decided change")
        try:
            months = manifest.read(store, partition)
        except SchemaError as error:
            yield Problem(partition, manifest.MANIFEST, str(error))
            months = {}
        for name in names:
            if name.startswith(".") and name.endswith((".part", ".next")):
                yield Problem(partition, name, "left behind by a killed writer")
        files = {match[1]: name for name in names if (match := _FILE.fullmatch(name))}
        for month in sorted({*files, *months}):
            what = _wrong(lake, partition, month, months.get(month), present=month in files)
            if what:
                yield Problem(partition, f"{month}.parquet", what)


def repair(lake: Lake, partitions: Iterable[Partition]) -> Iterator[Problem]:
    """Make the manifests true: sound files are accepted as they are, damaged ones are set aside, not deleted.

    Yields:
        What was wrong and what was done. Features of what changed are computed anew by the next backfill.

    Raises:
        LakeBusyError: another process is writing.
    """
    with lake.store.lock(LOCK, lake.root):
        for partition in partitions:
            found = list(check(lake, [partition]))
            if found:
                yield from _repair(lake, partition, found)


def _repair(lake: Lake, partition: Partition, found: list[Problem]) -> Iterator[Problem]:
    store, home = lake.store, manifest.folder(partition)
    try:
        manifest.recover(store, partition)
    except SchemaError:
        store.remove(f"{home}/{manifest.JOURNAL}")
    months: dict[str, Month] = {}
    aside: dict[str, str] = {}
    for name in store.names(home):
        match = _FILE.fullmatch(name)
        if match is None:
            continue
        data = store.read(f"{home}/{name}")
        what, table = _table(data, partition, match[1])
        if table is not None and not what:
            months[match[1]] = entry_of(match[1], data, table)
        else:
            to = f"{QUARANTINE}/{partition.path}/{match[1]}-{manifest.digest(data)[:12]}.parquet"
            with store.writing(to, sync=True) as sink:
                _copy(data, sink)
            store.remove(f"{home}/{name}")
            aside[name] = to
    manifest.write_manifest(store, partition, months.values())
    for problem in found:
        if problem.file in aside:
            action = f"set aside as {aside[problem.file]}: add those bars again"
        elif problem.file.removesuffix(".parquet") in months:
            action = "accepted as it is"
        else:
            action = "put in order" if problem.file.startswith(("_", ".")) else "dropped from the manifest"
        yield Problem(partition, problem.file, problem.what, action)


def _copy(data: pa.Buffer, sink: object) -> None:
    with pa.OSFile(sink, "wb") if isinstance(sink, str) else pa.PythonFile(sink) as file:
        file.write(data)


def _wrong(lake: Lake, partition: Partition, month: str, entry: Month | None, *, present: bool) -> str:
    """What is wrong with one month, or nothing."""
    if not present:
        return "in the manifest, but missing"
    data = lake.store.read(f"{manifest.folder(partition)}/{month}.parquet")
    what, table = _table(data, partition, month)
    if what or table is None:
        return what
    if entry is None:
        return "not in the manifest"
    if manifest.digest(data) != entry.sha256:
        return "changed since it was written (sha256 differs from the manifest)"
    if entry != entry_of(month, data, table):
        return "the manifest tells rows or times wrongly"
    return ""


def _table(data: pa.Buffer, partition: Partition, month: str) -> tuple[str, pa.Table | None]:
    """What is wrong with a file in itself, and its bars where they can be read."""
    try:
        table = parquet.reader(data).read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        return f"cannot be read as Parquet ({error})", None
    if table.schema.names[: len(BAR_SCHEMA)] != BAR_SCHEMA.names or any(
        table.schema.field(f.name).type != f.type for f in BAR_SCHEMA
    ):
        return "other columns than bars have", None
    if table.num_rows == 0:
        return "no rows", None
    return _order(table, partition, month), table


def _order(table: pa.Table, partition: Partition, month: str) -> str:
    times = millis(table)
    if table["open_time"].null_count or table["symbol"].null_count:
        return "null times or symbols"
    steps = np.diff(times)
    if len(steps) and steps.min() <= 0:
        return f"row {int(np.argmin(steps > 0)) + 1}: times do not strictly increase"
    if len(steps) and steps.min() < partition.seconds * 1000:
        at = int(np.argmax(steps < partition.seconds * 1000))
        return f"row {at + 1}: closer to the bar before than {partition.interval}"
    ends = {str(np.datetime64(int(t), "ms").astype("datetime64[M]")) for t in (times[0], times[-1])}
    if ends != {month}:
        return f"bars of {' to '.join(sorted(ends))}"
    symbols = table["symbol"].unique().to_pylist()
    return "" if symbols == [partition.symbol] else f"bars of {', '.join(map(repr, symbols[:3]))}"
