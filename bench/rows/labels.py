"""Labels of a panel, against pandas and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench import ours
from bench.columns import Columns
from bench.data import panel, stacked, symbol_names
from bench.harness import Case, memset_floor
from bench.peers import labels_peer

SYMBOLS, BARS = 15, 20_000
HORIZON, THRESHOLD = 5, 0.002
TIMEOUT, TAKE_PROFIT, STOP_LOSS = 24, 0.003, 0.002
# value, ret, side, t and t_end of each row
BYTES = 8 + 8 + 1 + 8 + 8


def _frame(bars: int) -> dict[str, Any]:
    times = np.datetime64("2023-01-01", "ns") + labels_peer.STEP * np.arange(bars)
    keys = np.repeat(np.array(symbol_names(SYMBOLS)), bars)
    return {"symbol": keys, "open_time": np.tile(times, SYMBOLS), **stacked(panel(SYMBOLS, bars))}


def _mine(frame: dict[str, Any], *arguments: Any, **options: Any) -> Callable[[], Any] | None:
    import pyarrow as pa

    table = pa.table(frame)

    def make(_qf: Any) -> Callable[[], Any]:
        from qtfeat.labels import make_labels

        return lambda: make_labels(table, *arguments, **options)

    return ours.call(make)


def _columns(labels: Any) -> Columns:
    return labels_peer.comparable({"value": labels.value, "side": labels.side, "t_end": labels.t_end})


def forward(*, quick: bool) -> Case:
    """Return over five bars, class and times; pandas has the same bars in a frame of its own."""
    import pandas as pd

    bars = BARS // 4 if quick else BARS
    frame = _frame(bars)
    pandas = pd.DataFrame(frame)
    rows = SYMBOLS * bars
    return Case(
        unit="bar",
        ours=_mine(frame, "forward", HORIZON, THRESHOLD),
        ours_units=rows,
        names=("value", "side", "t_end"),
        floor=memset_floor(BYTES * rows),
        ours_columns=_columns,
        peer_columns=labels_peer.comparable,
        peer=lambda: labels_peer.forward(pandas, HORIZON, THRESHOLD),
        peer_units=rows,
        skip_rows=0,
    )


def barrier(*, quick: bool) -> Case:
    """Triple barrier with a timeout of 24 bars; NumPy has the symbols apart already."""
    bars = BARS // 4 if quick else BARS
    rows = SYMBOLS * bars
    apart = panel(SYMBOLS, bars)
    options = {"take_profit": TAKE_PROFIT, "stop_loss": STOP_LOSS}
    return Case(
        unit="bar",
        ours=_mine(_frame(bars), "triple_barrier", TIMEOUT, **options),
        ours_units=rows,
        names=("value", "side"),
        floor=memset_floor(BYTES * rows),
        ours_columns=_columns,
        peer_columns=labels_peer.comparable,
        peer=lambda: labels_peer.barrier(apart, TIMEOUT, TAKE_PROFIT, STOP_LOSS),
        peer_units=rows,
        skip_rows=0,
    )
