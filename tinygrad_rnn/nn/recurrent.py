"""A layer folds cells over time, and knows lengths, masks, direction and stacking."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np

from ..lengths import check_lengths, check_mask, plain
from ..limits import flag, one_of
from ..ops import concat, stack, swapaxes, where
from ..ops import max as max_
from ..ops import sum as sum_
from ..randomness import Random, given
from ..refusals import worded
from ..tensor import Operand, Tensor, scope
from .cell import Folded, Part, Way, check_apart, check_part, masked, over
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

    Raises ValueError for shapes that do not fit and TypeError for tensors of another dtype.

    >>> layer = tg.nn.Recurrent(tg.nn.LSTM(3, 8, rng=0), tg.nn.GRU(8, 4, rng=1), readout="last")
    >>> y, state = layer(np.ones((5, 2, 3), np.float32), lengths=[5, 2])
    >>> y.shape, [len(of_cell) for of_cell in state]
    ((2, 4), [2, 1])
    """

    _conventions = ("reverse",)

    def __init__(
        self, *cells: Part, batch_first: bool = False, dropout: float | Sequence[float] = 0.0,
        readout: str = "all", pad: str = "zero", reverse: bool = False,
        checkpoint: str | int | None = None, unroll: bool = False, share: bool = False,
        rng: Random = None,
    ):  # fmt: skip
        _check_cells(cells)
        check_apart("Recurrent", cells, share)
        one_of("Recurrent", "readout", readout, READOUTS)
        one_of("Recurrent", "pad", pad, ("zero", "hold"))
        rates: list[Any] = (
            list(dropout) if isinstance(dropout, list | tuple) else [dropout] * len(cells)
        )
        if len(rates) != len(cells):
            raise ValueError(
                f"Recurrent: dropout: expected one rate, or one for each of {len(cells)} cells, "
                f"got {len(rates)}"
            )
        rng = given(self, rng)
        self.cells: list[Any] = list(cells)
        self.batch_first = flag("Recurrent", "batch_first", batch_first)
        self.reverse = flag("Recurrent", "reverse", reverse)
        self.readout, self.pad = readout, pad
        self.checkpoint, self.unroll = checkpoint, flag("Recurrent", "unroll", unroll)
        self.dropout = [Dropout(p, rng=rng) for p in rates]

    @worded("layer", "Recurrent")
    def __call__(
        self, xs: Any, state: Sequence[Sequence[Operand]] | None = None, *, lengths: Any = None,
        mask: Any = None, reset: Any = None, return_states: bool = False,
        return_gates: bool = False,
    ) -> Any:  # fmt: skip
        """`ys, state`, and then, if asked for, every state and every gate.

        lengths: how many steps of each row count, whole numbers (B,) in any order, 0 too; or mask:
        which, bools (T, B), with gaps if need be. Steps that do not count leave the state alone,
        whatever stands in xs there, and the state returned is that after each row's last. reset:
        bools (T, B), where a row begins again with step t, or the next that counts. With
        `batch_first`, (B, T).

        return_states: a dict for each cell of all its states, such as "c", (T, B, size).
        return_gates: likewise, of what its step names with `nn.gates`.
        """
        asked = lengths, mask, reset, return_states, return_gates
        return run(self.cells, self, xs, state, *asked)


def alone(part: Part, xs: Any, state: Any, how: dict[str, Any]) -> Any:
    """One part as a layer of its own, without the tuples around tuples."""
    layer = PLAIN
    if how and (making := {k: how.pop(k) for k in list(how) if k in MAKING}):
        layer = Recurrent(part, **making)
        for dropout in layer.dropout:
            dropout.training = part.training
    else:
        part._check()
    ys, states, *more = run([part], layer, xs, None if state is None else (state,), **how)
    return (ys, states[0], *(found[0] for found in more)) if more else (ys, states[0])


MAKING = {
    name: p.default
    for name, p in inspect.signature(Recurrent.__init__).parameters.items()
    if p.kind is p.KEYWORD_ONLY
}
SETTINGS = {k: v for k, v in MAKING.items() if k not in ("dropout", "share", "rng")}
PLAIN: Any = SimpleNamespace(**SETTINGS, dropout=())  # a layer of which nothing is asked


