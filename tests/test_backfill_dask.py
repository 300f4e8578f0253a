"""The same work items on the workers of a Dask cluster, also where workers die."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lakes import command, filled, finish, tree
from qtfeat.backfill import Dask, Job, Outcome, Threads, run_backfill, run_partition
from qtfeat.errors import SchemaError
from sizes import SOAK, scaled

distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_same_bytes_as_threads(cluster: Any, tmp_path: Path) -> None:
    here, there = filled(tmp_path / "here", symbols=4), filled(tmp_path / "there", symbols=4)
    assert run_backfill(here, executor=Threads(2)).complete
    first = run_backfill(there, executor=Dask(client=cluster))
    assert (first.complete, first.computed) == (True, 12)
    assert tree(here.root) == tree(there.root)
    assert run_backfill(there, executor=Dask(client=cluster)).skipped == 12


def test_the_command(cluster: Any, tmp_path: Path) -> None:
    here, there = filled(tmp_path / "here"), filled(tmp_path / "there")
    run_backfill(here)
    code, out, err = finish(command("backfill", there.root, "--dask", cluster.scheduler.address))
    assert (code, "3 of 3 series up to date" in out) == (0, True), err
    assert tree(here.root) == tree(there.root)


def _slow(job: Job, path: str, tick: Any = None, stop: Any = None) -> Outcome:
    """As the real work item, but it can be met while it works."""
    del tick, stop
    Path(job.root, f"begun-{os.getpid()}").touch()
    time.sleep(0.15)
    return run_partition(job, path)


def _fails_once(job: Job, path: str) -> Outcome:
    mark = Path(job.root, f"tried-{path.replace('/', '-')}")
    if not mark.exists():
        mark.touch()
        raise ConnectionError("the network is gone")
    return run_partition(job, path)


def _fails(job: Job, path: str) -> Outcome:
    if "SIM001" in path:
        raise ConnectionError("the network is gone")
    return run_partition(job, path)


class WithTask(Dask):
    """A Dask executor that runs another work item."""

    def __init__(self, client: Any, task: Any) -> None:
        super().__init__(client=client)
        self._task = task

    def run(self, job: Any, paths: Any, tick: Any, stop: Any, task: Any = None) -> Iterator[Outcome]:
        return super().run(job, paths, tick, stop, self._task)


def test_errors_are_retried_and_then_reported(cluster: Any, tmp_path: Path) -> None:
    lake = filled(tmp_path)
    assert run_backfill(lake, executor=WithTask(cluster, _fails_once)).complete
    report = run_backfill(lake, executor=WithTask(cluster, _fails))
    assert [o.error for o in report.failed] == ["ConnectionError: the network is gone"]
    assert len(report.outcomes) == 3


@pytest.mark.soak
def test_a_worker_that_is_killed_twice(cluster: Any, tmp_path: Path) -> None:
    symbols = scaled(200, 8)
    here, there = filled(tmp_path / "here", symbols=symbols), filled(tmp_path / "there", symbols=symbols)
    run_backfill(here)
    kills: list[int] = []
    victim = cluster.cluster.workers[0]  # a nanny, which starts its worker again

    class Killing(WithTask):
        def run(self, job: Any, paths: Any, tick: Any, stop: Any, task: Any = None) -> Iterator[Outcome]:
            for outcome in super().run(job, paths, tick, stop):
                # When it has begun something: most likely it is still at it, or at the next.
                pid = victim.pid
                if pid and pid not in kills and len(kills) < 2 and Path(job.root, f"begun-{pid}").exists():
                    kills.append(pid)
                    os.kill(pid, signal.SIGKILL)
                yield outcome

    report = run_backfill(there, executor=Killing(cluster, _slow))
    assert report.complete, [o.error for o in report.failed]
    # A small run may be over before the worker is back.
    assert len(kills) == 2 if SOAK else kills
    for mark in Path(there.root).glob("begun-*"):
        mark.unlink()
    assert tree(here.root) == tree(there.root)


def test_no_scheduler_there(tmp_path: Path) -> None:
    lake = filled(tmp_path, symbols=1)
    with pytest.raises(SchemaError, match="no Dask scheduler at"):
        run_backfill(lake, executor=Dask("tcp://127.0.0.1:9", patience=0.5))
    with pytest.raises(SchemaError, match="needs the address of a scheduler, or a client"):
        Dask()
