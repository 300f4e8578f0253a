"""Signals as Parquet files: production's, with the features behind them, and the shadow's beside them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qtfeat.errors import SchemaError
from qtfeat.serve.signal import Signal
from qtfeat.serve.state import write_atomically

SCHEMA = pa.schema(
    [
        pa.field("lane", pa.string()),
        pa.field("symbol", pa.string()),
        pa.field("open_time", pa.timestamp("ns", tz="UTC")),
        pa.field("close", pa.float64()),
        pa.field("side", pa.string()),
        pa.field("confidence", pa.float64()),
        pa.field("source", pa.string()),
        pa.field("selected", pa.bool_()),
        pa.field("p_sell", pa.float64()),
        pa.field("p_hold", pa.float64()),
        pa.field("p_buy", pa.float64()),
        pa.field("score", pa.float64()),
        pa.field("drift", pa.float64()),
        pa.field("model", pa.string()),
        pa.field("fingerprint", pa.string()),
        pa.field("policy", pa.string()),
        pa.field("features", pa.list_(pa.float64())),
    ]
)


class Recorder:
    """Signals in memory until there are enough for a file; `flush` writes what there is.

    A file appears whole or not at all. Bars that are replayed after a crash are recorded again, with equal values:
    `read` gives each signal once.

    Args:
        folder: where the files go; made when missing.
        rows: signals per file.
        seconds: most seconds that a signal waits for its file.
    """

    def __init__(self, folder: str | Path, *, rows: int = 20_000, seconds: float = 60.0) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rows, self._seconds = rows, seconds
        self._waiting: list[dict[str, Any]] = []
        self._since = time.monotonic()
        self._files = 0

    def add(self, lane: str, signal: Signal, features: Mapping[str, float] | None = None) -> None:
        """Take a signal, with its features in the order of the model's columns."""
        p = signal.p or (None, None, None)
        known = signal.as_dict()
        row = {name: known[name] for name in SCHEMA.names if name in known}
        row |= {"lane": lane, "open_time": signal.time_ns, "p_sell": p[0], "p_hold": p[1], "p_buy": p[2]}
        self._waiting.append({**row, "features": None if features is None else list(features.values())})
        if len(self._waiting) >= self._rows or time.monotonic() - self._since >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Write the signals in memory to a file, durably."""
        self._since = time.monotonic()
        if not self._waiting:
            return
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(self._waiting, schema=SCHEMA), sink, compression="zstd")
        self._files += 1
        name = f"signals-{time.time_ns()}-{os.getpid()}-{self._files}.parquet"
        write_atomically(self.folder / name, sink.getvalue().to_pybytes())
        self._waiting.clear()


def read(folder: str | Path) -> pa.Table:
    """Return all recorded signals of a folder, each once, sorted by lane, symbol and time.

    Raises:
        SchemaError: no such folder, no files, or a file that is none of ours.
    """
    files = sorted(Path(folder).glob("signals-*.parquet"))
    if not files:
        raise SchemaError(f"{folder}: there are no recorded signals; serve with --store")
    parts = []
    for file in files:
        try:
            parts.append(pq.read_table(file).cast(SCHEMA))
        except (pa.ArrowInvalid, ValueError) as error:
            raise SchemaError(f"{file}: not recorded signals ({error})") from error
    table = pa.concat_tables(parts)
    keys = ["lane", "symbol", "open_time", "model"]
    numbered = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
    last = numbered.group_by(keys).aggregate([("row", "max")])["row_max"]
    return table.take(last).sort_by([(key, "ascending") for key in keys])
