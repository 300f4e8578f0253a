"""`qtfeat archive`: streams into the lake, and archived bars into the lake's bars."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qtfeat.cli.options import err, friendly, out

if TYPE_CHECKING:
    from qtfeat.streams import Consumer, StreamArchive, StreamSpec

app = typer.Typer(
    help="Keep what streams carry: daily files in a lake, nothing lost, nothing twice.", no_args_is_help=True
)

LakeRoot = Annotated[str, typer.Option("--lake", "-l", help="Folder or URL of the lake.")]


@app.command(
    epilog="Examples: `qtfeat archive redis --url redis://127.0.0.1:6379 --lake lake`, "
    "`qtfeat archive redis --lake lake --streams market.klines --streams my.trades=ticks`, "
    "`qtfeat archive redis --lake lake --config streams.toml --once`"
)
def redis(
    lake: LakeRoot,
    url: Annotated[str, typer.Option(help="Server: redis://, rediss:// or unix://.")] = "redis://127.0.0.1:6379",
    streams: Annotated[
        list[str] | None,
        typer.Option(
            "--streams", "-s", help="A stream, or STREAM=KIND (klines, ticks, trades, funding, book); repeat."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML with kind, fields and constants per stream.")] = None,
    group: Annotated[str, typer.Option(help="Consumer group.")] = "qtfeat-archive",
    consumer: Annotated[str, typer.Option(help="Consumer in the group [the host's name].")] = "",
    batch: Annotated[int, typer.Option(min=1, help="Messages per read and stream.")] = 2000,
    max_deliveries: Annotated[int, typer.Option(min=1, help="After so many the message is a dead letter.")] = 5,
    claim_after: Annotated[float, typer.Option(help="Seconds before another consumer's messages are taken over.")] = 60,
    fold_seconds: Annotated[float, typer.Option(help="Seconds between two writings of the daily files.")] = 300,
    once: Annotated[bool, typer.Option(help="Stop when nothing is left.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress line.")] = False,
) -> None:
    """Archive Redis streams until Ctrl-C or SIGTERM; a message is acknowledged once it is on the disk."""
    with friendly():
        from qtfeat.errors import SchemaError
        from qtfeat.streams import Consumer, Settings, StreamArchive, default_streams, load_streams, parse_streams

        if streams and config:
            raise SchemaError("give --streams or --config, not both")
        specs = load_streams(config) if config else parse_streams(streams) if streams else default_streams()
        settings = Settings(group, consumer, batch=batch, max_deliveries=max_deliveries, claim_after=claim_after)
        logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
        with StreamArchive(lake, specs, fold_seconds=fold_seconds) as archive:
            one = Consumer(url, [spec.name for spec in specs], archive, settings)
            with _stopped_by_signals() as stop, _progress(one, archive, specs, quiet=quiet or not err.is_terminal):
                one.run(stop, until_idle=once)
        counts = archive.counts
        out.print(
            f"{counts['written']:,} messages archived: {counts['rows']:,} new, {counts['duplicates']:,} had been there"
            f" ({counts['conflicts']:,} with other values), {one.counts['dead']:,} dead letters",
            highlight=False,
        )


@app.command(epilog="Example: `qtfeat archive bars --lake lake --market um`")
def bars(
    lake: LakeRoot,
    market: Annotated[str, typer.Option(help="Where they go in the lake, such as spot or um.")],
    stream: Annotated[str, typer.Option(help="The archived stream of klines.")] = "market.klines",
    on_conflict: Annotated[
        str, typer.Option(help="Bars the lake has with other values: raise, keep, replace.")
    ] = "raise",
) -> None:
    """Add archived klines to the lake's bars, where a backfill finds them."""
    with friendly():
        from qtfeat.streams import StreamSpec, bars_into_lake

        added = bars_into_lake(lake, StreamSpec(stream, "klines"), market, on_conflict=on_conflict)
        for one in added:
            out.print(f"{one.partition}: {one.new:,} new, {one.same:,} the same", highlight=False)
        if not added:
            err.print(f"nothing archived of {stream} in {lake}", markup=False)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set: what is in hand is finished first. A second Ctrl-C interrupts."""
    stop = threading.Event()

    def handler(number: int, frame: Any) -> None:
        del frame
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def _progress(one: Consumer, archive: StreamArchive, specs: tuple[StreamSpec, ...], *, quiet: bool) -> Iterator[None]:
    """A line that tells what has been done, renewed by the display's own thread."""
    if quiet:
        yield
        return
    from rich.live import Live
    from rich.text import Text

    class Line:
        def __rich__(self) -> Text:
            c, a = one.counts, archive.counts
            return Text(
                f"{len(specs)} streams: {c['acknowledged']:,} archived, {c['failed']:,} failed, {c['dead']:,} dead,"
                f" {c['reconnects']:,} reconnects, {a['folds']:,} folds"
            )

    with Live(Line(), console=err, refresh_per_second=2):
        yield
