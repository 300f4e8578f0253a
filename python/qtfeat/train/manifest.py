"""What a saved model says about itself: data, settings, scores and versions."""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any

import numpy as np
import pyarrow as pa

from qtfeat.bars.schema import BAR_SCHEMA
from qtfeat.labels import SIDES, symbol_codes
from qtfeat.train.config import TrainConfig
from qtfeat.train.data import Dataset
from qtfeat.train.evaluate import FoldScore

_LIBRARIES = ("qtfeat", "numpy", "pyarrow", "xgboost", "lightgbm")


def describe(
    data: Dataset,
    fingerprint: str,
    set_name: str,
    horizon: int,
    threshold: float,
    config: TrainConfig,
    scores: Sequence[FoldScore],
) -> dict[str, Any]:
    """Return the manifest as JSON values; nothing in it depends on when or where the run was made."""
    times = data.labels.t
    return {
        "fingerprint": fingerprint,
        "feature_set": set_name,
        "columns": list(data.columns),
        "label": {"kind": "forward", "horizon": horizon, "threshold": threshold, "classes": list(SIDES)},
        "config": config.as_dict(),
        "data": {
            "sha256": digest(data.bars),
            "bars": data.bars.num_rows,
            "rows": len(data.usable),
            "symbols": sorted(data.bars["symbol"].unique().to_pylist()),
            "first": str(times.min()),
            "last": str(times.max()),
        },
        "folds": [_score(score) for score in scores],
        "versions": {name: str(import_module(name).__version__) for name in _LIBRARIES},
        "platform": f"{platform.system()}-{platform.machine()}",
    }


def _score(score: FoldScore) -> dict[str, Any]:
    """Return a score as JSON values: times as text, NaN as null."""
    out = asdict(score)
    for name, value in out.items():
        if isinstance(value, np.datetime64):
            out[name] = str(value)
        elif isinstance(value, float) and math.isnan(value):
            out[name] = None
    return out


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
