"""How far live inputs have moved from those of training: a population stability index over deciles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat.errors import RegistryError
from qtfeat.train.drift import BINS, reference

__all__ = ["BARS_PER_SYMBOL", "BINS", "Drift", "reference"]

Floats = npt.NDArray[np.float64]
BARS_PER_SYMBOL = 2000
_BLOCKS = 16
_MOST_SYMBOLS = 64
_FLOOR = 1e-4


class Drift:
    """The index over the last rows: the mean over columns of sum((q - p) * ln(q / p)), p training, q live.

    About 0.1 is a moderate and 0.25 a large shift by common usage. Rows of one symbol resemble those before them, so
    the window must be long: `BARS_PER_SYMBOL` bars of each symbol. There is no index, and 0 stands for it, until a
    quarter of the window was seen. Columns that carry the level of prices or volumes drift by nature; leave them out.

    Args:
        known: what `reference` returned.
        columns: number of features.
        use: which of the columns count; None for all.
        symbols: symbols whose rows come in; the window grows with them.
        every: rows between two evaluations.

    Raises:
        RegistryError: a reference of another shape, or with values that are no numbers.
    """

    def __init__(
        self,
        known: Mapping[str, Any],
        columns: int,
        *,
        use: Sequence[int] | None = None,
        symbols: int = 1,
        every: int = 50,
    ) -> None:
        use = list(range(columns)) if use is None else list(use)
        self._use = np.array(use, dtype=np.intp)
        self._edges = _array(known, "edges", (columns, BINS - 1))[use]
        self._shares = np.maximum(_array(known, "shares", (columns, BINS)), _FLOOR)[use]
        # The window is counted in blocks: what leaves it leaves a block at a time.
        evaluations = max(1, BARS_PER_SYMBOL * min(symbols, _MOST_SYMBOLS) // (every * _BLOCKS))
        self._block_rows = evaluations * every
        self._counts = np.zeros((_BLOCKS, len(use), BINS), dtype=np.int64)
        self._waiting = np.zeros((every, columns))
        self._every = every
        self.rows = 0
        self.index = 0.0

    def update(self, row: Floats) -> float:
        """Take one complete row of features, (F,), and return the index."""
        at = self.rows % self._every
        self._waiting[at] = row
        self.rows += 1
        if at == self._every - 1:
            self._evaluate()
        return self.index

    def _evaluate(self) -> None:
        bins = (self._edges[None] < self._waiting[:, self._use, None]).sum(axis=2)
        block = (self.rows - 1) // self._block_rows % _BLOCKS
        if (self.rows - self._every) % self._block_rows == 0:
            self._counts[block] = 0
        flat = (bins + BINS * np.arange(len(self._use))).ravel()
        self._counts[block] += np.bincount(flat, minlength=self._counts[block].size).reshape(-1, BINS)
        if self.rows >= self._block_rows * _BLOCKS // 4:
            total = self._counts.sum(axis=0)
            q = np.maximum(total / total.sum(axis=1, keepdims=True), _FLOOR)
            self.index = float(((q - self._shares) * np.log(q / self._shares)).sum(axis=1).mean())

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, as JSON values."""
        waiting = self._waiting[: self.rows % self._every]
        return {
            "rows": self.rows,
            "index": self.index,
            "counts": self._counts.tolist(),
            "waiting": np.ascontiguousarray(waiting).tobytes().hex(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken.

        Raises:
            ValueError: it is of another shape.
        """
        rows, index = int(state["rows"]), float(state["index"])
        counts = np.array(state["counts"], dtype=np.int64)
        waiting = np.frombuffer(bytes.fromhex(state["waiting"]), dtype=np.float64)
        width = self._waiting.shape[1]
        if counts.shape != self._counts.shape or (counts < 0).any() or len(waiting) != rows % self._every * width:
            raise ValueError("the drift state does not fit")
        self.rows, self.index, self._counts = rows, index, counts
        self._waiting[: rows % self._every] = waiting.reshape(-1, width)


def _array(known: Mapping[str, Any], name: str, shape: tuple[int, int]) -> Floats:
    try:
        out = np.asarray(known[name], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryError(f"reference: {name}: {error}") from error
    if out.shape != shape or not np.isfinite(out).all():
        raise RegistryError(f"reference: {name} has shape {out.shape}, expected finite numbers of shape {shape}")
    return out
