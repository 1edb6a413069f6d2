"""What a function can reach besides its arguments, as it is now, and whether it has changed."""

from __future__ import annotations

import gc
import marshal
import random
import sys
import threading
import warnings
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from dis import get_instructions
from itertools import chain, zip_longest
from operator import is_, itemgetter, length_hint
from types import CodeType, FunctionType, GeneratorType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from ..caches import remembered
from ..op import Op
from ..tensor import Outline, Tensor

TRIES = 8  # to find out what a function does itself, and what other threads did
MANY = 5_000  # things that are looked at; what a function reaches beyond them is not
LARGE = 1 << 20  # bytes of an array that are compared one by one; of a larger one, every n-th item
OURS = __package__.split(".")[0]
KNOWN = {*sys.stdlib_module_names, OURS, "numpy", "numba"}  # their functions are not looked into
PLAIN = (int, float, complex, str, bytes, type(None), type(...), slice, range, np.generic, np.dtype)
RANDOM = (random.Random, np.random.RandomState, np.random.Generator, np.random.BitGenerator)
WORLD = {  # what is everybody's
    "random": random.random.__self__,  # type: ignore[attr-defined]
    "np.random": np.random.random.__self__,  # type: ignore[attr-defined]
}
ABSENT = object()
SECOND = itemgetter(1)
Content = Iterable[tuple[Any, Any]]  # what is there, each with what it goes by


class Reach:
    """What functions and objects can read or change that is not an argument, as it is now.

    Closure cells, the globals that the code names, attributes, what containers hold, the numbers of
    arrays, the states of random generators and iterators; and of every function and object found
    on the way, the same. Not seen is what happens in compiled code, and what functions of Python's,
    of NumPy's, of this library or of installed packages read.
    """

    def __init__(self, *roots: Any, **others: Any):
        self.things: list[tuple[Any, Any, Any, Any]] = []  # it, how it is read, its content, where
        self.number: dict[int, int] = {}  # by address
        self.drew = False  # whether what has changed is a generator
        _looked_into.update([top(x) for x in roots])
        left: deque[tuple[Any, Any]] = deque([(x, None) for x in roots])
        left += [(x, (None, name)) for name, x in others.items()]
        number, things = self.number, self.things
        while left and len(things) < MANY:
            x, place = left.popleft()
            if id(x) in number:
                continue
            read = READERS[Tensor] if x.__class__ is Tensor else reader(x)
            if read is not None:
                content = tuple(read(x))
                number[id(x)] = len(things)
                things.append((x, read, content, place))
                if read not in VALUES:
                    left += [(y, (place, p)) for p, y in content if READERS.get(y.__class__, held)]

    def changed(self) -> str | None:
        """What is not as it was, in a few words; None if all is. Logged tensors do not count."""
        for x, read, before, place in self.things:
            after = tuple(read(x))
            if len(before) == len(after) and all(map(is_, map(SECOND, before), map(SECOND, after))):
                continue
            for piece in differences(before, after):
                self.drew = isinstance(x, RANDOM)
                if self.drew:
                    return f"draws random numbers from {spelled(place) or type(x).__name__}"
                return f"changes {spelled((place, piece)) or 'something outside'}"
        return None

    def is_blind(self) -> bool:
        """Whether code is reached that is not looked into: what is imported there, or installed."""
        every = [y for _, _, content, _ in self.things for _, y in content]
        known = {word for word in map(top, every) if word not in KNOWN and is_known_package(word)}
        return bool(known) or any(used(y, "IMPORT_NAME") for y in every if isinstance(y, CodeType))

    def key(self) -> Any:
        """The same by value: equal for two functions that do the same and read the same."""
        return tuple(
            [
                (type(x), *[(piece, self.token(y)) for piece, y in content])
                for x, _, content, _ in self.things
                if x.__class__ is not Tensor
            ]
        )

    def token(self, x: Any) -> Any:
        if isinstance(x, Tensor) and x._array.__class__ is np.ndarray:
            return (frozen(x._array), x.tracked)
        return ("thing", self.number[id(x)]) if id(x) in self.number else frozen(x)


def alone() -> bool:
    """Whether no more than one thread is a user's."""
    users = [x for x in threading.enumerate() if not x.name.startswith(OURS)]
    return len(users) < 2


