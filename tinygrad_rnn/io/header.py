"""A checkpoint's header is believed only after every number in it has been checked.

The reasons are plain ValueErrors; `load` puts the file's name before them.
"""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from reprlib import repr as short
from typing import Any

import numpy as np

# The format allows 100 MB of header, but JSON can take thirty times its size as Python objects.
# This much still names a hundred thousand arrays.
MAX_HEADER = 2**24
MAX_NAME = 1000
MAX_NESTING = 64
MAX_DIGITS = 1000
MAX_AXES = 64  # NumPy's own limit
VERSION = 1
VERSION_KEY = "tinygrad_rnn_format"
CONVENTIONS_KEY = "tinygrad_rnn_conventions"
SUM_KEY = "tinygrad_rnn_sum"  # of all other bytes of the file
_SURROGATE = re.compile("[\ud800-\udfff]")

DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "BOOL": "|b1"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1"},
}
READABLE = {**DTYPES, "F16": "<f2", "BF16": "<u2"}  # bfloat16 as bits, which NumPy has not


def check_header(header: bytes, payload: int) -> dict[str, Any]:
    """The metadata, once the header is known to describe `payload` bytes and nothing else.

    header: the JSON text of a safetensors file, as bytes.
    payload: how many bytes follow it in the file.

    Raises ValueError with the first reason not to believe it.

    Source: https://github.com/huggingface/safetensors#format
    """
    if header[:1] != b"{":
        raise ValueError("its header does not begin with '{'")
    entries = parse_json(header.decode("utf-8"))
    metadata = _read_metadata(entries.pop("__metadata__", {}))  # first: it may be another format
    spans = sorted(_span(name, entry) for name, entry in entries.items())
    position = 0
    for begin, end, name in spans:
        if begin != position:
            raise ValueError(f"array {short(name)} begins at byte {begin}, expected {position}")
        position = end
    if position != payload:
        cut = "it was cut off" if payload < position else "something was added to it"
        raise ValueError(f"its arrays need {position} bytes and it has {payload}: {cut}")
    return metadata


def parse_json(text: str) -> Any:
    """JSON without a repeated key and without a bomb of brackets or digits."""
    try:
        return json.loads(text, object_pairs_hook=_no_repeats, parse_int=_bounded_int)
    except RecursionError:
        raise ValueError("its JSON nests deeper than Python can read") from None


def metadata_as_text(metadata: Mapping[str, Any], conventions: Any = None) -> dict[str, str]:
    """Each value as a JSON text, in the order of the names, with the version of this format, and
    the conventions of the arrays where there are some.

    Raises ValueError naming the value that JSON cannot carry there and back.
    """
    check_names("metadata", metadata)
    for name in {VERSION_KEY, CONVENTIONS_KEY, SUM_KEY} & metadata.keys():
        raise ValueError(f"save(metadata): the name {name!r} is taken; choose another name")
    if conventions:
        metadata = {**metadata, CONVENTIONS_KEY: conventions}
    for name, value in metadata.items():
        _check_plain(value, f"metadata[{short(name)}]")
    texts = {name: _as_json(value) for name, value in metadata.items()} | {
        VERSION_KEY: f"{VERSION}"
    }
    return dict(sorted(texts.items()))


def check_names(argument: str, names: Iterable[str]) -> None:
    """Refuse names that a file cannot hold, or that a reader could not tell apart."""
    seen: dict[str, str] = {}
    for name in names:
        reason = name_trouble(name)
        if reason:
            raise ValueError(f"save({argument}): the name {short(name)} {reason}; rename it")
        other = seen.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            same = f"{other!a} and {name!a} look the same (Unicode NFC)"
            raise ValueError(f"save({argument}): the names {same}; rename one of them")


def name_trouble(name: object) -> str:
    """Why this cannot name an array, or nothing."""
    if not isinstance(name, str):
        return f"is of type {type(name).__name__}, expected a str"
    if not name or len(name) > MAX_NAME:
        return f"has {len(name)} characters, expected 1 to {MAX_NAME}"
    if "\0" in name or "\n" in name or "\r" in name or _SURROGATE.search(name):
        return "holds a NUL, a newline or a lone surrogate"
    return "is reserved by the format" if name == "__metadata__" else ""


def assemble(blob: bytes, metadata: Mapping[str, str]) -> bytes:
    """Put `metadata` into a serialised file, in order.

    The library writes metadata in the order of a hash map, a new one at each save
    (safetensors#584), so the same checkpoint would have other bytes every time.
    """
    begin = 8 + int.from_bytes(blob[:8], "little")
    texts = dict(metadata)
    entries = {"__metadata__": texts} | json.loads(blob[8:begin])
    texts[SUM_KEY] = _sum(entries, memoryview(blob)[begin:])
    header = _as_json(entries).encode("utf-8")
    header += b" " * (-len(header) % 8)
    if len(header) > MAX_HEADER:
        limit = f"expected at most {MAX_HEADER} bytes of names and metadata, got {len(header)}"
        raise ValueError(f"save(arrays, metadata): {limit}; store large things as arrays")
    return b"".join([len(header).to_bytes(8, "little"), header, memoryview(blob)[begin:]])


