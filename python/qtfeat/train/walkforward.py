"""The walk-forward: every block predicted, combined and calibrated by what was known before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from qtfeat.labels import SIDES
from qtfeat.splits import PurgedWalkForward, purged_tail
from qtfeat.train.calibrate import fit_combination
from qtfeat.train.combine import RawOutputs, combine
from qtfeat.train.config import TrainConfig
from qtfeat.train.data import Dataset
from qtfeat.train.evaluate import r2, rank_ic
from qtfeat.train.fit import Tick
from qtfeat.train.models import Ensemble, train
from qtfeat.train.oos import FoldInfo, OutOfSample

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

LEAST_CALIBRATION = 300
"""Out-of-sample rows from which a fold calibrates on the blocks before it instead of on its own tail."""


@dataclass(frozen=True, slots=True)
class Split:
    """The walk-forward's cut of a dataset.

    Attributes:
        folds: number of test blocks.
        embargo: extra distance between training outcomes and tests.
        train_size: timestamps to train on; None for all before the block.
    """

    folds: int = 5
    embargo: timedelta = timedelta(0)
    train_size: int | None = None

    def blocks(self, data: Dataset) -> Iterator[tuple[Rows, Rows]]:
        """Yield (training rows, test rows) of each fold, as rows of the dataset; test rows by time, then symbol."""
        rows, labels = data.usable, data.labels
        splitter = PurgedWalkForward(self.folds, embargo=self.embargo, train_size=self.train_size)
        for past, test in splitter.split(times=labels.t[rows], label_end=labels.t_end[rows]):
            tested = rows[test]
            yield rows[past], tested[np.lexsort((data.symbol[tested], labels.t[tested]))]

    def tail(self, data: Dataset, rows: Rows, share: float) -> tuple[Rows, Rows]:
        """Return (rows to fit on, purged rows of the tail) of training rows."""
        fit, tail = purged_tail(data.labels.t[rows], data.labels.t_end[rows], share, embargo=self.embargo)
        return rows[fit], rows[tail]


@dataclass(frozen=True, slots=True)
class WalkForward:
    """All out-of-sample rows and what is needed to combine them again.

    Attributes:
        oos: predictions and outcomes.
        raw: what the four models of each row's fold said.
        rows: rows of the dataset, in the order of `oos`.
    """

    oos: OutOfSample
    raw: RawOutputs
    rows: Rows


def walk_forward(data: Dataset, split: Split, config: TrainConfig, tick: Tick = lambda _rounds: None) -> WalkForward:
    """Train and predict fold after fold.

    A fold's combination and calibration are fitted on all earlier blocks' predictions whose outcome was known, with
    the embargo over, before its own block began; the first fold, which has none, takes its models' early-stopping
    tail. So no number of a block depends on anything that happened in it or later.

    Args:
        data: features and labels.
        split: the folds.
        config: settings.
        tick: called with rounds done; adds up to folds * MODELS * config.rounds.

    Raises:
        SchemaError: too little data for a fold.
    """
    rows: list[Rows] = []
    raws: list[RawOutputs] = []
    parts: list[tuple[Floats, Floats, Floats]] = []
    infos = []
    for fold, (past, test) in enumerate(split.blocks(data), start=1):
        fit, tail = split.tail(data, past, config.tail)
        boosters = train(data.X, data.labels, fit=fit, tail=tail, config=config, tick=tick)
        known = _known(data, rows, raws, past)
        if len(known[0]) < LEAST_CALIBRATION:
            known = (tail, boosters.raw(data.X[tail]))
        meta, calibration = fit_combination(known[1], data.labels.side[known[0]], data.labels.value[known[0]], config)
        raw = boosters.raw(data.X[test])
        rows.append(test)
        raws.append(raw)
        parts.append(combine(raw, meta, calibration))
        infos.append(_info(data, fold, past, fit, test, Ensemble(boosters, meta, calibration)))
    together = np.concatenate(rows)
    p_raw, p, score = (np.concatenate(part) for part in zip(*parts, strict=True))
    fold_of = np.repeat(np.arange(1, len(rows) + 1, dtype=np.int16), [len(part) for part in rows])
    oos = _out_of_sample(data, together, fold_of, tuple(infos), p, p_raw, score)
    return WalkForward(oos, _concatenate(raws), together)


def final_model(
    data: Dataset, split: Split, walk: WalkForward, config: TrainConfig, tick: Tick = lambda _rounds: None
) -> Ensemble:
    """Train on all rows, stopped early on a purged tail; combined and calibrated by all out-of-sample predictions."""
    fit, tail = split.tail(data, data.usable, config.tail)
    boosters = train(data.X, data.labels, fit=fit, tail=tail, config=config, tick=tick)
    return Ensemble(boosters, *fit_combination(walk.raw, walk.oos.side, walk.oos.value, config))


def _known(data: Dataset, rows: list[Rows], raws: list[RawOutputs], past: Rows) -> tuple[Rows, RawOutputs]:
    """Return the earlier test rows that this fold may know: those it may train on, purged in the same way."""
    if not rows:
        return np.zeros(0, dtype=np.intp), _concatenate(raws)
    earlier = np.concatenate(rows)
    allowed = np.zeros(len(data.X), dtype=bool)
    allowed[past] = True
    keep = allowed[earlier]
    return earlier[keep], _concatenate(raws).take(keep)


def _concatenate(raws: list[RawOutputs]) -> RawOutputs:
    if not raws:
        return RawOutputs(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    names = ("xgb_cls", "lgbm_cls", "xgb_reg", "lgbm_reg")
    return RawOutputs(*(np.concatenate([getattr(raw, name) for raw in raws]) for name in names))


def _info(data: Dataset, fold: int, past: Rows, fit: Rows, test: Rows, model: Ensemble) -> FoldInfo:
    """Describe a fold; how well it knows its training rows is measured on those its trees were fitted on."""
    labels = data.labels
    forecast = model.boosters.forecast(data.X[fit], model.meta)
    return FoldInfo(
        fold=fold,
        train_rows=len(past),
        test_rows=len(test),
        train_start=labels.t[past].min(),
        train_end=labels.t_end[past].max(),
        test_start=labels.t[test].min(),
        test_end=labels.t[test].max(),
        train_rank_ic=rank_ic(forecast, labels.value[fit]),
        train_r2=r2(forecast, labels.value[fit]),
    )


def plain_oos(data: Dataset, rows: Rows, score: Floats) -> OutOfSample:
    """Return rows with a forecast and nothing else known, as one fold."""
    thirds = np.full((len(rows), len(SIDES)), 1.0 / len(SIDES))
    return _out_of_sample(data, rows, np.ones(len(rows), dtype=np.int16), (), thirds, thirds, score)


def _out_of_sample(
    data: Dataset,
    rows: Rows,
    fold: npt.NDArray[np.int16],
    folds: tuple[FoldInfo, ...],
    p: Floats,
    p_raw: Floats,
    score: Floats,
) -> OutOfSample:
    labels = data.labels
    return OutOfSample(
        fold=fold,
        t=labels.t[rows].astype("datetime64[ns]"),
        t_end=labels.t_end[rows].astype("datetime64[ns]"),
        symbol=data.symbol[rows],
        symbols=data.symbols,
        value=labels.value[rows],
        ret=labels.ret[rows],
        side=labels.side[rows],
        p=p,
        p_raw=p_raw,
        score=score,
        baselines={name: values[rows] for name, values in data.baselines.items()},
        rsi=data.rsi[rows],
        folds=folds,
        horizon=labels.horizon,
        interval_seconds=data.interval_seconds,
        repeats=labels.kind == "trade",
    )
