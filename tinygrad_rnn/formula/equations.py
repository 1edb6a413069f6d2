"""The equations of a step's backpropagation through time, to be read and set in a paper."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

from ..tensor import Tensor
from .lines import Derivation
from .order import Line
from .program import Program
from .read import CHOSEN, Reader
from .term import Call, Symbol
from .write import ANY, RATIO, Latex, MathML, Text

WIDTH = 98
TITLES = {
    "blocks": "Blocks of weights",
    "start": "Before the first step",
    "forward": "Forward, t = 1 … T",
    "backward": "Backward, t = T … 1, where δv is ∂L/∂v, and 0 after the last step",
    "first": "The first state",
    "sums": "Weights, Σ_t over all steps",
}


class Equations:
    """Equations in sections: `print` shows them, `latex` is for a paper, a notebook sets them.

    title: a line at the top. sections: for each of blocks, start, forward, backward, first and sums
    that is not empty its lines. How a text is to be read says `formula/write.py`.
    """

    def __init__(self, title: str, sections: Mapping[str, Sequence[Line]]):
        self.title = title
        self.sections = {name: list(lines) for name, lines in sections.items() if lines}

    def __str__(self) -> str:
        parts = [[TITLES[name], *[f"  {x}" for x in self.lines(name)]] for name in self.sections]
        return "\n\n".join([self.title, *map("\n".join, parts)]) + "\n"

    __repr__ = __str__

    def lines(self, name: str) -> list[str]:
        """The lines of a section as text, a long one wrapped before a plus or a minus."""
        found = []
        for left, right, over in self._rows(name, Text):
            words = f"{left} = {right}" + (f"    for {over}" if over else "")
            found += [words] if len(words) <= WIDTH else _wrapped(left, words)
        return found

    def _rows(self, name: str, kind: type[Text]) -> list[tuple[str, str, str]]:
        """The lines of a section as both sides, and for which blocks they are."""
        writer = kind(first=name in ("first", "start"))
        return [_written(line, writer) for line in self.sections[name]]

    @property
    def latex(self) -> str:
        """The sections as LaTeX, each an `align*` (package amsmath)."""
        align = "% {}\n\\begin{{align*}}\n{}\n\\end{{align*}}\n"
        return "\n".join(align.format(TITLES[x], self._aligned(x, "&&")) for x in self.sections)

    def _aligned(self, name: str, apart: str) -> str:
        rows = self._rows(name, Latex)
        return " \\\\\n".join(f"  {x} &= {y}" + f" {apart} {z}" * bool(z) for x, y, z in rows)

    def _repr_latex_(self) -> str:
        rows = " \\\\\n".join(self._aligned(name, r"\quad") for name in self.sections)
        return f"$$\\begin{{aligned}}\n{rows}\n\\end{{aligned}}$$"

    @property
    def html(self) -> str:
        """The sections as HTML with MathML, which browsers set without help."""
        parts = []
        for name in self.sections:
            parts.append(f'<h4 data-say="eq_{name}">{escape(TITLES[name])}</h4><table>')
            for left, right, over in self._rows(name, MathML):
                sides = SIDE.format("right", left) + SIDE.format("left", "<mo>=</mo>" + right)
                each = f"<td>{escape(over)}</td>" if over else ""
                parts.append(f"<tr>{sides}{each}</tr>")
            parts.append("</table>")
        return f'<div class="equations">{"".join(parts)}</div>'

    def _repr_html_(self) -> str:
        return self.html.replace("<div", '<div style="overflow-x:auto"', 1)


SIDE = '<td align="{}"><math displaystyle="true">{}</math></td>'


def _wrapped(left: str, words: str) -> list[str]:
    """A line on several, those after the first under what is right of the equals sign."""
    made, piece, depth = [""], "", 0
    for letter in [*re.split(r"( [+−] | {4}for |[()\[\]])", words), " + "]:
        depth += (letter in ("(", "[")) - (letter in (")", "]"))
        if letter in (" + ", " − ", "    for ") and not depth:
            if made[-1] and len(made[-1] + piece) > WIDTH:
                made.append(" " * (len(left) + 2))
            made[-1] += piece
            piece = ""
        piece += letter
    return made


def _written(line: Line, writer: Text) -> tuple[str, str, str]:
    """Both sides, and for which blocks the line is."""
    right, whole = line.right, len(line.left) > 1 and type(writer) is not Text
    left = writer.COMMA.join(map(writer, line.left))
    if whole and isinstance(right, Call):  # [Wx[i], Wx[f]] = Wx, where nobody has to read it back
        left, right = writer.SQUARE.format(left), right.inputs[0]
    words = writer(right, RATIO if line.sums else ANY)  # a sum over time is of a product
    over = writer.EACH.format(line.each, ", ".join(line.blocks)) if line.blocks else ""
    return left, writer.total("t", words) if line.sums else words, over


def derived(
    program: Program,
    names: Sequence[str],
    *,
    title: str,
    weights: Mapping[Tensor, str],
    reads: Sequence[int] | None = None,
    begin: Sequence[Tensor] = (),
    batch: int = 0,
    detail: bool = False,
) -> Equations:
    """The equations of a step, whose results go by the names.

    weights: what leaves that the step closes over are called. reads: the numbers of the results
    that a loss reads; by default the outputs, those after the carry, or without such the first
    state. begin: the first state, where it is trained. batch: the size of the axis that is the
    batch's. detail: a line for each op.
    """
    count = len(program.carry)
    outputs = len(program.results) - count
    every = [*names, *(["y"] if outputs == 1 else [f"y{k + 1}" for k in range(outputs)])]
    if reads is None:
        reads = range(count, count + outputs) if outputs else [0]
    if batch in CHOSEN or (batch > 1 and batch not in _other_sizes(program)):
        batch = -batch
    try:
        made = Derivation(program, every, dict(weights), reads, detail, batch)
        sections = made.sections()
    except RecursionError:
        raise ValueError("equations: too many ops in a row for one formula") from None
    if any(x.tracked for x in begin):
        sections["start"], trained = _start(begin, made, dict(weights), batch)
        sections["first"] += trained
    elif not detail:
        del sections["first"]
    return Equations(title, {name: sections[name] for name in TITLES if name in sections})


def _other_sizes(program: Program) -> set[int]:
    """The sizes of all axes but the first of what changes with time, and of weights."""
    single = [y for y in program.nodes if type(y._array) is not tuple]
    moving = [n for x in (*program.xs, *program.carry, *single) for n in x.shape[1:]]
    return {*moving, *[n for x in program.weights.values() for n in x.shape]}


def _start(
    begin: Sequence[Tensor], made: Derivation, known: dict[Tensor, str], batch: int
) -> tuple[list[Line], list[Line]]:
    """What the first state is made of, and what that gets."""
    program, take = Program(begin, [], []), made.names.take
    names = {leaf: take(known.get(leaf) or leaf.name or "W") for leaf in program.weights}
    symbols = {x: Symbol(names[leaf]) for leaf, x in program.weights.items()}
    gs, found = program.pull(range(len(begin)))
    states = [made.names.state(k) for k in range(len(begin))]
    arriving = {g: replace(h, mark="δ") for g, h in zip(gs, states, strict=True) if g is not None}
    read = Reader({**symbols, **arriving}, batch)
    pairs = [(h, y) for h, y in zip(states, program.results, strict=True) if y.op is not None]
    got = [(replace(h, mark="∂"), found[x]) for x, h in symbols.items() if x in found]
    start = [Line((h,), read.formula(y)) for h, y in pairs]
    return start, [Line((h,), read(g)) for h, g in got]
