"""Run a step over time: `unroll` says what it means, `scan` does it in one compiled loop."""

from __future__ import annotations

import math
import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from .. import kernels
from ..grad import pullback
from ..op import Op
from ..ops import reshape, stack, unstack
from ..ops.shape import check_index
from ..tensor import (
    Operand,
    Tensor,
    Untraceable,
    _births,
    _Switch,
    describe,
    mode,
    outside,
    owned,
    recording,
    scope,
)  # fmt: skip
from .lower import Unsupported
from .machine import Run
from .program import Program, program_of
from .step import (
    Follower,
    Step,
    Trace,
    check_repeatable,
    is_written,
    run_on,
    same_numbers,
    trace,
    unrepeatable,
)  # fmt: skip

Steps = Callable[..., Any]


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
    """
    state, inputs, steps = _given("unroll", carry, xs, length)
    slices = [_slices(x) for x in inputs]
    path: list[tuple[Tensor, ...]] = []
    for t in range(steps)[:: -1 if reverse else 1]:
        with scope(f"t={t}"):
            new = step(*[s[t] for s in slices], *state)
        new = _results(t, state, new)
        for part, name in zip(new, names, strict=False):
            if part.op is not None:  # a leaf handed on as it is keeps its own name
                part.name = name
        path.append(new)
        state = new[: len(state)]
    if not path:
        outputs: Sequence[Tensor] = ()
        with suppress(Untraceable):
            outputs = _traced(step, [_first(x) for x in inputs], state, names)[1][len(state) :]
        empty = [owned(np.empty((0, *y.shape), y.dtype)) for y in outputs]
        return [*(reshape(c, shape=(1, *c.shape))[:0] for c in state), *empty]
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

    `step(*x, *carry)` returns the new carry, and after it any outputs. It is run once at every
    call, on tensors without numbers, and must do the same at every t: it may read tensors from
    outside, which get their gradients, but not branch on numbers (`tg.where`), draw random ones
    (give them as xs), or change anything. `checkpoint` keeps only every n-th carry for the way
    back, "sqrt" every √T-th, and works out the rest again. `unroll=True` records every step.

    Shapes and results as for `unroll`. An op without a compiled form runs unrolled, with a
    ScanWarning; under `detect_anomaly()` every scan does. Raises Untraceable (a TypeError) for a
    step that reads numbers or does not repeat itself, ValueError for lengths that disagree.
    """
    return fold(
        step, carry, xs, reverse=reverse, length=length, checkpoint=checkpoint, unrolled=unroll
    )


def scan_source(
    step: Steps, carry: Operand | Sequence[Operand], xs: Any, *, length: int | None = None
) -> str:
    """The text of the loops that `scan` would run for this step: ahead, and back.

    A tensor that a scan made has it too: `y.inputs[0].attrs["run"].source`. Raises ValueError for
    a step without a compiled form, naming the op.
    """
    state, inputs, _ = _given("scan_source", carry, xs, length)
    made, results = _traced(step, [_first(x) for x in inputs], state, ())
    made.key(results)
    try:
        return program_of(Step(made, results, len(inputs))).source
    except Unsupported as reason:
        raise ValueError(f"scan_source: {reason} has no compiled form") from None


class ScanWarning(RuntimeWarning):
    """A step is run op by op, because something in it has no compiled form."""


def fold(
    step: Steps,
    carry: Any,
    xs: Any,
    *,
    reverse: bool = False,
    length: int | None = None,
    checkpoint: str | int | None = None,
    unrolled: bool = False,
    names: Sequence[str] = (),
) -> list[Tensor]:
    """`scan`, with names for the carry in texts and pictures."""
    state, inputs, steps = _given("scan", carry, xs, length)
    every = _interval(checkpoint, steps)
    if not (unrolled or mode.anomaly or mode.trace or not steps or _inert(state, inputs)):
        out = _compiled(step, state, inputs, steps, reverse, every, names)
        if out is not None:
            return out
    given = tuple(inputs) if inputs else None
    return unroll(
        step, state, given, reverse=reverse, length=None if inputs else steps, names=names
    )


def _inert(state: Sequence[Tensor], inputs: Sequence[Tensor]) -> bool:
    return not kernels.compiles() or any(x.dtype.kind not in "fiub" for x in [*state, *inputs])


def _warn(what: object) -> None:
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
    state = tuple(c if isinstance(c, Tensor) else Tensor(c) for c in given)
    if xs is None:
        if length is None:
            raise ValueError(f"{who}: expected either xs, or length=T for steps that read nothing")
        whole = isinstance(length, int | np.integer) and not isinstance(length, bool)
        if not whole or length < 0:
            raise ValueError(f"{who}: length: expected a whole number, 0 or more, got {length!r}")
        return state, [], int(length)
    several = xs if isinstance(xs, tuple | list) and _is_several(xs) else (xs,)
    inputs = [x if isinstance(x, Tensor) else Tensor(x) for x in several]
    for x in inputs:
        if not x.ndim:
            raise ValueError(f"{who}: xs: expected an axis of time in front, got {describe(x)}")
    sizes = [len(x) for x in inputs]
    if len(set(sizes)) != 1:
        raise ValueError(f"{who}: xs: expected sequences of one length, got lengths {sizes}")
    if length is not None and length != sizes[0]:
        raise ValueError(
            f"{who}: lengths disagree: xs has {sizes[0]} steps, but length={length}. The length is "
            "that of xs; give length=T for steps that read nothing."
        )
    return state, inputs, sizes[0]


