"""The text of a loop: from nodes to readable Python that Numba compiles."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .lower import ROWS, Index, Node, Unsupported, turned
from .step import surroundings

VARIABLES = "ijklmnpq"
INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "less": "<", "less_equal": "<=",
    "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
}  # fmt: skip
CALLS = {"tanh", "sigmoid", "exp", "log", "sqrt", "abs", "maximum", "minimum"}
CHEAP = {*INFIX, "neg", "where", "detached", "relu", "sign", "abs", "maximum", "minimum", "astype"}
CHEAP -= {"div"}


class Place(NamedTuple):
    """Where a node's numbers are: an argument, and how the loop finds its own part of it."""

    array: str
    time: str | None = None  # the index of axis 0, None where there is no axis of time
    shift: bool = False  # whether its rows are those of the whole batch, ours from `start` on


class Argument(NamedTuple):
    """An argument of a generated function: what the machine is to hand over for it."""

    name: str
    role: tuple[Any, ...]
    dtype: np.dtype
    ndim: int
    written: bool


class Store(NamedTuple):
    """Put a node's numbers somewhere; `target` says where on each axis, in axes of the loop."""

    node: Node
    place: Place
    target: tuple[Any, ...]  # (axis of the loop or None, offset, step) for each axis of the place
    how: str = "="  # "=", "+=", or for a reduction "sum", "max", "min"
    makes: Node | None = None  # what can be read from there afterwards


class Call(NamedTuple):
    """A piece of text that is not a loop over numbers, as a product."""

    makes: Node | None
    reads: tuple[Node, ...]
    lines: tuple[str, ...]


def ordered(outputs: Iterable[Node], until: Any = ()) -> list[Node]:
    """Everything the outputs need, inputs first; of what is in `until`, nothing further."""
    seen, order, stack = set(), [], [(n, False) for n in outputs]
    while stack:
        node, left = stack.pop()
        if left:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            if node not in until:
                stack += [(x, False) for x in node.inputs]
    return order


def whole(node: Node) -> tuple[Any, ...]:
    return tuple((k, "0", 1) for k in range(len(node.shape)))


def here(shape: Sequence[str]) -> tuple[Index, ...]:
    """The position that a loop over this shape is at: no loop along an axis of size 1."""
    return tuple(
        Index(None, "0", 0) if n == "1" else Index(v)
        for v, n in zip(VARIABLES, shape, strict=False)
    )


# -- sums of products --------------------------------------------------------------------------


def gathered(outputs: list[Node], early: Any, until: Any) -> dict[Node, Node]:
    """Make one product of every sum of products; returns what became of each node.

    A sum that is only stored begins with its other terms, so that the product adds to them in
    place; one that goes on into a formula keeps them in the formula.
    """
    order = ordered(outputs, until)
    readers: dict[Node, list[Node | None]] = {n: [] for n in order}
    for n in order:
        for x in n.inputs if n not in until else ():
            readers[x].append(n)
    for n in outputs:
        readers[n].append(None)
    became: dict[Node, Node] = {}
    sums: dict[Node, tuple[list[Node], list[Node]]] = {}  # products' pairs, and other terms
    for n in order:
        if n in until:
            continue
        if n.kind == "product" and n.data * 2 == len(n.inputs):
            sums[n] = (n.inputs, [])
        elif _is_sum(n):
            pairs: list[Node] = []
            others: list[Node] = []
            for x in n.inputs:
                alone = len(readers[x]) == 1 and x in sums
                pairs += sums[x][0] if alone else []
                others += sums[x][1] if alone else [x]
            if pairs:
                sums[n] = (pairs, others)
    for n in order:
        inner = n in sums and readers[n] and _absorbed(n, readers[n], sums)
        if n in sums and not inner:
            became[n] = _summed(n, *sums[n], readers[n], became, early)
        elif n not in sums:
            if n not in until:
                _renew(n, became)
            became[n] = n
    return became


def _is_sum(n: Node) -> bool:
    return (
        n.kind == "pointwise" and n.data.name == "add" and all(x.shape == n.shape for x in n.inputs)
    )


def _absorbed(n: Node, readers: list[Any], sums: Any) -> bool:
    return len(readers) == 1 and readers[0] in sums and _is_sum(readers[0])


def _renew(n: Node, became: dict[Node, Node]) -> None:
    n.inputs = [became.get(x, x) for x in n.inputs]


def _summed(n, pairs, others, readers, became, early):
    pairs = [became.get(x, x) for x in pairs]
    others = [became.get(x, x) for x in others]
    pairs = [
        x for k in sorted(range(0, len(pairs), 2), key=lambda k: not early(pairs[k]))
        for x in pairs[k : k + 2]
    ]  # fmt: skip
    stored = all(r is None or r.kind in ("product", "dot", "join") for r in readers)
    starts = bool(others) and stored and not any(early(x) for x in pairs[::2])
    rest = None
    for x in others:
        add = n.data
        rest = x if rest is None else Node("pointwise", [rest, x], n.shape, n.dtype, add, n.batched)
    count = len(pairs) // 2
    inputs = [*pairs, rest] if starts else pairs
    product = Node("product", inputs, n.shape, n.dtype, count, n.batched, source=n.source)
    if rest is None or starts:
        return product
    return Node("pointwise", [product, rest], n.shape, n.dtype, n.data, n.batched, source=n.source)


