"""A backfill, month by month, has the bits of one pass over the whole history."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qtfeat as qf
from barsets import data_folder
from contract.bits import assert_same_bits
from lakes import ONE, filled, read_features, spoil
from qtfeat import _core
from qtfeat.backfill import Lake, Report, parquet, run_backfill
from qtfeat.bars import read_bars
from qtfeat.bars.simulate import simulate
from qtfeat.errors import SnapshotError, SnapshotMismatch
from qtfeat.features import _options
from sizes import SOAK


def assert_one_pass(lake: Lake, report: Report, dtype: str, **policy: Any) -> None:
    assert report.complete, report.failed
    for partition in lake.partitions():
        bars = lake.read(partition)
        months, times, found = read_features(report.folder, partition)
        assert months == list(lake.months(partition))
        gap = {"interval": partition.interval} if policy.get("on_gap", "ignore") != "ignore" else {}
        whole = qf.compute(bars, "wide32", time="open_time", dtype=dtype, threads=1, **policy, **gap)
        expected = np.stack([whole[c].to_numpy() for c in qf.FeatureSet.load("wide32").columns])
        assert np.array_equal(times, np.asarray(bars["open_time"].cast(pa.int64())))
        assert_same_bits(expected, found, qf.FeatureSet.load("wide32").columns, partition)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_months_are_one_pass_on_the_panel(tmp_path: Path, dtype: str) -> None:
    bars, _ = read_bars(data_folder() / "panel_1h")
    symbols = bars["symbol"].unique().to_pylist()[: None if SOAK else 2]
    lake = Lake(tmp_path)
    lake.add(bars.filter(pa.compute.is_in(bars["symbol"], pa.array(symbols))), "um")
    assert len(lake.months(lake.partitions()[0])) == 27
    assert_one_pass(lake, run_backfill(lake, "wide32", dtype=dtype, workers=2), dtype)


@pytest.mark.soak
@pytest.mark.parametrize("on_gap", ["ignore", "reset"])
def test_months_are_one_pass_over_gaps(tmp_path: Path, on_gap: str) -> None:
    """One-minute bars of which those without a trade are absent; the first 60,000 unless in a soak."""
    file = next((data_folder() / "long").glob("BTCUSD_1m_2017_2018*"))
    bars, _ = read_bars(file)
    bars = bars if SOAK else bars.slice(0, 60_000)
    lake = Lake(tmp_path)
    lake.add(bars, "spot", "1m")
    steps = np.diff(np.asarray(bars["open_time"].cast(pa.int64())))
    assert (steps > 60_000).sum() > 100, "the gaps are what this is about"
    report = run_backfill(lake, "wide32", dtype="float64", on_gap=on_gap, workers=1)
    assert_one_pass(lake, report, "float64", on_gap=on_gap)


def test_a_month_of_several_row_groups_is_one_pass(tmp_path: Path) -> None:
    """Bars of a second: what is in memory at a time is a row group, not the month."""
    lake = Lake(tmp_path)
    lake.add(simulate(symbols=1, bars=150_000, interval="1s"), "spot")
    report = run_backfill(lake, workers=1)
    (file,) = Path(report.folder).glob("**/*.parquet")
    metadata = pq.read_metadata(file)
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert groups == [parquet.ROW_GROUP, parquet.ROW_GROUP, 150_000 - 2 * parquet.ROW_GROUP]
    assert_one_pass(lake, report, "float32")


def test_bad_bars_under_the_other_policies(tmp_path: Path) -> None:
    lake = filled(tmp_path, symbols=1)
    spoil(lake, ONE, 2, 0)
    spoil(lake, ONE, 1, 700)
    for on_bad in ("null", "reset"):
        report = run_backfill(lake, "wide32", on_bad=on_bad, replace_settings=True)
        assert_one_pass(lake, report, "float32", on_bad=on_bad)


@settings(max_examples=20, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 399), max_size=4, unique=True),
    by=st.booleans(),
    on_bad=st.sampled_from(["null", "reset"]),
    seed=st.integers(0, 99),
)
def test_batches_go_on_from_a_snapshot(cuts: Sequence[int], by: bool, on_bad: str, seed: int) -> None:
    bars = simulate(symbols=2 if by else 1, bars=400 // (2 if by else 1), seed=seed).sort_by("open_time")
    close = bars["close"].to_numpy().copy()
    close[np.random.default_rng(seed).choice(400, 5)] = -1.0
    bars = bars.set_column(5, "close", pa.array(close)).combine_chunks()
    fs = qf.FeatureSet(["rsi(14)", "macd(12,26,9)", "bb(20,2)", "obv", "x = lag(close, 7)"])
    options = _options(None, on_bad, "ignore", None, 1, "float64")
    whole = _core.Batches(fs._core, "symbol" if by else None, "open_time", [], options)
    expected = whole.push(bars).matrix()
    state, parts = None, []
    bounds = [0, *sorted(cuts), 400]
    for start, stop in itertools.pairwise(bounds):
        batches = _core.Batches(fs._core, "symbol" if by else None, "open_time", [], options)
        if state is not None:
            batches.restore(state)
            assert batches.snapshot() == state
        parts.append(batches.push(bars.slice(start, stop - start)).matrix())
        state = batches.snapshot()
    assert_same_bits(expected, np.concatenate(parts, axis=1), fs.columns, cuts)
    assert state == whole.snapshot(), "equal states are equal bytes"


def test_snapshots_of_something_else_are_refused() -> None:
    fs, other = qf.FeatureSet(["rsi(14)"]), qf.FeatureSet(["rsi(13)"])

    def fresh(of: qf.FeatureSet, on_bad: str = "raise") -> _core.Batches:
        return _core.Batches(of._core, None, None, [], _options(None, on_bad, "ignore", None, 1, "float64"))

    batches = fresh(fs)
    batches.push(simulate(symbols=1, bars=50))
    state = batches.snapshot()
    with pytest.raises(SnapshotMismatch):
        fresh(other).restore(state)
    with pytest.raises(SnapshotError, match="another on_bad"):
        fresh(fs, "null").restore(state)
    with pytest.raises(SnapshotError, match="no snapshot of record batches"):
        fresh(fs).restore(qf.Stream(fs).snapshot())
    with pytest.raises(SnapshotError, match="no snapshot of a stream"):
        qf.Stream.restore(fs, state)
    with pytest.raises(SnapshotError, match="damaged"):
        fresh(fs).restore(state[:-1] + b"x")
