"""`qtfeat lake`: what is in a lake of bars, whether it is sound, and how bars come in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qtfeat.cli.options import err, friendly, out

if TYPE_CHECKING:
    from qtfeat.backfill.lake import Lake
    from qtfeat.backfill.partition import Partition

lake_app = typer.Typer(name="lake", help="A lake of bars: one Parquet file per market, symbol, interval and month.")

Root = Annotated[str, typer.Argument(help="Folder (or URL) of the lake.", metavar="LAKE")]
Symbols = Annotated[list[str] | None, typer.Option("--symbols", "-S", help="Only these; commas, or repeat.")]
Market = Annotated[list[str] | None, typer.Option("--market", help="Only these markets.")]
Interval = Annotated[list[str] | None, typer.Option("--interval", help="Only these intervals.")]
FAULTY = 1


def listed(values: list[str] | None) -> list[str] | None:
    """Values of a repeated option that may hold commas."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()] if values else None


@lake_app.command(epilog="Example: `qtfeat lake add lake/ klines/ --market spot --interval 1h`")
def add(
    root: Root,
    source: Annotated[Path, typer.Argument(help="Bars: a file of any kind that `qtfeat inspect` reads, or a folder.")],
    market: Annotated[
        str | None, typer.Option(help="Market, such as spot or um [what the path says, else spot].")
    ] = None,
    interval: Annotated[str | None, typer.Option(help="Distance between bars [the most common one].")] = None,
    symbol: Annotated[str | None, typer.Option(help="Overrides the symbol in the file or its name.")] = None,
    on_conflict: Annotated[
        Literal["raise", "keep", "replace"], typer.Option(help="A bar that is there with other values.")
    ] = "raise",
) -> None:
    """Add bars to a lake. Adding the same bars again changes nothing, not one byte."""
    with friendly():
        from qtfeat.backfill.lake import Lake
        from qtfeat.bars.read import read_bars

        market = market or _market(source)
        bars, report = read_bars(source, symbol=symbol)
        if report.findings:
            err.print(f"{source}: {len(report.findings)} findings; qtfeat inspect {source} tells them", soft_wrap=True)
        for done in Lake(root).add(bars, market, interval, on_conflict=on_conflict):
            told = [f"{done.new:,} new", f"{done.same:,} there already"]
            told += [f"{n:,} {word}" for n, word in ((done.replaced, "replaced"), (done.kept, "kept")) if n]
            out.print(f"{done.partition}: {', '.join(told)}; {len(done.months)} files written", soft_wrap=True)


@lake_app.command(epilog="Example: `qtfeat lake ls lake/`")
def ls(root: Root, symbols: Symbols = None, market: Market = None, interval: Interval = None) -> None:
    """List the series of a lake: first and last bar, bars, files, bytes."""
    with friendly():
        import numpy as np
        from rich.table import Table

        lake, partitions = _chosen(root, symbols, market, interval)
        table = Table(box=None, header_style="bold")
        for name in ("market", "symbol", "interval", "first", "last", "bars", "files", "MB"):
            table.add_column(name, justify="right" if name in ("bars", "files", "MB") else "left", no_wrap=True)
        for p in partitions:
            months = list(lake.months(p).values())
            if not months:
                table.add_row(p.market, p.symbol, p.interval, "", "", "0", "0", "0")
                continue
            ends = [str(np.datetime64(t, "ms").astype("datetime64[D]")) for t in (months[0].first, months[-1].last)]
            rows, size = sum(m.rows for m in months), sum(m.size for m in months)
            table.add_row(p.market, p.symbol, p.interval, *ends, f"{rows:,}", f"{len(months)}", f"{size / 1e6:.1f}")
        out.print(table)


@lake_app.command(epilog="Example: `qtfeat lake check lake/`")
def check(root: Root, symbols: Symbols = None, market: Market = None, interval: Interval = None) -> None:
    """Read every file and compare it with its manifest. Exit code 1 when something is wrong."""
    with friendly():
        from qtfeat.backfill import checks

        lake, partitions = _chosen(root, symbols, market, interval)
        found = 0
        for problem in checks.check(lake, partitions):
            found += 1
            out.print(str(problem), markup=False, soft_wrap=True)
        if found:
            err.print(f"{found} problems; mend them with: qtfeat lake repair {root}", style="red", soft_wrap=True)
            raise typer.Exit(FAULTY)
        out.print(f"{len(partitions)} series, nothing wrong")


@lake_app.command(epilog="Example: `qtfeat lake repair lake/`")
def repair(root: Root, symbols: Symbols = None, market: Market = None, interval: Interval = None) -> None:
    """Make the manifests true: accept sound files, set damaged ones aside under `quarantine/`."""
    with friendly():
        from qtfeat.backfill import checks

        lake, partitions = _chosen(root, symbols, market, interval)
        done = [str(problem) for problem in checks.repair(lake, partitions)]
        for line in done:
            out.print(line, markup=False, soft_wrap=True)
        out.print(f"{len(partitions)} series, {len(done)} problems mended")


def _market(source: Path) -> str:
    """The market that all files are of, by their paths: `.../data/futures/um/...` is um, `market=um/...` too."""
    from qtfeat.bars.read import bar_files
    from qtfeat.bars.schema import origin_of
    from qtfeat.errors import SchemaError

    found = sorted(
        {origin_of(file.absolute(), file.stem).market.removeprefix("futures/") for file in bar_files(source)}
    )
    if len(found) > 1:
        names = ", ".join(name or "none named" for name in found)
        raise SchemaError(
            f"{source}: files of several markets ({names}): add their folders one by one, or say --market"
        )
    return found[0] or "spot"


def _chosen(
    root: str, symbols: list[str] | None, market: list[str] | None, interval: list[str] | None
) -> tuple[Lake, list[Partition]]:
    from qtfeat.backfill.lake import Lake

    lake = Lake(root)
    chosen = {"markets": listed(market), "symbols": listed(symbols), "intervals": listed(interval)}
    return lake, lake.partitions(**chosen)
