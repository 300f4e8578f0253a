"""One bar at a time, from Python: talipp, nautilus_trader; and a whole universe in one push."""

from __future__ import annotations

import time
from itertools import cycle
from typing import Any

import numpy as np

from bench import ours
from bench.columns import KLINE17, Columns
from bench.data import Bars, bars, matrix, panel
from bench.harness import Call, Case
from bench.peers import streaming, talib_peer

PUSHES = 1_000
COMPARED_ROWS = 3_000
SYMBOLS = 500


def _push_all(stream: Any, rows: list[list[float]]) -> Call:
    push = stream.push

    def run() -> Any:
        last = None
        for open_, high, low, close, volume in rows:
            last = push(open_, high, low, close, volume)
        return last

    return run


def _empty_loop(rows: list[list[float]]) -> float:
    """Return the seconds of the loop without the push: what no library can beat."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _open, _high, _low, _close, _volume in rows:
            pass
        best = min(best, time.process_time() - start)
    return best


def _case(make: type[Any]) -> Case:
    one = bars(COMPARED_ROWS)
    values = matrix(one)
    rows = values[:PUSHES].tolist()

    def new_stream(qf: Any) -> Any:
        return qf.Stream(qf.FeatureSet.load("kline17"))

    mine = ours.call(lambda qf: lambda: streaming.collect(new_stream(qf), KLINE17, values))
    peer = make()
    _push_all(peer, rows)()  # indicators that open on history have it before the clock starts
    return Case(
        unit="push",
        ours=ours.call(lambda qf: _push_all(new_stream(qf), rows)),
        ours_units=PUSHES,
        names=make.names,
        floor=lambda: _empty_loop(rows),
        ours_columns=lambda result: {"row": np.asarray(result)},
        peer=_push_all(peer, rows),
        peer_units=PUSHES,
        compare_ours=mine,
        compare_peer=lambda: streaming.collect(make(), make.names, values),
        reference=lambda: talib_peer.kline17(one),
        repeatable=False,
    )


def nautilus(*, quick: bool) -> Case:
    """Seven indicators of `nautilus_trader.indicators`, its public Python classes."""
    return _case(streaming.NautilusStream)


def nautilus_rust(*, quick: bool) -> Case:
    """The same seven, each from whichever of its two implementations is faster."""
    return _case(streaming.NautilusRustStream)


def talipp(*, quick: bool) -> Case:
    """All 17 columns from talipp."""
    return _case(streaming.TalippStream)


def talib(*, quick: bool) -> Case:
    """All 17 columns from TA-Lib's incremental API."""
    from bench.peers.talib_stream import TalibStream

    return _case(TalibStream)


def panel_stream(*, quick: bool) -> Case:
    """500 symbols in one push: no peer, compared with our own batch bit for bit."""
    rows = 200
    series = panel(SYMBOLS, rows)
    cube = np.ascontiguousarray(np.stack([matrix(one) for one in series], axis=1))
    symbols = [f"S{index:04d}" for index in range(SYMBOLS)]

    def new_panel(qf: Any) -> Any:
        return qf.PanelStream(qf.FeatureSet.load("kline17"), symbols)

    def pushed(qf: Any) -> Columns:
        stream = new_panel(qf)
        out = np.stack([np.array(stream.push(cube[row])) for row in range(rows)])
        return {name: out[-1, :, k] for k, name in enumerate(KLINE17)}

    def push_one(qf: Any) -> Call:
        stream = new_panel(qf)
        bars_in_turn = cycle(list(cube))
        return lambda: stream.push(next(bars_in_turn))

    case = Case(
        unit="push",
        ours=ours.call(push_one),
        ours_units=1,
        names=KLINE17,
        floor=lambda: 8 * SYMBOLS * len(KLINE17) / 100e9,
        ours_columns=lambda result: {"row": np.asarray(result)},
        compare_ours=ours.call(lambda qf: lambda: pushed(qf)),
        skip_rows=0,
        repeatable=False,
    )
    if ours.module() is not None:
        case.compare_peer = lambda: _batch_last_rows(series)
    return case


def _batch_last_rows(series: list[Bars]) -> Columns:
    qf = ours.module()
    assert qf is not None
    features = qf.FeatureSet.load("kline17")
    ends = [ours.columns(qf.compute(one, features, threads=1)) for one in series]
    return {name: np.array([one[name][-1] for one in ends]) for name in KLINE17}
