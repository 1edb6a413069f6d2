"""No lost file, no code run from a file, no half a model: checkpoints under bad weather."""

import errno
import io
import itertools
import json
import os
import pickle
import random
import re
import signal
import stat
import subprocess
import sys
import tracemalloc
import unicodedata
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy as official
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_rnn.io import (
    CheckpointError,
    atomic,
    checkpoint,
    load,
    save,
    write_atomically,
    write_text_atomically,
)
from tinygrad_rnn.io.header import MAX_HEADER, MAX_NESTING, check_header

ROOT = Path(__file__).resolve().parents[1]
DTYPES = ["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
ARRAYS = {
    "cell.Wx": np.arange(6, dtype=np.float64).reshape(2, 3),
    "cell.b": np.array([1.5, -0.0, np.nan, np.inf], np.float32),
    "steps": np.array(7, np.int64),
    "mask": np.array([True, False, True]),
}
METADATA = {"epoch": 3, "best": 0.1, "cell": "LSTM", "rng": {"state": 2**127, "x": [1, None]}}
posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no such thing")


def craft(path, header, payload=b""):
    """A file of this header, true or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + payload)
    return path


def entry(begin, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.astype(found[name].dtype).tobytes()


def assert_refused(path, reason):
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert repr(str(path)) in str(caught.value)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 1000 + len(str(path))


# --- there and back -----------------------------------------------------------------------------


def test_J16_round_trip(tmp_path):
    path = tmp_path / "model.safetensors"
    save(path, ARRAYS, METADATA)
    arrays, metadata = load(str(path))
    assert_same(arrays, ARRAYS)
    assert metadata == METADATA
    assert list(arrays) == sorted(arrays)
    assert os.listdir(tmp_path) == ["model.safetensors"]


# hypothesis tries words it finds in the source
RESERVED = {"__metadata__", "tinygrad_rnn_format", "tinygrad_rnn_conventions"}
NAMES = st.text(min_size=1, max_size=20).filter(
    lambda name: (
        name not in RESERVED
        and not set(name) & set("\0\n\r")
        and unicodedata.is_normalized("NFC", name)
    )
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
ANY_ARRAY = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, ANY_ARRAY, max_size=4), st.dictionaries(NAMES, JSON, max_size=3))
def test_J16_round_trip_of_anything(tmp_path_factory, arrays, metadata):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    save(path, arrays, metadata)
    first = path.read_bytes()
    found, facts = load(path)
    assert_same(found, arrays)
    assert facts == metadata
    save(path, found, facts)
    assert path.read_bytes() == first


def test_same_content_same_bytes_in_any_order(tmp_path):
    """The library alone writes metadata in a random order (safetensors#584)."""
    path = tmp_path / "a"
    facts = {name: name for name in "abcdefgh"}
    written = set()
    for turn in (1, -1, 1, -1):
        save(path, dict(list(ARRAYS.items())[::turn]), dict(list(facts.items())[::turn]))
        written.add(path.read_bytes())
    assert len(written) == 1


def test_J16_the_official_library_reads_ours(tmp_path):
    path = tmp_path / "a"
    save(path, ARRAYS, {"cell": "LSTM", "sizes": [2, 3], "名": "值"})
    assert_same(official.load_file(path), ARRAYS)
    with safetensors.safe_open(path, "np") as file:
        facts = file.metadata()
    assert re.fullmatch('"[0-9a-f]{32}"', facts.pop("tinygrad_rnn_sum"))
    assert {name: json.loads(text) for name, text in facts.items()} == {
        **{"cell": "LSTM", "sizes": [2, 3], "名": "值"},
        "tinygrad_rnn_format": 1,
    }


def test_J06_we_read_the_official_library(tmp_path):
    path = tmp_path / "a"
    official.save_file(ARRAYS, path, {"format": "pt", "version": "99"})
    arrays, metadata = load(path)
    assert_same(arrays, ARRAYS)
    assert metadata == {"format": "pt", "version": "99"}  # not ours: strings, untouched
    official.save_file({}, path)
    assert load(path) == ({}, {})


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0, 2), (1,), (1,) * 64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_J16_no_axes_and_no_elements(tmp_path, shape, dtype):
    array = np.ones(shape, dtype)
    save(tmp_path / "a", {"重み/β": array})
    assert_same(load(tmp_path / "a")[0], {"重み/β": array})


def test_J15_views_and_aliases(tmp_path):
    base = np.arange(24.0).reshape(4, 6)
    frozen = base.copy()
    frozen.flags.writeable = False
    views = {
        "transposed": base.T,
        "strided": base[::2, ::-3],
        "broadcast": np.broadcast_to(base[0], (3, 6)),
        "tied": base,
        "tied too": base,
        "frozen": frozen,
        "fortran": np.asfortranarray(base),
        "big endian": base.astype(">f8").T,
    }
    save(tmp_path / "a", views)
    found = load(tmp_path / "a")[0]
    assert_same(found, views)
    found["tied"][:] = 0
    assert found["tied too"].any()


def test_J12_loaded_arrays_own_their_memory(tmp_path):
    path = tmp_path / "a"
    save(path, {"w": np.arange(100_000.0), "none": np.empty((0, 2))})
    arrays = load(path)[0]
    with open(path, "r+b") as file:
        file.truncate(10)
    path.unlink()
    assert arrays["w"].flags.owndata and arrays["w"].flags.writeable and arrays["w"].flags.aligned
    assert arrays["w"].sum() == np.arange(100_000.0).sum()


# --- what save refuses --------------------------------------------------------------------------


BAD_NAMES = ["", "a\0b", "a\nb", "a\rb", "\ud800", "__metadata__", "x" * 1001, 7, None, ("a",)]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name)[:20])
def test_J11_bad_names(tmp_path, name):
    for arrays, metadata in [({name: np.ones(2)}, {}), ({}, {name: 1})]:
        with pytest.raises(ValueError, match="the name") as caught:
            save(tmp_path / "a", arrays, metadata)
        assert repr(name)[:8] in str(caught.value)
        str(caught.value).encode()
    assert os.listdir(tmp_path) == []


