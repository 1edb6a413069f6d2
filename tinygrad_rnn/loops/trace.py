"""A step of a recurrence, run without numbers and written down: its ops, and its derivative's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import caches, kernels
from ..grad import pullback
from ..op import Op, pick, pointwise
from ..randomness import unnamed
from ..tensor import (
    Outline,
    Tensor,
    Untraceable,
    _births,
    _Switch,
    caller,
    describe,
    leaked,
    mode,
    owned,
    scope,
)
from .reach import TRIES, WORLD, Reach, alone, by_itself, frozen

Key = tuple[Any, ...]


@pointwise(None, number=lambda x: x)
def detached(x: Any) -> Any:
    """The same values without the past, as `x.detach()` spells it inside a step."""
    return x + 0


PLAIN = {int, bool, float, str, type(None)}


class Call(NamedTuple):
    """An op that a step has done, what it gave, and how many nodes there were then."""

    op: Op
    inputs: Sequence[Tensor]
    attrs: dict[str, Any]
    tag: Any  # None where these say all
    scope: str
    recording: bool
    answer: Any
    nodes: int

    def renamed(self, twins: dict[Tensor, Tensor]) -> Call:
        """The same, done with other tensors."""
        several = self.answer.__class__ is tuple
        answer = tuple([twins[y] for y in self.answer]) if several else twins[self.answer]
        return self._replace(inputs=[twins[x] for x in self.inputs], answer=answer)


class Blank:
    """What is said of the tensors in a step, which have no numbers yet."""

    def each(self, who: str, x: Tensor) -> Tensor:
        """It, refused if it is the same at all steps: its gradient would be that of all of them."""
        if x._array.__class__ is Outline:
            return x
        raise Untraceable(
            f"{who}: x is the same at every step of the scan, so that it has one gradient, for all "
            "steps. Clip what the step computes, or clip x before the scan; or run the steps one "
            "by one with unroll=True."
        )

    def every(self, x: Tensor) -> None:
        """Its numbers."""

    def unseen(self, x: Tensor, wish: str) -> Untraceable:
        """What a step is told that wants to see them."""
        return Untraceable(
            f"scan: the step {wish} {describe(x)}, at {caller()}. The loop is compiled before "
            "there are numbers. Choose with tg.where(condition, x, y), take rows of a table with "
            "tg.embedding(table, i), give what changes with time as xs, or run the steps one by "
            "one with unroll=True."
        )


class Trace(Blank):
    """What a step does, in the order it does it, found by running it on outlines of arrays.

    `nodes` are the ops, as tensors without numbers; `captured` what they read from outside: weights
    the step closes over and numbers it mentions. Running the step again is cheap (no arithmetic is
    done), so it happens at every call, and what has changed since is always seen.
    """

    def __init__(self, leaves: Sequence[Tensor], outer: Any = None, loops: bool = False):
        self.nodes: list[Tensor] = []
        self.calls: list[Key] = []  # what was done, in numbers: the key of a compiled program
        self.done: list[Call] | None = []  # and as it was asked for; None if only the end is known
        self.captured: list[Tensor] = []
        self.around: dict[Tensor, Key] = {}  # what ops of others read besides their inputs
        self.leaves, self.began = [outlined(x) for x in leaves], next(_births)
        self.outer = outer  # the trace of the step that this one is in, if it is
        self.loops = loops  # whether scans in it are ops of it
        self.xs: Sequence[Tensor] = ()  # what the first leaves are steps of
        self.results: tuple[Tensor, ...] = ()
        self.number: dict[Tensor, int] = {x: k for k, x in enumerate(self.leaves)}

    def on(self) -> _Switch:
        """What happens in this block is written down here."""
        return _Switch(trace=self, scope="", recording=True, anomaly=False)

    def written_down(self) -> Trace:
        """Histories in it lead to all that the step reads, as they do here already."""
        if self.outer is not None:
            self.outer.written_down()
            for y in self.nodes:  # younger than what they read
                y.born = next(_births)
        return self

    def check_gradient(self, y: Tensor, wrt: Sequence[Tensor]) -> None:
        """Refuse one by what was there before the step, and may have had its part in its state.

        Step by step it would lead on through all steps before, of which a loop knows nothing.
        """
        old = {x for x in wrt if x.born < self.began} - {*self.leaves}
        found = past_of(y).intersection([x for x in self.leaves if x.tracked]) if old else set()
        pairs = zip(self.leaves, self.xs, strict=False)  # states come after xs
        found -= {x for x, whole in pairs if past_of(whole).isdisjoint(old)}
        if found:
            raise Untraceable(
                f"scan: the step takes tg.grad of {describe(y)} by {describe(old.pop())}, which "
                f"had its part in the steps before, at {caller()}: a loop does not go back "
                "there. Of this step alone tg.transforms.grad(f)(w) is the gradient, with all else "
                "constant, or tg.grad with h.detach(); through all steps, that of unroll=True."
            )
        if self.outer is not None:
            getattr(self.outer, "became", self.outer).check_gradient(y, wrt)

    def record(self, op: Op, inputs: Sequence[Tensor], attrs: dict[str, Any]) -> Any:
        """The outline of an op's answer; None where all inputs have numbers, to be used at once."""
        for x in inputs:
            if x._array.__class__ is Outline:
                break
        else:
            return None
        if self.outer is not None and all([self.number.get(x, -1) < 0 for x in inputs]):
            return self.outer.record(op, inputs, attrs)  # the same at all steps: done before
        answer, tag = entry(op, inputs, attrs)
        y: Any = self.add(op, inputs, attrs, answer, tag)
        if answer.__class__ is tuple:
            parts = [self.add(pick, (y,), {"i": i}, part, i) for i, part in enumerate(answer)]
            y = tuple(parts if mode.recording else [self.cut(op, part) for part in parts])
        elif not mode.recording:
            y = self.cut(op, y)
        if self.done is not None:
            plain = op.ours and all([x.__class__ in PLAIN for x in attrs.values()])
            tag, count = None if plain else tag, len(self.nodes)
            call = Call(op, inputs, attrs, tag, mode.scope, mode.recording, y, count)
            self.done.append(call)
        return y

    def cut(self, op: Op, y: Tensor) -> Tensor:
        """An answer without its past, if the step has switched recording off."""
        if not y.tracked or op is detached:
            return y
        return self.add(detached, (y,), {}, *entry(detached, (y,), {}))

    def add(self, op: Op, inputs: Any, attrs: Any, answer: Any, tag: Any) -> Tensor:
        """One more node, and what it adds to the key."""
        y = object.__new__(Tensor)
        y._array, y._grad, y._hooks, y.name, y.line = answer, None, None, None, None
        y.op, y.inputs, y.attrs = op, inputs, attrs
        y.born, y.scope, y.tracked = next(_births), mode.scope, False
        call, number = [tag, mode.scope], self.number
        for x in inputs:
            k = number.get(x)
            call.append(self.place(x) if k is None else k)
            if x.tracked and op is not detached:
                y.tracked = answer.__class__ is tuple or answer.dtype.kind == "f"
        if not op.ours:
            self.around[y] = surroundings(op)
        number[y] = len(number)
        self.nodes.append(y)
        self.calls.append(tuple(call))
        return y

    def place(self, x: Tensor) -> int:
        """The number of a tensor; one that is not known yet is captured."""
        k = self.number.get(x)
        if k is None:
            if x._array.__class__ is Outline and self.outer is None:
                raise leaked(x)
            k = self.number[x] = ~len(self.captured)
            self.captured.append(x)
        return k

    def detach(self, x: Tensor) -> Tensor:
        y: Tensor = self.record(detached, (x,), {})
        return y

    def key(self) -> Key:
        """All that a program depends on: ops and what they read, which leaves are inputs and which
        are states, shapes, dtypes, attributes, and the constants in its text."""
        return (
            len(self.xs),
            tuple(self.calls),
            tuple([y.name for y in self.nodes]),
            tuple([self.place(x) for x in self.results]),
            tuple([(x._array, x.tracked) for x in self.leaves]),
            tuple([specification(x) for x in self.captured]),
        )


