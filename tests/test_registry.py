"""The registry: immutable versions, aliases that point where the gates allow, events, listing, gc, the commands."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gated
from qtfeat import registry
from qtfeat.errors import FingerprintMismatch, GateFailed, RegistryError
from qtfeat.registry import disk, events, versions


def publish(root: Path, seed: int = 0, evidence: Any = gated.GOOD, **options: Any) -> str:
    status = options.pop("status", "candidate" if evidence is not gated.COLLAPSED else "rejected")
    return registry.publish(root, "m", gated.files(evidence, seed), gated.manifest(seed), status, **options).name


@pytest.fixture
def three(tmp_path: Path) -> tuple[Path, list[str]]:
    return tmp_path, [publish(tmp_path, seed) for seed in range(3)]


# --- versions ---


@pytest.mark.parametrize("name", ["../x", "", "A", "a/b", ".", None])
def test_a_name_is_refused_before_anything_is_made(tmp_path, name):
    with pytest.raises(RegistryError, match="model name"):
        registry.check_target(tmp_path, name)


def test_a_folder_that_is_none_is_refused_before_anything_is_made(tmp_path):
    registry.check_target(tmp_path / "new" / "models", "m")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "models"):
        with pytest.raises(RegistryError, match="file is no folder"):
            registry.check_target(root, "m")
    (tmp_path / "m").write_text("x")
    with pytest.raises(RegistryError, match="m is no folder"):
        registry.check_target(tmp_path, "m")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RegistryError, match="link is no folder"):
        registry.check_target(tmp_path / "link", "m")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_refused_before(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RegistryError, match="cannot be written to"):
            registry.check_target(tmp_path / "models", "m")
    finally:
        tmp_path.chmod(0o700)


def test_what_is_published_is_what_is_loaded(tmp_path):
    files = gated.files()
    path = registry.publish(tmp_path, "m", files, gated.manifest())
    model = registry.load(tmp_path, "m", path.name, fingerprint="f" * 64)
    assert model.files == files
    assert (model.name, model.version, model.status, model.allowed) == ("m", path.name, "candidate", "production")
    assert model.manifest["gates"]["limits"] == model.verdicts.limits.hash
    assert {p.name for p in path.iterdir()} == {*files, "manifest.json"}
    assert model.manifest["files"].keys() == files.keys()
    assert model.expires_at == np.datetime64("2023-04-16T03:00:00")
    with pytest.raises(FingerprintMismatch, match=r"ggg.*fff") as caught:
        registry.load(tmp_path, "m", path.name, fingerprint="ggg")
    assert (caught.value.expected, caught.value.found) == ("ggg", "f" * 64)


def test_the_same_content_is_the_same_version(tmp_path):
    first = publish(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "m" / first).iterdir()}
    assert publish(tmp_path) == first
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert [e["version"] for e in events.read(tmp_path / "m")] == [first]
    assert publish(tmp_path, 1) != first


def test_a_damaged_version_in_the_way_is_not_overwritten(tmp_path):
    version = publish(tmp_path)
    (tmp_path / "m" / version / "meta.json").write_bytes(b"{}")
    with pytest.raises(RegistryError, match=r"meta\.json"):
        publish(tmp_path)
    assert (tmp_path / "m" / version / "meta.json").read_bytes() == b"{}"


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    publish(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for name in ("write", "sync_folder"):
        with monkeypatch.context() as patch:
            patch.setattr(disk, name, lambda *_args: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                publish(tmp_path, 1)
        assert sorted(tmp_path.rglob("*")) == before
    assert registry.verify(tmp_path).ok


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    publish(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    real, count = disk.write, 0

    def full(path: Path, data: bytes) -> None:
        nonlocal count
        count += 1
        if count > 4:
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(disk, "write", full)
    with pytest.raises(OSError, match="No space"):
        publish(tmp_path, 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_candidate_that_its_gates_reject_is_not_published(tmp_path):
    with pytest.raises(RegistryError, match=r"diversity\.largest_class.*publish it as rejected"):
        publish(tmp_path, evidence=gated.COLLAPSED, status="candidate")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("name", "file", "content", "manifest", "status"),
    [
        ("../m", "a.ubj", b"", {}, "candidate"),
        ("M", "a.ubj", b"", {}, "candidate"),
        ("", "a.ubj", b"", {}, "candidate"),
        ("m", "a.pkl", b"", {}, "candidate"),
        ("m", "../a.ubj", b"", {}, "candidate"),
        ("m", "manifest.json", b"", {}, "candidate"),
        ("m", 5, b"", {}, "candidate"),
        ("m", "a.ubj", "text", {}, "candidate"),
        ("m", "a.ubj", b"", {"x": float("nan")}, "candidate"),
        ("m", "a.ubj", b"", {"x": object()}, "candidate"),
        ("m", "a.ubj", b"", {"fingerprint": 5}, "candidate"),
        ("m", "a.ubj", b"", {"columns": "rsi"}, "candidate"),
        ("m", "a.ubj", b"", {"expires_after": -1}, "candidate"),
        ("m", "a.ubj", b"", {"data": []}, "candidate"),
        ("m", "a.ubj", b"", {}, "production"),
        ("m", "gates.json", b"{}", {}, "candidate"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, name, file, content, manifest, status):
    with pytest.raises(RegistryError):
        registry.publish(tmp_path, name, {file: content}, {"fingerprint": "f", **manifest}, status)
    assert list(tmp_path.iterdir()) == []


# --- aliases ---


def test_promote_rollback_and_shadow(three):
    root, (a, b, c) = three
    with pytest.raises(RegistryError, match="nothing is in production"):
        registry.load(root, "m")
    with pytest.raises(RegistryError, match="no previous"):
        registry.rollback(root, "m")
    assert registry.promote(root, "m", a) == registry.Aliases(a, None, None)
    assert registry.promote(root, "m", a) == registry.Aliases(a, None, None)
    assert registry.shadow(root, "m", b) == registry.Aliases(a, b, None)
    assert registry.load(root, "m", "shadow").version == b
    assert registry.promote(root, "m", "shadow") == registry.Aliases(b, None, a)
    assert registry.shadow(root, "m", c) == registry.Aliases(b, c, a)
    assert registry.rollback(root, "m") == registry.Aliases(a, c, b)
    assert registry.rollback(root, "m") == registry.Aliases(b, c, a)
    assert registry.shadow(root, "m", None) == registry.Aliases(b, None, a)
    assert registry.load(root, "m").version == b
    assert registry.load(root, "m", "previous").version == a
    told = [e["event"] for e in events.read(root / "m")]
    assert told == [
        *["published"] * 3, "promoted", "shadowed", "promoted", "shadowed", "rolled back", "rolled back", "shadowed",
    ]  # fmt: skip


def test_unknown_versions_and_models_are_refused(three):
    root, _ = three
    for version in ("0" * 12, "latest", "../m", "", "previous", "shadow"):
        with pytest.raises(RegistryError):
            registry.promote(root, "m", version)
        with pytest.raises(RegistryError):
            registry.load(root, "m", version)
    for name in ("n", "../m", "M"):
        with pytest.raises(RegistryError):
            registry.promote(root, name, "0" * 12)
    assert not (root / "n").exists()


def test_a_version_that_was_damaged_cannot_be_promoted(three):
    root, (a, b, _) = three
    registry.promote(root, "m", a)
    (root / "m" / b / "xgb_cls.ubj").write_bytes(b"changed")
    with pytest.raises(RegistryError, match="xgb_cls"):
        registry.promote(root, "m", b)
    assert registry.aliases(root, "m") == registry.Aliases(a)


def test_an_incomplete_version_cannot_be_promoted(tmp_path):
    files, manifest = gated.files(), gated.manifest()
    without_golden = {name: data for name, data in files.items() if name != registry.GOLDEN}
    for given, said, missing in (
        (without_golden, manifest, r"golden\.json"),
        (files, {**manifest, "columns": []}, "columns"),
        (files, {key: value for key, value in manifest.items() if key != "data"}, "data"),
    ):
        version = registry.publish(tmp_path, "m", given, said).name
        with pytest.raises(RegistryError, match=missing):
            registry.promote(tmp_path, "m", version)


def test_a_move_whose_writer_was_killed_is_written_down_later(three, monkeypatch):
    root, (a, b, _) = three
    registry.promote(root, "m", a)
    with monkeypatch.context() as patch:
        patch.setattr(events, "add", lambda *_args, **_values: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            registry.promote(root, "m", b)
    assert registry.aliases(root, "m").production == b
    registry.rollback(root, "m")
    assert [e["event"] for e in events.read(root / "m")][-2:] == ["recovered", "rolled back"]


def test_a_torn_last_event_is_left_out_and_cut_off(three):
    root, (a, *others) = three
    path = root / "m" / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "promo')
    assert len(events.read(root / "m")) == 3
    assert registry.verify(root).ok
    registry.promote(root, "m", a)
    assert path.read_bytes().startswith(whole)
    assert [e["event"] for e in events.read(root / "m")] == ["published"] * 3 + ["promoted"]
    path.write_bytes(b"{\n" + whole)
    with pytest.raises(RegistryError, match="line 1 is damaged"):
        events.read(root / "m")
    assert not registry.verify(root).ok
    registry.promote(root, "m", others[0])
    assert registry.rollback(root, "m").production == a  # a damaged history is no reason to stay with a bad model


def test_a_writer_waits_for_another_but_not_for_ever(three):
    root, (a, *_) = three
    with disk.locked(root / "m"):
        with pytest.raises(RegistryError, match=r"0\.05 s"):
            registry.promote(root, "m", a, timeout=0.05)
        late = threading.Timer(0.1, lambda: None)
        late.start()
    late.join()
    assert registry.promote(root, "m", a, timeout=0.05).production == a
    with disk.locked(root / "m"):
        assert registry.load(root, "m").version == a  # readers do not wait


def test_a_file_system_without_locks_is_refused(three, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    root, (a, *_) = three

    def flock(*_args: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(RegistryError, match="cannot lock files"):
        registry.promote(root, "m", a)
    assert registry.aliases(root, "m") == registry.Aliases()


def test_two_threads_publish_the_same(tmp_path):
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(publish(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert len(events.read(tmp_path / "m")) == 1


# --- upkeep ---


def test_list_is_in_the_order_of_publication(three):
    root, expected = three
    registry.promote(root, "m", expected[0])
    rejected = publish(root, 9, gated.COLLAPSED)
    found = registry.list(root)
    assert [info.version for info in found] == [*expected, rejected]
    assert [info.allowed for info in found] == ["production"] * 3 + ["rejected"]
    assert found[0].aliases == ("production",)
    assert all(info.published.endswith("+00:00") for info in found)
    assert registry.list(root, "m") == found
    assert registry.model_names(root) == ["m"]
    (root / "m" / expected[1] / "meta.json").unlink()
    damaged = registry.list(root)[1]
    assert (damaged.status, damaged.allowed) == ("damaged", "rejected")
    assert "meta.json" in damaged.problem
    with pytest.raises(RegistryError, match="no such folder"):
        registry.list(root / "nothing")


def test_gc_keeps_what_is_pointed_at_and_the_newest(tmp_path):
    made = [publish(tmp_path, seed) for seed in range(8)]
    registry.promote(tmp_path, "m", made[0])
    registry.promote(tmp_path, "m", made[2])
    registry.shadow(tmp_path, "m", made[1])
    leftover = tmp_path / "m" / ".writing-old"
    leftover.mkdir()
    (leftover / "xgb_cls.ubj").write_bytes(b"half")
    assert registry.gc(tmp_path, "m", keep=2, dry_run=True) == made[3:6]
    assert leftover.exists()
    assert registry.gc(tmp_path, "m", keep=2) == made[3:6]
    assert not leftover.exists()
    assert [info.version for info in registry.list(tmp_path)] == [*made[:3], *made[6:]]
    assert registry.gc(tmp_path, "m", keep=0) == made[6:]
    assert registry.gc(tmp_path, "m", keep=100) == []
    assert publish(tmp_path, 4) == made[4]
    assert [info.version for info in registry.list(tmp_path)][-1] == made[4]
    with pytest.raises(RegistryError, match="keep"):
        registry.gc(tmp_path, "m", keep=-1)
    assert registry.verify(tmp_path).ok


@pytest.mark.parametrize("keep", [3, 4, 5, 6, 7])
def test_gc_that_keeps_more_than_there_are_removes_nothing(tmp_path, keep):
    made = [publish(tmp_path, seed) for seed in range(3)]
    assert registry.gc(tmp_path, "m", keep=keep) == []
    assert [info.version for info in registry.list(tmp_path)] == made
    with pytest.raises(RegistryError, match="keep"):
        registry.gc(tmp_path, "m", keep=1.5)


def test_gates_of_a_model_with_other_features_are_refused(tmp_path, monkeypatch):
    other = gated.manifest() | {"fingerprint": "e" * 64}
    with pytest.raises(RegistryError, match=r"gates\.json judges a model with fingerprint fff"):
        registry.publish(tmp_path, "m", gated.files(), other)
    # Nor does one that was written by other hands go live.
    with monkeypatch.context() as patch:
        patch.setattr(versions, "same_fingerprint", lambda *_: None)
        written = registry.publish(tmp_path, "m", gated.files(), other)
    for move in (registry.promote, registry.shadow):
        with pytest.raises(RegistryError, match="judges a model"):
            move(tmp_path, "m", written.name)


def test_verify_predicts_the_golden_rows_again(three):
    root, _ = three
    found = registry.verify(root, predict=gated.predict)
    assert (found.ok, found.versions, found.golden_rows) == (True, 3, 192)

    def off_by_one_bit(files: Any, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p, score = gated.predict(files, X)
        score[7] = np.nextafter(score[7], 1.0)
        return p, score

    found = registry.verify(root, predict=off_by_one_bit)
    assert len(found.problems) == 3
    assert "golden row 7: forecast" in found.problems[0]
    found = registry.verify(root, predict=lambda _files, X: (X, X))
    assert "shape" in found.problems[0]


def test_verify_names_what_is_wrong(three):
    root, (a, b, c) = three
    registry.promote(root, "m", a)
    (root / "m" / b / "notes.json").write_bytes(b"{}")
    (root / "m" / c / "scaler.json").write_bytes(b"{}")
    (root / "m" / ".writing-dead").mkdir()
    found = registry.verify(root)
    assert len(found.problems) == 2
    assert any(b in problem and "notes.json not listed" in problem for problem in found.problems)
    assert any("scaler.json" in problem for problem in found.problems)
    assert ".writing-dead" in found.notes[0]
    versions.clear_leftovers(root / "m")
    assert registry.verify(root).notes == []


@pytest.mark.parametrize("raised", [ValueError("Feature shape mismatch"), TypeError("dimensionality mismatch")])
def test_models_that_do_not_fit_their_golden_rows_are_a_problem(three, raised):
    def fails(_files, _X):
        raise raised

    found = registry.verify(three[0], predict=fails)
    assert not found.ok
    assert "cannot be predicted" in found.problems[0]
    assert str(raised) in found.problems[0]


def test_golden_rows_are_spread_and_exact():
    X = np.random.default_rng(0).standard_normal((1000, 2))
    p, score = gated.predict({"xgb_cls.ubj": b"abc"}, X)
    columns, rows, probabilities, forecast = registry.read_golden(registry.golden(gated.COLUMNS, X, p, score))
    keep = np.flatnonzero((X[:, None] == rows[None]).all(2).any(1))
    assert columns == list(gated.COLUMNS)
    assert len(rows) == 64
    assert (keep[0], keep[-1]) == (0, 999)
    assert np.array_equal(rows.view(np.uint64), X[keep].view(np.uint64))
    assert np.array_equal(probabilities.view(np.uint64), p[keep].view(np.uint64))
    assert np.array_equal(forecast.view(np.uint64), score[keep].view(np.uint64))
    for bad in ((X[:, :1], p, score), (X * np.nan, p, score), (X, p[:5], score), (X[:0], p[:0], score[:0])):
        with pytest.raises(RegistryError, match="golden"):
            registry.golden(gated.COLUMNS, *bad)


def test_gate_failed_carries_the_verdicts(tmp_path):
    version = publish(tmp_path, evidence=gated.COLLAPSED)
    with pytest.raises(GateFailed) as caught:
        registry.promote(tmp_path, "m", version)
    assert caught.value.verdicts.allowed == "rejected"