def test_J11_names_that_look_the_same(tmp_path):
    with pytest.raises(ValueError, match="look the same"):
        save(tmp_path / "a", {"\u00e9": np.ones(1), "e\u0301": np.ones(1)})


def test_J11_a_name_is_never_a_path(tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    arrays = {"../escape": np.ones(2), "/etc/x": np.ones(2), "C:\\x": np.ones(1), " ": np.ones(1)}
    save(folder / "a", arrays)
    assert_same(load(folder / "a")[0], arrays)
    assert [p.name for p in tmp_path.rglob("*")] == ["inner", "a"]


@pytest.mark.parametrize("dtype", ["f2", "c8", "c16", "O", "U3", "S3", "M8[s]", "m8[s]", "f4,i4"])
def test_J06_bad_dtypes(tmp_path, dtype):
    with pytest.raises(ValueError, match=r"arrays\['w'\]: expected one of float64, .*cast it"):
        save(tmp_path / "a", {"w": np.zeros(2, dtype)})


@pytest.mark.parametrize("value", [[1.0], 1.0, np.float64(1), None, np.ma.masked_array([1.0])])
def test_not_an_array(tmp_path, value):
    with pytest.raises(TypeError, match=r"arrays\['w'\]: expected a NumPy array, got "):
        save(tmp_path / "a", {"w": value})


@pytest.mark.parametrize("argument", ["arrays", "metadata"])
def test_not_a_mapping(tmp_path, argument):
    with pytest.raises(TypeError, match=rf"save\({argument}\): expected a mapping .* got list"):
        save(tmp_path / "a", **{"arrays": {}, argument: [("w", np.ones(1))]})


def nested(depth):
    value: list = []
    for _ in range(depth - 1):
        value = [value]
    return value


CYCLE: list = []
CYCLE.append({"again": CYCLE})


@pytest.mark.parametrize(
    "value",
    [
        *[np.nan, -np.inf, 1j, b"x", {1, 2}, np.ones(1), np.float32(1), np.int64(1), object()],
        *[{1: 2}, {"a": {None: 1}}, "\ud800", {"\udfff": 1}, [np.nan], 10**5000, 10**1000],
        *[CYCLE, nested(MAX_NESTING + 1), nested(5000)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_metadata_that_json_would_change(tmp_path, value):
    with pytest.raises(ValueError, match=r"save\(metadata\): metadata\['fact'\]") as caught:
        save(tmp_path / "a", {}, {"fact": value})
    assert len(str(caught.value)) < 500
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", [nested(MAX_NESTING), 2**2999, -0.0, 5e-324, "\0\x1b\u2028"])
def test_metadata_at_the_edge(tmp_path, value):
    save(tmp_path / "a", {}, {"fact": value})
    assert repr(load(tmp_path / "a")[1]) == repr({"fact": value})


def test_metadata_too_large_to_read_back(tmp_path):
    with pytest.raises(ValueError, match="store large things as arrays"):
        save(tmp_path / "a", {}, {"fact": "x" * MAX_HEADER})
    with pytest.raises(ValueError, match="is taken"):
        save(tmp_path / "a", {}, {"tinygrad_rnn_format": 2})


# --- what load refuses --------------------------------------------------------------------------


GOOD = entry(0, 8, [2])
EMPTY = json.dumps(entry(0, 0, [0])).encode()
W8 = bytes(8)
RAW = {
    "leading space": (b' {"a":1}', "does not begin with '{'"),
    "byte order mark": (b'\xef\xbb\xbf{"a":1}', "does not begin with '{'"),
    "not a mapping": (b"[]", "does not begin with '{'"),
    "empty header": (b"", "does not begin with '{'"),
    "not UTF-8": (b'{"\xff":1}', "can't decode byte 0xff"),
    "half an object": (b'{"a":', "Expecting value"),
    "two objects": (b"{}{}", "Extra data"),
    "NUL padding": (b"{}\0\0", "Extra data"),
    "nesting": (b'{"a":' + b"[" * 200_000, "nests deeper"),
    "nesting after a backslash": (b'{"\\\\":' + b'{"a":' * 200_000, "nests deeper"),
    "nesting after a quote": (b'{"\\"":' + b"[" * 200_000, "nests deeper"),
    "brackets in a string": (b'{"\\"' + b"[" * 500 + b'":1}', "has not exactly"),
    "digits": (b'{"a":' + b"9" * 5000 + b"}", "more than 1000 digits"),
    "NaN": (b'{"a":NaN}', "has not exactly"),
    "NaN offset": (b'{"a":{"dtype":"I8","shape":[],"data_offsets":[NaN,1]}}', "[nan, 1]"),
    "infinite size": (b'{"a":{"dtype":"I8","shape":[1e999],"data_offsets":[0,1]}}', "[inf]"),
    "surrogate name": (b'{"\\ud800":{}}', "lone surrogate"),
    "duplicate name": (b'{"a":%b,"a":%b}' % (EMPTY, EMPTY), "repeats a key"),
    "duplicate by escape": (b'{"a":%b,"\\u0061":%b}' % (EMPTY, EMPTY), "repeats a key"),
    "duplicate metadata": (b'{"__metadata__":{},"__metadata__":{}}', "repeats a key"),
    "duplicate field": (b'{"a":{"shape":[],"shape":[]}}', "repeats a key"),
}


@pytest.mark.parametrize(("header", "reason"), RAW.values(), ids=RAW)
def test_J01_J02_J03_malformed_json(tmp_path, header, reason):
    assert_refused(craft(tmp_path / "a", header), reason)


HEADERS = {
    "overlap": {"a": entry(0, 8, [2]), "b": entry(4, 8, [1])},
    "same place": {"a": GOOD, "b": GOOD},
    "hole": {"a": entry(0, 3, [3], "I8"), "b": entry(4, 8, [1])},
    "hole at the start": {"a": entry(4, 8, [1])},
    "bytes left over": {"a": entry(0, 4, [1])},
    "nothing described": {},
    "beyond the end": {"a": entry(0, 16, [4])},
    "far beyond": {"a": entry(0, 2**62, [2**60])},
    "beyond int64": {"a": entry(0, 2**70, [2**68])},
    "backwards": {"a": entry(8, 0, [2])},
    "negative begin": {"a": entry(-8, 8, [4])},
    "negative shape": {"a": entry(0, 8, [-2])},
    "two negatives": {"a": entry(0, 8, [-1, -2])},
    "float offset": {"a": {**GOOD, "data_offsets": [0.0, 8]}},
    "bool offset": {"a": {**GOOD, "data_offsets": [False, 8]}},
    "text offset": {"a": {**GOOD, "data_offsets": ["0", "8"]}},
    "three offsets": {"a": {**GOOD, "data_offsets": [0, 4, 8]}},
    "float shape": {"a": entry(0, 8, [2.0])},
    "bool shape": {"a": entry(0, 8, [True, 2])},
    "null shape": {"a": entry(0, 8, None)},
    "number as shape": {"a": entry(0, 8, 2)},
    "nested shape": {"a": entry(0, 8, [[2]])},
    "huge empty": {"a": GOOD, "b": entry(8, 8, [0, 2**62, 2**62])},
    "overflowing": {"a": GOOD, "b": entry(8, 8, [2**32, 2**32])},
    "65 axes": {"a": entry(0, 8, [1] * 64 + [2])},
    "shape too small": {"a": entry(0, 8, [1])},
    "half too short": {"a": entry(0, 8, [5], "F16")},
    "quarter": {"a": entry(0, 8, [8], "F8_E4M3")},
    "lower case": {"a": entry(0, 8, [2], "f32")},
    "numpy dtype": {"a": entry(0, 8, [1], "|O")},
    "dtype of no type": {"a": entry(0, 8, [2], ["F32"])},
    "missing field": {"a": {"dtype": "F32", "shape": [2]}},
    "extra field": {"a": {**GOOD, "code": "import os"}},
    "entry of no type": {"a": [GOOD]},
    "empty name": {"": GOOD},
    "newline in a name": {"a\nb": GOOD},
    "long name": {"x" * 1001: GOOD},
    "metadata of no type": {"a": GOOD, "__metadata__": ["x"]},
    "metadata of numbers": {"a": GOOD, "__metadata__": {"x": 1}},
    "metadata null": {"a": GOOD, "__metadata__": None},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_J01_J03_lying_headers(tmp_path, header):
    craft(tmp_path / "good", {"a": GOOD}, W8)
    assert load(tmp_path / "good")[0]["a"].shape == (2,)
    assert_refused(craft(tmp_path / "a", header, W8), "but ")
    with pytest.raises(ValueError):  # by us, whatever the library would have said
        check_header(json.dumps(header).encode(), 8)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 100_000_001, MAX_HEADER + 1, 3])
def test_J02_a_lying_length_allocates_nothing(tmp_path, length):
    path = tmp_path / "a"
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    with open(path, "r+b") as file:  # sparse, so that the first lies are only half of one
        file.truncate(200_000_000 if length > 100 else 10)
    assert_refused(path, "claims a header")
    load_is_refused_within(5_000_000, path)


def test_J02_a_lying_shape_allocates_nothing(tmp_path):
    path = craft(tmp_path / "a", {"a": entry(0, 2**40, [2**38])}, W8)
    load_is_refused_within(5_000_000, path)


def load_is_refused_within(limit, path):
    with pytest.raises(CheckpointError):  # the first call imports
        load(path)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def test_J02_more_than_the_memory_is_an_error_of_the_file(tmp_path, monkeypatch):
    def no_room(file):
        raise MemoryError

    save(tmp_path / "a", ARRAYS)
    monkeypatch.setattr(checkpoint, "_read", no_room)
    assert_refused(tmp_path / "a", "larger than the free memory")


def test_J12_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    """Without a map there is no SIGBUS; a file that shrinks under our hands is an error."""
    path = tmp_path / "a"
    save(path, {"w": np.ones(100_000)})  # more than the buffer of a file holds
    check = checkpoint.check_header

    def shrink(header, payload):
        os.truncate(path, 100)
        return check(header, payload)

    monkeypatch.setattr(checkpoint, "check_header", shrink)
    assert_refused(path, "changed while it was read")


def test_J01_bool_bytes_are_bools(tmp_path):
    craft(tmp_path / "a", {"m": entry(0, 2, [2], "BOOL")}, b"\1\2")
    assert_refused(tmp_path / "a", "a byte other than 0 and 1")


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("code ran from a file",))


def in_memory(write, array):
    file = io.BytesIO()
    write(file, array)
    return file.getvalue()


def foreign_files():
    yield "pickle", lambda path: path.write_bytes(pickle.dumps(Trap())), "a pickle"
    yield "old pickle", lambda path: path.write_bytes(pickle.dumps(Trap(), 0)), "header"
    trap = np.array([Trap()], object)
    yield "npy", lambda path: path.write_bytes(in_memory(np.save, trap)), ".npy"
    yield "npz", lambda path: path.write_bytes(in_memory(np.savez, trap)), "zip archive"
    yield "text", lambda path: path.write_text("epoch,loss\n1,2\n"), "header"
    yield "json", lambda path: path.write_text('{"a": 1, "b": 2}'), "header"
    yield "empty", lambda path: path.write_bytes(b""), "0 bytes"
    yield "seven bytes", lambda path: path.write_bytes(bytes(7)), "7 bytes"
    yield "zeros", lambda path: path.write_bytes(bytes(4096)), "begin with"
    yield "folder", lambda path: path.mkdir(), "a folder"
    if os.name != "nt":
        yield "pipe", lambda path: os.mkfifo(path), "not a regular file"


@pytest.mark.parametrize(("what", "make", "reason"), list(foreign_files()))
def test_J01_J04_foreign_files(tmp_path, what, make, reason):
    make(tmp_path / "a")
    assert_refused(tmp_path / "a", reason)


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        *[("2", "newer tinygrad_rnn"), ("0", "whole number"), ("true", "whole number")],
        *[("x", "Expecting value"), ("", "Expecting value"), ('"1"', "whole number")],
    ],
)
def test_J07_versions(tmp_path, version, reason):
    facts = {"tinygrad_rnn_format": version}
    assert_refused(craft(tmp_path / "a", {"__metadata__": facts, "new": 1}), reason)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nan",
        "NaN",
        "[-Infinity]",
        "1e999",
        "[1",
        "[" * 100_000,
        "9" * 5000,
        '{"a":1,"a":2}',
        '"\\ud800"',
    ],
)
def test_J01_J02_broken_metadata_of_our_own(tmp_path, text):
    facts = {"tinygrad_rnn_format": "1", "x": text}
    assert_refused(craft(tmp_path / "a", {"__metadata__": facts}), "but ")


