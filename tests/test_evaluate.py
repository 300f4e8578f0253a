"""The figures of an evaluation against other libraries, brute force, and answers that are known."""

from __future__ import annotations

import math
import tomllib
from collections import defaultdict
from importlib import resources

import numpy as np
import pytest

from outofsample import assemble, change, made_up
from qtfeat.train.evaluate import Costs, SignalFilter, evaluate, hit_rate, over_time, r2, r2_mean, rank_ic

stats = pytest.importorskip("scipy.stats")
metrics = pytest.importorskip("sklearn.metrics")


@pytest.fixture(scope="module")
def oos():
    return made_up()


@pytest.fixture(scope="module")
def result(oos):
    return evaluate(oos)


def test_forecast_against_other_libraries(oos, result):
    got = result.pooled.forecast
    assert got.rank_ic == pytest.approx(stats.spearmanr(oos.score, oos.value).statistic, rel=1e-12)
    assert got.r2_mean == pytest.approx(metrics.r2_score(oos.value, oos.score), rel=1e-10)
    assert got.r2 == pytest.approx(1 - ((oos.value - oos.score) ** 2).sum() / (oos.value**2).sum(), rel=1e-10)
    moved = oos.side != 1
    assert got.hit_rate == np.mean(np.sign(oos.score[moved]) == np.sign(oos.value[moved]))
    assert result.pooled.hit_rows == moved.sum()
    assert result.form == "cross-section"


def test_classes_against_sklearn(oos, result):
    said = oos.p.argmax(axis=1)
    got = result.pooled.classes
    assert np.array_equal(got.confusion, metrics.confusion_matrix(oos.side, said, labels=[0, 1, 2]))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        oos.side, said, labels=[0, 1, 2], zero_division=np.nan
    )
    assert got.precision == pytest.approx(precision, nan_ok=True)
    assert got.recall == pytest.approx(recall, nan_ok=True)
    assert got.f1[0] == pytest.approx(f1[0])
    assert got.true_mix == pytest.approx(np.bincount(oos.side, minlength=3) / len(oos))
    got = result.pooled.calibration
    assert got.log_loss == pytest.approx(metrics.log_loss(oos.side, oos.p, labels=[0, 1, 2]))
    binary = sum(metrics.brier_score_loss(oos.side == k, oos.p[:, k]) for k in range(3))
    assert got.brier == pytest.approx(binary)
    base = np.tile(np.bincount(oos.side, minlength=3) / len(oos), (len(oos), 1))
    assert got.log_loss_base == pytest.approx(metrics.log_loss(oos.side, base, labels=[0, 1, 2]))


def test_ece_by_hand(oos, result):
    errors = []
    for k in range(3):
        order = np.argsort(oos.p[:, k], kind="stable")
        errors.append(
            sum(
                len(rows) / len(oos) * abs(oos.p[rows, k].mean() - (oos.side[rows] == k).mean())
                for rows in np.array_split(order, 10)
            )
        )
    got = result.pooled.calibration
    assert got.ece == pytest.approx(np.mean(errors), rel=0.02)  # array_split puts the odd rows elsewhere
    assert len(got.bins) == 30
    assert sum(b.rows for b in got.bins) == 3 * len(oos)
    # true probabilities: no more error than chance gives
    assert got.ece < 3 * got.ece_chance


def test_ece_of_ties_does_not_depend_on_the_order_of_rows():
    g = np.random.default_rng(1)
    p = g.choice([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]], size=500)
    oos = assemble(np.sort(g.standard_normal(500)) * 0.01, g.standard_normal(500), p, 5)
    order = g.permutation(500)
    one, other = evaluate(oos), evaluate(oos.take(order))
    assert one.pooled.calibration == other.pooled.calibration
    constant = evaluate(change(oos, p=np.tile([0.3, 0.4, 0.3], (500, 1)))).pooled
    mix = constant.classes.true_mix
    assert constant.calibration.ece == pytest.approx(np.mean(np.abs(np.subtract(mix, [0.3, 0.4, 0.3]))))


def test_ic_per_timestamp_and_its_t_by_brute_force(oos, result):
    ics = [stats.spearmanr(oos.score[oos.t == t], oos.value[oos.t == t]).statistic for t in np.unique(oos.t)]
    got = result.pooled.forecast.ic
    assert got.mean == pytest.approx(np.mean(ics), rel=1e-10)
    assert got.timestamps == 600
    picked = np.array(ics[::5])
    assert got.used == len(picked) == 120
    assert got.t == pytest.approx(stats.ttest_1samp(picked, 0.0).statistic, rel=1e-9)
    ts = [stats.ttest_1samp(ics[k::5], 0.0).statistic for k in range(5)]
    assert (got.t_low, got.t_high) == pytest.approx((min(ts), max(ts)))
    first = np.array(ics)[:200]
    assert result.folds[0].scores.forecast.ic.mean == pytest.approx(first.mean(), rel=1e-10)


