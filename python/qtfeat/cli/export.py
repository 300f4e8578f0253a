"""`qtfeat export`: training data for models that are trained elsewhere."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from qtfeat.cli.options import OnBad, SetName, Target, friendly

app = typer.Typer(name="export", help="Training data for models that are trained elsewhere.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Training data for models that are trained elsewhere."""


@app.command(
    epilog="Example: `qtfeat export sequences bars/ sequences/ --length 128`, then in Python "
    '`load_sequences("sequences").X`'
)
def sequences(
    source: Annotated[Path, typer.Argument(help="Bars: a file or a folder.")],
    target_folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to make; appears whole or not.")],
    set_name: SetName = "seq8",
    length: Annotated[int, typer.Option(min=1, help="Bars per window.")] = 128,
    target: Target = "raw",
    horizon: Annotated[int, typer.Option(min=1, help="Bars ahead to predict.")] = 5,
    threshold: Annotated[float | None, typer.Option(help="Class threshold; default by target.")] = None,
    test: Annotated[float, typer.Option(help="Latest share of the timestamps: the test.")] = 0.2,
    validation: Annotated[float, typer.Option(help="Latest share of the rest: the validation.")] = 0.15,
    embargo: Annotated[int, typer.Option(min=0, help="Bars between the parts, beyond the purge.")] = 0,
    balance: Annotated[bool, typer.Option(help="Weigh the training windows so that classes count alike.")] = True,
    dtype: Annotated[Literal["float32", "float64"], typer.Option(help="Type of the windows.")] = "float32",
    threads: Annotated[int, typer.Option(min=1, help="Threads for the features.")] = 2,
    on_bad: OnBad = "raise",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Write windows of features (n, LENGTH, F) with labels and a purged split, to be mapped into memory."""
    with friendly():
        _sequences(
            source,
            target_folder,
            {"target": target, "horizon": horizon, "threshold": threshold, "threads": threads, "on_bad": on_bad},
            {"length": length, "test": test, "validation": validation, "balance": balance, "dtype": dtype},
            set_name,
            embargo,
            quiet,
        )


def _sequences(
    source: Path,
    folder: Path,
    preparing: dict[str, Any],
    exporting: dict[str, Any],
    set_name: str,
    embargo: int,
    quiet: bool,
) -> None:
    from qtfeat.bars import read_bars
    from qtfeat.cli.options import feature_set, out
    from qtfeat.train.data import prepare
    from qtfeat.train.report import Report
    from qtfeat.train.sequences import export_sequences, load_sequences

    report = Report(out, quiet=quiet)
    features = feature_set(set_name, None, "safe")
    bars, quality = read_bars(source)
    report.line(str(quality))
    data = prepare(bars, features, **preparing)
    with report.progress("windows", len(data.usable)) as tick:
        gap = timedelta(seconds=embargo * data.interval_seconds)
        export_sequences(data, features, folder, embargo=gap, tick=tick, **exporting)
    made = load_sequences(folder)
    counts = ", ".join(f"{name} {count:,}" for name, count in made.manifest["parts"].items())
    report.line(f"windows: {made.X.shape} {made.X.dtype}, {made.X.nbytes / 2**20:,.0f} MiB: {counts}")
    report.line(f"written: {folder}")
