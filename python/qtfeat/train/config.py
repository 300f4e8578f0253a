"""Everything that decides what a training run gives, in one value that goes into the manifest."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from qtfeat.errors import SchemaError


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
        xgb_weight: weight of XGBoost in the mean of the pair, 0..1; LightGBM has the rest.
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
    xgb_weight: float = 0.5

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        whole = {"threads": 1024, "rounds": 100_000, "patience": 100_000, "depth": 16, "min_child": 10**9}
        for name, most in whole.items():
            if not 1 <= getattr(self, name) <= most:
                raise SchemaError(f"{name} must be in 1..{most}, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**31:
            raise SchemaError(f"seed must be in 0..2^31-1, got {self.seed}")
        for name in ("tail", "learning_rate", "subsample", "colsample"):
            value = getattr(self, name)
            if not 0.0 < value <= 1.0 or (name == "tail" and value == 1.0):
                raise SchemaError(f"{name} must be above 0 and at most 1 (tail: below 1), got {value}")
        if not (math.isfinite(self.l2) and self.l2 >= 0.0 and 0.0 <= self.xgb_weight <= 1.0):
            raise SchemaError(f"l2 must not be negative and xgb_weight in 0..1, got {self.l2} and {self.xgb_weight}")

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)
