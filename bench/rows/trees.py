"""A 500-tree pair, one row at a time and 100,000 rows at once, against XGBoost and LightGBM on one thread."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from bench.columns import Columns
from bench.harness import Call, Case, memset_floor

TREES = 500
FEATURES = 32
TRAIN_ROWS = 20_000
BATCH_ROWS = 100_000
SINGLE_ROWS = 256
COMPARED_ROWS = 5_000


def _data(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, FEATURES))


@cache
def _xgboost(depth: int) -> tuple[Any, bytes]:
    import xgboost as xgb

    x = _data(TRAIN_ROWS, 0)
    y = x[:, 0] * x[:, 1] + np.random.default_rng(1).normal(size=TRAIN_ROWS)
    booster = xgb.train({"max_depth": depth, "eta": 0.05, "nthread": 1}, xgb.DMatrix(x, y), TREES)
    booster.set_param({"nthread": 1})
    return booster, bytes(booster.save_raw("ubj"))


@cache
def _lightgbm(depth: int) -> tuple[Any, bytes]:
    import lightgbm as lgb

    x = _data(TRAIN_ROWS, 0)
    y = x[:, 0] * x[:, 1] + np.random.default_rng(1).normal(size=TRAIN_ROWS)
    params = {
        "max_depth": depth,
        "num_leaves": min(2**depth, 31),
        "learning_rate": 0.05,
        "num_threads": 1,
        "verbosity": -1,
    }
    text = lgb.train(params, lgb.Dataset(x, y), TREES).model_to_string()
    return lgb.Booster(model_str=text), text.encode()


def _ours(file: bytes) -> Any:
    try:
        from qtfeat.trees import TreeModel
    except ModuleNotFoundError:
        return None
    return TreeModel.load(file)


def _columns(values: Any) -> Columns:
    return {"raw": np.asarray(values, dtype=np.float64)}


def _case(model: Any, peer: Call, mine: Call, rows: int, compared: tuple[Call, Call]) -> Case:
    return Case(
        unit="row",
        ours=None if model is None else mine,
        ours_units=rows,
        peer=peer,
        peer_units=rows,
        names=("raw",),
        floor=memset_floor(4 * rows),
        ours_columns=_columns,
        peer_columns=_columns,
        compare_ours=None if model is None else lambda: _columns(compared[0]()),
        compare_peer=lambda: _columns(compared[1]()),
        skip_rows=0,
    )


def _single(model: Any, predict: Any) -> Case:
    x = _data(SINGLE_ROWS, 2)
    rows, matrices = list(x), [row[None].copy() for row in x]
    wide = _data(COMPARED_ROWS, 3)

    def peer() -> list[float]:
        return [float(predict(one)[0]) for one in matrices]

    def mine() -> list[float]:
        return [model.predict_row(row, raw=True) for row in rows]

    return _case(model, peer, mine, SINGLE_ROWS, (lambda: model.predict_raw(wide), lambda: predict(wide)))


def _batch(model: Any, predict: Any, *, quick: bool) -> Case:
    x = _data(BATCH_ROWS // (10 if quick else 1), 2)

    def peer() -> Any:
        return predict(x)

    def mine() -> Any:
        return model.predict_raw(x)

    return _case(model, peer, mine, len(x), (mine, peer))


def _of_xgboost(depth: int) -> tuple[Any, Any]:
    booster, file = _xgboost(depth)
    return _ours(file), lambda x: booster.inplace_predict(x, predict_type="margin")


def _of_lightgbm(depth: int) -> tuple[Any, Any]:
    booster, file = _lightgbm(depth)
    return _ours(file), lambda x: booster.predict(x, raw_score=True, num_threads=1)


def xgboost_row(*, quick: bool) -> Case:
    """One row a call, depth 6."""
    return _single(*_of_xgboost(6))


def lightgbm_row(*, quick: bool) -> Case:
    """One row a call, 31 leaves."""
    return _single(*_of_lightgbm(6))


def xgboost_batch(*, quick: bool) -> Case:
    """Depth 6."""
    return _batch(*_of_xgboost(6), quick=quick)


def lightgbm_batch(*, quick: bool) -> Case:
    """31 leaves."""
    return _batch(*_of_lightgbm(6), quick=quick)


def xgboost_batch_shallow(*, quick: bool) -> Case:
    """Depth 3, the default of training."""
    return _batch(*_of_xgboost(3), quick=quick)


def lightgbm_batch_shallow(*, quick: bool) -> Case:
    """Depth 3, the default of training."""
    return _batch(*_of_lightgbm(3), quick=quick)
