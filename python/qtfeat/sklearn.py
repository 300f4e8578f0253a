"""A scikit-learn transformer: a table of bars in, the feature matrix out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin

from qtfeat import _tables
from qtfeat.errors import SchemaError
from qtfeat.features import FeatureSet, OnBad, OnGap, as_feature_set, compute

__all__ = ["Features"]

_OHLCV = ("open", "high", "low", "close", "volume")


class Features(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features of bars as the first step of a pipeline.

    It learns nothing from the data: `fit` only builds the feature set, and `transform` works without it. Rows of
    the warm-up are NaN; drop them (with their labels) or use a model that takes NaN.

    Args:
        fs: a `FeatureSet`, the name of a shipped one, or specs.
        by: column that tells symbols apart.
        time: timestamp column.
        dtype: "float64" or "float32".
        on_bad: as in `qtfeat.compute`; so are `on_gap`, `interval`, `time_unit` and `threads`.

    Attributes:
        feature_set_: the `FeatureSet`.
        feature_names_in_: the columns that it reads, `by` and `time` included.
        n_features_in_: how many those are.

    Example:
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> pipeline = make_pipeline(Features("wide32", by="symbol", time="open_time"), StandardScaler())
    """

    def __init__(
        self,
        fs: FeatureSet | str | Iterable[str] = "wide32",
        *,
        by: str | None = None,
        time: str | None = None,
        dtype: str = "float64",
        on_bad: OnBad = "raise",
        on_gap: OnGap = "ignore",
        interval: Any = None,
        time_unit: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.fs = fs
        self.by = by
        self.time = time
        self.dtype = dtype
        self.on_bad = on_bad
        self.on_gap = on_gap
        self.interval = interval
        self.time_unit = time_unit
        self.threads = threads

    def fit(self, X: Any, y: Any = None) -> Features:  # noqa: ARG002 - sklearn's signature
        """Builds the feature set and checks that `X` has its columns.

        Args:
            X: bars, as `qtfeat.compute` takes them, or an (n, 5 + E) array: open, high, low, close, volume, then
                the set's extra columns.
            y: not used.

        Raises:
            SchemaError: a column is missing; FeatureSpecError: a spec that cannot be built.
        """
        fs = as_feature_set(self.fs)
        table = self._table(X, fs)
        have = _tables.names(table)
        reads = [*fs.inputs, *fs.extras, *(c for c in (self.by, self.time) if c is not None)]
        for name in reads:
            if name not in have:
                raise SchemaError(f"column {name!r} is missing; the table has: {', '.join(have)}", column=name)
        self.feature_set_ = fs
        self.feature_names_in_ = np.array(reads, dtype=object)
        self.n_features_in_ = len(reads)
        return self

    def transform(self, X: Any) -> npt.NDArray[Any]:
        """The features of `X`.

        Returns:
            (n, F) array of `dtype`, a row for each row of `X` in its order, NaN where there is no value (a frame
            after `set_output`).

        Raises:
            SchemaError, BadBarError, UnsortedError, GapError: as `qtfeat.compute`.
        """
        fs = self._set()
        table = self._table(X, fs)
        out = np.empty((len(fs.columns), _rows(table)), dtype=self.dtype)
        compute(
            table,
            fs,
            by=self.by,
            time=self.time,
            dtype=self.dtype,
            on_bad=self.on_bad,
            on_gap=self.on_gap,
            interval=self.interval,
            time_unit=self.time_unit,
            threads=self.threads,
            out=out,
        )
        return out.T

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[Any]:  # noqa: ARG002 - sklearn's signature
        """Names of the columns of the result, (F,) objects."""
        return np.array(self._set().columns, dtype=object)

    def _set(self) -> FeatureSet:
        built: FeatureSet | None = getattr(self, "feature_set_", None)
        return as_feature_set(self.fs) if built is None else built

    def _table(self, X: Any, fs: FeatureSet) -> Any:
        """A table of bars; the columns of a 2-D array get their names."""
        if "sparse" in type(X).__module__:
            raise SchemaError("bars are a sparse matrix: sparse input is not supported")
        if not isinstance(X, np.ndarray):
            return _tables.held(X)
        names = [*_OHLCV, *fs.extras]
        if X.ndim != 2 or X.shape[1] != len(names):
            raise SchemaError(f"an array of bars must be (n, {len(names)}): {', '.join(names)}; this is {X.shape}")
        return {name: np.ascontiguousarray(X[:, k]) for k, name in enumerate(names)}

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        # What comes in is checked as bars, with errors that name column, row and value.
        tags.no_validation = True
        tags.input_tags.allow_nan = self.on_bad != "raise"
        tags.input_tags.string = self.by is not None
        return tags


def _rows(table: Any) -> int:
    match _tables.kind(table):
        case "dict":
            return len(next(iter(table.values()), ()))
        case "pyarrow":
            return int(table.num_rows)
        case _:
            return len(table)
