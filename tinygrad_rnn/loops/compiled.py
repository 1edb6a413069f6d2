"""A scan as one op: recognise the step, run its program, and differentiate it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import caches
from ..ops.shape import check_index
from ..tensor import Tensor, _births, mode
from .entry import Known, Steps, results_of, warn
from .nodes import Unsupported
from .program import Program, program_of
from .runtime import Run
from .scanned import scanned
from .trace import (
    Step,
    at_one_time,
    check_repeatable,
    is_written,
    same_numbers,
    trace,
    unrepeatable,
)  # fmt: skip


def compiled(
    step: Steps, state: Any, inputs: Any, steps: int, reverse: bool, every: Any, names: Any,
    roots: Sequence[Any], known: Known | None = None,
) -> list[Tensor] | None:  # fmt: skip
    """The results of a scan run as a loop; None where the step has no compiled form.

    `roots` are what may change something when the step is run: they are looked at before and after.
    `known`, if given, remembers what the step does.
    """
    began = next(_births)
    given = _given(state, inputs)
    again: Callable[[], Any] = lambda: _traced(step, inputs, state, names, roots)
    program, captured = _recalled(known, given)
    if program is None:
        made, results = again()
        program = _program(made, results, lambda: again()[0], len(inputs))
        if program is None:
            return None
        captured = made.captured
    _check_repeats(program, captured, began, lambda: again()[0])
    if known is not None and all(x in known.tensors or is_written(x) for x in captured):
        known.programs[given] = program, captured
    for k, rows in program.lookups:
        index = inputs[k]._array
        if index.dtype.kind == "i" and index.size and -rows <= index.min() < 0:
            return (
                None  # table[-1] counts from the end, and embedding refuses: the steps know which
            )
        check_index("index", index, rows, IndexError)
    run = Run(
        program, [x._array for x in inputs], [c._array for c in state],
        [x._array for x in captured], steps, -1 if reverse else 1, every,
    )  # fmt: skip
    run.names, run.scope, run.began = names, mode.scope, began
    read = (*inputs, *state, *captured)
    keep = mode.recording and any(x.tracked for x in read)
    out = run.forward(keep)
    return list(scanned.several(tuple(out), read, {"run": run}))


def _given(state: Sequence[Tensor], inputs: Sequence[Tensor]) -> Any:
    """What a step is given, in shapes: layers that share a step's code are told apart by it."""
    return (
        tuple([(x._array.shape[1:], x._array.dtype, x.tracked) for x in inputs]),
        tuple([(c._array.shape, c._array.dtype) for c in state]),
    )


def _check_repeats(program: Program, captured: Any, began: int, again: Any) -> None:
    """Refuse numbers that a step makes again each time it runs, if they are not always the same."""
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


def _recalled(known: Known | None, given: Any) -> tuple[Any, Any]:
    """The program of last time, if all that it captures is of the shapes that it was."""
    program, captured = (known.programs if known is not None else {}).get(given, (None, ()))
    same = program is not None and program.step.reads(captured)
    return (program, captured) if same else (None, None)


def _traced(step: Steps, inputs: Any, state: Any, names: Any, roots: Sequence[Any]) -> Any:
    leaves = [at_one_time(x) for x in inputs]
    made, new = trace(step, leaves, state, roots)
    results_of(0, state, new)
    for leaf, name in zip(made.leaves[len(leaves) :], names, strict=False):
        leaf.name = name
    made.end(new)
    return made, new


def _program(made: Any, results: Any, again: Any, inputs: int) -> Program | None:
    """The program of a trace: known by what the step does, so that it can never be out of date."""
    key = made.key(results, inputs)
    known = caches.programs.recent(key)
    if known is None:
        check_repeatable(made, again)
        try:
            known = program_of(Step(made, results, inputs))
            known.forward.compiled()
        except Unsupported as reason:
            known = reason
            warn(reason)
        caches.programs.keep(key, known)
    return None if isinstance(known, Unsupported) else known


def source(step: Steps, state: Sequence[Tensor], inputs: Sequence[Tensor]) -> str:
    """The text of both loops of a step."""
    made, results = _traced(step, inputs, state, (), ())
    try:
        return program_of(Step(made, results, len(inputs))).source
    except Unsupported as reason:
        raise ValueError(f"scan_source: {reason} has no compiled form") from None
