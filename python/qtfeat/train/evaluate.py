"""How good predictions were on rows that the model had not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qtfeat.labels import SIDES

Floats = npt.NDArray[np.float64]
HOLD = SIDES.index("HOLD")


@dataclass(frozen=True, slots=True)
class FoldScore:
    """One test block of the walk-forward.

    Attributes:
        fold: number, from 1.
        train_rows: rows fitted on or watched for early stopping.
        test_rows: rows predicted.
        test_start: first time of the block.
        test_end: last time of the block.
        rank_ic: Spearman correlation of forecast and forward return over all rows; NaN for a constant forecast.
        hit_rate: share of rows not labelled HOLD where forecast and return have one sign; NaN if there are none.
        class_mix: share of predicted SELL, HOLD, BUY.
        confidence: mean probability of the predicted class.
    """

    fold: int
    train_rows: int
    test_rows: int
    test_start: np.datetime64
    test_end: np.datetime64
    rank_ic: float
    hit_rate: float
    class_mix: tuple[float, float, float]
    confidence: float


def rank_ic(forecast: Floats, actual: Floats) -> float:
    """Return the Spearman rank correlation, ties sharing their mean rank; NaN if either side is constant."""
    if len(forecast) < 2:
        return float("nan")
    a, b = _ranks(forecast), _ranks(actual)
    a -= a.mean()
    b -= b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0.0 else float("nan")


def hit_rate(forecast: Floats, actual: Floats, side: npt.NDArray[np.int8]) -> float:
    """Return the share of rows not labelled HOLD where forecast and return have the same sign."""
    moved = side != HOLD
    if not moved.any():
        return float("nan")
    return float(np.mean(np.sign(forecast[moved]) == np.sign(actual[moved])))


def class_mix(probabilities: Floats) -> tuple[float, float, float]:
    """Return the share of rows whose most probable class is SELL, HOLD, BUY."""
    counts = np.bincount(probabilities.argmax(axis=1), minlength=len(SIDES)) / max(1, len(probabilities))
    return float(counts[0]), float(counts[1]), float(counts[2])


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2.0
    return np.asarray(mean_rank[inverse.reshape(-1)], dtype=np.float64)
