"""What the gates compare: values and limits that have to be worked out from the evidence first."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

from qtfeat.gates.evidence import Evidence
from qtfeat.gates.limits import Limits


def field(name: str) -> Callable[[Evidence], Any]:
    """Return what reads a field of the evidence."""
    return lambda evidence: getattr(evidence, name)


def at(name: str) -> Callable[[Limits, Evidence], float]:
    """Return what reads a limit."""
    return lambda limits, _evidence: limits[name]


def fixed(value: float) -> Callable[[Limits, Evidence], float]:
    """Return a limit that no file can change."""
    return lambda _limits, _evidence: value


def classes(evidence: Evidence, least: float) -> int | None:
    """Count the classes that are predicted in more than a share of the rows."""
    shares = evidence.class_shares
    return None if shares is None else sum(share > least for share in shares)


def largest(evidence: Evidence) -> float | None:
    """Share of the most predicted class; NaN as soon as one of them is."""
    shares = evidence.class_shares
    if not shares:
        return None
    return math.nan if any(map(math.isnan, shares)) else max(shares)


def positive_folds(evidence: Evidence) -> int | None:
    """Count the folds with a rank IC above 0; NaN is not."""
    ics = evidence.fold_rank_ic
    return None if ics is None else sum(ic > 0 for ic in ics)


def margin(evidence: Evidence) -> float | None:
    """Rank IC above the best baseline; NaN as soon as one of them is."""
    if evidence.rank_ic is None or not evidence.baseline_rank_ic:
        return None
    rivals = evidence.baseline_rank_ic.values()
    return math.nan if any(map(math.isnan, rivals)) else evidence.rank_ic - max(rivals)


def seed_spread(evidence: Evidence) -> float | None:
    """Sample standard deviation over the mean; infinite for a mean that is not positive."""
    ics = evidence.seed_rank_ic
    if ics is None or len(ics) < 2:
        return None
    if not all(map(math.isfinite, ics)):
        return math.nan
    mean = statistics.fmean(ics)
    return statistics.stdev(ics) / mean if mean > 0 else math.inf


def permuted(evidence: Evidence) -> float | None:
    """Mean size of the rank IC on permuted labels."""
    ics = evidence.permuted_rank_ic
    return statistics.fmean(map(abs, ics)) if ics else None


def permuted_limit(limits: Limits, evidence: Evidence) -> float:
    """What chance gives on that many test rows, times the limit; NaN where they were not counted."""
    rows = evidence.permuted_test_rows
    return limits["canary.max_permuted"] / math.sqrt(rows) if rows is not None and rows > 0 else math.nan


def tripped(evidence: Evidence, limits: Limits) -> bool | None:
    """Whether the ceiling alarm goes off on the canary whose feature is the next bar's return."""
    r2, hit = evidence.canary_r2, evidence.canary_hit
    if r2 is None and hit is None:
        return None
    return (r2 is not None and r2 > limits["ceiling.max_r2"]) or (hit is not None and hit > limits["ceiling.max_hit"])


def champion(evidence: Evidence) -> float | str | None:
    """Return "none" where no model is in production, else the t against it."""
    if evidence.has_champion is False:
        return "none"
    return evidence.champion_t


def count(values: tuple[float, ...] | None) -> int | None:
    """Length, or None."""
    return None if values is None else len(values)
