"""Run a step over time: `unroll` says what it means, `scan` does it in one compiled loop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from reprlib import repr as short
from typing import Any, TypeAlias

import numpy as np

from .. import kernels
from ..limits import flag, whole
from ..ops import reshape, sqrt, stack, unstack
from ..ops.shape import take
from ..tensor import Operand, Tensor, describe, mode, outside, scope
from .trace import no_outputs, results_of, tensor_of

Steps = Callable[..., Any]
Ends: TypeAlias = frozenset[int]  # the results of which only the last is wanted


def unroll(
    step: Steps,
    carry: Operand | Sequence[Operand],
    xs: Any,
    *,
    reverse: bool = False,
    length: int | None = None,
    names: Sequence[str] = (),
) -> list[Tensor]:
    """Fold `step` over time: h(t) = step(x(t), h(t-1)), every op recorded (S4).

    `step(*x, *carry)` returns the new carry, and after it any outputs, each a tensor. xs is
    (T, ...), several such arrays, or None for a system without inputs (S5): then `length` steps of
    `step(*carry)` are run. `reverse` goes from the last x to the first. Returns one tensor (T, ...)
    per result, its value at each step; in pictures the values go by `names`.
    Raises TypeError when a step changes the number, shape or dtype of its carry.

    >>> (sums,) = tg.unroll(lambda x, h: h + x, tg.tensor(0.0), tg.tensor([1.0, 2.0, 3.0]))
    >>> sums.numpy()
    array([1., 3., 6.])
    """
    state, inputs, steps = _given("unroll", carry, xs, length)
    reverse = flag("unroll", "reverse", reverse)
    check_order("unroll", step, inputs)
    slices = [_slices(x) for x in inputs]
    path: list[tuple[Tensor, ...]] = []
    for t in range(steps)[:: -1 if reverse else 1]:
        with scope(f"t={t}"):
            try:
                new = step(*[s[t] for s in slices], *state)
            except Exception as error:
                error.add_note(f"in a step at {mode.scope}")
                raise
        new = results_of(t, state, new)
        for part, name in zip(new, names, strict=False):
            if part.op is not None and not any(part is s for s in state):  # not one handed on
                part.name = name
        path.append(new)
        state = new[: len(state)]
    if not path:
        empty = [reshape(c, shape=(1, *c.shape))[:0] for c in state]
        return empty + no_outputs(step, state, inputs)
    return [stack(states[:: -1 if reverse else 1]) for states in zip(*path, strict=True)]


def scan(
    step: Steps,
    carry: Operand | Sequence[Operand],
    xs: Any,
    *,
    reverse: bool = False,
    length: int | None = None,
    checkpoint: str | int | None = None,
    unroll: bool = False,
) -> list[Tensor]:
    """The same as `unroll`, in one compiled loop that is one op in the graph.

    `step(*x, *carry)`, the inputs first, returns the new carry, and after it any outputs. It is run
    once at every call (a new one more often, to see whether it always does the same), on tensors
    without numbers, and must do the same at every t: it may read
    tensors from outside, which get their gradients, but not branch on numbers (`tg.where`), draw
    random ones (give them as xs), or change anything but to log its tensors. `checkpoint` keeps
    only every n-th carry for the backward pass, "sqrt" every √T-th, and recomputes the rest.
    `unroll=True` records every step. A scan in the step is a loop in the loop.

    Shapes and results as for `unroll`. An op without a compiled form runs unrolled, with a
    ScanWarning. Under `detect_anomaly()` a loop in which an op or a gradient gives a NaN is
    done again step by step, which names the op. Raises Untraceable (a TypeError) for a step that
    reads numbers or does not repeat itself, ValueError for lengths that disagree.

    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> (h,) = tg.scan(lambda x, h: w * h + x, tg.tensor(0.0), tg.tensor([1.0, 0.0, 0.0]))
    >>> h.numpy(), tg.grad(h[-1], w).item()
    (array([1.  , 0.5 , 0.25]), 1.0)
    """
    check_order("scan", step, xs is not None)
    reverse, unroll = flag("scan", "reverse", reverse), flag("scan", "unroll", unroll)
    return fold(
        step, carry, xs, reverse=reverse, length=length, checkpoint=checkpoint, unrolled=unroll
    )


def scan_source(
    step: Steps, carry: Operand | Sequence[Operand], xs: Any, *, length: int | None = None
) -> str:
    """The text of the loops that `scan` would run for this step: forward, and backward.

    A tensor that a scan made has it too: `y.inputs[0].attrs["run"].source`. Raises ValueError for
    a step without a compiled form, naming the op.
    """
    from .compiled import source

    state, inputs, _ = _given("scan_source", carry, xs, length)
    return source(step, state, inputs)


class ScanWarning(RuntimeWarning):
    """A step is run op by op, because something in it has no compiled form.

    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as said:
    ...     warnings.simplefilter("always")
    ...     _ = tg.scan(lambda h: tg.sort(h), tg.tensor([2.0, 1.0]), None, length=2)
    >>> said[0].category.__name__
    'ScanWarning'
    """


class Known:
    """What a step does with inputs of certain shapes, so that it need not be run to be seen.

    For a caller who can tell that a step depends on nothing but what it is given, `tensors`, and
    what `changing` objects have as their `tensor` at each call: in `programs` a program, which of
    these it captures, and what is made of them before, by the shapes of what the step was given.
    """

    ours = False  # a step of the library: it always makes the same numbers; who folds it resumes

    def __init__(
        self, tensors: Sequence[Tensor], changing: Sequence[Any] = (),
        programs: dict[Any, tuple[Any, ...]] | None = None,
    ) -> None:  # fmt: skip
        self.tensors, self.changing = frozenset(tensors), changing
        self.programs = {} if programs is None else programs
        self.resumed: Any = None  # the function of that name in `compiled`, once that is loaded


def fold(
    step: Steps, carry: Any, xs: Any, *, reverse: bool = False, length: int | None = None,
    checkpoint: str | int | None = None, unrolled: bool = False, names: Sequence[str] = (),
    roots: Sequence[Any] | None = None, known: Known | None = None,
    ends: Callable[[], Ends] | None = None,
) -> list[Tensor]:  # fmt: skip
    """`scan`, with names for the carry in texts and pictures.

    `roots`: what the step must not change, if that is less than all it can reach. `known`: of a
    step that does the same as long as this is the same. `ends`, asked when the step has been run:
    of which results only the last is wanted, the one at the first step if `reverse`.
    """
    state, inputs, steps = _given("scan", carry, xs, length)
    every = interval(checkpoint, steps)
    if hasattr(mode.trace, "fold"):  # of many examples at once
        how = {"reverse": reverse, "checkpoint": checkpoint, "unrolled": unrolled, "names": names}
        return mode.trace.fold(step, state, inputs, steps, roots, ends, **how)  # type: ignore[no-any-return]
    written = unrolled or (mode.trace and not mode.trace.loops)
    if not (written or not steps or _inert(state, inputs)):
        machine = _machine()
        if machine is not None:
            roots = (step,) if roots is None else roots
            out: list[Tensor] | None = machine.compiled(
                step, state, inputs, steps, reverse, every, names, roots, known, ends
            )
            if out is not None:
                return out
    results = unroll(step, state, tuple(inputs) or None, reverse=reverse, length=steps, names=names)
    return last_of(results, ends() if ends and steps else NONE, reverse)


def last_of(results: Sequence[Tensor], ends: Ends, reverse: bool) -> list[Tensor]:
    """The results along time, and of those in `ends` the last step that was done."""
    at = (0 if reverse else -1,)
    return [take(y, index=at) if k in ends else y for k, y in enumerate(results)]


NONE: Ends = frozenset()


@cache
def _machine() -> Any:
    """The compiler, loaded when it is first needed; None where somebody took it out."""
    try:
        from . import compiled
    except ModuleNotFoundError:
        return None
    return compiled


def _inert(state: Sequence[Tensor], inputs: Sequence[Tensor]) -> bool:
    kinds = [x._array.dtype.kind for x in (*state, *inputs)]
    return not kernels.compiles() or not {*kinds} <= {*"fiub"}


def warn(what: object) -> None:
    frame = outside()
    warnings.warn_explicit(
        f"scan: {what} has no compiled form, so the steps run one by one",
        ScanWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


# -- what a scan is given ------------------------------------------------------------------------


def _given(who: str, carry: Any, xs: Any, length: int | None) -> Any:
    """The carry and the inputs as tensors, and the number of steps."""
    given = carry if isinstance(carry, tuple | list) else (carry,)
    state = tuple([tensor_of(f"{who}: carry", k, c) for k, c in enumerate(given)])
    if xs is None:
        if length is None:
            raise ValueError(f"{who}: expected either xs, or length=T for steps that read nothing")
        return state, [], whole(who, "length", length)
    arrays = isinstance(xs, tuple | list) and all(isinstance(x, Tensor | np.ndarray) for x in xs)
    several = xs if arrays else (xs,)
    inputs = [tensor_of(f"{who}: xs", k, x) for k, x in enumerate(several)]
    sizes = []
    for x in inputs:
        if not x._array.ndim:
            raise ValueError(f"{who}: xs: expected an axis of time in front, got {describe(x)}")
        sizes.append(len(x._array))
    if len({*sizes}) != 1:
        raise ValueError(f"{who}: xs: expected sequences of one length, got lengths {sizes}")
    if length is not None and length != sizes[0]:
        raise ValueError(
            f"{who}: lengths disagree: xs has {sizes[0]} steps, but length={length}. The length is "
            "that of xs; give length=T for steps that read nothing."
        )
    return state, inputs, sizes[0]


def check_order(who: str, step: Steps, reads: Any, bound: bool = False) -> None:
    """Refuse a step that names its state before its input: with equal shapes nothing else tells."""
    if not callable(step):
        raise TypeError(f"{who}: step: expected a function of (*x, *carry), got {short(step)}")
    code = getattr(step, "__code__", None)
    names = [] if code is None else code.co_varnames[: code.co_argcount]
    names = names[bound or hasattr(step, "__self__") :]
    if reads and names[:1] and names[0] in STATES and INPUTS & {*names[1:]}:
        raise TypeError(
            f"{who}: the step is called with the inputs first, step(*x, *carry), and this one "
            f"takes ({', '.join(names)}), the order of jax.lax.scan. Turn its parameters around."
        )


STATES = {"carry", "state", "h", "c", "hidden", "h_prev", "prev", "s"}
INPUTS = {"x", "xs", "x_t", "xt", "inp", "input", "inputs"}


def interval(checkpoint: str | int | None, steps: int) -> int | None:
    """Of how many steps each the carry is kept, or a refusal."""
    if checkpoint is None:
        return None
    if checkpoint == sqrt.name:
        return max(1, math.isqrt(max(0, steps - 1)) + 1)
    kind = f"None, {sqrt.name!r} or a number of steps"
    return min(whole("scan", "checkpoint", checkpoint, 1, kind=kind), max(1, steps))


def _slices(xs: Tensor) -> Sequence[Tensor]:
    slices: Sequence[Tensor] = unstack(xs)
    for x in slices:
        if x.op is None:
            x.name, x.attrs = xs.name or "x", xs.attrs
    return slices
