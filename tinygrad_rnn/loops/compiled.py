"""A scan as one op: recognise the step, run its program, and differentiate it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from .. import caches
from ..kernels import compiles
from ..op import pick
from ..ops.shape import check_index
from ..tensor import (
    Outline,
    Tensor,
    _births,
    _Switch,
    array_of,
    is_tracked,
    mode,
    recording,
)
from .again import Again, Past
from .entry import NONE, Ends, Known, Steps, last_of, warn
from .inside import Inner, program_inside, within
from .nodes import Unsupported
from .program import Program, program_of
from .runtime import Run, Told
from .scanned import doubtful, scanned, step_by_step
from .trace import (
    MADE_ANEW,
    Step,
    Trace,
    at_one_time,
    check_repeatable,
    impure,
    is_written,
    same_numbers,
    trace,
)
from .watched import watched

like_of = attrgetter("_array.shape", "_array.dtype")


def compiled(
    step: Steps, state: Any, inputs: Any, steps: int, reverse: bool, every: Any, names: Any,
    roots: Sequence[Any], known: Known | None = None, ends: Any = None,
) -> list[Tensor] | None:  # fmt: skip
    """The results of a scan run as a loop; None where its steps are to be run one by one.

    `roots` are what may change something when the step is run: they are looked at before and after.
    `known`, if given, remembers what the step does. In a step that is traced they are of an op.
    """
    ends = ends or (lambda: NONE)
    if mode.trace is not None:
        found = _inside(step, state, inputs, steps, reverse, names, roots)
        return found and last_of(found, ends(), reverse)
    began = next(_births)
    given = _shapes(state, inputs)
    if known and not known.ours:
        met = resumed(known, state, inputs, steps, reverse, every, names, ends())
        if met:
            return met
    again = partial(_traced, step, inputs, state, names, roots)
    code = [id(getattr(x, "__code__", type(x))) for x in (step, *roots[:1])]
    program, captured = _program((given, *code), again)
    if program is None:
        return None
    if known is not None:
        _learn(known, given, program, captured, began)
    _check_repeats(program, captured, began, again)
    return _run(program, captured, state, inputs, steps, reverse, every, names, ends(), began)


def _learn(
    known: Known, given: Any, program: Program, captured: Sequence[Tensor], began: int
) -> None:
    """Remember how to find what a step captured, if it is what the step is known to depend on, or
    what the step itself made of that."""
    slots, made = {c.tensor: k for k, c in enumerate(known.changing)}, []
    found, left = set[Tensor](), [*captured]
    while left:
        y = left.pop()
        if y in slots or y in known.tensors or y in found or is_written(y):
            continue
        if y.op is pick or y.born < began or (y.op is None and (y.ndim or not known.ours)):
            return
        found.add(y)
        left += y.inputs
    for y in sorted([y for y in found if y.op], key=lambda y: y.born):
        made.append((y.op, [slots.get(x, x) for x in y.inputs], y.attrs, y.scope, y.name))
        slots[y] = len(slots)
    known.programs[given] = program, [slots.get(x, x) for x in captured], made
    known.resumed = resumed


def resumed(
    known: Known, state: Sequence[Tensor], inputs: Sequence[Tensor], steps: int, reverse: bool,
    every: Any, names: Any, ends: Ends,
) -> list[Tensor] | None:  # fmt: skip
    """The results of a scan whose step has met such shapes before; None where it is to be run."""
    found = known.programs.get(_shapes(state, inputs))
    if found is None or mode.trace or not compiles():
        return None
    program, captured, made = found
    if made or known.changing:
        captured = _found(known, captured, made)
    return _run(program, captured, state, inputs, steps, reverse, every, names, ends, next(_births))


def _found(known: Known, places: Sequence[Any], made: Sequence[Any]) -> list[Tensor]:
    """What a step captures, at places of what it depends on and of what is made of that first."""
    slots = [x.tensor for x in known.changing]
    for op, given, attrs, where, name in made:
        with _Switch(recording=True, scope=where):
            y = op(*[x if x.__class__ is Tensor else slots[x] for x in given], **attrs)
        y.name = name or y.name
        slots.append(y)
    return [x if x.__class__ is Tensor else slots[x] for x in places]


def _run(
    program: Program, captured: Sequence[Tensor], state: Sequence[Tensor],
    inputs: Sequence[Tensor], steps: int, reverse: bool, every: Any, names: Any, ends: Ends,
    began: int,
) -> list[Tensor] | None:  # fmt: skip
    """The results; None if it is compiled for others, or there may be a NaN that is looked for,
    which the steps will name."""
    given = program.given(captured)
    if given is None:
        return None
    for k, rows, low in program.lookups:
        check_index("index", inputs[k]._array, rows, IndexError, low)
    run = Run(
        program, [*map(array_of, inputs)], [*map(array_of, state)], given,
        steps, -1 if reverse else 1, every, ends, Told(names, mode.scope, began),
    )  # fmt: skip
    read = (*inputs, *state, *captured)
    keep = mode.recording and True in map(is_tracked, read)
    try:
        out = run.forward(keep)
    except MemoryError:
        raise
    except Exception:  # of somebody's op: done step by step, it says in which
        with recording(False):
            step_by_step(program.step, read, began, None, reverse=reverse, length=steps)
        raise
    if mode.anomaly and (doubtful([*out, *run.kept]) or watched(run, inputs, state, captured)):
        return None
    return list(scanned.several(tuple(out), read, {"run": run}))


def _inside(
    step: Steps, state: Any, inputs: Any, steps: int, reverse: bool, names: Any, roots: Any
) -> list[Tensor] | None:
    """The results of a scan in a step that is traced; None where it is to be written out."""
    around, made = mode.trace, _traced(step, inputs, state, names, roots)
    read, key = (*inputs, *state, *made.captured), ("inside", made.key())
    # The same object for all that do the same.
    program = caches.programs.recent(key) or caches.programs.agree(key, program_inside(made))
    if program.__class__ is not Program or all([x._array.__class__ is not Outline for x in read]):
        return None
    inner = Inner(program, steps, reverse, tuple(names))
    return list(around.record(within, read, {"scan": inner})[: len(made.results)])


def _shapes(state: Sequence[Tensor], inputs: Sequence[Tensor]) -> Any:
    return (
        tuple([(x._array.shape[1:], x._array.dtype, x.tracked) for x in inputs]),
        tuple(map(like_of, state)),
    )


def _check_repeats(
    program: Program, captured: Sequence[Tensor], began: int, again: Callable[[], Trace]
) -> None:
    """Refuse numbers that a step makes again each time it runs, if they are not always the same."""
    fresh = _made_since(began, captured)
    if fresh and not same_numbers(fresh, program.seen):
        if not same_numbers(fresh, _made_since(began, again().captured)):
            raise impure(MADE_ANEW)
        program.seen = [x.detach() for x in fresh]  # not what they came from


def _made_since(began: int, captured: Sequence[Tensor]) -> list[Tensor]:
    return [x for x in captured if x.born > began and not is_written(x)]


def _traced(
    step: Steps, inputs: Any, state: Any, names: Any, roots: Sequence[Any], past: Past | None = None
) -> Any:
    if past is None:
        xs = [at_one_time(x) for x in inputs]
        made = trace(step, xs, state, roots, loops=True, along=inputs)
    else:
        made = trace(step, inputs, state, roots, Again(past, [*inputs, *state]))
    for leaf, name in zip(made.leaves[len(inputs) :], names, strict=False):
        leaf.name = name
    return made


def _program(like: Any, again: Callable[..., Any]) -> tuple[Program | None, Sequence[Tensor]]:
    """The program of a step, and what it captures: known by what the step does, so that it can
    never be out of date. It is found sooner if that is what such a step did the last time."""
    past = caches.pasts.pop(like, None)  # ours alone until it is back
    made = again(past)
    if made.__class__ is Again:
        if past.references() == past.counts:  # nobody has kept a tensor of it
            caches.pasts.keep(like, past)
        return past.program, made.captured
    key = made.key()
    known = caches.programs.recent(key)
    if known is None:
        check_repeatable(made, again)
        try:
            known = program_of(Step(made))
            known.forward.compiled(len(known.step.ops))
        except Unsupported as reason:
            known = reason
            warn(reason)
        caches.programs.keep(key, known)
    elif made.done is not None and known.__class__ is Program:
        caches.pasts.keep(like, Past(made, known))
    return known if known.__class__ is Program else None, made.captured


def source(step: Steps, state: Sequence[Tensor], inputs: Sequence[Tensor]) -> str:
    """The text of both loops of a step."""
    made = _traced(step, inputs, state, (), ())
    try:
        return program_of(Step(made)).source
    except Unsupported as reason:
        raise ValueError(f"scan_source: {reason} has no compiled form") from None
