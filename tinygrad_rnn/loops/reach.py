"""What a function can reach besides its arguments, as it is now, and whether it has changed."""

from __future__ import annotations

import gc
import operator
import pickle
import random
import sys
import warnings
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from inspect import getattr_static
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any

import numpy as np

from ..caches import remembered
from ..op import Op
from ..tensor import Outline, Tensor

MANY = 5_000  # things that are looked at; what a function reaches beyond them is not
LARGE = 1 << 20  # bytes of an array that are compared one by one; of a larger one, every n-th item
OURS = __package__.split(".")[0]
KNOWN = {*sys.stdlib_module_names, OURS, "numpy", "numba"}  # their functions are not looked into
PLAIN = (int, float, complex, str, bytes, type(None), type(...), slice, range, np.generic, np.dtype)
RANDOM = (random.Random, np.random.RandomState, np.random.Generator, np.random.BitGenerator)
WORLD = {random.Random: "random", np.random.RandomState: "np.random"}  # what is everybody's
ABSENT = object()
NAMELESS: tuple[str, ...] = ()


class Reach:
    """What functions and objects can read or change that is not an argument, as it is now.

    Closure cells, the globals that the code names, attributes, what containers hold, the numbers of
    arrays, the states of random generators and iterators; and of every function and object found
    on the way, the same. Not seen is what happens in compiled code, and what functions of Python's,
    of NumPy's, of this library or of installed packages read.
    """

    def __init__(self, *roots: Any):
        self.things: list[tuple[Any, Any, Any, Any]] = []  # it, how it is read, its content, where
        self.tensors: list[tuple[Tensor, Any, Any, bool, Any]] = []  # and what they hold, and where
        self.number: dict[int, int] = {}
        self.met: dict[tuple[int, int], Any] = {}  # holds on to what it knows by address
        self.left: deque[tuple[Any, tuple[str, ...], Any]] = deque()
        for root in roots:
            _looked_into.add(str(getattr(root, "__module__", "")).split(".")[0])
            self.left.append((root, NAMELESS, (None, WORLD.get(root.__class__))))
        while self.left and len(self.things) < MANY:
            self.meet(*self.left.popleft())

    def meet(self, x: Any, names: tuple[str, ...], place: Any) -> None:
        """Note what `x` holds, and go on to that; `names` are those of the code that leads here."""
        if (id(x), id(names)) in self.met:
            return
        self.met[id(x), id(names)] = x, names
        read = reader(x)
        if read is None:
            return
        if read is named:
            read = partial(named, names=names)
        if id(x) not in self.number or read.__class__ is partial:
            self.number[id(x)] = len(self.things)
            self.things.append((x, read, read(x), place))
        if read in VALUES:
            return
        if x.__class__ is FunctionType or x.__class__ is MethodType:
            names = names_of(x)
        for piece, y in self.things[self.number[id(x)]][2]:
            kind = y.__class__
            if kind is Tensor:
                if id(y) not in self.number:
                    self.number[id(y)] = ~len(self.tensors)
                    self.tensors.append((y, y._array, y._grad, y.tracked, (place, piece)))
            elif kind not in LEAVES and not is_opaque(kind, y):
                self.left.append((y, names, (place, piece)))
        if read is attributes:
            self.call(x, names, place)

    def call(self, x: Any, names: tuple[str, ...], place: Any) -> None:
        """The methods of an object that the code may call, each with the names of its own."""
        for name in ("__call__", *names):
            method = getattr_static(type(x), name, None)
            if isinstance(method, property):
                method = method.fget
            if isinstance(method, FunctionType):
                self.left.append((MethodType(method, x), names, place))

    def changed(self) -> str | None:
        """What is not as it was, in a few words; None if all is. Logged tensors do not count."""
        for y, held, slope, tracked, place in self.tensors:
            if y._array is not held or y._grad is not slope or y.tracked is not tracked:
                return f"changes {spelled(place)}"
        for x, read, before, place in self.things:
            after = read(x)
            if not same(before, after):
                if isinstance(x, RANDOM):
                    return f"draws random numbers from {spelled(place) or type(x).__name__}"
                old, new = dict(kept(before)), dict(kept(after))
                gone = (
                    k for k in (*new, *old) if not alike(old.get(k, ABSENT), new.get(k, ABSENT))
                )
                piece = None if read in VALUES else next(gone, None)
                return f"changes {spelled((place, piece)) or 'something outside'}"
        return None

    def key(self) -> Any:
        """The same by value: equal for two functions that do the same and read the same."""
        found = []
        for x, _, content, _ in self.things:
            by = type(x) if not isinstance(x, FunctionType | ModuleType) else "function"
            found.append((by, *[(piece, self.token(y)) for piece, y in content]))
        return tuple(found)

    def token(self, x: Any) -> Any:
        if isinstance(x, Tensor) and x._array.__class__ is np.ndarray:
            return (frozen(x._array), x.tracked)
        return ("thing", self.number[id(x)]) if id(x) in self.number else frozen(x)


