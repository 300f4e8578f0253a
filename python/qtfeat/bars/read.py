"""Read bars from a file or a folder into the one schema, with a report on their quality."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq

from qtfeat.bars import csv_files
from qtfeat.bars.checks import FileOf, check
from qtfeat.bars.quality import QualityReport
from qtfeat.bars.schema import Origin, bar_schema, match_columns, origin_of
from qtfeat.bars.times import TimeReader
from qtfeat.errors import SchemaError

SUFFIXES = (".parquet", ".pq", ".feather", ".arrow", ".csv", ".zip")
_BATCH_ROWS = 1 << 16
_WORDS = {pa.string(): "text", pa.float64(): "numbers", pa.int64(): "whole numbers"}

Columns = Mapping[str, str] | Sequence[str]


@dataclass(slots=True)
class Part:
    """One file (or one member of a zip) as batches in the bar schema.

    Attributes:
        label: what reports and errors call it.
        batches: record batches of `BAR_SCHEMA`, in the file's own order.
        origin: what the path says: symbol, interval, market.
        notes: what was decided on reading; complete only after the last batch.
    """

    label: str
    batches: Iterator[pa.RecordBatch]
    origin: Origin
    notes: list[str] = field(default_factory=list)


def bar_files(path: Path) -> list[Path]:
    """Return the files that hold bars: the path itself, or all of a known kind under a folder, sorted.

    Raises:
        SchemaError: nothing there, or nothing of a known kind.
    """
    if not path.exists():
        raise SchemaError(f"{path}: no such file or folder")
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise SchemaError(f"{path}: unknown kind of file; bars are read from {', '.join(SUFFIXES)}")
        return [path]
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    files = [file for file in _without_covered_days(files) if file.is_file()]
    if not files:
        raise SchemaError(f"{path}: the folder holds no file ending in {', '.join(SUFFIXES)}")
    return files


def _without_covered_days(files: Sequence[Path]) -> list[Path]:
    """Leave out the daily files of a Binance archive whose month is there as a whole: it holds the same bars."""
    there = set(files)
    return [file for file in files if _month_of(file) not in there]


def _month_of(file: Path) -> Path | None:
    """`.../daily/klines/S/1h/S-1h-2024-12-31.zip` belongs to `.../monthly/klines/S/1h/S-1h-2024-12.zip`."""
    day = re.fullmatch(r"(.*-\d{4}-\d{2})-\d{2}", file.stem)
    if day is None or len(file.parts) < 5 or file.parts[-5] != "daily":
        return None
    return Path(*file.parts[:-5], "monthly", *file.parts[-4:-1], f"{day[1]}{file.suffix}")


def scan_bars(
    path: str | Path,
    *,
    columns: Columns | None = None,
    symbol: str | None = None,
    extras: Sequence[str] = (),
    kline_columns: bool = False,
) -> Iterator[Part]:
    """Yield the parts of a file or folder, each a stream of batches in constant memory; nothing is checked or sorted.

    Args and errors as for `read_bars`.
    """
    root = Path(path)
    yield from _parts(bar_files(root), root, Want(columns, symbol, tuple(extras), kline_columns))


def _parts(files: Sequence[Path], root: Path, want: Want) -> Iterator[Part]:
    for file in files:
        name = str(file.relative_to(root)) if root.is_dir() else file.name
        if file.suffix.lower() in (".csv", ".zip"):
            for label, member in csv_files.members(file, name):
                layout, mapping, raw = csv_files.read_batches(
                    file, member, label, want.columns, want.extras, kline_columns=want.kline_columns
                )
                part = Part(label, iter(()), origin_of(file, Path(member or file.name).stem), list(layout.notes))
                part.batches = _conform(part, raw, mapping, want)
                yield part
        else:
            yield _columnar(file, name, want)


@dataclass(frozen=True, slots=True)
class Want:
    """What the caller said about the columns."""

    columns: Columns | None = None
    symbol: str | None = None
    extras: tuple[str, ...] = ()
    kline_columns: bool = False

    @property
    def schema(self) -> pa.Schema:
        """The columns that come of it."""
        return bar_schema(self.extras, kline_columns=self.kline_columns)


def _columnar(file: Path, label: str, want: Want) -> Part:
    """Open a Parquet or Feather file."""
    if file.stat().st_size == 0:
        raise SchemaError(f"{label}: the file is empty (0 bytes); fetch it again or remove it")
    given = want.columns if isinstance(want.columns, Mapping) else None
    with _readable(file, label):
        source = _open(file)
    names = source.column_names if isinstance(source, pa.Table) else source.schema_arrow.names
    mapping = match_columns(names, label, given, want.symbol, want.extras, kline_columns=want.kline_columns)
    raw = _raw(file, label, source, list(dict.fromkeys(mapping.values())))
    part = Part(label, iter(()), origin_of(file, file.stem))
    part.batches = _conform(part, raw, mapping, want)
    return part


def _open(file: Path) -> Any:
    """Return a `ParquetFile`, or a table that is mapped into memory, not read."""
    if file.suffix.lower() in (".parquet", ".pq"):
        return pq.ParquetFile(file)
    with file.open("rb") as start:
        magic = start.read(6)
    if magic.startswith((b"ARROW1", b"FEA1")):
        return pa_feather.read_table(file, memory_map=True)
    return pa.ipc.open_stream(pa.memory_map(str(file))).read_all()


def _raw(file: Path, label: str, source: Any, names: list[str]) -> Iterator[pa.RecordBatch]:
    with _readable(file, label):
        if isinstance(source, pa.Table):
            yield from source.select(names).to_batches(max_chunksize=_BATCH_ROWS)
        else:
            yield from source.iter_batches(batch_size=_BATCH_ROWS, columns=names)


@contextmanager
def _readable(file: Path, label: str) -> Iterator[None]:
    """Turn what Arrow raises on a damaged file into a `SchemaError`."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise SchemaError(f"{label}: cannot be read as {file.suffix} ({error}); fetch it again") from error


