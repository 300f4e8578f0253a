"""Tree models of XGBoost and LightGBM without either library: the same bits as their raw outputs.

Example:
    >>> model = TreeModel.load("model.ubj")  # doctest: +SKIP
    >>> model.predict(X)  # doctest: +SKIP
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qtfeat import _core
from qtfeat.errors import RegistryError, SchemaError

__all__ = ["TreeModel"]

_MOST_BYTES = 1 << 30


class TreeModel:
    """A loaded model: XGBoost (JSON, UBJSON) or LightGBM (text). Immutable; threads may share it.

    Inputs have `n_features` columns, NaN where a value is missing. Any number type other than float32 is taken as
    float64, and XGBoost's models round it to float32 as the library does.
    """

    __slots__ = ("_core", "_row")

    def __init__(self, core: _core.TreeModel) -> None:
        self._core = core
        self._row = core.row

    @classmethod
    def load(
        cls,
        source: bytes | bytearray | memoryview | str | os.PathLike[str],
        *,
        iterations: int | Literal["best"] | None = None,
    ) -> TreeModel:
        """Load a model file; its first bytes tell the format.

        Args:
            source: the content, or the path of a file of at most 1 GiB.
            iterations: how many boosting iterations to evaluate. None: all in the file, as `Booster.inplace_predict`
                and `Booster.predict` do. `"best"`: up to the best one of early stopping, as XGBoost's scikit-learn
                interface does (LightGBM's files end there already).

        Raises:
            RegistryError: the file cannot be read, is damaged, or holds what is not supported: categorical splits,
                linear trees, DART, zero_as_missing, multi-output trees, random forests, an unknown objective.
            SchemaError: `source` is neither bytes nor a path; `iterations` is neither a positive number nor `"best"`.
        """
        wanted = _iterations(iterations)
        if not isinstance(source, (bytes, bytearray, memoryview, str, os.PathLike)):
            raise SchemaError(f"a model is loaded from bytes or a path, not from a {type(source).__name__}")
        data = bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else _read(Path(source))
        return cls(_core.TreeModel(data, wanted))

    @property
    def library(self) -> str:
        """`"xgboost"` or `"lightgbm"`."""
        return self._core.library

    @property
    def kind(self) -> str:
        """`"regression"`, `"binary"`, `"multiclass"` or `"ranking"`."""
        return self._core.kind

    @property
    def n_features(self) -> int:
        """Columns of an input."""
        return self._core.n_features

    @property
    def n_classes(self) -> int:
        """Number of classes; 1 for regression and ranking."""
        return 2 if self.kind == "binary" else self._core.n_outputs

    @property
    def n_outputs(self) -> int:
        """Raw outputs per row: one, or one per class of a multi-class model."""
        return self._core.n_outputs

    @property
    def n_trees(self) -> int:
        """Trees that are evaluated."""
        return self._core.n_trees

    @property
    def n_iterations(self) -> int:
        """Boosting iterations in the file."""
        return self._core.n_iterations

    @property
    def best_iteration(self) -> int | None:
        """Best iteration of early stopping, from 0, where an XGBoost file names one."""
        return self._core.best_iteration

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns; empty where the file has none."""
        return tuple(self._core.feature_names)

    def predict_raw(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return margins (raw scores), bit for bit the library's.

        Args:
            X: (n, F) numbers.

        Returns:
            (n,), or (n, K) for K classes; float32 for XGBoost, float64 for LightGBM.

        Raises:
            SchemaError: X is no 2-D array of numbers with F columns.
        """
        array: npt.NDArray[Any] = self._core.matrix(_matrix(X), True)
        return array

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return predictions, transformed as the objective says, within 1e-6 of the library's.

        Args:
            X: (n, F) numbers.

        Returns:
            float64. Regression and ranking (n,); binary (n,), the probability of class 1; multi-class (n, K)
            probabilities, also where XGBoost's `multi:softmax` gives the class alone.

        Raises:
            SchemaError: X is no 2-D array of numbers with F columns.
        """
        array: npt.NDArray[np.float64] = self._core.matrix(_matrix(X), False)
        return array

    def predict_row(self, x: npt.ArrayLike, *, raw: bool = False) -> float | npt.NDArray[np.float64]:
        """Return the prediction of one row: the fastest way for one.

        Args:
            x: (F,) numbers; a contiguous float64 array costs least.
            raw: give the margin (raw score), widened to float64.

        Returns:
            A float, or (K,) float64 for K classes. The same bits as the row has in `predict` or `predict_raw`.

        Raises:
            SchemaError: x is no 1-D array of F numbers.
        """
        try:
            # What is no such array is a TypeError there; trying costs less than asking.
            return self._row(x, raw)  # type: ignore[arg-type]
        except TypeError:
            return self._row(_numbers(x, 1), raw)

    def __repr__(self) -> str:
        return f"TreeModel({self.library}, {self.kind}, {self.n_trees} trees, {self.n_features} features)"


def _iterations(iterations: int | Literal["best"] | None) -> int | None:
    if iterations is None or iterations == "best":
        return None if iterations is None else -1
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise SchemaError(f"iterations must be a positive number or 'best', got {iterations!r}")
    return min(iterations, 1 << 62)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise RegistryError(f"{path}: cannot be read as a model ({error})") from error
    if len(data) > _MOST_BYTES:
        raise RegistryError(f"{path}: a model file may have {_MOST_BYTES} bytes at most")
    return data


def _matrix(X: npt.ArrayLike) -> npt.NDArray[Any]:
    array = _numbers(X, 2)
    return array if array.flags.forc else np.ascontiguousarray(array)


def _numbers(x: npt.ArrayLike, dimensions: int) -> npt.NDArray[Any]:
    """As an array of float64 (a matrix also float32) of that many dimensions."""
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise SchemaError(f"the input cannot be read as numbers: {error}") from error
    if array.dtype.kind not in "fiub":
        raise SchemaError(f"the input has the type {array.dtype}: numbers are needed, NaN where one is missing")
    if array.ndim != dimensions:
        raise SchemaError(f"the input has the shape {array.shape}: {dimensions} dimension(s) are needed")
    if dimensions == 1:
        return np.ascontiguousarray(array, dtype=np.float64)
    keep = array.dtype in (np.float32, np.float64) and array.dtype.isnative
    return array if keep else array.astype(np.float64)
