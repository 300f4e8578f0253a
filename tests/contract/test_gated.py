"""P6: nothing ungated goes live, whichever way one tries, and what is live can be rolled back with one command."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import gated
from qtfeat import registry
from qtfeat.cli.app import app
from qtfeat.errors import GateFailed, QtfeatError, RegistryError
from qtfeat.gates import Evidence, check
from sizes import scaled

REFUSED = {
    "collapsed": gated.COLLAPSED,
    "too good": replace(gated.GOOD, r2=0.2),
    "unmeasured": Evidence(),
    "unprofitable": replace(gated.GOOD, net_return=-1e-6),
    "worse than the champion": replace(gated.GOOD, has_champion=True, champion_t=-2.5),
}


@pytest.fixture
def live(tmp_path: Path) -> tuple[Path, str]:
    """A registry with a sound model in production."""
    version = registry.publish(tmp_path, "m", gated.files(), gated.manifest()).name
    registry.promote(tmp_path, "m", version)
    return tmp_path, version


def assert_untouched(root: Path, version: str) -> None:
    assert registry.aliases(root, "m") == registry.Aliases(production=version)
    assert registry.load(root, "m").version == version


def point_by_hand(root: Path, **where: str) -> None:
    text = {"format": 1, "production": None, "shadow": None, "previous": None, **where}
    (root / "m" / "aliases.json").write_text(json.dumps(text), encoding="utf-8")


@pytest.mark.parametrize("evidence", REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_model_is_kept_and_no_alias_can_point_at_it(live, evidence):
    root, version = live
    files = gated.files(evidence, seed=1)
    with pytest.raises(RegistryError, match="gates reject it"):
        registry.publish(root, "m", files, gated.manifest(1), "candidate")
    kept = registry.publish(root, "m", files, gated.manifest(1), "rejected").name
    model = registry.load(root, "m", kept)
    assert (model.status, model.allowed, model.verdicts.passed) == ("rejected", "rejected", False)
    for move in (registry.promote, registry.shadow):
        with pytest.raises(GateFailed) as caught:
            move(root, "m", kept)
        assert caught.value.verdicts.failures
    assert_untouched(root, version)
    # Not by editing the aliases either: whoever loads by alias checks again.
    for alias in ("production", "shadow", "previous"):
        point_by_hand(root, **{"production": version, alias: kept})
        with pytest.raises(RegistryError, match="must not"):
            registry.load(root, "m", alias)
        assert not registry.verify(root).ok
    with pytest.raises(GateFailed):  # `previous` is `kept` now
        registry.rollback(root, "m")
    done = CliRunner().invoke(app, ["models", "promote", "m", kept, "-o", str(root)])
    assert done.exit_code == 3


def test_without_gates_nothing_goes_live(live):
    root, version = live
    files = {name: data for name, data in gated.files(seed=2).items() if name != registry.GATES}
    ungated = registry.publish(root, "m", files, gated.manifest(2)).name
    assert registry.load(root, "m", ungated).allowed == "rejected"
    for move in (registry.promote, registry.shadow):
        with pytest.raises(GateFailed, match=r"gates\.json"):
            move(root, "m", ungated)
    assert_untouched(root, version)


def test_leaking_or_small_data_reaches_shadow_and_no_further(live):
    root, version = live
    for seed, evidence in enumerate((gated.LEAKING, replace(gated.GOOD, rows=82)), start=3):
        made = registry.publish(root, "m", gated.files(evidence, seed), gated.manifest(seed)).name
        with pytest.raises(GateFailed, match="shadow"):
            registry.promote(root, "m", made)
        assert registry.shadow(root, "m", made) == registry.Aliases(version, made)
        assert registry.load(root, "m", "shadow").version == made
        with pytest.raises(GateFailed):
            registry.promote(root, "m", "shadow")
        registry.shadow(root, "m", None)
    assert_untouched(root, version)


def test_a_sound_verdict_on_a_model_published_as_rejected_does_not_help(live):
    root, version = live
    made = registry.publish(root, "m", gated.files(seed=5), gated.manifest(5), "rejected").name
    for move in (registry.promote, registry.shadow):
        with pytest.raises(GateFailed, match="rejected"):
            move(root, "m", made)
    assert_untouched(root, version)


def test_a_forged_verdict_with_fitting_hashes_is_refused(live):
    """Rewriting gates.json and the manifest needs evidence that passes; the verdicts are drawn from it again."""
    root, version = live
    files = gated.files(gated.COLLAPSED, seed=6)
    stored = json.loads(files[registry.GATES])
    stored["allowed"] = "production"
    stored["verdicts"] = json.loads(check(gated.GOOD).to_json())["verdicts"]
    files[registry.GATES] = json.dumps(stored).encode()
    with pytest.raises(RegistryError, match="do not follow"):
        registry.publish(root, "m", files, gated.manifest(6))
    sound = root / "m" / version
    manifest = json.loads((sound / "manifest.json").read_bytes())
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in files.items()
    }
    text = json.dumps(manifest).encode()
    made = root / "m" / hashlib.sha256(text).hexdigest()[:12]
    made.mkdir()
    for name, data in {**files, "manifest.json": text}.items():
        (made / name).write_bytes(data)
    for move in (registry.promote, registry.shadow):
        with pytest.raises(RegistryError, match="do not follow"):
            move(root, "m", made.name)
    assert_untouched(root, version)


def test_what_is_live_can_be_rolled_back_with_one_command(live):
    root, version = live
    better = registry.publish(root, "m", gated.files(seed=7), gated.manifest(7)).name
    registry.promote(root, "m", better)
    assert registry.load(root, "m").version == better
    done = CliRunner().invoke(app, ["models", "rollback", "m", "-o", str(root)])
    assert done.exit_code == 0
    assert registry.load(root, "m").version == version


evidences = st.sampled_from([gated.GOOD, gated.LEAKING, gated.COLLAPSED, replace(gated.GOOD, rows=82)])
moves = st.lists(
    st.tuples(
        st.sampled_from(["publish", "reject", "promote", "shadow", "rollback", "gc", "unshadow"]),
        st.integers(0, 7),
        evidences,
    ),
    max_size=20,
)


def do(root: Path, made: list[str], what: str, number: int, evidence: Evidence) -> None:
    """Do one step; publishing adds to `made`, the others take one of those."""
    target = made[number % len(made)] if made else "0" * 12
    if what in ("publish", "reject"):
        status = "rejected" if what == "reject" else "candidate"
        path = registry.publish(root, "m", gated.files(evidence, number, 50), gated.manifest(number), status)
        made.append(path.name)
        return
    {
        "promote": lambda: registry.promote(root, "m", target),
        "shadow": lambda: registry.shadow(root, "m", target),
        "unshadow": lambda: registry.shadow(root, "m", None),
        "rollback": lambda: registry.rollback(root, "m"),
        "gc": lambda: registry.gc(root, "m", keep=number % 3),
    }[what]()


@settings(max_examples=scaled(500, 15), deadline=None)
@given(moves)
def test_no_sequence_of_commands_breaks_it(tmp_path_factory, steps):
    """Property: whatever is done in whatever order, aliases point only at existing versions that may be there."""
    root = tmp_path_factory.mktemp("models")
    made: list[str] = []
    for what, number, evidence in steps:
        with suppress(QtfeatError):
            do(root, made, what, number, evidence)
    if not (root / "m").exists():
        return
    found = registry.verify(root, predict=gated.predict)
    assert found.ok, found.problems
    pointing = registry.aliases(root, "m")
    for alias in ("production", "previous"):
        if getattr(pointing, alias) is not None:
            assert registry.load(root, "m", alias).allowed == "production"
    if pointing.shadow is not None:
        assert registry.load(root, "m", "shadow").allowed in ("production", "shadow")
