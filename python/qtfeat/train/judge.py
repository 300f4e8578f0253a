"""From what was measured to what the gates ask for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from qtfeat.features import FeatureSet
from qtfeat.gates import Evidence
from qtfeat.train.champion import Champion
from qtfeat.train.data import Dataset, holes
from qtfeat.train.evaluate import Baseline, Evaluation
from qtfeat.train.evidence import Canaries
from qtfeat.train.parity import Parity
from qtfeat.train.walkforward import Split


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that was measured of a candidate.

    Attributes:
        evaluation: the walk-forward's figures.
        canaries: models that had nothing to say, or too much.
        seed_rank_ic: rank IC per seed.
        parity: what live use would do differently.
        champion: the comparison with production; None if nothing is in production.
        attempts: how many models were tried for this one.
    """

    evaluation: Evaluation
    canaries: Canaries
    seed_rank_ic: tuple[float, ...]
    parity: Parity
    champion: Champion | None
    attempts: int


def evidence(data: Dataset, features: FeatureSet, split: Split, measured: Measured) -> Evidence:
    """Return the numbers that the gates judge.

    Rank ICs are means over timestamps; only the overfit gap compares rank correlations over all rows, because a
    training row has no other.
    """
    found = measured.evaluation
    pooled = found.pooled
    book = pooled.forecast.book
    champion = measured.champion
    return Evidence(
        rows=len(data.usable),
        fingerprint=features.fingerprint,
        expected_fingerprint=data.fingerprint,
        nulls=holes(data, features),
        horizon=found.horizon,
        purge_bars=purged_bars(data, split),
        label_leak=data.labels.label_leak,
        class_shares=pooled.classes.predicted_mix,
        class_shares_by_symbol={each.symbol: each.predicted_mix for each in found.symbols},
        confidence_sd=pooled.confidence.sd,
        confidence_p10_p90=pooled.confidence.spread,
        direction_slope=pooled.direction.slope,
        direction_t=pooled.direction.t,
        fold_rank_ic=tuple(fold.scores.forecast.ic.mean for fold in found.folds),
        rank_ic=pooled.forecast.ic.mean,
        rank_ic_t=pooled.forecast.ic.t,
        attempts=measured.attempts,
        baseline_rank_ic={each.name: _baseline_ic(each) for each in found.baselines},
        net_return=book.net,
        fee=found.costs.fee,
        slippage=found.costs.slippage,
        rank_ic_gap=found.gap_rank_ic,
        r2_gap=found.gap_r2,
        seed_rank_ic=measured.seed_rank_ic,
        ece=pooled.calibration.ece,
        parity_rows=measured.parity.prediction_rows,
        parity_feature_diffs=measured.parity.feature_diffs,
        parity_prediction_diffs=measured.parity.prediction_diffs,
        permuted_rank_ic=measured.canaries.permuted_rank_ic,
        permuted_test_rows=measured.canaries.permuted_test_rows,
        canary_r2=measured.canaries.next_return_r2,
        canary_hit=measured.canaries.next_return_hit,
        r2=pooled.forecast.r2,
        hit=pooled.forecast.hit_rate,
        has_champion=champion is not None,
        champion_t=None if champion is None else champion.t,
        rule_share=pooled.coverage.rule,
        filter_share=pooled.coverage.passed,
        signal_share=pooled.coverage.traded,
    )


def purged_bars(data: Dataset, split: Split) -> int:
    """Return the least number of bars between a fold's last training decision and its first test decision."""
    t = data.labels.t
    bar = np.timedelta64(round(data.interval_seconds * 1e9), "ns")
    gaps = [float((t[test].min() - t[past].max()) / bar) for past, test in split.blocks(data)]
    return math.floor(min(gaps)) - 1


def _baseline_ic(baseline: Baseline) -> float:
    """Return the rank IC; forecasting one number for all is no skill, which is 0."""
    return 0.0 if baseline.name == "zero" else baseline.forecast.ic.mean
