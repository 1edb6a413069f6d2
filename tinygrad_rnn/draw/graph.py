"""What is drawn: a history read as nodes, edges, columns of time and bands of layers.

The counting rule, which the tests repeat:

- every op that is shown is one node; a `pick` is none: its edges start at the tuple it picks from;
- a compiled loop is none: its steps are drawn, as if they had been run one by one;
- a `stack` that is only unstacked again along its axis is none, nor is that `unstack`: each part is
  the tensor that was stacked, and so one layer's steps lead straight to the next layer's;
- every leaf is one node in each cell (one layer at one step; everything before the steps;
  everything after them) in which a shown op uses it;
- every input of a shown op is one edge, unless it comes from a hidden step;
- the hidden steps are together one node, with one edge to or from each shown node they touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from ..op import pick
from ..tensor import Tensor, history
from .steps import with_steps
from .text import attribute_words, gradient_words, literal, number, shape_words, step_of

BUDGET = 3000  # nodes; more than that is neither readable nor quick to open

_glyphs = {
    **{"add": "+", "sub": "−", "mul": "×", "div": "÷", "neg": "−x", "matmul": "@"},
    **{"sigmoid": "σ", "sum": "Σ", "sqrt": "√", "power": "xʸ", "abs": "|x|", "exp": "eˣ"},
    **{"less": "<", "greater": ">", "less_equal": "≤", "greater_equal": "≥"},
    **{"equal": "=", "not_equal": "≠", "transpose": "ᵀ", "cross_entropy": "cross entropy"},
    **{"log_softmax": "log softmax", "sum_to": "sum to"},
}
_families = {
    "matmul": "product",
    **dict.fromkeys(["add", "sub", "neg"], "sum"),
    **dict.fromkeys(["mul", "div", "power"], "scale"),
    "cross_entropy": "loss",
    **dict.fromkeys(["split", "stack", "unstack", "concat", "reshape", "transpose"], "move"),
    **dict.fromkeys(["swapaxes", "expand", "sum_to", "flip", "take", "put"], "move"),
    **dict.fromkeys(["astype", "embedding"], "move"),
    **dict.fromkeys(
        ["sigmoid", "tanh", "relu", "softplus", "softmax", "log_softmax", "exp", "log", "sqrt"],
        "curve",
    ),
}


@dataclass
class Node:
    """A box of the picture: words and a place; it holds no tensor."""

    kind: str  # "op", "parameter", "input", "constant" or "gap"
    spot: tuple[int, int]  # (column, band)
    glyph: str
    words: str  # what follows the glyph: a shape, or a value
    grad: str  # the state of the gradient; "" where it is not told
    title: str  # everything else, for whoever hovers over it
    family: str = "other"
    hue: int = -1  # of a parameter: which colour is its own
    loud: bool = False
    output: bool = False
    chip: bool = False
    x: float = 0.0  # the centre, from the left and from the top
    y: float = 0.0
    w: float = 0.0
    h: float = 0.0

    @property
    def lines(self) -> list[str]:
        """The label; a chip shows its name only, the legend tells the rest."""
        if self.chip:
            return [self.glyph]
        return [line for line in (f"{self.glyph} {self.words}".strip(), self.grad) if line]


@dataclass
class Edge:
    """An arrow between two nodes, given by their numbers."""

    source: int
    target: int
    title: str
    part: int = -1  # which part of a tuple travels here
    place: int = 0  # which input of the target this is
    hidden: int = 0  # how many connections of hidden steps it stands for
    route: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Column:
    """A slice of the picture from top to bottom: one time step, the gap, or what has no step."""

    kind: str  # "before", "step", "gap", "after" or "plain"
    label: str
    time: int = -1


@dataclass
class Entry:
    """A line of the legend: a parameter that the steps share."""

    label: str
    words: str
    hue: int
    loud: bool


@dataclass
class Graph:
    """A picture before it has coordinates."""

    nodes: list[Node]
    edges: list[Edge]
    columns: list[Column]
    bands: list[str]
    legend: list[Entry]
    steps: int  # how many there are in all
    hidden_steps: int
    tensors: int  # how many the whole history has
    alarm: str = ""


@cache
def _glyph(name: str) -> str:
    return _glyphs.get(name, literal(name.replace("_", " "), 20))


def read(outputs: Sequence[Tensor], first: int, last: int) -> Graph:
    """Read what these tensors came from, showing the `first` and `last` time steps.

    Raises RuntimeError for a graph freed by `backward()`, ValueError above the node budget.
    """
    return _Reader(outputs, first, last).graph()


def whole(x: Tensor) -> tuple[Tensor, int]:
    """What a tensor is drawn as: itself, or a tuple and which part of it (else -1).

    A part of an unstacked stack is the tensor that was stacked.
    """
    while x.op is pick:
        parts, i = x.inputs[0], x.attrs["i"]
        if not is_restacked(parts):
            return parts, i
        x = parts.inputs[0].inputs[i]
    return x, -1


def is_restacked(y: Tensor) -> bool:
    """Whether this is the unstacking of a stack along its own axis, which moves nothing."""
    if y.op is None or y.op.name != "unstack" or not y.op.ours:
        return False
    stack = y.inputs[0]
    if stack.op is None or stack.op.name != "stack" or not stack.op.ours:
        return False
    return (stack.attrs["axis"] - y.attrs["axis"]) % stack.ndim == 0


class _Reader:
    """One reading of one history; the tensors are let go when it is done."""

    def __init__(self, outputs: Sequence[Tensor], first: int, last: int):
        outputs = with_steps(outputs)
        self.order = history(outputs)[::-1]
        self.outputs = {whole(x)[0] for x in outputs}
        self.ops = self._drawn_ops()
        used = {x for y in self.order for x in y.inputs}
        self.lone = [x for x in self.order if x.op is None and x not in used]
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.number: dict[object, int] = {}  # what is drawn already, and as which node
        self.users: dict[Tensor, set[tuple[str, int]]] = {}  # of a leaf: the cells using it
        self.hues: dict[Tensor, int] = {}
        self.parts: dict[Tensor, list[Tensor]] = {}
        self._place_steps(first, last)
        self._place_the_rest()
        self._hide_what_only_hidden_steps_touch()
        self._look_at_leaves()

    def _drawn_ops(self) -> list[Tensor]:
        """The ops that are nodes, by the counting rule above."""
        ops = [y for y in self.order if y.op is not None and y.op is not pick]
        ops = [y for y in ops if not is_restacked(y)]
        read = self.outputs | {whole(x)[0] for y in ops for x in y.inputs}
        return [y for y in ops if y in read]

    # -- where things go -----------------------------------------------------------------------

    def _place_steps(self, first: int, last: int) -> None:
        """Number the steps and the layers, and choose the steps that are shown."""
        self.cells = {y: cell for y in self.ops if (cell := step_of(y.scope)) is not None}
        layers = dict.fromkeys(layer for layer, _ in self.cells.values())
        times = sorted({t for _, t in self.cells.values()})
        self.bands = {layer: k for k, layer in enumerate(layers)}
        self.times = times
        hidden = times[first : len(times) - last] if len(times) > first + last + 1 else []
        self.hidden_times = set(hidden)

    def _place_the_rest(self) -> None:
        """An op outside the steps goes before them if some step depends on it, else after."""
        feeds: set[Tensor] = set()
        for y in reversed(self.order):
            if y in self.cells or y in feeds:
                feeds.update(y.inputs)
        rest = [y for y in self.ops if y not in self.cells]
        self.before = {y for y in rest if y in feeds}
        after = len(rest) > len(self.before) or bool(self.lone)
        self.columns = self._columns(bool(self.before), after)
        kinds = {c.kind: k for k, c in enumerate(self.columns)}
        steps = {c.time: k for k, c in enumerate(self.columns) if c.kind == "step"}
        self.gap = kinds.get("gap", -1)
        self.outside = kinds.get("after", kinds.get("plain", -1))
        self.spots: dict[Tensor, tuple[int, int]] = {}
        for y in self.ops:
            if y in self.cells:
                layer, t = self.cells[y]
                if t in steps:
                    self.spots[y] = steps[t], self.bands[layer]
            else:
                self.spots[y] = (kinds["before"] if y in self.before else self.outside), 0

    def _columns(self, before: bool, after: bool) -> list[Column]:
        if not self.times:
            return [Column("plain", "")]
        columns = [Column("before", self._before_label())] if before else []
        for t in self.times:
            if t not in self.hidden_times:
                columns.append(Column("step", f"t = {t}", t))
            elif columns[-1:] != [gap := self._gap_column()]:
                columns.append(gap)
        return columns + ([Column("after", "after the steps")] if after else [])

    def _before_label(self) -> str:
        """Some of it may come from other steps: what an encoder leaves for a decoder."""
        late: set[Tensor] = set()
        for y in self.ops:
            if y in self.cells or any(whole(x)[0] in late for x in y.inputs):
                late.add(y)
        return "before the steps" if late.isdisjoint(self.before) else "before and between"

    def _gap_column(self) -> Column:
        return Column("gap", f"… {len(self.hidden_times)} steps …")

    def _hide_what_only_hidden_steps_touch(self) -> None:
        """Outside the steps, hide what reads hidden steps only, and what only they read."""
        if not self.hidden_times:
            return
        kept = self.outputs | self.before | set(self.cells)
        for y in self.ops:
            made = [m for m, _ in map(whole, y.inputs) if m.op is not None]
            if y not in kept and made and not any(x in self.spots for x in made):
                del self.spots[y]
        read_by_shown = set(self.outputs)
        for y in reversed(self.ops):
            if y in self.before and y not in read_by_shown:
                del self.spots[y]
            elif y in self.spots:
                read_by_shown.update(whole(x)[0] for x in y.inputs)

    def _look_at_leaves(self) -> None:
        for y in self.cells:
            for x, _ in map(whole, y.inputs):
                if x.op is None:
                    self.users.setdefault(x, set()).add(self.cells[y])
        for y in self.order:
            if y.op is pick:
                self.parts.setdefault(y.inputs[0], []).append(y)
        self.op_grads = any(y.grad is not None for y in self.order if y.op is not None)

    # -- what is drawn there -------------------------------------------------------------------

    def graph(self) -> Graph:
        shown = [y for y in self.ops if y in self.spots]
        self._refuse_too_many(shown)
        if self.gap >= 0:
            self._draw_gap(len(self.ops) - len(shown))
        for y in shown:
            self._draw_op(y)
        for x in self.lone:
            self._leaf(x, (self.outside, 0))
        if self.gap >= 0:
            self._draw_edges_into_the_gap()
        self._refuse_too_many(self.nodes)
        return Graph(
            self.nodes,
            self.edges,
            self.columns,
            list(self.bands),
            self._legend(),
            len(self.times),
            len(self.hidden_times),
            len(self.order),
            self._alarm(),
        )

    def _refuse_too_many(self, things: Sequence[object]) -> None:
        if len(things) > BUDGET:
            advice = (
                "Show fewer steps with draw(..., first=1, last=1), or draw an earlier tensor."
                if self.times
                else "Build the steps under tg.scope(f't={t}'), so that most can be folded away, "
                "or draw an earlier tensor."
            )
            raise ValueError(
                f"draw: this picture would have at least {len(things)} nodes, more than the "
                f"{BUDGET} that can be read. {advice}"
            )

    def _add(self, key: object, node: Node) -> int:
        self.number[key] = len(self.nodes)
        self.nodes.append(node)
        return self.number[key]

    def _draw_gap(self, ops: int) -> None:
        label = self.columns[self.gap].label
        title = f"{len(self.hidden_times)} steps are not drawn, with {ops} ops"
        self._add("gap", Node("gap", (self.gap, 0), label, "", "", title))

    def _draw_op(self, y: Tensor) -> None:
        assert y.op is not None
        grad, loud = self._op_gradient(y)
        sources = [self._source(x, y) for x in y.inputs]
        words = shape_words(y)
        if not words and type(y._array) is not tuple:
            words = f"= {number(y.item())}"
        glyph = _glyph(y.op.name)
        if y.name:
            glyph = f"{literal(y.name, 12)} = {glyph}"
        target = self._add(
            y,
            Node(
                "op",
                self.spots[y],
                glyph,
                words,
                grad,
                self._op_title(y, grad),
                _families.get(y.op.name, "other"),
                loud=loud,
                output=y in self.outputs,
            ),
        )
        for place, (source, part) in enumerate(sources):
            if source != self.number.get("gap"):
                self._connect(source, target, part, place)
            else:
                self._connect_gap(source, target)

    def _source(self, x: Tensor, y: Tensor) -> tuple[int, int]:
        made, part = whole(x)
        if made.op is None:
            return self._leaf(made, self.spots[y]), part
        return self.number[made if made in self.spots else "gap"], part

    def _connect(self, source: int, target: int, part: int, place: int) -> None:
        ends = f"{self.nodes[source].lines[0]} → {self.nodes[target].lines[0]}"
        words = f"{ends}, part {part}" if part >= 0 else ends
        self.edges.append(Edge(source, target, words, part, place))

    def _connect_gap(self, source: int, target: int) -> None:
        known = self.number.get(("edge", source, target))
        if known is None:
            known = self.number["edge", source, target] = len(self.edges)
            self.edges.append(Edge(source, target, ""))
        edge = self.edges[known]
        edge.hidden += 1
        edge.title = f"{edge.hidden} connection{'s' * (edge.hidden > 1)} of hidden steps"

    def _draw_edges_into_the_gap(self) -> None:
        for y in self.ops:
            if y not in self.spots:
                for x in y.inputs:
                    made, _ = whole(x)
                    if made in self.spots:
                        self._connect_gap(self.number[made], self.number["gap"])

    def _leaf(self, x: Tensor, spot: tuple[int, int]) -> int:
        if (x, spot) in self.number:
            return self.number[x, spot]
        chip = self.columns[spot[0]].kind == "step"
        shape = shape_words(x)
        if x.requires_grad:
            grad, loud = gradient_words([x.grad] if x.grad is not None else [])
            label = literal(x.name, 14 if chip else 20) if x.name else shape or "scalar"
            node = Node("parameter", spot, label, "" if chip or not x.name else shape, grad, "")
            node.hue, node.loud = self.hues.setdefault(x, len(self.hues)), loud
        elif x.ndim or x.name:
            label = literal(x.name, 20) if x.name else "input"
            node = Node("input", spot, label, shape or f"= {number(x.item())}", "", "")
        else:
            node = Node("constant", spot, number(x.item()), "", "", "")
        node.chip = node.kind == "constant" or (chip and node.kind == "parameter")
        node.output = x in self.outputs
        node.title = self._leaf_title(x, node)
        return self._add((x, spot), node)

    # -- what is said about it -----------------------------------------------------------------

    def _op_gradient(self, y: Tensor) -> tuple[str, bool]:
        if not self.op_grads:
            return "", False
        own = [y] if type(y._array) is not tuple else self.parts.get(y, [])
        return gradient_words([x.grad for x in own if x.grad is not None])

    def _op_title(self, y: Tensor, grad: str) -> str:
        assert y.op is not None
        facts = [y.op.name, _form(y), attribute_words(y.attrs)]
        facts += [f"in {literal(y.scope, 60)}" if y.scope else "", grad]
        facts += [f"named {literal(y.name, 60)}" if y.name else ""]
        return "\n".join(filter(None, facts))

    def _leaf_title(self, x: Tensor, node: Node) -> str:
        name = literal(x.name, 60) if x.name else "without a name"
        steps = len({t for _, t in self.users.get(x, ())})
        shared = f"used in {steps} step{'s' * (steps > 1)}" if steps else ""
        return "\n".join(filter(None, [f"{node.kind} {name}", _form(x), shared, node.grad]))

    def _legend(self) -> list[Entry]:
        """The parameters that steps use, hidden steps included, in the order of their colours."""
        entries = []
        for x, cells in self.users.items():
            if x.requires_grad:
                grad, loud = gradient_words([x.grad] if x.grad is not None else [])
                hue = self.hues.setdefault(x, len(self.hues))
                layers = {layer for layer, _ in cells}
                label = literal(x.name, 20) if x.name else "parameter"
                where = (
                    f"in {literal(min(layers), 20)}, " if len(layers) == 1 and any(layers) else ""
                )
                steps = len({t for _, t in cells})
                use = f"shared by {steps} steps" if steps > 1 else "used in 1 step"
                words = f"{shape_words(x) or 'scalar'}, {where}{use}, {grad}"
                entries.append(Entry(label, words, hue, loud))
        return sorted(entries, key=lambda entry: entry.hue)

    def _alarm(self) -> str:
        """The parameters whose gradient is not finite, hidden or not, in one sentence."""
        bad = []
        for x in self.order:
            if x.op is None and x.grad is not None:
                words, loud = gradient_words([x.grad])
                if loud:
                    bad.append(f"{literal(x.name or 'a leaf', 20)} ({words.removeprefix('grad ')})")
        more = f" and {len(bad) - 4} more" if len(bad) > 4 else ""
        return f"Not finite: the gradient of {', '.join(bad[:4])}{more}" if bad else ""


def _form(x: Tensor) -> str:
    if type(x._array) is tuple:
        return f"a tuple of {len(x._array)} parts"
    return f"{x.dtype} of shape {shape_words(x)}" if x.ndim else f"{x.dtype} number"
