"""A cell says what it computes, what its weights are, and why they are so many."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import wrap
from typing import Any, TypeAlias

from .activations import name_of
from .cell import Cell
from .cells import GRU, LSTM, RNN, MinimalGatedUnit, OutputRecurrent
from .conventions import CONVENTIONS
from .convert import form_of, kind_of
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

    The formulas are those of this cell as it was made: h and c are the state before the step, h'
    and c' the one after it, and Wx[f] is the block of Wx's columns that belongs to gate f. Then
    come the weights and their sum, which is `nn.count_parameters(cell)`, and what the same cell has
    in other conventions. A modifier says what it adds. Of a cell of your own there are the weights
    and their sum.

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
        _formulas(inner),
        _weights(cell, inner),
        _elsewhere(cell, inner),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _title(cell: Any, total: int) -> str:
    how = f" as {cell.convention!r} has it" if kind_of(cell) in (LSTM, GRU) else ""
    outputs = "" if cell.outputs == cell.hidden else f"{cell.outputs:,} outputs, "
    sizes = f"{cell.inputs:,} inputs, {cell.hidden:,} hidden units"
    return f"{type(cell).__name__}{how}: {sizes}, {outputs}{total:,} parameters"


def _added(modifier: Modifier) -> Lines:
    """The first sentence about a modifier, and how many parameters it brings."""
    said = (type(modifier).__doc__ or "changes what is inside").split("\n")[0].split(" (S")[0]
    own = count_parameters(modifier) - count_parameters(modifier.cell)
    adds = f"adds {own:,} parameters" if own else "adds no parameters"
    text = f"{type(modifier).__name__} {adds}. {said.rstrip('.')}."
    return wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")


# -- formulas --------------------------------------------------------------------------------------


def _formulas(cell: Any) -> Lines:
    """What the cell computes, or nothing if it is not known here."""
    writers: dict[Any, Callable[[Any], Lines]] = {
        **{RNN: _rnn, LSTM: _lstm, GRU: _gru},
        **{MinimalGatedUnit: _minimal, OutputRecurrent: _output},
    }
    write = next((writers[kind] for kind in writers if type(cell).step is kind.step), None)
    if write is None:
        return []
    lines = [f"  {line}" for line in write(cell)]
    width = max(map(len, lines)) + 4
    named = [f"{line:{width}}{GATES.get(line[2:].split(' =')[0], '')}".rstrip() for line in lines]
    if getattr(cell, "norm", None):
        named.append(
            "  N normalises over the last axis (Ba et al. 2016), and has gains of its own."
        )
    if getattr(cell, "clip", None) is not None:
        named.append(f"  What goes into an activation is cut off at ± {cell.clip:g}.")
    return named


def _named(activation: Any) -> str:
    name = str(name_of(activation) or getattr(activation, "__name__", "activation"))
    return {"sigmoid": "σ", "<lambda>": "activation"}.get(name, name)


def _sum(*terms: str | None) -> str:
    return " + ".join(term for term in terms if term)


def _bias(cell: Any, name: str, gate: str = "") -> str:
    """The name of a bias, or of a gate's block of it; nothing if the cell has none."""
    there = getattr(cell, name) is not None
    return there * (f"{name}[{gate}]" if gate else name)


def _rnn(cell: Any) -> Lines:
    h = "h Wh" if cell.untied is None else "h Wh[t]"
    return [
        f"h' = {_named(cell.activation)}({_sum('x Wx', h, _bias(cell, 'b'), _bias(cell, 'bh'))})"
    ]


def _lstm(cell: Any) -> Lines:
    gate, candidate, squash = map(_named, cell.activations)
    peeps = {"i": "c P[i]", "f": "c P[f]", "o": "c' P[o]"} if cell.P is not None else {}
    lines = []
    for k in cell.order:
        products = f"x Wx[{k}] + h Wh[{k}]"
        if cell.norm == "per_gate":
            products = f"N({products})"
        elif cell.norm:
            products = f"N(x Wx)[{k}] + N(h Wh)[{k}]"
        total = _sum(products, _bias(cell, "b", k), _bias(cell, "bh", k), peeps.get(k))
        lines.append(f"{k} = {candidate if k == 'g' else gate}({total})")
    if cell.coupled:
        lines.append("f = 1 - i")
    h = f"o {squash}(N(c'))" if cell.norm else f"o {squash}(c')"
    return [*lines, "c' = f c + i g", f"h' = {h}" if cell.Wr is None else f"h' = ({h}) Wr"]


def _gru(cell: Any) -> Lines:
    gate, candidate = map(_named, cell.activations)
    lines = [f"{k} = {gate}({_gru_sum(cell, k)})" for k in cell.order[:2]]
    after = cell.reset == "after"
    product = _sum("h Wn" if after else "(r h) Wn", _bias(cell, "bn"))
    if cell.norm or after:  # r stands before a product, and not in it
        product = f"{'N' if cell.norm else ''}({product})"
    x = "N(x Wx)[n]" if cell.norm else "x Wx[n]"
    total = _sum(x, _bias(cell, "b", "n"), f"r {product}" if after else product)
    mixed = "(1 - z) h + z n" if cell.update == "candidate" else "z h + (1 - z) n"
    return [*lines, f"n = {candidate}({total})", f"h' = {mixed}"]


def _gru_sum(cell: Any, k: str) -> str:
    if not cell.norm:
        return _sum(f"x Wx[{k}]", f"h Wh[{k}]", _bias(cell, "b", k), _bias(cell, "bh", k))
    return _sum(f"N(x Wx)[{k}]", f"N({_sum('h Wh', _bias(cell, 'bh'))})[{k}]", _bias(cell, "b", k))


def _minimal(cell: Any) -> Lines:
    return [
        f"f = σ({_sum('x Wx[f]', 'h Wh', _bias(cell, 'b', 'f'))})",
        f"n = tanh({_sum('x Wx[n]', '(f h) Wn', _bias(cell, 'b', 'n'))})",
        "h' = (1 - f) h + f n",
    ]


def _output(cell: Any) -> Lines:
    before = {"output": "o", "prediction": "softmax(o)", "target": "target"}[cell.source]
    return [f"h = {_named(cell.activation)}(x Wx + {before} Wo + b)", "o' = h V + c"]


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
    lines = ["", "  b and bh are one bias, their sum, that learns twice as fast."]
    if kind_of(cell) is GRU:
        lines.append("  bn is another where the reset gate multiplies it, after the product.")
    if kind_of(cell) is LSTM:
        e, h = cell.inputs, cell.hidden
        wrong = f"{4 * ((e + h) * e + e):,}"
        so = f"here it is, with {wrong}" if e == h else f"here {wrong} would be wrong"
        lines.append(f"  Note 004's 4 [(e + h) e + e] is right only if e = h: {so}.")
    return lines
