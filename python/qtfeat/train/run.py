"""The main job: bars to features to labels to a purged walk-forward to saved models to predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat import registry
from qtfeat.bars import read_bars
from qtfeat.bars.simulate import simulate
from qtfeat.features import FeatureSet
from qtfeat.splits import PurgedWalkForward, purged_tail
from qtfeat.train import show
from qtfeat.train.config import TrainConfig
from qtfeat.train.data import Dataset, prepare
from qtfeat.train.evaluate import FoldScore, class_mix, hit_rate, rank_ic
from qtfeat.train.manifest import describe
from qtfeat.train.models import MODELS, Ensemble, Tick, library, train
from qtfeat.train.predict import Prediction, predict
from qtfeat.train.report import Report

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class RunResult:
    """What the main job did.

    Attributes:
        bars: bars read or simulated.
        rows: bars with every feature and a label.
        folds: scores of the walk-forward.
        path: folder of the saved models.
        predictions: one per symbol with a complete last bar.
        seconds: wall time of each step.
    """

    bars: int
    rows: int
    folds: tuple[FoldScore, ...]
    path: Path
    predictions: tuple[Prediction, ...]
    seconds: Mapping[str, float]


def run_main_job(
    data: str | Path | None = None,
    *,
    set_name: str = "kline17",
    horizon: int = 5,
    threshold: float = 0.005,
    folds: int = 5,
    out: str | Path = "models",
    seed: int = 0,
    threads: int = 2,
    on_bad: str = "raise",
    symbols: int = 8,
    bars: int = 20_000,
    signal_r2: float = 0.03,
    config: TrainConfig | None = None,
    console: Any = None,
    quiet: bool = False,
) -> RunResult:
    """Run the whole job and print what it finds.

    Args:
        data: file or folder of bars; None simulates a market (which is none: see `qtfeat.bars.simulate`).
        set_name: name of a shipped feature set.
        horizon: bars ahead to predict.
        threshold: BUY above it, SELL below minus it; a fraction.
        folds: test blocks of the walk-forward.
        out: folder of all models.
        seed: seed of the simulator and of training.
        threads: threads of features and training; part of what makes a run repeatable.
        on_bad: what a bad bar does: `"raise"`, `"null"` or `"reset"`.
        symbols: symbols to simulate.
        bars: bars per symbol to simulate.
        signal_r2: share of variance that the simulated signal explains.
        config: further training settings; `seed` and `threads` come from here if it is given.
        console: a rich console to print to.
        quiet: print nothing.

    Returns:
        Scores, the folder of the models, and the predictions.

    Raises:
        QtfeatError: bad data or settings, too little data, or `qtfeat[train]` is not installed.
    """
    config = config or TrainConfig(seed=seed, threads=threads)
    report = Report(console, quiet=quiet)
    clock = _Clock()
    for name in ("xgboost", "lightgbm"):
        library(name)  # say what is missing before any work is done
    features = FeatureSet.load(set_name)
    if data is None:
        table = simulate(symbols, bars, config.seed, signal_r2=signal_r2, horizon=horizon)
        report.line(f"bars: simulated, planted signal R2 {signal_r2:.1%} over {horizon} bars; this is no market")
    else:
        table, quality = read_bars(data)
        report.line(str(quality))
    clock.lap("bars")
    dataset = prepare(table, features, horizon=horizon, threshold=threshold, threads=config.threads, on_bad=on_bad)
    show.dataset(report, dataset, set_name, horizon, threshold)
    clock.lap("features")
    scores = _walk_forward(dataset, folds, config, report)
    show.scores(report, scores)
    clock.lap("walk-forward")
    rows = dataset.usable
    with report.progress("final models", MODELS * config.rounds) as tick:
        models = _fit(dataset, rows, config, tick)
    manifest = describe(dataset, features.fingerprint, set_name, horizon, threshold, config, scores)
    path = registry.publish(out, set_name, models.files(), manifest)
    clock.lap("final models")
    report.line(f"saved: {path}")
    predictions = predict(dataset, _load(path, features.fingerprint, config))
    show.predictions(report, predictions, horizon)
    report.line("time: " + ", ".join(f"{name} {took:.1f} s" for name, took in clock.laps.items()))
    return RunResult(dataset.bars.num_rows, len(rows), tuple(scores), path, tuple(predictions), clock.laps)


class _Clock:
    """Wall time since the last lap, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, name: str) -> None:
        now = perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def _fit(data: Dataset, rows: Rows, config: TrainConfig, tick: Tick) -> Ensemble:
    """Train on some rows, the latest of them kept apart for early stopping."""
    labels = data.labels
    fit, tail = purged_tail(labels.t[rows], labels.t_end[rows], config.tail)
    return train(data.X, labels.side, labels.value, fit=rows[fit], tail=rows[tail], config=config, tick=tick)


def _walk_forward(data: Dataset, folds: int, config: TrainConfig, report: Report) -> list[FoldScore]:
    rows, labels = data.usable, data.labels
    splitter = PurgedWalkForward(folds)
    scores = []
    with report.progress("walk-forward", folds * MODELS * config.rounds) as tick:
        splits = splitter.split(times=labels.t[rows], label_end=labels.t_end[rows])
        for fold, (past, test) in enumerate(splits, start=1):
            models = _fit(data, rows[past], config, tick)
            scores.append(_score(data, fold, len(past), rows[test], models))
    return scores


def _score(data: Dataset, fold: int, train_rows: int, test: Rows, models: Ensemble) -> FoldScore:
    X, labels = data.X[test], data.labels
    probabilities, forecast = models.probabilities(X), models.forecast(X)
    actual, times = labels.value[test], labels.t[test]
    return FoldScore(
        fold=fold,
        train_rows=train_rows,
        test_rows=len(test),
        test_start=times.min(),
        test_end=times.max(),
        rank_ic=rank_ic(forecast, actual),
        hit_rate=hit_rate(forecast, actual, labels.side[test]),
        class_mix=class_mix(probabilities),
        confidence=float(probabilities.max(axis=1).mean()),
    )


def _load(path: Path, fingerprint: str, config: TrainConfig) -> Ensemble:
    """Read the models back from disk, so that what predicts is what was saved."""
    saved = registry.load_folder(path, fingerprint=fingerprint)
    return Ensemble.from_files(saved.files, config)
