"""Streams, panels and record batches: refusals that change nothing, damaged snapshots, absent symbols, threads."""

from __future__ import annotations

import datetime as dt
import hashlib
import random
import threading
import zoneinfo
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import badbars as bb
import qtfeat as qf
import sizes

N = 40
BAR = [10.0, 11.0, 9.0, 10.5, 3.0]


@pytest.fixture(scope="module")
def fs() -> qf.FeatureSet:
    return bb.features()


def fed(fs: qf.FeatureSet, rows: int = 25, **options: Any) -> qf.Stream:
    stream = qf.Stream(fs, **options)
    for bar, rest in list(bb.pushes(bb.good(N), fs))[:rows]:
        stream.push(*bar, **rest)
    return stream


def fed_panel(fs: qf.FeatureSet, symbols: tuple[str, ...] = ("a", "b", "é"), **options: Any) -> qf.PanelStream:
    panel = qf.PanelStream(fs, list(symbols), **options)
    for i, (bar, rest) in enumerate(list(bb.pushes(bb.good(N), fs))[:25]):
        block = np.array([bar] * len(symbols))
        if i % 4 == 1:
            block[1] = np.nan
        panel.push(block, time=rest["time"], extra=np.array([rest["extra"]] * len(symbols)))
    return panel


# --- a refused push changes nothing ----------------------------------------------------------------------------------

NEXT = bb.good(N)["time"][25]
REFUSED: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "nan": ([10.0, 11.0, 9.0, np.nan, 3.0], {"time": NEXT, "extra": [1.0]}),
    "high_below_low": ([10.0, 8.0, 9.0, 10.0, 3.0], {"time": NEXT, "extra": [1.0]}),
    "bad_extra": (BAR, {"time": NEXT, "extra": [np.inf]}),
    "no_extra": (BAR, {"time": NEXT}),
    "two_extras": (BAR, {"time": NEXT, "extra": [1.0, 2.0]}),
    "other_extra": (BAR, {"time": NEXT, "extra": {"flaw": 1.0}}),
    "no_time": (BAR, {"extra": [1.0]}),
    "null_time": (BAR, {"time": np.datetime64("NaT"), "extra": [1.0]}),
    "same_time": (BAR, {"time": NEXT - np.timedelta64(1, "h"), "extra": [1.0]}),
    "hole": (BAR, {"time": NEXT + np.timedelta64(5, "h"), "extra": [1.0]}),
    "text_time": (BAR, {"time": "2024-13-01", "extra": [1.0]}),
    "unitless_time": (BAR, {"time": 5, "extra": [1.0]}),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("method", ["push", "peek"])
def test_a_refused_push_changes_nothing(method: str, name: str, fs: qf.FeatureSet) -> None:
    bar, rest = REFUSED[name]
    stream = fed(fs, on_gap="raise", interval="1h")
    before = stream.snapshot()
    with pytest.raises(qf.QtfeatError):
        getattr(stream, method)(*bar, **rest)
    assert stream.snapshot() == before
    good = fed(fs, on_gap="raise", interval="1h").push(*BAR, time=NEXT, extra=[1.0])
    assert np.array_equal(stream.push(*BAR, time=NEXT, extra=[1.0]), good)


@pytest.mark.parametrize("name", [n for n in REFUSED if n not in ("other_extra", "two_extras", "no_extra")])
@pytest.mark.parametrize("lane", [0, 1, 2])
def test_a_refused_push_changes_no_symbol(lane: int, name: str, fs: qf.FeatureSet) -> None:
    bar, rest = REFUSED[name]
    panel = fed_panel(fs, on_gap="raise", interval="2h")  # "b" is absent now and then
    before, ready = panel.snapshot(), panel.ready.tolist()
    block, extra = np.array([BAR] * 3), np.ones((3, 1))
    block[lane], extra[lane] = bar, rest["extra"]
    with pytest.raises(qf.QtfeatError) as caught:
        panel.push(block, time=rest.get("time"), extra=extra)
    if isinstance(caught.value, qf.BadBarError):
        assert (caught.value.row, caught.value.symbol) == (lane, ("a", "b", "é")[lane])
    assert panel.snapshot() == before
    assert panel.ready.tolist() == ready


