"""What was measured of a model: plain numbers, None where nothing was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from qtfeat.errors import SchemaError

_INTEGERS = frozenset(
    (
        *("rows", "nulls", "horizon", "purge_bars", "attempts", "permuted_test_rows"),
        *("parity_rows", "parity_feature_diffs", "parity_prediction_diffs"),
    )
)
_NOT_NEGATIVE = (
    *("rows", "nulls", "purge_bars", "confidence_sd", "confidence_p10_p90", "fee", "slippage", "ece"),
    *("parity_rows", "parity_feature_diffs", "parity_prediction_diffs", "permuted_test_rows"),
    *("hit", "canary_hit", "rule_share", "filter_share", "signal_share"),
)
_ROUNDING = 1e-6
_MAX_INT = 1 << 63
_TEXTS = frozenset(("fingerprint", "expected_fingerprint"))
_FLAGS = frozenset(("label_leak", "has_champion"))
_SEQUENCES = frozenset(("class_shares", "fold_rank_ic", "seed_rank_ic", "permuted_rank_ic"))
_MAPS = frozenset(("baseline_rank_ic", "class_shares_by_symbol"))


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the gates judge. None means not measured, and the gate that asks for it fails; so does NaN.

    Out of sample unless said otherwise; shares and returns are fractions; NumPy scalars and arrays are taken as well.

    Attributes:
        rows: labelled rows the final model is trained on.
        fingerprint: of the feature set that the model was trained with.
        expected_fingerprint: of the feature set by which the features were computed.
        nulls: missing features in the training rows beyond warm-up.
        horizon: bars from a decision to its outcome.
        purge_bars: bars purged between training and test.
        label_leak: whether any training row was made from its own outcome.
        class_shares: predicted SELL, HOLD, BUY, pooled.
        class_shares_by_symbol: the same by symbol; reported only.
        confidence_sd: standard deviation of the largest calibrated class probability, pooled.
        confidence_p10_p90: its 90th percentile minus its 10th.
        direction_slope: slope of the realised sign on P(BUY) - P(SELL).
        direction_t: t of that slope, adjusted for overlap.
        fold_rank_ic: rank IC per fold.
        rank_ic: rank IC, pooled.
        rank_ic_t: mean over standard error of the rank IC per timestamp, on every h-th timestamp.
        attempts: how many models were tried for this one, itself included; kept beside the t.
        baseline_rank_ic: rank IC of each trivial baseline; a constant forecast counts as 0.
        net_return: mean return per period of the decile long-short after costs.
        fee: charged per side in `net_return`.
        slippage: charged per side in `net_return`.
        rank_ic_gap: rank IC in training minus out of sample.
        r2_gap: R² in training minus out of sample.
        seed_rank_ic: rank IC per seed.
        ece: expected calibration error, 10 equal-count bins, mean over the classes.
        parity_rows: rows replayed through `Stream` and predicted again from the saved files.
        parity_feature_diffs: feature values whose bits differ there.
        parity_prediction_diffs: predictions whose bits differ there.
        permuted_rank_ic: rank IC of each model trained and tested on permuted labels.
        permuted_test_rows: test rows of those.
        canary_r2: R² with the next bar's return as a feature.
        canary_hit: hit rate with it.
        r2: R², pooled.
        hit: sign agreement on rows whose label is not HOLD.
        has_champion: whether a model is in production now.
        champion_t: t of the paired difference in rank IC per timestamp against it, on the same data.
        rule_share: rows that fall back to the rule.
        filter_share: rows that pass the confidence filter.
        signal_share: rows that pass it as BUY or SELL.

    Raises:
        SchemaError: a value of the wrong type, or one that nothing can measure: a negative count, share or error, class
            shares that do not sum to 1, a horizon below 1; `column` names the field.
    """

    rows: int | None = None
    fingerprint: str | None = None
    expected_fingerprint: str | None = None
    nulls: int | None = None
    horizon: int | None = None
    purge_bars: int | None = None
    label_leak: bool | None = None
    class_shares: tuple[float, ...] | None = None
    class_shares_by_symbol: Mapping[str, tuple[float, ...]] | None = None
    confidence_sd: float | None = None
    confidence_p10_p90: float | None = None
    direction_slope: float | None = None
    direction_t: float | None = None
    fold_rank_ic: tuple[float, ...] | None = None
    rank_ic: float | None = None
    rank_ic_t: float | None = None
    attempts: int | None = None
    baseline_rank_ic: Mapping[str, float] | None = None
    net_return: float | None = None
    fee: float | None = None
    slippage: float | None = None
    rank_ic_gap: float | None = None
    r2_gap: float | None = None
    seed_rank_ic: tuple[float, ...] | None = None
    ece: float | None = None
    parity_rows: int | None = None
    parity_feature_diffs: int | None = None
    parity_prediction_diffs: int | None = None
    permuted_rank_ic: tuple[float, ...] | None = None
    permuted_test_rows: int | None = None
    canary_r2: float | None = None
    canary_hit: float | None = None
    r2: float | None = None
    hit: float | None = None
    has_champion: bool | None = None
    champion_t: float | None = None
    rule_share: float | None = None
    filter_share: float | None = None
    signal_share: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                object.__setattr__(self, field.name, _plain(field.name, value))
        for name in _NOT_NEGATIVE:
            _least(name, getattr(self, name), 0)
        _least("horizon", self.horizon, 1)
        _whole("class_shares", self.class_shares)
        for symbol, shares in (self.class_shares_by_symbol or {}).items():
            _whole(f"class_shares_by_symbol[{symbol!r}]", shares)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values by field; NaN and infinity become null, which reads as not measured."""
        return {field.name: json_value(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_dict(cls, stored: Any, source: str = "gates.json") -> Evidence:
        """Return what `as_dict` wrote; raises SchemaError for anything else. A field of a later version is refused."""
        if not isinstance(stored, dict):
            raise SchemaError(f"{source}: evidence is missing")
        unknown = sorted(stored.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise SchemaError(f"{source}: unknown evidence {unknown[0]!r}", column=unknown[0])
        try:
            return cls(**{name: _null_is_nan(value) for name, value in stored.items()})
        except SchemaError as error:
            raise SchemaError(f"{source}: {error}", column=error.column) from error


def json_value(value: Any) -> Any:
    """Return a plain value with NaN and infinity as None, tuples as lists and maps as dicts, all the way down."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): json_value(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(part) for part in value]
    return value


