"""Print the requirements of some extras of pyproject.toml, so that pip can install them without the project.

Usage: python tools/extras.py cli train      (`build` names the build requirements and the base dependencies)
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(names: list[str]) -> list[str]:
    """Return the requirement lines of the named extras."""
    tables = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    extras: dict[str, list[str]] = tables["project"]["optional-dependencies"]
    extras["build"] = tables["build-system"]["requires"] + tables["project"]["dependencies"]
    return [line for name in names for line in extras[name]]


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:])))
