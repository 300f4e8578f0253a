"""All figures of some rows: everything out of sample, one fold, or one symbol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat.train.evaluate import classes as cl
from qtfeat.train.evaluate.book import Book, Costs, Curve, book, trade, weights
from qtfeat.train.evaluate.ranks import NAN, Floats, hit_rate, r2, r2_mean, rank_ic
from qtfeat.train.evaluate.reasons import Facts, missing, reason
from qtfeat.train.evaluate.series import CROSS, Clock, OverTime, ic_series, over_time
from qtfeat.train.oos import OutOfSample

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ranking:
    """What one forecast gives at every timestamp; computed once for all folds.

    Attributes:
        score: (n,) the forecast.
        ic: rank IC per timestamp, see `ic_series`.
        weight: (n,) weight of each row in the book, see `weights`.
    """

    score: Floats
    ic: Floats
    weight: Floats


def ranking(score: Floats, oos: OutOfSample, clock: Clock) -> Ranking:
    """Return the forecast's rank ICs and weights; rows where it is NaN take no part."""
    known = ~np.isnan(score)
    if known.all():
        return Ranking(score, ic_series(score, oos.value, oos.symbol, clock), weights(score, oos.symbol, clock))
    code = clock.code[known]
    part = replace(clock, code=code, size=np.bincount(code, minlength=len(clock.t)))
    weight = np.full(len(score), NAN)
    weight[known] = weights(score[known], oos.symbol[known], part)
    return Ranking(score, ic_series(score[known], oos.value[known], oos.symbol[known], part), weight)


@dataclass(frozen=True, slots=True)
class ForecastScores:
    """How a forecast of the target did; also the trivial baselines have these.

    Attributes:
        r2: against forecasting 0; NaN for a baseline that is no forecast in the unit of the target.
        r2_mean: against the mean of these rows' outcomes.
        rank_ic: Spearman correlation of forecast and target over all rows.
        ic: rank IC per timestamp (cross-sectional, or over time where there is no cross-section) and its t.
        hit_rate: share of rows not labelled HOLD with forecast and target of one sign.
        book: the decile spread, gross and net of costs.
    """

    r2: float
    r2_mean: float
    rank_ic: float
    ic: OverTime
    hit_rate: float
    book: Book


@dataclass(frozen=True, slots=True)
class Scores:
    """All figures of some rows. A figure that cannot be had is NaN, and `reasons` says why; none is ever infinite.

    Attributes:
        rows: how many.
        timestamps: distinct times among them.
        hit_rows: rows not labelled HOLD.
        forecast: the regressor pair.
        classes: the classifier's classes.
        calibration: whether its probabilities are true.
        confidence: how its largest probability is spread.
        direction: whether P(BUY) - P(SELL) knows the sign.
        coverage: what a signal filter lets through.
        reasons: name of a figure to why it is NaN.
    """

    rows: int
    timestamps: int
    hit_rows: int
    forecast: ForecastScores
    classes: cl.Classes
    calibration: cl.Calibration
    confidence: cl.Confidence
    direction: cl.Direction
    coverage: cl.Coverage
    reasons: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SymbolScores:
    """One symbol over all folds; triples are SELL, HOLD, BUY.

    Attributes:
        symbol: its name.
        rows: how many.
        r2: against forecasting 0.
        rank_ic: Spearman correlation over time.
        hit_rate: as in `ForecastScores`.
        true_mix: share of each class.
        predicted_mix: share of each most probable class.
        confidence_sd: standard deviation of the largest probability.
        confidence_spread: its P90 - P10.
        brier: Brier score.
        traded: share that passes the signal filter as BUY or SELL.
    """

    symbol: str
    rows: int
    r2: float
    rank_ic: float
    hit_rate: float
    true_mix: cl.Triple
    predicted_mix: cl.Triple
    confidence_sd: float
    confidence_spread: float
    brier: float
    traded: float


