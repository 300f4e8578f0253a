"""Small models in a registry, and a server process around them: for tests of serving."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gated import GOOD
from qtfeat import registry
from qtfeat.bars.simulate import simulate
from qtfeat.features import FeatureSet
from qtfeat.gates import check
from qtfeat.serve.model import ServedModel
from qtfeat.train.combine import Calibration, Meta
from qtfeat.train.config import TrainConfig
from qtfeat.train.data import prepare
from qtfeat.train.drift import reference
from qtfeat.train.models import Ensemble, train

SYMBOLS, BARS, NAME = 4, 1200, "tiny"
PLATT = Calibration("platt", tuple(np.array(line) for line in ([1.1, 0.2], [0.9, -0.1], [1.0, 0.0])))


def market():
    """Simulated bars, sorted by symbol and time."""
    return simulate(SYMBOLS, BARS, 11, signal_r2=0.2)


def symbols() -> list[str]:
    return [f"SIM{k:03}" for k in range(SYMBOLS)]


def publish(root: Path, table: Any, seed: int = 0, set_name: str = "kline17", **changes: Any) -> str:
    """Train four models on the first 800 bars and publish them with passing gates; return the version."""
    fs = FeatureSet.load(set_name)
    first = table.filter(np.tile(np.arange(BARS) < 800, SYMBOLS))
    data = prepare(first, fs, horizon=5, threshold=0.005, threads=1, on_bad="raise")
    rows = data.usable
    order = rows[np.argsort(data.labels.t[rows], kind="stable")]
    # The seed decides which rows are seen, so that versions differ on every probe.
    order = order[np.random.default_rng(seed).random(len(order)) < 0.5]
    cut = len(order) * 4 // 5
    config = TrainConfig(seed=seed, threads=1, rounds=30 + seed, patience=30 + seed, learning_rate=0.1)
    boosters = train(data.X, data.labels, fit=order[:cut], tail=order[cut:], config=config)
    model = Ensemble(boosters, Meta("mean", 0.3 + 0.1 * (seed % 5)), PLATT)
    _, p, score = model.predict(data.X[rows])
    files = {
        **model.files(),
        registry.GATES: check(replace(GOOD, fingerprint=fs.fingerprint, expected_fingerprint=fs.fingerprint)).to_json(),
        registry.GOLDEN: registry.golden(data.columns, data.X[rows], p, score),
        "report.html": b"<!doctype html>",
    }
    manifest = {
        "fingerprint": fs.fingerprint,
        "feature_set": set_name,
        "features": {"specs": list(fs.specs), "numerics": fs.numerics, "eps": fs.eps, "fill": fs.fill},
        "columns": list(data.columns),
        "label": {"horizon": 5},
        "config": config.as_dict(),
        "data": {"sha256": "0" * 64, "last": str(data.labels.t.max())},
        "drift": reference(data.X[rows]),
        "versions": {"qtfeat": "0"},
        **changes,
    }
    return registry.publish(root, NAME, files, manifest).name


def bars_json(table: Any, start: int, stop: int) -> list[dict[str, Any]]:
    """The bars start..stop of every symbol, oldest first, as `POST /v1/bars` takes them."""
    rows = table.filter(np.tile((np.arange(BARS) >= start) & (np.arange(BARS) < stop), SYMBOLS)).to_pylist()
    for row in rows:
        row["open_time"] = round(row["open_time"].timestamp() * 1000)
    return sorted(rows, key=lambda row: row["open_time"])


def named(columns: Sequence[str], row: np.ndarray) -> dict[str, float]:
    """Features by name, as `POST /v1/predict` takes them."""
    return dict(zip(columns, row.tolist(), strict=True))


def production(models: Path) -> ServedModel:
    """The production model of a registry, in this process."""
    return ServedModel.load(models, NAME)


class Client:
    """Requests to a server, one connection each; what is answered comes back as (status, JSON)."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self.url, self.port, self.token = f"http://127.0.0.1:{port}", port, token

    def call(self, method: str, path: str, body: Any = None, timeout: float = 30.0, **headers: str) -> Any:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None:
            headers.setdefault("content-type", "application/json")
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                status, raw, self.headers = answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            status, raw, self.headers = error.code, error.read(), error.headers
        kind = self.headers.get("content-type", "")
        return status, json.loads(raw) if kind.startswith("application/json") else raw.decode()

    def get(self, path: str, **headers: str) -> Any:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self.call("POST", path, body, **headers)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Server:
    """A `qtfeat serve` process. `log` is what it wrote; `process` is for signals."""

    def __init__(self, root: Path, *options: str, token: str | None = None) -> None:
        self.port = free_port()
        self._log = root / f"server-{self.port}.log"
        command = [
            sys.executable,
            "-c",
            "from qtfeat.cli import main; main()",
            "serve",
            "--models",
            str(root),
            "--name",
            NAME,
        ]
        command += ["--symbols", ",".join(symbols()), "--interval", "1h", "--port", str(self.port), *options]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "NO_COLOR": "1"})
        self.client = Client(self.port, token)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait(self, seconds: float = 60.0) -> Server:
        """Wait until it answers."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log}")
            try:
                if self.client.get("/health")[0] == 200:
                    return self
            except (OSError, urllib.error.URLError):
                time.sleep(0.05)
        raise AssertionError(f"the server did not start:\n{self.log}")

    def end(self, seconds: float = 30.0) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def lines(self) -> list[dict[str, Any]]:
        """What it logged, line by line."""
        return [json.loads(line) for line in re.findall(r"^\{.*\}$", self.log, re.MULTILINE)]


@contextmanager
def serving(root: Path, *options: str, token: str | None = None):
    """A server that answers, ended afterwards."""
    server = Server(root, *options, token=token)
    try:
        yield server.wait()
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
