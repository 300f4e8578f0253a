"""From bars to the matrix that models train on: features, labels, and the rows that have both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qtfeat.bars.schema import BAR_SCHEMA
from qtfeat.errors import SchemaError
from qtfeat.features import FeatureSet, compute
from qtfeat.labels import Labels, forward_labels, symbol_codes

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Bars with features and labels; one entry per bar, in the order of the bars.

    Attributes:
        bars: the table, in the bar schema.
        X: features, (n, F) float64; NaN in warm-up.
        labels: the labels.
        columns: names of the F features.
        complete: True where every feature has a value.
    """

    bars: pa.Table
    X: Floats
    labels: Labels
    columns: tuple[str, ...]
    complete: npt.NDArray[np.bool_]

    @property
    def usable(self) -> npt.NDArray[np.intp]:
        """Rows with every feature and a label."""
        return np.flatnonzero(self.complete & self.labels.known)

    def last_rows(self) -> npt.NDArray[np.intp]:
        """Return the row of the latest bar of each symbol, by first appearance; only rows that are complete."""
        codes = symbol_codes(self.bars["symbol"])
        order = np.lexsort((self.labels.t, codes))
        ends = np.append(np.flatnonzero(np.diff(codes[order])), len(order) - 1)
        rows = order[ends]
        return np.asarray(rows[self.complete[rows]], dtype=np.intp)


def prepare(
    bars: pa.Table, features: FeatureSet, *, horizon: int, threshold: float, threads: int, **policy: Any
) -> Dataset:
    """Compute features and labels of a panel in the bar schema.

    Args:
        bars: a table with the columns of `BAR_SCHEMA`, sorted by time within each symbol.
        features: the feature set.
        horizon: bars ahead for the label.
        threshold: class threshold, a fraction.
        threads: threads for the features.
        **policy: `on_bad`, `on_gap`, `interval` for `compute`.

    Raises:
        QtfeatError: bad bars or settings, as `compute` and `forward_labels` say.
    """
    bars = bars.select(BAR_SCHEMA.names)
    if bars.num_rows == 0:
        raise SchemaError("there are no bars")
    out = compute(bars, features, by="symbol", time="open_time", threads=threads, **policy)
    columns = tuple(features.columns)
    X = np.empty((bars.num_rows, len(columns)))
    for i, name in enumerate(columns):
        X[:, i] = out[name].to_numpy()
    labels = forward_labels(bars, horizon, threshold, interval=policy.get("interval"))
    return Dataset(bars, X, labels, columns, np.asarray(~np.isnan(X).any(axis=1)))
