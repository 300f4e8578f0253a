"""One long series of a million bars, default call, against TA-Lib, pandas and polars."""

from __future__ import annotations

from bench import ours
from bench.columns import KLINE17, Columns
from bench.data import Bars, bars
from bench.harness import Call, Case, memset_floor
from bench.peers import talib_peer

ROWS = 1_000_000


def _rows(quick: bool) -> int:
    return ROWS // 5 if quick else ROWS


def _case(frame: object, one: Bars, peer: Call) -> Case:
    rows = one["close"].size
    return Case(
        unit="bar",
        ours=ours.compute(frame, "kline17", threads=1),
        ours_units=rows,
        names=KLINE17,
        floor=memset_floor(8 * rows * len(KLINE17)),
        ours_columns=ours.columns,
        peer=peer,
        peer_units=rows,
        reference=lambda: talib_peer.kline17(one),
    )


def talib(*, quick: bool) -> Case:
    """TA-Lib + NumPy from a dict of NumPy arrays; checked against pandas when alone."""
    one = bars(_rows(quick))
    case = _case(one, one, lambda: talib_peer.kline17(one))
    case.reference = lambda: _pandas_columns(one)
    return case


def _pandas_columns(one: Bars) -> Columns:
    import pandas as pd

    from bench.peers import pandas_peer

    return pandas_peer.columns(pandas_peer.kline17(pd.DataFrame(one)))


def pandas(*, quick: bool) -> Case:
    """pandas frame in, pandas frame out, on both sides."""
    import pandas as pd

    from bench.peers import pandas_peer

    one = bars(_rows(quick))
    frame = pd.DataFrame(one)
    case = _case(frame, one, lambda: pandas_peer.kline17(frame))
    case.peer_columns = pandas_peer.columns
    return case


def polars(*, quick: bool) -> Case:
    """polars frame in, polars frame out; the 17 expressions in one select."""
    import polars as pl

    from bench.peers import polars_peer

    one = bars(_rows(quick))
    frame = pl.DataFrame(one)
    case = _case(frame, one, lambda: polars_peer.one_series(frame))
    case.peer_columns = polars_peer.columns
    return case


def polars_staged(*, quick: bool) -> Case:
    """The same, shared parts written once by hand: the fastest polars form that we found."""
    import polars as pl

    from bench.peers import polars_peer

    one = bars(_rows(quick))
    frame = pl.DataFrame(one)
    case = _case(frame, one, lambda: polars_peer.staged(frame))
    case.peer_columns = polars_peer.columns
    return case
