"""The OpenAPI description against the server, by schemathesis: no 5xx, no answer that it does not describe."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from qtfeat import registry
from served import BARS, NAME, bars_json, serving
from sizes import SOAK, scaled

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
    "negative_data_rejection",
    "missing_required_header",
)
LEAST_CASES = 100


@pytest.mark.soak
def test_generated_requests_find_nothing(pair, table, tmp_path):
    # Its own registry: the requests move aliases, too.
    root, models = pair
    registry.shadow(root, NAME, models[1].version)
    # An event stream has no end, so it is left out; test_serve_bars has it.
    options = ["--max-examples", str(scaled(300, 5)), "--seed", "1", "--exclude-path", "/v1/stream"]
    options += ["--checks", ",".join(CHECKS), "--request-timeout", "20", "--no-color", "--suppress-health-check", "all"]
    if not SOAK:
        options += ["--phases", "coverage"]
    with serving(root, "--in-flight", "64") as one:
        for start in range(0, BARS, 300):
            assert one.client.post("/v1/bars", {"bars": bars_json(table, start, start + 300)})[0] == 200
        assert one.client.get("/ready")[0] == 200
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{one.client.url}/schema/openapi.json", *options]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=3600, check=False)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        cases = re.search(r"(\d+) generated", done.stdout)
        assert cases is not None, done.stdout[-2000:]
        assert int(cases[1]) >= LEAST_CASES
        assert not [line for line in one.lines() if line["event"] == "failed"]