def test_J10_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"load\(path\): there is no file .* save a check"):
        load(tmp_path / "missing")


def test_J10_a_forbidden_file(tmp_path, monkeypatch):
    def forbidden(name, mode):
        raise PermissionError(errno.EACCES, "Permission denied", name)

    save(tmp_path / "a", {})
    monkeypatch.setattr(checkpoint, "open", forbidden, raising=False)
    with pytest.raises(PermissionError, match=r"Permission denied: .*a"):
        load(tmp_path / "a")


def test_J01_every_truncation(tmp_path):
    save(tmp_path / "a", ARRAYS, METADATA)
    whole = (tmp_path / "a").read_bytes()
    for cut in [*range(len(whole)), *range(-8, 0)]:
        (tmp_path / "a").write_bytes(whole[:cut])
        with pytest.raises(CheckpointError):
            load(tmp_path / "a")
    (tmp_path / "a").write_bytes(whole + b"\0")
    assert_refused(tmp_path / "a", "something was added")


def test_J01_byte_flips(tmp_path):
    """A damaged file is an error, wherever the damage is."""
    dice = random.Random(20)
    path = tmp_path / "a"
    save(path, ARRAYS, METADATA)
    whole = path.read_bytes()
    refused = 0
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(dice.choice([1, 1, 1, 2, 8])):
            place = dice.randrange(dice.choice([8, 8 + 60, len(whole)]))
            damaged[place] = dice.choice([damaged[place] ^ 1 << dice.randrange(8), *b'[]{}",09\\'])
        path.write_bytes(damaged)
        if damaged != whole:
            with pytest.raises(CheckpointError):
                load(path)
            refused += 1
    assert refused > 1500


