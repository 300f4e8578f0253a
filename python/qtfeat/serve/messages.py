"""What goes over the wire: requests and answers of the HTTP interface, checked as they are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from qtfeat.serve.signal import Signal

MOST_ROWS = 10_000
"""Rows, bars or values of a tensor's first axis in one request."""

Text = Annotated[str, Meta(min_length=1, max_length=64)]
Price = Annotated[float, Meta(description="a finite number")]
Version = Annotated[str, Meta(pattern="^([0-9a-f]{12}|production|shadow|previous)$")]


class Bar(Struct, forbid_unknown_fields=True):
    """A bar: `open_time` is a whole number in `time_unit`, or ISO 8601 text."""

    symbol: Text
    open_time: int | Annotated[str, Meta(max_length=40)]
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Price


class BarsRequest(Struct, forbid_unknown_fields=True):
    """Closed bars; with `forming`, bars that have not closed: they change nothing."""

    bars: Annotated[list[Bar], Meta(min_length=1, max_length=MOST_ROWS)]
    time_unit: Literal["s", "ms", "us", "ns"] = "ms"
    forming: bool = False


class Refused(Struct):
    """A bar that was not taken, and why: duplicate, conflict, late, misaligned, bad or forming."""

    symbol: str
    time_ns: int
    reason: str


class BarsAnswer(Struct):
    """Signals of the bars that were taken."""

    model: str
    signals: list[Signal]
    refused: list[Refused]


class PredictRequest(Struct, forbid_unknown_fields=True):
    """Either `features` by name (one row or several), or `bars`: a window [open, high, low, close, volume] each.

    `rsi` and `volatility` serve the policy where features are given; a window has its own.
    """

    features: dict[str, float] | Annotated[list[dict[str, float]], Meta(min_length=1, max_length=MOST_ROWS)] | None = (
        None
    )
    bars: (
        Annotated[
            list[Annotated[list[float], Meta(min_length=5, max_length=5)]], Meta(min_length=1, max_length=MOST_ROWS)
        ]
        | None
    ) = None
    rsi: float | None = None
    volatility: float | None = None


class Predicted(Struct):
    """What the model says of one row, and what the policy makes of it."""

    side: str
    confidence: float
    source: str
    reason: str
    p: tuple[float, float, float]
    score: float


class PredictAnswer(Struct):
    """Predictions, each by the version named."""

    model: str
    fingerprint: str
    policy: str
    predictions: list[Predicted]
    features: dict[str, float] | None = None


class Tensor(Struct, forbid_unknown_fields=True):
    """A tensor of the Open Inference Protocol; `data` is flat or nested, in row-major order."""

    name: Text
    shape: Annotated[list[Annotated[int, Meta(ge=1, le=MOST_ROWS)]], Meta(min_length=1, max_length=2)]
    datatype: Literal["FP64", "FP32", "INT64", "INT32", "INT16", "INT8", "UINT8", "UINT16", "UINT32"]
    data: list[float | list[float]]
    parameters: dict[str, Any] = field(default_factory=dict)


class RequestedOutput(Struct):
    """An output that the caller wants: `probabilities`, `score`, `side` or `confidence`."""

    name: Literal["probabilities", "score", "side", "confidence"]


class InferRequest(Struct):
    """One tensor per feature, (n) or (n, 1); or one tensor (n, F) with `parameters.columns`, their names."""

    inputs: Annotated[list[Tensor], Meta(min_length=1, max_length=1000)]
    id: str | None = None
    outputs: list[RequestedOutput] | None = None


class OutTensor(Struct):
    """A tensor of an answer, flat in row-major order."""

    name: str
    shape: list[int]
    datatype: str
    data: Sequence[float | str]


class InferAnswer(Struct, omit_defaults=True):
    """The answer of the Open Inference Protocol."""

    model_name: str
    model_version: str
    outputs: list[OutTensor]
    id: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)


class PromoteRequest(Struct, forbid_unknown_fields=True):
    """The version to put into production: its id, or `shadow`."""

    version: Version


class ShadowRequest(Struct, forbid_unknown_fields=True):
    """The version that shall see every bar beside production; null for none."""

    version: Version | None


class AliasesAnswer(Struct):
    """Where the aliases point after the call, and which versions answer requests now."""

    production: str | None
    shadow: str | None
    previous: str | None
    live_production: str
    live_shadow: str | None
    reload_error: str


class Ready(Struct):
    """Whether enough symbols have seen enough bars; the status says the same: 200 or 503."""

    ready: bool
    symbols: int
    symbols_ready: int


class Problem(Struct, omit_defaults=True):
    """Every answer that is no success. `error` is the kind, `message` says what to do."""

    status: int
    error: str
    message: str
    request_id: str
    column: str | None = None
    row: int | None = None
    symbol: str | None = None
