"""Real bars: what the server computes, records and answers is what training would have seen, bit for bit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from barsets import data_folder
from qtfeat.bars import read_bars
from qtfeat.features import FeatureSet
from qtfeat.serve.record import read
from qtfeat.train.data import prepare
from served import production, serving

COINS, EACH = 4, 2500


@pytest.fixture(scope="module")
def real():
    """The last bars of some perpetuals, sorted by symbol and time: 10,000 in all."""
    files = sorted((data_folder() / "panel_1h").glob("**/*.parquet"))
    if not files:
        pytest.skip("the recorded market data has no panel_1h")
    parts = [read_bars(file)[0] for file in files[:COINS]]
    names = [part["symbol"][0].as_py() for part in parts]
    return names, pa.concat_tables([part.slice(part.num_rows - EACH) for part in parts])


def posts(table, start, stop):
    """Bars start..stop of every symbol, as they are posted: times in milliseconds, floats as JSON writes them."""
    rows = [row for k in range(COINS) for row in table.slice(k * EACH + start, stop - start).to_pylist()]
    for row in rows:
        row["open_time"] = round(row["open_time"].timestamp() * 1000)
    return {"bars": sorted(rows, key=lambda row: row["open_time"])}


def test_ten_thousand_bars_have_the_rows_of_training(models, real, tmp_path):
    names, table = real
    training = prepare(table, FeatureSet.load("kline17"), horizon=5, threshold=0.005, threads=1, on_bad="raise")
    with serving(models, "--store", str(tmp_path), "--symbols", ",".join(names), "--snapshot-every", "5000") as one:
        signals = []
        for start in range(0, EACH, 250):
            status, answer = one.client.post("/v1/bars", posts(table, start, start + 250))
            assert status == 200
            signals += answer["signals"]
        assert one.end() == 0
    found = read(tmp_path / "signals")
    assert found.num_rows == COINS * EACH == len(signals)
    rows = np.array(found["features"].to_pylist(), dtype=np.float64)
    assert rows.tobytes() == np.ascontiguousarray(training.X).tobytes()
    # And what was answered is what the model says of those rows.
    ready = np.flatnonzero(~np.isnan(rows).any(axis=1))
    assert len(ready) > 0.95 * len(rows)
    p, score = production(models).predict(np.ascontiguousarray(rows[ready]))
    by_key = {(signal["symbol"], signal["time_ns"]): signal for signal in signals}
    keys = zip(found["symbol"].to_pylist(), found["open_time"].cast(pa.int64()).to_pylist(), strict=True)
    said = [by_key[key] for key in keys]
    assert [said[row]["p"] for row in ready] == p.tolist()
    assert [said[row]["score"] for row in ready] == score.tolist()


def test_killed_at_any_moment_real_bars_give_the_uninterrupted_signals(models, real, tmp_path):
    names, table = real
    options = ("--symbols", ",".join(names), "--snapshot-every", "133")
    with serving(models, *options) as one:
        whole = one.client.post("/v1/bars", posts(table, 0, 240))[1]["signals"]
    right = {(signal["symbol"], signal["time_ns"]): signal for signal in whole}
    assert len(right) == 240 * COINS
    got = {}
    for kill, stop in enumerate((100, 240)):
        with serving(models, "--store", str(tmp_path), *options) as one:
            assert any(line["event"] == "state restored" for line in one.lines()) == (kill > 0)
            # The feed is replayed from the beginning each time.
            for signal in one.client.post("/v1/bars", posts(table, 0, stop))[1]["signals"]:
                got[signal["symbol"], signal["time_ns"]] = signal
                assert signal == right[signal["symbol"], signal["time_ns"]]
            one.process.kill()
            one.process.wait()
    assert got.keys() == right.keys()
