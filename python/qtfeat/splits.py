"""Walk-forward splits over time, across all symbols, that no outcome can cross; never a shuffle."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat._columns import count, plain
from qtfeat._times import span_ns
from qtfeat.errors import SchemaError

Rows = npt.NDArray[np.intp]
Span = int | timedelta | np.timedelta64

_NONE = np.iinfo(np.int64).min  # what NaT is as an integer


class PurgedWalkForward:
    """Cut time into consecutive test blocks, each predicted from purged rows before it.

    The distinct timestamps are cut into a first training stretch and `n_splits` test blocks of equal count; symbols
    share the cuts. A row may train for a block only if its outcome was known, and the embargo over, before the
    block's first timestamp: `label_end + embargo < first test time`. So no training interval `[time, label_end]`
    meets a test interval. Rows without a label (NaT) are in neither part.

    It works as a scikit-learn splitter: give `times` and `label_end` here for `cross_val_score(cv=...)`, or to
    `split`. Both are int64 (any unit) or datetime64, one value per row, rows in any order.

    Args:
        n_splits: number of test blocks, at least 1.
        embargo: extra distance, in the unit of integer times, or a timedelta for datetime64 ones.
        train_size: train on this many of the timestamps before the block (rolling); None for all (expanding).
        test_size: timestamps per test block; None for the number of timestamps over `n_splits + 1`.
        times: the rows' times.
        label_end: the times at which the rows' outcomes are known.
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        embargo: Span = 0,
        train_size: int | None = None,
        test_size: int | None = None,
        times: npt.ArrayLike | None = None,
        label_end: npt.ArrayLike | None = None,
    ) -> None:
        self.n_splits = count(n_splits, "n_splits")
        self.embargo = embargo
        self.train_size = None if train_size is None else count(train_size, "train_size")
        self.test_size = None if test_size is None else count(test_size, "test_size")
        self.times = times
        self.label_end = label_end

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: ARG002
        """Return the number of splits; the arguments are there for scikit-learn."""
        return self.n_splits

    def split(
        self,
        X: Any = None,
        y: Any = None,  # noqa: ARG002 - scikit-learn passes it
        groups: Any = None,  # noqa: ARG002
        *,
        times: npt.ArrayLike | None = None,
        label_end: npt.ArrayLike | None = None,
    ) -> Iterator[tuple[Rows, Rows]]:
        """Yield (training rows, test rows) of each fold, oldest first, row numbers ascending.

        Args:
            X: anything with a length, to check that it fits; may be None.
            y: not used.
            groups: not used.
            times: as in the constructor, and in its place.
            label_end: as in the constructor, and in its place.

        Raises:
            SchemaError: times missing, of a wrong type or length, an outcome before its row, or too little data for a
                fold; the text names the fold.
        """
        starts, ends, embargo = _intervals(
            self.times if times is None else times, self.label_end if label_end is None else label_end, self.embargo
        )
        if X is not None and _length(X) != len(starts):
            raise SchemaError(f"X has {_length(X)} rows, times has {len(starts)}")
        labelled = ends != _NONE
        stamps = np.unique(starts[labelled])
        size = self.test_size or len(stamps) // (self.n_splits + 1)
        first = len(stamps) - size * self.n_splits
        if size < 1 or first < 1:
            raise SchemaError(
                f"{len(stamps)} timestamps with a label do not give {self.n_splits} test blocks and a training stretch"
            )
        for fold in range(self.n_splits):
            at = first + fold * size
            oldest = stamps[0] if self.train_size is None else stamps[max(0, at - self.train_size)]
            test = labelled & (starts >= stamps[at]) & (starts <= stamps[at + size - 1])
            train = _known_before(starts, ends, stamps[at], embargo) & (starts >= oldest)
            if not train.any():
                raise SchemaError(f"fold {fold + 1}: no row is left to train on after purging and embargo")
            yield np.flatnonzero(train), np.flatnonzero(test)


