"""The manifest of a version: what it lists is all that a loader opens, and its own hash is the version's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtfeat import _strict_json
from qtfeat.errors import RegistryError
from qtfeat.registry import disk

FORMAT = 1
MANIFEST = "manifest.json"
STATUSES = ("candidate", "rejected")
MAX_MANIFEST = 16 << 20
MAX_FILE = 1 << 30
MAX_TOTAL = 2 << 30
MAX_FILES = 64

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_FILE = re.compile(r"[a-z0-9_]{1,64}\.(ubj|txt|json|html)")
_VERSION = re.compile(r"[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_name(name: Any) -> str:
    """Return a model's name, or raise RegistryError."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RegistryError(f"model name {name!r}: use lower-case letters, digits, '_' and '-'")
    return name


def is_version(text: Any) -> bool:
    """Whether a text has the form of a version: 12 hexadecimal digits."""
    return isinstance(text, str) and _VERSION.fullmatch(text) is not None


def compose(name: str, files: Mapping[str, bytes], manifest: Mapping[str, Any], status: str) -> tuple[str, bytes]:
    """Return the version and the text of its manifest.

    Raises:
        RegistryError: a bad name, file name, status or value.
    """
    check_name(name)
    if status not in STATUSES:
        raise RegistryError(f"status {status!r}: there are {', '.join(STATUSES)}")
    for file, data in files.items():
        if not isinstance(file, str) or not _FILE.fullmatch(file) or file == MANIFEST:
            raise RegistryError(f"file name {file!r} is not allowed in a model")
        if not isinstance(data, bytes):
            raise RegistryError(f"file {file!r}: bytes are expected, not {type(data).__name__}")
    listed = {file: {"sha256": disk.sha256(data), "size": len(data)} for file, data in sorted(files.items())}
    full = {**manifest, "format": FORMAT, "name": name, "status": status, "files": listed}
    try:
        text = _strict_json.write(full)
    except ValueError as error:
        raise RegistryError(f"manifest of {name}: {error}") from error
    _check(full, name)
    return disk.sha256(text)[:12], text


def read(folder: Path) -> dict[str, Any]:
    """Read and check the manifest of a version; nothing in it is trusted before.

    Raises:
        RegistryError: unreadable, changed, of another format, or hostile.
    """
    path = folder / MANIFEST
    text = disk.read(path, MAX_MANIFEST)
    try:
        data = _strict_json.parse(text, limit=MAX_MANIFEST)
    except ValueError as error:
        raise RegistryError(f"{path}: cannot be read as a manifest ({error})") from error
    manifest = _check(data, str(path))
    version = disk.sha256(text)[:12]
    if version != folder.name:
        raise RegistryError(f"{path}: content changed, its version is {version}, not {folder.name}")
    return manifest


def _check(data: Any, where: str) -> dict[str, Any]:
    """Return a manifest whose shape is right."""
    if not isinstance(data, dict) or type(data.get("format")) is not int or data["format"] != FORMAT:
        raise RegistryError(f"{where}: a manifest of format {FORMAT} is expected")
    if not isinstance(data.get("fingerprint"), str):
        raise RegistryError(f"{where}: the manifest has no `fingerprint`")
    if data.get("status") not in STATUSES or not isinstance(data.get("name"), str):
        raise RegistryError(f"{where}: the manifest has no `status` or `name`")
    _check_optional(data, where)
    listed = data.get("files")
    if not isinstance(listed, dict) or len(listed) > MAX_FILES:
        raise RegistryError(f"{where}: the manifest has no `files`, or more than {MAX_FILES}")
    for file, entry in listed.items():
        good = isinstance(entry, dict) and entry.keys() == {"sha256", "size"} and type(entry["size"]) is int
        good = good and isinstance(entry["sha256"], str) and _SHA256.fullmatch(entry["sha256"]) is not None
        if not good or not _FILE.fullmatch(file) or file == MANIFEST or not 0 <= entry["size"] <= MAX_FILE:
            raise RegistryError(f"{where}: bad manifest entry for file {file[:80]!r}")
    if sum(entry["size"] for entry in listed.values()) > MAX_TOTAL:
        raise RegistryError(f"{where}: the files of the manifest are more than {MAX_TOTAL:,} bytes")
    return data


def _check_optional(data: dict[str, Any], where: str) -> None:
    """Refuse a wrong type of what need not be there, but is read by others where it is."""
    columns = data.get("columns", [])
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        raise RegistryError(f"{where}: `columns` of the manifest must be a list of names")
    expires = data.get("expires_after")
    if expires is not None and (isinstance(expires, bool) or not isinstance(expires, (int, float)) or expires <= 0):
        raise RegistryError(f"{where}: `expires_after` of the manifest must be a number of seconds above 0, or null")
    for key in ("data", "versions", "config"):
        if not isinstance(data.get(key, {}), dict):
            raise RegistryError(f"{where}: `{key}` of the manifest must be an object")
