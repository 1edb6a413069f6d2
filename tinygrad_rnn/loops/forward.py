"""The loop ahead: what a step stores at each time, and the leaves that both loops know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .forms import Builder
from .lower import Lowering, Node, Sizes
from .nest import Place, Store, whole
from .plan import AHEAD_LINES, Plan
from .schedule import Text
from .sums import gathered, ordered
from .trace import Step, is_written


def carry_names(step: Step) -> list[str]:
    usual = ["h", "c"]
    return [
        (x.name or (usual[k] if k < 2 else f"h{k}")).rstrip("0") or f"h{k}"
        for k, x in enumerate(step.carry)
    ]


def begin(step: Step, batch: int | None, text_name: str, head: Sequence[str]) -> Any:
    """A lowering and a text that know the leaves of a step."""
    sizes = Sizes()
    for x in step.carry:
        for n in x.shape[batch is not None :][::-1]:
            sizes.add(n, "H")
    for x in step.xs:
        for n in x.shape[batch is not None :][::-1]:
            sizes.add(n, "I")
    for x in step.captured:
        for n in x.shape[::-1]:
            if n != batch or batch is None:
                sizes.add(n, "N")
    lowering = Builder(sizes, batch)
    text = Text(text_name, sizes, batch is not None, head)
    text.captured = [x.shape for x in step.captured]
    numbers: list[Any] = []
    for k, x in enumerate(step.captured):
        captured_leaf(lowering, text, numbers, x, ("captured", k), x.name or f"w{k}")
    return lowering, text, numbers


def captured_leaf(lowering, text, numbers, x, role, name):
    if is_written(x):
        return lowering.node(x)
    node = lowering.leaf(x, role, False)
    if x.ndim == 0:
        node.data = ("number", len(numbers))
        numbers.append(role)
        text.numbers[node] = text.fresh("number")
        return node
    node.name = name
    text.given.add(node)
    return node


def place_captured(lowering: Lowering, text: Text) -> None:
    """Arguments for the fixed arrays that the loop reads number by number."""
    for node in sorted(text.given, key=lambda n: n.born):  # the same text in every process
        if node not in text.places:
            name = text.argument(node.name, node.data, node.dtype, len(node.shape), False)
            text.places[node] = Place(name)
            text.full[name] = node.shape


def drop_unused(text: Text, source: str) -> str:
    """Leave out arguments that the text does not mention."""
    body = source.split('"""', 2)[2]
    words = set(re.findall(r"\w+", body))
    for name in [n for n in text.arguments if n not in words]:
        del text.arguments[name]
    return text.source(text.lines)


def ahead_plan(step: Step, batch: int | None, names: list[str], notes: list[Any]) -> Plan:
    lowering, text, numbers = begin(
        step, batch, "ahead", ["The step, ahead in time.", "0 if way > 0 else 1"]
    )
    leaves(step, lowering, text, names)
    place_captured(lowering, text)
    lowering.tensors(step.ahead)
    outputs: list[tuple[Node, Place]] = []
    for k, y in enumerate(step.results):
        node = lowering.result(y)
        if k < len(step.carry):
            outputs.append((node, Place(text.names[k], "after", batch is not None)))
        else:
            role = ("out", k - len(step.carry))
            outputs.append((node, sequence(text, f"y{k}", role, node, "t", True, batch)))
    for k, y in enumerate(notes):
        node = lowering.result(y)
        name = y.name or text.numbered(f"{y.op.name}_")
        outputs.append((node, sequence(text, name, ("note", k), node, "t", True, batch)))
    text.given = set(text.places)
    became = gathered([n for n, _ in outputs], text.is_early, text.given)
    outputs = [(became.get(n, n), p) for n, p in outputs]
    for node in ordered([n for n, _ in outputs], text.given):
        if node.kind == "product" and any(
            text.is_early(x) for x in node.inputs[: 2 * node.data : 2]
        ):
            text.in_blocks.add(node)
    finish(text, outputs)
    return planned(text, numbers, [], AHEAD_LINES)


def finish(text: Text, outputs: list[tuple[Node, Place]], needed: Sequence[Node] = ()) -> None:
    """Give outputs their places, make them and what else is needed, and store them."""
    first: dict[Node, Place] = {}
    for node, place in outputs:
        passing = place.time == "0" and node in text.in_blocks  # a sum after the block reads all
        if node.kind not in ("leaf", "written") and node not in text.places and not passing:
            text.places[node] = first[node] = place
    text.make([*[n for n, _ in outputs], *needed])
    for node, place in outputs:
        direct = first.get(node) == place
        if direct and node.kind not in ("pointwise", "view"):
            continue
        text.stores.append(Store(node, place, whole(node), "=", node if direct else None))


def planned(text: Text, numbers: list[Any], fixed: list[Any], lines: int) -> Plan:
    for _ in range(4):
        text.lines = text.body()
        costly = [n for n, groups in text.expensive.items() if len(groups) > 1]
        if not costly:
            break
        for node in costly:
            text.places[node] = text.buffer(node, False)
            text.stores.append(Store(node, text.places[node], whole(node), "=", node))
    source = drop_unused(text, text.source(text.lines))
    return Plan(text, source, numbers, fixed, lines)


def sequence(text, name, role, node, time, written, batch):
    """An argument with an axis of time in front."""
    shape = node.shape
    word = text.argument(name, role, node.dtype, len(shape) + 1, written)
    text.full[word] = shape
    return Place(word, time, batch is not None and node.batched)


def leaves(step: Step, lowering: Lowering, text: Text, names: list[str]) -> None:
    batch = lowering.batch
    text.names = []
    for k, x in enumerate(step.carry):
        node = lowering.leaf(x, ("carry", k), True)
        place = sequence(text, names[k], ("path", k), node, "before", True, batch)
        text.places[node] = place
        text.names.append(place.array)
    for k, x in enumerate(step.xs):
        node = lowering.leaf(x, ("x", k), True)
        name = x.name or ("x" if len(step.xs) == 1 else f"x{k}")
        text.places[node] = sequence(text, name, ("x", k), node, "t", False, batch)