def past_of(y: Tensor) -> set[Tensor]:
    """All that gradients of a tensor lead to, itself too."""
    known, left = {y}, [y]
    while left:
        more = {x for x in left.pop().inputs or () if x.tracked} - known
        known |= more
        left += more
    return known


def outlined(x: Tensor) -> Tensor:
    y, a = owned(np.empty(0)), x._array
    y._array = a if a.__class__ in (Outline, tuple) else outline(a.shape, a.dtype)
    y.tracked, y.name, y.born = x.tracked, x.name, x.born
    return y


def outline(shape: tuple[int, ...], dtype: np.dtype) -> Outline:
    """The outline of that shape and dtype: always the same one, so that it can be in a key."""
    known: Outline | None = caches.outlines.recent((shape, dtype))
    if known is None:
        known = caches.outlines.agree((shape, dtype), Outline(shape, dtype))
    return known


def entry(op: Op, inputs: Sequence[Tensor], attrs: dict[str, Any]) -> tuple[Any, Any]:
    """What an op gives for such inputs, and what that goes by in a key.

    The shape rule of an op is its body, run; once for each set of shapes, and of what it reads.
    """
    shapes: list[Any] = []
    for x in inputs:
        a: Any = x._array
        shapes.append(a if a.__class__ in (Outline, tuple) else (a.shape, a.dtype))
    if "index" in attrs:
        shapes += [x._array.tobytes() for x in inputs if is_counted(x._array)]
    if op.ours:
        key: Key = (op, *shapes, *attrs.items()) if attrs else (op, *shapes)
    else:
        key = (surroundings(op), *shapes, frozen(attrs))
    try:
        found: tuple[Any, Any] | None = caches.answers.recent(key)
    except TypeError:  # an index with slices in it has no hash
        key = (key[0], *shapes, "attrs", frozen(attrs))
        found = caches.answers.recent(key)
    return found or caches.answers.agree(key, (_answer(op, inputs, attrs), (op.name, object())))


