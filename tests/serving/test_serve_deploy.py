"""What lies in deploy/: each metric of the dashboard is one that a server publishes; the unit starts a real command."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from served import BARS, bars_json, serving

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
# Prometheus' functions and words of its language that may stand before a bracket or inside a query.
WORDS = {"sum", "by", "rate", "increase", "histogram_quantile", "le"}


def wanted(expression):
    """The metrics and the labels that a query reads."""
    labels = set()
    for group in re.findall(r"by \(([^)]*)\)", expression):
        labels |= {label.strip() for label in group.split(",")} - {"le"}
    bare = re.sub(r"by \([^)]*\)|\[[^\]]*\]", " ", expression)
    return set(re.findall(r"[a-z_]{3,}", bare)) - WORDS, labels


@pytest.fixture(scope="module")
def published(shadowed, table):
    """What /metrics says after all kinds of events: metric to the labels of its samples."""
    with serving(shadowed) as one:
        for start in range(0, BARS, 300):
            one.client.post("/v1/bars", {"bars": bars_json(table, start, start + 300)})
        one.client.post("/v1/bars", {"bars": bars_json(table, 0, 1)})
        text = one.client.get("/metrics")[1]
    samples = {}
    for line in text.splitlines():
        if match := re.match(r"(\w+)(\{.*\})? \S+$", line):
            samples.setdefault(match[1], set()).update(re.findall(r'(\w+)="', match[2] or ""))
    # A metric with labels that has not happened yet is announced, and has no sample.
    announced = set(re.findall(r"^# TYPE (\w+) \w+$", text, re.MULTILINE))
    return samples, announced


def test_every_metric_of_the_dashboard_is_published(published):
    samples, announced = published
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(queries) > 18
    read = set()
    for query in queries:
        metrics, labels = wanted(query)
        assert len(metrics) == 1, query
        (metric,) = metrics
        read.add(metric)
        if metric in announced and metric not in samples:
            assert metric in {"qtfeat_stream_lag_seconds", "qtfeat_model_expires_in_seconds"}
            continue
        assert metric in samples, query
        assert labels <= samples[metric], query
    # And the other way: nothing of the server's own is left out.
    own = {
        name for name in samples if name.startswith("qtfeat_") and not re.search(r"_(bucket|sum|count|created)$", name)
    }
    assert own <= read, own - read
    legends = {
        label
        for panel in board["panels"]
        for t in panel["targets"]
        for label in re.findall(r"{{(\w+)}}", t["legendFormat"])
    }
    assert legends <= {label for found in samples.values() for label in found} | {"stream"}


def test_the_dashboard_is_the_generated_one():
    done = subprocess.run([sys.executable, ROOT / "tools" / "dashboard.py", "--check"], check=False)
    assert done.returncode == 0, "run python tools/dashboard.py"


def test_the_unit_starts_a_command_that_there_is():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string((DEPLOY / "qtfeat.service").read_text())
    service = unit["Service"]
    words = shlex.split(service["ExecStart"])
    assert words[0].endswith("/bin/qtfeat")
    options = {word for word in words if word.startswith("--")}
    help_text = subprocess.run(
        [sys.executable, "-c", "from qtfeat.cli import main; main()", words[1], "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"COLUMNS": "200", "PATH": "/usr/bin:/bin", "NO_COLOR": "1", "TERM": "dumb"},
    ).stdout
    assert options <= set(re.findall(r"--[a-z-]+", help_text))
    assert (service["KillSignal"], service["Restart"]) == ("SIGTERM", "on-failure")
    assert int(service["TimeoutStopSec"]) > 20
