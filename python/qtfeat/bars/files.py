"""Files that appear whole or not at all, and folders that one writer at a time may change."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qtfeat.errors import QtfeatError


@contextmanager
def whole_or_nothing(target: Path) -> Iterator[Path]:
    """Give a path beside the target to write to; rename it on success, remove it on any exception.

    The file and its folder are synced, so that the target is whole after a loss of power as well.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("r+b") as written:
            os.fsync(written.fileno())
        part.replace(target)
        _sync_folder(target.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            part.unlink()
        raise


def write_whole(target: Path, data: bytes) -> None:
    """Write bytes to a file that appears whole or not at all."""
    with whole_or_nothing(target) as part:
        part.write_bytes(data)


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return  # folders cannot be opened there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def only_writer(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of a folder; it ends with the process, however that ends.

    Args:
        folder: made if it is not there; the lock is the file `.lock` in it.
        what: who holds the lock, for the error text of the second one.

    Raises:
        QtfeatError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+b") as file:
        try:
            _lock(file.fileno())
        except OSError as error:
            raise QtfeatError(f"{folder}: another {what} writes here; wait for it or choose another folder") from error
        yield


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_parts(folder: Path) -> int:
    """Remove what writers that were killed left under a folder; only for the holder of its lock.

    Returns:
        The number of files removed.
    """
    parts = list(folder.rglob(".*.part"))
    for part in parts:
        part.unlink(missing_ok=True)
    return len(parts)
