"""Lines of equations in an order in which they can be computed, and likes as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, count

from .term import Symbol, Term, symbols, with_block


@dataclass(frozen=True)
class Line:
    """left = right; of a tuple several on the left. blocks: the line is one for each of them, by
    the letter `each`. sums: the right is summed over time."""

    left: tuple[Symbol, ...]
    right: Term
    blocks: tuple[str, ...] = ()
    each: str = ""
    sums: bool = False


def ordered(lines: Sequence[Line]) -> list[Line]:
    """Each line after those that it reads, and otherwise as they come."""
    where = {symbol: line for line in lines for symbol in line.left}
    seen: set[Line] = set()
    found: list[Line] = []

    def emit(line: Line) -> None:
        if line not in seen:
            seen.add(line)
            for x in symbols(line.right):
                if x in where:
                    emit(where[x])
            found.append(line)

    for line in lines:
        emit(line)
    return found


def grouped(lines: Sequence[Line], letters: str = "kqml") -> list[Line]:
    """Lines that differ by a block alone as one, where they can stand at one place."""
    known = [x for line in lines for y in (*line.left, line.right) for x in symbols(y)]
    used = {word for x in known for word in (x.name, x.block)}
    each = next(c for c in chain(letters, (f"k{n}" for n in count(1))) if c not in used)
    groups: defaultdict[tuple[Term, Term], list[Line]] = defaultdict(list)
    for line in lines:
        block = line.left[0].block if len(line.left) == 1 else ""
        left, right = (with_block(x, block, each) for x in (line.left[0], line.right))
        if block and any(x.block == each for x in symbols(right)):
            groups[left, right].append(line)
    order = list(lines)
    for (left, right), members in groups.items():
        if len(members) < 2:
            continue
        blocks = tuple(line.left[0].block for line in members)
        whole = replace(members[0], left=(left,), right=right, blocks=blocks, each=each)  # type: ignore[arg-type]
        for place in (members[0], members[-1]):
            moved = [x for x in order if x is place or all(x is not y for y in members)]
            at = next(k for k, x in enumerate(moved) if x is place)
            if _is_in_order([*moved[:at], *members, *moved[at + 1 :]]):
                order = [*moved[:at], whole, *moved[at + 1 :]]
                break
    return order


def _is_in_order(lines: Sequence[Line]) -> bool:
    """Whether no line reads a later one; a group reads what each of its lines does."""
    flat = [one for line in lines for one in _single(line)]
    where = {symbol: k for k, line in enumerate(flat) for symbol in line.left}
    return all(
        where[x] < k for k, line in enumerate(flat) for x in symbols(line.right) if x in where
    )  # fmt: skip


def _single(line: Line) -> list[Line]:
    """The lines that one for several blocks stands for."""
    if not line.blocks:
        return [line]
    left = [replace(line.left[0], block=block) for block in line.blocks]
    right = [with_block(line.right, line.each, block) for block in line.blocks]
    return [Line((x,), y) for x, y in zip(left, right, strict=True)]
