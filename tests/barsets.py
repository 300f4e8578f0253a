"""Seeded test markets: the shapes that break indicators, none of which has prices near 100 by habit.

Every set is a function of (n, seed) and gives n valid bars (low <= open, close <= high, prices within
1e-110..1e110, volume 0 or within 1e-30..1e30) with hourly times from 2024-01-01 UTC.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from oracles import Bars, FloatArray

_START_NS = 1_704_067_200_000_000_000
_HOUR_NS = 3_600_000_000_000


def _times(n: int) -> npt.NDArray[np.int64]:
    return _START_NS + _HOUR_NS * np.arange(n, dtype=np.int64)


def _bars(rng: np.random.Generator, close: FloatArray, reach: float, volume: FloatArray | None = None) -> Bars:
    """Open near the previous close, wicks of a relative size around `reach`, lognormal volume."""
    n = len(close)
    before = np.concatenate([close[:1], close[:-1]])
    opened = before * (1.0 + reach / 4 * rng.standard_normal(n).clip(-3, 3))
    high = np.maximum(opened, close) * (1.0 + reach * rng.random(n))
    low = np.minimum(opened, close) * (1.0 - reach * rng.random(n))
    if volume is None:
        volume = rng.lognormal(3.0, 1.0, n)
    return Bars(opened, high, low, close, volume, _times(n))


def _walk(rng: np.random.Generator, n: int, start: float, sigma: float) -> FloatArray:
    """Geometric walk that is pulled back to its start, so that long series stay in their decade."""
    close = np.empty(n)
    level = 0.0
    for row, step in enumerate(sigma * rng.standard_normal(n)):
        level += step - 0.002 * level
        close[row] = start * np.exp(level)
    return close


def _walk_set(start: float, sigma: float, n: int, seed: int) -> Bars:
    rng = np.random.default_rng(seed)
    return _bars(rng, _walk(rng, n, start, sigma), sigma)


def outlier_1e9(n: int, seed: int) -> Bars:
    """Prices of about 0.1 with a few single bars at 1e9."""
    rng = np.random.default_rng(seed)
    bars = _walk_set(0.1, 0.01, n, seed)
    hits = rng.choice(n, size=max(1, n // 300), replace=False)
    for column in (bars.open, bars.high, bars.low, bars.close):
        column[hits] = 1e9
    return bars


def flat(n: int, seed: int) -> Bars:
    """All five columns constant, at a price that is no binary fraction."""
    rng = np.random.default_rng(seed)
    price, volume = np.full(n, round(0.1 + rng.random(), 3)), np.full(n, round(10 * rng.random() + 0.1, 3))
    return Bars(price, price.copy(), price.copy(), price.copy(), volume, _times(n))


def flat_no_volume(n: int, seed: int) -> Bars:
    """Constant price, nothing traded."""
    bars = flat(n, seed)
    bars.volume[:] = 0.0
    return bars


def _monotone(direction: float, n: int, seed: int) -> Bars:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(direction * np.cumsum(1e-3 * (0.1 + rng.random(n))))
    before = np.concatenate([close[:1] * (1.0 - direction * 1e-4), close[:-1]])
    high, low = np.maximum(before, close), np.minimum(before, close)
    return Bars(before, high, low, close, rng.lognormal(3.0, 1.0, n), _times(n))


def volume_gaps(n: int, seed: int) -> Bars:
    """A walk with stretches of 1 to 40 bars in which nothing trades, most of them with a frozen price."""
    rng = np.random.default_rng(seed)
    bars = _walk_set(100.0, 0.01, n, seed)
    row = 10
    while row < n:
        stop = min(row + int(rng.integers(1, 41)), n)
        bars.volume[row:stop] = 0.0
        if rng.random() < 0.7:
            for column in (bars.open, bars.high, bars.low, bars.close):
                column[row:stop] = bars.close[row - 1]
            _widen(bars, stop)
        row = stop + int(rng.integers(5, 80))
    return bars


def _widen(bars: Bars, row: int) -> None:
    """Keep a row valid after its neighbours were changed."""
    if row < len(bars):
        bars.high[row] = max(bars.high[row], bars.open[row], bars.close[row])
        bars.low[row] = min(bars.low[row], bars.open[row], bars.close[row])


def one_ulp(n: int, seed: int) -> Bars:
    """A price of 0.7 in which only the last bit moves: every difference is rounding noise."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(-1, 2, size=(n, 4))
    prices = 0.7 + steps * np.spacing(0.7)
    opened, close = prices[:, 0].copy(), prices[:, 1].copy()
    high = np.maximum.reduce([opened, close, prices[:, 2]])
    low = np.minimum.reduce([opened, close, prices[:, 3]])
    return Bars(opened, high, low, close, rng.lognormal(3.0, 1.0, n), _times(n))


