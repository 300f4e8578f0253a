"""No outcome crosses a cut, whatever the data."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtfeat.errors import SchemaError
from qtfeat.splits import PurgedWalkForward, purged_tail

NAT = np.iinfo(np.int64).min
DAYS = np.arange("2024-01-01", "2024-02-01", dtype="datetime64[D]")


@st.composite
def labelled_rows(draw):
    """Rows of several symbols: irregular times in any order, outcomes of any length, some without a label."""
    n = draw(st.integers(8, 120))
    times = np.array(draw(st.lists(st.integers(-50, 200), min_size=n, max_size=n)), dtype=np.int64)
    lengths = np.array(draw(st.lists(st.integers(0, 60), min_size=n, max_size=n)), dtype=np.int64)
    missing = np.array(draw(st.lists(st.sampled_from([False] * 7 + [True]), min_size=n, max_size=n)))
    return times, np.where(missing, NAT, times + lengths)


def check_fold(times, ends, train, test, embargo):
    assert len(train)
    assert len(test)
    assert (ends[np.concatenate([train, test])] != NAT).all()
    assert not set(train) & set(test)
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    # Every training interval is over, with the embargo, before any test interval begins.
    assert (ends[train] + embargo).max() < times[test].min()
    assert (times[train] <= ends[train]).all()
    meets = (times[train][:, None] <= ends[test][None, :]) & (ends[train][:, None] >= times[test][None, :])
    assert not meets.any()


@settings(max_examples=300, deadline=None)
@given(labelled_rows(), st.integers(1, 6), st.integers(0, 20), st.none() | st.integers(1, 40))
def test_no_training_interval_meets_a_test_interval(rows, folds, embargo, train_size):
    times, ends = rows
    splitter = PurgedWalkForward(folds, embargo=embargo, train_size=train_size)
    last = None
    try:
        for train, test in splitter.split(times=times, label_end=ends):
            check_fold(times, ends, train, test, embargo)
            assert last is None or times[test].min() > last
            last = times[test].max()
            if train_size is not None:
                stamps = np.unique(times[ends != NAT])
                assert len(stamps[(stamps >= times[train].min()) & (stamps < times[test].min())]) <= train_size
    except SchemaError as error:
        assert "timestamps with a label" in str(error) or "no row is left" in str(error)  # noqa: PT017


@settings(max_examples=200, deadline=None)
@given(labelled_rows(), st.floats(0.01, 0.99), st.integers(0, 20))
def test_the_tail_is_purged_too(rows, share, embargo):
    times, ends = rows
    try:
        fit, tail = purged_tail(times, ends, share, embargo=embargo)
    except SchemaError as error:
        assert "at least 2" in str(error) or "no row is left" in str(error)  # noqa: PT017
        return
    check_fold(times, ends, fit, tail, embargo)


def test_blocks_follow_each_other_across_symbols():
    times = np.tile(np.arange(60), 3)
    ends = times + 5
    folds = list(PurgedWalkForward(5).split(times=times, label_end=ends))
    assert [len(test) for _, test in folds] == [30] * 5
    assert [(times[test].min(), times[test].max()) for _, test in folds] == [(10 * k, 10 * k + 9) for k in range(1, 6)]
    assert [len(train) for train, _ in folds] == [3 * (10 * k - 5) for k in range(1, 6)]
    rolling = list(PurgedWalkForward(5, train_size=10).split(times=times, label_end=ends))
    assert [len(train) for train, _ in rolling] == [15] * 5
    with_gap = list(PurgedWalkForward(5, embargo=2).split(times=times, label_end=ends))
    assert [len(train) for train, _ in with_gap] == [3 * (10 * k - 7) for k in range(1, 6)]


def test_dates_and_integers_agree():
    hours = np.tile(np.arange(50), 2)
    dates = np.datetime64("2024-01-01T00", "ms") + hours * np.timedelta64(1, "h")
    ends = np.where(hours >= 47, NAT, hours + 3)
    end_dates = np.where(hours >= 47, np.datetime64("NaT"), dates + np.timedelta64(3, "h"))
    whole = PurgedWalkForward(4, embargo=2).split(times=hours, label_end=ends)
    dated = PurgedWalkForward(4, embargo=timedelta(hours=2)).split(times=dates, label_end=end_dates)
    for one, other in zip(whole, dated, strict=True):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])


def test_scikit_learn_takes_it():
    linear = pytest.importorskip("sklearn.linear_model")
    selection = pytest.importorskip("sklearn.model_selection")
    rng = np.random.default_rng(0)
    X, times = rng.standard_normal((200, 3)), np.arange(200)
    splitter = PurgedWalkForward(4, times=times, label_end=times + 5)
    scores = selection.cross_val_score(linear.LinearRegression(), X, X.sum(axis=1), cv=splitter)
    assert splitter.get_n_splits(X) == len(scores) == 4
    assert scores == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: PurgedWalkForward(0), "n_splits"),
        (lambda: PurgedWalkForward(train_size=0), "train_size"),
        (lambda: next(PurgedWalkForward().split()), "times"),
        (lambda: next(PurgedWalkForward().split(times=[1, 2], label_end=[1])), "alike"),
        (lambda: next(PurgedWalkForward().split(times=[1.0, 2.0], label_end=[1.0, 2.0])), "integers"),
        (lambda: next(PurgedWalkForward().split(times=[5, 6], label_end=[6, 5])), "row 1"),
        (lambda: next(PurgedWalkForward(1).split([0], times=[1, 2], label_end=[1, 2])), "X has 1 rows"),
        (lambda: next(PurgedWalkForward(2).split(times=[1, 2], label_end=[1, 2])), "timestamps"),
        (lambda: next(PurgedWalkForward(1).split(times=[1, 2], label_end=[9, 9])), "fold 1"),
        (lambda: next(PurgedWalkForward(1, embargo=-1).split(times=[1, 2], label_end=[1, 2])), "embargo"),
        (lambda: next(PurgedWalkForward(1, embargo=timedelta(1)).split(times=[1, 2], label_end=[1, 2])), "embargo"),
        (lambda: purged_tail([1, 2], [1, 2], 1.0), "share"),
        (lambda: purged_tail([1, 2], [1, 2], "0.5"), "share"),
        (lambda: PurgedWalkForward("3"), "n_splits"),
        (lambda: PurgedWalkForward(train_size=float("nan")), "train_size"),
        (lambda: PurgedWalkForward(test_size=1.5), "test_size"),
        (lambda: next(PurgedWalkForward(1).split(5, times=[1, 2], label_end=[1, 2])), "X must have a length"),
        (lambda: next(PurgedWalkForward(1).split(times=[[1], [2, 3]], label_end=[1, 2])), "times"),
        # A part of a whole embargo is not cut off, and one that nanoseconds cannot hold does not wrap around.
        (lambda: next(PurgedWalkForward(1, embargo=1.5).split(times=[1, 2], label_end=[1, 2])), "embargo"),
        (lambda: next(PurgedWalkForward(1, embargo=None).split(times=DAYS, label_end=DAYS)), "embargo"),
        (
            lambda: next(
                PurgedWalkForward(1, embargo=np.timedelta64(600, "D") * 365).split(times=DAYS, label_end=DAYS)
            ),
            "embargo",
        ),
        (
            lambda: next(PurgedWalkForward(1, embargo=np.timedelta64(1, "M")).split(times=DAYS, label_end=DAYS)),
            "embargo",
        ),
        (lambda: next(PurgedWalkForward(1).split(times=DAYS, label_end=DAYS + 100_000)), "row 0.*1677 and 2262"),
        (lambda: next(PurgedWalkForward(1).split(times=np.array([1, 2**63], "u8"), label_end=[1, 2])), "64 bits"),
    ],
)
def test_bad_settings_are_named(make, text):
    with pytest.raises(SchemaError, match=text):
        make()
