"""`events.jsonl`: what happened to a model, in order. A line that a crash tore is left out, and cut off later."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qtfeat import _strict_json
from qtfeat.errors import RegistryError
from qtfeat.registry import disk

EVENTS = "events.jsonl"
_MAX = 64 << 20


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the events of a model, oldest first, without a torn last line.

    Raises:
        RegistryError: a line before the last is damaged, or the file is hostile.
    """
    path = folder / EVENTS
    if not path.exists() and not path.is_symlink():
        return []
    *lines, _torn = disk.read(path, _MAX).split(b"\n")
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            event = _strict_json.parse(line, limit=1 << 20)
        except ValueError as error:
            raise RegistryError(f"{path}: line {number} is damaged ({error})") from error
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            raise RegistryError(f"{path}: line {number} is no event")
        found.append(event)
    return found


def add(folder: Path, event: str, **values: Any) -> None:
    """Append an event, durably; the caller holds the lock. A torn last line is cut off first."""
    ready(folder)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": now, "event": event, **values}, sort_keys=True, allow_nan=False)
    disk.append(folder / EVENTS, line.encode() + b"\n")


def ready(folder: Path) -> None:
    """Make the history one that a line can be added to; the caller holds the lock.

    Call it before what the line will tell of is done, so that nothing is done that cannot be written down.

    Raises:
        RegistryError: a link, no regular file, too large, or not to be written to.
    """
    path = folder / EVENTS
    _cut_torn_line(path)
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise RegistryError(f"{path}: cannot be written to, so nothing was changed")


def _cut_torn_line(path: Path) -> None:
    if not path.exists() and not path.is_symlink():
        return
    data = disk.read(path, _MAX)
    if data and not data.endswith(b"\n"):
        disk.replace(path, data[: data.rfind(b"\n") + 1])
