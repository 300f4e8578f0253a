"""CSV as found in the wild: with or without header, under a banner line, zipped or plain."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv as pa_csv

from qtfeat.bars.schema import ALIASES, KLINE_COLUMNS, match_columns, normal, origin_of
from qtfeat.errors import SchemaError

_HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 22
# Times may be numbers or text; their reader decides.
_NOT_NUMBERS = ("symbol", "open_time", "close_time")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the data of a CSV begins and what its columns are.

    Attributes:
        names: one per column.
        skip: lines before the first data line.
        delimiter: one character.
        notes: what was decided and why, for the report.
    """

    names: tuple[str, ...]
    skip: int
    delimiter: str
    notes: tuple[str, ...]


def members(path: Path, label: str) -> list[tuple[str, str]]:
    """Return (label, member) of each CSV in a zip, or (label, "") for a plain file."""
    if path.suffix.lower() != ".zip":
        return [(label, "")]
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith(".csv")]
    except zipfile.BadZipFile as error:
        raise SchemaError(f"{label}: not a readable zip ({error}); fetch it again") from error
    if not names:
        raise SchemaError(f"{label}: the zip holds no .csv file")
    return [(label if Path(name).stem == path.stem else f"{label}/{name}", name) for name in names]


@contextmanager
def open_member(path: Path, member: str) -> Iterator[IO[bytes]]:
    """Open a plain file or a member of a zip for reading bytes."""
    if not member:
        with path.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        yield file


def read_layout(head: bytes, label: str, columns: Sequence[str] | None) -> Layout:
    """Find header, delimiter and columns from the first bytes of a file.

    Args:
        head: the first bytes, at least a few lines.
        label: the file, for error texts.
        columns: the caller's names for all columns, in order; then the file has no header.

    Raises:
        SchemaError: empty, binary, or without header and not in a known order.
    """
    lines = head.decode("utf-8-sig", errors="replace").splitlines()
    if len(head) == _HEAD_BYTES:
        lines = lines[:-1]
    if not any(line.strip() for line in lines):
        raise SchemaError(f"{label}: the file is empty; fetch it again or remove it")
    if "\x00" in lines[0]:
        raise SchemaError(f"{label}, line 1: this is not text; is the file name's ending right?")
    delimiter = max(",;\t|", key=lambda mark: max(line.count(mark) for line in lines[:5]))
    rows = list(csv.reader(lines[:200], delimiter=delimiter))
    if columns is not None:
        width = len(rows[0])
        if width != len(columns):
            raise SchemaError(f"{label}, line 1: {width} columns, but columns= names {len(columns)}")
        return Layout(tuple(columns), 0, delimiter, ("columns named by the caller",))
    for line, row in enumerate(rows[:5]):
        if _is_header(row):
            notes = tuple(f"line {i + 1} skipped: {lines[i]!r}" for i in range(line) if lines[i].strip())
            return Layout(tuple(row), line + 1, delimiter, notes)
    return _without_header(rows, label, delimiter)


def _is_header(row: Sequence[str]) -> bool:
    known = {alias for aliases in ALIASES.values() for alias in aliases} | {"price", "quantity", "id"}
    return sum(normal(name) in known for name in row) >= 2 and not any(_number(cell) is not None for cell in row)


def _without_header(rows: list[list[str]], label: str, delimiter: str) -> Layout:
    """Accept a file without header only if its numbers fit the usual order."""
    width = len(rows[0])
    numeric = all(_number(cell) is not None for cell in rows[0])
    if not numeric or width < 6:
        raise SchemaError(
            f"{label}, line 1: no header with open, high, low, close and volume in the first 5 lines, and the first "
            f"line is {rows[0]!r}; is this a file of bars? For one without header pass columns=[...], one per column"
        )
    sample = [[_number(cell) for cell in row[1:6]] for row in rows if len(row) >= 6]
    fits = sum(None not in row and _fits(*row[:4]) for row in sample)  # type: ignore[arg-type]
    if fits < 0.9 * len(sample):
        raise SchemaError(
            f"{label}, line 1: no header, and the order open_time, open, high, low, close, volume fits only "
            f"{fits} of the first {len(sample)} rows; say what the {width} columns are, as in "
            'columns=["open_time", "volume", ...]'
        )
    names = KLINE_COLUMNS if width == len(KLINE_COLUMNS) else (*KLINE_COLUMNS[:6], *(f"c{i}" for i in range(6, width)))
    kind = "Binance klines" if width == len(KLINE_COLUMNS) else "open_time, open, high, low, close, volume"
    return Layout(tuple(names), 0, delimiter, (f"no header: read as {kind} (fits {fits} of {len(sample)} rows)",))


