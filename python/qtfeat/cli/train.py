"""`qtfeat train`: models of other data than bars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from qtfeat.cli.options import SetName, friendly

app = typer.Typer(name="train", help="Train on other data than bars (for bars: `qtfeat run`).", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Train on other data than bars (for bars: `qtfeat run`)."""


@app.command(
    epilog="Examples: `qtfeat train trades closed.csv --bars bars/` · "
    "`qtfeat train trades trades.sqlite --table closed --map pnl_pct=profit_ratio --unit fraction --since 2024-01-01`"
)
def trades(
    source: Annotated[Path, typer.Argument(help="Closed trades: .parquet, .csv, .jsonl or .sqlite.")],
    bars: Annotated[Path | None, typer.Option(help="Bars of the symbols: a file or a folder.")] = None,
    table: Annotated[str | None, typer.Option(help="Table of a SQLite file.")] = None,
    mapped: Annotated[list[str] | None, typer.Option("--map", help="Column map, as pnl_pct=profit; repeat.")] = None,
    since: Annotated[str | None, typer.Option(help="Leave out trades entered before, as 2024-01-01.")] = None,
    unit: Annotated[Literal["percent", "fraction"], typer.Option(help="Unit of pnl_pct.")] = "percent",
    set_name: SetName = "trade14",
    threshold: Annotated[float, typer.Option(help="BUY above this outcome, SELL below minus it.")] = 0.005,
    windows: Annotated[
        Literal["context", "outcome"],
        typer.Option(help="Synthetic windows for trades without bars; outcome leaks, so shadow at most."),
    ] = "context",
    models: Annotated[Path, typer.Option("--models", "-o", help="Folder that the models go to.")] = Path("models"),
    name: Annotated[str, typer.Option(help="Name of the model.")] = "trades",
    folds: Annotated[int, typer.Option(min=1, help="Test blocks of the walk-forward.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="Most boosting rounds.")] = 300,
    seed: Annotated[int, typer.Option(help="Seed of training and windows.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads.")] = 2,
    limits: Annotated[Path | None, typer.Option(help="TOML of gate limits; default the shipped ones.")] = None,
    attempts: Annotated[int, typer.Option(min=1, help="Models tried for this one.")] = 1,
) -> None:
    """Train on closed trades, from real bars where they exist and synthetic windows where they do not.

    Such a model is kept for study: with few trades, or without bars to replay, the gates reject it (exit code 3).
    """
    with friendly():
        from qtfeat.bars import read_bars
        from qtfeat.cli.options import feature_set, out
        from qtfeat.errors import GateFailed, SchemaError
        from qtfeat.trades import read_trades, trade_dataset
        from qtfeat.train.config import TrainConfig
        from qtfeat.train.trades import train_trades

        columns = {}
        for pair in mapped or []:
            ours, sign, theirs = pair.partition("=")
            if not sign:
                raise SchemaError(f"--map {pair!r}: write it as ours=theirs")
            columns[ours] = theirs
        features = feature_set(set_name, None, "safe")
        closed = read_trades(source, table=table, columns=columns or None, since=since, unit=unit)
        panel = None if bars is None else read_bars(bars)[0]
        made = trade_dataset(closed, panel, features, threshold=threshold, kind=windows, seed=seed, threads=threads)
        config = TrainConfig(seed=seed, threads=threads, rounds=rounds, min_child=5)
        result = train_trades(
            made,
            features,
            out=models,
            name=name,
            folds=folds,
            config=config,
            limits=limits,
            attempts=attempts,
            console=out,
        )
        if result.status == "rejected":
            failed = len(result.verdicts.failures)
            raise GateFailed(f"{failed} gates failed; see {result.path / 'report.html'}", verdicts=result.verdicts)
