"""Tables of closed trades in the formats that they are kept in."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from qtfeat import _tables
from qtfeat._times import scalar_ns
from qtfeat.errors import SchemaError
from qtfeat.trades.table import Trades, check_trades

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "trade_id", "order_id"),
    "symbol": ("symbol", "pair", "ticker", "asset", "instrument"),
    "direction": ("direction", "side"),
    "is_short": ("is_short",),
    "entry_time": ("entry_time", "entry_ts", "entry_at", "opened_at", "open_date", "open_time", "open_timestamp"),
    "exit_time": ("exit_time", "exit_ts", "exit_at", "closed_at", "close_date", "close_time", "close_timestamp"),
    "entry_price": ("entry_price", "open_rate", "open_price"),
    "exit_price": ("exit_price", "close_rate", "close_price"),
    "leverage": ("leverage",),
    "pnl_pct": ("pnl_pct", "pnl_percent", "profit_pct", "return_pct"),
}
"""Columns of a trade, and the names they are found by without a map."""

_NEEDED = ("symbol", "entry_time", "exit_time", "pnl_pct")
# Tables keep these in several forms that say the same (open_date, open_timestamp): the first is taken.
_ALIKE = ("id", "entry_time", "exit_time")
_SQLITE = (".sqlite", ".sqlite3", ".db")


def read_trades(
    source: Any,
    *,
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
    since: Any = None,
    unit: str = "percent",
) -> Trades:
    """Read closed trades and leave out those that cannot be learnt from, with reasons.

    Left out are rows without id, symbol, times, prices or profit (where the table has such columns), an id or a row
    that was there before, an exit before the entry, prices or leverage not above 0, numbers that are not finite, and
    losses of everything.

    Args:
        source: a file (.parquet, .csv, .jsonl, .ndjson, .sqlite, .sqlite3, .db), or a table or dict as in
            `qtfeat.compute`.
        table: table of a SQLite file; None where it has only one.
        columns: map from the names in `COLUMNS` to those of the source, where they are others. Needed are symbol,
            entry_time, exit_time and pnl_pct. A column mapped to "" is not read.
        since: leave out trades entered before this time ("2025-01-01", a datetime); naive times are UTC.
        unit: "percent", or "fraction", of `pnl_pct`. With a leverage, the outcome is divided by it.

    Returns:
        The trades, in the order of the source. Times may be texts in ISO 8601, timestamps, or epoch numbers, whose
        unit is told by their size.

    Raises:
        SchemaError: a file or table that cannot be read, a column that is missing or not the only one of its kind.
    """
    if unit not in ("percent", "fraction"):
        raise SchemaError(f"unit must be 'percent' or 'fraction', not {unit!r}")
    start = None if since is None else np.datetime64(scalar_ns(since, None), "ns")
    where, found = (str(source), _file(Path(source), table)) if isinstance(source, str | Path) else ("trades", source)
    if _tables.kind(found) in ("dict", "pandas"):
        names = _tables.names(found)
        match = _match(names, columns, where)
        arrays = _tables.arrays(found, list(dict.fromkeys(match.values())))
        values = {name: list(_scalars(arrays[own])) for name, own in match.items()}
    else:
        read = pa.table(found)
        match = _match(read.column_names, columns, where)
        values = {name: _listed(read[own]) for name, own in match.items()}
    for name, column in values.items():
        if len(column) != len(values["pnl_pct"]):
            raise SchemaError(
                f"{where}: {match[name]!r} has {len(column)} rows, {match['pnl_pct']!r} has {len(values['pnl_pct'])}",
                column=name,
            )
    return check_trades(values, unit=unit, since=start, source=where)


def _scalars(array: npt.NDArray[Any]) -> list[Any]:
    """Python values; times stay NumPy's, which know nanoseconds."""
    if array.dtype.kind == "M":
        return [None if np.isnat(x) else x for x in array]
    listed: list[Any] = array.tolist()
    return [None if type(x).__name__ in ("NAType", "NaTType") else x for x in listed]


