"""The commands, their options and their help; each command's work is a module that loads when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from qtfeat.cli import models as models_commands
from qtfeat.cli.options import By, Features, Numerics, OnBad, SetName, Source, TimeColumn, friendly

Exchange = Literal["binance"]
FetchSource = Literal["archive", "rest"]
FetchMarket = Literal["spot", "um", "cm"]

app = typer.Typer(
    name="qtfeat",
    help="Technical-indicator features for trading models: one arithmetic for batch, windows and streams.\n\n"
    "Exit codes: 0 done, 1 verification failed or not installed, 2 bad input, 3 a gate refused, "
    "4 partly failed.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
)
app.add_typer(models_commands.app, name="models")


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


@app.command(epilog="Examples: `qtfeat inspect bars/` · `qtfeat inspect bars/ --strict --plot coverage.png`")
def inspect(
    source: Source,
    by: By = "symbol",
    time: TimeColumn = "open_time",
    strict: Annotated[bool, typer.Option(help="Exit with 2 when anything was found.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the coverage map into a .png or .svg file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Report on the quality of bars: gaps, duplicates, order, bad rows, frozen feed, jumps, unfinished last bar."""
    with friendly():
        from qtfeat.cli.inspect import report

        report(source, by, time, strict=strict, plot=plot, as_json=json)


@app.command(
    epilog="Examples: `qtfeat fetch binance --symbols BTCUSDT,ETHUSDT --interval 1h --from 2023-01 --to 2024-12` · "
    "`qtfeat fetch binance --symbols BTCUSDT --market um --source rest --from 2025-03-01`"
)
def fetch(
    exchange: Annotated[Exchange, typer.Argument(help="Where from: binance.")],
    symbols: Annotated[list[str], typer.Option("--symbols", "-s", help="BTCUSDT,ETHUSDT; repeat or join by commas.")],
    first: Annotated[str, typer.Option("--from", help="First month or day: 2023-01 or 2023-01-15.")],
    last: Annotated[str | None, typer.Option("--to", help="Last month or day, included [yesterday].")] = None,
    interval: Annotated[str, typer.Option("--interval", "-i", help="Bar length, 1s to 1mo.")] = "1h",
    target: Annotated[Path, typer.Option("--out", "-o", help="Folder that the files go to.")] = Path("bars"),
    source: Annotated[
        FetchSource, typer.Option(help="archive: whole months and days; rest: what is newer.")
    ] = "archive",
    market: Annotated[FetchMarket, typer.Option(help="spot, um (USD-M futures) or cm (coin-M).")] = "spot",
    base_url: Annotated[str | None, typer.Option(help="A mirror of the archive or of the REST API.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=32, help="Files at the same time.")] = 4,
    timeout: Annotated[float, typer.Option(help="Seconds without data before a connection is given up.")] = 30.0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress bar, and no report unless a file failed.")
    ] = False,
) -> None:
    """Download klines: verified by hash, continued where it broke off. Exit code 4 when some files failed."""
    del exchange
    with friendly():
        from qtfeat.cli.fetch import fetch as run_fetch

        run_fetch(
            symbols,
            interval,
            first,
            last,
            target,
            source=source,
            market=market,
            base_url=base_url,
            workers=workers,
            timeout=timeout,
            quiet=quiet,
        )


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
