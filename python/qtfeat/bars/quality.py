"""The quality report: what is wrong with a table of bars, how often, and where first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qtfeat.bars.rules import EXAMPLES, bad_values, frozen_runs, jumps
from qtfeat.bars.schema import VALUES
from qtfeat.errors import SchemaError

Ints = npt.NDArray[np.int64]


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


@dataclass(frozen=True, slots=True)
class _Series:
    """One symbol's rows in time order, with where each came from."""

    symbol: str
    labels: list[str]
    time: Ints
    values: dict[str, npt.NDArray[np.float64]]
    file: Ints
    row: Ints

    def where(self, i: int) -> str:
        stamp = datetime.fromtimestamp(self.time[i] / 1000, UTC)
        return f"{self.labels[self.file[i]]}, row {self.row[i]}, {stamp:%Y-%m-%d %H:%M:%S}"

    def examples(self, rows: npt.NDArray[np.intp]) -> tuple[str, ...]:
        return tuple(self.where(i) for i in rows[:EXAMPLES])

    def take(self, keep: npt.NDArray[np.intp]) -> _Series:
        values = {name: column[keep] for name, column in self.values.items()}
        return replace(self, time=self.time[keep], values=values, file=self.file[keep], row=self.row[keep])


def check(
    table: pa.Table, source: str, labels: list[str], file_of: Ints, row_of: Ints, now: datetime | None
) -> tuple[pa.Table, QualityReport]:
    """Put bars in order and report every defect.

    Args:
        table: `BAR_SCHEMA`, one chunk, no null symbol or time.
        source: the path, for the report.
        labels: the name of each file.
        file_of: the number of the file of each row.
        row_of: the row within that file.
        now: the time against which the last bar counts as unfinished; default the clock.

    Raises:
        SchemaError: files of one symbol hold bars of different intervals.
    """
    codes = table.column("symbol").combine_chunks().dictionary_encode()
    if isinstance(codes, pa.ChunkedArray):
        codes = codes.combine_chunks()
    code = np.asarray(codes.indices)
    names = codes.dictionary.to_pylist()
    time = np.asarray(table.column("open_time").cast(pa.int64()))
    values = {name: np.asarray(table.column(name).to_numpy(), dtype=np.float64) for name in VALUES}
    instant = now or datetime.now(UTC)
    findings: list[Finding] = []
    intervals: dict[str, timedelta | None] = {}
    kept: list[npt.NDArray[np.intp]] = []
    for number in sorted(range(len(names)), key=names.__getitem__):
        rows = np.flatnonzero(code == number)
        columns = {name: column[rows] for name, column in values.items()}
        series = _Series(names[number], labels, time[rows], columns, file_of[rows], row_of[rows])
        order, found, step = _check_series(series, instant)
        kept.append(rows[order])
        findings += found
        intervals[series.symbol] = timedelta(milliseconds=step) if step else None
    take = np.concatenate(kept)
    in_place = len(take) == len(time) and bool((take[1:] > take[:-1]).all())
    result = table if in_place else table.take(pa.array(take))
    start, end = (datetime.fromtimestamp(t / 1000, UTC) for t in (time.min(), time.max()))
    report = QualityReport(source, len(labels), len(take), start, end, intervals, tuple(findings))
    return result, report


def _check_series(series: _Series, now: datetime) -> tuple[npt.NDArray[np.intp], list[Finding], int]:
    """Return (rows to keep, in time order), findings and the interval in ms (0 = unknown)."""
    found = list(_order(series))
    order = np.argsort(series.time, kind="stable")
    same = np.flatnonzero(np.diff(series.time[order]) == 0) + 1
    found += _duplicates(series.take(order), same)
    order = np.delete(order, same)
    sorted_series = series.take(order)
    step = _interval(sorted_series)
    found += _gaps(sorted_series, step)
    found += _values(sorted_series)
    found += _unfinished(sorted_series, step, now)
    return order, found, step


def _order(s: _Series) -> Iterator[Finding]:
    within = np.flatnonzero((np.diff(s.time) < 0) & (np.diff(s.file) == 0)) + 1
    if len(within):
        text = f"{len(within):,} row(s) earlier than the one before; put in order of time"
        yield Finding("unsorted", s.symbol, len(within), text, s.examples(within))


