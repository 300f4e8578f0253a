"""How XGBoost and LightGBM take a training set without having it in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qtfeat.backfill.dataset import matrix
from qtfeat.errors import SchemaError

if TYPE_CHECKING:
    from qtfeat.backfill.dataset import Part, TrainingSet

_TRAIN = 'is not installed: pip install "qtfeat[train]"'


def quantile_dmatrix(data: TrainingSet, target: str, **options: Any) -> Any:
    """See `TrainingSet.quantile_dmatrix`. XGBoost passes over the batches several times."""
    try:
        import xgboost
    except ImportError as error:
        raise SchemaError(f"xgboost {_TRAIN}") from error

    class Batches(xgboost.DataIter):
        def __init__(self) -> None:
            self._left = data.matrices(target)
            super().__init__()

        def next(self, input_data: Callable[..., Any]) -> bool:
            pair = next(self._left, None)
            if pair is None:
                return False
            input_data(data=pair[0], label=pair[1], feature_names=data.columns)
            return True

        def reset(self) -> None:
            self._left = data.matrices(target)

    if next(data.batches(), None) is None:  # XGBoost says only that there is no batch
        raise _nothing(data)
    return xgboost.QuantileDMatrix(Batches(), **options)


def lightgbm_dataset(data: TrainingSet, target: str, **options: Any) -> Any:
    """See `TrainingSet.lightgbm_dataset`."""
    try:
        import lightgbm
    except ImportError as error:
        raise SchemaError(f"lightgbm {_TRAIN}") from error

    class Rows(lightgbm.Sequence):
        """The usable rows of one series."""

        batch_size = data.batch_rows

        def __init__(self, part: Part) -> None:
            self.rows = _Rows(part, target)

        def __getitem__(self, at: Any) -> npt.NDArray[Any]:
            return self.rows.at(at)

        def __len__(self) -> int:
            return len(self.rows.label)

    sequences = [Rows(data.part(p)) for p in data.partitions]
    sequences = [s for s in sequences if len(s)]
    if not sequences:
        raise _nothing(data)
    label = np.concatenate([s.rows.label for s in sequences])
    return lightgbm.Dataset(sequences, label=label, feature_name=data.columns, **options)


def _nothing(data: TrainingSet) -> SchemaError:
    """Why a training set has no rows."""
    rows = labelled = complete = 0
    for partition in data.partitions:
        part = data.part(partition)
        for _, features, at, _ in part.each():
            rows += features.num_rows
            labelled += int(part.labels.known[at].sum())
            holes = np.zeros(features.num_rows, dtype=np.bool_)
            for column in features.columns[1:]:
                holes |= np.asarray(column.is_null())
            complete += int((~holes).sum())
    why = f"none of the {rows:,} rows has every feature and a label"
    if not rows:
        why = "there are no rows"
    elif not labelled:
        why = f"none of the {rows:,} rows has a label: it needs the bars after the row, up to the last month"
    elif not complete:
        warmup = max(data.job.features.warmup.values())
        why = f"none of the {rows:,} rows has every feature: the warm-up of each series takes {warmup:,} bars"
    return SchemaError(f"{data.lake.root}: nothing to train on: {why}")


class _Rows:
    """Rows of one series by number; the months they are in are read when they are asked for."""

    def __init__(self, part: Part, target: str) -> None:
        self._part = part
        labels, self._months = [np.zeros(0)], []
        for month, _, rows, usable in part.each():
            self._months.append((month.month, np.flatnonzero(usable)))
            labels.append(getattr(part.labels, target)[rows][usable])
        self.label = np.concatenate(labels)
        self._starts = np.cumsum([0, *(len(usable) for _, usable in self._months)])
        # LightGBM asks for samples one by one, in order, and then for ranges, in order: two months are enough.
        self._month = lru_cache(maxsize=2)(self._read)

    def _read(self, i: int) -> npt.NDArray[Any]:
        month, usable = self._months[i]
        return matrix(self._part.features(month), self._part.of.columns)[usable]

    def at(self, at: Any) -> npt.NDArray[Any]:
        """One row (F,) for a number; (n, F) for a slice or a list of numbers."""
        if isinstance(at, slice):
            return self._take(np.arange(*at.indices(len(self.label))))
        if isinstance(at, list | np.ndarray):
            return self._take(np.asarray(at))
        row: npt.NDArray[Any] = self._take(np.array([at]))[0]
        return row

    def _take(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        which = np.searchsorted(self._starts, rows, side="right") - 1
        # LightGBM takes samples as float64 and nothing else.
        out = np.empty((len(rows), len(self._part.of.columns)))
        for i in np.unique(which):
            here = which == i
            out[here] = self._month(int(i))[rows[here] - self._starts[i]]
        return out
