"""Everything that decides what a training run gives, in one value that goes into the manifest."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from qtfeat.errors import SchemaError
from qtfeat.train.combine import KINDS, METHODS, Kind, Method

_WHOLE = {"threads": 1024, "rounds": 100_000, "patience": 100_000, "depth": 16, "min_child": 10**9}
_SHARES = ("learning_rate", "subsample", "colsample")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Settings of the four models; regularised by default, because markets are mostly noise.

    Same data, settings and library versions give the same model files, byte for byte. The thread count belongs to
    the settings: sums taken by another number of threads may differ in the last bit.

    Attributes:
        seed: seed of row and column sampling.
        threads: threads of both libraries, at least 1.
        rounds: most boosting rounds per model.
        patience: rounds without progress on the tail before boosting stops.
        tail: share of the timestamps, the latest, that decides when to stop.
        depth: tree depth.
        learning_rate: step of each tree.
        subsample: share of rows per tree.
        colsample: share of columns per tree.
        min_child: least rows (least hessian in XGBoost) in a leaf.
        l2: ridge penalty on leaf values.
        balance: weigh the rows so that each class has the same weight. Weights come from the rows trained on;
            calibration brings the true shares of the classes back.
        smoothing: share of each label that is spread evenly over the classes. Done exactly, by three weighted copies
            of each row, so that classifiers take three times as long; 0 for none.
        half_life: days after which a row has half the weight of the latest one; None for equal weights.
        clip: the regressors' target is held between this quantile and the one opposite, taken from the rows trained
            on, so that a few jumps do not decide the trees; 0 for the target as it is.
        scale: standardise the features with the mean and deviation of the rows trained on.
        ensemble: how the pairs become one: see `qtfeat.train.combine.Meta`.
        xgb_weight: weight of XGBoost in the mean of the pair, 0..1; LightGBM has the rest.
        calibration: how probabilities are corrected: see `qtfeat.train.combine.Calibration`.
    """

    seed: int = 0
    threads: int = 2
    rounds: int = 300
    patience: int = 30
    tail: float = 0.15
    depth: int = 3
    learning_rate: float = 0.05
    subsample: float = 0.8
    colsample: float = 0.8
    min_child: int = 50
    l2: float = 1.0
    balance: bool = True
    smoothing: float = 0.0
    half_life: float | None = None
    clip: float = 0.005
    scale: bool = False
    ensemble: Method = "mean"
    xgb_weight: float = 0.5
    calibration: Kind = "isotonic"

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        self._check_types()
        for name, most in _WHOLE.items():
            if not 1 <= getattr(self, name) <= most:
                raise SchemaError(f"{name} must be in 1..{most}, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**31:
            raise SchemaError(f"seed must be in 0..2^31-1, got {self.seed}")
        for name in _SHARES:
            if not 0.0 < getattr(self, name) <= 1.0:
                raise SchemaError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")
        rules = {
            "tail": 0.0 < self.tail < 1.0,
            "l2": math.isfinite(self.l2) and self.l2 >= 0.0,
            "smoothing": 0.0 <= self.smoothing < 1.0,
            "half_life": self.half_life is None or (math.isfinite(self.half_life) and self.half_life > 0.0),
            "clip": 0.0 <= self.clip < 0.5,
            "xgb_weight": 0.0 <= self.xgb_weight <= 1.0,
            "ensemble": self.ensemble in METHODS,
            "calibration": self.calibration in KINDS,
        }
        for name, holds in rules.items():
            if not holds:
                raise SchemaError(f"{name} = {getattr(self, name)!r} is not allowed; see TrainConfig")

    def _check_types(self) -> None:
        """Refuse 2.5 threads, and true for 1: a manifest may hold anything."""
        for kind, names in ((int, (*_WHOLE, "seed")), (bool, ("balance", "scale"))):
            for name in names:
                if type(getattr(self, name)) is not kind:
                    raise SchemaError(f"{name} must be of type {kind.__name__}, got {getattr(self, name)!r}")

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> TrainConfig:
        """Return the settings that a manifest holds.

        Raises:
            SchemaError: an unknown name or a value of the wrong type or range.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(settings) - known):
            raise SchemaError(f"unknown settings: {', '.join(unknown)}")
        try:
            return cls(**settings)
        except TypeError as error:
            raise SchemaError(f"settings: {error}") from error