@worded("layer", "Recurrent")
def run(
    parts: Sequence[Part], how: Any, xs: Any, state: Any, lengths: Any = None, mask: Any = None,
    reset: Any = None, return_states: bool = False, return_gates: bool = False
) -> Any:  # fmt: skip
    """What a call of `Recurrent` returns: parts folded one after another, as the layer says."""
    xs, own = _padded(parts[0], xs, how.batch_first)
    if own is not None and (lengths is not None or mask is not None):
        raise ValueError("Recurrent: a list of sequences has lengths of its own: give no others")
    x = _check_inputs(parts[0], xs, how.batch_first)
    single, swap = x.ndim == 2, how.batch_first and x.ndim == 3
    if single or swap:
        x = x.reshape(len(x), 1, x.shape[1]) if single else swapaxes(x, axis1=0, axis2=1)
    valid = _valid(lengths if own is None else own, mask, x, swap, single)
    begins = _marked("reset", reset, x, swap, single)
    way = Way(valid, begins, how.reverse, return_gates, how.checkpoint, how.unroll,
              return_states)  # fmt: skip
    begin = _check_states(parts, state, x.shape[1], single, how)
    layers = []
    for k, part in enumerate(parts):
        with scope(f"layer{k}"):
            if how.dropout and how.dropout[k].draws:
                if valid is not None:
                    x = where(valid, x, 0)  # whatever stands there, inf · 0 too
                x = how.dropout[k](x)
            if k + 1 == len(parts) and how.readout == "last":
                way = way._replace(last=True)
            layers.append(part._fold(x, begin[k], way))
            if k + 1 < len(parts):
                x = layers[-1].read("raw")

    def whole(y: Tensor) -> Tensor:
        if y.ndim < 2:  # a number for each step
            return y
        return y[:, 0] if single else swapaxes(y, axis1=0, axis2=1) if swap else y

    ys: Any = _read_out(layers[-1], how, valid)
    ys = whole(ys) if how.readout == "all" else ys[0] if single else ys
    if own is not None and how.readout == "all":
        ys = [ys[b, :n] if swap else ys[:n, b] for b, n in enumerate(own)]
    answer = [ys, tuple([tuple([s[0] for s in of.end]) if single else of.end for of in layers])]
    if return_states:
        answer.append([{k: whole(v) for k, v in of.states.items()} for of in layers])
    if return_gates:
        answer.append([{k: whole(v) for k, v in of.gates.items()} for of in layers])
    return tuple(answer)


def _read_out(layer: Folded, how: Any, valid: Tensor | None) -> Tensor:
    if how.readout in ("all", "last"):
        return layer.read(how.pad if how.readout == "all" else "last")
    ys = layer.read("zero")
    if how.readout == "max" and len(ys):
        if valid is None:
            return max_(ys, axis=0)
        least = False if ys.dtype.kind == "b" else -np.inf
        least = np.iinfo(ys.dtype).min if ys.dtype.kind in "iu" else least
        most = max_(where(over(valid, ys), ys, np.asarray(least, ys.dtype)), axis=0)
        return masked(valid.data.any(0), most)
    wide = ys.dtype == np.float32  # in float64 one by one, zeros behind the end do not count
    total = sum_(ys.astype(np.float64), axis=0).astype(np.float32) if wide else sum_(ys, axis=0)
    if how.readout != "mean":
        return total
    count: Any = len(ys) if valid is None else over(valid.data.sum(0), total)
    return total / np.maximum(count, 1).astype(total.dtype)


# -- what is given --------------------------------------------------------------------------------


def batch_of(part: Part, xs: Any, batch_first: bool = False) -> int | None:
    """How many rows a call with these inputs has; None of one sequence, which has no such axis."""
    x = _check_inputs(part, _padded(part, xs, batch_first)[0], batch_first)
    return x.shape[not batch_first] if x.ndim == 3 else None


def _check_inputs(part: Part, xs: Any, batch_first: bool) -> Tensor:
    xs = as_floats("Recurrent", "xs", xs, part.reads or part.dtype)
    if xs.ndim not in (2, 3) or xs.shape[-1] != part.inputs:
        layout = "(B, T, inputs)" if batch_first else "(T, B, inputs)"
        raise ValueError(
            f"Recurrent: xs: expected {layout} or (T, inputs) with inputs = {part.inputs}, got "
            f"shape {xs.shape} (batch_first={batch_first})"
        )
    return xs


