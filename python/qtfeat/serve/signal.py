"""A signal: what the engine says when a bar has closed."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, structs

from qtfeat.serve.policy import Decision, Opinion


class Signal(Struct, frozen=True, gc=False):
    """One symbol, one closed bar. Equal bars, model and policy give equal signals, whatever happened in between.

    Attributes:
        symbol: its name.
        time_ns: open time of the bar, nanoseconds since 1970 UTC.
        close: its close.
        side: SELL, HOLD or BUY.
        confidence: on the scale of `source`.
        source: `"model"`, `"rule"` or `"guard"`.
        reason: why it is HOLD or was not selected; empty otherwise.
        selected: one of the cycle's best.
        p: probabilities of SELL, HOLD, BUY; None without a prediction.
        score: the regressor's forecast, NaN without one.
        drift: drift index of the inputs.
        leverage: 0 where not selected.
        notional: quote currency, 0 where not selected.
        stop: price; None where not selected.
        target: price; None where not selected.
        model: `name/version` of the model.
        fingerprint: of its features.
        policy: hash of the policy.
        forming: True for a peek at a bar that has not closed.
    """

    symbol: str
    time_ns: int
    close: float
    side: str
    confidence: float
    source: str
    reason: str
    selected: bool
    p: tuple[float, float, float] | None
    score: float | None
    drift: float
    leverage: float
    notional: float
    stop: float | None
    target: float | None
    model: str
    fingerprint: str
    policy: str
    forming: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the signal as JSON values."""
        return structs.asdict(self)


def signal_of(
    opinion: Opinion, decision: Decision, time_ns: int, model: tuple[str, str], policy: str, *, forming: bool = False
) -> Signal:
    """Return the signal of a decision.

    Args:
        opinion: what was known.
        decision: what the policy made of it.
        time_ns: open time of the bar.
        model: `name/version` and fingerprint.
        policy: hash of the policy.
        forming: whether the bar has not closed.
    """
    return Signal(
        symbol=opinion.symbol,
        time_ns=time_ns,
        close=opinion.close,
        side=decision.side,
        confidence=decision.confidence,
        source=decision.source,
        reason=decision.reason,
        selected=decision.selected,
        p=opinion.p,
        score=None if opinion.p is None else opinion.score,
        drift=opinion.drift,
        leverage=decision.leverage,
        notional=decision.notional,
        stop=decision.stop,
        target=decision.target,
        model=model[0],
        fingerprint=model[1],
        policy=policy,
        forming=forming,
    )
