"""Every kind of picture, with the lines that made it: `python docs/gallery.py` makes them anew.

It writes docs/gallery.md and docs/pictures/*.svg. What the page shows is what was run.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

DOCS = Path(__file__).parent
LARGEST, LARGEST_OF_ALL = 150_000, 1_500_000  # bytes
WIDE = 140  # letters in a line of the page
ABSENT = (AttributeError, ImportError, TypeError)  # what a picture that is not there yet raises

HEAD = (
    "Every picture here was made by the lines above it; `python docs/gallery.py` makes all of them "
    'anew. A picture shows itself in a notebook, and `picture.save("picture.svg")` writes it; '
    "pictures of graphs also as .dot, .png and .pdf. All can be read without colour: width, "
    "pattern and number say the same. All begin with"
)
START = """\
import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn
"""


@dataclass
class Entry:
    """A picture: the name of its file, a heading, a sentence, and the code that makes `picture`.

    waits: it is left out, with a note, as long as what it calls is not there.
    """

    name: str
    title: str
    words: str
    code: str
    waits: bool = False


ENTRIES = [
    Entry(
        "unrolled",
        "The graph, step by step",
        "What backpropagation through time walks over: a column for each time step, and on "
        "every node the size of its gradient. A weight is a chip in each step that shares it.",
        """
rng = np.random.default_rng(0)
cell, output = nn.LSTM(2, 3, rng=rng), nn.Linear(3, 2, rng=rng)
xs = tg.tensor(rng.normal(size=(3, 1, 2)), dtype=np.float32, name="x")
hs, _ = cell(xs, unroll=True)  # every step recorded, not one compiled loop
loss = tg.cross_entropy(output(hs), [[0], [1], [0]])
loss.backward(retain_graph=True)  # keep the graph, and the gradients on it
picture = tg.draw(loss, title="An LSTM over three steps")
""",
    ),
    Entry(
        "long",
        "A long sequence",
        "Steps in between are folded. A compiled loop is drawn as its steps; its picture needs "
        "no gradients.",
        """
ys, _ = nn.GRU(4, 8, rng=0)(np.ones((100, 1, 4), np.float32))
picture = tg.draw(ys[-1].sum(), first=2, last=1, title="A GRU over 100 steps")
""",
    ),
    Entry(
        "plain",
        "Any expression",
        "A graph without time is drawn from left to right.",
        """
x = tg.tensor([[0.5, -1.0]], name="x")
W = tg.tensor([[1.0, 0.2], [0.3, -0.5]], requires_grad=True, name="W")
y = tg.tanh(x @ W)
loss = (y * y).sum()
loss.backward(retain_graph=True)
picture = tg.draw(loss)
""",
    ),
    Entry(
        "gates",
        "Gates",
        "The same run with one box for each gate.",
        """
cell = nn.LSTM(2, 3, rng=0)
hs, _ = cell(np.ones((3, 1, 2), np.float32))
picture = tg.draw(hs[-1].sum(), level="gate", title="The gates of an LSTM")
""",
        waits=True,
    ),
    Entry(
        "cells",
        "Cells",
        "One box for each cell and step: two layers, the second in both directions.",
        """
both = nn.Bidirectional(nn.GRU(4, 4, rng=0), nn.GRU(4, 4, rng=1))
ys, _ = nn.Recurrent(nn.LSTM(2, 4, rng=0), both)(np.ones((5, 1, 2), np.float32))
picture = tg.draw(ys.sum(), level="cell", title="Two layers, the second in both directions")
""",
        waits=True,
    ),
    Entry(
        "folded",
        "Folded",
        "The loop as one cell, its state led back through a delay of one step.",
        """
hs, _ = nn.LSTM(2, 3, rng=0)(np.ones((5, 1, 2), np.float32))
picture = tg.draw(hs[-1].sum(), view="folded", title="An LSTM, folded")
""",
        waits=True,
    ),
    Entry(
        "backward",
        "The walk back",
        "Each arrow shows how much gradient was led through it, and the numbers in which order.",
        """
hs, _ = nn.RNN(2, 3, rng=0)(np.ones((4, 1, 2), np.float32))
loss = hs[-1].sum()
picture = tg.draw(loss, level="cell", overlay="backward", title="A gradient on its way back")
""",
        waits=True,
    ),
    Entry(
        "ledger",
        "What a gradient is made of",
        "The gradient of a weight is a sum over all pairs of a loss at t and a step k at which "
        "the weight was used. Far from the diagonal terms vanish.",
        """
rng = np.random.default_rng(0)
cell, output = nn.RNN(2, 8, rng=rng), nn.Linear(8, 2, rng=rng)
hs, _ = cell(rng.normal(size=(12, 1, 2)).astype(np.float32))
loss = tg.cross_entropy(output(hs), rng.integers(0, 2, (12, 1)), reduction="sum")
picture = tg.lab.ledger(loss, cell.Wh).draw()
""",
        waits=True,
    ),
    Entry(
        "memory",
        "Memory",
        "What is held for the walk back grows with every step. Truncation ends the growth: the "
        "state is detached where the scissors are, and what a window held is let go before the "
        "next one begins. Checkpoints keep less and work out the rest again.",
        """
