"""Aliases: `production`, `shadow`, `previous`. They point only at what the gates allow, and move in one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from qtfeat import _strict_json
from qtfeat.errors import GateFailed, RegistryError
from qtfeat.registry import disk, events
from qtfeat.registry.golden_rows import GOLDEN
from qtfeat.registry.manifest import check_name, is_version
from qtfeat.registry.versions import SavedModel, load_folder, same_fingerprint

ALIASES = "aliases.json"
FORMAT = 1
NAMES = ("production", "shadow", "previous")
NEEDED = ("columns", "data", "versions")


@dataclass(frozen=True, slots=True)
class Aliases:
    """Where the aliases of a model point; None where they point nowhere.

    Attributes:
        production: the version that is live.
        shadow: the version that sees every bar beside it.
        previous: the version that was live before; what `rollback` returns to.
    """

    production: str | None = None
    shadow: str | None = None
    previous: str | None = None

    def of(self, version: str) -> tuple[str, ...]:
        """Return the aliases that point at a version."""
        return tuple(name for name in NAMES if getattr(self, name) == version)


def aliases(root: str | Path, name: str) -> Aliases:
    """Return where the aliases of a model point.

    Raises:
        RegistryError: no such model, or a damaged `aliases.json`.
    """
    return _read(model_folder(root, name))


def load(
    root: str | Path, name: str, version_or_alias: str = "production", fingerprint: str | None = None
) -> SavedModel:
    """Read a version by its id or by an alias, every hash checked.

    Loading by alias checks the gates again: an `aliases.json` edited by hand brings no rejected model to life.

    Args:
        root: folder of all models.
        name: the model.
        version_or_alias: 12 hexadecimal digits, "production", "shadow" or "previous".
        fingerprint: fingerprint of the feature set at hand, where there is one.

    Raises:
        RegistryError: no such model, version or alias, a damaged file, or an alias at what the gates do not allow.
        FingerprintMismatch: the model was made for another feature set.
    """
    folder = model_folder(root, name)
    if is_version(version_or_alias):
        return load_version(folder, version_or_alias, fingerprint)
    if version_or_alias not in NAMES:
        raise RegistryError(f"{version_or_alias!r} is neither a version nor one of {', '.join(NAMES)}")
    version = getattr(_read(folder), version_or_alias)
    if version is None:
        raise RegistryError(f"{folder}: nothing is in {version_or_alias}; see `qtfeat models list`")
    model = load_version(folder, version, fingerprint)
    try:
        _require(model, version_or_alias)
    except GateFailed as error:
        raise RegistryError(f"{version_or_alias} points at a version it must not: {error}") from error
    return model


def promote(root: str | Path, name: str, version: str, *, timeout: float = 30.0) -> Aliases:
    """Put a version into production; the one that was there becomes `previous`.

    A shadow that is promoted leaves `shadow`. Promoting what is in production already changes nothing.

    Args:
        root: folder of all models.
        name: the model.
        version: its id, or "shadow".
        timeout: seconds to wait for another writer.

    Raises:
        GateFailed: the gates do not allow it to go live.
        RegistryError: no such version, or it is damaged or incomplete.
    """

    def move(folder: Path, old: Aliases) -> Aliases:
        target = _resolve(old, version)
        _require(load_version(folder, target), "production")
        if target == old.production:
            return old
        watched = None if old.shadow == target else old.shadow
        return Aliases(production=target, shadow=watched, previous=old.production)

    return _move(root, name, "promoted", move, timeout)


def rollback(root: str | Path, name: str, *, timeout: float = 30.0) -> Aliases:
    """Put the previous version back into production; the two change places.

    Raises:
        RegistryError: there is no previous version, or it is damaged.
        GateFailed: the gates do not allow it to go live.
    """

    def move(folder: Path, old: Aliases) -> Aliases:
        if old.previous is None:
            raise RegistryError(f"{folder}: there is no previous version to roll back to")
        _require(load_version(folder, old.previous), "production")
        return replace(old, production=old.previous, previous=old.production)

    return _move(root, name, "rolled back", move, timeout)


def shadow(root: str | Path, name: str, version: str | None, *, timeout: float = 30.0) -> Aliases:
    """Let a version see every bar beside production; None ends that.

    Raises:
        GateFailed: the gates reject it.
        RegistryError: no such version, or it is damaged or incomplete.
    """

    def move(folder: Path, old: Aliases) -> Aliases:
        if version is None:
            return replace(old, shadow=None)
        target = _resolve(old, version)
        _require(load_version(folder, target), "shadow")
        return replace(old, shadow=target)

    return _move(root, name, "shadowed", move, timeout)


def model_folder(root: str | Path, name: str) -> Path:
    """Return the folder of a model; raises RegistryError where there is none."""
    folder = Path(root) / check_name(name)
    if not folder.is_dir():
        raise RegistryError(f"{folder}: there is no such model")
    return folder


def load_version(folder: Path, version: str, fingerprint: str | None = None) -> SavedModel:
    """Read a version of a model's folder; raises RegistryError if it is another model's."""
    model = load_folder(folder / version, fingerprint=fingerprint)
    if model.name != folder.name:
        raise RegistryError(f"{model.path}: is a version of {model.name!r}, not of {folder.name!r}")
    return model


def _move(root: str | Path, name: str, event: str, move: Callable[[Path, Aliases], Aliases], timeout: float) -> Aliases:
    """Change the aliases under the lock, then write down what was done."""
    folder = model_folder(root, name)
    with disk.locked(folder, timeout):
        old = _read(folder)
        _catch_up(folder, old)
        new = move(folder, old)
        if new != old:
            events.ready(folder)
            disk.replace(folder / ALIASES, _strict_json.write({"format": FORMAT, **asdict(new)}))
            events.add(folder, event, aliases=asdict(new))
    return new


def _catch_up(folder: Path, now: Aliases) -> None:
    """Write down a move whose writer was killed before it could."""
    known: Any = asdict(Aliases())
    try:
        for event in events.read(folder):
            known = event.get("aliases", known)
    except RegistryError:
        return  # `verify` tells; a damaged history must not keep anybody from rolling back
    if known != asdict(now):
        events.add(folder, "recovered", aliases=asdict(now))


def _resolve(old: Aliases, version: str) -> str:
    target = getattr(old, version) if version in NAMES else version
    if target is None:
        raise RegistryError(f"nothing is in {version}")
    if not is_version(target):
        raise RegistryError(f"{version!r} is neither a version nor one of {', '.join(NAMES)}")
    return str(target)


def _require(model: SavedModel, alias: str) -> None:
    """Refuse an alias that the gates do not allow, or a version without what serving needs."""
    where = f"{model.name} {model.version}"
    verdicts = model.verdicts
    if verdicts is None:
        raise GateFailed(f"{where}: has no gates.json, so nothing may point at it")
    if model.status == "rejected":
        reasons = "; ".join(v.sentence for v in verdicts.failures) or "it was published as rejected"
        raise GateFailed(f"{where} was rejected: {reasons}", verdicts=verdicts)
    same_fingerprint(verdicts, model.manifest["fingerprint"])
    verdicts.require("shadow" if alias == "shadow" else "production")
    missing = [key for key in NEEDED if not model.manifest.get(key)]
    missing += [GOLDEN] if GOLDEN not in model.files else []
    if missing:
        raise RegistryError(f"{where}: incomplete, {', '.join(missing)} missing; publish it again with them")


def _read(folder: Path) -> Aliases:
    path = folder / ALIASES
    if not path.exists() and not path.is_symlink():
        return Aliases()
    try:
        stored = _strict_json.parse(disk.read(path, 1 << 16))
    except RegistryError:
        raise
    except ValueError as error:
        raise RegistryError(f"{path}: cannot be read ({error})") from error
    if not isinstance(stored, dict) or stored.pop("format", None) != FORMAT or stored.keys() != set(NAMES):
        raise RegistryError(f"{path}: aliases of format {FORMAT} are expected")
    for alias, version in stored.items():
        if version is not None and not is_version(version):
            raise RegistryError(f"{path}: {alias} points at {str(version)[:40]!r}, which is no version")
    return Aliases(**stored)
