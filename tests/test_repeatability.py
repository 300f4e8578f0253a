"""Same data, settings, seed and thread count: the same bytes. What another thread count changes is printed.

A soak takes three seeds of 180,000 rows: `QTFEAT_SOAK=1 pytest tests/test_repeatability.py -s -o timeout=7200`.
"""

from __future__ import annotations

import hashlib
import re
import time
from functools import cache

import pytest

from qtfeat.bars.simulate import simulate
from qtfeat.errors import QtfeatError
from qtfeat.features import FeatureSet
from qtfeat.train import TrainConfig
from qtfeat.train.data import prepare
from qtfeat.train.libraries import library
from qtfeat.train.models import BOOSTERS, train
from qtfeat.train.walkforward import Split
from sizes import SOAK, scaled

try:
    library("xgboost")
    library("lightgbm")
except QtfeatError as missing:
    pytest.skip(str(missing), allow_module_level=True)

pytestmark = pytest.mark.soak

ROWS = scaled(180_000)
SEEDS = range(scaled(3))


@cache
def dataset(seed: int):
    data = prepare(simulate(9, ROWS // 9 + 60, seed), FeatureSet.load("kline17"))
    rows = data.usable
    return data, Split().tail(data, rows[len(rows) - ROWS :], 0.15)


def trained(seed: int, threads: int) -> tuple[dict[str, bytes], float]:
    """Return the files of four models, and the share of the work that threads other than the caller's did."""
    data, (fit, tail) = dataset(seed)
    own, busy = time.thread_time(), time.process_time()
    config = TrainConfig(seed=seed, threads=threads)
    files = train(data.X, data.labels, fit=fit, tail=tail, config=config).files()
    return files, 1.0 - (time.thread_time() - own) / (time.process_time() - busy)


@cache
def first(seed: int, threads: int) -> dict[str, bytes]:
    files, others = trained(seed, threads)
    print(f"\nseed {seed}, {ROWS:,} rows, {threads} thread(s): {others:.0%} of the work done by other threads")
    if SOAK:  # in small data they have little to do
        assert others > 0.25 if threads > 1 else others < 0.05
    return files


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(files[name]).hexdigest() for name in BOOSTERS}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_thread_count_gives_the_same_bytes(seed, threads):
    assert digests(trained(seed, threads)[0]) == digests(first(seed, threads))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_another_thread_count_changes_is_in_the_last_digits(seed):
    one, two = first(seed, 1), first(seed, 2)
    for name in BOOSTERS:
        same = digests(one)[name] == digests(two)[name]
        print(f"\nseed {seed}, {ROWS:,} rows: {name} with 1 and with 2 threads: {'equal' if same else 'different'}")
        if name.startswith("lgbm") and not same:
            print("trees of the same shape:", shape(one[name]) == shape(two[name]))
    # The file says nothing about threads: a difference is one of the trees.
    for name in ("lgbm_cls.txt", "lgbm_reg.txt"):
        assert b"[num_threads: 0]" in one[name]
        assert one[name].split(b"\nparameters:")[1] == two[name].split(b"\nparameters:")[1]


def shape(text: bytes) -> list[bytes]:
    """Return which feature each node of a LightGBM model asks for."""
    return re.findall(rb"(?m)^split_feature=.*$", text)
