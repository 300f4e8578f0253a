"""Tick to signal in process: push, features, four boosters of 500 trees, policy; one bar of one symbol per call."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.serving.model import BARS, NAME, SYMBOLS, market
from qtfeat.serve import Engine
from qtfeat.serve.model import ServedModel

WARM = 600


@dataclass(frozen=True)
class Ticks:
    """Microseconds per call, and of the stages inside, medians."""

    p50: float
    p99: float
    calls: int
    stages: dict[str, float]


def measure(root: Path) -> Ticks:
    """Time `Engine.on_bar`; each prediction is compared with the model's batch afterwards."""
    model, table = ServedModel.load(root, NAME), market()
    names = table["symbol"].unique().to_pylist()
    values = [table[name].to_numpy() for name in ("open", "high", "low", "close", "volume")]
    bars = np.stack(values, axis=1).reshape(SYMBOLS, BARS, 5).tolist()
    times = table["open_time"].to_numpy().reshape(SYMBOLS, BARS).astype("datetime64[ns]").astype(np.int64).tolist()
    engine = Engine(model, names, interval="1h")
    engine.warm_up(table.filter(np.tile(np.arange(BARS) < WARM, SYMBOLS)))
    taken, signals, stages, rows = [], [], [], []
    for i in range(WARM, BARS):
        for k, name in enumerate(names):
            start = time.perf_counter_ns()
            signal = engine.on_bar(name, bars[k][i], times[k][i])
            taken.append(time.perf_counter_ns() - start)
            stages.append(tuple(engine.stages.values()))
            signals.append(signal)
            rows.append(list(engine.features(name).values()))
    p, score = model.predict(np.array(rows))
    if [signal and signal.p for signal in signals] != [tuple(row) for row in p.tolist()]:
        raise AssertionError("the engine's probabilities are not the model's")
    if [signal and signal.score for signal in signals] != score.tolist():
        raise AssertionError("the engine's forecasts are not the model's")
    us = np.array(taken) / 1e3
    middle = (np.median(np.array(stages), axis=0) * 1e6).tolist()
    return Ticks(*np.percentile(us, [50, 99]).tolist(), len(us), dict(zip(engine.stages, middle, strict=True)))
