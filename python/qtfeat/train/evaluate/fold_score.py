"""The few figures per fold that the main job prints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qtfeat.labels import SIDES

Floats = npt.NDArray[np.float64]


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


def class_mix(probabilities: Floats) -> tuple[float, float, float]:
    """Return the share of rows whose most probable class is SELL, HOLD, BUY."""
    counts = np.bincount(probabilities.argmax(axis=1), minlength=len(SIDES)) / max(1, len(probabilities))
    return float(counts[0]), float(counts[1]), float(counts[2])
