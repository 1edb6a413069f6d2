"""Forward mode: how a result moves when what it was computed from moves, by the rules of its ops.

An op's rule takes the cotangent of its answer to that of an input, and is linear in it. Of a
pointwise op it multiplies by a diagonal, which is its own transpose: the rule run on a tangent is
the tangent. Any other rule is traced without numbers and pulled back through once more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..grad import _fitted, _stale, pullback
from ..loops import Ends, Known, fold
from ..loops.scanned import check_surroundings, scanned
from ..loops.trace import Step, Trace
from ..op import Op, Parts, pick, place
from ..ops import astype, broadcast_to, where
from ..quiet import quiet
from ..tensor import Tensor, Untraceable, history, mode, owned, recording
from .batch import batches, ground, grounded, own, raised

Tangents = dict[Tensor, Any]  # arrays; tensors while history is being recorded; of tuples, Parts


@quiet
def pushed(
    outputs: Sequence[Tensor], seeds: dict[Tensor, Tensor], until: Collection[Tensor] = ()
) -> list[Tensor]:
    """Carry the tangents of some tensors forward to the outputs, oldest op first.

    What the tensors in `until` came from does not move.
    """
    found: Tangents = {x: v if mode.recording else v._array for x, v in seeds.items()}
    ends = {*seeds, *until}
    for y in reversed(history(outputs, ends)):
        if y in ends or y.op is None or found.keys().isdisjoint(y.inputs):
            continue
        refuse_changed([y])
        try:
            moved = _tangent(y, found)
        except Exception as error:
            error.add_note(f"while pushing a tangent forward through {y.op.name}{place(y)}")
            raise
        if moved is not None:
            found[y] = moved
    return [as_tensor(found[y] if y in found else nothing(y)) for y in outputs]


def refuse_changed(nodes: Iterable[Tensor]) -> None:
    """Refuse a history that read other values than its leaves have now."""
    for y in nodes:
        if changed := [x for x in y.inputs if x.born > y.born]:
            raise _stale(changed[0], y)


def as_tensor(v: Any) -> Tensor:
    """A gradient or a tangent as a tensor."""
    return v if isinstance(v, Tensor) else owned(v)


def made_since(
    outputs: Sequence[Tensor], began: int, ends: Sequence[Tensor] = ()
) -> tuple[set[Tensor], set[Tensor]]:
    """What the outputs came from since a birth, themselves included, and what was there before.

    What `ends` came from is left out.
    """
    made, old = {*outputs, *ends}, set[Tensor]()
    stack = [*made.difference(ends)]
    while stack:
        for x in stack.pop().inputs or ():
            if x.born <= began:
                old.add(x)
            elif x not in made:
                made.add(x)
                stack.append(x)
    return made, old


def older(outputs: Sequence[Tensor], began: int) -> set[Tensor]:
    """What the outputs came from that was there before: where a function's own history ends."""
    return made_since(outputs, began)[1]


def nothing(x: Any) -> Any:
    """Zeros like x, also in a step that is being traced."""
    return where(False, x, 0)


def _tangent(y: Tensor, found: Tangents) -> Any:
    """The tangent of an op's answer; None where nothing reaches it."""
    op: Op = y.op
    if op is pick:
        return found[y.inputs[0]].get(y.attrs["i"])
    if op is scanned or hasattr(op, "steps"):
        return _of_loop(y, found)
    if hasattr(op, "push"):
        return op.push(y, found)
    if y._array.__class__ is not tuple and y.dtype.kind != "f":
        return None
    if not op.pointwise:
        return _transposed(y, found)
    total = None
    for x in dict.fromkeys(y.inputs):
        if x in found:
            for part in op.pull(_like(found[x], y), y, {x}):
                if part is not None:
                    total = part if total is None else total + part
    return None if total is None else _like(total, y)


def _like(v: Any, y: Tensor) -> Any:
    """A tangent in the shape and dtype of y."""
    v = v if isinstance(v, Tensor) else np.asarray(v)
    v = v if v.dtype == y.dtype else astype(v, dtype=y.dtype)
    return v if v.shape == y.shape else broadcast_to(v, shape=y.shape)


# -- ops that mix elements -----------------------------------------------------------------------


def _transposed(y: Tensor, found: Tangents) -> Any:
    """The tangent of an answer by the transpose of its rule: what pulls back through that.

    A rule is linear in the cotangent, which therefore has no numbers here: of what the rule does,
    all that depends on it is traced, and the rest is done at once, or written down in the step that
    is traced already. One that is not linear, such as that of clipping, is run at 0.
    """
    tuples = y._array.__class__ is tuple
    parts: Any = y._array if tuples else (y._array,)
    us = [owned(np.broadcast_to(np.zeros((), a.dtype), a.shape)) for a in parts]
    made = Trace(us, mode.trace)
    try:
        if not _masked(y):
            return _pulled_twice(y, found, made.leaves, tuples, made)
    except Untraceable:
        pass
    return _pulled_twice(y, found, us, tuples, None)


def _masked(y: Tensor) -> bool:
    """Whether the shape of what an op gives may depend on numbers."""
    arrays = [] if y.op.pointwise else [x._array for x in y.inputs]
    return any(a.__class__ is not tuple and a.dtype.kind == "b" for a in arrays)