def test_newey_west_by_its_formula():
    x = np.random.default_rng(2).standard_normal(400).cumsum() * 0.01 + 0.2
    got = over_time(x, 3)
    n, lags = 400, max(8, int(4 * 4 ** (2 / 9)))
    assert got.lags == lags
    e = x - x.mean()
    covariances = [np.sum(e[lag:] * e[: n - lag]) / n for lag in range(lags + 1)]
    variance = covariances[0] + 2 * sum((1 - lag / (lags + 1)) * covariances[lag] for lag in range(1, lags + 1))
    assert got.t_newey_west == pytest.approx(x.mean() / math.sqrt(variance / n), rel=1e-9)


def test_overlap_is_paid_for():
    """Forecasts without skill over overlapping outcomes: the adjusted t keeps its size, the naive one does not."""
    adjusted, naive = [], []
    for seed in range(40):
        oos = made_up(symbols=8, stamps=500, horizon=10, folds=1, seed=seed, r2=0.5)
        other = made_up(symbols=8, stamps=500, horizon=10, folds=1, seed=1000 + seed, r2=0.5)
        got = evaluate(change(oos, score=other.score)).pooled.forecast.ic
        adjusted.append(got.t)
        naive.append(got.mean / got.sd * math.sqrt(got.timestamps))
    assert 0.7 < np.std(adjusted) < 1.35
    assert np.std(naive) > 1.6


def brute_book(oos, stamps, horizon, per_side):
    """Rebalance symbol by symbol with dictionaries."""
    gross, traded, held = [], [], {}
    for t in stamps[::horizon]:
        rows = np.flatnonzero(oos.t == t)
        rows = rows[np.argsort(oos.score[rows], kind="stable")]
        leg = max(1, math.floor(len(rows) / 10 + 0.5))
        target = defaultdict(float)
        for row in rows[-leg:]:
            target[oos.symbol[row]] += 1 / leg
        for row in rows[:leg]:
            target[oos.symbol[row]] -= 1 / leg
        gross.append(sum(target[oos.symbol[row]] * oos.ret[row] for row in rows))
        traded.append(sum(abs(target[s] - held.get(s, 0.0)) for s in {*target, *held}))
        held = dict(target)
    traded[-1] += sum(map(abs, held.values()))
    return np.array(gross), np.array(gross) - per_side * np.array(traded), np.array(traded)


@pytest.mark.parametrize("symbols", [5, 8, 15, 37])
def test_book_by_brute_force(symbols):
    oos = made_up(symbols=symbols, stamps=120, folds=2, seed=symbols)
    # symbols come and go
    oos = oos.take(np.random.default_rng(3).random(len(oos)) < 0.95)
    stamps = [t for t in np.unique(oos.t) if (oos.t == t).sum() >= 5]
    gross, net, traded = brute_book(oos, stamps, 5, 0.0007)
    result = evaluate(oos)
    if result.form == "time-series":
        pytest.fail("half of the rows should stand in a cross-section")
    assert np.array_equal(result.curve.t, stamps[::5])
    assert result.curve.gross == pytest.approx(gross, abs=1e-14)
    assert result.curve.net == pytest.approx(net, abs=1e-14)
    got = result.pooled.forecast.book
    assert got.turnover == pytest.approx(traded.mean() / 4)
    assert got.gross - got.net == pytest.approx(got.cost)
    assert got.sum_net == pytest.approx(net.sum())
    wealth = np.append(0.0, net.cumsum())
    assert got.drawdown_net == pytest.approx(min(w - wealth[: i + 1].max() for i, w in enumerate(wealth)))
    assert got.sharpe_net == pytest.approx(net.mean() / net.std(ddof=1) * math.sqrt(365 * 24 / 5))
    assert got.t_net == pytest.approx(stats.ttest_1samp(net, 0.0).statistic)


def test_a_book_that_never_changes_pays_only_to_open_and_close():
    ret = np.tile(np.linspace(-0.01, 0.01, 10), 50)
    oos = assemble(ret, ret.copy(), np.tile([0.3, 0.4, 0.3], (500, 1)), 10, horizon=5, folds=1)
    got = evaluate(oos).curve
    assert got.gross == pytest.approx(np.full(10, 0.02))
    assert got.traded == pytest.approx([2.0] + [0.0] * 8 + [2.0])
    assert evaluate(oos, Costs(0.01, 0.0)).curve.net.sum() == pytest.approx(0.2 - 0.04)


