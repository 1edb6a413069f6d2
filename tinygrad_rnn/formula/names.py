"""What tensors go by in equations: states and gates by their names, sums by letters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..op import pick
from ..ops import shape
from ..tensor import Tensor
from .program import Program, is_split, origin
from .read import Reader
from .term import Call, Sum, Symbol, symbols, with_block
from .write import one_word

LETTERS = "auvwpqsdezr"


class Names:
    """A symbol for each tensor of a program that has a name, and letters for others.

    states: what the results go by, the carry first. weights: what leaves of the program go by, by
    the leaf that they stand for. gates: the ops that have names of their own. static: what does not
    change with time. sums: the letter of the sums that gates are made of. circles: the numbers of
    the states that only change places.
    """

    def __init__(self, program: Program, results: Sequence[str], known: Mapping[Tensor, str]):
        self.program = program
        self.used: set[tuple[str, str]] = set()
        self.likes: dict[Any, str] = {}
        self.symbols: dict[Tensor, Symbol] = {}
        self.static = _static(program)
        self.states = [self.take(name) for name in results]
        places = {x: k for k, x in enumerate(program.carry)}
        self.after = [places.get(y) for y in program.results[: len(places)]]
        self.circles = set(filter(self._is_in_circle, range(len(places))))
        for y, name in zip(program.results, self.states, strict=True):
            if y.op is not None:
                self.symbols.setdefault(y, Symbol(name, 0))
        self._leaves(known)
        for y in program.nodes:
            if y.name and y not in self.symbols and y.op is not pick:
                self.symbols[y] = Symbol(self.take(y.name), self.time(y))
        self.gates = {y: symbol for y, symbol in self.symbols.items() if y.op is not None}
        self.sums = self.fresh()
        self._masks()
        self.blocks = list(self._blocks())
        for y in program.nodes:
            if y.op is pick and is_split(y.inputs[0]):
                self._part(y)

    # -- names -------------------------------------------------------------------------------------

    def take(self, name: str) -> str:
        """The name, or a longer one if it is taken, or would be read as one at a time."""
        while (one_word(name), "") in self.used or name.endswith("_t"):
            name += "'"
        self.used.add((one_word(name), ""))
        return name

    def fresh(self, *others: str) -> str:
        """A letter that nothing goes by, and that is none of the others."""
        words = {name for name, _ in self.used}.union(others)
        letters = [*LETTERS, *[f"v{k}" for k in range(1, 2 + len(words))]]
        return next(c for c in letters if c not in words)

    def time(self, y: Tensor) -> int | None:
        return None if y in self.static else 0

    def state(self, k: int) -> Symbol:
        """State k of the step before. One that is another, a step later, goes by that one's name,
        unless they only change places."""
        at = -1
        while k not in self.circles and (before := self.after[k]) is not None:
            k, at = before, at - 1
        return Symbol(self.states[k], at)

    def _is_in_circle(self, k: int) -> bool:
        """Whether a state is handed on until it is itself again."""
        at: int | None = k
        for _ in self.after:
            at = None if at is None else self.after[at]
            if at == k:
                return True
        return False

    def _leaves(self, known: Mapping[Tensor, str]) -> None:
        for x in self.program.xs:
            self.symbols[x] = Symbol(self.take(x.name or "x"), 0)
        for k, x in enumerate(self.program.carry):
            self.symbols[x] = self.state(k)
        self.weights: dict[Tensor, str] = {}
        born = lambda entry: origin(entry[0]).born
        for key, x in sorted(self.program.weights.items(), key=born):
            leaf = origin(key)
            if leaf not in self.weights:
                name = known.get(leaf) or leaf.name
                self.weights[leaf] = self.take(name or "KW"[leaf.tracked])
            if not isinstance(key, tuple):
                self.symbols[x] = Symbol(self.weights[leaf])

    # -- blocks ------------------------------------------------------------------------------------

    def _masks(self) -> None:
        """Masks of one name go by the gates that they lead to."""
        masks: defaultdict[str, list[Tensor]] = defaultdict(list)
        for x in self.program.weights.values():
            masks[x.name or ""] += [] if x.tracked else [x]
        for name, xs in masks.items():
            if name and len(xs) > 1 and all(x in self.symbols for x in xs):
                labels = self.labels(xs, range(len(xs)))
                self.symbols |= {x: Symbol(name, None, k) for x, k in zip(xs, labels, strict=True)}

    def _blocks(self) -> Iterator[tuple[tuple[Symbol, ...], Call]]:
        """Name the blocks of leaves; the symbols of each leaf's, and how they are cut."""
        whole: defaultdict[Tensor, dict[int, Tensor]] = defaultdict(dict)
        for key, x in self.program.weights.items():
            if isinstance(key, tuple):
                whole[key[0]][key[1]] = x
        for leaf, parts in whole.items():
            name, sizes = self.weights[leaf], self.program.cuts.whole_of.get(leaf)
            found = [Symbol(name, None, str(n)) for n in range(len(sizes or leaf))]
            numbers = sorted(parts)
            labels = self.labels([parts[n] for n in numbers], numbers)
            for n, label in zip(numbers, labels, strict=True):
                found[n] = self.symbols[parts[n]] = replace(found[n], block=label)
            if sizes is None:
                yield tuple(found), Call(shape.unstack, (Symbol(name),))
            else:
                sections = len(sizes) if len(set(sizes)) == 1 else sizes
                attrs = (("sections", sections), ("axis", -1))
                yield tuple(found), Call(shape._split, (Symbol(name),), attrs)

    def labels(self, parts: Sequence[Tensor], numbers: Sequence[int]) -> list[str]:
        """The gates that parts lead to, each to another; else their numbers."""
        gates = [self.program.gate(x, self.gates) for x in parts]
        labels = [self.gates[g].name for g in gates if g is not None]
        return labels if len(set(labels)) == len(parts) else list(map(str, numbers))

    def _part(self, y: Tensor) -> None:
        """A part of what is split goes by the whole's name, if nothing else reads that.

        Else δu[i] would not be what arrives at u[i]; nor would it, of a state of the step before.
        """
        whole, x = y.inputs[0], y.inputs[0].inputs[0]
        symbol = self.symbols.get(x) or self.name(x, Reader(self.symbols))
        if len(self.program.readers[x]) > 1 or any([x is c for c in self.program.carry]):
            symbol = Symbol(self.likes.setdefault(whole, self.fresh(self.sums)), self.time(whole))
        parts = [z for z in self.program.nodes if z.op is pick and z.inputs[0] is whole]
        labels = self.labels(parts, [z.attrs["i"] for z in parts])
        if not symbol.block:
            label = dict(zip(parts, labels, strict=True))[y]
            self.used.add((symbol.name, label))
            self.symbols[y] = replace(symbol, block=label)

    # -- letters -----------------------------------------------------------------------------------

    def name(self, y: Tensor, read: Reader) -> Symbol:
        """Name an op that has no name: a[i], if it is the sum that the gate i is made of.

        What leads to one gate each, and is alike but for that, goes by one letter: u[i] and u[f].
        """
        label, letter = self._gate(y, alone=True), self.sums
        if not label or (letter, label) in self.used:
            label = self._gate(y, alone=False)
            like = with_block(read.formula(y), label, "·") if label else read.formula(y)
            if not any(x.block == "·" for x in symbols(like)):
                label = ""
            letter = self.likes.get(like, "") if label else ""
            if not letter or (letter, label) in self.used:
                letter = self.likes[like] = self.fresh(self.sums)
        self.used.add((letter, label))
        self.symbols[y] = Symbol(letter, self.time(y), label)
        return self.symbols[y]

    def _gate(self, y: Tensor, alone: bool) -> str:
        """The name of the gate that an op leads to."""
        gate = None if y in self.gates else self.program.gate(y, self.gates, alone)
        return "" if gate is None else self.gates[gate].name

    def name_sums(self, read: Reader) -> None:
        """Name the sums that gates and states are functions of."""
        done: set[Tensor] = set()
        for x in self.program.nodes:
            y = None if x in self.symbols else self.program.gate(x, self.gates, alone=True)
            if y is not None and y not in done and isinstance(read.formula(x), Sum):
                done.add(y)
                self.name(x, read)


def _static(program: Program) -> set[Tensor]:
    moving, static = {*program.xs, *program.carry}, set[Tensor]()
    for y in program.nodes:
        (static if moving.isdisjoint(y.inputs) else moving).add(y)
    return static
