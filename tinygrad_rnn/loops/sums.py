"""Sums of products, made into one product each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial, reduce

from . import nodes
from .nodes import Node, ordered


def gathered(
    outputs: list[Node], early: Callable[[Node], bool], until: Collection[Node]
) -> dict[Node, Node]:
    """Make one product of every sum of products; returns what became of each node.

    A sum that is only stored begins with its other terms, so that the product adds to them in
    place; one that goes on into a formula keeps them in the formula, but for rows of a table: with
    those it begins, as with a product. Those that are `early` there, before the loop, come first.
    """
    order = ordered(outputs, until)
    inside = [n for n in order if n not in until]
    readers: dict[Node, list[Node | None]] = {n: [] for n in order}
    for n in inside:
        for x in n.inputs:
            readers[x].append(n)
    for n in outputs:
        readers[n].append(None)
    terms: dict[Node, list[Node]] = {}  # of what holds products that can be made one
    part: Callable[[Node], bool] = lambda x: (
        x in terms and len(readers[x]) == 1
    )  # of the sum that reads it
    for n in inside:
        if isinstance(n, nodes.Product) and n.start is None:
            terms[n] = [n]
        elif n.is_sum:
            found = [t for x in n.inputs for t in (terms[x] if part(x) else [x])]
            if any(map(part, found)):
                terms[n] = found
    became = {n: n for n in order if n in until}
    for n in inside:
        reader = readers[n][0] if len(readers[n]) == 1 else None
        if n not in terms:
            n.inputs = [became.get(x, x) for x in n.inputs]
            became[n] = n
        elif reader is None or reader not in terms or not reader.is_sum:
            products = [t for t in terms[n] if t is n or part(t)]
            mine = [pair for t in products if isinstance(t, nodes.Product) for pair in t.pairs]
            pairs = [(became.get(x, x), became.get(w, w)) for x, w in mine]
            others = [became.get(t, t) for t in terms[n] if t not in products]
            rows = [became.get(t, t) for t in terms[n] if _is_of_table(t, readers)][:1]
            stored = all(r is None or isinstance(r, STORED) for r in readers[n])
            became[n] = _summed(n, pairs, others, rows, stored, early)
    return became


def _is_of_table(n: Node, by: dict[Node, list[Node | None]]) -> bool:
    """Whether these are whole rows of a table that only one sum reads, `by` whom all are read."""
    while isinstance(n, nodes.View) and len(by[n]) == 1 and n.shape[-1:] == n.inputs[0].shape[-1:]:
        (n,) = n.inputs
    return isinstance(n, nodes.RowsOf) and len(by[n]) == 1


STORED = nodes.Product | nodes.Dot | nodes.Join


def _summed(
    n: Node, pairs: list[tuple[Node, Node]], others: list[Node], rows: list[Node], stored: bool,
    early: Callable[[Node], bool],
) -> Node:  # fmt: skip
    pairs.sort(key=lambda pair: not early(pair[0]))
    begin = [] if early(pairs[0][0]) else rows or (others if stored else [])
    start = [reduce(partial(_sum, n), begin)] if begin else []
    rest = [t for t in others if t not in begin]
    flat = [x for pair in pairs for x in pair]
    product = nodes.Product([*flat, *start], n.shape, n.dtype, n.batched, source=n.source,
                      count=len(pairs))  # fmt: skip
    return _sum(n, product, reduce(partial(_sum, n), rest)) if rest else product


def _sum(n: Node, x: Node, y: Node) -> Node:
    """x + y, as `n` adds."""
    assert isinstance(n, nodes.Pointwise)
    return nodes.Pointwise([x, y], n.shape, n.dtype, n.batched, source=n.source, op=n.op)
