"""What somebody waits for: it is said once it takes long, and Ctrl-C ends the wait."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any, TypeVar

PATIENCE = 2.0  # seconds
LONG = 60.0  # the same, after which a fork waits no more

Answer = TypeVar("Answer")


_running: dict[Any, tuple[threading.Event, dict[str, Any]]] = {}  # by what is worked on


def apart(work: Callable[..., Answer], *given: Any, alike: Any = None) -> Answer:
    """What `work(*given)` returns or raises; Ctrl-C ends the wait for it at once.

    LLVM does not hear Ctrl-C for seconds, and loses one that comes while it calls Python. So it
    works on another thread, which ends what it has begun, also if nobody waits for it any more.
    Who asks for the same meanwhile, as `alike` says, waits for that.
    """
    found: dict[str, Any] = {}
    over = threading.Event()  # a thread whose join a signal ends may call itself stopped
    alike = over if alike is None else alike

    def done() -> None:
        try:
            _running[alike] = over, found
            found["answer"] = work(*given)
        except BaseException as raised:
            found["raised"] = raised
        finally:
            _running.pop(alike, None)
            over.set()

    thread = threading.Thread(target=copy_context().run, args=(done,), name=__name__)
    with suppress(RuntimeError, KeyError):  # an interpreter that is leaving begins no thread
        if threading.current_thread() is threading.main_thread():
            if alike in _running:
                over, found = _running[alike]
            else:
                thread.start()
            while not over.wait(0.1):  # a signal just before it would be heard after it
                pass
    if not found:
        done()
    if "raised" in found:
        raise found.pop("raised")
    return found["answer"]  # type: ignore[no-any-return]


def over_a_fork(*locks: Any) -> None:
    """Let a fork wait until nobody holds these, nor compiles: no thread of a child would let go."""
    held: list[Any] = []

    def before() -> None:
        for over, _ in [*_running.values()]:
            over.wait(LONG)
        held[:] = [lock for lock in locks if lock.acquire(timeout=LONG)]

    def after() -> None:
        while held:
            held.pop().release()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=after, after_in_child=after)


over_a_fork()


@contextmanager
def compiling(ops: int) -> Iterator[None]:
    """Say that a loop of so many ops is compiled, if this block takes longer than two seconds.

    The logger "tinygrad_rnn" says so: as a warning, which Python writes to stderr unless told
    otherwise, where somebody watches, on a terminal or in a notebook; else for information, which
    Python writes nowhere unless told to. No thread is left when the block is.
    """
    timer = threading.Timer(PATIENCE, _say, [ops])
    try:
        timer.start()
        yield
    finally:
        timer.cancel()
        with suppress(RuntimeError):  # Ctrl-C came before it had begun: it ends by itself
            timer.join()


def _say(ops: int) -> None:
    import logging

    from .kept import folder

    where = folder()
    end = f"once: it is kept in {where}" if where else "in every process (set NUMBA_CACHE_DIR)"
    level = logging.WARNING if watched() else logging.INFO
    text = f"compiling a loop of {ops:,} op{'s' * (ops != 1)}, {end}"
    logging.getLogger("tinygrad_rnn").log(level, text)


def watched() -> bool:
    """Whether what goes to stderr is seen by somebody who waits."""
    try:
        return bool(sys.stderr.isatty()) or "ipykernel" in sys.modules
    except (AttributeError, ValueError):  # it is closed
        return False
