"""Files that are whole or not there: synced writes, atomic replacement, reads that trust nothing, and the lock."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qtfeat.errors import RegistryError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".lock"


def sha256(data: bytes) -> str:
    """Return the SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def read(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; links, pipes and devices are refused.

    Raises:
        RegistryError: not a regular file, too large, or unreadable.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        if path.is_symlink():  # where there is no O_NOFOLLOW
            raise RegistryError(f"{path}: is a link, not the file itself")
        handle = os.open(path, flags)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise RegistryError(f"{path}: is not a regular file")
            if found.st_size > limit:
                raise RegistryError(f"{path}: {found.st_size:,} bytes are more than {limit:,}")
            data = file.read(limit + 1)
    except OSError as error:
        raise RegistryError(f"{path}: cannot be read ({error})") from error
    if len(data) > limit:
        raise RegistryError(f"{path}: grew beyond {limit:,} bytes while it was read")
    return data


def write(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on disk."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, data: bytes) -> None:
    """Put a file in another's place: whoever reads sees the old content or the new, whole."""
    handle, name = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            part.unlink()
        raise
    sync_folder(path.parent)


def append(path: Path, data: bytes) -> None:
    """Append to a file and wait until it is on disk."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    new = not path.exists()
    handle = os.open(path, flags, 0o644)
    with os.fdopen(handle, "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the entries of a folder durable, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(folder: Path, timeout: float = 30.0) -> Iterator[None]:
    """Hold the writers' lock of a model; the system releases it when the process dies.

    Raises:
        RegistryError: another process holds it for longer than `timeout` seconds.
    """
    path = folder / LOCK
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        handle = os.open(path, flags, 0o644)
    except OSError as error:
        raise RegistryError(f"{path}: cannot be opened to lock it ({error})") from error
    try:
        deadline = time.monotonic() + timeout
        while not _try_lock(handle):
            if time.monotonic() >= deadline:
                raise RegistryError(f"{folder}: another process has been writing here for {timeout:g} s; try again")
            time.sleep(0.01)
        yield
    finally:
        os.close(handle)  # which releases the lock


def _try_lock(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            os.lseek(handle, 0, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise RegistryError(f"this file system cannot lock files ({error}); keep models on one that can") from error
    return True
