"""Imports between the packages of the library point one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "python" / "qtfeat"
# From the ground up; a package may import what stands before it. Gates and registry know nothing of training: the main
# job (`train/run.py`) measures, asks the gates, and hands the files to the registry.
LAYERS = ("errors", "features", "bars", "labels", "splits", "trades", "gates", "registry", "train", "serve", "cli")


def package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Return the packages of the library that a file imports, also inside functions."""
    out = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "qtfeat" and len(parts) > 1:
                out.add(parts[1])
    return out


@pytest.mark.parametrize("layer", LAYERS)
def test_no_import_points_up(layer):
    above = LAYERS[LAYERS.index(layer) + 1 :]
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in ROOT.rglob("*.py")
        if package(path) == layer
        for name in sorted(imported(path) & set(above))
    ]
    assert found == []


def test_the_check_sees_what_it_is_for():
    assert {"gates", "registry", "train"} <= imported(ROOT / "train" / "run.py")
    assert package(ROOT / "serve" / "drift.py") == "serve"
