"""Sums of products, made into one product each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from . import nodes
from .nodes import Node, ordered


@dataclass(slots=True)
class Sum:
    """The products of a sum, and its other terms."""

    pairs: list[tuple[Node, Node]]
    others: list[Node] = field(default_factory=list)


def gathered(
    outputs: list[Node], early: Callable[[Node], bool], until: Collection[Node]
) -> dict[Node, Node]:
    """Make one product of every sum of products; returns what became of each node.

    A sum that is only stored begins with its other terms, so that the product adds to them in
    place; one that goes on into a formula keeps them in the formula. Those that are `early` there,
    before the loop, come first.
    """
    order = ordered(outputs, until)
    inside = [n for n in order if n not in until]
    readers: dict[Node, list[Node | None]] = {n: [] for n in order}
    for n in inside:
        for x in n.inputs:
            readers[x].append(n)
    for n in outputs:
        readers[n].append(None)
    sums: dict[Node, Sum] = {}
    for n in inside:
        if isinstance(n, nodes.Product) and n.start is None:
            sums[n] = Sum(n.pairs)
        elif _is_sum(n):
            parts = [sums[x] if len(readers[x]) == 1 and x in sums else Sum([], [x])
                     for x in n.inputs]  # fmt: skip
            found = Sum([p for s in parts for p in s.pairs], [x for s in parts for x in s.others])
            if found.pairs:
                sums[n] = found
    became = {n: n for n in order if n in until}
    for n in inside:
        if n not in sums:
            n.inputs = [became.get(x, x) for x in n.inputs]
            became[n] = n
        elif not _absorbed(readers[n], sums):
            became[n] = _summed(n, sums[n], readers[n], became, early)
    return became


def _is_sum(n: Node) -> bool:
    return n.is_sum and all(x.shape == n.shape for x in n.inputs)


def _absorbed(readers: list[Node | None], sums: dict[Node, Sum]) -> bool:
    """Whether a sum is part of another."""
    reader = readers[0] if len(readers) == 1 else None
    return reader is not None and reader in sums and _is_sum(reader)


def _summed(
    n: Node, found: Sum, readers: list[Node | None], became: dict[Node, Node],
    early: Callable[[Node], bool],
) -> Node:  # fmt: skip
    pairs = [(became.get(x, x), became.get(w, w)) for x, w in found.pairs]
    pairs.sort(key=lambda pair: not early(pair[0]))
    stored = all(
        r is None or isinstance(r, nodes.Product | nodes.Dot | nodes.Join) for r in readers
    )
    starts = stored and not any(early(x) for x, _ in pairs)
    rest: Node | None = None
    for x in (became.get(x, x) for x in found.others):
        rest = x if rest is None else _sum(n, rest, x)
    start = [rest] if starts and rest is not None else []
    flat = [x for pair in pairs for x in pair]
    product = nodes.Product([*flat, *start], n.shape, n.dtype, n.batched, source=n.source,
                      count=len(pairs))  # fmt: skip
    return product if rest is None or start else _sum(n, product, rest)


def _sum(n: Node, x: Node, y: Node) -> Node:
    """x + y, as `n` adds."""
    assert isinstance(n, nodes.Pointwise)
    return nodes.Pointwise([x, y], n.shape, n.dtype, n.batched, source=n.source, op=n.op)
