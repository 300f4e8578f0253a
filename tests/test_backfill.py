"""The backfill: one pass in months, only what changed, one symbol's failure, the same bytes everywhere."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import qtfeat as qf
from barsets import data_folder
from contract.bits import assert_same_bits
from lakes import filled, read_features, tree
from qtfeat import _core
from qtfeat.backfill import (
    Job,
    Lake,
    LakeBusyError,
    Outcome,
    Partition,
    Report,
    Threads,
    parquet,
    run_backfill,
    run_partition,
)
from qtfeat.bars import read_bars
from qtfeat.bars.simulate import simulate
from qtfeat.cli.app import app
from qtfeat.errors import SchemaError, SnapshotError, SnapshotMismatch
from qtfeat.features import _options
from sizes import SOAK

ONE = Partition("spot", "SIM000", "1h")


def invoke(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args], env={"COLUMNS": "200", "NO_COLOR": "1"})


def features_of(lake: Lake) -> dict[str, str]:
    return tree(Path(lake.root, "features"))


def spoil(lake: Lake, partition: Partition, month: int, row: int) -> None:
    """Give one bar of a month a high below its low."""
    bars = lake.read(partition)
    names = np.array([str(t)[:7] for t in bars["open_time"].to_numpy().astype("datetime64[M]")])
    at = int(np.flatnonzero(names == f"2023-{month:02d}")[row])
    high = bars["high"].to_numpy().copy()
    high[at] = 1e-9
    lake.add(
        bars.slice(at, 1).set_column(3, "high", pa.array(high[at : at + 1])),
        partition.market,
        partition.interval,
        on_conflict="replace",
    )


# --- the bits of one pass -------------------------------------------------------------------------------------------


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
    symbols = bars["symbol"].unique().to_pylist()[: None if SOAK else 3]
    lake = Lake(tmp_path)
    lake.add(bars.filter(pa.compute.is_in(bars["symbol"], pa.array(symbols))), "um")
    assert len(lake.months(lake.partitions()[0])) == 27
    assert_one_pass(lake, run_backfill(lake, "wide32", dtype=dtype, workers=2), dtype)


@pytest.mark.soak
@pytest.mark.parametrize("on_gap", ["ignore", "reset"])
def test_months_are_one_pass_over_gaps(tmp_path: Path, on_gap: str) -> None:
    """One-minute bars of which those without a trade are absent; the first three months unless in a soak."""
    file = next((data_folder() / "long").glob("BTCUSD_1m_2017_2018*"))
    bars, _ = read_bars(file)
    bars = bars if SOAK else bars.slice(0, 130_000)
    lake = Lake(tmp_path)
    lake.add(bars, "spot", "1m")
    steps = np.diff(np.asarray(bars["open_time"].cast(pa.int64())))
    assert (steps > 60_000).sum() > 100, "the gaps are what this is about"
    report = run_backfill(lake, "wide32", dtype="float64", on_gap=on_gap, workers=1)
    assert_one_pass(lake, report, "float64", on_gap=on_gap)


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


# --- what is computed, and what is not ------------------------------------------------------------------------------


def test_output_says_what_it_is(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    report = run_backfill(lake, "kline17", dtype="float64")
    fs = qf.FeatureSet.load("kline17")
    assert Path(report.folder).name == f"set=kline17-{fs.fingerprint}"
    schema = pq.read_schema(Path(report.folder, ONE.path, "2023-02.parquet"))
    assert schema.names == ["open_time", *fs.columns]
    assert schema.metadata[b"qtfeat.fingerprint"].decode() == fs.fingerprint
    told = json.loads(Path(report.folder, "_set.json").read_text())
    assert [c["name"] for c in told["columns"]] == fs.columns
    (tmp_path / "set.toml").write_text(told["toml"])
    assert qf.FeatureSet.from_toml(tmp_path / "set.toml") == fs
    found = pads.dataset(report.folder, partitioning="hive", format="parquet").to_table()
    assert (found.num_rows, set(found["symbol"].unique().to_pylist())) == (6_000, {"SIM000", "SIM001", "SIM002"})


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    first = run_backfill(lake)
    before = {p: p.stat().st_mtime_ns for p in Path(first.folder).rglob("*") if p.name != ".lock"}
    second = run_backfill(lake)
    assert (first.computed, first.rows, second.computed, second.skipped) == (9, 6_000, 0, 9)
    assert {p: p.stat().st_mtime_ns for p in Path(first.folder).rglob("*") if p.name != ".lock"} == before


def test_a_changed_month_and_those_after_it(tmp_path: Path) -> None:
    lake = filled(tmp_path / "lake")
    run_backfill(lake)
    bar = lake.read(ONE, "2023-02", "2023-02").slice(10, 1)
    lake.add(bar.set_column(6, "volume", pa.array([12_345.0])), "spot", "1h", on_conflict="replace")
    report = run_backfill(lake)
    assert [(o.computed, o.skipped) for o in report.outcomes] == [(2, 1), (0, 3), (0, 3)]
    fresh = Lake(tmp_path / "fresh")
    for partition in lake.partitions():
        fresh.add(lake.read(partition), "spot", "1h")
    run_backfill(fresh)
    assert features_of(lake) == features_of(fresh)


def test_new_bars_cost_the_last_month_only(tmp_path: Path) -> None:
    lake, whole = filled(tmp_path / "lake", bars=1_900), filled(tmp_path / "whole", bars=2_000)
    run_backfill(lake)
    lake.add(simulate(symbols=3, bars=2_000), "spot")
    assert [(o.computed, o.skipped) for o in run_backfill(lake).outcomes] == [(1, 2)] * 3
    run_backfill(whole)
    assert features_of(lake) == features_of(whole)


def test_another_engine_version_computes_all_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = filled(tmp_path)
    run_backfill(lake)
    monkeypatch.setattr(qf, "__version__", "9.9.9")
    assert run_backfill(lake).computed == 9


def test_from_and_to(tmp_path: Path) -> None:
    lake, whole = filled(tmp_path / "lake"), filled(tmp_path / "whole")
    run_backfill(whole)
    report = run_backfill(lake, first="2023-02", last="2023-02")
    files = sorted(p.name for p in Path(report.folder, ONE.path).glob("*.parquet"))
    assert files == ["2023-02.parquet"]
    everything = features_of(whole)
    assert all(everything[name] == digest for name, digest in features_of(lake).items() if name.endswith("parquet"))
    again = run_backfill(lake, first="2023-02")
    assert [(o.computed, o.skipped) for o in again.outcomes] == [(1, 2)] * 3
    run_backfill(lake)
    assert features_of(lake) == everything


def test_months_that_are_gone_take_their_features_along(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    report = run_backfill(lake)
    (tmp_path / "bars" / ONE.path / "2023-03.parquet").unlink()
    assert invoke("lake", "repair", tmp_path).exit_code == 0
    run_backfill(lake)
    assert read_features(report.folder, ONE)[0] == ["2023-01", "2023-02"]


DAMAGE: dict[str, tuple[Callable[[Path], Any], bool]] = {
    "state gone": (lambda f: _restate(f / "2023-02.parquet", lambda told: {}), False),
    "state torn": (lambda f: _restate(f / "2023-02.parquet", lambda told: {"qtfeat.state": told[:100]}), False),
    "snapshot damaged": (
        lambda f: _restate(
            f / "2023-02.parquet", lambda told: {"qtfeat.state": told.replace('"snapshot": "', '"snapshot": "AAAA')}
        ),
        False,
    ),
    "other state file": (lambda f: (f / ".2023-02.state").write_bytes(b'{"format'), False),
    "features gone": (lambda f: (f / "2023-02.parquet").unlink(), False),
    "features cut": (lambda f: (f / "2023-02.parquet").write_bytes(b"PAR1"), False),
    "features damaged": (
        lambda f: (f / "2023-02.parquet").write_bytes(_flipped((f / "2023-02.parquet").read_bytes())),
        True,
    ),
    "left over": (lambda f: (f / ".2023-02.parquet.1-2.part").write_bytes(b"half"), False),
    "unknown file": (lambda f: (f / "2031-02.parquet").write_bytes(b"whose?"), False),
}


def _restate(path: Path, change: Callable[[str], dict[str, str]]) -> None:
    """The same features with another state in the footer."""
    told = pq.read_metadata(path).metadata[b"qtfeat.state"].decode()
    features = pq.ParquetFile(path).read().replace_schema_metadata()
    with parquet.writer(str(path), features.schema) as writer:
        writer.write_table(features)
        writer.add_key_value_metadata(change(told))


def _flipped(data: bytes) -> bytes:
    """One bit of the first page is another."""
    return data[:300] + bytes([data[300] ^ 1]) + data[301:]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_mended(tmp_path: Path, damage: str) -> None:
    lake = filled(tmp_path, symbols=1)
    report = run_backfill(lake)
    before = features_of(lake)
    harm, check = DAMAGE[damage]
    harm(Path(report.folder, ONE.path))
    if damage == "snapshot damaged":
        # It is read only where a month after it has to be computed.
        Path(report.folder, ONE.path, "2023-03.parquet").unlink()
    assert features_of(lake) != before
    assert run_backfill(lake, check=check).complete
    assert features_of(lake) == before


# --- failures -------------------------------------------------------------------------------------------------------


def test_one_bad_symbol_stops_no_other(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    spoil(lake, Partition("spot", "SIM001", "1h"), 2, 17)
    done = invoke("backfill", tmp_path, "--workers", "2", "--quiet")
    assert done.exit_code == 4
    assert "2 of 3 series up to date" in done.output
    assert "symbol=SIM001" in done.output
    assert "BadBarError: 2023-02.parquet, row 17 of the file: " in done.output
    report = run_backfill(lake)
    assert [(o.computed, o.skipped, bool(o.error)) for o in report.outcomes] == [
        (0, 3, False),
        (0, 1, True),
        (0, 3, False),
    ]
    lake.add(simulate(symbols=3, bars=2_000), "spot", on_conflict="replace")
    assert invoke("backfill", tmp_path, "--quiet").exit_code == 0
    whole = filled(tmp_path / "whole")
    run_backfill(whole)
    assert features_of(lake) == features_of(whole)


def test_bars_that_are_not_what_the_manifest_says(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    path = tmp_path / "bars" / ONE.path / "2023-02.parquet"
    pq.write_table(pq.ParquetFile(path).read().slice(1), path)
    report = run_backfill(lake)
    assert [o.path for o in report.failed] == [ONE.path]
    assert "not what its manifest says" in report.failed[0].error


def test_a_broken_worker_is_one_failure(tmp_path: Path) -> None:
    def task(job: Job, path: str, tick: Any, stop: Any) -> Outcome:
        if "SIM001" in path:
            raise MemoryError("no room")
        return run_partition(job, path, tick, stop)

    lake = filled(tmp_path)
    job = Job(lake.root, qf.FeatureSet.load("wide32"), "wide32")
    paths = [p.path for p in lake.partitions()]
    outcomes = {o.path: o.error for o in Threads(2).run(job, paths, lambda _: None, lambda: False, task)}
    assert list(filter(None, outcomes.values())) == ["MemoryError: no room"]
    assert set(outcomes) == set(paths)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"first": "2023-03", "last": "2023-01"}, "first month 2023-03 is after the last"),
        ({"first": "March"}, "first must be a month"),
        ({"dtype": "float16"}, "dtype"),
        ({"on_bad": "ignore"}, "on_bad"),
        ({"workers": 0}, "threads must be a whole number"),
        ({"name": "a/b"}, "goes into a path"),
        ({"symbols": ["NONE"]}, "no bars of 'NONE'"),
        ({"features": qf.FeatureSet(["rsi(14)"], "legacy")}, "takes FeatureSet"),
        ({"features": ["open_time = close - open"]}, "a feature is named open_time"),
        ({"features": ["x = close - funding"]}, "column 'funding' is missing"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, settings_: dict[str, Any], message: str) -> None:
    lake = filled(tmp_path, symbols=1)
    try:
        report = run_backfill(lake, **settings_)
    except SchemaError as error:
        assert message in str(error)  # noqa: PT017
    else:
        assert [message in o.error for o in report.outcomes] == [True]


def test_other_settings_of_the_same_folder_are_refused(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    run_backfill(lake, dtype="float32")
    before = features_of(lake)
    with pytest.raises(SchemaError, match=r"made with dtype 'float32', not 'float64'.*--replace"):
        run_backfill(lake, dtype="float64")
    assert features_of(lake) == before
    assert run_backfill(lake, dtype="float64", replace_settings=True).computed == 9


def test_one_backfill_of_a_set_at_a_time(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    fs = qf.FeatureSet.load("wide32")
    with lake.store.lock(f"features/set=wide32-{fs.fingerprint}/.lock", "it"), pytest.raises(LakeBusyError):
        run_backfill(lake)
    assert run_backfill(lake, "kline17").complete
    assert invoke("backfill", tmp_path / "none").exit_code == 2
    assert invoke("backfill", tmp_path, "--dask", "x", "--workers", "2").exit_code == 2


# --- the same bytes everywhere --------------------------------------------------------------------------------------


class Backwards:
    """One item after the other, the last first."""

    def run(self, job: Job, paths: Sequence[str], tick: Any, stop: Any, task: Any = run_partition) -> Iterator[Outcome]:
        for path in reversed(paths):
            yield task(job, path, tick, stop)


def test_executors_give_the_same_bytes(tmp_path: Path) -> None:
    trees = {}
    for name, executor in (("one", Threads(1)), ("two", Threads(2)), ("many", Threads(7)), ("backwards", Backwards())):
        lake = filled(tmp_path / name, symbols=5)
        assert run_backfill(lake, executor=executor).complete
        trees[name] = features_of(lake)
    assert all(t == trees["one"] for t in trees.values())


def test_an_object_store_gives_the_same_bytes(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    root = f"memory://qtfeat-{tmp_path.name}"
    try:
        lake = filled(tmp_path)
        far = Lake(root)
        far.add(simulate(symbols=3, bars=2_000), "spot")
        far.add(simulate(symbols=3, bars=2_000), "spot")
        assert far.partitions() == lake.partitions()
        assert far.read(ONE).equals(lake.read(ONE))
        assert run_backfill(lake).complete
        assert run_backfill(far).computed == 9
        assert run_backfill(far).skipped == 9
        base = memory._strip_protocol(root)
        there = {p.removeprefix(f"{base}/"): memory.cat_file(p) for p in memory.find(base)}
        here = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        assert there == {name: data for name, data in here.items() if not name.endswith(".lock")}
        with pytest.raises(SchemaError, match="no bars there"):
            Lake("memory://nothing").partitions()
    finally:
        memory.store.clear()


def test_progress_counts_every_bar(tmp_path: Path) -> None:
    from contextlib import contextmanager

    told: list[int] = []

    @contextmanager
    def progress(rows: int) -> Iterator[Callable[[int], None]]:
        told.append(-rows)
        yield told.append

    lake = filled(tmp_path)
    for _ in range(2):
        told.clear()
        run_backfill(lake, progress=progress)
        assert told[0] == -6_000
        assert sum(told[1:]) == 6_000


def test_stop_ends_after_a_whole_month(tmp_path: Path) -> None:
    lake, whole = filled(tmp_path / "lake"), filled(tmp_path / "whole")
    asked = iter([False] * 4 + [True] * 100)
    report = run_backfill(lake, workers=1, stop=lambda: next(asked))
    assert not report.complete
    assert 0 < report.computed < 9
    assert run_backfill(lake).complete
    run_backfill(whole)
    assert features_of(lake) == features_of(whole)
