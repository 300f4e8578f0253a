"""What a backfill computes, and what it leaves as it is; damage is mended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

import qtfeat as qf
from lakes import ONE, features_of, filled, invoke, read_features
from qtfeat.backfill import (
    Lake,
    parquet,
    run_backfill,
)
from qtfeat.bars.simulate import simulate


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
