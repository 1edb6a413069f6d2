"""A few threads that wait for work: parts of a range, run at the same time.

The work must let go of the interpreter, as compiled kernels do, or nothing is gained.
"""

from __future__ import annotations

import ctypes
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

__all__ = ["get_num_threads", "set_num_threads", "spread"]


def _cores() -> int:
    """How many cores this process may use, or as many as the environment allows."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not every system can tell
        cores = os.cpu_count() or 1
    text = os.environ.get("TINYGRAD_RNN_NUM_THREADS", "")
    return min(cores, max(1, int(text))) if text.isdecimal() else cores


_count = _cores()


def set_num_threads(n: Any) -> None:
    """Run compiled loops and large products on n threads from now on.

    Raises TypeError where n is no int, ValueError where it is below 1.

    >>> before = tg.get_num_threads()
    >>> tg.set_num_threads(1)
    >>> tg.get_num_threads()
    1
    >>> tg.set_num_threads(before)
    """
    global _count
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"the number of threads is an int, not {n!r}")
    if n < 1:
        raise ValueError(f"expected at least one thread, got {n}")
    _count = n.__index__()


def get_num_threads() -> int:
    """Return how many threads a compiled loop or a large product may use.

    >>> tg.get_num_threads() >= 1
    True
    """
    return _count


class _Pool:
    """The workers of this process, and the one queue that they all take their work from."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[tuple[_Job, int, int]] = queue.SimpleQueue()
        self.workers: set[int | None] = set()
        self.threads: list[Any] = []
        self.growing = threading.Lock()
        self.avoided: int | None = None  # the core that the workers leave to the caller

    def grow(self, wanted: int) -> int:
        """Have so many workers if the system lets us; say how many there are."""
        if len(self.workers) >= wanted:
            return len(self.workers)
        # A system without room for another thread, or an interpreter that is leaving, raises: then
        # the work is shared by those that there are, or done by the caller alone.
        with self.growing, suppress(RuntimeError):
            while len(self.workers) < wanted:
                worker = threading.Thread(target=_work, args=(self,), daemon=True)
                worker.start()
                self.workers.add(worker.ident)
                self.threads.append(worker.native_id)
                self.avoided = None
        return len(self.workers)

    def step_aside(self) -> None:
        """Keep the workers off the caller's core.

        A system that wakes a thread likes to do so on the core of the one who woke it, where it
        would wait for the caller's part to end, and both parts would run one after the other.
        """
        core = _core()
        if core is None or core == self.avoided:
            return
        self.avoided = core
        # Where this is not allowed, or a thread is gone, the system decides where threads run:
        # slower at times, and never wrong.
        with suppress(OSError):
            others = os.sched_getaffinity(0) - {core}
            for thread in self.threads if others else ():
                os.sched_setaffinity(thread, others)


@lru_cache(1)
def _asks_for_core() -> Any:
    """The system's own function that says which core we are on, if it has one."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    try:
        ask = ctypes.CDLL(None).sched_getcpu
    except (OSError, AttributeError):
        return None
    ask.argtypes, ask.restype = [], ctypes.c_int
    return ask


def _core() -> int | None:
    ask = _asks_for_core()
    core = -1 if ask is None else ask()
    return core if core >= 0 else None


_pool = _Pool()


def _work(pool: _Pool) -> None:
    while True:
        job, start, stop = pool.jobs.get()
        job.run_part(start, stop)
        del job  # or its arrays would live until the next one


class _Job:
    """One call of `spread`: what to run, and how it went so far."""

    def __init__(self, run: Callable[[int, int], None]) -> None:
        self.run = run
        self.sent: list[None] = []
        self.ended: list[BaseException | None] = []
        self.news: queue.SimpleQueue[None] = queue.SimpleQueue()

    def run_part(self, start: int, stop: int) -> None:
        error: BaseException | None = None
        try:
            self.run(start, stop)
        except BaseException as raised:  # the caller raises it
            error = raised
        self.ended.append(error)
        self.news.put(None)

    def wait(self) -> None:
        """Return when no part is running any more, whatever is raised meanwhile.

        News only wake us up, and what has ended is counted: an interrupt may swallow news.
        """
        interrupt = None
        while len(self.ended) < len(self.sent):
            try:
                self.news.get()
            except BaseException as raised:  # the other parts still use the caller's arrays
                interrupt = raised
        if interrupt is not None:
            raise interrupt


def spread(run: Callable[[int, int], None], count: int) -> None:
    """Call run(start, stop) for consecutive parts of range(count), one for each thread.

    The caller runs the first part. Whatever a part raises is raised here when all have ended.
    """
    pool = _pool
    parts = min(_count, count)
    if parts > 1:
        inside = threading.get_ident() in pool.workers
        parts = 1 if inside else min(parts, 1 + pool.grow(parts - 1))
    if parts <= 1:
        if count > 0:
            run(0, count)
        return
    pool.step_aside()
    job = _Job(run)
    ends = [count * i // parts for i in range(parts + 1)]
    rest = [(job, ends[i], ends[i + 1]) for i in range(1, parts)]
    try:
        try:
            # Filled by one call that no interrupt can split: what is sent is what is waited for.
            job.sent.extend(map(pool.jobs.put, rest))
            run(0, ends[1])
        finally:
            job.wait()
    finally:
        job.wait()  # again, if an interrupt came between the two
    for error in job.ended:
        if error is not None:
            raise error


def _begin_again() -> None:
    """A forked child has the memory of its parent, but not the threads."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
