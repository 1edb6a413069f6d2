"""A scan as a node of the graph: its derivative, and its steps, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..grad import pullback
from ..op import Op, pick
from ..ops import reshape
from ..quiet import quiet
from ..tensor import Tensor, _Switch, is_tracked, mode, owned, recording
from .entry import last_of, unroll, warn
from .nodes import Unsupported
from .trace import Step, is_written, surroundings


class Scan(Op):
    """A whole loop as one op: `run` in its attributes holds what it kept for its derivative."""

    def __init__(self) -> None:
        super().__init__(_scan, [_scan], variadic=True)

    def several(self, out: tuple[Any, ...], inputs: Any, attrs: Any) -> tuple[Tensor, ...]:
        """The node of the loop knows what its results are like: it does not hold on to them."""
        whole, found = self._remember(attrs["run"].outlines, inputs, attrs), []
        for i, y in enumerate(out):
            found.append(pick._remember(y, (whole,), {"i": i}))
        return tuple(found)

    def pull(self, g: Any, y: Tensor, wanted: set[Tensor] | None = None) -> list[Any]:
        run = y.attrs["run"]
        if mode.recording:
            return pull_unrolled(g, y, expand)
        if run.program.step.around:
            check_surroundings(run.program.step)
        try:
            asked = map(is_tracked if wanted is None else wanted.__contains__, y.inputs)
            gs = map(g.get, range(len(run.program.step.results)))
            found: list[Any] = run.backward([*gs], [*asked])
            if not (mode.anomaly and doubtful(found)):
                return found
        except Unsupported as reason:
            warn(f"the derivative of {reason}")
        return pull_unrolled(g, y, expand)


@quiet
def doubtful(arrays: Sequence[Any]) -> bool:
    """Whether there may be a NaN in one of these: their sum is NaN then."""
    return any([a is not None and a.dtype.kind == "f" and np.isnan(a.sum()) for a in arrays])


def check_surroundings(step: Step) -> None:
    """Refuse to differentiate somebody's op that reads other things than in the forward pass."""
    for x, around in step.around.items():
        if surroundings(x.op) != around:
            raise RuntimeError(
                f"{x.op.name}: something that it reads besides its inputs was changed between the "
                "forward pass and the backward pass, so the gradient would mix old and new. Give "
                "it as an attribute or an input, or call backward() before it changes."
            )


def _scan(*inputs: Any, run: Any) -> Any:
    """A step folded over time, in one compiled loop."""
    raise NotImplementedError


scanned = Scan()


def pull_unrolled(g: Any, y: Tensor, again: Any) -> list[Any]:
    """The long way round: the steps one by one, so that what is done has a history of its own."""
    with recording(True):
        inputs = [reshape(x, shape=x.shape) if x.tracked else x for x in y.inputs]
        results = again(y, inputs)
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
    with _Switch(recording=True, scope=run.told.scope):
        results = step_by_step(
            run.program.step, inputs, run.told.began, do,
            reverse=run.way < 0, length=run.length, names=run.told.names,
        )  # fmt: skip
        return last_of(results, run.ends, run.way < 0)


def step_by_step(step: Step, inputs: Any, began: float, do: Any, **how: Any) -> list[Tensor]:
    """`unroll` of a step that is known, on (xs, carry, captured)."""
    count, carried = len(step.xs), len(step.carry)
    captured = inputs[count + carried :]

    def one(*leaves: Tensor) -> tuple[Tensor, ...]:
        return step.run([*leaves, *[_anew(x, began) for x in captured]], do)

    return unroll(one, inputs[count : count + carried], tuple(inputs[:count]) or None, **how)


def _anew(x: Tensor, began: float) -> Tensor:
    """A number that the step itself mentions is another tensor at each step."""
    mentioned = x.op is None and (x.born > began or is_written(x))
    return owned(x._array) if mentioned and not x.tracked and not x.name else x
