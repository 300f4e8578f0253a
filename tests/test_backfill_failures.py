"""Backfills of bad bars, by broken workers, with settings that do not fit: what fails, and what goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import qtfeat as qf
from lakes import ONE, features_of, filled, invoke, spoil
from qtfeat.backfill import Job, LakeBusyError, Outcome, Partition, Threads, run_backfill, run_partition
from qtfeat.bars.simulate import simulate
from qtfeat.errors import SchemaError


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


def test_a_manifest_that_miscounts(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    path = tmp_path / "bars" / ONE.path / "_manifest.json"
    path.write_text(path.read_text().replace('"rows": 672', '"rows": 671'))
    report = run_backfill(lake)
    assert [(o.path, o.computed) for o in report.failed] == [(ONE.path, 1)]
    assert "2023-02.parquet: 672 bars, the manifest says 671; run qtfeat lake repair" in report.failed[0].error


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
