"""What somebody waits for is said, once it takes long."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

PATIENCE = 2.0  # seconds


@contextmanager
def compiling(lines: int) -> Iterator[None]:
    """Say that a loop is compiled, if what is done in this block takes longer than two seconds.

    It is a warning of the logger "tinygrad_rnn", which Python writes to stderr unless told
    otherwise. No thread is left when the block is.
    """
    timer = Timer(PATIENCE, _say, [lines])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _say(lines: int) -> None:
    from .kept import folder

    where = folder()
    end = f"once: it is kept in {where}" if where else "in every process (set NUMBA_CACHE_DIR)"
    logging.getLogger("tinygrad_rnn").warning("compiling a loop of %s lines, %s", f"{lines:,}", end)
