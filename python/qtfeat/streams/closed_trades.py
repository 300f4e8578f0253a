"""Closed trades as Parquet files, each trade once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qtfeat.errors import SchemaError
from qtfeat.serve.state import write_atomically
from qtfeat.streams.archive import table_of
from qtfeat.streams.kinds import TRADES


class ClosedTrades:
    """Trades in memory until `flush` writes them; a trade id that was there before is not taken again.

    Args:
        folder: where the files go; made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._known: set[str] = set(read_closed_trades(folder)["trade_id"].to_pylist())
        self._waiting: list[tuple[Any, ...]] = []

    def add(self, row: Sequence[Any]) -> bool:
        """Take a row of kind `trades` with its message id; return whether the trade is new."""
        trade_id = row[0]
        if trade_id in self._known:
            return False
        self._known.add(trade_id)
        self._waiting.append(tuple(row))
        return True

    def flush(self) -> None:
        """Write what is in memory to a file, durably."""
        if self._waiting:
            sink = pa.BufferOutputStream()
            pq.write_table(table_of(TRADES, self._waiting), sink, compression="zstd")
            write_atomically(self._folder / f"trades-{time.time_ns()}.parquet", sink.getvalue().to_pybytes())
            self._waiting.clear()


def read_closed_trades(folder: str | Path) -> pa.Table:
    """All trades of a folder, in the order in which they came. Raises SchemaError for a file that is none of ours."""
    tables = []
    for file in sorted(Path(folder).glob("trades-*.parquet")):
        try:
            tables.append(pq.read_table(file).cast(TRADES.schema))
        except (pa.ArrowInvalid, ValueError) as error:
            raise SchemaError(f"{file}: not closed trades ({error})") from error
    return pa.concat_tables(tables) if tables else TRADES.schema.empty_table()
