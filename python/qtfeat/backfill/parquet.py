"""How tables become bytes in a lake: one place, so that equal tables are equal bytes."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 1 << 16
"""Rows of a row group: what a worker holds in memory at a time."""

# Without dictionaries: floats hardly repeat, and looking for repeats costs more than all the rest.
SETTINGS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": ["symbol"],
    "write_statistics": True,
    "version": "2.6",
    "store_schema": True,
}


def writer(sink: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """A Parquet writer with the settings of the lake; `sink` is a path or a file."""
    return pq.ParquetWriter(sink, schema, **SETTINGS)


def reader(data: pa.Buffer) -> pq.ParquetFile:
    """The Parquet file in a buffer."""
    return pq.ParquetFile(pa.BufferReader(data))
