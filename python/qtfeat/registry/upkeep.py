"""Looking after a registry: listing, verifying, and removing what nobody needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from qtfeat.errors import QtfeatError, RegistryError
from qtfeat.registry import disk, events
from qtfeat.registry.alias import NAMES, Aliases, aliases, load, load_version, model_folder
from qtfeat.registry.golden_rows import GOLDEN, Predict, check_golden
from qtfeat.registry.manifest import MANIFEST, check_name, is_version
from qtfeat.registry.versions import TEMPORARY, clear_leftovers


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A version in a listing.

    Attributes:
        name: the model.
        version: its id.
        status: "candidate", "rejected", or "damaged".
        allowed: "production", "shadow" or "rejected".
        aliases: what points at it.
        published: when it was first published, ISO 8601 in UTC; empty if its writer was killed before noting it.
        problem: what is wrong with a damaged one.
    """

    name: str
    version: str
    status: str
    allowed: str
    aliases: tuple[str, ...]
    published: str
    problem: str = ""


@dataclass(slots=True)
class Checked:
    """What `verify` found.

    Attributes:
        versions: versions checked.
        golden_rows: golden rows predicted again and found equal.
        problems: what is wrong, one sentence each.
        notes: what is worth knowing, but harmless.
    """

    versions: int = 0
    golden_rows: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def model_names(root: str | Path) -> list[str]:
    """Return the names of the models in a registry, sorted.

    Raises:
        RegistryError: there is no such folder.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise RegistryError(f"{folder}: there is no such folder of models")
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and _is_name(entry.name))


def list_versions(root: str | Path, name: str | None = None) -> list[VersionInfo]:
    """Return the versions of one model or of all, oldest first; a damaged one is listed as such.

    Raises:
        RegistryError: no such model, or its aliases or events are damaged.
    """
    found = []
    for model in [name] if name is not None else model_names(root):
        folder = model_folder(root, model)
        pointing, times = aliases(root, model), _published(folder)
        found += [_info(folder, version, pointing, times.get(version, "")) for version in _in_order(folder, times)]
    return found


def verify(root: str | Path, name: str | None = None, predict: Predict | None = None) -> Checked:
    """Check every version, alias and event of one model or of all.

    Args:
        root: folder of all models.
        name: only this model.
        predict: predicts the golden rows again from the files of a version; None leaves that out.

    Returns:
        What was checked and found; nothing is raised for a damaged version.

    Raises:
        RegistryError: no such folder or model.
    """
    checked = Checked()
    for model in [name] if name is not None else model_names(root):
        folder = model_folder(root, model)
        for version in _versions(folder):
            checked.versions += 1
            try:
                checked.golden_rows += _check_version(folder, version, predict, checked)
            except QtfeatError as error:
                checked.problems.append(f"{model} {version}: {error}")
        _check_aliases(root, model, checked)
        try:
            events.read(folder)
        except RegistryError as error:
            checked.problems.append(str(error))
        left = [entry.name for entry in folder.iterdir() if entry.name.startswith(TEMPORARY)]
        checked.notes += [f"{model}: {entry} was left by a writer that was killed; gc removes it" for entry in left]
    return checked


def gc(root: str | Path, name: str, *, keep: int = 5, dry_run: bool = False, timeout: float = 30.0) -> list[str]:
    """Remove old versions; what an alias points at and the newest `keep` stay.

    Args:
        root: folder of all models.
        name: the model.
        keep: how many of the newest stay, rejected attempts included.
        dry_run: only say what would go.
        timeout: seconds to wait for another writer.

    Returns:
        The versions removed, oldest first.

    Raises:
        RegistryError: no such model, `keep` below 0, or damaged aliases or events.
    """
    if not isinstance(keep, int) or isinstance(keep, bool) or keep < 0:
        raise RegistryError(f"keep must be a whole number of 0 or more, not {keep!r}")
    folder = model_folder(root, name)
    with disk.locked(folder, timeout):
        if not dry_run:
            clear_leftovers(folder)
        pointing = aliases(root, name)
        order = _in_order(folder, _published(folder))
        # Not below 0, which would count from the other end and remove versions that are to be kept.
        old = [v for v in order[: max(0, len(order) - keep)] if not pointing.of(v)]
        for version in () if dry_run else old:
            doomed = folder / f"{TEMPORARY[1]}{version}"
            (folder / version).rename(doomed)  # gone in one step; what follows may be interrupted
            disk.sync_folder(folder)
            events.add(folder, "removed", version=version)
            shutil.rmtree(doomed)
    return old


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except RegistryError:
        return False
    return True


def _versions(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if is_version(entry.name))


def _published(folder: Path) -> dict[str, str]:
    """Return the versions in the order of their publication, with its time."""
    times: dict[str, str] = {}
    for event in events.read(folder):
        if event["event"] == "published" and is_version(event.get("version")):
            times.pop(event["version"], None)  # published again after it was removed
            times[event["version"]] = str(event.get("time", ""))
    return times


def _in_order(folder: Path, times: dict[str, str]) -> list[str]:
    """Return the versions that are there, oldest first; one whose event is missing was published last."""
    there = _versions(folder)
    return [v for v in times if v in there] + [v for v in there if v not in times]


def _info(folder: Path, version: str, pointing: Aliases, published: str) -> VersionInfo:
    try:
        model = load_version(folder, version)
        status, allowed, problem = model.status, str(model.allowed), ""
    except QtfeatError as error:
        status, allowed, problem = "damaged", "rejected", str(error)
    return VersionInfo(folder.name, version, status, allowed, pointing.of(version), published, problem)


def _check_version(folder: Path, version: str, predict: Predict | None, checked: Checked) -> int:
    """Check one version; return the number of golden rows compared."""
    model = load_version(folder, version)
    _ = model.allowed, model.expires_at  # both refuse what does not fit
    extra = sorted({entry.name for entry in model.path.iterdir()} - {MANIFEST, *model.files})
    if extra:
        checked.problems.append(f"{folder.name} {version}: {', '.join(extra)} not listed in the manifest")
    if predict is None or GOLDEN not in model.files:
        return 0
    return check_golden(model.files, predict)


def _check_aliases(root: str | Path, name: str, checked: Checked) -> None:
    try:
        pointing = aliases(root, name)
    except RegistryError as error:
        checked.problems.append(str(error))
        return
    for alias in NAMES:
        if getattr(pointing, alias) is not None:
            try:
                load(root, name, alias)
            except QtfeatError as error:
                checked.problems.append(f"{name} {alias}: {error}")
