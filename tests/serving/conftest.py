"""Two small versions of a model and a server around them, for all tests of serving."""

from __future__ import annotations

import numpy as np
import pytest

import qtfeat as qf
from qtfeat import registry
from served import BARS, NAME, SYMBOLS, market, publish, serving


@pytest.fixture(scope="session")
def table():
    return market()


@pytest.fixture(scope="session")
def models(tmp_path_factory, table):
    """A registry with two versions; the second is in production, the first is the previous one."""
    root = tmp_path_factory.mktemp("models")
    for seed in (0, 1):
        registry.promote(root, NAME, publish(root, table, seed))
    return root


@pytest.fixture(scope="session")
def server(models):
    with serving(models) as one:
        yield one


@pytest.fixture(scope="session")
def client(server):
    return server.client


@pytest.fixture(scope="session")
def features(table):
    """The features of every bar, (S, B, F), and their names."""
    fs = qf.FeatureSet.load("kline17")
    out = qf.compute(table, fs, by="symbol", time="open_time")
    X = np.stack([out[name].to_numpy() for name in fs.columns], axis=1)
    return X.reshape(SYMBOLS, BARS, -1), tuple(fs.columns)
