"""The main job's findings as lines and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qtfeat.features import FeatureSet
from qtfeat.gates import Verdicts
from qtfeat.labels import SIDES
from qtfeat.train.data import Dataset
from qtfeat.train.evaluate import Evaluation
from qtfeat.train.evaluate.scores import Scores
from qtfeat.train.predict import Prediction
from qtfeat.train.report import Report


def dataset(report: Report, data: Dataset, features: FeatureSet, target: str) -> None:
    """Print how many rows there are, how many can be used, and how the classes are mixed."""
    rows, labels = data.usable, data.labels
    mix = np.bincount(labels.side[rows], minlength=len(SIDES)) / max(1, len(rows))
    report.line(
        f"features: {features.name or 'own set'}, {len(data.columns)} columns, {data.bars.num_rows:,} bars, "
        f"{int((~data.complete).sum()):,} of them without every feature (warm-up or bad bars)"
    )
    shares = ", ".join(f"{name} {share:.1%}" for name, share in zip(SIDES, mix, strict=True))
    report.line(
        f"labels: {target} target, {labels.horizon} bars ahead, threshold ±{labels.threshold:g}: "
        f"{len(rows):,} rows, {shares}"
    )


def scores(report: Report, found: Evaluation) -> None:
    """Print a row per fold, all folds together, and the forecasts that cost nothing; net is per rebalance."""
    columns = ("fold", "tested from", "rows", "rank IC", "t", "hit", "S/H/B %", "ECE", "net")
    rows = [
        [
            str(fold.info.fold),
            str(fold.info.test_start.astype("datetime64[D]")),
            f"{fold.info.test_rows:,}",
            *_numbers(fold.scores),
        ]
        for fold in found.folds
    ]
    rows.append(["all", "", f"{found.pooled.rows:,}", *_numbers(found.pooled)])
    for each in found.baselines:
        mine = each.forecast
        cells = [_text(mine.ic.mean, "+.4f"), _text(mine.ic.t, ".1f"), _text(mine.hit_rate, ".1%")]
        rows.append([each.name, "", f"{each.rows:,}", *cells, "", "", _text(mine.book.net, "+.3%")])
    kind = "over the symbols at a time" if found.form == "cross-section" else "over time"
    report.table(f"walk-forward, out of sample; rank IC {kind}", columns, rows)


def verdicts(report: Report, found: Verdicts, path: Path, status: str) -> None:
    """Print what the gates found, and what became of the model."""
    rows = [
        ["ok" if v.passed else "FAIL" if v.blocking else "note", v.gate, v.sentence]
        for v in sorted(found.verdicts, key=lambda v: v.passed or not v.blocking)
    ]
    report.table(f"gates ({len(found.failures)} failed)", ("", "gate", "verdict"), rows, left=3)
    for change in found.limits.changes:
        report.line(f"limits: {change}")
    if status == "rejected":
        report.line(f"REJECTED: kept for the record in {path}; no alias can point at it, nothing is predicted")
    else:
        report.line(f"allowed: {found.allowed}; published: {path}")
    report.line(f"report: {path / 'report.html'}")


def predictions(report: Report, made: Sequence[Prediction], horizon: int, target: str) -> None:
    """Print a row per symbol."""
    form = "+.3f" if target == "volatility" else "+.3%"
    columns = ("symbol", "last bar (UTC)", "close", "side", "conf", "/".join(SIDES), "expected")
    rows = [
        [
            p.symbol,
            str(p.time.astype("datetime64[m]")).replace("T", " "),
            f"{p.close:.6g}",
            p.side,
            f"{p.confidence:.3f}",
            " ".join(f"{chance:.2f}" for chance in p.probabilities),
            format(p.forecast, form),
        ]
        for p in made
    ]
    report.table(f"predictions for the next {horizon} bars", columns, rows)


def _numbers(found: Scores) -> list[str]:
    forecast = found.forecast
    return [
        _text(forecast.ic.mean, "+.4f"),
        _text(forecast.ic.t, ".1f"),
        _text(forecast.hit_rate, ".1%"),
        "/".join(f"{share:.0%}".removesuffix("%") for share in found.classes.predicted_mix),
        _text(found.calibration.ece, ".3f"),
        _text(forecast.book.net, "+.3%"),
    ]


def _text(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