def _listed(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        # In the column's own unit: a time past 2262 costs its row, not the table.
        return _scalars(column.to_numpy())
    listed: list[Any] = column.to_pylist()
    return listed


def _file(path: Path, table: str | None) -> Any:
    if not path.is_file():
        raise SchemaError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if table is not None and suffix not in _SQLITE:
        raise SchemaError(f"{path}: table= belongs to SQLite files")
    try:
        if suffix == ".parquet":
            return pq.read_table(path)
        if suffix == ".csv":
            # Texts, as they stand: a bad value in one row must not be the end of the file.
            head = pa_csv.open_csv(path).schema.names
            types = dict.fromkeys(head, pa.string())
            return pa_csv.read_csv(
                path, convert_options=pa_csv.ConvertOptions(column_types=types, strings_can_be_null=True)
            )
        if suffix in (".jsonl", ".ndjson"):
            return _json_lines(path)
        if suffix in _SQLITE:
            return _sqlite(path, table)
    except (pa.ArrowException, sqlite3.Error, OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"{path}: cannot be read: {error}") from error
    raise SchemaError(f"{path}: trades are read from .parquet, .csv, .jsonl, .ndjson and {', '.join(_SQLITE)}")


def _sqlite(path: Path, table: str | None) -> dict[str, Any]:
    # Opened to read only, so that a wrong name cannot make a file or a lock.
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as base:
        kinds = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
        tables = [name for (name,) in base.execute(kinds)]
        if table is None and len(tables) != 1:
            raise SchemaError(f"{path}: say which table with table=; it has {tables}")
        name = tables[0] if table is None else table
        if name not in tables:
            raise SchemaError(f"{path}: no table {name!r}; it has {tables}")
        quoted = name.replace('"', '""')
        rows = base.execute(f'SELECT * FROM "{quoted}"')  # noqa: S608 - a name that the file itself lists, quoted
        names = [column[0] for column in rows.description]
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return {own: _objects(values) for own, values in zip(names, columns, strict=True)}


def _json_lines(path: Path) -> dict[str, Any]:
    rows = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise SchemaError(f"{path}, line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise SchemaError(f"{path}, line {number}: a trade must be an object with names")
            rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _objects([row.get(name) for row in rows]) for name in names}


def _objects(values: Sequence[Any]) -> npt.NDArray[Any]:
    out = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        out[i] = value
    return out


def _match(names: list[str], given: Mapping[str, str] | None, where: str) -> dict[str, str]:
    """Match the columns of a trade to those of the source."""
    if not isinstance(given, Mapping | None):
        raise SchemaError(f"columns must be a map, as in {{'pnl_pct': 'profit_ratio'}}, not {given!r}")
    found = dict(given or {})
    for wanted, own in found.items():
        if wanted not in COLUMNS or (own and own not in names):
            raise SchemaError(
                f"{where}: the column map says {wanted!r} is {own!r}, but trades have {', '.join(COLUMNS)} and the "
                f"source has {', '.join(map(repr, names))}"
            )
    for wanted in COLUMNS:
        if wanted not in found:
            found[wanted] = _by_alias(wanted, names, where)
    found = {wanted: own for wanted, own in found.items() if own}
    for wanted, own in found.items():
        if names.count(own) > 1:
            raise SchemaError(f"{where}: there is more than one column {own!r}", column=wanted)
    missing = [wanted for wanted in _NEEDED if wanted not in found]
    if missing:
        raise SchemaError(
            f"{where}: no column for {', '.join(missing)}; found {', '.join(map(repr, names))}. Name them, as in "
            'columns={"pnl_pct": "profit_ratio"} (with unit="fraction" where it is one)',
            column=missing[0],
        )
    return found


def _by_alias(wanted: str, names: list[str], where: str) -> str:
    """The column that is known by a usual name, or ""."""
    matches = [name for alias in COLUMNS[wanted] for name in dict.fromkeys(names) if str(name).lower() == alias]
    if len(matches) > 1 and wanted not in _ALIKE:
        raise SchemaError(
            f"{where}: {' and '.join(map(repr, matches))} may each be the {wanted}: say which, as in "
            f'columns={{"{wanted}": {matches[0]!r}}}',
            column=wanted,
        )
    return matches[0] if matches else ""
