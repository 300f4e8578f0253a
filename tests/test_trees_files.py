"""Model files: what is refused, by name; damage; older versions of XGBoost; the interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qtfeat.errors import RegistryError, SchemaError
from qtfeat.trees import TreeModel
from sizes import SOAK, scaled
from treegrid import Case, cases, train

xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")

ROOT = Path(__file__).resolve().parent.parent
RNG = np.random.default_rng(7)
X = RNG.normal(size=(300, 4))
Y = X[:, 0] + RNG.normal(size=300)
CODES = np.column_stack([RNG.integers(0, 5, 300), X[:, 1:]]).astype(float)


def _xgboost(params: dict, x: np.ndarray = X, y: np.ndarray = Y, **data: object) -> bytes:
    booster = xgb.train({"max_depth": 3, "nthread": 1, "verbosity": 0, **params}, xgb.DMatrix(x, y, **data), 4)
    return bytes(booster.save_raw("json"))


def _lightgbm(params: dict, x: np.ndarray = X, **data: object) -> bytes:
    whole = {"num_leaves": 7, "num_threads": 1, "verbosity": -1, "min_data_in_leaf": 5, **params}
    return (
        lgb.train(whole, lgb.Dataset(x, Y if "objective" not in params else (Y > 0), **data), 4)
        .model_to_string()
        .encode()
    )


def _custom() -> bytes:
    params = {"objective": lambda p, d: (p - d.get_label(), np.ones_like(p)), "num_leaves": 4, "verbosity": -1}
    return lgb.train(params, lgb.Dataset(X, Y), 2).model_to_string().encode()


UNSUPPORTED = {
    "xgboost dart": (lambda: _xgboost({"booster": "dart", "rate_drop": 0.5}), "DART"),
    "xgboost gblinear": (lambda: _xgboost({"booster": "gblinear"}), "linear"),
    "xgboost categorical": (
        lambda: _xgboost({}, CODES, feature_types=["c", "q", "q", "q"], enable_categorical=True),
        "categorical",
    ),
    "xgboost multi-output": (
        lambda: _xgboost({"multi_strategy": "multi_output_tree"}, y=np.column_stack([Y, -Y])),
        "multi-output",
    ),
    "xgboost two targets": (lambda: _xgboost({}, y=np.column_stack([Y, -Y])), "multi-output"),
    "xgboost survival": (lambda: _xgboost({"objective": "survival:cox"}, y=np.abs(Y) + 0.1), "survival:cox"),
    "lightgbm dart": (lambda: _lightgbm({"boosting": "dart"}), "DART"),
    "lightgbm random forest": (
        lambda: _lightgbm({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}),
        "random forest",
    ),
    "lightgbm linear": (lambda: _lightgbm({"linear_tree": True}), "linear"),
    "lightgbm categorical": (lambda: _lightgbm({}, CODES, categorical_feature=[0]), "categorical"),
    "lightgbm zero_as_missing": (lambda: _lightgbm({"zero_as_missing": True}), "zero_as_missing"),
    "lightgbm cross_entropy_lambda": (lambda: _lightgbm({"objective": "cross_entropy_lambda"}), "cross_entropy_lambda"),
    "lightgbm custom objective": (_custom, "custom objective"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_unsupported_is_refused_by_name(name: str) -> None:
    make, named = UNSUPPORTED[name]
    with pytest.raises(RegistryError, match=f"(?i){named}"):
        TreeModel.load(make())


def _files() -> dict[str, bytes]:
    booster = xgb.Booster(model_file=bytearray(_xgboost({"max_depth": 2})))
    return {
        "json": bytes(booster.save_raw("json")),
        "ubj": bytes(booster.save_raw("ubj")),
        "text": _lightgbm({}).split(b"\npandas_categorical")[0].rstrip(),
    }


@pytest.mark.parametrize("kind", ["json", "ubj", "text"])
def test_a_file_cut_at_any_byte_is_refused(kind: str) -> None:
    file = _files()[kind]
    TreeModel.load(file)
    for cut in range(len(file)):
        with pytest.raises(RegistryError):
            TreeModel.load(file[:cut])


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["json", "ubj", "text"])
def test_damaged_bytes_are_a_model_or_an_error(kind: str) -> None:
    file = _files()[kind]
    rng = np.random.default_rng(1)
    loaded = 0
    for _ in range(scaled(100_000)):
        damaged = bytearray(file)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(file))] = rng.integers(256)
        try:
            model = TreeModel.load(damaged)
        except RegistryError:
            continue
        loaded += 1
        if model.n_features <= 100:
            model.predict(np.zeros((70, model.n_features)))
    assert loaded > 0


OLDER = ("2.1.4", "3.0.5")
MAKE = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import numpy as np, xgboost as xgb
from pathlib import Path
from treegrid import cases, hard_inputs, predicted, raw, train
assert xgb.__version__ == sys.argv[4], xgb.__version__
for case in cases("xgboost", 110)[:: int(sys.argv[5])]:
    booster, file = train(case)
    x = hard_inputs(case, file, int(sys.argv[6]))
    name = Path(sys.argv[3]) / str(case.seed)
    name.with_suffix(".model").write_bytes(file)
    name.with_suffix(".ubj").write_bytes(bytes(booster.save_raw("ubj")))
    np.savez(name.with_suffix(".npz"), x=x, raw=raw(case, booster, x))
"""


