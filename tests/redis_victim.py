"""A process that consumes streams on demand, to be killed; run as `python redis_victim.py`.

Each line on stdin is a job, in JSON. It runs in a forked child, so that only the first one waits for imports. The
child's pid goes to stdout, and after its end its exit status. With `kill` it kills itself with SIGKILL: `delay` seconds
after the `hit`-th time that it enters `stage`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def patch(owner: Any, name: str, stage: str, enter: Any) -> None:
    """Let `owner.name` say that `stage` begins."""
    real = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        enter(stage)
        return real(*args, **kwargs)

    setattr(owner, name, wrapper)


def stages(kill: dict[str, Any] | None) -> Any:
    """A function that is told of stages, and kills this process in the chosen one."""
    hits = 0

    def enter(stage: str) -> None:
        nonlocal hits
        if kill is None or stage != kill["stage"]:
            return
        hits += 1
        if hits != kill["hit"]:
            return
        if kill.get("delay"):
            threading.Timer(kill["delay"], os.kill, (os.getpid(), signal.SIGKILL)).start()
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    return enter


def archive(job: dict[str, Any]) -> None:
    """Archive until nothing is left, or for good."""
    from qtfeat.streams import Consumer, Settings, StreamArchive, archive, daily, parse_streams
    from qtfeat.streams.journal import Journal

    enter = stages(job.get("kill"))
    patch(Consumer, "_work", "receive", enter)
    patch(Journal, "append", "persist", enter)
    patch(archive, "acknowledge", "ack", enter)
    patch(daily, "_write", "fold", enter)
    patch(Journal, "drop", "drop", enter)
    specs = parse_streams(job["streams"])
    with StreamArchive(job["root"], specs, fold_rows=job.get("fold_rows", 500_000)) as one:
        settings = Settings(**{"group": "archive", "name": "one", "retry_after": 0.05, "block": 0.1} | job["settings"])
        consumer = Consumer(job["url"], [spec.name for spec in specs], one, settings)
        consumer.run(threading.Event(), until_idle=job.get("once", True))


def serve(job: dict[str, Any]) -> None:
    """Serve until nothing is left."""
    import redis_serving

    redis_serving.run(job, stages(job.get("kill")), patch)


def main() -> None:
    logging.disable(logging.CRITICAL)

    if len(sys.argv) > 1:
        # Imports before the fork.
        __import__(sys.argv[1])

    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                {"archive": archive, "serve": serve}[job["do"]](job)
            except BaseException:  # noqa: BLE001 - the child must not come back
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


class Victim:
    """The test's side of it."""

    def __init__(self, imports: str = "qtfeat.streams") -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "redis_victim.py"), imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, **job: Any) -> int:
        """Begin a job; return the child's pid."""
        self._process.stdin.write(json.dumps({"settings": {}} | job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> int:
        """Wait for the child; return its exit code, -9 if it was killed."""
        return int(self._process.stdout.readline())

    def run(self, **job: Any) -> int:
        """Do a job to its end."""
        self.start(**job)
        return self.end()

    def close(self) -> None:
        """End the process, which is idle."""
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


if __name__ == "__main__":
    main()
