"""Standardised features: trees do not need them, older consumers of a model's files do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat import _strict_json
from qtfeat.errors import SchemaError
from qtfeat.train.jsonfile import FORMAT, checked, floats

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scaler:
    """(x - mean) / scale, column by column: the content of `scaler.json`.

    Attributes:
        mean: (F,).
        scale: (F,), above 0.
    """

    mean: Floats
    scale: Floats

    def __post_init__(self) -> None:
        """Refuse shapes that differ, and a scale that is not positive."""
        if self.mean.ndim != 1 or self.mean.shape != self.scale.shape:
            raise SchemaError(f"scaler: mean has shape {self.mean.shape}, scale {self.scale.shape}")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.scale).all() and (self.scale > 0.0).all()):
            raise SchemaError("scaler: a mean or scale is not finite, or a scale is not positive")

    @classmethod
    def identity(cls, columns: int) -> Scaler:
        """Return the scaler that changes nothing, not a single bit."""
        return cls(np.zeros(columns), np.ones(columns))

    @classmethod
    def fit(cls, X: Floats) -> Scaler:
        """Return mean and population standard deviation of (n, F) rows; a constant column keeps scale 1."""
        mean, scale = X.mean(axis=0), X.std(axis=0)
        return cls(mean, np.where(np.isfinite(scale) & (scale > 0.0), scale, 1.0))

    @property
    def is_identity(self) -> bool:
        """True if `apply` changes nothing."""
        return not self.mean.any() and bool((self.scale == 1.0).all())

    def apply(self, X: Floats) -> Floats:
        """Return the scaled features, (n, F); the same array if there is nothing to do."""
        return X if self.is_identity else np.asarray((X - self.mean) / self.scale, dtype=np.float64)

    def to_json(self) -> bytes:
        """Return `scaler.json`."""
        return _strict_json.write({"format": FORMAT, "mean": self.mean.tolist(), "scale": self.scale.tolist()})

    @classmethod
    def from_json(cls, data: bytes, columns: int) -> Scaler:
        """Read `scaler.json`; nothing in it is trusted.

        Args:
            data: the file.
            columns: number of features.

        Raises:
            RegistryError: not JSON, another format, wrong types or sizes, a scale that is not positive.
        """

        def parse(found: dict[str, Any]) -> Scaler:
            return cls(floats(found["mean"], (columns,)), floats(found["scale"], (columns,)))

        return checked("scaler.json", data, parse)
