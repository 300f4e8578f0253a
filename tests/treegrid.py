"""The grid of tree models for the bit comparison, and inputs that sit where comparisons can go wrong."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

XGB_OBJECTIVES = (
    "reg:squarederror",
    "binary:logistic",
    "multi:softprob",
    "reg:absoluteerror",
    "count:poisson",
    "binary:logitraw",
    "reg:gamma",
    "reg:tweedie",
    "reg:logistic",
    "binary:hinge",
    "reg:pseudohubererror",
    "multi:softmax",
    "rank:pairwise",
    "reg:squaredlogerror",
)
LGBM_OBJECTIVES = (
    "regression",
    "binary",
    "multiclass",
    "regression_l1",
    "poisson",
    "multiclassova",
    "gamma",
    "tweedie",
    "cross_entropy",
    "huber",
    "lambdarank",
    "quantile",
)
DEPTHS = (3, 1, 2, 4, 6, 8, 5, 7)
ROUNDS = (20, 1, 100, 5, 1000, 50, 2, 10)
WIDTHS = (32, 2, 17, 8, 100, 5, 50)
STYLES = ("normal", "few values", "wide range", "tiny", "denormal", "constant column")


@dataclass(frozen=True)
class Case:
    """One model of the grid."""

    library: str
    objective: str
    depth: int
    rounds: int
    width: int
    style: str
    missing: float
    seed: int

    @property
    def id(self) -> str:
        words = (self.library, self.objective, f"d{self.depth}", f"t{self.rounds}", f"f{self.width}", self.style)
        return "-".join((*words, f"nan{self.missing:g}"))


def cases(library: str, count: int) -> list[Case]:
    """Return `count` cases; every depth, size, width and style comes up, in changing company."""
    objectives = XGB_OBJECTIVES if library == "xgboost" else LGBM_OBJECTIVES
    cycles = (itertools.cycle(c) for c in (objectives, DEPTHS, ROUNDS, WIDTHS, STYLES, (0.0, 0.1, 0.5)))
    found = []
    for seed, (objective, depth, rounds, width, style, missing) in enumerate(zip(*cycles, strict=False)):
        if seed == count:
            break
        # The cycles have common divisors; the shift lets every pair meet in time.
        depth = DEPTHS[(seed + seed // 8) % 8]
        heavy = depth > 5 or objective.startswith("multi")
        found.append(
            Case(library, objective, depth, min(rounds, 100) if heavy else rounds, width, style, missing, seed)
        )
    return found


def features(case: Case, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Return (rows, width) float64 values in the style of the case, NaN where missing."""
    x = rng.normal(size=(rows, case.width))
    if case.style == "few values":
        x = np.round(x * 2) / 2
    elif case.style == "wide range":
        x = np.sign(x) * 10.0 ** rng.uniform(-30, 30, size=x.shape)
    elif case.style == "tiny":
        x *= 1e-8
    elif case.style == "denormal":
        x *= 1e-40 if case.library == "xgboost" else 1e-36
    elif case.style == "constant column":
        x[:, 0] = 1.0
    x[rng.random(x.shape) < case.missing] = np.nan
    return x


