"""Daily files of a stream: messages by symbol and day, each once, sorted by time; equal messages are equal bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qtfeat.backfill import parquet
from qtfeat.backfill.store import Store
from qtfeat.errors import SchemaError
from qtfeat.streams.kinds import NULL_IN_KEY, Kind

ROOT = "streams"
_DAY = 86_400 * 10**9
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Folded:
    """What a fold did: rows that are new, messages that were there already, those of them with other values, files."""

    new: int = 0
    same: int = 0
    conflicts: int = 0
    files: int = 0

    def __add__(self, other: Folded) -> Folded:
        return Folded(
            self.new + other.new, self.same + other.same, self.conflicts + other.conflicts, self.files + other.files
        )


def stream_folder(stream: str) -> str:
    """Where a stream's files are."""
    return f"{ROOT}/stream={_segment(stream)}"


def fold(store: Store, stream: str, kind: Kind, table: pa.Table) -> Folded:
    """Put messages into their daily files. Each file changes as a whole; doing it again changes nothing.

    Of two messages about the same thing the one with the lower id stays, whatever the order in which they came.
    """
    total = Folded()
    for path, rows in _days(stream, kind, table):
        old = _read(store, path, kind)
        merged, same, conflicts = _merged(kind, old, rows)
        new = merged.num_rows - (old.num_rows if old is not None else 0)
        if old is None or not merged.equals(old):
            _write(store, path, merged)
            total += Folded(new, same, conflicts, 1)
        else:
            total += Folded(0, same, conflicts, 0)
    return total


def files(store: Store, stream: str, kind: Kind) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Every daily file of a stream: values of its folders, day, path; sorted."""

    def walk(path: str, names: tuple[str, ...], found: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, str]]:
        if not names:
            for name in store.names(path):
                if name.endswith(".parquet") and not name.startswith("."):
                    yield found, name.removesuffix(".parquet"), f"{path}/{name}"
            return
        for name in store.names(path):
            if name.startswith(f"{names[0]}="):
                yield from walk(f"{path}/{name}", names[1:], (*found, unquote(name.partition("=")[2])))

    yield from walk(stream_folder(stream), kind.folders, ())


def read_file(store: Store, path: str, kind: Kind) -> pa.Table:
    """The messages of one daily file. Raises SchemaError where there is none or it is damaged."""
    found = _read(store, path, kind)
    if found is None:
        raise SchemaError(f"{store.root}/{path}: no such file")
    return found


def _days(stream: str, kind: Kind, table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    times = np.asarray(table[kind.time].cast(pa.int64()))
    day = times // _DAY
    codes, names = zip(*(_codes(table[name]) for name in kind.folders), strict=True)
    order = np.lexsort((day, *codes))
    keys = np.stack([day[order], *(code[order] for code in codes)], axis=1)
    starts = np.flatnonzero(
        np.concatenate([np.ones(min(len(order), 1), np.bool_), (keys[1:] != keys[:-1]).any(axis=1)])
    )
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        at = keys[start]
        values = [known[at[1 + i]] for i, known in enumerate(names)]
        folder = "/".join(f"{name}={_segment(value)}" for name, value in zip(kind.folders, values, strict=True))
        date = np.datetime64(int(at[0]), "D")
        yield f"{stream_folder(stream)}/{folder}/{date}.parquet", table.take(pa.array(order[start:stop]))


def _merged(kind: Kind, old: pa.Table | None, new: pa.Table) -> tuple[pa.Table, int, int]:
    """Both, each key once, by time; how many had been there, how many of those with other values."""
    both = pa.concat_tables([old, new] if old is not None else [new]).combine_chunks()
    ms, seq = (np.asarray(both[name]) for name in ("id_ms", "id_seq"))
    keys = _keys(kind, both, ms, seq)
    order = np.lexsort((seq, ms, *keys))
    differ = np.zeros(len(order), dtype=np.bool_)
    differ[0] = True
    for key in keys:
        differ[1:] |= key[order][1:] != key[order][:-1]
    taken = order[differ]
    rest, against = order[~differ], taken[np.cumsum(differ)[~differ] - 1]
    times = np.asarray(both[kind.time].cast(pa.int64()))
    # The same message again is the ordinary case after a restart; another message is worth a comparison.
    other = (ms[rest] != ms[against]) | (seq[rest] != seq[against])
    conflicts = _differing(both, rest[other], against[other])
    taken = taken[np.lexsort((seq[taken], ms[taken], times[taken]))]
    return both.take(pa.array(taken)).combine_chunks(), len(rest), conflicts


def _keys(kind: Kind, table: pa.Table, ms: Ints, seq: Ints) -> list[Ints]:
    """Integer columns that are equal for two rows exactly where the rows are about the same thing."""
    keys: list[Ints] = []
    anonymous = np.zeros(table.num_rows, dtype=np.bool_)
    for name in kind.key:
        column = table[name]
        keys.append(_codes(column)[0])
        if name not in NULL_IN_KEY:
            anonymous |= np.asarray(column.is_null())
    keys.extend(np.where(anonymous, part + 1, 0) for part in (ms, seq))
    return keys


def _codes(column: pa.ChunkedArray) -> tuple[Ints, list[Any]]:
    encoded = pc.dictionary_encode(column.combine_chunks())
    return np.asarray(encoded.indices.fill_null(-1)).astype(np.int64), encoded.dictionary.to_pylist()


def _differing(table: pa.Table, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> int:
    if len(a) == 0:
        return 0
    values = table.drop_columns(["id_ms", "id_seq", "extra"])
    ours, theirs = (values.take(pa.array(rows)).to_pylist() for rows in (a, b))
    return sum(x != y for x, y in zip(ours, theirs, strict=True))


def _read(store: Store, path: str, kind: Kind) -> pa.Table | None:
    try:
        data = store.read(path)
    except FileNotFoundError:
        return None
    try:
        table = parquet.reader(data).read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise SchemaError(f"{store.root}/{path}: damaged ({error}); move it away, and read the stream again") from error
    columns = [
        table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(table.num_rows, f.type)
        for f in kind.schema
    ]
    return pa.table(columns, schema=kind.schema).combine_chunks()


def _write(store: Store, path: str, table: pa.Table) -> None:
    with store.writing(path, sync=True) as sink, parquet.writer(sink, table.schema) as writer:
        writer.write_table(table, row_group_size=parquet.ROW_GROUP)


def _segment(text: str) -> str:
    return quote(text, safe="").replace(".", "%2E") if set(text) == {"."} else quote(text, safe="")
