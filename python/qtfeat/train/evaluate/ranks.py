"""Ranks, over all rows or within groups, and the correlations made of them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

NAN = float("nan")


def dot(x: Floats, y: Floats) -> float:
    """Return the sum of products; unlike BLAS, the same bits for any number of threads."""
    return float(np.add.reduce(x * y))


def ranks(values: Floats) -> Floats:
    """Return ranks from 1, ties sharing their mean rank; NaN-free input of shape (n,)."""
    order = np.argsort(values)
    starts, length = runs(values[order])
    out = np.empty(len(values))
    out[order] = np.repeat(starts + (length + 1) / 2.0, length)
    return out


def group_order(values: Floats, group: Codes) -> tuple[npt.NDArray[np.intp], Codes]:
    """Return the rows sorted by (group, value), and for each the position of its value among the distinct ones.

    Sorting one integer key is several times faster than a two-key sort.
    """
    order = np.argsort(values)
    _, length = runs(values[order])
    dense = np.empty(len(values), dtype=np.int64)
    dense[order] = np.repeat(np.arange(len(length)), length)
    key = group * (len(length) + 1) + dense
    sorted_rows = np.argsort(key)
    return sorted_rows, key[sorted_rows]


def group_ranks(values: Floats, group: Codes, size: Codes) -> Floats:
    """Return ranks within each group less their mean, ties sharing their mean rank.

    Args:
        values: (n,) without NaN.
        group: (n,) codes from 0.
        size: rows of each group.
    """
    order, key = group_order(values, group)
    starts, length = runs(key)
    first = np.concatenate(([0], np.cumsum(size)))[:-1]
    out = np.empty(len(values))
    out[order] = np.repeat(starts + (length + 1) / 2.0, length)
    return np.asarray(out - first[group] - (size[group] + 1) / 2.0)


def runs(ordered: npt.NDArray[np.generic]) -> tuple[Codes, Codes]:
    """Return start and length of each run of equal values."""
    n = len(ordered)
    if n == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    starts = np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1)).astype(np.int64)
    return starts, np.diff(np.append(starts, n))


def rank_ic(forecast: Floats, actual: Floats) -> float:
    """Return the Spearman rank correlation, ties sharing their mean rank; NaN if either side is constant."""
    if len(forecast) < 2:
        return NAN
    a, b = ranks(forecast), ranks(actual)
    a -= a.mean()
    b -= b.mean()
    scale = math.sqrt(dot(a, a) * dot(b, b))
    return dot(a, b) / scale if scale > 0.0 else NAN


def r2(forecast: Floats, actual: Floats) -> float:
    """Return 1 - sum((actual - forecast)^2) / sum(actual^2): how much better than forecasting no change.

    NaN if there are no rows or every outcome is 0.
    """
    return _explained(forecast, actual, 0.0)


def r2_mean(forecast: Floats, actual: Floats) -> float:
    """Return R2 against the mean of these same outcomes, as scikit-learn's `r2_score` does; NaN if constant."""
    if len(actual) == 0 or bool((actual == actual[0]).all()):
        return NAN
    return _explained(forecast, actual, float(actual.mean()))


def _explained(forecast: Floats, actual: Floats, reference: float) -> float:
    largest = max(float(np.abs(actual).max(initial=0.0)), float(np.abs(forecast).max(initial=0.0)))
    if largest == 0.0:
        return NAN
    # in units of the largest value, so that no square leaves the range of a double
    actual, forecast, reference = actual / largest, forecast / largest, reference / largest
    error, spread = actual - forecast, actual - reference
    whole = dot(spread, spread)
    value = 1.0 - dot(error, error) / whole if whole > 0.0 else NAN
    return value if np.isfinite(value) else NAN


def hit_rate(forecast: Floats, actual: Floats, side: npt.NDArray[np.int8]) -> float:
    """Return the share of rows not labelled HOLD where forecast and outcome have the same sign; NaN if there are none.

    A forecast of exactly 0 is a miss; NaN if the forecast is 0 everywhere.
    """
    moved = side != 1
    if not moved.any() or not forecast.any():
        return NAN
    return float(np.mean(np.sign(forecast[moved]) == np.sign(actual[moved])))