def by_itself(run: Callable[[], Any], look: Callable[[], Reach]) -> bool:
    """Whether it is a run that changed what it reaches, where other threads may have done so, too.

    It is not if it once changes nothing. Meanwhile other threads are seldom let in.
    """
    with _seldom:
        interval, tries = sys.getswitchinterval(), 4 * TRIES * (not alone())
        sys.setswitchinterval(max(interval, 1.0))
        try:
            for _ in range(tries):
                reach = look()
                run()
                if not reach.changed():
                    return False
        finally:
            sys.setswitchinterval(interval)
    return True


_seldom = threading.RLock()  # held by the one who says how often threads take turns


def differences(before: Any, after: Any) -> Iterable[Any]:
    """The pieces of a content that are not what they were, tensors of a trace left out."""
    old, new = kept(before), kept(after)
    for (p, a), (q, b) in zip_longest(old, new, fillvalue=(None, ABSENT)):
        if not (alike(a, b) and alike(p, q)):
            yield p if len(old) > len(new) else q


def alike(a: Any, b: Any) -> bool:
    if a is b:
        return True
    return a.__class__ is b.__class__ and a.__class__ in COMPARED and frozen(a) == frozen(b)


def kept(content: Content) -> list[tuple[Any, Any]]:
    """A content without the tensors that only a trace has: a step may log them."""
    left = [(piece, x) for piece, x in content if not traced(x)]
    return [(k if piece.__class__ is int else piece, x) for k, (piece, x) in enumerate(left)]


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
    """How the content is read; None where there is none."""
    kind = x.__class__
    read = READERS[kind] if kind in READERS else inherited(kind)
    if read in (function, declared) and is_known(x):
        return None
    if read in OPEN and (not is_known(kind) or top(kind) == OURS):
        return attributes
    return position if read is held and hasattr(kind, "__next__") else read


@remembered(4096)
def inherited(kind: type) -> Any:
    return next((READERS[k] for k in kind.__mro__ if k in READERS), held)


def top(x: Any) -> str:
    """The package that a module, a class or a function is of."""
    inside = isinstance(x, ModuleType)  # which may be asked for what it has not at a price
    word = x.__name__ if inside else getattr(x, "__module__", None) or getattr(x, "__name__", "")
    return str(word).split(".", 1)[0]


def is_known(x: Any) -> bool:
    """Whether code is Python's, NumPy's, this library's, or of a package that is installed."""
    return is_known_package(top(x))


def is_known_package(package: str) -> bool:
    return package in KNOWN or (is_installed(package) and package not in _looked_into)


@remembered(4096)
def is_installed(package: str) -> bool:
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file


_looked_into: set[str] = set()  # packages that steps came from


@remembered(4096)
def names_in(code: CodeType) -> tuple[str, ...]:
    """The globals and attributes that a code names, the functions inside it too."""
    inner = [n for c in code.co_consts if isinstance(c, CodeType) for n in names_in(c)]
    return tuple(dict.fromkeys([*code.co_names, *inner]))


@remembered(4096)
def used(code: CodeType, *kinds: str) -> bool:
    """Whether a code, or one inside it, does so with a name that is not its own."""
    own = set(code.co_cellvars)
    mine = [i for i in get_instructions(code) if i.opname in kinds and i.argval not in own]
    return bool(mine) or any(used(c, *kinds) for c in code.co_consts if isinstance(c, CodeType))


def function(f: FunctionType) -> Content:
    """Closure cells, globals by name, defaults, attributes."""
    code, world = f.__code__, f.__globals__
    names = names_in(code)
    found = [*zip(code.co_freevars, map(cell, f.__closure__ or ()), strict=True)]
    found += [(name, world[name]) for name in names if name in world]
    modules = [(word, x) for word, x in found if isinstance(x, ModuleType)]
    if modules:
        found = [(word, x) for word, x in found if not isinstance(x, ModuleType)]
        for word, x in modules:  # which grows by those that the code names of them
            some = drawn(x, names, len(vars(x))) if is_known(x) else named(x, names)
            for name, y in some:
                kind = modules if isinstance(y, ModuleType) else found
                if kind is found or all(y is not known for _, known in modules):
                    kind.append((f"{word}.{name}", y))
    more = noted(f.__dict__) if f.__dict__ else ()
    return [("code", code), (None, f.__defaults__), (None, f.__kwdefaults__), *found, *more]


def named(module: ModuleType, names: Iterable[str]) -> list[tuple[str, Any]]:
    """What a code names of a module."""
    return [(name, vars(module)[name]) for name in names if name in vars(module)]


