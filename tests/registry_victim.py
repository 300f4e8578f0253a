"""A process that publishes and promotes on demand, to be killed; run as `python registry_victim.py ROOT MARKS`.

Each line on stdin is a job. It runs in a forked child, which notes in the shared file MARKS which stage it is in, and
when that began. The pid goes to stdout, and after the child's end its exit status.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import gated
from qtfeat import registry
from qtfeat.registry import disk, events, versions

STAGES = {
    "publish": ("compose", "files", "rename", "event"),
    "promote": ("check", "alias", "event"),
}
SLOTS = 8
SIZE = 8 * (SLOTS + 1)


def mark(marks: mmap.mmap, stage: int) -> None:
    """Note that a stage begins: its time first, then its number, from 1; a stage that has begun stays begun."""
    if stage <= struct.unpack_from("q", marks, 0)[0]:
        return
    struct.pack_into("q", marks, 8 * stage, time.monotonic_ns())
    struct.pack_into("q", marks, 0, stage)


def note_stages(marks: mmap.mmap, job: str) -> None:
    """Wrap the steps of publish or promote so that each notes its stage."""

    def noted(module: Any, name: str, stage: int) -> None:
        real = getattr(module, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            mark(marks, stage)
            return real(*args, **kwargs)

        setattr(module, name, wrapper)

    if job == "publish":
        noted(versions, "_write_version", 2)
        noted(disk, "sync_folder", 3)
    else:
        noted(disk, "replace", 2)
    noted(events, "add", len(STAGES[job]))


def work(root: Path, marks: mmap.mmap, job: dict[str, Any]) -> None:
    """Do one job."""
    if job["op"] == "publish":
        files = gated.files(seed=job["seed"], size=job["size"])
        note_stages(marks, "publish")
        mark(marks, 1)
        registry.publish(root, "m", files, gated.manifest(job["seed"]))
    elif job["op"] == "promote":
        note_stages(marks, "promote")
        mark(marks, 1)
        registry.promote(root, "m", job["version"])
    elif job["op"] == "promote_many":
        for version in job["versions"]:
            registry.promote(root, "m", version)
    mark(marks, SLOTS)


def main() -> None:
    root, path = Path(sys.argv[1]), Path(sys.argv[2])
    with path.open("r+b") as file:
        marks = mmap.mmap(file.fileno(), SIZE)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                work(root, marks, json.loads(line))
            except BaseException:  # noqa: BLE001 (the child ends here, whatever happened)
                traceback.print_exc()
            finally:
                os._exit(0 if struct.unpack_from("q", marks, 0)[0] == SLOTS else 1)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
