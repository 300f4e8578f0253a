"""Run rows in processes of their own and read back what they measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.rows import Row

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Outcome:
    """What came of a row: seconds per unit of work, or the reason that there is none."""

    unit: str = ""
    ours: float | None = None
    peer: float | None = None
    ratio: float | None = None
    floor: float | None = None
    difference: float = 0.0
    judged: bool = True
    note: str = ""
    error: str = ""


def run_row(row: Row, *, quick: bool, peers_only: bool) -> Outcome:
    """Run one row in a new process; an error there becomes `Outcome.error`."""
    if row.id == "first_call":
        return _first_call(quick=quick, peers_only=peers_only)
    flags = ["--quick"] * quick + ["--peers-only"] * peers_only
    env = {**os.environ, **row.env, "POLARS_MAX_THREADS": str(row.threads)}
    answer, error = _json([sys.executable, "-m", "bench.worker", row.id, *flags], env)
    if error:
        return Outcome(error=error)
    timing = answer["timing"]
    return Outcome(
        unit=answer["unit"],
        ours=timing["ours"],
        peer=timing["peer"],
        ratio=timing["ratio"],
        floor=timing["floor"],
        difference=answer["difference"],
        judged=answer["judged"],
        note=answer["note"],
    )


def _first_call(*, quick: bool, peers_only: bool) -> Outcome:
    from bench import first_call

    try:
        timing, difference = first_call.run(pairs=3 if quick else 7, peers_only=peers_only)
    except (AssertionError, ModuleNotFoundError, subprocess.CalledProcessError) as error:
        return Outcome(error=str(error))
    return Outcome(
        unit="bar",
        ours=timing.ours,
        peer=timing.peer,
        ratio=timing.ratio,
        floor=timing.floor,
        difference=difference,
    )


def run_extras(*, quick: bool) -> list[dict[str, Any]]:
    """Run the measurements beside the rows; an error there is raised."""
    flags = ["--quick"] * quick
    answer, error = _json([sys.executable, "-m", "bench.extras", *flags], dict(os.environ))
    if error:
        raise RuntimeError(f"bench.extras: {error}")
    facts: list[dict[str, Any]] = answer
    return facts


def _json(command: list[str], env: dict[str, str]) -> tuple[Any, str]:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=env,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no result after {TIMEOUT_SECONDS} s"
    if done.returncode != 0:
        last = [line for line in done.stderr.splitlines() if line.strip()]
        return None, last[-1] if last else f"exit code {done.returncode}"
    # Peers may print on their own; the result is the last line.
    return json.loads(done.stdout.splitlines()[-1]), ""
