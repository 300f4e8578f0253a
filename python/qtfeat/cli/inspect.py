"""`qtfeat inspect`."""

from __future__ import annotations

from pathlib import Path

import typer

from qtfeat.bars import read_bars
from qtfeat.cli.options import BAD_INPUT, column_map, out


def report(source: Path, by: str, time: str, *, strict: bool) -> None:
    """Print the quality report of a file or folder; with `strict`, exit with 2 when anything was found."""
    _, quality = read_bars(source, columns=column_map(by, time) or None)
    out.print(str(quality), markup=False, highlight=False, soft_wrap=True)
    if strict and not quality.ok:
        raise typer.Exit(BAD_INPUT)