def _duplicates(s: _Series, same: npt.NDArray[np.intp]) -> Iterator[Finding]:
    if not len(same):
        return
    # Each repeat is compared with the row that is kept: the first of its time.
    first = np.searchsorted(s.time, s.time[same], side="left")
    equal = np.ones(len(same), dtype=np.bool_)
    for column in s.values.values():
        a, b = column[same], column[first]
        equal &= (a == b) | (np.isnan(a) & np.isnan(b))
    for kind, rows, text in (
        ("duplicate", same[equal], "repeat an earlier row exactly and were dropped"),
        ("conflict", same[~equal], "have the time of an earlier row but other values; the first was kept"),
    ):
        if len(rows):
            yield Finding(kind, s.symbol, len(rows), f"{len(rows):,} row(s) {text}", s.examples(rows))


def _interval(s: _Series) -> int:
    """The most frequent distance in ms; all files of one symbol must agree on it."""
    inside = np.diff(s.file) == 0
    steps = np.diff(s.time)
    if not len(steps):
        return 0
    per_file: dict[int, int] = {}
    for number in np.unique(s.file):
        own = steps[inside & (s.file[1:] == number)]
        if len(own) > 1:
            per_file[int(number)] = _most_frequent(own)
    if len(set(per_file.values())) > 1:
        text = ", ".join(f"{s.labels[n]} {timedelta(milliseconds=step)}" for n, step in list(per_file.items())[:4])
        raise SchemaError(f"{s.symbol}: the files hold bars of different intervals ({text}); read them apart")
    return next(iter(per_file.values()), _most_frequent(steps))


def _most_frequent(steps: Ints) -> int:
    values, counts = np.unique(steps, return_counts=True)
    return int(values[np.argmax(counts)])


def _gaps(s: _Series, step: int) -> Iterator[Finding]:
    if not step:
        return
    steps = np.diff(s.time)
    off = np.flatnonzero(steps % step != 0) + 1
    if len(off):
        text = f"{len(off):,} distance(s) that are no multiple of the interval {timedelta(milliseconds=step)}"
        yield Finding("irregular", s.symbol, len(off), text, s.examples(off))
    wide = np.flatnonzero(steps > step) + 1
    if len(wide):
        missing = steps[wide - 1] // step - 1 + (steps[wide - 1] % step != 0)
        text = f"{len(wide):,} gap(s), {int(missing.sum()):,} bar(s) missing"
        shown = (f"{missing[i]:,} missing before {s.where(row)}" for i, row in enumerate(wide[:EXAMPLES]))
        yield Finding("gap", s.symbol, len(wide), text, tuple(shown))


def _values(s: _Series) -> Iterator[Finding]:
    for rule, rows in bad_values(s.values):
        yield Finding("bad_row", s.symbol, len(rows), f"{len(rows):,} row(s) with {rule}", s.examples(rows))
    quiet = np.flatnonzero(s.values["volume"] == 0)
    if len(quiet):
        yield Finding("zero_volume", s.symbol, len(quiet), f"{len(quiet):,} bar(s) without volume", s.examples(quiet))
    runs = frozen_runs(s.values)
    if runs:
        text = f"{len(runs):,} frozen stretch(es): equal bars without volume, {sum(n for _, n in runs):,} bars in all"
        shown = tuple(f"{n:,} bars from {s.where(first)}" for first, n in runs[:EXAMPLES])
        yield Finding("frozen", s.symbol, len(runs), text, shown)
    found = jumps(s.values["close"])
    if found:
        shown = tuple(f"{text}: {s.where(row)}" for row, text in found[:EXAMPLES])
        yield Finding("jump", s.symbol, len(found), f"{len(found):,} jump(s) far beyond the usual move", shown)


def _unfinished(s: _Series, step: int, now: datetime) -> Iterator[Finding]:
    if step and s.time[-1] + step > now.timestamp() * 1000:
        last = s.where(len(s.time) - 1)
        yield Finding("unfinished", s.symbol, 1, "the last bar is not closed yet; leave it out", (last,))
