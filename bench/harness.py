"""Timing: pairs A B A B in one process, the median of their ratios, and what makes a figure void.

Rows of one thread are pinned to one core and timed in CPU seconds of the process: the same as the
wall clock on a quiet machine, and unmoved by neighbours that take the core away in between.
Rows with more threads, or a peer that waits for threads of its own, use the wall clock.

A figure is refused when the outputs were not equal before timing, when a timed call returned
something else than the compared one, or when it beats physics (see `refuse_below`).
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import os
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.columns import CONVERGED, Columns, compare

if TYPE_CHECKING:
    from collections.abc import Iterator

Call = Callable[[], Any]
Clock = Callable[[], float]

# A sample shorter than this is mostly clock noise, so short calls are repeated within a sample.
SAMPLE_SECONDS = 0.02
# One memset may be measured at an unlucky moment; a figure this close to it is still believed.
FLOOR_MARGIN = 0.8


class ImplausibleFigureError(AssertionError):
    """A timing lower than the work can possibly take, or of a result that was not compared."""


@dataclass
class Case:
    """One row ready to run: both sides on the same data, and how to compare them.

    `ours` and `peer` do `ours_units` and `peer_units` units of work per call (bars, windows,
    pushes). `to_columns` of each side turns its result into named columns. `floor` gives the
    least seconds that one call of `ours` can take.
    """

    unit: str
    ours: Call | None
    ours_units: int
    names: tuple[str, ...]
    floor: Callable[[], float]
    ours_columns: Callable[[Any], Columns]
    peer: Call | None = None
    peer_units: int = 1
    peer_columns: Callable[[Any], Columns] = field(default=lambda result: dict(result))
    # Where the timed call itself is no fit for comparison (last rows, streams), the data that is:
    compare_ours: Callable[[], Columns] | None = None
    compare_peer: Callable[[], Columns] | None = None
    reference: Callable[[], Columns] | None = None
    skip_rows: int = CONVERGED
    exclude: dict[str, str] = field(default_factory=dict)
    # False where state goes on from call to call, so that results differ by design.
    repeatable: bool = True
    # Removes what the data left on the disk.
    close: Callable[[], object] = field(default=lambda: None)


@dataclass(frozen=True)
class Timing:
    """Seconds per unit of work (medians) and the median ratio of the pairs."""

    ours: float | None
    peer: float | None
    ratio: float | None
    pairs: int
    floor: float | None


def check(case: Case) -> float:
    """Compare both sides (or the peer with the reference) and return the largest difference."""
    theirs = _columns(case.compare_peer, case.peer, case.peer_columns)
    if case.ours is None:
        mine = case.reference() if case.reference is not None else None
    else:
        mine = _columns(case.compare_ours, case.ours, case.ours_columns)
        theirs = theirs if theirs is not None else (case.reference() if case.reference else None)
    if mine is None or theirs is None:
        return 0.0
    return compare(mine, theirs, names=case.names, skip_rows=case.skip_rows, exclude=case.exclude)


def _columns(
    ready: Callable[[], Columns] | None, call: Call | None, convert: Callable[[Any], Columns]
) -> Columns | None:
    if ready is not None:
        return ready()
    return None if call is None else convert(call())


def digest(columns: Columns) -> str:
    """Return a checksum of the values of all columns, order of names included."""
    state = hashlib.blake2b(digest_size=16)
    for name, values in columns.items():
        state.update(name.encode())
        state.update(np.ascontiguousarray(values).tobytes())
    return state.hexdigest()


def measure(case: Case, pairs: int, clock: Clock = time.process_time) -> Timing:
    """Time the case after `check` passed; raise `ImplausibleFigureError` where a figure is void."""
    expected = None
    if case.ours is not None and case.repeatable:
        expected = digest(case.ours_columns(case.ours()))
    mine: list[float] = []
    theirs: list[float] = []
    last: Any = None
    with _quiet():
        ours = _Repeated(case.ours, clock) if case.ours is not None else None
        peer = _Repeated(case.peer, clock) if case.peer is not None else None
        for _ in range(pairs):
            if ours is not None:
                last = None  # the previous result goes back to its pool first, as in a real loop
                seconds, last = ours.sample()
                mine.append(seconds / case.ours_units)
            if peer is not None:
                theirs.append(peer.sample()[0] / case.peer_units)
    floor = None
    if mine:
        floor = case.floor() / case.ours_units
        refuse_below(min(mine), floor)
        if expected is not None and digest(case.ours_columns(last)) != expected:
            raise ImplausibleFigureError("the timed call returned other values than the compared one")
    ratios = [b / a for a, b in zip(mine, theirs, strict=False)]
    return Timing(
        ours=statistics.median(mine) if mine else None,
        peer=statistics.median(theirs) if theirs else None,
        ratio=statistics.median(ratios) if ratios else None,
        pairs=pairs,
        floor=floor,
    )


def refuse_below(seconds: float, floor: float) -> None:
    """Raise `ImplausibleFigureError` when a figure is below the least that physics allows."""
    if seconds < floor * FLOOR_MARGIN:
        raise ImplausibleFigureError(f"{seconds:.3g} s is faster than the floor of {floor:.3g} s")


class _Repeated:
    """A call repeated until one sample is long enough to time."""

    def __init__(self, call: Call, clock: Clock) -> None:
        self._call = call
        self._clock = clock
        call()
        start = clock()
        call()
        once = clock() - start
        self._count = max(1, round(SAMPLE_SECONDS / max(once, 1e-9)))

    def sample(self) -> tuple[float, Any]:
        """Return seconds per call and the last result."""
        call = self._call
        result = None
        start = self._clock()
        for _ in range(self._count):
            result = None
            result = call()
        return (self._clock() - start) / self._count, result


@contextmanager
def _quiet() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def memset_seconds(size: int, repeats: int = 12) -> float:
    """Return the least seconds in which `size` bytes of touched memory can be overwritten."""
    buffer = ctypes.create_string_buffer(size)
    ctypes.memset(buffer, 1, size)
    best = float("inf")
    for value in range(repeats):
        start = time.process_time()
        ctypes.memset(buffer, value, size)
        best = min(best, time.process_time() - start)
    return best


def memset_floor(size: int) -> Callable[[], float]:
    """Return a `Case.floor`: writing `size` bytes of output into warm memory."""
    return lambda: memset_seconds(size)


def pin_to_one_core() -> None:
    """Keep this process on one core, so that a one-thread row is one for every library."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[-1]})


def idle_cores(seconds: float = 1.0) -> float:
    """Return how many cores were idle over the next `seconds` (Linux; elsewhere all are)."""
    before = _cpu_times()
    if before is None:
        return float(os.cpu_count() or 1)
    time.sleep(seconds)
    after = _cpu_times()
    assert after is not None
    total = sum(after) - sum(before)
    idle = (after[3] + after[4]) - (before[3] + before[4])
    return (os.cpu_count() or 1) * idle / max(total, 1)


def busy_seconds() -> float | None:
    """Return the seconds that all cores have worked since the machine began (Linux; elsewhere None)."""
    times = _cpu_times()
    return None if times is None else (sum(times) - times[3] - times[4]) / os.sysconf("SC_CLK_TCK")


def _cpu_times() -> list[int] | None:
    try:
        with Path("/proc/stat").open(encoding="ascii") as stat:
            return [int(word) for word in stat.readline().split()[1:9]]
    except OSError:
        return None
