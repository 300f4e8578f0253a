"""P1 across processes: snapshots restored in a new one, and the kernels of every CPU level."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from qtfeat.errors import QtfeatError
from qtfeat.features import cpu
from qtfeat.proof.child import save_market, spec_of
from qtfeat.proof.market import Ints, Market
from qtfeat.proof.report import Promise
from qtfeat.proof.streams import Tape
from qtfeat.proof.subject import Subject

LEVELS = ("sse2", "avx2", "avx512")
_AFTER = 200
_STREAMED = 3000
_WINDOWS = 500
# The package's own folder goes last on the path: it is only needed where the parent found it by other means.
_START = "import sys; sys.path.append(sys.argv[3]); from qtfeat.proof.child import main; main(*sys.argv[1:3])"


def processes(subject: Subject, promise: Promise, market: Market, at: Ints) -> None:
    """Hands the first rows of every symbol, and snapshots, to a new process per CPU level."""
    with tempfile.TemporaryDirectory(prefix="qtfeat-verify-") as name:
        folder = Path(name)
        job = _job(subject, market, folder)
        ran: list[str] = []
        # The first one is left as this process is, so that a snapshot also goes over where levels cannot.
        for level in (None, *LEVELS):
            if level is not None and (level in ran or level == cpu()):
                continue
            out = folder / (level or "same")
            out.mkdir()
            used = _run(folder, out, level)
            if used in ran:
                continue
            ran.append(used)
            _compare(subject, promise, job, market, at, out, used)
        missing = [level for level in LEVELS if level not in ran]
        if missing:
            promise.notes.append(f"this CPU does not have {' and '.join(missing)}: not compared")


def _job(subject: Subject, market: Market, folder: Path) -> dict[str, Any]:
    fs, rng = subject.fs, subject.rng
    job = save_market(market, folder) | {"set": spec_of(fs), "snapshots": [], "windows": None}
    lengths = np.diff(market.starts)
    chosen = [int(s) for s in rng.permutation(len(lengths))[:4]]
    job["stream"] = [chosen[0], int(min(lengths[chosen[0]], _STREAMED))]
    for i, s in enumerate(chosen):
        n = int(lengths[s])
        first = int(rng.integers(min(n // 3, _STREAMED), min(n, 2 * _STREAMED)))
        tape = Tape(market, fs, s)
        stream = tape.fresh()
        tape.play(stream, 0, first)
        (folder / f"snapshot{i}.bin").write_bytes(stream.snapshot())
        job["snapshots"].append([s, first, min(first + _AFTER, n)])
    finite = [int(row["finite_rows"]) for row in fs.describe() if row["finite_rows"] is not None]
    length, longest = max(finite, default=0), int(np.argmax(lengths))
    if finite and lengths[longest] >= length:
        ends = np.unique(rng.integers(length - 1, lengths[longest], size=_WINDOWS))
        job["windows"] = [longest, length, ends.tolist()]
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    return job


def _run(folder: Path, out: Path, level: str | None) -> str:
    """Runs a new process and returns the CPU level that it used."""
    package = str(Path(__file__).resolve().parents[2])
    env = os.environ | ({} if level is None else {"QTFEAT_CPU": level})
    command = [sys.executable, "-P", "-c", _START, str(folder), str(out), package]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - own program
    if done.returncode != 0:
        raise QtfeatError(f"verify could not run {sys.executable} as a second process: {done.stderr.strip()[-2000:]}")
    return str(json.loads((out / "done.json").read_text(encoding="utf-8"))["cpu"])


def _compare(
    subject: Subject, promise: Promise, job: dict[str, Any], market: Market, at: Ints, out: Path, level: str
) -> None:
    def load(name: str) -> Any:
        return np.load(out / f"{name}.npy", allow_pickle=False)

    subject.equal(promise, f"{level}: batch in a new process", load("batch"), at)
    s, stop = job["stream"]
    subject.equal(promise, f"{level}: stream in a new process", load("stream"), at[market.span(s)][:stop])
    for i, (s, first, stop) in enumerate(job["snapshots"]):
        rows = at[market.span(s)][first:stop]
        subject.equal(promise, f"{level}: snapshot restored in a new process", load(f"resumed{i}"), rows)
    if job["windows"] is not None:
        s, _, ends = job["windows"]
        columns = [k for k, row in enumerate(subject.fs.describe()) if row["finite_rows"] is not None]
        found = load("windows")[columns]
        subject.equal(promise, f"{level}: windows in a new process", found, at[market.span(s)][ends], columns)
