"""Prometheus metrics of the server: what is counted here, and what is read from the engine when someone asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
REASONS = ("rate", "concurrency", "deadline", "body", "media", "token", "origin", "draining")
BAR_RESULTS = ("taken", "duplicate", "conflict", "late", "misaligned", "bad")

Facts = Callable[[], dict[str, Any]]


class Metrics:
    """All metrics of one server.

    Attributes:
        stage: seconds per stage of a cycle of bars: `features`, `predict`, `policy`, and `total` with the rest.
        request: seconds per request by route and status.
        signals: signals by lane, source and side.
        reloads: loads of another version by result: `ok`, `failed`.
        turned_away: requests that no handler saw, by reason: one of `REASONS`.
        in_flight: requests being answered.
        subscribers: open event streams.
        lag: seconds between a message of a stream and its processing; set by the consumer of the stream.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        here = self.registry
        ProcessCollector(registry=self.registry)
        self.stage = Histogram(
            "qtfeat_stage_seconds", "Seconds per stage of a cycle", ["stage"], buckets=BUCKETS, registry=here
        )
        self.request = Histogram(
            "qtfeat_request_seconds", "Seconds per request", ["route", "status"], buckets=BUCKETS, registry=here
        )
        self.signals = Counter("qtfeat_signals", "Signals", ["lane", "source", "side"], registry=here)
        self.reloads = Counter("qtfeat_reloads", "Loads of another model version", ["result"], registry=here)
        self.turned_away = Counter("qtfeat_turned_away", "Requests refused", ["reason"], registry=here)
        self.in_flight = Gauge("qtfeat_requests_in_flight", "Requests being answered", registry=here)
        self.subscribers = Gauge("qtfeat_subscribers", "Open event streams", registry=here)
        self.lag = Gauge("qtfeat_stream_lag_seconds", "Age of the last message of a stream", ["stream"], registry=here)
        # What never happened is 0, not absent: alerts can tell the two apart.
        for result in ("ok", "failed"):
            self.reloads.labels(result)
        for reason in REASONS:
            self.turned_away.labels(reason)

    def watch(self, facts: Facts) -> None:
        """Also publish what `facts` returns when asked: `counters`, `drift`, `models` (see `_Watched`)."""
        self.registry.register(_Watched(facts))

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Watched(Collector):
    """Metrics that are not counted twice: their values live in the engine.

    Args:
        facts: returns `counters` (event to number), `drift` (lane to index), `symbols` and `ready` (numbers) and
            `models`: lane to `version`, `fingerprint`, `trained_until_ns` and `expires_ns`, the last two or None.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        facts, now = self._facts(), time.time()
        bars = CounterMetricFamily("qtfeat_bars", "Closed bars by result", labels=["result"])
        for name in BAR_RESULTS:
            bars.add_metric([name], facts["counters"].get(name, 0))
        yield bars
        yield CounterMetricFamily("qtfeat_gaps", "Holes between bars", value=facts["counters"].get("gap", 0))
        yield CounterMetricFamily("qtfeat_snapshots", "Snapshots", value=facts["counters"].get("snapshots", 0))
        yield GaugeMetricFamily("qtfeat_symbols", "Symbols of the universe", value=facts["symbols"])
        yield GaugeMetricFamily("qtfeat_symbols_ready", "Symbols with enough bars", value=facts["ready"])
        drift = GaugeMetricFamily("qtfeat_drift_index", "Drift of the inputs against training", labels=["lane"])
        for lane, index in facts["drift"].items():
            drift.add_metric([lane], index)
        yield drift
        info = GaugeMetricFamily("qtfeat_model_info", "Loaded models", labels=["lane", "version", "fingerprint"])
        age = GaugeMetricFamily("qtfeat_model_age_seconds", "Time since the end of training data", labels=["lane"])
        left = GaugeMetricFamily("qtfeat_model_expires_in_seconds", "Time until the model is stale", labels=["lane"])
        for lane, model in facts["models"].items():
            info.add_metric([lane, model["version"], model["fingerprint"]], 1)
            if model["trained_until_ns"] is not None:
                age.add_metric([lane], now - model["trained_until_ns"] / 1e9)
            if model["expires_ns"] is not None:
                left.add_metric([lane], model["expires_ns"] / 1e9 - now)
        yield from (info, age, left)