def _is_several(xs: Sequence[Any]) -> bool:
    return all(isinstance(x, Tensor | np.ndarray) for x in xs)


def _interval(checkpoint: str | int | None, steps: int) -> int | None:
    if checkpoint is None:
        return None
    if checkpoint == "sqrt":
        return max(1, math.isqrt(max(0, steps - 1)) + 1)
    if isinstance(checkpoint, bool) or not isinstance(checkpoint, int) or checkpoint < 1:
        raise ValueError(
            f"scan: checkpoint: expected None, 'sqrt' or a number of steps, got {checkpoint!r}"
        )
    return min(checkpoint, max(1, steps))


def _slices(xs: Tensor) -> Sequence[Tensor]:
    slices = unstack(xs)
    for x in slices:
        if x.op is None:
            x.name = xs.name or "x"
    return slices


def _results(t: int, before: Sequence[Tensor], new: Any) -> tuple[Tensor, ...]:
    """What a step returned: the carry as it was, in number, shape and dtype; then outputs."""
    new = tuple(new) if isinstance(new, tuple | list) else (new,)
    new = tuple(y if isinstance(y, Tensor) else Tensor(y) for y in new)
    if len(new) < len(before):
        raise TypeError(
            f"scan: step t={t} returned {len(new)} states, expected {len(before)} as it was "
            "given. Return all of them, in the same order, and outputs after them."
        )
    for k, (old, y) in enumerate(zip(before, new, strict=False)):
        if old._array.shape != y._array.shape or old._array.dtype != y._array.dtype:
            raise TypeError(
                f"scan: step t={t} turned state {k} from {old.dtype}{list(old.shape)} into "
                f"{y.dtype}{list(y.shape)}. A state keeps its shape and dtype; give the first "
                "one the dtype of the inputs (or use astype)."
            )
    return new


# -- the machine ---------------------------------------------------------------------------------


class Scan(Op):
    """A whole loop as one verb: `run` in its attributes holds what it kept for the way back."""

    def __init__(self) -> None:
        super().__init__(_scan, [_no_rule], variadic=True)

    def pull(self, g: Any, y: Tensor, wanted: set[Tensor] | None = None) -> list[Any]:
        run, count = y.attrs["run"], len(y.attrs["run"].program.step.results)
        if mode.recording or mode.anomaly:
            return _pull_unrolled(g, y)
        try:
            return run.back([g.get(i) for i in range(count)])
        except Unsupported as reason:
            _warn(f"the derivative of {reason}")
            return _pull_unrolled(g, y)


def _scan(*inputs, run):
    """A step folded over time, in one compiled loop."""
    raise NotImplementedError


def _no_rule(g, y, *inputs, run):
    raise NotImplementedError


scanned = Scan()


def _pull_unrolled(g: Any, y: Tensor) -> list[Any]:
    """The long way round: the steps one by one, so that what is done has a history of its own."""
    with recording(True):
        inputs = [reshape(x, shape=x.shape) if x.tracked else x for x in y.inputs]
        results = expand(y, inputs)
    wrt = [x for x in inputs if x.tracked]
    found = pullback(
        [results[i] for i in g], list(g.values()), wrt, until=set(inputs),
        create_graph=mode.recording,
    )  # fmt: skip
    return [found.get(x) if x.tracked else None for x in inputs]


def expand(y: Tensor, inputs: Sequence[Tensor], do: Any = None) -> list[Tensor]:
    """The results of a scan's node again, from its inputs, every step recorded.

    `do` may stand for calling the ops, see `Step.run`.
    """
    run = y.attrs["run"]
    step: Step = run.program.step
    count, carried = len(step.xs), len(step.carry)
    captured = inputs[count + carried :]

    def one(*leaves: Tensor) -> tuple[Tensor, ...]:
        return step.run([*leaves, *[_anew(x, run.began) for x in captured]], do)

    with _Switch(recording=True, scope=run.scope):
        return unroll(
            one, inputs[count : count + carried], tuple(inputs[:count]) or None,
            reverse=run.way < 0, length=None if count else run.length, names=run.names,
        )  # fmt: skip


def _anew(x: Tensor, began: int) -> Tensor:
    """A number that the step itself mentions is another tensor at each step."""
    mentioned = x.op is None and (x.born > began or is_written(x))
    return owned(x._array) if mentioned and not x.tracked and not x.name else x


