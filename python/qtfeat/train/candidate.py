"""A candidate: the walk-forward, the final models, and everything that was measured of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qtfeat import registry
from qtfeat.features import FeatureSet
from qtfeat.gates import Evidence
from qtfeat.train.champion import champion
from qtfeat.train.config import TrainConfig
from qtfeat.train.data import Dataset
from qtfeat.train.evaluate import evaluate
from qtfeat.train.evidence import PAIR, PERMUTATIONS, SEEDS, canaries, seed_rank_ics
from qtfeat.train.judge import Measured, evidence
from qtfeat.train.models import MODELS, Ensemble
from qtfeat.train.parity import parity
from qtfeat.train.report import Report
from qtfeat.train.walkforward import Split, final_model, walk_forward

GOLDEN_ROWS = 64


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the gates judge and the registry keeps.

    Attributes:
        model: the final models.
        files: the same as file name and content.
        golden: `golden.json`: rows with what the models say about them.
        measured: everything that was measured.
        evidence: the numbers for the gates.
    """

    model: Ensemble
    files: dict[str, bytes]
    golden: bytes
    measured: Measured
    evidence: Evidence


def build(
    data: Dataset,
    features: FeatureSet,
    split: Split,
    config: TrainConfig,
    root: str | Path,
    name: str,
    attempts: int,
    report: Report,
    lap: Callable[[str], None],
) -> Candidate:
    """Train, test and measure; nothing is written.

    Args:
        data: features and labels.
        features: the feature set.
        split: the folds.
        config: settings of the models.
        root: folder of all models, where the champion is looked up.
        name: name of the model there.
        attempts: how many models were tried.
        report: shows the progress.
        lap: called with the name of each step that is done.
    """
    with report.progress("walk-forward", split.folds * MODELS * config.rounds) as tick:
        walk = walk_forward(data, split, config, tick)
    evaluation = evaluate(walk.oos)
    lap("walk-forward")
    with report.progress("final models", MODELS * config.rounds) as tick:
        model = final_model(data, split, walk, config, tick)
    files = model.files()
    lap("final models")
    repeats = PERMUTATIONS + 1 + (SEEDS - 1) * split.folds
    with report.progress("canaries, seeds, parity", repeats * PAIR * config.rounds) as tick:
        measured = Measured(
            evaluation=evaluation,
            canaries=canaries(data, split, config, tick),
            seed_rank_ic=seed_rank_ics(data, split, walk, config, tick),
            parity=parity(data, features, model, files),
            champion=champion(root, name, data, split, walk, config),
            attempts=attempts,
        )
    lap("evidence")
    rows = data.usable
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, GOLDEN_ROWS).astype(np.intp))]
    _, p, score = model.predict(data.X[rows])
    golden = registry.golden(data.columns, data.X[rows], p, score)
    return Candidate(model, files, golden, measured, evidence(data, features, split, measured))
