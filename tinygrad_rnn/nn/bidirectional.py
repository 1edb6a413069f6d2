"""Two cells over one sequence: from its beginning, and from its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ops import concat
from ..tensor import Tensor, scope
from .cell import Cell, Folded, Part, Way, check_apart, check_part, masked

MERGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "concat": lambda f, b: concat([f, b], axis=-1),
    "sum": lambda f, b: f + b,
    "mul": lambda f, b: f * b,
    "mean": lambda f, b: (f + b) * 0.5,
}


class Bidirectional(Part):
    """What two cells say of each step, one having read what is before it, one what is after (S11).

    merge: "concat" (outputs of both sizes), "sum", "mul", "mean", or a function of the two, which
    may be of any sizes; where neither cell has read anything, what it gives is not taken. The
    backward cell starts at each row's own last valid step, and its outputs stand where they belong.
    Its final state is that after step 0, and `readout="last"` merges each direction's own last
    output. States go by "forward h", ..., "backward h", ... in one flat tuple. Schuster & Paliwal
    1997.

    Raises ValueError for cells that do not fit together, and for one and the same cell twice
    unless `share` says that it is meant.

    >>> layer = tg.nn.Bidirectional(tg.nn.GRU(3, 4, rng=0), tg.nn.GRU(3, 4, rng=1))
    >>> ys, state = layer(np.ones((5, 2, 3), np.float32))
    >>> ys.shape
    (5, 2, 8)
    """

    _conventions = ("merge",)

    def __init__(
        self, forward: Cell, backward: Cell, *,
        merge: str | Callable[[Tensor, Tensor], Tensor] = "concat", share: bool = False,
    ):  # fmt: skip
        for name, cell in (("forward", forward), ("backward", backward)):
            check_part("Bidirectional", name, cell)
        check_apart("Bidirectional", (forward, backward), share)
        if forward.inputs != backward.inputs or forward.dtype != backward.dtype:
            raise ValueError(
                "Bidirectional: expected two cells that read the same, got "
                f"{forward.inputs} inputs of {forward.dtype} and {backward.inputs} of "
                f"{backward.dtype}"
            )
        if not callable(merge) and merge not in MERGES:
            raise ValueError(
                f"Bidirectional: merge: expected one of {list(MERGES)} or a function, got {merge!r}"
            )
        if merge in ("sum", "mul", "mean") and forward.outputs != backward.outputs:
            raise ValueError(
                f"Bidirectional: merge={merge!r} needs outputs of one size, got {forward.outputs} "
                f"and {backward.outputs}; use merge='concat'"
            )
        self.forward, self.backward = forward, backward
        self.inputs, self.dtype, self.merge = forward.inputs, forward.dtype, merge

    @property
    def state(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names of the states of both."""
        return tuple(f"{way} {name}" for way, cell in self._ways() for name in cell.state)

    @property
    def sizes(self) -> tuple[int, ...]:
        return (*self.forward.sizes, *self.backward.sizes)

    @property
    def outputs(self) -> int:
        ways = [np.zeros((1, cell.outputs), self.dtype) for _, cell in self._ways()]
        return self._merged(*map(Tensor, ways)).shape[-1]

    @property
    def hidden(self) -> int:  # type: ignore[override]
        """The width of an output, as of a cell."""
        return self.outputs

    @property
    def _merged(self) -> Callable[[Tensor, Tensor], Tensor]:
        return self.merge if callable(self.merge) else MERGES[self.merge]

    def _ways(self) -> tuple[tuple[str, Cell], ...]:
        return ("forward", self.forward), ("backward", self.backward)

    def begin(self, batch: int) -> tuple[Tensor, ...]:
        return (*self.forward.begin(batch), *self.backward.begin(batch))

    def _fold(self, xs: Tensor, state: Sequence[Tensor], way: Way) -> Folded:
        cut = len(self.forward.state)
        with scope("forward"):
            f = self.forward._fold(xs, state[:cut], way)
        with scope("backward"):
            b = self.backward._fold(xs, state[cut:], way._replace(reverse=not way.reverse))
        merged = self._merged

        def read(how: str) -> Tensor:
            # A function's gradient may be 0 · inf where nothing counts: a choice keeps it there.
            inner = "zero" if how == "raw" and callable(self.merge) else how
            y = merged(f.read(inner), b.read(inner))
            if how == "raw" or not callable(self.merge) or (way.valid is None and len(xs)):
                return y
            # A function may make something of nothing: 0 where neither has read anything.
            none = np.zeros((*xs.shape[:2], 1), bool)
            valid = none if way.valid is None else way.valid.data
            some = valid if how == "zero" else valid.any(0)  # at all times, if one is held
            return masked(np.broadcast_to(some, valid.shape) if how == "hold" else some, y)

        return Folded(
            read,
            (*f.end, *b.end),
            _both(f.states, b.states),
            _both(f.gates, b.gates),
        )


def _both(forward: dict[str, Any], backward: dict[str, Any]) -> dict[str, Any]:
    named = (("forward", forward), ("backward", backward))
    return {f"{way} {name}": x for way, found in named for name, x in found.items()}
