"""The other process: reads bars, a set and snapshots from a folder, computes, and writes the features there.

Plain arrays, JSON and snapshot bytes go over; nothing that could run code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from qtfeat import _core
from qtfeat.features import FeatureSet, cpu
from qtfeat.proof.market import Floats, Market, Policy, matrix
from qtfeat.proof.modes import window_rows
from qtfeat.proof.streams import Tape

__all__ = ["main", "save_market", "spec_of"]


def spec_of(fs: FeatureSet) -> dict[str, Any]:
    """A set without its fill, as JSON."""
    return {"specs": list(fs.specs), "numerics": fs.numerics, "eps": fs.eps, "_fault": fs._fault}


def save_market(market: Market, folder: Path) -> dict[str, Any]:
    """Writes the arrays of `market` and returns the rest as JSON."""
    np.save(folder / "columns.npy", np.array(list(market.columns.values())))
    np.save(folder / "starts.npy", market.starts)
    np.save(folder / "bad.npy", market.bad)
    if market.times is not None:
        np.save(folder / "times.npy", market.times)
    policy = market.policy
    return {
        "columns": list(market.columns),
        "symbols": len(market.symbols),
        "policy": {"on_bad": policy.on_bad, "on_gap": policy.on_gap, "interval": policy.interval},
    }


def _load_market(folder: Path, job: dict[str, Any]) -> Market:
    def load(name: str) -> Any:
        path = folder / f"{name}.npy"
        return np.load(path, allow_pickle=False) if path.is_file() else None

    bad = load("bad")
    return Market(
        columns=dict(zip(job["columns"], load("columns"), strict=True)),
        times=load("times"),
        symbols=tuple(map(str, range(job["symbols"]))),
        starts=load("starts"),
        rows=np.arange(len(bad)),
        bad=bad,
        policy=Policy(**job["policy"]),
    )


def _resume(job: dict[str, Any], fs: FeatureSet, market: Market, folder: Path) -> list[Floats]:
    """The features after each snapshot."""
    found = []
    for i, (s, first, stop) in enumerate(job["snapshots"]):
        stream = _core.Stream.restore(fs, (folder / f"snapshot{i}.bin").read_bytes(), time_unit="ns")
        found.append(Tape(market, fs, s).play(stream, first, stop))
    return found


def main(folder: str, target: str) -> None:
    """Does the job in `folder` and writes what came out to `target`."""
    home, out = Path(folder), Path(target)
    job = json.loads((home / "job.json").read_text(encoding="utf-8"))
    market = _load_market(home, job)
    spec = job["set"]
    fs = FeatureSet(spec["specs"], spec["numerics"], spec["eps"], fill=None, _fault=spec["_fault"])
    np.save(out / "batch.npy", matrix(market.table(), fs, len(market), threads=1, **market.keys()))
    s, stop = job["stream"]
    tape = Tape(market, fs, s)
    np.save(out / "stream.npy", tape.play(tape.fresh(), 0, stop))
    for i, values in enumerate(_resume(job, fs, market, home)):
        np.save(out / f"resumed{i}.npy", values)
    if job["windows"] is not None:
        s, length, ends = job["windows"]
        np.save(out / "windows.npy", window_rows(market, fs, market.span(s), np.array(ends), length))
    (out / "done.json").write_text(json.dumps({"cpu": cpu(), "fingerprint": fs.fingerprint}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
