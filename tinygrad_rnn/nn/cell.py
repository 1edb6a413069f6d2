"""A cell is one step of a recurrence; whatever can be folded over a sequence is a part."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from functools import lru_cache
from operator import is_
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ..loops import Ends, Known, check_order, fold, interval
from ..op import Op
from ..ops import sum as sum_
from ..ops import where
from ..ops.shape import take
from ..tensor import Tensor, mode, owned
from .hooks import INPUTS, OUTPUTS, hooks_of, through_hooks, watched
from .module import Module
from .moment import Moment


class Way(NamedTuple):
    """How a part is folded: what the padding and the resets are, and what is to be kept.

    valid and reset are bools (T, B, 1), or None where every step counts and none begins again.
    states: whether all of every state is asked for; last: whether of the outputs only the last is.
    """

    valid: Tensor | None = None
    reset: Tensor | None = None
    reverse: bool = False
    gates: bool = False
    checkpoint: str | int | None = None
    unroll: bool = False
    states: bool = False
    last: bool = False

    def resets(self) -> Tensor | None:
        """Return where a step begins again, in this direction.

        A reset at t parts t-1 from t; from the end, that is met before step t-1. Where that step
        does not count, the next that does begins again: until then the state stays what it is.
        """
        if self.reset is None:
            return None
        flags, turn = self.reset.data, slice(None, None, -1 if self.reverse else 1)
        if self.reverse:
            if self.valid is not None:  # else there is nothing to be parted from
                flags = flags & np.logical_or.accumulate(self.valid.data[::-1])[::-1]
            flags = np.concatenate([flags[1:], np.zeros_like(flags[:1])])
        if self.valid is not None:
            valid, count = self.valid.data[turn], np.cumsum(flags[turn], axis=0)
            met = np.maximum.accumulate(np.where(valid, count, 0))
            before = np.concatenate([np.zeros_like(met[:1]), met[:-1]])
            flags = (valid & (count > before))[turn]
        return Tensor(flags, name="reset")


PLAIN = Way()


class Folded(NamedTuple):
    """A part folded over time: what it gave, its last state, and every state, if its way asks for
    them, and gate (T, B, ...).

    `read("zero")` are the outputs, 0 where nothing was read; `read("hold")` those with the latest
    one in such places; `read("last")` (B, outputs) the last of each row, in the direction it ran;
    `read("raw")` leaves in such places whatever came of it.
    """

    read: Callable[[str], Tensor]
    end: tuple[Tensor, ...]
    states: dict[str, Tensor]
    gates: dict[str, Tensor]


def _hooked(kind: Any, part: Part, inputs: tuple[Any, ...], words: Any) -> Folded:
    """A part with hooks over a sequence: they see it whole, whatever is read of it in the end."""
    xs, state, way = inputs
    given, leave = watched(part, through_hooks(part, INPUTS, (xs, tuple(state))))
    found = kind._fold(part, *given, way._replace(last=False))
    ys = found.read("zero")
    new, end = leave(through_hooks(part, OUTPUTS, (ys, found.end), given))
    if new is ys:
        return found._replace(end=end)
    if not isinstance(part, Cell):
        raise TypeError(
            f"a hook of {kind.__name__} returned other outputs, or waits for their gradients, but "
            "may only look: each direction ends somewhere else. Register it on part.forward and "
            "part.backward."
        )
    return found._replace(read=lambda how: _read(new, how, way), end=end)


class Part(Module):
    """What turns a sequence into a sequence: a cell, or two in both directions.

    `state` names what it carries and `sizes` says how wide each of it is; `inputs` and `outputs`
    are the features it reads and gives.

    >>> cell = tg.nn.LSTM(3, 4, rng=0)
    >>> isinstance(cell, tg.nn.Part), cell.state, cell.sizes, cell.outputs
    (True, ('h', 'c'), (4, 4), 4)
    >>> [h.shape for h in cell.begin(2)]
    [(2, 4), (2, 4)]
    >>> ys, state = cell(np.ones((5, 2, 3), np.float32))
    """

    state: tuple[str, ...] = ("h",)
    inputs: int
    hidden: int
    reads: Any = None  # the dtype of its inputs, where that is another
    _runs_hooks: ClassVar[dict[str, Any]] = {"_fold": _hooked}

    @property
    def dtype(self) -> Any:
        """Of its floats: what was set, else that of its weights, and float32 where they differ.

        >>> tg.nn.GRU(3, 4, dtype=np.float64).dtype
        dtype('float64')
        """
        if (own := self.__dict__.get("dtype")) is not None:
            return own
        kinds = {x.dtype for x in self._leaves().values() if x.dtype.kind == "f"}
        return kinds.pop() if len(kinds) == 1 else np.float32

    @dtype.setter
    def dtype(self, dtype: Any) -> None:
        vars(self)["dtype"] = dtype

    @property
    def sizes(self) -> tuple[int, ...]:
        """The width of each state."""
        return (self.hidden,) * len(self.state)

    @property
    def outputs(self) -> int:
        """The width of an output."""
        return self.sizes[0]

    def begin(self, batch: int) -> tuple[Tensor, ...]:
        """The state before the first step: zeros (batch, size)."""
        begin, dtype = [], self.dtype
        for name, size in zip(self.state, self.sizes):  # noqa: B905 (one of each)
            h = owned(np.zeros((batch, size), dtype))
            h.name = f"{name}0"
            begin.append(h)
        return tuple(begin)

    def _check(self) -> None:
        """Refuse a part that cannot be folded."""
        if not hasattr(self, "inputs") or not hasattr(self, "hidden"):
            raise TypeError(f"{type(self).__name__}: set self.inputs and self.hidden in __init__")

    def __setattr__(self, name: str, value: Any) -> None:
        from .recurrent import SETTINGS

        if name in SETTINGS and isinstance(value, bool | int | str):
            call = f"{name}={value!r}"
            raise TypeError(
                f"{type(self).__name__}.{name} is said of a layer, or in a call: "
                f"nn.Recurrent(cell, {call}), or cell(xs, {call}). Give an attribute of your own "
                "another name."
            )
        super().__setattr__(name, value)

    def _fold(self, xs: Tensor, state: Sequence[Tensor], way: Way) -> Folded:
        """This part over xs (T, B, inputs), from the state given."""
        raise NotImplementedError

    def __call__(self, xs: Any, state: Any = None, **how: Any) -> Any:
        """Every output and the last state, of this part alone folded over `xs`.

        Takes what a call of `Recurrent` takes, and what making one takes; a state is a flat tuple.
        """
        found = None if how else self._met(xs, state)
        if found is not None:
            return found
        from .recurrent import alone

        return alone(self, xs, state, how)

    def _met(self, xs: Any, state: Any) -> Any:
        """What a call gives, straight from the loop; None unless it has had the like before."""


class Cell(Part):
    """One step of a recurrence: `step(x, *state)` returns the new state.

    To write your own, set `inputs` and `hidden`, name the `state`, and write `step`. The first
    state is also the output, unless `output` says otherwise. Nothing is hidden in a cell between
    calls. Calling a cell folds it over a sequence (see `Recurrent`): `ys, state = cell(xs)`.

    `links` says which weights read the input and which the state, for what cuts links; in a cell
    that does not say, what is read is cut instead.

    >>> class Leaky(tg.nn.Cell):
    ...     def __init__(self, inputs, hidden):
    ...         self.inputs, self.hidden = inputs, hidden
    ...         self.W = tg.tensor(np.ones((inputs, hidden), np.float32), requires_grad=True)
    ...
    ...     def step(self, x, h):
    ...         return 0.5 * h + x @ self.W
    >>> ys, (h,) = Leaky(1, 1)(np.ones((3, 1, 1), np.float32))
    >>> ys.data.ravel().tolist()
    [1.0, 1.5, 1.75]
    """

    links: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    _changes = 0  # how often what the formula gives is changed before it is the new state

    def __init_subclass__(cls, **words: Any) -> None:
        super().__init_subclass__(**words)
        if callable(step := vars(cls).get("step")):
            check_order(f"{cls.__name__}.step", step, reads=True, bound=True)

    def step(self, x: Tensor, *state: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The state after seeing x (B, inputs), each state (B, its size)."""
        raise NotImplementedError(f"{type(self).__name__} has no step(x, {', '.join(self.state)})")

    def output(self, x: Tensor, *state: Tensor) -> Tensor:
        """What the layer above sees, from x and the new state.

        >>> class Shown(tg.nn.RNN):
        ...     def output(self, x, h):
        ...         return tg.concat([x, h], axis=-1)
        ...
        ...     outputs = property(lambda self: self.inputs + self.hidden)
        >>> Shown(2, 3, rng=0)(np.ones((5, 1, 2), np.float32))[0].shape
        (5, 1, 5)
        """
        return state[0]

    def explain(self) -> str:
        """Its formulas, its weights and the count of its parameters, to print; see `nn.explain`.

        >>> print(tg.nn.RNN(2, 3).explain().splitlines()[0])
        RNN: 2 inputs, 3 hidden units, 18 parameters
        """
        from .explain import explain

        return explain(self)

    def _marked(self, new: tuple[Tensor, ...], old: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The new state, h̃ and c̃ in pictures, that is to be changed before it is h and c."""
        for name, h in zip(self.state, new, strict=True):
            if h.op is not None and h.name is None and all(h is not x for x in old):
                h.name = name + "\u0303" * (self._changes + 1)
        return new

    def advance(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """`step`, with its answer as a tuple. Raises ValueError unless that has every state.

        >>> cell = tg.nn.GRU(3, 4, rng=0)
        >>> (h,) = cell.advance(tg.zeros((2, 3), dtype="float32"), *cell.begin(2))
        >>> h.shape
        (2, 4)
        """
        new: Any = self.step(x, *state)
        if new is None:
            raise TypeError(f"{type(self).__name__}: step returned None: return the new state")
        new = tuple(new) if isinstance(new, tuple | list) else (new,)
        if len(new) != len(state):
            raise ValueError(
                f"{type(self).__name__}: step: expected {len(state)} new states, "
                f"({', '.join(self.state)}), got {len(new)}"
            )
        return new

    def _relinked(self, change: Callable[[str, Any], Any]) -> Cell:
        """A copy in which `change("x" or "h", W)` stands for each weight that reads x or h.

        The copy is for use, not for training: its parameters are those of this cell.
        """
        twin = copy(self)
        for source, names in self.links.items():
            for name in names:
                twin.__dict__[name] = change(source, getattr(self, name))
        return twin

    def _met(self, xs: Any, state: Any) -> Any:
        known = _known(self, False)
        if known is not None and type(xs) is np.ndarray and xs.dtype.char in "efd":
            xs = Tensor(xs, dtype=self.reads or self.dtype)
        if known is None or xs.__class__ is not Tensor or xs._array.ndim != 3:
            return None
        if state is None:
            state = self.begin(xs._array.shape[1])
        elif state.__class__ is not tuple or not all([s.__class__ is Tensor for s in state]):
            return None
        here = mode.__dict__
        before = here["scope"]
        try:
            here["scope"] = f"{before}/layer0" if before else "layer0"
            return known.called(xs, state)
        finally:
            here["scope"] = before

    def _fold(self, xs: Tensor, state: Sequence[Tensor], way: Way) -> Folded:
        known = _known(self, way.gates) if way.valid is way.reset is None else None
        found = None if known is None else known.folded(xs, state, way)
        return self._folded(xs, state, way, known) if found is None else found

    def _folded(
        self, xs: Tensor, state: Sequence[Tensor], way: Way, known: _Known | None
    ) -> Folded:
        run, has_output = Moment(len(xs)), False
        begin = self.begin(xs.shape[1]) if way.reset is not None else ()
        resets, harmless = way.resets(), list(state)
        if way.valid is not None:
            xs, harmless = _harmless(xs, state, begin, way, resets)
            for name, first in zip(self.state, harmless, strict=True):
                first.name = f"{name} first"
        modules = _inside(self) if known is None else []
        if modules and any([m.draws for m in modules]):
            self._ask(run, xs, state, way.unroll)
        flags = [x for x in (way.valid, resets) if x is not None]
        count, streams = len(run.streams), (*run.streams, *flags)

        def one(x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
            nonlocal has_output
            flag, old = iter(given[count : len(streams)]), given[len(streams) :]
            valid = next(flag) if way.valid is not None else None
            if way.reset is not None:
                again = next(flag)
                old = either(again, begin, old)
            seen = old if valid is None else either(valid, old, harmless)
            with run.at(given[:count]):
                new = self.advance(x, *seen)
                y = self.output(x, *new)
            has_output = y is not new[0]
            if valid is not None:
                new = either(valid, self._marked(new, old), old)
            gates = run.shown.values() if way.gates else ()
            return (*new, y, *gates) if has_output else (*new, *gates)

        def ends() -> Ends:
            return _ends(len(state), has_output, way)

        paths = fold(
            one, state, (xs, *streams), names=self.state, reverse=way.reverse,
            checkpoint=way.checkpoint, unrolled=way.unroll, known=known,
            roots=modules and _foreign(modules), ends=ends,
        )  # fmt: skip
        shown = list(run.shown) if way.gates else []
        if known is not None and len(xs):
            known.shown = has_output, shown
        only = ends() if len(xs) else frozenset()  # of no steps there is no last one
        return _sorted(self.state, state, paths, has_output, shown, only, way)

    def _check(self) -> None:
        """Refuse a cell that cannot be folded: without sizes, or with a step of other states."""
        super()._check()
        function = getattr(self.step, "__func__", self.step)
        own = int(function is not self.step)  # what a method is given first
        if not _takes(function, own + 1 + len(self.state)):
            step = inspect.signature(function)
            names = [p.name for p in step.parameters.values() if p.default is p.empty]
            wanted = names[own + 1 :]
            got = str(step).replace("(self, ", "(", 1)
            raise TypeError(
                f"{type(self).__name__}: step: expected to take x and {self.state}, got {got}: "
                f"set state = {tuple(wanted)} in the class"
            )

    def _ask(self, run: Moment, xs: Tensor, state: Sequence[Tensor], unroll: bool) -> None:
        """Do one step to learn what steps ask for: the masks of the whole sequence are drawn."""
        from ..loops.trace import Trace, at_one_time

        if unroll and len(xs):
            with run.at(None):
                self.output(xs[0], *self.advance(xs[0], *state))
        else:
            made = Trace([at_one_time(xs), *state])
            x, *old = made.leaves
            with made.on(), run.at(None):
                self.output(x, *self.advance(x, *old))


def check_part(who: str, word: str, part: Any, kind: type[Part] = Cell) -> None:
    """Refuse what is no cell, saying how to make it one, and a cell that cannot be folded."""
    hint = ""
    if isinstance(part, type) and issubclass(part, Cell):
        hint = "; make one, such as nn.LSTM(inputs, hidden)"
    elif kind is Part and isinstance(part, list | tuple):
        hint = f"; unpack the list: {who}(*cells)"
    elif kind is Cell and (isinstance(part, Part) or hasattr(part, "cells")):
        hint = "; wrap each cell inside it"
    if not isinstance(part, kind):
        raise TypeError(f"{who}: {word}: expected a Cell, got {type(part).__name__}{hint}")
    part._check()


class Changing:
    """An attribute of a cell whose `tensor` is another one at each call, and all it depends on."""

    tensor: Any = None


class _Known(Known):
    """What a cell does, and how its results are told apart: whether it has an output, and gates."""

    ours = True  # `resume` does it: what is not told apart yet has to be traced again

    def __init__(self, cell: Cell, inside: list[Any]):
        self.names, self.inside = cell.state, inside  # the cell itself is not kept
        self.attributes = _attributes([cell, *self.inside])
        changing = [x for x in self.attributes if isinstance(x, Changing)]
        super().__init__([x for x in self.attributes if isinstance(x, Tensor)], changing)
        self.shown: Any = None
        self.ends: dict[tuple[bool, bool], Ends] = {}

    def resume(self, xs: Tensor, state: Sequence[Tensor], way: Way) -> Any:
        """What a fold returns, straight from its loop, and of what it is only the last; None if it
        has met no such shapes yet."""
        if self.shown is None or self.resumed is None or way.unroll or not xs._array.shape[0]:
            return None
        ends = self.ends.get((way.states, way.last))
        if ends is None:
            ends = self.ends[way.states, way.last] = _ends(len(state), self.shown[0], way)
        every = None if way.checkpoint is None else interval(way.checkpoint, len(xs))
        steps = len(xs._array)
        results = self.resumed(self, state, (xs,), steps, way.reverse, every, self.names, ends)
        return results and (results, ends)

    def called(self, xs: Tensor, state: Sequence[Tensor]) -> Any:
        """What a call gives of which nothing else is asked: outputs, and the last states."""
        found = self.resume(xs, state, PLAIN)
        if found is None:
            return None
        results, ends = found
        return results[len(state) * self.shown[0]], _last(results, state, ends, LAST)

    def folded(self, xs: Tensor, state: Sequence[Tensor], way: Way) -> Folded | None:
        """The cell over a sequence; None if it has met no such shapes yet."""
        found = self.resume(xs, state, way)
        if found is None:
            return None
        has_output, gates = self.shown
        return _sorted(self.names, state, found[0], has_output, gates, found[1], way)


_cells: WeakKeyDictionary[Cell, dict[bool, _Known]] = WeakKeyDictionary()


def _known(cell: Cell, gates: bool) -> _Known | None:
    """What is known of a cell of the library that is a function of its attributes alone.

    They are looked at in each call: the same objects, none of which can change but a tensor's
    numbers. None where that cannot be said.
    """
    known = _cells.get(cell)
    if known is None:
        known = _cells.setdefault(cell, {})
    last = known.get(gates)
    now = [] if last is None else _attributes([cell, *last.inside])
    if last is None or len(now) != len(last.attributes) or not all(map(is_, now, last.attributes)):
        known.clear()
        holders = _holders(cell) if _is_fixed(cell) else None
        if holders is None:
            return None
        last = known[gates] = _Known(cell, holders[1:])
    return last


def _holders(cell: Cell) -> list[Any] | None:
    """A cell, and in it the modules, dicts and lists: all that holds what its step may read; None
    where something of that may change unseen."""
    found: list[Any] = [cell]
    for x in found:  # of which there are more while they are looked at
        held = vars(x) if isinstance(x, Module) else x
        for y in held.values() if isinstance(held, dict) else held:
            if y is cell or not _is_fixed(y):
                return None
            if isinstance(y, _HOLDERS) and all([y is not z for z in found]):
                found.append(y)
    return found


def _attributes(holders: Sequence[Any]) -> list[Any]:
    """What they do and hold, each behind a mark, so that what moves to another is noticed."""
    found: list[Any] = []
    for x in holders:
        kind = x.__class__
        if isinstance(x, Cell):
            found += (_MARK, kind, kind.step, kind.advance, kind.output, *x.__dict__.values())
        elif isinstance(x, Module):
            found += (_MARK, kind, kind.__call__, *x.__dict__.values())
        else:
            found += (_MARK, *x, *x.values()) if isinstance(x, dict) else (_MARK, *x)
    return found


def _is_fixed(value: Any) -> bool:
    """Whether an attribute means the same as long as it is the same object."""
    if value.__class__ is tuple:
        return all(map(_is_fixed, value)) and not any([isinstance(x, _HOLDERS) for x in value])
    if isinstance(value, Module):  # what it holds is looked at, too
        return _is_ours(value.__class__) and not value.draws
    still = np.dtype | np.random.Generator | Changing  # of a generator, nothing is drawn
    plain = value.__class__ in _PLAIN or value.__class__ in _HOLDERS or isinstance(value, still)
    return plain or (callable(value) and _is_ours(value) and not hasattr(value, "__self__"))


def _inside(cell: Cell) -> list[Module]:
    """A cell and the modules in it; refused if it takes single steps of one that has hooks."""
    modules = cell.modules()
    for m in modules:
        if m is not cell and isinstance(m, Part) and hooks_of(m):
            raise ValueError(
                f"{type(cell).__name__}: takes single steps of {type(m).__name__}, whose hooks "
                "would not be run. Register them on the cell around it."
            )
    return modules


def _foreign(modules: Sequence[Module]) -> list[Any]:
    """What somebody else wrote of a cell: the library's own steps change nothing."""
    found: list[Any] = []
    for module in modules:
        if not _is_ours(module.__class__):
            found += [module.step, module.output] if isinstance(module, Cell) else [module]
        found += [hook for _, hook in hooks_of(module) or ()]
        for part in [p for p in vars(module).values() if p.__class__ not in _PLAIN]:
            for x in part if part.__class__ in (list, tuple) else (part,):
                if callable(x) and not isinstance(x, Module) and not _is_ours(x):
                    found.append(x)
    return found


_HOLDERS, _MARK = (Module, dict, list), float("nan")  # no other attribute is this very NaN
_PLAIN = {Tensor, bool, int, float, str, type(None), type(np.dtype(np.float32))}


def _is_ours(x: Any) -> bool:
    if x.__class__ is Op:
        return x.ours
    return str(getattr(x, "__module__", "")).startswith(_OURS)


_OURS = f"{__package__.split('.')[0]}."


def check_apart(who: str, parts: Sequence[Part], share: bool) -> None:
    """Refuse one and the same cell in several places, with one set of weights, unless asked for."""
    if share or len(parts) < 2:
        return
    cells = [{id(m) for m in part.modules() if isinstance(m, Cell)} for part in parts]
    for k, own in enumerate(cells):
        before = next((j for j in range(k) if own & cells[j]), None)
        if before is not None:
            raise ValueError(
                f"{who}: cells {before} and {k} are the same cell, and would share weights: make "
                f"one for each, such as {who}(*[nn.LSTM(8, 8) for _ in range({len(parts)})]), or "
                "say share=True"
            )


@lru_cache
def _takes(function: Any, count: int) -> bool:
    """Whether a function can be given so many things: to find out takes longer than a sequence."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    return True


def _harmless(
    xs: Tensor, state: Sequence[Tensor], begin: Sequence[Tensor], way: Way, resets: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """What a step reads where it does not count: xs refilled there, and the states.

    It has to be finite there, or its derivative, of which nothing is to be left, would be NaN
    (0 · inf). What a step can do once it can do again: each row does its first step that counts,
    and a row of no steps that of a row with some.
    """
    assert way.valid is not None
    turn = slice(None, None, -1 if way.reverse else 1)
    flags = way.valid.data[turn, :, 0]
    some: np.ndarray = np.any(flags, 0)
    if not some.any():
        zeros = [Tensor(np.zeros(s.shape, s.dtype)) for s in state]
        return where(way.valid, xs, 0), zeros
    first, every = flags.argmax(0), np.arange(len(some))
    firsts = np.zeros_like(flags)
    firsts[first, every] = some
    at_first = sum_(where(firsts[turn, :, None], xs.detach(), 0), axis=0)
    states, rows = [s.detach() for s in state], np.where(some, every, some.argmax())
    if not some.all():
        at_first, *states = [x[rows] for x in (at_first, *states)]
    if resets is not None:
        again = np.logical_or.accumulate(resets.data[turn])[first[rows], rows]
        states = [*either(again, [b.detach()[rows] for b in begin], states)]
    return where(way.valid, xs, at_first), states


def _ends(count: int, has_output: bool, way: Way) -> Ends:
    """Return of which states, and of an output after them, only the last is asked for."""
    whole = set(range(count)) if way.states else set()
    if not way.last or (has_output and way.valid is not None):
        whole.add(count * has_output)
    return frozenset(range(count + has_output)) - whole


def _sorted(
    names: Sequence[str], state: Sequence[Tensor], paths: Sequence[Tensor], has_output: bool,
    shown: Collection[str], ends: Ends, way: Way
) -> Folded:  # fmt: skip
    """What a fold returned, told apart; `ends` says of what it is only the last."""
    count = len(names)
    states, ys = paths[:count], paths[count if has_output else 0]
    end = _last(states, state, ends, FIRST if way.reverse else LAST) if len(ys) else tuple(state)
    gates = dict(zip(shown, paths[count + has_output :])) if shown else {}  # noqa: B905 (one each)
    if way.valid is not None:
        gates = {name: masked(way.valid, gate) for name, gate in gates.items()}
    paths_by_name = dict(zip(names, states, strict=True)) if way.states else {}
    alone = count * has_output in ends
    return Folded(lambda how: _read(ys, how, way, alone), end, paths_by_name, gates)


FIRST, LAST = (0,), (-1,)


def _last(
    paths: Sequence[Tensor], state: Sequence[Tensor], ends: Ends, at: tuple[int]
) -> tuple[Tensor, ...]:
    """The state after the step that is done last, of what there is of each."""
    found = []
    for k in range(len(state)):
        path = paths[k]
        if k not in ends:
            path = take(path, index=at)
        found.append(path)
    return tuple(found)


def over(flags: Any, y: Tensor) -> Any:
    """Flags (..., B, 1) with as many axes as `y` has, whose first are the same but for the last.

    Raises ValueError where `y` has no batch there.
    """
    lead = flags.shape[:-1]
    if y.shape[: len(lead)] != lead:
        raise ValueError(
            "Recurrent: with lengths, a mask or resets each state, output and gate is expected to "
            f"have the batch, {lead[-1]}, in front, got shape {y.shape[len(lead) - 1 :]}"
        )
    return flags if y.ndim == flags.ndim else flags.reshape(lead + (1,) * (y.ndim - len(lead)))


def either(flags: Any, some: Sequence[Tensor], others: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The rows of some where the flags say so, and of others elsewhere."""
    return tuple([where(over(flags, x), x, y) for x, y in zip(some, others, strict=True)])


def masked(flags: Any, y: Tensor) -> Tensor:
    """The numbers of rows, and 0 in those of which the flags say no."""
    return where(over(flags, y), y, np.zeros((), y.dtype))


def _read(ys: Tensor, how: str, way: Way, alone: bool = False) -> Tensor:
    """The outputs as they are, with gaps of 0, or of the one before, or the last alone."""
    if alone:  # kept where nothing is read
        return ys if way.valid is None else masked(way.valid.data.any(0), ys)
    if how in ("raw", "zero"):
        return ys if how == "raw" or way.valid is None else masked(way.valid, ys)
    steps = len(ys)
    if how == "last" and not steps:
        return Tensor(np.zeros(ys.shape[1:], ys.dtype))
    if way.valid is None:
        return ys if how == "hold" else take(ys, index=(0 if way.reverse else -1,))
    turn = slice(None, None, -1 if way.reverse else 1)
    order = np.arange(steps)[turn]
    some = np.where(way.valid.data[turn, :, 0], np.arange(steps)[:, None], -1)
    latest = np.maximum.accumulate(some, axis=0)
    latest = latest[-1] if how == "last" else latest[turn]
    over(way.valid, ys)  # refuses outputs without a batch
    read = ys[order[latest], np.broadcast_to(np.arange(latest.shape[-1]), latest.shape)]
    return masked((latest >= 0)[..., None], read)