@remembered(4096)
def drawn(module: ModuleType, names: Iterable[str], _: int) -> list[tuple[str, Any]]:
    """Of a module that is known, of so many names: modules in it, and what draws."""
    return [(n, y) for n, y in named(module, names) if isinstance(y, ModuleType) or draws(y)]


def noted(inside: Any) -> Content:
    return [(f".{name}", y) for name, y in (inside or {}).items()]


def cell(c: Any) -> Any:
    try:
        return c.cell_contents
    except ValueError:  # not yet filled
        return ABSENT


def draws(x: Any) -> bool:
    return isinstance(getattr(x, "__self__", None), RANDOM)


def declared(x: Any) -> Content:
    """All that somebody's class or module declares, but for what Python notes there."""
    every = [k for k in (x.__mro__ if isinstance(x, type) else (x,)) if not is_known(k)]
    pairs = [pair for k in every for pair in vars(k).items()]
    return [(f".{n}", y) for n, y in pairs if n[:2] != "__" or y.__class__ is FunctionType]


def attributes(x: Any) -> Content:
    """Attributes, the items of a container, and the class, for its methods."""
    inside = object.__getstate__(x)  # what is in its dictionary, or a pair: and in its slots
    parts = inside if inside.__class__ is tuple else (inside,)
    items = [READERS[base](x) for base in x.__class__.__mro__ if base in READERS]
    return [*chain(*map(noted, parts), *items), (None, x.__class__)]


HELD = ("__func__", "__self__", "__wrapped__", "func", "args", "keywords", "fget", "py_func")


def held(x: Any) -> Content:
    """What methods, partial functions, properties and such are of."""
    kind, inside = x.__class__, getattr(x, "__dict__", ())
    return [(None, getattr(x, name)) for name in HELD if hasattr(kind, name) or name in inside]


def position(x: Any) -> Content:
    """Where an iterator is, which its copy would be told too, and what it goes through."""
    try:
        with warnings.catch_warnings(action="ignore"):
            parts = [p if isinstance(p, tuple) else (p,) for p in x.__reduce__()[1:]]
        at = repr([length_hint(y, -1) if hasattr(y, "__next__") else y for y in chain(*parts)])
    except TypeError:  # it cannot be copied, and does not say
        at = ""
    return [(None, at), *[(None, y) for y in gc.get_referents(x) if not isinstance(y, type)]]


def generated(x: GeneratorType[Any, Any, Any]) -> Content:
    frame = x.gi_frame  # None where it has ended
    return [(None, frame and frame.f_lasti), *noted(frame and frame.f_locals)]


def state(x: Any) -> Content:
    if isinstance(x, random.Random):
        usual = type(x).getstate is random.Random.getstate
        now: Any = hash(x.getstate()) if usual else None
    elif isinstance(x, np.random.RandomState):
        now = marshal.dumps(x.get_state(legacy=False))
    else:
        now = marshal.dumps(getattr(x, "bit_generator", x).state)
    return [(None, now)]


def numbers(x: Any) -> Content:
    x = np.asarray(x)
    if x.dtype.hasobject:
        return enumerate(x.flat)
    thin = x if x.nbytes <= LARGE else x.reshape(-1)[:: x.nbytes // LARGE + 1]
    return [(None, x.shape), (None, x.dtype), (None, thin.tobytes())]


LEAVES = (*PLAIN, CodeType, np.ufunc, Outline)
COMPARED = (*PLAIN, CodeType, tuple, frozenset)
READERS: dict[type, Any] = {
    **dict.fromkeys(LEAVES),
    **dict.fromkeys((list, tuple, deque), enumerate),
    **dict.fromkeys((set, frozenset), lambda x: [(None, y) for y in sorted(x, key=id)]),
    **dict.fromkeys((np.ndarray, bytearray, array), numbers),
    **dict.fromkeys(RANDOM, state),
    **dict.fromkeys((type, ModuleType), declared),
    dict: lambda x: [((k,), y) for k, y in x.items()],
    SimpleNamespace: lambda x: noted(vars(x)),
    FunctionType: function,
    GeneratorType: generated,
    Op: lambda x: [] if x.ours else [(x.name, f) for f in x.functions],
    Tensor: lambda x: [(None, x._array), (None, x._grad), (None, x.tracked)],
}
OPEN = {
    held,
    *[READERS[kind] for kind in (list, set, dict)],
}  # an object of that kind may hold more
VALUES = {numbers, state, READERS[Tensor]}


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
