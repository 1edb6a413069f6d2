"""Random programs of the ops that are declared, and the same programs in plain NumPy.

A program is a list of calls. Each takes what was made before it, so that values are used again,
and the program ends in all that nobody used. An op is found by walking the declarations; what it
may be given is found by trying: by what its parameters are called, and where it gives numbers, and
slopes, it is taken. Where it does not, its operands are first led into narrower ranges.

`Plain` runs a program with a direction that its leaves move in, carried as an imaginary part of
1e-30: nothing is subtracted, so nothing is lost (Squire & Trapp 1998). It has NumPy's function of
the same name where that is analytic, or a formula below; of the rest it takes differences of error
O(h⁶), of one op at a time, and says how far these are off. No derivative of the engine's is in it.
"""

import inspect
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import ops

TINY = 1e-30
RANGES = [(-0.9, 0.9), (0.2, 0.9), (1.2, 2.5), (-2.5, -1.2)]  # tried in turn
MANY = 60  # numbers in an array
UNKNOWN = (TypeError, ValueError, IndexError, ZeroDivisionError)  # the last of nothing's mean

# What is not drawn: nothing is computed from a tensor, or its derivative is meant to be another's.
LEFT_OUT = {
    "zeros", "ones", "full", "eye", "arange", "linspace", "one_hot", "clip_gradient",
}  # fmt: skip
DECLARED = {
    name: getattr(module, name)
    for module in ops.MODULES for name in module.__all__
    if hasattr(getattr(module, name), "declared") and name not in LEFT_OUT
}  # fmt: skip


class Place(int):
    """Where among all that was made an operand is."""


class Call(NamedTuple):
    """An op, and what it is given, in which places stand for operands."""

    name: str
    given: list[Any]
    words: dict[str, Any]
    exact: bool  # whether its complex step is exact


class Program(NamedTuple):
    """Leaves, constants and calls; where what nobody used is; of a step, where its new carry is."""

    leaves: list[np.ndarray]
    constants: list[Any]
    calls: list[Call]
    ends: list[int]
    carry: dict[int, int] = {}  # noqa: RUF012 (read only) by the place of the old one

    def __repr__(self) -> str:
        lines = [f"{k}: {np.shape(x)}" for k, x in enumerate([*self.leaves, *self.constants])]
        count = len(lines)
        for call in self.calls:
            words = "".join(f", {name}={value!r}" for name, value in call.words.items())
            lines.append(f"{call.name}({', '.join(map(repr, call.given))}{words})")
        return "\n".join([*lines, f"ends {self.ends}, made from {count} on"])


def into(x, low, high):
    """What leads a number into a range."""
    return (low + high) / 2 + (high - low) / 2 * tg.sin(x)


def function_of(name: str) -> Callable[..., Any]:
    return into if name == "into" else DECLARED[name]


def mapped(tree: Any, f: Callable[[Any], Any]) -> Any:
    """What was given, in lists and by names, with f of each part of it."""
    if isinstance(tree, dict):
        return {name: mapped(part, f) for name, part in tree.items()}
    return [mapped(part, f) for part in tree] if isinstance(tree, list) else f(tree)


def within(tree: Any, *kinds: type) -> list[Any]:
    """All of some kinds in what was given."""
    found: list[Any] = []
    mapped(tree, lambda x: found.append(x) if isinstance(x, kinds) else None)
    return found


def filled(tree: Any, pool: Any) -> Any:
    """What was given, with the operands in their places."""
    return mapped(tree, lambda x: pool[x] if isinstance(x, Place) else x)


def changed(tree: Any, f: Callable[[Any], Any]) -> Any:
    """What was given, with a function of its arrays in their place."""
    return mapped(tree, lambda x: f(x) if isinstance(x, np.ndarray | np.generic) else x)


def run(program: Program, leaves: Any, call_of: Any = None) -> list[Any]:
    """All that a program makes of some leaves."""
    pool = [*leaves, *program.constants]
    for call in program.calls:
        given, words = filled(call.given, pool), filled(call.words, pool)
        made = call_of(call, given, words) if call_of else function_of(call.name)(*given, **words)
        pool += made if isinstance(made, tuple | list) else [made]
    return pool


def ends_of(program: Program, leaves: Any) -> list[Any]:
    pool = run(program, leaves)
    return [pool[k] for k in program.ends]


