"""What a backfill remembers of a month: a `.state` file beside it, with the engine's snapshot at the month's end."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from qtfeat.backfill.manifest import Month
from qtfeat.backfill.store import Store, write

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class State:
    """The end of one month of one symbol.

    Attributes:
        key: what the month was computed from, see `keys`.
        rows: bars of the symbol up to and with this month.
        size: bytes of the month's features; None where only the snapshot was wanted.
        snapshot: of the engine.
    """

    key: str
    rows: int
    size: int | None
    snapshot: bytes


def state_path(folder: str, month: str) -> str:
    """The state file of a month; hidden, so that readers of Parquet folders pass over it."""
    return f"{folder}/.{month}.state"


def save(store: Store, path: str, state: State) -> None:
    """Write a state, whole or not at all."""
    head = {"format": _FORMAT, "key": state.key, "rows": state.rows, "size": state.size}
    write(store, path, json.dumps(head).encode() + b"\n" + state.snapshot, sync=False)


def load(store: Store, path: str) -> State | None:
    """Read a state; None where there is none, or none that can be read, which means: compute the month again."""
    try:
        head, _, snapshot = store.read(path).to_pybytes().partition(b"\n")
        told = json.loads(head)
        if told["format"] != _FORMAT:
            return None
        return State(told["key"], int(told["rows"]), told["size"], snapshot)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def keys(identity: str, months: dict[str, Month]) -> dict[str, str]:
    """What decides whether a month is computed again: the set, the engine, and the bars of all months up to it."""
    key, out = hashlib.sha256(identity.encode()).hexdigest(), {}
    for name, entry in months.items():
        key = hashlib.sha256(f"{key} {name} {entry.sha256}".encode()).hexdigest()
        out[name] = key
    return out
