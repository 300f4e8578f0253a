"""The commands, their options and their help; each command's work is a module that loads when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from qtfeat.cli import archive as archive_commands
from qtfeat.cli import export as export_commands
from qtfeat.cli import models as models_commands
from qtfeat.cli import train as train_commands
from qtfeat.cli.backfill import EPILOG, backfill
from qtfeat.cli.lake import lake_app
from qtfeat.cli.options import (
    By,
    Calibration,
    Ensemble,
    Features,
    Numerics,
    OnBad,
    SetName,
    Source,
    Target,
    TimeColumn,
    friendly,
)
from qtfeat.cli.serve import attach as attach_serving

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
app.add_typer(export_commands.app)
app.add_typer(train_commands.app)
app.add_typer(models_commands.app, name="models")
app.add_typer(archive_commands.app, name="archive")

app.command(epilog=EPILOG)(backfill)
app.add_typer(lake_app)


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


@app.command(
    epilog="Examples: `qtfeat run` (a simulated market) · `qtfeat run --data bars/ --set wide32 --target neutral` · "
    "`qtfeat run --data bars/ --promote`"
)
def run(
    data: Annotated[Path | None, typer.Option(help="Bars: a file or a folder; without it, simulated bars.")] = None,
    set_name: SetName = "kline17",
    target: Target = "raw",
    models: Annotated[Path, typer.Option("--models", "-o", help="Folder that the models go to.")] = Path("models"),
    name: Annotated[str | None, typer.Option(help="Name of the model; default from set and target.")] = None,
    horizon: Annotated[int, typer.Option(min=1, help="Bars ahead to predict.")] = 5,
    threshold: Annotated[
        float | None, typer.Option(help="BUY above it, SELL below minus it; default by target (raw: 0.005).")
    ] = None,
    folds: Annotated[int, typer.Option(min=1, help="Test blocks of the walk-forward.")] = 5,
    embargo: Annotated[int, typer.Option(min=0, help="Bars between training and test, beyond the purge.")] = 0,
    train_size: Annotated[int | None, typer.Option(min=1, help="Timestamps to train on; default all before.")] = None,
    ensemble: Ensemble = "mean",
    calibration: Calibration = "isotonic",
    rounds: Annotated[int, typer.Option(min=1, help="Most boosting rounds.")] = 300,
    smoothing: Annotated[float, typer.Option(help="Share of each label spread over the classes.")] = 0.0,
    half_life: Annotated[float | None, typer.Option(help="Days after which a row has half the weight.")] = None,
    balance: Annotated[bool, typer.Option(help="Give the classes equal weight in training.")] = True,
    scale: Annotated[bool, typer.Option(help="Standardise the features.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the simulator and of the training.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads; part of what makes a run repeatable.")] = 2,
    limits: Annotated[Path | None, typer.Option(help="TOML of gate limits; default the shipped ones.")] = None,
    attempts: Annotated[int, typer.Option(min=1, help="Models tried for this one; stands beside its skill.")] = 1,
    tune: Annotated[int, typer.Option(min=0, help="Search through so many settings first (extra: tune).")] = 0,
    expires_days: Annotated[float | None, typer.Option(help="Days that the model may be served.")] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Put it into production if the gates allow.")] = False,
    on_bad: OnBad = "raise",
    symbols: Annotated[int, typer.Option(min=1, help="Simulator: symbols.")] = 8,
    bars: Annotated[int, typer.Option(min=1, help="Simulator: bars per symbol.")] = 20_000,
    signal_r2: Annotated[float, typer.Option(help="Simulator: share of variance an oracle explains.")] = 0.03,
) -> None:
    """The main job: bars, features, labels, purged walk-forward, gates, and a signal for every symbol.

    A model that fails a gate is kept as rejected, and the exit code is 3.
    """
    settings = {**locals()}
    with friendly():
        from qtfeat.cli.run import main_job

        main_job(settings.pop("data"), out=settings.pop("models"), **settings)


attach_serving(app)
