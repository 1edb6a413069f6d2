"""A step that most likely does what it did the last time: it is only looked whether it does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from sys import getrefcount
from typing import Any

from ..op import Op
from ..tensor import Outline, Tensor, _births, _Switch, mode
from .trace import Blank, Call, Trace, detached, entry, outlined, specification


class Past:
    """What a step did, on tensors of its own, and the program that does the same."""

    def __init__(self, made: Trace, program: Any):
        self.program, self.keys = program, made.calls
        self.captured = [specification(x) for x in made.captured]
        self.results = [made.place(x) for x in made.results]
        self.names = [y.name for y in made.nodes]
        twins = {x: outlined(x) for x in [*made.leaves, *made.captured, *made.nodes]}
        for y in made.nodes:
            copy(y, twins)
        self.leaves, self.nodes = [[twins[x] for x in xs] for xs in (made.leaves, made.nodes)]
        self.outside = {twins[x]: k for k, x in enumerate(made.captured)}
        self.number = {twins[x]: k for x, k in made.number.items() if k >= 0}
        self.around = {twins[y]: key for y, key in made.around.items()}
        self.calls = [call.renamed(twins) for call in made.done or ()]
        twins.clear()
        self.counts = self.references()

    def references(self) -> list[int]:
        """How many hold each of its tensors."""
        return [*map(getrefcount, chain(self.leaves, self.nodes))]


def copy(y: Tensor, twins: dict[Tensor, Tensor]) -> None:
    """Let its twin be a node like it."""
    twin = twins[y]
    twin.op, twin.attrs, twin.scope, twin.name = y.op, y.attrs, y.scope, None
    twin.inputs = tuple([twins[x] for x in y.inputs])


def alike(call: Call, attrs: dict[str, Any]) -> bool:
    """Whether these are the attributes of a call, the same objects or what the answer goes by."""
    if call.tag is not None:
        return entry(call.op, call.inputs, attrs)[1] is call.tag
    known = call.attrs
    same = len(attrs) == len(known)
    return same and all([known.get(name, Outline) is x for name, x in attrs.items()])


class Again(Blank):
    """What a `Trace` is, of a step that was seen before, for as long as it does the same.

    Its tensors are those of the last time, so nothing is made. If it does something else, what it
    has done so far is the beginning of a trace, which goes on from there.
    """

    loops = True

    def __init__(self, past: Past, given: Sequence[Tensor]):
        self.past, self.leaves, self.count = past, past.leaves, 0
        self.became: Trace | None = None
        self.began, self.xs = next(_births), ()  # see Trace
        self.captured: list[Tensor] = []
        for leaf, x in zip(past.leaves, given, strict=True):
            leaf.name = x.name
        for y in past.nodes:
            y.name = None

    def on(self) -> _Switch:
        """What happens in this block is compared."""
        return _Switch(trace=self, scope="", recording=True, anomaly=False)

    def written_down(self) -> Trace:
        """Become a trace: histories here lead to twins of what the step reads from outside."""
        return self.became or self.turned()

    def record(self, op: Op, inputs: Sequence[Tensor], attrs: dict[str, Any]) -> Any:
        """What the op gave the last time, if it is that op on that."""
        if self.became is not None:
            return self.became.record(op, inputs, attrs)
        calls, k, known = self.past.calls, self.count, len(self.captured)
        if k < len(calls):
            done, given, words, tag, scope, recording, answer, _ = calls[k]
            same = done is op and len(given) == len(inputs)
            if same and mode.scope == scope and mode.recording is recording:
                for x, y in zip(inputs, given):  # noqa: B905 (this loop is hot)
                    if x is not y and not self.stands(x, self.past.outside.get(y)):
                        break
                else:
                    plain = tag is None and not attrs and not words
                    if plain or alike(calls[k], attrs):
                        self.count = k + 1
                        return answer
        del self.captured[known:]
        if all([x._array.__class__ is not Outline for x in inputs]):
            return None
        return self.turned().record(op, inputs, attrs)

    def stands(self, x: Tensor, k: int | None) -> bool:
        """Whether this is the k-th tensor that the step captures, now or as before."""
        captured = self.captured
        if k is None or k > len(captured):
            return False
        if k < len(captured):
            return captured[k] is x
        if x._array.__class__ is Outline or specification(x) != self.past.captured[k]:
            return False
        captured.append(x)
        return True

    def detach(self, x: Tensor) -> Any:
        return self.record(detached, (x,), {})

    def repeats(self, results: Sequence[Tensor]) -> bool:
        """Whether it has done all that it did, and returned the same."""
        past = self.past
        if self.count != len(past.calls) or len(results) != len(past.results):
            return False
        for x, k in zip(results, past.results, strict=True):
            if not (past.number.get(x) == k if k >= 0 else self.stands(x, ~k)):
                return False
        same = len(self.captured) == len(past.captured)
        return same and [y.name for y in past.nodes] == past.names

    def turned(self) -> Trace:
        """The trace of what it has done so far, which takes its place."""
        past, made = self.past, Trace((), loops=True)
        count = past.calls[self.count - 1].nodes if self.count else 0
        known = {y: self.captured[k] for y, k in past.outside.items() if k < len(self.captured)}
        made.leaves, made.captured, made.done = past.leaves, self.captured, None
        made.began, made.xs = self.began, self.xs
        made.nodes, made.calls = past.nodes[:count], past.keys[:count]
        made.number = {x: past.number[x] for x in [*past.leaves, *made.nodes]}
        made.number |= {x: ~k for k, x in enumerate(self.captured)}
        for y in made.nodes:
            y.born, y.inputs = next(_births), tuple([known.get(x, x) for x in y.inputs])
            if y in past.around:
                made.around[y] = past.around[y]
        self.became = made
        return made
