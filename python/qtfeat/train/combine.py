"""From what four models say to probabilities and a forecast: the ensemble and its calibration.

Training fits `Meta` and `Calibration`; training and serving apply them with `combine`, whose arithmetic is compiled
(`rust/core/src/ensemble.rs`) and in one place. Every row is computed by itself with pinned logarithms and exponentials,
so the same row gives the same bits alone, in a batch and on every platform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qtfeat import _core, _strict_json
from qtfeat.errors import SchemaError
from qtfeat.labels import SIDES
from qtfeat.train.jsonfile import FORMAT, checked, floats

Floats = npt.NDArray[np.float64]
Method = Literal["mean", "consensus", "stack"]
Kind = Literal["none", "isotonic", "platt"]

METHODS = ("mean", "consensus", "stack")
KINDS = ("none", "isotonic", "platt")
LEAST = 1e-6
"""Probabilities are held this far from 0 and 1 before a logarithm."""

_CLASSES = len(SIDES)
_MOST_KNOTS = 100_000


@dataclass(frozen=True, slots=True)
class RawOutputs:
    """What the four models give before any transformation; widen XGBoost's float32 to float64.

    Attributes:
        xgb_cls: (n, 3) margins of the XGBoost classifier (`output_margin=True`), SELL, HOLD, BUY.
        lgbm_cls: (n, 3) raw scores of the LightGBM classifier (`raw_score=True`).
        xgb_reg: (n,) forecast of the XGBoost regressor.
        lgbm_reg: (n,) forecast of the LightGBM regressor.
    """

    xgb_cls: Floats
    lgbm_cls: Floats
    xgb_reg: Floats
    lgbm_reg: Floats

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.xgb_reg)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> RawOutputs:
        """Return some of the rows, by number or by mask."""
        return RawOutputs(self.xgb_cls[rows], self.lgbm_cls[rows], self.xgb_reg[rows], self.lgbm_reg[rows])


@dataclass(frozen=True, slots=True)
class Stack:
    """Meta-learners over the pair: a multinomial logistic one for the classes, a linear one for the forecast.

    Attributes:
        coef: (3, 6) weights of the log probabilities, XGBoost's three and then LightGBM's.
        intercept: (3,).
        reg_coef: (2,) weights of the XGBoost and the LightGBM forecast.
        reg_intercept: constant of the forecast.
    """

    coef: Floats
    intercept: Floats
    reg_coef: Floats
    reg_intercept: float


@dataclass(frozen=True, slots=True)
class Meta:
    """How the four models become one: the content of `meta.json`.

    Attributes:
        method: `"mean"` is the weighted mean of each pair. `"consensus"` is that mean where both name the same side;
            where they differ, half of BUY's and of SELL's probability goes to HOLD, which is then the largest, and the
            forecast is 0 where the regressors differ in sign. `"stack"` applies fitted meta-learners.
        xgb_weight: weight of XGBoost in the mean, 0..1; LightGBM has the rest. Not used by `"stack"`.
        stack: the meta-learners of `"stack"`, else None.
    """

    method: Method = "mean"
    xgb_weight: float = 0.5
    stack: Stack | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown method, a weight outside 0..1, or a stack that is missing or too much."""
        if self.method not in METHODS:
            raise SchemaError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if not 0.0 <= self.xgb_weight <= 1.0:
            raise SchemaError(f"xgb_weight must be in 0..1, got {self.xgb_weight}")
        if (self.stack is not None) != (self.method == "stack"):
            raise SchemaError(f"method {self.method!r} {'without' if self.stack is None else 'with'} meta-learners")

    def to_json(self) -> bytes:
        """Return `meta.json`."""
        stack = self.stack and {
            "cls": {"coef": self.stack.coef.tolist(), "intercept": self.stack.intercept.tolist()},
            "reg": {"coef": self.stack.reg_coef.tolist(), "intercept": self.stack.reg_intercept},
        }
        return _strict_json.write(
            {"format": FORMAT, "method": self.method, "xgb_weight": self.xgb_weight, "stack": stack}
        )

    @classmethod
    def from_json(cls, data: bytes) -> Meta:
        """Read `meta.json`; nothing in it is trusted.

        Raises:
            RegistryError: not JSON, another format, wrong types or sizes, values that are not finite.
        """
        return checked("meta.json", data, cls._parse)

    @classmethod
    def _parse(cls, found: dict[str, Any]) -> Meta:
        stack = found["stack"]
        if stack is not None:
            stack = Stack(
                floats(stack["cls"]["coef"], (_CLASSES, 2 * _CLASSES)),
                floats(stack["cls"]["intercept"], (_CLASSES,)),
                floats(stack["reg"]["coef"], (2,)),
                float(floats(stack["reg"]["intercept"], ())),
            )
        return cls(found["method"], float(floats(found["xgb_weight"], ())), stack)


