# ruff: noqa: A002, PYI021 - `open` is the name of the price; the docstrings are what an editor shows
"""The compiled part of qtfeat. `qtfeat`, `qtfeat.features` and `qtfeat.bars` are the faces to use."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, final

import numpy as np
import numpy.typing as npt

from qtfeat import features

__all__ = [
    "Batches",
    "Combiner",
    "Ensemble",
    "FeatureSet",
    "Frame",
    "Output",
    "Owner",
    "PanelStream",
    "Stream",
    "TreeModel",
    "catalog_rows",
    "closed_before",
    "compute_arrays",
    "compute_table",
    "cpu",
    "label_panel",
    "release_memory",
    "simulate",
    "synthetic_features",
    "synthetic_windows",
    "windows",
    "windows_at",
]

class _Options(TypedDict):
    """What all table calls are told, besides the table."""

    time_unit_ns: int | None
    on_bad: str
    on_gap: str
    interval_ns: int | None
    threads: int
    dtype: str

@final
class FeatureSet:
    """A compiled feature set. `qtfeat.FeatureSet` wraps it.

    Raises FeatureSpecError for a spec that cannot be built, SchemaError for an unknown profile.
    """

    def __new__(
        cls,
        specs: Sequence[str],
        numerics: str = "safe",
        eps: float = 1e-8,
        filled: bool = False,
        fault: str | None = None,
    ) -> FeatureSet: ...
    @property
    def columns(self) -> list[str]: ...
    @property
    def extras(self) -> list[str]: ...
    @property
    def needs_time(self) -> bool: ...
    @property
    def inputs(self) -> list[str]:
        """The bar columns that the set reads."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def warmup(self) -> list[int]: ...
    def bars_for(self, digits: float) -> int: ...
    def describe(self) -> list[dict[str, Any]]:
        """One dict per column: name, spec, unit, min, max, neutral, warmup, memory, finite_rows, ..."""

@final
class Output:
    """The features of one call, not yet in the caller's kind of table."""

    def __len__(self) -> int: ...
    def matrix(self) -> npt.NDArray[Any]:
        """The features as one (F, n) array of the asked dtype, a view; NaN where there is no value."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any: ...
    def __arrow_c_schema__(self) -> Any: ...
    def filled(self, fill: str) -> Output:
        """The same memory after a fill, which left no null."""

    def frame(self) -> Frame | None:
        """One batch without metadata, or None where the caller's table has several batches."""

@final
class Frame:
    """One batch that speaks the array half of the PyCapsule interface."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> Any: ...

@final
class Owner:
    """Keeps an arena alive behind NumPy arrays."""

@final
class Batches:
    """Features of one record batch after the other; each symbol's series goes on."""

    def __new__(
        cls, fs: FeatureSet, by: str | None, time: str | None, carry: Sequence[str], options: _Options | dict[str, Any]
    ) -> Batches: ...
    def push(self, batch: Any) -> Output:
        """The features of the next batch, anything that speaks the Arrow PyCapsule interface."""

    def snapshot(self) -> bytes:
        """Everything needed to go on in another process, as checksummed bytes."""

    def restore(self, snapshot: bytes) -> None:
        """Goes on where a snapshot was taken, with the same set and policies.

        Raises SnapshotError for damaged bytes or other policies, SnapshotMismatch for those of another set.
        """

@final
class Stream:
    """Features of one symbol, one closed bar at a time.

    A concurrent call from another thread is a RuntimeError, never a race.
    """

    def __new__(
        cls,
        fs: FeatureSet | features.FeatureSet | str | Iterable[str],
        *,
        on_bad: str = "raise",
        on_gap: str = "ignore",
        interval: Any = None,
        time_unit: str | None = None,
    ) -> Stream: ...
    def push(
        self,
        open: float | None,
        high: float | None,
        low: float | None,
        close: float | None,
        volume: float | None,
        time: Any = None,
        extra: Sequence[float | None] | Mapping[str, float | None] | npt.NDArray[Any] | None = None,
    ) -> npt.NDArray[np.float64]:
        """Takes a closed bar and returns the features, shape (F,), NaN where there is none.

        A refused bar (SchemaError, BadBarError, UnsortedError, GapError) changes nothing.
        """

    def peek(
        self,
        open: float | None,
        high: float | None,
        low: float | None,
        close: float | None,
        volume: float | None,
        time: Any = None,
        extra: Sequence[float | None] | Mapping[str, float | None] | npt.NDArray[Any] | None = None,
    ) -> npt.NDArray[np.float64]:
        """What `push` would return, without taking the bar."""

    @property
    def ready(self) -> bool:
        """True when the last bar had a value for every feature."""

    @property
    def rows(self) -> int:
        """Bars taken so far."""

    @property
    def columns(self) -> list[str]:
        """Names of the features, in output order."""

    def snapshot(self) -> bytes:
        """Everything needed to go on in another process, as checksummed bytes."""

    @staticmethod
    def restore(
        fs: FeatureSet | features.FeatureSet | str | Iterable[str],
        snapshot: bytes | bytearray | memoryview,
        *,
        time_unit: str | None = None,
    ) -> Stream:
        """A stream that goes on where `snapshot` was taken.

        Raises SnapshotError for damaged bytes, SnapshotMismatch for those of another set.
        """

    def clone(self) -> Stream:
        """An independent copy."""

