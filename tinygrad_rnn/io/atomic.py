"""A file is written whole or not at all: the old one stays until the new one is safe on disk."""

import errno
import os
import secrets
import stat
import sys
from contextlib import suppress


def write_atomically(
    path: str | os.PathLike[str], data: bytes, *, who: str = "write_atomically"
) -> None:
    """Replace the file at `path` by `data` so that every reader sees the old or the new, whole.

    The data goes to a hidden file in the same folder (`.name.<random>.part`), is flushed to the
    disk and renamed over the target. The last of several writers wins; only a killed process leaves
    its hidden file behind. A new file's permissions follow the umask, a replaced file's are kept.
    A symlink is followed and stays; the other names of a hard link keep the old content.

    path: where to write; its folder must exist.
    data: the whole content.
    who: the caller's name, for the errors.

    Raises FileNotFoundError (no such folder), IsADirectoryError, PermissionError (a read-only
    file), OSError (a device, a full disk). After an error the old file is as it was; only flushing
    the folder can still fail once the new one is in place.

    Source: Pillai et al. 2014, "All File Systems Are Not Created Equal".

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "data.bin"
    >>> tg.io.write_atomically(path, b"whole or not at all")
    >>> path.read_bytes()
    b'whole or not at all'
    """
    name = plain_path(who, path)
    if not isinstance(data, bytes):
        hint = "for text there is write_text_atomically"
        raise TypeError(f"{who}(data): expected bytes, got {type(data).__name__}; {hint}")
    target = os.path.realpath(name)
    mode = _mode_to_keep(who, name, target)
    folder, last = os.path.split(target)
    # Random, not numbered: two processes (or hosts) that save to one path never share a part.
    part = os.path.join(folder, f".{last[:40]}.{secrets.token_hex(16)}.part")
    try:
        _fill(part, data, mode)
        os.replace(part, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(part)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename, error.filename2 = name, None  # the user never heard of the part
        raise
    _sync_folder(folder)


def write_text_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Replace the file at `path` by `text` in UTF-8, as `write_atomically` does; newlines stay.

    path: where to write; its folder must exist.
    text: the whole content.

    Raises TypeError (not a str), ValueError (lone surrogates have no UTF-8), and what
    `write_atomically` raises.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "text.txt"
    >>> tg.io.write_text_atomically(path, "to be")
    >>> path.read_text()
    'to be'
    """
    who = "write_text_atomically"
    if not isinstance(text, str):
        raise TypeError(f"{who}(text): expected a str, got {type(text).__name__}; decode it first")
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        got = f"got {error.object[error.start]!r} at position {error.start}"
        hint = "remove it, for example by text.encode(errors='replace').decode()"
        raise ValueError(
            f"{who}(text): expected text that has a UTF-8 form, {got}; {hint}"
        ) from None
    write_atomically(path, data, who=who)


def plain_path(who: str, path: str | os.PathLike[str]) -> str:
    """The path as a str the system can take; TypeError or ValueError says what else was given."""
    try:
        name = os.fsdecode(path)
    except TypeError:
        got = f"expected a str or a Path, got {type(path).__name__}"
        raise TypeError(f"{who}(path): {got}; give the file's name, not an open file") from None
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        encoded = b""
    if not encoded or b"\0" in encoded:
        expected = "expected the name of a file, not empty, without NUL, in letters that the system"
        names = sys.getfilesystemencoding()
        raise ValueError(f"{who}(path): {expected} has ({names}), got {name!r}; choose another one")
    return name


def _mode_to_keep(who: str, name: str, target: str) -> int | None:
    """The permissions of the file about to be replaced; None where there is no file yet."""
    if name.endswith((os.sep, os.altsep or os.sep)) or os.path.isdir(target):
        hint = "add a file name to it"
        raise IsADirectoryError(f"{who}(path): expected a file, got the folder {name!r}; {hint}")
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        hint = "create it first, for example with Path(path).parent.mkdir(parents=True)"
        raise FileNotFoundError(
            f"{who}(path): expected a file in a folder that exists, got {name!r}, "
            f"and there is no folder {folder!r}; {hint}"
        )
    try:
        found = os.stat(target)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):  # root would replace /dev/null itself by a file
        hint = "write to a file and copy it there"
        raise OSError(f"{who}(path): expected a regular file, got the device {name!r}; {hint}")
    if not os.access(target, os.W_OK):  # a rename would walk over the protection
        hint = "allow writing to it, or choose another name"
        raise PermissionError(f"{who}(path): expected a writable file, got {name!r}; {hint}")
    return stat.S_IMODE(found.st_mode)


def _fill(part: str, data: bytes, mode: int | None) -> None:
    """Create the hidden file, write everything, and wait until the disk has it."""
    first = 0o666 if mode is None else 0o600  # nobody may peep before the old mode is back
    with open(part, "xb", opener=lambda name, flags: os.open(name, flags, first)) as file:
        if mode is not None and sys.platform != "win32":
            os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: str) -> None:
    """Make the rename itself outlive a power cut, where the system can."""
    if sys.platform == "win32":
        return
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder one may write to but not list cannot be flushed
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot
            raise
    finally:
        os.close(handle)
