"""One direction of a step while it is written: its tensors as nodes, where they are, its text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..tensor import Tensor
from . import nodes
from .forms import Builder
from .formula import KINDS
from .makers import make
from .nest import indented, nested
from .nodes import Node, ordered
from .places import Places
from .plan import FORWARD_LINES, Plan
from .roles import Fixed, Place, Timed
from .schedule import Schedule, Store
from .sums import gathered
from .trace import Step, is_written
from .where import ROWS, Sizes

SINGLE = np.dtype(np.float32)
Outputs = list[tuple[Node, Place]]


class Draft:
    """One direction of a step while it is written: the forward pass.

    `head`: its name, what it says it is, and how `way` compares with 0 where time goes up.
    `writes`: the kinds of arrays along time that it is given to write in.
    A loop in a step of a loop has the places `around`; `outside` are the nodes of what it reads.
    """

    head = "forward", "The step, forward in time.", ">"
    writes: tuple[str, ...] = ("path", "made")

    def __init__(self, step: Step, batch: int | None, around: Any = None, outside: Any = None):
        self.step, self.batch, self.outside = step, batch, {} if outside is None else outside
        sizes = Sizes()
        for word, tensors in (("H", step.carry), ("I", step.xs), ("N", step.captured)):
            for x in tensors:
                inner = x.shape if word == "N" else x.shape[batch is not None :]
                for n in inner[::-1]:
                    if word != "N" or n != batch:
                        sizes.add(n, word)
        for length in [*step.lengths, *[n + 1 for n in step.lengths]]:
            sizes.add(length, "L")
        sizes.add(batch or 0, "B")  # another size that is as large by chance is no number, either
        self.places = Places(sizes, batch is not None, around)
        self.lowering, self.schedule = Builder(self.places, batch), Schedule(self.places)
        for k, x in enumerate(step.captured):
            self.captured(x, x.name or f"w{k}")
        self.paths = [
            self.leaf(x, carry_name(k, x), Timed("path", k)) for k, x in enumerate(step.carry)
        ]
        usual = ["x"] if len(step.xs) == 1 else [f"x{k}" for k in range(len(step.xs))]
        self.inputs = [
            self.leaf(x, x.name or usual[k], Timed("x", k)) for k, x in enumerate(step.xs)
        ]

    # -- what is there -----------------------------------------------------------------------------

    def captured(self, x: Tensor, name: str) -> None:
        """Something that is the same at all steps: in the text, among the numbers, or an array."""
        if is_written(x):
            self.lowering.node(x)
            return
        node = self.outside.get(x)
        computed = node is not None and (node.batched or not isinstance(node, nodes.Leaf))
        node = self.lowering.leaf(x, Fixed(x), computed)
        if x.ndim:
            node.name = name
        else:
            self.places.numbers[node] = self.places.names.fresh("number")

    def place_captured(self) -> None:
        """Arguments for the fixed arrays that the loop reads number by number."""
        places = self.places
        for node in self.lowering.known.values():
            if isinstance(node, nodes.Leaf) and node not in {**places.at, **places.numbers}:
                places.at[node] = Place(places.argument(node.name or "w", node.role, node, False))

    def leaf(self, x: Tensor, name: str, role: Timed) -> str:
        """Return the array of a tensor that a step is given."""
        node = self.lowering.leaf(x, role, True)
        self.places.at[node] = self.sequence(name, role, node)
        return self.places.at[node].array

    def sequence(self, name: str, role: Timed, node: Node) -> Place:
        """An argument with an axis of time in front."""
        word = self.places.argument(name, role, node, role.kind in self.writes)
        time = "before" if role.kind == "path" else "t"
        return Place(word, time, self.batch is not None and node.batched)

    def place(self, k: int, y: Tensor, node: Node) -> Place:
        """Return where the k-th result goes, or after all of them what the backward pass reads.

        A carry goes to the step after, where that reads it.
        """
        if k < len(self.paths):
            return Place(self.paths[k], "after", self.batch is not None)
        name = f"y{k}"
        if k >= len(self.step.results):
            name = y.name or self.places.names.numbered(f"{y.op.name}_")
        return self.sequence(name, Timed("made", k), node)

    # -- what is done ------------------------------------------------------------------------------

    def finish(self, outputs: Outputs, needed: Iterable[Node] = ()) -> None:
        """Give outputs their places, make them and what else is needed, and store them."""
        first: dict[Node, Place] = {}
        places = self.places
        for node, place in outputs:
            passing = place.time == "0" and node in places.in_blocks  # a sum after it reads all
            if not isinstance(node, nodes.There) and node not in places.at and not passing:
                places.at[node] = first[node] = place
        make(self.schedule, [*[n for n, _ in outputs], *needed])
        for node, place in outputs:
            direct = first.get(node) == place
            if not direct or isinstance(node, nodes.Pointwise | nodes.View):
                self.schedule.add(Store(node, place, makes=node if direct else None))

    def plan(self, lines: int) -> Plan:
        """All of it, written down: what costs much and is needed twice is kept."""
        for _ in range(4):
            body, costly = self.schedule.body()
            if not costly:
                break
            for node in costly:
                self.schedule.keep(node)
        text = self.text(body)
        given = [a for name, a in self.places.arguments.items() if name not in self.places.wide]
        reals = {a.dtype for a in given if a.dtype.kind == "f"}
        if reals == {SINGLE} and not self.places.inside:
            text = [text[0], "control = flush_denormals()", *text[1:], "restore(control)"]
        words = set(re.findall(r"\w+", "\n".join(text[1:])))
        sizes = {word: n for n, word in self.places.sizes.words.items()}
        told = [word for word in sizes if word in words]
        arguments = [a for name, a in self.places.arguments.items() if name in words]
        parameters = ["length", "way", "begun", "block", "start", "stop", *told, "numbers"]
        signature = ", ".join([*parameters, *[a.name for a in arguments]])
        source = "\n".join([f"def {self.head[0]}({signature}):", *indented(text)]) + "\n"
        values = tuple([sizes[word] for word in told])
        numbers = [n.source for n in self.places.numbers if n.source is not None]
        called, turns = self.places.called, math.prod(self.step.lengths)
        return Plan(source, arguments, sizes, values, numbers, lines, called, turns)

    def text(self, body: list[str]) -> list[str]:
        """The lines of the function."""
        step = ["s = step if way > 0 else count - 1 - step", "t = low + s",
                "before, after = t + behind, t + 1 - behind", *body]  # fmt: skip
        block = ["count = min(block, length - done)",
                 "low = done if way > 0 else length - done - count", *self.schedule.early,
                 *nested([("step", "count")], step), *self.schedule.late]  # fmt: skip
        numbers = [
            f"{word} = {KINDS.get(node.dtype, 'f64')}(numbers[{k}])"
            for k, (node, word) in enumerate(self.places.numbers.items())
        ]
        rows = [f"{ROWS} = stop - start"] if self.places.batched else []
        head = [] if self.places.inside else [f'"""{self.head[1]}"""', *rows, *numbers]
        behind = f"behind = 0 if way {self.head[2]} 0 else 1"
        return [*head, behind, *nested([("done", "0, length, block")], block)]

    def written(self, residuals: Sequence[Tensor]) -> Plan:
        """The loop that computes the results of all steps, and keeps the residuals."""
        lowering, places = self.lowering, self.places
        self.place_captured()
        lowering.tensors([*self.step.ops, *self.step.ahead.values()])
        results = [*self.step.results, *residuals]
        found = [lowering.result(y) for y in results]
        put = [self.place(k, y, n) for k, (y, n) in enumerate(zip(results, found, strict=True))]
        places.given = set(places.at)
        became = gathered(found, places.is_early, places.given)
        found = [became[n] for n in found]
        for node in ordered(found, places.given):
            if isinstance(node, nodes.Product) and any(places.is_early(x) for x, _ in node.pairs):
                places.in_blocks.add(node)
        self.finish(list(zip(found, put, strict=True)))
        return self.plan(FORWARD_LINES)


def carry_name(k: int, x: Tensor) -> str:
    return (x.name or ("h", "c", f"h{k}")[min(k, 2)]).rstrip("0") or f"h{k}"
