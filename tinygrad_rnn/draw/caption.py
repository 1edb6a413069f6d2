"""What is written around the picture: a title, what is left out, and a legend of the parameters."""

from __future__ import annotations

from .layout import CHIP, MARGIN, SMALL, Key, Sample, Sheet, Text
from .text import literal, width

TITLE, NOTE = 16.0, 11.0
ENTRIES = 24  # a longer legend is cut
LINE = 24.0  # from one line of the legend to the next


def add_caption(sheet: Sheet, title: str | None) -> None:
    """Make room above and below the picture, and write the caption there."""
    lines = [(literal(title, 80), TITLE, "title")] if title else []
    lines += [(_summary(sheet), NOTE, "note")]
    lines += [(words, NOTE, "note") for words in _wrapped(sheet.graph.notes, sheet.width)]
    if sheet.graph.alarm:
        lines += [(sheet.graph.alarm, NOTE + 1, "alarm")]
    y = MARGIN
    for words, size, kind in lines:
        sheet.texts.append(Text(MARGIN, y + size * 0.8, words, size, kind))
        y += size * 1.5
        sheet.width = max(sheet.width, width(words, size) + 2 * MARGIN)
    _move_down(sheet, y - MARGIN / 2)
    _add_legend(sheet)
    _add_scale(sheet)


def _add_scale(sheet: Sheet) -> None:
    """Below the legend, what the hues and widths of an overlay mean."""
    x = MARGIN
    for flow, words in sheet.graph.scale:
        wide = 34 + 6 + width(words, NOTE)
        if x > MARGIN and x + wide > sheet.width - MARGIN:
            x, sheet.height = MARGIN, sheet.height + LINE
        sheet.samples.append(Sample(x, sheet.height, 34.0, flow, words))
        x += wide + 22
    if sheet.samples:
        sheet.height += LINE


def _wrapped(notes: list[str], wide: float) -> list[str]:
    """Notes on as few lines as they fit on."""
    lines: list[str] = []
    for note in notes:
        longer = f"{lines[-1]}  ·  {note}" if lines else note
        if lines and width(longer, NOTE) < wide - 2 * MARGIN:
            lines[-1] = longer
        else:
            lines.append(note)
    return lines


def _summary(sheet: Sheet) -> str:
    graph = sheet.graph
    words = [f"{graph.tensors:,} tensors" if graph.tensors > 1 else "1 tensor"]
    if not graph.tensors:
        words = []
    if graph.steps:
        words.append(f"{graph.steps:,} time steps" if graph.steps > 1 else "1 time step")
    if graph.hidden_steps:
        words.append(f"{graph.hidden_steps:,} steps hidden; what they touch is dashed")
    if not graph.scale and any(
        "grad" in node.grad and "yet" not in node.grad for node in graph.nodes
    ):
        words.append("grad: Euclidean norm of the gradient")
    return "  ·  ".join(words)


def _move_down(sheet: Sheet, distance: float) -> None:
    sheet.height += distance
    for node in sheet.graph.nodes:
        node.y += distance
    for edge in sheet.graph.edges:
        edge.route = [(x, y + distance) for x, y in edge.route]
    for frame in [f for outer in sheet.frames for f in (outer, *outer.inner)]:
        frame.top += distance
        frame.bottom += distance


def _add_legend(sheet: Sheet) -> None:
    """Below the picture, in as many columns as fit, one entry per shared parameter."""
    entries = sheet.graph.legend[:ENTRIES]
    if not entries:
        return
    chip = max(28.0, *(width(entry.label, SMALL) + 14 for entry in entries))
    wide = chip + 8 + max(width(entry.words, NOTE) for entry in entries) + 28
    columns = max(1, min(len(entries), int((sheet.width - 2 * MARGIN) / wide)))
    lines = -(-len(entries) // columns)
    for k, entry in enumerate(entries):
        x = MARGIN + (k // lines) * wide + chip / 2
        sheet.keys.append(Key(x, sheet.height + (k % lines) * LINE, chip, CHIP, entry))
    sheet.width = max(sheet.width, wide + 2 * MARGIN)
    sheet.height += lines * LINE
    if more := len(sheet.graph.legend) - len(entries):
        words = f"… and {more} more parameters"
        sheet.texts.append(Text(MARGIN, sheet.height, words, NOTE, "note"))
        sheet.height += LINE
