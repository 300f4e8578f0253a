"""`verify`: the promises of the engine, proved on your own bars.

P1 one arithmetic, P2 finite by construction, P3 causal. What is compared is listed in the report.
"""

from __future__ import annotations

import time as clock
from collections.abc import Iterable
from typing import Any

import numpy as np

from qtfeat import _tables
from qtfeat.errors import SchemaError, VerifyFailed
from qtfeat.features import FeatureSet, OnBad, OnGap, as_feature_set, cpu
from qtfeat.proof import causal, finite, modes, streams
from qtfeat.proof.market import matrix, read, sample
from qtfeat.proof.processes import processes as in_processes
from qtfeat.proof.report import Promise, VerifyReport
from qtfeat.proof.subject import Subject

__all__ = ["VerifyFailed", "VerifyReport", "verify"]

_STREAM_ROWS = 200_000
_BATCH_ROWS = 60_000
_WINDOWS = 4_000


def verify(
    bars: Any,
    fs: FeatureSet | str | Iterable[str],
    *,
    by: str | None = None,
    time: str | None = None,
    on_bad: OnBad = "raise",
    on_gap: OnGap = "ignore",
    interval: Any = None,
    time_unit: str | None = None,
    threads: int | None = None,
    seed: int = 0,
    max_rows: int = 1_000_000,
    cuts: int = 6,
    processes: bool = True,
    raises: bool = True,
) -> VerifyReport:
    """Proves P1, P2 and P3 for a feature set on your own bars.

    P1, bit for bit against one call on one thread: more threads, rows in another order, one symbol alone, Arrow
    tables in pieces, record batches of 1, 2, 3, 5, 7, 13, 100 and all rows, streams, copies and snapshots of
    them (also in a new process), panels of streams, windows, and every CPU level that this machine has.
    P2: every value finite, inside the range that `fs.describe()` declares, and null only in the warm-up (or
    because of a bad row). P3: features before a row stay as they are when the bars after it are cut off or
    replaced.

    Args:
        bars: as in `compute`.
        fs: the feature set, or the name of a shipped one, or specs. One with a fill (legacy) fails P3, because a
            backward fill reads the future; P1 and P2 are then of the set without the fill.
        by: column that tells symbols apart.
        time: timestamp column.
        on_bad: as in `compute`; so are `on_gap`, `interval` and `time_unit`.
        threads: how many threads to hold against one; None takes all processors, at least two.
        seed: of the random rows; the same seed looks at the same rows.
        max_rows: of a larger table a random stretch of each symbol, about so many rows in all, is looked at.
        cuts: how often the future is cut off at random rows.
        processes: False leaves out what needs new processes (CPU levels, snapshots across processes).
        raises: False returns the report also when a promise is broken.

    Returns:
        A `VerifyReport`; `print` shows what was compared, `.ok`, `.promises` and `.findings` hold it as data.

    Raises:
        VerifyFailed: a promise is broken; `.promise`, `.column`, `.row`, `.symbol` say which and where, and
            `.report` is the report.
        SchemaError, BadBarError, UnsortedError, GapError: what `compute` raises for these bars.
    """
    begin = clock.perf_counter()
    given = as_feature_set(fs)
    plain = given
    if given.fill is not None:
        plain = FeatureSet(given.specs, given.numerics, given.eps, fill=None, name=given.name, _fault=given._fault)  # type: ignore[arg-type]
    if max_rows < 1 or cuts < 1:
        raise SchemaError("max_rows and cuts must be at least 1")
    policy = {"on_bad": on_bad, "on_gap": on_gap, "interval": interval}
    rng = np.random.default_rng(seed)
    bars = _tables.held(bars)
    whole = read(bars, plain, by, time, time_unit, policy)
    if len(whole) == 0:
        raise SchemaError("there are no bars to verify on")
    market = sample(whole, max_rows, rng)
    p1, p2, p3 = Promise("P1", "one arithmetic"), Promise("P2", "finite by construction"), Promise("P3", "causal")
    with p1.timed():
        subject = Subject.of(plain, market, rng)
        if len(market) == len(whole):
            found = matrix(bars, plain, len(whole), by=by, time=time, time_unit=time_unit, **policy)
            subject.equal(p1, "the table as given", np.ascontiguousarray(found[:, market.rows]))
    with p3.timed():
        causal.check(subject, p3, cuts)
        if given.fill is not None:
            causal.check_fill(given, subject, p3)
    with p2.timed():
        finite.check(subject, p2)
    with p1.timed():
        _one_arithmetic(subject, p1, threads, new_processes=processes)
    # A look ahead or an infinity in one mode is also a difference between modes: what explains more comes first.
    report = VerifyReport(
        feature_set=repr(given),
        fingerprint=given.fingerprint,
        numerics=given.numerics,
        columns=len(given),
        rows=len(market),
        table_rows=len(whole),
        symbols=len(market.symbols),
        cpu=cpu(),
        promises=[p3, p2, p1],
        seconds=clock.perf_counter() - begin,
    )
    if raises and not report.ok:
        raise _failure(report)
    return report


def _one_arithmetic(subject: Subject, promise: Promise, threads: int | None, *, new_processes: bool) -> None:
    modes.tables(subject, promise, threads)
    some, at = modes.start_of(subject, _BATCH_ROWS)
    modes.arrow(Subject(subject.fs, some, subject.reference[:, at], subject.rng), promise)
    modes.in_windows(subject, promise, _WINDOWS)
    first, at = modes.start_of(subject, _STREAM_ROWS)
    streams.streams(subject, promise, first, at)
    streams.panels(subject, promise, first, at)
    if new_processes:
        in_processes(subject, promise, first, at)
    else:
        promise.notes.append("new processes were not asked for: CPU levels and snapshots across processes not compared")


def _failure(report: VerifyReport) -> VerifyFailed:
    worst = next(p for p in report.promises if not p.holds)
    first = worst.findings[0]
    text = f"{worst.id} ({worst.title}) does not hold: {first}"
    return VerifyFailed(
        f"{text}\n{report}",
        promise=worst.id,
        column=first.column,
        row=first.row,
        symbol=first.symbol,
        report=report,
    )
