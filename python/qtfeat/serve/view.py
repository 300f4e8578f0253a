"""What the live page and the monitor show, as JSON values."""

from __future__ import annotations

import math
from typing import Any

from qtfeat.serve.engine import Engine
from qtfeat.serve.model import ServedModel
from qtfeat.serve.service import Service

_RECENT = 50


def model_facts(model: ServedModel) -> dict[str, Any]:
    """Return what is known of a loaded model, its gates included."""
    verdicts = model.verdicts
    return {
        "name": model.name,
        "version": model.version,
        "fingerprint": model.fingerprint,
        "columns": list(model.columns),
        "trained_until_ns": model.trained_until_ns,
        "expires_ns": model.expires_after_ns,
        "golden_rows": model.golden_rows,
        "gates": [] if verdicts is None else verdicts.as_dict()["verdicts"],
    }


def overview(service: Service) -> dict[str, Any]:
    """Return the universe, the models, latency, drift and the latest signals."""
    live = service.live
    lanes = {"production": live.production} | ({"shadow": live.shadow} if live.shadow else {})
    state: dict[str, Any] = service.read(_engine)
    return {
        **state,
        "now_ns": service.now_ns,
        "models": {lane: model_facts(model) for lane, model in lanes.items()},
        "previous": live.previous,
        "reload_error": service.reload_error,
        "latency_us": _quantiles(list(service.seconds)),
        "recent": list(service.recent)[-_RECENT:],
    }


def _engine(engine: Engine) -> dict[str, Any]:
    ready, times = engine.ready(), engine.last_times
    rows = [
        {
            "symbol": symbol,
            "ready": ready[symbol],
            "time_ns": times[symbol],
            "signal": engine.signals.get(symbol),
            "shadow": engine.shadow_signals.get(symbol),
            "features": {k: None if math.isnan(v) else v for k, v in engine.features(symbol).items()},
        }
        for symbol in engine.symbols
    ]
    return {
        "symbols": rows,
        "interval_ns": engine.interval_ns,
        "counters": dict(engine.counters),
        "drift": engine.drift,
        "positions": engine.positions,
        "policy": {"hash": engine.policy.hash, "settings": engine.policy.settings},
    }


def _quantiles(seconds: list[float]) -> dict[str, float | None]:
    """Return median and 99th percentile of the last cycles, microseconds."""
    if not seconds:
        return {"p50": None, "p99": None}
    ordered = sorted(seconds)
    return {f"p{q}": round(ordered[min(len(ordered) - 1, len(ordered) * q // 100)] * 1e6, 1) for q in (50, 99)}
