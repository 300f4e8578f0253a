"""`qtfeat fetch`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from qtfeat.bars import fetch_archive, fetch_recent
from qtfeat.bars.http import Policy
from qtfeat.cli.options import err, out
from qtfeat.errors import SchemaError

PARTLY_FAILED = 4

Source = Literal["archive", "rest"]
Market = Literal["spot", "um", "cm"]


def fetch(
    symbols: list[str],
    interval: str,
    first: str,
    last: str | None,
    target: Path,
    *,
    source: Source,
    market: Market,
    base_url: str | None,
    workers: int,
    timeout: float,
    quiet: bool,
) -> None:
    """Download klines and print what came; exit with 4 when some files failed.

    Raises:
        QtfeatError: a setting that cannot be, or another download into the same folder.
    """
    if not 0 < timeout <= 86_400:
        raise SchemaError(f"--timeout must be above 0 and at most a day in seconds, got {timeout:g}")
    names = [name for given in symbols for name in given.split(",") if name.strip()]
    policy = replace(Policy(), timeout=timeout)
    call = fetch_archive if source == "archive" else fetch_recent
    with _bar(quiet=quiet) as bar:
        task = bar.add_task(f"{source} {interval}", total=None)
        report = call(
            *(target, names, interval, first, last),
            market=market,
            base_url=base_url,
            workers=workers,
            policy=policy,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if not quiet or not report.ok:
        out.print(f"{target}: {report}", markup=False, highlight=False, soft_wrap=True)
    if not report.ok:
        raise typer.Exit(PARTLY_FAILED)
    if not report.fetched and not report.kept:
        raise SchemaError(f"nothing was found for {', '.join(names)}; are symbol, market, interval and dates right?")


def _bar(*, quiet: bool) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True)
