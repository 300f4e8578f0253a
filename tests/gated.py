"""A model that passes every gate, one that collapsed, and the files around them: for tests of what comes after."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from qtfeat.gates import Evidence, Limits, check
from qtfeat.registry import GATES, GOLDEN, golden

GOOD = Evidence(
    rows=150_000,
    fingerprint="f" * 64,
    expected_fingerprint="f" * 64,
    nulls=0,
    horizon=5,
    purge_bars=5,
    label_leak=False,
    class_shares=(0.3, 0.4, 0.3),
    class_shares_by_symbol={"A": (0.3, 0.4, 0.3)},
    confidence_sd=0.08,
    confidence_p10_p90=0.2,
    direction_slope=1.0,
    direction_t=6.0,
    fold_rank_ic=(0.1, 0.12, 0.09, -0.01, 0.11),
    rank_ic=0.1,
    rank_ic_t=8.0,
    attempts=1,
    baseline_rank_ic={"zero": 0.0, "neg_momentum10": 0.03, "neg_ret": 0.02},
    net_return=0.0004,
    fee=0.0005,
    slippage=0.0002,
    rank_ic_gap=0.05,
    r2_gap=0.03,
    seed_rank_ic=(0.1, 0.11, 0.09),
    ece=0.01,
    parity_rows=64,
    parity_feature_diffs=0,
    parity_prediction_diffs=0,
    permuted_rank_ic=(0.001, -0.002, 0.0, 0.003, -0.001),
    permuted_test_rows=100_000,
    canary_r2=0.3,
    canary_hit=0.8,
    r2=0.02,
    hit=0.55,
    has_champion=False,
    rule_share=0.02,
    filter_share=0.1,
    signal_share=0.06,
)
# The old engine's last model: 0.5239 for every row, HOLD.
COLLAPSED = replace(
    GOOD,
    class_shares=(0.0, 1.0, 0.0),
    confidence_sd=0.0,
    confidence_p10_p90=0.0,
    direction_slope=float("nan"),
    direction_t=float("nan"),
    signal_share=0.0,
)
LEAKING = replace(GOOD, label_leak=True)
COLUMNS = ("rsi", "ret")


def predict(files: Any, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stand for the models: what comes out depends on the file."""
    weight = 1 + sum(files["xgb_cls.ubj"][:8])
    up = 1 / (1 + np.exp(-X[:, 0] * weight / 1000))
    p = np.column_stack([(1 - up) / 2, np.full(len(X), 0.5), up / 2])
    return p, X[:, 1] * weight


def files(evidence: Evidence = GOOD, seed: int = 0, size: int = 1000, limits: Limits | None = None) -> dict[str, bytes]:
    """Files of a version; `seed` makes them differ, `size` is that of a model file."""
    rng = np.random.default_rng(seed)
    out = {name: rng.bytes(size) for name in ("xgb_cls.ubj", "lgbm_cls.txt", "xgb_reg.ubj", "lgbm_reg.txt")}
    for name in ("meta.json", "scaler.json", "calibration.json"):
        out[name] = json.dumps({"format": 1, "seed": seed}).encode()
    out[GATES] = check(evidence, limits).to_json()
    out["report.html"] = b"<!doctype html>"
    X = rng.standard_normal((100, 2))
    out[GOLDEN] = golden(COLUMNS, X, *predict(out, X))
    return out


def manifest(seed: int = 0) -> dict[str, Any]:
    return {
        "fingerprint": "f" * 64,
        "columns": list(COLUMNS),
        "config": {"seed": seed},
        "data": {"sha256": "0" * 64, "last": "2023-04-15T03:00:00"},
        "versions": {"qtfeat": "0"},
        "expires_after": 86400.0,
    }
