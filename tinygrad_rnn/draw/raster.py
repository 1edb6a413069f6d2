"""The masks of a run as rasters: which units dropout cut at which step, and which zoneout kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any

import numpy as np

from ..tensor import Tensor, history
from . import colours
from .figure import Picture
from .sheet import check
from .svg import FONTS
from .text import literal, step_of, width

ROWS, COLUMNS = 32, 100  # units and steps that are shown
SIDE = 14.0  # of a cell, or less where there are many
LEFT, TOP, HEAD, FOOT, MOST = 66.0, 40.0, 34.0, 26.0, 900.0


@dataclass
class Mask:
    """One mask of a run: units down, steps to the right.

    grid: True where a link is left, or for `keeps` where a unit keeps its old value. span: "step"
    for a mask drawn anew at every step, "sequence" for one that all steps share, "weights" for one
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
    check(outputs, "op", "unrolled", None, "draw_masks")
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    order = history(outputs)
    readers = {x: y for y in order for x in y.inputs}
    steps: Counter[str] = Counter()
    for y in order:
        layer, t = _place(y)
        steps[layer] = max(steps[layer], t + 1, *[r.length for r in [y.attrs.get("run")] if r])
    found: dict[int, Mask] = {}
    for x in reversed(order):
        if x in readers and _is_mask(x):
            layer = _place(readers[x])[0]
            array = _over_time(x._array)
            if id(array) not in found:
                found[id(array)] = _mask(x, layer, array, steps[layer], row)
    return _numbered(list(found.values()))


def _place(y: Tensor) -> tuple[str, int]:
    return step_of(y.scope) or (y.scope, -1)


def _is_mask(x: Tensor) -> bool:
    """A mask that was drawn, see `nn.moment.mask_of`; lengths and resets are none."""
    return x.op is None and "mask" in x.attrs and x.ndim in (2, 3)


def _over_time(array: np.ndarray) -> np.ndarray:
    """Of the slice for one step, the array of all steps."""
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
    if not 0 <= row < rows:
        raise ValueError(f"masks: row: expected one of the {rows} rows of the batch, got {row}")
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
            number, kind = seen[key], m.name.split()[-1]
            m.name = f"{m.name.removesuffix(kind)}{number} {kind}".replace("  ", " ")
    return masks


# -- the picture ---------------------------------------------------------------------------------


def draw_masks(outputs: Tensor | Sequence[Tensor], *, row: int = 0, title: str = "") -> Picture:
    """Draw the masks of dropout and zoneout of a run: units down, time to the right.

    A link that is left is a dark square, one that is cut an empty one. A unit that zoneout keeps
    is a line through the step: its value goes by the cell, from t - 1 to t. A mask that is the same
    at every step (variational dropout) has rows without a break. At most 32 units and 100 steps are
    shown.

    outputs: the tensors to explain, for example the loss. row: of the batch. title: a line above.

    Raises as `masks_of` does, and ValueError where no mask was drawn.
    """
    masks = masks_of(outputs, row=row)
    if not masks:
        raise ValueError(
            "draw_masks: this run drew no masks: use a cell with dropout or zoneout, in training "
            "(`train()`), and give the loss before backward() frees its graph"
        )
    words = f"masks: {len(masks)} panel{'s' * (len(masks) > 1)}, row {row} of the batch"
    return Picture(_Sheet(masks, literal(title, 90)).svg(words), words)


