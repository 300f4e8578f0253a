"""Bad bars, holes and disorder: the same error or the same rows in every mode (design, sections 3 and 10)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import badbars as bb
import qtfeat as qf
from badbars import FAULTS, MODES, Fault

N = 40
POLICIES = ("null", "reset")
PLACES = {
    "first": [0],
    "second": [1],
    "warm_up": [3],
    "middle": [20],
    "last": [N - 1],
    "several": [0, 1, 9, 10, 12, 39],
}


@pytest.fixture(scope="module")
def fs() -> qf.FeatureSet:
    return bb.features()


def spoiled(fault: Fault, rows: list[int], n: int = N) -> bb.Table:
    bars = bb.good(n)
    for row in rows:
        fault.spoil(bars, row)
    return bars


def pieces(bars: bb.Table, fs: qf.FeatureSet, cuts: list[int], bad: list[int]) -> bb.Matrix:
    """Features when a series starts anew at each of `cuts` and after each row of `bad`, which is null."""
    n = len(bars["close"])
    out = np.full((n, len(fs)), np.nan)
    starts = sorted({0, *cuts, *(row + 1 for row in bad)})
    for start, end in zip(starts, [*starts[1:], n], strict=True):
        rows = [r for r in range(start, end) if r not in bad]
        if rows:
            out[rows] = MODES["dict"](bb.take(bars, rows), fs)
    return out


# --- on_bad="raise" --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_a_bad_bar_raises_in_every_mode(fault: Fault, mode: str, fs: qf.FeatureSet) -> None:
    for name, rows in PLACES.items():
        bars = bb.good(N)
        value = next(fault.spoil(bars, row) for row in rows)
        with pytest.raises(qf.BadBarError) as caught:
            MODES[mode](bars, fs)
        error, where = caught.value, bb.place(mode, rows[0])
        assert error.column == fault.column, name
        assert (error.row, error.window, error.symbol) == (where.row, where.window, where.symbol), name
        assert error.value == value or (np.isnan(value) and np.isnan(error.value)), name
        assert error.time_ns == bars["time"][rows[0]].astype(np.int64), name
        assert fault.column in str(error)
        assert f"row {where.row}" in str(error)


@pytest.mark.parametrize("mode", MODES)
def test_without_times_the_error_has_no_time(mode: str) -> None:
    bars = bb.good()
    del bars["time"]
    bars["high"][5] = -2.0
    with pytest.raises(qf.BadBarError) as caught:
        MODES[mode](bars, bb.features("ret"))
    assert (caught.value.column, caught.value.value, caught.value.time_ns) == ("high", -2.0, None)
    assert caught.value.row == bb.place(mode, 5).row


@pytest.mark.parametrize("mode", MODES)
def test_the_limits_themselves_are_accepted(mode: str, fs: qf.FeatureSet) -> None:
    bars = bb.good()
    for row, price in ((4, 1e110), (5, 1e-110), (20, 1e110)):
        for column in bb.OHLCV[:4]:
            bars[column][row] = price
    bars["volume"][3:6] = [0.0, 1e-30, 1e30]
    bars["volume"][7] = -0.0
    bars["flow"][6:8] = [1e100, -1e100]
    rows = MODES[mode](bars, fs)
    assert np.isfinite(rows[10:]).all()
    assert bb.same_bits(rows, MODES["dict"](bars, fs))


# --- on_bad="null" and "reset" ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_fault_gives_the_rows_of_a_nan(policy: str, mode: str, fs: qf.FeatureSet) -> None:
    want = {name: MODES["dict"](spoiled(FAULTS[1], rows), fs, on_bad=policy) for name, rows in PLACES.items()}
    for fault in FAULTS:
        for name, rows in PLACES.items():
            got = MODES[mode](spoiled(fault, rows), fs, on_bad=policy)
            assert bb.same_bits(got, want[name]), (fault.name, name)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_null_at_every_position(policy: str, mode: str, fs: qf.FeatureSet) -> None:
    for row in range(N):
        bars = spoiled(FAULTS[row % len(FAULTS)], [row])
        got = MODES[mode](bars, fs, on_bad=policy)
        assert bb.same_bits(got, MODES["stream"](bars, fs, on_bad=policy)), row
        if policy == "reset":
            assert bb.same_bits(got, pieces(bars, fs, [], [row])), row


@pytest.mark.parametrize("mode", MODES)
def test_reset_starts_a_new_series_after_each_bad_bar(mode: str, fs: qf.FeatureSet) -> None:
    for rows in PLACES.values():
        bars = spoiled(FAULTS[0], rows)
        assert bb.same_bits(MODES[mode](bars, fs, on_bad="reset"), pieces(bars, fs, [], rows))


@pytest.mark.parametrize("mode", MODES)
def test_null_rows_count_as_rows_and_recursions_keep_their_state(mode: str) -> None:
    fs = bb.features(
        "before = lag(close,3)", "level = mean(close,4)", "smooth = ema(close,5)", "total = cumsum(volume)"
    )
    rows = [0, 2, 11, 12, 30]
    bars = spoiled(FAULTS[0], rows)
    keep = [r for r in range(N) if r not in rows]
    got = dict(zip(fs.columns, MODES[mode](bars, fs, on_bad="null").T, strict=True))
    closed = bars["close"].copy()
    closed[rows] = np.nan
    assert np.array_equal(got["before"][3:], closed[:-3], equal_nan=True)
    holes = {r + k for r in rows for k in range(4)}
    assert all(np.isnan(got["level"][r]) == (r < 3 or r in holes) for r in range(N))
    dense = qf.compute(bb.take(bars, keep), fs)
    for column in ("smooth", "total"):
        assert np.isnan(got[column][rows]).all()
        assert np.array_equal(got[column][keep], dense[column], equal_nan=True)


@pytest.mark.parametrize("policy", POLICIES)
def test_all_rows_bad(policy: str, fs: qf.FeatureSet) -> None:
    bars = bb.good()
    bars["low"][:] = np.nan
    for mode, run in MODES.items():
        assert np.isnan(run(bars, fs, on_bad=policy)).all(), mode


@pytest.mark.parametrize("policy", POLICIES)
def test_bad_rows_around_the_block_borders(policy: str, fs: qf.FeatureSet) -> None:
    n = 4200
    rows = sorted({r + d for r in (512, 1024, 2048, 4096) for d in (-2, -1, 0, 1)} | {n - 1})
    bars = spoiled(FAULTS[0], rows, n)
    want = MODES["stream"](bars, fs, on_bad=policy)
    for mode in ("dict", "pyarrow_chunked", "batches", "windows", "windows_at", "sequences", "panel"):
        assert bb.same_bits(MODES[mode](bars, fs, on_bad=policy), want), mode


def test_the_first_bad_bar_is_named_whatever_the_threads() -> None:
    n = 3000
    bars = bb.good(n)
    bars["symbol"] = np.array([f"s{i % 50}" for i in range(n)])
    bars["close"][[2999, 1250, 1234, 1233]] = np.inf
    table = bb.arrow(bars)
    calls = [lambda t, d=d: qf.compute(d, ["rsi(14)"], by="symbol", threads=t) for d in (bars, table)]
    calls.append(lambda t: list(qf.compute_batches(bb.chunked(table, 400 * t), ["rsi(14)"], by="symbol")))
    for threads in (1, 2, 7):
        for call in calls:
            with pytest.raises(qf.BadBarError) as caught:
                call(threads)
            assert (caught.value.row, caught.value.symbol, caught.value.value) == (1233, "s33", np.inf)


def test_masked_values_are_nulls() -> None:
    bars = bb.good()
    hidden = np.zeros(N, bool)
    hidden[3] = True
    bars["close"] = np.ma.array(bars["close"], mask=hidden)
    with pytest.raises(qf.BadBarError) as caught:
        qf.compute(bars, ["ema(4)"])
    assert (caught.value.column, caught.value.row) == ("close", 3)
    plain = bb.good()
    plain["close"][3] = np.nan
    masked = qf.compute(bars, ["ema(4)"], on_bad="null")["ema"]
    assert np.array_equal(masked, qf.compute(plain, ["ema(4)"], on_bad="null")["ema"], equal_nan=True)


def test_columns_that_are_there_are_checked_and_others_are_not_needed() -> None:
    bars = bb.good()
    alone = qf.compute({"close": bars["close"]}, ["rsi(5)"])
    assert np.array_equal(alone["rsi"], qf.compute(bars, ["rsi(5)"])["rsi"], equal_nan=True)
    bars["volume"][2] = -1.0
    for mode, run in MODES.items():
        if mode not in ("stream", "peek", "panel"):
            with pytest.raises(qf.BadBarError, match="volume"):
                run(bars, bb.features("rsi(5)"))


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"on_bad": "drop"},
        {"on_gap": "fill", "interval": "1h"},
        {"on_gap": "raise"},
        {"on_gap": "reset"},
        {"on_gap": "raise", "interval": "0h"},
        {"on_gap": "raise", "interval": "1x"},
        {"on_gap": "raise", "interval": -1},
        {"on_gap": "raise", "interval": True},
        {"on_gap": "raise", "interval": "99999999999d"},
        {"on_gap": "raise", "interval": 2**70},
        {"on_bad": None},
    ],
    ids=str,
)
def test_policies_that_do_not_exist(options: dict[str, Any], fs: qf.FeatureSet) -> None:
    for mode, run in MODES.items():
        with pytest.raises((qf.SchemaError, TypeError)) as caught:
            run(bb.good(), fs, **options)
        assert "extract" not in str(caught.value), f"{mode}: a message for people, not for the binding"


@pytest.mark.parametrize("mode", MODES)
def test_on_gap_needs_times(mode: str) -> None:
    bars = bb.good()
    del bars["time"]
    with pytest.raises(qf.SchemaError, match="time"):
        MODES[mode](bars, bb.features("ret"), on_gap="raise", interval="1h")


# --- holes -----------------------------------------------------------------------------------------------------------


def holed(cuts: list[int], extra_ns: int = bb.HOUR) -> bb.Table:
    """Bars whose time jumps by `extra_ns` more than an hour before each row of `cuts`."""
    bars = bb.good()
    for cut in cuts:
        bars["time"][cut:] += np.timedelta64(extra_ns, "ns")
    return bars


@pytest.mark.parametrize("mode", MODES)
def test_holes(mode: str, fs: qf.FeatureSet) -> None:
    run = MODES[mode]
    for cuts in ([1], [7], [14, 20], [39], [5, 6, 7]):
        bars = holed(cuts)
        assert bb.same_bits(run(bars, fs, on_gap="ignore", interval="1h"), run(bars, fs))
        assert bb.same_bits(run(bars, fs, on_gap="reset", interval="1h"), pieces(bars, fs, cuts, []))
        with pytest.raises(qf.GapError) as caught:
            run(bars, fs, on_gap="raise", interval="1h")
        error, where, times = caught.value, bb.place(mode, cuts[0]), bars["time"].view(np.int64)
        assert (error.row, error.window, error.symbol) == (where.row, where.window, where.symbol)
        assert (error.column, error.interval) == ("time", bb.HOUR)
        assert (error.value, error.previous) == (times[cuts[0]], times[cuts[0] - 1])
        assert error.time_ns == error.value


@pytest.mark.parametrize("mode", MODES)
def test_a_hole_is_more_than_the_interval(mode: str, fs: qf.FeatureSet) -> None:
    whole = MODES[mode](bb.good(), fs)
    for interval in ("1h", "60m", 3600 * 10**9, np.timedelta64(1, "h"), "2h"):
        assert bb.same_bits(MODES[mode](bb.good(), fs, on_gap="raise", interval=interval), whole)
    with pytest.raises(qf.GapError):
        MODES[mode](holed([9], extra_ns=1), fs, on_gap="raise", interval="1h")


@pytest.mark.parametrize("mode", MODES)
def test_holes_and_bad_bars_together(mode: str, fs: qf.FeatureSet) -> None:
    for cuts, bad in (([7], [6]), ([7], [7]), ([7], [8]), ([7, 14], [7, 13, 14]), ([39], [39])):
        bars = holed(cuts)
        for row in bad:
            bars["close"][row] = np.nan
        got = MODES[mode](bars, fs, on_gap="reset", interval="1h", on_bad="reset")
        assert bb.same_bits(got, pieces(bars, fs, cuts, bad)), (cuts, bad)
        got = MODES[mode](bars, fs, on_gap="reset", interval="1h", on_bad="null")
        assert bb.same_bits(got, MODES["stream"](bars, fs, on_gap="reset", interval="1h", on_bad="null")), (cuts, bad)


@pytest.mark.parametrize("mode", MODES)
def test_the_widest_hole_is_a_hole(mode: str) -> None:
    bars = bb.take(bb.good(), slice(0, 3))
    bars["time"] = np.array([-9_200_000_000_000_000_000, 9_200_000_000_000_000_000, 9_200_000_000_000_000_001])
    bars["time"] = bars["time"].view("datetime64[ns]")
    with pytest.raises(qf.GapError):
        MODES[mode](bars, bb.features("ret"), on_gap="raise", interval="1h")
    got = MODES[mode](bars, bb.features("ret"), on_gap="reset", interval="1h")
    assert np.isnan(got[:2]).all()
    assert np.isfinite(got[2]).all()


def test_holes_are_per_symbol() -> None:
    bars = bb.good()
    bars["symbol"] = np.array(["a", "b"] * (N // 2))
    plain = qf.compute(bars, ["ema(4)"], by="symbol", time="time", on_gap="raise", interval="2h")["ema"]
    assert np.array_equal(plain, qf.compute(bars, ["ema(4)"], by="symbol")["ema"], equal_nan=True)
    bars["time"][21::2] += np.timedelta64(1, "h")
    with pytest.raises(qf.GapError) as caught:
        qf.compute(bars, ["ema(4)"], by="symbol", time="time", on_gap="raise", interval="2h")
    assert (caught.value.row, caught.value.symbol) == (21, "b")
    reset = qf.compute(bars, ["ema(4)"], by="symbol", time="time", on_gap="reset", interval="2h")["ema"]
    assert np.array_equal(reset[::2], plain[::2], equal_nan=True)
    assert np.isnan(reset[21:27:2]).all()
    assert np.isfinite(reset[27::2]).all()


# --- order -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("policy", ["raise", "null", "reset"])
@pytest.mark.parametrize("row", [1, 3, 20, N - 1])
def test_times_must_rise(row: int, policy: str, mode: str, fs: qf.FeatureSet) -> None:
    for back in (0, 1, bb.HOUR * 30):
        bars = bb.good()
        bars["time"][row] = bars["time"][row - 1] - np.timedelta64(back, "ns")
        with pytest.raises(qf.UnsortedError) as caught:
            MODES[mode](bars, fs, on_bad=policy)
        error, where = caught.value, bb.place(mode, row)
        assert (error.row, error.window, error.symbol, error.column) == (where.row, where.window, where.symbol, "time")
        assert error.previous - error.value == back
        assert error.time_ns == error.value == bars["time"][row].astype(np.int64)


@pytest.mark.parametrize("mode", MODES)
def test_the_earlier_fault_is_named(mode: str, fs: qf.FeatureSet) -> None:
    for late, early in ((9, 5), (1, 0)):
        bars = bb.good()
        bars["close"][early] = np.nan
        bars["time"][late] = bars["time"][late - 1]
        with pytest.raises(qf.BadBarError):
            MODES[mode](bars, fs)
        with pytest.raises(qf.UnsortedError):
            MODES[mode](bars, fs, on_bad="null")
    bars = bb.good()
    bars["time"][5] = bars["time"][4]
    bars["close"][9] = np.nan
    with pytest.raises(qf.UnsortedError):
        MODES[mode](bars, fs)


def test_one_row_with_two_faults_is_one_error_in_all_modes(fs: qf.FeatureSet) -> None:
    seen = {}
    for mode, run in MODES.items():
        bars = bb.good()
        bars["close"][5] = np.nan
        bars["time"][5] = bars["time"][4]
        with pytest.raises(qf.QtfeatError) as caught:
            run(bars, fs)
        seen[mode] = type(caught.value).__name__
    assert len(set(seen.values())) == 1, seen


def test_order_is_per_symbol() -> None:
    bars = bb.good()
    bars["symbol"] = np.array(["a", "b"] * (N // 2))
    bars["time"] = bars["time"][np.arange(N) // 2 * 2]
    for convert in (dict, bb.arrow):
        one = bb.matrix(qf.compute(convert(bars), ["ema(4)"], by="symbol", time="time"), ["ema"])
        assert bb.same_bits(one, bb.matrix(qf.compute(convert(bars), ["ema(4)"], by="symbol"), ["ema"]))
        with pytest.raises(qf.UnsortedError):
            qf.compute(convert(bars), ["ema(4)"], time="time")
        wrong = bb.copy(bars)
        wrong["time"][25] = wrong["time"][23]
        with pytest.raises(qf.UnsortedError) as caught:
            qf.compute(convert(wrong), ["ema(4)"], by="symbol", time="time")
        assert (caught.value.row, caught.value.symbol) == (25, "b")
        with pytest.raises(qf.UnsortedError) as caught:
            list(qf.compute_batches(bb.chunked(bb.arrow(wrong), 7), ["ema(4)"], by="symbol", time="time"))
        assert (caught.value.row, caught.value.symbol) == (25, "b")


@pytest.mark.parametrize("policy", POLICIES)
def test_symbols_do_not_mix_under_a_policy(policy: str, fs: qf.FeatureSet) -> None:
    n = 90
    bars = bb.good(n)
    bars["symbol"] = np.array(list("abbcaabcca"))[np.arange(n) % 10]
    for row in (0, 4, 31, 32, 60, 89):
        bars["close"][row] = np.inf
    whole = bb.matrix(qf.compute(bars, fs, by="symbol", time="time", on_bad=policy), fs.columns)
    for symbol in "abc":
        rows = np.flatnonzero(bars["symbol"] == symbol)
        alone = bb.matrix(qf.compute(bb.take(bars, rows), fs, time="time", on_bad=policy), fs.columns)
        assert bb.same_bits(whole[rows], alone)
    for threads in (1, 2, 5):
        for convert in (bb.arrow, lambda b: bb.chunked(bb.arrow(b), 11)):
            again = qf.compute(convert(bars), fs, by="symbol", time="time", on_bad=policy, threads=threads)
            assert bb.same_bits(bb.matrix(again, fs.columns), whole)
    batches = qf.compute_batches(bb.chunked(bb.arrow(bars), 13), fs, by="symbol", time="time", on_bad=policy)
    assert bb.same_bits(np.vstack([bb.matrix(b, fs.columns) for b in batches]), whole)
