"""The matrix that models train on: features, labels, whole rows and purged folds, against pandas and NumPy by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench import ours
from bench.columns import KLINE17, Columns
from bench.data import panel, stacked, symbol_names
from bench.harness import Case, memset_floor
from bench.peers import labels_peer, matrix_peer

SYMBOLS, BARS = 15, 20_000
HORIZON, THRESHOLD, FOLDS = 5, 0.002, 5
LABELS = ("value", "side", "neg_momentum10", "neg_ret", "rsi")


def _table(bars: int) -> Any:
    import pyarrow as pa

    times = np.datetime64("2023-01-01", "ns") + labels_peer.STEP * np.arange(bars)
    keys = np.repeat(np.array(symbol_names(SYMBOLS)), bars)
    return pa.table(
        {
            "symbol": keys,
            "open_time": pa.array(np.tile(times, SYMBOLS)).cast(pa.timestamp("ms", "UTC")),
            **stacked(panel(SYMBOLS, bars)),
        }
    )


def _mine(table: Any) -> Callable[[], Any] | None:
    def make(qf: Any) -> Callable[[], Any]:
        from qtfeat.train.data import prepare
        from qtfeat.train.walkforward import Split

        features = qf.FeatureSet.load("kline17")

        def call() -> dict[str, Any]:
            data = prepare(table, features, horizon=HORIZON, threshold=THRESHOLD)
            rows = data.usable
            return {
                "X": data.X[rows],
                "value": data.labels.value[rows],
                "side": data.labels.side[rows],
                **{name: data.baselines[name][rows] for name in ("neg_momentum10", "neg_ret")},
                "rsi": data.rsi[rows],
                "folds": list(Split(FOLDS).blocks(data)),
            }

        return call

    return ours.call(make)


def _columns(made: dict[str, Any]) -> Columns:
    """Second half of each symbol, where no recursion remembers how it was seeded, and the sizes of the folds."""
    rows = len(made["X"]) // SYMBOLS
    later = (np.arange(len(made["X"])) % rows) >= rows // 2
    out = {name: made["X"][later, k].copy() for k, name in enumerate(KLINE17)}
    out |= {f"beside {name}": np.asarray(made[name], dtype=np.float64)[later] for name in LABELS if name != "rsi"}
    out["beside rsi"] = made["rsi"][later] / 100.0
    out["rows"] = np.array([len(made["X"])], dtype=np.float64)
    out["folds"] = np.array([[len(past), len(test)] for past, test in made["folds"]], dtype=np.float64).ravel()
    return out


def prepared(*, quick: bool) -> Case:
    """From a table of bars to arrays that a model takes; pandas has the same bars in a frame of its own."""
    bars = BARS // 4 if quick else BARS
    table = _table(bars)
    frame = table.to_pandas()
    frame["open_time"] = frame["open_time"].dt.tz_localize(None).astype("datetime64[ns]")
    rows = SYMBOLS * bars
    return Case(
        unit="bar",
        ours=_mine(table),
        ours_units=rows,
        names=(*KLINE17, *(f"beside {name}" for name in LABELS), "rows", "folds"),
        floor=memset_floor(8 * rows * (len(KLINE17) + len(LABELS))),
        ours_columns=_columns,
        peer=lambda: matrix_peer.prepare(frame, HORIZON, THRESHOLD, FOLDS),
        peer_units=rows,
        peer_columns=_columns,
        skip_rows=0,
    )
