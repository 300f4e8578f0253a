"""Every out-of-sample prediction of a walk-forward, with the outcome and the trivial forecasts beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from qtfeat.errors import SchemaError
from qtfeat.labels import SIDES

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]

BASELINES = ("zero", "neg_momentum10", "neg_ret")
"""Forecasts that cost nothing: 0, minus the return of the last ten bars, minus the last bar's return."""


@dataclass(frozen=True, slots=True)
class FoldInfo:
    """What one fold of the walk-forward trained and was tested on.

    Attributes:
        fold: number, from 1.
        train_rows: rows trained on, those watched for early stopping among them.
        test_rows: rows predicted.
        train_start: first `t` of the training rows.
        train_end: last `t_end` of the training rows, before `test_start`.
        test_start: first `t` of the test rows.
        test_end: last `t` of the test rows.
        train_rank_ic: rank correlation of forecast and training target over the training rows; NaN if constant.
        train_r2: share of the target's variance that the forecast explains on the training rows.
    """

    fold: int
    train_rows: int
    test_rows: int
    train_start: np.datetime64
    train_end: np.datetime64
    test_start: np.datetime64
    test_end: np.datetime64
    train_rank_ic: float
    train_r2: float


@dataclass(frozen=True, slots=True)
class OutOfSample:
    """All test rows of a walk-forward, ordered by fold, `t` and symbol; every array has one entry per row.

    Attributes:
        fold: int16, from 1.
        t: datetime64[ns], close time of the decision bar.
        t_end: datetime64[ns], close time of the bar with which the outcome is known.
        symbol: int32, an index into `symbols`.
        symbols: names of the symbols.
        value: the training target.
        ret: the raw forward return over the horizon, a fraction, whatever the target is.
        side: int8 true class, 0 SELL, 1 HOLD, 2 BUY.
        p: (n, 3) calibrated probabilities of SELL, HOLD, BUY.
        p_raw: (n, 3) the same before calibration.
        score: forecast of the regressor pair, in the unit of `value`.
        baselines: name to forecast; at least those of `BASELINES`, NaN where one needs bars that are not there.
        rsi: rsi(14), for the rule that stands in for a model; NaN where there is none.
        folds: one entry per fold.
        horizon: bars from `t` to `t_end`.
        interval_seconds: length of a bar.
        repeats: rows may share fold, `t` and symbol, as trades that were entered at the same time do.
    """

    fold: npt.NDArray[np.int16]
    t: Times
    t_end: Times
    symbol: npt.NDArray[np.int32]
    symbols: tuple[str, ...]
    value: Floats
    ret: Floats
    side: npt.NDArray[np.int8]
    p: Floats
    p_raw: Floats
    score: Floats
    baselines: Mapping[str, Floats]
    rsi: Floats
    folds: tuple[FoldInfo, ...]
    horizon: int
    interval_seconds: float
    repeats: bool = False

    def __post_init__(self) -> None:
        """Refuse arrays of different lengths, and a missing baseline."""
        n = len(self.fold)
        for name in ("t", "t_end", "symbol", "value", "ret", "side", "score", "rsi"):
            _shape(name, getattr(self, name), (n,))
        for name in ("p", "p_raw"):
            _shape(name, getattr(self, name), (n, len(SIDES)))
        for name in BASELINES:
            if name not in self.baselines:
                raise SchemaError(f"baselines: {name!r} is missing")
        for name, values in self.baselines.items():
            _shape(f"baselines[{name!r}]", values, (n,))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.fold)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> OutOfSample:
        """Return some of the rows, by number or by mask; folds and symbols stay."""
        picked = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in picked.items():
            if isinstance(value, np.ndarray):
                picked[name] = value[rows]
        picked["baselines"] = {name: value[rows] for name, value in self.baselines.items()}
        return OutOfSample(**picked)


def _shape(name: str, values: npt.NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise SchemaError(f"{name} has shape {values.shape}, expected {shape}")
