"""The charts of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from qtfeat.labels import SIDES
from qtfeat.train.evaluate import Baseline, Evaluation
from qtfeat.train.page.svg import BLUE, GREY, LIGHT, ORANGE, WIDTH, Chart, around, frame, ticks

SIDE_COLOURS = (ORANGE, GREY, BLUE)
MOST_POINTS, FEATURES = 600, 16


def fold_ic(result: Evaluation) -> str:
    """Rank IC of every fold, model and baselines beside each other."""
    folds = result.folds
    model = [fold.scores.forecast.rank_ic for fold in folds]
    momentum = [_baseline_ic(fold.baselines, "neg_momentum10") for fold in folds]
    last = [_baseline_ic(fold.baselines, "neg_ret") for fold in folds]
    places = list(range(1, len(folds) + 1))
    chart = Chart((0.4, len(folds) + 0.6), around([*model, *momentum, *last], least=1e-4), "rank IC per fold")
    chart.y_axis("rank IC", "{:.3g}".format).x_axis("fold", [(i, str(f.info.fold)) for i, f in enumerate(folds, 1)])
    chart.bars([p - 0.26 for p in places], model, 0.24, BLUE, "model")
    chart.bars(places, momentum, 0.24, ORANGE, "-momentum10")
    chart.bars([p + 0.26 for p in places], last, 0.24, LIGHT, "-last return")
    return chart.render()


def equity(result: Evaluation) -> str:
    """Summed return of the book, gross and net, over time."""
    curve = result.curve
    if len(curve.t) == 0:
        return ""
    times = curve.t.astype("datetime64[s]").astype(np.int64).astype(np.float64)
    keep = np.unique(np.append(np.arange(0, len(times), max(1, len(times) // MOST_POINTS)), len(times) - 1))
    gross, net = np.cumsum(curve.gross), np.cumsum(curve.net)
    first, last = float(times[0]), float(times[-1])
    chart = Chart(
        (first, max(last, first + 1.0)), around([*gross.tolist(), *net.tolist()]), "summed return of the book"
    )
    chart.y_axis("summed return", "{:.0%}".format if np.ptp(np.append(gross, net)) > 0.2 else "{:.1%}".format)
    # not at the edges, where a date would be cut off
    marks = np.linspace(first + 0.06 * (last - first), last - 0.06 * (last - first), 5) if last > first else [first]
    chart.x_axis("rebalances", [(float(m), str(np.datetime64(int(m), "s").astype("datetime64[D]"))) for m in marks])
    for fold in result.folds[1:]:
        start = float(fold.info.test_start.astype("datetime64[s]").astype(np.int64))
        if first < start < last:
            chart.upright(start)
    points = [(float(times[i]), float(gross[i])) for i in keep]
    chart.line(points, GREY, "gross")
    chart.line([(float(times[i]), float(net[i])) for i in keep], BLUE, "net of fee and slippage")
    return chart.render()


def deciles(result: Evaluation) -> str:
    """Mean return by decile of the forecast."""
    bars = [decile.ret for decile in result.deciles]
    if not bars:
        return ""
    places = [float(decile.number) for decile in result.deciles]
    chart = Chart((0.4, len(bars) + 0.6), around(bars, least=1e-6), "mean return by decile of the forecast")
    chart.y_axis("mean return, bp", lambda v: f"{v * 1e4:.3g}")
    name = "decile of the forecast" if len(bars) == 10 else f"forecast, {len(bars)} groups"
    chart.x_axis(f"{name} (1 = lowest)", [(p, f"{p:.0f}") for p in places])
    return chart.bars(places, bars, 0.7, BLUE).render()


def calibration(result: Evaluation) -> str:
    """Predicted against observed probability of each class."""
    bins = result.pooled.calibration.bins
    if not bins:
        return ""
    values = [v for b in bins for v in (b.probability, b.frequency)]
    low, high = around(values, zero=False, least=0.01)
    low, high = max(0.0, low), min(1.0, high)
    chart = Chart((low, high), (low, high), "observed frequency by predicted probability")
    chart.y_axis("observed frequency", "{:.3g}".format)
    chart.x_axis("predicted probability, ten bins of equal count", [(v, f"{v:.3g}") for v in ticks(low, high)])
    chart.line([(low, low), (high, high)], LIGHT, "perfect", dash=True)
    for side, colour in zip(SIDES, SIDE_COLOURS, strict=True):
        points = [(b.probability, b.frequency) for b in bins if b.side == side]
        chart.line(points, colour, side, dots=True)
    return chart.render()


def confidence(result: Evaluation) -> str:
    """Histogram of the largest class probability."""
    counts = result.pooled.confidence.histogram
    if not counts:
        return ""
    shares = [count / max(1, sum(counts)) for count in counts]
    step = 0.7 / len(counts)
    places = [0.3 + (i + 0.5) * step for i in range(len(counts))]
    chart = Chart((0.3, 1.0), around(shares), "share of rows by largest class probability")
    chart.y_axis("share of rows", "{:.0%}".format)
    chart.x_axis("largest calibrated class probability", [(v, f"{v:.1f}") for v in ticks(0.3, 1.0, 8)])
    top = around(shares)[1]
    for limit, name in ((result.limits.rule_below, "rule"), (result.limits.passes_from, "signal filter")):
        chart.upright(limit).note(limit + 0.006, top * 0.94, f"{name} {limit:.2f}", "start")
    return chart.bars(places, shares, step * 0.9, BLUE).render()


def confusion(result: Evaluation) -> str:
    """True against most probable class, each row of the matrix as shares."""
    table = result.pooled.classes.confusion
    parts = ['<text x="330" y="18" text-anchor="middle">most probable class</text>']
    for i, (name, row) in enumerate(zip(SIDES, table, strict=True)):
        y, middle = 46 + i * 74, 'text-anchor="middle"'
        parts.append(f'<text x="172" y="{y + 41}" text-anchor="end">{name}</text>')
        parts.append(f'<text x="{240 + i * 110}" y="38" text-anchor="middle">{name}</text>')
        for k, count in enumerate(row):
            share = count / sum(row) if sum(row) else 0.0
            x = 185 + k * 110
            ink = "#ffffff" if share > 0.7 else "#1b1f24"
            edge = ' stroke="#1b1f24" stroke-width="1.4"' if i == k else ""
            shade = f'fill="{BLUE}" fill-opacity="{0.06 + 0.9 * share:.3f}"'
            parts.append(
                f'<rect x="{x}" y="{y}" width="106" height="70" {shade}{edge}/>'
                f'<text x="{x + 53}" y="{y + 34}" {middle} style="fill:{ink};font-size:15px">{share:.0%}</text>'
                f'<text x="{x + 53}" y="{y + 52}" {middle} style="fill:{ink}">{count:,}</text>'
            )
    parts.append('<text transform="translate(112 158) rotate(-90)" text-anchor="middle">true class</text>')
    return frame("".join(parts), "confusion matrix")


def importance(pairs: Sequence[tuple[str, float]]) -> list[str]:
    """Share of each feature in the models' splits, largest first; a chart for every `FEATURES` of them."""
    known = sorted(((name, v) for name, v in pairs if math.isfinite(v) and v >= 0.0), key=lambda p: (-p[1], p[0]))
    total = math.fsum(v for _, v in known)
    if total <= 0.0:
        return []
    shown = [(name, v / total) for name, v in known[: 2 * FEATURES]]
    return [_shares(shown[i : i + FEATURES], shown[0][1]) for i in range(0, len(shown), FEATURES)]


def _shares(features: Sequence[tuple[str, float]], most: float) -> str:
    parts, row = [], 17
    for i, (name, share) in enumerate(features):
        y, wide = 6 + i * row, (WIDTH - 240) * share / most
        parts.append(
            f'<text x="172" y="{y + 11}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="180" y="{y}" width="{wide:.1f}" height="13" fill="{BLUE}"/>'
            f'<text x="{186 + wide:.1f}" y="{y + 11}">{share:.1%}</text>'
        )
    return frame("".join(parts), "feature importance", 12 + len(features) * row)


def _baseline_ic(baselines: Sequence[Baseline], name: str) -> float:
    return next((b.forecast.rank_ic for b in baselines if b.name == name), math.nan)