def test_tied_forecasts_share_their_places():
    score = np.tile([0.0, 0.0, 1.0, 2.0, 2.0, 2.0], 40)
    ret = np.tile([0.0, 0.06, 0.5, 0.01, 0.02, 0.03], 40)
    oos = assemble(ret, score, np.tile([0.3, 0.4, 0.3], (240, 1)), 6, horizon=1, folds=1)
    assert evaluate(oos).curve.gross == pytest.approx(np.full(40, 0.02 - 0.03))


def test_one_symbol_is_scored_over_time():
    oos = made_up(symbols=1, stamps=3000, r2=0.1)
    result = evaluate(oos)
    assert result.form == "time-series"
    folds = [stats.spearmanr(oos.score[oos.fold == k], oos.value[oos.fold == k]).statistic for k in (1, 2, 3)]
    assert [f.scores.forecast.ic.mean for f in result.folds] == pytest.approx(folds)
    assert result.pooled.forecast.ic.t > 2
    assert result.pooled.forecast.book.gross > 0
    # positions look at earlier forecasts only
    later = oos.score.copy()
    later[1500:] *= 100
    assert np.array_equal(evaluate(change(oos, score=later)).curve.gross[:300], result.curve.gross[:300])


def test_direction_slope_of_true_probabilities_is_one(oos, result):
    x, y = oos.p[:, 2] - oos.p[:, 0], oos.side - 1.0
    got = result.pooled.direction
    assert got.slope == pytest.approx(stats.linregress(x, y).slope, rel=1e-9)
    assert 0.5 < got.slope < 1.5
    assert got.t > 2
    turned = evaluate(change(oos, p=oos.p[:, ::-1])).pooled.direction
    assert turned.slope == pytest.approx(-got.slope)
    # clustered errors by their formula, on every fifth timestamp
    picked = np.isin(oos.t, np.unique(oos.t)[::5])
    x, y, t = x[picked], y[picked], oos.t[picked]
    slope, intercept = np.polyfit(x, y, 1)
    moment = [((x - x.mean()) * (y - slope * x - intercept))[t == s].sum() for s in np.unique(t)]
    error = math.sqrt(sum(m * m for m in moment) * 120 / 119) / ((x - x.mean()) ** 2).sum()
    assert got.t == pytest.approx(slope / error, rel=1e-8)
    assert got.used == 120


def test_coverage_and_confidence():
    p = np.array([[0.34, 0.33, 0.33], [0.1, 0.6, 0.3], [0.4, 0.6, 0.0], [0.2, 0.2, 0.6], [0.2, 0.6, 0.2]] * 20)
    oos = assemble(np.random.default_rng(0).standard_normal(100), np.ones(100), p, 5, horizon=1)
    got = evaluate(oos).pooled
    # of those that pass: BUY by its ratio, SELL, BUY, and one of equal chances, which is HOLD
    assert (got.coverage.rule, got.coverage.passed, got.coverage.traded) == pytest.approx((0.2, 0.8, 0.6))
    assert got.coverage.traded_most_probable == pytest.approx(0.2)
    top = p.max(axis=1)
    assert got.confidence.sd == pytest.approx(top.std())
    assert got.confidence.spread == pytest.approx(np.quantile(top, 0.9) - np.quantile(top, 0.1))
    assert sum(got.confidence.histogram) == 100
    assert evaluate(oos, limits=SignalFilter(passes_from=0.7)).pooled.coverage.passed == 0.0


def test_the_filter_is_that_of_serving():
    policy = tomllib.loads(resources.files("qtfeat.serve").joinpath("policy.toml").read_text())
    ours = SignalFilter()
    assert (ours.buy_from, ours.sell_to) == (policy["side"]["buy"], policy["side"]["sell"])
    assert (ours.passes_from, ours.rule_below) == (policy["confidence"]["filter"], policy["confidence"]["fallback"])


def test_baselines_stand_beside(oos, result):
    names = [b.name for b in result.baselines]
    assert names == ["zero", "neg_momentum10", "neg_ret", "rsi_rule"]
    zero, momentum = result.baselines[:2]
    assert (zero.forecast.r2, zero.forecast.book.net) == (0.0, 0.0)
    assert math.isnan(zero.forecast.rank_ic)
    assert zero.gain == result.pooled.forecast.ic
    swapped = evaluate(change(oos, score=oos.baselines["neg_momentum10"])).pooled.forecast
    assert momentum.forecast == swapped
    assert momentum.gain.t > 2
    holes = {**oos.baselines, "neg_ret": np.where(np.arange(len(oos)) % 7, oos.baselines["neg_ret"], np.nan)}
    known = np.flatnonzero(np.arange(len(oos)) % 7)
    part = evaluate(change(oos, baselines=holes)).baselines[2]
    assert part.rows == len(known)
    assert part.forecast.rank_ic == pytest.approx(rank_ic(holes["neg_ret"][known], oos.value[known]))