def check_sum(header: bytes, numbers: memoryview) -> None:
    """Raise ValueError if a file of ours is not what was written; others have no sum."""
    entries = json.loads(header)
    texts = entries.get("__metadata__", {})
    said = texts.pop(SUM_KEY, "")
    if (said or VERSION_KEY in texts) and said != _sum(entries, numbers):
        raise ValueError(
            "it is damaged: its bytes do not have the sum that was written with them (another "
            f"program that changes such a file has to leave out {SUM_KEY} and {VERSION_KEY})"
        )


def _sum(entries: dict[str, Any], numbers: memoryview) -> str:
    found = hashlib.blake2b(_as_json(entries).encode("utf-8"), digest_size=16)
    found.update(numbers)
    return _as_json(found.hexdigest())


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _read_metadata(texts: Any) -> dict[str, Any]:
    """Our own values are JSON; those of another writer stay the strings they are."""
    if type(texts) is not dict or not all(type(text) is str for text in texts.values()):
        raise ValueError("its metadata is not a mapping from str to str")
    texts.pop(SUM_KEY, None)
    if VERSION_KEY not in texts:
        return texts
    version = parse_json(texts.pop(VERSION_KEY))
    if type(version) is not int or version < 1:
        raise ValueError(f"its format version is {short(version)}, expected a whole number")
    if version > VERSION:
        known = f"has format version {version} and this program reads up to {VERSION}"
        raise ValueError(f"it comes from a newer tinygrad_rnn: it {known}; upgrade tinygrad_rnn")
    metadata = {name: parse_json(text) for name, text in texts.items()}
    conventions = metadata.get(CONVENTIONS_KEY, {})
    if type(conventions) is not dict or any(type(x) is not dict for x in conventions.values()):
        raise ValueError(f"its conventions are {short(conventions)}, expected some by path")
    _as_json(metadata).encode("utf-8")  # NaN, 1e999 and a lone surrogate as \ud800 end here
    return metadata


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    """Return where an array lies, if its dtype and shape need exactly that much room."""
    who = f"array {short(name)}"
    trouble = name_trouble(name)
    if trouble:
        raise ValueError(f"the name {short(name)} {trouble}")
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{who} has not exactly a dtype, a shape and data_offsets")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(kind) is not str or kind not in READABLE:
        raise ValueError(f"{who} has dtype {short(kind)}, expected one of {', '.join(READABLE)}")
    if not _are_counts(shape) or len(shape) > MAX_AXES:
        raise ValueError(f"{who} has shape {short(shape)}, expected up to {MAX_AXES} sizes")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError(f"{who} has data_offsets {short(offsets)}, expected a begin and an end")
    itemsize = np.dtype(READABLE[kind]).itemsize
    if math.prod(size or 1 for size in shape) * itemsize >= 2**63:  # NumPy's bound, with or without
        raise ValueError(f"{who} has shape {short(shape)}, too large for any memory")  # empty axes
    begin, end = offsets
    if end - begin != math.prod(shape) * itemsize:
        raise ValueError(f"{who} has shape {short(shape)} of {kind}, but {end - begin} bytes")
    return begin, end, name


def _are_counts(numbers: Any) -> bool:
    """A list of whole numbers from 0; JSON's true and 1.0 are none."""
    return type(numbers) is list and all(type(n) is int and 0 <= n < 2**63 for n in numbers)


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its JSON repeats a key")
    return found


def _bounded_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:  # reading a number takes the square of its length
        raise ValueError(f"its JSON holds a number of more than {MAX_DIGITS} digits")
    return int(digits)


def _check_plain(value: Any, where: str, depth: int = 0) -> None:
    """Refuse what JSON would change or could not read back; the bound on depth ends any cycle."""
    if isinstance(value, dict | list | tuple) and depth == MAX_NESTING:
        deep = f"expected at most {MAX_NESTING} brackets in one another"
        raise ValueError(f"save(metadata): {where[:200]}: {deep}, got more; is it inside itself?")
    if isinstance(value, dict) and all(_is_text(key) for key in value):
        for key, inner in value.items():
            _check_plain(inner, f"{where}[{short(key)}]", depth + 1)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            _check_plain(inner, f"{where}[{i}]", depth + 1)
    elif not _is_plain(value):
        expected = "expected finite numbers, text, None, and lists and str-keyed dicts of them"
        got = short(value) if isinstance(value, float | str) else f"a {type(value).__name__}"
        hint = "convert it, or store it as an array"
        raise ValueError(f"save(metadata): {where}: {expected}, got {got}; {hint}")


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return value.bit_length() <= 3 * MAX_DIGITS  # fewer digits than the reader's bound
    return value is None or _is_text(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not _SURROGATE.search(value)
