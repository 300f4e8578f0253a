"""Models of closed trades: trained and judged as those of bars, with less that can be measured."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from qtfeat import registry
from qtfeat.bars.schema import BAR_SCHEMA, VALUES
from qtfeat.errors import SchemaError
from qtfeat.features import FeatureSet
from qtfeat.gates import Limits, Verdicts, check
from qtfeat.trades import TradeDataset
from qtfeat.train import show
from qtfeat.train.config import TrainConfig
from qtfeat.train.data import Dataset
from qtfeat.train.evaluate import Evaluation, evaluate
from qtfeat.train.evidence import PAIR, PERMUTATIONS, SEEDS, permuted_canaries, seed_rank_ics
from qtfeat.train.judge import Measured, evidence
from qtfeat.train.manifest import describe, importance, outcome
from qtfeat.train.models import MODELS
from qtfeat.train.page import report_html
from qtfeat.train.report import Report
from qtfeat.train.walkforward import Split, final_model, walk_forward

LEAST_ROWS = 20


@dataclass(frozen=True, slots=True)
class TradesResult:
    """What training on trades gave.

    Attributes:
        evaluation: figures of the walk-forward.
        verdicts: what the gates found.
        path: folder of the version.
        status: "candidate" or "rejected".
    """

    evaluation: Evaluation
    verdicts: Verdicts
    path: Path
    status: str


def train_trades(
    made: TradeDataset,
    features: FeatureSet,
    *,
    out: str | Path = "models",
    name: str = "trades",
    folds: int = 5,
    config: TrainConfig | None = None,
    limits: str | Path | None = None,
    attempts: int = 1,
    console: Any = None,
    quiet: bool = False,
) -> TradesResult:
    """Train on closed trades, test in a walk-forward over their entries, and keep the model with its verdicts.

    What needs a run of bars cannot be measured on trades: replaying features through a stream, and the canary of the
    next bar's return. The gates take what was not measured for failed, so that such a model stays rejected, and below
    500 trades it would go no further than shadow anyway. It is kept for study.

    Args:
        made: from `qtfeat.trades.trade_dataset`.
        features: the feature set of `made`.
        out: folder of all models.
        name: name of the model there.
        folds: test blocks.
        config: settings; None for those of bars with at least 5 rows in a leaf.
        limits: a TOML file of gate limits; None for the shipped ones.
        attempts: how many models were tried for this one.
        console: a rich console to print to.
        quiet: print nothing.

    Raises:
        SchemaError: another feature set than that of `made`, fewer than LEAST_ROWS trades, or too few for the folds.
        RegistryError: a name or a folder that no model can go to.
    """
    if features.fingerprint != made.fingerprint:
        raise SchemaError(f"the trades have the features {made.fingerprint[:12]}, not {features.fingerprint[:12]}")
    if len(made.X) < LEAST_ROWS:
        raise SchemaError(f"{len(made.X)} trades are too few for any model; at least {LEAST_ROWS} are needed")
    registry.check_target(out, name)
    config, report = config or TrainConfig(min_child=5), Report(console, quiet=quiet)
    judge = Limits.load(limits)
    notes = made.report()
    for line in notes:
        report.line(line)
    data, split = dataset(made), Split(folds)
    with report.progress("walk-forward", folds * MODELS * config.rounds) as tick:
        walk = walk_forward(data, split, config, tick)
    found = evaluate(walk.oos)
    show.scores(report, found)
    with report.progress("final models", MODELS * config.rounds) as tick:
        model = final_model(data, split, walk, config, tick)
    with report.progress("canaries, seeds", (PERMUTATIONS + (SEEDS - 1) * folds) * PAIR * config.rounds) as tick:
        canaries = permuted_canaries(data, split, config, tick)
        seeds = seed_rank_ics(data, split, walk, config, tick)
    measured = Measured(found, canaries, seeds, parity=None, champion=None, attempts=attempts)
    verdicts = check(evidence(data, features, split, measured), judge)
    status = "rejected" if verdicts.allowed == "rejected" else "candidate"
    manifest = {
        **describe(data, features, "trades", split, config, attempts),
        **outcome(found, None),
        "synthetic_rows": int(made.synthetic.sum()),
        "refused_rows": dict(made.trades.reasons()),
    }
    facts = {key: value for key, value in manifest.items() if key not in ("drift", "scores", "features")}
    shares = importance(model, data.columns)
    page = report_html(found, verdicts, {"name": name, **facts}, shares, "\n".join(notes))
    _, p, score = model.predict(data.X)
    files = {
        **model.files(),
        registry.GATES: verdicts.to_json(),
        registry.GOLDEN: registry.golden(data.columns, data.X, p, score),
        "report.html": page.encode(),
    }
    path = registry.publish(out, name, files, manifest, status)
    show.verdicts(report, verdicts, path, status)
    return TradesResult(found, verdicts, path, status)


def dataset(made: TradeDataset) -> Dataset:
    """Return trades as what training takes: a row per trade, a "bar" as long as the median trade."""
    labels = made.labels
    hold = float(np.median((labels.t_end - labels.t) / np.timedelta64(1, "s")))
    symbols = tuple(dict.fromkeys(made.symbol))
    column = {name: made.X[:, i] for i, name in enumerate(made.columns)}
    nothing = np.full(len(made.X), np.nan)
    total = hashlib.sha256("\n".join(made.symbol).encode())
    for values in (labels.t, labels.t_end, labels.value, labels.ret, made.X):
        total.update(np.ascontiguousarray(values).tobytes())
    empty = {name: pa.nulls(len(made.X), pa.float64()) for name in VALUES}
    times = pa.array(labels.t.astype("datetime64[ms]"), pa.timestamp("ms", tz="UTC"))
    return Dataset(
        bars=pa.table({"symbol": list(made.symbol), "open_time": times, **empty}, schema=BAR_SCHEMA),
        X=made.X,
        labels=replace(labels, horizon=1),
        columns=made.columns,
        complete=np.ones(len(made.X), dtype=bool),
        symbol=np.array([symbols.index(name) for name in made.symbol], dtype=np.int32),
        symbols=symbols,
        baselines={
            "zero": np.zeros(len(made.X)),
            "neg_momentum10": -column.get("momentum", nothing),
            "neg_ret": -column.get("ret", nothing),
        },
        rsi=column.get("rsi", nothing),
        interval_seconds=max(hold, 1.0),
        fingerprint=made.fingerprint,
        sha256=total.hexdigest(),
    )
