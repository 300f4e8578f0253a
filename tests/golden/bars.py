"""Bars made of whole numbers only: no random generator of a library, no rounding, the same on every platform."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_MASK = (1 << 64) - 1


def _mixed(state: int) -> int:
    """Finaliser of splitmix64."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def golden_bars(rows: int = 2_500) -> dict[str, npt.NDArray]:
    """Return bars whose prices are whole 1024ths and volumes whole quarters, with frozen and silent stretches."""
    columns: dict[str, list[int]] = {name: [] for name in ("open", "high", "low", "close", "volume", "flow")}
    close = 40 << 20
    for row in range(rows):
        draw = [_mixed((row * 8 + i) * 0x9E3779B97F4A7C15 & _MASK) for i in range(6)]
        frozen = row % 400 >= 370
        before = close
        opened = before if frozen else before + (before * (draw[0] % 2_001 - 1_000) >> 20)
        close = before if frozen else before + (before * (draw[1] % 40_001 - 20_000) >> 20)
        reach = 0 if frozen else before * (draw[2] % 5_000) >> 20
        low_reach = 0 if frozen else before * (draw[3] % 5_000) >> 20
        columns["open"].append(opened)
        columns["close"].append(close)
        columns["high"].append(max(opened, close) + reach)
        columns["low"].append(min(opened, close) - low_reach)
        columns["volume"].append(0 if row % 150 >= 130 else draw[4] % 1_000_000)
        columns["flow"].append(draw[5] % 2_001 - 1_000)
    unit = {"volume": 4.0, "flow": 8.0}
    table = {name: np.array(values, np.int64) / unit.get(name, 1024.0) for name, values in columns.items()}
    hours = 473_000 + np.arange(rows, dtype=np.int64)
    return {"time": (hours * 3_600_000_000_000).view("datetime64[ns]"), **table}