def _conform(
    part: Part, raw: Iterator[pa.RecordBatch], mapping: Mapping[str, str], want: Want
) -> Iterator[pa.RecordBatch]:
    """Cast the batches of a source to the bar schema."""
    times = {name: TimeReader(part.label) for name in ("open_time", "close_time")}
    own_symbol = "symbol" in mapping and want.symbol is None
    symbol = want.symbol or part.origin.symbol
    rows = 0
    for batch in raw:
        columns = []
        for target in want.schema:
            source = mapping.get(target.name)
            if target.name == "symbol" and not own_symbol:
                column = pa.repeat(pa.scalar(symbol, pa.string()), len(batch))
            elif source is None:
                column = pa.nulls(len(batch), target.type)
            elif target.name in times:
                millis, nulls = times[target.name].read(batch.column(source), source, rows)
                column = pa.array(millis, mask=nulls).cast(target.type)
            else:
                column = _cast(batch.column(source), target.type, part.label, source, rows)
            columns.append(column)
        rows += len(batch)
        yield pa.RecordBatch.from_arrays(columns, schema=want.schema)
    if rows == 0:
        raise SchemaError(f"{part.label}: no rows; fetch the file again or remove it")
    opened = times["open_time"]
    part.notes.append(f"times: {opened.decided}")
    if opened.floored:
        part.notes.append(f"{opened.floored} times were not whole milliseconds and were rounded down")
    if not own_symbol:
        part.notes.append(f"symbol {symbol!r} " + ("given by the caller" if want.symbol else "from the file name"))


def _cast(column: pa.Array, kind: pa.DataType, label: str, name: str, first_row: int) -> pa.Array:
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        text = (
            f"{label}: column {name!r} of type {column.type}, at or after row {first_row}, holds no {_WORDS[kind]} "
            f"({error})"
        )
        raise SchemaError(text, column=name) from error


def read_bars(
    path: str | Path,
    *,
    columns: Columns | None = None,
    symbol: str | None = None,
    extras: Sequence[str] = (),
    kline_columns: bool = False,
    now: datetime | None = None,
) -> tuple[pa.Table, QualityReport]:
    """Read a Parquet, Feather, CSV or Binance Vision file (zipped or plain), or a folder of them.

    Args:
        path: a file, or a folder that is searched with its sub-folders.
        columns: a map from bar column to source column (`{"volume": "Volume BTC"}`), or, for a CSV without
            header, a name for each of its columns in order.
        symbol: overrides the symbol column and the file name.
        extras: further columns to read as float64, such as those that a feature set names in `fs.extras`.
        kline_columns: also the other columns of a kline, typed: `close_time` (timestamp[ms, UTC]), `quote_volume`,
            `count` (int64), `taker_buy_volume`, `taker_buy_quote_volume`, `ignore` (float64).
        now: the time against which a last bar counts as unfinished; default the clock.

    Returns:
        (table, report). The table has `BAR_SCHEMA` (symbol, open_time in ms UTC, five float64 columns) and the extras,
        one row per symbol and time, sorted by symbol, then time. Rows that were out of order are put in order; of rows
        with equal symbol and time the first is kept; both are in the report. Nothing is filled, no other row dropped.

    Raises:
        SchemaError: unreadable, empty, or not OHLCV bars; names file, line or row, column, and what to do.
    """
    want = Want(columns, symbol, tuple(extras), kline_columns)
    if not isinstance(path, str | PathLike):
        raise SchemaError(f"read_bars takes a path, not a {type(path).__name__}")
    root = Path(path)
    table, report, parts = read_files(bar_files(root), root, want, now)
    return table, report.with_notes(together(parts))


def read_files(
    files: Sequence[Path], root: Path, want: Want, now: datetime | None
) -> tuple[pa.Table, QualityReport, list[Part]]:
    """Read and check some files as one table; the report is without notes."""
    parts: list[Part] = []
    tables: list[pa.Table] = []
    for part in _parts(files, root, want):
        tables.append(pa.Table.from_batches(list(part.batches), schema=want.schema))
        parts.append(part)
    lengths = [table.num_rows for table in tables]
    table = pa.concat_tables(tables).combine_chunks()
    origin = FileOf(
        labels=[part.label for part in parts],
        origins=[part.origin for part in parts],
        file=np.repeat(np.arange(len(parts)), lengths),
        row=np.concatenate([np.arange(n) for n in lengths]),
    )
    _refuse_null_keys(table, origin)
    kept, report = check(table, str(root), origin, now)
    return kept, report, parts


def together(parts: Sequence[Part]) -> tuple[str, ...]:
    """Say each note once, with the file or the number of files that it holds for."""
    by_note: dict[str, list[str]] = {}
    for part in parts:
        for note in part.notes:
            by_note.setdefault(note, []).append(part.label)
    return tuple(
        f"{labels[0] if len(labels) == 1 else f'{len(labels)} files ({labels[0]}, ...)'}: {note}"
        for note, labels in by_note.items()
    )


def _refuse_null_keys(table: pa.Table, origin: FileOf) -> None:
    """A bar without time or symbol has no place in any series."""
    for name in ("open_time", "symbol"):
        column = table.column(name)
        if column.null_count:
            first = int(np.flatnonzero(np.asarray(column.is_null().combine_chunks()))[0])
            raise SchemaError(
                f"{origin.labels[origin.file[first]]}, row {origin.row[first]}: no {name}; mend the "
                f"{column.null_count} such rows or remove them",
                column=name,
                row=int(origin.row[first]),
            )
