"""The text of a loop, compiled without Numba: it is run once, on numbers that write LLVM's code.

What a text may say is what `loops` writes: loops over ranges, entries and cuts of arrays,
arithmetic, calls of routines and of the library's functions of numbers. All else is `Unknown`.
"""

from __future__ import annotations

import ast
import ctypes
import hashlib
import keyword
import operator
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from functools import partial, reduce
from itertools import chain
from textwrap import dedent, indent
from types import SimpleNamespace
from typing import Any

import numpy as np
from llvmlite import ir

from . import curves, denormals, numbers, panels, target
from .objects import ITEMS, NUMBERS, SIZES
from .written import I1, I8, I64, KINDS, LANES, MASKS, WRITTEN, Number, known, loop, room

WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
OFTEN = 4  # nests of loops that are alike, from which on they are one function; at least 2
BYTES, VOID = I8.as_pointer(), ir.VoidType()
# Vectors as wide as those of products, where LLVM would take half of that, on Intel: 0.9 of the
# time. Not of float64: there it then cuts sums of less than eight terms in ways of its own.
WIDE = f'"prefer-vector-width"="{8 * target.VECTOR_BYTES}"'


class Unknown(Exception):
    """A text has a word in it that is not known here."""


class Undecided(Exception):
    """Which way a formula goes depends on a number."""


