"""Windows, sequences, record batches; and memory: the caller's, ours, and how much of it."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import badbars as bb
import qtfeat as qf

N = 60
FS = qf.FeatureSet(["ema(4)", "rsi(5)", "bb(6,2).pct"])


@pytest.fixture
def bars() -> bb.Table:
    return bb.good(N) | {"symbol": np.array(["b", "a", "c"] * (N // 3))}


@pytest.fixture
def want(bars: bb.Table) -> bb.Matrix:
    return bb.matrix(qf.compute(bars, FS, by="symbol", time="time"), FS.columns)


# --- windows ---------------------------------------------------------------------------------------------------------


def cubes(n: int, rows: int, seed: int = 3) -> tuple[bb.Matrix, bb.Matrix, Any]:
    """Windows (n, rows, 5) with an extra column (n, rows) and times."""
    whole = bb.good(n * rows, seed)
    block = np.stack([whole[c] for c in bb.OHLCV], axis=1).reshape(n, rows, 5)
    return block, whole["flow"].reshape(n, rows), whole["time"].reshape(n, rows)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 129, 300])
@pytest.mark.parametrize("policy", ["null", "reset"])
def test_bad_bars_of_one_window_stay_in_it(policy: Any, n: int) -> None:
    fs = bb.features()
    block, flow, times = cubes(n, 12)
    rng = np.random.default_rng(n)
    for w in range(0, n, 3):
        block[w, rng.integers(12), rng.integers(5)] = rng.choice([np.nan, np.inf, -1.0])
    flow[n // 2, 11] = np.nan
    every = {
        threads: qf.windows(block, fs, time=times, extra=flow, last="all", on_bad=policy, threads=threads)
        for threads in (1, 2, 9)
    }
    for w in range(n):
        one = {c: block[w, :, k] for k, c in enumerate(bb.OHLCV)} | {"flow": flow[w], "time": times[w]}
        assert all(bb.same_bits(e[w], bb.MODES["dict"](one, fs, on_bad=policy)) for e in every.values()), w
    last = qf.windows(block, fs, time=times, extra=flow[:, :, None], on_bad=policy)
    assert bb.same_bits(last, every[1][:, -1])


@pytest.mark.parametrize("window", [0, 1, 7, 8, 150, 299])
@pytest.mark.parametrize("row", [0, 4, 11])
def test_errors_carry_window_and_row(window: int, row: int) -> None:
    fs = bb.features()
    for threads in (1, 4):
        block, flow, times = cubes(300, 12)
        block[window, row, 4] = -3.0
        block[window + 1 :, 0, 0] = np.nan
        with pytest.raises(qf.BadBarError, match=f"row {row} of window {window}") as caught:
            qf.windows(block, fs, time=times, extra=flow, threads=threads)
        error = caught.value
        assert (error.window, error.row, error.column, error.value) == (window, row, "volume", -3.0)
        assert error.time_ns == times[window, row].astype(np.int64)
        block, flow, times = cubes(300, 12)
        flow[window, row] = 2e100
        with pytest.raises(qf.BadBarError) as caught:
            qf.windows(block, fs, time=times, extra=flow, threads=threads)
        assert (caught.value.window, caught.value.row, caught.value.column) == (window, row, "flow")
        if row:
            block, flow, times = cubes(300, 12)
            times[window, row] = times[window, row - 1]
            with pytest.raises(qf.UnsortedError) as unsorted:
                qf.windows(block, fs, time=times, extra=flow, threads=threads)
            assert (unsorted.value.window, unsorted.value.row) == (window, row)


def test_windows_of_other_numbers() -> None:
    block = np.tile(np.array([[50, 60, 40, 55, 7]]), (9, 6, 1)) + np.arange(6)[:, None]
    want = qf.windows(block.astype(float), FS)
    for number in ("f4", "i8", "i4", "u2", ">f8", "f2"):
        assert bb.same_bits(qf.windows(block.astype(number), FS), want), number
    assert bb.same_bits(qf.windows(block.tolist(), FS), want)
    assert bb.same_bits(qf.windows(np.asfortranarray(block)[::-1][::-1], FS), want)
    hidden = np.ma.array(block.astype(float), mask=np.zeros(block.shape, bool))
    hidden.mask[3, 2, 1] = True
    with pytest.raises(qf.BadBarError) as caught:
        qf.windows(hidden, FS)
    assert (caught.value.window, caught.value.row, caught.value.column) == (3, 2, "high")


@pytest.mark.parametrize(
    "block",
    [
        np.ones((3, 0, 5)),
        np.ones((3, 4, 4)),
        np.ones((4, 5)),
        np.ones((3, 4, 5, 1)),
        np.ones((3, 4, 5), bool),
        np.ones((3, 4, 5), complex),
        np.ones((3, 4, 5), object),
        np.full((3, 4, 5), "1"),
        np.ones((3, 4, 5), "datetime64[s]"),
        [[[1.0] * 5], [[1.0] * 4]],
        None,
        "windows",
    ],
    ids=lambda b: f"{getattr(b, 'shape', b)}-{getattr(b, 'dtype', '')}",
)
def test_what_is_no_window(block: Any) -> None:
    with pytest.raises(qf.SchemaError):
        qf.windows(block, FS)


@pytest.mark.parametrize(
    "extra",
    [
        None,
        np.ones((6, 11)),
        np.ones(6),
        np.ones((6, 10, 2)),
        np.ones((5, 10)),
        np.full((6, 10), "1"),
        np.ones((6, 10), bool),
        np.ones((6, 10), complex),
        "x",
    ],
    ids=lambda e: f"{getattr(e, 'shape', e)}-{getattr(e, 'dtype', '')}",
)
def test_extra_that_does_not_fit(extra: Any) -> None:
    with pytest.raises(qf.SchemaError):
        qf.windows(cubes(6, 10)[0], ["x = flow * 1"], extra=extra)


def test_times_of_windows_that_do_not_fit() -> None:
    block, _, times = cubes(6, 10)
    null = times.copy()
    null[2, 3] = np.datetime64("NaT")
    for wrong in (
        None,
        times.ravel(),
        times[:, :9],
        times.astype(np.int64),
        times.astype(str),
        null,
        5,
        [[None] * 10] * 6,
    ):
        with pytest.raises(qf.SchemaError) as caught:
            qf.windows(block, ["hour_sin"], time=wrong)
        assert caught.value.column in ("time", None)
    for unit in ("s", "ms", "us", "ns"):
        whole = times.astype(f"datetime64[{unit}]").astype(np.int64)
        assert bb.same_bits(
            qf.windows(block, ["hour_sin"], time=whole, time_unit=unit), qf.windows(block, ["hour_sin"], time=times)
        )


def test_no_windows() -> None:
    assert qf.windows(np.ones((0, 5, 5)), FS).shape == (0, 3)
    assert qf.windows(np.ones((0, 5, 5)), FS, last="all").shape[::2] == (0, 3)
    with pytest.raises(qf.SchemaError, match="last"):
        qf.windows(np.ones((1, 5, 5)), FS, last="first")


# --- windows of a history, sequences ---------------------------------------------------------------------------------


def test_windows_at_rows_and_times(bars: bb.Table) -> None:
    ends = [59, 9, 9, 30]
    want = np.array([bb.matrix(qf.compute(bb.take(bars, slice(e - 9, e + 1)), FS), FS.columns) for e in ends])
    for give in (
        ends,
        np.array(ends, "i1"),
        np.array(ends, "u8"),
        bars["time"][ends],
        [t.item() for t in bars["time"][ends].astype("M8[us]")],
    ):
        for table in (bars, bb.arrow(bars), pl.DataFrame(bb.arrow(bars)), pd.DataFrame(bars)):
            got = qf.windows_at(table, FS, give, length=10, time="time", last="all")
            assert bb.same_bits(got, want)
            assert bb.same_bits(qf.windows_at(table, FS, give, length=10, time="time"), want[:, -1])
    assert qf.windows_at(bars, FS, [], length=10).shape == (0, 3)
    assert qf.windows_at(bars, FS, 30, length=10).shape == (1, 3)
    half = np.datetime64("2024-01-01T00:30")
    for bad in (
        [8],
        [60],
        [-1],
        [2**40],
        np.array([2**64 - 1], "u8"),
        [half],
        [bars["time"][0]],
        ["2024-01-01"],
        [[20]],
        [None],
        [2.0],
    ):
        with pytest.raises(qf.SchemaError) as caught:
            qf.windows_at(bars, FS, bad, length=10, time="time")
        assert caught.value.column == "ends", bad
    with pytest.raises(qf.SchemaError, match=r"ends\[1\] = row 8"):
        qf.windows_at(bars, FS, [20, 8], length=10)


@pytest.mark.parametrize("length", [0, -1, True, 2.5, "3", None, 2**70])
def test_lengths_that_are_none(length: Any, bars: bb.Table) -> None:
    with pytest.raises(qf.SchemaError, match="length"):
        qf.windows_at(bars, FS, [30], length=length)
    with pytest.raises(qf.SchemaError, match="length"):
        qf.sequences(bars, FS, length=length)


# --- record batches --------------------------------------------------------------------------------------------------


def test_batches_of_any_library_and_size(bars: bb.Table, want: bb.Matrix) -> None:
    table = bb.arrow(bars)
    cuts = [0, 0, 1, 20, 20, 47, N]
    parts = [table.slice(a, b - a) for a, b in itertools.pairwise(cuts)]
    forms: list[Callable[[pa.Table], Any]] = [lambda t: t, pl.DataFrame, lambda t: t.to_pandas()]
    for form in forms:
        out = list(qf.compute_batches([form(p) for p in parts], FS, by="symbol", time="time"))
        assert [b.num_rows for b in out] == [p.num_rows for p in parts]
        assert all(b.schema.names == ["symbol", "time", *FS.columns] for b in out)
        assert bb.same_bits(np.vstack([bb.matrix(b, FS.columns) for b in out]), want)
    assert list(qf.compute_batches([], FS)) == []


def test_batches_report_rows_of_the_whole(bars: bb.Table) -> None:
    bars["low"][33] = np.inf
    batches = qf.compute_batches(bb.chunked(bb.arrow(bars), 10), FS, by="symbol", time="time")
    assert [next(batches).num_rows for _ in range(3)] == [10, 10, 10]
    with pytest.raises(qf.BadBarError) as caught:
        next(batches)
    assert (caught.value.row, caught.value.column, caught.value.symbol) == (33, "low", "b")


@pytest.mark.parametrize("reader", [None, 5, "bars", [1], [{"close": [1.0]}]], ids=repr)
def test_what_are_no_batches(reader: Any) -> None:
    with pytest.raises(qf.SchemaError):
        list(qf.compute_batches(reader, FS))


FLAT = """
import resource, sys
import numpy as np, pyarrow as pa
import qtfeat as qf
n, many = 20_000, int(sys.argv[1])
rng = np.random.default_rng(0)
def batches():
    for _ in range(many):
        c = 100 + rng.random(n)
        data = {"open": c, "high": c + 1, "low": c - 1, "close": c, "volume": c}
        data["symbol"] = pa.array(["a", "b"] * (n // 2))
        yield pa.record_batch(data)
total = 0
for batch in qf.compute_batches(batches(), "kline17", by="symbol"):
    total += batch.num_rows
assert total == n * many
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_batches_take_constant_memory() -> None:
    pytest.importorskip("resource", reason="peak memory is measured with getrusage")
    few, many = (int(subprocess.check_output([sys.executable, "-c", FLAT, count])) for count in ("10", "120"))
    assert many < few + 30_000, "110 more batches of 2.7 MB each may not add 30 MB"


LONG: dict[str, Callable[[bb.Table], Any]] = {
    "dict": lambda bars: qf.compute(bars, "wide32"),
    "table": lambda bars: qf.compute(bb.arrow(bars), "wide32"),
    "windows": lambda bars: qf.windows(bb.cube(bars).reshape(-1, 100, 5), "wide32", threads=1),
    "windows_at": lambda bars: qf.windows_at(bars, "wide32", np.arange(99, 200_000, 20), threads=1),
    "batches": lambda bars: list(qf.compute_batches(bb.arrow(bars), "wide32")),
}


@pytest.mark.parametrize("name", LONG)
def test_other_threads_run_meanwhile(name: str) -> None:
    bars = bb.good(200_000)
    done, ticks = threading.Event(), []

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        for _ in range(20):
            start = time.perf_counter()
            LONG[name](bars)
            end = time.perf_counter()
            inside = [t for t in ticks if start + (end - start) * 0.1 < t < end - (end - start) * 0.1]
            if len(inside) >= 3:
                return
        pytest.fail(f"{name}: no other thread ran in 20 calls")
    finally:
        done.set()
        ticker.join()


# --- what belongs to the caller --------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["null", "reset"])
def test_inputs_are_read_only_to_us(policy: Any, bars: bb.Table) -> None:
    bars["close"][[0, 9, 30]] = np.nan
    bars["flow"][5] = np.inf
    fs = qf.FeatureSet([*bb.SPECS])
    before = bb.copy(bars)
    frame, table = pd.DataFrame(bars), bb.arrow(bars, nulls=False)
    kept_frame, kept_table = (
        frame.copy(deep=True),
        pa.table({n: c.to_pylist() for n, c in zip(table.column_names, table.columns, strict=True)}),
    )
    for column in bars.values():
        column.setflags(write=False)
    for threads in (1, 2):
        for data in (bars, frame, table):
            qf.compute(data, fs, by="symbol", time="time", on_bad=policy, threads=threads)
            qf.sequences(data, fs, length=4, time="time", on_bad=policy)
            qf.windows_at(data, fs, [20], length=9, time="time", on_bad=policy)
    block = np.stack([bars[c] for c in bb.OHLCV], 1).reshape(6, 10, 5)
    kept_block = block.copy()
    block.setflags(write=False)
    qf.windows(block, ["rsi(5)"], on_bad=policy)
    assert bb.same_bits(block, kept_block)
    for name, column in before.items():
        assert np.array_equal(bars[name], column, equal_nan=column.dtype.kind == "f")
    pd.testing.assert_frame_equal(frame, kept_frame)
    assert table.drop_columns(["flow", "close"]).to_pydict() == kept_table.drop_columns(["flow", "close"]).to_pydict()


def test_memory_that_is_not_in_a_row(bars: bb.Table, want: bb.Matrix) -> None:
    block = np.stack([bars[c] for c in bb.OHLCV], axis=1)
    rest = {"symbol": bars["symbol"], "time": bars["time"]}
    columns = dict(zip(bb.OHLCV, block.T, strict=True))
    back = {name: np.ascontiguousarray(c[::-1])[::-1] for name, c in bars.items()}
    for strided in (columns | rest, back, pd.DataFrame(block, columns=list(bb.OHLCV)).assign(**rest)):
        assert bb.same_bits(bb.matrix(qf.compute(strided, FS, by="symbol", time="time"), FS.columns), want)


@pytest.mark.parametrize("kind", ["dict", "pyarrow", "pandas", "polars"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_out_is_filled_and_returned(kind: str, dtype: str, bars: bb.Table, want: bb.Matrix) -> None:
    out = np.full((len(FS), N), 7.0, dtype=dtype)
    assert qf.compute(bb.KINDS[kind](bars), FS, by="symbol", out=out, dtype=dtype) is out
    assert bb.same_bits(out.T, want.astype(dtype))


@pytest.mark.parametrize(
    "out",
    [
        np.empty((3, N), "f4"),
        np.empty((N, 3)).T,
        np.empty((3, N + 1))[:, :N],
        np.empty((N, 3)),
        np.empty(3 * N),
        np.empty((3, N), object),
        "out",
    ],
    ids=["float32", "fortran", "strided", "turned", "flat", "object", "text"],
)
def test_out_that_does_not_fit(out: Any, bars: bb.Table) -> None:
    for kind in ("dict", "pyarrow", "pandas"):
        with pytest.raises(qf.SchemaError, match="out"):
            qf.compute(bb.KINDS[kind](bars), FS, out=out)


def test_out_that_is_an_input_or_read_only(bars: bb.Table) -> None:
    out = np.repeat(bars["close"][None], 3, axis=0)
    with pytest.raises(qf.SchemaError, match="out"):
        qf.compute(bars | {"close": out[1]}, FS, out=out)
    assert np.array_equal(out[1], bars["close"]), "a refused call writes nothing"
    out.setflags(write=False)
    with pytest.raises(qf.SchemaError, match="out"):
        qf.compute(bars, FS, out=out)
