"""The errors of qtfeat. All are `QtfeatError`, which is a `ValueError`.

The compiled core raises these with the values that its message names as attributes.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BadBarError",
    "FeatureSpecError",
    "FetchError",
    "FingerprintMismatch",
    "GapError",
    "GateFailed",
    "QtfeatError",
    "RegistryError",
    "SchemaError",
    "SnapshotError",
    "SnapshotMismatch",
    "UnsortedError",
    "VerifyFailed",
]


class QtfeatError(ValueError):
    """Base of all errors of qtfeat.

    Keyword arguments become attributes. Those that concern a row carry `row` (the caller's row, from 0),
    `column`, `value`, and where they apply `window`, `symbol` and `time_ns`.
    """

    column: str | None = None
    row: int | None = None
    value: float | int | None = None
    window: int | None = None
    symbol: str | None = None
    time_ns: int | None = None

    def __init__(self, message: str = "", **fields: Any) -> None:
        super().__init__(message)
        for name, value in fields.items():
            setattr(self, name, value)


class BadBarError(QtfeatError):
    """A bar outside what the engine accepts; `column`, `row`, `value` say which."""


class SchemaError(QtfeatError):
    """A column, shape, type or argument that does not fit the call; `column` where one is concerned."""


class UnsortedError(QtfeatError):
    """Timestamps that do not strictly increase within a symbol; `value` and `previous` in nanoseconds."""

    previous: int | None = None


class GapError(QtfeatError):
    """A hole in the timestamps under `on_gap="raise"`; `previous` and `interval` in nanoseconds."""

    previous: int | None = None
    interval: int | None = None


class FeatureSpecError(QtfeatError):
    """A feature that cannot be built; `position` is the byte of `spec` that the message points at."""

    spec: str = ""
    position: int = 0


class FetchError(QtfeatError):
    """A download that failed for good; `url` says which and `status` is the HTTP status, where there was one."""

    url: str = ""
    status: int | None = None


class FingerprintMismatch(QtfeatError):
    """Bytes, a table or a model made for another feature set; `expected` and `found` are the hashes."""

    expected: str = ""
    found: str = ""


class SnapshotError(QtfeatError):
    """A snapshot that is damaged, foreign or of another format."""


class SnapshotMismatch(SnapshotError, FingerprintMismatch):
    """A sound snapshot of another feature set."""


class VerifyFailed(QtfeatError):
    """A promise that `qtfeat.verify` found broken.

    `promise` ("P1", "P2", "P3"), `column`, `row` and `symbol` say where first; `report` is the whole report.
    """

    promise: str = ""
    report: Any = None


class GateFailed(QtfeatError):
    """A model that a gate refused; `verdicts` are those of all gates, where they are at hand."""

    verdicts: Any = None


class RegistryError(QtfeatError):
    """A model folder that is damaged, incomplete or not what its manifest says."""
