"""Training sets from a lake: features, labels and times side by side, batch by batch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qtfeat._columns import count
from qtfeat.backfill import parquet, state
from qtfeat.backfill.lake import Lake, within
from qtfeat.backfill.manifest import Month
from qtfeat.backfill.partition import Partition, month
from qtfeat.backfill.run import CONFIG
from qtfeat.backfill.task import FEATURES, Job
from qtfeat.errors import SchemaError
from qtfeat.feature_set import FeatureSet, as_feature_set
from qtfeat.labels import Labels, make_labels

KEYS = ("symbol", "t", "t_end")
TARGETS = ("value", "ret", "side")
FORWARD: Mapping[str, Any] = {"kind": "forward", "horizon": 5, "threshold": 0.005}
_PRICES = ("open", "high", "low", "close")


def dataset(
    lake: Lake | str | os.PathLike[str],
    features: FeatureSet | str | Iterable[str] = "wide32",
    label: Mapping[str, Any] = FORWARD,
    symbols: Collection[str] | None = None,
    first: str | None = None,
    last: str | None = None,
    *,
    markets: Collection[str] | None = None,
    intervals: Collection[str] | None = None,
    batch_rows: int = 65_536,
    complete: bool = True,
) -> TrainingSet:
    """Open a training set over the features that a backfill left in a lake. Nothing is read yet but manifests.

    Args:
        lake: the lake, its folder or its URL.
        features: the set, as it was given to the backfill.
        label: arguments of `qtfeat.labels.make_labels` (kind, horizon, threshold, ...). A kind that compares symbols
            with each other ("market_neutral") needs them in memory, and is refused.
        symbols: only these; so with `markets` and `intervals`.
        first: first month, such as `2023-01`.
        last: last month. Outcomes after it are not looked at: rows whose label would need them have none.
        markets: only these.
        intervals: only these.
        batch_rows: rows of a batch. It is part of `config`, because what XGBoost makes of batches depends on it.
        complete: leave out rows where a feature or the label has no value.

    Raises:
        SchemaError: features that are missing, or older than the bars; `qtfeat backfill` makes them.
    """
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    fs = as_feature_set(features)
    if label.get("kind", "forward") == "market_neutral":
        raise SchemaError("labels of kind 'market_neutral' need all symbols at once: use qtfeat.labels.make_labels")
    unknown = sorted(set(label) - {"kind", "horizon", "threshold", "take_profit", "stop_loss"})
    if unknown:
        raise SchemaError(f"label has no setting {unknown[0]!r}: kind, horizon, threshold, take_profit, stop_loss are")
    first = None if first is None else month(first, "first")
    last = None if last is None else month(last, "last")
    partitions = lake.partitions(markets=markets, symbols=symbols, intervals=intervals)
    taken = sorted({*KEYS, *(f"label_{name}" for name in TARGETS)} & set(fs.columns))
    if taken:
        raise SchemaError(f"a feature is named {taken[0]!r}, as a column beside it: rename it", column=taken[0])
    job = _job(lake, fs, first, last)
    return TrainingSet(lake, job, tuple(partitions), dict(label), count(batch_rows, "batch_rows"), complete)


@dataclass(frozen=True)
class TrainingSet:
    """Rows by symbol and then by time, of which at most a month and a batch are in memory. Made by `qtfeat.dataset`.

    Its batches have the columns symbol, t (close time of the bar: when the row can be known), t_end (when its outcome
    is), the features, and label_value, label_ret and label_side as in `qtfeat.labels.Labels` (null, or -1 where
    there is none).

    Attributes:
        lake: the lake.
        job: the backfill that the features are of.
        partitions: the series, in order.
        label: arguments of `make_labels`.
        batch_rows: rows of a batch.
        complete: only rows that have every value.
    """

    lake: Lake
    job: Job
    partitions: tuple[Partition, ...]
    label: dict[str, Any]
    batch_rows: int
    complete: bool
    _parts: dict[Partition, Part] = field(default_factory=dict, repr=False, compare=False)

    @property
    def columns(self) -> list[str]:
        """Names of the features."""
        return self.job.features.columns

    @cached_property
    def schema(self) -> pa.Schema:
        """Schema of the batches."""
        kind = pa.float32() if self.job.dtype == "float32" else pa.float64()
        stamp = pa.timestamp("ms", tz="UTC")
        fields = [pa.field("symbol", pa.string()), pa.field("t", stamp), pa.field("t_end", stamp)]
        fields += [pa.field(c, kind) for c in self.columns]
        fields += [pa.field(f"label_{name}", pa.int8() if name == "side" else pa.float64()) for name in TARGETS]
        return pa.schema(fields, metadata={"qtfeat.fingerprint": self.job.features.fingerprint})

    @cached_property
    def config(self) -> dict[str, Any]:
        """All that decides the rows and how they come, as JSON values; for a model's manifest."""
        return {
            "fingerprint": self.job.features.fingerprint,
            "dtype": self.job.dtype,
            "on_bad": self.job.on_bad,
            "on_gap": self.job.on_gap,
            "label": dict(self.label),
            "first": self.job.first,
            "last": self.job.last,
            "batch_rows": self.batch_rows,
            "complete": self.complete,
            "bars": {p.path: self.part(p).key for p in self.partitions},
        }

    @property
    def hash(self) -> str:
        """SHA-256 of `config`, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()

    def part(self, partition: Partition) -> Part:
        """One series of the set."""
        if partition not in self._parts:
            self._parts[partition] = Part(self, partition)
        return self._parts[partition]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in batches of `batch_rows` (the last one may be shorter)."""
        held: list[pa.Table] = []
        rows = 0
        for partition in self.partitions:
            for table in self.part(partition).tables():
                held.append(table)
                rows += table.num_rows
                while rows >= self.batch_rows:
                    whole = pa.concat_tables(held)
                    yield _one(whole.slice(0, self.batch_rows))
                    held, rows = [whole.slice(self.batch_rows)], rows - self.batch_rows
        if rows:
            yield _one(pa.concat_tables(held))

    def reader(self) -> pa.RecordBatchReader:
        """The batches as an Arrow stream."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def matrices(self, target: str = "value") -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """The batches as (n, F) features and (n,) targets ("value", "ret" or "side")."""
        _known(target)
        for batch in self.batches():
            yield matrix(batch, self.columns), batch[f"label_{target}"].to_numpy(zero_copy_only=False)

    def quantile_dmatrix(self, target: str = "value", **options: Any) -> Any:
        """An `xgboost.QuantileDMatrix` made batch by batch; the matrix itself is never in memory.

        Args:
            target: "value", "ret" or "side".
            **options: for `QuantileDMatrix`, such as `max_bin` or `ref`.
        """
        from qtfeat.backfill.iterators import quantile_dmatrix

        return quantile_dmatrix(self, _known(target), **options)

    def lightgbm_dataset(self, target: str = "value", **options: Any) -> Any:
        """A `lightgbm.Dataset` over `lightgbm.Sequence`s, one per series, that read months as they are asked for.

        Args:
            target: "value", "ret" or "side".
            **options: for `Dataset`, such as `params` or `reference`.
        """
        from qtfeat.backfill.iterators import lightgbm_dataset

        return lightgbm_dataset(self, _known(target), **options)


class Part:
    """One series of a training set."""

    def __init__(self, of: TrainingSet, partition: Partition) -> None:
        self.of = of
        self.partition = partition
        self.folder = f"{of.job.folder}/{partition.path}"
        months = of.lake.months(partition)
        keys = state.keys(of.job.identity, months)
        self.past = [m for m in months.values() if within(m.month, None, of.job.last)]
        self.months = [m for m in self.past if within(m.month, of.job.first, None)]
        self.key = keys[self.months[-1].month] if self.months else ""
        for m in self.months:
            known = state.of_features(of.lake.store, self.folder, m.month)
            if known is None or known.key != keys[m.month]:
                text = f"features of {partition} {m.month} are missing or older than the bars: run qtfeat backfill"
                raise SchemaError(text)

    @cached_property
    def labels(self) -> Labels:
        """Labels of the rows of `past`."""
        wanted = ["symbol", "open_time", *_PRICES]
        lake = self.of.lake
        tables = []
        for m in self.past:
            table = parquet.reader(lake.data(self.partition, m)).read(columns=wanted, use_threads=False)
            if table.num_rows != m.rows:
                text = f"{self.partition} {m.month}: {table.num_rows} bars, the manifest says {m.rows}"
                raise SchemaError(f"{text}; run qtfeat lake repair")
            tables.append(table)
        settings = {"on_bad": self.of.job.on_bad} | dict(self.of.label)
        return make_labels(pa.concat_tables(tables), interval=self.partition.interval, **settings)

    def features(self, name: str) -> pa.Table:
        """The features of a month. Raises SchemaError where the file is not sound."""
        path = f"{self.folder}/{name}.parquet"
        try:
            table = parquet.reader(self.of.lake.store.read(path)).read(use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise SchemaError(f"{path}: cannot be read ({error}); run qtfeat backfill --check") from error
        found = (table.schema.metadata or {}).get(b"qtfeat.fingerprint", b"").decode()
        if found != self.of.job.features.fingerprint or table.column_names[1:] != self.of.columns:
            raise SchemaError(f"{path}: features of another set ({found or 'no fingerprint'}); run qtfeat backfill")
        return table

    def each(self) -> Iterator[tuple[Month, pa.Table, slice, npt.NDArray[np.bool_]]]:
        """Month by month: the features, their rows in `labels`, and which of them are asked for."""
        at = sum(m.rows for m in self.past) - sum(m.rows for m in self.months)
        for m in self.months:
            rows = slice(at, at + m.rows)
            at += m.rows
            features = self.features(m.month)
            if features.num_rows != m.rows:
                text = f"{self.partition} {m.month}: {features.num_rows} rows of features for {m.rows} bars"
                raise SchemaError(f"{text}; run qtfeat lake repair, then qtfeat backfill")
            yield m, features, rows, self._usable(features, rows)
        self.__dict__.pop("labels", None)

    def tables(self) -> Iterator[pa.Table]:
        """Month by month, the rows that are asked for."""
        for _, features, rows, usable in self.each():
            if usable.any():
                yield self._table(features, rows).filter(pa.array(usable))

    def _table(self, features: pa.Table, rows: slice) -> pa.Table:
        labels, schema = self.labels, self.of.schema
        stamps = schema.field("t").type
        columns = [
            pa.repeat(pa.scalar(self.partition.symbol), features.num_rows),
            pa.array(labels.t[rows].astype("datetime64[ms]")).cast(stamps),
            pa.array(labels.t_end[rows].astype("datetime64[ms]")).cast(stamps),
            *(column.combine_chunks() for column in features.columns[1:]),
            pa.array(labels.value[rows], from_pandas=True),
            pa.array(labels.ret[rows], from_pandas=True),
            pa.array(labels.side[rows]),
        ]
        return pa.Table.from_arrays(columns, schema=schema)

    def _usable(self, features: pa.Table, rows: slice) -> npt.NDArray[np.bool_]:
        if not self.of.complete:
            return np.ones(features.num_rows, dtype=np.bool_)
        good = self.labels.known[rows].copy()
        for column in features.columns[1:]:
            if column.null_count:
                good &= ~np.asarray(column.is_null())
        return good


def _job(lake: Lake, fs: FeatureSet, first: str | None, last: str | None) -> Job:
    """The backfill that made the features of a set."""
    for folder in lake.store.names(FEATURES):
        if folder.startswith("set=") and folder.endswith(f"-{fs.fingerprint}"):
            try:
                told = json.loads(lake.store.read(f"{FEATURES}/{folder}/{CONFIG}").to_pybytes())
                name = folder.removeprefix("set=").removesuffix(f"-{fs.fingerprint}")
                settings = (told["dtype"], told["on_bad"], told["on_gap"])
            except (FileNotFoundError, ValueError, KeyError) as error:
                raise SchemaError(f"{lake.root}/{FEATURES}/{folder}/{CONFIG}: damaged; run qtfeat backfill") from error
            return Job(lake.root, fs, name, *settings, first, last)
    name = fs.name or "custom"
    raise SchemaError(f"{lake.root}: no features of {name} ({fs.fingerprint}): run qtfeat backfill {lake.root}")


def _known(target: str) -> str:
    if target not in TARGETS:
        raise SchemaError(f"target must be one of {', '.join(map(repr, TARGETS))}, not {target!r}")
    return target


def _one(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


def matrix(table: pa.Table | pa.RecordBatch, columns: list[str]) -> npt.NDArray[Any]:
    """Features as a C-contiguous (n, F) array, NaN where there is none."""
    out = np.empty((table.num_rows, len(columns)), dtype=table.schema.field(columns[0]).type.to_pandas_dtype())
    for i, name in enumerate(columns):
        column = table[name]
        out[:, i] = column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(zero_copy_only=False)
    return out
