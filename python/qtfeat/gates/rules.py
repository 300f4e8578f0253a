"""The gates, one row each: what is compared with which limit, and what is still allowed when it fails."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from qtfeat.gates import values
from qtfeat.gates.evidence import Evidence
from qtfeat.gates.limits import Limits

Value = float | str | None
Bound = float | tuple[float, float] | str
Allowed = Literal["production", "shadow", "rejected"]
Relation = Literal["<=", ">=", "<", ">", "==", "in"]


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate.

    Attributes:
        name: `group.what`.
        what: what the value is, as the subject of a sentence.
        value: the value from the evidence; None where it was not measured.
        relation: how the value must stand to the limit.
        limit: the limit; it may depend on the evidence (rows, folds).
        form: format of value and limit in the sentence.
        advice: what a failure means, or what to do.
        failing: what a model that fails may still become; "production" if the gate only reports.
    """

    name: str
    what: str
    value: Callable[[Evidence], Any]
    relation: Relation
    limit: Callable[[Limits, Evidence], Bound]
    form: str = ".4f"
    advice: str = ""
    failing: Allowed = "rejected"


def gates(limits: Limits) -> tuple[Gate, ...]:
    """Return every gate in the order of the table; `limits` settle what a class share or a tripped alarm is."""
    return (
        *(*_integrity(), *_collapse(limits), *_direction(), *_skill(), *_earnings()),
        *(*_robust(), *_trust(), *_leaks(limits), *_live()),
    )


def _integrity() -> tuple[Gate, ...]:
    return (
        Gate(
            "integrity.rows",
            "training rows",
            values.field("rows"),
            ">=",
            values.at("integrity.min_rows"),
            ",.0f",
            "too few to learn from; gather more data, until then it may only run in shadow",
            "shadow",
        ),
        Gate(
            "integrity.fingerprint",
            "the model's feature fingerprint",
            values.field("fingerprint"),
            "==",
            lambda _limits, evidence: evidence.expected_fingerprint or "not measured",
            "",
            "trained on other features than it would be served with",
        ),
        Gate(
            "integrity.nulls",
            "missing features beyond warm-up",
            values.field("nulls"),
            "==",
            values.fixed(0),
            ",.0f",
            "the training matrix has holes",
        ),
        Gate(
            "integrity.purge",
            "bars purged before each test",
            values.field("purge_bars"),
            ">=",
            lambda _limits, evidence: math.nan if evidence.horizon is None else evidence.horizon,
            ",.0f",
            "labels reach into the test, so the scores are not out of sample",
        ),
        Gate(
            "integrity.label_leak",
            "rows made from their own outcome",
            lambda evidence: None if evidence.label_leak is None else ("yes" if evidence.label_leak else "no"),
            "==",
            lambda _limits, _evidence: "no",
            "",
            "the outcome is in the features; it may only run in shadow",
            "shadow",
        ),
    )


def _collapse(limits: Limits) -> tuple[Gate, ...]:
    """Collapse detectors; a model with coin-flip direction can pass them."""
    least = limits["diversity.min_class_share"]
    return (
        Gate(
            "diversity.largest_class",
            "share of the most predicted class",
            values.largest,
            "<=",
            values.at("diversity.max_class_share"),
            ".1%",
            "the model has collapsed onto one answer",
        ),
        Gate(
            "diversity.classes",
            f"classes predicted in more than {least:.0%} of the rows",
            lambda evidence: values.classes(evidence, least),
            ">=",
            values.at("diversity.min_classes"),
            ",.0f",
            "the model hardly ever says anything else",
        ),
        Gate(
            "spread.sd",
            "standard deviation of the confidence",
            values.field("confidence_sd"),
            ">=",
            values.at("spread.min_sd"),
            ".4f",
            "every row gets the same confidence",
        ),
        Gate(
            "spread.p10_p90",
            "confidence from P10 to P90",
            values.field("confidence_p10_p90"),
            ">=",
            values.at("spread.min_p10_p90"),
            ".4f",
            "every row gets about the same confidence",
        ),
    )


def _direction() -> tuple[Gate, ...]:
    return (
        Gate(
            "direction.slope",
            "slope of the realised sign on P(BUY) - P(SELL)",
            values.field("direction_slope"),
            "in",
            lambda limits, _evidence: (limits["direction.min_slope"], limits["direction.max_slope"]),
            ".2f",
            "the probabilities of BUY and SELL do not mean what they say",
        ),
        Gate(
            "direction.t",
            "t of that slope",
            values.field("direction_t"),
            ">=",
            values.at("direction.min_t"),
            ".2f",
            "the direction could be a coin flip",
        ),
    )


def _skill() -> tuple[Gate, ...]:
    return (
        Gate(
            "skill.fold_count",
            "folds of the walk-forward",
            lambda evidence: values.count(evidence.fold_rank_ic),
            ">=",
            values.at("skill.min_folds"),
            ",.0f",
            "too few periods to judge by",
        ),
        Gate(
            "skill.folds",
            "folds with a rank IC above 0",
            values.positive_folds,
            ">=",
            lambda limits, evidence: float(
                # 4 of 5, 8 of 10; the tiny term keeps 0.8 * 5 from rounding up to 5
                math.ceil(limits["skill.min_positive_folds"] * len(evidence.fold_rank_ic or ()) - 1e-9)
            ),
            ",.0f",
            "the skill does not hold over time",
        ),
        Gate(
            "skill.t",
            "t of the rank IC",
            values.field("rank_ic_t"),
            ">=",
            values.at("skill.min_t"),
            ".2f",
            "not to be told from luck",
        ),
        Gate(
            "skill.attempts",
            "models tried for this one",
            values.field("attempts"),
            ">=",
            values.fixed(1),
            ",.0f",
            "a t means less the more was tried, so the number must be known",
        ),
    )


