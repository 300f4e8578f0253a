"""What runs in a process of its own: `python -m contract.worker restore|resume|digest FOLDER`.

`restore` goes on from snapshots that another process took: FOLDER holds jobs.json and arrays.npz, and gets out.npz.
`resume` does the same with states of record batches, and prints the CPU level in use.
`digest` prints, as JSON, the CPU level in use and a hash of every column in every mode.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import qtfeat as qf
from contract import modes
from contract.modes import Case, Series, cases
from contract.panels import joined, owners_of, symbols
from contract.specs import PROFILES, everything, feature_sets

DIGESTED = ("random_walk", "price_1e-8", "outlier_1e9", "volume_gaps", "one_ulp", "huge_jumps", "regimes", "flat")


Rows = Callable[[qf.FeatureSet, bytes, Series, str], Any]


def _go_on(folder: Path, rows: Rows) -> None:
    """Write what `rows` makes of each job: a set, the bytes of its past, the series that follows, and `on_bad`."""
    arrays = np.load(folder / "arrays.npz", allow_pickle=False)
    out = {}
    for job in json.loads((folder / "jobs.json").read_text(encoding="utf-8")):
        fs = next(fs for fs in feature_sets(job["profile"]) if fs.name == job["set"])
        key = job["key"]
        rest = Series(arrays[f"{key}.ohlcv"], arrays[f"{key}.time"], arrays[f"{key}.extra"])
        out[key] = rows(fs, arrays[f"{key}.past"].tobytes(), rest, job["on_bad"])
    np.savez(folder / "out.npz", **out)


def restore(fs: qf.FeatureSet, past: bytes, rest: Series, on_bad: str) -> Any:
    """Continue a stream from its snapshot."""
    stream = qf.Stream.restore(fs, past, time_unit="ns")
    features = modes.pushed(stream, Case(fs, rest, on_bad), slice(None))
    stream.snapshot()
    return features


def resume(fs: qf.FeatureSet, past: bytes, rest: Series, on_bad: str) -> Any:
    """Continue record batches from their state."""
    batches = modes.open_batches(Case(fs, rest, on_bad))
    batches.restore(past)
    return batches.push(rest.table()).matrix()


def _digest(columns: list[str], values: Any) -> dict[str, str]:
    return {
        name: hashlib.sha256(np.ascontiguousarray(row).tobytes()).hexdigest()
        for name, row in zip(columns, values, strict=True)
    }


def digests() -> dict[str, dict[str, str]]:
    """Hash every column in every mode that has a kernel loop of its own: batch, stream, windows, panel."""
    out = {}
    for profile in PROFILES:
        for name in DIGESTED:
            for case in cases(profile, name):
                columns = case.fs.columns
                out[f"batch {case.label}"] = _digest(columns, modes.batch(case))
                head = replace(case, series=case.series[:300])
                out[f"stream {case.label}"] = _digest(columns, modes.stream(head))
                arguments = modes.window_inputs(case, [0, 1, 5, 36, 37, 300, 500, 901, 902, 1_000], 150)
                for last in ("only", "all"):
                    values = qf.windows(**arguments, last=last).reshape(-1, len(columns)).T
                    out[f"windows {last} {case.label}"] = _digest(columns, values)
        columns = everything(profile).columns
        for on_bad in ("raise", "null"):
            own = symbols(everything(profile), on_bad, seed=1)
            for layout in ("interleaved", "moments"):
                table = joined(own, owners_of(own, layout, 1))
                features = qf.compute(table, everything(profile), by="symbol", time="time", on_bad=on_bad, threads=2)
                values = [features[c].to_numpy() for c in columns]
                out[f"panel {layout} {on_bad} {profile}"] = _digest(columns, values)
    return out


def main() -> None:
    """Run one command."""
    command = sys.argv[1]
    if command == "restore":
        _go_on(Path(sys.argv[2]), restore)
    elif command == "resume":
        _go_on(Path(sys.argv[2]), resume)
        print(qf.cpu())
    elif command == "digest":
        print(json.dumps({"cpu": qf.cpu(), "digests": digests()}))
    else:
        raise SystemExit(f"unknown command {command!r}")


if __name__ == "__main__":
    main()
