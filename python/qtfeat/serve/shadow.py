"""Production and shadow side by side, on the bars that both saw and whose outcome is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qtfeat.errors import SchemaError
from qtfeat.serve.record import read
from qtfeat.train.evaluate import rank_ic

Floats = npt.NDArray[np.float64]
_KEYS = ["symbol", "open_time"]


@dataclass(frozen=True, slots=True)
class Score:
    """How a lane did.

    Attributes:
        model: `name/version`.
        rank_ic: rank correlation of forecast and outcome.
        signals: BUY and SELL signals of the model.
        hit_rate: share of them whose direction came true; NaN without any.
        net: mean return of them in their direction, after costs; NaN without any.
        confidence: mean confidence.
    """

    model: str
    rank_ic: float
    signals: int
    hit_rate: float
    net: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` found.

    Attributes:
        rows: bars with both predictions and a known outcome.
        waiting: bars with both predictions whose outcome is not known yet.
        horizon: bars to the outcome.
        agreement: share of rows with the same side.
        production: how production did.
        shadow: how the shadow did.
    """

    rows: int
    waiting: int
    horizon: int
    agreement: float
    production: Score
    shadow: Score

    def table(self) -> str:
        """Return the comparison as text."""
        head = f"{self.rows:,} bars with a known outcome after {self.horizon} bars, {self.waiting:,} still waiting"
        lines = [
            f"{head}; the sides agree on {self.agreement:.1%}",
            f"{'':12}{'production':>24}{'shadow':>24}",
        ]
        for name, form in (
            ("model", "s"),
            ("rank_ic", "+.4f"),
            ("signals", ",d"),
            ("hit_rate", ".2%"),
            ("net", "+.5%"),
            ("confidence", ".4f"),
        ):
            both = (format(getattr(score, name), form) for score in (self.production, self.shadow))
            lines.append(f"{name:12}" + "".join(f"{text:>24}" for text in both))
        return "\n".join(lines)


def compare(folder: str | Path, *, horizon: int = 5, cost: float = 0.0014) -> Comparison:
    """Compare the recorded signals of both lanes.

    The outcome is the return of the recorded close over `horizon` bars of the same symbol, all of them there.

    Args:
        folder: where `Recorder` wrote.
        horizon: bars to the outcome.
        cost: of a round trip, as a share; taken off each signal's return.

    Raises:
        SchemaError: no recorded signals, or none of a shadow.
    """
    table = read(folder)
    lanes = {lane: _of(table, lane) for lane in ("production", "shadow")}
    if lanes["shadow"].num_rows == 0:
        raise SchemaError(f"{folder}: no signals of a shadow are recorded; put a version into `shadow` first")
    # The pair that runs now: the last model of each lane.
    newest = {lane: part.sort_by("open_time")["model"][-1].as_py() for lane, part in lanes.items()}
    outcome = _outcomes(lanes["production"], horizon)
    sides = {}
    for lane, part in lanes.items():
        chosen = part.filter(pc.equal(part["model"], newest[lane]))
        chosen = chosen.filter(pc.is_valid(chosen["p_buy"]))
        sides[lane] = chosen.select([*_KEYS, "side", "source", "confidence", "score"])
    joined = sides["production"].join(sides["shadow"], _KEYS, join_type="inner", right_suffix="_shadow")
    joined = joined.join(outcome, _KEYS, join_type="inner").sort_by([(key, "ascending") for key in _KEYS])
    known = joined.filter(pc.is_finite(joined["outcome"]))
    if known.num_rows == 0:
        raise SchemaError(f"{folder}: no outcome is known yet after {horizon} bars; {joined.num_rows} bars wait")
    agree = np.mean(known["side"].to_numpy() == known["side_shadow"].to_numpy())
    return Comparison(
        known.num_rows,
        joined.num_rows - known.num_rows,
        horizon,
        float(agree),
        _score(known, "", newest["production"], cost),
        _score(known, "_shadow", newest["shadow"], cost),
    )


def _of(table: pa.Table, lane: str) -> pa.Table:
    return table.filter(pc.equal(table["lane"], lane))


def _outcomes(production: pa.Table, horizon: int) -> pa.Table:
    """Return symbol, open_time and the return over the next bars; NaN where one of them is not there."""
    # After a promotion a bar may be there under two models; its close is the same.
    bars = production.group_by(_KEYS).aggregate([("close", "max")]).sort_by([(key, "ascending") for key in _KEYS])
    symbol = bars["symbol"].combine_chunks().dictionary_encode().indices.to_numpy()
    time = bars["open_time"].cast(pa.int64()).to_numpy()
    close: Floats = bars["close_max"].to_numpy()
    out = np.full(len(close), np.nan)
    if len(close) > horizon:
        steps = np.diff(time)[np.diff(symbol) == 0]
        interval = int(steps.min()) if len(steps) else 0
        whole = (symbol[horizon:] == symbol[:-horizon]) & (time[horizon:] - time[:-horizon] == horizon * interval)
        out[:-horizon] = np.where(whole, close[horizon:] / close[:-horizon] - 1.0, np.nan)
    return bars.select(_KEYS).append_column("outcome", pa.array(out))


def _score(rows: pa.Table, suffix: str, model: str, cost: float) -> Score:
    outcome: Floats = rows["outcome"].to_numpy()
    side = rows[f"side{suffix}"].to_numpy()
    direction = np.where(side == "BUY", 1.0, np.where(side == "SELL", -1.0, 0.0))
    direction = np.where(rows[f"source{suffix}"].to_numpy() == "model", direction, 0.0)
    acted = direction != 0.0
    gain = direction[acted] * outcome[acted]
    return Score(
        model,
        rank_ic(rows[f"score{suffix}"].to_numpy(), outcome),
        int(acted.sum()),
        float((gain > 0.0).mean()) if acted.any() else float("nan"),
        float(gain.mean() - cost) if acted.any() else float("nan"),
        float(rows[f"confidence{suffix}"].to_numpy().mean()),
    )
