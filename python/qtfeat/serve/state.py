"""The engine's state on disk: one checksummed file, replaced whole."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtfeat.errors import SnapshotError

_MAGIC = b"QTFENG01"
_LENGTH = struct.Struct("<Q")


def encode(values: Mapping[str, Any], parts: Mapping[str, bytes]) -> bytes:
    """Return JSON values and named bytes as one checksummed block."""
    listed = {name: len(data) for name, data in parts.items()}
    head = json.dumps({"values": values, "parts": listed}, allow_nan=False, separators=(",", ":")).encode()
    body = _LENGTH.pack(len(head)) + head + b"".join(parts.values())
    return _MAGIC + hashlib.sha256(body).digest() + body


def decode(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return what `encode` was given.

    Raises:
        SnapshotError: not such a block, cut short, or changed.
    """
    body = data[len(_MAGIC) + 32 :]
    if not data.startswith(_MAGIC) or len(body) < _LENGTH.size:
        raise SnapshotError("not a state of the serving engine")
    if hashlib.sha256(body).digest() != data[len(_MAGIC) : len(_MAGIC) + 32]:
        raise SnapshotError("the state of the serving engine is damaged: its checksum does not fit")
    (size,) = _LENGTH.unpack_from(body)
    try:
        head = json.loads(body[_LENGTH.size : _LENGTH.size + size])
        at, parts = _LENGTH.size + size, {}
        for name, length in head["parts"].items():
            parts[name] = body[at : at + length]
            at += length
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SnapshotError(f"the state of the serving engine cannot be read: {error}") from error
    return head["values"], parts


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace a file whole: after a crash it holds the old bytes or the new ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
