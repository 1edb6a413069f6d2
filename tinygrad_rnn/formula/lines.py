"""The lines of backpropagation through time, with a name for all that stands in several places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from ..op import pick
from ..ops import shape
from ..tensor import Tensor, history
from .names import Names
from .order import Line, grouped, ordered
from .program import Program, is_split
from .read import Reader
from .term import Call, Number, Sum, Symbol, Term, changed, every, later, plus, symbols


class Derivation:
    """The equations of one step and of its backward pass, as lines.

    results: what the results go by, the carry first. known: the names of weights. reads: the
    numbers of the results that the loss reads itself. every_op: a line for each op.
    """

    def __init__(
        self,
        program: Program,
        results: Sequence[str],
        known: Mapping[Tensor, str],
        reads: Sequence[int],
        every_op: bool = False,
        batch: int = 0,
    ):
        self.program, self.reads, self.batch = program, reads, batch
        self.single = [y for y in program.nodes if type(y._array) is not tuple]
        self.names = Names(program, results, known)
        self.symbols = self.names.symbols
        self.names.name_sums(self.reader())
        if every_op:
            self._name_every_op()
        gs, self.found = program.pull(reads)
        self.incoming = {g: Symbol(str(k), 0, mark="in") for k, g in enumerate(gs) if g is not None}
        self._name_repeated()

    def reader(self) -> Reader:
        """What reads formulas with the names that there are now."""
        return Reader(self.symbols, self.batch)

    # -- names for what repeats --------------------------------------------------------------------

    def _name_every_op(self) -> None:
        for y in self.single:
            if y not in self.symbols and not is_trivial(self.reader().formula(y)):
                self.names.name(y, self.reader())

    def _name_repeated(self) -> None:
        """Names for what stands in several places, the largest first, until nothing does."""
        size = cache(_size)
        while True:
            self.cotangents = self._cotangents()
            lines = [*self.forward(), *self._found(), *self._sums()]
            lines += self.gradients(self.program.carry)
            places = _places(line.right for line in lines).items()
            large = [x for x, n in places if n > 1 and size(x) > 3 and not is_turned(x)]
            large.sort(key=size, reverse=True)
            found = ((y, x) for x in large if (y := self._made_by(x)) is not None)
            y, formula = next(found, (None, None))
            if y is None:
                return
            read, backward = self.reader(), self.backward_ops()
            alike = [z for z in backward if z not in self.symbols and read(z) == formula]
            symbol = self.names.name(y, self.reader())
            if y in set(backward):  # what arrives at two ops of the step is told apart
                self.symbols |= dict.fromkeys(alike, symbol)

    def _made_by(self, x: Term) -> Tensor | None:
        """The op that has this formula, or that has it as its cotangent."""
        read = self.reader()
        pairs: list[tuple[Tensor, Any]] = [(y, y) for y in self.single]
        pairs += [(y, self.found.get(y)) for y in reversed(self.single)]
        pairs += [(y, y) for y in self.backward_ops()]
        named = (y for y, z in pairs if y not in self.symbols and is_one(z) and read(z) == x)
        return next(named, None)

    def backward_ops(self) -> list[Tensor]:
        """The ops of the backward pass."""
        known = set(self.program.nodes)
        found = history([g for g in self.found.values() if isinstance(g, Tensor)], known)
        return [y for y in reversed(found) if y.op is not None and y not in known and is_one(y)]

    # -- lines -------------------------------------------------------------------------------------

    def _cotangents(self) -> dict[Tensor, Symbol]:
        """The cotangent of each op that has a name."""
        found: dict[Tensor, Symbol] = {}
        for y in reversed(self.program.nodes):
            g, symbol = self.found.get(y), self.symbols.get(y)
            if isinstance(g, Tensor) and symbol is not None:
                found[y] = replace(symbol, mark="δ", at=0)
                self.symbols.setdefault(g, found[y])
        for g, symbol in self.incoming.items():
            self.symbols.setdefault(g, symbol)
        return found

    def sections(self) -> dict[str, list[Line]]:
        """The lines in the order in which they can be computed."""
        found = {
            "blocks": [Line(left, right) for left, right in self.names.blocks],
            "forward": grouped(ordered(self.forward())),
            "backward": grouped(ordered(self.backward())),
            "sums": grouped(self.arrived(self._sums())),
            "first": self.arrived(self.gradients(self.program.carry)),
        }
        if sum(name == self.names.sums for name, _ in self.names.used) != 1:
            return found
        return {name: list(map(self._alone, lines)) for name, lines in found.items()}

    def _alone(self, line: Line) -> Line:
        """The line where a sum that is the only one goes by a, not by a[h]."""
        one = lambda y: replace(y, block="") if y.name == self.names.sums else y
        return replace(line, left=tuple(map(one, line.left)), right=changed(line.right, one))

    def forward(self) -> list[Line]:
        read, lines = self.reader(), []
        split: dict[Tensor, list[tuple[int, Symbol]]] = {}
        for y in self.program.nodes:
            symbol = self.symbols.get(y)
            if symbol is None:
                continue
            if y.op is pick and is_split(y.inputs[0]):
                split.setdefault(y.inputs[0], []).append((y.attrs["i"], symbol))
            else:
                lines.append(Line((symbol,), read.formula(y)))
        for k, y in enumerate(self.program.results):  # what hands on something as it is
            symbol = Symbol(self.names.states[k], 0)
            aliased = k < len(self.program.carry) and self.names.state(k) != replace(symbol, at=-1)
            if self.symbols.get(y) != symbol and not aliased:
                lines.append(Line((symbol,), read(y)))
        for whole, parts in split.items():
            x, left = self.symbols[whole.inputs[0]], dict(parts)
            one = parts[0][1]
            every = [left.get(k, replace(one, block=str(k))) for k in range(len(whole._array))]
            attrs = (("sections", whole.attrs["sections"]), ("axis", -1))
            lines.append(Line(tuple(every), Call(shape._split, (x,), attrs)))
        return lines

    def backward(self) -> list[Line]:
        """What arrives at each op that has a name, and at x."""
        lines = self.arrived(self._found())
        for k in self.names.circles:
            if self.program.carry[k] in self.found:
                lines.append(Line((self._arriving_at(k),), self.in_order(self._incoming(k))))
        return lines

    def _found(self) -> list[Line]:
        """The same, in which what comes from the loss and from the step after is one symbol."""
        read, lines = self.reader(), []
        for y, symbol in self.cotangents.items():
            g = self.found[y]
            right = self.incoming.get(g) or read.formula(g)
            lines.append(Line((symbol,), right if self.symbols[g] == symbol else read(g)))
        lines += self.gradients(self.program.xs)
        names = {y: name for y in self.backward_ops() if (name := self.symbols.get(y))}
        made = [Line((x,), read.formula(y)) for y, x in names.items() if not x.mark]
        return [*lines, *dict.fromkeys(made)]

    def _sums(self) -> list[Line]:
        return self.gradients(self.program.weights.values(), "∂")

    def gradients(self, leaves: Iterable[Tensor], mark: str = "δ") -> list[Line]:
        """What leaves get; weights ("∂") get a sum over time."""
        read, there = self.reader(), [x for x in leaves if x in self.found]
        names = [replace(self.symbols[x], mark=mark) for x in there]
        pairs = zip(names, there, strict=True)
        return [Line((name,), read(self.found[x]), sums=mark == "∂") for name, x in pairs]

    def in_order(self, x: Term) -> Term:
        """A sum with what the loss reads first, then this step's terms, then those of the next."""
        if not isinstance(x, Sum):
            return x
        rank = {s: k for k, y in enumerate(self.program.nodes) if (s := self.cotangents.get(y))}

        def key(term: tuple[float, Term]) -> tuple[int, bool, int]:
            marks = [y for y in symbols(term[1]) if y.mark == "δ"]
            if not marks:
                return -1, False, 0
            at = max(y.at or 0 for y in marks)
            return at, term[0] < 0, min(rank.get(replace(y, at=0), 0) for y in marks)

        return replace(x, terms=tuple(sorted(x.terms, key=key)))

    def arriving(self, x: Term) -> Term:
        """The formula with what comes from the loss and from the step after written out."""

        def written(y: Symbol) -> Term:
            if y.mark != "in":
                return y
            k = int(y.name)
            return self._arriving_at(k) if k in self.names.circles else self._incoming(k)

        return self.in_order(changed(x, written))

    def arrived(self, lines: Iterable[Line]) -> list[Line]:
        return [replace(line, right=self.arriving(line.right)) for line in lines]

    def _arriving_at(self, k: int) -> Symbol:
        return Symbol(self.names.states[k], 0, mark="δ")

    def _incoming(self, k: int) -> Term:
        """The gradient of a result: from the loss itself, and from the step after."""
        name = self.names.states[k]
        direct: Term = Symbol(name, 0, mark="∂t") if k in self.reads else Number(0.0)
        if k >= len(self.program.carry) or self.program.carry[k] not in self.found:
            return direct
        back = self.reader()(self.found[self.program.carry[k]])
        return plus(direct, later(self.arriving(back), 1))


def is_one(y: Any) -> bool:
    """Whether it is a tensor, and not several."""
    return isinstance(y, Tensor) and type(y._array) is not tuple


def is_turned(x: Term) -> bool:
    """Whether a formula only stands with its rows as columns."""
    return isinstance(x, Call) and x.op is shape.transpose


def is_trivial(x: Term) -> bool:
    """Whether a formula is a name or a number, or one of them turned."""
    if is_turned(x):
        return is_trivial(x.inside()[0])
    return isinstance(x, Symbol | Number)


def _places(lines: Iterable[Term]) -> Counter[Term]:
    """Count in how many places of these formulas each formula stands."""
    found: Counter[Term] = Counter()
    known: set[Term] = set()
    for line in lines:
        found[line] += 1
        for x in every(line):
            if x not in known:
                known.add(x)
                found.update(x.inside())
    return found


def _size(x: Term) -> int:
    """How large a formula is: names count twice, and all that is made of something once."""
    return sum(1 + isinstance(y, Symbol) for y in every(x) if not isinstance(y, Number))
