"""One model on a universe of symbols: its features, its predictions, its drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from qtfeat._core import PanelStream
from qtfeat.errors import FingerprintMismatch, SchemaError
from qtfeat.features import FeatureSet
from qtfeat.serve.drift import Drift
from qtfeat.serve.policy import Opinion

Floats = npt.NDArray[np.float64]
Predicted = tuple[tuple[float, float, float] | None, float]
"""Probabilities of SELL, HOLD, BUY (None in warm-up) and the forecast (NaN there)."""

_NOTHING: Predicted = (None, float("nan"))

# What the policy reads beside the model's own features; named so that no spec of a model can meet them.
_BESIDE = ("policy_rsi = rsi(14)", "policy_volatility = volatility(20)")


class Model(Protocol):
    """What the engine needs of a model; `qtfeat.serve.model.ServedModel` is one."""

    @property
    def name(self) -> str:
        """Name in the registry."""

    @property
    def version(self) -> str:
        """Version in the registry."""

    @property
    def features(self) -> FeatureSet:
        """The features it was trained on."""

    @property
    def fingerprint(self) -> str:
        """Their fingerprint, as the manifest has it."""

    @property
    def expires_after_ns(self) -> int | None:
        """When it is stale, nanoseconds since 1970 UTC; None for never."""

    @property
    def reference(self) -> dict[str, Any] | None:
        """Deciles of the training inputs, for the drift index; None if it has none."""

    def predict(self, X: Floats) -> tuple[Floats, Floats]:
        """Return calibrated probabilities (n, 3) and forecasts (n,) for rows (n, F) without NaN."""

    def predict_row(self, x: Floats) -> Predicted | None:
        """Return what `predict` does for one row (F,), the same bits; None where it holds a NaN."""


def with_policy(own: FeatureSet) -> FeatureSet:
    """Return a model's features followed by rsi(14) and volatility(20), which the policy reads.

    Raises:
        SchemaError: the model reads extra columns, which bars in serving do not have.
    """
    if own.extras:
        raise SchemaError(f"the features read the extra columns {', '.join(own.extras)}; serving has bars only")
    both = FeatureSet([*own.specs, *_BESIDE], numerics=own.numerics, eps=own.eps, fill=None)  # type: ignore[arg-type]
    if both.columns[: len(own.columns)] != own.columns:
        raise SchemaError(f"the features cannot stand beside the policy's: {both.columns}")
    return both


def _drift(model: Model, symbols: int) -> Drift:
    """Return the drift index over the scale-free features: the others follow the level of prices and volumes."""
    described = model.features.describe()
    free = [k for k, column in enumerate(described) if column["scale_free"]]
    return Drift(model.reference or {}, len(described), use=free or None, symbols=symbols)


class Lane:
    """A model and the stream of its features.

    Args:
        model: the model.
        symbols: the universe, in row order.
        policy: `on_bad`, `on_gap`, `interval` of the stream.

    Raises:
        FingerprintMismatch: the model's features are not those that this version of the package computes.
    """

    def __init__(self, model: Model, symbols: Sequence[str], **policy: Any) -> None:
        own = model.features
        if own.fingerprint != model.fingerprint:
            raise FingerprintMismatch(
                f"model {model.name}/{model.version} was trained on features {model.fingerprint}, here they are "
                f"{own.fingerprint}",
                expected=model.fingerprint,
                found=own.fingerprint,
            )
        self.model = model
        self.names = (f"{model.name}/{model.version}", model.fingerprint)
        self.columns = tuple(own.columns)
        both = with_policy(own)
        self.panel = PanelStream(both, symbols, time_unit="ns", **policy)
        self.symbols = tuple(symbols)
        self._features = both
        self.drift = _drift(model, len(self.symbols)) if model.reference else None

    @property
    def id(self) -> str:
        """`name/version`."""
        return self.names[0]

    def push(self, bars: Floats, times: int | npt.NDArray[np.int64]) -> Floats:
        """Push one bar per symbol, (S, 5), five NaN where there is none, and return features and extras, (S, F + 2)."""
        return self.panel.push(bars, times)

    def peek(self, bars: Floats, times: int | npt.NDArray[np.int64]) -> Floats:
        """Return what `push` would, and change nothing."""
        return self.panel.clone().push(bars, times)

    def opinions(
        self, rows: Floats, which: Sequence[int], bars: Mapping[int, Sequence[float]], *, learn: bool = True
    ) -> list[Opinion]:
        """Predict some symbols.

        Args:
            rows: what `push` returned.
            which: rows of the symbols with a bar now.
            bars: their bars, by row.
            learn: whether the rows count for the drift index.
        """
        width = len(self.columns)
        out = []
        for row, (chances, forecast) in zip(which, self._predicted(rows, which), strict=True):
            rsi, volatility = rows[row, width:].tolist()
            drift = 0.0
            if self.drift is not None:
                seen = learn and chances is not None
                drift = self.drift.update(rows[row, :width]) if seen else self.drift.index
            out.append(Opinion(self.symbols[row], chances, forecast, rsi, volatility, bars[row][3], drift))
        return out

    def _predicted(self, rows: Floats, which: Sequence[int]) -> list[Predicted]:
        """Return probabilities and forecast of some symbols; None and NaN for rows in warm-up."""
        width = len(self.columns)
        if len(which) == 1:
            return [self.model.predict_row(rows[which[0], :width]) or _NOTHING]
        own = rows[list(which), :width]
        ready = np.flatnonzero(~np.isnan(own).any(axis=1))
        out = [_NOTHING] * len(own)
        if len(ready):
            p, score = self.model.predict(own[ready])
            for at, chances, forecast in zip(ready.tolist(), p.tolist(), score.tolist(), strict=True):
                out[at] = (chances[0], chances[1], chances[2]), forecast
        return out

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes: `panel` in bytes, the rest JSON values."""
        return {"model": self.id, "panel": self.panel.snapshot(), "drift": self.drift.state() if self.drift else None}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, with the same features."""
        panel = PanelStream.restore(self._features, state["panel"], time_unit="ns")
        if tuple(panel.symbols) != self.symbols:
            raise SchemaError(f"the snapshot is of {panel.symbols}, not of {list(self.symbols)}")
        drift, of = state["drift"], state["model"]
        # Another version may have other deciles: its drift starts anew.
        if self.drift is not None and drift is not None and of == self.id:
            self.drift.restore(drift)
        self.panel = panel
