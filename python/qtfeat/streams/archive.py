"""The archive: streams into daily files of a lake, nothing lost and nothing twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from qtfeat.backfill.lake import Lake
from qtfeat.bars.schema import BAR_SCHEMA
from qtfeat.errors import SchemaError
from qtfeat.streams import daily
from qtfeat.streams.consumer import Entry, Key, acknowledge
from qtfeat.streams.journal import Journal
from qtfeat.streams.kinds import KINDS, TIME, Kind
from qtfeat.streams.messages import MessageError, Parser, Row, StreamSpec

if TYPE_CHECKING:
    from redis import Redis

LOCK = f"{daily.ROOT}/.lock"


class StreamArchive:
    """Writes messages to `streams/stream=.../symbol=.../YYYY-MM-DD.parquet` of a lake. A `Handler` of `Consumer`.

    A batch goes to a journal first, one synced file, and only then is it acknowledged. From time to time, and at the
    end, the journal is folded into the daily files: there every message stands once, by its key, sorted by time. So
    the files depend on the messages alone, not on batches, order or interruptions.

    Use it as a context manager; one process at a time.

    Args:
        lake: folder or URL of the lake.
        streams: the streams and what they carry.
        fold_rows: fold when the journal has so many messages,
        fold_seconds: or when its oldest is so old.

    Raises:
        SchemaError: no streams, or two of one name.
        LakeBusyError: another process writes this archive.

    Attributes:
        counts: `written` to the journal, `forming` bars left out, `malformed` messages, `rows` new in the daily
            files, `duplicates`, `conflicts` (duplicates with other values: the lower message id stays), `folds`.
    """

    def __init__(
        self,
        lake: str | Any,
        streams: Sequence[StreamSpec],
        *,
        fold_rows: int = 500_000,
        fold_seconds: float = 300.0,
    ) -> None:
        if not streams or len({spec.name for spec in streams}) != len(streams):
            raise SchemaError("an archive needs at least one stream, each named once")
        self.lake = Lake(lake)
        self._parsers = {spec.name: Parser(spec) for spec in streams}
        self._fold_rows, self._fold_seconds = fold_rows, fold_seconds
        self._open = ExitStack()
        self._journal: Journal | None = None
        self._waiting, self._since = 0, time.monotonic()
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        store = self.lake.store
        self._open.enter_context(store.lock(LOCK, f"{self.lake.root}/{daily.ROOT}"))
        try:
            self._journal = Journal(store)
            if self._journal.segments:
                self.fold()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.fold()
        finally:
            self._journal = None
            self._open.close()

    # --- as a handler -------------------------------------------------------------------------------------------

    def connected(self, client: Redis) -> None:
        """Nothing to finish: what is in the journal may come again."""

    def process(self, entries: Sequence[Entry]) -> dict[Key, str]:
        """Write messages to the journal; they are on the disk when this returns."""
        rows: dict[str, list[Row]] = {}
        failed: dict[Key, str] = {}
        for entry in entries:
            try:
                row = self._parsers[entry.stream].parse(entry.fields)
            except MessageError as error:
                failed[entry.key] = str(error)
                continue
            if row is None:
                self.counts["forming"] += 1
                continue
            ms, _, seq = entry.id.partition("-")
            rows.setdefault(entry.stream, []).append((*row, int(ms), int(seq)))
        if rows:
            tables = {stream: table_of(self._parsers[stream].kind, some) for stream, some in rows.items()}
            self._segments.append(tables)
            if not self._waiting:
                self._since = time.monotonic()
            written = sum(map(len, rows.values()))
            self._waiting += written
            self.counts["written"] += written
        self.counts["malformed"] += len(failed)
        return failed

    def acknowledge(self, client: Redis, group: str, entries: Sequence[Entry]) -> None:
        """Acknowledge what the journal has."""
        acknowledge(client, group, [entry.key for entry in entries])

    def after(self) -> None:
        """Fold the journal if it is due."""
        if self._waiting >= self._fold_rows or (self._waiting and time.monotonic() - self._since >= self._fold_seconds):
            self.fold()

    # --- the journal and the daily files ------------------------------------------------------------------------

    def fold(self) -> daily.Folded:
        """Put what the journal has into the daily files, and empty it."""
        segments = list(self._segments.segments)
        total = daily.Folded()
        for stream, table in sorted(self._segments.read(segments).items()) if segments else ():
            # A stream that is not read any more may still be in the journal: its columns tell what it carried.
            parser = self._parsers.get(stream)
            kind = parser.kind if parser else kind_of(table)
            total += daily.fold(self.lake.store, stream, kind, table.select(kind.schema.names))
        self._segments.drop(segments)
        self._waiting, self._since = 0, time.monotonic()
        for name, count in (("rows", total.new), ("duplicates", total.same), ("conflicts", total.conflicts)):
            self.counts[name] += count
        self.counts["folds"] += 1
        return total

    @property
    def _segments(self) -> Journal:
        if self._journal is None:
            raise SchemaError("the archive is closed: use it in a with statement")
        return self._journal


def table_of(kind: Kind, rows: Sequence[Row]) -> pa.Table:
    """Rows of a kind, with message ids, as a table."""
    columns = []
    for field, values in zip(kind.schema, zip(*rows, strict=True), strict=True):
        if field.type == TIME:
            columns.append(pa.array(np.array(values, dtype=np.int64)).cast(TIME))
        else:
            columns.append(pa.array(values, type=field.type))
    return pa.table(columns, schema=kind.schema)


def kind_of(table: pa.Table) -> Kind:
    """The kind whose columns a table has. Raises SchemaError."""
    for kind in KINDS.values():
        if kind.schema.names == table.column_names:
            return kind
    raise SchemaError(f"no kind of message has the columns {', '.join(table.column_names)}")


def read_stream(
    lake: str | Any,
    stream: StreamSpec,
    *,
    symbol: str | None = None,
    first: str | None = None,
    last: str | None = None,
) -> pa.Table:
    """Archived messages, by symbol and time.

    Args:
        lake: folder or URL.
        stream: the stream and what it carries.
        symbol: only this one.
        first: first day, `YYYY-MM-DD`.
        last: last day, inclusive.

    Returns:
        The fields of its kind, `extra` (other fields of the message, as JSON), and the message id as `id_ms` and
        `id_seq`; empty where nothing is archived.
    """
    store, kind = Lake(lake).store, KINDS[stream.kind]
    tables = [
        daily.read_file(store, path, kind)
        for folders, day, path in daily.files(store, stream.name, kind)
        if (symbol is None or folders[0] == symbol)
        and (first is None or day >= first)
        and (last is None or day <= last)
    ]
    return pa.concat_tables(tables) if tables else kind.schema.empty_table()


def bars_into_lake(lake: str | Any, stream: StreamSpec, market: str, **options: Any) -> list[Any]:
    """Add the archived bars of a `klines` stream to the lake's bars, where a backfill finds them.

    Args:
        lake: folder or URL.
        stream: the stream.
        market: such as `spot` or `um`.
        options: as in `Lake.add`.

    Returns:
        What was added, by partition.

    Raises:
        SchemaError: not a stream of klines, or a bar that the lake has with other values.
    """
    if stream.kind != "klines":
        raise SchemaError(f"stream {stream.name!r} carries {stream.kind}, not klines")
    target, kind = Lake(lake), KINDS["klines"]
    found: dict[tuple[str, ...], list[pa.Table]] = {}
    for folders, _, path in daily.files(target.store, stream.name, kind):
        found.setdefault(folders, []).append(daily.read_file(target.store, path, kind))
    added: list[Any] = []
    for (_, interval), tables in found.items():
        bars = pa.concat_tables(tables).select(BAR_SCHEMA.names)
        added += target.add(bars.cast(BAR_SCHEMA), market, interval, **options)
    return added
