"""From bars to the matrix that models train on: features, labels, and the rows that have both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qtfeat.bars.schema import BAR_SCHEMA
from qtfeat.errors import SchemaError
from qtfeat.features import FeatureSet, compute
from qtfeat.labels import Kind, Labels, make_labels, symbol_codes

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

Target = Literal["raw", "volatility", "neutral"]
TARGETS: Mapping[str, Kind] = {"raw": "forward", "volatility": "volatility_scaled", "neutral": "market_neutral"}
"""Targets of the main job and the kind of label that each is."""

_BLOCK = 2048
_BESIDE = ("momentum10 = roc(10)", "last = ret", "rule = rsi(14)")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Bars with features and labels; one entry per bar, in the order of the bars.

    Attributes:
        bars: the table, in the bar schema.
        X: features, (n, F) float64; NaN in warm-up.
        labels: the labels.
        columns: names of the F features.
        complete: True where every feature has a value.
        symbol: int32, an index into `symbols`.
        symbols: names of the symbols, by first appearance.
        baselines: forecasts that cost nothing, by name; see `qtfeat.train.oos.BASELINES`.
        rsi: rsi(14); NaN in warm-up.
        interval_seconds: length of a bar.
        fingerprint: of the feature set, as the computed features carry it.
        sha256: hash of the bars.
    """

    bars: pa.Table
    X: Floats
    labels: Labels
    columns: tuple[str, ...]
    complete: npt.NDArray[np.bool_]
    symbol: npt.NDArray[np.int32]
    symbols: tuple[str, ...]
    baselines: Mapping[str, Floats]
    rsi: Floats
    interval_seconds: float
    fingerprint: str
    sha256: str

    @property
    def usable(self) -> Rows:
        """Rows with every feature and a label."""
        return np.flatnonzero(self.complete & self.labels.known)

    @property
    def by_symbol(self) -> Rows:
        """All rows, symbol by symbol, each in order of time."""
        return np.lexsort((self.labels.t, self.symbol))

    def last_rows(self) -> Rows:
        """Return the row of the latest bar of each symbol, by first appearance; only rows that are complete."""
        order = self.by_symbol
        ends = np.append(np.flatnonzero(np.diff(self.symbol[order])), len(order) - 1)
        rows = order[ends]
        return np.asarray(rows[self.complete[rows]], dtype=np.intp)

    def only(self, rows: Rows) -> Dataset:
        """Return the same bars of which no other rows can be used."""
        kept = np.zeros(len(self.complete), dtype=bool)
        kept[rows] = True
        return replace(self, complete=self.complete & kept)

    def with_labels(self, labels: Labels) -> Dataset:
        """Return the same features with other labels."""
        return replace(self, labels=labels)

    def with_column(self, name: str, values: Floats) -> Dataset:
        """Return the dataset with one more feature; rows where it is NaN are not complete."""
        X = np.column_stack([self.X, values])
        return replace(self, X=X, columns=(*self.columns, name), complete=self.complete & ~np.isnan(values))


def prepare(
    bars: pa.Table,
    features: FeatureSet,
    *,
    target: Target = "raw",
    horizon: int = 5,
    threshold: float | None = None,
    threads: int = 1,
    **policy: Any,
) -> Dataset:
    """Compute features and labels of a panel in the bar schema.

    Args:
        bars: a table with the columns of `BAR_SCHEMA`, sorted by time within each symbol.
        features: the feature set.
        target: what is predicted: `"raw"` returns, `"volatility"`-scaled or market-`"neutral"` ones.
        horizon: bars ahead for the label.
        threshold: class threshold in the unit of the target; None for the default of `make_labels`.
        threads: threads for the features.
        **policy: `on_bad`, `on_gap`, `interval` for `compute`.

    Raises:
        QtfeatError: bad bars or settings, as `compute` and `make_labels` say.
    """
    if target not in TARGETS:
        raise SchemaError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
    bars = bars.select(BAR_SCHEMA.names)
    if bars.num_rows == 0:
        raise SchemaError("there are no bars")
    X, fingerprint = matrix(bars, features, threads=threads, **policy)
    momentum, last, rsi = matrix(bars, FeatureSet(_BESIDE), threads=threads, **policy)[0].T.copy()
    labels = make_labels(bars, TARGETS[target], horizon, threshold, on_bad=policy.get("on_bad", "raise"))
    lengths = labels.t - bars["open_time"].to_numpy().astype("datetime64[ns]")
    length = lengths[0] if (lengths == lengths[0]).all() else np.median(lengths)
    return Dataset(
        bars=bars,
        X=X,
        labels=labels,
        columns=tuple(features.columns),
        complete=np.asarray(~np.isnan(X).any(axis=1)),
        symbol=symbol_codes(bars["symbol"]),
        symbols=tuple(bars["symbol"].unique().to_pylist()),
        baselines={"zero": np.zeros(len(X)), "neg_momentum10": -momentum, "neg_ret": -last},
        rsi=rsi,
        interval_seconds=float(length / np.timedelta64(1, "s")),
        fingerprint=fingerprint,
        sha256=digest(bars),
    )


def matrix(bars: pa.Table, features: FeatureSet, *, threads: int, **policy: Any) -> tuple[Floats, str]:
    """Return the features of bars in the bar schema.

    Returns:
        (features as a C-contiguous (n, F) float64 matrix, NaN for no value; the fingerprint they were computed by).
    """
    out = compute(bars, features, by="symbol", time="open_time", threads=threads, **policy)
    X = np.empty((bars.num_rows, len(features.columns)))
    columns = [out[name].to_numpy() for name in features.columns]
    # Block by block: a block of the matrix stays in the cache while every column is written into it.
    for start in range(0, len(X), _BLOCK):
        block = X[start : start + _BLOCK]
        for i, values in enumerate(columns):
            block[:, i] = values[start : start + _BLOCK]
    return X, out.schema.metadata[b"qtfeat.fingerprint"].decode()


def holes(data: Dataset, features: FeatureSet) -> int:
    """Return how many features are missing beyond the warm-up of their column, over all bars."""
    order = data.by_symbol
    position = np.empty(len(order), dtype=np.int64)
    starts = np.flatnonzero(np.diff(data.symbol[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    position[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    warm = np.array([features.warmup[name] for name in data.columns])
    return int(np.count_nonzero(np.isnan(data.X) & (position[:, None] >= warm)))


def digest(bars: pa.Table) -> str:
    """Return the SHA-256 of the bars: symbols, times and values, whatever the chunks."""
    total = hashlib.sha256()
    for name in BAR_SCHEMA.names:
        column = bars[name]
        if pa.types.is_string(column.type):
            counts = np.asarray([len(s.encode()) for s in column.unique().to_pylist()], dtype=np.int64)
            total.update(counts.tobytes())
            total.update("".join(column.unique().to_pylist()).encode())
            total.update(symbol_codes(column).tobytes())
        else:
            total.update(np.ascontiguousarray(column.to_numpy()).tobytes())
    return total.hexdigest()
