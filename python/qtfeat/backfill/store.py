"""Files of a lake: whole or not there, on the local file system or, through fsspec, in an object store."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from qtfeat.errors import QtfeatError, SchemaError

PART = ".part"
"""Ending of a file that is being written; whoever writes there next removes what a killed process left."""


class LakeBusyError(QtfeatError):
    """Another process is writing the same lake, or the same feature set of it."""


class Store(Protocol):
    """What a lake needs of a file system. Paths are relative to the root, with `/`."""

    root: str

    def read(self, path: str) -> pa.Buffer:
        """The bytes of a file. Raises FileNotFoundError."""

    def open(self, path: str) -> Any:
        """A file to read parts of. Raises FileNotFoundError."""

    def names(self, path: str) -> list[str]:
        """What a folder holds, sorted; nothing where there is no folder."""

    def writing(self, path: str, *, sync: bool) -> Any:
        """Context manager that gives a path or a file to write to; the file is there after the block, or not at all."""

    def rename(self, path: str, target: str) -> None:
        """Give a file another name in its folder, in the place of what has it."""

    def remove(self, path: str) -> None:
        """Remove a file if it is there."""

    def sweep(self, path: str) -> None:
        """Remove what killed writers left in a folder."""

    def lock(self, path: str, what: str) -> Any:
        """Context manager that keeps other writers out; LakeBusyError where one is at work."""


def open_store(root: str | os.PathLike[str]) -> Store:
    """The store of a folder, or of a URL such as `s3://bucket/lake` (needs fsspec and its driver).

    Raises SchemaError for anything else.
    """
    if not isinstance(root, str | os.PathLike) or not isinstance(os.fspath(root), str):
        raise SchemaError(f"a lake is a folder or a URL, not {root!r}")
    text = os.fspath(root)
    if not text or "\0" in text:
        raise SchemaError(f"{text!r} names no folder")
    return Remote(text) if "://" in text else Local(text)


def write(store: Store, path: str, data: bytes, *, sync: bool) -> None:
    """Write a small file, whole or not at all."""
    with store.writing(path, sync=sync) as sink:
        if isinstance(sink, str):
            with Path(sink).open("wb") as file:
                file.write(data)
        else:
            sink.write(data)


class Local:
    """A folder. Writing is to a temporary file in the same folder, synced where asked, then renamed."""

    def __init__(self, root: str) -> None:
        self.root = str(Path(root))

    def _at(self, path: str) -> str:
        return f"{self.root}/{path}"

    def read(self, path: str) -> pa.Buffer:
        """The bytes of a file. Raises FileNotFoundError."""
        with pa.OSFile(self._at(path)) as file:
            return file.read_buffer()

    def open(self, path: str) -> Any:
        """A file to read parts of. Raises FileNotFoundError."""
        return pa.OSFile(self._at(path))

    def names(self, path: str) -> list[str]:
        """What a folder holds, sorted; nothing where there is no folder."""
        try:
            return sorted(os.listdir(self._at(path)))  # noqa: PTH208 - as above
        except (FileNotFoundError, NotADirectoryError):
            return []

    @contextmanager
    def writing(self, path: str, *, sync: bool) -> Iterator[str]:
        """Give the path of a temporary file; rename it on success, remove it on any exception."""
        target = self._at(path)
        folder, _, name = target.rpartition("/")
        if not os.path.isdir(folder):  # noqa: PTH112 - once per month of every symbol, as what follows
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        part = f"{folder}/.{name.lstrip('.')}.{os.getpid()}-{threading.get_ident()}{PART}"
        try:
            yield part
            if sync:
                _sync(part)
            os.replace(part, target)  # noqa: PTH105
            if sync:
                _sync(folder)
        except BaseException:
            with suppress(OSError):
                Path(part).unlink()
            raise

    def rename(self, path: str, target: str) -> None:
        """Give a file another name in its folder, in the place of what has it."""
        os.replace(self._at(path), self._at(target))  # noqa: PTH105

    def remove(self, path: str) -> None:
        """Remove a file if it is there."""
        Path(self._at(path)).unlink(missing_ok=True)

    def sweep(self, path: str) -> None:
        """Remove what killed writers left in a folder."""
        for name in self.names(path):
            if name.endswith(PART):
                self.remove(f"{path}/{name}")

    @contextmanager
    def lock(self, path: str, what: str) -> Iterator[None]:
        """Hold an advisory lock, which the system gives back however the process ends."""
        at = Path(self._at(path))
        at.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(at, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _take(handle):
                owner = os.pread(handle, 32, 0).decode("ascii", "replace").strip() if hasattr(os, "pread") else "?"
                raise LakeBusyError(f"{what} is being written by process {owner or '?'}: wait for it, or stop it")
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
            yield
        finally:
            os.close(handle)


class Remote:
    """An object store through fsspec: an upload appears whole by itself. There is no lock: one writer is up to you."""

    def __init__(self, url: str) -> None:
        try:
            fsspec: Any = import_module("fsspec")
        except ImportError as error:
            raise SchemaError(f'{url}: needs fsspec: pip install "qtfeat[backfill]"') from error
        self.root = url.rstrip("/")
        if "://" not in self.root:  # fsspec would take it for a local folder
            raise SchemaError(f"{url!r} names no folder: s3://bucket/lake does")
        try:
            self._fs, self._base = fsspec.core.url_to_fs(self.root)
        except (ImportError, ValueError) as error:
            raise SchemaError(f"{url}: fsspec cannot open it: {error}") from error

    def _at(self, path: str) -> str:
        return f"{self._base}/{path}"

    def read(self, path: str) -> pa.Buffer:
        """The bytes of a file. Raises FileNotFoundError."""
        return pa.py_buffer(self._fs.cat_file(self._at(path)))

    def open(self, path: str) -> Any:
        """A file to read parts of. Raises FileNotFoundError."""
        return self._fs.open(self._at(path), "rb")

    def names(self, path: str) -> list[str]:
        """What a folder holds, sorted; nothing where there is no folder."""
        try:
            listed = self._fs.ls(self._at(path), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(p).rstrip("/").rpartition("/")[2] for p in listed)

    @contextmanager
    def writing(self, path: str, *, sync: bool) -> Iterator[Any]:
        """Give a buffer; upload it on success."""
        del sync  # an upload is durable when it returns
        sink = pa.BufferOutputStream()
        yield sink
        self._fs.makedirs(self._at(path).rpartition("/")[0], exist_ok=True)
        self._fs.pipe_file(self._at(path), sink.getvalue().to_pybytes())

    def rename(self, path: str, target: str) -> None:
        """Give a file another name in its folder, in the place of what has it."""
        self._fs.mv(self._at(path), self._at(target))

    def remove(self, path: str) -> None:
        """Remove a file if it is there."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._at(path))

    def sweep(self, path: str) -> None:
        """Nothing: an upload that broke off left nothing."""

    @contextmanager
    def lock(self, path: str, what: str) -> Iterator[None]:
        """Nothing: see the class."""
        del path, what
        yield


def _sync(path: str) -> None:
    """Ask the system to put a file, or the names in a folder, on the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # folders, on Windows
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            # One byte far behind the text, which stays readable.
            os.lseek(handle, 1 << 20, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        os.lseek(handle, 0, os.SEEK_SET)
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
