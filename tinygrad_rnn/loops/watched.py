"""A loop like another that says where it meets a NaN, for `detect_anomaly`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..op import Op, has_nan
from ..ops import astype, isnan
from ..ops import sum as total
from ..tensor import Tensor, _Switch
from .entry import fold


def watched(run: Any, xs: Any, carry: Any, captured: Sequence[Tensor]) -> bool:
    """Whether an op of a loop gives a NaN at some step, also one that the step leaves out again.

    xs, carry and captured are what it reads. A scan in the step is looked at from outside.
    """
    if any(has_nan(x._array) for x in captured if x.born > run.told.began):
        return True  # what the step computes is the same at all steps, and is done
    step, rows = run.program.step, carry[0].shape[:1] if carry else ()

    def looked_at(*leaves: Tensor) -> list[Tensor]:
        counts: list[Tensor] = []

        def do(op: Op, inputs: Sequence[Tensor], attrs: Any, _: Any) -> Any:
            answer = op(*inputs, **attrs)
            for y in answer if isinstance(answer, tuple) else (answer,):
                if y.dtype.kind == "f":
                    axes = tuple(range(int(y.shape[:1] == rows), y.ndim))
                    counts.append(total(astype(isnan(y), dtype=float), axis=axes))
            return answer

        results = step.run([*leaves, *captured], do)
        return [*results[: len(carry)], *[sum(counts[1:], counts[0])] * bool(counts)]

    with _Switch(anomaly=False, recording=False):
        way = {"reverse": run.way < 0, "length": run.length}
        made = fold(looked_at, tuple(carry), tuple(xs) or None, roots=(), **way)
    return any(bool(y._array.any()) for y in made[len(carry) :])
