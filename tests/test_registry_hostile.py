"""Hostile registries: whatever stands in a folder, it is refused with RegistryError; nothing outside is read."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gated
from qtfeat import registry
from qtfeat.errors import QtfeatError, RegistryError
from qtfeat.registry import manifest as manifests
from sizes import scaled

HASH = "0" * 64


def placed(root: Path, text: bytes, **files: bytes) -> Path:
    """Place a version whose name fits its manifest, whatever that says."""
    folder = root / "m" / hashlib.sha256(text).hexdigest()[:12]
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(text)
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def made(**changes: Any) -> bytes:
    good = {"format": 1, "name": "m", "status": "candidate", "fingerprint": "f", "files": {}}
    return json.dumps({**good, **changes}).encode()


def entry(**changes: Any) -> dict[str, Any]:
    return {"a.ubj": {"sha256": HASH, "size": 0, **changes}}


MANIFESTS = {
    "empty": b"",
    "no object": b"[]",
    "null": b"null",
    "not UTF-8": b"\xff\xfe",
    "torn": made()[:-3],
    "format 2": made(format=2),
    "format true": made(format=True),
    "format text": made(format="1"),
    "no name": made(name=None),
    "status": made(status="production"),
    "status list": made(status=["candidate"]),
    "fingerprint": made(fingerprint=1),
    "NaN": made(x=float("nan")),
    "overflow": made().replace(b'"f"', b'"f", "x": 1e999'),
    "digits": made().replace(b'"f"', b'"f", "x": ' + b"9" * 10_000),
    "twice": made().replace(b'"format": 1', b'"format": 1, "format": 1'),
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "files list": made(files=[]),
    "columns": made(columns=[1]),
    "expires": made(expires_after="soon"),
    "expires now": made(expires_after=0),
    "data": made(data="x"),
    "too many files": made(files={f"f{i}.ubj": entry()["a.ubj"] for i in range(65)}),
    "traversal": made(files={"../a.ubj": entry()["a.ubj"]}),
    "absolute": made(files={"/etc/passwd": entry()["a.ubj"]}),
    "backslash": made(files={"..\\a.ubj": entry()["a.ubj"]}),
    "pickle": made(files={"a.pkl": entry()["a.ubj"]}),
    "itself": made(files={"manifest.json": entry()["a.ubj"]}),
    "newline": made(files={"a.ubj\n": entry()["a.ubj"]}),
    "entry text": made(files={"a.ubj": "x"}),
    "hash number": made(files=entry(sha256=1)),
    "hash short": made(files=entry(sha256="00")),
    "size text": made(files=entry(size="big")),
    "size true": made(files=entry(size=True)),
    "size negative": made(files=entry(size=-1)),
    "size fraction": made(files=entry(size=0.5)),
    "size huge": made(files=entry(size=1 << 62)),
    "total huge": made(files={f"f{i}.ubj": {"sha256": HASH, "size": 1 << 30} for i in range(3)}),
    "extra key": made(files=entry(path="/etc/passwd")),
    "missing file": made(files=entry(size=3)),
}


@pytest.mark.parametrize("text", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_hostile_manifests_are_refused(tmp_path, text):
    folder = placed(tmp_path, text)
    with pytest.raises(RegistryError):
        registry.load_folder(folder)
    with pytest.raises(RegistryError):
        registry.load(tmp_path, "m", folder.name)
    assert not registry.verify(tmp_path).ok
    assert registry.list(tmp_path)[0].status == "damaged"
    for move in (registry.promote, registry.shadow):
        with pytest.raises(RegistryError):
            move(tmp_path, "m", folder.name)


def test_a_plain_manifest_would_have_been_read(tmp_path):
    """The cases above differ from this one in what they are named for."""
    text = made(files={"a.ubj": {"sha256": hashlib.sha256(b"abc").hexdigest(), "size": 3}})
    assert registry.load_folder(placed(tmp_path, text, a__ubj=b"abc")).files == {"a.ubj": b"abc"}


def test_a_manifest_larger_than_the_limit(tmp_path, monkeypatch):
    folder = placed(tmp_path, made())
    monkeypatch.setattr(manifests, "MAX_MANIFEST", 10)
    with pytest.raises(RegistryError, match="more than 10"):
        registry.load_folder(folder)


def test_every_changed_byte_is_refused(tmp_path):
    """A byte of every file, at every position of the small ones, is changed, removed and added."""
    path = registry.publish(tmp_path, "m", gated.files(size=40), gated.manifest())
    checked = 0
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        step = max(1, len(whole) // scaled(2000, 25))
        for i in range(0, len(whole), step):
            for broken in (whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :], whole[:i] + whole[i + 1 :]):
                file.write_bytes(broken)
                with pytest.raises(RegistryError):
                    registry.load_folder(path)
                checked += 1
        file.write_bytes(whole + b" ")
        with pytest.raises(RegistryError):
            registry.load_folder(path)
        file.unlink()
        with pytest.raises(RegistryError):
            registry.load_folder(path)
        file.write_bytes(whole)
    assert checked > 400
    registry.load_folder(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes as on POSIX")
def test_links_pipes_and_folders_are_not_files(tmp_path):
    files = gated.files()
    path = registry.publish(tmp_path, "m", files, gated.manifest())
    outside = tmp_path / "outside"
    for name in ("xgb_cls.ubj", "manifest.json"):
        target = path / name
        data = target.read_bytes()
        outside.write_bytes(data)
        for put in (
            lambda t: t.symlink_to(outside),
            lambda t: os.mkfifo(t),
            lambda t: t.mkdir(),
            lambda t: t.symlink_to("/dev/zero"),
        ):
            target.unlink()
            put(target)
            with pytest.raises(RegistryError):
                registry.load_folder(path)
            target.rmdir() if target.is_dir() and not target.is_symlink() else target.unlink()
            target.write_bytes(data)
    registry.load_folder(path)
    link = tmp_path / "m" / ("0" * 12)
    link.symlink_to(path)
    with pytest.raises(RegistryError, match="no such version"):
        registry.load_folder(link)


def test_a_version_of_another_model_or_another_name(tmp_path):
    path = registry.publish(tmp_path, "m", gated.files(), gated.manifest())
    other = tmp_path / "n" / path.name
    other.parent.mkdir()
    path.rename(other)
    with pytest.raises(RegistryError, match="a version of 'm'"):
        registry.promote(tmp_path, "n", path.name)
    renamed = other.with_name("0" * 12)
    other.rename(renamed)
    with pytest.raises(RegistryError, match="content changed"):
        registry.load(tmp_path, "n", renamed.name)


ALIASES = {
    "empty": "",
    "list": "[]",
    "format": '{"format": 2, "production": null, "shadow": null, "previous": null}',
    "missing": '{"format": 1, "production": null, "shadow": null}',
    "extra": '{"format": 1, "production": null, "shadow": null, "previous": null, "x": null}',
    "path": '{"format": 1, "production": "../../secret", "shadow": null, "previous": null}',
    "number": '{"format": 1, "production": 123456789012, "shadow": null, "previous": null}',
    "list version": '{"format": 1, "production": ["000000000000"], "shadow": null, "previous": null}',
    "twice": '{"format": 1, "production": null, "production": null, "shadow": null, "previous": null}',
    "deep": "[" * 60_000,
    "huge": " " * (1 << 17),
}


@pytest.mark.parametrize("text", ALIASES.values(), ids=ALIASES.keys())
def test_hostile_aliases_are_refused(tmp_path, text):
    version = registry.publish(tmp_path, "m", gated.files(), gated.manifest()).name
    (tmp_path / "m" / "aliases.json").write_text(text, encoding="utf-8")
    for act in (
        lambda: registry.aliases(tmp_path, "m"),
        lambda: registry.load(tmp_path, "m"),
        lambda: registry.promote(tmp_path, "m", version),
        lambda: registry.gc(tmp_path, "m"),
        lambda: registry.list(tmp_path),
    ):
        with pytest.raises(RegistryError, match=r"aliases\.json"):
            act()
    assert not registry.verify(tmp_path).ok
    assert registry.load(tmp_path, "m", version).version == version


@pytest.mark.parametrize("text", [b"[]\n", b"{}\n", b'{"event": 1}\n', b"\xff\n", b"[" * 100_000 + b"\n", b"\n"])
def test_hostile_events_are_refused(tmp_path, text):
    version = registry.publish(tmp_path, "m", gated.files(), gated.manifest()).name
    (tmp_path / "m" / "events.jsonl").write_bytes(text)
    with pytest.raises(RegistryError, match=r"events\.jsonl.*line 1"):
        registry.list(tmp_path)
    assert not registry.verify(tmp_path).ok
    assert registry.load(tmp_path, "m", version).version == version


GOLDEN = {
    "empty": b"",
    "list": b"[]",
    "format": b'{"format": 2, "columns": ["a"], "rows": [[1]], "p": [[1,0,0]], "score": [1]}',
    "no rows": b'{"format": 1, "columns": ["a"], "rows": [], "p": [], "score": []}',
    "ragged": b'{"format": 1, "columns": ["a"], "rows": [[1], [1, 2]], "p": [[1,0,0]], "score": [1]}',
    "text": b'{"format": 1, "columns": ["a"], "rows": [["x"]], "p": [[1,0,0]], "score": [1]}',
    "null": b'{"format": 1, "columns": null, "rows": [[1]], "p": [[1,0,0]], "score": [1]}',
    "objects": b'{"format": 1, "columns": ["a"], "rows": [[{}]], "p": [[1,0,0]], "score": [1]}',
    "big": b'{"format": 1, "columns": ["a"], "rows": [[1' + b"0" * 400 + b']], "p": [[1,0,0]], "score": [1]}',
}


@pytest.mark.parametrize("text", GOLDEN.values(), ids=GOLDEN.keys())
def test_hostile_golden_rows_are_refused(tmp_path, text):
    with pytest.raises(RegistryError, match="golden"):
        registry.read_golden(text)
    registry.publish(tmp_path, "m", {**gated.files(), registry.GOLDEN: text}, gated.manifest())
    found = registry.verify(tmp_path, predict=gated.predict)
    assert len(found.problems) == 1


def test_an_impossible_expiry_is_refused(tmp_path):
    cases = (
        ({"last": "yesterday"}, 1.0),
        ({"last": "2023-01-01"}, 1e300),
        ({"last": "2023-01-01"}, 9e9),  # past 2262
        ({"last": [1]}, 1.0),
        # NumPy would read these, and the model would never expire.
        ({"last": "NaT"}, 1.0),
        ({"last": ""}, 1.0),
        ({"last": "now"}, 1.0),
        ({"last": "today"}, 1.0),
    )
    for data, seconds in cases:
        manifest = {**gated.manifest(), "data": data, "expires_after": seconds}
        path = registry.publish(tmp_path, "m", gated.files(), manifest)
        with pytest.raises(RegistryError, match="no time"):
            _ = registry.load_folder(path).expires_at
    assert len(registry.verify(tmp_path).problems) == len(cases)
    zoned = gated.manifest() | {"data": {"last": "2023-01-01T02:00:00+02:00"}, "expires_after": 60.0}
    path = registry.publish(tmp_path, "n", gated.files(), zoned)
    assert registry.load_folder(path).expires_at == np.datetime64("2023-01-01T00:01")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes as on POSIX")
@pytest.mark.parametrize(
    "put",
    [
        lambda at, root: at.symlink_to(root / "secret"),
        lambda at, root: at.symlink_to(root / "nowhere"),
        lambda at, _: at.mkdir(),
        lambda at, _: os.mkfifo(at),
    ],
    ids=["link", "dangling link", "folder", "pipe"],
)
def test_no_alias_moves_that_cannot_be_written_down(tmp_path, put):
    first, second = (registry.publish(tmp_path, "m", gated.files(seed=i), gated.manifest()).name for i in range(2))
    before = registry.promote(tmp_path, "m", first)
    (tmp_path / "secret").write_bytes(b"untouched")
    events = tmp_path / "m" / "events.jsonl"
    kept = events.read_bytes()
    events.unlink()
    put(events, tmp_path)
    for move in (registry.promote, registry.shadow):
        with pytest.raises(RegistryError, match=r"events\.jsonl"):
            move(tmp_path, "m", second)
    assert registry.aliases(tmp_path, "m") == before
    assert (tmp_path / "secret").read_bytes() == b"untouched"
    events.rmdir() if events.is_dir() and not events.is_symlink() else events.unlink()
    events.write_bytes(kept)
    assert registry.promote(tmp_path, "m", second).previous == first


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links as on POSIX")
def test_links_where_the_registry_writes(tmp_path):
    """A link in the place of the lock, the events or the aliases does not make it write elsewhere."""
    version = registry.publish(tmp_path, "m", gated.files(), gated.manifest()).name
    secret = tmp_path / "secret"
    secret.write_bytes(b"untouched")
    for name in (".lock", "events.jsonl", "aliases.json"):
        target = tmp_path / "m" / name
        kept = target.read_bytes() if target.exists() else None
        target.unlink(missing_ok=True)
        target.symlink_to(secret)
        with pytest.raises((QtfeatError, OSError)):
            registry.promote(tmp_path, "m", version)
        assert name == "aliases.json" or not (tmp_path / "m" / "aliases.json").exists(), "no alias moves unrecorded"
        target.unlink()
        if kept is not None:
            target.write_bytes(kept)
        assert secret.read_bytes() == b"untouched"
