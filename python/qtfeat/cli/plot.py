"""`qtfeat plot`: price with Bollinger bands, RSI and MACD, as a PNG or a self-contained HTML page."""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import qtfeat as qf
from qtfeat.bars import read_bars
from qtfeat.bars.files import whole_or_nothing
from qtfeat.cli.options import out
from qtfeat.errors import SchemaError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPECS = ["bb(20,2)", "rsi(14)", "macd(12,26,9)"]
_UP, _DOWN, _LINE, _BAND = "#1a7f5a", "#c0392b", "#2c5aa0", "#8a94a6"


def draw(symbol: str, data: Path, target: Path, bars: int) -> None:
    """Draw the latest bars of a symbol.

    Raises:
        SchemaError: no such symbol in the data, or a target that is neither .png nor .html.
    """
    suffix = target.suffix.lower()
    if suffix not in (".png", ".html"):
        raise SchemaError(f"{target}: charts are written to .png or .html")
    table, _ = read_bars(data)
    known = pc.unique(table.column("symbol")).to_pylist()
    if symbol not in known:
        raise SchemaError(f"{data}: no symbol {symbol!r}; there are {', '.join(map(str, known[:20]))}")
    table = table.filter(pc.equal(table.column("symbol"), symbol))
    # Features see the whole history, so the first bars drawn are past their warm-up where there is history.
    features = qf.compute(table, qf.FeatureSet(SPECS))
    figure = _figure(symbol, _tail(table, bars), _tail(features, bars))
    with whole_or_nothing(target) as part:
        if suffix == ".png":
            figure.savefig(part, format="png", dpi=120)
        else:
            part.write_text(_page(symbol, figure), encoding="utf-8")
    out.print(f"{target}: {symbol}, the last {min(bars, len(table)):,} of {len(table):,} bars", markup=False)


def _tail(table: pa.Table, n: int) -> dict[str, Any]:
    last = table.slice(max(0, len(table) - n))
    return {name: last.column(name).to_numpy() for name in last.column_names}


def _figure(symbol: str, bars: dict[str, Any], features: dict[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), layout="constrained")
    price, rsi, macd = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 1))
    x = np.arange(len(bars["close"]))
    _candles(price, x, bars)
    price.fill_between(x, features["bb_lower"], features["bb_upper"], color=_BAND, alpha=0.15, label="bb(20,2)")
    price.plot(x, features["bb_mid"], color=_BAND, linewidth=1)
    price.set_title(f"{symbol}  {_stamp(bars, 0)} .. {_stamp(bars, -1)} UTC")
    price.legend(loc="upper left")
    rsi.plot(x, features["rsi"], color=_LINE, linewidth=1)
    for level in (30, 70):
        rsi.axhline(level, color=_BAND, linewidth=0.7, linestyle="--")
    rsi.set_ylim(0, 100)
    rsi.set_ylabel("rsi(14)")
    hist = features["macd_hist"]
    macd.bar(x, hist, color=np.where(hist >= 0, _UP, _DOWN), alpha=0.5, width=0.8)
    macd.plot(x, features["macd"], color=_LINE, linewidth=1, label="line")
    macd.plot(x, features["macd_signal"], color=_DOWN, linewidth=1, label="signal")
    macd.set_ylabel("macd(12,26,9)")
    macd.legend(loc="upper left")
    ticks = np.linspace(0, len(x) - 1, min(8, len(x)), dtype=int)
    macd.set_xticks(ticks, [_stamp(bars, i) for i in ticks], rotation=20, ha="right")
    for axes in (price, rsi, macd):
        axes.grid(alpha=0.25)
        axes.margins(x=0.01)
    return figure


def _candles(axes: Axes, x: np.ndarray, bars: dict[str, Any]) -> None:
    colour = np.where(bars["close"] >= bars["open"], _UP, _DOWN)
    axes.vlines(x, bars["low"], bars["high"], color=colour, linewidth=0.8)
    bottom = np.minimum(bars["open"], bars["close"])
    axes.bar(x, np.abs(bars["close"] - bars["open"]), bottom=bottom, color=colour, width=0.7)


def _stamp(bars: dict[str, Any], i: int) -> str:
    return str(bars["open_time"][i].astype("datetime64[m]")).replace("T", " ")


def _page(symbol: str, figure: Figure) -> str:
    """Wrap the chart, as inline SVG, in a page that loads nothing."""
    svg = io.StringIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": "qtfeat"})
    drawing = svg.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    title = html.escape(symbol)
    style = "body{margin:2rem auto;max-width:1200px;font-family:sans-serif}svg{width:100%;height:auto}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style></head><body>\n{drawing}\n</body></html>\n"
    )
