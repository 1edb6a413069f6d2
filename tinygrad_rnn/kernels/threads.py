"""A few threads that wait for work: parts of a range, run at the same time.

The work must let go of the interpreter, as compiled kernels do, or nothing is gained.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from itertools import pairwise, repeat, starmap
from typing import Any

from ..limits import whole

__all__ = ["Call", "get_num_threads", "set_num_threads", "shared", "together"]

MOST = 1024  # threads: each has memory of its own
NAP = 5e-5  # seconds between two looks at a worker that takes longer than we do
SPAN, LONGEST = 5e-3, 0.5  # seconds that workers are judged by, that none is hired for at most
USEFUL = 0.8  # of the time that the caller alone would take


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

    Raises TypeError where n is no int, ValueError where it is below 1 or above 1,024.

    >>> before = tg.get_num_threads()
    >>> tg.set_num_threads(1)
    >>> tg.get_num_threads()
    1
    >>> tg.set_num_threads(before)
    """
    global _count
    _count = whole("set_num_threads", "n", n, 1, MOST)


def get_num_threads() -> int:
    """Return how many threads a compiled loop or a large product may use.

    >>> tg.get_num_threads() >= 1
    True
    """
    return _count


class Call(partial[None]):
    """A call of a compiled loop: with counts, and a tuple of arrays."""

    def native(self) -> tuple[int, int, int] | None:
        """How a worker makes it without Python: an address, and two numbers that it takes."""
        *counts, arrays = self.args
        if not hasattr(self.func, "apart"):
            return None
        self.block = (ctypes.c_int64 * len(counts))(*counts)
        return self.func.apart, ctypes.addressof(self.block), id(arrays)


class _Worker:
    """A thread that makes calls. Whoever hires it is alone with it until the call is done."""

    def __init__(self, crew: Any) -> None:
        self.crew = crew.routines()
        self.memory, self.desk = crew.desk()
        self.call: Any = None
        self.error: Any = None
        self.callback = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 2)(self._run)
        self.address = ctypes.cast(self.callback, ctypes.c_void_p).value
        serve, args = self.crew.serve, (self.desk,)
        self.thread: Any = threading.Thread(target=serve, args=args, name=__name__, daemon=True)
        self.thread.start()

    def _run(self, *_: int) -> None:
        try:
            self.call()
        except BaseException as raised:  # the caller raises it
            self.error = raised

    def give(self, call: Callable[[], None]) -> None:
        """Let it make a call, by itself if it can be made without Python."""
        self.call = call
        native = isinstance(call, Call) and call.native()
        self.crew.post(self.desk, *(native or (self.address, 0, 0)))

    def wait(self) -> None:
        """Return when the call is done, whatever is raised meanwhile: it uses our arrays."""
        try:
            while not self.crew.join(self.desk):
                time.sleep(NAP)
        except BaseException:
            self.wait()
            raise


class _Pool:
    """The workers of this process, and those of them who are idle."""

    def __init__(self) -> None:
        self.workers: list[_Worker] = []
        self.idle: deque[_Worker] = deque()
        self.growing = threading.Lock()
        self.avoided: int | None = None  # the core that the workers leave to the caller
        self.wall = self.own = self.until = 0.0  # seconds; till when nobody is hired
        self.vain = 0  # how often in a row they were of no use

    def judge(self, wall: float, own: float, parts: int) -> None:
        """Do without workers for a while where the caller alone is as quick, each time longer.

        own: the processor's time of the caller's part, and so of each. Where other programs have
        the cores too, a worker is late, and while it looks for work takes from them what it does
        not use.
        """
        self.wall, self.own = self.wall + wall, self.own + own * parts
        if self.wall > SPAN and time.get_clock_info("thread_time").resolution < SPAN / 100:
            self.vain = self.vain + 1 if self.wall > USEFUL * self.own else 0
            self.wall = self.own = 0.0
            if self.vain > 1:
                self.until = time.perf_counter() + min(SPAN * 2**self.vain, LONGEST)

    def hire(self, hired: list[_Worker], wanted: int) -> None:
        """Add so many who are idle to a list, or as many as there are."""
        if time.perf_counter() < self.until:
            return
        if len(self.workers) < wanted:
            self.grow(wanted)
        self.step_aside()
        with suppress(IndexError):  # by one call that no interrupt can split
            hired.extend(starmap(self.idle.pop, repeat((), wanted)))

    def grow(self, wanted: int) -> None:
        """Have so many workers if the system lets us, and there is a compiler for what they do."""
        # A system without room for another thread, or an interpreter that is leaving, raises: then
        # the work is shared by those that there are, or done by the caller alone.
        with self.growing, suppress(RuntimeError, ImportError):
            from . import crew

            while len(self.workers) < wanted:
                worker = _Worker(crew)
                self.workers.append(worker)
                self.idle.append(worker)
                self.avoided = None

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
            for worker in self.workers if others else ():
                os.sched_setaffinity(worker.thread.native_id, others)


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


def together(calls: Sequence[Callable[[], None]]) -> None:
    """Make some calls at the same time, the first on this thread.

    Whatever a call raises is raised here when all have ended.
    """
    if len(calls) == 1:
        return calls[0]()
    pool, hired, errors = _pool, list[_Worker](), list[Any]()
    try:
        try:
            pool.hire(hired, len(calls) - 1)
            for worker, call in zip(hired, calls[1:], strict=False):
                worker.give(call)
            began, own = time.perf_counter(), time.thread_time()
            for call in (calls[0], *calls[1 + len(hired) :]):
                try:
                    call()
                except BaseException as raised:
                    errors.append(raised)
            own = time.thread_time() - own
        finally:
            for worker in hired:
                worker.wait()
        if hired:
            pool.judge(time.perf_counter() - began, own, 1 + len(hired))
    finally:
        done = hired
        try:
            for worker in hired:
                worker.wait()  # again, if an interrupt came between the two
                errors.append(worker.error)
                worker.call = worker.error = None  # nothing of the call is held on to
        except BaseException:
            done = [worker for worker in hired if worker.crew.join(worker.desk)]
            raise
        finally:
            pool.idle.extend(done)
    failed = next(filter(None, errors), None)
    errors.clear()
    try:
        if failed is not None:
            raise failed
    finally:
        del failed  # an error holds what we hold: not to be held by us in turn


def shared(function: Any, count: int, grain: int, arrays: tuple[Any, ...]) -> None:
    """Call function(start, stop, arrays) for consecutive parts of range(count).

    One for each thread, as long as each has at least `grain` to do.
    """
    parts = max(1, min(_count, count // grain))
    ends = [count * k // parts for k in range(parts + 1)]
    together([Call(function, *part, arrays) for part in pairwise(ends)])


def _begin_again() -> None:
    """A forked child has the memory of its parent, but not the threads."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
