"""The long-short book that a ranking would have held: its return before and after costs, and its curve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from qtfeat.errors import SchemaError
from qtfeat.train.evaluate.ranks import NAN, Codes, Floats, group_order, runs
from qtfeat.train.evaluate.series import CROSS, LEAST_CROSS, Clock, OverTime, over_time

SHARE = 0.1
BLOCKS, LEAST_PAST = 40, 50
YEAR = 365.0 * 86_400.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What a trade costs, as fractions of the traded value, per side (a buy is one side, the later sale another).

    Attributes:
        fee: exchange fee; default 5 basis points.
        slippage: loss against the price seen; default 2 basis points.
    """

    fee: float = 0.0005
    slippage: float = 0.0002

    def __post_init__(self) -> None:
        """Refuse costs that are no numbers in 0..1."""
        for name in ("fee", "slippage"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
                raise SchemaError(f"{name} must be a number, a fraction of what is traded, not {value!r}", column=name)
            if not 0.0 <= value < 1.0:
                raise SchemaError(f"{name} must be at least 0 and below 1, got {value}", column=name, value=value)

    @property
    def per_side(self) -> float:
        """Fee and slippage together."""
        return self.fee + self.slippage


@dataclass(frozen=True, slots=True)
class Curve:
    """The book over time; one entry per rebalance.

    Attributes:
        t: datetime64, when the book was changed.
        gross: return until the next rebalance, before costs.
        net: the same less costs.
        traded: value traded at the rebalance (and, at the last, to close), in units of one leg.
    """

    t: npt.NDArray[np.datetime64]
    gross: Floats
    net: Floats
    traded: Floats


@dataclass(frozen=True, slots=True)
class Book:
    """The decile spread: long the tenth with the highest forecasts, short the lowest, changed every h-th timestamp.

    Attributes:
        gross: mean return per rebalance before costs: mean raw return of the long leg less that of the short one.
        net: mean return per rebalance after costs.
        t_gross: gross over its standard error.
        t_net: net over its standard error.
        cost: mean cost per rebalance.
        turnover: share of the book replaced per rebalance: 0 holds everything, 1 replaces it.
        sharpe_net: net mean over deviation, per year of 365 days.
        drawdown_net: largest fall of the summed net return from a high, at most 0.
        sum_net: sum of the net returns.
        rebalances: how many.
        per_leg: mean number of positions in a leg.
    """

    gross: float = NAN
    net: float = NAN
    t_gross: float = NAN
    t_net: float = NAN
    cost: float = NAN
    turnover: float = NAN
    sharpe_net: float = NAN
    drawdown_net: float = NAN
    sum_net: float = NAN
    rebalances: int = 0
    per_leg: float = NAN


def weights(score: Floats, symbol: npt.NDArray[np.int32], clock: Clock) -> Floats:
    """Return each row's weight in the book of its timestamp; NaN where the timestamp has no book.

    With a cross-section of n symbols each leg holds max(1, n/10 rounded half up) of them, equally weighted: 1 of 8,
    2 of 15. Tied forecasts share the places they compete for, so that a constant forecast holds nothing.

    Without one, a symbol is bought (1) at a forecast in the highest tenth of its own earlier ones and sold (-1) in
    the lowest, equally weighted over the symbols present; nothing is held before `LEAST_PAST` earlier forecasts.
    """
    if clock.form == CROSS:
        return _cross_weights(score, clock)
    out = np.zeros(len(score))
    order = np.lexsort((clock.code, symbol))
    for rows in np.split(order, np.flatnonzero(np.diff(symbol[order])) + 1):
        out[rows] = _own_past(score[rows])
    return np.asarray(out / np.maximum(clock.size[clock.code], 1))


def _cross_weights(score: Floats, clock: Clock) -> Floats:
    order, key = group_order(score, clock.code)
    starts, length = runs(key)
    group = clock.code[order[starts]]
    n = clock.size[group]
    low = starts - np.concatenate(([0], np.cumsum(clock.size)))[:-1][group]
    high = low + length
    leg = leg_size(n)
    long = np.clip(high - np.maximum(low, n - leg), 0, None)
    short = np.clip(np.minimum(high, leg) - low, 0, None)
    weight = np.where(n >= LEAST_CROSS, (long - short) / (length * leg), NAN)
    out = np.empty(len(score))
    out[order] = np.repeat(weight, length)
    return out


def leg_size(symbols: Codes) -> Codes:
    """Return the symbols in each leg for a number of symbols at a timestamp."""
    return np.asarray(np.maximum(1, np.floor(symbols * SHARE + 0.5).astype(np.int64)))


def _own_past(score: Floats) -> Floats:
    """Return 1, 0 or -1 per row in order of time, by limits from what came before, renewed `BLOCKS` times."""
    out = np.zeros(len(score))
    edges = np.linspace(0, len(score), BLOCKS + 1).astype(np.intp)
    for first, last in pairwise(edges):
        if first >= LEAST_PAST and last > first:
            low, high = np.quantile(score[:first], (SHARE, 1.0 - SHARE))
            now = score[first:last]
            out[first:last] = ((now >= high) & (now > low)).astype(float) - ((now <= low) & (now < high))
    return out


def trade(
    weight: Floats,
    ret: Floats,
    symbol: npt.NDArray[np.int32],
    clock: Clock,
    chosen: npt.NDArray[np.bool_],
    costs: Costs,
) -> Curve:
    """Return the book's curve over every h-th of the chosen timestamps.

    Args:
        weight: from `weights`; a row whose raw return is NaN is not held.
        ret: raw return to the horizon.
        symbol: symbol codes.
        clock: the rows' timestamps.
        chosen: which timestamps may be used.
        costs: per side.
    """
    has_book = np.bincount(clock.code[~np.isnan(weight)], minlength=len(clock.t)) > 0
    picked = np.flatnonzero(chosen & has_book)[:: clock.stride]
    place = np.full(len(clock.t), -1, dtype=np.int64)
    place[picked] = np.arange(len(picked))
    held = np.flatnonzero((place[clock.code] >= 0) & (weight != 0.0) & ~np.isnan(weight) & ~np.isnan(ret))
    at, w = place[clock.code[held]], weight[held]
    gross = np.bincount(at, w * ret[held], minlength=len(picked)).astype(np.float64)
    traded = _traded(at, w, symbol[held], len(picked))
    return Curve(clock.t[picked], gross, gross - costs.per_side * traded, traded)


def _traded(at: Codes, w: Floats, symbol: npt.NDArray[np.int32], rebalances: int) -> Floats:
    """Return the value traded at each rebalance, from flat to flat; the last one also closes the book."""
    if len(at) == 0:
        return np.zeros(rebalances)
    order = np.lexsort((at, symbol))
    at, w, symbol = at[order], w[order], symbol[order]
    follows = np.concatenate(([False], (symbol[1:] == symbol[:-1]) & (at[1:] == at[:-1] + 1)))
    before = np.where(follows, np.concatenate(([0.0], w[:-1])), 0.0)
    traded = np.bincount(at, np.abs(w - before), minlength=rebalances + 1)
    kept = np.append(follows[1:], False)
    traded += np.bincount(at[~kept] + 1, np.abs(w[~kept]), minlength=rebalances + 1)
    traded[-2] += traded[-1]
    return np.asarray(traded[:-1])


def book(curve: Curve, held: float, interval_seconds: float, stride: int) -> Book:
    """Return the figures of a curve.

    Args:
        curve: from `trade`.
        held: mean positions per leg.
        interval_seconds: length of a bar, for the yearly figure.
        stride: bars between rebalances.
    """
    n = len(curve.net)
    if n == 0:
        return Book()
    gross, net = over_time(curve.gross, 1), over_time(curve.net, 1)
    wealth = np.concatenate(([0.0], np.cumsum(curve.net)))
    return Book(
        gross=gross.mean,
        net=net.mean,
        t_gross=gross.t,
        t_net=net.t,
        cost=float(np.mean(curve.gross - curve.net)),
        turnover=float(curve.traded.mean()) / 4.0,
        sharpe_net=_sharpe(net, interval_seconds * stride),
        drawdown_net=float((wealth - np.maximum.accumulate(wealth)).min()),
        sum_net=float(wealth[-1]),
        rebalances=n,
        per_leg=held,
    )


def _sharpe(net: OverTime, seconds: float) -> float:
    if not (math.isfinite(seconds) and seconds > 0.0) or math.isnan(net.t):
        return NAN
    return net.mean / net.sd * math.sqrt(YEAR / seconds)
