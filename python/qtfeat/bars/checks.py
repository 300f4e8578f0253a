"""The checks behind the quality report: one symbol's rows, put in order and looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qtfeat.bars.calendar import interval_ms
from qtfeat.bars.group import symbol_codes
from qtfeat.bars.quality import Finding, QualityReport
from qtfeat.bars.rules import EXAMPLES, bad_values, frozen_runs, jumps
from qtfeat.bars.schema import VALUES, Origin
from qtfeat.errors import SchemaError

Ints = npt.NDArray[np.int64]
_MONTH_MS = tuple(days * 86_400_000 for days in (28, 29, 30, 31))


@dataclass(frozen=True, slots=True)
class FileOf:
    """Where the rows of a table came from.

    Attributes:
        labels: the name of each file.
        origins: what its path says.
        file: the number of the file of each row, increasing.
        row: the row within that file.
    """

    labels: Sequence[str]
    origins: Sequence[Origin]
    file: Ints
    row: Ints


@dataclass(frozen=True, slots=True)
class _Series:
    """One symbol's rows in time order, with where each came from."""

    symbol: str
    origin: FileOf
    time: Ints
    values: dict[str, npt.NDArray[np.float64]]
    file: Ints
    row: Ints

    def where(self, i: int) -> str:
        stamp = datetime.fromtimestamp(self.time[i] / 1000, UTC)
        return f"{self.origin.labels[self.file[i]]}, row {self.row[i]}, {stamp:%Y-%m-%d %H:%M:%S}"

    def examples(self, rows: npt.NDArray[np.intp]) -> tuple[str, ...]:
        return tuple(self.where(i) for i in rows[:EXAMPLES])

    def take(self, keep: npt.NDArray[np.intp]) -> _Series:
        values = {name: column[keep] for name, column in self.values.items()}
        return replace(self, time=self.time[keep], values=values, file=self.file[keep], row=self.row[keep])


def check(table: pa.Table, source: str, origin: FileOf, now: datetime | None) -> tuple[pa.Table, QualityReport]:
    """Put bars in order and report every defect.

    Args:
        table: at least `BAR_SCHEMA`, one chunk, no null symbol or time.
        source: the path, for the report.
        origin: where each row came from.
        now: the time against which the last bar counts as unfinished; default the clock.

    Raises:
        SchemaError: files of one symbol hold bars of different intervals or markets.
    """
    code, names = symbol_codes(table)
    time = np.asarray(table.column("open_time").cast(pa.int64()))
    values = {name: np.asarray(table.column(name).to_numpy(), dtype=np.float64) for name in VALUES}
    instant = now or datetime.now(UTC)
    findings: list[Finding] = []
    intervals: dict[str, timedelta | None] = {}
    kept: list[npt.NDArray[np.intp]] = []
    by_symbol = np.argsort(code, kind="stable")
    pieces = np.split(by_symbol, np.searchsorted(code[by_symbol], np.arange(1, len(names))))
    for number in sorted(range(len(names)), key=names.__getitem__):
        rows = pieces[number]
        columns = {name: column[rows] for name, column in values.items()}
        series = _Series(names[number], origin, time[rows], columns, origin.file[rows], origin.row[rows])
        order, found, step = _check_series(series, instant)
        kept.append(rows[order])
        findings += found
        intervals[series.symbol] = timedelta(milliseconds=step) if step else None
    take = np.concatenate(kept)
    in_place = len(take) == len(time) and bool((take[1:] > take[:-1]).all())
    result = table if in_place else table.take(pa.array(take))
    start, end = (datetime.fromtimestamp(t / 1000, UTC) for t in (time.min(), time.max()))
    report = QualityReport(source, len(origin.labels), len(take), start, end, intervals, tuple(findings))
    return result, report


def _check_series(series: _Series, now: datetime) -> tuple[npt.NDArray[np.intp], list[Finding], int]:
    """Return (rows to keep, in time order), findings and the interval in ms (0 = unknown)."""
    _refuse_two_markets(series)
    step = _interval(series)
    found = list(_order(series))
    order = np.argsort(series.time, kind="stable")
    same = np.flatnonzero(np.diff(series.time[order]) == 0) + 1
    found += _duplicates(series.take(order), same)
    order = np.delete(order, same)
    sorted_series = series.take(order)
    months = _months(sorted_series.time, step)
    if months is not None:
        found += _gaps(sorted_series, months, 0)
    elif step:
        found += _gaps(sorted_series, sorted_series.time, step)
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


def _refuse_two_markets(s: _Series) -> None:
    markets = {s.origin.origins[n].market: n for n in np.unique(s.file).tolist()}
    markets.pop("", None)
    if len(markets) > 1:
        text = ", ".join(f"{s.origin.labels[n]} ({market})" for market, n in markets.items())
        raise SchemaError(f"{s.symbol}: bars of different markets ({text}); read the markets apart")


def _interval(s: _Series) -> int:
    """The interval in ms, 0 if unknown; all files of one symbol must agree on it.

    A file says it by its name; else by the distance that at least half of its rows have.
    """
    starts = np.flatnonzero(np.diff(s.file, prepend=-1))
    steps: dict[int, int] = {}
    for first, last in zip(starts, [*starts[1:], len(s.file)], strict=True):
        number = int(s.file[first])
        distances = _distances(s.time[first:last])
        own, share = _most_frequent(distances)
        named = _named_interval(s.origin.origins[number].interval)
        if named and own and own < named and share >= 0.5:
            raise SchemaError(
                f"{s.origin.labels[number]}: named as bars of {timedelta(milliseconds=named)}, but they are "
                f"{timedelta(milliseconds=own)} apart; rename or remove the file"
            )
        if named or (share >= 0.5 and last - first > 2):
            steps[number] = named or own
    if len(set(steps.values())) > 1 and not set(steps.values()) <= set(_MONTH_MS):
        text = ", ".join(f"{s.origin.labels[n]} {timedelta(milliseconds=step)}" for n, step in list(steps.items())[:4])
        raise SchemaError(f"{s.symbol}: the files hold bars of different intervals ({text}); read them apart")
    if steps:
        return next(iter(steps.values()))
    return _most_frequent(_distances(s.time))[0]


def _distances(time: Ints) -> Ints:
    ordered: Ints = np.sort(time)
    distances: Ints = ordered[1:] - ordered[:-1]
    return distances[distances > 0]


def _named_interval(text: str) -> int:
    return interval_ms(text) if text and not text.endswith("mo") else 0


def _most_frequent(steps: Ints) -> tuple[int, float]:
    """Return (the most frequent of the steps, its share); (0, 0) if there are none."""
    if not len(steps):
        return 0, 0.0
    values, counts = np.unique(steps, return_counts=True)
    best = int(np.argmax(counts))
    return int(values[best]), float(counts[best] / len(steps))


def _months(time: Ints, step: int) -> Ints | None:
    """The number of the month of each bar, if they are bars of months: these have no fixed distance."""
    if step not in _MONTH_MS:
        return None
    stamps = time.astype("datetime64[ms]")
    months = stamps.astype("datetime64[M]")
    return months.astype(np.int64) if bool((months == stamps).all()) else None


def _gaps(s: _Series, time: Ints, step: int) -> Iterator[Finding]:
    """Find what is missing; `time` in any unit, with `step` between bars, 0 standing for 1 and bars of months."""
    interval = timedelta(milliseconds=step) if step else "one month"
    steps = np.diff(time)
    step = step or 1
    off = np.flatnonzero(steps % step != 0) + 1
    if len(off):
        text = f"{len(off):,} distance(s) that are no multiple of the interval {interval}"
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
