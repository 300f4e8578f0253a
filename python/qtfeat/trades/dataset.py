"""Closed trades as features and labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat import _core
from qtfeat._times import interval_ns
from qtfeat.errors import SchemaError
from qtfeat.features import FeatureSet, as_feature_set, compute
from qtfeat.labels import Labels, panel_of, sides
from qtfeat.synthetic import Kind, leaks, synthetic_features
from qtfeat.trades.table import Trades

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TradeDataset:
    """A training set with a row per trade, in the order of the trades.

    Attributes:
        X: features, (n, F) float64 without NaN.
        columns: names of the F features.
        fingerprint: of the feature set.
        labels: the labels: `t` is the entry, `t_end` the exit, `kind` "trade".
        symbol: symbol of each row.
        synthetic: True where the features are of a synthetic window.
        trades: the trades, with the rows that were refused.
        without: why rows are synthetic, and how many.
    """

    X: Floats
    columns: tuple[str, ...]
    fingerprint: str
    labels: Labels
    symbol: tuple[str, ...]
    synthetic: Flags
    trades: Trades
    without: dict[str, int]

    def report(self) -> list[str]:
        """Return what was read, what was left out and why, and what is made up: a line each."""
        trades, made = self.trades, int(self.synthetic.sum())
        lines = [f"{trades.source}: {len(trades)} trades, {len(trades.refused)} rows refused"]
        lines += [f"  refused {count}: {reason}" for reason, count in trades.reasons().items()]
        if trades.earlier:
            lines.append(f"  {trades.earlier} entered before the date asked for")
        lines.append(f"features: {len(trades) - made} from real bars, {made} from synthetic windows")
        lines += [f"  synthetic {count}: {reason}" for reason, count in self.without.items()]
        if self.labels.label_leak:
            lines.append("  the synthetic windows know their outcomes: no model of them can go beyond shadow")
        return lines


def trade_dataset(
    trades: Trades,
    bars: Any = None,
    fs: FeatureSet | str | Iterable[str] = "trade14",
    *,
    threshold: float = 0.005,
    by: str | None = "symbol",
    time: str = "open_time",
    interval: Any = None,
    max_age: Any = None,
    kind: Kind = "context",
    rho: float = 0.0,
    length: int = 100,
    seed: int = 42,
    volatility: float | None = None,
    threads: int | None = None,
) -> TradeDataset:
    """Give every trade the features of the last bar that had closed when it was entered, and its outcome as label.

    A trade without such a bar (none of its symbol, none that early, an outage, a bar in the warm-up) gets the features
    of a synthetic window. These are counted and marked. By default they have nothing to do with the outcome, so that
    nothing can be learnt from them; with `kind="outcome"` or a `rho` they do, and `labels.label_leak` says so.

    Args:
        trades: from `read_trades`.
        bars: bars of the symbols as in `qtfeat.compute`, sorted by time within each symbol; None for none. Rows with
            a bad bar are null.
        fs: the feature set.
        threshold: BUY above it, SELL below minus it, HOLD within; applied to the outcome of a long position without
            leverage, a fraction.
        by: column of `bars` that names the symbol; None if all bars are of the one symbol of the trades.
        time: column of open times of `bars`.
        interval: length of a bar, as in `make_labels`.
        max_age: longest time between the close of the bar and the entry ("2h", a timedelta); None for twice the
            length of the bar.
        kind: what synthetic windows are, as in `synthetic_windows`; so are `rho`, `seed` and `volatility`.
        length: bars of a synthetic window.
        threads: threads for the features.

    Raises:
        QtfeatError: bad bars or settings, as `compute`, `make_labels` and `synthetic_features` say; SchemaError where
            a synthetic window is too short for the set.
    """
    if not isinstance(trades, Trades):
        raise SchemaError(f"trades must come from read_trades, not be a {type(trades).__name__}")
    fs = as_feature_set(fs)
    n = len(trades)
    X = np.full((n, len(fs.columns)), np.nan)
    reason = np.full(n, "no bars were given", dtype=object)
    if bars is not None and n:
        X, reason = _from_bars(trades, bars, fs, by, time, interval, max_age, threads)
    synthetic = np.isnan(X).any(axis=1)
    # Drawn for all, so that a row's window does not depend on which others have bars.
    drawn = synthetic_features(
        trades.pnl, fs, length, seed, kind, rho=rho, volatility=volatility, unit="fraction", threads=threads
    )
    X[synthetic] = drawn[synthetic]
    if np.isnan(X).any():
        raise SchemaError(
            f"synthetic windows of {length} bars end inside the warm-up of the set ({max(fs.warmup.values())} rows)"
        )
    leak = bool(synthetic.any()) and leaks(kind, rho)
    labels = Labels(
        trades.pnl.copy(),
        trades.ret.copy(),
        sides(trades.pnl, threshold),
        trades.entry.copy(),
        trades.exit.copy(),
        "trade",
        0,
        float(threshold),
        label_leak=leak,
    )
    names, counts = np.unique(reason[synthetic].astype(str), return_counts=True)
    without = {str(name): int(count) for name, count in zip(names, counts, strict=True)}
    return TradeDataset(X, tuple(fs.columns), fs.fingerprint, labels, trades.symbol, synthetic, trades, without)


def _from_bars(
    trades: Trades,
    bars: Any,
    fs: FeatureSet,
    by: str | None,
    time: str,
    interval: Any,
    max_age: Any,
    threads: int | None,
) -> tuple[Floats, npt.NDArray[Any]]:
    """Features at the last closed bar of each trade, NaN where there is none, and why."""
    panel, names = panel_of(bars, by=by, time=time, interval=interval)
    code = {name: i for i, name in enumerate(names)}
    if by is None:
        if len(set(trades.symbol)) > 1:
            raise SchemaError("the trades are of several symbols: name the column of the bars that tells them, by=")
        code = dict.fromkeys(trades.symbol, 0)
    codes = np.array([code.get(symbol, -1) for symbol in trades.symbol], dtype=np.int64)
    entry = trades.entry.view(np.int64)
    row, closes = _core.closed_before(panel, codes, entry)
    reason = np.full(len(trades), "the bar is in the warm-up, or null", dtype=object)
    found = row >= 0
    reason[~found] = "no bar had closed at the entry"
    reason[codes < 0] = "no bars of the symbol"
    length = closes - panel["open_time"]
    most = 2 * length[row[found]] if max_age is None else interval_ns(max_age)
    old = np.flatnonzero(found)[entry[found] - closes[row[found]] > most]
    reason[old] = "the last closed bar is too old"
    found[old] = False
    X = np.full((len(trades), len(fs.columns)), np.nan)
    if found.any():
        # Without the fill that a legacy set has: it reads the future.
        out = compute(bars, fs, by=by, time=time, on_bad="null", threads=threads, fill=None)
        for k, name in enumerate(fs.columns):
            X[found, k] = np.asarray(out[name].to_numpy() if hasattr(out[name], "to_numpy") else out[name])[row[found]]
    return X, reason
