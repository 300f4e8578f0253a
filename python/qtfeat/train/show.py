"""The main job's findings as lines and tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qtfeat.labels import SIDES
from qtfeat.train.data import Dataset
from qtfeat.train.evaluate import FoldScore
from qtfeat.train.predict import Prediction
from qtfeat.train.report import Report


def dataset(report: Report, data: Dataset, set_name: str, horizon: int, threshold: float) -> None:
    """Print how many rows there are, how many can be used, and how the classes are mixed."""
    rows = data.usable
    mix = np.bincount(data.labels.side[rows], minlength=len(SIDES)) / max(1, len(rows))
    report.line(
        f"features: {set_name}, {len(data.columns)} columns, {data.bars.num_rows:,} bars, "
        f"{int((~data.complete).sum()):,} of them without every feature (warm-up or bad bars)"
    )
    shares = ", ".join(f"{name} {share:.1%}" for name, share in zip(SIDES, mix, strict=True))
    report.line(f"labels: {horizon} bars ahead, ±{threshold:.2%}: {len(rows):,} rows, {shares}")


def scores(report: Report, folds: Sequence[FoldScore]) -> None:
    """Print a row per fold and their mean."""
    columns = ("fold", "tested from", "train", "test", "rank IC", "hit", *SIDES, "conf")
    rows = [
        [
            str(s.fold),
            str(s.test_start.astype("datetime64[D]")),
            f"{s.train_rows:,}",
            f"{s.test_rows:,}",
            *_numbers(s.rank_ic, s.hit_rate, s.class_mix, s.confidence),
        ]
        for s in folds
    ]
    means = np.mean([(s.rank_ic, s.hit_rate, s.confidence, *s.class_mix) for s in folds], axis=0).tolist()
    rows.append(["mean", "", "", "", *_numbers(means[0], means[1], means[3:], means[2])])
    report.table("walk-forward, each block predicted from purged rows before it", columns, rows)


def predictions(report: Report, made: Sequence[Prediction], horizon: int) -> None:
    """Print a row per symbol."""
    columns = ("symbol", "last bar (UTC)", "close", "side", "conf", "/".join(SIDES), "expected")
    rows = [
        [
            p.symbol,
            str(p.time.astype("datetime64[m]")).replace("T", " "),
            f"{p.close:.6g}",
            p.side,
            f"{p.confidence:.3f}",
            " ".join(f"{chance:.2f}" for chance in p.probabilities),
            f"{p.forecast:+.3%}",
        ]
        for p in made
    ]
    report.table(f"predictions for the next {horizon} bars", columns, rows)


def _numbers(ic: float, hit: float, mix: Sequence[float], confidence: float) -> list[str]:
    return [f"{ic:+.4f}", f"{hit:.1%}", *(f"{share:.0%}" for share in mix), f"{confidence:.3f}"]
