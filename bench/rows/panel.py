"""A panel of 200 symbols, against KunQuant (1 thread) and polars `over` (2 threads, also in order of time)."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import ours
from bench.columns import KLINE17, Columns
from bench.data import Bars, by_moment, panel, stacked, symbol_names
from bench.harness import Call, Case, memset_floor
from bench.peers import talib_peer

SYMBOLS, ROWS = 200, 20_000
# Symbols that are compared in full; one in each region of the panel.
COMPARED = (0, 7, 101, 199)


def _size(quick: bool) -> tuple[int, int]:
    return (SYMBOLS, ROWS // 5) if quick else (SYMBOLS, ROWS)


def _keys(symbols: int, rows: int) -> list[str]:
    return [name for name in symbol_names(symbols) for _ in range(rows)]


def _arrow(flat: Bars, symbols: int, rows: int) -> Any:
    import pyarrow as pa

    return pa.table({"symbol": pa.array(_keys(symbols, rows)), **flat})


def _compared(flat: Columns, rows: int, *, by_time: bool = False) -> Columns:
    """Return the compared symbols one after the other, converged rows only; `by_time` if row after row has them all."""
    symbols = flat[KLINE17[0]].size // rows
    kept = [slice(index * rows + rows // 2, (index + 1) * rows) for index in COMPARED]
    if by_time:
        kept = [slice(rows // 2 * symbols + index, None, symbols) for index in COMPARED]
    return {name: np.concatenate([flat[name][part] for part in kept]) for name in KLINE17}


def _reference(series: list[Bars], rows: int) -> Columns:
    chosen = [talib_peer.kline17(series[index]) for index in COMPARED]
    return {name: np.concatenate([one[name][rows // 2 :] for one in chosen]) for name in KLINE17}


def _case(frame: Any, series: list[Bars], peer: Call, threads: int) -> Case:
    rows = series[0]["close"].size
    total = rows * len(series)
    return Case(
        unit="bar",
        ours=ours.compute(frame, "kline17", by="symbol", threads=threads),
        ours_units=total,
        names=KLINE17,
        floor=memset_floor(8 * total * len(KLINE17) // threads),
        ours_columns=lambda result: _compared(ours.columns(result), rows),
        peer=peer,
        peer_units=total,
        peer_columns=lambda result: _compared(result, rows),
        reference=lambda: _reference(series, rows),
        skip_rows=0,
    )


def _kunquant(quick: bool, form: str, kernel_only: bool) -> Case:
    from bench.peers import kunquant_peer

    symbols, rows = _size(quick)
    series = panel(symbols, rows)
    flat = stacked(series)
    options = kunquant_peer.DOCUMENTED if form == "documented" else kunquant_peer.TUNED
    peer = kunquant_peer.KunQuantPanel(flat, symbols, options)
    call = peer.kernel if kernel_only else peer.rows
    case = _case(_arrow(flat, symbols, rows), series, call, threads=1)
    # The kernel's own layout holds the same values; they are compared as rows.
    case.compare_peer = lambda: _compared(peer.rows(), rows)
    return case


def kunquant_documented(*, quick: bool) -> Case:
    """As its documentation shows: time x symbol matrices, default options, float64."""
    return _kunquant(quick, "documented", kernel_only=False)


def kunquant_tuned(*, quick: bool) -> Case:
    """Its fastest layout and options, rows in and rows out as for everyone else."""
    return _kunquant(quick, "tuned", kernel_only=False)


def kunquant_kernel(*, quick: bool) -> Case:
    """Its fastest kernel alone: data already in, and left in, its own blocked layout."""
    return _kunquant(quick, "tuned", kernel_only=True)


def _polars(quick: bool, *, by_time: bool) -> Case:
    import polars as pl

    from bench.peers import polars_peer

    symbols, rows = _size(quick)
    series = panel(symbols, rows)
    keys = symbol_names(symbols) * rows if by_time else _keys(symbols, rows)
    frame = pl.DataFrame({"symbol": keys, **(by_moment(series) if by_time else stacked(series))})
    case = _case(frame, series, lambda: polars_peer.by_symbol(frame), threads=2)
    case.ours_columns = lambda result: _compared(ours.columns(result), rows, by_time=by_time)
    case.peer_columns = lambda result: _compared(polars_peer.columns(result), rows, by_time=by_time)
    return case


def polars_over(*, quick: bool) -> Case:
    """polars `over("symbol")` on the same frame that we get."""
    return _polars(quick, by_time=False)


def polars_over_by_time(*, quick: bool) -> Case:
    """The same on a frame in order of time, as a feed or a join leaves it."""
    return _polars(quick, by_time=True)
