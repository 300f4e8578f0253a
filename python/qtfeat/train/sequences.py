"""Training data for sequence models: windows of features, labels and a purged split, in files to map into memory."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qtfeat import _strict_json
from qtfeat.errors import SchemaError
from qtfeat.features import FeatureSet
from qtfeat.labels import SIDES
from qtfeat.splits import purged_tail
from qtfeat.train.data import Dataset
from qtfeat.train.jsonfile import FORMAT, checked
from qtfeat.train.sample import class_factors

Rows = npt.NDArray[np.intp]

PARTS = ("train", "validation", "test")
_CHUNK = 4_096
_FILES = ("X.npy", "labels.arrow")


@dataclass(frozen=True, slots=True)
class Sequences:
    """An export, mapped into memory.

    Attributes:
        X: (n, length, F) float32 or float64, read-only; the last row of a window is the bar that decides.
        labels: one row per window, sorted by part, then time, then symbol: `part` ("train", "validation", "test"),
            `symbol`, `t`, `t_end`, `value`, `ret`, `side` (0 SELL, 1 HOLD, 2 BUY) and `weight`, by which the classes of
            the training part have equal weight; 1 elsewhere.
        manifest: fingerprint, columns, counts, settings, hashes.
    """

    X: npt.NDArray[Any]
    labels: pa.Table
    manifest: dict[str, Any]

    def part(self, name: str) -> slice:
        """Return which windows are of a part."""
        counts = self.manifest["parts"]
        if name not in counts:
            raise SchemaError(f"part must be one of {', '.join(PARTS)}, got {name!r}")
        start = sum(counts[other] for other in PARTS[: PARTS.index(name)])
        return slice(start, start + counts[name])


def export_sequences(
    data: Dataset,
    features: FeatureSet,
    out: str | Path,
    *,
    length: int = 128,
    test: float = 0.2,
    validation: float = 0.15,
    embargo: timedelta = timedelta(0),
    balance: bool = True,
    dtype: Literal["float32", "float64"] = "float32",
    tick: Callable[[int], None] = lambda _windows: None,
) -> Path:
    """Write every window that is complete and has a label; the folder appears whole or not at all.

    The latest share of the timestamps is the test, the latest share of those before it the validation. A window whose
    outcome would be known only in a later part (or its embargo) is in none. Windows count bars: over a hole in the bars
    they reach further back. A window may reach back into an earlier part, since features do not hold outcomes.

    Args:
        data: features and labels, see `prepare`.
        features: the feature set.
        out: folder to make: `X.npy`, `labels.arrow`, `manifest.json`.
        length: bars per window.
        test: share of the timestamps that is the test.
        validation: share of the rest that is the validation.
        embargo: distance between an outcome and the next part, beyond the purge.
        balance: weigh the training windows so that each class has the same weight.
        dtype: of X; float32 saturates.
        tick: called with the number of windows just written.

    Returns:
        The folder.

    Raises:
        SchemaError: a bad setting, no complete window, an empty part, or `out` is there already.
    """
    final = Path(out)
    if length < 1 or dtype not in ("float32", "float64"):
        raise SchemaError(f"length must be at least 1 and dtype float32 or float64, got {length} and {dtype!r}")
    if final.exists():
        raise SchemaError(f"{final}: is there already; name another folder")
    order = data.by_symbol
    ends = _complete_windows(data, order, length)
    ends = ends[data.labels.known[order[ends]]]
    if len(ends) == 0:
        raise SchemaError(f"no symbol has {length} bars in a row with every feature, and a label")
    parts = _parts(data, order[ends], test, validation, embargo)
    picked = np.concatenate([ends[rows] for rows in parts])
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=final.parent))
    try:
        _write_windows(temporary / "X.npy", data.X[order], picked, length, dtype, tick)
        _write_labels(temporary / "labels.arrow", data, order[picked], parts, balance)
        manifest = _manifest(data, features, parts, length, test, validation, embargo, balance, dtype)
        manifest["sha256"] = {name: _sha256(temporary / name) for name in _FILES}
        (temporary / "manifest.json").write_bytes(_strict_json.write(manifest))
        for file in temporary.iterdir():
            _sync(file)
        temporary.chmod(0o755)
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return final


def load_sequences(folder: str | Path, *, verify: bool = False) -> Sequences:
    """Map an export into memory.

    Args:
        folder: what `export_sequences` wrote.
        verify: compare the hashes of the files, which reads all of them.

    Raises:
        SchemaError: a missing or damaged file, or one that does not fit the manifest.
    """
    folder = Path(folder)
    try:
        manifest = checked("manifest.json", (folder / "manifest.json").read_bytes(), _parse)
        X = np.load(folder / "X.npy", mmap_mode="r", allow_pickle=False)
        with pa.memory_map(str(folder / "labels.arrow")) as source:
            labels = pa.ipc.open_file(source).read_all()
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise SchemaError(f"{folder}: cannot be read ({error})") from error
    shape = (sum(manifest["parts"].values()), manifest["length"], len(manifest["columns"]))
    if X.shape != shape or labels.num_rows != shape[0]:
        raise SchemaError(f"{folder}: X has shape {X.shape} and labels {labels.num_rows} rows, expected {shape}")
    if verify:
        for name, wanted in manifest["sha256"].items():
            if name in _FILES and _sha256(folder / name) != wanted:
                raise SchemaError(f"{folder / name}: content changed")
    return Sequences(X, labels, manifest)


def _parse(found: dict[str, Any]) -> dict[str, Any]:
    """Check what a reader uses of a manifest."""
    counts = [found["parts"][name] for name in PARTS] + [found["length"]]
    if not all(type(count) is int and count >= 0 for count in counts) or not isinstance(found["columns"], list):
        raise ValueError("parts, length or columns are not what an export writes")
    if not isinstance(found["sha256"], dict):
        raise TypeError("sha256 must be an object")
    return found


def _complete_windows(data: Dataset, order: Rows, length: int) -> Rows:
    """Return the positions in `order` at which a window ends that lies in one symbol and misses no feature."""
    symbol = data.symbol[order]
    broken = ~data.complete[order]
    # Rows since the last break: a symbol's start, or a row with a feature missing.
    index = np.arange(len(order))
    starts = np.concatenate([[True], symbol[1:] != symbol[:-1]])
    last = np.maximum.accumulate(np.where(broken, index, np.where(starts, index - 1, -1)))
    return np.flatnonzero(index - last >= length)


def _parts(data: Dataset, rows: Rows, test: float, validation: float, embargo: timedelta) -> tuple[Rows, Rows, Rows]:
    """Return positions in `rows` of each part, by time, then symbol."""
    t, t_end = data.labels.t[rows], data.labels.t_end[rows]
    before, tested = purged_tail(t, t_end, test, embargo=embargo)
    fit, watched = purged_tail(t[before], t_end[before], validation, embargo=embargo)
    parts = (before[fit], before[watched], tested)
    first, second, third = (part[np.lexsort((data.symbol[rows[part]], t[part]))] for part in parts)
    return first, second, third


def _write_windows(
    path: Path, X: npt.NDArray[np.float64], ends: Rows, length: int, dtype: str, tick: Callable[[int], None]
) -> None:
    out = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(len(ends), length, X.shape[1]))
    limit = np.finfo(dtype).max
    back = np.arange(1 - length, 1)
    for start in range(0, len(ends), _CHUNK):
        some = ends[start : start + _CHUNK]
        windows = X[some[:, None] + back]
        out[start : start + len(some)] = np.clip(windows, -limit, limit) if dtype == "float32" else windows
        tick(len(some))
    out.flush()


def _write_labels(path: Path, data: Dataset, rows: Rows, parts: tuple[Rows, ...], balance: bool) -> None:
    labels = data.labels
    sizes = [len(part) for part in parts]
    side, weight = labels.side[rows], np.ones(len(rows))
    if balance:
        weight[: sizes[0]] = class_factors(side[: sizes[0]])[side[: sizes[0]]]
    names = pa.array(data.symbols, pa.string())
    columns = {
        "part": pa.array(np.repeat(PARTS, sizes), pa.string()),
        "symbol": pa.DictionaryArray.from_arrays(pa.array(data.symbol[rows]), names).dictionary_decode(),
        "t": pa.array(labels.t[rows].astype("datetime64[ns]"), pa.timestamp("ns")),
        "t_end": pa.array(labels.t_end[rows].astype("datetime64[ns]"), pa.timestamp("ns")),
        "value": pa.array(labels.value[rows]),
        "ret": pa.array(labels.ret[rows]),
        "side": pa.array(side),
        "weight": pa.array(weight),
    }
    table = pa.table(columns)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _manifest(
    data: Dataset,
    features: FeatureSet,
    parts: tuple[Rows, ...],
    length: int,
    test: float,
    validation: float,
    embargo: timedelta,
    balance: bool,
    dtype: str,
) -> dict[str, Any]:
    labels = data.labels
    return {
        "format": FORMAT,
        "fingerprint": features.fingerprint,
        "columns": list(data.columns),
        "length": length,
        "dtype": dtype,
        "parts": {name: len(part) for name, part in zip(PARTS, parts, strict=True)},
        "label": {
            "kind": labels.kind,
            "horizon": labels.horizon,
            "threshold": labels.threshold,
            "classes": list(SIDES),
            "label_leak": labels.label_leak,
        },
        "split": {"test": test, "validation": validation, "embargo_seconds": embargo.total_seconds()},
        "balance": balance,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
