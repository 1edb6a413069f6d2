"""Lesson 02: how its exercises are judged."""

from __future__ import annotations

import cmath
import math
import sys
from collections.abc import Callable, Mapping
from inspect import unwrap
from typing import Any

import numpy as np

from ...tape import Tape
from ...tape.numbers import Numbers
from ...tape.tape import Call, Place, Record, Term
from ...view import draw
from .. import Exercise, Judge, Lesson
from ..judge import Run, Wrong

H = 1e-30  # an imaginary step: nothing is subtracted, so it can be as small as one likes


class Node:
    """A node with a name, and with ops of its own."""

    def __init__(self, value: float, parents: Any = (), slopes: Any = (), name: str = ""):
        self.value, self.parents, self.slopes, self.name = value, parents, slopes, name
        self.gradient = 0.0

    def __add__(self, other: Node) -> Node:
        return Node(self.value + other.value, (self, other), (1.0, 1.0))

    def __mul__(self, other: Node) -> Node:
        return Node(self.value * other.value, (self, other), (other.value, self.value))


def class_of(made: Any) -> Any:
    """What a learner's function is given nodes of: their own class, where there is one."""
    return getattr(unwrap(made), "__globals__", {}).get("Node", Node)


def named(node: Any, name: str) -> Any:
    """A node that goes by a name."""
    node.name = name
    return node


def bent(x: Any) -> Any:
    """The hyperbolic tangent of a node, or of a complex number."""
    if isinstance(x, Node):
        return Node(math.tanh(x.value), (x,), (1 / math.cosh(x.value) ** 2,))
    return cmath.tanh(x)


def nudged(f: Callable[..., Any], values: Mapping[str, float]) -> dict[str, float]:
    """The slope of f by each of its values."""
    return {
        name: f(**{n: complex(v, H * (n == name)) for n, v in values.items()}).imag / H
        for name in values
    }


def op(judge: Judge, f: Callable[..., Any], *cases: dict[str, float]) -> None:
    """Judge one op: what is noted of a run of it."""
    for values in cases:

        def run(made: Any, values: dict[str, float] = values) -> dict[str, Any]:
            own = class_of(made)
            node = made(*(named(own(value), name) for name, value in values.items()))
            if not hasattr(node, "slopes"):
                raise Wrong(f"expected a Node, got {type(node).__name__}")
            parents = " ".join(getattr(p, "name", str(p)) for p in node.parents)
            return {"value": node.value, "parents": parents, "slopes": list(node.slopes)}

        value = complex(f(**values)).real
        slopes = [*nudged(f, values).values()]
        expected = {"value": value, "parents": " ".join(values), "slopes": slopes}
        words = ", ".join(f"{name} = {value:g}" for name, value in values.items())
        judge.see(words, run, expected, by="by nudging")


def mul(judge: Judge) -> None:
    """Expected: by complex steps."""
    op(judge, lambda a, b: a * b, {"a": 3.0, "b": 5.0}, {"a": -0.5, "b": 0.25})


def tanh(judge: Judge) -> None:
    """Expected: by complex steps."""
    op(judge, lambda a: cmath.tanh(a), {"a": 0.5}, {"a": -2.0}, {"a": 0.0})


GRAPHS = (  # all nodes of a run, as they are made
    "x",
    "x, a = tanh(x), y = tanh(a)",
    "x, w, y = x · w",
    "x, y = x · x",
    "x, a = tanh(x), y = a · x",
    "x, a = tanh(x), b = tanh(a), y = b · x",
    "x, a = tanh(x), y = x · a",
    "x, w, a = x · w, b = tanh(a), c = b · a, y = c · w",
)


def nodes_of(words: str, own: Any = Node) -> list[Any]:
    """The nodes of a run in words; only how they hang together counts."""
    made: dict[str, Any] = {}
    for part in words.split(", "):
        name, _, formula = part.partition(" = ")
        letters = formula.removeprefix("tanh(").removesuffix(")").split(" · ")
        parents = tuple(made[letter] for letter in letters if letter)
        made[name] = named(own(1.0, parents, (1.0,) * len(parents)), name)
    return [*made.values()]


