"""The matrix that models train on, by hand: features in pandas, labels, whole rows and purged folds in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.columns import KLINE17
from bench.data import FIELDS, Array
from bench.peers import labels_peer, pandas_peer

WARM_UP = 49


def prepare(frame: Any, horizon: int, threshold: float, folds: int) -> dict[str, Any]:
    """Return features, labels and baselines of the rows that have all of them, and the rows of each fold.

    Args:
        frame: a pandas frame `symbol open_time` and the bars, in time order within each symbol.
        horizon: bars ahead.
        threshold: class threshold.
        folds: test blocks.
    """
    labels = labels_peer.forward(frame, horizon, threshold)
    groups = frame.groupby("symbol", sort=False)
    parts = [pandas_peer.kline17(one[list(FIELDS)]).to_numpy() for _, one in groups]
    X = np.concatenate(parts)
    momentum = -groups["close"].pct_change(10, fill_method=None).to_numpy()
    warm = groups.cumcount().to_numpy() >= WARM_UP
    rows = np.flatnonzero(warm & np.isfinite(X).all(axis=1) & (labels["side"] >= 0))
    t = (frame["open_time"].to_numpy() + labels_peer.STEP)[rows]
    t_end = labels["t_end"][rows]
    return {
        "X": X[rows],
        "value": labels["value"][rows],
        "side": labels["side"][rows],
        "neg_momentum10": momentum[rows],
        "neg_ret": -X[rows, KLINE17.index("ret")],
        "rsi": X[rows, KLINE17.index("rsi")],
        "folds": list(_folds(t, t_end, folds)),
    }


def _folds(t: Array, t_end: Array, folds: int) -> Any:
    stamps = np.unique(t)
    size = len(stamps) // (folds + 1)
    for start in range(len(stamps) - folds * size, len(stamps), size):
        first, last = stamps[start], stamps[start + size - 1]
        yield np.flatnonzero(t_end < first), np.flatnonzero((t >= first) & (t <= last))
