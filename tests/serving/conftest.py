"""Two small versions of a model and a server around them, for all tests of serving."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import qtfeat as qf
from qtfeat import registry
from qtfeat.serve.model import ServedModel
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


@pytest.fixture
def pair(models, tmp_path):
    """A registry of one's own with the same two versions: the root, and both; the first is in production."""
    root = tmp_path / "models"
    shutil.copytree(models, root)
    registry.rollback(root, NAME)
    pointing = registry.aliases(root, NAME)
    return root, [ServedModel.load(root, NAME, version) for version in (pointing.production, pointing.previous)]


@pytest.fixture(scope="session")
def shadowed(models, tmp_path_factory):
    """A registry of its own with the same two versions, one of them as the shadow."""
    root = tmp_path_factory.mktemp("shadowed") / "models"
    shutil.copytree(models, root)
    registry.shadow(root, NAME, registry.aliases(root, NAME).previous)
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
