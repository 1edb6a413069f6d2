"""What a graph falls into when the weights that its parts share are left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from reprlib import repr as shortened
from typing import Any

from ..ops.arithmetic import add, div, mul, neg
from ..ops.reduce import sum as sum_op
from ..ops.shape import _concat, _stack, reshape
from ..tape.itemised import sources
from ..tensor import Tensor, history
from .steps import named_weights, refuse_unrecorded


@dataclass(frozen=True)
class Decoupling:
    """The parts of a graph: how many, of how many tensors each, and which losses lie in each.

    >>> ys, _ = tg.nn.RNN(3, 4, rng=0)(np.ones((4, 1, 3), np.float32), unroll=True)
    >>> tg.lab.teacher_forcing_parts([ys[0].sum(), ys[3].sum()], ()).count
    1
    """

    count: int
    sizes: tuple[int, ...]
    parts: tuple[tuple[int, ...], ...]
    losses: tuple[Tensor, ...] = field(repr=False, compare=False)  # what the numbers count

    def __str__(self) -> str:
        each = [
            f"losses {shortened(list(part))} in {size} tensors"
            for part, size in zip(self.parts[:3], self.sizes, strict=False)
        ]
        each += ["..."] * (self.count > 3)
        return f"{self.count} part{'s' * (self.count != 1)}: {'; '.join(each)}"

    __repr__ = __str__


def independent_parts(
    outputs: Tensor | Sequence[Tensor], without: Tensor | Iterable[Tensor]
) -> list[list[Tensor]]:
    """The connected parts of what some outputs came from, the tensors `without` left out.

    Two tensors are connected where one was made from the other. Only what a gradient passes
    through is looked at: a number or a target that two steps read does not connect them. Each part
    is listed youngest first; the parts go by the first of the outputs they hold. A slice of a stack
    is made from what was stacked there, not from the rest. Tensors of `without`, and what only they
    came from, are in no part. A compiled loop is one tensor: run it
    with `unroll=True` to see its steps. Raises RuntimeError where `backward()` freed the graph.

    >>> W = tg.tensor([2.0], requires_grad=True)
    >>> a, b = W * 3.0, W * 4.0
    >>> len(tg.lab.independent_parts([a, b], without=[W]))
    2
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    left_out = {without} if isinstance(without, Tensor) else set(without)
    before = history(outputs, left_out)  # refuses a graph that was freed
    reached, new = set(), list(outputs)
    while new:
        y = new.pop()
        if y.tracked and y not in left_out and y not in reached:
            reached.add(y)
            new += sources(y)
    known = [x for x in before if x in reached]
    parent = {x: x for x in known}
    for y in known:
        for x in sources(y):
            if x in parent:
                parent[_root(parent, x)] = _root(parent, y)
    parts: dict[Tensor, list[Tensor]] = {_root(parent, y): [] for y in outputs if y in parent}
    for x in known:
        parts[_root(parent, x)].append(x)
    return list(parts.values())


def _root(parent: dict[Tensor, Tensor], x: Tensor) -> Tensor:
    """The tensor that stands for the part of x; the way there is made shorter."""
    while parent[x] is not x:
        parent[x] = parent[parent[x]]
        x = parent[x]
    return x


def teacher_forcing_parts(losses: Tensor | Sequence[Tensor], weights: Any) -> Decoupling:
    """How many parts the graph of a sequence's losses falls into without the shared weights (S7).

    Fed with targets, an output-recurrent (Jordan) network falls into one part for each step, which
    could all be trained at once; fed with its own outputs it stays in one. weights: tensors, or a
    module. losses: one tensor for each step; or their sum, which is taken apart again: from the
    top, additions of single numbers, factors and divisors that carry no gradient, and sums and
    means of what `stack` or `concat` joined are peeled off, and nothing else. One loss of
    all outputs at once, as `mean_squared_error(ys, targets)`, is one loss: give one for each step.

    `.count` of parts; `.sizes`, tensors in each; `.parts`, the numbers of the losses in each, the
    oldest loss being 0 where a sum was taken apart; `.losses`, the tensors that those number.
    Raises ValueError for no losses, or one without a history; RuntimeError for a freed graph.

    >>> cell = tg.nn.OutputRecurrent(3, 4, 2, source="target", rng=0)
    >>> xs, targets = np.ones((5, 1, 3), np.float32), np.zeros((5, 1, 2), np.float32)
    >>> ys, _ = cell(xs, targets=targets, unroll=True)
    >>> losses = [(ys[t] * ys[t]).sum() for t in range(5)]
    >>> tg.lab.teacher_forcing_parts(losses, cell).count
    5
    """
    given = _peeled(losses) if isinstance(losses, Tensor) else list(losses)
    if not given:
        raise ValueError("teacher_forcing_parts: losses: expected at least one tensor")
    refuse_unrecorded("teacher_forcing_parts", given)
    found = independent_parts(given, named_weights("teacher_forcing_parts", weights))
    place = {x: k for k, part in enumerate(found) for x in part}
    members: list[list[int]] = [[] for _ in found]
    for k, loss in enumerate(given):
        if loss in place:
            members[place[loss]].append(k)
    parts = tuple(map(tuple, members))
    return Decoupling(len(found), tuple(map(len, found)), parts, tuple(given))


def _peeled(total: Tensor) -> list[Tensor]:
    """The terms of a sum, oldest first; each once."""
    terms, stack = set(), [total]
    while stack:
        y = stack.pop()
        below = _summands(y)
        if below:
            stack += [x for x in below if x.tracked]
        else:
            terms.add(y)
    return sorted(terms, key=lambda y: y.born)


def _summands(y: Tensor) -> Sequence[Tensor]:
    """What y is plainly a sum of, or a multiple of; nothing where it is neither."""
    if y.op is None or y.inputs is None:
        return ()
    op, inputs = y.op, y.inputs
    if op is sum_op:
        joined = inputs[0]
        return joined.inputs if joined.op in (_stack, _concat) else ()
    if y.size != 1:
        return ()
    if op is add:
        return inputs
    scaled = op is mul or (op is div and inputs[0].tracked)
    if scaled and sum(x.tracked for x in inputs) == 1:
        return inputs
    return inputs if op in (neg, reshape) else ()