from tinygrad_rnn.draw.memory import draw_memory


def losses(window, **how):
    cell, state, found = nn.LSTM(8, 16, rng=0), None, []
    for xs in np.ones((32 // window, window, 4, 8), np.float32):
        ys, state = cell(xs, state, **how)
        found.append((ys * ys).mean())
        state = tg.detach(state)
    return found


runs = {"a compiled loop": losses(32), "in windows of 8 steps": losses(8)}
runs['checkpoint="sqrt"'] = losses(32, checkpoint="sqrt")
picture = draw_memory(runs, title="What an LSTM keeps for the walk back")
""",
    ),
    Entry(
        "unrolled-memory",
        "Memory, step by step",
        "An unrolled run keeps every value in between. Detaching the state inside one graph "
        "ends the walk back, but frees nothing.",
        """
from tinygrad_rnn.draw.memory import draw_memory

W = tg.tensor(np.eye(16) * 0.9, requires_grad=True, name="W")
h, loss = tg.tensor(np.ones((4, 16)), name="h0"), 0.0
for t in range(12):
    with tg.scope(f"rnn/t={t}"):
        h = tg.tanh((h.detach() if t in (4, 8) else h) @ W)
        loss = loss + (h * h).sum()
picture = draw_memory(loss, title="One loss over three windows")
""",
    ),
    Entry(
        "masks",
        "Masks that change",
        "Dropout on what comes from below, drawn anew at every step, and zoneout: a line "
        "through a step is a unit that keeps its value.",
        """
from tinygrad_rnn.draw.raster import draw_masks

cell = nn.Zoneout(nn.LSTM(6, 8, rng=0), h=0.1, c=0.5, rng=1)
cell = nn.FeedforwardDropout(cell, 0.4, rng=2)
ys, _ = cell(np.ones((24, 1, 6), np.float32))
picture = draw_masks(ys.sum(), title="Dropout from below, zoneout of both states")
""",
    ),
    Entry(
        "variational-masks",
        "Masks that stay",
        "Variational dropout cuts the same links at every step of a sequence.",
        """
from tinygrad_rnn.draw.raster import draw_masks

cell = nn.VariationalDropout(nn.GRU(6, 8, rng=0), inputs=0.3, state=0.3, rng=1)
ys, _ = cell(np.ones((24, 1, 6), np.float32))
picture = draw_masks(ys.sum(), title="Variational dropout")
""",
    ),
    Entry(
        "curve",
        "Curves",
        "A few numbers over time; lines are told apart by their dashes, too.",
        """
def norms(W):
    return range(21), [np.linalg.norm(np.linalg.matrix_power(W, k), 2) for k in range(21)]


lines = {
    "[[.5, .6], [.6, .5]]": norms([[0.5, 0.6], [0.6, 0.5]]),
    "[[.5, .4], [.4, .5]]": norms([[0.5, 0.4], [0.4, 0.5]]),
}
title = "No entry reaches 1, yet the powers of one matrix explode"
picture = tg.curve(lines, title=title, x_label="k", y_label="‖Wᵏ‖")
""",
    ),
]


def picture_of(entry: Entry) -> Any:
    """Run the code of an entry."""
    names: dict[str, Any] = {}
    exec(compile(START + entry.code, f"gallery: {entry.name}", "exec"), names)
    return names["picture"]


def pictures() -> dict[str, Any]:
    """All pictures that there are, by name."""
    found: dict[str, Any] = {}
    for entry in ENTRIES:
        try:
            found[entry.name] = picture_of(entry)
        except ABSENT as error:
            if not entry.waits:
                raise
            print(f"left out {entry.name}: {error}")
    return found


def page(names: Container[str]) -> str:
    """The page as Markdown, with the entries of these names."""
    parts = ["# Pictures\n", f"{fill(HEAD, WIDE)}\n", f"```python\n{START}```\n"]
    for entry in ENTRIES:
        if entry.name in names:
            parts += [f"## {entry.title}\n", f"{fill(entry.words, WIDE)}\n"]
            parts.append(f"```python\n{entry.code.strip()}\n```\n")
            parts.append(f"![{entry.title}](pictures/{entry.name}.svg)\n")
    return "\n".join(parts)


def main() -> None:
    found = pictures()
    sizes = {name: len(picture.svg.encode("utf-8")) for name, picture in found.items()}
    too_large = [name for name, size in sizes.items() if size > LARGEST]
    if too_large or sum(sizes.values()) > LARGEST_OF_ALL:
        raise SystemExit(f"pictures are too large: {too_large or sizes}")
    folder = DOCS / "pictures"
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.svg"):
        if path.stem not in found:
            path.unlink()
    for name, picture in found.items():
        picture.save(folder / f"{name}.svg")
        print(f"{sizes[name]:>8,} bytes  {name}.svg")
    (DOCS / "gallery.md").write_text(page(found), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
