"""A layer folds cells over time, and knows lengths, masks, direction and stacking."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from ..data.lengths import check_lengths, check_mask
from ..ops import concat, stack, swapaxes, where
from ..ops import max as max_
from ..ops import sum as sum_
from ..refusals import worded
from ..tensor import Operand, Tensor, scope
from .cell import Folded, Part, Way, check_apart, check_part
from .init import Random, generator
from .layers import Dropout
from .module import Module, as_floats

State: TypeAlias = "tuple[tuple[Tensor, ...], ...]"
READOUTS = ("all", "last", "mean", "sum", "max")


class Recurrent(Module):
    """Cells folded over time, each reading the outputs of the one before.

    `ys, state = layer(xs, state)`: xs is (T, B, inputs), or (B, T, inputs) with `batch_first`, or
    (T, inputs) for one sequence, or a list of such of any lengths; ys has the last cell's outputs
    instead. `state` is one tuple per cell of its states, each (B, its size): pass it on to continue
    a sequence, None for zeros. With T = 0 the state is returned as it was.

    readout: "all" outputs, or one per row (B, outputs): the "last", or the "mean", "sum" or "max"
    over the steps that count. pad: what outputs are at steps that do not count, "zero", or "hold"
    the one before. reverse: from the last step to the first. `dropout` cuts what goes into each
    cell from below, again at every step, never the state (S25; Zaremba et al. 2014): one rate, or
    one for each cell. The cells run as compiled loops (see `tg.scan`, also for `checkpoint`);
    `unroll` records every step, for looking at. `share`: one and the same cell may stand in several
    places, with one set of weights.

    Raises ValueError for shapes that do not fit and TypeError for inputs that are not floats.

    >>> layer = tg.nn.Recurrent(tg.nn.LSTM(3, 8, rng=0), tg.nn.GRU(8, 4, rng=1), readout="last")
    >>> y, state = layer(np.ones((5, 2, 3), np.float32), lengths=[5, 2])
    >>> y.shape, [len(of_cell) for of_cell in state]
    ((2, 4), [2, 1])
    """

    _conventions = ("reverse",)
    cells: list[Any]
    batch_first: bool
    readout: str
    pad: str
    reverse: bool
    checkpoint: str | int | None
    unroll: bool
    dropout: list[Dropout]

    def __init__(
        self,
        *cells: Part,
        batch_first: bool = False,
        dropout: float | Sequence[float] = 0.0,
        readout: str = "all",
        pad: str = "zero",
        reverse: bool = False,
        checkpoint: str | int | None = None,
        unroll: bool = False,
        share: bool = False,
        rng: Random = None,
    ):
        _check_cells(cells)
        check_apart("Recurrent", cells, share)
        for word, given, known in (("readout", readout, READOUTS), ("pad", pad, ("zero", "hold"))):
            if given not in known:
                raise ValueError(f"Recurrent: {word}: expected one of {known}, got {given!r}")
        rates: list[Any] = (
            list(dropout) if isinstance(dropout, list | tuple) else [dropout] * len(cells)
        )
        if len(rates) != len(cells):
            raise ValueError(
                f"Recurrent: dropout: expected one rate, or one for each of {len(cells)} cells, "
                f"got {len(rates)}"
            )
        rng = generator(self, rng) if any(rates) else None
        vars(self).update(  # at once and unchecked: a cell that is called makes one of these
            cells=list(cells), batch_first=batch_first, readout=readout, pad=pad, reverse=reverse,
            checkpoint=checkpoint, unroll=unroll, dropout=[Dropout(p, rng=rng) for p in rates],
        )  # fmt: skip

    @worded("layer")
    def __call__(
        self,
        xs: Any,
        state: Sequence[Sequence[Operand]] | None = None,
        *,
        lengths: Any = None,
        mask: Any = None,
        reset: Any = None,
        return_states: bool = False,
        return_gates: bool = False,
    ) -> Any:
        """`ys, state`, and then, if asked for, every state and every gate.

        lengths: how many steps of each row count, whole numbers (B,) in any order, 0 too; or mask:
        which, bools (T, B), with gaps if need be. Steps that do not count leave the state alone,
        whatever stands in xs there, and the state returned is that after each row's last. reset:
        bools (T, B), where a row begins again with step t, or the next that counts. With
        `batch_first`, (B, T).

        return_states: a dict for each cell of all its states, such as "c", (T, B, size).
        return_gates: likewise, of what its step names with `nn.gates`.
        """
        if _is_ragged(xs):
            return self._ragged(xs, state, lengths, mask, reset, return_states, return_gates)
        x = self._check_inputs(xs)
        single = x.ndim == 2
        if single:
            x = x.reshape(len(x), 1, x.shape[1])
        elif self.batch_first:
            x = swapaxes(x, axis1=0, axis2=1)
        swap = self.batch_first and not single
        way = Way(
            _flags("mask", _valid(lengths, mask, x, swap, single)),
            _flags("reset", _marked("reset", reset, x, swap, single)),
            self.reverse, return_gates, self.checkpoint, self.unroll,
        )  # fmt: skip
        layers = self._folded(x, self._check_state(state, x.shape[1], single), way)
        whole = lambda y: y[:, 0] if single else swapaxes(y, axis1=0, axis2=1) if swap else y
        y = self._read_out(layers[-1], way)
        answer: list[Any] = [
            whole(y) if self.readout == "all" else y[0] if single else y,
            tuple(tuple(s[0] if single else s for s in layer.end) for layer in layers),
        ]
        for wanted, found in (
            (return_states, [layer.states for layer in layers]),
            (return_gates, [layer.gates for layer in layers]),
        ):
            if wanted:
                answer.append([{k: whole(v) for k, v in of.items()} for of in found])
        return tuple(answer)

    def _folded(self, x: Tensor, begin: Sequence[Sequence[Tensor]], way: Way) -> list[Folded]:
        layers = []
        for k, cell in enumerate(self.cells):
            with scope(f"layer{k}"):
                if way.valid is not None and self.dropout[k].draws:
                    x = where(way.valid, x, 0)  # whatever stands there, inf · 0 too
                layers.append(cell.folded(self.dropout[k](x), begin[k], way))
                if k + 1 < len(self.cells):
                    x = layers[-1].read("raw")
        return layers

    def _read_out(self, layer: Folded, way: Way) -> Tensor:
        if self.readout == "all":
            return layer.read(self.pad)
        if self.readout == "last":
            return layer.read("last")
        ys = layer.read("zero")
        if self.readout == "max":
            return _largest(ys, way.valid)
        total = sum_(ys, axis=0)
        if self.readout == "sum":
            return total
        count = len(ys) if way.valid is None else way.valid.data.sum(0)
        return total / np.maximum(count, 1).astype(ys.dtype)

    # -- what is given -----------------------------------------------------------------------------

    def _check_inputs(self, xs: Any) -> Tensor:
        inputs = self.cells[0].inputs
        xs = as_floats("Recurrent", "xs", xs, self.cells[0].dtype)
        layout = "(B, T, inputs)" if self.batch_first else "(T, B, inputs)"
        if xs.ndim not in (2, 3) or xs.shape[-1] != inputs:
            raise ValueError(
                f"Recurrent: xs: expected {layout} or (T, inputs) with inputs = {inputs}, got "
                f"shape {xs.shape} (batch_first={self.batch_first})"
            )
        return xs

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
        wanted = [(size,) if single else (batch, size) for size in cell.sizes]
        names = ", ".join(cell.state) + "," * (len(cell.state) == 1)
        if not isinstance(state, tuple | list):
            is_array = isinstance(state, Tensor | np.ndarray)
            got = f"one tensor of shape {state.shape}" if is_array else type(state).__name__
            raise (ValueError if is_array else TypeError)(
                f"Recurrent: state of cell {k}: expected the tuple ({names}), got {got}"
            )
        tensors = [
            as_floats("Recurrent", name, s, cell.dtype)
            for name, s in zip(cell.state, state, strict=False)
        ]
        shapes = [np.shape(s) for s in state]
        if shapes != wanted:
            each = f"shape {wanted[0]} each" if len(set(wanted)) == 1 else f"shapes {wanted}"
            raise ValueError(
                f"Recurrent: state of cell {k}: expected ({names}) of {each}, for a "
                f"batch of {batch}, got shapes {shapes}. A state has no time axis, and comes from "
                f"a sequence of the same batch size (batch_first={self.batch_first})."
            )
        return tuple(s.reshape(1, -1) if single else s for s in tensors)

    def _ragged(self, xs: Any, state: Any, lengths: Any, mask: Any, *more: Any) -> Any:
        """A list of sequences as one padded batch; outputs for each step are returned as a list."""
        if lengths is not None or mask is not None:
            raise ValueError(
                "Recurrent: a list of sequences has lengths of its own: give no others"
            )
        tensors = [self._check_inputs(x) for x in xs]
        own = [len(x) for x in tensors]
        padded = stack([_lengthened(x, max(own)) for x in tensors], axis=int(not self.batch_first))
        ys, *rest = self(
            padded, state, lengths=own, reset=more[0], return_states=more[1], return_gates=more[2]
        )
        if self.readout == "all":
            ys = [ys[b, :n] if self.batch_first else ys[:n, b] for b, n in enumerate(own)]
        return (ys, *rest)


def alone(part: Part, xs: Any, state: Any, how: dict[str, Any]) -> Any:
    """One part as a layer of its own, without the tuples around tuples."""
    making = {k: how.pop(k) for k in list(how) if k in MAKING}
    if making:
        layer = Recurrent(part, **making)
        for dropout in layer.dropout:
            vars(dropout)["training"] = part.training
    else:
        part.check()
        layer = object.__new__(Recurrent)
        vars(layer).update(PLAIN, cells=[part])
    ys, states, *more = layer(xs, None if state is None else (state,), **how)
    return (ys, states[0], *[found[0] for found in more])


MAKING = {
    name: p.default
    for name, p in inspect.signature(Recurrent.__init__).parameters.items()
    if p.kind is p.KEYWORD_ONLY
}
PLAIN = {**MAKING, "dropout": [Dropout(0.0)]}  # a layer with nothing asked for, made at each call
del PLAIN["share"], PLAIN["rng"]


def _check_cells(cells: Sequence[Any]) -> None:
    if not cells:
        raise ValueError("Recurrent: expected at least one cell, such as nn.LSTM(64, 128)")
    for k, cell in enumerate(cells):
        check_part("Recurrent", f"cell {k}", cell, Part)
    for k, (below, above) in enumerate(pairwise(cells)):
        if above.inputs != below.outputs:
            raise ValueError(
                f"Recurrent: cell {k + 1} expects {above.inputs} inputs, but cell {k} gives "
                f"{below.outputs}"
            )


# -- lengths, masks and lists --------------------------------------------------------------------


def _is_ragged(xs: Any) -> bool:
    if not isinstance(xs, list | tuple) or not all(isinstance(x, Tensor | np.ndarray) for x in xs):
        return False
    ragged = len(xs) > 0 and all(x.ndim == 2 for x in xs)
    if not ragged and len(shapes := {x.shape for x in xs}) > 1:
        raise ValueError(
            f"Recurrent: xs: expected a list of sequences (T, inputs), got shapes {sorted(shapes)}"
        )
    return ragged


def _lengthened(x: Tensor, steps: int) -> Tensor:
    if len(x) == steps:
        return x
    return concat([x, np.zeros((steps - len(x), x.shape[1]), x.dtype)])


def _valid(lengths: Any, mask: Any, x: Tensor, swap: bool, single: bool) -> np.ndarray | None:
    """Return which steps count, (T, B), or None if all do."""
    steps, batch, _ = x.shape
    if lengths is not None and mask is not None:
        raise ValueError("Recurrent: expected lengths or a mask, got both")
    if lengths is None:
        return _marked("mask", mask, x, swap, single)
    if single and np.ndim(lengths) == 0:
        lengths = [lengths]
    try:
        own = check_lengths("Recurrent", lengths, steps, batch)
    except ValueError as error:
        if np.shape(lengths) == (steps,) != (batch,):  # one for each step: the axes are swapped
            raise ValueError(
                f"{error}. xs is read as T={steps}, B={batch}: give batch_first={not swap} if it "
                f"is the other way round."
            ) from None
        raise
    return np.arange(steps)[:, None] < own


def _marked(word: str, given: Any, x: Tensor, swap: bool, single: bool) -> np.ndarray | None:
    if given is None:
        return None
    given = np.asarray(given.data if isinstance(given, Tensor) else given)
    given = given[:, None] if single and given.ndim == 1 else given.T if swap else given
    return check_mask("Recurrent", given, x.shape[0], x.shape[1], word)


def _flags(name: str, marked: np.ndarray | None) -> Tensor | None:
    return None if marked is None else Tensor(marked[:, :, None], name=name)


def _largest(ys: Tensor, valid: Tensor | None) -> Tensor:
    """The largest over the steps that count; 0 where none does."""
    if valid is None:
        return max_(ys, axis=0) if len(ys) else sum_(ys, axis=0)
    some = valid.data.any(0)
    if not len(ys):
        return sum_(ys, axis=0)
    return where(some, max_(where(valid, ys, np.asarray(-np.inf, ys.dtype)), axis=0), 0)
