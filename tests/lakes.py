"""Lakes for tests: how to fill one, how to tell two apart, and how to kill what works on one."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from typer.testing import CliRunner

from qtfeat.backfill import Lake, Partition
from qtfeat.bars.simulate import simulate
from qtfeat.cli.app import app

LOCKS = {".lock"}
ONE = Partition("spot", "SIM000", "1h")


def tree(root: Path | str) -> dict[str, str]:
    """SHA-256 of every file under a folder; locks aside, whose text is a process id."""
    root = Path(root)
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and p.name not in LOCKS]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def filled(root: Path, symbols: int = 3, bars: int = 2_000, seed: int = 0) -> Lake:
    """A lake of simulated hourly bars from 2023-01: 2,000 bars are three months."""
    lake = Lake(root)
    lake.add(simulate(symbols=symbols, bars=bars, seed=seed), "spot")
    return lake


def read_features(folder: str | Path, partition: Partition) -> tuple[list[str], npt.NDArray[Any], npt.NDArray[Any]]:
    """Months found, open times in ms, and features as (F, n)."""
    files = sorted(Path(folder, partition.path).glob("*.parquet"))
    table = pa.concat_tables(pq.ParquetFile(f).read() for f in files)
    columns = [table[name].to_numpy() for name in table.column_names[1:]]
    return [f.stem for f in files], np.asarray(table["open_time"].cast(pa.int64())), np.stack(columns)


def command(*args: str | Path) -> subprocess.Popen[str]:
    """`qtfeat ...` in a process group of its own."""
    code = "from qtfeat.cli import main; main()"
    line = [sys.executable, "-c", code, *map(str, args)]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        line, start_new_session=True, env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}, **pipes
    )


def finish(process: subprocess.Popen[str], timeout: float = 120.0) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def killed_after(process: subprocess.Popen[str], seconds: float, sign: int = signal.SIGKILL) -> int:
    """Let it run, send a signal, wait for the end; gives the exit code."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(sign)
    process.communicate(timeout=60)
    return int(process.returncode)


def killed_when(process: subprocess.Popen[str], ready: Any, sign: int = signal.SIGKILL, timeout: float = 60.0) -> int:
    """Send a signal as soon as `ready()` is true, or let it end; gives the exit code."""
    until = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < until:
        if ready():
            process.send_signal(sign)
            break
        time.sleep(0.002)
    process.communicate(timeout=60)
    return int(process.returncode)


def invoke(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args], env={"COLUMNS": "200", "NO_COLOR": "1"})


def features_of(lake: Lake) -> dict[str, str]:
    return tree(Path(lake.root, "features"))


def spoil(lake: Lake, partition: Partition, month: int, row: int) -> None:
    """Give one bar of a month a high below its low."""
    bars = lake.read(partition)
    names = np.array([str(t)[:7] for t in bars["open_time"].to_numpy().astype("datetime64[M]")])
    at = int(np.flatnonzero(names == f"2023-{month:02d}")[row])
    high = bars["high"].to_numpy().copy()
    high[at] = 1e-9
    lake.add(
        bars.slice(at, 1).set_column(3, "high", pa.array(high[at : at + 1])),
        partition.market,
        partition.interval,
        on_conflict="replace",
    )
