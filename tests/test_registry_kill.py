"""kill -9 while publishing and promoting: the old state or the new one, never a torn or half-visible model."""

from __future__ import annotations

import itertools
import json
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest

import gated
from qtfeat import registry
from qtfeat.registry import events
from registry_victim import SIZE, SLOTS, STAGES
from sizes import SOAK

if not hasattr(os, "fork"):
    pytest.skip("forks the process that it kills", allow_module_level=True)

KILLS = 50 if SOAK else 6
EACH = 3
MODEL = 200_000


class Victim:
    """The process of `registry_victim.py`, and a clock of what its child is doing."""

    def __init__(self, root: Path, models: Path | None = None) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        path = root / "marks"
        path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            self._marks = mmap.mmap(file.fileno(), SIZE)
        script = Path(__file__).with_name("registry_victim.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(models or root / "models"), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, **job: object) -> int:
        self._marks[:] = bytes(SIZE)
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait(self) -> int:
        return int(self._process.stdout.readline())

    def stage(self) -> int:
        return struct.unpack_from("q", self._marks, 0)[0]

    def durations(self, job: str) -> list[float]:
        """Seconds that each stage of a finished job took."""
        times = [struct.unpack_from("q", self._marks, 8 * i)[0] for i in (*range(1, len(STAGES[job]) + 1), SLOTS)]
        return [(b - a) / 1e9 for a, b in itertools.pairwise(times)]

    def kill_after(self, pid: int, stage: int, seconds: float) -> int:
        """Kill the child some time after a stage began; return the stage it was in, SLOTS if it had finished."""
        while self.stage() < stage:
            pass
        until = time.perf_counter() + seconds
        while time.perf_counter() < until and self.stage() != SLOTS:
            pass
        with suppress(ProcessLookupError):  # it has just finished
            os.kill(pid, signal.SIGKILL)
        status = self.wait()
        return self.stage() if os.WIFSIGNALED(status) else SLOTS

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
        self._marks.close()


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    found = Victim(tmp_path)
    yield found
    found.close()


def killed(victim: Victim, job: str, begin: Callable[[int], int], check: Callable[[], None]) -> Counter[str]:
    """Kill a job at moments drawn over its measured run time, then more where a stage has had too few."""
    runs = []
    for i in range(5):
        begin(i)
        assert victim.wait() == 0
        runs.append(victim.durations(job))
        check()
    typical = [sorted(run[k] for run in runs)[2] for k in range(len(STAGES[job]))]
    rng, histogram, tries = random.Random(7), Counter[str](), 0
    while sum(histogram.values()) < KILLS or any(histogram[name] < EACH for name in STAGES[job]):
        tries += 1
        assert tries < 1000, histogram
        lacking = [k for k, name in enumerate(STAGES[job]) if histogram[name] < EACH]
        if sum(histogram.values()) < KILLS or not lacking:
            first, after = 1, rng.uniform(0, sum(typical))
        else:
            first, after = lacking[0] + 1, rng.uniform(0, typical[lacking[0]])
        pid = begin(tries + 5)
        stage = victim.kill_after(pid, first, after)
        if stage != SLOTS:
            histogram[STAGES[job][stage - 1]] += 1
        check()
    shown = ", ".join(
        f"{name} {histogram[name]} ({took * 1e3:.1f} ms)" for name, took in zip(STAGES[job], typical, strict=True)
    )
    print(f"\n{job}: {sum(histogram.values())} kills, by stage: {shown}")
    return histogram


def assert_sound(root: Path) -> None:
    found = registry.verify(root, predict=gated.predict)
    assert found.ok, found.problems


def test_publish(victim: Victim) -> None:
    models = victim.root / "models"
    (models / "m").mkdir(parents=True)
    seen: set[str] = set()
    state = {"seed": 0}

    def begin(i: int) -> int:
        state["seed"] = i
        return victim.start(op="publish", seed=i, size=MODEL)

    def check() -> None:
        assert_sound(models)
        there = {info.version for info in registry.list(models)}
        assert seen <= there
        assert len(there - seen) <= 1
        # The next writer finishes what was begun, and leaves nothing of it behind.
        seed = state["seed"]
        path = registry.publish(models, "m", gated.files(seed=seed, size=MODEL), gated.manifest(seed))
        assert there - seen <= {path.name}
        assert not [entry for entry in path.parent.iterdir() if entry.name.startswith((".writing", ".deleting"))]
        told = [e["version"] for e in events.read(models / "m") if e["event"] == "published"]
        assert told.count(path.name) == 1
        registry.gc(models, "m", keep=2)
        seen.clear()
        seen.update(info.version for info in registry.list(models))

    histogram = killed(victim, "publish", begin, check)
    assert min(histogram[name] for name in STAGES["publish"]) >= EACH


def test_promote(victim: Victim) -> None:
    models = victim.root / "models"
    paths = [registry.publish(models, "m", gated.files(seed=i, size=MODEL), gated.manifest(i)) for i in range(3)]
    registry.promote(models, "m", paths[2].name)
    old = registry.aliases(models, "m")
    wanted = old

    def begin(i: int) -> int:
        nonlocal old, wanted
        old = registry.aliases(models, "m")
        target = next(path.name for path in paths[i % 3 :] + paths if path.name != old.production)
        wanted = registry.Aliases(production=target, previous=old.production)
        return victim.start(op="promote", version=target)

    def check() -> None:
        assert_sound(models)
        assert registry.aliases(models, "m") in (old, wanted)
        registry.shadow(models, "m", None)  # changes nothing, but takes the lock and catches up on the events
        moves = [e["aliases"] for e in events.read(models / "m") if "aliases" in e]
        assert moves[-1] == asdict(registry.aliases(models, "m"))

    histogram = killed(victim, "promote", begin, check)
    assert min(histogram[name] for name in STAGES["promote"]) >= EACH


def test_two_processes_promote_without_losing_a_move(victim: Victim, tmp_path: Path) -> None:
    models = victim.root / "models"
    paths = [registry.publish(models, "m", gated.files(seed=i), gated.manifest(i)) for i in range(4)]
    other = Victim(tmp_path / "other", models)
    try:
        for process, pair in ((victim, paths[:2]), (other, paths[2:])):
            process.start(op="promote_many", versions=[pair[i % 2].name for i in range(25)])
        assert (victim.wait(), other.wait()) == (0, 0)
    finally:
        other.close()
    moves = [e["aliases"] for e in events.read(models / "m") if e["event"] == "promoted"]
    assert moves[0]["previous"] is None
    for before, after in itertools.pairwise(moves):
        assert after["previous"] == before["production"]
    assert moves[-1] == asdict(registry.aliases(models, "m"))
    assert len({move["production"] for move in moves}) == 4
    assert_sound(models)
