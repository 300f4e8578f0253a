"""What can only be known by training again: canaries for leaks, and how much of the skill is the seed's.

These runs train the regressor pair alone, because each of them is judged by the forecast. Permutations and the planted
leak use the last fold, which has the longest training stretch: a leak in the making of rows, splits or targets is in
every fold, and the last one has the most rows to show it in. The seeds go through all folds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qtfeat.errors import SchemaError
from qtfeat.train.combine import Meta, forecast
from qtfeat.train.config import TrainConfig
from qtfeat.train.data import Dataset
from qtfeat.train.evaluate import evaluate, hit_rate, r2, rank_ic
from qtfeat.train.fit import Tick
from qtfeat.train.models import forecast_only
from qtfeat.train.walkforward import Split, WalkForward

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

PERMUTATIONS = 5
SEEDS = 3
PAIR = 2
"""Models that a run of the regressor pair trains."""


@dataclass(frozen=True, slots=True)
class Canaries:
    """What models said that had nothing to say, or too much.

    Attributes:
        permuted_rank_ic: rank IC on the last fold of each model trained and tested on permuted labels.
        permuted_test_rows: test rows of those.
        next_return_r2: R2 on the last fold of a model that was given the next bar's return.
        next_return_hit: its hit rate.
    """

    permuted_rank_ic: tuple[float, ...]
    permuted_test_rows: int
    next_return_r2: float
    next_return_hit: float


def canaries(data: Dataset, split: Split, config: TrainConfig, tick: Tick = lambda _rounds: None) -> Canaries:
    """Train on permuted labels, and with the next bar's return as a feature.

    Args:
        data: features and labels.
        split: the folds; the last one is used.
        config: settings.
        tick: called with rounds done; adds up to (PERMUTATIONS + 1) * PAIR * config.rounds.
    """
    past, test = list(split.blocks(data))[-1]
    ics = []
    for number in range(PERMUTATIONS):
        other = permuted(data, np.random.default_rng([config.seed, number]))
        score = _fold_forecast(other, split, past, test, config, tick)
        # A model that stops before its first tree forecasts one number: no skill at all.
        ics.append(_none_is_zero(rank_ic(score, other.labels.value[test])))
    planted = data.with_column("next_bar_return", next_return(data))
    known = planted.complete
    past, test = past[known[past]], test[known[test]]
    score = _fold_forecast(planted, split, past, test, config, tick)
    value, side = data.labels.value[test], data.labels.side[test]
    return Canaries(tuple(ics), len(test), r2(score, value), hit_rate(score, value, side))


def seed_rank_ics(
    data: Dataset, split: Split, walk: WalkForward, config: TrainConfig, tick: Tick = lambda _rounds: None
) -> tuple[float, ...]:
    """Return the rank IC per timestamp, meaned, of the walk-forward and of SEEDS - 1 repeats with other seeds.

    A stacked forecast stands for its two members here, as their mean: what is asked is how much they depend on chance.

    Args:
        data: features and labels.
        split: the folds.
        walk: the walk-forward with the seed of `config`.
        config: settings.
        tick: called with rounds done; adds up to (SEEDS - 1) * split.folds * PAIR * config.rounds.
    """
    meta = plain_meta(config)
    scores = [forecast(walk.raw.xgb_reg, walk.raw.lgbm_reg, meta)]
    for number in range(1, SEEDS):
        other = replace(config, seed=(config.seed + number) % 2**31)
        scores.append(forecast_walk(data, split, other, tick)[walk.rows])
    return tuple(evaluate(replace(walk.oos, score=score)).pooled.forecast.ic.mean for score in scores)


def forecast_walk(data: Dataset, split: Split, config: TrainConfig, tick: Tick = lambda _rounds: None) -> Floats:
    """Return the forecasts of a walk-forward of the regressor pair alone, one per bar; NaN where none was tested."""
    out = np.full(data.bars.num_rows, np.nan)
    for past, test in split.blocks(data):
        out[test] = _fold_forecast(data, split, past, test, config, tick)
    return out


def plain_meta(config: TrainConfig) -> Meta:
    """Return the combination that needs no fitting: the configured one, or the mean for a stack."""
    return Meta("mean" if config.ensemble == "stack" else config.ensemble, config.xgb_weight)


def permuted(data: Dataset, rng: np.random.Generator) -> Dataset:
    """Return the dataset with the labels of its usable rows dealt out anew, over training and test rows alike.

    Times stay where they are, so the folds are the same rows.
    """
    rows = data.usable
    source = rows[rng.permutation(len(rows))]
    labels = data.labels
    value, ret, side = labels.value.copy(), labels.ret.copy(), labels.side.copy()
    value[rows], ret[rows], side[rows] = labels.value[source], labels.ret[source], labels.side[source]
    return data.with_labels(replace(labels, value=value, ret=ret, side=side))


def next_return(data: Dataset) -> Floats:
    """Return the return of each row's next bar of the same symbol, a look into the future; NaN at the last bar."""
    order = data.by_symbol
    close = np.asarray(data.bars["close"].to_numpy(), dtype=np.float64)[order]
    out = np.full(len(order), np.nan)
    same = data.symbol[order][1:] == data.symbol[order][:-1]
    out[order[:-1]] = np.where(same, close[1:] / close[:-1] - 1.0, np.nan)
    return out


def _fold_forecast(data: Dataset, split: Split, past: Rows, test: Rows, config: TrainConfig, tick: Tick) -> Floats:
    fit, tail = split.tail(data, past, config.tail)
    if len(test) == 0:
        raise SchemaError("the last fold has no test row")
    pair = forecast_only(data.X, data.labels, fit=fit, tail=tail, config=config, tick=tick)
    return pair(data.X[test], plain_meta(config))


def _none_is_zero(value: float) -> float:
    return 0.0 if np.isnan(value) else value