def surroundings(op: Op) -> Key:
    """What somebody else's op is, by value: its code, and all it reads besides its inputs."""
    if op.around is None or op.around[0].changed() is not None:
        reach = Reach(*op.functions)
        op.around = reach, (*op.attributes, op.arity, op.pointwise, reach.key())
    known: Key = op.around[1]
    return known


def _answer(op: Op, inputs: Sequence[Tensor], attrs: dict[str, Any]) -> Any:
    blanks = [_blank(x._array, "index" in attrs) for x in inputs]
    try:
        with np.errstate(all="ignore"), kernels.shapes_only():
            out = op.body(*blanks, **attrs)
    except (ValueError, TypeError, IndexError) as error:
        raise op._refusal(error, inputs, attrs) from error
    if out.__class__ is tuple:
        return tuple(_outline_of(part) for part in out)
    return _outline_of(out)


def is_counted(a: Any) -> bool:
    """Whether it is a mask with numbers: as an index it takes as many as it has set."""
    return a.__class__ is np.ndarray and a.dtype == bool and a.ndim > 0


def _blank(a: Any, index: bool = False) -> Any:
    if a.__class__ is tuple:
        return tuple(_blank(part) for part in a)
    return a if index and is_counted(a) else np.zeros(a.shape, a.dtype)


def _outline_of(out: Any) -> Outline:
    if out.__class__ is Outline:
        return out
    out = np.asarray(out)
    return outline(out.shape, np.dtype(np.float32) if out.dtype.char == "e" else out.dtype)


def specification(x: Tensor) -> Key:
    if is_written(x):
        return ("written", x._array.dtype, x._array.item())
    return (x._array.shape, x._array.dtype, x.tracked)