def test_symbols_folds_and_gaps(oos, result):
    rows = oos.symbol == 3
    got = result.symbols[3]
    assert (got.symbol, got.rows) == ("S003", 600)
    assert got.rank_ic == pytest.approx(stats.spearmanr(oos.score[rows], oos.value[rows]).statistic)
    assert got.predicted_mix == pytest.approx(np.bincount(oos.p[rows].argmax(axis=1), minlength=3) / 600)
    ics = [stats.spearmanr(oos.score[oos.fold == k], oos.value[oos.fold == k]).statistic for k in (1, 2, 3)]
    assert [f.scores.forecast.rank_ic for f in result.folds] == pytest.approx(ics)
    assert result.gap_rank_ic == pytest.approx(0.25 - np.mean(ics))
    assert result.positive_folds == sum(ic > 0 for ic in ics)
    assert sum(f.scores.rows for f in result.folds) == result.pooled.rows == len(oos)


def test_deciles_rise_with_the_forecast(oos, result):
    assert sum(d.rows for d in result.deciles) == len(oos)
    assert result.deciles[-1].ret > 0 > result.deciles[0].ret
    assert sum(d.rows * d.ret for d in result.deciles) == pytest.approx(0.0, abs=1e-9)
    assert len(evaluate(made_up(symbols=8, stamps=50)).deciles) == 8


def test_order_of_rows_and_symbols_out_of_phase_do_not_matter(oos, result):
    order = np.random.default_rng(5).permutation(len(oos))
    other = evaluate(oos.take(order))
    assert other.pooled.forecast.ic == result.pooled.forecast.ic
    assert other.pooled.forecast.rank_ic == pytest.approx(result.pooled.forecast.rank_ic)
    # one symbol of two half a bar later: twice the timestamps, so twice the stride
    pair = made_up(symbols=2, stamps=400)
    t = pair.t + np.where(pair.symbol == 1, np.timedelta64(1800, "s"), np.timedelta64(0, "s"))
    assert evaluate(pair).stride == 5
    assert evaluate(change(pair, t=t)).stride == 10


def test_constant_model_of_the_old_engine_is_measured_as_collapsed(oos):
    n = len(oos)
    p = np.tile([0.2381, 0.5239, 0.2380], (n, 1))
    got = evaluate(change(oos, p=p, score=np.full(n, 0.5239)))
    assert got.pooled.classes.predicted_mix == (0.0, 1.0, 0.0)
    assert (got.pooled.confidence.sd, got.pooled.confidence.spread) == (0.0, 0.0)
    assert math.isnan(got.pooled.direction.slope)
    assert got.pooled.forecast.book.net == 0.0
    for name in ("forecast.rank_ic", "direction.slope", "classes.precision.BUY"):
        assert name in got.pooled.reasons
    assert got.pooled.reasons["forecast.rank_ic"] == "the forecast is constant"


def test_small_functions_by_hand():
    actual = np.array([0.01, -0.02, 0.03, 0.0])
    assert r2(np.zeros(4), actual) == 0.0
    assert r2(actual, actual) == 1.0
    assert r2_mean(np.full(4, actual.mean()), actual) == pytest.approx(0.0)
    assert math.isnan(r2(actual, np.zeros(4)))
    assert math.isnan(r2_mean(actual, np.ones(4)))
    assert rank_ic(np.array([1.0, 1.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(2 / np.sqrt(5))
    assert math.isnan(hit_rate(np.zeros(4), actual, np.zeros(4, dtype=np.int8)))


def test_inputs_are_not_modified(oos):
    before = {name: getattr(oos, name).copy() for name in ("value", "score", "p", "ret", "t")}
    evaluate(oos)
    for name, value in before.items():
        assert np.array_equal(getattr(oos, name), value)


def test_gates_get_rank_ics_per_timestamp_and_the_baselines_that_are_rivals(oos):
    found = evaluate(oos)
    given = found.evidence()
    assert given["rank_ic"] == found.pooled.forecast.ic.mean != found.pooled.forecast.rank_ic
    assert given["fold_rank_ic"] == tuple(fold.scores.forecast.ic.mean for fold in found.folds)
    assert set(given["baseline_rank_ic"]) == {"zero", "neg_momentum10", "neg_ret"}
    assert given["baseline_rank_ic"]["zero"] == 0.0
    rival = next(each for each in found.baselines if each.name == "neg_ret")
    assert given["baseline_rank_ic"]["neg_ret"] == rival.forecast.ic.mean