@final
class PanelStream:
    """Features of a fixed universe of symbols, one bar of each at a time."""

    def __new__(
        cls,
        fs: FeatureSet | features.FeatureSet | str | Iterable[str],
        symbols: Iterable[str],
        *,
        on_bad: str = "raise",
        on_gap: str = "ignore",
        interval: Any = None,
        time_unit: str | None = None,
    ) -> PanelStream: ...
    def push(
        self, ohlcv: npt.ArrayLike, time: Any = None, extra: npt.ArrayLike | None = None
    ) -> npt.NDArray[np.float64]:
        """Takes (S, 5) bars, five NaN where there is none now, and returns (S, F), NaN where there is no value.

        `time` is one for all or one per symbol, `extra` (S, E). A refused push changes no symbol.
        """

    @property
    def ready(self) -> npt.NDArray[np.bool_]:
        """Per symbol: had its last bar a value for every feature?"""

    @property
    def symbols(self) -> list[str]:
        """The symbols, in row order."""

    @property
    def columns(self) -> list[str]:
        """Names of the features, in output order."""

    def snapshot(self) -> bytes:
        """Everything needed to go on in another process, as checksummed bytes."""

    @staticmethod
    def restore(
        fs: FeatureSet | features.FeatureSet | str | Iterable[str],
        snapshot: bytes | bytearray | memoryview,
        *,
        time_unit: str | None = None,
    ) -> PanelStream:
        """A panel that goes on where `snapshot` was taken.

        Raises SnapshotError for damaged bytes, SnapshotMismatch for those of another set.
        """

    def clone(self) -> PanelStream:
        """An independent copy."""

def compute_table(
    fs: FeatureSet,
    table: Any,
    by: str | None,
    time: str | None,
    carry: Sequence[str],
    options: _Options | dict[str, Any],
    out: npt.NDArray[Any] | None = None,
) -> Output:
    """Features of an Arrow table; `carry` names the columns that come along."""

def compute_arrays(
    fs: FeatureSet,
    columns: dict[str, npt.NDArray[Any]],
    symbols: tuple[npt.NDArray[np.int64], list[str]] | None,
    times: npt.NDArray[np.int64] | None,
    time_name: str,
    options: _Options | dict[str, Any],
    out: npt.NDArray[Any] | None = None,
) -> Output:
    """Features of NumPy columns; `symbols` is (codes, names), codes being row-wise indices into names."""

def windows(
    fs: FeatureSet,
    bars: npt.NDArray[np.float64],
    extras: npt.NDArray[np.float64] | None,
    times: npt.NDArray[np.int64] | None,
    options: _Options | dict[str, Any],
    all_rows: bool,
) -> npt.NDArray[Any]:
    """Features of windows (n, T, 5), as (n, F), or (n, T, F) with `all_rows`."""

def windows_at(
    fs: FeatureSet,
    bars: Sequence[npt.NDArray[np.float64]],
    extras: Sequence[npt.NDArray[np.float64]],
    times: npt.NDArray[np.int64] | None,
    ends: Sequence[int],
    length: int,
    options: _Options | dict[str, Any],
    all_rows: bool,
) -> npt.NDArray[Any]:
    """Features of windows of one history; window i ends with row `ends[i]`."""

def catalog_rows() -> list[dict[str, Any]]:
    """The catalogue: one dict per output of every indicator with its default parameters."""

def cpu() -> str:
    """The CPU level in use: "sse2", "avx2", "avx512" or "baseline"."""

def release_memory() -> int:
    """Gives the output memory kept for the next call back to the system; returns its bytes."""