def _pulled_twice(
    y: Tensor, found: Tangents, us: Sequence[Tensor], tuples: bool, made: Trace | None
) -> Any:
    """Pull cotangents back by the op's rule, and the tangents of its inputs back through that."""
    for u in us:
        u.tracked = u.dtype.kind == "f"
    pairs = []
    with made.on() if made else recording(True):
        pulled = y.op.pull(
            Parts(enumerate(us)) if tuples else us[0], y, {x for x in y.inputs if x in found}
        )
        for x, gx in zip(y.inputs, pulled, strict=True):
            if x in found and isinstance(gx, Tensor) and (not made or made.number.get(gx, -1) >= 0):
                pairs.append((_fitted(gx, x, y), found[x]))
    if made and any(map(_masked, made.nodes)):
        raise Untraceable("how much a mask takes is in its numbers")
    back = pullback(
        [gx for gx, _ in pairs], [v for _, v in pairs], us,
        until=set(made.captured if made else y.inputs), create_graph=mode.recording,
    )  # fmt: skip
    moved = Parts({k: back[u] for k, u in enumerate(us) if u in back})
    return moved or None if tuples else moved.get(0)


# -- loops ---------------------------------------------------------------------------------------


def _of_loop(y: Tensor, found: Tangents) -> Any:
    """The tangents of a loop's results: those of its step, folded along with it in another loop."""
    if y.op is not scanned:  # one in a step that is traced
        scan, ends, every = y.attrs["scan"], Ends(), None
        step, length, reverse, names = scan.program.step, scan.length, scan.reverse, scan.names
    else:
        run = y.attrs["run"]
        step, length, reverse, names = run.program.step, run.length, run.way < 0, run.told.names
        ends, every = run.ends, run.every
    check_surroundings(step)
    count, held = len(step.xs), len(step.carry)
    xs, carry = y.inputs[:count], y.inputs[count : count + held]
    captured = y.inputs[count + held :]
    led = [k for k, x in enumerate(xs) if x in found]
    states = [k for k, h in enumerate(carry) if h.dtype.kind == "f"]
    moving = [k for k, r in enumerate(step.results) if r.dtype.kind == "f"]
    fixed = {x: as_tensor(found[x]) for x in captured if x in found}

    def both(*given: Tensor) -> list[Tensor]:
        """The step, and how its results move with what it is given."""
        batched = bool(batches())
        given = given if mode.trace and not batched else tuple(map(own, given))
        x, dx = given[:count], given[count : count + len(led)]
        h, dh = given[count + len(led) :][:held], given[count + len(led) + held :]
        inside = [own(c) if batched and c in fixed else c for c in captured]
        seeds = {x[k]: v for k, v in zip(led, dx, strict=True)}
        seeds |= {h[k]: v for k, v in zip(states, dh, strict=True)}
        seeds |= {i: fixed[c] for i, c in zip(inside, captured, strict=True) if c in fixed}
        results, slopes = _slopes(step, [*x, *h, *inside], seeds, moving)
        new, more = results[:held], results[held:]
        return [*new, *slopes[: len(states)], *more, *slopes[len(states) :]]

    # Which of the results is which, of those of the step: the tangents by ~k.
    order = [*range(held), *[~k for k in states], *range(held, len(step.results))]
    order += [~k for k in moving[len(states) :]]
    start = [as_tensor(found[h] if h in found else nothing(h)) for h in (carry[k] for k in states)]
    out = fold(
        both, [*carry, *start], [*xs, *[as_tensor(found[xs[k]]) for k in led]] or None,
        reverse=reverse, length=length, checkpoint=every, names=names, roots=(),
        known=None if batches() else _known(step, led, captured, fixed),
        ends=lambda: Ends([i for i, k in enumerate(order) if max(k, ~k) in ends]),
    )  # fmt: skip
    tangents = {
        ~k: v if mode.recording else v._array for k, v in zip(order, out, strict=True) if k < 0
    }
    return Parts(tangents)


def _known(
    step: Step, led: Sequence[int], captured: Sequence[Tensor], fixed: dict[Tensor, Tensor]
) -> Known:
    """What is known of the loop of a step's tangents: it reads what the step does, and theirs.

    It is a function of the step, of which inputs move, and of which that it reads are the same.
    """
    read = [*captured, *fixed.values()]
    first = {x: k for k, x in enumerate(reversed(read))}
    key = *led, None, *[x in fixed for x in captured], *map(first.get, read), mode.recording
    changing = [SimpleNamespace(tensor=x) for x in read]
    return Known((), changing, step.moved.setdefault(key, {}))


def _slopes(
    step: Step, given: Sequence[Tensor], seeds: Tangents, moving: Sequence[int]
) -> tuple[Sequence[Tensor], list[Tensor]]:
    """What a step gives, and how some of that moves with what it is given."""
    with ground():
        if mode.trace:
            mode.trace.written_down()
    with recording(True):
        results = step.run(given)
        wholes = [grounded(results[k]) for k in moving]
        down = {grounded(x): grounded(v) for x, v in seeds.items()}
    with ground():
        slopes = pushed(wholes, down, given)
    return results, [*map(raised, slopes)]
