"""A checkpoint is names, arrays and a few facts in a safetensors file: it cannot run code."""

import os
import stat
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

from ..nn.module import StateDict
from .atomic import plain_path, write_atomically
from .header import (
    CONVENTIONS_KEY,
    DTYPES,
    MAX_HEADER,
    READABLE,
    assemble,
    check_header,
    check_names,
    check_sum,
    metadata_as_text,
)

# safetensors is imported where it is first needed: reading the package should stay quick.

NAMES_OF_DTYPES = [np.dtype(code).name for code in DTYPES.values()]
_READS = "which tg.io.arrays reads"
_TORCH = "it can run code and is never opened: save it with safetensors.torch.save_file"
_KERAS = f"open it there, and np.savez(path, *layer.get_weights()) makes a file {_READS}"
_FOREIGN = {
    b"\x93NUMPY": f"a NumPy .npy file, {_READS}",
    **{b"\x80%c" % k: f"a pickle, of PyTorch perhaps; {_TORCH}" for k in (2, 3, 4, 5)},
    b"\x89HDF": f"an HDF5 file, of Keras perhaps; {_KERAS}",
}
_PACKED = {  # what a zip archive is, by the end of a name in it
    ".npy": f"of NumPy, a .npz, {_READS}",
    ".pkl": f"of PyTorch; {_TORCH}",
    "config.json": f"of Keras; {_KERAS}",
}


class CheckpointError(ValueError):
    """A file that cannot be believed, or that does not fit the model: nothing was loaded.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "broken.safetensors"
    >>> _ = path.write_bytes(b"nothing")
    >>> try:
    ...     tg.io.load(path)
    ... except tg.io.CheckpointError:
    ...     print("nothing was loaded")
    nothing was loaded
    """