def target(case: Case, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return labels that depend on the first two columns and fit the objective."""
    scale = np.nanstd(x[:, 1]) or 1.0
    with np.errstate(over="ignore"):
        signal = np.nan_to_num(np.tanh(x[:, 1] / scale)) + np.nan_to_num(np.sign(x[:, 0]))
    y = signal + rng.normal(size=len(x))
    name = case.objective
    if "multi" in name or name in ("rank:pairwise", "lambdarank"):
        return np.digitize(y, [-0.7, 0.7])
    if "binary" in name:
        return (y > 0).astype(int)
    if name in ("reg:logistic", "cross_entropy"):
        return 1 / (1 + np.exp(-y))
    if any(word in name for word in ("poisson", "gamma", "tweedie", "squaredlog")):
        return np.floor(np.exp(y / 2)) + 1
    return y


def train(case: Case, rows: int = 600) -> tuple[Any, bytes]:
    """Train the model; return the library's booster and a file of it."""
    rng = np.random.default_rng(case.seed)
    x = features(case, rows, rng)
    y = target(case, x, rng)
    return _train_xgboost(case, x, y) if case.library == "xgboost" else _train_lightgbm(case, x, y)


def _train_xgboost(case: Case, x: np.ndarray, y: np.ndarray) -> tuple[Any, bytes]:
    import xgboost as xgb

    params = {
        "objective": case.objective,
        "max_depth": case.depth,
        "eta": 0.2,
        "nthread": 1,
        "seed": case.seed,
        "min_child_weight": 0.1,
        "subsample": 0.8,
        "tree_method": ("hist", "exact", "approx")[case.seed % 3],
        "verbosity": 0,
    }
    # XGBoost 2.1 has no forests for objectives that renew their leaves.
    if case.seed % 5 == 4 and case.objective != "reg:absoluteerror":
        params["num_parallel_tree"] = 2
    if case.seed % 7 == 6:
        params["gamma"] = 0.5
    if "multi" in case.objective:
        params["num_class"] = 3
    data = xgb.DMatrix(x, y)
    if "rank" in case.objective:
        data.set_group([len(y) // 10] * 10)
    booster = xgb.train(params, data, case.rounds)
    booster.set_param({"nthread": 1})
    return booster, bytes(booster.save_raw("ubj" if case.seed % 2 else "json"))


def _train_lightgbm(case: Case, x: np.ndarray, y: np.ndarray) -> tuple[Any, bytes]:
    import lightgbm as lgb

    params = {
        "objective": case.objective,
        "max_depth": case.depth if case.seed % 3 else -1,
        "num_leaves": min(2**case.depth, 300),
        "min_data_in_leaf": 3,
        "min_sum_hessian_in_leaf": 1e-6,
        "learning_rate": 0.1,
        "num_threads": 1,
        "seed": case.seed,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "use_missing": case.seed % 4 != 3,
        "verbosity": -1,
    }
    if "multiclass" in case.objective:
        params["num_class"] = 3
    group = [len(y) // 10] * 10 if case.objective == "lambdarank" else None
    booster = lgb.train(params, lgb.Dataset(x, y, group=group), case.rounds)
    text = booster.model_to_string()
    return lgb.Booster(model_str=text), text.encode()


def thresholds(case: Case, model: bytes) -> dict[int, np.ndarray]:
    """Return the thresholds of every column that the model reads, from its file."""
    found: dict[int, list[float]] = {}
    if case.library == "lightgbm":
        lines = [line.split("=", 1) for line in model.decode().splitlines() if "=" in line]
        columns = [v.split() for k, v in lines if k == "split_feature"]
        values = [v.split() for k, v in lines if k == "threshold"]
        for column, value in zip(itertools.chain(*columns), itertools.chain(*values), strict=True):
            found.setdefault(int(column), []).append(float(value))
        return {k: np.array(v) for k, v in found.items()}
    import xgboost as xgb

    trees = json.loads(xgb.Booster(model_file=bytearray(model)).save_raw("json"))
    for tree in trees["learner"]["gradient_booster"]["model"]["trees"]:
        nodes = zip(tree["left_children"], tree["split_indices"], tree["split_conditions"], strict=True)
        for left, column, value in nodes:
            if left >= 0:
                found.setdefault(column, []).append(value)
    return {k: np.array(v, dtype=np.float32).astype(np.float64) for k, v in found.items()}


def hard_inputs(case: Case, model: bytes, rows: int) -> np.ndarray:
    """Return inputs of which most values are at a threshold, beside it, or special."""
    rng = np.random.default_rng(case.seed + 1_000_000)
    x = features(case, rows, rng)
    single = case.library == "xgboost"
    for column, values in thresholds(case, model).items():
        at = rng.choice(values, size=rows)
        with np.errstate(over="ignore"):
            if single:
                at = at.astype(np.float32)
                below, above = (np.nextafter(at, np.float32(s)) for s in (-np.inf, np.inf))
            else:
                below, above = np.nextafter(at, -np.inf), np.nextafter(at, np.inf)
        kind = rng.integers(0, 6, size=rows)
        x[:, column] = np.select([kind == 0, kind == 1, kind == 2], [at, below, above], x[:, column])
    specials = np.array([0.0, -0.0, 1e-40, -1e-40, 5e-324, 1e-35, -1e-35, 1.1e-35, 3e38, -3e38, np.nan])
    if case.library == "lightgbm":
        specials = np.append(specials, [1e300, -1e300, np.inf, -np.inf, 1.5e308])
    where = rng.random(x.shape) < 0.03
    x[where] = rng.choice(specials, size=int(where.sum()))
    return x


def raw(case: Case, booster: Any, x: np.ndarray) -> np.ndarray:
    """Return the library's own raw output."""
    if case.library == "xgboost":
        return np.asarray(booster.inplace_predict(x, predict_type="margin"))
    return np.asarray(booster.predict(x, raw_score=True, num_threads=1))


def predicted(case: Case, booster: Any, x: np.ndarray) -> np.ndarray:
    """Return the library's own prediction."""
    if case.library == "xgboost":
        return np.asarray(booster.inplace_predict(x))
    return np.asarray(booster.predict(x, num_threads=1))