def test_J01_random_bytes(tmp_path):
    dice = random.Random(21)
    for _ in range(300):
        header = dice.randbytes(dice.randrange(200))
        start = dice.choice([b"", b"{", b'{"'])
        assert_refused(craft(tmp_path / "a", start + header, dice.randbytes(9)), "but ")
        (tmp_path / "a").write_bytes(header)
        assert_refused(tmp_path / "a", "but ")


# --- whole or not at all ------------------------------------------------------------------------


def failing(calls_before, error, function):
    """`function`, until it fails."""
    countdown = itertools.count()

    def call(*args, **kwargs):
        if next(countdown) == calls_before:
            raise error
        return function(*args, **kwargs)

    return call


class HalfWritten:
    """A file on a disk that is full after half of the data."""

    def __init__(self, error, *args, **kwargs):
        self.file, self.error = open(*args, **kwargs), error  # noqa: SIM115

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        raise self.error


CRASHES = [
    *[(where, b"old") for where in ("open", "write", "fchmod", "fsync", "replace")],
    *[(where, None) for where in ("open", "write", "fsync", "replace")],
]
ERRORS = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EIO, "Input/output error"),
    KeyboardInterrupt(),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("where", "old"), CRASHES)
def test_J08_a_crash_leaves_the_old_file(tmp_path, monkeypatch, where, error, old):
    path = tmp_path / "model"
    if old is not None:
        path.write_bytes(old)
    if where == "write":
        monkeypatch.setattr(
            atomic, "open", lambda *a, **k: HalfWritten(error, *a, **k), raising=False
        )
    else:
        monkeypatch.setattr(os, where, failing(0, error, getattr(os, where)))
    with pytest.raises(type(error)) as caught:
        write_atomically(path, b"new" * 1000)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ([] if old is None else ["model"])
    assert old is None or path.read_bytes() == old
    if isinstance(error, OSError):
        assert repr(str(path)) in str(caught.value) and ".part" not in str(caught.value)


