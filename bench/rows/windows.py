"""The last row of many short windows, against TA-Lib and pandas called once per window.

The peers seed some recursions differently, which 100 bars do not forget. So equality is checked
on windows of `CHECKED_LENGTH` bars by the very functions that are timed on windows of 100.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench import ours
from bench.columns import KLINE17, Columns
from bench.data import Array, windows
from bench.harness import Case, memset_floor
from bench.peers import talib_peer

COUNT, LENGTH = 100_000, 100
CHECKED_COUNT, CHECKED_LENGTH = 64, 1_500

LastRow = Callable[[Array], tuple[float, ...]]


def _columns(matrix: Array) -> Columns:
    return {name: np.ascontiguousarray(matrix[:, k]) for k, name in enumerate(KLINE17)}


def _each(last_row: LastRow, values: Array) -> Array:
    return np.array([last_row(window) for window in values])


def _case(last_row: LastRow, sample: int, quick: bool) -> Case:
    count = COUNT // 5 if quick else COUNT
    values = windows(count, LENGTH)
    checked = windows(CHECKED_COUNT, CHECKED_LENGTH, seed=11)
    mine = ours.windows(checked, "kline17")
    few = np.ascontiguousarray(values[:: count // sample][:sample])
    return Case(
        unit="window",
        ours=ours.windows(values, "kline17"),
        ours_units=count,
        names=KLINE17,
        floor=memset_floor(8 * count * len(KLINE17)),
        ours_columns=_columns,
        peer=lambda: _each(last_row, few),
        peer_units=sample,
        compare_ours=None if mine is None else lambda: _columns(mine()),
        compare_peer=lambda: _columns(_each(last_row, checked)),
        reference=lambda: _whole_series(checked),
        skip_rows=0,
    )


def _whole_series(checked: Array) -> Columns:
    """Return the last rows by the long-series TA-Lib form."""
    fields = ("open", "high", "low", "close", "volume")
    rows = []
    for window in checked:
        one = {name: np.ascontiguousarray(window[:, k]) for k, name in enumerate(fields)}
        out = talib_peer.kline17(one)
        rows.append([out[name][-1] for name in KLINE17])
    return _columns(np.array(rows))


def talib(*, quick: bool) -> Case:
    """TA-Lib per window, on a sample of the windows."""
    return _case(talib_peer.last_row, 500, quick)


def pandas(*, quick: bool) -> Case:
    """The pandas pipeline per window, on a small sample of the windows."""
    from bench.peers import pandas_peer

    return _case(pandas_peer.last_row, 10, quick)
