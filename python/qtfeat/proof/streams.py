"""P1, one bar at a time: streams, panels of streams, snapshots."""

from __future__ import annotations

from typing import Any

import numpy as np

from qtfeat import _core
from qtfeat.features import FeatureSet
from qtfeat.proof.market import Floats, Ints, Market
from qtfeat.proof.report import Promise
from qtfeat.proof.subject import Subject

_AFTER = 60
"""Rows that a restored stream is followed for."""
_CUTS = 4


class Tape:
    """The bars of one symbol as plain numbers, ready to push."""

    def __init__(self, market: Market, fs: FeatureSet, s: int) -> None:
        span = market.span(s)
        self.fs = fs
        self.options = market.policy.options()
        self.bars: list[list[float]] = market.ohlcv()[span].tolist()
        n = len(self.bars)
        self.times: list[Any] = [None] * n if market.times is None else market.times[span].tolist()
        extra = market.extra_values(fs)
        self.extras: list[Any] = [None] * n if extra is None else extra[span].tolist()

    def __len__(self) -> int:
        return len(self.bars)

    def fresh(self) -> _core.Stream:
        """A stream at the start of the series."""
        return _core.Stream(self.fs, time_unit="ns", **self.options)

    def play(self, stream: _core.Stream, first: int, stop: int) -> Floats:
        """(F, stop - first): the features as rows first..stop are pushed."""
        out = np.empty((stop - first, len(self.fs.columns)))
        push = stream.push
        rows = zip(self.bars[first:stop], self.times[first:stop], self.extras[first:stop], strict=True)
        for i, ((o, h, lo, c, v), time, extra) in enumerate(rows):
            out[i] = push(o, h, lo, c, v, time, extra)
        return out.T

    def peek(self, stream: _core.Stream, row: int) -> Floats:
        """(F, 1): what pushing `row` would give."""
        o, h, lo, c, v = self.bars[row]
        return stream.peek(o, h, lo, c, v, self.times[row], self.extras[row])[:, None]


def streams(subject: Subject, promise: Promise, market: Market, at: Ints) -> None:
    """Pushes every symbol; on the way looks ahead, copies, and restores from snapshots."""
    for s in range(len(market.symbols)):
        tape = Tape(market, subject.fs, s)
        rows = at[market.span(s)]
        stream, here = tape.fresh(), 0
        n = len(tape)
        for cut in sorted({*map(int, subject.rng.integers(0, n, size=_CUTS)), n}):
            found = tape.play(stream, here, cut)
            subject.equal(promise, "stream, bar by bar", found, rows[here:cut])
            here = cut
            if cut == n:
                break
            stop = min(cut + _AFTER, n)
            subject.equal(promise, "stream.peek", tape.peek(stream, cut), rows[cut : cut + 1])
            subject.equal(promise, "stream.clone", tape.play(stream.clone(), cut, stop), rows[cut:stop])
            again = _core.Stream.restore(subject.fs, stream.snapshot(), time_unit="ns")
            subject.equal(promise, "snapshot and restore", tape.play(again, cut, stop), rows[cut:stop])


class PanelTape:
    """The bars of all symbols as pushes of a panel, in which symbols are absent now and then."""

    def __init__(self, market: Market, fs: FeatureSet, rng: np.random.Generator) -> None:
        lengths = np.diff(market.starts)
        pushes = int(lengths.max()) + int(lengths.max()) // 20 + 1
        count = len(lengths)
        self.fs, self.market = fs, market
        self.row = np.full((pushes, count), -1, np.int64)
        for s, n in enumerate(lengths):
            slots = np.sort(rng.choice(pushes, size=int(n), replace=False))
            self.row[slots, s] = np.arange(market.starts[s], market.starts[s + 1])
        present = self.row >= 0
        self.ohlcv = np.where(present[:, :, None], market.ohlcv()[self.row], np.nan)
        self.times = None if market.times is None else np.where(present, market.times[self.row], 0)
        extra = market.extra_values(fs)
        self.extra = None if extra is None else np.where(present[:, :, None], extra[self.row], np.nan)

    def fresh(self) -> _core.PanelStream:
        """A panel at the start of all series."""
        names = [str(s) for s in range(self.row.shape[1])]
        return _core.PanelStream(self.fs, names, time_unit="ns", **self.market.policy.options())

    def play(self, panel: _core.PanelStream, first: int, stop: int) -> tuple[Floats, Ints]:
        """(F, rows) of the rows present in pushes first..stop, and which rows of the market they are."""
        parts, rows = [], []
        for i in range(first, stop):
            time = None if self.times is None else self.times[i]
            values = panel.push(self.ohlcv[i], time, None if self.extra is None else self.extra[i])
            here = self.row[i] >= 0
            parts.append(values[here])
            rows.append(self.row[i][here])
        if not parts:
            return np.empty((len(self.fs.columns), 0)), np.empty(0, np.int64)
        return np.ascontiguousarray(np.concatenate(parts).T), np.concatenate(rows)


def panels(subject: Subject, promise: Promise, market: Market, at: Ints) -> None:
    """Pushes all symbols at once, and goes on from a snapshot on the way."""
    tape = PanelTape(market, subject.fs, subject.rng)
    pushes = len(tape.row)
    cut = int(subject.rng.integers(pushes // 2, pushes))
    panel = tape.fresh()
    found, rows = tape.play(panel, 0, cut)
    subject.equal(promise, "panel of streams, symbols absent at times", found, at[rows])
    again = _core.PanelStream.restore(subject.fs, panel.snapshot(), time_unit="ns")
    found, rows = tape.play(again, cut, min(cut + _AFTER, pushes))
    subject.equal(promise, "panel snapshot and restore", found, at[rows])
    found, rows = tape.play(panel, cut, pushes)
    subject.equal(promise, "panel of streams, symbols absent at times", found, at[rows])
