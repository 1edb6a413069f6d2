"""Compiled code on disk: damaged, of another version, without a home, and never too much of it."""

import importlib
import os
import py_compile
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import caches
from tinygrad_rnn.kernels import compiles
from tinygrad_rnn.kernels.numbers import Called

if not compiles():
    pytest.skip("promised of compiled kernels only", allow_module_level=True)

from tinygrad_rnn.kernels import compiled, generated, kept, target

pytestmark = pytest.mark.compiled
ROOT = Path(__file__).parents[1]


def twice(x):
    return x + x


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder for compiled code, of a process that has not warned yet."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(kept, "_warned", set())
    return tmp_path / "tinygrad_rnn"


def loaded(*key):
    """`twice`, and whether it was found on disk."""
    one = compiled.closed(numba.njit(twice), (numba.int64,), compiled.Overloads(*key))
    assert one(21) == 42
    return sum(one.stats.cache_hits.values()) == 1


def flipped(data):
    """One bit of the machine code itself: nothing but a sum over all of it would see that."""
    at = data.index(b"\x7fELF") + 200 if b"\x7fELF" in data else len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGE = {
    "empty": lambda data: b"",
    "short": lambda data: data[:7],
    "cut": lambda data: data[: len(data) // 2],
    "garbage": lambda data: bytes(range(256)) * 9,
    "flipped": flipped,
    "longer": lambda data: data + b"\0",
    "no pickle": lambda data: kept.summed(b"nothing"),
    "another pickle": lambda data: kept.summed(b"N."),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_I08_a_damaged_file_is_as_if_not_there(damage, place):
    assert [loaded("a"), loaded("a")] == [False, True]
    (file,) = place.iterdir()
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    with pytest.warns(kept.KernelCacheWarning, match=file.name) as seen:
        assert not loaded("a")
    assert len(seen) == 1 and loaded("a")


def test_I08_two_damaged_files_are_one_warning(place):
    loaded("a"), loaded("b")
    for file in place.iterdir():
        file.write_bytes(b"")
    with pytest.warns(kept.KernelCacheWarning) as seen:
        assert [loaded("a"), loaded("b")] == [False, False]
    assert len(seen) == 1 and [loaded("a"), loaded("b")] == [True, True]


def test_I08_a_loop_whose_file_is_damaged_is_compiled_again(place, monkeypatch):
    compiles, real = [], target.object_code
    monkeypatch.setattr(target, "object_code", lambda *it: compiles.append(1) or real(*it))

    def loop(text):
        before = len(compiles)
        made = generated._compiled(text, 0, [(np.dtype(float), 1, True)], {})
        out = np.full(1, 5.0)
        made((out,))
        return out[0], before == len(compiles)

    half = "def forward(out):\n    out[0] = out[0] / 2\n"
    assert [loop(half), loop(half)] == [(2.5, 0), (2.5, 1)]
    (file,) = place.iterdir()
    file.write_bytes(b"?")
    with pytest.warns(kept.KernelCacheWarning, match="compiled again"):
        assert loop(half) == (2.5, 0)
    assert loop(half.replace("2", "4")) == (1.25, 0)  # the same name, another text
    assert loop(half) == (2.5, 1)


@pytest.mark.parametrize("what", ["numba", "llvmlite", "sys", "_STAMP"])
def test_I08_another_version_is_another_file(what, place, monkeypatch):
    context = numba.core.registry.cpu_target.target_context
    key = compiled.Overloads("a").kept((), context).key
    if what == "_STAMP":
        monkeypatch.setattr(kept, what, "other")
    else:
        where = compiled if what == "numba" else kept
        monkeypatch.setattr(where, what, SimpleNamespace(__version__="0", version="0"))
    assert key != compiled.Overloads("a").kept((), context).key


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package of one number in one of three ways, and return its fingerprint."""

    def installed(name, number, how):
        folder = tmp_path / name / f"{how}{number}"
        home = folder / name
        home.mkdir(parents=True)
        (home / "__init__.py").write_text("")
        (home / "helper.py").write_text(f"NUMBER = {number}\n")
        if how == "compiled":
            for file in list(home.glob("*.py")):
                py_compile.compile(str(file), str(file) + "c", doraise=True)
                file.unlink()
        elif how == "zip":
            with zipfile.ZipFile(folder / "all.zip", "w") as whole:
                for file in home.glob("*.py"):
                    whole.write(file, f"{name}/{file.name}")
            folder = folder / "all.zip"
        monkeypatch.syspath_prepend(str(folder))
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        try:
            return kept.fingerprint(name)
        finally:
            sys.modules.pop(name, None)

    return installed


@pytest.mark.parametrize("how", ["text", "compiled", "zip"])
def test_I07_the_fingerprint_is_of_the_code_however_it_is_installed(how, package):
    found = [package("stamped", number, how) for number in (1, 2)]
    assert None not in found and found[0] != found[1]


def test_I07_code_that_cannot_be_read_is_not_kept(place, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(loader=None))
    assert kept.fingerprint("tinygrad_rnn.kernels") is None
    monkeypatch.undo()
    monkeypatch.setattr(kept, "_warned", set())
    monkeypatch.setattr(kept, "_STAMP", None)
    with pytest.warns(kept.KernelCacheWarning, match="its own code cannot be read"):
        assert not loaded("a")
    assert not loaded("a")


def test_I07_without_a_home_nothing_is_written_where_one_stands(tmp_path, monkeypatch):
    """A user id without a name, as `docker run -u 12345` gives."""
    monkeypatch.chdir(tmp_path)
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "for a while"))
    where = kept.folder()
    assert where.is_absolute() and where.parent == tmp_path / "for a while"
    assert [p.name for p in tmp_path.iterdir()] == ["for a while"]
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert kept.folder() == where


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners and modes of folders")
def test_I08_a_folder_of_others_is_not_used(place, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    place.mkdir()
    for mode in (0o777, 0o770, 0o702):  # others could put code there
        place.chmod(mode)
        assert kept.folder() == tmp_path / "home" / "tinygrad_rnn"
    place.chmod(0o700)
    assert kept.folder() == place
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert kept.folder() is None


def test_what_was_not_used_for_longest_goes_first(tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_text("not ours to delete")
    files = [tmp_path / f"{k}{kept.ENDING}" for k in range(8)]
    for k, file in enumerate(files):
        file.write_bytes(b"." * 100)
        os.utime(file, (k, k))
    kept._make_room(tmp_path)
    assert all(file.exists() for file in files)
    monkeypatch.setattr(kept, "BYTES", 700)
    kept._make_room(tmp_path)
    assert [file.exists() for file in files] == [False] * 3 + [True] * 5
    monkeypatch.setattr(kept, "FILES", 4)
    kept._make_room(tmp_path)
    assert [file.exists() for file in files] == [False] * 5 + [True] * 3
    assert (tmp_path / "mine.txt").exists()
    kept._make_room(tmp_path / "gone")  # another process was quicker


def test_a_file_that_is_used_stays(place):
    loaded("a")
    (file,) = place.iterdir()
    os.utime(file, (1, 1))
    assert loaded("a") and file.stat().st_mtime > 1


CHILDREN = """
import multiprocessing, os, sys
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn.loops import runtime

runtime.SHORT = -1  # on both threads, however little there is to do
tg.set_num_threads(2)

def bits(_=0):
    cell = tg.nn.RNN(3, 4, dtype=np.float64, rng=0)
    ys, _ = cell(np.linspace(-1, 1, 5 * 8 * 3).reshape(5, 8, 3))
    ys.sum().backward()
    return b"".join(x.data.tobytes() for x in (ys, *[p.grad for p in cell.parameters()]))

if __name__ == "__main__":
    found, ways = set(), multiprocessing.get_all_start_methods()
    for way, count in (("spawn", 2), ("forkserver", 1), ("fork", 2)):
        if way in ways:  # the first two compile at the same time
            with multiprocessing.get_context(way).Pool(count) as pool:
                found |= {*pool.map(bits, range(count), chunksize=1)}
        found |= {bits()}  # so that a fork has threads to lose
    if "fork" in ways:
        child = os.fork()
        if not child:
            sys.exit(bits() not in found)  # an end like any other
        assert os.waitpid(child, 0)[1] == 0 and bits() in found
    print(len(found), os.environ["NUMBA_CACHE_DIR"])
"""


def test_I04_I05_children_however_they_begin_find_the_bits_of_their_parent(tmp_path):
    """With a cache that begins empty, and after the first loops ran on several threads."""
    script = tmp_path / "script.py"
    script.write_text(CHILDREN)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    here = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": path}
    out = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(script)],
        capture_output=True, text=True, env=os.environ | here, timeout=300,
    )  # fmt: skip
    assert (out.stdout.split(), out.stderr) == (["1", str(tmp_path)], "")
    assert any((tmp_path / "tinygrad_rnn").iterdir())


def test_functions_in_memory_have_a_bound(monkeypatch):
    monkeypatch.setattr(caches, "functions", caches.Cache(2))
    monkeypatch.setattr(generated, "_compiled", lambda source, *_: [source])
    first = generated.function("a", 0, (), {})
    for source in "babcab":
        assert generated.function(source, 0, (), {}) == [source]
        assert len(caches.functions) <= 2
    assert generated.function("a", 0, (), {}) is not first  # it had to go, and came again


def test_an_op_is_known_by_its_code_and_not_by_its_place_in_memory(monkeypatch):
    made = []
    monkeypatch.setattr(caches, "functions", caches.Cache(9))
    monkeypatch.setattr(generated, "_compiled", lambda *given: made.append(given) or len(made))
    bodies = [lambda x: x, lambda x: x + 1]
    one = {"op_f": Called(bodies[0], None, ("code", 1))}
    assert generated.function("a", 0, (), one) == 1
    assert generated.function("a", 0, (), {"op_f": Called(bodies[1], None, ("code", 1))}) == 1
    assert generated.function("a", 0, (), {"op_f": Called(bodies[0], None, ("code", 2))}) == 2
    assert generated.function("a", 0, (), {"op_g": Called(bodies[0], None, ("code", 1))}) == 3
    assert generated.function("a", 0, (), one) == 1


def test_an_op_made_anew_in_every_call_is_compiled_once(monkeypatch):
    made = []
    real = generated._compiled
    monkeypatch.setattr(generated, "_compiled", lambda *given: made.append(1) or real(*given))
    monkeypatch.setattr(caches, "functions", caches.Cache(9))

    def forward(factor):
        @tg.pointwise(lambda g, y, x: factor * g)
        def scaled(x):
            return factor * x

        (path,) = tg.scan(lambda h: scaled(h), np.ones(2), None, length=3)
        return path.data[-1].tolist()

    assert [forward(2.0) for _ in range(5)] == [[8.0, 8.0]] * 5 and len(made) == 1
    assert forward(3.0) == [27.0, 27.0] and forward(2.0) == [8.0, 8.0] and len(made) == 2
