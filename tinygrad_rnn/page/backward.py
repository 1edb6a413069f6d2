"""The backward pass as text: one line per step, and what it adds to which tensor."""

from __future__ import annotations

from ..tape import Record, Tape
from ..view.text import is_wide, number

COLUMNS = 100


def backward_text(tape: Tape) -> str:
    """A table that fits a terminal of 100 columns."""
    layer = min(16, max([5, *(len(r.layer or r.place.scope) for r in tape.records)]))
    head = f"{'step':>4}  {'t':>3}  {'layer':<{layer}}  {'at':<18}  {'|g|':>8}  adds"
    backward = tape.backward
    lines = [head]
    for r in backward:
        t = str(r.t) if r.t >= 0 else "-"
        where = _cell(r.layer or r.place.scope, layer)
        size = number(r.grad.l2) if r.grad else ""
        start = f"{r.order:>4}  {t:>3}  {where}  {_cell(_words(r), 18)}  {size:>8}  "
        lines += _wrapped(start, _added(tape, r))
    return "\n".join(lines) + "\n"


def _words(r: Record) -> str:
    """A tensor by its name and its op, and its number, since names repeat."""
    what = f"{r.name} = {r.call.op}" if r.name and r.call.op else r.label
    return f"{what} #{r.id}"


def _added(tape: Tape, r: Record) -> list[str]:
    if not r.terms:
        return ["(a leaf: its gradient is whole)"] if r.kind != "op" else [""]
    added = []
    for term in r.terms:
        source, part = r.inputs[term.place]
        which = f"[{part}]" if part >= 0 else ""
        x = tape.records[source]
        label = _cut(x.label, 30)
        added.append(f"{label}{which} #{x.id} += {number(term.numbers.l2)}")
    return added


def _wrapped(start: str, pieces: list[str]) -> list[str]:
    """The pieces after the start of a line, and on more lines below where they do not fit."""
    lines = [start]
    for k, piece in enumerate(pieces):
        more = piece + ", " * (k < len(pieces) - 1)
        if k and _columns(lines[-1] + more.rstrip()) > COLUMNS:
            lines.append(" " * _columns(start))
        lines[-1] += more
    return [line.rstrip() for line in lines]


def _columns(line: str) -> int:
    """How many columns of a terminal a line takes: Chinese characters take two."""
    return sum(2 if is_wide(letter) else 1 for letter in line)


def _cell(words: str, columns: int) -> str:
    """Cut or filled to so many columns."""
    cut = _cut(words, columns)
    return cut + " " * (columns - _columns(cut))


def _cut(words: str, columns: int) -> str:
    while _columns(words) > columns:
        words = words[:-2] + "…"
    return words
