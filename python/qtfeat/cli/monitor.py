"""`qtfeat monitor`: a running server in the terminal."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from qtfeat.cli.options import out as console
from qtfeat.errors import SchemaError

_STYLE = {"BUY": "green", "SELL": "red", "HOLD": "dim"}


def watch(url: str, token: str | None, every: float, *, once: bool) -> None:
    """Show the state of a server, again and again until Ctrl-C.

    Raises:
        SchemaError: no server there, or it refuses.
    """
    if once:
        console.print(render(fetch(url, token)))
        return
    shown: RenderableType = render(fetch(url, token))
    with Live(shown, console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(every)
                try:
                    shown = render(fetch(url, token))
                except SchemaError as error:
                    shown = Text(str(error), style="red")
                live.update(shown, refresh=True)
        except KeyboardInterrupt:
            return


def fetch(url: str, token: str | None) -> dict[str, Any]:
    """Return what `GET /v1/state` answers.

    Raises:
        SchemaError: no server there, or it refuses.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise SchemaError(f"{url}: an address such as http://127.0.0.1:8001 is expected")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{url.rstrip('/')}/v1/state", headers=headers)  # noqa: S310 (checked above)
    try:
        with urllib.request.urlopen(request, timeout=10.0) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, ValueError) as error:
        raise SchemaError(f"{url}: {error}") from error


def render(state: dict[str, Any]) -> RenderableType:
    """Return the state as tables."""
    return Group(_models(state), _universe(state), _foot(state))


def _models(state: dict[str, Any]) -> Table:
    table = Table(title="models", expand=True, title_justify="left")
    for column in ("lane", "version", "drift", "expires", "gates"):
        table.add_column(column)
    for lane, model in state["models"].items():
        expires = model["expires_ns"]
        left = "never" if expires is None else _span((expires - state["now_ns"]) / 1e9)
        drift = state["drift"].get(lane)
        passed = sum(gate["passed"] for gate in model["gates"])
        gates = f"{passed} of {len(model['gates'])} passed"
        index = "-" if drift is None else f"{drift:.3f}"
        table.add_row(lane, f"{model['name']}/{model['version']}", index, left, gates)
    return table


def _universe(state: dict[str, Any]) -> Table:
    table = Table(title="universe", expand=True, title_justify="left")
    for column in ("symbol", "signal", "conf", "shadow", "score %", "close", "age"):
        table.add_column(column, no_wrap=True)
    table.add_column("reason", ratio=1, no_wrap=True, overflow="ellipsis")
    for row in state["symbols"]:
        signal, shadow = row["signal"], row["shadow"]
        age = "-" if row["time_ns"] is None else _span((state["now_ns"] - row["time_ns"]) / 1e9)
        if signal is None:
            table.add_row(row["symbol"], "-", "", "", "", "", age, "ready" if row["ready"] else "warm-up")
            continue
        score = "" if signal["score"] is None else f"{signal['score'] * 100:+.3f}"
        table.add_row(
            row["symbol"] + (" *" if signal["selected"] else ""),
            Text(signal["side"], style=_STYLE[signal["side"]]),
            f"{signal['confidence']:.3f}",
            "" if shadow is None else Text(shadow["side"], style=_STYLE[shadow["side"]]),
            score,
            f"{signal['close']:.6g}",
            age,
            signal["reason"] if signal["source"] == "model" else f"{signal['source']}: {signal['reason']}",
        )
    return table


def _foot(state: dict[str, Any]) -> Text:
    counted = ", ".join(f"{name} {number:,}" for name, number in sorted(state["counters"].items()))
    latency = state["latency_us"]
    text = f"bars: {counted or 'none'}"
    if latency["p50"] is not None:
        text += f"   latency: p50 {latency['p50']:,.0f} µs, p99 {latency['p99']:,.0f} µs"
    error = f"\nreload failed: {state['reload_error']}" if state["reload_error"] else ""
    return Text(text + error, style="red" if error else "")


def _span(seconds: float) -> str:
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{sign}{seconds / size:.1f} {unit}"
    return f"{sign}{seconds:.0f} s"