# -- one loop over numbers ------------------------------------------------------------------------


def nested(loops: Sequence[tuple[str, str]], lines: list[str]) -> list[str]:
    """Lines inside loops."""
    for variable, size in loops[::-1]:
        lines = [f"for {variable} in range({size}):", *("    " + line for line in lines)]
    return lines


def last_only(shape: Sequence[str], axes: Sequence[int]) -> bool:
    """Whether of all axes with something to loop over, only the last is summed."""
    loops = [k for k, n in enumerate(shape) if n != "1"]
    return bool(loops) and [k for k in axes if k in loops] == loops[-1:]


class Nest:
    """Loops over one shape, and everything that is computed in them."""

    def __init__(self, text: Text, shape: Sequence[str], stores: list[Store]):
        self.text, self.shape, self.stores = text, shape, stores
        loops = [(v, n) for v, n in zip(VARIABLES, shape, strict=False) if n != "1"]
        outer = 1 if shape[:1] == (ROWS,) and len(shape) > 1 == len(loops) else len(loops) - 1
        self.outer, self.loop = loops[: max(0, outer)], loops[max(0, outer) :]
        self.inner, self.span = self.loop[0] if self.loop else (None, "")
        self.making = {s.makes for s in stores if s.makes is not None and s.target == whole(s.node)}
        self.making = {m for m in self.making for s in stores if s.makes is m and s.node is m}
        self.hoisted: list[str] = []
        self.body: list[str] = []
        self.after: list[str] = []
        self.registers: dict[Any, str] = {}

    def lines(self) -> list[str]:
        """All of it, under its outer loops."""
        return nested(self.outer, self.core())

    def core(self) -> list[str]:
        """The innermost loop, with what is looked up before it and summed up after it."""
        index = here(self.shape)
        values = [self.value(s.node, index) for s in self.stores]
        writes = [self.write(s, v) for s, v in zip(self.stores, values, strict=True)]
        self.body += [w for w in writes if w]
        inner = nested(self.loop, self.body or ["pass"])
        return [*self.hoisted, *inner, *self.after]

    # -- reading ---------------------------------------------------------------------------------

    def value(self, node: Node, index: tuple[Index, ...]) -> str:
        """The text of one number: a register, an entry of a row, a constant."""
        text = self.text
        if node.kind == "written":
            return literal(node.data, node.dtype)
        if node in text.numbers:
            return text.numbers[node]
        if node in text.places and not (node in self.making and self.is_here(index)):
            return self.read(text.places[node], index, node.shape)
        if node.kind == "view":
            base = node.inputs[0]
            return self.value(base, tuple(_moved(index, way) for way in node.data))
        if node.kind != "pointwise":
            raise Unsupported(f"{node.kind} has no place")
        key = (node, index)
        if key not in self.registers:
            inputs = [self.value(x, _under(x, index)) for x in node.inputs]
            line = formula(node, inputs) if node.data.ours else text.foreign_formula(node, inputs)
            self.registers[key] = name = text.fresh("v")
            hoist = self.inner and all(i.variable != self.inner for i in index)
            (self.hoisted if hoist else self.body).append(f"{name} = {line}")
        return self.registers[key]

    def is_here(self, index: tuple[Index, ...]) -> bool:
        return index == here(self.shape)

    def read(self, place: Place, index: tuple[Index, ...], shape: Sequence[str]) -> str:
        key = (place, index)
        if key not in self.registers:
            self.registers[key] = self._entry(place, index, shape, hoist=True)
        return self.registers[key]

    def _entry(self, place: Place, index: Any, shape: Sequence[str], hoist: bool) -> str:
        """The text of an entry; rows are looked up before the inner loop, so that it is simple."""
        parts = [place.time] if place.time is not None else []
        parts += [_at(i, place.shift and k == 0) for k, i in enumerate(index)]
        direct = f"{place.array}[{', '.join(parts) or '0'}]"
        using = [k for k, i in enumerate(index) if self.inner and i.variable == self.inner]
        if not using:
            if not hoist or not self.inner:
                return direct
            name = self.text.fresh(f"{place.array}_at")
            self.hoisted.append(f"{name} = {direct}")
            return name
        last = index[-1]
        if using != [len(index) - 1] or last.step != 1 or (place.shift and len(index) == 1):
            return direct
        size = self.span
        if last.offset == "0" and shape[-1] == size:
            parts.pop()
        else:
            parts[-1] = f"{last.offset}:{_plus(last.offset, size)}"
        if not parts:
            return f"{place.array}[{self.inner}]"
        line = f"{place.array}[{', '.join(parts)}]"
        rows = self.registers.get(line)
        if rows is None:
            rows = self.registers[line] = self.text.fresh(f"{place.array}_row")
            self.hoisted.append(f"{rows} = {line}")
        return f"{rows}[{self.inner}]"

    # -- writing -----------------------------------------------------------------------------------

    def write(self, store: Store, value: str) -> str | None:
        index = tuple(
            Index(None, offset, 0)
            if axis is None or self.shape[axis] == "1"
            else Index(VARIABLES[axis], offset, step)
            for axis, offset, step in store.target
        )
        in_row = self.inner is None or any(i.variable == self.inner for i in index)
        shape = [self.shape[VARIABLES.index(i.variable)] if i.variable else "1" for i in index]
        if store.how in ("=", "+=") and in_row:
            full = self.text.full.get(store.place.array, shape)
            entry = self._entry(store.place, index, full, hoist=False)
            return f"{entry} {store.how} {value}"
        if store.how == "=":  # the same number along the inner loop
            raise Unsupported("a store without its inner axis")
        entry = self._entry(store.place, index, shape, hoist=False)
        if in_row:
            body = {"sum": "{e} += {v}", "max": "{e} = maximum({e}, {v})",
                    "min": "{e} = minimum({e}, {v})"}[store.how]  # fmt: skip
            return body.format(e=entry, v=value)
        return self._totalled(store, entry, value)

    def _totalled(self, store: Store, entry: str, value: str) -> str:
        """A reduction along the inner loop, in a register."""
        total = self.text.fresh("total")
        if store.how in ("sum", "+="):
            real = store.node.dtype.kind == "f"
            self.hoisted.append(f"{total} = {'0.0' if real else '0'}")
            fresh = store.how == "sum" and store.makes not in self.text.filled
            self.after.append(f"{entry} {'=' if fresh else '+='} {total}")
            if not real:
                return f"{total} += {value}"
            return f"{total} = plus({total}, np.float64({value}))"
        word = {"max": "maximum", "min": "minimum"}[store.how]
        self.hoisted.append(f"{total} = {entry}")
        self.after.append(f"{entry} = {total}")
        return f"{total} = {word}({total}, {value})"


