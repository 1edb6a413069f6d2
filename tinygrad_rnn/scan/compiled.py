"""A scan as one op: recognise the step, run its program, and lead its derivative back."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ..grad import pullback
from ..op import Op
from ..ops import reshape
from ..ops.shape import check_index
from ..tensor import Tensor, Untraceable, _births, _Switch, mode, owned, recording
from .loop import Steps, results_of, unroll, warn
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
            warn(f"the derivative of {reason}")
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


def compiled(
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
    results_of(0, state, new)
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
        warn(reason)
    with _lock:
        _programs[key] = program
        if len(_programs) > PROGRAMS:
            _programs.popitem(last=False)
    return program


def no_outputs(step: Steps, state: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """What a step would return beyond the carry, of no steps at all."""
    with suppress(Untraceable):
        outputs = _traced(step, [_first(x) for x in inputs], state, ())[1][len(state) :]
        return [owned(np.empty((0, *y.shape), y.dtype)) for y in outputs]
    return []


def source(step: Steps, state: Sequence[Tensor], inputs: Sequence[Tensor]) -> str:
    """The text of both loops of a step."""
    made, results = _traced(step, [_first(x) for x in inputs], state, ())
    made.key(results)
    try:
        return program_of(Step(made, results, len(inputs))).source
    except Unsupported as reason:
        raise ValueError(f"scan_source: {reason} has no compiled form") from None
