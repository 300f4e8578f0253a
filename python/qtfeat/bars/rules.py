"""What makes the values of a bar suspect: impossible ones, a frozen feed, jumps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from qtfeat.bars.schema import PRICES

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

EXAMPLES = 3
# Fewer equal bars without volume are an ordinary quiet market.
FROZEN_BARS = 5
# A move must pass both bounds: large in itself (a split 3:2 is), and far beyond what the series does otherwise.
_JUMP_LOG = float(np.log(1.4))
_JUMP_SIGMAS = 50.0
# A price that comes back so soon was never the market's.
_BACK_BARS = 3
_SPLITS = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0)

# The range in which the engine accepts bars.
PRICE_RANGE = (1e-110, 1e110)
VOLUME_RANGE = (1e-30, 1e30)


def bad_values(bars: Mapping[str, Floats]) -> Iterator[tuple[str, Rows]]:
    """Yield (rule, rows) for each rule that some rows break; a row is named by the first rule it breaks."""
    open_, high, low, close = (bars[name] for name in PRICES)
    volume = bars["volume"]
    prices = np.stack([open_, high, low, close])
    with np.errstate(invalid="ignore"):
        rules = (
            ("a missing value", np.isnan(prices).any(axis=0) | np.isnan(volume)),
            ("an infinite value", np.isinf(prices).any(axis=0) | np.isinf(volume)),
            ("a price of zero or less", (prices <= 0).any(axis=0)),
            ("negative volume", volume < 0),
            ("high < low", high < low),
            ("open outside low..high", (open_ < low) | (open_ > high)),
            ("close outside low..high", (close < low) | (close > high)),
            (
                "a price outside 1e-110..1e110",
                ((prices < PRICE_RANGE[0]) | (prices > PRICE_RANGE[1])).any(axis=0),
            ),
            (
                "volume outside 1e-30..1e30",
                (volume != 0) & ((volume < VOLUME_RANGE[0]) | (volume > VOLUME_RANGE[1])),
            ),
        )
    named = np.zeros(len(volume), dtype=np.bool_)
    for rule, broken in rules:
        rows = np.flatnonzero(broken & ~named)
        named |= broken
        if len(rows):
            yield rule, rows


def frozen_runs(bars: Mapping[str, Floats]) -> list[tuple[int, int]]:
    """Return (first row, length) of each run of at least `FROZEN_BARS` equal bars without volume."""
    close = bars["close"]
    still = (bars["volume"] == 0) & (bars["high"] == bars["low"]) & (bars["open"] == close)
    still[1:] &= (close[1:] == close[:-1]) | ~still[:-1]
    edges = np.diff(np.concatenate(([0], still.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(int(a), int(b - a)) for a, b in zip(starts, ends, strict=True) if b - a >= FROZEN_BARS]


def jumps(close: Floats) -> list[tuple[int, str]]:
    """Return (row, text) where the close moves far beyond the rest of the series."""
    usable = np.isfinite(close) & (close > 0)
    rows = np.flatnonzero(usable)
    moves = np.diff(np.log(close[rows]))
    if not len(moves):
        return []
    # 1.4826 turns a median absolute value into a standard deviation, for a normal law.
    sigma = 1.4826 * float(np.median(np.abs(moves)))
    wild = np.flatnonzero(np.abs(moves) > max(_JUMP_LOG, _JUMP_SIGMAS * sigma))
    found = []
    for k, i in enumerate(wild):
        later = int(wild[k + 1] - i) if k + 1 < len(wild) else 0
        back = 0 < later <= _BACK_BARS and abs(moves[i] + moves[wild[k + 1]]) < 0.2 * abs(moves[i])
        after = f", and back after {later} bar(s): likely a bad price" if back else ""
        found.append((int(rows[i + 1]), _jump_text(float(np.exp(moves[i]))) + after))
    return found


def _jump_text(factor: float) -> str:
    text = f"close x {factor:.6g}"
    power = round(float(np.log10(factor)))
    # Within 5 % of a power of ten: the unit changed, not the market.
    if power and abs(np.log(factor / 10.0**power)) < 0.05:
        return f"{text}, likely a redenomination by 10^{power}"
    size = max(factor, 1 / factor)
    ratio = next((r for r in _SPLITS if abs(np.log(size / r)) < 0.03), 0.0)
    if ratio:
        return f"{text}, likely a split {ratio:g}:1" if factor < 1 else f"{text}, likely a reverse split 1:{ratio:g}"
    return text