class _Sheet:
    """The work on one picture: a panel for each mask, all with cells of one size."""

    def __init__(self, masks: list[Mask], title: str):
        self.masks, self.title = masks, title
        self.columns = max(min(COLUMNS, m.grid.shape[1]) for m in masks)
        self.side = max(5.0, min(SIDE, (MOST - LEFT - 24) / self.columns))
        heads = [width(head, 12) + width(words, 11) + 100 for head, words in map(_words, masks)]
        legend = 40 + sum(64 + width(words, 11) for _, words in self.entries())
        self.wide = max(legend, LEFT + self.columns * self.side + 24, *heads)
        self.top = TOP + 30 if title else TOP

    def svg(self, words: str) -> str:
        """The whole document."""
        lines = [*self.legend()]
        y = self.top + HEAD - 10
        for mask in self.masks:
            lines += self.panel(mask, y)
            y += min(ROWS, len(mask.grid)) * self.side + HEAD + FOOT
        size = f'width="{self.wide:.1f}" height="{y - 16:.1f}"'
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
            f'viewBox="0 0 {self.wide:.1f} {y - 16:.1f}" role="img" font-family="{FONTS}" '
            f'font-size="11" fill="{colours.INK}"><title>{escape(self.title or words)}</title>'
            f'<rect {size} rx="8" fill="{colours.PAPER}"/>'
        )
        if self.title:
            bold = 'font-size="15" font-weight="700"'
            lines.insert(0, _text(20, 28, self.title, bold))
        return "\n".join([head, *lines, "</svg>", ""])

    def entries(self) -> list[tuple[Any, str]]:
        """What the legend has to explain: how it is painted, and words."""
        entries: list[tuple[Any, str]] = []
        if not all(m.keeps for m in self.masks):
            entries += [(_squares, "passed on"), (None, "cut")]
        if any(m.keeps for m in self.masks):
            entries += [(_squares, "worked out anew"), (_lines, "kept: goes by the cell")]
        return entries

    def legend(self) -> Iterator[str]:
        x, y, three = 20.0, self.top - 18, np.ones((1, 3), bool)
        for paint, words in self.entries():
            yield _frame(x, y - 10, 36, 12)
            if paint:
                yield paint(three, x, y - 10, 12)
            yield _text(x + 42, y, words)
            x += 64 + width(words, 11)

    def panel(self, mask: Mask, top: float) -> Iterator[str]:
        grid = mask.grid[:ROWS, :COLUMNS]
        rows, columns = grid.shape
        side, (head, words) = self.side, _words(mask)
        yield f'<g class="mask" data-name="{escape(mask.name)}">'
        yield _text(20, top - 8, head, 'font-size="12" font-weight="600"')
        yield _text(20 + width(head, 12) + 12, top - 8, words, f'fill="{colours.FAINT}"')
        yield _frame(LEFT, top, columns * side, rows * side)
        if mask.keeps:
            yield _squares(~grid, LEFT, top, side) + _lines(grid, LEFT, top, side)
        else:
            yield _squares(grid, LEFT, top, side, joined=mask.span == "sequence")
        yield from self.numbers(mask, rows, columns, top)
        yield "</g>"

    def numbers(self, mask: Mask, rows: int, columns: int, top: float) -> Iterator[str]:
        side = self.side
        for i in sorted({0, rows - 1}):
            word = f"unit {i}" if not i and mask.span != "weights" else str(i)
            yield _text(LEFT - 6, top + (i + 0.5) * side + 4, word, 'text-anchor="end"')
        every = max(1, *(n for n in (1, 5, 10, 20) if n * side <= 70))
        for j in range(0, columns, every):
            word = "t = 0" if not j and mask.span != "weights" else str(j)
            x = LEFT + (j + 0.5) * side
            yield _text(x, top + rows * side + 14, word, 'text-anchor="middle"')


def _words(mask: Mask) -> tuple[str, str]:
    """The head of a panel: which mask, and what is worth saying of it."""
    rows, columns = mask.grid.shape
    share = f"{mask.grid.mean():.0%} " + ("kept" if mask.keeps else "left")
    spans = {
        "step": "drawn anew at every step",
        "sequence": "one for all steps",
        "weights": f"of weights, {rows}×{columns}, one for all steps",
    }
    words = [spans[mask.span], share]
    if rows > ROWS or columns > COLUMNS:
        words.append(
            f"{min(rows, ROWS)} of {rows} rows, {min(columns, COLUMNS)} of {columns} columns"
        )
    return f"{mask.layer}  {mask.name}".strip(), " · ".join(words)


def _squares(grid: np.ndarray, left: float, top: float, side: float, joined: bool = False) -> str:
    """A square where it is True; `joined` with its neighbours in time."""
    gap = max(0.5, 0.1 * side)
    d, high = "", side - 2 * gap
    for i, j, count in _runs(grid):
        for first, many in [(j, count)] if joined else [(k, 1) for k in range(j, j + count)]:
            x, y, wide = left + first * side + gap, top + i * side + gap, many * side - 2 * gap
            d += f"M{x:.1f} {y:.1f}h{wide:.1f}v{high:.1f}h-{wide:.1f}z"
    return f'<path class="on" d="{d}" fill="{colours.INK}"/>' if d else ""


def _lines(grid: np.ndarray, left: float, top: float, side: float) -> str:
    """A line through every stretch of steps where it is True."""
    d = "".join(
        f"M{left + j * side:.1f} {top + (i + 0.5) * side:.1f}h{count * side:.1f}"
        for i, j, count in _runs(grid)
    )
    return (
        f'<path class="by" d="{d}" fill="none" stroke="{colours.STATE}" '
        f'stroke-width="{max(1.5, side / 5):.1f}"/>'
    )


def _runs(grid: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Of every row the stretches that are True: row, first, how many."""
    for i, row in enumerate(grid):
        j = 0
        for value, cells in groupby(row.tolist()):
            count = len(list(cells))
            if value:
                yield i, j, count
            j += count


def _frame(x: float, y: float, wide: float, high: float) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" '
        f'fill="{colours.PAPER}" stroke="{colours.FRAME_LINE}"/>'
    )


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" xml:space="preserve" {more}>{escape(words)}</text>'