def huge_jumps(n: int, seed: int) -> Bars:
    """Stretches at 1e-100, 1, 1e100 and back; volumes anywhere in the accepted range, or 0."""
    rng = np.random.default_rng(seed)
    level, levels = np.empty(n), np.array([1e-100, 1.0, 1e100])
    row = 0
    while row < n:
        stop = row + int(rng.integers(1, 60))
        level[row:stop] = rng.choice(levels)
        row = stop
    close = level * np.exp(0.01 * rng.standard_normal(n))
    volume = np.where(rng.random(n) < 0.1, 0.0, 10.0 ** rng.uniform(-29, 29, n))
    return _bars(rng, close, 0.01, volume)


def regimes(n: int, seed: int) -> Bars:
    """Calm, wild, trending, frozen and tick-rounded stretches, one after the other, with a few jumps."""
    rng = np.random.default_rng(seed)
    log_return = np.zeros(n)
    row = 0
    while row < n:
        stop = min(row + int(rng.integers(20, 200)), n)
        sigma, drift = [(1e-6, 0.0), (1e-3, 0.0), (3e-2, 0.0), (5e-3, 2e-3), (5e-3, -2e-3), (0.0, 0.0)][
            int(rng.integers(6))
        ]
        log_return[row:stop] = drift + sigma * rng.standard_normal(stop - row)
        row = stop
    log_return[rng.random(n) < 0.002] += 0.3 * rng.choice([-1.0, 1.0])
    price = np.cumsum(log_return)
    close = np.round(250.0 * np.exp(20 * np.tanh(price / 20)), 4) + 1e-4
    return _bars(rng, close, 0.005)


BARSETS: dict[str, Callable[[int, int], Bars]] = {
    "random_walk": functools.partial(_walk_set, 30_000.0, 0.01),
    "tiny_returns": functools.partial(_walk_set, 40_000.0, 1e-9),
    "price_1e-8": functools.partial(_walk_set, 1e-8, 0.02),
    "price_1e9": functools.partial(_walk_set, 1e9, 0.01),
    "outlier_1e9": outlier_1e9,
    "flat": flat,
    "flat_no_volume": flat_no_volume,
    "monotone_up": functools.partial(_monotone, 1.0),
    "monotone_down": functools.partial(_monotone, -1.0),
    "volume_gaps": volume_gaps,
    "one_ulp": one_ulp,
    "huge_jumps": huge_jumps,
    "regimes": regimes,
}


# The symbols of the recorded hourly panel, by name, so that tests can be parametrised without the recordings.
REAL_SYMBOLS = (
    "ADAUSDT", "ATOMUSDT", "BCHUSDT", "BNBUSDT", "BTCUSDT", "DOGEUSDT", "DOTUSDT", "ETHUSDT",
    "FILUSDT", "GRTUSDT", "LINKUSDT", "LTCUSDT", "NEARUSDT", "TRXUSDT", "XRPUSDT",
)  # fmt: skip


def with_null_rows(bars: Bars, every: int | None = None, positions: Iterable[int] = ()) -> Bars:
    """Return a copy with all of OHLCV NaN at `positions` and in rows every-1, 2*every-1, ...; times stay."""
    rows = list(positions)
    if every is not None:
        rows += range(every - 1, len(bars), every)
    copy = Bars(bars.open.copy(), bars.high.copy(), bars.low.copy(), bars.close.copy(), bars.volume.copy(), bars.time)
    for column in copy.columns().values():
        column[rows] = np.nan
    return copy


def data_folder() -> Path:
    """Folder of the recordings: QTFEAT_DATA, or ../shared/data beside the repository; skips when absent."""
    root = Path(__file__).resolve().parent.parent
    folder = Path(os.environ.get("QTFEAT_DATA", root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no recorded market data at {folder} (set QTFEAT_DATA)")
    return folder


def real_bars(symbol: str) -> Bars:
    """Hourly bars of one symbol of the recorded panel; skips when they are absent."""
    path = data_folder() / "panel_1h" / f"{symbol}_1h.parquet"
    if not path.is_file():
        pytest.skip(f"no recorded bars of {symbol} at {path}")
    parquet = pytest.importorskip("pyarrow.parquet", reason="reading recorded bars needs pyarrow")
    table = parquet.read_table(path)
    opened, high, low, close, volume = (
        table[name].to_numpy().astype(np.float64) for name in ("open", "high", "low", "close", "volume")
    )
    time = table["open_time"].to_numpy().astype("datetime64[ns]").astype(np.int64)
    return Bars(opened, high, low, close, volume, time)
