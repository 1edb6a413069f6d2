"""One loop over numbers: what is read, computed and stored in it, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .formula import formula, literal
from .lower import ROWS, Index, Node, Unsupported

if TYPE_CHECKING:
    from .schedule import Text

VARIABLES = "ijklmnpq"


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


def whole(node: Node) -> tuple[Any, ...]:
    return tuple((k, "0", 1) for k in range(len(node.shape)))


def here(shape: Sequence[str]) -> tuple[Index, ...]:
    """The position that a loop over this shape is at: no loop along an axis of size 1."""
    return tuple(
        Index(None, "0", 0) if n == "1" else Index(v)
        for v, n in zip(VARIABLES, shape, strict=False)
    )


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
        self.inner: str | None = self.loop[0][0] if self.loop else None
        self.span = self.loop[0][1] if self.loop else ""
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
            return self.value(base, tuple(moved(index, way) for way in node.data))
        if node.kind != "pointwise":
            raise Unsupported(f"{node.kind} has no place")
        key = (node, index)
        if key not in self.registers:
            inputs = [self.value(x, under(x, index)) for x in node.inputs]
            hoist = self.inner and all(i.variable != self.inner for i in index)
            lines = self.hoisted if hoist else self.body
            line = formula(text, node, inputs)
            self.registers[key] = name = text.fresh("v")
            lines.append(f"{name} = {line}")
        return self.registers[key]

    def is_here(self, index: tuple[Index, ...]) -> bool:
        return index == here(self.shape)

    def read(self, place: Place, index: tuple[Index, ...], shape: Sequence[str]) -> str:
        key = (place, index)
        if key not in self.registers:
            self.registers[key] = self.entry(place, index, shape, hoist=True)
        return self.registers[key]

    def entry(self, place: Place, index: Any, shape: Sequence[str], hoist: bool = False) -> str:
        """The text of an entry; rows are looked up before the inner loop, so that it is simple."""
        parts = [place.time] if place.time is not None else []
        parts += [at_text(i, place.shift and k == 0) for k, i in enumerate(index)]
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
            parts[-1] = f"{last.offset}:{plus(last.offset, size)}"
        if not parts:
            return f"{place.array}[{self.inner}]"
        line = f"{place.array}[{', '.join(parts)}]"
        rows = self.registers.get(line)
        if rows is None:
            rows = self.registers[line] = self.text.fresh(f"{place.array}_row")
            self.hoisted.append(f"{rows} = {line}")
        return f"{rows}[{self.inner}]"

    # -- writing ---------------------------------------------------------------------------------

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
            entry = self.entry(store.place, index, full)
            return f"{entry} {store.how} {value}"
        if store.how == "=":  # the same number along the inner loop
            raise Unsupported("a store without its inner axis")
        entry = self.entry(store.place, index, shape)
        if in_row:
            body = {"sum": "{e} += {v}", "max": "{e} = larger({e}, {v})",
                    "min": "{e} = smaller({e}, {v})"}[store.how]  # fmt: skip
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
        word = {"max": "larger", "min": "smaller"}[store.how]
        self.hoisted.append(f"{total} = {entry}")
        self.after.append(f"{entry} = {total}")
        return f"{total} = {word}({total}, {value})"


def moved(index: Sequence[Index], way: Any) -> Index:
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


def under(x: Node, index: tuple[Index, ...]) -> tuple[Index, ...]:
    """Where an input of a pointwise op is read: broadcasting undone."""
    index = index[len(index) - len(x.shape) :]
    return tuple(
        Index(None, "0", 0) if n == "1" else i for i, n in zip(index, x.shape, strict=True)
    )


def plus(offset: str, size: str) -> str:
    if offset == "0":
        return size
    if offset == size:
        return f"2 * {size}"
    times, _, rest = offset.partition(" * ")
    known = rest == size and times.isdigit()
    return f"{int(times) + 1} * {size}" if known else f"{offset} + {size}"


def at_text(i: Index, shift: bool) -> str:
    offset = f"start + {i.offset}" if shift and i.offset != "0" else "start" if shift else i.offset
    if i.variable is None:
        return offset
    steps = i.variable if i.step == 1 else f"{i.step} * {i.variable}"
    return steps if offset == "0" else f"{offset} + {steps}"
