"""The tree evaluator against the libraries: the same bits, over a grid of models and the values that hurt."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from qtfeat.trees import TreeModel
from sizes import SOAK, scaled
from treegrid import Case, cases, hard_inputs, predicted, raw, train

pytest.importorskip("xgboost")
pytest.importorskip("lightgbm")

# 220 models times 46,000 rows are more than ten million.
MODELS = 110
ROWS = scaled(46_000)
GRID = [*cases("xgboost", MODELS), *cases("lightgbm", MODELS)]
# Every fifth one, with fewer trees: what takes long is the training.
SMALL = [replace(case, rounds=min(case.rounds, 30)) for case in GRID[::5]]
LEAST_RELATIVE = 1e-6


def same_bits(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    bits = np.uint32 if ours.dtype == np.float32 else np.uint64
    different = ours.view(bits) != theirs.view(bits)
    assert not different.any(), f"{different.sum()} of {different.size} differ, first at {np.argwhere(different)[0]}"


@pytest.mark.soak
@pytest.mark.parametrize("case", GRID if SOAK else SMALL, ids=lambda case: case.id)
def test_same_bits_as_the_library(case: Case) -> None:
    booster, file = train(case)
    model = TreeModel.load(file)
    x = hard_inputs(case, file, ROWS)
    same_bits(model.predict_raw(x), raw(case, booster, x))
    with np.errstate(over="ignore"):
        single = x.astype(np.float32)
    same_bits(model.predict_raw(single), raw(case, booster, single))
    same_bits(model.predict_raw(np.asfortranarray(x)), model.predict_raw(x))
    rows = [model.predict_row(row, raw=True) for row in x[:40]]
    same_bits(np.array(rows), model.predict_raw(x)[:40].astype(np.float64))
    if case.objective == "multi:softmax":
        assert (model.predict(x).argmax(1) == predicted(case, booster, x)).all()
    else:
        close(model.predict(x), predicted(case, booster, x))
    assert model.n_features == case.width


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.dtype == np.float64
    finite = np.isfinite(theirs)
    assert np.allclose(ours[finite], theirs[finite], rtol=LEAST_RELATIVE, atol=LEAST_RELATIVE)


def test_the_grid_covers_what_it_says() -> None:
    for library in ("xgboost", "lightgbm"):
        mine = [case for case in GRID if case.library == library]
        assert {case.depth for case in mine} == set(range(1, 9))
        assert {case.rounds for case in mine} >= {1, 1000}
        assert {case.width for case in mine} >= {2, 100}
        assert {case.missing for case in mine} == {0.0, 0.1, 0.5}
    assert len(GRID) >= 200
    assert len(GRID) * 46_000 >= 10_000_000


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("rows", [1, 2, 11, 12, 13, 63, 64, 65, 75, 76, 77, 128, 200])
def test_any_number_of_rows(library: str, rows: int) -> None:
    case = Case(library, "multi:softprob" if library == "xgboost" else "multiclass", 4, 10, 8, "normal", 0.1, 3)
    _, file = train(case)
    model = TreeModel.load(file)
    x = hard_inputs(case, file, 200)
    whole = model.predict_raw(x)
    same_bits(model.predict_raw(x[:rows]), whole[:rows])
    same_bits(model.predict_raw(x[200 - rows :]), whole[200 - rows :])
    same_bits(model.predict_raw(x[:0]), whole[:0])


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_trees_too_large_for_blocks(library: str) -> None:
    """More than 256 leaves: every row is walked."""
    case = Case(library, "reg:squarederror" if library == "xgboost" else "regression", 12, 5, 10, "normal", 0.05, 1)
    if library == "xgboost":
        import xgboost as xgb

        rng = np.random.default_rng(5)
        x = rng.normal(size=(4000, 10))
        params = {"max_depth": 12, "min_child_weight": 0, "lambda": 0, "nthread": 1}
        booster = xgb.train(params, xgb.DMatrix(x, rng.normal(size=4000)), 5)
        file = bytes(booster.save_raw("ubj"))
    else:
        booster, file = train(case, rows=4000)
    model = TreeModel.load(file)
    inputs = hard_inputs(case, file, 500)
    same_bits(model.predict_raw(inputs), raw(case, booster, inputs))


def test_columns_with_more_thresholds_than_a_byte() -> None:
    """Two columns, hundreds of trees by the exact method: ranks in several parts."""
    case = Case("xgboost", "reg:squarederror", 6, 200, 2, "normal", 0.1, 1)
    booster, file = train(case, rows=3000)
    x = hard_inputs(case, file, 5000)
    same_bits(TreeModel.load(file).predict_raw(x), raw(case, booster, x))


LEVEL_SCRIPT = """
import hashlib, sys, numpy as np, qtfeat
from qtfeat.trees import TreeModel
digest = hashlib.sha256()
x = np.load(sys.argv[1])
for path in sys.argv[2:]:
    digest.update(TreeModel.load(path).predict_raw(x).tobytes())
print(qtfeat.cpu(), digest.hexdigest())
"""


def test_same_bits_at_every_cpu_level(tmp_path) -> None:
    paths = []
    for case in (*cases("xgboost", 5), *cases("lightgbm", 5)):
        if case.width >= 8:
            path = tmp_path / f"{case.library}{case.seed}"
            _, file = train(replace(case, width=20, rounds=min(case.rounds, 50)))
            path.write_bytes(file)
            paths.append(str(path))
    x = np.random.default_rng(0).normal(size=(1000, 20))
    x[::7, ::3] = np.nan
    np.save(tmp_path / "x.npy", x)
    found = {}
    for level in ("sse2", "avx2", "avx512"):
        command = [sys.executable, "-c", LEVEL_SCRIPT, str(tmp_path / "x.npy"), *paths]
        env = {**os.environ, "QTFEAT_CPU": level}
        ran, digest = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.split()
        found[ran] = digest
    assert len(set(found.values())) == 1, found


def test_threads_may_share_a_model() -> None:
    case = cases("lightgbm", 3)[2]
    _, file = train(case)
    model = TreeModel.load(file)
    x = hard_inputs(case, file, 3000)
    whole = model.predict_raw(x)
    with ThreadPoolExecutor(2) as pool:
        for part in pool.map(lambda _: model.predict_raw(x), range(8)):
            same_bits(part, whole)