def _moved(index: Sequence[Index], way: Any) -> Index:
    axis, offset, step = way
    if axis is None:
        return Index(None, offset, 0)
    i = index[axis]
    if i.offset == "0":
        new = offset
    elif offset == "0" and step == 1:
        new = i.offset
    else:
        new = f"{offset} + {step} * ({i.offset})" if step != 1 else f"{offset} + {i.offset}"
    return Index(i.variable, new, step * i.step)


def _under(x: Node, index: tuple[Index, ...]) -> tuple[Index, ...]:
    """Where an input of a pointwise op is read: broadcasting undone."""
    index = index[len(index) - len(x.shape) :]
    return tuple(
        Index(None, "0", 0) if n == "1" else i for i, n in zip(index, x.shape, strict=True)
    )


def _plus(offset: str, size: str) -> str:
    if offset == "0":
        return size
    if offset == size:
        return f"2 * {size}"
    times, _, rest = offset.partition(" * ")
    return f"{int(times) + 1} * {size}" if rest == size else f"{offset} + {size}"


def _at(i: Index, shift: bool) -> str:
    offset = f"start + {i.offset}" if shift and i.offset != "0" else "start" if shift else i.offset
    if i.variable is None:
        return offset
    steps = i.variable if i.step == 1 else f"{i.step} * {i.variable}"
    return steps if offset == "0" else f"{offset} + {steps}"


def literal(value: Any, dtype: np.dtype) -> str:
    if dtype.kind == "b":
        return str(bool(value))
    if dtype.kind in "iu":
        return str(int(value)) if dtype == np.int64 else f"{KINDS[dtype]}({int(value)})"
    word = repr(float(value)).removesuffix(".0")
    word = f"np.{word}" if word.lstrip("-") in ("inf", "nan") else word
    word = word.replace("np.-inf", "-np.inf")
    return f"{REALS[dtype]}({word})"


REALS = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
KINDS = {**REALS, **{np.dtype(n): f"np.{n}" for n in WHOLE}, np.dtype(np.bool_): "np.bool_"}


def formula(node: Node, inputs: list[str]) -> str:
    """One op on numbers, as text."""
    name, kind = node.data.name, node.dtype.kind
    if kind == "f" or name in CHOICES:
        return real_formula(node, name, inputs)
    if kind == "b":
        if name not in FLAGS:
            raise Unsupported(f"{name} of flags")
        return FLAGS[name].format(*inputs)
    if name in ("maximum", "minimum"):
        return f"{inputs[0]} if {inputs[0]} {'<>'[name == 'maximum']} {inputs[1]} else {inputs[1]}"
    if name == "power" and (node.inputs[1].kind != "written" or node.inputs[1].data < 0):
        raise Unsupported("power of integers")
    if name == "sign" and kind == "u":
        return f"{literal(1, node.dtype)} if {inputs[0]} else {inputs[0]}"
    line = real_formula(node, name, inputs)  # NumPy keeps a narrow integer narrow, Numba does not
    return line if node.dtype == np.int64 else f"{KINDS[node.dtype]}({line})"


CHOICES = {"where", "astype", "detached", "less", "less_equal", "greater", "greater_equal", "equal",
           "not_equal"}  # fmt: skip
