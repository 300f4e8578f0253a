"""Read bars from a file or a folder into the one schema, with a report on their quality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq

from qtfeat.bars import csv_files
from qtfeat.bars.quality import QualityReport, check
from qtfeat.bars.schema import BAR_SCHEMA, VALUES, match_columns, symbol_from_name, with_extras
from qtfeat.bars.times import TimeReader
from qtfeat.errors import SchemaError

SUFFIXES = (".parquet", ".pq", ".feather", ".arrow", ".csv", ".zip")
_BATCH_ROWS = 1 << 16

Columns = Mapping[str, str] | Sequence[str]


@dataclass(slots=True)
class Part:
    """One file (or one member of a zip) as batches in the bar schema.

    Attributes:
        label: what reports and errors call it.
        batches: record batches of `BAR_SCHEMA`, in the file's own order.
        notes: what was decided on reading; complete only after the last batch.
    """

    label: str
    batches: Iterator[pa.RecordBatch]
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
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise SchemaError(f"{path}: the folder holds no file ending in {', '.join(SUFFIXES)}")
    return files


def scan_bars(
    path: str | Path, *, columns: Columns | None = None, symbol: str | None = None, extras: Sequence[str] = ()
) -> Iterator[Part]:
    """Yield the parts of a file or folder, each a stream of batches in constant memory; nothing is checked or sorted.

    Args and errors as for `read_bars`.
    """
    want = _Want(columns, symbol, tuple(extras))
    root = Path(path)
    for file in bar_files(root):
        name = str(file.relative_to(root)) if root.is_dir() else file.name
        if file.suffix.lower() in (".csv", ".zip"):
            for label, member in csv_files.members(file, name):
                layout, mapping, raw = csv_files.read_batches(file, member, label, columns, want.extras)
                part = Part(label, iter(()), list(layout.notes))
                part.batches = _conform(part, raw, mapping, want, Path(member or file.name).stem)
                yield part
        else:
            yield _columnar(file, name, want)


@dataclass(frozen=True, slots=True)
class _Want:
    """What the caller said about the columns."""

    columns: Columns | None
    symbol: str | None
    extras: tuple[str, ...]


def _columnar(file: Path, label: str, want: _Want) -> Part:
    """Open a Parquet or Feather file."""
    if file.stat().st_size == 0:
        raise SchemaError(f"{label}: the file is empty (0 bytes); fetch it again or remove it")
    given = want.columns if isinstance(want.columns, Mapping) else None
    with _readable(file, label):
        source = _open(file)
    names = source.column_names if isinstance(source, pa.Table) else source.schema_arrow.names
    mapping = match_columns(names, label, given, want.symbol, want.extras)
    raw = _raw(file, label, source, list(mapping.values()))
    part = Part(label, iter(()))
    part.batches = _conform(part, raw, mapping, want, file.stem)
    return part


def _open(file: Path) -> Any:
    """Return a `ParquetFile`, or a table that is mapped into memory, not read."""
    if file.suffix.lower() in (".parquet", ".pq"):
        return pq.ParquetFile(file)
    return pa_feather.read_table(file, memory_map=True)


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
    part: Part, raw: Iterator[pa.RecordBatch], mapping: Mapping[str, str], want: _Want, stem: str
) -> Iterator[pa.RecordBatch]:
    """Cast the batches of a source to the bar schema."""
    times = TimeReader(part.label)
    schema = with_extras(want.extras)
    own_symbol = "symbol" in mapping and want.symbol is None
    symbol = want.symbol or symbol_from_name(stem)
    rows = 0
    for batch in raw:
        name = mapping["open_time"]
        millis, nulls = times.read(batch.column(name), name, rows)
        stamps = pa.array(millis, mask=nulls).cast(BAR_SCHEMA.field("open_time").type)
        if own_symbol:
            symbols = batch.column(mapping["symbol"]).cast(pa.string())
        else:
            symbols = pa.repeat(pa.scalar(symbol, pa.string()), len(batch))
        sources = [mapping[value] for value in (*VALUES, *want.extras)]
        values = [_floats(batch.column(source), part.label, source, rows) for source in sources]
        rows += len(batch)
        yield pa.RecordBatch.from_arrays([symbols, stamps, *values], schema=schema)
    if rows == 0:
        raise SchemaError(f"{part.label}: no rows; fetch the file again or remove it")
    part.notes.append(f"times: {times.decided}")
    if times.floored:
        part.notes.append(f"{times.floored} times were not whole milliseconds and were rounded down")
    if not own_symbol:
        part.notes.append(f"symbol {symbol!r} " + ("given by the caller" if want.symbol else "from the file name"))


def _floats(column: pa.Array, label: str, name: str, first_row: int) -> pa.Array:
    try:
        return column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        text = (
            f"{label}: column {name!r} of type {column.type}, at or after row {first_row}, holds no numbers ({error})"
        )
        raise SchemaError(text) from error


def read_bars(
    path: str | Path,
    *,
    columns: Columns | None = None,
    symbol: str | None = None,
    extras: Sequence[str] = (),
    now: datetime | None = None,
) -> tuple[pa.Table, QualityReport]:
    """Read a Parquet, Feather, CSV or Binance Vision file (zipped or plain), or a folder of them.

    Args:
        path: a file, or a folder that is searched with its sub-folders.
        columns: a map from bar column to source column (`{"volume": "Volume BTC"}`), or, for a CSV without
            header, a name for each of its columns in order.
        symbol: overrides the symbol column and the file name.
        extras: further columns to read as float64, such as those that a feature set names in `fs.extras`.
        now: the time against which a last bar counts as unfinished; default the clock.

    Returns:
        (table, report). The table has `BAR_SCHEMA` (symbol, open_time in ms UTC, five float64 columns) and the extras,
        one row per symbol and time, sorted by symbol, then time. Rows that were out of order are put in order; of rows
        with equal symbol and time the first is kept; both are in the report. Nothing is filled, no other row dropped.

    Raises:
        SchemaError: unreadable, empty, or not OHLCV bars; names file, line or row, column, and what to do.
    """
    parts: list[Part] = []
    tables: list[pa.Table] = []
    for part in scan_bars(path, columns=columns, symbol=symbol, extras=extras):
        tables.append(pa.Table.from_batches(list(part.batches), schema=with_extras(extras)))
        parts.append(part)
    lengths = [table.num_rows for table in tables]
    table = pa.concat_tables(tables).combine_chunks()
    file_of = np.repeat(np.arange(len(parts)), lengths)
    row_of = np.concatenate([np.arange(n) for n in lengths])
    _refuse_null_keys(table, [p.label for p in parts], file_of, row_of)
    kept, report = check(table, str(path), [p.label for p in parts], file_of, row_of, now)
    report = report.with_notes(_together(parts))
    return kept, report


def _together(parts: list[Part]) -> tuple[str, ...]:
    """Say each note once, with the file or the number of files that it holds for."""
    by_note: dict[str, list[str]] = {}
    for part in parts:
        for note in part.notes:
            by_note.setdefault(note, []).append(part.label)
    return tuple(
        f"{labels[0] if len(labels) == 1 else f'{len(labels)} files from {labels[0]}'}: {note}"
        for note, labels in by_note.items()
    )


def _refuse_null_keys(table: pa.Table, labels: list[str], file_of: np.ndarray, row_of: np.ndarray) -> None:
    """A bar without time or symbol has no place in any series."""
    for name in ("open_time", "symbol"):
        column = table.column(name)
        if column.null_count:
            first = int(np.flatnonzero(np.asarray(column.is_null().combine_chunks()))[0])
            raise SchemaError(
                f"{labels[file_of[first]]}, row {row_of[first]}: no {name}; mend the {column.null_count} such rows "
                "or remove them"
            )
