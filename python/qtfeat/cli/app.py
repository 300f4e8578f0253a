"""The commands, their options and their help; each command's work is a module that loads when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qtfeat.cli import archive as archive_commands
from qtfeat.cli import models as models_commands
from qtfeat.cli.options import By, Features, Numerics, OnBad, SetName, Source, TimeColumn, friendly

app = typer.Typer(
    name="qtfeat",
    help="Technical-indicator features for trading models: one arithmetic for batch, windows and streams.\n\n"
    "Exit codes: 0 done, 1 verification failed or not installed, 2 bad input, 3 a gate refused.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
)
app.add_typer(models_commands.app, name="models")
app.add_typer(archive_commands.app, name="archive")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"qtfeat {version('qtfeat')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Technical-indicator features for trading models."""


@app.command(epilog="Example: `qtfeat catalog rsi`")
def catalog(
    id: Annotated[str | None, typer.Argument(help="Only this indicator.")] = None,  # noqa: A002
    json: Annotated[bool, typer.Option("--json", help="One JSON object per output, one per line.")] = False,
) -> None:
    """List every indicator: outputs, parameters, unit, range, neutral value, warm-up, memory and formula."""
    with friendly():
        from qtfeat.cli.catalog import show

        show(id, as_json=json)


@app.command(epilog="Example: `qtfeat compute bars.parquet features.parquet --set kline17 --by symbol`")
def compute(
    source: Source,
    target: Annotated[Path, typer.Argument(help="Where the features go: .parquet or .csv.")],
    set_name: SetName = "kline17",
    features: Features = None,
    by: By = "symbol",
    time: TimeColumn = "open_time",
    numerics: Numerics = "safe",
    on_bad: OnBad = "raise",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Compute features from bars, in constant memory; the target appears whole or not at all."""
    with friendly():
        from qtfeat.cli.compute import Job, run_job

        run_job(Job(source, target, set_name, tuple(features or ()), by, time, numerics, on_bad), quiet=quiet)


@app.command(epilog="Example: `qtfeat verify bars/ --set wide32`")
def verify(
    source: Source,
    set_name: SetName = "kline17",
    features: Features = None,
    by: By = "symbol",
    time: TimeColumn = "open_time",
    numerics: Numerics = "safe",
) -> None:
    """Prove on your own bars: one arithmetic in every mode, finite values in range, no look into the future."""
    with friendly():
        from qtfeat.cli.verify import prove

        prove(source, set_name, features, by, time, numerics)


@app.command(epilog="Example: `qtfeat inspect bars/`")
def inspect(
    source: Source,
    by: By = "symbol",
    time: TimeColumn = "open_time",
    strict: Annotated[bool, typer.Option(help="Exit with 2 when anything was found.")] = False,
) -> None:
    """Report on the quality of bars: gaps, duplicates, order, bad rows, frozen feed, jumps, unfinished last bar."""
    with friendly():
        from qtfeat.cli.inspect import report

        report(source, by, time, strict=strict)


@app.command(epilog="Example: `qtfeat plot BTCUSDT --data bars/ --out btc.html`")
def plot(
    symbol: Annotated[str, typer.Argument(help="The symbol to draw.")],
    data: Annotated[Path, typer.Option(help="Bars: a file or a folder.")],
    target: Annotated[Path | None, typer.Option("--out", "-o", help="A .png or .html file [SYMBOL.png].")] = None,
    bars: Annotated[int, typer.Option(min=2, help="How many bars, the latest.")] = 200,
) -> None:
    """Draw price with Bollinger bands, RSI and MACD."""
    with friendly():
        from qtfeat.cli.plot import draw

        draw(symbol, data, target or Path(f"{symbol}.png"), bars)


@app.command(epilog="Example: `qtfeat run --data bars/`")
def run(
    data: Annotated[Path | None, typer.Option(help="Bars: a file or a folder; without it, simulated bars.")] = None,
    set_name: Annotated[str, typer.Option("--set", "-s", help="Name of a shipped feature set.")] = "kline17",
    models: Annotated[Path, typer.Option("--models", "-o", help="Folder that the models go to.")] = Path("models"),
    horizon: Annotated[int, typer.Option(min=1, help="Bars ahead to predict.")] = 5,
    threshold: Annotated[float, typer.Option(help="BUY above this return, SELL below minus it.")] = 0.005,
    folds: Annotated[int, typer.Option(min=1, help="Test blocks of the walk-forward.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the simulator and of the training.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads; part of what makes a run repeatable.")] = 2,
    on_bad: OnBad = "raise",
    symbols: Annotated[int, typer.Option(min=1, help="Simulator: symbols.")] = 8,
    bars: Annotated[int, typer.Option(min=1, help="Simulator: bars per symbol.")] = 20_000,
    signal_r2: Annotated[float, typer.Option(help="Simulator: share of variance an oracle explains.")] = 0.03,
) -> None:
    """The main job: bars, features, labels, purged walk-forward, saved models, and a signal for every symbol."""
    with friendly():
        from qtfeat.cli.run import main_job

        main_job(
            data,
            set_name=set_name,
            horizon=horizon,
            threshold=threshold,
            folds=folds,
            out=models,
            seed=seed,
            threads=threads,
            on_bad=on_bad,
            symbols=symbols,
            bars=bars,
            signal_r2=signal_r2,
        )
