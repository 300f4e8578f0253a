"""What the server has taken from streams since its last snapshot: one synced line per batch."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qtfeat.errors import SchemaError, SnapshotError

try:
    import fcntl
except ImportError:  # not on Windows, where nothing guards a log against a second server
    fcntl = None  # type: ignore[assignment]

Row = Sequence[Any]


class Log:
    """A file of batches of numbered rows, each batch a checked line; what a crash cut off at the end is removed.

    Args:
        path: the file; made where it is missing.

    Raises:
        SchemaError: another process has it open.
        SnapshotError: a line before the last one is damaged.

    Attributes:
        rows: how many rows are in it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not path.exists()
        self._path, self._file = path, path.open("ab", buffering=0)
        if fresh:
            _sync_folder(path.parent)
        self.rows = self._size = 0
        try:
            self._lock()
            for _, rows, end in self._lines():
                self.rows, self._size = self.rows + len(rows), end
            self._cut()
        except BaseException:
            self._file.close()
            raise

    def read(self, position: int) -> Iterator[tuple[int, Row]]:
        """Yield the rows from a number on, in order, each with its number."""
        for first, rows, _ in self._lines():
            for number, row in enumerate(rows, first):
                if number >= position:
                    yield number, row

    def append(self, first: int, rows: Sequence[Row]) -> None:
        """Write a batch whose first row has that number; it is on the disk when this returns, or not in the file."""
        body = json.dumps([first, rows], allow_nan=False, separators=(",", ":")).encode()
        line = b"%08x %s\n" % (zlib.crc32(body), body)
        try:
            # A raw file may write a part.
            view = memoryview(line)
            while view:
                view = view[self._file.write(view) or 0 :]
            os.fsync(self._file.fileno())
        except OSError:
            self._cut()
            raise
        self._size += len(line)
        self.rows += len(rows)

    def clear(self) -> None:
        """Remove everything: a snapshot has it."""
        self._size = self.rows = 0
        self._cut()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _lock(self) -> None:
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise SchemaError(
                    f"{self._path}: another server uses it; give each server a folder of its own"
                ) from error

    def _cut(self) -> None:
        self._file.truncate(self._size)
        os.fsync(self._file.fileno())

    def _lines(self) -> Iterator[tuple[int, list[Row], int]]:
        """Yield first row number, rows, and where the line ends; stop at a last line that is not whole."""
        with self._path.open("rb") as file:
            end = 0
            for line in file:
                end += len(line)
                try:
                    body = line[9:].removesuffix(b"\n")
                    if not line.endswith(b"\n") or int(line[:8], 16) != zlib.crc32(body):
                        raise ValueError("its checksum does not fit")  # noqa: TRY301 (one way out for all that is wrong)
                    first, rows = json.loads(body)
                except ValueError as error:
                    if file.read(1):
                        raise SnapshotError(f"{self._path}: damaged before byte {end}: {error}") from error
                    return
                yield int(first), rows, end


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
