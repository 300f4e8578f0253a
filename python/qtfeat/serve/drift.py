"""How far live inputs have moved from those of training: a population stability index over deciles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat.errors import RegistryError

Floats = npt.NDArray[np.float64]
BINS = 10
_FLOOR = 1e-4


def reference(X: Floats) -> dict[str, Any]:
    """Return what a manifest keeps of the training inputs: per column the nine inner decile edges and bin shares.

    Args:
        X: (n, F) rows without NaN, n at least 1.

    Returns:
        JSON values: `edges` (F, 9) and `shares` (F, 10).
    """
    edges = np.quantile(X, np.arange(1, BINS) / BINS, axis=0).T
    shares = np.stack([_counts(X[:, k], edges[k]) for k in range(X.shape[1])]) / len(X)
    return {"edges": edges.tolist(), "shares": shares.tolist()}


def _counts(column: Floats, edges: Floats) -> npt.NDArray[np.int64]:
    return np.bincount(np.searchsorted(edges, column, side="left"), minlength=BINS)


class Drift:
    """The index over the last `window` rows: the mean over columns of sum((q - p) * ln(q / p)).

    0 until `least` rows were seen. About 0.1 is a moderate and 0.25 a large shift by common usage.

    Args:
        known: what `reference` returned.
        columns: number of features.
        window: rows remembered.
        least: rows before there is an index.
        every: rows between two evaluations.

    Raises:
        RegistryError: a reference of another shape, or with values that are no numbers.
    """

    def __init__(
        self, known: Mapping[str, Any], columns: int, *, window: int = 2000, least: int = 500, every: int = 50
    ) -> None:
        self._edges = _array(known, "edges", (columns, BINS - 1))
        self._shares = np.maximum(_array(known, "shares", (columns, BINS)), _FLOOR)
        self._ring = np.zeros((window, columns), dtype=np.int8)
        self._counts = np.zeros((columns, BINS), dtype=np.int64)
        self._which = np.arange(columns)
        self._least, self._every = least, every
        self.rows = 0
        self.index = 0.0

    def update(self, row: Floats) -> float:
        """Take one complete row of features, (F,), and return the index."""
        bins = (self._edges < row[:, None]).sum(axis=1)
        at = self.rows % len(self._ring)
        if self.rows >= len(self._ring):
            self._counts[self._which, self._ring[at]] -= 1
        self._ring[at] = bins
        self._counts[self._which, bins] += 1
        self.rows += 1
        if self.rows >= self._least and self.rows % self._every == 0:
            q = np.maximum(self._counts / min(self.rows, len(self._ring)), _FLOOR)
            self.index = float(((q - self._shares) * np.log(q / self._shares)).sum(axis=1).mean())
        return self.index

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, as JSON values."""
        kept = self._ring[: min(self.rows, len(self._ring))]
        return {"rows": self.rows, "index": self.index, "ring": kept.tobytes().hex()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        kept = np.frombuffer(bytes.fromhex(state["ring"]), dtype=np.int8).reshape(-1, self._ring.shape[1])
        self.rows, self.index = int(state["rows"]), float(state["index"])
        if len(kept) != min(self.rows, len(self._ring)) or (kept < 0).any() or (kept >= BINS).any():
            raise ValueError("the drift state does not fit")
        self._ring[: len(kept)] = kept
        self._counts[:] = np.stack([np.bincount(kept[:, k], minlength=BINS) for k in range(kept.shape[1])])


def _array(known: Mapping[str, Any], name: str, shape: tuple[int, int]) -> Floats:
    try:
        out = np.asarray(known[name], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryError(f"reference: {name}: {error}") from error
    if out.shape != shape or not np.isfinite(out).all():
        raise RegistryError(f"reference: {name} has shape {out.shape}, expected finite numbers of shape {shape}")
    return out
