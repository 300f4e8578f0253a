"""`qtfeat inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from qtfeat.bars.coverage import Coverage
from qtfeat.bars.files import whole_or_nothing
from qtfeat.bars.quality import QualityReport
from qtfeat.bars.survey import survey
from qtfeat.cli.options import BAD_INPUT, column_map, err, out
from qtfeat.errors import SchemaError

_PLOT_CELLS = 400


def report(source: Path, by: str, time: str, *, strict: bool, plot: Path | None = None, as_json: bool = False) -> None:
    """Print the quality report and coverage map of a file or folder; with `strict`, exit with 2 on any finding.

    Raises:
        SchemaError: unreadable bars, or a plot that is neither .png nor .svg.
    """
    if plot is not None and plot.suffix.lower() not in (".png", ".svg"):
        raise SchemaError(f"{plot}: the coverage map is drawn to .png or .svg")
    quality, cover = _surveyed(source, by, time, _PLOT_CELLS if plot else 72)
    if plot is not None:
        _draw(cover, plot)
    if as_json:
        typer.echo(json.dumps(quality.as_dict()))
    else:
        shown = f"{quality}" if plot else f"{quality}\n{cover}"
        out.print(shown, markup=False, highlight=False, soft_wrap=True)
    if strict and not quality.ok:
        raise typer.Exit(BAD_INPUT)


def _surveyed(source: Path, by: str, time: str, cells: int) -> tuple[QualityReport, Coverage]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task("inspect", total=None)
        return survey(
            source,
            columns=column_map(by, time) or None,
            cells=cells,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _draw(cover: Coverage, target: Path) -> None:
    figure = cover.figure()
    with whole_or_nothing(target) as part:
        figure.savefig(part, format=target.suffix.lower().removeprefix("."), dpi=120)
    err.print(f"{target}: coverage of {len(cover.symbols):,} symbol(s)", markup=False, soft_wrap=True)
