"""A lake of bars, and the features of all of them: resumable, on one machine or many."""

from __future__ import annotations

from qtfeat.backfill.executors import Dask, Executor, Threads
from qtfeat.backfill.lake import Added, Lake
from qtfeat.backfill.partition import Partition
from qtfeat.backfill.run import Report, run_backfill
from qtfeat.backfill.store import LakeBusyError
from qtfeat.backfill.task import Job, Outcome, run_partition

__all__ = [
    "Added",
    "Dask",
    "Executor",
    "Job",
    "Lake",
    "LakeBusyError",
    "Outcome",
    "Partition",
    "Report",
    "Threads",
    "run_backfill",
    "run_partition",
]
