"""P4: fingerprints and bits are the recorded ones. To change them on purpose, see tests/golden/regenerate.py."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys

import pytest

import qtfeat as qf
from contract.specs import PROFILES, SHIPPED, everything
from golden import regenerate

HOW = "; if that is meant, raise the numerics version and run tests/golden/regenerate.py"


def test_fingerprints_of_the_shipped_sets():
    recorded = json.loads(regenerate.FINGERPRINTS.read_text(encoding="utf-8"))
    assert regenerate.fingerprints() == recorded, f"a shipped set is not what it was{HOW}"


def test_bits_of_every_feature():
    recorded, found = json.loads(regenerate.DIGESTS.read_text(encoding="utf-8")), regenerate.digests()
    assert found["bars"] == recorded["bars"], "the bars of the digests are not what they were"
    for profile in PROFILES:
        old, new = recorded["features"][profile], found["features"][profile]
        assert old.keys() == new.keys(), f"features came or went: {sorted(old.keys() ^ new.keys())}{HOW}"
        changed = [spec for spec in old if old[spec] != new[spec]]
        assert not changed, f"{profile}: other bits than recorded: {changed}{HOW}"


def test_a_fingerprint_is_the_same_in_another_process_and_hash_seed():
    code = "import qtfeat as qf; print(qf.FeatureSet.load('wide32').fingerprint)"
    env = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == qf.FeatureSet.load("wide32").fingerprint


@pytest.mark.parametrize("name", SHIPPED)
def test_a_set_read_back_has_its_fingerprint(name, tmp_path):
    for profile in PROFILES:
        fs = qf.FeatureSet.load(name, numerics=profile)
        fs.to_toml(tmp_path / "set.toml")
        assert qf.FeatureSet.from_toml(tmp_path / "set.toml").fingerprint == fs.fingerprint
        assert copy.deepcopy(fs).fingerprint == fs.fingerprint


def test_what_changes_features_changes_the_fingerprint_and_what_does_not_does_not():
    one = qf.FeatureSet(["rsi(14)", "ema(20)"])
    different = [
        qf.FeatureSet(["ema(20)", "rsi(14)"]),
        qf.FeatureSet(["rsi(15)", "ema(20)"]),
        qf.FeatureSet(["rsi(14)"]),
        qf.FeatureSet(["rsi(14)", "e = ema(20)"]),
        qf.FeatureSet(["rsi(14)", "ema(20)"], "talib"),
        qf.FeatureSet(["rsi(14)", "ema(20)"], "legacy"),
        qf.FeatureSet(["rsi(14)", "ema(20)"], "legacy", fill=None),
        qf.FeatureSet(["rsi(14)", "ema(20)"], "legacy", eps=1e-9),
    ]
    assert len({fs.fingerprint for fs in [one, *different]}) == 1 + len(different)
    for same in (["rsi", "ema"], ["rsi(period=14)", 'ema(20, seed="sma")'], [" rsi( 14 ) ", "ema(20)"]):
        assert qf.FeatureSet(same, name="other").fingerprint == one.fingerprint, same


def test_fingerprint_covers_every_column():
    fs = everything("safe")
    for spec in fs.specs:
        assert qf.FeatureSet([s for s in fs.specs if s != spec]).fingerprint != fs.fingerprint
