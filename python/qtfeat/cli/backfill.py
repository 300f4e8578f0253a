"""`qtfeat backfill`: the features of a whole lake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qtfeat.cli.lake import Interval, Market, Root, Symbols, listed
from qtfeat.cli.options import BAD_INPUT, Features, Numerics, OnBad, SetName, err, feature_set, friendly, out

if TYPE_CHECKING:
    from qtfeat.backfill.run import Report

PARTLY_FAILED = 4
INTERRUPTED = 130

EPILOG = (
    "Examples: `qtfeat backfill lake/ --set wide32 --workers 2` · "
    "`qtfeat backfill lake/ --symbols BTCUSDT,ETHUSDT --from 2024-01 --dtype float64` · "
    "`qtfeat backfill /shared/lake --dask tcp://10.0.0.1:8786`"
)


def backfill(
    root: Root,
    set_name: SetName = "wide32",
    features: Features = None,
    numerics: Numerics = "safe",
    symbols: Symbols = None,
    market: Market = None,
    interval: Interval = None,
    first: Annotated[str | None, typer.Option("--from", help="First month to write, such as 2023-01.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last month.")] = None,
    dtype: Annotated[Literal["float32", "float64"], typer.Option(help="Type of the features.")] = "float32",
    on_bad: OnBad = "raise",
    on_gap: Annotated[
        Literal["ignore", "raise", "reset"], typer.Option(help="What to do where bars are missing.")
    ] = "ignore",
    workers: Annotated[int | None, typer.Option(min=1, help="Threads [all processors].")] = None,
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler to work on, instead.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Verify the checksums of features that are there.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Compute anew what was made with another dtype or policy.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Compute the features of every bar in a lake, month by month; only what is missing or changed is computed.

    Stop it at any time: the next run goes on there, and the bytes are those of a run without a stop.
    Exit codes: 0 all is up to date, 2 bad input, 4 some symbols failed (the others are done), 130 stopped.
    """
    with friendly():
        from qtfeat.backfill import Dask, run_backfill

        if dask is not None and workers is not None:
            err.print("error: --workers are threads of this process; --dask has workers of its own", style="red")
            raise typer.Exit(BAD_INPUT)
        fs = feature_set(set_name, features, numerics)
        try:
            report = run_backfill(
                root,
                fs,
                markets=listed(market),
                symbols=listed(symbols),
                intervals=listed(interval),
                first=first,
                last=last,
                dtype=dtype,
                on_bad=on_bad,
                on_gap=on_gap,
                workers=workers,
                executor=None if dask is None else Dask(dask),
                check=check,
                replace_settings=replace,
                progress=None if quiet or not err.is_terminal else _progress,
            )
        except KeyboardInterrupt:
            err.print("stopped; what was finished is kept, run the same again to go on", soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from None
        _tell(report)


def _tell(report: Report) -> None:
    for failed in report.failed:
        err.print(f"{failed.path}: {failed.error}", style="red", markup=False, soft_wrap=True)
    done = report.partitions - len(report.failed)
    out.print(
        f"{report.folder}: {done} of {report.partitions} series up to date, "
        f"{report.computed} months computed ({report.rows:,} bars), {report.skipped} there already",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if report.failed:
        err.print(f"{len(report.failed)} series failed; mend their bars and run again", style="red", soft_wrap=True)
        raise typer.Exit(PARTLY_FAILED)


@contextmanager
def _progress(rows: int) -> Iterator[Callable[[int], None]]:
    """A bar over the bars of the lake, with rows per second and the time that is left."""
    from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.text import Text

    class Speed(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:,.0f} rows/s")

    parts = (
        TextColumn("{task.percentage:>3.0f} %"),
        BarColumn(),
        Speed(""),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*parts, console=err, transient=True) as bar:
        task = bar.add_task("", total=rows)
        yield lambda done: bar.advance(task, done)
