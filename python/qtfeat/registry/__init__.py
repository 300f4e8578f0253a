"""Saved models: immutable versions, listed and hashed in their manifests, and the aliases at them. No pickle.

models/<name>/<version>/manifest.json ...   what was published, whole or not at all
models/<name>/aliases.json                  production, shadow, previous
models/<name>/events.jsonl                  what happened, in order
"""

from __future__ import annotations

from qtfeat.registry.alias import Aliases, aliases, load, promote, rollback, shadow
from qtfeat.registry.golden_rows import GOLDEN, check_golden, golden, read_golden
from qtfeat.registry.manifest import FORMAT, MANIFEST
from qtfeat.registry.upkeep import Checked, VersionInfo, gc, list_versions, model_names, verify
from qtfeat.registry.versions import GATES, SavedModel, check_target, load_folder, publish

list = list_versions  # noqa: A001 (called as registry.list)

__all__ = [
    "FORMAT",
    "GATES",
    "GOLDEN",
    "MANIFEST",
    "Aliases",
    "Checked",
    "SavedModel",
    "VersionInfo",
    "aliases",
    "check_golden",
    "check_target",
    "gc",
    "golden",
    "list",
    "list_versions",
    "load",
    "load_folder",
    "model_names",
    "promote",
    "publish",
    "read_golden",
    "rollback",
    "shadow",
    "verify",
]