def _fits(open_: float, high: float, low: float, close: float) -> bool:
    return 0 < low <= min(open_, close) and max(open_, close) <= high


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def read_batches(
    path: Path,
    member: str,
    label: str,
    columns: Mapping[str, str] | Sequence[str] | None,
    extras: Sequence[str] = (),
    *,
    kline_columns: bool = False,
) -> tuple[Layout, dict[str, str], Iterator[pa.RecordBatch]]:
    """Open a CSV as record batches in constant memory.

    Returns:
        (layout, map from bar column to source column, batches of the source's columns).

    Raises:
        SchemaError: not bars, or (while iterating) a value that is not a number, with its line.
    """
    with open_member(path, member) as file:
        head = file.read(_HEAD_BYTES)
    by_position = None if columns is None or isinstance(columns, Mapping) else list(columns)
    layout = read_layout(head, label, by_position)
    given = columns if isinstance(columns, Mapping) else None
    symbol = _first_symbol(head, layout) or origin_of(path, Path(member or path.name).stem).symbol
    where = f"{label}, line {max(layout.skip, 1)}"
    mapping = match_columns(layout.names, where, given, symbol, extras, kline_columns=kline_columns)
    return layout, mapping, _batches(path, member, label, layout, mapping)


def _first_symbol(head: bytes, layout: Layout) -> str | None:
    position = next((i for i, n in enumerate(layout.names) if normal(n) in ALIASES["symbol"]), None)
    rows = csv.reader(
        head.decode("utf-8-sig", errors="replace").splitlines()[layout.skip :], delimiter=layout.delimiter
    )
    first = next(rows, [])
    return first[position] if position is not None and position < len(first) else None


def _batches(
    path: Path, member: str, label: str, layout: Layout, mapping: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    types = {source: pa.float64() for name, source in mapping.items() if name not in _NOT_NUMBERS}
    if "symbol" in mapping:
        types[mapping["symbol"]] = pa.string()
    try:
        with open_member(path, member) as file:
            reader = pa_csv.open_csv(
                file,
                read_options=pa_csv.ReadOptions(
                    column_names=list(layout.names), skip_rows=layout.skip, block_size=_BLOCK_BYTES
                ),
                parse_options=pa_csv.ParseOptions(delimiter=layout.delimiter),
                convert_options=pa_csv.ConvertOptions(column_types=types, include_columns=list(mapping.values())),
            )
            with reader:
                yield from reader
    except pa.ArrowInvalid as error:
        with open_member(path, member) as file:
            raise SchemaError(_bad_line(file, label, layout, mapping) or f"{label}: {error}") from error


def _bad_line(file: IO[bytes], label: str, layout: Layout, mapping: Mapping[str, str]) -> str:
    """Find the first line that Arrow could not read: it names neither line nor column itself."""
    positions = [layout.names.index(s) for name, s in mapping.items() if name not in _NOT_NUMBERS]
    with io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="") as text:
        reader = csv.reader(text, delimiter=layout.delimiter)
        for row in reader:
            if reader.line_num <= layout.skip or not row:
                continue
            where = f"{label}, line {reader.line_num}"
            if len(row) != len(layout.names):
                expected = f"{len(row)} columns where {len(layout.names)} were expected"
                return f"{where}: {expected}; mend or remove the line (is the file cut off?)"
            for position in positions:
                cell = row[position].strip()
                if cell and _number(cell) is None:
                    what = f"column {layout.names[position]!r}: {cell!r} is not a number"
                    return f"{where}, {what}; mend the line, or leave the field empty for a missing value"
    return ""
