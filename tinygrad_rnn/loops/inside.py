"""A scan inside a step: one op of the step, and in its text a loop like the one around."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..op import Declared, Op
from ..tensor import Tensor, mode
from . import nodes
from .backward import Backward
from .draft import Draft
from .forms import Builder
from .makers import looped
from .nodes import Coupled, Node, Unsupported
from .plan import BUFFERS, FRESH, Plan
from .program import Program
from .roles import Carried, Fixed, Packed, Place, Timed, Total
from .scanned import pull_unrolled, step_by_step
from .trace import Step, Trace, done_again, outline
from .where import Way, offset, straight

CLOCK = ["behind", "done", "count", "low", "step", "s", "t", "before", "after"]
FORWARD = "1 > 0", "-1 < 0"  # ways that are told from the way of the loop, where that is known


class Inner(NamedTuple):
    """What a scan in a step does."""

    program: Program
    length: int
    reverse: bool
    names: tuple[str, ...]


def program_inside(made: Trace) -> Program | Unsupported:
    """What a scan inside does; or why it is no loop."""
    try:
        return Program(Step(made), None)
    except Unsupported as reason:
        return reason


class Inside(Op):
    """A scan in a step. It returns what the scan does, and what its derivative reads besides.

    Those are residuals, and the carry at all steps and before them.
    """

    def pull(self, g: Any, y: Tensor, wanted: set[Tensor] | None = None) -> list[Any]:
        """The derivative, an op too; what is the same at all its steps is done before.

        In a step that asks for it, it may be differentiated again: then all is written out.
        """
        if mode.trace.loops:
            return pull_unrolled(g, y, lambda y, inputs: self.steps(inputs, y.attrs["scan"], None))
        step: Step = y.attrs["scan"].program.step
        incoming = tuple([k in g for k in range(len(step.results))])
        _, pulled, ops = step.pull(incoming)
        known: dict[Tensor, Any] = dict(zip(step.leaves, y.inputs, strict=True))
        before = step.fixed(ops)
        done_again([x for x in before if x.op], known)
        given = [known.get(x, x) for x in before if type(x._array) is not tuple]
        given += [g[k] for k, on in enumerate(incoming) if on]
        attrs = y.attrs | {"incoming": incoming}
        found = iter(mode.trace.record(derivative, (y, *y.inputs, *given), attrs))
        return [None if p is None else next(found) for p in pulled]

    def steps(self, inputs: Sequence[Tensor], scan: Inner, do: Any) -> list[Any]:
        """The results, step by step; what the derivative reads besides has no numbers then."""
        program, how = scan.program, scan._asdict()
        found = step_by_step(how.pop("program").step, inputs, math.inf, do, **how)
        return [*found, *[None] * (len(program.residuals) + len(program.step.carry))]


def _inside(*_: Any, scan: Inner) -> Any:
    """A scan in a step, as far as its shape goes."""
    program, length = scan.program, scan.length
    whole = [outline((length, *y.shape), y.dtype) for y in program.made]
    return (*whole, *[outline((length + 1, *c.shape), c.dtype) for c in program.step.carry])


def _derivative(_: Any, *given: Any, scan: Inner, incoming: tuple[bool, ...]) -> Any:
    """What a scan in a step passes back, as far as its shape goes: to what waits for it."""
    pairs = zip(given, scan.program.step.pull(incoming)[1], strict=False)
    return tuple([outline(x.shape, x.dtype) for x, p in pairs if p is not None])


# -- as loops ------------------------------------------------------------------------------------


def ahead(build: Builder, y: Tensor, inputs: list[Node], scan: Inner) -> list[Node]:
    """The loop of the forward pass; what it makes, along time, and the carry also before it."""
    program, step, L = scan.program, scan.program.step, build.sizes.text(scan.length)
    first, last, begins = len(step.xs), len(step.xs) + len(step.carry), list[str]()
    known: dict[Any, Node] = dict(zip(step.captured, inputs[last:], strict=True))
    known |= {Timed("x", k): x for k, x in enumerate(inputs[:first])}
    draft = Draft(step, None, build.places, known)
    for path, c, x in zip(draft.paths, step.carry, inputs[first:last], strict=True):
        known[word := build.places.names.fresh(f"{path}_first")] = x
        at, ways = Place(path, L if scan.reverse else "0"), straight(c.ndim)
        begin = Place(word).entry(ways) if c.ndim else word
        begins += looped(build.shape(c.shape, False), f"{at.entry(ways)} = {begin}")
    plan, way = draft.written(program.residuals), -1 if scan.reverse else 1
    found = written(build, draft, plan, scan.length, way, begins)
    paths: list[Node] = [found[Timed("path", k)] for k in range(len(step.carry))]
    start = Way(0, offset(int(not scan.reverse)))
    cut = lambda x: build.view(x, (L, *x.shape[1:]), (start, *straight(len(x.shape))[1:]))
    made = [found[Timed("made", k)] for k in range(len(paths), len(program.made))]
    return [*map(cut, paths), *made, *paths]


def back(
    build: Builder, y: Tensor, inputs: list[Any], scan: Inner, incoming: tuple[bool, ...]
) -> list[Node]:
    """The loop of the backward pass; what it makes."""
    program, step, (made, *read) = scan.program, scan.program.step, inputs
    _, pulled, ops = step.pull(incoming)
    first, last = len(step.xs), len(step.xs) + len(step.carry)
    before = [x for x in step.fixed(ops) if type(x._array) is not tuple]
    known: dict[Any, Node] = dict(zip([*step.captured, *before], read[last:], strict=False))
    arriving = [Timed("incoming", k) for k, on in enumerate(incoming) if on]
    known |= zip(arriving, read[len(step.leaves) + len(before) :], strict=True)
    for kind, xs in ("x", read[:first]), ("made", made), ("path", made[len(program.made) :]):
        known |= {Timed(kind, k): x for k, x in enumerate(xs)}
    draft = Backward(step, None, incoming, build.places, known)
    plan, way = draft.written(program.residuals), 1 if scan.reverse else -1
    found = written(build, draft, plan, scan.length, way, [])
    results: list[Node] = []
    waiting = [k for k, p in enumerate(pulled) if p is not None]
    for k, like in zip(waiting, y._array, strict=True):
        roles = Timed("dx", k), Carried(k - first, False), Total(k - last, False)
        zero = nodes.Written([], build.shape(like.shape, False), like.dtype, False, value=0)
        part = found.get(roles[(k >= first) + (k >= last)], zero)
        results.append(build.without(part, range(len(part.shape) - len(like.shape))))
    return results


def written(
    build: Builder, draft: Draft, plan: Plan, length: int, way: int, begins: list[str]
) -> dict[Any, nodes.Part]:
    """Make a text part of the one around: what it is given, and its clock, get other names there.

    Returns what it makes, by its roles.
    """
    if build.batch is not None:
        raise Coupled
    say, known = build.sizes.text, draft.outside
    rows = math.prod([*draft.step.carry, Tensor(0)][0].shape[:-1])
    block = min(length, max(1, plan.lines // max(1, rows)))
    bound = {word: x for word, x in known.items() if word.__class__ is str}
    bound |= {word: known[n.source] for n, word in draft.places.numbers.items()}
    loop, found = nodes.Loop([], (), np.dtype(np.int64)), dict[Any, nodes.Part]()
    loop.packed = {a.name for a in plan.arguments if isinstance(a.role, Packed)}
    room = [make().shape for make in plan.layout(FRESH + BUFFERS, 1, block)]
    own = dict(zip([k for kind in FRESH + BUFFERS for k, _ in plan.roles[kind]], room, strict=True))
    for k, (a, shape) in enumerate(zip(plan.arguments, plan.shapes, strict=True)):
        role = a.role
        if isinstance(role, Fixed | Packed) or role in known:
            bound[a.name] = known[getattr(role, "of", role)]
            continue
        along = length + (getattr(role, "kind", "") == "path")
        words = tuple(map(say, own.get(k) or [along, *shape]))
        found[role] = loop.parts[a.name] = nodes.Part([loop], words, a.dtype, name=a.name)
        if isinstance(role, Carried) or (isinstance(role, Total) and not role.fresh):
            begins += looped(words, f"{Place(a.name).entry(straight(len(words)))} = 0")
    loop.words, loop.inputs = [*bound], [*bound.values()]
    clock = {word: build.places.names.fresh(f"{word}_") for word in CLOCK}
    clock |= {"way": str(way), "begun": "0", "length": say(length), "block": say(block)}
    text = re.sub(r"\w+", lambda m: clock.get(m[0], m[0]), plan.source)
    way_known = r"= (.+) if (-?1 . 0) else (.+)"
    text = re.sub(way_known, lambda m: f"= {m[1] if m[2] in FORWARD else m[3]}", text)
    loop.lines = begins + [line[4:] for line in text.splitlines()[1:]]
    return found


within = Inside(_inside, [_inside], variadic=True, declared=Declared(loop=ahead))
derivative = Op(_derivative, [_derivative], variadic=True, declared=Declared(loop=back))
