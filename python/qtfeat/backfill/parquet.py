"""How tables become bytes in a lake: one place, so that equal tables are equal bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qtfeat.backfill.store import Store

ROW_GROUP = 1 << 16
"""Rows of a row group: what a worker holds in memory at a time."""

# Without dictionaries: floats hardly repeat, and looking for repeats costs more than all the rest.
SETTINGS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": ["symbol"],
    "write_statistics": True,
    "write_page_checksum": True,
}


@contextmanager
def writer(sink: Any, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A Parquet writer with the settings of the lake; `sink` is a path or a file."""
    # A file that is open spares pyarrow the question of which file system a path belongs to.
    with (
        pa.OSFile(sink, "wb") if isinstance(sink, str) else nullcontext(sink) as file,
        pq.ParquetWriter(file, schema, **SETTINGS) as out,
    ):
        yield out


def reader(data: pa.Buffer) -> pq.ParquetFile:
    """The Parquet file in a buffer."""
    return pq.ParquetFile(pa.BufferReader(data))


def footer(store: Store, path: str) -> dict[bytes, bytes] | None:
    """Keys and values in the footer of a Parquet file; None where there is none that can be read."""
    try:
        with store.open(path) as file:
            return pq.read_metadata(file).metadata or {}
    except (pa.ArrowInvalid, OSError):
        return None


def sound(data: pa.Buffer) -> bool:
    """True if the file can be read and every page has the checksum that it was written with."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        for group in range(file.num_row_groups):
            file.read_row_group(group, use_threads=False)
    except (pa.ArrowInvalid, OSError):
        return False
    return True
