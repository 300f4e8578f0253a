"""What the models say about the last bar of every symbol."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from qtfeat.labels import SIDES
from qtfeat.train.data import Dataset
from qtfeat.train.models import Ensemble


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the models say about the last bar of one symbol.

    Attributes:
        symbol: the symbol.
        time: open time of its last bar.
        close: close of that bar.
        side: SELL, HOLD or BUY, the most probable class.
        confidence: its probability.
        probabilities: of SELL, HOLD, BUY.
        forecast: expected return over the horizon, in the unit of the target.
    """

    symbol: str
    time: np.datetime64
    close: float
    side: str
    confidence: float
    probabilities: tuple[float, float, float]
    forecast: float


def predict(data: Dataset, models: Ensemble) -> list[Prediction]:
    """Predict the last bar of every symbol whose features are complete there."""
    rows = data.last_rows()
    if len(rows) == 0:
        return []
    _, probabilities, forecast = models.predict(data.X[rows])
    bars = data.bars.select(["symbol", "open_time", "close"]).take(pa.array(rows)).to_pylist()
    out = []
    for bar, chances, expected in zip(bars, probabilities, forecast, strict=True):
        best = int(chances.argmax())
        out.append(
            Prediction(
                symbol=bar["symbol"],
                time=np.datetime64(bar["open_time"].replace(tzinfo=None)),
                close=bar["close"],
                side=SIDES[best],
                confidence=float(chances[best]),
                probabilities=(float(chances[0]), float(chances[1]), float(chances[2])),
                forecast=float(expected),
            )
        )
    return out