@posix_only
def test_J08_a_crash_after_the_rename_leaves_the_new_file(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")
    error = OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(os, "fsync", failing(1, error, os.fsync))
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"new"


def test_J08_the_order_of_the_steps(tmp_path, monkeypatch):
    """The data must be on the disk before the name is, and the name before we return."""
    steps = []

    def fsync(handle):
        steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")

    def replace(part, target):
        assert os.path.dirname(part) == os.path.dirname(target)
        assert Path(part).read_bytes() == b"new"
        steps.append("replace")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomically(tmp_path / "a", b"new")
    assert steps == ["file", "replace", "folder"][: 2 if os.name == "nt" else 3]


@pytest.mark.parametrize("call", ["fsync", "open"])
@posix_only
def test_J08_a_folder_that_cannot_be_flushed(tmp_path, monkeypatch, call):
    """Some network disks flush no folder, and some folders cannot be opened: no reason to fail."""
    error = OSError(errno.EINVAL if call == "fsync" else errno.EACCES, "no")
    monkeypatch.setattr(os, call, failing(1, error, getattr(os, call)))
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def run(code, *args, **options):
    """A child that runs `code` with the package and this test's words."""
    prelude = "import os, sys, time\nimport numpy as np\nfrom tinygrad_rnn.io import load, save\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", prelude + code, *map(str, args)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, **options)


