"""Seeded bars for every suite: a NumPy random walk whose rows are always valid OHLCV.

Nothing here imitates a market. The walk only has to be valid, reproducible, free of ties that
would let a peer take a short cut, and cheap to make at ten million rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bars = dict[str, Array]

FIELDS = ("open", "high", "low", "close", "volume")
SEED = 20_240_229


def bars(rows: int, seed: int = SEED, start: float = 100.0) -> Bars:
    """Return `rows` bars as contiguous float64 columns `open high low close volume`.

    One bar moves the price by about 0.1 %; volume is log-normal and never zero.
    """
    rng = np.random.default_rng(seed)
    close = rng.standard_normal(rows)
    close *= 1e-3
    np.cumsum(close, out=close)
    # A slow pull to the start keeps ten million rows within a few decades of it.
    close -= np.linspace(0.0, close[-1], rows)
    np.exp(close, out=close)
    close *= start
    open_ = np.empty(rows)
    open_[0] = start
    open_[1:] = close[:-1]
    open_ *= 1.0 + 2e-4 * rng.standard_normal(rows)
    high = np.maximum(open_, close) * (1.0 + 5e-4 * rng.random(rows))
    low = np.minimum(open_, close) * (1.0 - 5e-4 * rng.random(rows))
    volume = np.exp(0.6 * rng.standard_normal(rows)) * 1000.0
    return {"open": open_, "high": high, "low": low, "close": close, "volume": volume}


def symbol_names(symbols: int) -> list[str]:
    """Return `symbols` distinct names, `S0000` onwards."""
    return [f"S{index:04d}" for index in range(symbols)]


def panel(symbols: int, rows: int, seed: int = SEED) -> list[Bars]:
    """Return one `Bars` per symbol, each with its own seed and price level."""
    return [bars(rows, seed=seed + index, start=10.0 * (1 + index % 97)) for index in range(symbols)]


def stacked(series: list[Bars]) -> Bars:
    """Return the bars of all symbols below each other (symbol-major), as float64 columns."""
    return {field: np.concatenate([one[field] for one in series]) for field in FIELDS}


def by_moment(series: list[Bars]) -> Bars:
    """Return the bars of all symbols in order of time: the first bar of each, the second of each, and so on."""
    return {field: np.stack([one[field] for one in series], axis=1).reshape(-1) for field in FIELDS}


def matrix(one: Bars) -> Array:
    """Return the five columns as a C-contiguous `(rows, 5)` float64 matrix."""
    return np.ascontiguousarray(np.column_stack([one[field] for field in FIELDS]))


def windows(count: int, length: int, seed: int = SEED) -> Array:
    """Return `(count, length, 5)` float64 windows cut at even steps from one long walk."""
    rows = matrix(bars(count * 37 + length, seed=seed))
    starts = np.arange(count) * 37
    view = np.lib.stride_tricks.sliding_window_view(rows, length, axis=0)
    return np.ascontiguousarray(view[starts].transpose(0, 2, 1))