FLAGS = {"add": "{0} or {1}", "mul": "{0} and {1}", "maximum": "{0} or {1}", "abs": "{0}",
         "minimum": "{0} and {1}"}  # fmt: skip


def real_formula(node: Node, name: str, inputs: list[str]) -> str:
    if node.dtype in REALS and (name in CALLS or name == "softplus"):
        inputs = [
            word if x.dtype.kind == "f" else f"{REALS[node.dtype]}({word})"
            for word, x in zip(inputs, node.inputs, strict=True)
        ]
    if name == "div" and node.dtype == np.float32 and all(x.dtype.kind != "f" for x in node.inputs):
        raise Unsupported("division of small integers")
    if name in INFIX:
        return f"{inputs[0]} {INFIX[name]} {inputs[1]}"
    if name in CALLS:
        return f"{name}({', '.join(inputs)})"
    if name == "neg":
        return f"-{inputs[0]}"
    if name == "detached":
        return inputs[0]
    x, zero = inputs[0], literal(0, node.dtype)
    if name == "relu":
        return f"{zero} if {x} < {zero} else {x}"
    if name == "sign":
        one = literal(1, node.dtype)
        return f"{one} if {x} > {zero} else -{one} if {x} < {zero} else {x}"
    if name == "softplus":
        return f"({zero} if {x} < {zero} else {x}) + log1p(exp(-abs({x})))"
    if name == "where":
        return f"{inputs[1]} if {inputs[0]} else {inputs[2]}"
    if name == "astype" and node.dtype in KINDS:
        return f"{KINDS[node.dtype]}({inputs[0]})"
    if name == "power":
        power = node.inputs[1]
        if power.kind == "written" and power.data == 2:
            return f"{inputs[0]} * {inputs[0]}"
        return f"{inputs[0]} ** {inputs[1]}"
    raise Unsupported(name)


# -- the whole function -----------------------------------------------------------------------------


