"""Judging evidence by limits, and the verdicts that come of it."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, replace
from typing import Any, get_args

from qtfeat import _strict_json
from qtfeat.errors import GateFailed, SchemaError
from qtfeat.gates.evidence import Evidence, json_value
from qtfeat.gates.limits import Limits
from qtfeat.gates.rules import Allowed, Bound, Gate, Relation, Value, gates

FORMAT = 1
_RANK: dict[Allowed, int] = {"rejected": 0, "shadow": 1, "production": 2}
_SIGN = {"<=": "at most", ">=": "at least", "<": "below", ">": "above", "in": "within"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one gate found.

    Attributes:
        gate: name of the gate.
        value: what was measured; None where nothing (or nothing finite) was.
        relation: how the value must stand to the limit: `<=`, `>=`, `<`, `>`, `==` or `in`.
        limit: the limit, two numbers for `in`.
        passed: whether it holds.
        failing: what a model that fails here may still become; "production" if the gate only reports.
        sentence: the verdict in words.
    """

    gate: str
    value: Value
    relation: Relation
    limit: Bound | None
    passed: bool
    failing: Allowed
    sentence: str

    @property
    def blocking(self) -> bool:
        """Whether a failure keeps the model out of production."""
        return self.failing != "production"

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "gate": self.gate,
            "value": json_value(self.value),
            "relation": self.relation,
            "limit": json_value(self.limit),
            "passed": self.passed,
            "blocking": self.blocking,
            "failing": self.failing,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What all gates found.

    Attributes:
        verdicts: one per gate, in the order of the table.
        evidence: what they judged.
        limits: by which limits.
    """

    verdicts: tuple[Verdict, ...]
    evidence: Evidence
    limits: Limits

    @property
    def passed(self) -> bool:
        """Whether every blocking gate passed."""
        return self.allowed == "production"

    @property
    def allowed(self) -> Allowed:
        """The most that the model may become: "production", "shadow" or "rejected"."""
        return allowed(self.verdicts)

    @property
    def failures(self) -> tuple[Verdict, ...]:
        """The blocking gates that did not pass."""
        return tuple(v for v in self.verdicts if v.blocking and not v.passed)

    def require(self, least: Allowed = "production") -> None:
        """Raise GateFailed, which carries these verdicts, unless the model may become `least`."""
        if _RANK[self.allowed] < _RANK[least]:
            reasons = "; ".join(v.sentence for v in self.failures)
            raise GateFailed(f"{self.allowed}: {reasons}", verdicts=self)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values: verdicts, what they allow, the limits with their hash, and the evidence."""
        return {
            "format": FORMAT,
            "allowed": self.allowed,
            "limits": self.limits.as_dict(),
            "verdicts": [verdict.as_dict() for verdict in self.verdicts],
            "evidence": self.evidence.as_dict(),
        }

    def to_json(self) -> bytes:
        """Return the content of `gates.json`."""
        return _strict_json.write(self.as_dict())

    @classmethod
    def from_json(cls, data: bytes, source: str = "gates.json") -> Verdicts:
        """Read `gates.json` back. Its evidence is judged again; what it says of itself must agree with that.

        Raises:
            SchemaError: not JSON, another format or version, a wrong type, limits that are not what they hash to,
                or verdicts that do not follow from evidence and limits.
        """
        try:
            stored = _strict_json.parse(data)
        except ValueError as error:
            raise SchemaError(f"{source}: cannot be read ({error})") from error
        if (
            not isinstance(stored, dict)
            or stored.get("format") != FORMAT
            or not isinstance(stored.get("verdicts"), list)
        ):
            raise SchemaError(f"{source}: verdicts of format {FORMAT} are expected")
        limits = Limits.from_dict(stored.get("limits"), source)
        evidence = Evidence.from_dict(stored.get("evidence"), source)
        judged = check(evidence, limits)
        verdicts = tuple(_verdict(entry, source) for entry in stored["verdicts"])
        if [v.gate for v in verdicts] != [v.gate for v in judged.verdicts]:
            raise SchemaError(f"{source}: its verdicts are not those of the gates, or in another order")
        differing = [a.gate for a, b in zip(verdicts, judged.verdicts, strict=True) if not _agree(a, b)]
        if differing:
            names = ", ".join(differing)
            raise SchemaError(f"{source}: its verdicts do not follow from its evidence and limits: {names}")
        # The words are those of the judgement; only what was not measured keeps its own, which may say why.
        verdicts = tuple(
            replace(again, sentence=was.sentence) if again.value is None else again
            for was, again in zip(verdicts, judged.verdicts, strict=True)
        )
        if stored.get("allowed") != judged.allowed:
            raise SchemaError(f"{source}: says {stored.get('allowed')!r}, but its verdicts say {judged.allowed!r}")
        return cls(verdicts, evidence, limits)

    def table(self, width: int = 100) -> str:
        """Return the verdicts as text, failures marked, for a terminal of `width` columns."""
        name = max(len(v.gate) for v in self.verdicts)
        lines = []
        for verdict in self.verdicts:
            mark = "ok  " if verdict.passed else "FAIL" if verdict.blocking else "note"
            lead = f"{mark}  {verdict.gate:<{name}}  "
            lines += textwrap.wrap(verdict.sentence, width, initial_indent=lead, subsequent_indent=" " * len(lead))
        lines += [f"limits: {change}" for change in self.limits.changes]
        failed = len(self.failures)
        lines.append(f"{failed} of {len(self.verdicts)} gates fail; allowed: {self.allowed}")
        return "\n".join(lines)


