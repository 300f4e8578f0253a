"""Training sets from the lake: rows aligned, batches of a hashed size, nothing stale, nothing from after the end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import qtfeat as qf
from lakes import filled
from qtfeat.backfill import Lake, run_backfill
from qtfeat.bars.simulate import simulate
from qtfeat.errors import SchemaError
from qtfeat.labels import forward_labels, make_labels

FS = qf.FeatureSet.load("wide32")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = filled(tmp_path_factory.mktemp("lake"))
    assert run_backfill(lake).complete
    return lake


def in_memory(lake: Lake) -> dict[str, Any]:
    """The same rows, made from whole tables."""
    bars = pa.concat_tables([lake.read(p) for p in lake.partitions()])
    X = qf.compute(bars, FS, by="symbol", time="open_time", dtype="float32")
    labels = forward_labels(bars, 5, 0.005)
    matrix = np.stack([X[c].to_numpy() for c in FS.columns], axis=1)
    use = labels.known & ~np.isnan(matrix).any(axis=1)
    out = {"symbol": np.array(bars["symbol"].to_pylist())[use], "X": matrix[use]}
    return out | {name: getattr(labels, name)[use] for name in ("value", "ret", "side", "t", "t_end")}


@pytest.mark.parametrize("batch_rows", [100, 1_000, 65_536])
def test_rows_are_those_of_whole_tables(lake: Lake, batch_rows: int) -> None:
    data = qf.dataset(lake, "wide32", batch_rows=batch_rows)
    batches = list(data.batches())
    assert [b.num_rows for b in batches[:-1]] == [batch_rows] * (len(batches) - 1)
    found, expected = pa.Table.from_batches(batches, schema=data.schema), in_memory(lake)
    assert found.schema.metadata[b"qtfeat.fingerprint"].decode() == FS.fingerprint
    assert (found["symbol"].to_numpy() == expected["symbol"]).all()
    for name in ("value", "ret", "side"):
        assert np.array_equal(found[f"label_{name}"].to_numpy(), expected[name]), name
    for name in ("t", "t_end"):
        assert np.array_equal(found[name].to_numpy().astype("datetime64[ns]"), expected[name]), name
    X = np.concatenate([x for x, _ in data.matrices()])
    assert X.dtype == np.float32
    assert np.array_equal(X.view(np.uint32), expected["X"].view(np.uint32))
    assert data.reader().read_all().equals(found)


def test_incomplete_rows_on_request(lake: Lake) -> None:
    found = pa.Table.from_batches(qf.dataset(lake, complete=False).batches())
    assert found.num_rows == 6_000
    assert found["label_side"].to_numpy()[:2_000][-5:].tolist() == [-1] * 5
    assert found["t_end"].null_count == found["label_value"].null_count == 15
    assert found["rsi"].null_count == 3 * 14


@pytest.mark.parametrize("kind", ["volatility_scaled", "win_loss", "triple_barrier"])
def test_labels_of_every_kind_of_one_symbol(lake: Lake, kind: str) -> None:
    found = pa.Table.from_batches(qf.dataset(lake, label={"kind": kind, "horizon": 4}, complete=False).batches())
    bars = pa.concat_tables([lake.read(p) for p in lake.partitions()])
    labels = make_labels(bars, kind, 4)
    for name in ("value", "ret"):
        assert np.array_equal(found[f"label_{name}"].to_numpy(), getattr(labels, name), equal_nan=True), name
    assert np.array_equal(found["label_side"].to_numpy(), labels.side)


def test_months_and_symbols(lake: Lake) -> None:
    found = pa.Table.from_batches(qf.dataset(lake, "wide32", symbols=["SIM001"], first="2023-02").batches())
    assert set(found["symbol"].to_pylist()) == {"SIM001"}
    assert str(found["t"][0].as_py()) == "2023-02-01 01:00:00+00:00"


def test_the_end_hides_what_comes_after(tmp_path: Path) -> None:
    """Other bars after the last month change no row of the set; within it they would."""
    short, long = filled(tmp_path / "short", bars=28 * 24 + 31 * 24), filled(tmp_path / "long")
    for each in (short, long):
        run_backfill(each)
    sets = [pa.Table.from_batches(qf.dataset(each, last="2023-02").batches()) for each in (short, long)]
    assert sets[0].equals(sets[1])
    assert str(max(sets[1]["t_end"].to_pylist())) == "2023-03-01 00:00:00+00:00"
    longer = pa.Table.from_batches(qf.dataset(long, last="2023-03").batches())
    assert longer.num_rows > sets[1].num_rows


def test_stale_or_missing_features_are_refused(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    with pytest.raises(SchemaError, match=r"no features of wide32.*run qtfeat backfill"):
        qf.dataset(lake)
    run_backfill(lake)
    assert sum(b.num_rows for b in qf.dataset(lake).batches()) > 5_000
    lake.add(simulate(symbols=3, bars=2_010), "spot")
    with pytest.raises(SchemaError, match="features of spot/SIM000/1h 2023-03 are missing or older than the bars"):
        list(qf.dataset(lake).batches())
    assert list(qf.dataset(lake, last="2023-02").batches()), "months before the change are as they were"
    run_backfill(lake)
    file = next(Path(lake.root).glob("features/**/symbol=SIM001/**/2023-02.parquet"))
    os.truncate(file, 100)
    with pytest.raises(SchemaError, match="SIM001/1h 2023-02 are missing or older"):
        list(qf.dataset(lake).batches())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_rows": 0}, "batch_rows must be a whole number"),
        ({"label": {"kind": "market_neutral"}}, "need all symbols at once"),
        ({"label": {"kind": "nonsense"}}, "kind must be one of"),
        ({"label": {"horizons": 5}}, "label has no setting 'horizons'"),
        ({"first": "x"}, "first must be a month"),
        ({"symbols": ["NONE"]}, "no bars of 'NONE'"),
        ({"features": "kline17"}, "no features of kline17"),
        ({"features": ["t = close - open"]}, "a feature is named 't'"),
    ],
)
def test_settings_that_do_not_fit(lake: Lake, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        list(qf.dataset(lake, **settings).batches())
    with pytest.raises(SchemaError, match="target must be one of"):
        qf.dataset(lake).quantile_dmatrix("outcome")


def test_the_hash_covers_what_decides_rows_and_batches(lake: Lake) -> None:
    base = qf.dataset(lake)
    others = [
        qf.dataset(lake, batch_rows=1_000),
        qf.dataset(lake, symbols=["SIM000"]),
        qf.dataset(lake, last="2023-02"),
        qf.dataset(lake, label={"kind": "forward", "horizon": 6, "threshold": 0.005}),
        qf.dataset(lake, complete=False),
    ]
    hashes = {d.hash for d in [base, *others]}
    assert len(hashes) == 6
    assert qf.dataset(Lake(lake.root)).hash == base.hash
    assert base.config["batch_rows"] == 65_536


def test_xgboost_trains_from_batches(lake: Lake) -> None:
    xgboost = pytest.importorskip("xgboost", reason="the extra train is not installed")
    data = qf.dataset(lake, batch_rows=700)
    expected = in_memory(lake)
    settings = {"max_depth": 3, "nthread": 1, "seed": 1}

    def model(matrix: Any) -> bytes:
        return bytes(xgboost.train(settings, matrix, num_boost_round=8).save_raw("ubj"))

    matrix = data.quantile_dmatrix("value")
    assert (matrix.num_row(), matrix.num_col()) == expected["X"].shape
    assert np.array_equal(matrix.get_label(), expected["value"].astype(np.float32))
    assert model(matrix) == model(data.quantile_dmatrix("value")), "same batches, same model"
    whole = qf.dataset(lake, batch_rows=10**6).quantile_dmatrix("value")
    plain = xgboost.QuantileDMatrix(expected["X"], expected["value"], feature_names=FS.columns)
    assert model(whole) == model(plain), "one batch is the matrix in memory"


def test_lightgbm_trains_from_sequences(lake: Lake) -> None:
    lightgbm = pytest.importorskip("lightgbm", reason="the extra train is not installed")
    expected = in_memory(lake)
    settings = {"verbose": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True}

    def model(data: Any) -> str:
        text = lightgbm.train(settings, data, num_boost_round=8).model_to_string()
        return str(text)

    sequences = qf.dataset(lake, batch_rows=300).lightgbm_dataset("value", params=settings)
    rows = sequences.data[1]  # training lets go of the data
    plain = lightgbm.Dataset(expected["X"], expected["value"], feature_name=FS.columns, params=settings)
    assert model(sequences) == model(plain)
    X = expected["X"][expected["symbol"] == "SIM001"]
    assert len(rows) == len(X)
    for at in (0, 5, len(X) - 1, slice(3, 900), slice(0, len(X), 7), [5, 0, 1_500, 5]):
        assert np.array_equal(rows[at], X[at])


def test_a_manifest_that_miscounts_does_not_shift_labels(tmp_path: Path) -> None:
    lake = filled(tmp_path, symbols=1)
    run_backfill(lake)
    path = next(tmp_path.rglob("bars/**/_manifest.json"))
    told = json.loads(path.read_text())
    told["months"][0]["rows"] -= 7
    path.write_text(json.dumps(told))
    with pytest.raises(SchemaError, match="the manifest says"):
        list(qf.dataset(lake, first="2023-02").batches())


def test_bars_that_the_features_let_pass_can_be_labelled(tmp_path: Path) -> None:
    bars = simulate(symbols=1, bars=1_000)
    close = bars["close"].to_numpy().copy()
    close[500] = 0.0
    lake = Lake(tmp_path)
    lake.add(bars.set_column(bars.column_names.index("close"), "close", pa.array(close)), "spot")
    assert run_backfill(lake, on_bad="null").complete
    found = pa.Table.from_batches(qf.dataset(lake, complete=False).batches())
    assert found.num_rows == 1_000
    assert found["label_value"].null_count == 5 + 2
