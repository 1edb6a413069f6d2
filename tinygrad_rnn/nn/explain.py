"""A cell says what it computes, what its weights are, and why they are so many."""

from __future__ import annotations

from textwrap import wrap
from typing import Any, TypeAlias

from ..tensor import Untraceable
from .cell import Cell
from .cells import GRU, LSTM
from .conventions import CONVENTIONS
from .convert import form_of, kind_of
from .equations import equations
from .modifiers import Modifier
from .module import count_parameters

Lines: TypeAlias = "list[str]"
WIDTH = 96

GATES = {
    **{"i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate"},
    **{"r": "reset gate", "z": "update gate", "n": "candidate"},
}


def explain(cell: Cell) -> str:
    """What a cell computes, each weight's share of its parameters, and why others count otherwise.

    The formulas are the forward lines of `tg.equations(cell)`, read from the cell's step: Wx[f] is
    the block of Wx's columns that belongs to gate f, and masks go by their names. Then come the
    weights and their sum, which is `nn.count_parameters(cell)`, and what the same cell has in other
    conventions. A modifier says what it adds.

    Raises TypeError for what is not one cell.

    >>> print(tg.nn.explain(tg.nn.RNN(3, 4, rng=0)).splitlines()[0])
    RNN: 3 inputs, 4 hidden units, 32 parameters
    """
    if not isinstance(cell, Cell):
        raise TypeError(
            f"explain: expected one cell, got {type(cell).__name__}; give it those inside one by "
            "one, such as layer.cells[0]"
        )
    inner: Any = cell
    around: list[Modifier] = []
    while isinstance(inner, Modifier):
        around.append(inner)
        inner = inner.cell
    parts = [
        [_title(inner, count_parameters(cell))],
        [line for modifier in around for line in _added(modifier)],
        _formulas(cell, inner),
        _weights(cell, inner),
        _elsewhere(cell, inner),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _title(cell: Any, total: int) -> str:
    how = f" as {cell.convention!r} has it" if kind_of(cell) in (LSTM, GRU) else ""
    outputs = "" if cell.outputs == cell.hidden else f"{cell.outputs:,} outputs, "
    sizes = f"{_count(cell.inputs, 'input')}, {_count(cell.hidden, 'hidden unit')}"
    return f"{type(cell).__name__}{how}: {sizes}, {outputs}{total:,} parameters"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"


def _added(modifier: Modifier) -> Lines:
    """The first sentence about a modifier, and how many parameters it brings."""
    said = (type(modifier).__doc__ or "changes what is inside").split("\n")[0].split(" (S")[0]
    own = count_parameters(modifier) - count_parameters(modifier.cell)
    adds = f"adds {own:,} parameters" if own else "adds no parameters"
    text = f"{type(modifier).__name__} {adds}. {said.rstrip('.')}."
    return wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")


def _formulas(cell: Cell, inner: Any) -> Lines:
    """What the cell computes, or nothing of a step that cannot be run without numbers."""
    try:
        found = equations(cell)
    except (Untraceable, ValueError):
        return []
    lines = [f"  {line}" for line in found.lines("forward")]
    if kind_of(inner) is None:
        return lines
    names = [line[2:].split("_t = ")[0] for line in lines]
    gates = [GATES.get(name, "") if name in inner.order else "" for name in names]
    told = list(zip(lines, gates, strict=True))
    width = max((len(line) for line, gate in told if gate), default=0) + 4
    return [f"{line:{width}}{gate}" if gate else line for line, gate in told]


# -- counts ----------------------------------------------------------------------------------------


def _weights(cell: Cell, inner: Any) -> Lines:
    """Every parameter with its shape and its share, and their sum."""
    found = cell.named_parameters()
    order, kept = (
        getattr(inner, "order", ""),
        [k for k in cell.state_dict() if k not in dict(found)],
    )
    blocks = f", their columns in blocks of {inner.hidden:,} for {', '.join(order)}"
    lines = ["Weights" + blocks * (len(order) > 1), ""]
    rows = [(path, _shape(x), _product(x, inner.hidden), f"{x.size:,}") for path, x in found]
    total = count_parameters(cell)
    rows.append(("", "", "", f"{total:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for *left, count in rows:
        if not left[0]:
            lines.append(" " * (sum(widths[:3]) + 11) + "-" * widths[3])
        cells = [f"{text:{width}}" for text, width in zip(left, widths, strict=False)]
        lines.append("   ".join(["  " + cells[0], *cells[1:], f"{count:>{widths[3]}}"]))
    lines[-1] += _short(inner, total)
    return [*lines, *([f"  Not trained, and not counted: {', '.join(kept)}"] if kept else [])]


def _shape(x: Any) -> str:
    return " × ".join(f"{n:,}" for n in x.shape)


def _product(x: Any, hidden: int) -> str:
    """The count of a weight as gates · rows · columns."""
    *rows, width = x.shape or (1,)
    blocks = [width // hidden, *rows, hidden]
    split = width % hidden == 0 and width > hidden
    return " · ".join(f"{n:,}" for n in (blocks if split else [*rows, width]))


def _short(cell: Any, total: int) -> str:
    """The sum as textbooks write it, if there is nothing else in it."""
    if kind_of(cell) is None:
        return ""
    gates, inputs, hidden = len(cell.order), cell.inputs, cell.hidden
    biases = sum(getattr(cell, name).size for name in form_of(cell).biases) // (gates * hidden)
    if total != gates * ((inputs + hidden) * hidden + biases * hidden):
        return ""
    times = f"{biases} · " if biases > 1 else ""
    plus = f" + {times}{hidden:,}" if biases else ""
    return f" = {gates} [({inputs:,} + {hidden:,}) {hidden:,}{plus}]"


def _elsewhere(cell: Cell, inner: Any) -> Lines:
    """How many parameters the same cell has in each convention: they differ by their biases."""
    kind, all_trained = kind_of(inner), len(cell.state_dict()) == len(cell.named_parameters())
    if kind is None or not all_trained:
        return []
    width, reads = inner.Wx.shape[-1], inner.Wh.shape[-1]
    sizes = {"b": width, "bh": reads, "bn": width - reads}
    without = count_parameters(cell) - sum(sizes[name] for name in form_of(inner).biases)
    found: dict[tuple[str, ...], Lines] = {}
    for name, how in CONVENTIONS.items():
        usual = how.gru_biases if how.has_gru_bias else ()
        found.setdefault(usual if kind is GRU else how.lstm_biases, []).append(name)
    rows = [
        (f"{without + sum(sizes[name] for name in biases):,}", ", ".join(biases) or "none", names)
        for biases, names in sorted(found.items(), key=lambda entry: len(entry[0]))
    ]
    width = max(len(total) for total, *_ in rows)
    return [
        "In other conventions, with the biases that are usual there",
        "",
        *[f"  {total:>{width}}   {biases:9}   {', '.join(names)}" for total, biases, names in rows],
        *_remarks(inner),
    ]


def _remarks(cell: Any) -> Lines:
    """What the counts alone do not say, of cells that have no norm or projection besides."""
    if not _short(cell, count_parameters(cell)):
        return []
    lines = ["", "  b and bh are one bias, their sum, that is trained twice as fast."]
    if kind_of(cell) is GRU:
        lines.append("  bn is another where the reset gate multiplies it, after the product.")
    if kind_of(cell) is LSTM:
        e, h = cell.inputs, cell.hidden
        wrong = f"{4 * ((e + h) * e + e):,}"
        so = f"here it is, with {wrong}" if e == h else f"here {wrong} would be wrong"
        lines.append(f"  The count 4 [(e + h) e + e] is right only if e = h: {so}.")
    return lines
