"""What somebody waits for is said, once it takes long."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

PATIENCE = 2.0  # seconds


@contextmanager
def compiling(lines: int) -> Iterator[None]:
    """Say that a loop is compiled, if what is done in this block takes longer than two seconds.

    The logger "tinygrad_rnn" says so: as a warning, which Python writes to stderr unless told
    otherwise, where somebody watches, on a terminal or in a notebook; else for information, which
    Python writes nowhere unless told to. No thread is left when the block is.
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
    level = logging.WARNING if watched() else logging.INFO
    text = f"compiling a loop of {lines:,} lines, {end}"
    logging.getLogger("tinygrad_rnn").log(level, text)


def watched() -> bool:
    """Whether what goes to stderr is seen by somebody who waits."""
    try:
        return bool(sys.stderr.isatty()) or "ipykernel" in sys.modules
    except (AttributeError, ValueError):  # it is closed
        return False
