"""A run's folder belongs to one process while it trains."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(folder: Path, option: str) -> Iterator[None]:
    """Keep other processes from training in a folder; the system lets go when this one ends.

    Raises ValueError when another has it. A file system without locks is used without.
    """
    handle = _handle(folder)
    try:
        try:
            _lock(handle)
        except BlockingIOError:
            raise ValueError(
                f"{option}: another process is training in {folder}. Wait for it, stop it by "
                "Ctrl-C, or name another folder."
            ) from None
        except OSError as error:
            print(f"{folder} is not locked against other runs: {error}", file=sys.stderr)
        yield
    finally:
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _handle(folder: Path) -> int:
        """A file that vanishes when the last process that has it open ends."""
        return os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_TEMPORARY)

    def _lock(handle: int) -> None:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error

else:
    import fcntl

    def _handle(folder: Path) -> int:
        return os.open(folder, os.O_RDONLY)

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
