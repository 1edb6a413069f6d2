"""Named arrays from files of other programs: safetensors, and NumPy's without its pickles."""

import math
import os
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import IO

import numpy as np

from .atomic import plain_path
from .checkpoint import NAMES_OF_DTYPES, CheckpointError, check_bools, load, packed
from .foreign import widened

MOST = 1100  # deflate packs zeros 1,032 to 1: what claims to hold more was made to burst
_NPY = b"\x93NUMPY"
HEADER = 12 + 10_000  # bytes before the numbers, of which NumPy reads no more
_LARGE = 2**20  # what may be claimed in any case
_WRONG = (
    *(TypeError, ValueError, EOFError, OverflowError, MemoryError, RuntimeError, KeyError),
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
        reason = (str(error) or type(error).__name__)[:500]  # it may quote all of a header
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
        if member.header_offset < 0:
            raise ValueError(f"{member.filename!r} would begin before the file does")
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
    with open_again() as file:
        start = BytesIO(file.read(HEADER))  # however much the header claims to need
    shape, dtype = _shape_and_dtype(start, name)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - start.tell():
        raise ValueError(f"{name!r} is not as long as shape {shape} of {dtype} needs")
    with open_again() as file:
        found = np.lib.format.read_array(file, allow_pickle=False)
    check_bools(name, found)
    return np.array(found, dtype=widened(found.dtype.newbyteorder("=")), order="C")


def _shape_and_dtype(start: BytesIO, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """What the beginning of an array says of it, if it is one of numbers."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(start)
    if version not in readers:
        raise ValueError(f"{name!r} has version {version} of the npy format")
    try:
        shape, _, dtype = readers[version](start)
    except Exception as error:  # whatever Python says of a text that is no Python
        raise ValueError(f"the header of {name!r} cannot be read: {error}") from error
    if dtype.name not in (*NAMES_OF_DTYPES, "float16"):  # text of no length takes all memory
        what = "objects" if dtype.hasobject else dtype
        raise ValueError(f"{name!r} holds {what}, expected floats, integers or bools")
    return shape, dtype
