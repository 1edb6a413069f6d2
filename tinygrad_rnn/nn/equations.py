"""The equations of a cell's backpropagation through time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..randomness import repeated
from ..tensor import Tensor
from .cell import Cell
from .moment import Moment

if TYPE_CHECKING:  # what writes formulas is imported when one is asked for
    from ..formula.equations import Equations


def equations(step: Any, carry: Any = None, xs: Any = None, *, detail: bool = False) -> Equations:
    """The equations of a cell's backpropagation through time, derived from its ops' own rules.

    Forward lines, then for each gate and state what arrives there from the loss and from the step
    after, then the sums over time that are the weights' gradients. `print` shows them, `.latex` is
    for a paper, and a notebook sets them. Masks that a cell draws are inputs by their names;
    `cell.eval()` first shows it in evaluation mode.

    step: a cell; or a step, with a carry and xs as for `tg.scan`.
    detail: a line for each op.

    Raises TypeError for what is neither, and Untraceable for a step that reads numbers.

    >>> print(tg.equations(tg.nn.RNN(2, 3)).sections["forward"][0].right.terms[2][1].name)
    b
    """
    if isinstance(step, Cell):
        return _of_cell(step, detail)
    if not callable(step) or carry is None or hasattr(step, "cells"):
        raise TypeError(
            f"equations: expected one cell, or a step with its carry and xs as for tg.scan, got "
            f"{type(step).__name__}; of a layer give the cells one by one, such as layer.cells[0]"
        )
    return _of_step(step, carry, xs, detail)


def _of_cell(cell: Cell, detail: bool) -> Equations:
    from ..formula.equations import derived
    from ..formula.program import traced
    from ..formula.rules import blank

    cell._check()
    title, batch = _title(cell), _unlike(cell.inputs, *cell.sizes)
    draws = any(module.draws for module in cell.modules())
    run, begin = Moment(1), cell.begin(batch)
    if draws:
        xs = Tensor(np.zeros((1, batch, cell.inputs), cell.dtype))
        with repeated([]):  # which leaves every generator as it was
            cell._ask(run, xs, [h.detach() for h in begin], False)
    streams = [_at_one_time(s) for s in run.streams]

    def one(x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        with run.at(given[: len(streams)]):
            new = cell.advance(x, *given[len(streams) :])
            y = cell.output(x, *new)
        return new if y is new[0] else (*new, y)

    x = blank((batch, cell.inputs), cell.dtype, "x")
    return derived(
        traced(one, [x, *streams], begin),
        cell.state,
        title=title,
        weights=_names(cell._leaves()),
        begin=begin,
        batch=batch,
        detail=detail,
    )


def _of_step(step: Any, carry: Any, xs: Any, detail: bool) -> Equations:
    from ..formula.equations import derived
    from ..formula.program import traced

    state, inputs = _tensors(carry), [] if xs is None else _tensors(xs)
    slices = [_at_one_time(x) for x in inputs]
    for x, word in zip(slices, _letters("x", len(slices)), strict=True):
        x.name = x.name or word
    names = [h.name or w for h, w in zip(state, _letters("h", len(state)), strict=True)]
    program = traced(step, slices, state)
    called = getattr(step, "__name__", type(step).__name__)
    batch = state[0].shape[0] if state and state[0].ndim > 1 else 0
    return derived(
        program, names,
        title=f"{called}: {_shapes([*slices, *state], [*[x.name or '' for x in slices], *names])}",
        weights={}, reads=range(len(program.results)), batch=batch, detail=detail,
    )  # fmt: skip


def _tensors(given: Any) -> list[Tensor]:
    several = isinstance(given, list | tuple) and any(np.ndim(x) for x in given)
    return [x if isinstance(x, Tensor) else Tensor(x) for x in (given if several else [given])]


def _letters(letter: str, count: int) -> list[str]:
    return [letter] if count == 1 else [f"{letter}{k + 1}" for k in range(count)]


def _at_one_time(x: Tensor) -> Tensor:
    """What a step sees of a sequence: a mask waits for no gradient, a weight for each step does."""
    from ..formula.rules import blank

    y = blank(x.shape[1:], x.dtype, x.name or next((z.name for z in x.inputs if z.name), None))
    y.tracked = x.tracked or (x.op is None and not x.attrs and x.dtype.kind == "f")
    return y


def _unlike(*sizes: int) -> int:
    """A size that none of these, nor their first multiples, are; nor is one a multiple of it."""
    from ..formula.read import CHOSEN

    taken = {size * k for size in sizes for k in range(1, 9)}
    fits = lambda n: n not in taken and all([size % n for size in sizes if size])
    return next(filter(fits, CHOSEN))


def _names(leaves: dict[str, Tensor]) -> dict[Tensor, str]:
    """What leaves are called, without the part of their paths that tells nothing."""
    names = Counter([x.name for x in leaves.values()])
    own = {x: x.name if x.name and names[x.name] == 1 else path for path, x in leaves.items()}
    paths = {x: path.split(".") for x, path in own.items()}
    ends = Counter(".".join(path[k:]) for path in paths.values() for k in range(len(path)))
    tells = lambda p, k: not p[k].isdigit() and ends[".".join(p[k:])] == 1
    return {
        x: next(".".join(p[k:]) for k in reversed(range(len(p))) if not k or tells(p, k))
        for x, p in paths.items()
    }


def _title(cell: Cell) -> str:
    """The class, and within which, with shapes."""
    words, inner = type(cell).__name__, cell
    while isinstance(inner := getattr(inner, "cell", None), Cell):  # type: ignore[assignment]
        words += f" of {type(inner).__name__}"
    batch = "B"
    x = "x" + "'" * ("x" in cell.state)  # as it is called in the lines
    parts = [f"{x} ({batch}, {cell.inputs})"]
    for name, h in zip(cell.state, cell.begin(1), strict=True):
        parts.append(f"{name} ({', '.join(map(str, (batch, *h.shape[1:])))})")
    return f"{words}: {', '.join(parts)}"


def _shapes(xs: Sequence[Tensor], names: Sequence[str]) -> str:
    return ", ".join(f"{n} {tuple(x.shape)}" for n, x in zip(names, xs, strict=True))
