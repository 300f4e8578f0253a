"""Versions: published whole or not at all, never changed, and read only if every byte is the one that was written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qtfeat._times import scalar_ns
from qtfeat.errors import FingerprintMismatch, RegistryError, SchemaError
from qtfeat.gates import Allowed, Verdicts
from qtfeat.registry import disk, events
from qtfeat.registry import manifest as manifests

GATES = "gates.json"
TEMPORARY = (".writing-", ".deleting-")


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A version read from disk, every hash checked.

    Attributes:
        path: its folder.
        manifest: what the manifest says.
        files: file name to content, of all files the manifest lists.
    """

    path: Path
    manifest: dict[str, Any]
    files: dict[str, bytes]

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        """12 hexadecimal digits, the start of the manifest's SHA-256."""
        return self.path.name

    @property
    def status(self) -> str:
        """Status it was published with: "candidate" or "rejected"."""
        return str(self.manifest["status"])

    @property
    def verdicts(self) -> Verdicts | None:
        """What the gates found; None for a version without `gates.json`.

        Raises:
            RegistryError: `gates.json` does not bear out what it says.
        """
        data = self.files.get(GATES)
        if data is None:
            return None
        try:
            return Verdicts.from_json(data, str(self.path / GATES))
        except SchemaError as error:
            raise RegistryError(str(error)) from error

    @property
    def allowed(self) -> Allowed:
        """The most it may become: "production", "shadow" or "rejected"; ungated means rejected."""
        verdicts = self.verdicts
        return "rejected" if verdicts is None or self.status == "rejected" else verdicts.allowed

    @property
    def expires_at(self) -> np.datetime64 | None:
        """End of its training data plus `expires_after` seconds, or None where the manifest does not say.

        Raises:
            RegistryError: the end of the training data is no time.
        """
        seconds, last = self.manifest.get("expires_after"), self.manifest.get("data", {}).get("last")
        if seconds is None or last is None:
            return None
        try:
            # Not by NumPy: it reads "now", "today" and "NaT", with which a model would never expire, and wraps around.
            end = scalar_ns(last if isinstance(last, str) else None, None) + round(seconds * 1e9)
            return np.datetime64(scalar_ns(end, 1), "ns")
        except (ValueError, OverflowError) as error:
            raise RegistryError(f"{self.path}: data.last {str(last)[:40]!r} plus expires_after is no time") from error


