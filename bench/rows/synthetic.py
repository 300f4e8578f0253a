"""Synthetic windows with trade14 of the last row, against NumPy and TA-Lib.

The two draw different numbers, so what is compared is the features of the same long windows, drawn by NumPy, by the
very function that is timed on windows of 100 bars; that the drawing is right is shown by tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench import ours
from bench.columns import Columns
from bench.data import SEED, Array
from bench.harness import Case, memset_floor
from bench.peers import synthetic_peer
from bench.peers.synthetic_peer import TRADE14

COUNT, LENGTH, RHO = 50_000, 100, 0.5
PEER_COUNT = 1_000
CHECKED_COUNT, CHECKED_LENGTH = 64, 1_500


def _columns(matrix: Array) -> Columns:
    return {name: np.ascontiguousarray(matrix[:, k]) for k, name in enumerate(TRADE14)}


def features(*, quick: bool) -> Case:
    """Generate and compute, one thread."""
    count = COUNT // 5 if quick else COUNT
    pnl = np.random.default_rng(SEED).standard_normal(count)
    few = pnl[:PEER_COUNT]
    checked = synthetic_peer.windows(pnl[:CHECKED_COUNT], CHECKED_LENGTH, RHO, SEED)
    again = ours.windows(checked, "trade14")

    def make(qf: Any) -> Callable[[], Any]:
        fs = qf.FeatureSet.load("trade14")
        return lambda: qf.synthetic_features(pnl, fs, LENGTH, rho=RHO, threads=1)

    return Case(
        unit="window",
        ours=ours.call(make),
        ours_units=count,
        names=TRADE14,
        floor=memset_floor(8 * count * len(TRADE14)),
        ours_columns=_columns,
        peer=lambda: synthetic_peer.features(few, LENGTH, RHO, SEED),
        peer_units=len(few),
        compare_ours=None if again is None else lambda: _columns(again()),
        compare_peer=lambda: _columns(np.array([synthetic_peer.last_row(window) for window in checked])),
        skip_rows=0,
    )
