"""Golden rows: features with the outputs that the saved models gave, so that every loader can check itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from qtfeat import _strict_json
from qtfeat.errors import QtfeatError, RegistryError

GOLDEN = "golden.json"
FORMAT = 1
ROWS = 64

Floats = npt.NDArray[np.float64]
Predict = Callable[[Mapping[str, bytes], Floats], tuple[Floats, Floats]]
"""From the files of a version and features (n, F) to probabilities (n, 3) and forecast (n,)."""


def golden(columns: Sequence[str], X: Floats, p: Floats, score: Floats) -> bytes:
    """Return `golden.json`.

    Args:
        columns: names of the F features.
        X: finite features, (n, F); up to 64 rows, spread evenly, are kept.
        p: what the saved models gave for them, (n, 3).
        score: forecast of the same, (n,).

    Raises:
        RegistryError: shapes that do not fit, or a value that is not finite.
    """
    try:
        X, p, score = (np.asarray(a, dtype=np.float64) for a in (X, p, score))
    except (TypeError, ValueError) as error:
        raise RegistryError(f"golden rows: {error}") from error
    if X.ndim != 2 or X.shape[1] != len(columns) or p.shape != (len(X), 3) or score.shape != (len(X),) or not len(X):
        raise RegistryError(f"golden rows: shapes {X.shape}, {p.shape}, {score.shape} do not fit")
    keep = np.unique(np.linspace(0, len(X) - 1, ROWS).astype(np.intp))
    if not all(np.isfinite(a[keep]).all() for a in (X, p, score)):
        raise RegistryError("golden rows: every value must be finite")
    rows = {"rows": X[keep].tolist(), "p": p[keep].tolist(), "score": score[keep].tolist()}
    return _strict_json.write({"format": FORMAT, "columns": list(columns), **rows})


def read_golden(data: bytes) -> tuple[list[str], Floats, Floats, Floats]:
    """Return columns, features (n, F), probabilities (n, 3) and forecast (n,).

    Raises:
        RegistryError: damaged, hostile or of another format.
    """
    try:
        stored = _strict_json.parse(data)
        known = stored["format"] == FORMAT
        columns = [str(name) for name in stored["columns"]]
        X, p, score = (np.array(stored[key], dtype=np.float64) for key in ("rows", "p", "score"))
    except (KeyError, TypeError, OverflowError, ValueError) as error:
        raise RegistryError(f"{GOLDEN}: cannot be read ({error})") from error
    if not known:
        raise RegistryError(f"{GOLDEN}: format {FORMAT} is expected")
    if X.ndim != 2 or X.shape[1] != len(columns) or p.shape != (len(X), 3) or score.shape != (len(X),) or not len(X):
        raise RegistryError(f"{GOLDEN}: shapes {X.shape}, {p.shape}, {score.shape} do not fit")
    return columns, X, p, score


def check_golden(files: Mapping[str, bytes], predict: Predict) -> int:
    """Predict the golden rows again and compare bits.

    Returns:
        The number of rows compared.

    Raises:
        RegistryError: no golden rows, models that cannot predict them, or an output that differs; the message names
            row and values.
    """
    if GOLDEN not in files:
        raise RegistryError(f"{GOLDEN} is missing")
    _, X, p, score = read_golden(files[GOLDEN])
    try:
        now_p, now_score = predict(files, X)
    except QtfeatError:
        raise
    except Exception as error:
        # Whatever a library says of models that do not fit the rows: too few columns, too few classes.
        raise RegistryError(f"golden rows: cannot be predicted: {type(error).__name__}: {error}") from error
    for what, was, now in (("probabilities", p, now_p), ("forecast", score, now_score)):
        now = np.asarray(now, dtype=np.float64)
        if now.shape != was.shape:
            raise RegistryError(f"golden rows: {what} have shape {now.shape}, not {was.shape}")
        differs = np.flatnonzero(
            (was.view(np.uint64) != np.ascontiguousarray(now).view(np.uint64)).reshape(len(X), -1).any(axis=1)
        )
        if differs.size:
            row = int(differs[0])
            raise RegistryError(f"golden row {row}: {what} {now[row]} instead of {was[row]}", row=row)
    return len(X)