def chosen(builder: Any, number: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """What a function of numbers gives: where it asks, both ways are written, and one is taken."""

    def along(answers: tuple[bool, ...]) -> Any:
        left = iter(answers)

        def decide(flag: Number) -> bool:
            for answer in left:
                return answer
            raise Undecided(flag.to(I1))

        builder.decide = decide
        try:
            return number(*given, **named)
        except Undecided as question:
            flag = question.args[0]
        yes, no = along((*answers, True)), along((*answers, False))
        if isinstance(yes, tuple):
            return tuple([flag.choose(*pair) for pair in zip(yes, no, strict=True)])
        return flag.choose(yes, no)

    made = along(())
    del builder.decide
    return made


def item(dtype: np.dtype[Any]) -> Any:
    """How a number of a dtype is kept in memory."""
    if dtype in KINDS:
        return KINDS[dtype]
    if dtype.kind not in "biu" or dtype == np.uint64:
        raise Unknown(dtype)
    return ir.IntType(8 * dtype.itemsize)


def stored(x: Number, dtype: np.dtype[Any]) -> Any:
    """A number as it is kept."""
    kind = item(dtype)
    if dtype.kind == "b":
        return x.builder.zext(x.to(I1).value, kind)
    return x.to(kind).value


def taken(builder: Any, value: Any, dtype: np.dtype[Any]) -> Number:
    """What is kept as a number: whole ones are as wide as they get."""
    if dtype.kind == "b":
        return Number(builder, value).to(I1)
    if dtype.kind == "u":
        return Number(builder, builder.zext(value, I64))
    return Number(builder, value).to(value.type if dtype in KINDS else I64)


class Array:
    """An array while code that takes it is written; steps along its axes are in numbers."""

    def __init__(
        self, builder: Any, pointer: Any, dtype: Any, shape: list[Any], steps: list[Any]
    ) -> None:
        self.builder, self.pointer, self.dtype = builder, pointer, dtype
        self.shape, self.steps = shape, steps

    def cut(self, index: Any) -> Array:
        """A part; an entry has no axes."""
        index = index if isinstance(index, tuple) else (index,)
        place: Any = 0
        shape, steps = self.shape[len(index) :], self.steps[len(index) :]
        for k, one in reversed([*enumerate(index)]):
            if isinstance(one, slice):
                first = 0 if one.start is None else one.start
                shape.insert(0, (self.shape[k] if one.stop is None else one.stop) - first)
                steps.insert(0, self.steps[k])
                one = first
            elif isinstance(one, LookedUp):  # it may count from the end
                one = (one < 0).choose(one + self.shape[k], one)
            place = self.steps[k] * one + place
        pointer = self.builder.gep(self.pointer, [known(self.builder, place).value], inbounds=True)
        return Array(self.builder, pointer, self.dtype, shape, steps)

    __bool__ = None

    def __getitem__(self, index: Any) -> Any:
        part = self.cut(index)
        if part.shape:
            return part
        number = taken(self.builder, self.builder.load(part.pointer), self.dtype)
        return LookedUp(self.builder, number.value)

    def __setitem__(self, index: Any, value: Any) -> None:
        part = self.cut(index)
        if part.shape:
            raise Unknown("an array that is written as a whole")
        self.builder.store(stored(known(self.builder, value), self.dtype), part.pointer)

    @property
    def size(self) -> Any:
        return reduce(operator.mul, self.shape)

    def reshape(self, shape: Any) -> Array:
        """The same numbers, which lie side by side, in another shape."""
        shape = [self.size] if shape == -1 else list(shape)
        return Array(self.builder, self.pointer, self.dtype, shape, packed(shape))


class LookedUp(Number):
    """A number from an array."""


def packed(shape: list[Any]) -> list[Any]:
    """The steps along the axes of an array without gaps."""
    steps: list[Any] = [1]
    for n in shape[:0:-1]:
        steps.insert(0, n * steps[0])
    return steps


def told_of(builder: Any, x: Any) -> Any:
    """What a routine is told of an array, its strides in bytes, or of a number."""
    if not isinstance(x, Array):
        return known(builder, x).to(I64).value
    shape = [known(builder, n).value for n in x.shape]
    strides = [known(builder, n * x.dtype.itemsize).value for n in x.steps]
    data = builder.ptrtoint(x.pointer, I64)
    return SimpleNamespace(data=data, shape=shape, strides=strides)


class Text(ast.NodeTransformer):
    """Makes a text one that can be run on numbers.

    A choice is a call; a word that changes has a place on the stack, so that loops see it change.
    Loops that are `repeated` are calls, too: of a function, with what its words are there.
    """

    def __init__(self, tree: ast.AST, repeated: dict[ast.For, tuple[str, list[str]]]) -> None:
        self.repeated = repeated
        nodes = [*ast.walk(tree)]
        names = [n for n in nodes if isinstance(n, ast.Name)]
        count = Counter(n.id for n in names if isinstance(n.ctx, ast.Store))
        loops = {ast.unparse(n.target) for n in nodes if isinstance(n, ast.For)}
        self.changing = {word for word, n in count.items() if n > 1} - loops

    def visit_For(self, node: ast.For) -> ast.AST:
        if node not in self.repeated:
            return self.generic_visit(node)
        text, words = self.repeated[node]
        given = [ast.Name(word, ast.Load()) for word in words]
        return ast.Expr(self.called("_part", ast.Constant(text), *given))

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        return self.called("_choose", node.test, node.body, node.orelse)

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        node.value = self.visit(node.value)
        (place,) = node.targets
        if isinstance(place, ast.Name) and place.id in self.changing:
            return ast.Expr(self.called("_keep", ast.Constant(place.id), node.value))
        self.generic_visit(place)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        if not isinstance(node.target, ast.Name):
            return self.generic_visit(node)
        both = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
        return self.visit_Assign(ast.Assign([node.target], both))

    def visit_Name(self, node: ast.Name) -> ast.expr:
        kept = node.id in self.changing and isinstance(node.ctx, ast.Load)
        return self.called("_kept", ast.Constant(node.id)) if kept else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if isinstance(node.op, ast.Mod):
            raise Unknown(ast.dump(node.op))
        return self.generic_visit(node)

    def called(self, word: str, *given: ast.expr) -> ast.expr:
        return ast.Call(ast.Name(word, ast.Load()), [*map(self.visit, given)], [])


def repeated(
    source: str, tree: ast.AST, fixed: Collection[str]
) -> dict[ast.For, tuple[str, list[str]]]:
    """Nests of loops that are the same but for what their words mean, unless these are `fixed`.

    Of each the text of a function, the same for all of them, and the words that it is given there.
    """
    lines, whole = source.splitlines(), Counter(WORD.findall(source))
    loops = [n for n in ast.walk(tree) if isinstance(n, ast.For)]
    turns, alike = {ast.unparse(n.target) for n in loops}, defaultdict(list)
    for node in loops:
        names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        made = {n.id for n in names if isinstance(n.ctx, ast.Store)}
        text = dedent("\n".join(lines[node.lineno - 1 : node.end_lineno]))
        own, count = dict[str, str](), Counter(WORD.findall(text))
        nested = any([isinstance(n, ast.For) for line in node.body for n in ast.walk(line)])
        if nested and all([count[word] == whole[word] for word in made - turns]):
            for word in count:
                if word not in fixed:
                    own[word] = f"_{len(own)}"
            text = indent(reworded(text, own), "    ")
            given = [word for word in own if word not in made]
            head = ", ".join([own[word] for word in given])
            alike[f"def part({head}):\n{text}"].append((node, given))
    often = [(text, one) for text, some in alike.items() if len(some) >= OFTEN for one in some]
    return {node: (text, given) for text, (node, given) in often}


def reworded(text: str, own: dict[str, str]) -> str:
    return WORD.sub(lambda m: own.get(m[0], m[0]), text)


def part(builder: Any, called: Any, text: str, *given: Any) -> None:
    """Call the function of a text, which is written when it is first given the like.

    No two arrays that it is given overlap where one is written: a text has one word for each.
    """
    key = repr((text, [*map(kind_of, given)])).encode()
    name = f"part.{hashlib.sha256(key).hexdigest()[:16]}"
    function, values = builder.module.globals.get(name), [*chain(*map(values_of, given))]
    if function is None:
        kind = ir.FunctionType(VOID, [value.type for value in values])
        function = ir.Function(builder.module, kind, name)
        function.linkage = "internal"
        set.update(function.attributes, builder.function.attributes)
        for x in function.args:
            if isinstance(x.type, ir.PointerType):
                x.add_attribute("noalias")
        inner, left = ir.IRBuilder(function.append_basic_block()), iter(function.args)
        run(inner, text, called, [moved(x, inner, left) for x in given])
        inner.ret_void()
    builder.call(function, values)


def values_of(x: Any) -> list[Any]:
    """LLVM's values in an array or a number."""
    if isinstance(x, Array):
        return [x.pointer, *chain(*map(values_of, (*x.shape, *x.steps)))]
    return [x.value] if isinstance(x, Number) else []


def moved(x: Any, builder: Any, left: Iterator[Any]) -> Any:
    """An array or a number with others for these values, in code that another builder writes."""
    if isinstance(x, Array):
        pointer, count = next(left), len(x.shape)
        sizes = [moved(n, builder, left) for n in (*x.shape, *x.steps)]
        return Array(builder, pointer, x.dtype, sizes[:count], sizes[count:])
    return type(x)(builder, next(left)) if isinstance(x, Number) else x


def kind_of(x: Any) -> Any:
    """What a function is written for: all that is known of an array or a number beforehand."""
    if isinstance(x, Array):
        return x.dtype.str, [*map(kind_of, x.shape)], [*map(kind_of, x.steps)]
    return (type(x).__name__, str(x.kind)) if isinstance(x, Number) else x


def words(builder: Any) -> dict[str, Any]:
    """What the words of every text mean."""

    def plus(total: Number, x: Number) -> Number:
        """total + x, where LLVM may add in any order: the only way a sum vectorises."""
        builder.sums = True
        return total.made(lambda a, b: builder.fadd(a, b, flags=("reassoc",)), x)

    def cast(dtype: np.dtype[Any], x: Any) -> Number:
        return taken(builder, stored(known(builder, x), dtype), dtype)

    casts = {np.dtype(kind).name: partial(cast, np.dtype(kind)) for kind in "?bhilBHIfd"}

    def call(door: panels.Door, *given: Any) -> None:
        door.call(builder, KINDS[given[0].dtype], *[told_of(builder, x) for x in given])

    return {word: partial(call, door) for word, door in panels.DOORS.items()} | {
        "np": SimpleNamespace(**casts, bool_=casts["bool"], inf=np.inf, nan=np.nan),
        "f32": casts["float32"], "f64": casts["float64"], "plus": plus,
        "min": lambda x, y: known(builder, x).most(y),
        "larger": WRITTEN[np.maximum], "smaller": WRITTEN[np.minimum],
        "flush_denormals": lambda: denormals.flush(builder),
        "restore": lambda before: denormals.restore(builder, before),
    }  # fmt: skip


def machinery(builder: Any) -> dict[str, Any]:
    """What a text is made to call where it loops, chooses, or changes what a word means.

    No word of a text begins with an underscore, see `Names` of `loops`.
    """
    places: dict[str, Any] = {}

    def around(*ends: Any) -> Iterator[Number]:
        """One turn of a loop, in which all are written; one more, if few turns have their own."""
        ends = (0, *ends) if len(ends) == 1 else ends
        start, stop, step = [known(builder, end).value for end in (*ends, 1)[:3]]
        before, first = builder.block, builder.append_basic_block()
        builder.position_at_end(first)
        with loop(builder, start, stop, step) as index:
            yield Number(builder, index)
            few = builder.sums and not builder.calls and MASKS  # what was in it is known now
        end = builder.block
        builder.position_at_end(before)
        if not few:
            builder.branch(first)
        else:
            # A row that is written may begin just behind one that is read: of fewer than a vector
            # LLVM would ask how far, and add in another order if they are near. So they are added
            # one by one, in every loop.
            some, count = builder.append_basic_block(), builder.sub(stop, start)
            builder.cbranch(builder.icmp_signed("<", count, I64(LANES)), some, first)
            builder.position_at_end(some)
            with loop(builder, start, stop, step, lanes=1) as index:
                yield Number(builder, index)
            builder.branch(end)
        builder.position_at_end(end)

    def keep(word: str, value: Any) -> None:
        if isinstance(value, Array):
            places[word] = value
            return
        number = known(builder, value)
        if word not in places:
            places[word] = room(builder, number.kind)
        builder.store(number.to(places[word].type.pointee).value, places[word])

    def kept(word: str) -> Any:
        found = places[word]
        return found if isinstance(found, Array) else Number(builder, builder.load(found))

    choose = lambda flag, yes, no: flag.choose(yes, no)
    return {"range": around, "_keep": keep, "_kept": kept, "_choose": choose}


def written(source: str, counts: int, kinds: Any, called: Any) -> Any:
    """The module of a text, whose function takes so many numbers and a tuple of arrays.

    kinds: of each array its dtype and how many axes it has. No array overlaps another: the machine
    hands over no others. Without this promise every row would begin with a comparison of addresses.
    """
    module, wholes = target.module("loop"), [I64] * counts
    read = [(item(dtype).as_pointer(), *[I64] * ndim) for dtype, ndim in kinds]
    inner = ir.Function(module, ir.FunctionType(VOID, [*wholes, *chain(*read)]), "loop")
    inner.linkage = "internal"
    inner.attributes.add("noinline")
    if np.dtype(np.float64) not in [dtype for dtype, _ in kinds[1:]]:  # the first may be constants
        set.add(inner.attributes, WIDE)  # which llvmlite does not know
    outer = ir.Function(module, ir.FunctionType(VOID, [*wholes, BYTES]), "run")
    builder = ir.IRBuilder(outer.append_basic_block())
    arrays = chain(*[parts(builder, outer.args[-1], k, *one) for k, one in enumerate(read)])
    builder.call(inner, [*outer.args[:-1], *arrays])
    builder.ret_void()
    apart(module, outer)
    builder = ir.IRBuilder(inner.append_basic_block())
    left = iter(inner.args)
    given: list[Any] = [Number(builder, next(left)) for _ in range(counts)]
    for dtype, ndim in kinds:
        pointer = next(left)
        pointer.add_attribute("noalias")
        shape = [Number(builder, next(left)) for _ in range(ndim)]
        given.append(Array(builder, pointer, dtype, shape, packed(shape)))
    run(builder, source, called, given)
    builder.ret_void()
    return module


def apart(module: Any, outer: Any) -> None:
    """Write how a worker calls a function: with the addresses of the numbers and of the tuple."""
    function = ir.Function(module, ir.FunctionType(VOID, [I64, I64]), "apart")
    builder = ir.IRBuilder(function.append_basic_block())
    block = builder.inttoptr(function.args[0], I64.as_pointer())
    wholes = [builder.load(builder.gep(block, [I64(k)])) for k in range(len(outer.args) - 1)]
    builder.call(outer, [*wholes, builder.inttoptr(function.args[1], BYTES)])
    builder.ret_void()


def run(builder: Any, source: str, called: Any, given: list[Any]) -> None:
    """Write what a text says of what it is given."""
    names = words(builder) | machinery(builder) | {"_part": partial(part, builder, called)}
    names |= {word: function_of(builder, c) for word, c in called.items()}
    tree = ast.parse(source)
    same = repeated(source, tree, {*names, *keyword.kwlist})
    code = ast.fix_missing_locations(Text(tree, same).visit(tree))
    try:
        exec(compile(code, "<loop>", "exec"), names)
        names[tree.body[0].name](*given)  # type: ignore[attr-defined]
    except (NameError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        raise Unknown(error) from error


def parts(builder: Any, items: Any, k: int, pointer: Any, *sizes: Any) -> list[Any]:
    """The address and the sizes of the k-th array in a tuple."""

    def at(place: Any, offset: int, kind: Any) -> Any:
        place = builder.gep(place, [I64(offset)])
        return builder.load(builder.bitcast(place, kind.as_pointer()))

    array = at(items, ITEMS + 8 * k, BYTES)
    shape = at(array, SIZES, BYTES)
    return [at(array, NUMBERS, pointer), *[at(shape, 8 * n, I64) for n in range(len(sizes))]]


def function_of(builder: Any, c: numbers.Called) -> Any:
    """What a function that a text calls writes; somebody else's may do anything."""
    if c.around is not None or c.dtype is None:
        raise Unknown(c.function)
    name = c.function.__name__
    if name in curves.NAMES and c.function is getattr(numbers, name):
        return partial(curves.curve, name)
    return partial(chosen, builder, numbers.typed(c.function, c.dtype))


def function(source: str, counts: int, kinds: Any, called: Any) -> Any:
    """The compiled function of a text: of so many numbers, and a tuple of arrays."""
    known = [(word, str(c.dtype), numbers.identity(c.function)) for word, c in called.items()]
    key = (source, counts, [(dtype.str, ndim) for dtype, ndim in kinds], known)
    write = lambda: written(source, counts, kinds, called)
    engine = target.compiled(key, write, panels.load_called, by_hand=False)
    made = target.called(engine, "run", counts, ctypes.py_object)
    made.apart = engine.get_function_address("apart")  # see `threads.Call`
    return made
