"""Backfills that are killed, and run again: the bytes of a run that was not."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lakes import command, filled, finish, killed_after, killed_when, tree
from qtfeat.backfill import Lake, run_backfill
from qtfeat.bars.simulate import simulate
from sizes import SOAK, scaled


def _months(root: Path) -> int:
    return len(list(root.glob("features/**/[0-9]*.parquet")))


def _tell(what: str, moments: list[float]) -> None:
    """A histogram in tenths, for `pytest -rP`."""
    counts = np.histogram(moments, bins=10, range=(0.0, 1.0))[0]
    print(f"{what}: {len(moments)} kills, by tenths {counts.tolist()}")


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2] if SOAK else [2])
def test_killed_and_run_again(tmp_path: Path, workers: int) -> None:
    """Killed at moments drawn over the months to be written, then finished."""
    symbols = 12 if SOAK else 4
    whole = filled(tmp_path / "whole", symbols=symbols, bars=8_000)
    run_backfill(whole)
    wanted, months = tree(whole.root), _months(Path(whole.root))
    rng, codes, moments = random.Random(workers), [], []
    for attempt in range(scaled(20)):
        root = tmp_path / f"lake{attempt}"
        filled(root, symbols=symbols, bars=8_000)
        for _ in range(2):
            at = rng.randrange(months)
            process = command("backfill", root, "--workers", str(workers), "--quiet")
            codes.append(killed_when(process, lambda root=root, at=at: _months(root) >= at))
            if codes[-1] == -signal.SIGKILL:
                moments.append(_months(root) / months)
        code, _, err = finish(command("backfill", root, "--workers", str(workers), "--quiet"))
        assert code == 0, err
        assert tree(root) == wanted, attempt
    _tell("share of the months that were done", moments)
    assert set(codes) <= {-signal.SIGKILL, 0}
    assert codes.count(-signal.SIGKILL) >= len(codes) // 2, codes


def test_interrupted_and_run_again(tmp_path: Path) -> None:
    whole, root = filled(tmp_path / "whole", symbols=4, bars=8_000), tmp_path / "lake"
    run_backfill(whole)
    filled(root, symbols=4, bars=8_000)
    process = command("backfill", root, "--workers", "2", "--quiet")
    code = killed_when(process, lambda: _months(root) >= 5, signal.SIGINT)
    assert code in (130, 0)
    left = [p for p in root.rglob("*") if p.name.endswith(".part")]
    assert not left, "an interrupt leaves nothing half-written"
    assert _months(root) < _months(Path(whole.root)) or code == 0
    assert run_backfill(root).complete
    assert tree(root) == tree(whole.root)


@pytest.mark.soak
def test_killed_at_any_time_of_the_command(tmp_path: Path) -> None:
    """Moments drawn over the measured run time, imports and all."""
    size = {"symbols": 12, "bars": 8_000} if SOAK else {}
    root, whole = tmp_path / "lake", filled(tmp_path / "whole", **size)
    run_backfill(whole)
    filled(root, **size)
    begun = time.monotonic()
    finish(command("backfill", root, "--quiet"))
    run_time = time.monotonic() - begun
    rng, moments, begun_work = random.Random(5), [], 0
    for attempt in range(scaled(20, 1)):
        again = tmp_path / f"again{attempt}"
        filled(again, **size)
        moments.append(rng.uniform(0, 1))
        killed_after(command("backfill", again, "--quiet"), moments[-1] * run_time)
        begun_work += _months(again) > 0
        assert run_backfill(again).complete
        assert tree(again) == tree(whole.root), attempt
    _tell(f"share of the run time of {run_time:.1f} s ({begun_work} had written features)", moments)


_PEAK = """
import sys
from pathlib import Path
from qtfeat.backfill import run_backfill
report = run_backfill(sys.argv[1], workers=2)
assert report.complete
line = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM"))
print(int(line.split()[1]) // 1024)
"""


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_is_flat_in_the_lake(tmp_path: Path) -> None:
    """Peak resident memory of a process that fills a lake twice as large: MB, both far under the limit of 600."""
    peaks = []
    for symbols in (scaled(100, 6), scaled(200, 12)):
        lake = Lake(tmp_path / str(symbols))
        lake.add(simulate(symbols=symbols, bars=20_000, interval="1m"), "spot")
        done = subprocess.run([sys.executable, "-c", _PEAK, lake.root], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks.append(int(re.findall(r"\d+", done.stdout)[-1]))
    assert max(peaks) < 600, peaks
    assert peaks[1] < 1.15 * peaks[0] + 20, peaks
