"""What a command says is not missed: it goes on when nobody listens any more."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..language import said

# Controls but a tab and a newline, and marks that turn the direction of what follows.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """A text of others' for a terminal: what would steer it shows as \ufffd."""
    return _STEERING.sub("\ufffd", text)


FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Voice:
    """A stream in whose place silence comes once it cannot be written to.

    That is so behind `| head -1`, when the terminal has gone, on a full disk, and from the start
    for a stream that was closed (Python then has None). `heard` says whether anybody listens, and
    `lost` what a disk said that took no more.
    """

    def __init__(self, stream: Any):
        self.heard = stream is not None and not getattr(stream, "closed", False)
        self.stream, self.lost = stream, ""
        if self.heard and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter shows a stand-in

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        self._try("write", said(text))
        return len(text)

    def verbatim(self, text: str) -> None:
        """Write what is no message, but what was asked for."""
        self._try("write", text)

    def flush(self) -> None:
        self._try("flush")

    def isatty(self) -> bool:
        return self.heard and bool(self.stream.isatty())

    def fileno(self) -> int:
        if not self.heard:
            raise OSError("nobody listens")
        return int(self.stream.fileno())

    def _try(self, how: str, *what: str) -> None:
        if not self.heard:
            return
        try:
            getattr(self.stream, how)(*what)
        except OSError as error:
            self.heard = False
            if error.errno in FULL:
                self.lost = str(error.strerror)
            with suppress(OSError, ValueError, AttributeError):  # what is left in the buffer
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


@contextmanager
def voices() -> Iterator[Voice]:
    """Both standard streams as voices; yields what stands for that of the output."""
    before = sys.stdout, sys.stderr
    output = sys.stdout, sys.stderr = Voice(before[0]), Voice(before[1])
    try:
        yield output[0]
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def verbatim(text: str) -> None:
    """Write what is no message to the standard output, in no other language."""
    getattr(sys.stdout, "verbatim", sys.stdout.write)(text)
