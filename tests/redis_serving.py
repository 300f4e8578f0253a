"""A service fed by streams, for the tests and for the process that they kill."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np

import qtfeat as qf
from qtfeat.bars.simulate import simulate
from qtfeat.serve import engine as engine_module
from qtfeat.serve.drift import reference
from qtfeat.serve.engine import Engine
from qtfeat.serve.metrics import Metrics
from qtfeat.serve.record import Recorder
from qtfeat.serve.service import Live, Service
from qtfeat.serve.state import decode
from qtfeat.streams import serving
from qtfeat.streams.consumer import Consumer, Settings
from qtfeat.streams.log import Log
from qtfeat.streams.messages import parse_streams
from qtfeat.streams.serving import Serving
from sizes import SOAK

SYMBOLS = 6
FIVE = ("open", "high", "low", "close", "volume")


class Stub:
    """A model of one line, quick to make; what streams make of its signals is under test, not they."""

    name, version, expires_after_ns, trained_until_ns = "stub", "1", None, None

    def __init__(self) -> None:
        self.features = qf.FeatureSet.load("kline17")
        self.fingerprint = self.features.fingerprint
        rows = np.random.default_rng(0).normal(0, 0.01, (500, len(self.features)))
        self.reference = reference(rows)

    def predict(self, X):
        z = np.tanh(X[:, 0] * 60.0)
        return np.stack([0.3 - 0.3 * z, np.full(len(z), 0.4), 0.3 + 0.3 * z], axis=1), X[:, 0] * 1.0

    def predict_row(self, x):
        if np.isnan(x).any():
            return None
        p, score = self.predict(x[None])
        return tuple(p[0].tolist()), score.tolist()[0]


def market(bars: int, interval: str = "1h") -> list[tuple[str, int, list[float]]]:
    """Simulated bars in order of time: symbol, open time in ns, five numbers."""
    table = simulate(SYMBOLS, bars, 5, interval=interval).sort_by([("open_time", "ascending"), ("symbol", "ascending")])
    times = [ms * 10**6 for ms in table["open_time"].cast("int64").to_pylist()]
    five = zip(*(table[name].to_pylist() for name in FIVE), strict=True)
    return [(s, t, list(bar)) for s, t, bar in zip(table["symbol"].to_pylist(), times, five, strict=True)]


def symbols() -> list[str]:
    return [f"SIM{k:03}" for k in range(SYMBOLS)]


def make_service(root: Path, interval: str = "1h", snapshot_every: int = 97) -> Service:
    """A service whose state and recorded signals are in a folder."""
    engine = Engine(
        Stub(), symbols(), interval=interval, state=root / "engine.state", snapshot_every=snapshot_every, history=50
    )
    engine.load()
    return Service(engine, Live(Stub()), Metrics(), Recorder(root / "signals"))


def facts(service: Service) -> dict[str, Any]:
    """What must be the same after any interruption, as JSON values: all of the engine's state."""
    values, parts = decode(service.engine.snapshot())
    values.pop("carried")
    values["counters"].pop("snapshots", None)
    return json.loads(json.dumps({**values, "parts": {name: data.hex() for name, data in parts.items()}}))


def handler(service: Service, root: Path, streams: list[str], **options: Any) -> Serving:
    return Serving(service, parse_streams(streams), root / "streams", group="serve", **options)


def run(job: dict[str, Any], enter: Any, patch: Any) -> None:
    """Serve what is in the streams; at the end write what the engine knows to `facts.json`."""
    patch(Consumer, "_work", "receive", enter)
    patch(Service, "take", "compute", enter)
    patch(Log, "append", "persist", enter)
    patch(serving, "publish", "publish", enter)
    patch(serving, "acknowledge", "ack", enter)
    patch(engine_module, "write_atomically", "snapshot", enter)
    patch(Log, "clear", "clear", enter)
    root = Path(job["root"])
    service = make_service(root, job.get("interval", "1h"))
    one = handler(service, root, job["streams"], **job.get("options", {}))
    settings = {
        "name": "one",
        "retry_after": 0.005,
        "retry_longest": 0.02,
        "block": 0.05,
        "max_deliveries": 30 if SOAK else 10,
    }
    settings |= job["settings"]
    consumer = Consumer(job["url"], list(one._parsers), one, Settings("serve", **settings))
    one.lag = consumer.lag
    stop = threading.Event()
    if job.get("until"):
        # Until so many signals are there: while a producer goes on, idle is not the end.
        count = one.after

        def after() -> None:
            count()
            if service.engine.counters["taken"] >= job["until"]:
                stop.set()

        one.after = after  # type: ignore[method-assign]
    consumer.run(stop, until_idle="until" not in job)
    # What the last idle look would have closed.
    one.after()
    one.after()
    one.close()
    service.save()
    counts = {"handler": dict(one.counts), "ticks": dict(one.tick_counts), "consumer": dict(consumer.counts)}
    (root / "facts.json").write_text(json.dumps({**facts(service), "counts": counts}))