def _check_states(
    parts: Sequence[Part], state: Any, batch: int, single: bool, how: Any
) -> list[tuple[Tensor, ...]]:
    if state is None:
        return [part.begin(batch) for part in parts]
    if not isinstance(state, tuple | list) or len(state) != len(parts):
        got = len(state) if isinstance(state, tuple | list) else type(state).__name__
        kind = ValueError if isinstance(state, tuple | list | Tensor) else TypeError
        raise kind(
            f"Recurrent: state: expected a tuple with one tuple for each of {len(parts)} cells, "
            f"got {got}"
        )
    return [check_state(part, state[k], batch, single, how, k) for k, part in enumerate(parts)]


def check_state(
    part: Part, state: Any, batch: int, single: bool = False, how: Any = PLAIN, k: int = 0
) -> tuple[Tensor, ...]:
    """The state of the k-th part as tensors, each like that of `begin`, or a refusal."""
    begin = part.begin(batch)
    wanted = [h.shape[1:] if single else h.shape for h in begin]
    given = state if isinstance(state, tuple | list) else ()
    tensors = [
        _like(name, s, part.dtype if h.dtype.kind == "f" else h.dtype)
        for name, s, h in zip(part.state, given, begin, strict=False)
    ]
    what = ""
    kind: type[Exception] = ValueError
    got: Any = [np.shape(s) for s in given]
    if given is not state:
        is_array = isinstance(state, Tensor | np.ndarray)
        got = f"one tensor of shape {state.shape}" if is_array else type(state).__name__
        what, kind = "the tuple ", ValueError if is_array else TypeError
    if got != wanted:
        names = ", ".join(part.state) + "," * (len(part.state) == 1)
        raise kind(
            f"Recurrent: state of cell {k}: expected {what}({names}) of shapes {wanted}, for a "
            f"batch of {batch}, got {got}. A state has no time axis, and comes from a sequence of "
            f"the same batch size (batch_first={how.batch_first}). One step is cell.step(x, *state)"
        )
    return tuple(s.reshape(1, *s.shape) if single else s for s in tensors)


def _like(name: str, s: Any, dtype: Any) -> Tensor:
    """A state as a tensor of a dtype, which need not be one of floats."""
    if np.dtype(dtype).kind == "f":
        return as_floats("Recurrent", name, s, dtype)
    s = s if isinstance(s, Tensor) else Tensor(plain("Recurrent", name, s))
    if s.dtype != dtype:
        raise TypeError(f"Recurrent: {name}: expected {dtype}, as begin() gives, got {s.dtype}")
    return s


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
        if above.dtype != below.dtype:
            raise ValueError(
                f"Recurrent: expected cells of one dtype, got {below.dtype} for cell {k} and "
                f"{above.dtype} for cell {k + 1}"
            )


# -- lengths, masks and lists --------------------------------------------------------------------


def _padded(part: Part, xs: Any, batch_first: bool) -> tuple[Any, list[int] | None]:
    """A list of sequences as one padded batch, and their lengths; anything else as it is."""
    if not isinstance(xs, list | tuple) or not all(isinstance(x, Tensor | np.ndarray) for x in xs):
        return xs, None
    if not xs or any(x.ndim != 2 for x in xs):
        if len(shapes := {x.shape for x in xs}) > 1:
            raise ValueError(
                "Recurrent: xs: expected a list of sequences (T, inputs), got shapes "
                f"{sorted(shapes)}"
            )
        return xs, None
    tensors = [_check_inputs(part, x, batch_first) for x in xs]
    own = [len(x) for x in tensors]
    gaps = [np.zeros((max(own) - n, part.inputs), part.dtype) for n in own]
    filled = [concat([x, gap]) if len(gap) else x for x, gap in zip(tensors, gaps, strict=True)]
    return stack(filled, axis=int(not batch_first)), own


def _valid(lengths: Any, mask: Any, x: Tensor, swap: bool, single: bool) -> Tensor | None:
    """Return which steps count, (T, B, 1), or None if all do."""
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
    return Tensor((np.arange(steps)[:, None] < own)[:, :, None], name="mask")


def _marked(word: str, given: Any, x: Tensor, swap: bool, single: bool) -> Tensor | None:
    if given is None:
        return None
    given = np.asarray(given.data if isinstance(given, Tensor) else given)
    given = given[:, None] if single and given.ndim == 1 else given.T if swap else given
    marked = check_mask("Recurrent", given, x.shape[0], x.shape[1], word)
    return Tensor(marked[:, :, None], name=word)
