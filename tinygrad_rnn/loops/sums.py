"""Sums of products, made into one product each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .lower import Node


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
    return n.is_sum and all(x.shape == n.shape for x in n.inputs)


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
