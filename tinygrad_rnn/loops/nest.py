"""One loop over numbers: what is read, computed and stored in it, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .formula import formula, literal
from .nodes import Node, Pointwise, Unsupported, View, Written, under
from .roles import Place
from .where import ROWS, VARIABLES, Way, Ways, fixed, here, offset

if TYPE_CHECKING:
    from .places import Places
    from .schedule import Store


def nested(loops: Sequence[tuple[str, str]], lines: list[str]) -> list[str]:
    """Lines inside loops."""
    for variable, size in loops[::-1]:
        lines = [f"for {variable} in range({size}):", *indented(lines)]
    return lines


def indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def last_only(shape: Sequence[str], axes: Sequence[int]) -> bool:
    """Whether of all axes with something to loop over, only the last is summed."""
    loops = [k for k, n in enumerate(shape) if n != "1"]
    return bool(loops) and [k for k in axes if k in loops] == loops[-1:]


class Nest:
    """Loops over one shape, and everything that is computed in them."""

    def __init__(self, places: Places, shape: tuple[str, ...], stores: Sequence[Store]):
        self.places, self.shape, self.stores = places, shape, stores
        self.home = here(shape)
        loops = [way.axis for way in self.home if way.axis is not None]
        outer = 1 if shape[:1] == (ROWS,) and len(shape) > 1 == len(loops) else len(loops) - 1
        self.outer, self.loop = [
            [(VARIABLES[k], shape[k]) for k in axes]
            for axes in (loops[: max(0, outer)], loops[max(0, outer) :])
        ]
        # what is made here, where the loop is, need not be read again
        self.making = {s.node for s in stores if s.makes is s.node and s.target is None}
        self.hoisted: list[str] = []
        self.body: list[str] = []
        self.after: list[str] = []
        self.registers: dict[Any, str] = {}
        self.strided = False  # whether numbers are read that do not stand beside each other

    @property
    def inner(self) -> int | None:
        """The axis of the innermost loop."""
        return VARIABLES.index(self.loop[-1][0]) if self.loop else None

    def core(self) -> list[str]:
        """The innermost loop, with what is looked up before it and summed up after it."""
        values = [self.value(s.node, self.home) for s in self.stores]
        self.body += [self.write(s, v) for s, v in zip(self.stores, values, strict=True)]
        inner = nested(self.loop, self.body or ["pass"])
        return [*self.hoisted, *inner, *self.after]

    def is_outside(self, ways: Ways) -> bool:
        """Whether a place is the same at all turns of the inner loop."""
        return self.inner is not None and all(way.axis != self.inner for way in ways)

    # -- reading ---------------------------------------------------------------------------------

    def value(self, node: Node, index: tuple[Way, ...]) -> str:
        """The text of one number: a register, an entry of a row, a constant."""
        places = self.places
        if isinstance(node, Written):
            counts = node.value is None
            return index[-1].text() if counts else literal(node.value, node.dtype)
        if node in places.numbers:
            return places.numbers[node]
        if node in places.at and not (node in self.making and index == self.home):
            return self.read(places.at[node], index)
        if isinstance(node, View):
            return self.value(node.inputs[0], tuple([way.of(index) for way in node.ways]))
        if not isinstance(node, Pointwise):
            raise Unsupported(f"{node.stem} has no place")
        key = (node, index)
        if key not in self.registers:
            inputs = [self.value(x, under(x, index)) for x in node.inputs]
            lines = self.hoisted if self.is_outside(index) else self.body
            self.register(key, "v", formula(places, node, inputs), lines)
        return self.registers[key]

    def register(self, key: Any, stem: str, line: str, lines: list[str]) -> str:
        """A name for a number or a row, at its first use."""
        if key not in self.registers:
            self.registers[key] = name = self.places.names.fresh(stem)
            lines.append(f"{name} = {line}")
        return self.registers[key]

    def read(self, place: Place, index: Ways) -> str:
        key = (place, index)
        if key not in self.registers:
            entry = self.entry(place, index)
            if self.is_outside(index):
                return self.register(key, f"{place.array}_at", entry, self.hoisted)
            self.registers[key] = entry
        return self.registers[key]

    def entry(self, place: Place, index: Ways) -> str:
        """The text of an entry; rows are looked up before the inner loop, so that it is simple."""
        using = [k for k, way in enumerate(index) if way.axis == self.inner]
        last = self.inner is not None and using == [len(index) - 1] and index[-1].step == 1
        self.strided |= bool(using) and not last
        if not last or (place.shift and len(index) == 1):
            return place.entry(index)
        begin, (variable, span) = index[-1].offset, self.loop[0]
        parts = [] if place.time is None else [place.time]
        parts += [way.text(place.shift and k == 0) for k, way in enumerate(index[:-1])]
        if begin or self.places.arguments[place.array].shape[-1] != span:
            parts.append(f"{begin}:{begin + offset(span)}")
        if not parts:
            return f"{place.array}[{variable}]"
        line = f"{place.array}[{', '.join(parts)}]"
        return f"{self.register(line, f'{place.array}_row', line, self.hoisted)}[{variable}]"

    # -- writing ---------------------------------------------------------------------------------

    def write(self, store: Store, value: str) -> str:
        """Put a number where it belongs, or join it to what is there."""
        index = [
            fixed(way.offset) if way.axis is None or self.shape[way.axis] == "1" else way
            for way in store.ways
        ]
        entry = self.entry(store.place, index)
        if not self.is_outside(index):
            return joined(entry, store.how, value)
        # a reduction along the inner loop, in a register
        total = self.places.names.fresh("total")
        if store.how not in ("=", "+="):
            self.hoisted.append(f"{total} = {entry}")
            self.after.append(f"{entry} = {total}")
            return joined(total, store.how, value)
        real = store.node.dtype.kind == "f"
        self.hoisted.append(f"{total} = {'0.0' if real else '0'}")
        self.after.append(f"{entry} {store.how} {total}")
        if not real or self.strided:  # LLVM would ask how far apart they are, and add otherwise
            return f"{total} += {f'np.float64({value})' if real else value}"
        return f"{total} = plus({total}, np.float64({value}))"


def joined(entry: str, how: str, value: str) -> str:
    return f"{entry} {how} {value}" if "=" in how else f"{entry} = {how}({entry}, {value})"