def after_their_parents(found: Any) -> int:
    """How many nodes are listed once, and after all of their parents."""
    seen: set[Any] = set()
    for node in found:
        if node not in seen and all(parent in seen for parent in node.parents):
            seen.add(node)
    return len(seen)


def listed(words: str) -> Run:
    """The names of what is listed; of any right order those of one of them."""

    def run(made: Any) -> str:
        nodes = nodes_of(words, class_of(made))
        found = made(nodes[-1])
        if not isinstance(found, list | tuple):
            raise Wrong(f"expected a list of nodes, got {type(found).__name__}")
        right = len(found) == len(nodes) == after_their_parents(found)
        return " ".join(getattr(n, "name", "?") for n in (nodes if right else found))

    return run


def order(judge: Judge) -> None:
    """Expected: what the definition says, of any list."""
    for words in GRAPHS:
        names = " ".join(node.name for node in nodes_of(words))
        judge.see(words, listed(words), names, by="one right order")


def deep_order(judge: Judge) -> None:
    """Expected: the same, and of a chain, with as many calls in each other as Python allows."""
    order(judge)

    def run(made: Any) -> Any:
        own, asked = class_of(made), list[int]()
        end = w = own(0.9)
        for _ in range(10_000):
            end = own(0.5, (end, w), (1.0, 1.0))
        before, allow = sys.getrecursionlimit(), sys.setrecursionlimit
        allow(1000)
        sys.setrecursionlimit = asked.append
        try:
            found = made(end)
            return "sys.setrecursionlimit" if asked else after_their_parents(found)
        except RecursionError:
            return "sys.setrecursionlimit" if asked else "RecursionError"
        finally:
            sys.setrecursionlimit = allow
            allow(before)

    judge.see("a chain of 10,000 ops", run, 10_001, by="nodes listed after their parents")


def state(x: Any, w: Any, h: Any) -> Any:
    """Three steps of a recurrent network of a single number."""
    for _ in range(3):
        h = bent(w * h + x)
    return h


def backward(judge: Judge) -> None:
    """Expected: by complex steps, which need no tape."""
    cases: dict[str, Callable[..., Any]] = {
        "y = x": lambda x: x,
        "y = x · w": lambda x, w: x * w,
        "y = x · x": lambda x: x * x,
        "y = tanh(x) · x": lambda x: bent(x) * x,
        "y = tanh(tanh(x))": lambda x: bent(bent(x)),
        "y = tanh(w · x) · v": lambda x, w, v: bent(w * x) * v,
        "a = x · w, y = a · tanh(tanh(a))": lambda x, w: (lambda a: a * bent(bent(a)))(x * w),
        "h = tanh(w · h + x), three times": state,
    }
    for words, f in cases.items():
        names = f.__code__.co_varnames[: f.__code__.co_argcount]
        values = dict(zip(names, (0.5, -1.5, 0.75), strict=False))

        def run(made: Any, f: Any = f, values: Any = values) -> dict[str, float]:
            nodes = {name: Node(value, name=name) for name, value in values.items()}
            made(f(**nodes))
            return {name: node.gradient for name, node in nodes.items()}

        judge.see(words, run, nudged(f, values), by="by nudging")


def picture(made: Mapping[str, Any]) -> Any:
    """A run on the learner's tape, and their walk back, drawn as the engine draws its own."""
    w, h = Node(1.5, name="w"), Node(0.5, name="h(0)")
    told = {w: ("w", "", -1), h: ("h(0)", "", -1)}  # name, op and time step of each node
    for t, value in enumerate((0.5, -1.0, 0.25), 1):
        x = Node(value, name=f"x({t})")
        product = made["mul"](w, h)
        s = Node(product.value + x.value, (product, x), (1.0, 1.0))
        h = made["tanh"](s)
        told |= {x: (x.name, "", t), product: ("", "mul", t), s: ("", "add", t)}
        told[h] = (f"h({t})", "tanh", t)
    made["backward"](h)
    found = made["deep_order"](h)
    return draw(tape(found, told), overlay="backward", first=3, title=TITLE)


