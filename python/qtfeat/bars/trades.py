"""Single trades, as exchanges record them: read, put in order, repeated and impossible ones reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq

from qtfeat.bars import csv_files
from qtfeat.bars.schema import normal, origin_of
from qtfeat.bars.times import TimeReader
from qtfeat.errors import BadBarError, SchemaError

TRADE_SCHEMA = pa.schema(
    [
        pa.field("symbol", pa.string()),
        pa.field("time", pa.timestamp("ms", tz="UTC")),
        pa.field("price", pa.float64()),
        pa.field("amount", pa.float64()),
        pa.field("taker_buys", pa.bool_()),
        pa.field("id", pa.int64()),
    ]
)
OnBad = Literal["raise", "drop"]

_ALIASES: dict[str, tuple[str, ...]] = {
    "time": ("time", "transact_time", "transactiontime", "timestamp", "ts", "datetime", "date"),
    "price": ("price",),
    "amount": ("amount", "qty", "quantity", "size", "volume"),
    "id": ("id", "trade_id", "tradeid", "agg_trade_id"),
    "maker": ("is_buyer_maker", "isbuyermaker", "isbuyermarketmaker"),
    "side": ("side", "taker_side"),
    "symbol": ("symbol", "pair", "ticker"),
}
# The archive's trades and aggTrades of the spot market have no header.
_WITHOUT_HEADER = {
    7: ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match"),
    8: ("agg_trade_id", "price", "qty", "first_id", "last_id", "time", "is_buyer_maker", "is_best_match"),
}
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class TradeReport:
    """What was found in a file of trades.

    Attributes:
        source: the file.
        rows: trades that were kept.
        duplicates: rows that repeat id, time, price and amount of an earlier one; dropped.
        conflicts: rows with the id of an earlier one but other values; kept, for two trades are likelier than one.
        unsorted: rows earlier than the one before; put in order.
        bad: rows with a missing or infinite value, or a price or amount of zero or less.
        examples: the first of each kind, with the row of the file, from 0.
        notes: how it was read.
    """

    source: str
    rows: int
    duplicates: int
    conflicts: int
    unsorted: int
    bad: int
    examples: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not (self.duplicates or self.conflicts or self.unsorted or self.bad)

    def __str__(self) -> str:
        found = ", ".join(
            f"{count:,} {kind}"
            for kind, count in (
                ("repeated (dropped)", self.duplicates),
                ("with the id of another (kept)", self.conflicts),
                ("out of order (put in order)", self.unsorted),
                ("bad (dropped)", self.bad),
            )
            if count
        )
        lines = [f"{self.source}: {self.rows:,} trades, {found or 'nothing found'}"]
        return "\n".join([*lines, *(f"    {text}" for text in (*self.examples, *self.notes))])


def read_trades(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    symbol: str | None = None,
    on_bad: OnBad = "raise",
) -> tuple[pa.Table, TradeReport]:
    """Read a file of trades: CSV or zip of the Binance archive (trades, aggTrades), or any CSV, Parquet or Feather.

    Args:
        path: one file.
        columns: a map from `time`, `price`, `amount`, `id`, `maker` (buyer is maker), `side` (buy or sell, the
            taker's), `symbol` to the file's columns, where their names are not the usual ones.
        symbol: overrides a symbol column and the file name.
        on_bad: a missing, infinite, zero or negative price or amount: `"raise"`, or `"drop"` and report.

    Returns:
        (table, report). The table has `TRADE_SCHEMA`: symbol, time (timestamp[ms, UTC], rounded down), price, amount
        (float64), taker_buys (bool, null where unknown), id (int64, null where there is none), in order of symbol, time
        and then as in the file.

    Raises:
        BadBarError: a bad row under `on_bad="raise"`, with column, row and value.
        SchemaError: unreadable, or no time, price or amount.
    """
    file = Path(path)
    raw, notes = _read(file)
    found = _match(raw.column_names, file.name, columns or {})
    reader = TimeReader(file.name)
    pieces = raw.select([found["time"]]).combine_chunks().column(0).chunks
    millis = np.zeros(0, dtype=np.int64)
    if pieces:
        millis, nulls = reader.read(pieces[0], found["time"], 0)
        if nulls.any():
            row = int(np.flatnonzero(nulls)[0])
            raise SchemaError(f"{file.name}, row {row}: no time; mend the row or remove it", row=row, column="time")
    values = {name: _floats(raw, found[name], file.name) for name in ("price", "amount")}
    name = symbol or origin_of(file, file.stem).symbol
    symbols = raw.column(found["symbol"]).cast(pa.string()) if "symbol" in found and not symbol else None
    table = pa.table(
        [
            symbols if symbols is not None else pa.repeat(pa.scalar(name, pa.string()), len(raw)),
            pa.array(millis).cast(TRADE_SCHEMA.field("time").type),
            values["price"],
            values["amount"],
            _taker_buys(raw, found),
            _ids(raw, found),
        ],
        schema=TRADE_SCHEMA,
    )
    return _checked(table, file.name, on_bad, (*notes, f"times: {reader.decided}"))


def _read(file: Path) -> tuple[pa.Table, tuple[str, ...]]:
    if not file.is_file():
        raise SchemaError(f"{file}: no such file")
    suffix = file.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            return pq.read_table(file), ()
        if suffix in (".feather", ".arrow"):
            return pa_feather.read_table(file), ()
        if suffix not in (".csv", ".zip"):
            raise SchemaError(f"{file}: unknown kind of file; trades are read from .parquet, .feather, .csv and .zip")
        return _read_csv(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise SchemaError(f"{file.name}: cannot be read as {suffix} ({error}); fetch it again") from error


def _read_csv(file: Path) -> tuple[pa.Table, tuple[str, ...]]:
    members = csv_files.members(file, file.name)
    if len(members) > 1:
        raise SchemaError(f"{file.name}: the zip holds {len(members)} files; unpack it and read them one by one")
    with csv_files.open_member(file, members[0][1]) as stream:
        data = stream.read()
    cells = data.split(b"\n", 1)[0].decode("utf-8-sig", "replace").strip().split(",")
    names: tuple[str, ...] | None = None
    if cells[0].lstrip("-").replace(".", "", 1).isdigit():
        names = _WITHOUT_HEADER.get(len(cells))
        if names is None:
            raise SchemaError(f"{file.name}, line 1: no header, and {len(cells)} columns are not the archive's trades")
    options = pa_csv.ReadOptions(column_names=names)
    table = pa_csv.read_csv(pa.BufferReader(data), read_options=options)
    return table, (f"no header: read as {', '.join(names)}",) if names else ()


def _match(names: list[str], where: str, given: Mapping[str, str]) -> dict[str, str]:
    unknown = [f"{k}={v}" for k, v in given.items() if k not in _ALIASES or v not in names]
    if unknown:
        raise SchemaError(
            f"{where}: columns={{{', '.join(unknown)}}}: the keys are {', '.join(_ALIASES)}, the file has "
            f"{', '.join(names)}"
        )
    usual = {normal(name): name for name in reversed(names)}
    found = dict(given)
    for wanted, aliases in _ALIASES.items():
        source = next((usual[alias] for alias in aliases if alias in usual), None)
        if wanted not in found and source is not None:
            found[wanted] = source
    missing = [name for name in ("time", "price", "amount") if name not in found]
    if missing:
        raise SchemaError(
            f"{where}: not trades: no column for {', '.join(missing)}; found {', '.join(names)}. Name them, as in "
            'columns={"price": "..."}',
            column=missing[0],
        )
    return found


def _floats(raw: pa.Table, name: str, where: str) -> pa.ChunkedArray:
    try:
        return raw.column(name).cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaError(f"{where}: column {name!r} holds no numbers ({error})", column=name) from error


def _taker_buys(raw: pa.Table, found: Mapping[str, str]) -> pa.Array:
    if "maker" in found:
        words = np.array([str(value).lower() for value in raw.column(found["maker"]).to_pylist()], dtype=object)
        buys, sells = np.isin(words, ("false", "0")), np.isin(words, ("true", "1"))
    elif "side" in found:
        words = np.array([str(value).lower() for value in raw.column(found["side"]).to_pylist()], dtype=object)
        buys, sells = words == "buy", words == "sell"
    else:
        return pa.nulls(len(raw), pa.bool_())
    return pa.array(buys, mask=~(buys | sells))


def _ids(raw: pa.Table, found: Mapping[str, str]) -> pa.Array:
    if "id" not in found:
        return pa.nulls(len(raw), pa.int64())
    try:
        return raw.column(found["id"]).cast(pa.int64())
    except pa.ArrowInvalid:
        return pa.nulls(len(raw), pa.int64())


def _checked(table: pa.Table, where: str, on_bad: OnBad, notes: tuple[str, ...]) -> tuple[pa.Table, TradeReport]:
    """Refuse or drop bad rows, drop repeated ones, put the rest in order."""
    examples: list[str] = []
    bad = _bad_rows(table, where, on_bad, examples)
    keep = np.delete(np.arange(table.num_rows), bad)
    table = table.take(pa.array(keep))
    code = np.asarray(table.column("symbol").combine_chunks().dictionary_encode().indices)
    time = np.asarray(table.column("time").cast(pa.int64()))
    backwards = np.flatnonzero((np.diff(time) < 0) & (np.diff(code) == 0)) + 1
    same, differs = _repeats(table, code, time)
    for rows, text in ((backwards, "earlier than the one before"), (same, "repeated"), (differs, "id of another")):
        examples += [f"{text}: row {keep[row]}" for row in rows[:_EXAMPLES]]
    whole = np.delete(np.arange(len(keep)), same)
    names = np.asarray(table.column("symbol").to_pylist(), dtype=object)[whole]
    order = whole[np.lexsort((np.arange(len(whole)), time[whole], names.astype(str)))]
    result = table.take(pa.array(order)).combine_chunks()
    report = TradeReport(where, len(order), len(same), len(differs), len(backwards), len(bad), tuple(examples), notes)
    return result, report


def _bad_rows(table: pa.Table, where: str, on_bad: OnBad, examples: list[str]) -> npt.NDArray[Any]:
    bad = np.zeros(table.num_rows, dtype=np.bool_)
    for name in ("price", "amount"):
        values = table.column(name).to_numpy()
        with np.errstate(invalid="ignore"):
            wrong = ~(np.isfinite(values) & (values > 0))
        rows = np.flatnonzero(wrong)
        if len(rows) and on_bad == "raise":
            raise BadBarError(
                f"{where}, row {rows[0]}: {name} {values[rows[0]]:g} is not above 0; {len(rows):,} such row(s); mend "
                'them, or on_bad="drop" leaves them out',
                column=name,
                row=int(rows[0]),
                value=float(values[rows[0]]),
            )
        examples += [f"bad {name} {values[row]:g}: row {row}" for row in rows[:_EXAMPLES]]
        bad |= wrong
    return np.flatnonzero(bad)


def _repeats(table: pa.Table, code: Any, time: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the rows that repeat an earlier one whole, and those that share only the id with the one before."""
    column = table.column("id")
    if not table.num_rows or column.null_count:
        return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    ids = np.asarray(column)
    price, amount = (table.column(name).to_numpy() for name in ("price", "amount"))
    order = np.lexsort((np.arange(len(ids)), amount, price, time, ids, code))
    a, b = order[:-1], order[1:]
    same_id = (ids[a] == ids[b]) & (code[a] == code[b])
    whole = same_id & (time[a] == time[b]) & (price[a] == price[b]) & (amount[a] == amount[b])
    return np.sort(b[whole]), np.sort(b[same_id & ~whole])
