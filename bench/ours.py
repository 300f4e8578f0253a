"""The library under test, called as its users call it; absent until it is installed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from bench.columns import Columns

# Columns that come along with a result but are no features.
CARRIED = ("symbol", "open_time")


@cache
def module() -> ModuleType | None:
    """Return `qtfeat`, or None where it is not installed."""
    try:
        import qtfeat
    except ModuleNotFoundError as error:
        if error.name != "qtfeat":
            raise
        return None
    loaded: ModuleType = qtfeat
    return loaded


def call(make: Callable[[ModuleType], Callable[[], Any]]) -> Callable[[], Any] | None:
    """Return `make(qtfeat)`, or None where it is not installed (peers are then timed alone)."""
    loaded = module()
    return None if loaded is None else make(loaded)


def compute(bars: Any, feature_set: str, **options: Any) -> Callable[[], Any] | None:
    """Return a call of `qf.compute` with the set loaded beforehand, or None without qtfeat."""

    def make(qf: ModuleType) -> Callable[[], Any]:
        features = qf.FeatureSet.load(feature_set)
        return lambda: qf.compute(bars, features, **options)

    return call(make)


def windows(values: Any, feature_set: str) -> Callable[[], Any] | None:
    """Return a call of `qf.windows` on one thread, or None without qtfeat."""

    def make(qf: ModuleType) -> Callable[[], Any]:
        features = qf.FeatureSet.load(feature_set)
        options = one_thread(qf.windows)
        return lambda: qf.windows(values, features, **options)

    return call(make)


def one_thread(function: Callable[..., Any]) -> dict[str, int]:
    """Return `threads=1` for functions that take it."""
    return {"threads": 1} if "threads" in inspect.signature(function).parameters else {}


def release_memory() -> None:
    """Give pooled memory back to the system, where the library pools any."""
    release = getattr(module(), "release_memory", None)
    if release is not None:
        release()


def columns(result: Any) -> Columns:
    """Return the feature columns of any kind of result as float64 arrays, null as NaN."""
    names = list(result) if isinstance(result, dict) else _names(result)
    return {name: _array(result[name]) for name in names if name not in CARRIED}


def _names(result: Any) -> list[str]:
    if hasattr(result, "column_names"):
        return [str(name) for name in result.column_names]
    return [str(name) for name in result.columns]


def _array(values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    if isinstance(values, np.ndarray):
        return values.astype(np.float64, copy=False)
    # pandas and polars series, and pyarrow's chunked arrays
    return np.asarray(values.to_numpy(), dtype=np.float64)
