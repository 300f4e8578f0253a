"""Why a figure could not be had."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from qtfeat.labels import SIDES


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What can be wrong with some rows.

    Attributes:
        rows: how many.
        stride: timestamps between outcomes that do not overlap.
        rebalances: of the book.
        moved: rows not labelled HOLD.
        forecast_constant: all forecasts are equal.
        target_constant: all outcomes are equal.
        direction_constant: P(BUY) - P(SELL) is the same everywhere.
        interval_known: the length of a bar is known.
        crossed: rows are compared across symbols.
    """

    rows: int
    stride: int
    rebalances: int
    moved: int
    forecast_constant: bool
    target_constant: bool
    direction_constant: bool
    interval_known: bool
    crossed: bool


def missing(name: str, value: Any) -> Iterator[str]:
    """Yield the dotted names of all figures below `value` that are NaN."""
    if is_dataclass(value):
        for field in fields(value):
            yield from missing(f"{name}.{field.name}", getattr(value, field.name))
    elif isinstance(value, float) and math.isnan(value):
        yield name
    elif isinstance(value, tuple) and len(value) == len(SIDES) and isinstance(value[0], float):
        for side, part in zip(SIDES, value, strict=True):
            yield from missing(f"{name}.{side}", part)


def reason(name: str, facts: Facts) -> str:
    """Return why the figure of this dotted name is NaN."""
    if facts.rows == 0:
        return "there are no rows"
    side = name.rpartition(".")[2]
    few = f"fewer than 3 timestamps, {facts.stride} apart"
    causes = (
        ("forecast.hit_rate", facts.moved == 0, "every label is HOLD"),
        ("forecast.hit_rate", True, "the forecast is 0 everywhere"),
        ("forecast.r2_mean", facts.target_constant, "the target is constant"),
        ("forecast.r2", True, "every outcome is 0"),
        ("forecast.rank_ic", facts.forecast_constant, "the forecast is constant"),
        ("forecast.rank_ic", facts.target_constant, "the target is constant"),
        ("forecast.ic", facts.forecast_constant, "the forecast is constant"),
        ("forecast.ic", facts.target_constant, "the target is constant"),
        ("forecast.ic", True, f"{few}, have a rank IC, or it never varies"),
        ("forecast.book", facts.rebalances == 0 and facts.crossed, "no timestamp has 5 symbols"),
        ("forecast.book.sharpe_net", not facts.interval_known, "the length of a bar is not known"),
        ("forecast.book", True, "fewer than 3 rebalances, or the returns never vary"),
        ("classes.precision", True, f"{side} is never the most probable class"),
        ("classes.recall", True, f"no row is labelled {side}"),
        ("classes.f1", True, f"{side} is never the most probable class, or no row is labelled so"),
        ("direction", facts.direction_constant, "P(BUY) - P(SELL) is constant"),
        ("direction", True, f"{few}, or a fit without error"),
    )
    found = (text for part, holds, text in causes if holds and name.startswith(part))
    return next(found, "too few rows, or no variation")