def _earnings() -> tuple[Gate, ...]:
    return (
        Gate(
            "baselines.margin",
            "rank IC above the best trivial baseline",
            values.margin,
            ">",
            values.at("baselines.min_margin"),
            "+.4f",
            "a rule of one line does as well",
        ),
        Gate(
            "costs.fee",
            "fee charged per side",
            values.field("fee"),
            ">=",
            values.at("costs.min_fee"),
            ".3%",
            "the net return was computed with too small costs",
        ),
        Gate(
            "costs.slippage",
            "slippage charged per side",
            values.field("slippage"),
            ">=",
            values.at("costs.min_slippage"),
            ".3%",
            "the net return was computed with too small costs",
        ),
        Gate(
            "costs.net",
            "mean net return of the decile long-short",
            values.field("net_return"),
            ">",
            values.at("costs.min_net"),
            "+.4%",
            "costs eat what the forecast earns",
        ),
    )


def _robust() -> tuple[Gate, ...]:
    return (
        Gate(
            "overfit.rank_ic",
            "rank IC in training minus out of sample",
            values.field("rank_ic_gap"),
            "<=",
            values.at("overfit.max_rank_ic_gap"),
            ".4f",
            "it learned the training rows by heart",
        ),
        Gate(
            "overfit.r2",
            "R² in training minus out of sample",
            values.field("r2_gap"),
            "<=",
            values.at("overfit.max_r2_gap"),
            ".4f",
            "it learned the training rows by heart",
        ),
        Gate(
            "stability.seeds",
            "seeds that were tried",
            lambda evidence: values.count(evidence.seed_rank_ic),
            ">=",
            values.at("stability.min_seeds"),
            ",.0f",
            "too few to know how much is chance",
        ),
        Gate(
            "stability.spread",
            "sd of the rank IC over seeds, by its mean (inf where that is not above 0)",
            values.seed_spread,
            "<=",
            values.at("stability.max_sd_over_mean"),
            ".2f",
            "the skill depends on the seed",
        ),
    )


def _trust() -> tuple[Gate, ...]:
    return (
        Gate(
            "calibration.ece",
            "expected calibration error",
            values.field("ece"),
            "<=",
            values.at("calibration.max_ece"),
            ".4f",
            "the probabilities are not to be trusted",
        ),
        Gate(
            "parity.rows",
            "rows replayed through Stream and the saved files",
            values.field("parity_rows"),
            ">=",
            values.fixed(1),
            ",.0f",
            "nothing was replayed",
        ),
        Gate(
            "parity.features",
            "replayed features with other bits",
            values.field("parity_feature_diffs"),
            "==",
            values.fixed(0),
            ",.0f",
            "live features would not be those of training",
        ),
        Gate(
            "parity.predictions",
            "predictions from the saved files with other bits",
            values.field("parity_prediction_diffs"),
            "==",
            values.fixed(0),
            ",.0f",
            "the saved model is not the one that was judged",
        ),
    )


def _leaks(limits: Limits) -> tuple[Gate, ...]:
    audit = "too good to be true: find the leak, or audit the model and own a looser limit"
    return (
        Gate(
            "canary.permutations",
            "models trained on permuted labels",
            lambda evidence: values.count(evidence.permuted_rank_ic),
            ">=",
            values.at("canary.min_permutations"),
            ",.0f",
            "too few to find a leak with",
        ),
        Gate(
            "canary.permuted",
            "mean |rank IC| on permuted labels",
            values.permuted,
            "<=",
            values.permuted_limit,
            ".4f",
            "there is skill where there cannot be any: something leaks",
        ),
        Gate(
            "canary.next_return",
            "alarm when the next bar's return is a feature",
            lambda evidence: {None: None, True: "trips", False: "silent"}[values.tripped(evidence, limits)],
            "==",
            lambda _limits, _evidence: "trips",
            "",
            "a planted leak went unseen, so a real one would",
        ),
        Gate("ceiling.r2", "R²", values.field("r2"), "<=", values.at("ceiling.max_r2"), ".2%", audit),
        Gate("ceiling.hit", "hit rate", values.field("hit"), "<=", values.at("ceiling.max_hit"), ".1%", audit),
    )


def _live() -> tuple[Gate, ...]:
    return (
        Gate(
            "champion.t",
            "t of the difference to the model in production",
            values.champion,
            ">",
            values.at("champion.min_t"),
            ".2f",
            "the model in production is better on the same data",
        ),
        Gate(
            "signals.rule_share",
            "share of rows that fall back to the rule",
            values.field("rule_share"),
            "<=",
            values.fixed(1.0),
            ".2%",
            "",
            "production",
        ),
        Gate(
            "signals.filter_share",
            "share of rows that pass the confidence filter",
            values.field("filter_share"),
            ">=",
            values.fixed(0.0),
            ".2%",
            "",
            "production",
        ),
        Gate(
            "signals.share",
            "share of rows that pass it as BUY or SELL",
            values.field("signal_share"),
            ">=",
            values.at("signals.min_share"),
            ".2%",
            "it would hardly ever trade",
        ),
    )
