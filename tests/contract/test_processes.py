"""P1 across processes: snapshots that another process continues, and every CPU level."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qtfeat as qf
from barsets import BARSETS
from contract import modes, worker
from contract.bits import assert_same_bits
from contract.modes import batch, cases
from contract.specs import PROFILES

TESTS = Path(__file__).resolve().parent.parent
CUTS = (0, 1, 2, 13, 19, 20, 33, 36, 37, 100, 299)


def run_worker(*arguments: str, **environment: str) -> str:
    """Run the worker in a new process and return what it prints."""
    env = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "contract.worker", *arguments],
        env=env, cwd=TESTS, capture_output=True, text=True, timeout=3_600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4_000:]
    return done.stdout


@pytest.mark.parametrize("profile", PROFILES)
def test_a_snapshot_goes_on_in_a_new_process(profile, tmp_path):
    jobs: list[dict[str, str]] = []
    arrays: dict[str, Any] = {}
    wanted: dict[str, Any] = {}
    for name in BARSETS:
        for case in cases(profile, name, rows=400):
            expected, stream, at = batch(case), modes.open_stream(case), 0
            for cut in CUTS:
                modes.pushed(stream, case, slice(at, cut))
                key, at, rest = f"job{len(jobs)}", cut, case.series[cut : cut + 60]
                arrays[f"{key}.past"] = np.frombuffer(stream.snapshot(), np.uint8)
                arrays |= {f"{key}.ohlcv": rest.ohlcv, f"{key}.time": rest.time, f"{key}.extra": rest.extra}
                wanted[key] = (expected[:, cut : cut + 60], case.fs.columns, f"snapshot at row {cut} {case.label}")
                jobs.append({"key": key, "profile": profile, "set": str(case.fs.name), "on_bad": case.on_bad})
    (tmp_path / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    np.savez(tmp_path / "arrays.npz", **arrays)
    run_worker("restore", str(tmp_path))
    found = np.load(tmp_path / "out.npz", allow_pickle=False)
    for key, (expected, columns, where) in wanted.items():
        assert_same_bits(expected, found[key], columns, where)


@pytest.mark.parametrize("level", ["sse2", "avx2", "avx512"])
def test_a_state_of_batches_goes_on_at_another_cpu_level(level, tmp_path):
    """Plans of two levels may differ, what they remember may not."""
    jobs: list[dict[str, str]] = []
    arrays: dict[str, Any] = {}
    wanted: dict[str, Any] = {}
    for profile in PROFILES:
        for case in cases(profile, "random_walk", rows=900):
            expected, cut, key = batch(case), 777, f"job{len(jobs)}"
            batches, head, rest = modes.open_batches(case), case.series[:cut], case.series[cut:]
            batches.push(head.table())
            arrays[f"{key}.past"] = np.frombuffer(batches.snapshot(), np.uint8)
            arrays |= {f"{key}.ohlcv": rest.ohlcv, f"{key}.time": rest.time, f"{key}.extra": rest.extra}
            wanted[key] = (expected[:, cut:], case.fs.columns, f"state at row {cut} {case.label}")
            jobs.append({"key": key, "profile": profile, "set": str(case.fs.name), "on_bad": case.on_bad})
    (tmp_path / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    np.savez(tmp_path / "arrays.npz", **arrays)
    cpu = run_worker("resume", str(tmp_path), QTFEAT_CPU=level).strip()
    if cpu != level:
        pytest.skip(f"this CPU has no {level}: {cpu} ran instead")
    found = np.load(tmp_path / "out.npz", allow_pickle=False)
    for key, (expected, columns, where) in wanted.items():
        assert_same_bits(expected, found[key], columns, where)


@cache
def here() -> dict[str, dict[str, str]]:
    """Return the digests of this process, at the level it runs at."""
    return worker.digests()


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("level", ["sse2", "avx2", "avx512"])
def test_every_cpu_level_gives_the_same_bits(level):
    answer = json.loads(run_worker("digest", QTFEAT_CPU=level))
    if answer["cpu"] != level:
        pytest.skip(f"this CPU has no {level}: {answer['cpu']} ran instead")
    expected, found = here(), answer["digests"]
    assert expected.keys() == found.keys()
    differs = [
        f"{where}: {column}" for where in expected for column in expected[where]
        if expected[where][column] != found[where].get(column)
    ]  # fmt: skip
    assert not differs, f"{level} differs from {qf.cpu()} in {len(differs)} columns: {differs[:10]}"
