"""What a manifest keeps of the training inputs, so that serving can tell when live ones have moved away from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BINS = 10


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
