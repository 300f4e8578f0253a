"""`qtfeat serve`, `qtfeat token` and `qtfeat shadow`: their options; the work is in `qtfeat.serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from qtfeat.cli.options import OnBad, friendly
from qtfeat.cli.options import out as console

_Tokens = Annotated[Path, typer.Option("--file", "-f", help="File of tokens.")]

token_app = typer.Typer(no_args_is_help=True, help="Bearer tokens of `qtfeat serve`.")
shadow_app = typer.Typer(no_args_is_help=True, help="What a shadow model would have done.")


def attach(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(epilog=_EXAMPLES)(serve)
    app.command(epilog="Example: `qtfeat monitor --url http://127.0.0.1:8001`")(monitor)
    app.add_typer(token_app, name="token")
    app.add_typer(shadow_app, name="shadow")


_EXAMPLES = (
    "Examples: `qtfeat serve --name kline17 --symbols BTCUSDT,ETHUSDT --interval 1h --poll` · "
    "`qtfeat serve --name kline17 --symbols universe.txt --interval 5m --store state/ --warm-up bars/`"
)


def serve(
    name: Annotated[str, typer.Option(help="Name of the model; its production version is served.")],
    symbols: Annotated[str, typer.Option(help="Symbols, separated by commas, or a file with one a line.")],
    interval: Annotated[str, typer.Option(help="Length of a bar, such as 1h.")],
    models: Annotated[Path, typer.Option(help="Folder of the models.")] = Path("models"),
    host: Annotated[str, typer.Option(help="Address to listen at; others than loopback need --tokens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8001,
    store: Annotated[Path | None, typer.Option(help="Folder for state and recorded signals.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Policy file (TOML); default the shipped one.")] = None,
    tokens: Annotated[Path | None, typer.Option(help="File of bearer tokens: see `qtfeat token`.")] = None,
    warm_up: Annotated[Path | None, typer.Option(help="Bars to warm up with: a file or a folder.")] = None,
    poll: Annotated[bool, typer.Option("--poll", help="Take closed bars from the exchange's REST pages.")] = False,
    poll_market: Annotated[str, typer.Option(help="Market to poll: spot, um or cm.")] = "spot",
    poll_url: Annotated[str | None, typer.Option(help="Another server with the same REST pages.")] = None,
    redis: Annotated[str | None, typer.Option(help="URL of a Redis whose streams bring bars; needs --store.")] = None,
    streams: Annotated[
        list[str] | None,
        typer.Option(
            help="A stream, or STREAM=KIND (klines, ticks, trades); repeat [market.klines, market.tick, ...]."
        ),
    ] = None,
    stream_config: Annotated[Path | None, typer.Option(help="TOML with kind, fields and constants per stream.")] = None,
    signals: Annotated[str, typer.Option(help="Stream that signals go to.")] = "ai.signals",
    on_bad: OnBad = "raise",
    on_gap: Annotated[str, typer.Option(help="What missing bars do: ignore or reset.")] = "ignore",
    snapshot_every: Annotated[int, typer.Option(min=1, help="Bars between two snapshots.")] = 500,
    most_body: Annotated[int, typer.Option(min=1024, help="Most bytes of a request.")] = 4 << 20,
    in_flight: Annotated[int, typer.Option(min=1, help="Most requests at the same time; then 503.")] = 64,
    rate: Annotated[float, typer.Option(min=0, help="Requests per second and client, 0 for any; then 429.")] = 0.0,
    deadline: Annotated[float, typer.Option(min=0.05, help="Seconds per request; then 504.")] = 10.0,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Serve a model over HTTP: closed bars in, gated signals out. Paper mode: it places no orders."""
    with friendly():
        from qtfeat.serve.feed import prepare
        from qtfeat.serve.guard import Limits
        from qtfeat.serve.server import Settings
        from qtfeat.serve.server import serve as run

        settings = Settings(
            models=models,
            name=name,
            symbols=_symbols(symbols),
            interval=interval,
            host=host,
            port=port,
            policy=policy,
            store=store,
            tokens=tokens,
            limits=Limits(body=most_body, in_flight=in_flight, rate=rate, deadline=deadline),
            on_bad=on_bad,
            on_gap=on_gap,
            snapshot_every=snapshot_every,
            log_level=log_level,
        )
        follow = _streams(redis, store, streams, stream_config, signals) if redis else None
        feeds = prepare(interval, warm_up=warm_up, poll=(poll_market, poll_url) if poll else None, streams=follow)
        run(settings, prepare=feeds)


def _streams(url: str, store: Path | None, names: list[str] | None, config: Path | None, signals: str) -> Any:
    from qtfeat.errors import SchemaError
    from qtfeat.streams import load_streams, parse_streams
    from qtfeat.streams.follow import following

    if names and config:
        raise SchemaError("give --streams or --stream-config, not both")
    specs = load_streams(config) if config else parse_streams(names) if names else None
    return following(url, store, streams=specs, signals=signals)


def monitor(
    url: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8001",
    token: Annotated[str | None, typer.Option(envvar="QTFEAT_TOKEN", help="A token with the scope read.")] = None,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print once and end.")] = False,
) -> None:
    """Watch a running server in the terminal: universe, models, latency, drift."""
    with friendly():
        from qtfeat.cli.monitor import watch

        watch(url, token, every, once=once)


@token_app.command("add", epilog="Example: `qtfeat token add desk --scope read --scope predict`")
def token_add(
    name: Annotated[str, typer.Argument(help="Whose token it is.")],
    scope: Annotated[list[str], typer.Option(help="read, predict or admin; repeat.")],
    file: _Tokens = Path("tokens.json"),
) -> None:
    """Make a token and print it once; only its hash is kept."""
    with friendly():
        from qtfeat.serve.tokens import Tokens

        known = Tokens.load(file) if file.exists() else Tokens()
        token = known.add(name, scope)
        known.save(file)
        typer.echo(token)


@token_app.command("remove")
def token_remove(
    name: Annotated[str, typer.Argument(help="Whose token.")], file: _Tokens = Path("tokens.json")
) -> None:
    """Forget a token; a running server does so at its next start."""
    with friendly():
        from qtfeat.serve.tokens import Tokens

        known = Tokens.load(file)
        known.remove(name)
        known.save(file)


@token_app.command("list")
def token_list(file: _Tokens = Path("tokens.json")) -> None:
    """List names and scopes."""
    with friendly():
        from qtfeat.serve.tokens import Tokens

        for holder in Tokens.load(file).holders.values():
            console.print(f"{holder.name}: {', '.join(sorted(holder.scopes))}", markup=False)


@shadow_app.command("report", epilog="Example: `qtfeat shadow report --store state/ --horizon 5`")
def shadow_report(
    store: Annotated[Path, typer.Option(help="Folder that `qtfeat serve --store` wrote.")],
    horizon: Annotated[int, typer.Option(min=1, help="Bars after which the outcome is known.")] = 5,
    fee: Annotated[float, typer.Option(min=0, help="Costs of a round trip, as a share.")] = 0.0014,
) -> None:
    """Compare production and shadow on the bars that both saw, as far as outcomes are known."""
    with friendly():
        from qtfeat.serve.shadow import compare

        console.print(compare(store / "signals", horizon=horizon, cost=fee).table(), markup=False, highlight=False)


def _symbols(given: str) -> tuple[str, ...]:
    path = Path(given)
    text = path.read_text() if path.is_file() else given.replace(",", "\n")
    return tuple(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))