def _compiled(
    step: Steps, state: Any, inputs: Any, steps: int, reverse: bool, every: Any, names: Any
) -> list[Tensor] | None:
    began = next(_births)
    program, captured = _recognised(step, state, inputs)
    if program is None:
        leaves = [_first(x) for x in inputs]
        made, results = _traced(step, leaves, state, names)
        program = _program(made, results, lambda: _again(step, inputs, state, names), len(inputs))
        if program is None:
            return None
        _remember(step, program)
        captured = made.captured
    _check_repeats(program, captured, began, lambda: _again(step, inputs, state, names))
    for k, rows in program.lookups:
        check_index("index", inputs[k]._array, rows, IndexError)
    run = Run(
        program, [x._array for x in inputs], [c._array for c in state],
        [x._array for x in captured], steps, -1 if reverse else 1, every,
    )  # fmt: skip
    run.names, run.scope, run.began = names, mode.scope, began
    given = (*inputs, *state, *captured)
    keep = mode.recording and any(x.tracked for x in given)
    out = run.ahead(keep)
    return list(scanned.several(tuple(out), given, {"run": run}))


def _code(step: Steps) -> Any:
    """What calls of the same step have in common, be it a method or a new lambda each time."""
    return getattr(step, "__code__", None) or getattr(
        getattr(step, "__func__", None), "__code__", step
    )


_latest: weakref.WeakKeyDictionary[Any, Program] = weakref.WeakKeyDictionary()


def _remember(step: Steps, program: Program) -> None:
    with suppress(TypeError):  # a step that is an object without a hash, or without weak references
        _latest[_code(step)] = program


def _check_repeats(program: Program, captured: Any, began: int, again: Any) -> None:
    """Refuse numbers that a step makes anew each time it runs, if they are not always the same."""
    fresh = [x for x in captured if x.born > began and not is_written(x)]
    if not fresh or _same(fresh, program.seen):
        return
    other = [x for x in again().captured if x.born > began and not is_written(x)]
    if not _same(other, [x._array for x in fresh]):
        raise unrepeatable()
    program.seen = [x._array for x in fresh]


def _same(tensors: Sequence[Tensor], arrays: Sequence[np.ndarray]) -> bool:
    return len(tensors) == len(arrays) and all(
        same_numbers(x._array, a) for x, a in zip(tensors, arrays, strict=True)
    )


def _again(step: Steps, inputs: Any, state: Any, names: Any) -> Trace:
    made, results = _traced(step, [_first(x) for x in inputs], state, names)
    made.key(results)
    return made


def _recognised(step: Steps, state: Any, inputs: Any) -> tuple[Any, Any]:
    """The program of last time, if the step, run anew, does what it did then."""
    try:
        program = _latest.get(_code(step))
    except TypeError:
        return None, None
    if program is None or not _fits(program.step, state, inputs):
        return None, None
    made = Follower(program.step)
    results = run_on(made, step)
    return (program, made.values) if made.found(results) else (None, None)


def _fits(step: Step, state: Sequence[Tensor], inputs: Sequence[Tensor]) -> bool:
    if len(step.xs) != len(inputs) or len(step.carry) != len(state):
        return False
    for leaf, x in zip(step.xs, inputs):  # noqa: B905
        array, outline = x._array, leaf._array
        if (
            array.shape[1:] != outline.shape
            or array.dtype != outline.dtype
            or leaf.tracked != x.tracked
        ):
            return False
    for leaf, c in zip(step.carry, state):  # noqa: B905
        if leaf._array.shape != c._array.shape or leaf._array.dtype != c._array.dtype:
            return False
    return True


def _traced(step: Steps, leaves: Sequence[Tensor], state: Sequence[Tensor], names: Any) -> Any:
    made, new = trace(step, leaves, state)
    _results(0, state, new)
    for leaf, name in zip(made.leaves[len(leaves) :], names, strict=False):
        leaf.name = name
    return made, new


def _first(x: Tensor) -> Tensor:
    """What a step sees of a sequence: as it is at one time."""
    y = object.__new__(Tensor)
    y._array, y.tracked, y.name = _Slice(x._array), x.tracked, x.name
    return y


class _Slice:
    __slots__ = ("dtype", "shape")

    def __init__(self, array: np.ndarray):
        self.shape, self.dtype = array.shape[1:], array.dtype


_programs: OrderedDict[Any, Program | None] = OrderedDict()
_lock = threading.Lock()
PROGRAMS = 256  # programs that are remembered


def _program(made: Any, results: Any, again: Any, inputs: int) -> Program | None:
    """The program of a trace: known by what the step does, so that it can never be out of date."""
    key = made.key(results)
    with _lock:
        if key in _programs:
            return _programs[key]
    check_repeatable(made, again)
    program: Program | None = None
    try:
        program = program_of(Step(made, results, inputs))
        program.ahead.compiled()
    except Unsupported as reason:
        program = None
        _warn(reason)
    with _lock:
        _programs[key] = program
        if len(_programs) > PROGRAMS:
            _programs.popitem(last=False)
    return program
