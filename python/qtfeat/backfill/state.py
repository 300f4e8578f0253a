"""What a backfill remembers of a month: the engine's snapshot at its end, in the footer of the month's features.

Features and state are one file, so that neither can be there without the other, and a month costs one file. Only months
that are computed but not written (before `--from`) have a file of their own for it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from qtfeat import _strict_json
from qtfeat.backfill import parquet
from qtfeat.backfill.manifest import Month
from qtfeat.backfill.store import Store, write

_FORMAT = 2
_FOOTER = "qtfeat.state"


@dataclass(frozen=True, slots=True)
class State:
    """The end of one month of one symbol.

    Attributes:
        key: what the month was computed from, see `keys`.
        rows: bars of the symbol up to and with this month.
        snapshot: of the engine.
    """

    key: str
    rows: int
    snapshot: bytes


def features_path(folder: str, month: str) -> str:
    """The features of a month."""
    return f"{folder}/{month}.parquet"


def state_path(folder: str, month: str) -> str:
    """The state file of a month without features; hidden, so that readers of Parquet folders pass over it."""
    return f"{folder}/.{month}.state"


def put(writer: Any, state: State) -> None:
    """Write a state into the footer of the features that are being written."""
    writer.add_key_value_metadata({_FOOTER: _text(state)})


def save(store: Store, folder: str, month: str, state: State) -> None:
    """Write the state of a month without features."""
    write(store, state_path(folder, month), _text(state).encode(), sync=False)


def of_features(store: Store, folder: str, month: str) -> State | None:
    """The state of a month with features; None where there are none that can be read."""
    footer = parquet.footer(store, features_path(folder, month))
    return None if footer is None else _parse(footer.get(_FOOTER.encode()))


def saved(store: Store, folder: str, month: str) -> State | None:
    """The state of a month without features; None where there is none that can be read."""
    try:
        return _parse(store.read(state_path(folder, month)).to_pybytes())
    except FileNotFoundError:
        return None


def _text(state: State) -> str:
    snapshot = base64.b64encode(state.snapshot).decode("ascii")
    return json.dumps({"format": _FORMAT, "key": state.key, "rows": state.rows, "snapshot": snapshot})


def _parse(data: bytes | None) -> State | None:
    """A state, or None for what is none, which means: compute the month again."""
    try:
        told = _strict_json.parse(data or b"", limit=1 << 30)
        if told["format"] != _FORMAT:
            return None
        return State(told["key"], int(told["rows"]), base64.b64decode(told["snapshot"], validate=True))
    except (ValueError, KeyError, TypeError):
        return None


def keys(identity: str, months: dict[str, Month]) -> dict[str, str]:
    """What decides whether a month is computed again: the set, the engine, and the bars of all months up to it."""
    key, out = hashlib.sha256(identity.encode()).hexdigest(), {}
    for name, entry in months.items():
        key = hashlib.sha256(f"{key} {name} {entry.sha256}".encode()).hexdigest()
        out[name] = key
    return out
