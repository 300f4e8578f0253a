"""Whether live use would see what training saw: features bar by bar, predictions from the saved files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qtfeat import _core
from qtfeat.bars.schema import VALUES
from qtfeat.features import FeatureSet
from qtfeat.train.data import Dataset
from qtfeat.train.models import Ensemble

Floats = npt.NDArray[np.float64]

MOST_BARS = 500_000
"""Bars that are replayed at most: whole symbols, in their order, until the next one would pass this."""
MOST_PREDICTED = 20_000
"""Rows that are predicted again at most: the last ones of what was replayed."""


@dataclass(frozen=True, slots=True)
class Parity:
    """What came out differently when it was done as in live use.

    Attributes:
        rows: bars replayed.
        feature_diffs: features among them whose bits differ.
        prediction_rows: rows predicted again.
        prediction_diffs: probabilities and forecasts among them whose bits differ.
    """

    rows: int
    feature_diffs: int
    prediction_rows: int
    prediction_diffs: int


def parity(
    data: Dataset, features: FeatureSet, model: Ensemble, files: Mapping[str, bytes], *, on_bad: str = "raise"
) -> Parity:
    """Push bars through a `Stream` per symbol, predict with the models of the files, and compare every bit.

    Args:
        data: features and bars as trained on.
        features: the feature set.
        model: the models in memory.
        files: the same, as they are saved.
        on_bad: what a bad bar does, as in `compute`.
    """
    rows, streamed = replay(data, features, on_bad=on_bad)
    trained = data.X[rows]
    complete = ~np.isnan(streamed).any(axis=1)
    last = np.flatnonzero(complete)[-MOST_PREDICTED:]
    again = Ensemble.from_files(files, threads=model.boosters.threads).predict(streamed[last])
    before = model.predict(trained[last])
    differ = sum(_differing(one, other) for one, other in zip(again, before, strict=True))
    return Parity(len(rows), _differing(streamed, trained), len(last), differ)


def replay(data: Dataset, features: FeatureSet, *, on_bad: str = "raise") -> tuple[npt.NDArray[np.intp], Floats]:
    """Push bars one by one, symbol by symbol.

    Returns:
        (rows of the dataset, their features (n, F) as the streams gave them).
    """
    order = data.by_symbol
    sizes = np.bincount(data.symbol, minlength=len(data.symbols))
    whole = max(1, int(np.searchsorted(np.cumsum(sizes), MOST_BARS, side="right")))
    rows = order[: int(sizes[:whole].sum())]
    columns = (np.asarray(data.bars[name].to_numpy(), dtype=np.float64)[rows].tolist() for name in VALUES)
    opened, high, low, close, volume = columns
    times = data.bars["open_time"].to_numpy().astype("datetime64[ns]")[rows]
    out = np.empty((len(rows), len(data.columns)))
    start = 0
    for size in sizes[:whole].tolist():
        stream = _core.Stream(features, on_bad=on_bad)
        for i in range(start, start + size):
            out[i] = stream.push(opened[i], high[i], low[i], close[i], volume[i], time=times[i])
        start += size
    return rows, out


def _differing(one: Floats, other: Floats) -> int:
    """Return how many values differ in their bits; all NaN are alike."""
    same = (one.view(np.int64) == other.view(np.int64)) | (np.isnan(one) & np.isnan(other))
    return int(same.size - np.count_nonzero(same))