HANG = """
def hang(*args):
    print("here", flush=True)
    time.sleep(60)
os.{0} = hang
save(sys.argv[1], {{"w": np.ones(1_000_000)}})
"""


@posix_only
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_J08_kill_9_in_the_middle(tmp_path, where):
    path = tmp_path / "model"
    save(path, ARRAYS, METADATA)
    with run(HANG.format(where), path) as child:
        assert child.stdout.readline() == b"here\n"
        child.send_signal(signal.SIGKILL)
    assert len(os.listdir(tmp_path)) == 2  # the part: nobody was left to remove it
    assert_same(load(path)[0], ARRAYS)
    save(path, {"w": np.ones(3)})
    assert_same(load(path)[0], {"w": np.ones(3)})


AGAIN = """
path, who, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
print("here", flush=True)
for _ in range(times):
    save(path, {"w": np.full(50_000, who)}, {"who": who})
"""


@posix_only
def test_J08_kill_9_at_any_moment(tmp_path):
    dice = random.Random(22)
    path = tmp_path / "model"
    save(path, {"w": np.full(5, 0)}, {"who": 0})
    for who in range(1, 4):
        with run(AGAIN, path, who, 10**6) as child:
            child.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(timeout=dice.uniform(0.05, 0.3))
            child.kill()
        arrays, facts = load(path)
        assert (arrays["w"] == facts["who"]).all()


def test_J09_two_processes_save_to_one_path(tmp_path):
    path = tmp_path / "model"
    save(path, {"w": np.full(5, 0)}, {"who": 0})
    writers = set()
    with run(AGAIN, path, 1, 60) as one, run(AGAIN, path, 2, 60) as two:
        while one.poll() is None or two.poll() is None:
            arrays, facts = load(path)
            assert (arrays["w"] == facts["who"]).all()
            writers.add(facts["who"])
    assert one.returncode == two.returncode == 0
    assert {1, 2} & writers
    assert os.listdir(tmp_path) == ["model"]


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save(sys.argv[1], {"w": np.ones(1_000_000)})
except OSError as error:
    print(error)