@pytest.mark.soak
@pytest.mark.parametrize("version", OLDER)
def test_models_of_older_versions(version: str, tmp_path: Path) -> None:
    """Trained and evaluated by that version, in a process of its own."""
    folder = ROOT / "target" / "xgboost" / version
    if not folder.exists():
        if not SOAK:
            pytest.skip(f"XGBoost {version} is not in {folder}; QTFEAT_SOAK=1 puts it there")
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
        # The project's pins are for the newest.
        env = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
        subprocess.run([*install, f"xgboost-cpu=={version}"], check=True, env=env)
    step, rows = ("1", "2000") if SOAK else ("22", "500")
    arguments = [str(folder), str(ROOT / "tests"), str(tmp_path), version, step, rows]
    command = [sys.executable, "-W", "ignore", "-c", MAKE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3600)
    assert done.returncode == 0, done.stderr
    answers = sorted(tmp_path.glob("*.npz"))
    assert len(answers) == len(cases("xgboost", 110)[:: int(step)])
    for answer in answers:
        with np.load(answer) as saved:
            for suffix in (".model", ".ubj"):
                ours = TreeModel.load(answer.with_suffix(suffix)).predict_raw(saved["x"])
                assert ours.dtype == saved["raw"].dtype == np.float32
                assert ours.tobytes() == saved["raw"].tobytes(), (version, answer.stem)


def test_iterations() -> None:
    data = xgb.DMatrix(X[:200], Y[:200])
    held_out = xgb.DMatrix(X[200:], RNG.normal(size=100))
    booster = xgb.train(
        {"max_depth": 3, "nthread": 1}, data, 30, evals=[(held_out, "v")], early_stopping_rounds=5, verbose_eval=False
    )
    file = bytes(booster.save_raw("ubj"))
    model = TreeModel.load(file)
    assert model.best_iteration == booster.best_iteration
    assert model.n_iterations == booster.num_boosted_rounds() > booster.best_iteration + 1
    for iterations, last in ((None, 0), ("best", booster.best_iteration + 1), (3, 3)):
        ours = TreeModel.load(file, iterations=iterations).predict_raw(X)
        assert (ours == booster.inplace_predict(X, iteration_range=(0, last))).all()
    text = _lightgbm({})
    first = lgb.Booster(model_str=text.decode()).predict(X, raw_score=True, num_iteration=2)
    assert (TreeModel.load(text, iterations=2).predict_raw(X) == first).all()
    with pytest.raises(RegistryError, match="iteration 99"):
        TreeModel.load(file, iterations=99)
    for wrong in (0, -1, True, "last", 2.0):
        with pytest.raises(SchemaError, match="iterations"):
            TreeModel.load(file, iterations=wrong)


