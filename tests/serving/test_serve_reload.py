"""Versions that change while requests come in: none fails, and each answer is that of the version it names."""

from __future__ import annotations

import http.client
import json
import threading
import time

import numpy as np
import pytest

from qtfeat import registry
from qtfeat.registry.alias import ALIASES
from served import NAME, SYMBOLS, bars_json, named, serving
from sizes import scaled

WARM = 60


class Asker(threading.Thread):
    """Asks for the probes over one connection until told to stop; keeps what came back."""

    def __init__(self, port, bodies):
        super().__init__(daemon=True)
        self.port, self.bodies = port, bodies
        self.stop, self.found, self.failed = threading.Event(), [], []

    def run(self):
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        number = 0
        while not self.stop.is_set():
            probe = number % len(self.bodies)
            number += 1
            line.request("POST", "/v1/predict", self.bodies[probe], {"content-type": "application/json"})
            with line.getresponse() as answer:
                text = answer.read()
                if answer.status != 200:
                    self.failed.append((answer.status, text))
                    continue
            found = json.loads(text)
            self.found.append((found["model"], probe, tuple(found["predictions"][0]["p"])))
        line.close()


@pytest.mark.soak
def test_promotions_and_rollbacks_under_load(pair, table, features):
    root, models = pair
    X, columns = features
    probes = np.ascontiguousarray(X[:, 900:908].reshape(-1, X.shape[-1]))
    right = {f"{NAME}/{model.version}": model.predict(probes)[0] for model in models}
    first, second = right.values()
    assert np.abs(first - second).max(axis=1).min() > 1e-3
    bodies = [json.dumps({"features": named(columns, row)}).encode() for row in probes]
    first_id, second_id = (model.version for model in models)
    moves, signals = scaled(50, 4), []
    with serving(root, "--in-flight", "64") as one:
        assert one.client.post("/v1/bars", {"bars": bars_json(table, 0, WARM)})[0] == 200
        askers = [Asker(one.port, bodies) for _ in range(2)]
        for asker in askers:
            asker.start()
        try:
            for move in range(moves):
                if move % 2 == 0:
                    status, found = one.client.post("/v1/models/promote", {"version": second_id})
                else:
                    status, found = one.client.post("/v1/models/rollback", b"{}")
                assert status == 200, found
                assert found["live_production"] == found["production"] == (first_id, second_id)[1 - move % 2]
                bars = bars_json(table, WARM + 4 * move, WARM + 4 * move + 4)
                signals += one.client.post("/v1/bars", {"bars": bars})[1]["signals"]
                time.sleep(0.02)
        finally:
            for asker in askers:
                asker.stop.set()
            for asker in askers:
                asker.join(30)
        assert one.client.get("/metrics")[1].count(f'qtfeat_reloads_total{{result="ok"}} {float(moves)}') == 1
    answers = [one for asker in askers for one in asker.found]
    assert not [fault for asker in askers for fault in asker.failed]
    assert len(answers) > 20 * moves
    assert {model for model, _, _ in answers} == set(right)
    assert all(p == tuple(right[model][probe].tolist()) for model, probe, p in answers)
    # Signals name the version that made them, and are its.
    rows = {f"SIM{k:03}": X[k] for k in range(SYMBOLS)}
    start = min(signal["time_ns"] for signal in signals)
    by_id = {f"{NAME}/{model.version}": model for model in models}
    for signal in signals:
        row = rows[signal["symbol"]][WARM + (signal["time_ns"] - start) // 3_600_000_000_000]
        assert signal["p"] == by_id[signal["model"]].predict(row[None])[0][0].tolist()
    assert len(signals) == 4 * moves * SYMBOLS


def test_a_version_promoted_elsewhere_is_taken_up(pair):
    root, models = pair
    with serving(root) as one:
        registry.promote(root, NAME, models[1].version)
        registry.shadow(root, NAME, models[0].version)
        until(lambda: live(one) == {"production": models[1].version, "shadow": models[0].version})
        registry.shadow(root, NAME, None)
        until(lambda: live(one) == {"production": models[1].version})
        assert one.client.post("/v1/models/promote", {"version": "0" * 12})[0] == 409
        assert one.client.post("/v1/models/promote", {"version": "../../etc"})[0] == 400
        assert one.client.post("/v1/models/promote", {"version": "shadow"})[0] == 409
        assert live(one) == {"production": models[1].version}


def test_a_damaged_version_leaves_the_old_one(pair, features):
    root, models = pair
    X, columns = features
    body = {"features": named(columns, X[0, 950])}
    right = models[0].predict(X[0, 950:951])[0][0].tolist()
    aliases = root / NAME / ALIASES
    pointing = aliases.read_text()
    moved = swap_production(pointing, *(model.version for model in models))
    folder = root / NAME / models[1].version
    with serving(root) as one:
        for number, damaged in enumerate(["lgbm_reg.txt", registry.GOLDEN, registry.GATES, ALIASES], 1):
            file = aliases if damaged == ALIASES else folder / damaged
            good = file.read_bytes()
            if file is aliases:
                replace(aliases, b"{")
            else:
                file.chmod(0o644)
                file.write_bytes(good.replace(b"1", b"2", 1))
                replace(aliases, moved.encode())
            until(
                lambda n=number: f'qtfeat_reloads_total{{result="failed"}} {float(n)}' in one.client.get("/metrics")[1]
            )
            answer = one.client.post("/v1/predict", body)[1]
            assert answer["model"] == f"{NAME}/{models[0].version}"
            assert answer["predictions"][0]["p"] == right
            state = one.client.get("/v1/state")[1]
            assert state["reload_error"]
            assert state["models"]["production"]["version"] == models[0].version
            file.write_bytes(good)
        # Mended, it is taken up without a restart.
        replace(aliases, moved.encode())
        until(lambda: live(one) == {"production": models[1].version})
        assert one.client.get("/v1/state")[1]["reload_error"] == ""
        failures = [line for line in one.lines() if line["event"].startswith("reload failed")]
        assert [line["level"] for line in failures] == ["ERROR"] * 4


def swap_production(pointing, old, new):
    found = json.loads(pointing)
    text = json.dumps(found).replace(old, "x").replace(new, old).replace("x", new)
    assert text != json.dumps(found)
    return text


def live(one):
    found = one.client.get("/v1/models")
    assert found[0] in (200, 409)
    return {lane: model["version"] for lane, model in found[1].get("live", {}).items()}


def replace(path, data):
    beside = path.with_suffix(".new")
    beside.write_bytes(data)
    beside.replace(path)


def until(met, seconds=20.0):
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end
        time.sleep(0.05)