def check_target(root: str | Path, name: str) -> None:
    """Refuse a name or a folder that nothing could be published to, before hours of training; creates nothing.

    Raises:
        RegistryError: a bad name, a file in the place of a folder, or a folder that cannot be written to.
    """
    folder = Path(root) / manifests.check_name(name)
    there = next((at for at in (folder, *folder.parents) if os.path.lexists(at)), Path())
    if not there.is_dir():
        raise RegistryError(f"{folder}: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RegistryError(f"{folder}: {there} cannot be written to")


def publish(
    root: str | Path,
    name: str,
    files: Mapping[str, bytes],
    manifest: Mapping[str, Any],
    status: str = "candidate",
    *,
    timeout: float = 30.0,
) -> Path:
    """Write a version as `root/name/version/`, whole or not at all.

    The version is the start of the manifest's own hash, so the same content gives the same version, and publishing
    it again changes nothing. Killed at any point, there is the old state or the new one.

    Args:
        root: folder of all models, created when missing.
        name: lower-case letters, digits, `_` and `-`.
        files: file name to content; `gates.json` decides what an alias may do with the version.
        manifest: JSON values, among them `fingerprint`; `format`, `name`, `status`, `files` and `gates` are added.
        status: "candidate", or "rejected" for an attempt that is kept but no alias may ever point at.
        timeout: seconds to wait for another writer.

    Returns:
        The folder of the version.

    Raises:
        RegistryError: a bad name or value, a candidate that its gates reject, gates that judged a model with another
            fingerprint, or a damaged folder of the same version in the way.
    """
    for what, given in (("files", files), ("manifest", manifest)):
        if not isinstance(given, Mapping):
            raise RegistryError(f"{what} must be a mapping, not {type(given).__name__}")
    gates = _gates_entry(files, status, manifest.get("fingerprint"))
    version, text = manifests.compose(name, files, {**manifest, "gates": gates}, status)
    folder = Path(root) / name
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        disk.sync_folder(folder.parent)
    final = folder / version
    with disk.locked(folder, timeout):
        clear_leftovers(folder)
        if final.exists() or final.is_symlink():
            load_folder(final)
        else:
            _write_version(final, {**files, manifests.MANIFEST: text})
        told = [e["event"] for e in events.read(folder) if e.get("version") == version]
        if not told or told[-1] != "published":
            events.add(folder, "published", version=version, status=status)
    return final


def _gates_entry(files: Mapping[str, bytes], status: str, fingerprint: Any) -> dict[str, Any] | None:
    """Return what the manifest says of the gates, which `gates.json` must bear out."""
    data = files.get(GATES)
    if data is None:
        return None
    try:
        verdicts = Verdicts.from_json(data)
    except SchemaError as error:
        raise RegistryError(str(error)) from error
    if status == "candidate" and verdicts.allowed == "rejected":
        failed = ", ".join(verdict.gate for verdict in verdicts.failures)
        raise RegistryError(f"status candidate, but the gates reject it ({failed}); publish it as rejected")
    same_fingerprint(verdicts, fingerprint)
    return {"allowed": verdicts.allowed, "limits": verdicts.limits.hash, "changes": list(verdicts.limits.changes)}


def same_fingerprint(verdicts: Verdicts, fingerprint: Any) -> None:
    """Refuse verdicts on a model of another feature set than the manifest's."""
    judged = verdicts.evidence.fingerprint
    if judged is not None and judged != fingerprint:
        raise RegistryError(f"{GATES} judges a model with fingerprint {judged}, the manifest says {fingerprint}")


def _write_version(final: Path, files: Mapping[str, bytes]) -> None:
    """Write and sync everything beside the final place, then rename."""
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY[0], dir=final.parent))
    try:
        for file, data in files.items():
            disk.write(temporary / file, data)
        disk.sync_folder(temporary)
        temporary.chmod(0o755)
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    disk.sync_folder(final.parent)


def clear_leftovers(folder: Path) -> list[str]:
    """Remove what a killed writer left; the caller holds the lock, so nobody is writing it."""
    gone = []
    for entry in sorted(folder.iterdir()):
        if not entry.name.startswith(TEMPORARY) or entry.is_symlink():
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
        gone.append(entry.name)
    return gone


def load_folder(path: str | Path, *, fingerprint: str | None = None) -> SavedModel:
    """Read a version; open only what its manifest lists, and refuse what does not match its hash.

    Args:
        path: folder of the version.
        fingerprint: fingerprint of the feature set at hand, where there is one.

    Raises:
        RegistryError: no manifest, an unknown format, a missing, changed or linked file.
        FingerprintMismatch: the model was made for another feature set.
    """
    folder = Path(path)
    if folder.is_symlink() or not folder.is_dir():
        raise RegistryError(f"{folder}: there is no such version")
    manifest = manifests.read(folder)
    found = manifest["fingerprint"]
    if fingerprint is not None and found != fingerprint:
        text = f"fingerprint mismatch: expected {fingerprint}, found {found} in {folder}"
        raise FingerprintMismatch(text, expected=fingerprint, found=found)
    files: dict[str, bytes] = {}
    for file, entry in manifest["files"].items():
        data = disk.read(folder / file, entry["size"])
        if len(data) != entry["size"] or disk.sha256(data) != entry["sha256"]:
            raise RegistryError(
                f"{folder / file}: content changed: {len(data):,} bytes with sha256 {disk.sha256(data)}, "
                f"not {entry['size']:,} with {entry['sha256']}"
            )
        files[file] = data
    return SavedModel(folder, manifest, files)
