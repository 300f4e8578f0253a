"""The parts of the report that are tables and text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from qtfeat.labels import SIDES
from qtfeat.train.evaluate import Book, Evaluation, ForecastScores, OverTime
from qtfeat.train.page.html import NONE, Raw, facts, number, points, section, table, text

HEADLINES = {
    "production": "Passes: allowed in production",
    "shadow": "Shadow only: not allowed in production",
    "rejected": "Rejected",
}
_LEFT_OUT = ("files", "golden", "folds", "evaluation", "gates")


def headline(verdicts: Mapping[str, Any] | None) -> Raw:
    """Return what the gates decided, with the sentences of those that failed."""
    if verdicts is None:
        return Raw('<div class="verdict none"><b>Not gated</b><p>No gate has judged this model.</p></div>')
    allowed = str(verdicts.get("allowed", "rejected"))
    kind = allowed if allowed in HEADLINES else "rejected"
    judged = verdicts.get("verdicts", [])
    failed = [v for v in judged if not v.get("passed") and _blocks(v)]
    count = f"{len(failed)} of {len(judged)} gates fail" if failed else f"all {len(judged)} gates hold or only report"
    lines = "".join(f"<li>{text(v.get('sentence', v.get('gate')))}</li>" for v in failed)
    rest = f"<ul>{lines}</ul>" if lines else ""
    return Raw(f'<div class="verdict {kind}"><b>{text(HEADLINES[kind])}</b><p>{count}.</p>{rest}</div>')


def tiles(result: Evaluation) -> Raw:
    """Return the six numbers to look at first."""
    pooled, book = result.pooled, result.pooled.forecast.book
    ic = pooled.forecast.ic
    shown = (
        (number(ic.mean, "+.4f"), f"mean rank IC, {result.form}"),
        (number(ic.t, "+.1f"), f"its t on every h-th timestamp, h = {result.stride}"),
        (number(pooled.forecast.hit_rate, ".1%"), f"hit rate on {pooled.hit_rows:,} rows that moved"),
        (f"{points(book.net)} bp", f"net per rebalance, {points(book.gross)} gross"),
        (
            number(pooled.calibration.ece, ".4f"),
            f"calibration error; chance {number(pooled.calibration.ece_chance, '.4f')}",
        ),
        (number(pooled.forecast.r2, "+.2%"), "R² against forecasting 0"),
    )
    boxes = "".join(f'<div class="tile"><strong>{text(a)}</strong><span>{text(b)}</span></div>' for a, b in shown)
    return Raw(f'<div class="tiles">{boxes}</div>')


def baselines(result: Evaluation) -> Raw:
    """Return the model beside forecasts that cost nothing."""
    ranks = (
        "forecast",
        "R²",
        "rank IC",
        "IC mean",
        "t",
        "t, all starts",
        "t Newey-West",
        "hit",
        "model IC ahead",
        "its t",
    )
    books = (
        "book of",
        "gross bp",
        "cost bp",
        "net bp",
        "t gross",
        "t net",
        "turnover",
        "Sharpe net",
        "sum net",
        "max fall",
    )
    made = [("model", result.pooled.forecast, OverTime())]
    made += [(b.name, b.forecast, b.gain) for b in result.baselines]
    return section(
        "Model and trivial baselines",
        table(ranks, [(name, *_ranking(forecast, gain)) for name, forecast, gain in made], first=True),
        table(books, [(name, *_book(forecast.book)) for name, forecast, _ in made], first=True),
        _book_note(result),
    )


def _book_note(result: Evaluation) -> str:
    legs = number(result.pooled.forecast.book.per_leg, ".1f")
    side = f"{result.costs.fee * 1e4:g} bp fee and {result.costs.slippage * 1e4:g} bp slippage per side"
    if result.form == "cross-section":
        how = f"long the highest tenth of forecasts, short the lowest ({legs} symbols per leg)"
    else:
        how = "each symbol bought in the highest tenth of its own earlier forecasts and sold in the lowest"
    return f"Book: {how}, changed every {result.stride} timestamps, {side}. Yearly figures are per 365 days."


def _ranking(made: ForecastScores, gain: OverTime) -> tuple[str, ...]:
    ic = made.ic
    return (
        number(made.r2, "+.2%"),
        number(made.rank_ic, "+.4f"),
        number(ic.mean, "+.4f"),
        number(ic.t, "+.2f"),
        NONE if math.isnan(ic.t_low) else f"{ic.t_low:+.1f} .. {ic.t_high:+.1f}",
        number(ic.t_newey_west, "+.2f"),
        number(made.hit_rate, ".1%"),
        number(gain.mean, "+.4f"),
        number(gain.t, "+.2f"),
    )


def _book(book: Book) -> tuple[str, ...]:
    return (
        points(book.gross),
        points(book.cost, ".1f"),
        points(book.net),
        number(book.t_gross, "+.1f"),
        number(book.t_net, "+.1f"),
        number(book.turnover, ".0%"),
        number(book.sharpe_net, "+.2f"),
        number(book.sum_net, "+.1%"),
        number(book.drawdown_net, ".1%"),
    )


def folds(result: Evaluation) -> Raw:
    """Return a row per test block."""
    head: tuple[str, ...] = ("fold", "tested from", "to", "train rows", "test rows", "R²", "rank IC", "IC mean", "t")
    head += ("-mom. 10 IC", "-last ret. IC", "hit", "net bp", "ECE", "train IC", "IC gap", "R² gap")
    rows = []
    for fold in result.folds:
        info, made = fold.info, fold.scores.forecast
        beside = {b.name: b.forecast.rank_ic for b in fold.baselines}
        rows.append(
            (
                str(info.fold),
                str(info.test_start.astype("datetime64[D]")),
                str(info.test_end.astype("datetime64[D]")),
                f"{info.train_rows:,}",
                f"{fold.scores.rows:,}",
                number(made.r2, "+.2%"),
                number(made.rank_ic, "+.4f"),
                number(made.ic.mean, "+.4f"),
                number(made.ic.t, "+.2f"),
                number(beside.get("neg_momentum10"), "+.4f"),
                number(beside.get("neg_ret"), "+.4f"),
                number(made.hit_rate, ".1%"),
                points(made.book.net),
                number(fold.scores.calibration.ece, ".4f"),
                number(info.train_rank_ic, "+.4f"),
                number(fold.gap_rank_ic, "+.4f"),
                number(fold.gap_r2, "+.2%"),
            )
        )
    note = f"Rank IC above 0 in {result.positive_folds} of {len(result.folds)} folds; mean gap "
    gaps = f"{number(result.gap_rank_ic, '+.4f')} (rank IC), {number(result.gap_r2, '+.2%')} (R²)."
    return section("Folds of the walk-forward", table(head, rows), note + gaps) if rows else Raw("")


def classifier(result: Evaluation) -> Raw:
    """Return figures per class and what a signal filter lets through."""
    told, true, sure = result.pooled.classes, result.pooled.calibration, result.pooled.confidence
    head = ("class", "share of rows", "share predicted", "precision", "recall", "F1", "ECE")
    columns = (told.true_mix, told.predicted_mix, told.precision, told.recall, told.f1)
    rows = [
        (side, *(number(c[k], ".1%") for c in columns), number(true.ece_by_class[k], ".4f"))
        for k, side in enumerate(SIDES)
    ]
    turn, cover, limits = result.pooled.direction, result.pooled.coverage, result.limits
    values = {
        "Brier score": f"{number(true.brier, '.4f')}; {number(true.brier_base, '.4f')} for the class shares alone",
        "log loss": f"{number(true.log_loss, '.4f')}; {number(true.log_loss_base, '.4f')} for the class shares alone",
        "confidence": f"mean {number(sure.mean, '.3f')}, sd {number(sure.sd, '.3f')}, "
        f"P10-P90 {number(sure.p10, '.3f')} .. {number(sure.p90, '.3f')} (width {number(sure.spread, '.3f')})",
        "direction slope": f"{number(turn.slope, '.2f')}, t {number(turn.t, '+.1f')} "
        f"(Newey-West {number(turn.t_newey_west, '+.1f')}); 1 is calibrated",
        f"confidence below {limits.rule_below:g}, a rule stands in": number(cover.rule, ".1%"),
        f"confidence at least {limits.passes_from:g}": number(cover.passed, ".1%"),
        "of all rows, these pass as BUY or SELL": f"{number(cover.traded, '.2%')}; "
        f"{number(cover.traded_most_probable, '.2%')} with BUY or SELL the most probable class",
    }
    return section("Classifier", table(head, rows), facts(values))


def symbols(result: Evaluation) -> Raw:
    """Return a row per symbol."""
    head = ("symbol", "rows", "R²", "rank IC", "hit", *(f"{s} true" for s in SIDES), *(f"{s} pred." for s in SIDES))
    head += ("conf. sd", "conf. P10-P90", "Brier", "pass as trade")
    rows = [
        (
            s.symbol,
            f"{s.rows:,}",
            number(s.r2, "+.2%"),
            number(s.rank_ic, "+.4f"),
            number(s.hit_rate, ".1%"),
            *(number(v, ".0%") for v in (*s.true_mix, *s.predicted_mix)),
            number(s.confidence_sd, ".3f"),
            number(s.confidence_spread, ".3f"),
            number(s.brier, ".4f"),
            number(s.traded, ".2%"),
        )
        for s in result.symbols
    ]
    return section("Symbols", table(head, rows)) if rows else Raw("")


def gates(verdicts: Mapping[str, Any] | None) -> Raw:
    """Return a row per gate."""
    if verdicts is None:
        return Raw("")
    rows = [
        (
            v.get("gate", NONE),
            _value(v.get("value")),
            f"{v.get('relation', '')} {_value(v.get('limit'))}".strip(),
            _mark(v),
            v.get("sentence", ""),
        )
        for v in verdicts.get("verdicts", [])
    ]
    limits = verdicts.get("limits")
    digest = limits.get("hash") if isinstance(limits, Mapping) else None
    return section(
        "Gates",
        table(("gate", "value", "limit", "verdict", "in words"), rows, prose=4),
        f"limits: {digest}" if digest else "",
    )


def _blocks(verdict: Mapping[str, Any]) -> bool:
    return bool(verdict.get("blocking", verdict.get("failing", "rejected") != "production"))


def _mark(verdict: Mapping[str, Any]) -> Raw:
    if verdict.get("passed"):
        return Raw('<span class="good">holds</span>')
    return Raw('<span class="bad">fails</span>') if _blocks(verdict) else Raw("noted")


def _value(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | list | tuple):
        return NONE if value is None else str(value)
    if isinstance(value, list | tuple):
        return " .. ".join(_value(part) for part in value)
    return f"{value:,}" if isinstance(value, int) else number(value, ".4g")


def reasons(result: Evaluation) -> Raw:
    """Return why figures are missing."""
    return section("Not measurable", facts(result.pooled.reasons)) if result.pooled.reasons else Raw("")


def about(manifest: Mapping[str, Any] | None, quality: Any) -> Raw:
    """Return what the manifest and the quality report say."""
    shown = {k: v for k, v in (manifest or {}).items() if k not in _LEFT_OUT}
    data = Raw(f"<h3>Quality of the bars</h3><pre>{text(quality)}</pre>") if quality else Raw("")
    return section("Data and settings", facts(shown), data)
