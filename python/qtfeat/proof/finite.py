"""P2: every value is finite and inside its declared range, and there is one wherever the warm-up is over."""

from __future__ import annotations

import numpy as np

from qtfeat.proof.market import Bools, Floats, Ints, Market
from qtfeat.proof.report import Promise
from qtfeat.proof.subject import Subject

FINITE = "not NaN or infinite"
RANGE = "inside the declared range"
PRESENT = "no value in warm-up, one after it"


def check(subject: Subject, promise: Promise) -> None:
    """Checks the reference features."""
    market = subject.market
    series_rows, good_rows = runs(market)
    series = len(market.symbols)
    # The old engine's 0/0 is no value, which its fill then fills: that is what legacy is there to reproduce.
    undefined = 0
    for k, row in enumerate(subject.fs.describe()):
        x, name, warmup = subject.reference[k], str(row["name"]), int(row["warmup"])
        null = np.isnan(x)
        _note(subject, promise, FINITE, name, np.isinf(x), k, "a finite value")
        said, outside = _outside(x, row["min"], row["max"])
        _note(subject, promise, RANGE, name, outside & np.isfinite(x), k, said)
        # Until as many good rows as the warm-up have gone by nothing can be known; after them, everything is.
        missing = null & ~market.bad & (good_rows > warmup)
        early = ~null & (market.bad | (series_rows <= warmup))
        checks = [FINITE, RANGE]
        if subject.fs.numerics == "legacy":
            undefined += int(np.count_nonzero(missing))
        else:
            checks.append(PRESENT)
            _note(subject, promise, PRESENT, name, missing, k, "a value")
            _note(subject, promise, PRESENT, name, early, k, f"no value in a bad row or the first {warmup} of a series")
        for check_name in checks:
            promise.count(check_name, series, len(market) if k == 0 else 0)
    if undefined:
        promise.notes.append(f"legacy formulas have no value where they divide 0 by 0: {undefined:,} values")


def _outside(x: Floats, low: float | None, high: float | None) -> tuple[str, Bools]:
    """The declared range as text, and where `x` is outside it."""
    outside = np.zeros(len(x), np.bool_)
    if low is not None:
        outside |= x < low
    if high is not None:
        outside |= x > high
    return f"{'-inf' if low is None else low} .. {'inf' if high is None else high}", outside


def _note(subject: Subject, promise: Promise, check: str, column: str, wrong: Bools, k: int, expected: str) -> None:
    if not wrong.any():
        return
    row = int(np.argmax(wrong))
    value = subject.reference[k, row]
    found = "no value" if np.isnan(value) else repr(float(value))
    subject.broken(promise, check, column, row, (expected, found), int(np.count_nonzero(wrong)))


def runs(market: Market) -> tuple[Ints, Ints]:
    """For each row: rows since the start of its series, and good rows in a row up to it; itself counted."""
    n = len(market)
    position = np.arange(n)
    start = np.zeros(n, np.bool_)
    start[market.starts[:-1]] = True
    if market.policy.on_gap == "reset" and market.times is not None and market.policy.interval is not None:
        start[1:] |= np.diff(market.times) > market.policy.interval
    if market.policy.on_bad == "reset":
        start[1:] |= market.bad[:-1]
    since_start = position - np.maximum.accumulate(np.where(start, position, 0)) + 1
    since_bad = position - np.maximum.accumulate(np.where(market.bad, position, -1))
    return since_start, np.minimum(since_start, since_bad)
