"""The journal of the archive: each batch of messages is one synced file until it has been folded into daily files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from qtfeat.backfill.store import Store

FOLDER = "streams/.journal"
_STREAM = b"stream"


class Journal:
    """Segments `streams/.journal/<number>.arrows`, each an Arrow stream per Redis stream. One process at a time.

    Args:
        store: of the lake.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        store.sweep(FOLDER)
        self.segments = [name for name in store.names(FOLDER) if name.endswith(".arrows")]
        self._next = int(self.segments[-1].partition(".")[0]) + 1 if self.segments else 0

    def append(self, tables: Mapping[str, pa.Table]) -> None:
        """Write tables by stream; they are on the disk when this returns, all or none."""
        name = f"{self._next:020d}.arrows"
        with self._store.writing(f"{FOLDER}/{name}", sync=True) as sink, _opened(sink) as file:
            for stream, table in tables.items():
                schema = table.schema.with_metadata({_STREAM: stream.encode()})
                with pa.ipc.new_stream(file, schema) as writer:
                    writer.write_table(table)
        self.segments.append(name)
        self._next += 1

    def read(self, segments: list[str]) -> dict[str, pa.Table]:
        """What segments hold, by stream."""
        found: dict[str, list[pa.Table]] = {}
        for name in segments:
            data = self._store.read(f"{FOLDER}/{name}")
            reader = pa.BufferReader(data)
            while reader.tell() < data.size:
                with pa.ipc.open_stream(reader) as stream:
                    table = stream.read_all()
                known = table.schema.metadata[_STREAM].decode()
                found.setdefault(known, []).append(table.replace_schema_metadata(None))
        # A field that this version has and an older one did not is null there.
        return {stream: pa.concat_tables(some, promote_options="default") for stream, some in found.items()}

    def drop(self, segments: list[str]) -> None:
        """Remove segments that have been folded."""
        for name in segments:
            self._store.remove(f"{FOLDER}/{name}")
        self.segments = [name for name in self.segments if name not in set(segments)]


@contextmanager
def _opened(sink: Any) -> Iterator[Any]:
    if isinstance(sink, str):
        with pa.OSFile(sink, "wb") as file:
            yield file
    else:
        yield sink
