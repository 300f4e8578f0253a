"""Fitting what `combine` applies, meta-learners and calibration, on rows that no model was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from qtfeat.errors import SchemaError
from qtfeat.labels import SIDES
from qtfeat.train.combine import Calibration, Meta, RawOutputs, Stack, combine, log_probabilities, logit, softmax
from qtfeat.train.config import TrainConfig
from qtfeat.train.libraries import library

Floats = npt.NDArray[np.float64]
Sides = npt.NDArray[np.int8]

_MOST_BINS = 200
_ROWS_PER_BIN = 100


def fit_combination(raw: RawOutputs, side: Sides, value: Floats, config: TrainConfig) -> tuple[Meta, Calibration]:
    """Fit how the four models become one, and how their probabilities are corrected.

    Args:
        raw: outputs of the models for rows they were not trained on.
        side: true classes, 0..2.
        value: true targets.
        config: the method of either; stacked meta-learners are few numbers, so the same rows calibrate them.

    Raises:
        SchemaError: no rows.
    """
    if len(raw) == 0:
        raise SchemaError("there are no out-of-sample rows to calibrate on")
    with _one_thread():
        meta = _fit_meta(raw, side, value, config)
        p_raw, _, _ = combine(raw, meta, Calibration())
        return meta, _fit_calibration(p_raw, side, config)


def _fit_meta(raw: RawOutputs, side: Sides, value: Floats, config: TrainConfig) -> Meta:
    if config.ensemble != "stack":
        return Meta(config.ensemble, config.xgb_weight)
    linear = library("sklearn.linear_model")
    logs = log_probabilities(softmax(raw.xgb_cls), softmax(raw.lgbm_cls))
    coef, intercept = np.zeros((len(SIDES), logs.shape[1])), np.log(shares(side))
    present = np.unique(side)
    if len(present) > 1:
        model = linear.LogisticRegression(C=1.0, max_iter=1_000, tol=1e-8).fit(logs, side)
        if len(present) == len(SIDES):
            coef, intercept = model.coef_, model.intercept_
        else:  # two classes have one line: against each other
            coef[present[1]], intercept[present] = model.coef_[0], (0.0, model.intercept_[0])
    # Not negative: two forecasts of one thing may share the weight, none may be turned around.
    pair = np.column_stack([raw.xgb_reg, raw.lgbm_reg])
    line = linear.LinearRegression(positive=True).fit(pair, value)
    return Meta("stack", config.xgb_weight, Stack(coef, intercept, line.coef_, float(line.intercept_)))


def _fit_calibration(p: Floats, side: Sides, config: TrainConfig) -> Calibration:
    fit = {"none": None, "isotonic": _isotonic, "platt": _platt}[config.calibration]
    if fit is None:
        return Calibration()
    return Calibration(config.calibration, tuple(fit(p[:, k], side == k) for k in range(len(SIDES))))


def _isotonic(p: Floats, hit: npt.NDArray[np.bool_]) -> Floats:
    """Fit rising knots to bins of equal count: a bin holds too many rows to call its share 0 or 1 by chance."""
    isotonic = library("sklearn.isotonic")
    bins = int(np.clip(len(p) // _ROWS_PER_BIN, 1, _MOST_BINS))
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, bins)
    x = np.array([p[part].mean() for part in parts])
    y = np.array([(hit[part].sum() + 0.5) / (len(part) + 1.0) for part in parts])
    weight = np.array([len(part) for part in parts], dtype=np.float64)
    model = isotonic.IsotonicRegression(y_min=0.0, y_max=1.0).fit(x, y, sample_weight=weight)
    return np.stack([model.X_thresholds_, model.y_thresholds_]).astype(np.float64)


def _platt(p: Floats, hit: npt.NDArray[np.bool_]) -> Floats:
    """Fit a logistic line to the log odds; a class that always or never occurs gets its share."""
    x = logit(p)
    if hit.all() or not hit.any() or np.ptp(x) == 0.0:
        return np.array([0.0, float(logit(np.array([(hit.sum() + 0.5) / (len(hit) + 1.0)]))[0])])
    linear = library("sklearn.linear_model")
    model = linear.LogisticRegression(C=1e6, max_iter=1_000, tol=1e-8).fit(x[:, None], hit)
    return np.array([model.coef_[0, 0], model.intercept_[0]])


def shares(side: Sides) -> Floats:
    """Return the share of each class, held above 0."""
    counts = np.bincount(side, minlength=len(SIDES)) + 0.5
    return np.asarray(counts / counts.sum(), dtype=np.float64)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep matrix products on one thread: their last bit depends on the number, which no setting of ours fixes."""
    with library("threadpoolctl").threadpool_limits(1):
        yield
