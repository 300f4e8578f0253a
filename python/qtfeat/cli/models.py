"""`qtfeat models`: list, show, verify, promote, shadow, rollback, gc."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qtfeat.cli.options import VERIFICATION_FAILED, err, friendly, out

if TYPE_CHECKING:
    from qtfeat.registry import Aliases, SavedModel

app = typer.Typer(help="Saved models: what there is, what is live, and moving what is live.", no_args_is_help=True)

Root = Annotated[Path, typer.Option("--models", "-o", help="Folder of all models.")]
Name = Annotated[str, typer.Argument(help="The model.")]
OneName = Annotated[str | None, typer.Argument(help="Only this model.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
FOLDER = Path("models")


@app.command("list", epilog="Example: `qtfeat models list wide32 --json`")
def list_(name: OneName = None, root: Root = FOLDER, as_json: AsJson = False) -> None:
    """List versions, oldest first: status, what the gates allow, aliases, time of publication."""
    with friendly():
        from qtfeat import registry

        found = registry.list_versions(root, name)
        if as_json:
            return _print_json([asdict(info) for info in found])
        rows = [
            [v.name, v.version, v.status, v.allowed, " ".join(v.aliases), v.published[:19].replace("T", " "), v.problem]
            for v in found
        ]
        head = ["model", "version", "status", "allowed", "aliases", "published (UTC)", "problem"]
        wide = len(head) if any(v.problem for v in found) else len(head) - 1
        _table(head[:wide], [row[:wide] for row in rows])
    return None


@app.command(epilog="Examples: `qtfeat models show wide32`, `qtfeat models show wide32 1f0c2d3e4a5b --json`")
def show(
    name: Name,
    version: Annotated[str | None, typer.Argument(help="Version or alias [production, else the newest].")] = None,
    root: Root = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Show a version: where it comes from, every gate, and which limits differ from the shipped ones."""
    with friendly():
        from qtfeat import registry

        if version is None:
            newest = [info.version for info in registry.list_versions(root, name)]
            version = registry.aliases(root, name).production or (newest[-1] if newest else "production")
        model = registry.load(root, name, version)
        pointing = registry.aliases(root, name).of(model.version)
        verdicts = model.verdicts
        if as_json:
            facts = {
                "version": model.version,
                "allowed": model.allowed,
                "aliases": pointing,
                "manifest": model.manifest,
            }
            return _print_json({**facts, "gates": None if verdicts is None else verdicts.as_dict()})
        _table(["", ""], _facts(model, pointing), header=False)
        if verdicts is None:
            out.print("gates: none; nothing may point at this version", markup=False)
            return None
        out.print(verdicts.table(max(60, out.width)), markup=False, highlight=False, soft_wrap=True)
        shares = verdicts.evidence.class_shares_by_symbol or {}
        if shares:
            head = ["predicted by symbol", "SELL", "HOLD", "BUY"]
            _table(head, [[symbol, *(f"{share:.1%}" for share in mix)] for symbol, mix in shares.items()])
    return None


@app.command(epilog="Example: `qtfeat models verify wide32`")
def verify(
    name: OneName = None,
    root: Root = FOLDER,
    as_json: AsJson = False,
    golden: Annotated[bool, typer.Option(help="Predict the golden rows again.")] = True,
) -> None:
    """Check every hash, gate, alias and event, and predict the golden rows again; exit with 1 if anything is wrong."""
    with friendly():
        from qtfeat import registry
        from qtfeat.serve.model import predict_files

        # As a server predicts: a damaged file is refused there, where it could end a library's process.
        found = registry.verify(root, name, predict=predict_files if golden else None)
        if as_json:
            _print_json({"ok": found.ok, **asdict(found)})
        else:
            for problem in found.problems:
                err.print(f"problem: {problem}", style="red", markup=False, soft_wrap=True)
            for note in found.notes:
                err.print(f"note: {note}", markup=False, soft_wrap=True)
            state = "all sound" if found.ok else f"{len(found.problems)} problems"
            out.print(f"{found.versions} versions, {found.golden_rows} golden rows: {state}", highlight=False)
        if not found.ok:
            raise typer.Exit(VERIFICATION_FAILED)


@app.command(epilog="Example: `qtfeat models promote wide32 1f0c2d3e4a5b`")
def promote(
    name: Name,
    version: Annotated[str, typer.Argument(help="Version, or `shadow`.")],
    root: Root = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Put a version into production; refused with exit code 3 unless its gates allow it."""
    _move(lambda registry: registry.promote(root, name, version), as_json)


@app.command(epilog="Examples: `qtfeat models shadow wide32 1f0c2d3e4a5b`, `qtfeat models shadow wide32 --off`")
def shadow(
    name: Name,
    version: Annotated[str | None, typer.Argument(help="The version.")] = None,
    off: Annotated[bool, typer.Option("--off", help="No shadow any more.")] = False,
    root: Root = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Let a version see every bar beside production."""
    if (version is None) != off:
        raise typer.BadParameter("give a version, or --off")
    _move(lambda registry: registry.shadow(root, name, version), as_json)


@app.command(epilog="Example: `qtfeat models rollback wide32`")
def rollback(name: Name, root: Root = FOLDER, as_json: AsJson = False) -> None:
    """Put the previous version back into production; the two change places."""
    _move(lambda registry: registry.rollback(root, name), as_json)


@app.command(epilog="Example: `qtfeat models gc wide32 --keep 10 --dry-run`")
def gc(
    name: Name,
    keep: Annotated[int, typer.Option(min=0, help="How many of the newest stay.")] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    root: Root = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Remove old versions; what an alias points at and the newest stay."""
    with friendly():
        from qtfeat import registry

        gone = registry.gc(root, name, keep=keep, dry_run=dry_run)
        if as_json:
            return _print_json({"removed": [] if dry_run else gone, "would_remove": gone})
        what = "would remove" if dry_run else "removed"
        out.print(f"{what} {len(gone)} versions" + (f": {' '.join(gone)}" if gone else ""), highlight=False)
    return None


def _move(move: Callable[[Any], Aliases], as_json: bool) -> None:
    with friendly():
        from qtfeat import registry

        now = asdict(move(registry))
        if as_json:
            return _print_json(now)
        _table(["alias", "version"], [[alias, version or "-"] for alias, version in now.items()])
    return None


def _facts(model: SavedModel, pointing: Sequence[str]) -> list[list[str]]:
    manifest = model.manifest
    data = manifest.get("data", {})
    facts = {
        "model": f"{model.name} {model.version}",
        "status": f"{model.status}; the gates allow: {model.allowed}",
        "aliases": " ".join(pointing) or "-",
        "fingerprint": manifest["fingerprint"],
        "features": f"{manifest.get('feature_set', '')} {len(manifest.get('columns', []))} columns".strip(),
        "data": ", ".join(f"{key} {value}" for key, value in data.items() if isinstance(value, (str, int))),
        "expires": str(model.expires_at or "never"),
        "config": ", ".join(f"{key} {value}" for key, value in manifest.get("config", {}).items()),
        "versions": ", ".join(f"{key} {value}" for key, value in manifest.get("versions", {}).items()),
        "gate limits": (manifest.get("gates") or {}).get("limits", "-"),
        "files": ", ".join(f"{file} {entry['size']:,}" for file, entry in manifest["files"].items()),
    }
    return [[key, str(value)] for key, value in facts.items()]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, header: bool = True) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if header else None, show_header=header, padding=(0, 1, 0, 0), pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out.print(table)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1))
