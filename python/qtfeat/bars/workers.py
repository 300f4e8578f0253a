"""Work items over a few threads that Ctrl-C ends at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Progress = Callable[[int, int], None]

# A blocked wait is not interrupted on every platform; a short one is.
_TICK_SECONDS = 0.5
_GOODBYE_SECONDS = 1.0


def run_items(
    items: Sequence[Item],
    work: Callable[[Item], None],
    workers: int,
    *,
    stop: Callable[[], None],
    progress: Progress | None = None,
) -> None:
    """Do all items in threads, in order of their start.

    Args:
        items: what `work` takes, one at a time.
        work: runs in a thread; an exception ends the whole and is raised here.
        workers: threads, at least 1.
        stop: called when the calling thread leaves early (Ctrl-C, an exception): makes running work end soon.
        progress: called in the calling thread with (items done, all of them).
    """
    todo: SimpleQueue[Item] = SimpleQueue()
    done: SimpleQueue[BaseException | None] = SimpleQueue()
    for item in items:
        todo.put(item)
    # Daemons: a thread that waits for a stalled server does not hold up the end of the process.
    threads = [
        threading.Thread(target=_drain, args=(todo, work, done), daemon=True) for _ in range(min(workers, len(items)))
    ]
    try:
        for thread in threads:
            thread.start()
        for number in range(1, len(items) + 1):
            _wait(done)
            if progress is not None:
                progress(number, len(items))
    except BaseException:
        stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join(timeout=_GOODBYE_SECONDS)
        raise


def _wait(done: SimpleQueue[BaseException | None]) -> None:
    """Return when one more item is done; raise what ended the work instead."""
    while True:
        try:
            problem = done.get(timeout=_TICK_SECONDS)
        except Empty:
            continue
        if problem is not None:
            raise problem
        return


def _drain(todo: SimpleQueue[Item], work: Callable[[Item], None], done: SimpleQueue[BaseException | None]) -> None:
    while True:
        try:
            item = todo.get_nowait()
        except Empty:
            return
        try:
            work(item)
        except BaseException as problem:  # noqa: BLE001 - raised again by the thread that waits
            done.put(problem)
            return
        done.put(None)
