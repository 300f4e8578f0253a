"""Every kind of label against the plain oracle: panels with holes, nulls and late starts, rows in any order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qtfeat as qf
from label_oracle import expected
from qtfeat.errors import QtfeatError, SchemaError, UnsortedError
from qtfeat.labels import THRESHOLDS, Labels, make_labels

HOUR = np.timedelta64(1, "h")
START = np.datetime64("2024-01-01", "ns")


def panel(seed: int, symbols: int, bars: int, missing: float = 0.0, nulls: float = 0.0, volatility: float = 0.01):
    """A frame of random bars with bars missing, null rows, and one symbol that is flat."""
    rng = np.random.default_rng(seed)
    frames = []
    for s in range(symbols):
        close = np.exp(np.cumsum(volatility * rng.standard_normal(bars))) * 10.0 ** rng.integers(-4, 5)
        if s == 0:
            close = np.full(bars, 7.0)
        open_ = close * np.exp(0.4 * volatility * rng.standard_normal(bars))
        wick = volatility * rng.random((2, bars))
        frame = pd.DataFrame(
            {
                "symbol": f"S{s}",
                "open_time": START + HOUR * (np.arange(bars) + rng.integers(0, 3)),
                "open": open_,
                "high": np.maximum(open_, close) * (1 + wick[0]),
                "low": np.minimum(open_, close) * (1 - wick[1]),
                "close": close,
            }
        )
        frame.loc[rng.random(bars) < nulls, ["open", "high", "low", "close"]] = np.nan
        frames.append(frame[rng.random(bars) >= missing])
    return pd.concat(frames, ignore_index=True)


def check(frame: pd.DataFrame, labels: Labels, kind: str, h: int, threshold: float) -> None:
    frame = frame.assign(close_at=frame["open_time"] + pd.Timedelta("1h"))
    want = expected(frame, kind, h, threshold)
    # pandas keeps running sums for the volatility; a mean of a market is rounded once more or less.
    rtol, atol = {"volatility_scaled": (1e-6, 1e-9), "market_neutral": (1e-12, 1e-15)}.get(kind, (0.0, 0.0))
    np.testing.assert_allclose(labels.value, want.value, rtol=rtol, atol=atol)
    np.testing.assert_allclose(labels.ret, want.ret, rtol=0, atol=0)
    away = np.abs(np.abs(np.nan_to_num(labels.value)) - threshold) > 1e-9
    assert np.array_equal(labels.side[away], np.array(want.side)[away])
    assert np.array_equal(labels.t, frame["close_at"].to_numpy())
    assert np.array_equal(
        labels.t_end, pd.to_datetime(pd.Series(want.t_end)).to_numpy("datetime64[ns]"), equal_nan=True
    )


def whole(labels: Labels) -> None:
    """What holds for every label."""
    known = labels.known
    assert np.array_equal(known, ~np.isnan(labels.value))
    assert np.array_equal(known, ~np.isnan(labels.ret))
    assert np.array_equal(known, ~np.isnat(labels.t_end))
    assert (labels.t_end[known] > labels.t[known]).all()
    assert not labels.label_leak


@pytest.mark.parametrize("kind", THRESHOLDS)
@given(
    seed=st.integers(0, 2**32 - 1),
    symbols=st.integers(1, 8),
    bars=st.integers(2, 60),
    horizon=st.integers(1, 12),
    missing=st.sampled_from([0.0, 0.1]),
    nulls=st.sampled_from([0.0, 0.1]),
)
@settings(max_examples=25, deadline=None)
def test_against_the_oracle(kind, seed, symbols, bars, horizon, missing, nulls):
    frame = panel(seed, symbols, bars, missing, nulls)
    if frame.empty:
        return
    labels = make_labels(frame, kind, horizon, interval="1h")
    whole(labels)
    check(frame, labels, kind, horizon, THRESHOLDS[kind])


@pytest.mark.parametrize("kind", THRESHOLDS)
def test_the_order_of_rows_and_the_kind_of_table_change_no_bit(kind):
    frame = panel(5, 7, 200, missing=0.05, nulls=0.02)
    straight = make_labels(frame, kind, interval="1h")
    order = np.random.default_rng(1).permutation(len(frame))
    mixed = frame.iloc[order]
    import polars as pl
    import pyarrow as pa

    arrow = pa.Table.from_pandas(mixed, preserve_index=False)
    plain = {name: mixed[name].to_numpy() for name in mixed.columns}
    coded = arrow.set_column(0, "symbol", arrow["symbol"].dictionary_encode())
    for table in (mixed, arrow, coded, plain, pl.DataFrame(arrow)):
        labels = make_labels(table, kind, interval="1h")
        for name in ("value", "ret", "side", "t", "t_end"):
            got, want = getattr(labels, name), getattr(straight, name)[order]
            assert np.array_equal(got, want, equal_nan=name != "side"), name


def test_the_scale_is_the_feature():
    frame = panel(9, 3, 300).drop(index=range(300))  # without the flat symbol
    labels = make_labels(frame, "volatility_scaled", 7)
    volatility = qf.compute(frame.assign(volume=1.0), ["volatility(20)"], by="symbol")["volatility"].to_numpy()
    known = labels.known
    assert np.array_equal(labels.value[known], (labels.ret / (volatility * np.sqrt(7.0)))[known])
    assert known.sum() == 2 * (300 - 20 - 7)


def test_a_hole_makes_the_outcome_late():
    times = START + HOUR * np.array([0, 1, 2, 50, 51])
    bars = {"open_time": times, "close": np.array([1.0, 2.0, 3.0, 4.0, 5.0])}
    labels = make_labels(bars, "forward", 2, by=None)
    assert labels.t_end[:3].tolist() == (times[2:] + HOUR).tolist()


def test_close_times_of_the_bars_win():
    bars = {"open_time": START + HOUR * np.arange(4), "close": np.arange(1.0, 5.0)}
    own = bars["open_time"] + HOUR - np.timedelta64(1, "ms")
    labels = make_labels(bars | {"close_time": own}, "forward", 1, by=None)
    assert np.array_equal(labels.t, own)
    assert np.array_equal(labels.t_end[:3], own[1:])
    for wrong, row in ((bars["open_time"], 0), (own + 2 * HOUR, 0)):
        with pytest.raises(SchemaError, match=f"row {row}.*close_time") as caught:
            make_labels(bars | {"close_time": wrong}, "forward", 1, by=None)
        assert caught.value.column == "close_time"


def test_the_length_of_bars_is_derived_or_asked_for():
    def close_times(hours, by=None, symbol=None, **how):
        bars = {"open_time": START + HOUR * np.array(hours), "close": np.ones(len(hours))}
        bars |= {} if symbol is None else {"symbol": np.array(symbol)}
        return (make_labels(bars, by=by, **how).t - START) // HOUR

    assert close_times([0, 1, 2, 7]).tolist() == [1, 2, 3, 8]
    assert close_times([0, 4, 8, 16]).tolist() == [4, 8, 12, 20]
    assert close_times([0], interval="2h").tolist() == [2]
    assert close_times([]).tolist() == []
    for hours, text in (([0], "no symbol has two"), ([0, 1, 3], "as many"), ([0, 2, 4, 5], "some 3600 s")):
        with pytest.raises(SchemaError, match=text):
            close_times(hours)
    with pytest.raises(SchemaError, match="row 4"):  # hourly and four-hourly symbols in one panel
        close_times([0, 1, 2, 3, 0, 4, 8], by="symbol", symbol=list("AAAABBB"))
    with pytest.raises(SchemaError, match="closer than interval"):
        close_times([0, 1, 2], interval="2h")


def test_an_interval_shorter_than_all_gaps_dates_decisions_too_early():
    bars = {"open_time": START + HOUR * np.arange(6), "close": np.ones(6)}
    with pytest.raises(SchemaError, match="said to be 1800 s, but no two bars of a symbol are closer than '1h'"):
        make_labels(bars, by=None, interval="30m")
    panel = {name: np.tile(column, 2) for name, column in bars.items()} | {"symbol": np.repeat(["A", "B"], 6)}
    for order in (np.arange(12), np.random.default_rng(1).permutation(12)):
        with pytest.raises(SchemaError, match="no two bars"):
            make_labels({name: column[order] for name, column in panel.items()}, interval="1m")
    assert make_labels(bars | {"close_time": bars["open_time"] + HOUR}, by=None, interval="30m").t[0] == START + HOUR


def test_bars_with_gaps_keep_their_interval():
    hours = np.array([0, 24, 72, 73, 96])  # one pair is enough
    for order in (np.arange(5), np.array([3, 0, 4, 1, 2])):
        bars = {"open_time": START + HOUR * hours[order], "close": np.ones(5)}
        assert np.array_equal(make_labels(bars, by=None, interval="1h").t, bars["open_time"] + HOUR)
    two = {"open_time": START + HOUR * np.array([0, 5]), "close": np.ones(2)}
    assert make_labels(two, by=None, interval="1h").t[0] == START + HOUR


def test_units_of_integer_times():
    bars = {"open_time": np.arange(4) * 3600, "close": np.ones(4)}
    assert make_labels(bars, by=None, time_unit="s").t[0] == np.datetime64("1970-01-01T01")
    with pytest.raises(SchemaError, match="time_unit"):
        make_labels(bars, by=None)


HOSTILE = {
    "kind": ["forwards", None, []],
    "horizon": [0, -1, 1.5, None, 2**70, True],
    "threshold": [-0.1, float("nan"), float("inf"), "0.1"],
    "interval": ["1x", 0, -5, "1M"],  # a month is no minute
    "time_unit": ["h"],
    "by": ["nobody"],
    "on_bad": ["drop", None],
    "time": ["never"],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in HOSTILE.items() for v in values])
def test_hostile_arguments(name, value):
    with pytest.raises(QtfeatError):
        make_labels(panel(1, 1, 30), **{name: value})


@pytest.mark.parametrize(("tp", "sl"), [(0.0, 0.1), (-1.0, 0.1), (0.1, 0.0), (0.1, 1.0), (np.nan, 0.1), (np.inf, 0.1)])
def test_hostile_barriers(tp, sl):
    with pytest.raises(SchemaError, match=r"take_profit|stop_loss"):
        make_labels(panel(1, 1, 30), "triple_barrier", take_profit=tp, stop_loss=sl)


@pytest.mark.parametrize("make", [pl.Categorical, lambda: pl.Enum(["S0", "S1"])])
def test_symbols_as_categories_of_polars(make):
    frame = pl.from_pandas(panel(1, 2, 30))
    want = make_labels(frame)
    found = make_labels(frame.with_columns(pl.col("symbol").cast(make())))
    np.testing.assert_array_equal(found.value, want.value)
    assert found.known.sum() == 50


@pytest.mark.parametrize(
    ("symbols", "text"),
    [
        (pa.array([0.5] * 30), "texts, integers or categories"),
        (pa.array([b"x"] * 30), "texts, integers or categories"),
        (pa.DictionaryArray.from_arrays(pa.array([0] * 29 + [1]), pa.array(["a", None])), "row 29: the symbol is null"),
    ],
)
def test_symbols_that_are_none(symbols, text):
    bars = pa.table(panel(1, 1, 30).drop(columns="symbol")).append_column("symbol", symbols)
    with pytest.raises(SchemaError, match=text):
        make_labels(bars)


def test_an_index_with_a_time_zone():
    frame = panel(1, 1, 30)
    zoned = pd.DatetimeIndex(frame["open_time"]).tz_localize("UTC").tz_convert("Asia/Tokyo")
    labels = make_labels({"open_time": zoned, "close": frame["close"]}, by=None)
    np.testing.assert_array_equal(labels.t, make_labels(frame, by=None).t)


def test_bad_prices_and_times_are_named():
    frame = panel(2, 2, 30)
    broken = frame.copy()
    broken.loc[41, "close"] = -1.0
    broken.loc[44, "close"] = 0.0
    with pytest.raises(SchemaError, match="row 41") as caught:
        make_labels(broken.sample(frac=1.0, random_state=3).sort_index())
    assert (caught.value.column, caught.value.row, caught.value.value) == ("close", 41, -1.0)
    upside_down = frame.assign(high=frame["low"], low=frame["high"])
    make_labels(upside_down)  # the forward label reads closes only
    with pytest.raises(SchemaError, match="high is below low"):
        make_labels(upside_down.iloc[30:], "triple_barrier")
    twice = pd.concat([frame, frame.iloc[[7]]], ignore_index=True)
    with pytest.raises(UnsortedError) as unsorted:
        make_labels(twice)
    assert unsorted.value.row == 60
    with pytest.raises(SchemaError, match="row 3: the symbol is null"):
        make_labels(frame.assign(symbol=frame["symbol"].where(frame.index != 3)))


@pytest.mark.parametrize("kind", THRESHOLDS)
@pytest.mark.parametrize("on_bad", ["null", "reset"])
def test_a_bad_price_can_be_a_null_bar(kind, on_bad):
    frame = panel(4, 6, 60, volatility=0.02)
    prices = ["open", "high", "low", "close"]
    broken, null = frame.copy(), frame.copy()
    for row, close in ((70, 0.0), (100, -1.0), (140, np.inf), (200, 1e300), (260, np.nan)):
        broken.loc[row, "close"] = close
        null.loc[row, prices] = np.nan
    if kind == "triple_barrier":
        broken.loc[300, "high"] = broken.loc[300, "low"] / 2
        null.loc[300, prices] = np.nan
    before = broken.copy(deep=True)
    found, want = make_labels(broken, kind, on_bad=on_bad), make_labels(null, kind)
    for name in ("value", "ret", "side", "t", "t_end"):
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name))
    pd.testing.assert_frame_equal(broken, before)
    with pytest.raises(SchemaError, match="row 70"):
        make_labels(broken, kind)


def test_nothing_of_the_caller_changes():
    frame = panel(3, 3, 50)
    before = frame.copy(deep=True)
    labels = make_labels(frame, "triple_barrier")
    labels.value[:] = 0.0
    pd.testing.assert_frame_equal(frame, before)
    assert labels.settings == {"take_profit": 0.03, "stop_loss": 0.02}
    assert (labels.kind, labels.horizon) == ("triple_barrier", 5)
