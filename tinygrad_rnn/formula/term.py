"""Formulas as trees, made by exact rules alone: x·1 = x, g − g·y·y = g·(1 − y²), y + y = 2y.

A product does not tell x·y from y·x, and divides by what has a power below 0. Nothing is cancelled:
x − x and x / x are left, as they are NaN where x is not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from ..op import Op

Factors: TypeAlias = "tuple[tuple[Term, int], ...]"
Powers: TypeAlias = "dict[tuple[Term, bool], int]"


@dataclass(frozen=True, eq=False)
class Term:
    """A formula. Equal formulas are equal, and can be keys; the hash is computed once."""

    _hash: int = field(init=False, repr=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((type(self), self.parts())))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other or type(self) is not type(other):
            return self is other
        if self._hash != other._hash or self.parts() != other.parts():
            return False
        vars(other).update(vars(self))  # the next time, their parts are the same objects
        return True

    def parts(self) -> tuple[Any, ...]:
        """What it is made of, to be compared."""
        return tuple(vars(self).values())

    def inside(self) -> tuple[Term, ...]:
        """The formulas that it is made of."""
        return ()

    def over(self, change: Callable[[Term], Term]) -> Term:
        """The same formula of other formulas."""
        return self


@dataclass(frozen=True, eq=False)
class Symbol(Term):
    """A name: of a cotangent (mark "δ") or a gradient ("∂"), of a block, at a time.

    at: None for what does not change with time, else how many steps after t it is.
    """

    name: str
    at: int | None = None
    block: str = ""
    mark: str = ""


@dataclass(frozen=True, eq=False)
class Number(Term):
    """A number."""

    value: float


@dataclass(frozen=True, eq=False)
class Sum(Term):
    """A sum of terms, each times a number; of one term alone only where that is not 1."""

    terms: tuple[tuple[float, Term], ...]

    def inside(self) -> tuple[Term, ...]:
        return tuple(x for _, x in self.terms)

    def over(self, change: Callable[[Term], Term]) -> Term:
        made: Term = Number(0.0)
        for c, x in self.terms:
            made = plus(made, times(Number(c), change(x)))
        return made


@dataclass(frozen=True, eq=False)
class Product(Term):
    """A product, element by element, of powers with whole exponents."""

    factors: Factors

    def inside(self) -> tuple[Term, ...]:
        return tuple(x for x, _ in self.factors)

    def over(self, change: Callable[[Term], Term]) -> Term:
        made: Term = Number(1.0)
        for x, n in self.factors:
            made = times(made, raised(change(x), n))
        return made


@dataclass(frozen=True, eq=False)
class Call(Term):
    """An op on formulas, with its attributes."""

    op: Op
    inputs: tuple[Term, ...]
    attrs: tuple[tuple[str, Any], ...] = ()

    def parts(self) -> tuple[Any, ...]:
        return self.op, self.inputs, repr(self.attrs)

    def inside(self) -> tuple[Term, ...]:
        return self.inputs

    def over(self, change: Callable[[Term], Term]) -> Term:
        return replace(self, inputs=tuple(map(change, self.inputs)))


def every(x: Term) -> Iterator[Term]:
    """Each formula in a formula, itself included, once."""
    known, stack = {x}, [x]
    while stack:
        yield (y := stack.pop())
        for z in y.inside():
            if z not in known:
                known.add(z)
                stack.append(z)


def symbols(x: Term) -> Iterator[Symbol]:
    """Each name in a formula, once."""
    return (y for y in every(x) if isinstance(y, Symbol))


def changed(x: Term, change: Callable[[Symbol], Term]) -> Term:
    """The formula with what `change` gives in the place of each name."""
    known: dict[Term, Term] = {}

    def one(y: Term) -> Term:
        if y not in known:
            known[y] = change(y) if isinstance(y, Symbol) else y.over(one)
        return known[y]

    return one(x)


def later(x: Term, steps: int) -> Term:
    """The same formula so many steps later."""
    return changed(x, lambda y: y if y.at is None else replace(y, at=y.at + steps))


def with_block(x: Term, block: str, other: str) -> Term:
    """The formula with another block in place of one."""
    return changed(x, lambda y: replace(y, block=other) if y.block == block else y)


# -- sums and products -----------------------------------------------------------------------------


def scaled(x: Term) -> tuple[float, Term]:
    """A formula as a number times a formula."""
    if isinstance(x, Number):
        return x.value, Number(1.0)
    if isinstance(x, Sum) and len(x.terms) == 1:
        return x.terms[0]
    return 1.0, x


def _factors(x: Term) -> Factors:
    if isinstance(x, Product):
        return x.factors
    return () if isinstance(x, Number) else ((x, 1),)


def _powers(*factors: tuple[Term, int]) -> Powers:
    """How often each formula is a factor, and how often what is divided by: x / x is both."""
    found: Powers = {}
    for x, n in factors:
        found[x, n > 0] = found.get((x, n > 0), 0) + n
    return found


def _product(powers: Powers) -> Term:
    factors = tuple((x, n) for (x, _), n in powers.items())
    if not factors:
        return Number(1.0)
    return factors[0][0] if len(factors) == 1 and factors[0][1] == 1 else Product(factors)


def _sum(terms: tuple[tuple[float, Term], ...]) -> Term:
    if len(terms) == 1:
        (c, x) = terms[0]
        if isinstance(x, Number):
            return Number(c)
        if c == 1:
            return x
    return Sum(terms) if terms else Number(0.0)


def times(x: Term, y: Term) -> Term:
    """x · y, element by element."""
    (a, p), (b, q) = scaled(x), scaled(y)
    for c, one, other in ((a, y, p), (b, x, q)):
        if isinstance(other, Number):  # a number alone keeps its digits
            if c == 1:
                return one
            if isinstance(one, Number) or len(getattr(one, "terms", ())) > 1:
                continue
    return _sum(((a * b, _product(_powers(*_factors(p), *_factors(q)))),))


def raised(x: Term, n: int) -> Term:
    """x to the power of a whole number."""
    if n == 1:
        return x
    c, p = scaled(x)
    if c != 1:
        return _product(_powers((x, n)))
    return _product(_powers(*((z, m * n) for z, m in _factors(p))))


def plus(x: Term, y: Term) -> Term:
    """x + y. What both are multiples of is taken out, if it is one of them, or a cotangent."""
    if isinstance(x, Number) and x.value == 0:
        return y
    if isinstance(y, Number) and y.value == 0:
        return x
    if isinstance(x, Number) and isinstance(y, Number):
        return Number(x.value + y.value)
    (a, p), (b, q) = scaled(x), scaled(y)
    shared = _shared(a, p, b, q)
    if shared is not None:
        return shared
    terms = list(_terms(x))
    for c, z in _terms(y):
        same = next((k for k, (_, w) in enumerate(terms) if w == z), None)
        if same is not None and (terms[same][0] + c != 0 or isinstance(z, Number)):
            terms[same] = (terms[same][0] + c, z)
        else:
            terms.append((c, z))
    return _sum(tuple(part for part in terms if part[0] or not isinstance(part[1], Number)))


def _terms(x: Term) -> list[tuple[float, Term]]:
    """The terms of a sum, and of what is added to it or taken from it as a whole."""
    found: list[tuple[float, Term]] = []
    for c, z in x.terms if isinstance(x, Sum) else (scaled(x),):
        inner = z.terms if isinstance(z, Sum) and abs(c) == 1 else ((1.0, z),)
        found += [(c * d, w) for d, w in inner]
    return found


def _shared(a: float, p: Term, b: float, q: Term) -> Term | None:
    """a·p + b·q, where one of p and q is a part of the other, or both are of one cotangent."""
    if p == q:
        return times(Number(a + b), p) if a + b else None
    left, right = _powers(*_factors(p)), _powers(*_factors(q))
    if isinstance(p, Sum) or isinstance(q, Sum):
        return None
    shared = {k: min(n, right[k]) for k, n in left.items() if n > 0 and k in right}
    if shared not in (left, right):
        shared = {k: n for k, n in shared.items() if getattr(k[0], "mark", "") == "δ"}
    if not shared:
        return None
    rest = [
        {k: n - shared.get(k, 0) for k, n in powers.items() if n != shared.get(k, 0)}
        for powers in (left, right)
    ]
    ends = [times(Number(c), _product(r)) for c, r in zip((a, b), rest, strict=True)]
    return times(_product(shared), plus(*ends))


def minus(x: Term, y: Term) -> Term:
    """x − y."""
    return plus(x, times(Number(-1.0), y))
