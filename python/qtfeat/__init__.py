"""qtfeat: features for trading models, the same bits in batch, window, panel and stream.

Example:
    >>> import qtfeat as qf
    >>> fs = qf.FeatureSet.load("kline17")
    >>> len(fs.columns)
    17
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from qtfeat._core import PanelStream, Stream
from qtfeat.errors import (
    BadBarError,
    FeatureSpecError,
    FetchError,
    FingerprintMismatch,
    GapError,
    GateFailed,
    QtfeatError,
    RegistryError,
    SchemaError,
    SnapshotError,
    UnsortedError,
    VerifyFailed,
)
from qtfeat.features import (
    FeatureSet,
    catalog,
    compute,
    compute_batches,
    cpu,
    release_memory,
    sequences,
    windows,
    windows_at,
)

if TYPE_CHECKING:
    from qtfeat import ta
    from qtfeat.bars import read_bars
    from qtfeat.bars.simulate import simulate
    from qtfeat.proof import verify
    from qtfeat.synthetic import synthetic_features, synthetic_windows

__version__ = "0.1.0"

__all__ = [
    "BadBarError",
    "FeatureSet",
    "FeatureSpecError",
    "FetchError",
    "FingerprintMismatch",
    "GapError",
    "GateFailed",
    "PanelStream",
    "QtfeatError",
    "RegistryError",
    "SchemaError",
    "SnapshotError",
    "Stream",
    "UnsortedError",
    "VerifyFailed",
    "catalog",
    "compute",
    "compute_batches",
    "cpu",
    "read_bars",
    "release_memory",
    "sequences",
    "simulate",
    "synthetic_features",
    "synthetic_windows",
    "ta",
    "verify",
    "windows",
    "windows_at",
]

# Loaded at first use: `import qtfeat` itself stays fast.
_LAZY = {
    "verify": "qtfeat.proof",
    "read_bars": "qtfeat.bars",
    "simulate": "qtfeat.bars",
    "synthetic_features": "qtfeat.synthetic",
    "synthetic_windows": "qtfeat.synthetic",
}


def __getattr__(name: str) -> Any:
    if name == "ta":
        return import_module("qtfeat.ta")
    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'qtfeat' has no attribute {name!r}")


# polars is no dependency and is not loaded for this: where it is there already, expressions get `.qf`.
if hasattr(sys.modules.get("polars"), "api"):
    import_module("qtfeat.polars_namespace")