# -- plain NumPy ---------------------------------------------------------------------------------


def real(x: Any) -> Any:
    return np.real(x) if np.iscomplexobj(x) else x


def _softmax(x, axis=-1):
    e = np.exp(x - np.max(x.real, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def _logsumexp(x, axis=-1, keepdims=False):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def _mean(x, axis=None, keepdims=False):
    total = np.sum(x, axis=axis, keepdims=keepdims)
    return total * np.size(total) / np.size(x)


def _var(x, axis=None, keepdims=False, ddof=0):
    low = x - _mean(x, axis, True)
    total = np.sum(low * low, axis=axis, keepdims=keepdims)
    return total / (np.size(x) / np.size(total) - ddof)


# Formulas that continue to complex numbers. They are the ops' own where no word is given.
FORMULAS = {
    "into": lambda x, low, high: (low + high) / 2 + (high - low) / 2 * np.sin(x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "log_sigmoid": lambda x: -np.log(1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "mish": lambda x: x * np.tanh(np.log(1 + np.exp(x))),
    "softsign": lambda x: x / np.where(real(x) < 0, 1 - x, 1 + x),
    "relu": lambda x: np.where(real(x) > 0, x, 0),
    "leaky_relu": lambda x: np.where(real(x) > 0, x, 0.01 * x),
    "elu": lambda x: np.where(real(x) > 0, x, np.exp(x) - 1),
    "abs": lambda x: np.where(real(x) < 0, -x, x),
    "hard_tanh": lambda x: np.where(abs(real(x)) < 1, x, np.sign(real(x))),
    "hard_sigmoid": lambda x: np.where(abs(real(x)) < 2.5, 0.2 * x + 0.5, real(x) > 0),
    "sign": lambda x: np.sign(real(x)) + 0j,
    "floor": lambda x: np.floor(real(x)) + 0j,
    "ceil": lambda x: np.ceil(real(x)) + 0j,
    "trunc": lambda x: np.trunc(real(x)) + 0j,
    "astype": lambda x, dtype: x,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "hypot": lambda x, y: np.sqrt(x * x + y * y),
    "softmax": _softmax,
    "log_softmax": lambda x, axis=-1: np.log(_softmax(x, axis)),
    "logsumexp": _logsumexp,
    "mean": _mean,
    "var": _var,
    "std": lambda x, **words: np.sqrt(_var(x, **words)),
    "mean_squared_error": lambda x, y: _mean((x - y) ** 2),
    "norm": lambda x, axis=None, keepdims=False: np.sqrt(
        np.sum(x * x, axis=axis, keepdims=keepdims)
    ),
    "layer_norm": lambda x: (x - _mean(x, -1, True)) / np.sqrt(_var(x, -1, True) + 1e-5),
    "embedding": lambda table, index: table[np.asarray(index)],
    "getitem": lambda x, index: np.asarray(x)[index],
    "sum_to": lambda x, shape: _sum_to(x, shape),
}


def _sum_to(x, shape):
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    return x.sum(axis=tuple([k for k, n in enumerate(shape) if n == 1]), keepdims=True)


def formula_of(name: str) -> Callable[..., Any] | None:
    """An op in plain NumPy, which knows it by one of these names."""
    if name in FORMULAS:
        return FORMULAS[name]
    for word in (name, *DECLARED[name].declared.numpy):
        if callable(getattr(np, word, None)):
            return getattr(np, word)
    return None


def plainly(name: str, given: Any, words: Any) -> Any:
    """An op of arrays: NumPy's, or where it has none the op's own numbers."""
    with np.errstate(all="ignore"):
        try:
            formula = formula_of(name)
            if formula is not None:
                made = formula(*given, **words)
                return [*map(real, made)] if isinstance(made, tuple | list) else real(made)
        except UNKNOWN:
            pass  # it knows no such word, or takes no such shapes
        return numbers_of(name, given, words)


def numbers_of(name: str, given: Any, words: Any) -> Any:
    """What an op gives of arrays, by its own forward."""
    made = function_of(name)(*given, **words)
    several = isinstance(made, tuple | list)
    parts = [y.data if isinstance(y, tg.Tensor) else y for y in (made if several else [made])]
    return listed(parts) if several else np.asarray(parts[0])


def moved(tree: Any, s: float) -> Any:
    """What was given, so far along the directions that it has as imaginary parts."""
    return changed(tree, lambda x: x.real + s * x.imag if np.iscomplexobj(x) else x)


def slope(f: Callable[[float], Any], h: float) -> tuple[Any, float]:
    """How a function moves at 0, and how far that is from what it is by longer steps.

    Four steps of h, and four of half of it, are off by O(h⁴); what they differ by says how much, so
    that what is left is O(h⁶) (Richardson 1911). Where there is a kink they do not agree.
    """
    ends = [(np.asarray(f(s * h)), np.asarray(f(-s * h))) for s in (2, 1, 0.5)]
    if not np.isfinite(ends).all():
        return np.zeros(np.shape(ends[0][0])), np.inf
    double, single, half = (above - below for above, below in ends)
    far, near = (8 * single - double) / (12 * h), (8 * half - single) / (6 * h)
    scale = 1 + np.abs(near).max(initial=0.0)
    return (16 * near - far) / 15, float(np.abs(far - near).max(initial=0.0) / scale)


class Plain:
    """Runs calls on arrays with a direction; `off` is how far differences were off at most."""

    def __init__(self, step: float = 1e-3) -> None:
        self.off, self.step = 0.0, step

    def __call__(self, call: Call, given: Any, words: Any) -> Any:
        if call.exact:
            with np.errstate(all="ignore"):
                return formula_of(call.name)(*given, **words)
        return self.by_differences(call.name, given, words)

    def by_differences(self, name: str, given: Any, words: Any) -> Any:
        """What an op gives and, as imaginary parts, how that moves: by steps of it alone."""
        both = [given, words]
        moving = [np.abs(x.imag).max(initial=0.0) for x in within(both, np.ndarray, np.generic)
                  if np.iscomplexobj(x)]  # fmt: skip
        largest = max(moving, default=0.0)
        made = plainly(name, *changed(both, real))
        if not largest:
            return made

        def floats(s: float) -> Any:
            parts = listed(plainly(name, *moved(both, s / largest)))
            return np.concatenate([np.ravel(y) for y in parts if y.dtype.kind == "f"] or [[]])

        slopes, off = slope(floats, self.step)
        self.off = max(self.off, off)
        found = []
        for y in listed(made):
            if y.dtype.kind == "f":
                y, slopes = y + 1j * largest * slopes[: y.size].reshape(y.shape), slopes[y.size :]
            found.append(y)
        return found if isinstance(made, tuple | list) else found[0]


def listed(made: Any) -> list[Any]:
    """The arrays that an op gives, one or several."""
    return [np.asarray(y) for y in (made if isinstance(made, tuple | list) else [made])]


def along(program: Program, leaves: Any, ways: Any) -> tuple[list[Any], float]:
    """The ends of a program, moving as imaginary parts over TINY, and how far they may be off."""
    plain = Plain()
    pool = run(program, [x + 1j * TINY * v for x, v in zip(leaves, ways, strict=True)], plain)
    return [np.asarray(pool[k]) for k in program.ends], plain.off


# -- drawing -------------------------------------------------------------------------------------


def _axis(rng, x):
    some = [*range(-x.ndim, x.ndim)]
    return rng.choice([None, *some, *some, tuple(rng.sample(range(x.ndim), min(2, x.ndim)))])


def _shape(rng, x):
    ones = tuple([1 if rng.random() < 0.5 else n for n in x.shape])
    return rng.choice([(-1,), x.shape[::-1], (1, *x.shape), (2, *x.shape), ones, x.shape[1:],
                       (*x.shape, 1), (3, *x.shape[1:])])  # fmt: skip


def _whole(low, high):
    return lambda rng, x: rng.randint(low, high)


def _places(rng, x):
    """Numbers of rows, or of classes."""
    shape = rng.choice([(), (2,), (3,), x.shape, x.shape[:-1], x.shape[1:], (2, 3), (2, 2)])
    return np.random.default_rng(rng.randrange(99)).integers(0, rng.choice([1, 2, 3]), shape)


def _index(rng, x):
    """Rows by number, or slices, a number, a new axis and arrays."""
    parts = [slice(None), slice(1, None), slice(None, None, -1), slice(0, 1), 0, -1, None,
             [0, 1, 0]]  # fmt: skip
    if rng.random() < 0.5:
        return _places(rng, x)
    some = rng.choices(parts, k=rng.randint(1, 3))
    return tuple([np.array(i) if isinstance(i, list) else i for i in some])


def _einsum(rng, x):
    several = ["ij,jk->ik", "ij,ij->i", "i,i", "...,...", "i...,i...->...", "ij,kj->ki", "i,j->ji"]
    return rng.choice([*several, "ij->ji", "ii", "ii->i", "i->", "...i->..."])


ARGUMENTS = {  # what a parameter of this name may be, beside a first operand x
    "axis": _axis, "keepdims": lambda rng, x: rng.random() < 0.5, "shape": _shape,
    "axes": lambda rng, x: rng.choice([None, 0, 1, 2, tuple(rng.sample(range(x.ndim), x.ndim))]),
    "axis1": _whole(-2, 2), "axis2": _whole(-2, 2), "offset": _whole(-1, 1), "k": _whole(-1, 2),
    "source": _whole(-2, 2), "destination": _whole(-2, 2), "decimals": _whole(-1, 1),
    "indices_or_sections": lambda rng, x: rng.choice([1, 2, 3, [1], [0, 2]]),
    "chunks": _whole(1, 3), "shift": _whole(-2, 2), "repeats": _whole(0, 2), "reps": _whole(1, 2),
    "pad_width": lambda rng, x: rng.choice([1, (0, 1), (2, 0)]), "ord": lambda rng, x: rng.choice(
        [None, 1, 2, 3, np.inf]), "largest": lambda rng, x: rng.random() < 0.5,
    "index": _index, "indices": _places, "subscripts": _einsum,
    "dtype": lambda rng, x: np.float64, "fill_value": lambda rng, x: 0.5,
    "a_min": lambda rng, x: rng.choice([-0.5, 0.1]), "a_max": lambda rng, x: 0.6,
    "ddof": lambda rng, x: 0.5, "causal": lambda rng, x: rng.random() < 0.5,
    "reduction": lambda rng, x: rng.choice(["mean", "sum", "none"]), "stride": _whole(1, 2),
    "padding": _whole(0, 1), "label_smoothing": lambda rng, x: 0.1,
    "approximate": lambda rng, x: "tanh", "blank": _whole(0, 1),
    "targets": lambda rng, x: np.ones((x.shape[1], 1), int),
    "input_lengths": lambda rng, x: np.full(x.shape[1], len(x)),
    "target_lengths": lambda rng, x: np.ones(x.shape[1], int),
}  # fmt: skip
OPERANDS = {"weight", "bias", "a_min", "a_max", "mask"}  # which may be left out, or given


class Draw:
    """Makes a program, one call after another, of what is there."""

    def __init__(self, seed: int, loops: bool = False) -> None:
        rng = np.random.default_rng(seed)
        shapes = [(2, 3), (3,), (), (2, 1), (1, 3), (3, 3), (2, 1, 3), (2, 3, 3), (0, 3)]
        chosen = [shapes[k] for k in rng.choice(len(shapes), 4, replace=False)]
        self.leaves = [rng.uniform(-1.5, 1.5, shape) for shape in chosen]
        self.constants = [0.7, np.array(-1.3), rng.uniform(0.2, 2, (3,)), rng.random((2, 3)) < 0.5]
        self.pool = [*self.leaves, *self.constants]
        self.moving = {*range(len(self.leaves))}  # places of what moves with a leaf
        self.calls: list[Call] = []
        self.spans: dict[int, tuple[float, float]] = {}  # between what some operands always are
        self.loops = loops

    def program(self) -> Program:
        used = {k for call in self.calls for k in within([call.given, call.words], Place)}
        ends = sorted(self.moving - used)
        return Program(self.leaves, self.constants, self.calls, ends)

    def place(self, rng: random.Random) -> Place:
        """An operand: mostly of the last ones, mostly of floats."""
        for _ in range(4):
            k = rng.randrange(len(self.pool))
            k = max(k, rng.randrange(len(self.pool))) if rng.random() < 0.6 else k
            if np.asarray(self.pool[k]).dtype.kind == "f" or rng.random() < 0.1:
                break
        return Place(k)

    def proposed(self, name: str, rng: random.Random) -> tuple[list[Any], dict[str, Any]]:
        """Something that an op may be given."""
        given: list[Any] = []
        words: dict[str, Any] = {}
        first = None
        for p in inspect.signature(DECLARED[name]).parameters.values():
            optional = p.default is not p.empty
            if optional and rng.random() < 0.5:
                continue
            if p.kind is p.VAR_POSITIONAL:
                given += [self.place(rng) for _ in range(rng.choice([1, 2]))]
                continue
            if p.name == "xs":
                value: Any = [self.place(rng) for _ in range(rng.choice([1, 2, 3]))]
                value += value[:1] if rng.random() < 0.3 else []
            elif p.name in OPERANDS and rng.random() < 0.7:
                value = self.place(rng)
            elif p.name in ARGUMENTS:
                value = ARGUMENTS[p.name](rng, np.zeros(1) if first is None else first)
            elif p.name == "target" and rng.random() < 0.5:
                value = _places(rng, first)
            elif not optional:
                value = self.place(rng)
            else:
                continue
            if first is None and within(value, Place):
                first = np.asarray(self.pool[within(value, Place)[0]])
            if optional or p.kind is p.KEYWORD_ONLY:
                words[p.name] = value
            else:
                given.append(value)
        return given, words

    def add(self, name: str, seed: int) -> bool:
        """Add a call of an op, if in some trials one is found that it takes."""
        rng = random.Random(seed)
        for trial in range(40):
            try:
                given, words = self.proposed(name, rng)
            except (ValueError, IndexError):  # beside such an operand there is none
                continue
            operands = within([given, words], Place)
            if self.moving.isdisjoint(operands):
                continue
            if self.takes(name, given, words):
                return True
            if trial % 4 == 0 and self.refusal is None:  # it takes the shapes, not the numbers
                for ends in RANGES:
                    if self.led(name, given, words, operands, ends):
                        return True
        return False

    def led(self, name: str, given: Any, words: Any, operands: Any, ends: Any) -> bool:
        """Add an op after what leads its operands into a range, if it is then taken."""
        kept = len(self.pool), len(self.calls)
        to = {}
        for k in self.moving.intersection(operands):
            self.calls.append(Call("into", [Place(k), *ends], {}, True))
            to[k] = Place(len(self.pool))
            self.moving.add(to[k])
            self.spans[to[k]] = ends
            self.pool.append(FORMULAS["into"](self.pool[k], *ends))
        given, words = mapped([given, words], lambda x: to.get(x, x) if isinstance(x, Place) else x)
        if self.takes(name, given, words):
            return True
        del self.pool[kept[0] :], self.calls[kept[1] :]
        self.moving.difference_update(to.values())
        return False

    def takes(self, name: str, given: Any, words: Any) -> bool:
        """Add a call if the op gives numbers there, and slopes."""
        self.refusal = None
        at = filled([given, words], self.pool)
        try:
            made = numbers_of(name, *at)
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            self.refusal = error
            return False
        several = made if isinstance(made, list) else [made]
        if not several or not all(fine(y) for y in several):
            return False
        if self.loops and not (self.anywhere(name, given, words) and self.loop(name, given, words)):
            return False
        try:
            exact = self.smooth(name, at, made)
        except (TypeError, ValueError, IndexError):
            return False  # its domain ends beside
        if exact is None:
            return False
        self.calls.append(Call(name, given, words, exact))
        if not self.moving.isdisjoint(within([given, words], Place)):
            self.moving |= {len(self.pool) + k for k, y in enumerate(several)
                            if y.dtype.kind == "f"}  # fmt: skip
        self.pool += several
        return True

    def smooth(self, name: str, at: Any, made: Any) -> bool | None:
        """Whether an op has an exact complex step here; None where a jump or a kink is near."""
        rng, exact = np.random.default_rng(len(self.pool)), True
        way = lambda x: rng.uniform(0.5, 1, np.shape(x)) * rng.choice([-1, 1], np.shape(x))
        for _ in range(2):
            moving = changed(at, lambda x: x + 1j * way(x) if x.dtype.kind == "f" else x)
            some = (0.02, -0.02, 0.04, -0.04)
            beside = [listed(numbers_of(name, *moved(moving, s))) for s in some]
            if not all(map(smooth, listed(made), *beside)):
                return None
            plain = Plain(step=0.02)
            slopes = plain.by_differences(name, *moving)
            if plain.off > 1e-4:
                return None
            exact = exact and is_exact(name, moving, made, slopes)
        return exact

    def anywhere(self, name: str, given: Any, words: Any) -> bool:
        """Whether an op gives numbers of all that its operands may be at other steps."""
        rng = np.random.default_rng(0)
        used = {k for k in within([given, words], Place) if k in self.moving}
        for trial in range(6):
            pool = list(self.pool)
            for k in used:
                low, high = self.spans.get(k, (-3, 3))
                whole = [low, high, max(low, 0)][trial : trial + 1]  # as of whole numbers
                pool[k] = rng.uniform(*(whole * 2 or (low, high)), np.shape(pool[k]))
            try:
                made = listed(numbers_of(name, *filled([given, words], pool)))
            except (TypeError, ValueError, IndexError):
                return False
            if not all(map(fine, made)):
                return False
        return True

    def loop(self, name: str, given: Any, words: Any) -> bool:
        """Whether an op has a compiled form, of what a step gives it."""
        count = len(self.leaves)
        constant = range(count, count + len(self.constants))
        used = sorted({*within([given, words], Place)} - {*constant})

        def step(*operands: Any) -> Any:
            pool = list(self.pool)
            for k, x in zip(used, operands, strict=True):
                pool[k] = x
            at, by_name = filled([given, words], pool)
            made = function_of(name)(*at, **by_name)
            return [*operands, *(made if isinstance(made, tuple | list) else [made])]

        try:
            tg.loops.scan_source(step, [self.pool[k] for k in used], None, length=1)
        except (ValueError, TypeError) as error:
            self.refusal = error
            return False
        return True

    def step(self, carried: list[int]) -> Program:
        """The program as a step that gives some leaves new values, of what has their shape."""
        new = {}
        for k in carried:
            alike = [j for j in sorted(self.moving - {*range(len(self.leaves))})
                     if np.shape(self.pool[j]) == np.shape(self.pool[k])]  # fmt: skip
            if not alike:
                self.append("sum", [Place(max(self.moving))])
            self.append("add", [Place(k), Place(alike[-1] if alike else len(self.pool) - 1)])
            new[k] = self.append("sin", [Place(len(self.pool) - 1)])
        used = {k for call in self.calls for k in within([call.given, call.words], Place)}
        ends = sorted(self.moving - used - {*new.values()} - {*range(len(self.leaves))})
        return Program(self.leaves, self.constants, self.calls, ends, new)

    def append(self, name: str, given: list[Any]) -> int:
        """Add a call that no trial is needed for; returns where it is."""
        self.calls.append(Call(name, given, {}, True))
        self.pool.append(np.asarray(formula_of(name)(*filled(given, self.pool))))
        self.moving.add(len(self.pool) - 1)
        return len(self.pool) - 1


def smooth(y: Any, *beside: Any) -> bool:
    """Whether what an op gives is smooth: it bends four times as much at twice the distance."""
    right, left, far_right, far_left = beside
    if y.dtype.kind != "f":
        return all(np.array_equal(y, z) for z in beside)
    bend, more = right + left - 2 * y, far_right + far_left - 2 * y
    return bool(np.abs(more - 4 * bend).max(initial=0) < 1e-3 * (1 + np.abs(y).max(initial=0)))


def fine(y: Any) -> bool:
    return y.size <= MANY and (
        y.dtype.kind != "f" or bool(np.isfinite(y).all() and np.abs(y).max(initial=0) < 30)
    )


def is_exact(name: str, moving: Any, made: Any, expected: Any) -> bool:
    """Whether NumPy's formula of an op, of complex numbers, moves as differences say."""
    formula = formula_of(name)
    if formula is None:
        return False
    small = changed(moving, lambda x: x.real + 1j * TINY * x.imag if np.iscomplexobj(x) else x)
    try:
        with np.errstate(all="ignore"):
            found = formula(*small[0], **small[1])
    except UNKNOWN:
        return False
    found, expected, made = map(listed, (found, expected, made))
    if len(found) != len(expected):
        return False
    for a, b, y in zip(found, expected, made, strict=True):
        a, slopes = np.asarray(a), np.imag(b)
        if a.shape != y.shape or (np.iscomplexobj(a) != np.iscomplexobj(b)):
            return False
        bound = 1e-4 * (1 + abs(slopes).max(initial=0))
        if not np.allclose(np.imag(a) / TINY, slopes, 1e-4, bound):
            return False
        if y.dtype.kind != "f" and not np.array_equal(a, y):
            return False
    return True