TITLE = "h(t) = tanh(w h(t − 1) + x(t)), and the walk back"
CALLS = {
    "mul": Call("mul", dtype="float64", sign="×", family="scale", pointwise=True),
    "add": Call("add", dtype="float64", sign="+", family="addition", pointwise=True),
    "tanh": Call("tanh", dtype="float64", family="curve", pointwise=True),
}


def tape(found: list[Any], told: Mapping[Any, tuple[str, str, int]]) -> Tape:
    """The nodes that a walk has found, as a tape of the engine."""
    place = {node: k for k, node in enumerate(sorted(found, key=lambda node: bool(node.parents)))}
    records = []
    for node, k in place.items():
        name, op, t = told[node]
        scope = Place(f"rnn/t={t}", "rnn", t) if op else Place()
        terms = [
            Term(i, Numbers(np.array(node.gradient * slope))) for i, slope in enumerate(node.slopes)
        ]
        made = Record(k, "op" if op else "input", CALLS.get(op, Call()), scope, name, [])
        made.inputs = [(place[parent], -1) for parent in node.parents]
        made.value, made.grad = (Numbers(np.array(x)) for x in (node.value, node.gradient))
        made.order, made.terms = len(found) - 1 - found.index(node), terms
        records.append(made)
    return Tape(records, [place[found[-1]]], True, len(records))


LESSON = Lesson(
    "tape",
    "The tape",
    45,
    (
        Exercise(
            "mul",
            "The rule of a product",
            ("an op notes what it was made from", "a slope for each parent"),
            (
                "`add` is an example: only the value and the slopes differ.",
                "Hold b still and nudge a by h: how far does a · b go, divided by h?",
                "(a + h) b - a b = h b: the slope for a is b.value, and that for b likewise.",
            ),
            "The slopes were computed while the op ran, when both values were at hand. Nothing of "
            "the op has to be known later but these numbers.",
            mul,
        ),
        Exercise(
            "tanh",
            "The rule of tanh",
            ("a rule may use the answer",),
            (
                "One parent: the tuples have one entry each, (a,).",
                "The derivative of tanh x is 1 - tanh² x.",
                "With y = math.tanh(a.value) the slope is 1 - y * y.",
            ),
            "The rule needs the answer only, not the input. That is why an engine keeps the "
            "answer of tanh: no other function has to be computed on the way back.",
            tanh,
        ),
        Exercise(
            "order",
            "Parents first",
            ("a run is a graph", "an order in which every parent comes first"),
            (
                "Begin at end: all else can be reached from it by going to parents.",
                "Visit a node by visiting its parents, unless you have been there, and then "
                "append the node itself.",
                "def visit(node): if node is not in seen: add it, visit each parent, and at last "
                "found.append(node).",
            ),
            "A node is appended only when all of its parents are in the list. Read from its end, "
            "the list has each node after all that use it: when the walk comes to a node, all of "
            "its gradient has arrived.",
            order,
        ),
        Exercise(
            "backward",
            "The walk back",
            ("the chain rule, one op at a time", "what is used twice gets both"),
            (
                "Two loops: over reversed(order(end)), and over a node's parents with its slopes.",
                "To nudge a parent nudges the node by the slope, and the end by the node's "
                "gradient times that. All ways to the end count.",
                "parent.gradient += node.gradient * slope, once end.gradient is 1.0.",
            ),
            "Each op was visited once, and handed on one number for each of its parents. So all "
            "slopes together cost about as much as the run itself, however many they are.",
            backward,
        ),
        Exercise(
            "deep_order",
            "A list in place of calls",
            ("calls inside each other are limited", "a list of what is left to do"),
            (
                "Take from the end of a list what is to be done next, and append what comes up.",
                "A node comes up twice: first its parents are put on the list, and when all that "
                "is done, the node is appended. Mark which of the two it is.",
                "Pop (node, parents_done). If they are done, append the node; else, unless it has "
                "been seen, put (node, True) back, and on top of it (parent, False) for each "
                "parent.",
            ),
            "A recurrent network over 1,000 characters has a chain of several thousand ops. Your "
            "list can be as long as the memory is large.",
            deep_order,
        ),
    ),
    fast=4,
    picture=picture,
)
