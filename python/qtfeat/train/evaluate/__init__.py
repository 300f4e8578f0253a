"""Evaluation: out-of-sample predictions to the figures that gates and reports read.

`evaluate` is what callers need; `rank_ic`, `r2` and `hit_rate` are for those who score other rows the same way.
"""

from __future__ import annotations

from qtfeat.train.evaluate.book import Book, Costs, Curve
from qtfeat.train.evaluate.classes import (
    Bin,
    Calibration,
    Classes,
    Confidence,
    Coverage,
    Direction,
    SignalFilter,
)
from qtfeat.train.evaluate.evaluation import Baseline, Decile, Evaluation, FoldEvaluation, evaluate
from qtfeat.train.evaluate.ranks import hit_rate, r2, r2_mean, rank_ic
from qtfeat.train.evaluate.scores import ForecastScores, Scores, SymbolScores
from qtfeat.train.evaluate.series import OverTime, over_time

__all__ = [
    "Baseline",
    "Bin",
    "Book",
    "Calibration",
    "Classes",
    "Confidence",
    "Costs",
    "Coverage",
    "Curve",
    "Decile",
    "Direction",
    "Evaluation",
    "FoldEvaluation",
    "ForecastScores",
    "OverTime",
    "Scores",
    "SignalFilter",
    "SymbolScores",
    "evaluate",
    "hit_rate",
    "over_time",
    "r2",
    "r2_mean",
    "rank_ic",
]