def same(before: Any, after: Any) -> bool:
    """Whether a content is what it was, tensors of a trace left out."""
    if len(before) == len(after) and all(a is b for (_, a), (_, b) in zip(before, after)):  # noqa: B905
        return True
    before, after = list(kept(before)), list(kept(after))
    return len(before) == len(after) and all(
        alike(a, b) and p == q for (p, a), (q, b) in zip(before, after, strict=True)
    )


def alike(a: Any, b: Any) -> bool:
    if a is b:
        return True
    return a.__class__ is b.__class__ and a.__class__ in COMPARED and frozen(a) == frozen(b)


def kept(content: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """A content without the tensors that only a trace has: a step may log them."""
    at = 0
    for piece, x in content:
        if not traced(x):
            yield (at if piece.__class__ is int else piece), x
            at += 1


def traced(x: Any) -> bool:
    """Whether it is a tensor without numbers, or holds nothing else."""
    if isinstance(x, Tensor):
        return x._array.__class__ is Outline
    if isinstance(x, dict):
        x = tuple(x.values())
    return isinstance(x, list | tuple | set) and bool(x) and all(map(traced, x))


def spelled(place: Any) -> str:
    """What something is called: its name, its place in a list, what it is an attribute of."""
    if place is None:
        return ""
    word, piece = spelled(place[0]), place[1]
    if piece is None:
        return word
    if piece.__class__ is not str:
        return f"{word}[{(piece[0] if piece.__class__ is tuple else piece)!r}]"
    return piece if not piece.startswith(".") else word + piece if word else piece[1:]


# -- what each kind of thing holds ---------------------------------------------------------------


def reader(x: Any) -> Any:
    """How the content is read, pairs (what it goes by, what is there); None where there is none."""
    kind = x.__class__
    if kind in LEAVES or isinstance(x, PLAIN):
        return None
    found = READERS.get(kind)
    if found is not None:
        return found
    if isinstance(x, RANDOM):
        return state
    if isinstance(x, type):
        return None if is_known(x.__module__) else named
    for base, read in READERS.items():
        if isinstance(x, base):
            return read
    if hasattr(kind, "__next__"):
        return position
    if is_known(kind.__module__) and not kind.__module__.startswith(f"{OURS}."):
        return compiled if hasattr(kind, "py_func") else None
    return attributes


@remembered(4096)
def names_in(code: CodeType) -> tuple[str, ...]:
    """The globals and attributes that a code names, the functions inside it too."""
    inner = [n for c in code.co_consts if isinstance(c, CodeType) for n in names_in(c)]
    return tuple(dict.fromkeys([*code.co_names, *inner]))


def names_of(function: Any) -> tuple[str, ...]:
    code = getattr(function, "__code__", None)  # a method passes on that of its function
    return NAMELESS if code is None else names_in(code)


def is_opaque(kind: type, x: Any) -> bool:
    """Whether it is this library's own, which no step changes."""
    if kind is Op:
        return bool(x.ours)
    return kind is ModuleType and x.__name__.split(".")[0] == OURS


def is_known(module: Any) -> bool:
    """Whether code is Python's, NumPy's, this library's, or of a package that is installed."""
    top = str(module).split(".")[0]
    return top in KNOWN or (is_installed(top) and top not in _looked_into)


@remembered(4096)
def is_installed(top: str) -> bool:
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file


_looked_into: set[str] = set()  # packages that steps came from


def function(f: FunctionType) -> Any:
    """Closure cells, globals by name, defaults: of somebody's function, not of a library's."""
    if is_known(f.__module__):
        return ()
    code, world = f.__code__, f.__globals__
    cells = zip(code.co_freevars, map(cell, f.__closure__ or ()), strict=True)
    return (
        ("code", code),
        *cells,
        *[(name, world[name]) for name in names_in(code) if name in world],
        *[(None, x) for x in f.__defaults__ or ()],
        *[(None, x) for x in (f.__kwdefaults__ or {}).values()],
    )


def cell(c: Any) -> Any:
    try:
        return c.cell_contents
    except ValueError:  # not yet filled
        return ABSENT


def named(x: Any, names: tuple[str, ...]) -> Any:
    """What of a module or a class the code that leads there names."""
    inside = vars(x)
    found = [(f".{name}", inside[name]) for name in names if name in inside]
    if isinstance(x, ModuleType) and is_known(x.__name__):  # of which only what draws is looked at
        found = [(p, y) for p, y in found if isinstance(y, ModuleType) or draws(y)]
    return tuple(found)


def draws(x: Any) -> bool:
    return isinstance(getattr(x, "__self__", None), RANDOM)


def attributes(x: Any) -> Any:
    inside = getattr(x, "__dict__", None)
    found = [(f".{name}", y) for name, y in (inside or {}).items()]
    for kind in type(x).__mro__ if inside is None or "__slots__" in vars(type(x)) else ():
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(x, name):
                found.append((f".{name}", getattr(x, name)))
    return tuple(found)


def position(x: Any) -> Any:
    """Return where an iterator is."""
    if isinstance(x, GeneratorType):
        frame = x.gi_frame
        return ((None, -1 if frame is None else frame.f_lasti), (None, frame and frame.f_lineno))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            inside = repr(x.__reduce__()[1:])  # counters and cycles say so where they are
        except (TypeError, AttributeError):
            inside = ""
    left = operator.length_hint(x, -1)
    inner = [y for y in gc.get_referents(x) if not isinstance(y, type)]
    return ((None, left), (None, inside), *[(None, y) for y in inner])


def state(x: Any) -> Any:
    if isinstance(x, random.Random):
        now: Any = x.getstate() if type(x).getstate is random.Random.getstate else None
    elif isinstance(x, np.random.RandomState):
        now = x.get_state(legacy=False)
    else:
        now = getattr(x, "bit_generator", x).state
    return ((None, pickle.dumps(now)),)  # hundreds of numbers, compared at every trace


def numbers(x: np.ndarray) -> Any:
    if x.dtype.hasobject:
        return tuple([(k, y) for k, y in enumerate(x.flat)])
    thin = x if x.nbytes <= LARGE else x.reshape(-1)[:: x.nbytes // LARGE + 1]
    return ((None, x.shape), (None, x.dtype), (None, thin.tobytes()))


def compiled(x: Any) -> Any:
    """What Numba compiles a function of."""
    return ((None, getattr(x, "py_func", None)),)


def op(x: Op) -> Any:
    return tuple([(x.name, f) for f in x.functions])


READERS: dict[Any, Any] = {
    FunctionType: function,
    MethodType: lambda m: ((None, m.__func__), (None, m.__self__)),
    BuiltinFunctionType: lambda f: ((None, f.__self__),),
    partial: lambda p: ((None, p.func), (None, p.args), (None, p.keywords)),
    staticmethod: lambda f: ((None, f.__func__),),
    ModuleType: named,
    Op: op,
    np.ndarray: numbers,
    list: lambda x: tuple(enumerate(x)),
    tuple: lambda x: tuple(enumerate(x)),
    deque: lambda x: tuple(enumerate(x)),
    set: lambda x: tuple([(None, y) for y in sorted(x, key=id)]),
    frozenset: lambda x: tuple([(None, y) for y in sorted(x, key=id)]),
    dict: lambda x: tuple([((k,), y) for k, y in x.items()]),
    bytearray: lambda x: ((None, bytes(x)),),
    array: lambda x: ((None, x.tobytes()),),
    SimpleNamespace: lambda x: attributes(x),
    type(names_in): lambda f: ((None, f.__wrapped__),),
}
VALUES = {state, numbers, READERS[bytearray], READERS[array]}
LEAVES = {*PLAIN, bool, CodeType, np.ufunc, Outline, object}
COMPARED = {*LEAVES, tuple, frozenset} - {object, Outline}


def frozen(x: Any) -> Any:
    """A value as it is now, to be compared and hashed."""
    if isinstance(x, dict):
        return tuple([(frozen(k), frozen(v)) for k, v in x.items()])
    if isinstance(x, list | tuple):
        return (type(x), *[frozen(v) for v in x])
    if isinstance(x, slice):
        return ("slice", frozen(x.start), frozen(x.stop), frozen(x.step))
    if isinstance(x, Tensor):
        return frozen(x._array) if x._array.__class__ is np.ndarray else ("tensor", x.born)
    if isinstance(x, np.ndarray):
        return ("array", x.shape, x.dtype.str, x.tobytes())
    if isinstance(x, float | np.floating):
        return (type(x), repr(x))
    try:
        hash(x)
    except TypeError:
        return (type(x), repr(x))
    return (type(x), x)
