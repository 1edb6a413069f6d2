"""Named arrays from files of other programs: safetensors, and NumPy's without its pickles."""

import math
import os
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from typing import IO

import numpy as np

from .atomic import plain_path
from .checkpoint import CheckpointError, load, packed
from .foreign import widened

MOST = 1100  # deflate packs zeros 1,032 to 1: what claims to hold more was made to burst
_NPY = b"\x93NUMPY"
_LARGE = 2**20  # what may be claimed in any case
_WRONG = (
    *(ValueError, EOFError, OverflowError, MemoryError, RuntimeError, KeyError),
    *(zipfile.BadZipFile, zlib.error),
)


def arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors, an npz or an npy file, by name, all of them or an error.

    Which of them it is, the file's first bytes say, not its name. Nothing in it is run. From
    PyTorch `safetensors.torch.save_file(module.state_dict(), path)` or `np.savez(path, **arrays)`
    make such files; `np.savez(path, *weights)` names what it is given arr_0, arr_1, ..., and the
    one array of an npy file is arr_0. float16 and bfloat16 become float32.

    Raises CheckpointError naming the file and the reason, FileNotFoundError, or OSError.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "weights.npz"
    >>> np.savez(path, W=np.ones((2, 3)))
    >>> tg.io.arrays(path)["W"].shape
    (2, 3)
    """
    name = plain_path("arrays", path)
    begins = b""
    if os.path.isfile(name):
        with open(name, "rb") as file:
            begins = file.read(6)
    one, several = begins == _NPY, begins[:4] in (b"PK\x03\x04", b"PK\x05\x06")  # of an empty one
    if not one and not several:
        return load(name)[0]  # or what is wrong with it
    try:
        if one:
            return {"arr_0": _array(lambda: open(name, "rb"), name, os.path.getsize(name))}
        with zipfile.ZipFile(name) as file:
            return _unpacked(file, os.path.getsize(name))
    except _WRONG as error:
        reason = str(error) or type(error).__name__
        raise CheckpointError(
            f"arrays(path): expected an np{'y' if one else 'z'} file, got {name!r}, but {reason}"
        ) from error


def _unpacked(file: zipfile.ZipFile, size: int) -> dict[str, np.ndarray]:
    members = file.infolist()
    for member in members:
        if not member.filename.endswith(".npy"):
            raise ValueError(
                f"it holds {member.filename!r}, which is no array; it looks like a zip archive"
                f"{packed(m.filename for m in members)}"
            )
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member.filename!r} is packed in a way that NumPy does not know")
    if len({member.filename for member in members}) != len(members):
        raise ValueError("it repeats a name")
    claimed = sum(member.file_size for member in members)
    if claimed > max(_LARGE, MOST * size):
        raise ValueError(f"it claims to hold {claimed} bytes in {size}")
    return {
        m.filename.removesuffix(".npy"): _array(partial(file.open, m), m.filename, m.file_size)
        for m in members
    }


def _array(open_again: Callable[[], IO[bytes]], name: str, size: int) -> np.ndarray:
    """One array of its own, once its header and its size are known to agree."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with open_again() as file:
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise ValueError(f"{name!r} has version {version} of the npy format")
        shape, _, dtype = readers[version](file)
        begin = file.tell()
        wanted = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or min(shape, default=0) < 0 or wanted != size - begin:
            raise ValueError(
                f"{name!r} of {dtype} and shape {shape} holds objects, or is not as "
                "long as that needs"
            )
    with open_again() as file:
        found = np.lib.format.read_array(file, allow_pickle=False)
    return np.array(found, dtype=widened(found.dtype.newbyteorder("=")), order="C")
