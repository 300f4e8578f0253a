"""Who may do what over HTTP, the page, health, and what the log says."""

from __future__ import annotations

import json

from qtfeat.serve.routes import ROUTES
from qtfeat.serve.tokens import SCOPES, Tokens
from served import Client, bars_json, named, serving


def test_the_page_and_what_belongs_to_it(client):
    status, page = client.get("/")
    assert (status, "<!doctype html>" in page.lower()) == (200, True)
    assert "default-src 'self'" in client.headers["content-security-policy"]
    assert "http://" not in page.replace("http://127.0.0.1", "")
    for file in ("app.js", "dom.js", "link.js", "icon.svg", "style.css", "api.html", "api.js"):
        assert client.get(f"/page/{file}")[0] == 200
    for file in ("secret", "..%2fserver.py", "%2e%2e/server.py"):
        assert client.get(f"/page/{file}")[0] == 404


def test_health_readiness_and_unknown_paths(client):
    assert client.get("/health")[0] == 200
    assert client.get("/ready")[0] == 503
    assert client.get("/ready?need=none")[0] == 200
    assert client.get("/v2/health/live")[0] == 200
    status, problem = client.get("/nothing", x_request_id="abc-1")
    assert (status, problem["request_id"], client.headers["x-request-id"]) == (404, "abc-1", "abc-1")
    assert client.call("DELETE", "/v1/models")[0] == 405


def test_pages_of_other_sites_are_refused(client):
    assert client.get("/v1/models", origin="http://evil.example")[0] == 403
    assert client.get("/v1/models", host="evil.example:8001")[0] == 403
    assert client.post("/v1/models/rollback", b"{}", content_type="text/plain")[0] == 415
    assert client.get("/v1/models", origin=client.url)[0] == 200


def test_tokens_and_their_scopes(models, table, tmp_path):
    path = tmp_path / "tokens.json"
    tokens = Tokens()
    secret = {scope: tokens.add(scope, [scope]) for scope in ("read", "predict", "admin")}
    tokens.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(token in path.read_text() for token in secret.values())
    bars = {"bars": bars_json(table, 0, 1)}
    calls = {
        "read": lambda c: c.get("/v1/models"),
        "predict": lambda c: c.post("/v1/bars", bars),
        "admin": lambda c: c.post("/v1/models/shadow", {"version": None}),
    }
    with serving(models, "--tokens", str(path)) as one:
        for holder, token in secret.items():
            for scope, call in calls.items():
                assert call(Client(one.port, token))[0] == (200 if holder == scope else 403), (holder, scope)
        for wrong in (None, "nonsense", secret["read"][:-1], "é"):
            assert calls["read"](Client(one.port, wrong and wrong.encode().decode("latin-1")))[0] == 401
        assert Client(one.port).get("/health")[0] == 200
        assert Client(one.port).get("/")[0] == 200
        for path in ("/metrics", "/schema/openapi.json", "/v1/state", "/nothing"):
            assert Client(one.port).get(path)[0] == 401
        assert not any(token in one.log for token in secret.values())
        assert {line["client"] for line in one.lines() if line["event"] == "request"} == {None, *secret}


def test_the_log_names_request_and_model_and_no_features(server, features):
    X, columns = features
    row = named(columns, X[0, 401])
    server.client.post("/v1/predict?rsi=77", {"features": row}, x_request_id="find-me")
    line = next(line for line in server.lines() if line.get("request_id") == "find-me")
    assert {"method", "path", "status", "ms", "model", "fingerprint"} <= set(line)
    assert str(row["rsi"]) not in json.dumps(line)
    assert "77" not in line["path"]


def test_every_route_that_tells_or_does_something_names_a_scope():
    free = {path for route in ROUTES if "scope" not in route.opt for path in route.paths}
    assert free == {"/health", "/v2/health/live", "/ready", "/v2/health/ready", "/", "/page/{file:str}"}
    assert {route.opt["scope"] for route in ROUTES if "scope" in route.opt} == set(SCOPES)
    assert all(route.opt["scope"] == "admin" for route in ROUTES for path in route.paths if "/v1/models/" in path)
