"""Every kind of picture, with the lines that make it: a page of the site."""

from __future__ import annotations

import json
from dataclasses import dataclass

HEAD = (
    "Every picture here was made by the lines above it. "
    'A picture shows itself in a notebook, and `picture.save("picture.svg")` writes '
    "it, or .png and .pdf with graphviz, or .dot of a graph. All can be read without colour: "
    "width, pattern and number say the same. All begin with"
)
START = """\
import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn
"""


@dataclass
class Entry:
    """A heading, a sentence, and the code that makes what is shown.

    shows: which of the names that the code leaves are pictures, or pages.
    """

    name: str
    title: str
    words: str
    code: str
    shows: tuple[str, ...] = ("picture",)


ENTRIES = [
    Entry(
        "level",
        "One run at three levels",
        "What backpropagation through time goes through: a column for each time step, and on "
        "every node the size of its gradient. A weight is a chip in each step that shares it. Then "
        "the same run with one box for each gate, and with one for each cell.",
        """
rng = np.random.default_rng(0)
cell, output = nn.LSTM(2, 3, rng=rng), nn.Linear(3, 2, rng=rng)
xs = tg.tensor(rng.normal(size=(3, 1, 2)), dtype=np.float32, name="x")
hs, _ = cell(xs, unroll=True)  # every step recorded, not one compiled loop
loss = tg.cross_entropy(output(hs), [[0], [1], [0]])
loss.backward(retain_graph=True)  # keep the graph, and the gradients on it
op = tg.draw(loss, title="An LSTM over three steps")
gate = tg.draw(loss, level="gate", title="Its gates")
cell = tg.draw(loss, level="cell", title="Its cells")
""",
        ("op", "gate", "cell"),
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
        "layers",
        "Layers and directions",
        "Two layers, the second in both directions, over sequences of different lengths, which "
        "masks tell from padding. Loops that ran compiled are drawn as their steps.",
        """
both = nn.Bidirectional(nn.RNN(4, 4, rng=0), nn.RNN(4, 4, rng=1))
layer = nn.Recurrent(nn.LSTM(2, 4, rng=0), both)
ys, _ = layer(np.ones((9, 2, 2), np.float32), lengths=[9, 5])
title = "Two layers, the second in both directions"
picture = tg.draw(ys.sum(), level="cell", first=1, last=1, title=title)
""",
    ),
    Entry(
        "folded",
        "Folded",
        "The loop as one step for all, as the recurrence it is: what it hands to a later step goes "
        "through a box z⁻¹, or z⁻² and z⁻³ where a shortcut skips steps.",
        """
xs = np.ones((6, 2, 2), np.float32)


def folded(cell, title, **how):
    ys, _ = nn.Recurrent(cell)(xs, **how)
    return tg.draw(ys[-1].sum(), view="folded", title=title)


rnn = folded(nn.RNN(2, 3, rng=0), "An RNN")
lstm = folded(nn.LSTM(2, 3, rng=0), "An LSTM")
gru = folded(nn.GRU(2, 3, rng=0), "A GRU")
skip2 = folded(nn.TimeSkip(nn.RNN(2, 3, rng=0), 2), "A shortcut over two steps")
skip3 = folded(nn.TimeSkip(nn.LSTM(2, 3, rng=0), 3), "A shortcut over three steps")
both = nn.Bidirectional(nn.RNN(2, 3, rng=0), nn.RNN(2, 3, rng=1))
both = folded(both, "Both directions, with lengths", lengths=[6, 4])
""",
        ("rnn", "lstm", "gru", "skip2", "skip3", "both"),
    ),
    Entry(
        "backward",
        "The backward pass",
        "Arrows lead the other way; their hue and width are how much gradient came through, and "
        "the numbers are the order of the pass. One state in which it vanishes, and one in which "
        "it explodes, unrolled and folded.",
        """
def run(scale):
    cell = nn.RNN(2, 3, activation="identity", rng=0)
    cell.Wh.data = scale * np.eye(3, dtype=np.float32)
    hs, _ = cell(np.ones((5, 1, 2), np.float32))
    return hs[-1].sum()


vanishes, explodes = run(0.1), run(10.0)
small = tg.draw(vanishes, overlay="backward", level="cell", title="× 0.1 a step: it vanishes")
large = tg.draw(explodes, overlay="backward", level="cell", title="× 10 a step: it explodes")
op = tg.draw(vanishes, overlay="backward", title="The same, op by op")
folded = tg.draw(explodes, overlay="backward", view="folded", title="× 10 a step, folded")
""",
        ("small", "large", "op", "folded"),
    ),
    Entry(
        "long",
        "A long sequence",
        "Steps in between are folded away; `around` shows some of them with their neighbours.",
        """
ys, _ = nn.GRU(4, 8, rng=0)(np.ones((100, 1, 4), np.float32))
loss = ys[-1].sum()
gap = tg.draw(loss, first=2, last=1, level="gate", title="A GRU over 100 steps")
around = tg.draw(loss, first=1, around=[50], level="cell", title="The same, around step 50")
""",
        ("gap", "around"),
    ),
    Entry(
        "diff",
        "Two runs side by side",
        "What only one of them has is marked: an LSTM beside a GRU, and a GRU whose reset gate "
        "acts before the product with the state beside one where it acts after.",
        """
def loss(cell):
    ys, _ = cell(np.ones((3, 1, 2), np.float32))
    return ys[-1].sum()


lstm, gru = loss(nn.LSTM(2, 3, rng=0)), loss(nn.GRU(2, 3, rng=0))
cells = tg.view.diff(lstm, gru, titles=("LSTM", "GRU"), level="gate")
torch = loss(nn.GRU(2, 3, convention="torch", rng=0))
conventions = tg.view.diff(gru, torch, titles=("GRU, as in the textbook", "GRU, as in PyTorch"))
""",
        ("cells", "conventions"),
    ),
    Entry(
        "forcing",
        "Teacher forcing",
        "A network whose only way through time is its output stays one part when it is fed with "
        "what it gave, and falls into one part for each step when it is fed with what it should "
        "have given: all steps could be trained at once.",
        """
xs, targets = np.ones((4, 1, 3), np.float32), np.ones((4, 1, 2), np.float32)


def losses(source, **how):
    cell, found = nn.OutputRecurrent(3, 4, 2, source=source, rng=0), []
    ys, _ = cell(xs, unroll=True, **how)
    for t, (y, target) in enumerate(zip(ys, targets)):
        with tg.scope(f"loss/t={t}"):  # drawn in the column of its step
            found.append(tg.mean_squared_error(y, tg.tensor(target, name="target")))
            found[-1].name = "loss"
    return found, tg.lab.teacher_forcing_parts(found, cell).count


(free, one), (forced, four) = losses("output"), losses("target", targets=targets)
assert (one, four) == (1, 4)
output = tg.draw(free, level="cell", title="Fed with its own outputs: one part")
target = tg.draw(forced, level="cell", title="Fed with targets: a part for each step")
""",
        ("output", "target"),
    ),
    Entry(
        "heat",
        "Who feels whom",
        "How much the loss at t feels of the state at k, relative to its own step; the future is "
        "dotted.",
        """
rng = np.random.default_rng(0)
cell, output = nn.LSTM(2, 8, rng=rng), nn.Linear(8, 2, rng=rng)
hs, _ = cell(rng.normal(size=(12, 1, 2)).astype(np.float32))
loss = tg.cross_entropy(output(hs), rng.integers(0, 2, (12, 1)), reduction="sum")
picture = tg.lab.heat(loss).draw(words="how far back", title="An LSTM, untrained")
""",
    ),
    Entry(
        "ledger",
        "What a gradient is made of",
        "The gradient of a weight is a sum over all pairs of a loss at t and a step k at which "
        "the weight was used. Far from the diagonal terms vanish; added up by how far they go "
        "back, their shares add up to 1.",
        """
rng = np.random.default_rng(0)
cell, output = nn.RNN(2, 8, rng=rng), nn.Linear(8, 2, rng=rng)
hs, _ = cell(rng.normal(size=(12, 1, 2)).astype(np.float32))
loss = tg.cross_entropy(output(hs), rng.integers(0, 2, (12, 1)), reduction="sum")
ledger = tg.lab.ledger(loss, cell.Wh)
terms = ledger.draw()
lags = ledger.by_lag()
title = "What terms of each lag add to the gradient of Wh"
lag = tg.view.curve(
    {"share": (lags.lags, lags.shares)}, title=title, x_label="t − k", y_label="share"
)
""",
        ("terms", "lag"),
    ),
    Entry(
        "flow",
        "How far a gradient gets",
        "The norm of the product of Jacobians, beside the bounds that its decay is compared with. "
        "The title is the verdict.",
        """
rng = np.random.default_rng(0)
cell = nn.RNN(4, 16, rng=rng)
cell.Wh.data = (0.18 * rng.normal(size=(16, 16))).astype(np.float32)
picture = tg.lab.flow(cell, rng.normal(size=(40, 1, 4)).astype(np.float32)).draw()
""",
    ),
    Entry(
        "saturation",
        "Gates that are stuck",
        "How often each gate of an LSTM has which value, here with weights ten times too large.",
        """
cell = nn.LSTM(4, 16, rng=0)
cell.Wx.data = 10 * cell.Wx.data
xs = np.random.default_rng(0).normal(size=(50, 8, 4)).astype(np.float32)
_, _, gates = cell(xs, return_gates=True)
picture = tg.lab.gates(gates).draw()
""",
    ),
    Entry(
        "memory",
        "Memory",
        "What is held for the backward pass grows with every step. Truncation ends the growth: the "
        "state is detached where the scissors are, and what a window held is let go before the "
        "next one begins. Checkpoints keep less and recompute the rest.",
        """

def losses(window, **how):
    cell, state, found = nn.LSTM(8, 16, rng=0), None, []
    for xs in np.ones((32 // window, window, 4, 8), np.float32):
        ys, state = cell(xs, state, **how)
        found.append((ys * ys).mean())
        state = tg.detach(state)
    return found


runs = {"a compiled loop": losses(32), "in windows of 8 steps": losses(8)}
runs['checkpoint="sqrt"'] = losses(32, checkpoint="sqrt")
picture = tg.view.memory(runs, title="What an LSTM keeps for the backward pass")
""",
    ),
    Entry(
        "unrolled-memory",
        "Memory, step by step",
        "An unrolled run keeps every value in between. Detaching the state inside one graph "
        "ends the backward pass, but frees nothing.",
        """
W = tg.tensor(np.eye(16) * 0.9, requires_grad=True, name="W")
h, loss = tg.tensor(np.ones((4, 16)), name="h0"), 0.0
for t in range(12):
    with tg.scope(f"rnn/t={t}"):
        h = tg.tanh((h.detach() if t in (4, 8) else h) @ W)
        loss = loss + (h * h).sum()
picture = tg.view.memory(loss, title="One loss over three windows")
""",
    ),
    Entry(
        "masks",
        "Masks that change",
        "Dropout on what comes from below, drawn again at every step, and zoneout: a line "
        "through a step is a unit that keeps its value.",
        """
cell = nn.Zoneout(nn.LSTM(6, 8, rng=0), h=0.1, c=0.5, rng=1)
cell = nn.FeedforwardDropout(cell, 0.4, rng=2)
ys, _ = cell(np.ones((24, 1, 6), np.float32))
picture = tg.view.masks(ys.sum(), title="Dropout from below, zoneout of both states")
""",
    ),
    Entry(
        "variational-masks",
        "Masks that stay",
        "Variational dropout cuts the same links at every step of a sequence.",
        """
cell = nn.VariationalDropout(nn.GRU(6, 8, rng=0), inputs=0.3, state=0.3, rng=1)
ys, _ = cell(np.ones((24, 1, 6), np.float32))
picture = tg.view.masks(ys.sum(), title="Variational dropout")
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
picture = tg.view.curve(lines, title=title, x_label="k", y_label="‖Wᵏ‖")
""",
    ),
    Entry(
        "bptt",
        "A page to step through",
        "The run and its backward pass, every step with its numbers, in one file without network; "
        '`page.save("page.html")` writes it. A notebook shows it, too.',
        """
rng = np.random.default_rng(0)
cell, output = nn.RNN(1, 2, rng=rng), nn.Linear(2, 2, rng=rng)
hs, _ = cell(np.array([1, -1, 1, -1], np.float32).reshape(4, 1, 1))
loss = tg.cross_entropy(output(hs), [[0], [1], [1], [0]])
page = tg.explain(loss, title="Back through four steps", text="+-+-")
""",
        ("page",),
    ),
]


def cell(shown: str, words: str) -> str:
    """A cell that shows a picture, with words for those who do not see it, or a page."""
    options = f"tags: [remove-input]\nmystnb:\n  image:\n    alt: {json.dumps(words)}"
    return f"```{{code-cell}}\n---\n{options}\n---\n{shown}\n```\n"


def pages() -> dict[str, str]:
    """The page of the site, by its file: the code of each entry, and what it shows."""
    parts = ["# Pictures\n", f"{HEAD}\n", f"```python\n{START}```\n"]
    for entry in ENTRIES:
        parts += [f"## {entry.title}\n", f"{entry.words}\n"]
        alone = len(entry.shows) == 1
        code = f"```python\n{entry.code.strip()}\n"
        for shown in entry.shows:
            words = entry.title if alone else f"{entry.title}: {shown}"
            parts.append(code + "```\n" if shown == entry.shows[0] else "")
            parts.append(cell(shown, words))
    return {"gallery.md": "\n".join(parts)}
