"""The main job: bars, features, labels, walk-forward, evidence, gates, registry, and signals for the last bar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa

from qtfeat import registry
from qtfeat.bars import read_bars
from qtfeat.bars.simulate import simulate
from qtfeat.errors import SchemaError
from qtfeat.features import FeatureSet
from qtfeat.gates import Limits, Verdicts, check
from qtfeat.train import show
from qtfeat.train.candidate import Candidate, build
from qtfeat.train.config import TrainConfig
from qtfeat.train.data import Dataset, Target, prepare
from qtfeat.train.evaluate import Evaluation
from qtfeat.train.evidence import PAIR
from qtfeat.train.libraries import library
from qtfeat.train.manifest import describe, importance, outcome
from qtfeat.train.models import Ensemble
from qtfeat.train.page import report_html
from qtfeat.train.predict import Prediction, predict
from qtfeat.train.report import Report
from qtfeat.train.tune import FOLDS, tune
from qtfeat.train.walkforward import Split

DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class RunResult:
    """What the main job did.

    Attributes:
        bars: bars read or simulated.
        rows: bars with every feature and a label.
        evaluation: figures of the walk-forward.
        verdicts: what the gates found.
        path: folder of the version, whether it is a candidate or was rejected.
        status: "candidate" or "rejected".
        predictions: one per symbol with a complete last bar; none of a rejected model.
        seconds: wall time of each step.
    """

    bars: int
    rows: int
    evaluation: Evaluation
    verdicts: Verdicts
    path: Path
    status: str
    predictions: tuple[Prediction, ...]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """What the main job is to do; the settings of the models are a `TrainConfig`.

    Attributes:
        set_name: name of a shipped feature set, or a .toml file.
        target: what the regressors predict: "raw" returns, "volatility"-scaled or market-"neutral" ones.
        horizon: bars ahead to predict.
        threshold: BUY above it, SELL below minus it, in the unit of the target; None for the default of the target.
        folds: test blocks of the walk-forward.
        embargo: bars between the last outcome of the training and the first decision of the test, beyond the purge.
        train_size: timestamps to train on in each fold; None for all before it.
        out: folder of all models.
        name: name of the model in the registry; None makes one of set and target.
        limits: a TOML file of gate limits; None for the shipped ones.
        attempts: how many models were tried for this one, this one included: the gates put it beside the skill.
        expires_days: days after its last bar that the model may be served; None for no end.
        tune: settings to search through first, on rows that no test block sees; 0 for none. Each counts as an attempt,
            and is appended to `<out>/trials-<name>.jsonl`.
        promote: put the version into production if the gates allow it.
        on_bad: what a bad bar does: "raise", "null" or "reset".
        symbols: symbols to simulate where there are no data.
        bars: bars per symbol to simulate.
        signal_r2: share of variance that the simulated signal explains.
    """

    set_name: str = "kline17"
    target: Target = "raw"
    horizon: int = 5
    threshold: float | None = None
    folds: int = 5
    embargo: int = 0
    train_size: int | None = None
    out: str | Path = "models"
    name: str | None = None
    limits: str | Path | None = None
    attempts: int = 1
    expires_days: float | None = None
    tune: int = 0
    promote: bool = False
    on_bad: str = "raise"
    symbols: int = 8
    bars: int = 20_000
    signal_r2: float = 0.03

    def __post_init__(self) -> None:
        """Refuse what no later step would name."""
        for setting, least in (("folds", 1), ("attempts", 1), ("embargo", 0), ("tune", 0)):
            if getattr(self, setting) < least:
                raise SchemaError(f"{setting} must be at least {least}, got {getattr(self, setting)}")
        if self.expires_days is not None and not 0.0 < self.expires_days < 1e5:
            raise SchemaError(f"expires_days must be above 0 and below 100,000, got {self.expires_days}")

    @property
    def all_attempts(self) -> int:
        """Attempts before this run, this run, and every trial of its search."""
        return self.attempts + self.tune

    def features(self) -> FeatureSet:
        """Return the feature set."""
        return (FeatureSet.from_toml if self.set_name.endswith(".toml") else FeatureSet.load)(self.set_name)

    def model_name(self) -> str:
        """Return the name of the model in the registry."""
        if self.name is not None:
            return self.name
        stem = Path(self.set_name).stem.lower()
        return stem if self.target == "raw" else f"{stem}-{self.target}"


def run_main_job(
    data: str | Path | None = None,
    *,
    config: TrainConfig | None = None,
    console: Any = None,
    quiet: bool = False,
    **settings: Any,
) -> RunResult:
    """Run the whole job and print what it finds.

    A model that the gates refuse is kept as a rejected version, which no alias can point at, and nothing is predicted
    with it; the verdicts say why. Nothing is written before the gates have judged.

    Args:
        data: file or folder of bars; None simulates a market (which is none: see `qtfeat.bars.simulate`).
        config: settings of the models.
        console: a rich console to print to.
        quiet: print nothing.
        **settings: see `JobSettings`.

    Raises:
        QtfeatError: bad data or settings, too little data, or `qtfeat[train]` is not installed.
    """
    job, config, report, clock = (
        JobSettings(**settings),
        config or TrainConfig(),
        Report(console, quiet=quiet),
        _Clock(),
    )
    for name in ("xgboost", "lightgbm", "sklearn"):
        library(name)  # say what is missing before any work is done
    registry.check_target(job.out, job.model_name())
    features, limits = job.features(), Limits.load(job.limits)
    table, quality = _bars(data, job, config, report)
    clock.lap("bars")
    dataset = prepare(
        table,
        features,
        target=job.target,
        horizon=job.horizon,
        threshold=job.threshold,
        threads=config.threads,
        on_bad=job.on_bad,
    )
    show.dataset(report, dataset, features, job.target)
    clock.lap("features")
    split = Split(job.folds, timedelta(seconds=job.embargo * dataset.interval_seconds), job.train_size)
    if job.tune:
        config = _tuned(dataset, split, config, job, report)
        clock.lap("search")
    made = build(dataset, features, split, config, job.out, job.model_name(), job.all_attempts, report, clock.lap)
    show.scores(report, made.measured.evaluation)
    verdicts = check(made.evidence, limits)
    path, status = _publish(dataset, features, split, config, job, made, verdicts, quality)
    clock.lap("gates and registry")
    show.verdicts(report, verdicts, path, status)
    predictions = () if status == "rejected" else _predictions(dataset, path, features, config, job, report)
    report.line("time: " + ", ".join(f"{name} {took:.1f} s" for name, took in clock.laps.items()))
    return RunResult(
        bars=dataset.bars.num_rows,
        rows=len(dataset.usable),
        evaluation=made.measured.evaluation,
        verdicts=verdicts,
        path=path,
        status=status,
        predictions=predictions,
        seconds=clock.laps,
    )


def _bars(data: str | Path | None, job: JobSettings, config: TrainConfig, report: Report) -> tuple[pa.Table, str]:
    if data is None:
        text = f"simulated, planted signal R2 {job.signal_r2:.1%} over {job.horizon} bars; this is no market"
        report.line(f"bars: {text}")
        return simulate(job.symbols, job.bars, config.seed, signal_r2=job.signal_r2, horizon=job.horizon), text
    table, quality = read_bars(data)
    report.line(str(quality))
    return table, str(quality)


def _tuned(data: Dataset, split: Split, config: TrainConfig, job: JobSettings, report: Report) -> TrainConfig:
    Path(job.out).mkdir(parents=True, exist_ok=True)
    record = Path(job.out) / f"trials-{job.model_name()}.jsonl"
    with report.progress("search", job.tune * FOLDS * PAIR * config.rounds) as tick:
        config, trials = tune(data, split, config, job.tune, record=record, tick=tick)
    best = max(trial.rank_ic for trial in trials)
    report.line(f"search: {len(trials)} settings on the first fold's training rows, best rank IC {best:+.4f}: {record}")
    return config


def _publish(
    data: Dataset,
    features: FeatureSet,
    split: Split,
    config: TrainConfig,
    job: JobSettings,
    made: Candidate,
    verdicts: Verdicts,
    quality: str,
) -> tuple[Path, str]:
    """Write the version, and into production if that was asked for and the gates allow it."""
    manifest = {
        **describe(data, features, job.target, split, config, job.all_attempts),
        **outcome(made.measured.evaluation, made.measured.champion),
        "expires_after": None if job.expires_days is None else job.expires_days * DAY_SECONDS,
    }
    name, status = job.model_name(), "rejected" if verdicts.allowed == "rejected" else "candidate"
    facts = {key: value for key, value in manifest.items() if key not in ("drift", "scores", "features")}
    page = report_html(
        made.measured.evaluation, verdicts, {"name": name, **facts}, importance(made.model, data.columns), quality
    )
    files = {
        **made.files,
        registry.GATES: verdicts.to_json(),
        registry.GOLDEN: made.golden,
        "report.html": page.encode(),
    }
    path = registry.publish(job.out, name, files, manifest, status)
    if job.promote and verdicts.allowed == "production":
        registry.promote(job.out, name, path.name)
    return path, status


def _predictions(
    data: Dataset, path: Path, features: FeatureSet, config: TrainConfig, job: JobSettings, report: Report
) -> tuple[Prediction, ...]:
    """Read the models back from disk, so that what predicts is what was saved."""
    saved = registry.load_folder(path, fingerprint=features.fingerprint)
    made = tuple(predict(data, Ensemble.from_files(saved.files, config.threads)))
    show.predictions(report, made, job.horizon, job.target)
    return made


class _Clock:
    """Wall time since the last lap, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, name: str) -> None:
        now = perf_counter()
        self.laps[name] = now - self._last
        self._last = now
