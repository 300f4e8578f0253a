"""Where the work items run: threads of this process, or the workers of a Dask cluster. The bytes are the same."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

from qtfeat.backfill.task import Job, Outcome, Stop, Tick, run_partition
from qtfeat.errors import SchemaError

Task = Callable[..., Outcome]
"""`run_partition`, or something of its kind."""


class Executor(Protocol):
    """Runs work items and yields what became of them, in the order in which they end."""

    def run(self, job: Job, paths: Sequence[str], tick: Tick, stop: Stop, task: Task = ...) -> Iterator[Outcome]:
        """Run `task` for every path. An item that raises is an outcome with an error; the others go on."""


class Threads:
    """Threads of this process. Reading, computing and writing all let other threads run.

    Args:
        workers: how many, at least 1.
    """

    def __init__(self, workers: int) -> None:
        if not 1 <= workers <= 1024:
            raise SchemaError(f"workers must be in 1..1024, not {workers}")
        self.workers = workers

    def run(self, job: Job, paths: Sequence[str], tick: Tick, stop: Stop, task: Task = run_partition) -> Iterator[Outcome]:
        """Run `task` for every path."""
        waiting = iter(paths)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="backfill") as pool:
            running: dict[Future[Outcome], str] = {}
            left = threading.Event()

            def halt() -> bool:
                return left.is_set() or stop()

            def start(count: int) -> None:
                for path in itertools.islice(waiting, count):
                    running[pool.submit(task, job, path, tick, halt)] = path

            try:
                start(self.workers)
                while running:
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        path = running.pop(future)
                        if not halt():
                            start(1)
                        yield _outcome(future, path)
            except BaseException:
                # Ctrl-C, for one: the threads end after the month at hand, and only then the pool lets go.
                left.set()
                raise


class Dask:
    """The workers of a Dask cluster, over a file system or object store that all of them see at the same path.

    An item whose worker dies is given to another one; an item that fails otherwise is tried `retries` times more.

    Args:
        address: of the scheduler, such as `tcp://10.0.0.1:8786`.
        retries: for items that raise what is no `QtfeatError`, such as an error of the network.
        client: a `distributed.Client` to use, instead of an address.
    """

    def __init__(self, address: str | None = None, *, retries: int = 2, client: Any = None) -> None:
        if (address is None) == (client is None):
            raise SchemaError("Dask needs the address of a scheduler, or a client")
        self._address, self._client, self._retries = address, client, retries

    def run(self, job: Job, paths: Sequence[str], tick: Tick, stop: Stop, task: Task = run_partition) -> Iterator[Outcome]:
        """Run `task` for every path; `tick` is called when a partition is done."""
        client, own = self._connect()
        running: dict[Any, str] = {}
        try:
            from distributed import as_completed

            running = {client.submit(task, job, path, pure=False, retries=self._retries): path for path in paths}
            for future in as_completed(list(running)):
                outcome = _outcome(future, running.pop(future))
                tick(outcome.rows)
                yield outcome
                if stop():
                    break
        finally:
            client.cancel(list(running))
            if own:
                client.close()

    def _connect(self) -> tuple[Any, bool]:
        if self._client is not None:
            return self._client, False
        try:
            from distributed import Client
        except ImportError as error:
            raise SchemaError('Dask is not installed: pip install "qtfeat[dask]"') from error
        try:
            return Client(self._address, timeout="10s"), True
        except (OSError, ValueError) as error:
            raise SchemaError(f"no Dask scheduler at {self._address!r}: {error}") from error


def _outcome(future: Any, path: str) -> Outcome:
    """What a future holds; whatever it raised is the failure of this item and no other."""
    try:
        outcome: Outcome = future.result()
    except Exception as error:  # noqa: BLE001 - the workers' errors are of any kind
        return Outcome(path, error=f"{type(error).__name__}: {error}")
    return outcome
