"""Search for settings, on rows that no test block of the walk-forward will see."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qtfeat.errors import SchemaError
from qtfeat.train.config import TrainConfig
from qtfeat.train.data import Dataset
from qtfeat.train.evaluate.series import clock_of, ic_series
from qtfeat.train.evidence import forecast_walk
from qtfeat.train.fit import Tick
from qtfeat.train.libraries import library
from qtfeat.train.walkforward import Split, plain_oos

FOLDS = 3
"""Test blocks of the walk-forward inside the search."""
BATCH = 4
"""Trials that are asked for before their results are told."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of settings that was tried.

    Attributes:
        number: from 0.
        settings: the values tried, by name of `TrainConfig`.
        rank_ic: mean rank IC per timestamp over the inner test blocks; 0 for a forecast that is constant.
    """

    number: int
    settings: dict[str, Any]
    rank_ic: float


def space(optuna: Any) -> dict[str, Any]:
    """Return what is searched: name of a setting to its distribution."""
    return {
        "depth": optuna.distributions.IntDistribution(2, 5),
        "learning_rate": optuna.distributions.FloatDistribution(0.02, 0.1, log=True),
        "min_child": optuna.distributions.IntDistribution(20, 1_000, log=True),
        "l2": optuna.distributions.FloatDistribution(0.1, 100.0, log=True),
        "subsample": optuna.distributions.FloatDistribution(0.5, 1.0),
        "colsample": optuna.distributions.FloatDistribution(0.3, 1.0),
    }


def tune(
    data: Dataset,
    split: Split,
    config: TrainConfig,
    trials: int,
    *,
    record: str | Path | None = None,
    tick: Tick = lambda _rounds: None,
) -> tuple[TrainConfig, list[Trial]]:
    """Search in batches of fixed size, so that the same seed tries the same settings whatever the machine.

    Only the training rows of the first fold take part, in a walk-forward of their own: the test blocks by which the
    model will be judged have no say in its settings. What is measured is the regressor pair's rank IC.

    Args:
        data: features and labels.
        split: the folds of the walk-forward to come.
        config: settings to start from; the search changes those in `space`. Its seed is the search's too.
        trials: how many settings to try.
        record: JSONL file that each trial is appended to as soon as it is done.
        tick: called with rounds done; adds up to trials * FOLDS * PAIR * config.rounds.

    Returns:
        (the best settings, or `config` if none beats a rank IC of 0; all trials).

    Raises:
        SchemaError: fewer than 1 trial, or too little data.
        QtfeatError: Optuna is not installed.
    """
    if trials < 1:
        raise SchemaError(f"trials must be at least 1, got {trials}")
    optuna = library("optuna", extra="tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    past, _ = next(iter(split.blocks(data)))
    inner = Split(FOLDS, split.embargo)
    early = data.only(past)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=config.seed))
    done: list[Trial] = []
    while len(done) < trials:
        asked = [study.ask(space(optuna)) for _ in range(min(BATCH, trials - len(done)))]
        for trial in asked:
            value = _rank_ic(early, inner, replace(config, **trial.params), tick)
            done.append(Trial(trial.number, dict(trial.params), value))
            _append(record, done[-1])
        for trial, result in zip(asked, done[-len(asked) :], strict=True):
            study.tell(trial, result.rank_ic)
    best = max(done, key=lambda trial: (trial.rank_ic, -trial.number))
    return (replace(config, **best.settings) if best.rank_ic > 0.0 else config), done


def _rank_ic(data: Dataset, split: Split, config: TrainConfig, tick: Tick) -> float:
    score = forecast_walk(data, split, config, tick)
    rows = np.flatnonzero(~np.isnan(score))
    oos = plain_oos(data, rows, score[rows])
    ics = ic_series(oos.score, oos.value, oos.symbol, clock_of(oos))
    return float(np.nanmean(ics)) if np.isfinite(ics).any() else 0.0


def _append(record: str | Path | None, trial: Trial) -> None:
    if record is None:
        return
    line = {"number": trial.number, "rank_ic": trial.rank_ic, "settings": trial.settings}
    with Path(record).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