def test_peek_changes_nothing(fs: qf.FeatureSet) -> None:
    for policy in ("raise", "null", "reset"):
        stream = fed(fs, on_bad=policy, on_gap="reset", interval="1h")
        before, ready, rows = stream.snapshot(), stream.ready, stream.rows
        late = NEXT + np.timedelta64(5, "h")
        for when in (NEXT, late):
            first = stream.peek(*BAR, time=when, extra=[1.0])
            assert np.array_equal(
                stream.peek(*BAR, time=when, extra={"flow": 1.0, "other": 2.0}), first, equal_nan=True
            )
            assert np.array_equal(stream.clone().push(*BAR, time=when, extra=[1.0]), first, equal_nan=True)
            if policy != "raise":
                stream.peek(np.nan, *BAR[1:], time=when, extra=[1.0])
        assert (stream.snapshot(), stream.ready, stream.rows) == (before, ready, rows)


def test_clone_goes_its_own_way(fs: qf.FeatureSet) -> None:
    stream = fed(fs)
    twin, before = stream.clone(), stream.snapshot()
    assert twin.snapshot() == before
    twin.push(*BAR, time=NEXT, extra=[1.0])
    assert stream.snapshot() == before != twin.snapshot()
    panel = fed_panel(fs)
    other, before = panel.clone(), panel.snapshot()
    other.push(np.array([BAR] * 3), time=NEXT, extra=np.ones((3, 1)))
    assert panel.snapshot() == before != other.snapshot()


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("null", [None, np.nan, np.float32("nan"), pd.NA], ids=repr)
@pytest.mark.parametrize("at", range(5))
def test_null_in_a_push_is_a_null(at: int, null: Any) -> None:
    fs = bb.features("ret", "volume_change")
    bar = [*BAR[:at], null, *BAR[at + 1 :]]
    with pytest.raises(qf.BadBarError) as caught:
        qf.Stream(fs).push(*bar)
    assert caught.value.column == bb.OHLCV[at]
    assert np.isnan(caught.value.value or 0.0)
    assert np.isnan(qf.Stream(fs, on_bad="null").push(*bar)).all()


def test_an_extra_null_is_a_null() -> None:
    fs = bb.features("x = flow * 1")
    for extra in ([None], {"flow": None}, [np.nan], {"flow": np.nan}):
        with pytest.raises(qf.BadBarError) as caught:
            qf.Stream(fs).push(*BAR, extra=extra)
        assert caught.value.column == "flow"


