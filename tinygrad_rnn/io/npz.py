"""Named arrays from a file of another program: safetensors, or NumPy's npz without its pickles."""

import math
import os
import zipfile
import zlib

import numpy as np

from .atomic import plain_path
from .checkpoint import CheckpointError, load

MOST = 1100  # deflate packs zeros 1,032 to 1: what claims to hold more was made to burst
_LARGE = 2**20  # what may be claimed in any case
_WRONG = (
    *(ValueError, EOFError, OverflowError, MemoryError, RuntimeError, KeyError),
    *(zipfile.BadZipFile, zlib.error),
)


def arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors or an npz file, by name, all of them or an error.

    Which of the two it is, the file's first bytes say, not its name. Nothing in it is run. From
    PyTorch `safetensors.torch.save_file(module.state_dict(), path)` or `np.savez(path, **arrays)`
    make such files; `np.savez(path, *weights)` names what it is given arr_0, arr_1, ...

    Raises CheckpointError naming the file and the reason, FileNotFoundError, or OSError.
    """
    name = plain_path("arrays", path)
    if not os.path.isfile(name):
        return load(name)[0]  # which says what is wrong with it
    with open(name, "rb") as file:
        begins = file.read(4)
    if begins not in (b"PK\x03\x04", b"PK\x05\x06"):  # the second: of an empty one
        return load(name)[0]
    try:
        with zipfile.ZipFile(name) as packed:
            return _unpacked(packed, os.path.getsize(name))
    except _WRONG as error:
        reason = str(error) or type(error).__name__
        raise CheckpointError(
            f"arrays(path): expected an npz file, got {name!r}, but {reason}"
        ) from error


def _unpacked(packed: zipfile.ZipFile, size: int) -> dict[str, np.ndarray]:
    members = packed.infolist()
    for member in members:
        if not member.filename.endswith(".npy"):
            raise ValueError(
                f"it holds {member.filename!r}, which is no array; a .pt file can "
                "run code and is never opened: save it with safetensors.torch.save_file"
            )
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member.filename!r} is packed in a way that NumPy does not know")
    if len({member.filename for member in members}) != len(members):
        raise ValueError("it repeats a name")
    claimed = sum(member.file_size for member in members)
    if claimed > max(_LARGE, MOST * size):
        raise ValueError(f"it claims to hold {claimed} bytes in {size}")
    return {member.filename.removesuffix(".npy"): _array(packed, member) for member in members}


def _array(packed: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One array, once its header and its size are known to agree."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with packed.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise ValueError(f"{member.filename!r} has version {version} of the npy format")
        shape, _, dtype = readers[version](file)
        begin = file.tell()
        wanted = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or min(shape, default=0) < 0 or wanted != member.file_size - begin:
            raise ValueError(
                f"{member.filename!r} of {dtype} and shape {shape} holds objects, or is not as "
                "long as that needs"
            )
    with packed.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
