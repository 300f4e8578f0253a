"""Predictions over HTTP: a real server process, asked as a client would ask it."""

from __future__ import annotations

import numpy as np
import pytest

from qtfeat.errors import SchemaError
from served import NAME, named, production

FIELDS = ("open", "high", "low", "close", "volume")


def test_features_by_name_give_the_bits_of_the_model(client, models, features):
    X, columns = features
    model = production(models)
    rows = X[:, 400:420].reshape(-1, X.shape[-1])
    p, score = model.predict(rows)
    shuffled = [dict(reversed(list(named(columns, row).items()))) for row in rows]
    status, answer = client.post("/v1/predict", {"features": shuffled})
    assert status == 200
    assert [tuple(one["p"]) for one in answer["predictions"]] == [tuple(row) for row in p.tolist()]
    assert [one["score"] for one in answer["predictions"]] == score.tolist()
    assert (answer["model"], answer["fingerprint"]) == (f"{NAME}/{model.version}", model.fingerprint)


def test_a_window_gives_the_features_of_its_last_bar(client, table, features):
    X, columns = features
    rows = table.slice(0, 300).to_pylist()
    bars = [[row[name] for name in FIELDS] for row in rows]
    status, answer = client.post("/v1/predict", {"bars": bars})
    assert status == 200
    assert answer["features"] == named(columns, X[0, 299])
    direct = client.post("/v1/predict", {"features": answer["features"]})[1]
    assert direct["predictions"][0]["p"] == answer["predictions"][0]["p"]
    status, problem = client.post("/v1/predict", {"bars": bars[:20]})
    assert (status, problem["error"]) == (422, "SchemaError")


def test_the_open_inference_protocol_in_both_forms(client, models, features):
    X, columns = features
    rows = X[1, 500:507]
    p, score = production(models).predict(np.ascontiguousarray(rows))
    order = list(reversed(range(len(columns))))
    one = {
        "name": "x",
        "shape": list(rows.shape),
        "datatype": "FP64",
        "data": rows[:, order].tolist(),
        "parameters": {"columns": [columns[k] for k in order]},
    }
    many = [{"name": columns[k], "shape": [7, 1], "datatype": "FP64", "data": rows[:, k].tolist()} for k in order]
    for inputs in ([one], many):
        status, answer = client.post(f"/v2/models/{NAME}/infer", {"id": "a", "inputs": inputs})
        assert status == 200
        assert answer["id"] == "a"
        found = {out["name"]: out for out in answer["outputs"]}
        assert found["probabilities"]["data"] == p.ravel().tolist()
        assert found["score"]["data"] == score.tolist()
        assert set(found["side"]["data"]) <= {"BUY", "HOLD", "SELL"}
    wanted = {"inputs": [one], "outputs": [{"name": "score"}]}
    assert [out["name"] for out in client.post(f"/v2/models/{NAME}/infer", wanted)[1]["outputs"]] == ["score"]
    assert client.post("/v2/models/other/infer", wanted)[0] == 404
    assert len(client.get(f"/v2/models/{NAME}")[1]["inputs"]) == len(columns)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda row: row.pop("rsi"), "missing: rsi"),
        (lambda row: row.update(extra=1.0), "unknown: extra"),
        (lambda row: row.update(rsj=row.pop("rsi")), "did you mean 'rsi'"),
        (lambda row: row.update(rsi="50"), "Expected `float`"),
        (lambda row: row.update(rsi=None), "Expected `float`"),
        (lambda row: row.update(rsi=float("nan")), ""),
        (lambda row: row.update(rsi=float("inf")), ""),
    ],
)
def test_columns_that_do_not_fit_are_refused(client, features, change, text):
    X, columns = features
    row = named(columns, X[0, 400])
    change(row)
    status, problem = client.post("/v1/predict", {"features": row})
    assert status in (400, 422)
    assert text in problem["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"features": {}}',
        b'{"features": []}',
        b'{"bars": [[1,2,3]]}',
        b'{"x": 1}',
        b"\xff\xfe",
        b'{"features": {"a": 1e999}}',
        b"[" * 100_000,
    ],
)
def test_bodies_that_make_no_sense_are_refused(client, body):
    for path in ("/v1/predict", f"/v2/models/{NAME}/infer", "/v1/bars", "/v1/models/promote"):
        assert client.post(path, body)[0] in (400, 413, 422)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [3, 17]},
        {"shape": [17]},
        {"shape": [0, 17]},
        {"data": [[0.0] * 17, [0.0] * 16]},
        {"parameters": {"columns": ["ret"] * 17}},
        {"parameters": {"columns": "ret"}},
        {"parameters": {}},
        {"datatype": "BYTES"},
    ],
)
def test_tensors_that_do_not_fit_are_refused(client, features, change):
    tensor = {"name": "x", "shape": [2, 17], "datatype": "FP64", "data": [0.0] * 34}
    tensor["parameters"] = {"columns": list(features[1])}
    assert client.post(f"/v2/models/{NAME}/infer", {"inputs": [tensor]})[0] == 200
    assert client.post(f"/v2/models/{NAME}/infer", {"inputs": [tensor | change]})[0] in (400, 422)


def test_one_row_has_the_bits_of_many(models, features):
    X, _ = features
    model = production(models)
    rows = np.ascontiguousarray(X[:, 100:200].reshape(-1, X.shape[-1]))
    p, score = model.predict(rows)
    alone = [model.predict_row(row) for row in rows]
    assert [found[0] for found in alone] == [tuple(row) for row in p.tolist()]
    assert [found[1] for found in alone] == score.tolist()
    assert model.predict_row(X[0, 0]) is None
    with pytest.raises(SchemaError, match="16 columns"):
        model.predict_row(rows[0, :16])
