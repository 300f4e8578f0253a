"""The gates: every limit has teeth on its own, missing evidence fails, and a limits file cannot talk nonsense."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gated import COLLAPSED, GOOD, LEAKING
from qtfeat.errors import GateFailed, SchemaError
from qtfeat.gates import Evidence, Limits, Verdicts, check

NAN = float("nan")
LOOSE = "[skill]\nmin_t = 1.0\n[spread]\nmin_sd = 0.06\n"
REPORTED = {"class_shares_by_symbol"}
NOTES = {"rule_share", "filter_share"}

# One change to sound evidence, the gate that must stop it, and the last value that still passes.
TEETH = [
    ("integrity.rows", {"rows": 499}, {"rows": 500}),
    ("integrity.fingerprint", {"fingerprint": "e" * 64}, {}),
    ("integrity.nulls", {"nulls": 1}, {}),
    ("integrity.purge", {"purge_bars": 4}, {"purge_bars": 5}),
    ("integrity.label_leak", {"label_leak": True}, {}),
    ("diversity.largest_class", {"class_shares": (0.15, 0.7001, 0.1499)}, {"class_shares": (0.15, 0.70, 0.15)}),
    ("spread.sd", {"confidence_sd": 0.0499}, {"confidence_sd": 0.05}),
    ("spread.p10_p90", {"confidence_p10_p90": 0.1199}, {"confidence_p10_p90": 0.12}),
    ("direction.slope", {"direction_slope": 0.49}, {"direction_slope": 0.5}),
    ("direction.slope", {"direction_slope": 1.51}, {"direction_slope": 1.5}),
    ("direction.t", {"direction_t": 1.99}, {"direction_t": 2.0}),
    ("skill.fold_count", {"fold_rank_ic": (0.1, 0.1, 0.1, 0.1)}, {}),
    ("skill.folds", {"fold_rank_ic": (0.1, 0.1, 0.1, 0.0, -0.1)}, {"fold_rank_ic": (0.1, 0.1, 0.1, 0.1, -9.0)}),
    ("skill.folds", {"fold_rank_ic": (0.1,) * 7 + (NAN,) * 3}, {"fold_rank_ic": (0.1,) * 8 + (NAN,) * 2}),
    ("skill.t", {"rank_ic_t": 1.99}, {"rank_ic_t": 2.0}),
    ("skill.attempts", {"attempts": 0}, {"attempts": 1}),
    ("baselines.margin", {"rank_ic": 0.03}, {"rank_ic": 0.0301}),
    ("costs.fee", {"fee": 0.0004}, {"fee": 0.001}),
    ("costs.slippage", {"slippage": 0.0}, {"slippage": 0.0002}),
    ("costs.net", {"net_return": 0.0}, {"net_return": 1e-9}),
    ("overfit.rank_ic", {"rank_ic_gap": 0.1001}, {"rank_ic_gap": 0.10}),
    ("overfit.r2", {"r2_gap": 0.1001}, {"r2_gap": 0.10}),
    ("stability.seeds", {"seed_rank_ic": (0.1, 0.1)}, {}),
    ("stability.spread", {"seed_rank_ic": (0.02, 0.1, 0.2)}, {"seed_rank_ic": (0.05, 0.1, 0.15)}),
    ("stability.spread", {"seed_rank_ic": (-0.1, -0.1, -0.1)}, {}),
    ("calibration.ece", {"ece": 0.0301}, {"ece": 0.03}),
    ("parity.rows", {"parity_rows": 0}, {"parity_rows": 1}),
    ("parity.features", {"parity_feature_diffs": 1}, {}),
    ("parity.predictions", {"parity_prediction_diffs": 1}, {}),
    ("canary.permutations", {"permuted_rank_ic": (0.0,) * 4}, {}),
    ("canary.permuted", {"permuted_rank_ic": (0.013, -0.013) * 3}, {"permuted_rank_ic": (0.0126, -0.0126) * 3}),
    ("canary.next_return", {"canary_r2": 0.05, "canary_hit": 0.6}, {"canary_r2": 0.0, "canary_hit": 0.601}),
    ("ceiling.r2", {"r2": 0.0501}, {"r2": 0.05}),
    ("ceiling.hit", {"hit": 0.6001}, {"hit": 0.60}),
    ("champion.t", {"has_champion": True, "champion_t": -2.0}, {"has_champion": True, "champion_t": -1.99}),
    ("signals.share", {"signal_share": 0.0049}, {"signal_share": 0.005}),
]


def failing(evidence: Evidence, limits: Limits | None = None) -> set[str]:
    return {verdict.gate for verdict in check(evidence, limits).failures}


def test_sound_evidence_passes_every_gate():
    verdicts = check(GOOD)
    assert verdicts.passed
    assert verdicts.allowed == "production"
    assert all(verdict.passed for verdict in verdicts.verdicts)
    verdicts.require()


@pytest.mark.parametrize(("gate", "bad", "good"), TEETH)
def test_each_gate_stops_what_it_is_for_and_nothing_else(gate, bad, good):
    assert failing(replace(GOOD, **bad)) == {gate}
    assert failing(replace(GOOD, **good)) == set()


def test_two_classes_are_needed_where_one_may_be_large():
    """Shares sum to 1, so that the largest class alone would stop this with the shipped limits."""
    limits = Limits({**Limits.load().values, "diversity.max_class_share": 0.9})
    assert failing(replace(GOOD, class_shares=(0.1, 0.8, 0.1)), limits) == {"diversity.classes"}
    assert failing(replace(GOOD, class_shares=(0.1001, 0.8, 0.0999)), limits) == set()


def test_every_gate_is_tested():
    notes = {"signals.rule_share", "signals.filter_share", "diversity.classes"}
    assert {gate for gate, _, _ in TEETH} | notes == {verdict.gate for verdict in check(GOOD).verdicts}


def test_every_gate_is_documented():
    page = (Path(__file__).parent.parent / "docs" / "gates.md").read_text(encoding="utf-8")
    for verdict in check(GOOD).verdicts:
        assert f"`{verdict.gate}`" in page


@pytest.mark.parametrize("field", [f.name for f in fields(Evidence) if f.name not in REPORTED])
def test_what_was_not_measured_fails(field):
    without = GOOD if field != "champion_t" else replace(GOOD, has_champion=True)
    if field == "canary_r2":
        without = replace(without, canary_hit=None)
    elif field == "canary_hit":
        without = replace(without, canary_r2=None)
    verdicts = check(replace(without, **{field: None}))
    missed = [verdict for verdict in verdicts.verdicts if not verdict.passed]
    assert missed
    assert all("not measured" in verdict.sentence for verdict in missed)
    assert verdicts.allowed == ("production" if field in NOTES else "rejected")


@given(st.data())
def test_nan_and_infinity_never_help(data):
    """Property: no number of sound evidence can be replaced by NaN or infinity and still go live."""
    numbers = [f.name for f in fields(Evidence) if type(getattr(GOOD, f.name)) in (int, float)]
    field = data.draw(st.sampled_from([name for name in numbers if name not in NOTES]))
    poison = data.draw(st.sampled_from([NAN, math.inf, -math.inf]))
    changes = {field: poison}
    if field.startswith("canary_"):
        changes |= {"canary_r2": poison, "canary_hit": poison}
    assert check(replace(GOOD, **changes)).allowed == "rejected"


@pytest.mark.parametrize("poison", [NAN, math.inf])
def test_nan_in_a_sequence_fails(poison):
    for changes in (
        {"class_shares": (0.3, poison, 0.3)},
        {"seed_rank_ic": (0.1, poison, 0.1)},
        {"permuted_rank_ic": (0.0, 0.0, 0.0, 0.0, poison)},
        {"baseline_rank_ic": {"zero": 0.0, "neg_ret": poison}},
        {"class_shares": ()},
        {"fold_rank_ic": ()},
        {"baseline_rank_ic": {}},
    ):
        assert check(replace(GOOD, **changes)).allowed == "rejected", changes


def test_nothing_measured_is_rejected():
    verdicts = check(Evidence())
    assert verdicts.allowed == "rejected"
    assert not any(verdict.passed for verdict in verdicts.verdicts)


def test_the_collapsed_model_of_the_old_engine():
    shares = tuple(np.bincount(np.ones(10_000, dtype=int), minlength=3) / 10_000)
    confidence = np.full(10_000, 0.5239)
    spread = np.subtract(*np.quantile(confidence, [0.9, 0.1]))
    evidence = replace(GOOD, class_shares=shares, confidence_sd=confidence.std(), confidence_p10_p90=spread)
    gates = {"diversity.largest_class", "diversity.classes", "spread.sd", "spread.p10_p90"}
    assert failing(evidence) == gates
    verdicts = check(COLLAPSED)
    assert gates < {verdict.gate for verdict in verdicts.failures}
    with pytest.raises(GateFailed, match="collapsed onto one answer") as caught:
        verdicts.require()
    assert caught.value.verdicts is verdicts
    with pytest.raises(GateFailed):
        verdicts.require("shadow")


def test_what_may_still_run_in_shadow():
    for evidence in (LEAKING, replace(GOOD, rows=82), replace(LEAKING, rows=82)):
        assert check(evidence).allowed == "shadow"
        check(evidence).require("shadow")
    assert check(replace(LEAKING, r2=0.9)).allowed == "rejected"
    assert check(replace(GOOD, rows=82, rank_ic_t=0.0)).allowed == "rejected"


def test_numpy_values_are_taken_and_wrong_types_refused():
    evidence = Evidence(
        rows=np.int64(600), ece=np.float32(0.5), fold_rank_ic=np.array([0.1, 0.2]), label_leak=np.bool_(False)
    )
    assert (evidence.rows, evidence.ece, evidence.fold_rank_ic, evidence.label_leak) == (600, 0.5, (0.1, 0.2), False)
    assert type(evidence.rows) is int
    assert Evidence(rows=600.0).rows == 600
    for field, value in (
        *(("ece", "0.1"), ("ece", True), ("ece", (0.1,)), ("rows", 1.5), ("rows", 10**30), ("label_leak", 1)),
        *(("fingerprint", 5), ("fold_rank_ic", 0.1), ("fold_rank_ic", ("a",)), ("baseline_rank_ic", [1.0])),
        *(("class_shares_by_symbol", {"A": 1.0}), ("baseline_rank_ic", {"a": None})),
    ):
        with pytest.raises(SchemaError, match=field):
            Evidence(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("ece", -0.01), ("horizon", 0), ("horizon", -5), ("purge_bars", -1), ("rows", -1), ("nulls", -1)),
        *(("confidence_sd", -0.1), ("parity_feature_diffs", -1), ("signal_share", -0.1), ("fee", -0.001)),
        *(("class_shares", (0.3, 0.4, 0.2)), ("class_shares", (0.3, 0.4, 0.4)), ("class_shares", (-0.2, 0.6, 0.6))),
        *(("class_shares", (0.3, 0.4, 0.300002)), ("class_shares_by_symbol", {"A": (0.5, 0.6, 0.1)})),
    ],
)
def test_what_nothing_can_measure_is_refused_and_not_judged(field, value):
    with pytest.raises(SchemaError, match=rf"evidence {field}.*(must be at least|sum to 1)") as caught:
        replace(GOOD, **{field: value})
    assert caught.value.column == field
    with pytest.raises(SchemaError, match=r"gates\.json: evidence"):
        Evidence.from_dict({**GOOD.as_dict(), field: value})


def test_rounded_shares_are_taken():
    shares = tuple(np.array([1, 1, 1], dtype=np.float32) / np.float32(3))
    assert failing(replace(GOOD, class_shares=shares)) == set()


# --- limits ---


def test_limits_do_not_change_after_their_hash_is_taken():
    limits = Limits.load()
    before = limits.hash
    with pytest.raises(TypeError):
        limits.values["skill.min_t"] = 0.0
    assert (limits.hash, limits["skill.min_t"]) == (before, 2.0)
    given = dict(limits.values)
    own = Limits(given)
    given["skill.min_t"] = 0.0
    assert own["skill.min_t"] == 2.0
    assert Limits.from_dict(json.loads(json.dumps(limits.as_dict()))) == limits


def test_the_defaults_of_the_old_checks_stand_in_one_place():
    limits = Limits.load()
    assert limits["diversity.max_class_share"] == 0.70
    assert limits["diversity.min_class_share"] == 0.10
    assert limits["spread.min_sd"] == 0.05
    assert limits["spread.min_p10_p90"] == 0.12
    assert limits.changes == ()
    shipped = tomllib.loads((resources.files("qtfeat.gates") / "gates.toml").read_text(encoding="utf-8"))
    assert shipped.pop("version") == limits.version
    assert {f"{t}.{k}": v for t, table in shipped.items() for k, v in table.items()} == limits.values


def test_own_limits_are_visible(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(f"version = 1\n{LOOSE}", encoding="utf-8")
    limits = Limits.load(path)
    assert limits.changes == ("skill.min_t: 2 -> 1 (looser)", "spread.min_sd: 0.05 -> 0.06 (stricter)")
    assert limits.hash != Limits.load().hash
    weak = replace(GOOD, rank_ic_t=1.5)
    assert failing(weak) == {"skill.t"}
    verdicts = check(weak, limits)
    assert verdicts.passed
    assert "skill.min_t: 2 -> 1 (looser)" in verdicts.table()
    assert verdicts.as_dict()["limits"]["hash"] == limits.hash
    # Comments and order are not part of the hash.
    path.write_text("version = 1 # mine\n[spread]\nmin_sd = 6e-2\n[skill]\nmin_t = 1\n", encoding="utf-8")
    assert Limits.load(path).hash == limits.hash
    assert check(replace(GOOD, confidence_sd=0.055), limits).allowed == "rejected"


HOSTILE = {
    "no version": "[skill]\nmin_t = 1.0\n",
    "another version": "version = 2\n",
    "version of a wrong type": "version = true\n",
    "NaN": "version = 1\n[skill]\nmin_t = nan\n",
    "infinity": "version = 1\n[ceiling]\nmax_r2 = inf\n",
    "negative": "version = 1\n[diversity]\nmin_class_share = -0.1\n",
    "share above 1": "version = 1\n[diversity]\nmax_class_share = 1.5\n",
    "less than an even share": "version = 1\n[diversity]\nmax_class_share = 0.2\n",
    "text": 'version = 1\n[skill]\nmin_t = "2"\n',
    "boolean": "version = 1\n[skill]\nmin_t = false\n",
    "list": "version = 1\n[skill]\nmin_t = [2]\n",
    "half a row": "version = 1\n[integrity]\nmin_rows = 499.5\n",
    "no rows": "version = 1\n[integrity]\nmin_rows = 0\n",
    "more than a float": f"version = 1\n[integrity]\nmin_rows = {10**400}\n",
    "huge": f"version = 1\n[integrity]\nmin_rows = {10**30}\n",
    "unknown limit": "version = 1\n[skill]\nmin_tea = 2.0\n",
    "unknown table": "version = 1\n[slill]\nmin_t = 2.0\n",
    "no table": "version = 1\nskill = 2\n",
    "empty range": "version = 1\n[direction]\nmin_slope = 2.0\n",
    "not TOML": "version = ",
    "twice": "version = 1\n[skill]\nmin_t = 2.0\nmin_t = 0.0\n",
    "deep": "version = 1\nx = " + "[" * 100_000,
    "large": "version = 1\n#" + "x" * (1 << 20),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_limits_are_refused(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SchemaError, match=r"own\.toml"):
        Limits.load(path)


def test_limits_of_no_file_and_of_no_text(tmp_path):
    with pytest.raises(OSError, match=r"none\.toml"):
        Limits.load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"version = 1 # \xff")
    with pytest.raises(SchemaError, match="not TOML"):
        Limits.load(tmp_path / "latin.toml")


# --- gates.json ---


@pytest.mark.parametrize("evidence", [GOOD, COLLAPSED, LEAKING, Evidence(), replace(GOOD, r2=math.inf)])
def test_written_and_read_back(evidence):
    verdicts = check(evidence)
    text = verdicts.to_json()
    again = Verdicts.from_json(text)
    assert again.verdicts == verdicts.verdicts
    assert again.allowed == verdicts.allowed
    assert again.limits == verdicts.limits
    assert b"NaN" not in text
    stored = json.loads(text)
    for entry in stored["verdicts"]:
        assert {"gate", "value", "limit", "passed", "blocking", "sentence"} <= entry.keys()
        assert len(entry["sentence"]) > 8


def test_a_forged_gates_json_is_refused():
    stored = json.loads(check(COLLAPSED).to_json())

    def forged(**changes):
        return json.dumps({**stored, **changes}).encode()

    def with_verdicts(**changes):
        return forged(allowed="production", verdicts=[{**entry, **changes} for entry in stored["verdicts"]])

    good = json.loads(check(GOOD).to_json())
    for text in (
        forged(allowed="production"),
        with_verdicts(passed=True),
        with_verdicts(failing="production", blocking=False),
        forged(allowed="production", verdicts=good["verdicts"]),
        forged(allowed="production", verdicts=[]),
        forged(allowed="production", verdicts=[v for v in stored["verdicts"] if v["passed"]]),
        forged(limits={**stored["limits"], "values": {**stored["limits"]["values"], "skill.min_t": 0.0}}),
        forged(limits=None),
        forged(limits={**stored["limits"], "values": {**stored["limits"]["values"], "skill.min_t": "x"}}),
        forged(evidence=None),
        forged(evidence={**stored["evidence"], "luck": 1.0}),
        forged(evidence={**stored["evidence"], "rows": "many"}),
        forged(format=2),
        forged(verdicts={"skill.t": True}),
        with_verdicts(value=99.0),
        with_verdicts(limit=99.0),
        with_verdicts(relation=">"),
        with_verdicts(gate=["skill.t"]),
        with_verdicts(limit={"a": 1}),
        with_verdicts(failing=["production"]),
        b"[]",
        b"",
        b"[" * 100_000,
        b'{"format": 1, "format": 1}',
        b'{"format": NaN}',
        b"\xff",
    ):
        with pytest.raises(SchemaError, match=r"gates\.json"):
            Verdicts.from_json(text)


def test_the_words_of_a_verdict_are_those_of_the_judgement():
    stored = json.loads(check(GOOD).to_json())
    for entry in stored["verdicts"]:
        entry["sentence"] = "the best model ever"
    again = Verdicts.from_json(json.dumps(stored).encode())
    assert [v.sentence for v in again.verdicts] == [v.sentence for v in check(GOOD).verdicts]


def test_what_is_no_evidence():
    with pytest.raises(SchemaError, match="Evidence and Limits"):
        check(None)


def test_the_table_says_why():
    table = check(COLLAPSED).table(80)
    assert "FAIL  diversity.largest_class" in table
    assert "100.0%, not at most 70.0%" in " ".join(table.split())
    assert table.endswith("allowed: rejected")
    assert max(map(len, table.splitlines())) <= 80
