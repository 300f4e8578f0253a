"""How good predictions were on rows that the model had not seen, beside forecasts that cost nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat.errors import SchemaError
from qtfeat.train.evaluate.book import Costs, Curve
from qtfeat.train.evaluate.classes import SignalFilter
from qtfeat.train.evaluate.ranks import NAN, Floats, group_ranks
from qtfeat.train.evaluate.scores import (
    ForecastScores,
    Mask,
    Ranking,
    Scores,
    SymbolScores,
    forecast_scores,
    ranking,
    scores,
    symbol_scores,
)
from qtfeat.train.evaluate.series import CROSS, Clock, OverTime, clock_of, over_time
from qtfeat.train.oos import FoldInfo, OutOfSample

DECILES = 10
RSI_RULE = "rsi_rule"


@dataclass(frozen=True, slots=True)
class Baseline:
    """A trivial forecast on the same rows.

    Attributes:
        name: what it is.
        rows: rows where it has a value.
        forecast: its figures.
        gain: rank IC per timestamp of the model less that of the baseline, which is 0 where its forecast is constant.
    """

    name: str
    rows: int
    forecast: ForecastScores
    gain: OverTime


@dataclass(frozen=True, slots=True)
class FoldEvaluation:
    """One test block.

    Attributes:
        info: what it was trained and tested on.
        scores: its figures.
        baselines: the trivial forecasts on it.
        gap_rank_ic: rank IC on the training rows less that on the test rows.
        gap_r2: the same for R2 (against 0).
    """

    info: FoldInfo
    scores: Scores
    baselines: tuple[Baseline, ...]
    gap_rank_ic: float
    gap_r2: float


@dataclass(frozen=True, slots=True)
class Decile:
    """Rows by rank of the forecast among those of the same timestamp (without a cross-section: of the symbol's fold).

    Attributes:
        number: 1 is the lowest forecasts.
        rows: how many.
        ret: mean raw return, less the mean of the timestamp where there is a cross-section.
    """

    number: int
    rows: int
    ret: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that was measured out of sample.

    Attributes:
        form: `"cross-section"` or `"time-series"`: how rank IC over time and the book are formed.
        horizon: bars ahead.
        stride: timestamps between decisions whose outcomes do not overlap; the horizon, if bars are in phase.
        interval_seconds: length of a bar.
        costs: what the book paid.
        limits: the signal filter of the coverage figures.
        pooled: all rows.
        folds: each test block.
        symbols: each symbol over all folds.
        baselines: trivial forecasts over all rows.
        positive_folds: folds with a rank IC above 0.
        gap_rank_ic: mean over the folds of training less test rank IC.
        gap_r2: mean over the folds of training less test R2.
        deciles: mean return by decile of the forecast.
        curve: the book over time.
    """

    form: str
    horizon: int
    stride: int
    interval_seconds: float
    costs: Costs
    limits: SignalFilter
    pooled: Scores
    folds: tuple[FoldEvaluation, ...]
    symbols: tuple[SymbolScores, ...]
    baselines: tuple[Baseline, ...]
    positive_folds: int
    gap_rank_ic: float
    gap_r2: float
    deciles: tuple[Decile, ...]
    curve: Curve

    def as_dict(self, *, curve: bool = False) -> dict[str, Any]:
        """Return JSON values: NaN as None, times as ISO text. The curve, one entry per rebalance, only if asked for."""
        out: dict[str, Any] = json_value(self)
        if not curve:
            del out["curve"]
        return out

    def evidence(self) -> dict[str, Any]:
        """Return what gates ask of an evaluation, under the names of `qtfeat.gates.Evidence`; NaN where not known.

        Rank ICs are means over timestamps; only the overfit gap compares rank correlations over all rows, because a
        training row has no other. The RSI rule is shown beside the baselines, and no gate asks for it.
        """
        pooled = self.pooled
        baselines = [each for each in self.baselines if each.name != RSI_RULE]
        return {
            "horizon": self.horizon,
            "class_shares": pooled.classes.predicted_mix,
            "class_shares_by_symbol": {symbol.symbol: symbol.predicted_mix for symbol in self.symbols},
            "confidence_sd": pooled.confidence.sd,
            "confidence_p10_p90": pooled.confidence.spread,
            "direction_slope": pooled.direction.slope,
            "direction_t": pooled.direction.t,
            "fold_rank_ic": tuple(fold.scores.forecast.ic.mean for fold in self.folds),
            "rank_ic": pooled.forecast.ic.mean,
            "rank_ic_t": pooled.forecast.ic.t,
            "baseline_rank_ic": {each.name: _baseline_ic(each) for each in baselines},
            "net_return": pooled.forecast.book.net,
            "fee": self.costs.fee,
            "slippage": self.costs.slippage,
            "rank_ic_gap": self.gap_rank_ic,
            "r2_gap": self.gap_r2,
            "ece": pooled.calibration.ece,
            "r2": pooled.forecast.r2,
            "hit": pooled.forecast.hit_rate,
            "rule_share": pooled.coverage.rule,
            "filter_share": pooled.coverage.passed,
            "signal_share": pooled.coverage.traded,
        }


def evaluate(oos: OutOfSample, costs: Costs | None = None, limits: SignalFilter | None = None) -> Evaluation:
    """Measure out-of-sample predictions per fold, pooled and per symbol, beside trivial baselines.

    Args:
        oos: the predictions; rows in any order.
        costs: fee and slippage per side; None for 5 and 2 basis points.
        limits: the signal filter; None for 0.35, 0.58 and 0.52 / 0.48.

    Returns:
        The figures. Degenerate input (a constant forecast, one class, one timestamp, an empty fold) gives NaN and a
        reason in `Scores.reasons`, never an infinite figure.

    Raises:
        SchemaError: a target, forecast or probability that is not finite, a probability outside 0..1, probabilities
            that do not sum to 1, or a class or symbol code out of range; names column, row and value.
    """
    _check(oos)
    costs, limits = costs or Costs(), limits or SignalFilter()
    clock = clock_of(oos)
    model = ranking(oos.score, oos, clock)
    trivial = {name: ranking(score, oos, clock) for name, score in _baselines(oos).items()}

    def part(rows: Mask, stamps: Mask) -> tuple[Scores, Curve, tuple[Baseline, ...]]:
        figures, curve = scores(model, oos, clock, rows, stamps, costs, limits)
        beside = tuple(_baseline(n, made, model, oos, clock, rows, stamps, costs) for n, made in trivial.items())
        return figures, curve, beside

    folds = []
    for info in oos.folds:
        figures, _, beside = part(oos.fold == info.fold, clock.fold == info.fold)
        gap_ic, gap_r2 = info.train_rank_ic - figures.forecast.rank_ic, info.train_r2 - figures.forecast.r2
        folds.append(FoldEvaluation(info, figures, beside, gap_ic, gap_r2))
    pooled, curve, beside = part(np.ones(len(oos), dtype=bool), np.ones(len(clock.t), dtype=bool))
    return Evaluation(
        form=clock.form,
        horizon=oos.horizon,
        stride=clock.stride,
        interval_seconds=oos.interval_seconds,
        costs=costs,
        limits=limits,
        pooled=pooled,
        folds=tuple(folds),
        symbols=symbol_scores(oos, limits),
        baselines=beside,
        positive_folds=sum(fold.scores.forecast.rank_ic > 0.0 for fold in folds),
        gap_rank_ic=_mean([fold.gap_rank_ic for fold in folds]),
        gap_r2=_mean([fold.gap_r2 for fold in folds]),
        deciles=_deciles(oos, clock),
        curve=curve,
    )


def _baselines(oos: OutOfSample) -> dict[str, Floats]:
    """Return the trivial forecasts; with an RSI also its rule, which buys what fell and sells what rose."""
    out = {name: np.where(np.isfinite(f), f, NAN) for name, f in oos.baselines.items()}
    if np.isfinite(oos.rsi).any():
        out[RSI_RULE] = 50.0 - oos.rsi
    return out


def _baseline(
    name: str, made: Ranking, model: Ranking, oos: OutOfSample, clock: Clock, rows: Mask, stamps: Mask, costs: Costs
) -> Baseline:
    # returns are in the unit of the target only where the target is the raw return
    unit = name == "zero" or (name != RSI_RULE and np.array_equal(oos.value, oos.ret))
    figures, _ = forecast_scores(made, oos, clock, rows, stamps, costs, unit=unit)
    # no ranking is one of rank IC 0
    gain = over_time((model.ic - np.nan_to_num(made.ic))[stamps], clock.stride)
    return Baseline(name, int((rows & ~np.isnan(made.score)).sum()), figures, gain)


def _deciles(oos: OutOfSample, clock: Clock) -> tuple[Decile, ...]:
    known = np.flatnonzero(~np.isnan(oos.ret))
    if len(known) == 0:
        return ()
    if clock.form == CROSS:
        group = clock.code[known]
    else:
        keys = clock.fold[clock.code[known]] * len(oos.symbols) + oos.symbol[known]
        group = np.unique(keys, return_inverse=True)[1].reshape(-1)
    size, ret = np.bincount(group), oos.ret[known]
    if clock.form == CROSS:
        ret = ret - (np.bincount(group, ret) / np.maximum(size, 1))[group]
    # fewer symbols than deciles: as many groups as symbols
    count = int(min(DECILES, np.median(size[size > 0])))
    place = (group_ranks(oos.score[known], group, size) + size[group] / 2.0) / size[group]
    number = np.clip((place * count).astype(np.int64), 0, count - 1)
    rows, total = np.bincount(number, minlength=count), np.bincount(number, ret, minlength=count)
    return tuple(
        Decile(i + 1, int(n), float(s / n) if n else NAN) for i, (n, s) in enumerate(zip(rows, total, strict=True))
    )


def _baseline_ic(baseline: Baseline) -> float:
    """Return the rank IC; forecasting one number for all is no skill, which is 0."""
    return 0.0 if baseline.name == "zero" else baseline.forecast.ic.mean


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else NAN


def _check(oos: OutOfSample) -> None:
    """Refuse values that no figure can be made of."""
    _refuse("value", oos.value, ~np.isfinite(oos.value), "must be finite")
    _refuse("score", oos.score, ~np.isfinite(oos.score), "must be finite")
    _refuse("ret", oos.ret, np.abs(oos.ret) > 1e100, "must be a return, or NaN")
    _refuse("side", oos.side, (oos.side < 0) | (oos.side > 2), "must be 0, 1 or 2")
    _refuse("symbol", oos.symbol, (oos.symbol < 0) | (oos.symbol >= len(oos.symbols)), "is not a code of `symbols`")
    _refuse("t", oos.t, np.isnat(oos.t), "must be a time")
    for k, name in enumerate(("p[SELL]", "p[HOLD]", "p[BUY]")):
        _refuse(name, oos.p[:, k], ~((oos.p[:, k] >= 0.0) & (oos.p[:, k] <= 1.0)), "must be in 0..1")
    total = oos.p.sum(axis=1)
    _refuse("p", total, np.abs(total - 1.0) > 1e-6, "is the sum of the three, which must be 1")
    if oos.horizon < 0:
        raise SchemaError(f"horizon must not be negative, got {oos.horizon}")


def _refuse(column: str, values: npt.NDArray[Any], bad: npt.NDArray[np.bool_], text: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        value = values[row].item() if values.dtype.kind in "fi" else None
        raise SchemaError(f"row {row}: {column} = {values[row]} {text}", column=column, row=row, value=value)


def json_value(value: Any) -> Any:
    """Return dataclasses, arrays, times and NaN as JSON values."""
    if is_dataclass(value):
        return {field.name: json_value(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): json_value(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [json_value(part) for part in value]
    if isinstance(value, np.ndarray):
        return [json_value(part) for part in value]
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