def is_written(x: Tensor) -> bool:
    """Whether a constant is written into the program: small whole numbers, halves, flags.

    Other numbers are handed over at every call, so that one that changes compiles nothing.
    """
    array = x._array
    if x.tracked or x.op is not None or array.ndim or array.__class__ is Outline:
        return False
    value = array.item()
    if array.dtype.kind in "biu":  # beyond 2⁵³ they are not handed over, for lack of digits
        return bool(array.dtype.kind == "b" or abs(value) <= 16 or abs(value) > 1 << 53)
    zero = value == 0 and math.copysign(1.0, value) < 0  # -0.0 has the hash of 0.0
    return abs(value) <= 16 and value * 2 == int(value * 2) and not zero


class Step:
    """A step as a list of ops that hold on to nobody's tensors: what a program is made of.

    `xs, carry, captured` are outlines; `ops` what it does; `results` the new carry and then the
    outputs. `pull` gives the ops of its derivative.
    """

    def __init__(self, made: Trace):
        self.xs, self.carry = made.leaves[: len(made.xs)], made.leaves[len(made.xs) :]
        self.captured = [x if is_written(x) else outlined(x) for x in made.captured]
        self.specifications = [specification(x) for x in made.captured]
        known = dict(zip(made.captured, self.captured, strict=True))
        self.ops, self.around = made.nodes, {**made.around}
        self.pulls = dict[tuple[bool, ...], tuple[list[Any], list[Any], list[Tensor]]]()
        self.moved: dict[Key, dict[Any, Any]] = {}  # what is known of loops of its tangents
        self.lengths: list[int] = []  # of the scans in it, and of those in them
        for scan in [y.attrs["scan"] for y in self.ops if hasattr(y.op, "steps")]:
            self.lengths += [scan.length, *scan.program.step.lengths]
            self.around |= scan.program.step.around
        for y in self.ops:
            y.inputs = tuple([known.get(x, x) for x in y.inputs])
        self.results = [known.get(x, x) for x in made.results]
        self.ahead: dict[Key, Tensor] = {}  # what it and derivatives do that reads no cotangent
        self.once(self.ops)

    @property
    def leaves(self) -> list[Tensor]:
        """All that it reads."""
        return [*self.xs, *self.carry, *self.captured]

    def reads(self, captured: Sequence[Tensor]) -> bool:
        """Whether these, which the step captured before, are still what it is compiled for.

        Whether they require gradients may have changed, and what a constant is.
        """
        return [specification(x) for x in captured] == self.specifications

    def pull(self, incoming: Sequence[bool]) -> tuple[list[Any], list[Any], list[Tensor]]:
        """Cotangents of each of (xs, carry, captured), or None, as functions of those coming in.

        A result k has a cotangent from outside where `incoming[k]`; a new carry also has that of
        the step after, if anything leads there. Returns the leaves that stand for the cotangents of
        the results (None for an output nobody used), those of the inputs, and the ops in
        between.
        """
        key, arriving, first, count = tuple(incoming), [*incoming], len(self.xs), len(self.carry)
        while key not in self.pulls:
            gs, pulled, nodes = self.pull_from(arriving)
            same = self.once(nodes)
            pulled = [same.get(x, x) for x in pulled]
            nodes = [*{same.get(y, y): None for y in nodes}]
            back = [p is not None for p in pulled[first : first + count]]
            reached = [on or back[k : k + 1] == [True] for k, on in enumerate(arriving)]
            if reached == arriving:
                self.pulls[key] = gs, pulled, nodes
            arriving = reached
        return self.pulls[key]

    def once(self, ops: Sequence[Tensor]) -> dict[Tensor, Tensor]:
        """For each of these that reads no cotangent, and does what was done before, that."""
        same = {x: x for x in [*self.leaves, *self.ops, *self.ahead.values()]}
        for y in ops:
            y.inputs = tuple([same.get(x, x) for x in y.inputs])
            if y.op.pointwise and y.op.ours and all(x in same or is_written(x) for x in y.inputs):
                read = [specification(x) if is_written(x) else x for x in y.inputs]
                same[y] = self.ahead.setdefault((y.op, frozen(y.attrs), *read), y)
        return same

    def fixed(self, ops: Sequence[Tensor]) -> list[Tensor]:
        """What of the derivative depends on captured arrays only, and its numbers."""
        fixed, forward = {*self.captured}, {*self.ops, *self.xs, *self.carry}
        found = []
        for y in ops:
            for x in y.inputs:
                if x not in fixed and x.op is None and type(x._array) is np.ndarray:
                    fixed.add(x)
                    found += [] if x.ndim or is_written(x) else [x]
            if y.inputs and fixed.issuperset(y.inputs) and y not in forward:
                fixed.add(y)
                found.append(y)
        return found

    def pull_from(self, arriving: Sequence[bool]) -> tuple[list[Any], list[Any], list[Tensor]]:
        """`pull`, when it is known at which results a cotangent arrives."""
        made = Trace([])
        gs = [
            outlined(y) if on and y._array.dtype.kind == "f" else None
            for on, y in zip(arriving, self.results, strict=True)
        ]
        made.number = dict.fromkeys([*self.leaves, *self.ops], 0)
        for g in [g for g in gs if g is not None]:
            g.tracked, made.number[g] = True, 0
        pairs = [
            (y, g) for y, g in zip(self.results, gs, strict=True) if g is not None and y.tracked
        ]
        ends = {y for y in self.ops if not y.tracked}  # numbers without a past, as whole ones
        with made.on():
            found = pullback(
                [y for y, _ in pairs], [g for _, g in pairs],
                [x for x in self.leaves if x.tracked], until=ends, create_graph=True,
            )  # fmt: skip
        return gs, [found.get(x) if x.tracked else None for x in self.leaves], made.nodes

    def run(self, inputs: Sequence[Tensor], do: Any = None) -> tuple[Tensor, ...]:
        """The step on tensors with numbers: op by op, as `unroll` needs it.

        `do(op, inputs, attrs, outline)`, if given, stands for calling the op.
        """
        known: dict[Tensor, Any] = dict(zip(self.leaves, inputs, strict=True))
        done_again(self.ops, known, do)
        return tuple(known[x] for x in self.results)


