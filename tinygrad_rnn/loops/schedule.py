"""The text of a loop: from nodes to readable Python that Numba compiles."""

from __future__ import annotations

import builtins
import keyword
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..kernels.numbers import Called
from .formula import KINDS, cheap, literal, number_of
from .lower import ROWS, Index, Node, Unsupported
from .nest import (
    VARIABLES,
    Argument,
    Call,
    Nest,
    Place,
    Store,
    at_text,
    here,
    last_only,
    moved,
    nested,
    plus,
    under,
    whole,
)
from .sums import ordered
from .trace import surroundings


class Text:
    """The text of one function: what it stores, what it needs for that, and in which order."""

    def __init__(self, name: str, sizes: Any, batched: bool, head: Sequence[str]):
        self.name, self.sizes, self.batched, self.head = name, sizes, batched, list(head)
        self.places: dict[Node, Place] = {}
        self.numbers: dict[Node, str] = {}
        self.arguments: dict[str, Argument] = {}
        self.full: dict[str, Sequence[str]] = {}
        self.stores: list[Store] = []
        self.calls: list[Call] = []
        self.early: list[str] = []
        self.late: list[str] = []
        self.called: dict[str, Called] = {}
        self.counts: dict[str, int] = {}
        self.talls: dict[str, str] = {}  # arrays that are packed for sums of products
        self.taken = {*RESERVED, *sizes.words.values()}
        self.in_blocks: set[Node] = set()
        self.severed: set[int] = set()  # states that no cotangent gets past
        self.products: dict[str, int] = {}
        self.given: set[Node] = set()  # what is there before the loop
        self.made: set[Node] = set()  # what the store being looked at makes
        self.filled: dict[Node, Call] = {}  # sums and such, by what they begin with
        self.begun: dict[Node, Store] = {}  # products, likewise
        self.carried: dict[Node, int] = {}  # cotangents of the carry
        self.expensive: dict[Node, set[int]] = {}
        self.lines: list[str] = []
        self.names: list[str] = []
        self.captured: list[tuple[int, ...]] = []  # the shapes of what is captured
        self.told: list[str] = []  # the sizes that the text speaks of: others need no other loop

    def word(self, wish: str) -> str:
        """A word of the text that nothing else in it goes by: where every name comes from."""
        word = re.sub(r"[^0-9A-Za-z_]", "_", wish)
        word = word if word[:1].isalpha() else f"a{word}"
        while word in self.taken:
            word += "_"
        self.taken.add(word)
        return word

    def fresh(self, stem: str) -> str:
        """Such a word with a number behind it."""
        return self.word(self.numbered(stem))

    def numbered(self, stem: str) -> str:
        """A wish that will be granted: the stem and the next number."""
        self.counts[stem] = self.counts.get(stem, 0) + 1
        name = f"{stem}{self.counts[stem]}"
        return self.numbered(stem) if name in self.taken else name

    def argument(self, name: str, role: Any, dtype: Any, ndim: int, written: bool) -> str:
        word = self.word(name)
        self.arguments[word] = Argument(word, role, np.dtype(dtype), ndim, written)
        return word

    # -- places ----------------------------------------------------------------------------------

    def buffer(self, node: Node, blocks: bool) -> Place:
        """Room for what a step computes: of one step, or of a block of them."""
        stem = node.data.name if node.kind == "pointwise" else node.kind
        name = node.name or self.numbered(f"{stem}_")
        filled = node.kind == "product" and node.shape[0] == ROWS
        role = ("buffer", node.shape, blocks, filled)
        name = self.argument(name, role, node.dtype, len(node.shape) + 1, True)
        self.full[name] = node.shape
        return Place(name, "s" if blocks else "0")

    def base(self, x: Node) -> Node | None:
        """What an operand of a product is a plain cut of; None where it must be copied first."""
        if x.kind == "view" and x not in self.places:
            base = x.inputs[0]
            if base.kind in ("pointwise", "view", "written") and base not in self.places:
                return None
            plain = [(k, "0", 1) for k in range(len(x.shape))]
            cut = len(base.shape) == len(x.shape) == 2 and all(
                w[0] == k and w[2] == 1 for k, w in enumerate(x.data)
            )
            row = len(base.shape) == 1 and len(x.shape) == 2 and x.data == [(1, "0", 1)]
            shifted = cut and x.data[0][1] != "0"
            if (cut and not shifted) or row or x.data == plain:
                return base
            return None
        return x if x.kind not in ("view", "pointwise", "written") or x in self.places else None

    def array(self, x: Node, whole_block: bool, filled: bool = False) -> str:
        """An operand of a kernel, with axes (steps, rows, columns), as text."""
        base = x if x in self.places else self.base(x)
        assert base is not None and base in self.places, (x, base)
        place = self.places[base]
        time = place.time
        padded = self.is_padded(place) and not filled
        if time is None:
            return f"{place.array}.reshape((1, {x.shape[0]}, {x.shape[1]}))"
        first, last = (time, f"{time} + 1") if time != "0" else ("0", "1")
        if whole_block:
            low = {"t": "low", "before": "low + behind", "after": "low + 1 - behind", "s": "0"}[
                time
            ]
            first, last = low, "count" if low == "0" else f"{low} + count"
        if len(base.shape) == 1:
            steps = "count" if whole_block else "1"
            rows = f"{first}:{last}" if whole_block else first
            return f"{place.array}[{rows}].reshape(({steps}, 1, {base.shape[0]}))"
        parts = [f"{first}:{last}"]
        if place.shift:
            parts.append("start:stop")
        if x is not base and x.data[1][1] != "0":
            parts += [":"] if len(parts) == 1 else []
            parts.append(f"{x.data[1][1]}:{plus(x.data[1][1], x.shape[1])}")
        elif padded or (x is not base and x.shape[1] != base.shape[1]):
            parts += [":"] if len(parts) == 1 else []
            parts.append(f"0:{x.shape[1]}")
        return f"{place.array}[{', '.join(parts)}]"

    def is_padded(self, place: Place) -> bool:
        """Whether an array has rows as wide as whole panels, so that products fill it quickly."""
        argument = self.arguments.get(place.array)
        return (
            argument is not None and argument.role[0] in ("buffer", "carried") and argument.role[3]
        )

    # -- making ----------------------------------------------------------------------------------

    def make(self, outputs: list[Node]) -> None:
        """Give everything that must be in an array its place, and say how it gets there."""
        for node in ordered(outputs, self.given):
            if node.kind in MAKERS and not self.is_leaf(node):
                for x in OPERANDS.get(node.kind, _no_operands)(node):
                    self.settle(x, node.kind == "call")
                if node not in self.places:
                    self.places[node] = self.buffer(node, node in self.in_blocks)
                MAKERS[node.kind](self, node)

    def is_leaf(self, node: Node) -> bool:
        return node.kind == "leaf" or node in self.numbers or node in self.given

    def settle(self, x: Node, alone: bool = False) -> None:
        """Have an operand in an array, its own or one that it is a plain cut of."""
        if (alone or self.base(x) is None) and x not in self.places and x not in self.numbers:
            self.places[x] = self.buffer(x, x in self.in_blocks)
            self.stores.append(Store(x, self.places[x], whole(x), "=", x))

    def product(self, node: Node) -> None:
        out = self.places[node]
        starts = len(node.inputs) > 2 * node.data
        fresh = not starts
        if starts:
            start = node.inputs[-1]
            self.stores.append(Store(start, out, whole(start), "=", None))
            begun = self.stores[-1]
        lines, reads = [], []
        for k in range(node.data):
            x, w = node.inputs[2 * k : 2 * k + 2]
            packed = self.packed(w)
            if self.is_early(x):
                given = self.array(x, True), packed, self.array(node, True, True)
                self.early.append(f"multiply({', '.join(given)}, {fresh})")
            else:
                given = self.array(x, False), packed, self.array(node, False, True)
                lines.append(f"multiply({', '.join(given)}, {fresh})")
                reads.append(x)
            fresh = False
        if lines or starts:
            self.calls.append(Call(node, tuple(reads), tuple(lines)))
            if starts:
                self.begun[node] = begun

    def late_product(self, node: Node) -> None:
        """A product nobody in the loop waits for: done for a block of steps at once."""
        fresh = True
        if len(node.inputs) > 2 * node.data:
            start = node.inputs[-1]
            self.stores.append(Store(start, self.places[node], whole(start), "=", None))
            fresh = False
        for k in range(node.data):
            x, w = node.inputs[2 * k : 2 * k + 2]
            self.late.append(
                f"multiply({self.array(x, True)}, {self.packed(w)}, {self.array(node, True)}, "
                f"{fresh})"
            )
            fresh = False

    def packed(self, w: Node) -> str:
        for name, argument in self.arguments.items():
            if argument.role == ("packed", w.data):
                return name
        name = self.argument(f"{w.name or 'W'}_packed", ("packed", w.data), w.dtype, 1, False)
        self.products[name] = math.prod(w.source.shape)
        return name

    def tall(self, g: Node) -> str:
        """A block of steps as one tall matrix, packed for the products that sum over it."""
        array = self.array(g, True)
        if array not in self.talls:
            rows = 1 if len(g.shape) < 2 or g.shape[0] == ROWS else self.sizes.value(g.shape[0])
            wish = f"{self.places[self.base(g) or g].array}_packed"
            name = self.argument(wish, ("tall", g.shape[-1], rows), g.dtype, 1, True)
            self.late.append(f"pack_rows({array}, {name})")
            self.talls[array] = name
        return self.talls[array]

    def is_early(self, x: Node) -> bool:
        base = self.base(x)
        return base is not None and base.kind == "leaf" and base.data[0] == "x"

    def dot(self, node: Node) -> None:
        """A product of two things that both change: plain loops."""
        x, y = node.inputs
        out = self.places[node]
        n = len(node.shape)
        lead = list(VARIABLES[: n - 2])
        row, column, inner = VARIABLES[n - 2], VARIABLES[n - 1], "z"
        nest = Nest(self, (), [])
        left = [Index(v) for v in [*lead, row, inner]]
        right = [Index(v) for v in [*lead, inner, column]]
        a = nest.entry(*self.entry_of(x, left[len(left) - len(x.shape) :]))
        b = nest.entry(*self.entry_of(y, right[len(right) - len(y.shape) :]))
        c = nest.entry(out, [Index(v) for v in [*lead, row, column]], node.shape)
        lines, pad = [], ""
        for v, size in zip([*lead, row], node.shape[:-1], strict=True):
            lines.append(f"{pad}for {v} in range({size}):")
            pad += "    "
        lines += [f"{pad}for {column} in range({node.shape[-1]}):", f"{pad}    {c} = 0",
                  f"{pad}for {inner} in range({x.shape[-1]}):",
                  f"{pad}    for {column} in range({node.shape[-1]}):",
                  f"{pad}        {c} += {a} * {b}"]  # fmt: skip
        self.calls.append(Call(node, (x, y), tuple(lines)))

    def entry_of(self, x: Node, index: Any) -> Any:
        """Where an operand is, through its views."""
        index = tuple(
            Index(None, "0", 0) if n == "1" else i for i, n in zip(index, x.shape, strict=True)
        )
        while x not in self.places:
            index = tuple(moved(index, way) for way in x.data)
            x = x.inputs[0]
        return self.places[x], index, x.shape

    def reduce(self, node: Node) -> None:
        how, axes = node.data
        x = node.inputs[0]
        target = tuple((None, "0", 0) if k in axes else (k, "0", 1) for k in range(len(x.shape)))
        if how == "sum" and last_only(x.shape, axes):  # a total, written once
            self.stores.append(Store(x, self.places[node], target, how, node))
            return
        first: Any = {"sum": 0.0, "max": -np.inf, "min": np.inf}[how]
        if node.dtype.kind == "u" and how != "sum":
            raise Unsupported(f"{how} of unsigned integers")
        if node.dtype.kind != "f":
            limits = np.iinfo(node.dtype)
            first = {"sum": 0, "max": limits.min, "min": limits.max}[how]
        self.fill(node, literal(first, node.dtype))
        self.stores.append(Store(x, self.places[node], target, how, node))

    def fill(self, node: Node, value: str) -> None:
        place = self.places[node]
        lines, pad, parts = [], "", [place.time] if place.time else []
        for k, (v, n) in enumerate(zip(VARIABLES, node.shape, strict=False)):
            lines.append(f"{pad}for {v} in range({n}):")
            parts.append(at_text(Index(v), place.shift and k == 0))
            pad += "    "
        lines.append(f"{pad}{place.array}[{', '.join(parts) or '0'}] = {value}")
        self.filled[node] = Call(None, (), tuple(lines))
        self.calls.append(self.filled[node])

    def join(self, node: Node) -> None:
        axis, new = node.data
        at = "0"
        for k, x in enumerate(node.inputs):
            target = list(whole(x))
            if new:
                target.insert(axis, (None, str(k), 0))
            else:
                target[axis] = (axis, at, 1)
                at = plus(at, x.shape[axis])
            self.stores.append(Store(x, self.places[node], tuple(target), "=", node))

    def put(self, node: Node) -> None:
        self.fill(node, literal(0, node.dtype))
        x = node.inputs[0]
        self.stores.append(Store(x, self.places[node], tuple(node.data), "+=", node))

    def copy(self, node: Node) -> None:
        """The same numbers in another shape: row by row where there is a batch."""
        x = node.inputs[0]
        base = self.base(x)
        a, b = self.places[base if base is not None else x], self.places[node]
        if base is not None and base is not x:
            raise Unsupported("reshape of a view")
        batched = self.batched and node.batched
        if len(x.shape) - batched < 1 or len(node.shape) - batched < 1:
            raise Unsupported("reshape to or from a number")
        rows = [at_text(Index("i"), a.shift)] if batched else []
        theirs = [at_text(Index("i"), b.shift)] if batched else []
        source = ", ".join([a.time, *rows] if a.time else rows)
        source += f", 0:{x.shape[-1]}" if self.is_padded(a) else ""
        lines = [
            f"source = {a.array}[{source}].reshape(-1)" if source else
            f"source = {a.array}.reshape(-1)",
            f"target = {b.array}[{', '.join([str(b.time), *theirs])}].reshape(-1)",
            "for j in range(source.size):", "    target[j] = source[j]",
        ]  # fmt: skip
        if batched:
            lines = [f"for i in range({ROWS}):", *("    " + line for line in lines)]
        self.calls.append(Call(node, (x,), tuple(lines)))

    def rows_of(self, node: Node) -> None:
        table, index = node.inputs
        nest = Nest(self, (), [])
        n = len(index.shape)
        index_at = nest.entry(
            self.places[index], [Index(v) for v in VARIABLES[:n]], index.shape, hoist=False
        )
        rest = list(VARIABLES[n : len(node.shape)])
        out = nest.entry(
            self.places[node], [Index(v) for v in VARIABLES[: len(node.shape)]], node.shape,
            hoist=False,
        )  # fmt: skip
        source = f"{self.places[table].array}[{', '.join([index_at, *rest])}]"
        self.looped(node, node.shape, f"{out} = {source}", (index,))

    def looped(self, node: Node | None, shape: Sequence[str], line: str, reads: Any) -> None:
        lines, pad = [], ""
        for v, size in zip(VARIABLES, shape, strict=False):
            lines.append(f"{pad}for {v} in range({size}):")
            pad += "    "
        self.calls.append(Call(node, tuple(reads), (*lines, pad + line)))

    def call(self, node: Node) -> None:
        op, attrs = node.data
        name = self.called_name(op)
        place = self.places[node]
        words = []
        for x in node.inputs:
            if x.kind == "written" or x in self.numbers:
                words.append(self.numbers.get(x) or literal(x.data, x.dtype))
                continue
            p = self.places.get(x)
            if p is None:
                raise Unsupported(op.name)
            copy = ".copy()" if x.shape and self.arguments[p.array].written else ""
            words.append((f"{p.array}[{p.time}]" if p.time is not None else p.array) + copy)
        words += [f"{k}={v!r}" for k, v in attrs.items()]
        if not node.shape:
            line = f"{place.array}[{place.time}] = {name}({', '.join(words)})"
        else:
            line = f"{place.array}[{place.time}][:] = {name}({', '.join(words)})"
        self.calls.append(Call(node, tuple(node.inputs), (line,)))

    def called_name(self, op: Any, dtype: Any = None) -> str:
        """What an op goes by in the text, on numbers of a dtype or on whole arrays."""
        number = number_of(op)
        for name, known in self.called.items():
            if known.function is number and known.dtype == dtype:
                return name
        word = self.word(op.name if op.ours else f"op_{op.name}")
        self.called[word] = Called(number, dtype, None if op.ours else surroundings(op))
        return word

    # -- order -----------------------------------------------------------------------------------

    def reads(self, node: Node, index: Any, found: dict[Node, bool], at_home: Any) -> None:
        """The placed nodes a formula reads, and whether each only at the loop's own position."""
        stack = [(node, index, True)]
        seen = set()
        while stack:
            n, at, top = stack.pop()
            if (n, at) in seen:
                continue
            seen.add((n, at))
            if n in self.places and not (top and n in self.made):
                found[n] = found.get(n, True) and at == at_home
                continue
            if n.kind == "view":
                stack.append((n.inputs[0], tuple(moved(at, way) for way in n.data), False))
            elif n.kind == "pointwise":
                stack += [(x, under(x, at), False) for x in n.inputs]

    def body(self) -> list[str]:
        """The lines of one step: loops that can share their nest do."""
        return [line for group in self.schedule() for line in group]

    def schedule(self) -> list[list[str]]:
        tasks: list[Any] = [*self.calls, *self.stores]
        makers: dict[Node, list[Any]] = {}
        for task in tasks:
            if task.makes is not None:
                makers.setdefault(task.makes, []).append(task)
        needs = {id(task): self.needs(task, makers) for task in tasks}
        self.order_carried(tasks, needs)
        done: set[int] = set()
        groups: list[list[str]] = []
        left = list(tasks)
        self.expensive = {}
        open_rows: list[str] | None = None
        while left:
            group = self.next_group(left, needs, done)
            if not group:
                raise Unsupported("a step whose parts wait for each other")
            left = [t for t in left if not any(t is g for g in group)]
            done |= {id(t) for t in group}
            if isinstance(group[0], Call):
                groups.append(list(group[0].lines))
                open_rows = None
            else:
                shape = group[0].node.shape
                nest = Nest(self, shape, group)
                by_row = shape[:1] == (ROWS,) and bool(nest.outer)
                if by_row and open_rows is not None:  # the same row is at hand: one loop for both
                    rest = nested(nest.outer[1:], nest.core())
                    open_rows += ["    " + line for line in rest]
                else:
                    groups.append(nest.lines())
                    open_rows = groups[-1] if by_row else None
                for key in nest.registers:
                    if isinstance(key[0], Node) and not cheap(key[0]):
                        self.expensive.setdefault(key[0], set()).add(len(groups))
        return groups

    def needs(self, task: Any, makers: Any) -> list[tuple[Any, bool]]:
        """The tasks that come before one, and whether it may share their nest."""
        found: dict[Node, bool] = {}
        if isinstance(task, Store):
            at = here(task.node.shape)
            self.made = {task.node} if task.makes is task.node else set()
            self.reads(task.node, at, found, at)
            self.made = set()
        else:
            for x in task.reads:
                found[x if x in self.places else self.base(x) or x] = False
                inner: dict[Node, bool] = {}
                self.reads(x, here(x.shape), inner, None)
                found |= dict.fromkeys(inner, False)
        out = [
            (maker, same and maker.makes is getattr(maker, "node", None))
            for n, same in found.items()
            for maker in makers.get(n, [])
            if maker is not task
        ]
        node = task.makes
        if isinstance(task, Store) and node in self.filled:
            out.append((self.filled[node], False))
        if isinstance(task, Call) and node in self.begun:
            out.append((self.begun[node], False))
        return out

    def order_carried(self, tasks: list[Any], needs: dict[int, Any]) -> None:
        """What overwrites a carried cotangent waits for all who read it."""
        for leaf in self.carried:
            place = self.places[leaf]
            writers = [t for t in tasks if self.writes(t, place)]
            for task in tasks:
                found: dict[Node, bool] = {}
                if isinstance(task, Store):
                    at = here(task.node.shape)
                    self.made = {task.node} if task.makes is task.node else set()
                    self.reads(task.node, at, found, at)
                    self.made = set()
                else:
                    for x in task.reads:
                        self.reads(x, here(x.shape), found, None)
                if leaf in found:
                    for writer in writers:
                        if writer is not task:
                            same = found[leaf] and isinstance(writer, Store)
                            needs[id(writer)].append((task, same))

    def writes(self, task: Any, place: Place) -> bool:
        if isinstance(task, Store):
            return task.place == place
        return task.makes is not None and self.places.get(task.makes) == place

    def next_group(self, left: list[Any], needs: Any, done: set[int]) -> list[Any]:
        for task in left:
            if isinstance(task, Call) and all(id(n) in done for n, _ in needs[id(task)]):
                return [task]
        group: list[Any] = []
        inside: set[int] = set()
        grew = True
        while grew:
            grew = False
            for task in left:
                if isinstance(task, Call) or id(task) in inside:
                    continue
                if group and task.node.shape != group[0].node.shape:
                    continue
                if all(id(n) in done or (same and id(n) in inside) for n, same in needs[id(task)]):
                    group.append(task)
                    inside.add(id(task))
                    grew = True
        return group

    def sizes_of(self, x: Any) -> tuple[str, ...]:
        return tuple(self.sizes.text(n) for n in x.shape)

    def source(self, body: list[str]) -> str:
        """The function's text."""
        lines = [f'    """{self.head[0]}"""']
        lines += [f"    {ROWS} = stop - start"] if self.batched else []
        lines += [f"    behind = {self.head[1]}"]
        for node, word in self.numbers.items():
            kind = KINDS.get(node.dtype, "f64")
            lines.append(f"    {word} = {kind}(numbers[{node.data[1]}])")
        lines += ["    for done in range(0, length, block):",
                  "        count = min(block, length - done)",
                  "        low = done if way > 0 else length - done - count"]  # fmt: skip
        lines += [f"        {line}" for line in self.early]
        lines += ["        for step in range(count):",
                  "            s = step if way > 0 else count - 1 - step",
                  "            t = low + s",
                  "            before, after = t + behind, t + 1 - behind"]  # fmt: skip
        lines += [f"            {line}" for line in body]
        lines += [f"        {line}" for line in self.late]
        told = set(re.findall(r"\w+", "\n".join(lines)))
        self.told = [word for word in self.sizes.words.values() if word in told]
        parameters = ["length", "way", "block", "start", "stop", "begun", *self.told, "numbers"]
        parameters += self.arguments
        return "\n".join([f"def {self.name}({', '.join(parameters)}):", *lines]) + "\n"


def _no_operands(node: Node) -> list[Node]:
    return []


RESERVED = {
    "length", "way", "block", "start", "stop", "numbers", "rows", "behind", "done", "count", "low",
    "step", "s", "t", "begun", "before", "after", "np", "f32", "f64", "multiply", "gather", "plus",
    "source", "target", "z", "larger", "smaller", "gather_packed", "pack_rows", "scratch", "ahead",
    "back",
    *VARIABLES, *keyword.kwlist, *keyword.softkwlist, *dir(builtins),
}  # fmt: skip

MAKERS = {
    "product": Text.product, "dot": Text.dot, "reduce": Text.reduce, "join": Text.join,
    "put": Text.put, "copy": Text.copy, "rows_of": Text.rows_of, "call": Text.call,
}  # fmt: skip
OPERANDS = {
    "product": lambda n: n.inputs[: 2 * n.data : 2], "dot": lambda n: n.inputs,
    "copy": lambda n: n.inputs, "call": lambda n: [
        x for x in n.inputs if x.kind != "written"
    ],
}  # fmt: skip
