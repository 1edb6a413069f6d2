"""The masks of a run as rasters: which units dropout cut at which step, and which zoneout kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from ..limits import whole
from ..tensor import Tensor, history
from . import look
from .canvas import Canvas, Point
from .figure import Picture
from .legend import Entry, legend
from .sheet import tensors_of
from .text import count, literal, step_of, width

ROWS, COLUMNS = 32, 100  # units and steps that are shown
SIDE = 14.0  # of a cell, or less where there are many
LEFT, HEAD, FOOT, MOST = 66.0, 34.0, 26.0, 900.0


@dataclass
class Mask:
    """One mask of a run: units down, steps to the right.

    grid: True where a link is left, or for `keeps` where a unit keeps its old value. span: "step"
    for a mask drawn again at every step, "sequence" for one that all steps share, "weights" for one
    of weights (rows and columns of the matrix).
    """

    layer: str
    name: str
    grid: np.ndarray
    span: str
    keeps: bool = False  # whether it is one of zoneout


def masks_of(outputs: Tensor | Sequence[Tensor], *, row: int = 0) -> list[Mask]:
    """The masks that a run drew, of one row of its batch, in the order in which they were drawn.

    They are those of modifiers and of `nn.Dropout`. A mask on data that needs no gradient is in the
    graph of a compiled run only. Raises RuntimeError for a graph that `backward()` has freed,
    ValueError for a row that the batch does not have.
    """
    order = history(tensors_of(outputs, "masks"))
    readers = {x: y for y in order for x in y.inputs}
    steps: Counter[str] = Counter()
    for y in order:
        layer, t = _place(y)
        steps[layer] = max(steps[layer], t + 1, *[r.length for r in [y.attrs.get("run")] if r])
    found: dict[int, Mask] = {}
    for x in reversed(order):
        if x in readers and x.op is None and "mask" in x.attrs:  # lengths and resets are none
            layer, array = _place(readers[x])[0], _over_time(x._array)
            if x.ndim in (2, 3) and id(array) not in found:
                found[id(array)] = _mask(x, layer, array, steps[layer], row)
    return _numbered(list(found.values()))


def _place(y: Tensor) -> tuple[str, int]:
    return step_of(y.scope) or (y.scope, -1)


def _over_time(array: np.ndarray) -> np.ndarray:
    """The array of all steps, given the slice for one."""
    whole = array.base
    while isinstance(whole, np.ndarray):
        if whole.ndim == 3 and whole.shape[1:] == array.shape:
            return whole
        whole = whole.base
    return array


def _mask(x: Tensor, layer: str, array: np.ndarray, steps: int, row: int) -> Mask:
    name, keeps = literal(x.name, 40), x.attrs["mask"] == "keeps"
    if x.attrs["mask"] == "weights":
        return Mask(layer, name, array != 0, "weights")
    rows = array.shape[-2]
    whole("masks", "row", row, 0, rows - 1, ", a row of the batch")
    if array.ndim == 3:
        return Mask(layer, name, array[:, row].T != 0, "step", keeps)
    once = np.repeat(array[row][:, None] != 0, max(1, steps), 1)
    return Mask(layer, name, once, "sequence", keeps)


def _numbered(masks: list[Mask]) -> list[Mask]:
    """Masks of one name in one layer, such as one for each gate, are told apart by a number."""
    names = Counter((m.layer, m.name) for m in masks)
    seen: Counter[tuple[str, str]] = Counter()
    for m in masks:
        key = m.layer, m.name
        seen[key] += 1
        if names[key] > 1:
            *whose, kind = m.name.split()
            m.name = " ".join([*whose, str(seen[key]), kind])
    return masks


# -- the picture ---------------------------------------------------------------------------------


def masks(outputs: Tensor | Sequence[Tensor], *, row: int = 0, title: str = "") -> Picture:
    """Draw the masks of dropout and zoneout of a run: units down, time to the right.

    A link that is left is a dark square, one that is cut an empty one. A unit that zoneout keeps
    is a line through the step: its value goes by the cell, from t - 1 to t. A mask that is the same
    at every step (variational dropout) has rows without a break. At most 32 units and 100 steps are
    shown.

    outputs: the tensors to explain, for example the loss. row: of the batch. title: a line above.

    Raises as `masks_of` does, and ValueError where no mask was drawn.

    >>> cell = tg.nn.Zoneout(tg.nn.RNN(2, 3, rng=0), h=0.5, rng=0)
    >>> ys, _ = cell(np.ones((4, 1, 2), np.float32))
    >>> tg.view.masks(ys).save("masks.svg")
    """
    masks = masks_of(outputs, row=row)
    if not masks:
        raise ValueError(
            "masks: this run drew no masks: use a cell with dropout or zoneout, in training "
            "(`train()`), and give the loss before backward() frees its graph"
        )
    words = f"masks: {count(len(masks), 'panel')}, row {row} of the batch"
    return Picture(_painted(masks, literal(title, 90)), words, literal(title, 90))


def _painted(masks: list[Mask], title: str) -> Canvas:
    """A panel for each mask, all with cells of one size."""
    columns = max(min(COLUMNS, m.grid.shape[1]) for m in masks)
    side = min(SIDE, (MOST - LEFT - 24) / columns)
    canvas = Canvas(LEFT + columns * side + 24)
    canvas.text(20, 28, title, 15, bold=True)
    y = legend(canvas, list(_entries(masks)), 20, 48 if title else 24, MOST) + HEAD
    for mask in masks:
        with canvas.group("mask", name=mask.name):
            _panel(canvas, mask, y, side)
        y += min(ROWS, len(mask.grid)) * side + HEAD + FOOT
    canvas.height = y - HEAD
    return canvas


def _entries(masks: list[Mask]) -> Iterator[Entry]:
    """What the legend has to explain."""
    for keeps in sorted({m.keeps for m in masks}):
        for words, mark in MARKS[keeps].items():
            yield Entry(words, partial(_sample, mark), 36.0)


def _sample(mark: _Mark | None, canvas: Canvas, x: float, y: float) -> None:
    canvas.box(x, y - 6, 36, 12, look.PAPER, look.FRAME_LINE)
    if mark:
        mark(canvas, np.ones((1, 3), bool), x, y - 6, 12)


def _panel(canvas: Canvas, mask: Mask, top: float, side: float) -> None:
    grid = mask.grid[:ROWS, :COLUMNS]
    (rows, columns), (head, words) = grid.shape, _words(mask)
    canvas.text(20, top - 8, head, 12, bold=True)
    canvas.text(32 + width(head, 12), top - 8, words, colour=look.FAINT)
    canvas.box(LEFT, top, columns * side, rows * side, look.PAPER, look.FRAME_LINE)
    _squares(canvas, ~grid if mask.keeps else grid, LEFT, top, side, mask.span == "sequence")
    if mask.keeps:
        _lines(canvas, grid, LEFT, top, side)
    units, times = ("", "") if mask.span == "weights" else ("unit ", "t = ")
    for i in sorted({0, rows - 1}):
        word, y = f"{units if not i else ''}{i}", top + (i + 0.5) * side + 4
        canvas.text(LEFT - 6, y, word, at="end")
    for j in range(0, columns, 5):
        word, x = f"{times if not j else ''}{j}", LEFT + (j + 0.5) * side
        canvas.text(x, top + rows * side + 14, word, at="middle")


def _words(mask: Mask) -> tuple[str, str]:
    """The head of a panel: which mask, and what is worth saying of it."""
    rows, columns = mask.grid.shape
    share = f"{mask.grid.mean():.0%} " + ("kept" if mask.keeps else "left")
    spans = {
        "step": "drawn again at every step",
        "sequence": "one for all steps",
        "weights": f"of weights, {rows}×{columns}, one for all steps",
    }
    words = f"{spans[mask.span]} · {share}"
    if rows > ROWS or columns > COLUMNS:
        shown = f"{min(rows, ROWS)} of {rows} rows, {min(columns, COLUMNS)} of {columns} columns"
        words += f" · {shown}"
    return f"{mask.layer}  {mask.name}".strip(), words


_Mark: TypeAlias = Callable[[Canvas, np.ndarray, float, float, float], None]


def _squares(
    canvas: Canvas, grid: np.ndarray, left: float, top: float, side: float, joined: bool = False
) -> None:
    """A square where it is True; `joined` with its neighbours in time."""
    gap, parts = 0.1 * side, []
    for i, j, many in _runs(grid) if joined else ((i, j, 1) for i, j in np.argwhere(grid)):
        x, y = left + j * side + gap, top + i * side + gap
        right, bottom = x + many * side - 2 * gap, y + side - 2 * gap
        parts.append([(x, y), (right, y), (right, bottom), (x, bottom)])
    canvas.shape(parts, look.INK, kind="on")


def _lines(canvas: Canvas, grid: np.ndarray, left: float, top: float, side: float) -> None:
    """A line through every stretch of steps where it is True."""
    parts: list[list[Point]] = []
    for i, j, many in _runs(grid):
        y = top + (i + 0.5) * side
        parts.append([(left + j * side, y), (left + (j + many) * side, y)])
    canvas.lines(parts, look.STATE, side / 5, kind="by")


def _runs(grid: np.ndarray) -> list[tuple[int, int, int]]:
    """The stretches of every row that are True: row, first, how many."""
    changes = np.diff(np.pad(grid, ((0, 0), (1, 1))).astype(int))
    begins, ends = np.argwhere(changes > 0), np.argwhere(changes < 0)
    return [(i, j, end - j) for (i, j), (_, end) in zip(begins, ends, strict=True)]


MARKS: dict[bool, dict[str, _Mark | None]] = {
    False: {"passed on": _squares, "cut": None},
    True: {"updated": _squares, "kept: goes by the cell": _lines},
}
