"""From what was measured to what the gates ask for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from qtfeat.features import FeatureSet
from qtfeat.gates import Evidence
from qtfeat.train.champion import Champion
from qtfeat.train.data import Dataset, holes
from qtfeat.train.evaluate import Evaluation
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
        parity: what live use would do differently; None where there are no bars to replay.
        champion: the comparison with production; None if nothing is in production.
        attempts: how many models were tried for this one.
    """

    evaluation: Evaluation
    canaries: Canaries
    seed_rank_ic: tuple[float, ...]
    parity: Parity | None
    champion: Champion | None
    attempts: int


def evidence(data: Dataset, features: FeatureSet, split: Split, measured: Measured) -> Evidence:
    """Return the numbers that the gates judge."""
    champion, parity = measured.champion, measured.parity
    return Evidence(
        **measured.evaluation.evidence(),
        rows=len(data.usable),
        fingerprint=features.fingerprint,
        expected_fingerprint=data.fingerprint,
        nulls=holes(data, features),
        purge_bars=purged_bars(data, split),
        label_leak=data.labels.label_leak,
        attempts=measured.attempts,
        seed_rank_ic=measured.seed_rank_ic,
        parity_rows=None if parity is None else parity.prediction_rows,
        parity_feature_diffs=None if parity is None else parity.feature_diffs,
        parity_prediction_diffs=None if parity is None else parity.prediction_diffs,
        permuted_rank_ic=measured.canaries.permuted_rank_ic,
        permuted_test_rows=measured.canaries.permuted_test_rows,
        canary_r2=measured.canaries.next_return_r2,
        canary_hit=measured.canaries.next_return_hit,
        has_champion=champion is not None,
        champion_t=None if champion is None else champion.t,
    )


def purged_bars(data: Dataset, split: Split) -> int:
    """Return the least number of bars between a fold's last training decision and its first test decision.

    Trades are no bars: theirs is the horizon if every training outcome was known before the test, else 0.
    """
    labels = data.labels
    if labels.kind == "trade":
        clear = all(labels.t_end[past].max() < labels.t[test].min() for past, test in split.blocks(data))
        return labels.horizon if clear else 0
    bar = np.timedelta64(round(data.interval_seconds * 1e9), "ns")
    gaps = [float((labels.t[test].min() - labels.t[past].max()) / bar) for past, test in split.blocks(data)]
    return max(0, math.floor(min(gaps)) - 1)
