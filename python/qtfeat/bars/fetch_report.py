"""What a download did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class FetchReport:
    """What a download did; paths are relative to the folder that was written to.

    Attributes:
        fetched: files downloaded, verified and put in place.
        kept: files that were there already, with the right hash.
        missing: files that the archive does not have: the symbol was not listed then, or they are not published yet.
        failed: (path, reason) of files that could not be had.
        bytes: bytes received.
        retries: requests that had to be repeated.
        seconds: wall-clock time.
    """

    fetched: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    bytes: int = 0
    retries: int = 0
    seconds: float = 0.0

    def sort(self) -> None:
        """Put the entries in order of path, whichever thread was first."""
        for entries in (self.fetched, self.kept, self.missing):
            entries.sort()
        self.failed.sort()

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    def __str__(self) -> str:
        size, seconds = self.bytes / 1e6, self.seconds
        counts = (
            f"{len(self.fetched):,} file(s) fetched ({size:.1f} MB in {seconds:.1f} s)",
            f"{len(self.kept):,} there already",
            f"{len(self.missing):,} not in the archive",
            f"{len(self.failed):,} failed",
            f"{self.retries:,} request(s) repeated",
        )
        lines = [", ".join(counts)]
        lines += [f"  not in the archive: {text}" for text in _shown(self.missing)]
        lines += [f"  failed: {text}" for text in _shown([f"{path}: {reason}" for path, reason in self.failed])]
        return "\n".join(lines)


def _shown(texts: Sequence[str], most: int = 10) -> list[str]:
    rest = [f"... and {len(texts) - most:,} more"] if len(texts) > most else []
    return [*texts[:most], *rest]
