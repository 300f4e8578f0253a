"""The columns that peers are compared on, and how closely they must agree.

Every tolerance is against the value's own scale: |a - b| <= rtol * max(|a|, |b|) + atol.
Comparison starts after `CONVERGED` rows, because peers seed their recursions differently
(the slowest, EMA 50, has forgotten its seed to 1e-34 by then).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray[np.float64]]

CONVERGED: Final = 2_000

KLINE17: Final = (
    "ret",
    "range_hl",
    "volume_change",
    "volume_ratio",
    "ema_10",
    "ema_20",
    "ema_50",
    "ema_cross_10_20",
    "ema_cross_10_50",
    "rsi",
    "macd",
    "macd_signal",
    "macd_hist",
    "bb_pct",
    "bb_width",
    "momentum",
    "volatility",
)

WIDE32: Final = (
    *("ret", "gap", "range_hl", "body", "upper_wick", "lower_wick"),
    *("roc_3", "roc_5", "roc_10", "roc_20", "ema_gap_10", "ema_gap_20", "ema_gap_50"),
    *("ema_cross_10_20", "ema_cross_10_50", "macd_pct", "macd_pct_signal", "macd_pct_hist"),
    *("rsi", "stoch_k", "stoch_d", "cci", "mfi", "adx", "adx_plus_di", "adx_minus_di"),
    *("natr", "bb_pct", "bb_width", "volatility", "volume_ratio", "vwap_gap"),
)


@dataclass(frozen=True)
class Tolerance:
    """Largest accepted difference: `rtol` of the value plus `atol`."""

    rtol: float
    atol: float


EXACT: Final = Tolerance(1e-9, 1e-12)

# Peers that keep running sums lose digits in mean(x^2) - mean(x)^2; differences of averages lose
# the digits the averages share. The limits are set by the peers' arithmetic.
TOLERANCES: Final[dict[str, Tolerance]] = {
    "bb_pct": Tolerance(1e-6, 1e-6),
    "bb_width": Tolerance(1e-6, 1e-9),
    "volatility": Tolerance(1e-6, 1e-9),
    "macd": Tolerance(1e-9, 1e-9),
    "macd_signal": Tolerance(1e-9, 1e-9),
    "macd_hist": Tolerance(1e-9, 1e-9),
    "rsi": Tolerance(1e-9, 1e-7),
    "cci": Tolerance(1e-7, 1e-6),
    "mfi": Tolerance(1e-8, 1e-7),
    "vwap_gap": Tolerance(1e-8, 1e-11),
    "stoch_k": Tolerance(1e-9, 1e-7),
    "stoch_d": Tolerance(1e-9, 1e-7),
}


class DisagreementError(AssertionError):
    """Two implementations differ by more than the stated tolerance."""


def compare(
    ours: Columns,
    theirs: Columns,
    *,
    names: tuple[str, ...],
    skip_rows: int = CONVERGED,
    exclude: dict[str, str] | None = None,
) -> float:
    """Compare the named columns after `skip_rows` rows and return the largest relative difference.

    `exclude` maps a column to the reason it is not compared. Raises `DisagreementError` naming the
    column, the row and both values; a column missing on either side is a disagreement too.
    """
    worst = 0.0
    for name in names:
        if exclude is not None and name in exclude:
            continue
        if name not in ours or name not in theirs:
            raise DisagreementError(f"column {name} is missing: {sorted(ours)} against {sorted(theirs)}")
        a = np.asarray(ours[name], dtype=np.float64)
        b = np.asarray(theirs[name], dtype=np.float64)
        if a.shape != b.shape:
            raise DisagreementError(f"column {name}: shape {a.shape} against {b.shape}")
        worst = max(worst, _compare_column(name, a[skip_rows:], b[skip_rows:], skip_rows))
    return worst


def _compare_column(name: str, a: NDArray[np.float64], b: NDArray[np.float64], skip: int) -> float:
    limit = TOLERANCES.get(name, EXACT)
    size = np.maximum(np.abs(a), np.abs(b))
    with np.errstate(invalid="ignore"):
        difference = np.abs(a - b)
        bad = ~(difference <= limit.rtol * size + limit.atol)
    if bad.any():
        row = int(np.argmax(bad))
        raise DisagreementError(
            f"column {name}, row {row + skip}: {a[row]!r} against {b[row]!r} ({int(bad.sum())} of {a.size} rows differ)"
        )
    return float(np.max(difference / np.maximum(size, limit.atol / limit.rtol), initial=0.0))
