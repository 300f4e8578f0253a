"""What a model sees of the training rows: targets, weights, and copies of rows for soft labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qtfeat.labels import SIDES, Labels
from qtfeat.train.config import TrainConfig

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows, targets and weights of one task (classes or forecast).

    Attributes:
        rows: rows to fit on; each appears once per class where labels are smoothed.
        target: their targets.
        weight: their weights, adding up to the number of rows without copies; None where all are 1.
        tail: rows that decide when to stop.
        tail_target: their targets.
        tail_weight: their weights, on the same footing, so that the metric of the tail has its optimum where that of
            the training has it.
        copies: how often each row appears in `rows`.
    """

    rows: Rows
    target: npt.NDArray[np.generic]
    weight: Floats | None
    tail: Rows
    tail_target: npt.NDArray[np.generic]
    tail_weight: Floats | None
    copies: int = 1


def class_sample(labels: Labels, fit: Rows, tail: Rows, config: TrainConfig) -> Sample:
    """Return what the classifiers see: hard labels, or three weighted copies of each row for smoothed ones."""
    side, tail_side = labels.side[fit], labels.side[tail]
    weight, tail_weight = recency(labels.t[fit], config), None
    if config.balance:
        factor = class_factors(side)
        weight = _times(weight, factor[side])
        tail_weight = factor[tail_side] if factor[tail_side].any() else None
    weight = _mean_one(weight)
    if config.smoothing:
        copied, side, weight = _smooth(fit, side, weight, config.smoothing)
        return Sample(copied, side, weight, tail, tail_side, tail_weight, len(SIDES))
    return Sample(fit, side, weight, tail, tail_side, tail_weight)


def value_sample(labels: Labels, fit: Rows, tail: Rows, config: TrainConfig) -> Sample:
    """Return what the regressors see: the target, held between two quantiles of the rows fitted on."""
    target, tail_target = labels.value[fit], labels.value[tail]
    if config.clip:
        low, high = np.quantile(target, [config.clip, 1.0 - config.clip])
        target, tail_target = np.clip(target, low, high), np.clip(tail_target, low, high)
    return Sample(fit, target, _mean_one(recency(labels.t[fit], config)), tail, tail_target, None)


def class_factors(side: npt.NDArray[np.int8]) -> Floats:
    """Return the weight of a row of each class that gives all classes present the same total; 0 for one absent."""
    counts = np.bincount(side, minlength=len(SIDES))
    present = counts > 0
    out = np.zeros(len(SIDES))
    out[present] = len(side) / (present.sum() * counts[present])
    return out


def recency(times: npt.NDArray[np.datetime64], config: TrainConfig) -> Floats | None:
    """Return weights that halve every `half_life` days before the latest row; None for equal weights."""
    if config.half_life is None:
        return None
    days = (times.max() - times) / DAY
    return np.asarray(0.5 ** (days / config.half_life), dtype=np.float64)


def _smooth(
    rows: Rows, side: npt.NDArray[np.int8], weight: Floats | None, share: float
) -> tuple[Rows, npt.NDArray[np.int8], Floats]:
    classes = len(SIDES)
    n = len(rows)
    copies = np.repeat(np.arange(classes, dtype=np.int8), n)
    parts = np.full(classes * n, share / classes)
    parts[side.astype(np.intp) * n + np.arange(n)] += 1.0 - share
    return np.tile(rows, classes), copies, parts if weight is None else parts * np.tile(weight, classes)


def _times(one: Floats | None, other: Floats) -> Floats:
    return other if one is None else one * other


def _mean_one(weight: Floats | None) -> Floats | None:
    return None if weight is None else weight / weight.mean()