def check(evidence: Evidence, limits: Limits | None = None) -> Verdicts:
    """Judge evidence by limits.

    Args:
        evidence: what was measured; what was not measured fails.
        limits: None for the shipped ones.

    Returns:
        A verdict of every gate; nothing is raised for a model that fails (`Verdicts.require` does).
    """
    limits = Limits.load() if limits is None else limits
    if not isinstance(evidence, Evidence) or not isinstance(limits, Limits):
        raise SchemaError(f"Evidence and Limits are needed, not {type(evidence).__name__} and {type(limits).__name__}")
    return Verdicts(tuple(_judge(gate, evidence, limits) for gate in gates(limits)), evidence, limits)


def allowed(verdicts: tuple[Verdict, ...]) -> Allowed:
    """Return the most that a model with these verdicts may become."""
    failed: list[Allowed] = [v.failing for v in verdicts if not v.passed]
    return min(failed, key=_RANK.__getitem__, default="production")


def _judge(gate: Gate, evidence: Evidence, limits: Limits) -> Verdict:
    value, limit = gate.value(evidence), gate.limit(limits, evidence)
    if gate.name == "champion.t" and value == "none":
        return Verdict(gate.name, value, gate.relation, limit, True, gate.failing, "no model is in production yet")
    if value is None:
        return _failed(gate, None, limit, f"{gate.what}: not measured")
    if _unusable(value):
        return _failed(gate, None, limit, f"{gate.what}: {value} is no number to judge by")
    if _unusable(limit) or limit == "not measured":
        return _failed(gate, value, None, f"{gate.what}: what it is compared with was not measured")
    passed = _holds(value, gate.relation, limit)
    sentence = f"{gate.what}: {_text(value, gate.form)}"
    if gate.failing != "production" or not passed:
        sentence += f", {_standing(gate.relation, _bound(limit, gate.form), passed)}"
    if not passed and gate.advice:
        sentence += f"; {gate.advice}"
    return Verdict(gate.name, value, gate.relation, limit, passed, gate.failing, sentence)


def _failed(gate: Gate, value: Value, limit: Bound | None, sentence: str) -> Verdict:
    """Return the verdict on what was not measured: rejected, even where a measured failure would allow more."""
    failing: Allowed = "production" if gate.failing == "production" else "rejected"
    return Verdict(gate.name, value, gate.relation, None if _unusable(limit) else limit, False, failing, sentence)


def _unusable(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _holds(value: Any, relation: Relation, limit: Any) -> bool:
    match relation:
        case "<=":
            return bool(value <= limit)
        case ">=":
            return bool(value >= limit)
        case "<":
            return bool(value < limit)
        case ">":
            return bool(value > limit)
        case "in":
            return bool(limit[0] <= value <= limit[1])
        case "==":
            return bool(value == limit)


def _standing(relation: Relation, limit: str, passed: bool) -> str:
    if relation == "==":
        return "as it must be" if passed else f"must be {limit}"
    return f"{'' if passed else 'not '}{_SIGN[relation]} {limit}"


def _text(value: Any, form: str) -> str:
    return value if isinstance(value, str) else format(value, form)


def _bound(limit: Bound, form: str) -> str:
    if isinstance(limit, tuple):
        return f"{_text(limit[0], form)} .. {_text(limit[1], form)}"
    return _text(limit, form)


def _agree(stored: Verdict, judged: Verdict) -> bool:
    """Whether two verdicts on one gate say the same; the last digits of what is computed may differ."""
    same = (stored.passed, stored.failing, stored.relation) == (judged.passed, judged.failing, judged.relation)
    return same and _close(stored.value, judged.value) and _close(stored.limit, judged.limit)


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_close, a, b))
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-9)
    return bool(a == b)


def _verdict(entry: Any, source: str) -> Verdict:
    """Read one verdict back, trusting no type."""
    if not isinstance(entry, dict):
        raise SchemaError(f"{source}: a verdict is no table")
    gate, sentence, value, limit = (entry.get(key) for key in ("gate", "sentence", "value", "limit"))
    failing, relation, passed = (entry.get(key) for key in ("failing", "relation", "passed"))
    if isinstance(limit, list):
        limit = tuple(limit)
    good = (
        isinstance(gate, str)
        and isinstance(sentence, str)
        and type(passed) is bool
        and failing in get_args(Allowed)
        and relation in get_args(Relation)
        and isinstance(value, (int, float, str, type(None)))
        and isinstance(limit, (int, float, str, tuple, type(None)))
    )
    if not good:
        raise SchemaError(f"{source}: bad verdict of gate {str(gate)[:80]!r}")
    return Verdict(str(gate), value, entry["relation"], limit, bool(passed), entry["failing"], str(sentence))