def purged_tail(
    times: npt.ArrayLike, label_end: npt.ArrayLike, share: float = 0.15, *, embargo: Span = 0
) -> tuple[Rows, Rows]:
    """Set the latest part of the rows aside, for early stopping, and purge the rest against it.

    Args:
        times: as in `PurgedWalkForward`.
        label_end: as in `PurgedWalkForward`.
        share: share of the distinct timestamps that go into the tail, above 0 and below 1.
        embargo: as in `PurgedWalkForward`.

    Returns:
        (rows to fit on, rows of the tail), row numbers ascending.

    Raises:
        SchemaError: as in `PurgedWalkForward.split`.
    """
    if not isinstance(share, int | float | np.integer | np.floating) or not 0.0 < share < 1.0:
        raise SchemaError(f"share must be above 0 and below 1, got {share}")
    starts, ends, gap = _intervals(times, label_end, embargo)
    labelled = ends != _NONE
    stamps = np.unique(starts[labelled])
    if len(stamps) < 2:
        raise SchemaError(f"a tail needs at least 2 timestamps with a label, there are {len(stamps)}")
    cut = stamps[min(len(stamps) - 1, max(1, round(len(stamps) * (1.0 - share))))]
    fit = _known_before(starts, ends, cut, gap)
    if not fit.any():
        raise SchemaError("no row is left to fit on after purging and embargo")
    return np.flatnonzero(fit), np.flatnonzero(labelled & (starts >= cut))


def _known_before(
    starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], cut: np.int64, embargo: int
) -> npt.NDArray[np.bool_]:
    """Return which rows have a label whose outcome and embargo end before `cut`."""
    # Compare with cut - embargo: adding to the ends could pass the largest integer.
    return np.asarray((ends != _NONE) & (ends < int(cut) - embargo) & (starts < cut))


def _intervals(
    times: npt.ArrayLike | None, label_end: npt.ArrayLike | None, embargo: Span
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Return times, outcome times and embargo as integers of one unit."""
    if times is None or label_end is None:
        raise SchemaError("a split over time needs `times` and `label_end`, here or in the constructor")
    starts, ends = plain(times, "times"), plain(label_end, "label_end")
    if starts.ndim != 1 or starts.shape != ends.shape:
        raise SchemaError(f"times and label_end must be one-dimensional and alike, not {starts.shape}, {ends.shape}")
    dated = starts.dtype.kind == "M"
    if dated != (ends.dtype.kind == "M") or not (dated or (starts.dtype.kind in "iu" and ends.dtype.kind in "iu")):
        raise SchemaError(
            f"times and label_end must both be integers or both datetime64, not {starts.dtype}, {ends.dtype}"
        )
    starts, ends = (_stamps(starts, "times"), _stamps(ends, "label_end")) if dated else (_whole(starts), _whole(ends))
    if (starts == _NONE).any():
        raise SchemaError(f"row {int(np.argmax(starts == _NONE))}: the time is missing")
    backward = (ends != _NONE) & (ends < starts)
    if backward.any():
        raise SchemaError(f"row {int(np.argmax(backward))}: the outcome is known before the row's own time")
    return starts, ends, _embargo(embargo, dated)


def _stamps(times: npt.NDArray[Any], name: str) -> npt.NDArray[np.int64]:
    """Times as nanoseconds; NaT is kept, and what nanoseconds cannot hold is refused."""
    ns = times.astype("datetime64[ns]")
    lost = (ns.astype(times.dtype) != times) & ~np.isnat(times)
    if lost.any():
        row = int(np.argmax(lost))
        raise SchemaError(f"column {name!r}, row {row}: {times[row]} is no time between 1677 and 2262", row=row)
    return ns.astype(np.int64)


def _whole(times: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if times.size and int(times.max()) > np.iinfo(np.int64).max:
        raise SchemaError(f"integer times must fit 64 bits with a sign, got {times.max()}")
    return times.astype(np.int64)


def _embargo(embargo: Span, dated: bool) -> int:
    if isinstance(embargo, timedelta | np.timedelta64):
        if not dated:
            raise SchemaError("with integer times the embargo must be an integer of the same unit")
        return span_ns(embargo, "embargo")
    if not isinstance(embargo, int | np.integer) or isinstance(embargo, bool):
        raise SchemaError(f"embargo must be a whole number or a timedelta, not {embargo!r}")
    if dated and embargo:
        raise SchemaError("with datetime64 times the embargo must be a timedelta")
    if embargo < 0:
        raise SchemaError(f"embargo must not be negative, got {embargo}")
    return int(embargo)


def _length(X: Any) -> int:
    try:
        return int(X.shape[0]) if hasattr(X, "shape") else len(X)
    except (TypeError, IndexError):
        raise SchemaError(f"X must have a length, not be a {type(X).__name__}") from None
