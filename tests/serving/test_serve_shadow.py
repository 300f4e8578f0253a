"""What is recorded of a shadow, and the comparison with production, against a second computation in plain Python."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import spearmanr

from qtfeat import registry
from qtfeat.errors import SchemaError
from qtfeat.serve.record import Recorder, read
from qtfeat.serve.shadow import compare
from served import BARS, NAME, SYMBOLS, bars_json, serving

HORIZON, COST, TAKEN = 5, 0.0014, 300


@pytest.fixture(scope="module")
def store(shadowed, tmp_path_factory, table):
    """What a server with a shadow recorded of the first bars."""
    store = tmp_path_factory.mktemp("store")
    with serving(shadowed, "--store", str(store)) as one:
        for start in range(0, TAKEN, 100):
            assert one.client.post("/v1/bars", {"bars": bars_json(table, start, start + 100)})[0] == 200
        beside = one.client.get("/v1/signals?lane=shadow")[1]
        assert len(beside) == SYMBOLS
        assert {signal["model"] for signal in beside} == {f"{NAME}/{registry.aliases(shadowed, NAME).shadow}"}
        assert one.end() == 0
    return store


def test_both_lanes_are_recorded(store):
    found = read(store / "signals")
    assert found.num_rows == 2 * SYMBOLS * TAKEN
    assert len(set(zip(found["lane"].to_pylist(), found["model"].to_pylist(), strict=True))) == 2


def test_the_comparison_is_right(store, table):
    rows = read(store / "signals").to_pylist()
    at = {(row["lane"], row["symbol"], row["open_time"]): row for row in rows}
    times = sorted({row["open_time"] for row in rows})
    close = table["close"].to_numpy().reshape(SYMBOLS, BARS)
    lanes = {"production": [], "shadow": []}
    outcomes, waiting = [], 0
    for k in range(SYMBOLS):
        for i, time in enumerate(times):
            both = [at[lane, f"SIM{k:03}", time] for lane in lanes]
            if any(row["p_buy"] is None for row in both):
                continue
            if i + HORIZON >= TAKEN:
                waiting += 1
                continue
            outcomes.append(close[k, i + HORIZON] / close[k, i] - 1.0)
            for row in both:
                lanes[row["lane"]].append(row)
    found = compare(store / "signals", horizon=HORIZON, cost=COST)
    assert (found.rows, found.waiting) == (len(outcomes), waiting)
    sides = [[row["side"] for row in lane] for lane in lanes.values()]
    assert found.agreement == pytest.approx(np.mean([a == b for a, b in zip(*sides, strict=True)]))
    for name, lane in lanes.items():
        score = getattr(found, name)
        gains = [
            (1 if row["side"] == "BUY" else -1) * outcome
            for row, outcome in zip(lane, outcomes, strict=True)
            if row["side"] != "HOLD" and row["source"] == "model"
        ]
        assert score.signals == len(gains) > 0
        assert score.hit_rate == pytest.approx(np.mean([gain > 0 for gain in gains]))
        assert score.net == pytest.approx(np.mean(gains) - COST)
        assert score.rank_ic == pytest.approx(spearmanr([row["score"] for row in lane], outcomes).statistic)
        assert score.confidence == pytest.approx(np.mean([row["confidence"] for row in lane]))


def test_the_command_prints_it_and_says_what_is_missing(store, tmp_path):
    done = command(store)
    assert done.returncode == 0, done.stderr
    assert "rank_ic" in done.stdout
    assert f"after {HORIZON} bars" in done.stdout
    empty = command(tmp_path)
    assert empty.returncode == 2
    assert "--store" in empty.stderr
    Recorder(tmp_path / "signals").flush()
    with pytest.raises(SchemaError, match="no recorded signals"):
        compare(tmp_path / "signals")
    with pytest.raises(SchemaError, match="no outcome is known yet"):
        compare(store / "signals", horizon=TAKEN)


def command(store):
    text = ["shadow", "report", "--store", str(store), "--horizon", str(HORIZON)]
    one = [sys.executable, "-c", "from qtfeat.cli import main; main()", *text]
    return subprocess.run(one, capture_output=True, text=True, timeout=60, check=False)