@dataclass(frozen=True, slots=True)
class Calibration:
    """How probabilities are corrected, class by class: the content of `calibration.json`.

    Each class has a map of its own probability; the three results are then divided by their sum.

    Attributes:
        method: `"none"`; `"isotonic"`: straight lines between knots, constant outside; `"platt"`:
            1 / (1 + exp(-(a * logit(p) + b))).
        maps: one per class: the knots `(x, y)` as an array (2, k), the two numbers `(a, b)` as an array (2,), or none.
    """

    method: Kind = "none"
    maps: tuple[Floats, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an unknown method and maps that do not fit it."""
        if self.method not in KINDS:
            raise SchemaError(f"calibration must be one of {', '.join(KINDS)}, got {self.method!r}")
        if len(self.maps) != (0 if self.method == "none" else _CLASSES):
            raise SchemaError(f"calibration {self.method!r} has {len(self.maps)} maps")
        for index, line in enumerate(self.maps):
            self._check(SIDES[index], line)

    def _check(self, side: str, line: Floats) -> None:
        if not np.isfinite(line).all():
            raise SchemaError(f"calibration of {side}: a value is not finite")
        if self.method == "platt":
            if line.shape != (2,):
                raise SchemaError(f"calibration of {side}: two numbers are expected, not shape {line.shape}")
        elif line.ndim != 2 or line.shape[0] != 2 or not 1 <= line.shape[1] <= _MOST_KNOTS:
            raise SchemaError(f"calibration of {side}: knots of shape {line.shape}, expected (2, 1..{_MOST_KNOTS})")
        elif (np.diff(line[0]) <= 0.0).any() or (np.diff(line[1]) < 0.0).any():
            raise SchemaError(f"calibration of {side}: knots must increase")
        elif line[1][0] < 0.0 or line[1][-1] > 1.0:
            raise SchemaError(f"calibration of {side}: a probability is outside 0..1")

    def apply(self, p: Floats) -> Floats:
        """Return calibrated probabilities, (n, 3), for (n, 3); three zeros become thirds."""
        return combiner(Meta(), self).calibrate(_wide(p))

    def to_json(self) -> bytes:
        """Return `calibration.json`."""
        names = {"isotonic": ("x", "y"), "platt": ("a", "b")}.get(self.method, ())
        classes = [dict(zip(names, line.tolist(), strict=True)) for line in self.maps]
        return _strict_json.write({"format": FORMAT, "method": self.method, "classes": classes})

    @classmethod
    def from_json(cls, data: bytes) -> Calibration:
        """Read `calibration.json`; nothing in it is trusted.

        Raises:
            RegistryError: not JSON, another format, wrong types or sizes, values that are not finite, falling knots.
        """
        return checked("calibration.json", data, cls._parse)

    @classmethod
    def _parse(cls, found: dict[str, Any]) -> Calibration:
        method = found["method"]
        if method == "platt":
            return cls(method, tuple(floats([line["a"], line["b"]], (2,)) for line in found["classes"]))
        lines = [(floats(line["x"], None), floats(line["y"], None)) for line in found["classes"]]
        return cls(method, tuple(np.stack(line) for line in lines))


def combine(raw: RawOutputs, meta: Meta, calibration: Calibration) -> tuple[Floats, Floats, Floats]:
    """Turn the models' outputs into what is traded on.

    Args:
        raw: outputs of the four models for n rows.
        meta: how the pairs are combined.
        calibration: how the classes' probabilities are corrected.

    Returns:
        (p_raw, p, score): probabilities of SELL, HOLD, BUY before and after calibration, (n, 3), and the forecast (n,).
    """
    parts = (_wide(raw.xgb_cls), _wide(raw.lgbm_cls), _wide(raw.xgb_reg), _wide(raw.lgbm_reg))
    return combiner(meta, calibration).apply(*parts)


def forecast(xgb_reg: Floats, lgbm_reg: Floats, meta: Meta) -> Floats:
    """Return the forecast, (n,), that the pair of regressors gives together: the `score` of `combine`."""
    silent = np.zeros((len(xgb_reg), _CLASSES))
    return combine(RawOutputs(silent, silent, xgb_reg, lgbm_reg), meta, Calibration())[2]


def combiner(meta: Meta, calibration: Calibration) -> _core.Combiner:
    """Return the compiled form of the two, which is what applies them."""
    stack = None
    if (s := meta.stack) is not None:
        stack = (s.coef.tolist(), s.intercept.tolist(), s.reg_coef.tolist(), s.reg_intercept)
    maps = [(np.atleast_1d(line[0]).tolist(), np.atleast_1d(line[1]).tolist()) for line in calibration.maps]
    return _core.Combiner(meta.method, meta.xgb_weight, stack, calibration.method, maps)


def _wide(values: Floats) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float64)


def softmax(margins: Floats) -> Floats:
    """Return probabilities, (n, 3) float64, for (n, 3) margins; each row by itself."""
    margins = np.ascontiguousarray(margins, dtype=np.float64)
    if margins.ndim != 2 or margins.shape[1] != _CLASSES:
        raise SchemaError(f"class margins have shape {margins.shape}, expected (n, {_CLASSES})")
    top = np.maximum(np.maximum(margins[:, 0], margins[:, 1]), margins[:, 2])
    out = np.exp(margins - top[:, None])
    return np.asarray(out / (out[:, 0] + out[:, 1] + out[:, 2])[:, None], dtype=np.float64)


def log_probabilities(xgb: Floats, lgbm: Floats) -> Floats:
    """Return what the stacked classifier reads: (n, 6) log probabilities of the two, held away from -inf."""
    return np.asarray(np.log(np.clip(np.concatenate([xgb, lgbm], axis=1), LEAST, 1.0)), dtype=np.float64)


def logit(p: Floats) -> Floats:
    """Return log(p / (1 - p)), held finite: what Platt's map reads."""
    p = np.clip(p, LEAST, 1.0 - LEAST)
    return np.asarray(np.log(p / (1.0 - p)), dtype=np.float64)
