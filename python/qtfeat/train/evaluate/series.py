"""Time: which rows share a timestamp, which outcomes overlap, and what a mean over time is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qtfeat.train.evaluate.ranks import NAN, Codes, Floats, dot, group_ranks
from qtfeat.train.oos import OutOfSample

LEAST_CROSS = 5
"""Symbols at a timestamp from which it counts as a cross-section."""

CROSS, SERIES = "cross-section", "time-series"


@dataclass(frozen=True, slots=True)
class Clock:
    """The distinct (fold, t) of some rows, in order.

    Attributes:
        t: datetime64, one per timestamp.
        fold: its fold.
        code: (n,) each row's timestamp, an index into `t`.
        size: rows of each timestamp.
        stride: timestamps from one decision to the first whose outcome does not overlap.
        form: `"cross-section"` if at least half of the rows are at timestamps of `LEAST_CROSS` rows or more, else
            `"time-series"`.
    """

    t: npt.NDArray[np.datetime64]
    fold: Codes
    code: Codes
    size: Codes
    stride: int
    form: str


def clock_of(oos: OutOfSample) -> Clock:
    """Return the timestamps of the rows."""
    t = oos.t.astype("datetime64[ns]").astype(np.int64)
    stamps, at = np.unique(t, return_inverse=True)
    folds = oos.fold.astype(np.int64)
    key, code = np.unique(folds * (len(stamps) + 1) + at.reshape(-1), return_inverse=True)
    fold, position = np.divmod(key, len(stamps) + 1)
    size = np.bincount(code.reshape(-1), minlength=len(key))
    crossed = int(size[size >= LEAST_CROSS].sum())
    form = CROSS if crossed and 2 * crossed >= len(t) else SERIES
    stride = _stride(stamps, oos.horizon, oos.interval_seconds)
    return Clock(stamps[position].astype("datetime64[ns]"), fold, code.reshape(-1), size, stride, form)


def _stride(stamps: Codes, horizon: int, interval_seconds: float) -> int:
    """Return the horizon in timestamps: more than in bars where symbols' bars are out of phase."""
    if len(stamps) < 2 or not math.isfinite(interval_seconds) or interval_seconds <= 0.0:
        return max(1, horizon)
    typical = float(np.median(np.diff(stamps))) / 1e9
    return max(1, horizon, min(len(stamps), math.ceil(horizon * interval_seconds / typical)))


@dataclass(frozen=True, slots=True)
class OverTime:
    """A mean over timestamps and what it is worth, given that neighbouring outcomes overlap.

    Attributes:
        mean: over all timestamps that have a value.
        sd: their standard deviation.
        positive: share of them above 0.
        timestamps: how many there are.
        t: mean / standard error of every h-th of them, from the first: none of these outcomes overlap.
        used: how many those are.
        t_low: lowest t over the h possible starts.
        t_high: highest t over the h possible starts.
        t_newey_west: t of the mean of all, with Newey-West standard error.
        lags: its number of lags, max(4 (h - 1), 4 (n / 100)^(2/9)), at most n / 4.
    """

    mean: float = NAN
    sd: float = NAN
    positive: float = NAN
    timestamps: int = 0
    t: float = NAN
    used: int = 0
    t_low: float = NAN
    t_high: float = NAN
    t_newey_west: float = NAN
    lags: int = 0


def over_time(values: Floats, stride: int) -> OverTime:
    """Return the statistics of one value per timestamp, in order of time; NaN where a timestamp has none."""
    values = values[~np.isnan(values)]
    n = len(values)
    if n == 0:
        return OverTime()
    starts = [_t(values[start::stride]) for start in range(min(stride, n))]
    known = [t for t in starts if not math.isnan(t)]
    lags = lag_count(n, stride)
    mean = float(values.mean())
    error = math.sqrt(max(0.0, long_run(values - mean, lags) / n))
    return OverTime(
        mean=mean,
        sd=float(values.std(ddof=1)) if n > 1 else NAN,
        positive=float(np.mean(values > 0.0)),
        timestamps=n,
        t=starts[0],
        used=len(values[::stride]),
        t_low=min(known, default=NAN),
        t_high=max(known, default=NAN),
        t_newey_west=mean / error if n > 2 and error > _nothing(values) else NAN,
        lags=lags,
    )


def _t(values: Floats) -> float:
    if len(values) < 3:
        return NAN
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) / error if error > _nothing(values) else NAN


def _nothing(values: Floats) -> float:
    """Return the size of a standard error that is rounding alone."""
    return float(np.abs(values).max()) * 1e-14


def lag_count(n: int, stride: int) -> int:
    """Return the Newey-West lags for n timestamps; four horizons, as Bartlett weights count half of one too little."""
    return max(0, min(n // 4, max(4 * (stride - 1), int(4.0 * (n / 100.0) ** (2.0 / 9.0)))))


def long_run(x: Floats, lags: int) -> float:
    """Return the long-run variance of centred values, Bartlett weights."""
    n = len(x)
    total = dot(x, x)
    for lag in range(1, lags + 1):
        total += 2.0 * (1.0 - lag / (lags + 1.0)) * dot(x[lag:], x[:-lag])
    return total / n


def ic_series(score: Floats, value: Floats, symbol: npt.NDArray[np.int32], clock: Clock) -> Floats:
    """Return a rank IC per timestamp; NaN where there is none.

    With a cross-section: Spearman correlation over the symbols of the timestamp, where they are `LEAST_CROSS` and
    neither side is constant. Without: the product of standardised ranks, taken within (fold, symbol) over time, meaned
    over the symbols; its mean over time is the rank IC over time.
    """
    if len(score) == 0:
        return np.zeros(0)
    if clock.form == CROSS:
        return _correlations(score, value, clock.code, clock.size)
    fold_of_row = clock.fold[clock.code]
    _, group = np.unique(fold_of_row * (int(symbol.max()) + 1) + symbol, return_inverse=True)
    product = _standard(score, group.reshape(-1)) * _standard(value, group.reshape(-1))
    known = ~np.isnan(product)
    count = np.bincount(clock.code[known], minlength=len(clock.t))
    total = np.bincount(clock.code[known], product[known], minlength=len(clock.t))
    return np.asarray(np.divide(total, count, out=np.full(len(clock.t), NAN), where=count > 0))


def _correlations(a: Floats, b: Floats, code: Codes, size: Codes) -> Floats:
    x, y = group_ranks(a, code, size), group_ranks(b, code, size)
    xx, yy, xy = (np.bincount(code, v, minlength=len(size)) for v in (x * x, y * y, x * y))
    fit = (size >= LEAST_CROSS) & (xx > 0.0) & (yy > 0.0)
    return np.asarray(np.divide(xy, np.sqrt(xx * yy), out=np.full(len(size), NAN), where=fit))


def _standard(values: Floats, group: Codes) -> Floats:
    """Return ranks within each group with mean 0 and variance 1; NaN where a group is constant."""
    size = np.bincount(group)
    centred = group_ranks(values, group, size)
    scale = np.sqrt(np.bincount(group, centred * centred) / np.maximum(size, 1))[group]
    return np.asarray(np.divide(centred, scale, out=np.full(len(values), NAN), where=scale > 0.0))