def _null_is_nan(value: Any) -> Any:
    """Undo `json_value` inside sequences and maps, where None has no place."""
    if isinstance(value, list):
        return [math.nan if part is None else _null_is_nan(part) for part in value]
    if isinstance(value, dict):
        return {key: math.nan if part is None else _null_is_nan(part) for key, part in value.items()}
    return value


def _plain(name: str, value: Any) -> Any:
    """Return a field's value as plain Python, or refuse it."""
    tolist = getattr(value, "tolist", None)
    if tolist is not None:  # a NumPy scalar or array
        value = tolist()
    if name in _TEXTS:
        return _of(name, value, str, "a text")
    if name in _FLAGS:
        return _of(name, value, bool, "True or False")
    if name in _SEQUENCES:
        return _sequence(name, value)
    if name in _MAPS:
        _of(name, value, Mapping, "a mapping")
        part = _number if name == "baseline_rank_ic" else _sequence
        return {str(key): part(f"{name}[{key!r}]", _listed(inner)) for key, inner in value.items()}
    return _number(name, value)


def _least(name: str, value: float | None, least: int) -> None:
    """Refuse what is below all that can be measured; None and NaN are for the gates."""
    if value is not None and value < least:
        raise SchemaError(f"evidence {name} must be at least {least}, not {value!r}", column=name, value=value)


def _whole(name: str, shares: tuple[float, ...] | None) -> None:
    """Refuse shares that are none; no shares, and NaN among them, are for the gates."""
    if not shares or any(map(math.isnan, shares)):
        return
    if min(shares) < 0.0 or abs(sum(shares) - 1.0) > _ROUNDING:
        column = name.partition("[")[0]
        raise SchemaError(f"evidence {name} must be shares that sum to 1, not {shares!r}", column=column)


def _listed(value: Any) -> Any:
    tolist = getattr(value, "tolist", None)
    return value if tolist is None else tolist()


def _sequence(name: str, value: Any) -> tuple[float, ...]:
    _of(name, value, (list, tuple), "a sequence of numbers")
    return tuple(_number(f"{name}[{i}]", _listed(part)) for i, part in enumerate(value))


def _number(name: str, value: Any) -> float | int:
    """Return a finite number, or NaN for one that is not: infinity is no evidence either."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SchemaError(f"evidence {name} must be a number, not {str(value)[:80]!r}", column=name)
    if isinstance(value, int) and abs(value) >= _MAX_INT:
        raise SchemaError(f"evidence {name} is out of range", column=name)
    if not math.isfinite(value):
        return math.nan
    if name not in _INTEGERS:
        return float(value)
    if value != int(value):
        raise SchemaError(f"evidence {name} must be a whole number, not {value!r}", column=name)
    return int(value)


def _of(name: str, value: Any, kind: Any, text: str) -> Any:
    if not isinstance(value, kind):
        raise SchemaError(f"evidence {name} must be {text}, not {str(value)[:80]!r}", column=name)
    return value