def done_again(ops: Sequence[Tensor], known: dict[Tensor, Any], do: Any = None) -> None:
    """Do ops once more, on what is known of what they read; see `Step.run`."""
    for y in ops:
        given = [known.get(x, x) for x in y.inputs]
        if y.op is pick:
            known[y] = given[0][y.attrs["i"]]
        elif y.op is detached:
            known[y] = given[0].detach()
        else:
            with scope(y.scope) if y.scope else nullcontext():
                if hasattr(y.op, "steps") and not (mode.trace and mode.trace.loops):
                    known[y] = y.op.steps(given, y.attrs["scan"], do)
                else:
                    known[y] = do(y.op, given, y.attrs, y._array) if do else y.op(*given, **y.attrs)
        if y.name:
            known[y].name = y.name


def trace(
    step: Callable[..., Any], xs: Sequence[Tensor], carry: Sequence[Tensor],
    roots: Sequence[Any] = (), again: Any = None, loops: bool = False, along: Any = None,
    tries: int = TRIES,
) -> Any:  # fmt: skip
    """Run a step on outlines; states that may be trained count as if they were.

    A scan inside is written out, or with `loops` one of its ops. xs are at one time, of `along`.
    Refused if it changes anything that the `roots` reach, or draws; as another thread may have
    drawn, that is tried again where there are any. Returns its `Trace`; or `again`, an
    `Again`, if that is given and the step did what it did before.
    """
    made: Any = again or Trace([*xs, *carry], mode.trace, loops)
    made.xs = xs if along is None else along
    if made is not again:
        for leaf in made.leaves[len(xs) :]:
            leaf.tracked = leaf._array.dtype.kind == "f"
    reach, before = Reach(*roots) if roots else None, unnamed()
    around = {**mode.__dict__}
    try:
        with made.on():
            new = step(*made.leaves)
    finally:
        mode.__dict__.update(around)  # Ctrl-C may come just when the block ends
    drawn = "draws numbers without an rng" if unnamed() != before else None
    if changed := drawn or (reach.changed() if reach else None):
        if not (reach and reach.drew) or alone() or not tries:
            raise impure(changed)
        if again is not None:  # which is given whole sequences
            xs, along = [at_one_time(x) for x in xs], xs
        return trace(step, xs, carry, roots, None, loops, along, tries - 1)
    results = results_of(0, carry, new)
    if made is again:
        if again.became is None and again.repeats(results):
            return again
        made = again.became or again.turned()
    made.results = results
    for x in made.results:  # one that the step only hands on is captured too
        made.place(x)
    return made