def forecast_scores(
    made: Ranking, oos: OutOfSample, clock: Clock, rows: Mask, stamps: Mask, costs: Costs, *, unit: bool = True
) -> tuple[ForecastScores, Curve]:
    """Score a forecast on some rows.

    Args:
        made: the forecast with its rank ICs and weights over all rows.
        oos: all rows.
        clock: their timestamps.
        rows: which rows count.
        stamps: the timestamps that these rows are of.
        costs: per side.
        unit: whether the forecast is one in the unit of the target.
    """
    rows = rows & ~np.isnan(made.score)
    score, value = made.score[rows], oos.value[rows]
    curve = trade(np.where(rows, made.weight, NAN), oos.ret, oos.symbol, clock, stamps, costs)
    figures = ForecastScores(
        r2=r2(score, value) if unit else NAN,
        r2_mean=r2_mean(score, value) if unit else NAN,
        rank_ic=rank_ic(score, value),
        ic=over_time(made.ic[stamps], clock.stride),
        hit_rate=hit_rate(score, value, oos.side[rows]),
        book=book(curve, _per_leg(made.weight[rows]), oos.interval_seconds, clock.stride),
    )
    return figures, curve


def _per_leg(weight: Floats) -> float:
    """Return the mean positions of a leg where there are any; tied ones count with their share."""
    long = weight[weight > 0.0]
    return float(len(long) / long.sum()) if len(long) else 0.0


def scores(
    made: Ranking, oos: OutOfSample, clock: Clock, rows: Mask, stamps: Mask, costs: Costs, limits: cl.SignalFilter
) -> tuple[Scores, Curve]:
    """Score everything on some rows; arguments as in `forecast_scores`."""
    forecast, curve = forecast_scores(made, oos, clock, rows, stamps, costs)
    side, p = oos.side[rows], oos.p[rows]
    values: dict[str, Any] = {
        "rows": len(side),
        "timestamps": int(stamps.sum()),
        "hit_rows": int((side != cl.HOLD).sum()),
        "forecast": forecast,
        "classes": cl.classes(side, p),
        "calibration": cl.calibration(side, p),
        "confidence": cl.confidence(p),
        "direction": cl.direction(side, p, clock, rows),
        "coverage": cl.coverage(p, limits),
    }
    facts = _facts(values, made.score[rows], oos, rows, clock)
    reasons = {name: reason(name, facts) for part in values.items() for name in missing(*part)}
    return Scores(**values, reasons=reasons), curve


def symbol_scores(oos: OutOfSample, limits: cl.SignalFilter) -> tuple[SymbolScores, ...]:
    """Score each symbol that has rows, in the order of `oos.symbols`."""
    order = np.argsort(oos.symbol, kind="stable")
    ends = np.searchsorted(oos.symbol[order], np.arange(len(oos.symbols) + 1))
    return tuple(
        _one_symbol(name, oos, order[ends[i] : ends[i + 1]], limits)
        for i, name in enumerate(oos.symbols)
        if ends[i + 1] > ends[i]
    )


def _one_symbol(name: str, oos: OutOfSample, rows: npt.NDArray[np.intp], limits: cl.SignalFilter) -> SymbolScores:
    score, value, side, p = oos.score[rows], oos.value[rows], oos.side[rows], oos.p[rows]
    told, sure = cl.classes(side, p), cl.confidence(p)
    return SymbolScores(
        symbol=name,
        rows=len(rows),
        r2=r2(score, value),
        rank_ic=rank_ic(score, value),
        hit_rate=hit_rate(score, value, side),
        true_mix=told.true_mix,
        predicted_mix=told.predicted_mix,
        confidence_sd=sure.sd,
        confidence_spread=sure.spread,
        brier=cl.brier(side, p),
        traded=cl.coverage(p, limits).traded,
    )


def _facts(values: Mapping[str, Any], score: Floats, oos: OutOfSample, rows: Mask, clock: Clock) -> Facts:
    value, p = oos.value[rows], oos.p[rows]
    return Facts(
        rows=values["rows"],
        stride=clock.stride,
        rebalances=values["forecast"].book.rebalances,
        moved=values["hit_rows"],
        forecast_constant=_constant(score),
        target_constant=_constant(value),
        direction_constant=_constant(p[:, cl.BUY] - p[:, cl.SELL]),
        interval_known=math.isfinite(oos.interval_seconds) and oos.interval_seconds > 0.0,
        crossed=clock.form == CROSS,
    )


def _constant(values: Floats) -> bool:
    return len(values) == 0 or bool((values == values[0]).all())
