"""Saved models: one immutable folder per version, listed and hashed in its manifest. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtfeat.errors import FingerprintMismatch, RegistryError

FORMAT = 1
MANIFEST = "manifest.json"
_MAX_MANIFEST = 16 << 20
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_FILE = re.compile(r"[a-z0-9_]{1,64}\.(ubj|txt|json)")


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A version read from disk, every hash checked.

    Attributes:
        path: its folder.
        manifest: what the manifest says.
        files: file name to content.
    """

    path: Path
    manifest: dict[str, Any]
    files: dict[str, bytes]


def save(root: str | Path, name: str, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Path:
    """Write a version as `root/name/version/`, whole or not at all.

    The version is the start of the manifest's own hash, so the same content gives the same version, and saving it
    again changes nothing.

    Args:
        root: folder of all models, created when missing.
        name: lower-case letters, digits, `_` and `-`.
        files: file name to content.
        manifest: JSON values, among them `fingerprint`; `format`, `name` and `files` are added.

    Returns:
        The folder of the version.

    Raises:
        RegistryError: a bad name, or a damaged folder of the same version in the way.
    """
    if not _NAME.fullmatch(name):
        raise RegistryError(f"model name {name!r}: use lower-case letters, digits, '_' and '-'")
    for file in files:
        if not _FILE.fullmatch(file) or file == MANIFEST:
            raise RegistryError(f"file name {file!r} is not allowed in a model")
    listed = {file: {"sha256": _sha256(data), "size": len(data)} for file, data in sorted(files.items())}
    full = {**manifest, "format": FORMAT, "name": name, "files": listed}
    text = json.dumps(full, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
    final = Path(root) / name / _sha256(text)[:12]
    if final.exists():
        load(final)
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=final.parent))
    try:
        for file, data in (*files.items(), (MANIFEST, text)):
            _write(temporary / file, data)
        _sync_folder(temporary)
        temporary.chmod(0o755)
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(final.parent)
    return final


def load(path: str | Path, *, fingerprint: str | None = None) -> SavedModel:
    """Read a version; open only what its manifest lists, and refuse what does not match its hash.

    Args:
        path: folder of the version.
        fingerprint: fingerprint of the feature set at hand, where there is one.

    Raises:
        RegistryError: no manifest, an unknown format, a missing or changed file.
        FingerprintMismatch: the model was made for another feature set.
    """
    folder = Path(path)
    manifest = _read_manifest(folder / MANIFEST)
    found = manifest["fingerprint"]
    if fingerprint is not None and found != fingerprint:
        text = f"fingerprint mismatch: expected {fingerprint}, found {found} in {folder}"
        raise FingerprintMismatch(text, expected=fingerprint, found=found)
    files: dict[str, bytes] = {}
    for file, entry in manifest["files"].items():
        target = folder / file
        try:
            if target.is_symlink() or target.stat().st_size != entry["size"]:
                raise RegistryError(f"{target}: not the file that the manifest lists")
            data = target.read_bytes()
        except OSError as error:
            raise RegistryError(f"{target}: cannot be read ({error})") from error
        if _sha256(data) != entry["sha256"]:
            raise RegistryError(f"{target}: content changed, its sha256 is {_sha256(data)}, not {entry['sha256']}")
        files[file] = data
    return SavedModel(folder, manifest, files)


def _read_manifest(path: Path) -> dict[str, Any]:
    """Read and check the shape of a manifest; nothing in it is trusted before."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_MANIFEST)
        data = json.loads(text, parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise RegistryError(f"{path}: cannot be read as a manifest ({error})") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise RegistryError(f"{path}: format {FORMAT} is expected")
    listed = data.get("files")
    if not isinstance(listed, dict) or not isinstance(data.get("fingerprint"), str):
        raise RegistryError(f"{path}: `files` or `fingerprint` is missing")
    for file, entry in listed.items():
        good = isinstance(entry, dict) and isinstance(entry.get("sha256"), str) and type(entry.get("size")) is int
        if not good or not _FILE.fullmatch(file) or file == MANIFEST:
            raise RegistryError(f"{path}: bad entry for file {file!r}")
    return data


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Make the entries of a folder durable, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
