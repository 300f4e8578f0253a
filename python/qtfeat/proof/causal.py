"""P3: row t depends on rows up to t only. The future is cut off, and replaced; the past must not move."""

from __future__ import annotations

import numpy as np

from qtfeat.features import FeatureSet, compute
from qtfeat.proof.market import Bools, Floats, Ints, Market, matrix
from qtfeat.proof.report import Promise
from qtfeat.proof.subject import Subject

CUT = "the bars cut off at a random row of each symbol"
REPLACED = "the bars after a random row replaced by others"
FILLED = "the bars cut off, with the fill"


def check(subject: Subject, promise: Promise, cuts: int) -> None:
    """Cuts off and replaces the future of every symbol at random rows, `cuts` times each."""
    market = subject.market
    for i in range(cuts):
        keep = _past(subject, last_row=i == 0)
        part = market.take(keep)
        found = matrix(part.table(), subject.fs, len(part), threads=1, **part.keys())
        subject.equal(promise, CUT, found, np.flatnonzero(keep))
    for _ in range(max(cuts // 2, 1)):
        keep = _past(subject, last_row=False)
        other = _other_future(subject, keep)
        found = matrix(other.table(), subject.fs, len(other), threads=1, **other.keys())
        past = np.flatnonzero(keep)
        subject.equal(promise, REPLACED, found[:, past], past)


def _past(subject: Subject, *, last_row: bool) -> Bools:
    """True for the rows before a cut: just the last row of every symbol goes, or a random number of rows."""
    lengths = np.diff(subject.market.starts)
    cut = lengths - 1 if last_row else np.maximum(subject.rng.integers(0, lengths), 1)
    return subject.market.rank() < np.repeat(cut, lengths)


def _other_future(subject: Subject, keep: Bools) -> Market:
    """The same times, with the bars of each symbol after its cut in another order."""
    market = subject.market
    order = np.arange(len(market))
    for s in range(len(market.symbols)):
        future = order[market.span(s)][~keep[market.span(s)]]
        order[future] = subject.rng.permutation(future)
    return Market(
        columns={n: c[order] for n, c in market.columns.items()},
        times=market.times,
        symbols=market.symbols,
        starts=market.starts,
        rows=market.rows,
        bad=market.bad[order],
        policy=market.policy,
    )


def check_fill(filled: FeatureSet, subject: Subject, promise: Promise) -> None:
    """The same for a set that has a fill, with cuts in the warm-up too, where a backward fill shows."""
    market = subject.market
    expected = _filled(filled, market)
    lengths = np.diff(market.starts)
    longest = max(filled.warmup.values(), default=0)
    for cut in sorted({1, max(longest // 2, 1), max(longest, 1), longest + 1}):
        keep = market.rank() < np.repeat(np.minimum(cut, lengths), lengths)
        rows: Ints = np.flatnonzero(keep)
        subject.equal(promise, FILLED, _filled(filled, market.take(keep)), rows, expected=expected[:, rows])
    promise.notes.append(
        f"the fill {filled.fill!r} is not causal: it fills the warm-up from later rows. P1, P2 and the first "
        "checks of P3 are of the set without it (fill=None)"
    )


def _filled(fs: FeatureSet, market: Market) -> Floats:
    out = np.empty((len(fs.columns), len(market)))
    compute(market.table(), fs, out=out, threads=1, **market.keys())
    return out
