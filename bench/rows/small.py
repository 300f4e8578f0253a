"""A frame of 100 rows: one fused call of `wide32` against 32 polars expressions."""

from __future__ import annotations

from typing import Any

import polars as pl

from bench import ours
from bench.columns import WIDE32, Columns
from bench.data import Bars, bars
from bench.harness import Case, memset_floor
from bench.peers import polars_peer, wide32_peer

ROWS = 100
COMPARED_ROWS = 4_000


def _case(mine: Any, compared: Any, wide: Bars) -> Case:
    short, long = pl.DataFrame(bars(ROWS)), pl.DataFrame(wide)
    check = ours.compute(compared, "wide32")
    names = WIDE32 if check is not None else tuple(wide32_peer.talib_oscillators(wide))
    return Case(
        unit="call",
        ours=ours.compute(mine, "wide32"),
        ours_units=1,
        names=names,
        floor=memset_floor(8 * ROWS * len(WIDE32)),
        ours_columns=ours.columns,
        peer=lambda: wide32_peer.polars_wide32(short),
        peer_units=1,
        compare_ours=None if check is None else lambda: ours.columns(check()),
        compare_peer=lambda: _polars(long),
        reference=lambda: wide32_peer.talib_oscillators(wide),
    )


def _polars(frame: pl.DataFrame) -> Columns:
    return polars_peer.columns(wide32_peer.polars_wide32(frame))


def polars_frame(*, quick: bool) -> Case:
    """polars frame in and out on both sides."""
    wide = bars(COMPARED_ROWS)
    return _case(pl.DataFrame(bars(ROWS)), pl.DataFrame(wide), wide)


def dict_of_numpy(*, quick: bool) -> Case:
    """Our side gets and gives a dict of NumPy arrays."""
    wide = bars(COMPARED_ROWS)
    return _case(bars(ROWS), wide, wide)
