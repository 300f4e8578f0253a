"""What is on trial: a set, the bars, their reference features, and the comparison of bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qtfeat.features import FeatureSet
from qtfeat.proof.market import Bools, Floats, Ints, Market, matrix
from qtfeat.proof.report import Finding, Promise


@dataclass
class Subject:
    """A set without its fill, bars, and the features that one thread computes for them in one call."""

    fs: FeatureSet
    market: Market
    reference: Floats
    """(F, n)."""
    rng: np.random.Generator

    @classmethod
    def of(cls, fs: FeatureSet, market: Market, rng: np.random.Generator) -> Subject:
        """With the reference computed."""
        return cls(fs, market, matrix(market.table(), fs, len(market), threads=1, **market.keys()), rng)

    def equal(
        self,
        promise: Promise,
        check: str,
        found: Floats,
        at: Ints | slice | None = None,
        columns: list[int] | None = None,
        expected: Floats | None = None,
    ) -> None:
        """Holds `found` (columns, rows) against the reference at the market's rows `at`, bit for bit."""
        rows = np.arange(len(self.market))[slice(None) if at is None else at]
        names = self.fs.columns if columns is None else [self.fs.columns[k] for k in columns]
        if expected is None:
            expected = self.reference if columns is None else self.reference[columns]
            expected = expected if at is None else expected[:, at]
        series = int(np.count_nonzero(np.bincount(self.market.codes()[rows]))) if len(rows) else 0
        promise.count(check, len(names) * series, len(rows))
        wrong = differing(expected, found)
        for k in np.flatnonzero(wrong.any(axis=1)):
            first = int(np.argmax(wrong[k]))
            text = _texts(expected[k, first], found[k, first])
            self.broken(promise, check, names[k], int(rows[first]), text, int(np.count_nonzero(wrong[k])))

    def broken(self, promise: Promise, check: str, column: str, row: int, text: tuple[str, str], values: int) -> None:
        """Notes a finding at the market's row `row`."""
        s = int(np.searchsorted(self.market.starts, row, side="right")) - 1
        caller = int(self.market.rows[row])
        promise.broken(Finding(promise.id, check, column, caller, self.market.symbols[s], *text, values))


def differing(a: Floats, b: Floats) -> Bools:
    """Where two float64 arrays differ in a bit; two "no value" are equal."""
    wrong: npt.NDArray[np.bool_] = a.view(np.int64) != b.view(np.int64)
    if wrong.any():
        wrong &= ~(np.isnan(a) & np.isnan(b))
    return wrong


def _texts(a: float, b: float) -> tuple[str, str]:
    """Two values as texts that tell them apart."""
    shown = ["no value" if np.isnan(x) else repr(float(x)) for x in (a, b)]
    return shown[0], shown[1]
