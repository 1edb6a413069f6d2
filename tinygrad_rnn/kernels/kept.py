"""Compiled code on disk: found again by all that it depends on, and thrown away if it is damaged.

One file for each compiled function, named by a hash of its key: the code of this package, the text
or the function, the types, the processor, the sizes of its caches, and the versions of Python,
Numba and LLVM. Another version is another name, so nothing here is ever out of date.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pkgutil
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import llvmlite

from . import machine

FILES, BYTES = 4096, 1 << 29  # what is kept at most; a loop takes about 50 kB
ENDING = ".compiled"
AGAIN = "kernels are compiled again in every process"


class KernelCacheWarning(RuntimeWarning):
    """Compiled code cannot be kept on disk, or what was kept there is damaged."""


_warned: set[str | None] = set()


def _warn_once(about: str | None, message: str) -> None:
    if about not in _warned:
        _warned.add(about)
        warnings.warn(message, KernelCacheWarning, stacklevel=2)


def fingerprint(package: str) -> str | None:
    """A hash of all modules of a package as they are installed (text, .pyc, in a zip), or None.

    Numba's own stamp is of one file that has to be there, and would not see a changed helper.
    """
    found = hashlib.sha256()
    try:
        whole: Any = importlib.util.find_spec(package)
        path = whole.submodule_search_locations
        names = sorted(f"{package}.{module.name}" for module in pkgutil.iter_modules(path))
        for name in names:
            spec: Any = importlib.util.find_spec(name)
            found.update(repr((name, spec.loader.get_data(spec.origin))).encode())
    except Exception:  # a loader of somebody else's: what it runs cannot be seen
        return None
    return found.hexdigest() if names else None


_STAMP = fingerprint(__package__)


class Kept:
    """The place on disk of something compiled, which all that it depends on tells apart."""

    def __init__(self, *key: object) -> None:
        versions = llvmlite.__version__, sys.version, _STAMP
        self.key = repr((*key, *versions, machine.FIRST, machine.SECOND))

    def path(self) -> Path | None:
        """The file; None where nothing can be kept."""
        where = folder() if _STAMP else None
        if where is None:
            reason = "no folder can be written" if _STAMP else "its own code cannot be read"
            _warn_once(None, f"{AGAIN}: {reason} (set NUMBA_CACHE_DIR)")
            return None
        return where / (hashlib.sha256(self.key.encode()).hexdigest()[:40] + ENDING)

    def load(self, rebuild: Callable[[bytes], Any]) -> Any:
        """What was kept, or None: whatever is wrong with a file, it is as if not there."""
        path = self.path()
        if path is None:
            return None
        try:
            blob = path.read_bytes()
            data = blob[hashlib.sha256().digest_size :]
            if summed(data) != blob:
                raise ValueError("it was cut or changed")
            found = rebuild(data)
        except FileNotFoundError:
            return None
        except Exception as error:
            with suppress(OSError):
                path.unlink()
            _warn_once("damaged", f"{path} could not be loaded and is compiled again: {error!r}")
            return None
        with suppress(OSError):
            os.utime(path)  # the last to go
        return found

    def save(self, data: bytes) -> None:
        """Keep what `load` rebuilds from, for the next process."""
        path = self.path()
        if path is None:
            return
        try:
            _write(path, summed(data))
        except Exception as error:  # a full or lost folder
            _warn_once(None, f"{AGAIN}: {error} (set NUMBA_CACHE_DIR)")
        if path.name.startswith("0"):  # now and then: one name in sixteen
            _make_room(path.parent)


def summed(data: bytes) -> bytes:
    """The bytes behind a sum of them: LLVM would end the process over machine code cut short."""
    return hashlib.sha256(data).digest() + data


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, and never halfway where another process looks."""
    handle, part = tempfile.mkstemp(dir=path.parent, suffix=ENDING)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


def _make_room(where: Path) -> None:
    """Drop what was not used for longest. Another process may do the same at the same time."""
    found = []
    with suppress(OSError), os.scandir(where) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.name.endswith(ENDING):
                    status = entry.stat()
                    found.append((status.st_mtime, status.st_size, entry.path))
    count, size = len(found), sum(bytes for _, bytes, _ in found)
    if count <= FILES and size <= BYTES:
        return
    for _, bytes, path in sorted(found):
        if count <= FILES * 3 // 4 and size <= BYTES * 3 // 4:
            return
        with suppress(OSError):
            os.unlink(path)
        count, size = count - 1, size - bytes


def folder() -> Path | None:
    """The folder of compiled code: the first that is ours alone to write to, or None."""
    for path in _folders():
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = path.stat()
        except OSError:
            continue
        ours = not hasattr(os, "getuid") or (
            status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        )
        if ours and os.access(path, os.W_OK | os.X_OK):
            return path
    return None


def _folders() -> Iterator[Path]:
    """NUMBA_CACHE_DIR; the user's folder for such things; without a home, one for a while."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(os.environ["NUMBA_CACHE_DIR"]) / "tinygrad_rnn"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if os.path.isabs(home):  # it stays "~" for a user without a home
        yield Path(home) / "tinygrad_rnn"
    user = os.getuid() if hasattr(os, "getuid") else ""
    yield Path(tempfile.gettempdir()) / f"tinygrad_rnn-{user}"
