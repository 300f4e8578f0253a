"""`qtfeat models`: what the commands print, refuse, and the codes they exit with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import gated
from qtfeat import registry
from qtfeat.cli.app import app


@pytest.fixture
def three(tmp_path: Path) -> tuple[Path, list[str]]:
    made = [registry.publish(tmp_path, "m", gated.files(seed=i), gated.manifest(i)).name for i in range(3)]
    return tmp_path, made


def invoke(root: Path, *args: str) -> Any:
    return CliRunner().invoke(app, ["models", *args, "-o", str(root)], env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_commands(three):
    root, (a, b, c) = three
    assert json.loads(invoke(root, "promote", "m", a, "--json").stdout)["production"] == a
    assert invoke(root, "shadow", "m", b).exit_code == 0
    listed = invoke(root, "list")
    assert all(text in listed.stdout for text in (a, b, c, "production", "shadow"))
    assert [info["version"] for info in json.loads(invoke(root, "list", "m", "--json").stdout)] == [a, b, c]
    assert json.loads(invoke(root, "promote", "m", "shadow", "--json").stdout)["production"] == b
    assert invoke(root, "rollback", "m").exit_code == 0
    assert invoke(root, "shadow", "m", "--off").exit_code == 0
    assert registry.aliases(root, "m") == registry.Aliases(a, None, b)
    shown = invoke(root, "show", "m").stdout
    assert all(text in shown for text in (a, "f" * 64, "skill.t", "allowed: production", "predicted by symbol"))
    assert json.loads(invoke(root, "show", "m", c, "--json").stdout)["gates"]["allowed"] == "production"
    assert "would remove 1 versions: " + c in invoke(root, "gc", "m", "--keep", "0", "--dry-run").stdout
    assert json.loads(invoke(root, "gc", "m", "--keep", "0", "--json").stdout)["removed"] == [c]
    assert "all sound" in invoke(root, "verify", "--no-golden").stdout


def test_commands_refuse(three):
    root, (a, b, _) = three
    files = gated.files(gated.COLLAPSED, seed=9)
    rejected = registry.publish(root, "m", files, gated.manifest(9), "rejected").name
    refused = invoke(root, "promote", "m", rejected)
    assert refused.exit_code == 3
    assert "collapsed onto one answer" in refused.stderr
    assert "FAIL  diversity.largest_class" in invoke(root, "show", "m", rejected).stdout
    assert invoke(root, "rollback", "m").exit_code == 2
    assert invoke(root, "shadow", "m").exit_code == 2
    assert invoke(root, "list", "n").exit_code == 2
    assert invoke(root, "gc", "m", "--keep", "-1").exit_code == 2
    (root / "m" / b / "scaler.json").write_bytes(b"{}")
    verified = invoke(root, "verify", "--no-golden")
    assert verified.exit_code == 1
    assert "scaler.json" in verified.stderr
    assert json.loads(invoke(root, "verify", "--no-golden", "--json").stdout)["ok"] is False
    assert "damaged" in invoke(root, "list").stdout
    assert registry.aliases(root, "m") == registry.Aliases()
    assert a in [info.version for info in registry.list(root)]


def test_own_limits_show(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("version = 1\n[skill]\nmin_t = 1.0\n", encoding="utf-8")
    limits = gated.Limits.load(own)
    files = gated.files(replace(gated.GOOD, rank_ic_t=1.5), limits=limits)
    version = registry.publish(tmp_path / "models", "m", files, gated.manifest()).name
    shown = invoke(tmp_path / "models", "show", "m").stdout
    assert "skill.min_t: 2 -> 1 (looser)" in shown
    assert limits.hash in shown
    assert registry.load(tmp_path / "models", "m", version).manifest["gates"]["changes"]


@pytest.mark.parametrize("command", ["list", "show", "verify", "promote", "shadow", "rollback", "gc"])
def test_help_has_an_example(command):
    result = CliRunner().invoke(app, ["models", command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert f"qtfeat models {command}" in result.output


def test_damaged_models_are_problems_and_end_nothing(tmp_path):
    """The files are what the manifest says, but no models; XGBoost and LightGBM may abort on such."""
    rng = np.random.default_rng(0)
    digits = b"tree\nversion=v4\nnum_class=9\n" + bytes(rng.integers(48, 58, 500, dtype=np.uint8))
    for seed, change in enumerate(({}, {"lgbm_cls.txt": digits}, {"xgb_cls.ubj": b"{L\x00\x00\x00\x00"})):
        registry.publish(tmp_path, "m", gated.files(seed=seed) | change, gated.manifest(seed))
    verified = invoke(tmp_path, "verify")
    assert verified.exit_code == 1
    assert "3 versions, 0 golden rows: 3 problems" in verified.stdout
    assert "Traceback" not in verified.output
