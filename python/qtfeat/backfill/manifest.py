"""What a partition of bars holds: `_manifest.json` beside the months, the one word on their contents."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from qtfeat import _strict_json
from qtfeat.backfill.partition import MONTH, Partition
from qtfeat.backfill.store import Store, write
from qtfeat.errors import SchemaError

BARS = "bars"
MANIFEST = "_manifest.json"
JOURNAL = ".journal.json"
_FORMAT = 1
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Month:
    """One file of a partition.

    Attributes:
        month: `YYYY-MM`.
        sha256: of the file's bytes, in hexadecimal.
        size: bytes.
        rows: bars.
        first: open time of the first bar, ms since 1970 UTC.
        last: open time of the last bar.
    """

    month: str
    sha256: str
    size: int
    rows: int
    first: int
    last: int


def folder(partition: Partition) -> str:
    """Where a partition's bars are."""
    return f"{BARS}/{partition.path}"


def digest(data: Any) -> str:
    """SHA-256 of bytes or of a buffer, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def read(store: Store, partition: Partition) -> dict[str, Month]:
    """The months of a partition, in order; none where there is no manifest.

    Raises:
        SchemaError: a manifest that cannot be read.
    """
    return _parse(store, f"{folder(partition)}/{MANIFEST}")


def write_manifest(store: Store, partition: Partition, months: Iterable[Month]) -> None:
    """Replace the manifest."""
    write(store, f"{folder(partition)}/{MANIFEST}", _bytes(months), sync=True)


def _bytes(months: Iterable[Month]) -> bytes:
    rows = ",\n".join("  " + json.dumps(asdict(m)) for m in sorted(months, key=lambda m: m.month))
    return f'{{"format": {_FORMAT}, "months": [\n{rows}\n]}}\n'.encode()


def _parse(store: Store, path: str) -> dict[str, Month]:
    try:
        text = store.read(path).to_pybytes()
    except FileNotFoundError:
        return {}
    try:
        told = _strict_json.parse(text)
        if told["format"] != _FORMAT:
            raise SchemaError(f"{store.root}/{path}: format {told['format']}, this version reads {_FORMAT}")
        return _months(told["months"])
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(f"{store.root}/{path}: damaged manifest ({error}); run qtfeat lake repair") from error


def _months(lines: Any) -> dict[str, Month]:
    months = [_month(line) for line in lines]
    names = [m.month for m in months]
    if names != sorted(set(names)):
        raise ValueError("a month occurs twice, or out of order")
    return dict(zip(names, months, strict=True))


def _month(line: Any) -> Month:
    """One line of a manifest; raises ValueError or TypeError where it is none."""
    found = Month(**line)
    for field in fields(Month):
        value = getattr(found, field.name)
        if type(value).__name__ != field.type:
            raise ValueError(f"{field.name} must be of type {field.type}, not {str(value)[:40]!r}")
    if not MONTH.fullmatch(found.month) or not _DIGEST.fullmatch(found.sha256) or found.rows < 1 or found.size < 1:
        raise ValueError(f"the line of month {found.month[:40]!r} has a value that none can have")
    return found


# --- a change of several months is one change ---------------------------------------------------------------------
#
# New months are written beside the old ones under staged names. The journal, renamed into place, is the moment of the
# change: whoever finds one, after a crash, carries it out. So a killed writer leaves the old state or the new one.


def staged(path: str) -> str:
    """The name that a file has until the journal is written."""
    head, _, name = path.rpartition("/")
    return f"{head}/.{name}.next"


def commit(store: Store, partition: Partition, months: dict[str, Month]) -> None:
    """Put the staged months in place, and the manifest that goes with them."""
    write(store, f"{folder(partition)}/{JOURNAL}", _bytes(months.values()), sync=True)
    recover(store, partition)


def recover(store: Store, partition: Partition) -> None:
    """Finish what a killed writer had decided, and remove what it had not. Call with the lock held."""
    home = folder(partition)
    names = store.names(home)
    if JOURNAL in names:
        months = _parse(store, f"{home}/{JOURNAL}")
        for m in months.values():
            path = f"{home}/{m.month}.parquet"
            if staged(path).rpartition("/")[2] in names:
                store.rename(staged(path), path)
        write_manifest(store, partition, months.values())
        store.remove(f"{home}/{JOURNAL}")
    for name in names:
        if name.endswith(".next"):
            store.remove(f"{home}/{name}")
    store.sweep(home)


def unfinished(store: Store, partition: Partition) -> bool:
    """True where a killed writer left a decided change that nobody has carried out yet."""
    return JOURNAL in store.names(folder(partition))