def test_names_and_sizes(tmp_path: Path) -> None:
    names = ["a b", "ü", 'q"', "last"]
    names_ok = ["a", "ü", 'q"', "last"]
    booster = xgb.train({"nthread": 1}, xgb.DMatrix(X, Y, feature_names=names_ok), 2)
    for suffix in ("json", "ubj"):
        path = tmp_path / f"model.{suffix}"
        booster.save_model(path)
        model = TreeModel.load(path)
        assert model.feature_names == tuple(names_ok)
        assert (model.library, model.kind, model.n_features, model.n_classes) == ("xgboost", "regression", 4, 1)
    classes = Case("lightgbm", "multiclass", 3, 2, 4, "normal", 0.0, 0)
    model = TreeModel.load(train(classes)[1])
    assert (model.kind, model.n_classes, model.n_outputs, model.n_trees, model.n_iterations) == (
        "multiclass",
        3,
        3,
        6,
        2,
    )
    binary = TreeModel.load(_lightgbm({"objective": "binary"}))
    assert (binary.kind, binary.n_classes, binary.n_outputs) == ("binary", 2, 1)
    assert "lightgbm, binary" in repr(binary)
    assert names != names_ok


def test_inputs() -> None:
    model = TreeModel.load(_lightgbm({}))
    expected = model.predict(X)
    assert (model.predict(X.tolist()) == expected).all()
    assert (model.predict(X[::-1])[::-1] == expected).all()
    assert (model.predict(np.repeat(X, 2, axis=1)[:, ::2]) == expected).all()
    assert (model.predict(X.astype(">f8")) == expected).all()
    whole = np.round(X * 3)
    assert (model.predict(whole.astype(int)) == model.predict(whole)).all()
    assert model.predict_row(X[0].tolist()) == model.predict_row(X[0]) == expected[0]
    assert model.predict_row(np.repeat(X[0], 2)[::2]) == expected[0]
    single = X[0].astype(np.float32)
    assert model.predict_row(single) == model.predict(single[None])[0]
    before = X.copy()
    model.predict_raw(X)
    assert (before == X).all()
    for wrong in (X[:, :3], X[0], X[None], "text", [["a"] * 4], [[1], [1, 2]], X.astype(object), X.astype(complex)):
        with pytest.raises(SchemaError):
            model.predict(wrong)
    for wrong in (X[0, :3], X, "text", ["a"] * 4, None, X[0].astype(complex)):
        with pytest.raises(SchemaError):
            model.predict_row(wrong)


def test_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be read"):
        TreeModel.load(tmp_path / "absent.ubj")
    for content in (b"", b"binf", b"{}", b"tree", b"\x80\x05pickle", b"{\xff", b'{"learner":3}', b"[1]"):
        with pytest.raises(RegistryError):
            TreeModel.load(content)


SERVER = """
import sys
for name in ("xgboost", "lightgbm", "sklearn", "scipy"):
    sys.modules[name] = None
from qtfeat.trees import TreeModel
print(TreeModel.load(sys.argv[1]).predict_row([0.0] * 4))
"""


def test_needs_neither_library(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(_xgboost({}))
    command = [sys.executable, "-c", SERVER, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert float(done.stdout) == TreeModel.load(path).predict_row(np.zeros(4))


def test_memory_is_bounded_by_the_file() -> None:
    """Counts in a file are claims: a few bytes cannot ask for gigabytes."""
    resource = pytest.importorskip("resource")
    file = json.loads(_xgboost({}))
    file["learner"]["learner_model_param"]["num_feature"] = str(1 << 20)
    model = TreeModel.load(json.dumps(file).encode())
    assert model.n_features == 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for field, value in (("num_feature", 1 << 40), ("num_class", 1 << 30)):
        file = json.loads(_xgboost({}))
        file["learner"]["learner_model_param"][field] = str(value)
        with pytest.raises(RegistryError):
            TreeModel.load(json.dumps(file).encode())
    for header in (b"[$d#L\x7f" + b"\xff" * 7, b"[$l#L\x00\x00\x00\x7f" + b"\xff" * 4, b"[#l\x7f\xff\xff\xff"):
        with pytest.raises(RegistryError):
            TreeModel.load(b"{L" + (7).to_bytes(8, "big") + b"learner" + header)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 50_000


@pytest.mark.parametrize("source", [None, 5, ["model.ubj"]])
def test_what_is_neither_bytes_nor_a_path(source):
    with pytest.raises(SchemaError, match="bytes or a path"):
        TreeModel.load(source)


def test_a_path_that_no_system_has():
    with pytest.raises(RegistryError, match="cannot be read"):
        TreeModel.load("model\0.ubj")
