"""What was compared, what was found, and how it reads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["Check", "Finding", "Promise", "VerifyReport"]

Floats = npt.NDArray[np.float64]
_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """Where a promise is broken: one column under one check."""

    promise: str
    check: str
    column: str
    row: int
    """The caller's row, from 0."""
    symbol: str | None
    expected: str
    found: str
    values: int
    """How many values of the column are wrong under this check."""

    def __str__(self) -> str:
        where = f"row {self.row}" + (f" (symbol {self.symbol})" if self.symbol is not None else "")
        more = f", and {self.values - 1:,} more" if self.values > 1 else ""
        return f"column {self.column!r}, {where}, {self.check}: expected {self.expected}, found {self.found}{more}"


@dataclass
class Check:
    """One way of computing the features that was compared, or one rule that was checked."""

    name: str
    comparisons: int = 0
    """Column comparisons: a column of a series (or of a table) held against another."""
    rows: int = 0
    broken: bool = False


@dataclass
class Promise:
    """One promise: its checks, what they found, and what could not be checked here."""

    id: str
    title: str
    checks: dict[str, Check] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """True if no check found anything."""
        return not self.findings

    @property
    def comparisons(self) -> int:
        """Column comparisons of all checks."""
        return sum(c.comparisons for c in self.checks.values())

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Adds the time of the block to `seconds`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start

    def count(self, check: str, comparisons: int, rows: int) -> Check:
        """Notes that something was compared."""
        entry = self.checks.setdefault(check, Check(check))
        entry.comparisons += comparisons
        entry.rows += rows
        return entry

    def broken(self, finding: Finding) -> None:
        """Notes a broken column; one finding for each column of a check."""
        self.count(finding.check, 0, 0).broken = True
        if not any(f.check == finding.check and f.column == finding.column for f in self.findings):
            self.findings.append(finding)

    def lines(self) -> Iterator[str]:
        """The promise as text."""
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        yield f"{self.id} {self.title}: {verdict}  ({self.comparisons:,} column comparisons, {self.seconds:.1f} s)"
        for c in self.checks.values():
            mark = "DIFFERS" if c.broken else "ok"
            yield f"   {c.name:<52} {c.comparisons:>9,} columns {c.rows:>12,} rows  {mark}"
        for finding in self.findings[:_SHOWN]:
            yield f"   - {finding}"
        if len(self.findings) > _SHOWN:
            yield f"   - and {len(self.findings) - _SHOWN} more"
        for note in self.notes:
            yield f"   note: {note}"


@dataclass
class VerifyReport:
    """The outcome of `qtfeat.verify`. `str(report)` is the report as text."""

    feature_set: str
    fingerprint: str
    numerics: str
    columns: int
    rows: int
    """Rows that were looked at."""
    table_rows: int
    """Rows of the caller's table."""
    symbols: int
    cpu: str
    promises: list[Promise]
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """True if every promise holds."""
        return all(p.holds for p in self.promises)

    @property
    def findings(self) -> list[Finding]:
        """All findings, those of the promise that explains the others first."""
        return [f for p in self.promises for f in p.findings]

    @property
    def comparisons(self) -> int:
        """Column comparisons of all promises."""
        return sum(p.comparisons for p in self.promises)

    def promise(self, name: str) -> Promise:
        """The promise "P1", "P2" or "P3"."""
        return next(p for p in self.promises if p.id == name)

    def __str__(self) -> str:
        rows = f"{self.rows:,} rows" + (f" of {self.table_rows:,} (a sample)" if self.rows != self.table_rows else "")
        symbols = f"{self.symbols:,} symbol" + ("s" if self.symbols != 1 else "")
        broken = ", ".join(p.id for p in self.promises if not p.holds)
        verdict = f"BROKEN: {broken}" if broken else "every promise holds"
        lines = [
            f"verify {self.feature_set} on {self.cpu}",
            f"bars: {rows}, {symbols}",
        ]
        for promise in sorted(self.promises, key=lambda p: p.id):
            lines.extend(promise.lines())
        lines.append(f"{verdict}: {self.comparisons:,} column comparisons, {self.seconds:.1f} s")
        return "\n".join(lines)