def tensor_of(who: str, k: int, x: Any) -> Tensor:
    """The k-th of what a scan is given or its step returns, as a tensor."""
    try:
        return x if isinstance(x, Tensor) else Tensor(x)
    except TypeError:
        got = f"{type(x).__name__} {getattr(x, 'dtype', '')}".strip()
    raise TypeError(
        f"{who} {k}: expected a tensor or an array of numbers, got {got}. States, inputs and "
        "outputs stand side by side in one tuple, with no other container around or within."
    )


def results_of(t: int, before: Sequence[Tensor], new: Any) -> tuple[Tensor, ...]:
    """What a step returned: the carry as it was, in number, shape and dtype; then outputs."""
    given = () if new is None else new if isinstance(new, tuple | list) else (new,)
    found = tuple([tensor_of(f"scan: step t={t}: result", k, y) for k, y in enumerate(given)])
    if len(found) < len(before):
        raise TypeError(
            f"scan: step t={t} returned {len(found)} states, expected {len(before)} as it was "
            "given. Return all of them, in the same order, and outputs after them."
        )
    for k, (old, y) in enumerate(zip(before, found, strict=False)):
        if old._array.shape != y._array.shape or old._array.dtype != y._array.dtype:
            hint = "Give states, inputs and weights one dtype, or use astype."
            if old._array.shape != y._array.shape:
                hint = "What a cell or a step returns first is the new state, as wide as the old."
            raise TypeError(
                f"scan: step t={t} turned state {k} from {old.dtype}{list(old.shape)} into "
                f"{y.dtype}{list(y.shape)}. A state keeps its shape and dtype. {hint}"
            )
    return found


MADE_ANEW = (
    "does not do the same each time it runs: it draws random numbers, or changes something outside"
)


def check_repeatable(first: Trace, again: Callable[[], Trace], tries: int = TRIES) -> None:
    """Refuse a step that makes other numbers each time it runs: a loop would repeat the first."""
    world = Reach(**WORLD)
    others = [again() for _ in range(tries)]
    same = [same_numbers(x.captured, first.captured) for x in others if x.key() == first.key()]
    drawn = world.changed()
    if (drawn and by_itself(again, partial(Reach, **WORLD))) or same != [True] * tries:
        raise impure(drawn or MADE_ANEW)


def impure(what: str) -> Untraceable:
    return Untraceable(
        f"scan: the step {what}. It is run once, and a compiled loop would repeat what it did "
        "then. Draw random numbers for all steps and give them as xs (one more array; in a cell "
        "nn.each_step does it), carry what changes as a state, or run the steps with unroll=True."
    )


def same_numbers(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> bool:
    pairs = [(x._array, y._array) for x, y in zip(xs, ys, strict=False)]
    return len(xs) == len(ys) and all([a is b or bits(a) == bits(b) for a, b in pairs])


def bits(array: Any) -> Key:
    return array.dtype, array.shape, array.tobytes()


def at_one_time(x: Tensor) -> Tensor:
    """What a step sees of a sequence: as it is at one time."""
    y = outlined(x)
    y._array = outline(x._array.shape[1:], x._array.dtype)
    return y


def no_outputs(
    step: Callable[..., Any], state: Sequence[Tensor], inputs: Sequence[Tensor]
) -> list[Tensor]:
    """What a step would return beyond the carry, of no steps at all."""
    try:
        made = trace(step, [at_one_time(x) for x in inputs], state)
    except Untraceable:  # it reads numbers, and there are none that would say what it returns
        return []
    return [owned(np.empty((0, *y.shape), y.dtype)) for y in made.results[len(state) :]]
