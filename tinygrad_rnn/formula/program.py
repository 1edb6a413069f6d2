"""A step as the program that a formula is read from: traced, blocks of columns taken apart.

A cell multiplies once for all of its gates and splits what it gets. Here the split is carried back
to the weights, x (W[i] | W[f]) = (x W[i] | x W[f]), so that each gate has a formula of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..grad import pullback
from ..loops.trace import Trace, check_repeatable, trace
from ..op import pick
from ..ops import linear, shape
from ..tensor import Outline, Tensor, Untraceable, history
from .rules import blank


class Program:
    """The ops of one step on named leaves, and those of its backward pass.

    results, xs, carry: of the step, the results with their history; `xs` and `carry` here are what
    stands for those. weights: the leaves that it closes over, by the tensor that each stands for,
    or by that and the number of a block. nodes: the ops, with what reads each in `readers`.
    """

    def __init__(self, results: Sequence[Tensor], xs: Sequence[Tensor], carry: Sequence[Tensor]):
        given = [*xs, *carry]
        old = history(results, set(given))[::-1]
        self.trace = Trace([])
        self.weights: dict[Any, Tensor] = {}
        self.cuts = Cuts(old, {*results, *given})
        self.parts: dict[tuple[Tensor, int, Any], Tensor] = {}
        leaves = [self.leaf(blank(x.shape, x.dtype, named(x)), x.tracked) for x in given]
        self.env: dict[Tensor, Any] = dict(zip(given, leaves, strict=True))
        self.xs, self.carry = leaves[: len(xs)], leaves[len(xs) :]
        with self.trace.on():
            for y in old:
                self.replay(y)
            self.results = [self.whole(y) for y in results]
        self.nodes = [y for y in reversed(history(self.results)) if y.op is not None]
        self.readers: defaultdict[Tensor, list[Tensor]] = defaultdict(list)
        for y in self.nodes:
            for x in dict.fromkeys(y.inputs):
                self.readers[x].append(y)
        first = lambda entry: min((y.born for y in self.readers[entry[1]]), default=0)
        self.weights = dict(sorted(self.weights.items(), key=first))

    def leaf(self, x: Tensor, tracked: bool) -> Tensor:
        """A leaf that the trace knows."""
        x.tracked = tracked and x._array.dtype.kind == "f"
        self.trace.number[x] = 0
        return x

    # -- the step once more ------------------------------------------------------------------------

    def replay(self, y: Tensor) -> None:
        """Do once more what made a tensor, unless it is taken apart."""
        cuts, env, x = self.cuts, self.env, y.inputs[0] if y.inputs else y
        if y in env or y in cuts.whole_of or y in cuts.in_rows or is_split(y):
            return
        if y.op is None:
            env[y] = self.weight(y, y, y.shape)
            return
        if y.op is pick:
            i = y.attrs["i"]
            env[y] = self.part(x.inputs[0], i, x) if is_split(x) else env[x][i]
        elif x in cuts.in_rows:
            env[y] = self.weight((x, y.attrs["index"][0]), x, y.shape)
        else:
            env[y] = y.op(*[env[x] for x in y.inputs], **y.attrs)
        new = env[y]
        if y.name and isinstance(new, Tensor) and new.op is not None and not new.name:
            new.name = y.name

    def whole(self, x: Tensor) -> Tensor:
        self.replay(x)
        return self.env[x]

    def part(self, x: Tensor, k: int, split: Tensor) -> Tensor:
        """Block k of a tensor that is cut as a split cuts."""
        sizes = sizes_of(split)
        if (x, k, sizes) in self.parts:
            return self.parts[x, k, sizes]
        if x not in self.cuts.whole_of:
            found = shape._split(self.whole(x), **split.attrs | {"axis": -1})
            self.parts |= {(x, n, sizes): part for n, part in enumerate(found)}
            return self.parts[x, k, sizes]
        if x.op is None:
            new = self.weight((x, k), x, (*x.shape[:-1], sizes[k]))
        elif x.op is shape._concat:
            new = self.whole(x.inputs[k])
        else:
            pairs = zip(x.inputs, cut_with(x, sizes) or (), strict=True)
            inputs = [self.part(z, k, split) if cut else self.whole(z) for z, cut in pairs]
            new = x.op(*inputs, **x.attrs)
        self.parts[x, k, sizes] = new
        return new

    def weight(self, key: Any, x: Tensor, size: tuple[int, ...]) -> Tensor:
        """What stands for a leaf that the step closes over; numbers stand for themselves."""
        plain = not x.tracked and not x.name and not isinstance(x._array, Outline)
        if plain and (not x.ndim or (x.size and (x._array == x._array.flat[0]).all())):
            return x
        if key not in self.weights:
            self.weights[key] = self.leaf(blank(size, x.dtype, x.name), x.tracked)
        return self.weights[key]

    # -- and back ----------------------------------------------------------------------------------

    def pull(self, reads: Sequence[int]) -> tuple[list[Tensor | None], dict[Tensor, Any]]:
        """Cotangents of the results, None where nothing can arrive, and what they lead to.

        reads: the results that the loss reads itself. A new state also has the gradient from
        the step after.
        """
        count, alive = len(self.carry), set(reads)
        while True:
            gs = [self.cotangent(y) if k in alive else None for k, y in enumerate(self.results)]
            found = self.pulled(gs)
            reached = {k for k in range(count) if self.carry[k] in found}
            if reached <= alive:
                return gs, found
            alive |= reached

    def cotangent(self, y: Tensor) -> Tensor | None:
        if y._array.dtype.kind != "f" or not y.tracked:
            return None
        return self.leaf(blank(y.shape, y.dtype), True)

    def pulled(self, gs: Sequence[Tensor | None]) -> dict[Tensor, Any]:
        pairs = [(y, g) for y, g in zip(self.results, gs, strict=True) if g is not None]
        if not pairs:
            return {}
        ends = {y for y in self.nodes if not y.tracked}
        for y in self.nodes:
            self.trace.number.setdefault(y, 0)
        try:
            with self.trace.on():
                outputs, arriving = zip(*pairs, strict=True)
                return pullback(outputs, arriving, until=ends, create_graph=True)
        except Untraceable as error:
            where = ", ".join(getattr(error, "__notes__", ()))
            raise Untraceable(
                f"equations: a rule reads numbers, {where}. Equations are printed before there are "
                "any: write the rule in tensor arithmetic, such as tg.where(x > 0, g, 0)."
            ) from error

    def gate(self, x: Tensor, named: Any, alone: bool = False) -> Tensor | None:
        """The only named tensor that this one leads to, element by element or by a product.

        alone: only where it is made of this one alone, and of numbers.
        """
        while (readers := self.readers[x]) and x not in named:
            op = readers[0].op
            if len(readers) > 1 or not (op.pointwise or (op is linear._matmul and not alone)):
                return None
            if alone and any(z is not x and z.ndim for z in readers[0].inputs):
                return None
            x = readers[0]
        return x if x in named else None


def traced(step: Callable[..., Any], xs: Sequence[Tensor], carry: Sequence[Tensor]) -> Program:
    """The program of `step(*xs, *carry)`, of tensors that tell shapes and names."""
    again = partial(trace, step, xs, carry)
    check_repeatable(made := again(), again)
    return Program(made.results, made.leaves[: len(xs)], made.leaves[len(xs) :])


def named(x: Tensor) -> str | None:
    """The name of a tensor, or of what it is a part of."""
    while x.name is None and x.op is not None and len(x.inputs) == 1:
        x = x.inputs[0]
    return x.name


def origin(key: Any) -> Tensor:
    """The leaf that a key of `weights` is, or is a block of."""
    return key[0] if isinstance(key, tuple) else key


def is_split(y: Tensor) -> bool:
    """Whether a tensor is one that is cut along its last axis."""
    return y.op is shape._split and y.attrs["axis"] % (n := y.inputs[0].ndim) == n - 1


def sizes_of(split: Tensor) -> tuple[int, ...]:
    return tuple(part.shape[-1] for part in split._array)


def cut_with(y: Tensor, sizes: tuple[int, ...]) -> list[bool] | None:
    """Which inputs of an op are cut where its answer is; None where that cannot be."""
    if y.op is None:
        return [] if (y.tracked or y.name) and not isinstance(y._array, Outline) else None
    if y.op is linear._matmul:
        return [False, True] if y.inputs[1].ndim == 2 else None
    if y.op is shape._concat:
        own = tuple(z.shape[-1:] for z in y.inputs) == tuple((n,) for n in sizes)
        last = y.attrs["axis"] % y.ndim == y.ndim - 1
        return [False] * len(y.inputs) if own and last else None
    if not y.op.pointwise:
        return None
    return [bool(z.ndim) and z.shape[-1] == y.shape[-1] != 1 for z in y.inputs]


class Cuts:
    """Which tensors of a step can be taken apart into blocks, as all that reads them is.

    whole_of: the tensors that need not be made as a whole, and how they are cut. in_rows: the
    weights of which each reader takes one row, by its number.
    """

    def __init__(self, nodes: Sequence[Tensor], kept: set[Tensor]):
        self.readers: defaultdict[Tensor, list[Tensor]] = defaultdict(list)
        for y in nodes:
            for x in y.inputs or ():
                self.readers[x].append(y)
        self.kept = kept
        self.whole_of: dict[Tensor, tuple[int, ...]] = {}
        for y in filter(is_split, nodes):
            self._reach(y.inputs[0], sizes_of(y))
        while bad := [x for x in self.whole_of if not self._holds(x)]:
            for x in bad:
                del self.whole_of[x]
        self.in_rows = {x for x in nodes if self.readers[x] and x.op is None and x.tracked
                        and not isinstance(x._array, Outline)
                        and all(map(_is_row, self.readers[x]))}  # fmt: skip

    def _reach(self, x: Tensor, sizes: tuple[int, ...]) -> None:
        stack = [x]
        while stack:
            y = stack.pop()
            if y in self.whole_of or y.shape[-1:] != (sum(sizes),):
                continue
            cut = cut_with(y, sizes)
            if cut is not None:
                self.whole_of[y] = sizes
                stack += [z for z, also in zip(y.inputs, cut, strict=True) if also]

    def _holds(self, x: Tensor) -> bool:
        """Whether a tensor can be taken apart, given that the others in `whole_of` are."""
        sizes = self.whole_of[x]
        if x in self.kept or (x.name and x.op is not None):
            return False
        if x.op is linear._matmul and x.inputs[1] not in self.whole_of:
            return False
        for y in self.readers[x]:
            if (sizes_of(y) if is_split(y) else self.whole_of.get(y)) != sizes:
                return False
            cut = [True] if is_split(y) else cut_with(y, sizes) or []
            if any(z is x and not also for z, also in zip(y.inputs, cut, strict=True)):
                return False
        return True


def _is_row(y: Tensor) -> bool:
    """Whether a tensor is one row of another, by its number."""
    if y.op is not shape.take or len(y.inputs) != 1 or len(y.attrs["index"]) != 1:
        return False
    return type(y.attrs["index"][0]) is int and y.attrs["index"][0] >= 0
