"""What the gates make of a market whose truth is known: planted skill passes, nothing and too much do not.

Each test is the main job with its default settings and the shipped limits. A soak (`make soak`, or
`QTFEAT_SOAK=1 pytest tests/test_acceptance.py -s -o timeout=7200`) takes the default market of 8 symbols and 20,000
bars and ten seeds; else one seed and a smaller market.
"""

from __future__ import annotations

import pytest

from qtfeat import registry
from qtfeat.errors import QtfeatError, RegistryError
from qtfeat.gates import Limits
from qtfeat.train import TrainConfig
from qtfeat.train.libraries import library
from qtfeat.train.run import RunResult, run_main_job
from sizes import SOAK, scaled

try:
    library("xgboost")
    library("lightgbm")
except QtfeatError as missing:
    pytest.skip(str(missing), allow_module_level=True)

pytestmark = [pytest.mark.soak, pytest.mark.parametrize("seed", range(scaled(10)))]

PASSING = {} if SOAK else {"bars": 10_000}
REFUSED = {} if SOAK else {"bars": 2_000}


def main_job(out, signal_r2: float, seed: int, size: dict[str, int]) -> RunResult:
    """Run the main job and print what was found, so that a soak leaves a record."""
    made = run_main_job(out=out, config=TrainConfig(seed=seed), signal_r2=signal_r2, quiet=True, promote=True, **size)
    seen = made.verdicts.evidence
    assert made.verdicts.limits.hash == Limits.load().hash
    print(
        f"\nplanted {signal_r2:.0%}, seed {seed}: {made.verdicts.allowed}; rank IC {seen.rank_ic:+.4f}, "
        f"t {seen.rank_ic_t:.1f}, R2 {seen.r2:.2%}, hit {seen.hit:.1%}, slope {seen.direction_slope:.2f}, "
        f"ECE {seen.ece:.4f}, net {seen.net_return:+.3%}, failed: "
        f"{', '.join(v.gate for v in made.verdicts.failures) or 'none'}; {sum(made.seconds.values()):.0f} s"
    )
    return made


def refused(made: RunResult, out) -> set[str]:
    """Return the gates that failed, after checking that the model went nowhere."""
    assert made.status == "rejected"
    assert made.predictions == ()
    assert registry.aliases(out, "kline17").production is None
    with pytest.raises(RegistryError):
        registry.load(out, "kline17", "production")
    return {v.gate for v in made.verdicts.failures}


def test_planted_skill_passes_every_gate(tmp_path, seed):
    made = main_job(tmp_path, 0.03, seed, PASSING)
    assert [v.gate for v in made.verdicts.failures] == []
    assert made.verdicts.allowed == "production"
    assert registry.aliases(tmp_path, "kline17").production == made.path.name
    assert len(made.predictions) == 8


def test_nothing_to_find_is_refused(tmp_path, seed):
    failed = refused(main_job(tmp_path, 0.0, seed, REFUSED), tmp_path)
    # More than one gate that asks for skill, so that none of them is what luck has to get past.
    assert len(failed & {"direction.slope", "direction.t", "skill.folds", "skill.t", "baselines.margin"}) >= 2
    assert "costs.net" in failed


def test_too_good_to_be_true_is_stopped(tmp_path, seed):
    failed = refused(main_job(tmp_path, 0.2, seed, REFUSED), tmp_path)
    assert {"ceiling.r2", "ceiling.hit"} & failed
    if SOAK:
        # With all the data it is the alarm alone that stops it: everything else is in order.
        assert {"ceiling.r2", "ceiling.hit"} <= failed
