"""The classifier: which class it says, how sure it is, and whether that is true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qtfeat.errors import SchemaError
from qtfeat.labels import SIDES
from qtfeat.train.evaluate.ranks import NAN, Codes, Floats, dot, runs
from qtfeat.train.evaluate.series import Clock, lag_count, long_run

SELL, HOLD, BUY = range(len(SIDES))
BINS = 10

Triple = tuple[float, float, float]
Sides = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Classes:
    """True classes against the most probable ones; triples are SELL, HOLD, BUY.

    Attributes:
        confusion: rows by true class (outer) and most probable class (inner).
        true_mix: share of each true class.
        predicted_mix: share of each most probable class.
        precision: of the rows said to be of a class, the share that is; NaN if none was said to be.
        recall: of the rows of a class, the share said to be; NaN if there are none.
        f1: harmonic mean of the two; NaN where one is, 0 where both are 0.
    """

    confusion: tuple[tuple[int, int, int], ...]
    true_mix: Triple
    predicted_mix: Triple
    precision: Triple
    recall: Triple
    f1: Triple


@dataclass(frozen=True, slots=True)
class Bin:
    """A tenth of the rows by the probability of one class.

    Attributes:
        side: name of the class.
        rows: how many.
        probability: mean probability.
        frequency: share of rows that are of the class.
    """

    side: str
    rows: int
    probability: float
    frequency: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether a probability means what it says.

    Attributes:
        brier: mean over rows of the squared distance of the three probabilities from the outcome, 0..2.
        brier_base: the same for a forecast of these rows' own class shares.
        log_loss: mean of -log of the true class's probability, which is at least 2^-52 here.
        log_loss_base: the same for these rows' own class shares.
        ece: mean over the classes of the expected calibration error in 10 bins of equal count.
        ece_by_class: SELL, HOLD, BUY.
        ece_chance: what `ece` would be, about, for perfect probabilities and this many independent rows.
        bins: the bins, class after class.
    """

    brier: float = NAN
    brier_base: float = NAN
    log_loss: float = NAN
    log_loss_base: float = NAN
    ece: float = NAN
    ece_by_class: Triple = (NAN, NAN, NAN)
    ece_chance: float = NAN
    bins: tuple[Bin, ...] = ()


