"""Sequence export: windows as in `qf.sequences`, a split that no outcome crosses, a folder that is whole or absent."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import qtfeat as qf
from qtfeat.bars.simulate import simulate
from qtfeat.errors import SchemaError
from qtfeat.train.data import prepare
from qtfeat.train.sequences import PARTS, export_sequences, load_sequences

SET = qf.FeatureSet.load("seq8")


@pytest.fixture(scope="module")
def bars():
    whole = simulate(3, 700, 1)
    # One symbol starts late, one misses bars.
    keep = np.ones(whole.num_rows, dtype=bool)
    keep[:150] = False
    keep[1_000:1_010] = False
    return whole.filter(pa.array(keep))


@pytest.fixture(scope="module")
def data(bars):
    return prepare(bars, SET, horizon=5)


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "sequences"
    return load_sequences(export_sequences(data, SET, out, length=64, dtype="float64"), verify=True)


def test_windows_are_those_of_sequences(made, bars):
    assert made.X.dtype == np.float64
    assert isinstance(made.X, np.memmap)
    found = 0
    for name in ("SIM000", "SIM001", "SIM002"):
        own = bars.filter(pa.array(np.asarray(bars["symbol"]) == name))
        whole = qf.sequences(own, SET, length=64)
        close = np.asarray(own["open_time"].to_numpy()).astype("datetime64[ns]") + np.timedelta64(1, "h")
        at = {t: i for i, t in enumerate(close[63:])}
        rows = np.flatnonzero(np.asarray(made.labels["symbol"]) == name)
        times = made.labels["t"].to_numpy()[rows]
        for row, t in zip(rows, times, strict=True):
            assert made.X[row].tobytes() == np.ascontiguousarray(whole[at[t]]).tobytes()
        found += len(rows)
    assert found == len(made.X) > 1_000


def test_no_outcome_crosses_the_split(made):
    t, end = made.labels["t"].to_numpy(), made.labels["t_end"].to_numpy()
    part = np.asarray(made.labels["part"])
    for earlier, later in pairwise(PARTS):
        assert end[part == earlier].max() < t[part == later].min()
    for name in PARTS:
        assert (part[made.part(name)] == name).all()
        assert (np.diff(t[part == name].astype(np.int64)) >= 0).all()
    assert sum(made.manifest["parts"].values()) == len(made.X)
    assert np.isfinite(made.X).all()
    assert np.isfinite(made.labels["value"].to_numpy()).all()


def test_classes_of_the_training_part_weigh_the_same(made):
    side, weight = made.labels["side"].to_numpy(), made.labels["weight"].to_numpy()
    train = made.part("train")
    total = np.bincount(side[train], weight[train])
    assert total == pytest.approx(np.full(3, total.mean()))
    assert (weight[made.part("test")] == 1.0).all()


def test_float32_and_an_embargo(data, tmp_path):
    from datetime import timedelta

    plain = load_sequences(export_sequences(data, SET, tmp_path / "a", length=32))
    apart = load_sequences(export_sequences(data, SET, tmp_path / "b", length=32, embargo=timedelta(hours=10)))
    assert plain.X.dtype == np.float32
    assert apart.manifest["parts"]["train"] < plain.manifest["parts"]["train"]
    assert apart.manifest["parts"]["test"] == plain.manifest["parts"]["test"]
    again = export_sequences(data, SET, tmp_path / "c", length=32)
    for name in ("X.npy", "labels.arrow", "manifest.json"):
        assert (again / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


def test_an_interrupt_leaves_nothing(data, tmp_path):
    def stop(_windows):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_sequences(data, SET, tmp_path / "out", length=16, tick=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"length": 0}, "length"),
        ({"length": 5_000}, "5000 bars in a row"),
        ({"dtype": "float16"}, "float16"),
        ({"test": 1.0}, "share"),
        ({"validation": 0.0}, "share"),
    ],
)
def test_bad_settings_are_named(data, tmp_path, settings, text):
    with pytest.raises(SchemaError, match=text):
        export_sequences(data, SET, tmp_path / "out", **settings)
    assert list(tmp_path.iterdir()) == []


def test_damage_is_found(data, tmp_path):
    folder = export_sequences(data, SET, tmp_path / "out", length=16)
    with pytest.raises(SchemaError, match="already"):
        export_sequences(data, SET, folder, length=16)
    whole = (folder / "X.npy").read_bytes()
    (folder / "X.npy").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(SchemaError, match="content changed"):
        load_sequences(folder, verify=True)
    (folder / "X.npy").write_bytes(whole[:1_000])
    with pytest.raises(SchemaError, match="out"):
        load_sequences(folder)
    for text in ('{"format": 2}', "{", '{"format": 1, "parts": {"train": "x"}, "length": 1}', "[" * 10**5):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(SchemaError, match="manifest"):
            load_sequences(folder)


def test_the_command_writes_it(bars, tmp_path):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from qtfeat.cli.app import app

    source = tmp_path / "bars.parquet"
    pq.write_table(bars, source)
    done = CliRunner().invoke(app, ["export", "sequences", str(source), str(tmp_path / "out"), "--length", "40"])
    assert done.exit_code == 0, done.output
    assert load_sequences(tmp_path / "out").X.shape[1:] == (40, 8)
    again = CliRunner().invoke(app, ["export", "sequences", str(source), str(tmp_path / "out")])
    assert again.exit_code == 2
