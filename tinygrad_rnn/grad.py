"""The backward pass, from a result to what it was computed from."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import numpy as np

from .hooks import hooked
from .op import Parts, has_nan, place
from .ops import astype, sum_to
from .quiet import quiet
from .tensor import (
    Operand,
    Tensor,
    _births,
    describe,
    detach,
    history,
    mode,
    owned,
    recording,
    seen,
)

BLOCK = 64  # terms of a sum that are added up before they join the rest
MANY = 100  # passes from which on a gradient does not say which


class Cotangents:
    """What has arrived at each tensor so far, added up.

    A weight used at 10,000 steps gets 10,000 float32 terms: they are added up in blocks, and the
    blocks then, so that the sum keeps its digits.
    """

    def __init__(self, in_place: bool):
        self.sums: dict[Tensor, Any] = {}
        self.in_place = in_place  # a sum made here may be added to, unless it has a history
        self.terms: dict[Tensor, int] = {}  # how many are in a sum made here
        self.blocks: dict[Tensor, Any] = {}  # sums of full blocks
        self.waiting: list[tuple[int, Tensor]] = []  # where something is, the youngest first
        self.leaves = True  # whether those wait too, of which nothing is asked any more

    def add(self, x: Tensor, g: Any, source: Tensor | None = None) -> None:
        """One more term for x, with broadcasting and promotion undone: here, and only here."""
        array, before = x._array, self.sums.get(x)
        kind = g.__class__
        if kind is not np.ndarray or g.dtype is not array.dtype or g.shape != array.shape:
            g = g if kind is Parts else _fitted(g, x, source)
        if before is None:
            self.sums[x] = g
            if (x.op or x._hooks or self.leaves) and x not in self.blocks:
                heappush(self.waiting, (-x.born, x))  # no two were born together
        elif kind is Parts:
            before.merge(g)
        elif count := self.terms.get(x):
            before += g
            self.terms[x] = count + 1
            if count + 1 == BLOCK:
                self.blocks[x] = self.sum_so_far(x)
                del self.sums[x], self.terms[x]
        else:
            self.sums[x] = before + g
            if self.in_place and g.ndim:
                self.terms[x] = 2

    def sum_so_far(self, x: Tensor) -> Any:
        """What has come to x until now; None when nothing has."""
        if x in self.blocks:
            return self.blocks[x] + self.sums[x] if x in self.sums else self.blocks[x]
        return self.sums.get(x)


@quiet
def pullback(
    outputs: Sequence[Tensor], cotangents: Sequence[Any], wrt: Sequence[Tensor] | None = None, *,
    until: Collection[Tensor] = (), create_graph: bool = False, retain_graph: bool = True,
) -> dict[Tensor, Any]:  # fmt: skip
    """Carry the outputs' cotangents back to the tensors in `wrt`, or to every leaf.

    Returns the cotangents found: arrays, or tensors with a history under `create_graph`. With
    `retain_graph` those of the tensors in between are returned too; without, each part of the graph
    is freed as soon as the pass has left it. The pass stops at the tensors in `until`, and where
    nothing in `wrt` lies further back.
    """
    here = mode.__dict__
    before, here["recording"] = here["recording"], create_graph
    try:
        this = BackwardPass(outputs, cotangents, wrt, until, create_graph, retain_graph)
        this.found.leaves = False
        deque(this.walk(), 0)
        if this.found.blocks:
            this.found.sums |= {x: this.found.sum_so_far(x) for x in this.found.blocks}
    finally:
        here["recording"] = before
    return this.found.sums


class BackwardPass:
    """One backward pass over a history, youngest first."""

    def __init__(
        self, outputs: Sequence[Tensor], cotangents: Sequence[Any],
        wrt: Sequence[Tensor] | None = None, until: Collection[Tensor] = (),
        create_graph: bool = False, retain_graph: bool = True,
    ):  # fmt: skip
        self.wanted, self.kept, self.ends, self.retain = None, set(wrt or ()), until, retain_graph
        self.until = until  # whose hooks are run by the pass around
        if wrt is not None:
            self.wanted = lead = _leading_to(wrt, history(outputs, until), until)
            self.ends = {*until, *(x for x in self.kept if lead.isdisjoint(x.inputs or ()))}
        self.found = Cotangents(in_place=not create_graph)
        for y, g in zip(outputs, cotangents, strict=True):
            self.found.add(y, g)

    def walk(self) -> Iterator[tuple[Tensor, Any, Sequence[Any]]]:
        """Each tensor that something arrived at, all of that, and what it gave to each input.

        Inputs are older than outputs: when a tensor is the youngest, all has arrived there.
        """
        found, wanted, ends, here = self.found, self.wanted, self.ends, mode.__dict__
        sums, blocks, waiting, retain = found.sums, found.blocks, found.waiting, self.retain
        while waiting:
            y = heappop(waiting)[1]
            if y in blocks:
                sums[y], _ = found.sum_so_far(y), blocks.pop(y)
            g = sums[y]
            if y._hooks is not None and y not in self.until:
                g = sums[y] = hooked(y, g)
            op, inputs, pulled, gx = y.op, y.inputs, (), None  # nothing is held any longer
            if inputs is None:
                history([y])  # refuses what another pass has freed since
            if op is not None and y not in ends:
                try:
                    pulled = op.pull(g, y, wanted)
                except Exception as error:
                    error.add_note(f"while pulling a gradient back through {op.name}{place(y)}")
                    raise
                if here["anomaly"]:
                    _watch(y, pulled)
                born = y.born
                for x, gx in zip(inputs, pulled):  # noqa: B905 (this loop is hot)
                    if x.born > born:
                        raise _stale(x, y)
                    if gx is not None and (x.tracked if wanted is None else x in wanted):
                        found.add(x, gx, y)
                if not retain:
                    y.inputs = None  # type: ignore[assignment]
                    if wanted is not None:
                        wanted.discard(y)
                    if y not in self.kept:
                        del sums[y]
            yield y, g, pulled

    def steps(self) -> Iterator[tuple[Tensor, Any, list[tuple[int, Any]]]]:
        """Each tensor it comes to, what has arrived there, and what that adds to its inputs.

        To those that wait for something, by their place; broadcasting and promotion are undone.
        """
        walk = self.walk()
        while True:
            with recording(False), np.errstate(all="ignore"):
                step = next(walk, None)
                if step is None:
                    return
                y, g, pulled = step
                terms = [
                    (place, Parts(gx) if isinstance(gx, Parts) else _fitted(gx, x, y))
                    for place, (x, gx) in enumerate(zip(y.inputs, pulled, strict=False))
                    if gx is not None and x.tracked
                ]
            if y.tracked:
                yield y, g, terms


@dataclass(frozen=True)
class BackwardStep:
    """One step of `backward()`: the tensor it is at, and what it passes on to the inputs.

    number: how many steps were before. tensor, gradient: where the pass is, and the gradient that
    has arrived there, whole now. contributions: for each input that waits for one, what this step
    adds to it; nothing at a leaf. so_far: the sum at each of these inputs after this step. Arrays
    are read-only and stay as they are.
    """

    number: int
    tensor: Tensor
    gradient: np.ndarray
    contributions: tuple[tuple[Tensor, np.ndarray], ...]
    so_far: dict[Tensor, np.ndarray]


def backward_steps(y: Tensor, gradient: Operand | None = None) -> Iterator[BackwardStep]:
    """`backward(retain_graph=True)`, step by step: `for step in loss.backward_steps(): ...`.

    It is the same pass, in the same order. When it has come to its end, and not before, every
    tensor has its gradient. A compiled loop is one step: run layers with `unroll=True` to see into
    it. Raises at the call what `backward` would.

    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> [step.gradient.item() for step in (x * x + x).backward_steps()]
    [1.0, 1.0, 5.0]
    """
    seen(y, "calls backward_steps() of")
    return _stepping(BackwardPass([y], [_seed(y, gradient, "backward_steps")]))


def _stepping(this: BackwardPass) -> Iterator[BackwardStep]:
    for number, (y, g, terms) in enumerate(this.steps()):
        whole = _snapshot(g.filled(y._array) if isinstance(g, Parts) else g)
        given = tuple([(y.inputs[place], _snapshot(gx)) for place, gx in terms])
        so_far = {x: _snapshot(this.found.sum_so_far(x)) for x, _ in given}
        yield BackwardStep(number, y, whole, given, so_far)
    _leave(this.found.sums)


def _snapshot(g: Any) -> Any:
    """What a cotangent is now; of a tuple of them, each."""
    if isinstance(g, Parts):
        return {i: _snapshot(part) for i, part in g.items()}
    if isinstance(g, tuple):
        return tuple(map(_snapshot, g))
    array = np.array(g)
    array.setflags(write=False)
    return array


def _leading_to(
    targets: Sequence[Tensor], order: list[Tensor], until: Collection[Tensor]
) -> set[Tensor]:
    """The part of a history through which a cotangent reaches the targets."""
    wanted = set(targets)
    for y in reversed(order):
        if y not in wanted and y not in until and not wanted.isdisjoint(y.inputs):
            wanted.add(y)
    return wanted


def _stale(x: Tensor, y: Tensor) -> RuntimeError:
    return RuntimeError(
        f"{describe(x)} was given new values, or began to require gradients, after "
        f"{describe(y)} was computed from it, so the "
        "gradient would mix old and new. Call backward() before optimizer.step() or assigning "
        "x.data, or compute the loss again."
    )


def _watch(y: Tensor, pulled: Sequence[Any]) -> None:
    arrays = [p.data if isinstance(p, Tensor) else p for p in pulled]
    if any(has_nan(np.asarray(a)) for a in arrays if a is not None and not isinstance(a, Parts)):
        word, given = y.op.name if y.op else "", ""
        if any(has_nan(x._array) for x in y.inputs):  # then the op is innocent
            leaves = [x for x in history([y]) if x.op is None and has_nan(x._array)]
            given = "".join(f" It came in by {describe(x)}." for x in leaves[-1:])
        raise RuntimeError(f"NaN in the gradient of {word}{place(y)}.{given}")


def _fitted(g: Any, x: Tensor, source: Tensor | None) -> Any:
    """Undo broadcasting and promotion: a cotangent has the shape and dtype of its tensor."""
    if not (isinstance(g, Tensor) and mode.recording):  # a rule may have tensors in it
        g = np.asarray(g)
        if g.dtype.kind not in "biuf":
            raise _unfit(g, x, source)
    shape = x._array.shape
    if g.shape != shape:
        foreign = source is not None and source.op is not None and not source.op.ours
        if foreign and g.shape != source.shape:  # type: ignore[union-attr]
            raise _unfit(g, x, source)
        try:
            g = (sum_to if isinstance(g, Tensor) else sum_to.body)(g, shape=shape)
        except ValueError:
            raise _unfit(g, x, source) from None
    return g if g.dtype == x._array.dtype else astype(g, dtype=x._array.dtype)


def _unfit(g: Any, x: Tensor, source: Tensor | None) -> ValueError:
    word = source.op.name if source is not None and source.op is not None else "backward"
    return ValueError(
        f"{word}: the cotangent of {describe(x)}: expected shape {x.shape}, got {g.dtype} of shape "
        f"{g.shape}. A derivative returns one number for each element of its input."
    )


def _seed(y: Tensor, cotangent: Operand | None, who: str, tensor: bool = False) -> Any:
    """What arrives at y: an array, or if asked for a tensor."""
    if mode.trace is not None:
        mode.trace.written_down()
    if not y.tracked:
        raise RuntimeError(
            f"{who}: {describe(y)} does not require gradients: nothing it came from was made with "
            "requires_grad=True, or it was computed under no_grad(), or is itself a gradient taken "
            "without create_graph=True."
        )
    if cotangent is None:
        array = y._array
        if array.size != 1:
            raise RuntimeError(
                f"{who}: the gradient is implicit only for a result of one element, got shape "
                f"{y.shape}. Reduce it (y.sum()); only backward() and tg.grad() take gradients."
            )
        one = np.empty(array.shape, array.dtype)
        one.fill(1)
        return owned(one) if tensor else one
    seed = cotangent if isinstance(cotangent, Tensor) else Tensor(cotangent)
    if seed.shape != y.shape or seed.dtype.kind not in "fiu":
        raise ValueError(
            f"{who}: gradient: expected shape {y.shape} like the result, got shape {seed.shape} "
            f"and dtype {seed.dtype}."
        )
    return seed if tensor else seed._array


def backward(y: Tensor, gradient: Operand | None = None, *, retain_graph: bool = False) -> None:
    """Add to the `.grad` of every leaf that requires it the gradient of `y`.

    `gradient` is what arrives at `y`; 1 when `y` has one element. The graph is freed on the way,
    all of it, so that a second call raises RuntimeError; `retain_graph=True` keeps it, and leaves
    on every tensor in between its own gradient, for looking at. When a rule raises, no `.grad`
    changes.

    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> tg.exp(x)[0].backward()
    >>> x.grad.numpy()
    array([2.71828183, 0.        ])
    """
    seen(y, "calls backward() of")
    seed = _seed(y, gradient, "backward")
    _leave(pullback([y], [seed], retain_graph=retain_graph))


def _leave(found: dict[Tensor, Any]) -> None:
    """Add what a pass found to the gradients of leaves; those of the tensors in between it is."""
    own = frozenset([next(_births)])
    words = {"passes": own}
    for x, g in found.items():
        if x.tracked and x._array.__class__ is not tuple:
            before = None if x.op else x._grad
            x._grad = now = owned(g if before is None else before._array + g)
            now.attrs = words
            if before is not None:
                these = own | passes(before)
                now.attrs = {"passes": these if len(these) < MANY else frozenset([-min(own)])}


def passes(g: Tensor | None) -> frozenset[int]:
    """The backward passes that a gradient is the sum of; 0 stands for what left none."""
    return frozenset() if g is None else g.attrs.get("passes", frozenset([0]))


def grad(
    y: Tensor, xs: Tensor | Sequence[Tensor], gradient: Operand | None = None, *, create_graph: bool
    = False, retain_graph: bool | None = None, allow_unused: bool = False,
) -> Any:  # fmt: skip
    """Return the gradient of `y` with respect to a tensor, or to each of several (then a list).

    Each is the total derivative, whether or not one of `xs` depends on another; `.grad` is left
    alone. `gradient` is what arrives at `y`, as for `backward`. `create_graph` gives gradients a
    history, so that they can be differentiated again; `retain_graph` (by default as
    `create_graph`) keeps the graph of `y`: without, what lies between `y` and `xs` is freed, and
    what `xs` came from stays. Raises RuntimeError when one of `xs` was not used, or no gradient
    reaches it, unless `allow_unused`: then its gradient is None.

    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> slope = tg.grad(x ** 3, x, create_graph=True)
    >>> slope.item(), tg.grad(slope, x).item()
    (27.0, 18.0)
    """
    wrt = list(xs) if isinstance(xs, Iterable) and not isinstance(xs, Tensor) else [xs]
    for x in [y, *wrt]:
        if not isinstance(x, Tensor):
            raise TypeError(f"grad: expected tensors, got {type(x).__name__}")
    if mode.trace is not None:
        mode.trace.written_down().check_gradient(y, wrt)
        if not create_graph:  # without numbers there is nothing but what is recorded
            return detach(grad(y, xs, gradient, create_graph=True, allow_unused=allow_unused))
    seed = _seed(y, gradient, "grad", create_graph)
    keep = create_graph if retain_graph is None else retain_graph
    if not allow_unused:
        _check_used(y, wrt)
    found = pullback([y], [seed], wrt, create_graph=create_graph, retain_graph=keep)
    out = [_tensor(found[x]) if x in found and x.tracked else None for x in wrt]
    missing = [describe(x) for x, g in zip(wrt, out, strict=True) if g is None]
    if missing and not allow_unused:
        raise RuntimeError(
            f"grad: no gradient of {describe(y)} reaches {missing[0]}: what lies between passes "
            "none, as sign and round, or it is another result of a loop that used it. Pass "
            "allow_unused=True to get None for it."
            + " Compute the result anew first: this pass has freed its graph."
            * (not keep)
        )
    return out[0] if isinstance(xs, Tensor) else out


def _check_used(y: Tensor, wrt: Sequence[Tensor]) -> None:
    """Refuse before the backward pass, which frees the graph."""
    used = set(history([y]))
    for k, x in enumerate(wrt):
        if x not in used or not x.tracked:
            raise RuntimeError(
                f"grad: {describe(x)} (number {k}) was not used to compute {describe(y)}, or does "
                "not require gradients. Pass allow_unused=True to get None for it."
            )


def _tensor(g: Any) -> Tensor:
    return g if isinstance(g, Tensor) else owned(g)