class _Panel(TypedDict):
    """Columns of bars, rows in any order; times and interval in nanoseconds, `prices` are open, high, low."""

    symbols: npt.NDArray[np.int64] | None
    open_time: npt.NDArray[np.int64]
    close_time: npt.NDArray[np.int64] | None
    interval: int | None
    prices: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]] | None
    close: npt.NDArray[np.float64]

def label_panel(
    panel: _Panel, kind: str, horizon: int, threshold: float, barriers: tuple[float, float]
) -> tuple[
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.int8],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
]:
    """Value, return, class, close time and time of the outcome (NaN, NaN, -1 and NaT: none) of each row."""

def closed_before(
    panel: _Panel, symbols: npt.NDArray[np.int64], times: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row of each symbol's last bar that had closed at each time (-1: none), and the close times of all bars."""

class _WindowConfig(TypedDict):
    """What synthetic windows to draw; `context` is rho and signal bars, None for windows that end at the outcome."""

    bars: int
    seed: int
    context: tuple[float, int] | None
    volatility: float | None
    tick: float

def synthetic_windows(
    outcomes: npt.NDArray[np.float64], config: _WindowConfig, threads: int, out: npt.NDArray[np.float64]
) -> None:
    """Writes windows for outcomes as fractions into `out`, (n, bars, 5)."""

def synthetic_features(
    fs: FeatureSet,
    outcomes: npt.NDArray[np.float64],
    config: _WindowConfig,
    options: _Options | dict[str, Any],
    all_rows: bool,
) -> npt.NDArray[Any]:
    """Features of such windows, (n, F), or (n, bars, F) with `all_rows`."""

@final
class Combiner:
    """The ensemble's arithmetic: a method and a calibration, ready to apply."""

    def __new__(
        cls,
        method: str,
        xgb_weight: float,
        stack: tuple[list[list[float]], list[float], list[float], float] | None,
        calibration: str,
        maps: list[tuple[list[float], list[float]]],
    ) -> Combiner: ...
    def apply(
        self,
        xgb_cls: npt.NDArray[np.float64],
        lgbm_cls: npt.NDArray[np.float64],
        xgb_reg: npt.NDArray[np.float64],
        lgbm_reg: npt.NDArray[np.float64],
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Probabilities before and after calibration, (n, 3), and the forecast (n,)."""

    def calibrate(self, p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Calibrated probabilities, (n, 3), for (n, 3)."""

@final
class Ensemble:
    """Four models and what combines them, ready to predict."""

    def __new__(
        cls, xgb_cls: bytes, lgbm_cls: bytes, xgb_reg: bytes, lgbm_reg: bytes, combiner: Combiner
    ) -> Ensemble: ...
    @property
    def n_features(self) -> int:
        """Columns of an input."""

    def predict(
        self, x: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Probabilities before and after calibration, (n, 3), and the forecast (n,), for (n, F) rows."""

    def predict_row(self, x: npt.NDArray[np.float64]) -> tuple[tuple[float, float, float], float] | None:
        """Probabilities after calibration and the forecast of one row (F,); None where it holds a NaN."""

def simulate(
    *,
    symbols: int,
    bars: int,
    seed: int,
    interval_ms: int,
    start_ms: int,
    signal_r2: float,
    horizon: int,
    volatility: float,
    market_share: float,
) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Names, open times (bars,), and (6, symbols * bars) of open, high, low, close, volume, oracle, by symbol."""

@final
class TreeModel:
    """A tree model; `qtfeat.trees.TreeModel` is the face to use. Raises RegistryError for a file it does not take."""

    def __new__(cls, data: bytes, iterations: int | None = None) -> TreeModel:
        """Reads a file. `iterations`: None for all, -1 for up to the best, else how many."""

    @property
    def library(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def n_features(self) -> int: ...
    @property
    def n_outputs(self) -> int: ...
    @property
    def n_trees(self) -> int: ...
    @property
    def n_iterations(self) -> int: ...
    @property
    def best_iteration(self) -> int | None: ...
    @property
    def feature_names(self) -> list[str]: ...
    def matrix(self, x: npt.NDArray[Any], raw: bool) -> npt.NDArray[Any]:
        """(n, F) float32 or float64, contiguous by row or by column -> (n,) or (n, K)."""

    def row(self, x: npt.NDArray[np.float64], raw: bool) -> float | npt.NDArray[np.float64]:
        """(F,) float64 -> a float, or (K,) float64."""