class Text:
    """The text of one function: what it stores, what it needs for that, and in which order."""

    def __init__(self, name: str, sizes: Any, batched: bool, head: Sequence[str]):
        self.name, self.sizes, self.batched, self.head = name, sizes, batched, list(head)
        self.places: dict[Node, Place] = {}
        self.numbers: dict[Node, str] = {}
        self.arguments: dict[str, Argument] = {}
        self.full: dict[str, Sequence[str]] = {}
        self.stores: list[Store] = []
        self.calls: list[Call] = []
        self.early: list[str] = []
        self.late: list[str] = []
        self.foreign: dict[str, Any] = {}
        self.counts: dict[str, int] = {}
        self.in_blocks: set[Node] = set()
        self.severed: set[int] = set()  # states that no cotangent gets past
        self.products: dict[str, int] = {}
        self.rewritten: dict[Node, set[Node]] = {}

    def fresh(self, stem: str) -> str:
        """A name that is not taken: the stem and a number."""
        self.counts[stem] = self.counts.get(stem, 0) + 1
        name = f"{stem}{self.counts[stem]}"
        return self.fresh(stem) if name in self.arguments else name

    def argument(self, name: str, role: Any, dtype: Any, ndim: int, written: bool) -> str:
        word = re.sub(r"[^0-9A-Za-z_]", "_", name) or "a"
        taken = word in RESERVED or word in self.sizes.words.values() or keyword.iskeyword(word)
        if word[0].isdigit():
            word = f"a{word}"
        if taken:
            word = f"{word}_"
        while word in self.arguments or word in self.foreign:
            word += "_"
        self.arguments[word] = Argument(word, role, np.dtype(dtype), ndim, written)
        return word

    # -- places --------------------------------------------------------------------------------------

    def buffer(self, node: Node, blocks: bool) -> Place:
        """Room for what a step computes: of one step, or of a block of them."""
        name = self.argument(
            node.name or self.fresh(f"{node.data.name if node.kind == 'pointwise' else node.kind}_"),
            ("buffer", node.shape, blocks, node.kind == "product" and node.shape[0] == ROWS), node.dtype, len(node.shape) + 1, True,
        )  # fmt: skip
        self.full[name] = node.shape
        return Place(name, "s" if blocks else "0")

    def base(self, x: Node) -> Node | None:
        """What an operand of a product is a plain cut of; None where it must be copied first."""
        if x.kind == "view" and x not in self.places:
            base = x.inputs[0]
            if base.kind in ("pointwise", "view", "written") and base not in self.places:
                return None
            plain = [(k, "0", 1) for k in range(len(x.shape))]
            cut = len(base.shape) == len(x.shape) == 2 and all(
                w[0] == k and w[2] == 1 for k, w in enumerate(x.data)
            )
            row = len(base.shape) == 1 and len(x.shape) == 2 and x.data == [(1, "0", 1)]
            shifted = cut and x.data[0][1] != "0"
            if (cut and not shifted) or row or x.data == plain:
                return base
            return None
        return x if x.kind not in ("view", "pointwise", "written") or x in self.places else None

    def array(self, x: Node, whole_block: bool, filled: bool = False) -> str:
        """An operand of a kernel, with axes (steps, rows, columns), as text."""
        base = x if x in self.places else self.base(x)
        assert base is not None and base in self.places, (x, base)
        place = self.places[base]
        time = place.time
        padded = self.is_padded(place) and not filled
        if time is None:
            return f"{place.array}.reshape((1, {x.shape[0]}, {x.shape[1]}))"
        first, last = (time, f"{time} + 1") if time != "0" else ("0", "1")
        if whole_block:
            low = {"t": "low", "before": "low + behind", "after": "low + 1 - behind", "s": "0"}[
                time
            ]
            first, last = low, "count" if low == "0" else f"{low} + count"
        if len(base.shape) == 1:
            steps = "count" if whole_block else "1"
            rows = f"{first}:{last}" if whole_block else first
            return f"{place.array}[{rows}].reshape(({steps}, 1, {base.shape[0]}))"
        parts = [f"{first}:{last}"]
        if place.shift:
            parts.append("start:stop")
        if x is not base and x.data[1][1] != "0":
            parts += [":"] if len(parts) == 1 else []
            parts.append(f"{x.data[1][1]}:{_plus(x.data[1][1], x.shape[1])}")
        elif padded or (x is not base and x.shape[1] != base.shape[1]):
            parts += [":"] if len(parts) == 1 else []
            parts.append(f"0:{x.shape[1]}")
        return f"{place.array}[{', '.join(parts)}]"

    def is_padded(self, place: Place) -> bool:
        """Whether an array has rows as wide as whole panels, so that products fill it quickly."""
        argument = self.arguments.get(place.array)
        return (
            argument is not None and argument.role[0] in ("buffer", "carried") and argument.role[3]
        )

    # -- making ----------------------------------------------------------------------------------------

    def make(self, outputs: list[Node]) -> None:
        """Give everything that must be in an array its place, and say how it gets there."""
        for node in ordered(outputs, self.given):
            if node.kind in MAKERS and not self.is_leaf(node):
                for x in OPERANDS.get(node.kind, _no_operands)(node):
                    self.settle(x, node.kind == "call")
                if node not in self.places:
                    self.places[node] = self.buffer(node, node in self.in_blocks)
                MAKERS[node.kind](self, node)

    def is_leaf(self, node: Node) -> bool:
        return node.kind == "leaf" or node in self.numbers or node in self.given

    given: set[Node] = set()

    def settle(self, x: Node, alone: bool = False) -> None:
        """Have an operand in an array, its own or one that it is a plain cut of."""
        if (alone or self.base(x) is None) and x not in self.places and x not in self.numbers:
            self.places[x] = self.buffer(x, x in self.in_blocks)
            self.stores.append(Store(x, self.places[x], whole(x), "=", x))

    def product(self, node: Node) -> None:
        out = self.places[node]
        starts = len(node.inputs) > 2 * node.data
        fresh = not starts
        if starts:
            start = node.inputs[-1]
            self.stores.append(Store(start, out, whole(start), "=", None))
            begun = self.stores[-1]
        lines, reads = [], []
        for k in range(node.data):
            x, w = node.inputs[2 * k : 2 * k + 2]
            packed = self.packed(w)
            if self.is_early(x):
                self.early.append(
                    f"multiply({self.array(x, True)}, {packed}, {self.array(node, True, True)}, {fresh})"
                )
            else:
                lines.append(
                    f"multiply({self.array(x, False)}, {packed}, {self.array(node, False, True)}, {fresh})"
                )
                reads.append(x)
            fresh = False
        if lines or starts:
            self.calls.append(Call(node, tuple(reads), tuple(lines)))
            if starts:
                self.begun[node] = begun

    def late_product(self, node: Node) -> None:
        """A product nobody in the loop waits for: done for a block of steps at once."""
        fresh = True
        if len(node.inputs) > 2 * node.data:
            start = node.inputs[-1]
            self.stores.append(Store(start, self.places[node], whole(start), "=", None))
            fresh = False
        for k in range(node.data):
            x, w = node.inputs[2 * k : 2 * k + 2]
            self.late.append(
                f"multiply({self.array(x, True)}, {self.packed(w)}, {self.array(node, True)}, "
                f"{fresh})"
            )
            fresh = False

    def packed(self, w: Node) -> str:
        for name, argument in self.arguments.items():
            if argument.role == ("packed", w.data):
                return name
        name = self.argument(f"{w.name or 'W'}_packed", ("packed", w.data), w.dtype, 1, False)
        self.products[name] = math.prod(w.source.shape)
        return name

    def tall(self, g: Node) -> str:
        """A block of steps as one tall matrix, packed for the products that sum over it."""
        name = f"{self.places[self.base(g) or g].array}_packed"
        if name not in self.arguments:
            rows = 1 if len(g.shape) < 2 or g.shape[0] == ROWS else self.sizes.value(g.shape[0])
            name = self.argument(name, ("tall", g.shape[-1], rows), g.dtype, 1, True)
            self.late.append(f"pack_rows({self.array(g, True)}, {name})")
        return name

    def is_early(self, x: Node) -> bool:
        base = self.base(x)
        return base is not None and base.kind == "leaf" and base.data[0] == "x"

    def dot(self, node: Node) -> None:
        """A product of two things that both change: plain loops."""
        x, y = node.inputs
        out = self.places[node]
        n = len(node.shape)
        lead = list(VARIABLES[: n - 2])
        row, column, inner = VARIABLES[n - 2], VARIABLES[n - 1], "z"
        nest = Nest(self, (), [])
        left = [Index(v) for v in [*lead, row, inner]]
        right = [Index(v) for v in [*lead, inner, column]]
        a = nest._entry(*self.entry_of(x, left[len(left) - len(x.shape) :]), hoist=False)
        b = nest._entry(*self.entry_of(y, right[len(right) - len(y.shape) :]), hoist=False)
        c = nest._entry(out, [Index(v) for v in [*lead, row, column]], node.shape, hoist=False)
        lines, pad = [], ""
        for v, size in zip([*lead, row], node.shape[:-1], strict=True):
            lines.append(f"{pad}for {v} in range({size}):")
            pad += "    "
        lines += [f"{pad}for {column} in range({node.shape[-1]}):", f"{pad}    {c} = 0",
                  f"{pad}for {inner} in range({x.shape[-1]}):",
                  f"{pad}    for {column} in range({node.shape[-1]}):",
                  f"{pad}        {c} += {a} * {b}"]  # fmt: skip
        self.calls.append(Call(node, (x, y), tuple(lines)))

    def entry_of(self, x: Node, index: Any) -> Any:
        """Where an operand is, through its views."""
        index = tuple(
            Index(None, "0", 0) if n == "1" else i for i, n in zip(index, x.shape, strict=True)
        )
        while x not in self.places:
            index = tuple(_moved(index, way) for way in x.data)
            x = x.inputs[0]
        return self.places[x], index, x.shape

    def reduce(self, node: Node) -> None:
        how, axes = node.data
        x = node.inputs[0]
        target = tuple((None, "0", 0) if k in axes else (k, "0", 1) for k in range(len(x.shape)))
        if how == "sum" and last_only(x.shape, axes):  # a total, written once
            self.stores.append(Store(x, self.places[node], target, how, node))
            return
        first: Any = {"sum": 0.0, "max": -np.inf, "min": np.inf}[how]
        if node.dtype.kind == "u" and how != "sum":
            raise Unsupported(f"{how} of unsigned integers")
        if node.dtype.kind != "f":
            limits = np.iinfo(node.dtype)
            first = {"sum": 0, "max": limits.min, "min": limits.max}[how]
        self.fill(node, literal(first, node.dtype))
        self.stores.append(Store(x, self.places[node], target, how, node))

    def fill(self, node: Node, value: str) -> None:
        place = self.places[node]
        lines, pad, parts = [], "", [place.time] if place.time else []
        for k, (v, n) in enumerate(zip(VARIABLES, node.shape, strict=False)):
            lines.append(f"{pad}for {v} in range({n}):")
            parts.append(_at(Index(v), place.shift and k == 0))
            pad += "    "
        lines.append(f"{pad}{place.array}[{', '.join(parts) or '0'}] = {value}")
        self.filled[node] = Call(None, (), tuple(lines))
        self.calls.append(self.filled[node])

    def join(self, node: Node) -> None:
        axis, new = node.data
        at = "0"
        for k, x in enumerate(node.inputs):
            target = list(whole(x))
            if new:
                target.insert(axis, (None, str(k), 0))
            else:
                target[axis] = (axis, at, 1)
                at = _plus(at, x.shape[axis])
            self.stores.append(Store(x, self.places[node], tuple(target), "=", node))

    def put(self, node: Node) -> None:
        self.fill(node, literal(0, node.dtype))
        x = node.inputs[0]
        self.stores.append(Store(x, self.places[node], tuple(node.data), "+=", node))

    def copy(self, node: Node) -> None:
        """The same numbers in another shape: row by row where there is a batch."""
        x = node.inputs[0]
        base = self.base(x)
        a, b = self.places[base if base is not None else x], self.places[node]
        if base is not None and base is not x:
            raise Unsupported("reshape of a view")
        batched = self.batched and node.batched
        if len(x.shape) - batched < 1 or len(node.shape) - batched < 1:
            raise Unsupported("reshape to or from a number")
        rows = [_at(Index("i"), a.shift)] if batched else []
        theirs = [_at(Index("i"), b.shift)] if batched else []
        source = ", ".join([a.time, *rows] if a.time else rows)
        source += f", 0:{x.shape[-1]}" if self.is_padded(a) else ""
        lines = [
            f"source = {a.array}[{source}].reshape(-1)" if source else
            f"source = {a.array}.reshape(-1)",
            f"target = {b.array}[{', '.join([str(b.time), *theirs])}].reshape(-1)",
            "for j in range(source.size):", "    target[j] = source[j]",
        ]  # fmt: skip
        if batched:
            lines = [f"for i in range({ROWS}):", *("    " + line for line in lines)]
        self.calls.append(Call(node, (x,), tuple(lines)))

    def rows_of(self, node: Node) -> None:
        table, index = node.inputs
        nest = Nest(self, (), [])
        n = len(index.shape)
        index_at = nest._entry(
            self.places[index], [Index(v) for v in VARIABLES[:n]], index.shape, hoist=False
        )
        rest = list(VARIABLES[n : len(node.shape)])
        out = nest._entry(
            self.places[node], [Index(v) for v in VARIABLES[: len(node.shape)]], node.shape,
            hoist=False,
        )  # fmt: skip
        source = f"{self.places[table].array}[{', '.join([index_at, *rest])}]"
        self.looped(node, node.shape, f"{out} = {source}", (index,))

    def looped(self, node: Node | None, shape: Sequence[str], line: str, reads: Any) -> None:
        lines, pad = [], ""
        for v, size in zip(VARIABLES, shape, strict=False):
            lines.append(f"{pad}for {v} in range({size}):")
            pad += "    "
        self.calls.append(Call(node, tuple(reads), (*lines, pad + line)))

    def call(self, node: Node) -> None:
        op, attrs = node.data
        name = self.foreign_name(op)
        place = self.places[node]
        words = []
        for x in node.inputs:
            if x.kind == "written" or x in self.numbers:
                words.append(self.numbers.get(x) or literal(x.data, x.dtype))
                continue
            p = self.places.get(x)
            if p is None:
                raise Unsupported(op.name)
            copy = ".copy()" if x.shape and self.arguments[p.array].written else ""
            words.append((f"{p.array}[{p.time}]" if p.time is not None else p.array) + copy)
        words += [f"{k}={v!r}" for k, v in attrs.items()]
        if not node.shape:
            line = f"{place.array}[{place.time}] = {name}({', '.join(words)})"
        else:
            line = f"{place.array}[{place.time}][:] = {name}({', '.join(words)})"
        self.calls.append(Call(node, tuple(node.inputs), (line,)))

    def foreign_name(self, op: Any) -> str:
        """What an op of a user's goes by in the text: two may have one name, or that of an array."""
        for name, (body, _) in self.foreign.items():
            if body is op.body:
                return name
        word = f"op_{op.name}"
        while word in self.foreign or word in self.arguments:
            word += "_"
        self.foreign[word] = (op.body, surroundings(op.body))
        return word

    def foreign_formula(self, node: Node, inputs: list[str]) -> str:
        """A user's op on numbers; it may give another kind of number than NumPy does on arrays."""
        words = [*inputs, *(f"{k}={v!r}" for k, v in node.source.attrs.items())]
        if node.dtype not in KINDS:
            raise Unsupported(node.data.name)
        return f"{KINDS[node.dtype]}({self.foreign_name(node.data)}({', '.join(words)}))"

    # -- order -----------------------------------------------------------------------------------------

    def reads(self, node: Node, index: Any, found: dict[Node, bool], at_home: Any) -> None:
        """The placed nodes a formula reads, and whether each only at the loop's own position."""
        stack = [(node, index, True)]
        seen = set()
        while stack:
            n, at, top = stack.pop()
            if (n, at) in seen:
                continue
            seen.add((n, at))
            if n in self.places and not (top and n in self.made):
                found[n] = found.get(n, True) and at == at_home
                continue
            if n.kind == "view":
                stack.append((n.inputs[0], tuple(_moved(at, way) for way in n.data), False))
            elif n.kind == "pointwise":
                stack += [(x, _under(x, at), False) for x in n.inputs]

    made: set[Node] = set()

    def body(self) -> list[str]:
        """The lines of one step: loops that can share their nest do."""
        return [line for group in self.schedule() for line in group]

    def schedule(self) -> list[list[str]]:
        tasks: list[Any] = [*self.calls, *self.stores]
        makers: dict[Node, list[Any]] = {}
        for task in tasks:
            if task.makes is not None:
                makers.setdefault(task.makes, []).append(task)
        needs = {id(task): self.needs(task, makers) for task in tasks}
        self.order_carried(tasks, needs)
        done: set[int] = set()
        groups: list[list[str]] = []
        left = list(tasks)
        self.expensive: dict[Any, set[int]] = {}
        open_rows: list[str] | None = None
        while left:
            group = self.next_group(left, needs, done)
            if not group:
                raise Unsupported("a step whose parts wait for each other")
            left = [t for t in left if not any(t is g for g in group)]
            done |= {id(t) for t in group}
            if isinstance(group[0], Call):
                groups.append(list(group[0].lines))
                open_rows = None
            else:
                shape = group[0].node.shape
                nest = Nest(self, shape, group)
                by_row = shape[:1] == (ROWS,) and bool(nest.outer)
                if by_row and open_rows is not None:  # the same row is at hand: one loop for both
                    rest = nested(nest.outer[1:], nest.core())
                    open_rows += ["    " + line for line in rest]
                else:
                    groups.append(nest.lines())
                    open_rows = groups[-1] if by_row else None
                for key in nest.registers:
                    if isinstance(key[0], Node) and key[0].data.name not in CHEAP:
                        self.expensive.setdefault(key[0], set()).add(len(groups))
        return groups

    def needs(self, task: Any, makers: Any) -> list[tuple[Any, bool]]:
        """The tasks that come before one, and whether it may share their nest."""
        found: dict[Node, bool] = {}
        if isinstance(task, Store):
            at = here(task.node.shape)
            self.made = {task.node} if task.makes is task.node else set()
            self.reads(task.node, at, found, at)
            self.made = set()
        else:
            for x in task.reads:
                found[x if x in self.places else self.base(x) or x] = False
                inner: dict[Node, bool] = {}
                self.reads(x, here(x.shape), inner, None)
                found |= dict.fromkeys(inner, False)
        out = [
            (maker, same and maker.makes is getattr(maker, "node", None))
            for n, same in found.items()
            for maker in makers.get(n, [])
            if maker is not task
        ]
        node = task.makes
        if isinstance(task, Store) and node in self.filled:
            out.append((self.filled[node], False))
        if isinstance(task, Call) and node in self.begun:
            out.append((self.begun[node], False))
        return out

    filled: dict[Any, Any] = {}
    begun: dict[Any, Any] = {}
    carried: dict[Node, Node] = {}

    def order_carried(self, tasks: list[Any], needs: dict[int, Any]) -> None:
        """What overwrites a carried cotangent waits for all who read it."""
        for leaf in self.carried:
            place = self.places[leaf]
            writers = [t for t in tasks if self.writes(t, place)]
            for task in tasks:
                found: dict[Node, bool] = {}
                if isinstance(task, Store):
                    at = here(task.node.shape)
                    self.made = {task.node} if task.makes is task.node else set()
                    self.reads(task.node, at, found, at)
                    self.made = set()
                else:
                    for x in task.reads:
                        self.reads(x, here(x.shape), found, None)
                if leaf in found:
                    for writer in writers:
                        if writer is not task:
                            same = found[leaf] and isinstance(writer, Store)
                            needs[id(writer)].append((task, same))

    def writes(self, task: Any, place: Place) -> bool:
        if isinstance(task, Store):
            return task.place == place
        return task.makes is not None and self.places.get(task.makes) == place

    def next_group(self, left: list[Any], needs: Any, done: set[int]) -> list[Any]:
        for task in left:
            if isinstance(task, Call) and all(id(n) in done for n, _ in needs[id(task)]):
                return [task]
        group: list[Any] = []
        inside: set[int] = set()
        grew = True
        while grew:
            grew = False
            for task in left:
                if isinstance(task, Call) or id(task) in inside:
                    continue
                if group and task.node.shape != group[0].node.shape:
                    continue
                if all(id(n) in done or (same and id(n) in inside) for n, same in needs[id(task)]):
                    group.append(task)
                    inside.add(id(task))
                    grew = True
        return group

    def sizes_of(self, x: Any) -> tuple[str, ...]:
        return tuple(self.sizes.text(n) for n in x.shape)

    def source(self, body: list[str]) -> str:
        """The function's text."""
        words = [a for a in self.arguments]
        sizes = list(self.sizes.words.values())
        parameters = ["length", "way", "block", "start", "stop", "begun", *sizes, "numbers", *words]
        lines = [f"def {self.name}({', '.join(parameters)}):", f'    """{self.head[0]}"""']
        lines += [f"    {ROWS} = stop - start"] if self.batched else []
        lines += [f"    behind = {self.head[1]}"]
        for node, word in self.numbers.items():
            kind = KINDS.get(node.dtype, "f64")
            lines.append(f"    {word} = {kind}(numbers[{node.data[1]}])")
        lines += ["    for done in range(0, length, block):",
                  "        count = min(block, length - done)",
                  "        low = done if way > 0 else length - done - count"]  # fmt: skip
        lines += [f"        {line}" for line in self.early]
        lines += ["        for step in range(count):",
                  "            s = step if way > 0 else count - 1 - step",
                  "            t = low + s",
                  "            before, after = t + behind, t + 1 - behind"]  # fmt: skip
        lines += [f"            {line}" for line in body]
        lines += [f"        {line}" for line in self.late]
        return "\n".join(lines) + "\n"


def _no_operands(node: Node) -> list[Node]:
    return []


RESERVED = {
    "length", "way", "block", "start", "stop", "numbers", "rows", "behind", "done", "count", "low",
    "step", "s", "t", "begun", "before", "after", "np", "f32", "f64", "multiply", "gather", "plus",
    "source", "target", "min", "range", "z", "log1p", *VARIABLES, *CALLS,
}  # fmt: skip

MAKERS = {
    "product": Text.product, "dot": Text.dot, "reduce": Text.reduce, "join": Text.join,
    "put": Text.put, "copy": Text.copy, "rows_of": Text.rows_of, "call": Text.call,
}  # fmt: skip
OPERANDS = {
    "product": lambda n: n.inputs[: 2 * n.data : 2], "dot": lambda n: n.inputs,
    "copy": lambda n: n.inputs, "call": lambda n: [
        x for x in n.inputs if x.kind != "written"
    ],
}  # fmt: skip
_ = turned
