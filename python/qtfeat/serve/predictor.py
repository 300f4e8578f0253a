"""Predictions without state: features by name or a window of bars, through the model and the policy."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from qtfeat.errors import SchemaError
from qtfeat.features import windows
from qtfeat.serve.lane import Predicted as Prediction
from qtfeat.serve.messages import InferAnswer, InferRequest, OutTensor, PredictAnswer, Predicted, PredictRequest, Tensor
from qtfeat.serve.model import ServedModel
from qtfeat.serve.policy import Opinion, Policy

Floats = npt.NDArray[np.float64]
NAN = float("nan")


def matrix(columns: Sequence[str], rows: Sequence[Mapping[str, float]]) -> Floats:
    """Return rows of features by name as (n, F) in the model's order.

    Raises:
        SchemaError: a missing, extra or renamed column, or a value that is not finite; column and row are named.
    """
    wanted = len(columns)
    out = np.empty((len(rows), wanted))
    for number, row in enumerate(rows):
        if len(row) != wanted or any(name not in row for name in columns):
            raise _wrong_names(columns, list(row), number)
        out[number] = [row[name] for name in columns]
    check_finite(columns, out)
    return out


def check_finite(columns: Sequence[str], X: Floats) -> None:
    """Refuse NaN and infinity; raises SchemaError naming column and row."""
    # A sum is finite only if all are; one that is not may still come of large numbers.
    if not math.isfinite(X.sum()) and not np.isfinite(X).all():
        row, at = (int(i) for i in np.argwhere(~np.isfinite(X))[0])
        raise SchemaError(f"column {columns[at]!r}, row {row}: not a finite number", column=columns[at], row=row)


def _wrong_names(columns: Sequence[str], given: Sequence[str], row: int) -> SchemaError:
    missing = [name for name in columns if name not in given]
    extra = [name for name in given if name not in columns]
    parts = []
    if missing:
        parts.append(f"missing: {', '.join(missing[:5])}")
    if extra:
        near = difflib.get_close_matches(extra[0][:64], columns, 1)
        parts.append(f"unknown: {', '.join(name[:64] for name in extra[:5])}")
        parts += [f"did you mean {near[0]!r}?"] if near else []
    column = missing[0] if missing else extra[0] if extra else None
    return SchemaError(f"row {row}: columns are matched by name; {'; '.join(parts)}", column=column, row=row)


def predict(model: ServedModel, policy: Policy, request: PredictRequest, halt: str) -> PredictAnswer:
    """Answer `POST /v1/predict`.

    Args:
        model: the production model.
        policy: makes sides of probabilities; nothing is selected or sized here.
        request: features or a window.
        halt: why the model must not speak; empty if it may.

    Raises:
        SchemaError: neither or both were given, columns that do not fit, a window that is too short.
        BadBarError: a bar of the window that is none.
    """
    if (request.features is None) == (request.bars is None):
        raise SchemaError("give either `features` or `bars`")
    features = None
    rsi = NAN if request.rsi is None else request.rsi
    volatility = NAN if request.volatility is None else request.volatility
    if request.features is not None:
        rows = request.features if isinstance(request.features, list) else [request.features]
        X = matrix(model.columns, rows)
    else:
        X, rsi, volatility = _window(model, request.bars or [])
        features = dict(zip(model.columns, X[0].tolist(), strict=True))
    opinions = [Opinion("", chances, forecast, rsi, volatility, NAN) for chances, forecast in _rows(model, X)]
    found = [
        Predicted(d.side, d.confidence, d.source, d.reason, o.p or (NAN, NAN, NAN), o.score)
        for o, d in zip(opinions, (policy.side_of(opinion, halt) for opinion in opinions), strict=True)
    ]
    return PredictAnswer(f"{model.name}/{model.version}", model.fingerprint, policy.hash, found, features)


def _rows(model: ServedModel, X: Floats) -> list[Prediction]:
    """Return probabilities and forecast of each row; one row takes the short way, with the same bits."""
    one = model.predict_row(X[0]) if len(X) == 1 else None
    if one is not None:
        return [one]
    p, score = model.predict(X)
    return [((a, b, c), forecast) for (a, b, c), forecast in zip(p.tolist(), score.tolist(), strict=True)]


def _window(model: ServedModel, bars: Sequence[Sequence[float]]) -> tuple[Floats, float, float]:
    """Return the features of the last bar of a window, (1, F), its RSI and its volatility."""
    both = model.with_policy
    needed = max(model.features.warmup.values()) + 1
    if len(bars) < needed:
        raise SchemaError(f"a window of {len(bars)} bars: the features need at least {needed}")
    values = windows(np.array([bars], dtype=np.float64), both)
    width = len(model.columns)
    rsi, volatility = values[0, width:].tolist()
    return np.ascontiguousarray(values[:, :width]), rsi, volatility


def infer(model: ServedModel, policy: Policy, request: InferRequest, halt: str) -> InferAnswer:
    """Answer the Open Inference Protocol; errors as in `predict`."""
    X = _tensors(model.columns, request.inputs)
    p, score = model.predict(X)
    wanted = (
        [out.name for out in request.outputs] if request.outputs else ["probabilities", "score", "side", "confidence"]
    )
    decided = []
    if "side" in wanted or "confidence" in wanted:
        decided = [policy.side_of(Opinion("", (c[0], c[1], c[2]), 0.0, NAN, NAN, NAN), halt) for c in p.tolist()]
    n = len(X)
    every = {
        "probabilities": lambda: OutTensor("probabilities", [n, 3], "FP64", p.ravel().tolist()),
        "score": lambda: OutTensor("score", [n], "FP64", score.tolist()),
        "side": lambda: OutTensor("side", [n], "BYTES", [d.side for d in decided]),
        "confidence": lambda: OutTensor("confidence", [n], "FP64", [d.confidence for d in decided]),
    }
    named = {"fingerprint": model.fingerprint, "policy": policy.hash}
    return InferAnswer(model.name, model.version, [every[name]() for name in wanted], request.id, named)


def _tensors(columns: Sequence[str], inputs: Sequence[Tensor]) -> Floats:
    if len(inputs) == 1 and len(inputs[0].shape) == 2 and "columns" in inputs[0].parameters:
        names = inputs[0].parameters["columns"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise SchemaError(f"input {inputs[0].name!r}: parameters.columns must be a list of names")
        block = _values(inputs[0]).reshape(inputs[0].shape)
        if len(names) != block.shape[1]:
            raise SchemaError(f"{len(names)} names for {block.shape[1]} columns")
    else:
        names = [tensor.name for tensor in inputs]
        rows = {tensor.shape[0] for tensor in inputs}
        if len(rows) != 1 or any(tensor.shape[1:] not in ([], [1]) for tensor in inputs):
            raise SchemaError(
                "inputs are one tensor per feature, each of shape (n) or (n, 1), or one of shape (n, F) with "
                "parameters.columns"
            )
        block = np.stack([_values(tensor) for tensor in inputs], axis=1)
    if len(set(names)) != len(names) or set(names) != set(columns):
        raise _wrong_names(columns, names, 0) if set(names) != set(columns) else SchemaError("a column comes twice")
    place = {name: k for k, name in enumerate(names)}
    X = np.ascontiguousarray(block[:, [place[name] for name in columns]])
    check_finite(columns, X)
    return X


def _values(tensor: Tensor) -> Floats:
    """Return the values of a tensor, flat."""
    try:
        values = np.array(tensor.data, dtype=np.float64).ravel()
    except ValueError as error:
        raise SchemaError(f"input {tensor.name!r}: rows of different length", column=tensor.name) from error
    if len(values) != math.prod(tensor.shape):
        raise SchemaError(
            f"input {tensor.name!r}: {len(values)} values do not have the shape {tensor.shape}", column=tensor.name
        )
    return values