"""


@posix_only
def test_J08_a_disk_that_is_really_full(tmp_path):
    save(tmp_path / "model", ARRAYS)
    with run(FULL, tmp_path / "model") as child:
        assert b"File too large: '" in child.stdout.read()
    assert os.listdir(tmp_path) == ["model"]
    assert_same(load(tmp_path / "model")[0], ARRAYS)


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@posix_only
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_J08_a_new_file_follows_the_umask(tmp_path, mask):
    with umask(mask):
        save(tmp_path / "a", ARRAYS)
        (tmp_path / "plain").touch()
    assert mode(tmp_path / "a") == mode(tmp_path / "plain") == 0o666 & ~mask


@posix_only
@pytest.mark.parametrize("kept", [0o600, 0o644, 0o664, 0o755])
def test_J08_an_old_file_keeps_its_mode(tmp_path, kept, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(kept)
    first = []
    monkeypatch.setattr(os, "fchmod", lambda h, m: (first.append(mode(h)), os.chmod(h, m)))
    with umask(0o022):
        save(tmp_path / "a", ARRAYS)
    assert mode(tmp_path / "a") == kept
    assert first == [0o600]  # a private file is private from the first moment


@posix_only
def test_J10_symlinks_are_followed(tmp_path):
    for name in ("real", "links"):
        (tmp_path / name).mkdir()
    link, target = tmp_path / "links/a", tmp_path / "real/a"
    link.symlink_to("../real/a")
    for content in (b"one", b"two"):  # first dangling, then not
        write_atomically(link, content)
        assert link.is_symlink() and target.read_bytes() == content
    assert os.listdir(tmp_path / "links") == os.listdir(tmp_path / "real") == ["a"]
    link.unlink()
    link.symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        write_atomically(link, b"round and round")


def test_J10_paths_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"save\(path\): .* no folder .* create it first"):
        save(tmp_path / "missing" / "a", {})
    for folder in (tmp_path, f"{tmp_path}/new/"):
        with pytest.raises(IsADirectoryError, match=r"save\(path\): expected a file, got"):
            save(folder, {})
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save(tmp_path / "file" / "a", {})
    monkeypatch.setattr(os, "access", lambda *a: False)
    with pytest.raises(PermissionError, match="expected a writable file"):
        save(tmp_path / "file", {})
    assert os.listdir(tmp_path) == ["file"]


@posix_only
def test_J10_a_device_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="expected a regular file"):
        save(tmp_path / "pipe", {})
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


@pytest.mark.parametrize("path", [None, 3, 1.5, {}, ["a"]])
def test_J10_not_a_path(tmp_path, path):
    for who in (lambda: save(path, {}), lambda: load(path), lambda: write_atomically(path, b"")):
        with pytest.raises(TypeError, match=r"\w+\(path\): expected a str or a Path, got "):
            who()
    with open(tmp_path / "a", "wb") as file, pytest.raises(TypeError, match="not an open file"):
        save(file, {})


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800"], ids=ascii)
def test_J10_impossible_paths(path):
    for who in (lambda: save(path, {}), lambda: load(path)):
        with pytest.raises(ValueError, match="expected the name of a file"):
            who()


@posix_only
def test_J10_odd_file_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a\udcff", "模型 β.safetensors", "é" * 127, "x" * 255, "-", "a\nb"):
        save(name, ARRAYS)
        assert_same(load(name)[0], ARRAYS)
    Path("a\udcff").write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        load("a\udcff")
    str(caught.value).encode()  # the message can be printed
    with pytest.raises(OSError, match="too long"):
        save("x" * 256, ARRAYS)


def test_text(tmp_path):
    path = tmp_path / "a.txt"
    write_text_atomically(path, "η\r\nβ\n")
    assert path.read_bytes() == "η\r\nβ\n".encode()
    with pytest.raises(ValueError, match=r"\(text\): .* UTF-8 form, got '\\ud800' at position 2"):
        write_text_atomically(path, "ab\ud800")
    with pytest.raises(TypeError, match=r"\(text\): expected a str, got bytes"):
        write_text_atomically(path, b"x")
    with pytest.raises(TypeError, match=r"\(data\): expected bytes, got str; for text"):
        write_atomically(path, "x")
    assert path.read_bytes() == "η\r\nβ\n".encode()


def test_the_library_is_imported_late():
    code = "assert 'safetensors' not in sys.modules and 'tempfile' not in sys.modules"
    with run(code) as child:
        child.communicate()
    assert child.returncode == 0
