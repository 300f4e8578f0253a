"""The same bytes from every executor and store; progress and stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lakes import ONE, features_of, filled
from qtfeat.backfill import Job, Lake, Outcome, Threads, run_backfill, run_partition
from qtfeat.bars.simulate import simulate
from qtfeat.errors import SchemaError


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
