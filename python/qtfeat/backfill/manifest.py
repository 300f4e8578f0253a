"""What a partition of bars holds: `_manifest.json` beside the months, the one word on their contents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from qtfeat.backfill.partition import Partition
from qtfeat.backfill.store import Store, write
from qtfeat.errors import SchemaError

BARS = "bars"
MANIFEST = "_manifest.json"
JOURNAL = ".journal.json"
_FORMAT = 1


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
        told = json.loads(text)
        if told["format"] != _FORMAT:
            raise SchemaError(f"{store.root}/{path}: format {told['format']}, this version reads {_FORMAT}")
        return {m["month"]: Month(**m) for m in told["months"]}
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(f"{store.root}/{path}: damaged manifest ({error}); run qtfeat lake repair") from error


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
