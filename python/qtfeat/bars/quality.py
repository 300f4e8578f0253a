"""The quality report: what is wrong with a table of bars, how often, and where first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of defect in one symbol.

    Attributes:
        kind: `gap`, `irregular`, `duplicate`, `conflict`, `unsorted`, `bad_row`, `zero_volume`, `frozen`, `jump` or
            `unfinished`.
        symbol: the symbol it was found in.
        count: how often (rows, gaps or runs).
        text: what it means, in words.
        examples: the first ones, each with file and row (the row within that file, from 0).
    """

    kind: str
    symbol: str
    count: int
    text: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.symbol}: {self.text}", *(f"    {example}" for example in self.examples)]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class QualityReport:
    """What was read, and every defect that was found in it.

    Attributes:
        source: the path that was read.
        files: how many files (members of zips counted singly).
        rows: rows of the resulting table.
        start: first open time.
        end: last open time.
        intervals: the most frequent distance between two bars, per symbol.
        findings: the defects, by symbol.
        notes: how each file was read (header, unit of its times, where the symbol came from).
    """

    source: str
    files: int
    rows: int
    start: datetime
    end: datetime
    intervals: dict[str, timedelta | None]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def counts(self) -> dict[str, int]:
        """How often each kind of defect was found, over all symbols."""
        totals: dict[str, int] = {}
        for finding in self.findings:
            totals[finding.kind] = totals.get(finding.kind, 0) + finding.count
        return totals

    def with_notes(self, notes: tuple[str, ...]) -> QualityReport:
        """Return the report with these notes instead of its own."""
        return replace(self, notes=notes)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON knows; times in ISO 8601, intervals in seconds."""
        return {
            "source": self.source,
            "files": self.files,
            "rows": self.rows,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "interval_seconds": {
                symbol: step.total_seconds() if step else None for symbol, step in self.intervals.items()
            },
            "ok": self.ok,
            "counts": self.counts,
            "findings": [asdict(finding) for finding in self.findings],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        kinds = sorted({str(step) if step else "unknown" for step in self.intervals.values()})
        lines = [
            f"{self.source}: {self.rows:,} bars, {len(self.intervals)} symbol(s), {self.files} file(s)",
            f"  {self.start:%Y-%m-%d %H:%M} .. {self.end:%Y-%m-%d %H:%M} UTC, interval {', '.join(kinds)}",
        ]
        if self.ok:
            lines.append("  nothing found: no gaps, duplicates, bad rows, frozen feed or jumps")
        for finding in self.findings:
            lines += [f"  [{finding.kind}] " + str(finding).replace("\n", "\n  ")]
        if self.notes:
            lines.append("  how it was read:")
            lines += [f"    {note}" for note in self.notes]
        return "\n".join(lines)


def merged(source: str, reports: Sequence[QualityReport]) -> QualityReport:
    """Return one report for parts that share no symbol; notes are left to the caller."""
    return QualityReport(
        source=source,
        files=sum(report.files for report in reports),
        rows=sum(report.rows for report in reports),
        start=min(report.start for report in reports),
        end=max(report.end for report in reports),
        intervals=dict(sorted(pair for report in reports for pair in report.intervals.items())),
        findings=tuple(sorted((f for report in reports for f in report.findings), key=lambda f: f.symbol)),
    )
