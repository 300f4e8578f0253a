"""Training on closed trades: every good row counts, refused ones are named, and nothing of it goes live."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qtfeat import registry
from qtfeat.bars.simulate import simulate
from qtfeat.errors import GateFailed, SchemaError
from qtfeat.features import FeatureSet
from qtfeat.trades import read_trades, trade_dataset
from qtfeat.train import TrainConfig
from qtfeat.train.trades import dataset, train_trades

pytest.importorskip("xgboost")
pytest.importorskip("lightgbm")

CONFIG = TrainConfig(threads=1, rounds=15, min_child=5)
SET = FeatureSet.load("trade14")
FAST = ["--threads", "1", "--rounds", "15"]


def closed(n, seed=0):
    rng = np.random.default_rng(seed)
    entry = np.datetime64("2023-01-04", "ms") + np.sort(rng.integers(0, 1_500, n)) * np.timedelta64(1, "h")
    return pa.table(
        {
            "symbol": [f"SIM{i:03d}" for i in rng.integers(0, 3, n)],
            "entry_time": pa.array(entry, pa.timestamp("ms", tz="UTC")),
            "exit_time": pa.array(entry + np.timedelta64(3, "h"), pa.timestamp("ms", tz="UTC")),
            "pnl_pct": rng.standard_normal(n) * 2.0,
        }
    )


def test_82_trades_give_82_rows_and_a_refusal(tmp_path):
    made = trade_dataset(read_trades(closed(82)), simulate(2, 2_000, 0), SET)
    assert made.X.shape == (82, 14)
    assert 0 < made.synthetic.sum() < 82  # the bars know two of the three symbols
    data = dataset(made)
    assert len(data.usable) == 82
    result = train_trades(made, SET, out=tmp_path, config=CONFIG, quiet=True)
    assert result.status == "rejected"
    failed = {v.gate for v in result.verdicts.failures}
    assert "integrity.rows" in failed
    assert "integrity.purge" not in failed
    assert "parity.rows" in failed  # there is nothing to replay, and what is not measured fails
    saved = registry.load_folder(result.path)
    assert saved.manifest["synthetic_rows"] == int(made.synthetic.sum())
    assert saved.manifest["data"]["rows"] == 82
    with pytest.raises(GateFailed, match="rejected"):
        registry.shadow(tmp_path, "trades", result.path.name)


def test_same_trades_same_bytes(tmp_path):
    paths = [
        train_trades(
            trade_dataset(read_trades(closed(60)), None, SET), SET, out=tmp_path / name, config=CONFIG, quiet=True
        ).path
        for name in "ab"
    ]
    assert paths[0].name == paths[1].name
    for file in paths[0].iterdir():
        assert file.read_bytes() == (paths[1] / file.name).read_bytes()


def test_windows_that_know_the_outcome_are_marked(tmp_path):
    made = trade_dataset(read_trades(closed(120)), None, SET, kind="outcome")
    result = train_trades(made, SET, out=tmp_path, config=CONFIG, quiet=True)
    assert result.evaluation.pooled.forecast.rank_ic > 0.5  # it leaks
    assert result.verdicts.evidence.label_leak
    assert "integrity.label_leak" in {v.gate for v in result.verdicts.failures}
    assert json.loads((result.path / "manifest.json").read_text())["label"]["label_leak"] is True


def test_the_command_names_refused_rows_and_exits_with_3(tmp_path):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from qtfeat.cli.app import app

    table = closed(60)
    bad = table.slice(0, 1).set_column(3, "pnl_pct", pa.array([None], pa.float64()))
    pq.write_table(pa.concat_tables([table, bad]), tmp_path / "t.parquet")
    done = CliRunner().invoke(app, ["train", "trades", str(tmp_path / "t.parquet"), "-o", str(tmp_path / "m"), *FAST])
    assert done.exit_code == 3, done.output
    assert "60 trades, 1 rows refused" in done.output
    assert "REJECTED" in done.output
    wrong = CliRunner().invoke(app, ["train", "trades", str(tmp_path / "t.parquet"), "--map", "pnl_pct"])
    assert wrong.exit_code == 2


def test_too_few_or_other_features_are_errors(tmp_path):
    made = trade_dataset(read_trades(closed(10)), None, SET)
    with pytest.raises(SchemaError, match="10 trades"):
        train_trades(made, SET, out=tmp_path, quiet=True)
    with pytest.raises(SchemaError, match="features"):
        train_trades(made, FeatureSet.load("kline17"), out=tmp_path, quiet=True)
