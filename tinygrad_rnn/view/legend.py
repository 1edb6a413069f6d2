"""The legend, of every picture the same: a sample, and words to the right of it; and the scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import look
from .canvas import DOTTED, HATCHED, WORDS, Canvas
from .text import brief, width

LINE = 22.0  # from one line to the next
SMALL = 10.0
CHIP = 18.0  # the height of a chip
ENTRIES = 24  # a longer legend is cut


@dataclass
class Entry:
    """A line of a legend. sample: paints it, from a left end, around a height."""

    words: str
    sample: Callable[[Canvas, float, float], None]
    wide: float = 16.0  # of the sample
    loud: bool = False


def patch(words: str, fill: str, line: str = look.LINE, dashes: str = "") -> Entry:
    """What a filled box means."""
    paint = lambda canvas, x, y: canvas.box(x, y - 6, 16, 12, fill, line, dashes=dashes)
    return Entry(words, paint)


def line(words: str, colour: str, size: float, dashes: str = "") -> Entry:
    """What a line means."""
    paint = lambda canvas, x, y: canvas.line([(x, y), (x + 28, y)], colour, size, dashes)
    return Entry(words, paint, 28.0)


def sign(words: str, letter: str) -> Entry:
    """What a sign means."""
    return Entry(words, lambda canvas, x, y: canvas.text(x, y + 5, letter, 15))


def chip(words: str, label: str, hue: int, loud: bool) -> Entry:
    """Return which tensor a chip is."""
    wide, (fill, outline) = max(28.0, width(label, SMALL) + 14), look.hue(hue)

    def paint(canvas: Canvas, x: float, y: float) -> None:
        canvas.box(x, y - CHIP / 2, wide, CHIP, fill, outline, 1.4, round=CHIP / 2)
        canvas.text(x + wide / 2, y + 3.5, label, SMALL, at="middle")

    return Entry(words, paint, wide, loud)


def legend(canvas: Canvas, entries: Sequence[Entry], x: float, y: float, right: float) -> float:
    """Write entries from x, around the height y, in one line or in columns; the height below."""
    if not entries:
        return y
    if more := len(entries[ENTRIES:]):
        entries = [*entries[:ENTRIES], Entry(f"… and {more} more", lambda *_: None)]
    sample, gap = max(entry.wide for entry in entries), 18.0
    widths = [sample + 8 + width(entry.words, WORDS) + gap for entry in entries]
    columns = len(entries)
    if sum(widths) - gap > right - x:
        columns = max(1, min(columns, int((right - x + gap) / max(widths))))
        widths = [max(widths)] * len(entries)
    lines = -(-len(entries) // columns)
    for k, entry in enumerate(entries):
        left, height = x + sum(widths[: k // lines]), y + (k % lines) * LINE
        with canvas.group("key"):
            entry.sample(canvas, left, height)
            look_of = {"colour": look.ALARM, "bold": True} if entry.loud else {}
            canvas.text(left + sample + 8, height + 4, entry.words, WORDS, **look_of)
    return y + lines * LINE


def scale(canvas: Canvas, x: float, y: float, one: str = "", arrows: bool = False) -> float:
    """The scale of norms: its colours from what vanishes to what explodes; the height below.

    one: what a norm of 1 is. arrows: whether arrows are drawn in its colours and widths, too.
    """
    step, foot, ends = 21.0, y + 17 + 12 * arrows, look.SCALE["light"]
    places = [k / look.DECADES for k in range(-look.DECADES, look.DECADES + 1)]
    right = x + len(places) * step
    pieces = [(x + k * step, look.shade(p), look.stroke(p)) for k, p in enumerate(places)]
    with canvas.group("scale"):
        canvas.text(x, y - 5, "vanishes", colour=ends["low"])  # type: ignore[index]
        canvas.text(right, y - 5, "explodes", colour=ends["high"], at="end")  # type: ignore[index]
        for k in range(0, len(places), 2):
            words = brief(10.0 ** (k - look.DECADES))
            canvas.text(x + (k + 0.5) * step, foot + 9, words, 9.5, at="middle")
        for words, fill, bad in (("not finite", HATCHED, True), ("nothing arrives", DOTTED, False)):
            pieces.append((right + 20, fill, look.stroke(None, bad)))
            canvas.text(right + 26 + step, y + 11, words)
            right += 26 + step + width(words, WORDS)
        canvas.text(right + 20, y + 11, one, colour=look.FAINT)
        for left, fill, stroke in pieces:
            canvas.box(left, y, step, 14, fill, look.INNER_LINE, 0.5)
            if arrows:
                canvas.line([(left, y + 21), (left + step, y + 21)], *stroke)
    return foot + 24
