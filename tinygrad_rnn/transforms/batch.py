"""Examples side by side: what a function does to one, done to all by the bodies of its ops.

The function is run once, on tensors without numbers that are like one example. Each stands for a
whole, with the examples along axis 0, and an op on it is that op on the whole: its shapes and axes
are moved on by one. What its derivative does are ops too. Everything else there is one of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from ..loops import fold
from ..loops.trace import entry, outline, results_of
from ..op import Op, primitive
from ..ops import (
    argsort,
    broadcast_to,
    embedding,
    reshape,
    stack,
    sum_to,
    swapaxes,
    transpose,
    unstack,
    where,
)
from ..ops.clipping import _clip_gradient
from ..ops.linear import _matmul, turned
from ..ops.shape import ARRAY, _stack, put, scatter_rows, take
from ..tensor import (
    Outline,
    Tensor,
    Untraceable,
    Value,
    _births,
    _Switch,
    caller,
    describe,
    every,
    leaked,
    mode,
    owned,
    recording,
)

ALIKE = "alike"  # where a tensor has what it stands for copies of
AXES = {"axis", "axis1", "axis2", "axes"}  # what attributes are called that are axes
EVEN = (_matmul, _clip_gradient)  # ops that broadcast along axes in front, as pointwise ones do


class Batch:
    """So many examples, as long as a function is run on one that stands for all.

    It takes the place of a trace: what the function does comes by here, and is done to the whole,
    which is nothing special to what is on outside.
    """

    loops = True

    def __init__(self, size: int, outer: Any, like: Batch | None = None):
        self.size, self.outer = size, outer  # another of these, a trace, or None
        self.key: str = like.key if like else f"whole {next(_births)}"
        self.lifted: dict[Tensor, Tensor] = {} if like is None else like.lifted

    def on(self) -> _Switch:
        """What happens in this block is done to all examples."""
        return _Switch(trace=self)

    def outside(self) -> _Switch:
        """What happens in this block is done to wholes."""
        return _Switch(trace=self.outer)

    # -- what stands for what --------------------------------------------------------------------

    def whole(self, x: Tensor) -> Tensor | None:
        """What a tensor stands for; None where it is the same for all examples."""
        found: Tensor | None = x.attrs.get(self.key)
        return self.lifted.get(x) if found is None else found

    def alike(self, x: Tensor) -> Tensor | None:
        """Of a tensor that stands for as many of the same, that one."""
        return x if x in self.lifted else x.attrs.get(ALIKE)

    def one(self, whole: Tensor) -> Tensor:
        """A tensor that stands for this whole."""
        y = owned(NOTHING)
        y._array, y.tracked = outline(whole._array.shape[1:], whole._array.dtype), whole.tracked
        y.attrs = {self.key: whole}
        return y

    def spread(self, x: Tensor) -> Tensor:
        """The whole of a tensor, also of one that is the same for all."""
        found = self.whole(x)
        if found is not None:
            return found
        with self.outside():
            return broadcast_to(x, shape=(self.size, *x._array.shape))

    # -- what a trace does -----------------------------------------------------------------------

    def record(self, op: Op, inputs: Sequence[Tensor], attrs: dict[str, Any]) -> Any:
        """What stands for the answer; None where it is the same for all, to be found at once."""
        wholes = [self.whole(x) for x in inputs]
        if not any([w is not None for w in wholes]):
            if self.outer is not None:
                return self.outer.record(op, inputs, attrs)
            for x in inputs:
                if x._array.__class__ is Outline:
                    raise leaked(x)
            return None
        if op is take or op is put:
            inputs, attrs = unmasked(inputs, attrs)
            wholes = [self.whole(x) for x in inputs]
        like, _ = entry(op, inputs, attrs)  # refuses what does not fit, in the shapes of one
        with self.outside():
            out = self.done(op, inputs, wholes, attrs)
        several = like.__class__ is tuple
        found = [self.one(y) for y in (out if several else (out,))]
        for y, a in zip(found, like if several else (like,), strict=True):
            assert (y.shape, y.dtype) == (a.shape, a.dtype), (op, attrs, y, a.shape)
        return tuple(found) if several else found[0]

    def done(
        self, op: Op, inputs: Sequence[Tensor], wholes: Sequence[Any], attrs: dict[str, Any]
    ) -> Any:
        """The answer for all examples, on wholes: by what kind of op it is, and its attributes."""
        if op.pointwise or op in EVEN:
            return _even(self, op, inputs, wholes, attrs)
        if op.ours:
            if op is take or op is put:
                return _indexed(self, op, inputs, wholes, attrs)
            if op is embedding and wholes[0] is None:
                return embedding(inputs[0], wholes[1])
            if not AXES.isdisjoint(attrs):
                return _along(op, inputs[0].ndim, [self.spread(x) for x in inputs], attrs)
            if "shape" in attrs:
                return _shaped(op, inputs[0].ndim, wholes[0], attrs["shape"])
        formula = FORMULAS.get(op, op.declared.formula)
        if formula is not None:
            with self.on():
                return self.spread(formula(*inputs, **attrs))
        each = zip(*[unstack(self.spread(x)) for x in inputs], strict=True)
        answers = [op(*given, **attrs) for given in each]
        if answers and answers[0].__class__ is tuple:
            return tuple([stack(parts) for parts in zip(*answers, strict=True)])
        return stack(answers)

    def detach(self, x: Tensor) -> Tensor:
        whole = self.whole(x)
        with self.outside():
            return x.detach() if whole is None else self.one(whole.detach())

    def each(self, who: str, x: Tensor) -> Tensor:
        """What every example has of its own, so that its gradient is that of one."""
        whole = self.spread(x)
        if self.outer is not None:
            whole = self.outer.each(who, whole)
        return x if self.whole(x) is not None else self.one(whole)

    def every(self, x: Tensor) -> Any:
        """The numbers of all examples; None in a step of a scan."""
        whole = self.whole(x)
        with self.outside():
            return every(x if whole is None else whole)

    def unseen(self, x: Tensor, wish: str) -> Exception:
        """What is said of a function that wants to see numbers."""
        if self.outer is not None and self.whole(x) is None:
            return self.outer.unseen(x, wish)
        return Untraceable(
            f"vmap: the function {wish} {describe(x)}, at {caller()}, of which every example has "
            "others, and all are done at once. Choose with tg.where(condition, x, y), index a "
            "tensor (tg.tensor(array)[i]), or return it and look at it outside; what is the same "
            "for all examples, give with in_axes=None."
        )

    def written_down(self) -> None:
        raise TypeError(
            "vmap: tensors in the function have no history of their own: backward() and tg.grad(y, "
            "x) would be of all examples in one. Use tg.transforms.grad(f) in it, which is of one; "
            "or differentiate what vmap returns."
        )

    def fold(
        self, step: Any, state: Sequence[Tensor], inputs: Sequence[Tensor], steps: int, roots: Any,
        ends: Any, **how: Any,
    ) -> list[Tensor]:  # fmt: skip
        """A scan: one loop over wholes, in which the step meets the same examples."""
        count = len(inputs)
        apart = [self.whole(x) is not None for x in inputs]

        def each(*given: Tensor) -> list[Tensor]:
            here = Batch(self.size, mode.trace, self)
            known = [True] * len(state)
            one = [here.one(x) if on else x for x, on in zip(given, apart + known, strict=True)]
            with here.on():
                return [here.spread(y) for y in results_of(0, one[count:], step(*one))]

        carry = [self.spread(c) for c in state]
        with self.outside():
            xs = [
                swapaxes(self.whole(x), axis1=0, axis2=1) if on else x
                for x, on in zip(inputs, apart, strict=True)
            ]
            results = fold(
                each, carry, tuple(xs) or None, length=steps, ends=ends,
                roots=(step,) if roots is None else roots, **how,
            )  # fmt: skip
            short = ends() if ends and steps else ()
            turned = [
                y if k in short else swapaxes(y, axis1=0, axis2=1) for k, y in enumerate(results)
            ]
        return [self.one(y) for y in turned]


NOTHING = np.empty(0)


# -- what transforms do, which is done to wholes -------------------------------------------------


def batches() -> list[Batch]:
    """Those that are on, the outermost first."""
    trace, found = mode.trace, list[Batch]()
    while isinstance(trace, Batch):
        found.append(trace)
        trace = trace.outer
    return found[::-1]


def ground() -> _Switch:
    """What happens in this block is done outside of all batches."""
    around = batches()
    return _Switch(trace=around[0].outer if around else mode.trace)


def grounded(x: Tensor) -> Tensor:
    """What a tensor stands for outside of all batches, with the examples of each in front."""
    for batch in batches()[::-1]:
        with batch.on():
            x = batch.spread(x)
    return x


def behind(x: Tensor) -> Tensor:
    """What a tensor stands for outside of all batches, or is there, the same for all."""
    for batch in batches()[::-1]:
        whole = batch.whole(x)
        x = x if whole is None else whole
    return x


def raised(x: Tensor) -> Tensor:
    """What stands for such a tensor here."""
    for batch in batches():
        x = batch.one(x)
    return x


class Passage:
    """The way to where a function was run, for a pass over what it did, and back.

    That was outside of all batches, on wholes of those that were on, `keys`. Those that are on
    inside of them now are of cotangents or tangents alone.
    """

    def __init__(self, keys: Sequence[Any]):
        self.count = len(keys)
        around = batches()
        if [batch.key for batch in around[: self.count]] != [*keys]:
            raise TypeError(
                "vmap: what vjp or linearize returned in one function under vmap was called in "
                "another. Call vjp or linearize there."
            )
        with ground():
            self.trace = mode.trace
        self.more = list[Batch]()
        for batch in around[self.count :]:
            self.trace = Batch(batch.size, self.trace)
            self.more.append(self.trace)

    def on(self) -> _Switch:
        """What happens in this block is done there."""
        return _Switch(trace=self.trace, recording=mode.recording or bool(self.more))

    def down(self, x: Tensor) -> Tensor:
        """What a tensor is there."""
        whole = grounded(x)
        with ground():
            x = _cycled(whole, 0, self.count, len(self.more))
        for batch in self.more:
            x = batch.one(x)
        return x

    def up(self, x: Tensor) -> Tensor:
        """What a tensor there is here."""
        for batch in self.more[::-1]:
            with batch.on():
                x = batch.spread(x)
        with ground():
            x = _cycled(x, 0, len(self.more), self.count)
        return raised(x.detach() if self.more and not kept() else x)


def kept() -> bool:
    """Whether a transform records what it does: inside another one, or in a step of a scan."""
    with ground():
        return mode.trace is not None or (mode.recording and mode.within)


def renewed(x: Tensor) -> Tensor:
    """The same numbers as a tensor that histories lead to, a leaf if nothing is recorded."""
    y: Tensor = reshape(x, shape=x.shape)
    y.tracked = True
    return y


def own(x: Tensor) -> Tensor:
    """The same numbers as a tensor that histories lead to, and for each example its own."""
    batch = mode.trace
    with recording(kept()):
        whole = grounded(x)
        with ground():
            y = renewed(whole)
    y = raised(y)
    if isinstance(batch, Batch) and batch.whole(x) is None:
        y.attrs[ALIKE] = x
    return y


@contextmanager
def lifted(xs: Sequence[Tensor], own: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """What tensors stand for outside of all batches.

    In this block, those that are the same for all, parameters, are each example's own.
    """
    batch = mode.trace
    if not isinstance(batch, Batch):
        yield [*xs]
        return
    before = {**batch.lifted}
    for x, mine in zip(xs, own, strict=True):
        if x._array.__class__ is not Outline:
            batch.lifted[x] = mine.attrs[batch.key]
    try:
        yield [*map(grounded, xs)]
    finally:
        batch.lifted.clear()
        batch.lifted.update(before)


@primitive(
    lambda g, z, x, y, each: _matmul_alike(g, turned(y), turned(each)),  # type: ignore[has-type]
    None,
    lambda g, z, x, y, each: x[:, :, None] * g[:, None],
    sign="@",
    loop=lambda build, z, inputs: build.multiplied(z, inputs[:2]),
)
def _matmul_alike(x: Value, y: Value, each: Value) -> Value:
    """The product of each row of x with a matrix of its own, all of which are y.

    So it is one product, and has a derivative for each row by its matrix.
    """
    return _matmul.body(x, y)


# -- how ops are done to wholes --------------------------------------------------------------------


def _wide(whole: Tensor, ndim: int) -> Tensor:
    """A whole of so many axes beside that of the examples, new ones in front of its own."""
    shape: tuple[int, ...] = whole._array.shape
    if len(shape) > ndim:
        return whole
    return reshape(whole, shape=(shape[0], *[1] * (ndim + 1 - len(shape)), *shape[1:]))


def _even(
    batch: Batch, op: Op, inputs: Sequence[Tensor], wholes: Sequence[Any], attrs: dict[str, Any]
) -> Any:
    """An op that broadcasts: wholes are aligned, and what is the same for all is as it is."""
    if op is _matmul and wholes[0] is not None and inputs[0].ndim == inputs[1].ndim == 2:
        same = inputs[1] if wholes[1] is None else batch.alike(inputs[1])
        if same is not None and len(inputs[0]) == 1:  # one row of each example
            rows = reshape(wholes[0], shape=(batch.size, inputs[0].shape[1]))
            more = [] if wholes[1] is None else [wholes[1]]
            z = _matmul_alike(rows, same, *more) if more else _matmul(rows, same)
            return reshape(z, shape=(batch.size, 1, z.shape[1]))
    most = max([x.ndim for x in inputs])
    given = [
        x if whole is None else _wide(whole, most) for x, whole in zip(inputs, wholes, strict=True)
    ]
    return op(*given, **attrs)


def _along(op: Op, ndim: int, given: Sequence[Tensor], attrs: dict[str, Any]) -> Any:
    """An op along axes, which are one further on; None stands for all."""
    count = ndim + (op is _stack)
    words = dict(attrs)
    for name in AXES.intersection(attrs):
        value = attrs[name]
        if value is None:
            if op is argsort:
                given, value, count = [reshape(given[0], shape=(len(given[0]), -1))], 0, 1
            else:
                value = tuple(range(count))[:: -1 if op is transpose else 1]
        whole = isinstance(value, int | np.integer)
        value = value % count + 1 if whole else tuple([k % count + 1 for k in value])
        words[name] = (0, *value) if op is transpose else value
    return op(*given, **words)


def _shaped(op: Op, ndim: int, whole: Tensor, shape: Any) -> Any:
    """An op that is given the shape of its answer."""
    size, shape = len(whole), tuple(np.atleast_1d(shape).tolist())
    if op is reshape:
        known = prod(whole.shape[1:])
        rest = prod([n for n in shape if n >= 0])
        shape = [n if n >= 0 else known // max(1, rest) for n in shape]
        return reshape(whole, shape=(size, *shape))
    if op is sum_to:
        ones = [1] * (ndim - len(shape))
        return reshape(sum_to(whole, shape=(size, *ones, *shape)), shape=(size, *shape))
    return op(_wide(whole, len(shape)), shape=(size, *shape))


def unmasked(
    inputs: Sequence[Tensor], attrs: dict[str, Any]
) -> tuple[Sequence[Tensor], dict[str, Any]]:
    """The inputs of an op that indexes, with a mask as the places where it is True."""
    if all([a.dtype.kind != "b" for a in inputs[1:]]):
        return inputs, attrs
    arrays, index, more = iter(inputs[1:]), list[Any](), list[Tensor]()
    for i in attrs["index"]:
        new = [next(arrays)] if i.__class__ is str else []
        if new and new[0].dtype.kind == "b":
            new = [owned(places) for places in np.nonzero(new[0].data)]
        more += new
        index += [ARRAY] * len(new) or [i]
    return [inputs[0], *more], attrs | {"index": tuple(index)}


def _indexed(
    batch: Batch, op: Op, inputs: Sequence[Tensor], wholes: Sequence[Any], attrs: dict[str, Any]
) -> Any:
    """`take` and `put`: the examples are one more axis, or one more array of places."""
    x, arrays = inputs[0], inputs[1:]
    index = attrs["index"] if attrs["index"].__class__ is tuple else (attrs["index"],)
    spelt = _spelt(index, x.ndim if op is take else len(attrs["shape"]))
    more = {} if op is take else {"shape": (batch.size, *attrs["shape"])}
    if not arrays:
        return op(wholes[0], index=(slice(None), *spelt), **more)
    most = max([a.ndim for a in arrays])  # axes of what is picked
    pairs = zip(arrays, wholes[1:], strict=True)
    given = [a if whole is None else _wide(whole, most) for a, whole in pairs]
    picks, first = _picks(index), _picks(spelt)[0]  # an ellipsis of no axes keeps them apart, too
    together = picks == list(range(picks[0], picks[-1] + 1))
    before = first if together else 0  # axes in front of them: NumPy puts apart ones first
    if wholes[0] is None and op is take:
        y = take(x, *given, index=index)  # of what is one for all
        return _cycled(y, 0, before, 1)
    given = [owned(np.arange(batch.size).reshape(-1, *[1] * most)), *given]
    if op is put:
        return put(_cycled(batch.spread(x), 1, before, most), *given, index=(ARRAY, *index), **more)
    return _cycled(take(wholes[0], *given, index=(ARRAY, *index)), 1, most, before)


def _cycled(x: Tensor, start: int, count: int, more: int) -> Tensor:
    """So many axes from one on behind the next ones."""
    first, rest = range(start, start + count), range(start + count, start + count + more)
    if not count or not more:
        return x
    ends = range(start), range(start + count + more, x.ndim)
    return transpose(x, axes=(*ends[0], *rest, *first, *ends[1]))


def _picks(index: Sequence[Any]) -> list[int]:
    """Where an index picks places by number, as one array or each."""
    free = (type(None), type(...), slice)
    return [k for k, i in enumerate(index) if i.__class__ not in free]


def _spelt(index: tuple[Any, ...], ndim: int) -> tuple[Any, ...]:
    """An index that says something of every axis."""
    given = [k for k, i in enumerate(index) if i is Ellipsis] or [len(index)]
    count = sum([i is not None and i is not Ellipsis for i in index])
    return (*index[: given[0]], *[slice(None)] * (ndim - count), *index[given[0] + 1 :])


def _looked_up(table: Tensor, index: Tensor) -> Any:
    """`embedding`, of which a negative number is no place."""
    return take(table, where(index < 0, len(table), index), index=(ARRAY,))


def _scattered(x: Tensor, index: Tensor, rows: int) -> Any:
    return put(x, index, index=(ARRAY,), shape=(rows, *x.shape[index.ndim :]))


FORMULAS: dict[Op, Callable[..., Any]] = {embedding: _looked_up, scatter_rows: _scattered}