@dataclass(frozen=True, slots=True)
class Confidence:
    """The largest of the three calibrated probabilities.

    Attributes:
        mean: its mean.
        sd: its standard deviation; 0 for a collapsed model.
        p10: its 10th percentile.
        p90: its 90th percentile.
        spread: p90 - p10.
        histogram: rows in 40 bins of equal width from 0.3 to 1.0.
    """

    mean: float = NAN
    sd: float = NAN
    p10: float = NAN
    p90: float = NAN
    spread: float = NAN
    histogram: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Direction:
    """Regression of the realised sign (+1 BUY, 0 HOLD, -1 SELL) on P(BUY) - P(SELL); a calibrated model has slope 1.

    Attributes:
        slope: least-squares slope over all rows, with intercept.
        t: slope over its standard error on the rows of every h-th timestamp, errors clustered by timestamp.
        t_newey_west: the same over all rows, errors clustered by timestamp, with Newey-West lags over the timestamps.
        used: timestamps behind `t`.
    """

    slope: float = NAN
    t: float = NAN
    t_newey_west: float = NAN
    used: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalFilter:
    """What serving makes of probabilities.

    Attributes:
        rule_below: confidence under which a rule stands in for the model.
        passes_from: confidence from which a signal passes.
        buy_from: P(BUY) / (P(BUY) + P(SELL)) from which the side is BUY.
        sell_to: the same up to which it is SELL.
    """

    rule_below: float = 0.35
    passes_from: float = 0.58
    buy_from: float = 0.52
    sell_to: float = 0.48

    def __post_init__(self) -> None:
        """Refuse limits that do not stand in order."""
        if not (0.0 <= self.rule_below <= self.passes_from <= 1.0 and 0.0 <= self.sell_to <= self.buy_from <= 1.0):
            raise SchemaError("need 0 <= rule_below <= passes_from <= 1 and 0 <= sell_to <= buy_from <= 1")


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a signal filter lets through, as shares of all rows.

    Attributes:
        rule: confidence too low; a rule stands in.
        passed: confidence high enough, whatever the side.
        traded: those of them that serving would call BUY or SELL.
        traded_most_probable: those whose most probable class is BUY or SELL.
    """

    rule: float = NAN
    passed: float = NAN
    traded: float = NAN
    traded_most_probable: float = NAN


def classes(side: Sides, p: Floats) -> Classes:
    """Return the confusion matrix and what follows from it; a tie goes to the first of SELL, HOLD, BUY."""
    table = np.bincount(side.astype(np.int64) * 3 + p.argmax(axis=1), minlength=9).reshape(3, 3)
    hit, true, said = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    n = max(1, len(side)) if len(side) else NAN
    precision, recall = _share(hit, said), _share(hit, true)
    both = precision + recall
    f1 = np.where(both > 0.0, 2.0 * precision * recall / np.where(both > 0.0, both, 1.0), both * 0.0)
    confusion = tuple((int(a), int(b), int(c)) for a, b, c in table)
    return Classes(confusion, _triple(true / n), _triple(said / n), _triple(precision), _triple(recall), _triple(f1))


def calibration(side: Sides, p: Floats) -> Calibration:
    """Return Brier score, log loss and calibration error."""
    n = len(side)
    if n == 0:
        return Calibration()
    truth = (side[:, None] == np.arange(3)).astype(np.float64)
    base = truth.mean(axis=0)
    present = base[base > 0.0]
    parts = [_bins(p[:, k], truth[:, k]) for k in range(3)]
    errors = [dot(m, np.abs(said - seen)) / n for m, said, seen in parts]
    chance = [dot(m, np.sqrt(2.0 / np.pi * said * (1.0 - said) / m)) / n for m, said, _ in parts]
    return Calibration(
        brier=brier(side, p),
        brier_base=1.0 - dot(base, base),
        log_loss=float(-np.log(np.clip(p[np.arange(n), side], 2.0**-52, 1.0)).mean()),
        log_loss_base=-dot(present, np.log(present)),
        ece=float(np.mean(errors)),
        ece_by_class=_triple(np.array(errors)),
        ece_chance=float(np.mean(chance)),
        bins=tuple(
            Bin(name, int(m), float(said), float(seen))
            for name, part in zip(SIDES, parts, strict=True)
            for m, said, seen in zip(*part, strict=True)
        ),
    )


def brier(side: Sides, p: Floats) -> float:
    """Return the mean squared distance of the probabilities from the outcome, 0..2; NaN without rows."""
    if len(side) == 0:
        return NAN
    # sum (p_k - y_k)^2 = sum p_k^2 - 2 p_true + 1
    return float(np.mean((p * p).sum(axis=1) - 2.0 * p[np.arange(len(side)), side] + 1.0))


def _bins(p: Floats, truth: Floats) -> tuple[Floats, Floats, Floats]:
    """Return rows, mean probability and frequency of at most 10 bins of equal count.

    Rows of equal probability that a bin edge parts share their frequency, so that the order of rows does not matter.
    """
    order = np.argsort(p)
    p = np.clip(p[order], 0.0, 1.0)
    starts, length = runs(p)
    seen = np.repeat(np.add.reduceat(truth[order], starts) / length, length)
    edges = np.unique(np.linspace(0, len(p), BINS + 1).astype(np.intp))
    rows = np.diff(edges).astype(np.float64)
    return rows, np.add.reduceat(p, edges[:-1]) / rows, np.add.reduceat(seen, edges[:-1]) / rows


def confidence(p: Floats) -> Confidence:
    """Return how the largest probability is spread."""
    if len(p) == 0:
        return Confidence()
    top = p.max(axis=1)
    p10, p90 = (float(q) for q in np.quantile(top, (0.1, 0.9)))
    counts, _ = np.histogram(np.clip(top, 0.3, 1.0), bins=40, range=(0.3, 1.0))
    # np.std of a constant is a rounding error, not 0
    sd = 0.0 if top.min() == top.max() else float(top.std())
    return Confidence(float(top.mean()), sd, p10, p90, p90 - p10, tuple(int(c) for c in counts))


def coverage(p: Floats, limits: SignalFilter) -> Coverage:
    """Return the shares of rows on either side of the limits."""
    if len(p) == 0:
        return Coverage()
    top, likely = p.max(axis=1), p.argmax(axis=1)
    # P(BUY) >= x (P(BUY) + P(SELL)), multiplied out: both may be 0, and that is HOLD
    both = p[:, BUY] + p[:, SELL]
    called = (both > 0.0) & ((p[:, BUY] >= limits.buy_from * both) | (p[:, BUY] <= limits.sell_to * both))
    passed = top >= limits.passes_from
    return Coverage(
        rule=float(np.mean(top < limits.rule_below)),
        passed=float(np.mean(passed)),
        traded=float(np.mean(passed & called)),
        traded_most_probable=float(np.mean(passed & (likely != HOLD))),
    )


def direction(side: Sides, p: Floats, clock: Clock, chosen: npt.NDArray[np.bool_]) -> Direction:
    """Return the direction slope.

    Args:
        side: true classes.
        p: probabilities.
        clock: timestamps; may be those of more rows than these.
        chosen: which rows of the clock these are.
    """
    code = clock.code[chosen]
    _, at = np.unique(code, return_inverse=True)
    at = at.reshape(-1)
    x, y = p[:, BUY] - p[:, SELL], side.astype(np.float64) - 1.0
    picked = at % clock.stride == 0
    slope, error = _clustered(x, y, at, clock.stride, wide=True)
    part, part_error = _clustered(x[picked], y[picked], at[picked] // clock.stride, 1, wide=False)
    used = int(at.max(initial=-1)) // clock.stride + 1
    return Direction(slope, part / part_error, slope / error, used)


def _clustered(x: Floats, y: Floats, at: Codes, stride: int, *, wide: bool) -> tuple[float, float]:
    """Return a slope and its standard error, rows of a timestamp being one cluster; NaN where there is none."""
    groups = int(at.max(initial=-1)) + 1
    if groups < 3 or x.min() == x.max():
        return NAN, NAN
    dx, dy = x - x.mean(), y - y.mean()
    power = dot(dx, dx)
    slope = dot(dx, dy) / power
    moment = np.bincount(at, dx * (dy - slope * dx), minlength=groups).astype(np.float64)
    lags = lag_count(groups, stride) if wide else 0
    variance = long_run(moment, lags) * groups * groups / (groups - 1.0)
    size = float(np.abs(dx).max() * np.abs(dy).max()) * len(x) * 1e-14
    if variance <= size * size:
        return slope, NAN
    return slope, float(np.sqrt(variance)) / power


def _share(part: Codes, whole: Codes) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.full(3, NAN), where=whole > 0))


def _triple(values: npt.NDArray[np.float64]) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])