def save(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write named arrays and metadata to a safetensors file, whole or not at all.

    The same content gives the same bytes, in whatever order it comes. Views, strides and byte
    orders are fine; arrays that share memory are written once for each name.

    path: where to write; its folder must exist. Links and permissions: see `write_atomically`.
    arrays: float32, float64, integers or bool, by name. A name is any text of 1 to 1,000
        characters without NUL, newline and lone surrogates; it is never used as a path. What a
        `module.state_dict()` tells of its conventions goes along.
    metadata: what JSON can carry (finite numbers, text, None, lists, dicts with str keys), by
        name. Tuples are read as lists.

    Raises TypeError or ValueError naming the argument and the array, before anything is written;
    OSError as `write_atomically` does.

    Source: https://github.com/huggingface/safetensors#format

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "arrays.safetensors"
    >>> tg.io.save(path, {"W": np.ones((2, 3))}, {"made by": "hand"})
    >>> tg.io.load(path)[1]
    {'made by': 'hand'}
    """
    for argument, value in (("arrays", arrays), ("metadata", metadata or {})):
        if not isinstance(value, Mapping):
            got = f"expected a mapping from names, got {type(value).__name__}"
            swapped = "; save(path, arrays): are the two swapped?" * (argument == "arrays")
            raise TypeError(f"save({argument}): {got}; give a dict{swapped}")
    check_names("arrays", arrays)
    texts = metadata_as_text(metadata or {}, getattr(arrays, "conventions", None))
    plain = {name: _savable(name, arrays[name]) for name in sorted(arrays)}
    from safetensors.numpy import save as serialise

    write_atomically(path, assemble(serialise(plain), texts), who="save")


def load(path: str | os.PathLike[str]) -> tuple[StateDict, dict[str, Any]]:
    """The arrays and the metadata of a safetensors file, all of it or an error.

    Nothing in the file is run, and nothing is allocated before the file is known to be that long.
    The arrays own their memory: the file may change or vanish afterwards. Metadata that another
    program wrote is read as the strings it is.

    path: a file written by `save`, or by any safetensors writer in the dtypes `save` knows, or in
        float16 or bfloat16, which become float32; with a header of at most 16 MiB.

    Raises CheckpointError naming the file and the reason, FileNotFoundError, or OSError.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> model = tg.nn.Linear(3, 2, rng=0)
    >>> tg.io.save(path, model.state_dict(), {"epoch": 7})
    >>> state, metadata = tg.io.load(path)
    >>> model.load_state_dict(state), metadata["epoch"]
    (([], []), 7)
    """
    name = plain_path("load", path)
    from safetensors import SafetensorError

    refused = f"load(path): expected a safetensors checkpoint, got {name!r}"
    try:
        with _open_regular(name) as file:
            views, metadata = _read(file)
        arrays = {}
        while views:  # each is let go of, so that the memory is not needed twice
            key, view = views.pop()
            arrays[key] = _owned(key, view)
    except FileNotFoundError:
        hint = "check the name, or save a checkpoint there first"
        raise FileNotFoundError(f"load(path): there is no file {name!r}; {hint}") from None
    except MemoryError as error:
        raise CheckpointError(f"{refused}, and it is larger than the free memory") from error
    except (ValueError, OverflowError, RecursionError, SafetensorError) as error:
        raise CheckpointError(f"{refused}, but {error}") from error
    ours = isinstance(metadata.get(CONVENTIONS_KEY), dict)
    conventions = metadata.pop(CONVENTIONS_KEY) if ours else {}
    return StateDict(dict(sorted(arrays.items())), conventions), metadata


def _savable(name: str, array: np.ndarray) -> np.ndarray:
    """The array as the library wants it: contiguous (it copies raw memory) and of a known dtype."""
    who = f"save(arrays): arrays[{name!r}]"
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        got = f"expected a NumPy array, got {type(array).__name__}"
        raise TypeError(f"{who}: {got}; give its .data, or np.asarray of it")
    if array.dtype.name not in NAMES_OF_DTYPES:
        got = f"expected one of {', '.join(NAMES_OF_DTYPES)}, got {array.dtype}"
        raise ValueError(f"{who}: {got}; cast it first, for example by .astype(np.float64)")
    # asarray, because ascontiguousarray would turn a number without axes into a list of one
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def _open_regular(name: str) -> BinaryIO:
    """Open a file, but no folder, and no pipe that would wait for ever."""
    mode = os.stat(name).st_mode
    if stat.S_ISDIR(mode):
        raise ValueError("it is a folder; name a file in it")
    if not stat.S_ISREG(mode):
        raise ValueError("it is not a regular file")
    return open(name, "rb")


def _read(file: BinaryIO) -> tuple[list[Any], dict[str, Any]]:
    """Every array's bytes and the metadata; the header is checked before the rest is read."""
    from safetensors import deserialize

    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    if len(start) < 8:
        raise ValueError(f"it has only {size} bytes and was cut off")
    length = int.from_bytes(start, "little")
    if length > min(MAX_HEADER, size - 8):
        raise ValueError(
            f"it claims a header of {length} bytes, with {size - 8} bytes behind it and "
            f"{MAX_HEADER} allowed{_looks(file, start)}"
        )
    start += file.read(length)
    metadata = check_header(start[8:], size - 8 - length)
    file.seek(0)
    blob = file.read(size)
    if len(blob) != size or not blob.startswith(start):
        raise ValueError("it changed while it was read; try again")
    check_sum(start[8:], memoryview(blob)[8 + length :])
    return deserialize(blob), metadata


def _looks(file: BinaryIO, start: bytes) -> str:
    """What another program's file seems to be, and the way from there to here."""
    found = next((what for magic, what in _FOREIGN.items() if start.startswith(magic)), "")
    if start.startswith(b"PK\x03\x04"):
        names: list[str] = []
        with suppress(zipfile.BadZipFile, ValueError, NotImplementedError):
            names = zipfile.ZipFile(file).namelist()
        found = f"a zip archive{packed(names)}"
    return f"; it looks like {found}" * bool(found)


def packed(names: Iterable[str]) -> str:
    """What a zip archive with such names in it is, and the way from there to here."""
    found = [what for name in names for end, what in _PACKED.items() if name.endswith(end)]
    return f" {found[0]}" if found else ""


def check_bools(name: str, found: np.ndarray) -> None:
    """Refuse bools that are neither 0 nor 1, with which NumPy would compute nonsense."""
    if found.dtype == np.bool_ and found.view(np.uint8).max(initial=0) > 1:
        raise ValueError(f"array {name!r} is bool and holds a byte other than 0 and 1")


def _owned(name: str, view: Mapping[str, Any]) -> np.ndarray:
    """An array of its own in this machine's byte order."""
    dtype = np.dtype(READABLE[view["dtype"]])
    raw = np.frombuffer(view["data"], np.uint8)
    numbers = raw.view(dtype)
    check_bools(name, numbers)
    if view["dtype"] == "BF16":  # the upper half of a float32
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    wanted = np.result_type(numbers, np.float32) if numbers.dtype.kind == "f" else numbers.dtype
    return numbers.reshape(view["shape"]).astype(wanted.newbyteorder("="))