STAMPS: dict[str, Any] = {
    "numpy_s": np.datetime64("2024-01-01T05:00:00"),
    "numpy_ns": np.datetime64("2024-01-01T05:00:00.000000000"),
    "naive": dt.datetime(2024, 1, 1, 5),
    "utc": dt.datetime(2024, 1, 1, 5, tzinfo=dt.UTC),
    "tokyo": dt.datetime(2024, 1, 1, 14, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo")),
    "pandas": pd.Timestamp("2024-01-01T05:00"),
    "pandas_tokyo": pd.Timestamp("2024-01-01T14:00", tz="Asia/Tokyo"),
    "text": "2024-01-01T05:00:00Z",
    "whole_number": 1_704_085_200_000,
    "numpy_number": np.int64(1_704_085_200_000),
    "numpy_unsigned": np.uint64(1_704_085_200_000),
    "zero_axes": np.array(1_704_085_200_000),
}


@pytest.mark.parametrize("stamp", STAMPS)
def test_times_in_every_form(stamp: str) -> None:
    fs = bb.features("hour_sin", "dow_sin")
    value = STAMPS[stamp]
    want = np.sin([2 * np.pi * 5 / 24, 0.0])
    assert np.allclose(qf.Stream(fs, time_unit="ms").push(*BAR, time=value), want, atol=1e-15)
    panel = qf.PanelStream(fs, ["a", "b"], time_unit="ms").push(np.array([BAR, BAR]), time=value)
    assert np.allclose(panel, [want, want], atol=1e-15)
    if stamp not in ("text", "zero_axes"):
        panel = qf.PanelStream(fs, ["a", "b"], time_unit="ms").push(np.array([BAR, BAR]), time=np.array([value, value]))
        assert np.allclose(panel, [want, want], atol=1e-15)


@pytest.mark.parametrize(
    "stamp",
    [
        pd.NaT,
        np.datetime64("NaT"),
        "yesterday",
        5.0,
        True,
        [1],
        b"2024",
        dt.datetime(2300, 1, 1),
        dt.datetime.max,
        np.datetime64("2300-01-01"),
        pd.Timestamp("2300-01-01"),
        2**63,
        2**200,
        -(2**63),
    ],
    ids=repr,
)
def test_times_that_are_none(stamp: Any) -> None:
    for unit in ("ms", "ns"):
        with pytest.raises(qf.SchemaError) as caught:
            qf.Stream(bb.features("hour_sin"), time_unit=unit).push(*BAR, time=stamp)
        assert caught.value.column == "time"
        with pytest.raises(qf.SchemaError):
            # Two symbols: a list of one time is no time for them either.
            qf.PanelStream(bb.features("hour_sin"), ["a", "b"], time_unit=unit).push(np.array([BAR, BAR]), time=stamp)


@pytest.mark.parametrize("symbols", [[], ["a", "a"], ["a", "b", "a"]], ids=str)
def test_a_panel_needs_distinct_symbols(symbols: list[str]) -> None:
    with pytest.raises(qf.SchemaError, match="symbol"):
        qf.PanelStream(bb.features("ret"), symbols)


@pytest.mark.parametrize("shape", [(1, 5), (3, 5), (2, 4), (5,), (2, 5, 1), (0, 5)])
def test_a_panel_takes_one_row_per_symbol(shape: tuple[int, ...]) -> None:
    with pytest.raises(qf.SchemaError, match="2, 5"):
        qf.PanelStream(bb.features("ret"), ["a", "b"]).push(np.ones(shape))


def test_a_fill_is_refused(fs: qf.FeatureSet) -> None:
    legacy = qf.FeatureSet(["rsi(5)"], numerics="legacy")
    for make in (
        lambda: qf.Stream(legacy),
        lambda: qf.PanelStream(legacy, ["a"]),
        lambda: qf.compute_batches([], legacy),
        lambda: qf.sequences(bb.good(), legacy, length=5),
        lambda: qf.Stream.restore(legacy, fed(fs).snapshot()),
    ):
        with pytest.raises(qf.SchemaError, match="fill"):
            make()
    bare = qf.FeatureSet(["rsi(5)"], numerics="legacy", fill=None)
    assert bb.same_bits(bb.MODES["stream"](bb.good(), bare), bb.MODES["dict"](bb.good(), bare))


# --- snapshots -------------------------------------------------------------------------------------------------------


def signed(body: bytes) -> bytes:
    """Bytes with a checksum that fits, so that the decoder itself is met."""
    return body + hashlib.sha256(body).digest()[:16]


def restores() -> list[tuple[Callable[..., Any], bytes, qf.FeatureSet]]:
    small = bb.features("ema(4)", "carry = lag(flow,2)")
    return [
        (qf.Stream.restore, fed(small).snapshot(), small),
        (qf.PanelStream.restore, fed_panel(small).snapshot(), small),
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_every_damaged_byte_is_found(which: int) -> None:
    restore, snapshot, fs = restores()[which]
    assert restore(fs, snapshot).snapshot() == snapshot
    for at in range(len(snapshot)):
        for bits in (1, 0x80, 0xFF):
            damaged = bytearray(snapshot)
            damaged[at] ^= bits
            with pytest.raises(qf.SnapshotError):
                restore(fs, bytes(damaged))
        with pytest.raises(qf.SnapshotError):
            restore(fs, snapshot[:at])
    for tail in (b"\0", b"x" * 100):
        with pytest.raises(qf.SnapshotError):
            restore(fs, snapshot + tail)
        with pytest.raises(qf.SnapshotError):
            restore(fs, signed(snapshot[:-16] + tail))


@pytest.mark.soak
@pytest.mark.parametrize("which", [0, 1])
def test_forged_snapshots_are_refused_or_run(which: int) -> None:
    restore, snapshot, fs = restores()[which]
    rng = random.Random(5)
    for _ in range(sizes.scaled(100_000)):
        forged = bytearray(snapshot[:-16])
        for _ in range(rng.randint(1, 5)):
            forged[rng.randrange(38, len(forged))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
        if rng.random() < 0.1:
            del forged[rng.randrange(38, len(forged)) :]
        try:
            stream = restore(fs, signed(bytes(forged)))
            one = which == 0
            stream.push(
                *(BAR if one else [np.array([BAR] * len(stream.symbols))]),
                time=NEXT,
                extra=[1.0] if one else np.ones((len(stream.symbols), 1)),
            )
            stream.snapshot()
        except qf.QtfeatError:
            pass


def test_random_bytes_are_no_snapshot(fs: qf.FeatureSet) -> None:
    rng = random.Random(1)
    for size in (0, 1, 5, 53, 54, 100, 5000):
        for head in (b"", b"QTFS", b"QTFS\1\0", b"QTFS\2\0"):
            for restore in (qf.Stream.restore, qf.PanelStream.restore):
                for data in (head + rng.randbytes(size), signed(head + rng.randbytes(size))):
                    with pytest.raises(qf.SnapshotError):
                        restore(fs, data)


def test_the_other_kind_of_snapshot_is_refused() -> None:
    (_, stream, fs), (_, panel, _) = restores()
    one = qf.PanelStream(fs, ["a"]).snapshot()
    for restore, data in ((qf.Stream.restore, panel), (qf.PanelStream.restore, stream), (qf.Stream.restore, one)):
        with pytest.raises(qf.SnapshotError):
            restore(fs, data)


def test_a_foreign_set_is_both_errors_and_names_both(fs: qf.FeatureSet) -> None:
    for restore, data, owner in restores():
        with pytest.raises(qf.SnapshotError) as caught:
            restore(fs, data)
        error = caught.value
        assert isinstance(error, qf.FingerprintMismatch)
        assert (error.expected, error.found) == (fs.fingerprint, owner.fingerprint)
        assert fs.fingerprint in str(error)
        assert owner.fingerprint in str(error)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_snapshots_may_stand_in_any_buffer(wrap: Callable[[bytes], Any], fs: qf.FeatureSet) -> None:
    assert qf.Stream.restore(fs, wrap(fed(fs).snapshot())).rows == 25


# --- absent symbols --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["null", "reset"])
@pytest.mark.parametrize("count", [1, 2, 8, 9, 33])
def test_absent_symbols_see_only_their_own_rows(count: int, policy: Any, fs: qf.FeatureSet) -> None:
    rng = np.random.default_rng(count)
    tables = [bb.good(N, seed=s) for s in range(count)]
    for s, bars in enumerate(tables):
        bars["volume"][(s * 7 + 3) % N] = -1.0
    here = rng.random((N, count)) < 0.7
    panel = qf.PanelStream(fs, [str(s) for s in range(count)], on_bad=policy)
    got = np.empty((N, count, len(fs)))
    for t in range(N):
        block = np.array([[bars[c][t] for c in bb.OHLCV] for bars in tables])
        block[~here[t]] = np.nan
        extra = np.array([[bars["flow"][t]] for bars in tables])
        got[t] = panel.push(block, time=np.array([bars["time"][t] for bars in tables]), extra=extra)
        if t == N // 2:
            panel = qf.PanelStream.restore(fs, panel.snapshot())
    for s, bars in enumerate(tables):
        rows = np.flatnonzero(here[:, s])
        assert bb.same_bits(got[rows, s], bb.MODES["dict"](bb.take(bars, rows), fs, on_bad=policy))
        assert np.isnan(got[~here[:, s], s]).all()


def test_an_absent_symbol_needs_no_time() -> None:
    panel = qf.PanelStream(bb.features("hour_sin"), ["a", "b"])
    stamps = np.array(["2024-01-01T06", "NaT"], dtype="datetime64[ns]")
    rows = panel.push(np.array([BAR, [np.nan] * 5]), time=stamps)
    assert np.allclose(rows[0], 1.0)
    with pytest.raises(qf.SchemaError):
        panel.push(np.array([BAR, BAR]), time=stamps + np.timedelta64(1, "h"))


# --- threads and memory ----------------------------------------------------------------------------------------------


def test_pushes_of_many_threads_are_errors_or_rows() -> None:
    stream, panel = (
        qf.Stream(bb.features("rsi(5)")),
        qf.PanelStream(qf.FeatureSet.load("kline17"), [str(s) for s in range(300)]),
    )
    block, taken, refused = np.tile(BAR, (300, 1)), [], []

    def work() -> None:
        for _ in range(200):
            for push in (lambda: stream.push(*BAR), lambda: panel.push(block)):
                try:
                    push()
                    taken.append(push)
                except Exception as error:  # noqa: BLE001
                    refused.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert all(isinstance(e, RuntimeError) and "another thread" in str(e) for e in refused)
    assert len(taken) + len(refused) == 1600
    alone = qf.Stream(bb.features("rsi(5)"))
    for _ in range(stream.rows):
        alone.push(*BAR)
    assert alone.snapshot() == stream.snapshot()
