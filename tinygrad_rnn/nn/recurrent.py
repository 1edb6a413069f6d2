"""A cell is one step of a recurrence; a layer folds cells over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from ..ops import swapaxes
from ..ops.shape import take
from ..scan import fold
from ..tensor import Operand, Tensor, scope
from .init import Random
from .layers import Dropout
from .module import Module, as_floats

State: TypeAlias = "tuple[tuple[Tensor, ...], ...]"


class Cell(Module):
    """One step of a recurrence: `step(x, *state)` returns the new state.

    To write your own, set `inputs` and `hidden`, name the `state`, and write `step`; the first
    state is also the output. Nothing is hidden in a cell between calls. Calling a cell folds it
    over a sequence (see `Recurrent`): `ys, state = cell(xs)`.
    """

    state: tuple[str, ...] = ("h",)
    inputs: int
    hidden: int
    dtype: Any = np.float32

    def step(self, x: Tensor, *state: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The state after seeing x (B, inputs), each state (B, hidden)."""
        raise NotImplementedError(f"{type(self).__name__} has no step(x, {', '.join(self.state)})")

    def begin(self, batch: int) -> tuple[Tensor, ...]:
        """The state before the first step: zeros (batch, hidden)."""
        zeros = np.zeros((batch, self.hidden), self.dtype)
        return tuple(Tensor(zeros, name=f"{name}0") for name in self.state)

    def __call__(
        self,
        xs: Operand,
        state: Any = None,
        *,
        batch_first: bool = False,
        checkpoint: str | int | None = None,
        unroll: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Every output and the last state, of this cell folded over `xs`; see `Recurrent`."""
        layer = Recurrent(self, batch_first=batch_first, checkpoint=checkpoint, unroll=unroll)
        ys, states = layer(xs, None if state is None else (state,))
        return ys, states[0]


class Recurrent(Module):
    """Cells folded over time, each reading the outputs of the one before.

    `ys, state = layer(xs, state)`: xs is (T, B, inputs), or (B, T, inputs) with `batch_first`, or
    (T, inputs) for one sequence; ys has the last cell's hidden size instead. `state` is one tuple
    per cell of its states, each (B, hidden): pass it on to continue a sequence, None for zeros.
    With T = 0 the state comes back as it was. `dropout` cuts what goes into each cell from below,
    anew at every step, never the state (S25; Zaremba et al. 2014). The cells run as compiled loops
    (see `tg.scan`, also for `checkpoint`); `unroll` records every step, for looking at.

    Raises ValueError for shapes that do not fit and TypeError for inputs that are not floats.
    """

    def __init__(
        self,
        *cells: Cell,
        batch_first: bool = False,
        dropout: float = 0.0,
        checkpoint: str | int | None = None,
        unroll: bool = False,
        rng: Random = None,
    ):
        if not cells:
            raise ValueError("Recurrent: expected at least one cell, such as nn.LSTM(64, 128)")
        for k, cell in enumerate(cells):
            if not isinstance(cell, Cell):
                raise TypeError(f"Recurrent: cell {k}: expected a Cell, got {type(cell).__name__}")
            if not hasattr(cell, "inputs") or not hasattr(cell, "hidden"):
                raise TypeError(
                    f"{type(cell).__name__}: set self.inputs and self.hidden in __init__"
                )
        for k, (below, above) in enumerate(pairwise(cells)):
            if above.inputs != below.hidden:
                raise ValueError(
                    f"Recurrent: cell {k + 1} expects {above.inputs} inputs, but cell {k} gives "
                    f"{below.hidden}"
                )
        self.cells, self.batch_first = list(cells), batch_first
        self.checkpoint, self.unroll = checkpoint, unroll
        self.dropout = Dropout(dropout, rng=rng)

    def __call__(
        self, xs: Operand, state: Sequence[Sequence[Operand]] | None = None
    ) -> tuple[Tensor, State]:
        """Every output of the last cell, and the last states of all: shapes as above."""
        x = self._check_inputs(xs if isinstance(xs, Tensor) else Tensor(xs))
        single = x.ndim == 2
        if single:
            x = x.reshape(len(x), 1, x.shape[1])
        elif self.batch_first:
            x = swapaxes(x, axis1=0, axis2=1)
        begin = self._check_state(state, x.shape[1], single)
        end = []
        for k, cell in enumerate(self.cells):
            with scope(f"layer{k}"):
                path = fold(
                    cell.step, begin[k], self.dropout(x), names=cell.state,
                    checkpoint=self.checkpoint, unrolled=self.unroll,
                )  # fmt: skip
            end.append(tuple([take(p, index=(-1,)) for p in path]) if len(x) else begin[k])
            x = path[0]
        if single:
            return x[:, 0], tuple(tuple(s[0] for s in states) for states in end)
        return swapaxes(x, axis1=0, axis2=1) if self.batch_first else x, tuple(end)

    def _check_inputs(self, xs: Tensor) -> Tensor:
        inputs = self.cells[0].inputs
        layout = "(B, T, inputs)" if self.batch_first else "(T, B, inputs)"
        if xs.ndim not in (2, 3) or xs.shape[-1] != inputs:
            raise ValueError(
                f"Recurrent: xs: expected {layout} or (T, inputs) with inputs = {inputs}, got "
                f"shape {xs.shape} (batch_first={self.batch_first})"
            )
        return as_floats("Recurrent", "xs", xs, self.cells[0].dtype)

    def _check_state(self, state: Any, batch: int, single: bool) -> list[tuple[Tensor, ...]]:
        if state is None:
            return [cell.begin(batch) for cell in self.cells]
        if not isinstance(state, tuple | list) or len(state) != len(self.cells):
            got = len(state) if isinstance(state, tuple | list) else type(state).__name__
            kind = ValueError if isinstance(state, tuple | list | Tensor) else TypeError
            raise kind(
                f"Recurrent: state: expected a tuple with one tuple for each of "
                f"{len(self.cells)} cells, got {got}"
            )
        return [self._check_cell_state(k, own, batch, single) for k, own in enumerate(state)]

    def _check_cell_state(self, k: int, state: Any, batch: int, single: bool) -> tuple[Tensor, ...]:
        cell = self.cells[k]
        shape = (cell.hidden,) if single else (batch, cell.hidden)
        names = ", ".join(cell.state) + "," * (len(cell.state) == 1)
        if isinstance(state, Tensor):
            raise ValueError(
                f"Recurrent: state of cell {k}: expected the tuple ({names}), got one tensor of "
                f"shape {state.shape}"
            )
        tensors = [
            as_floats("Recurrent", name, s, cell.dtype)
            for name, s in zip(cell.state, state, strict=False)
        ]
        shapes = [np.shape(s) for s in state]
        if shapes != [shape] * len(cell.state):
            raise ValueError(
                f"Recurrent: state of cell {k}: expected ({names}) of shape {shape} each, for a "
                f"batch of {batch}, got shapes {shapes}. A state has no time axis, and comes from "
                f"a sequence of the same batch size (batch_first={self.batch_first})."
            )
        return tuple(s.reshape(1, -1) if single else s for s in tensors)
