"""The recurrence behind an unrolled graph: one step that stands for all, and what it hands on.

Nothing is guessed from shapes. Of each layer one step is kept, the last but one that was done, and
compared with the one before it. What both read of an equally earlier step goes through a delay,
z⁻¹ or more; what both read of one and the same op is no part of the step, and stands before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher

from ..tape import Call, Place, Record, Tape

Step = tuple[str, int]


@dataclass
class Fold:
    """A trace with one step for each layer.

    trace: its steps all have t = 0, its delays are ops "z⁻¹", "z⁻²", …, "z⁺¹", of one input or, if
    what is handed on is not in the trace, of none. origins: for each record of it those of the
    whole trace, by time (-1 outside the steps). readers: for an input of it, given by reader and
    place, those of the whole trace, as (time, reader, place). counts: the steps of each layer.
    """

    trace: Tape
    origins: list[dict[int, int]] = field(default_factory=list)
    readers: dict[tuple[int, int], list[tuple[int, int, int]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def unfolded(trace: Tape) -> Fold:
    """Every step by itself: each record stands for one, its own."""
    places = [(r.id, k) for r in trace.records for k in range(len(r.inputs))]
    readers = {(y, k): [(0, y, k)] for y, k in places}
    return Fold(trace, [{0: r.id} for r in trace.records], readers)


def fold(trace: Tape) -> Fold:
    """One step in place of all."""
    return Folder(trace).fold()


class Folder:
    """The work of folding one trace."""

    def __init__(self, trace: Tape):
        self.whole, self.records = trace, trace.records
        self.members: defaultdict[Step, list[int]] = defaultdict(list)
        self.step: dict[int, Step] = {}
        for r in self.records:
            if r.t >= 0 and r.kind == "op" and not r.call.restacked:
                self.members[r.layer, r.t].append(r.id)
                self.step[r.id] = r.layer, r.t
        self.times: defaultdict[str, list[int]] = defaultdict(list)  # in the order they were done
        for layer, t in self.members:
            self.times[layer].append(t)
        every = sorted({t for times in self.times.values() for t in times})
        self.rank = {t: k for k, t in enumerate(every)}
        self.kept = {
            layer: times[-2 if len(times) > 2 else -1] for layer, times in self.times.items()
        }
        self.slot = self._slots()
        self.at: defaultdict[tuple[str, object], dict[int, int]] = defaultdict(dict)
        for y, slot in self.slot.items():
            self.at[self.records[y].layer, slot][self.records[y].t] = y
        self.done = Fold(
            Tape([], [], trace.has_backward, trace.tensors, dict(trace.lengths), trace.title)
        )
        self.image: dict[object, int] = {}

    def _slots(self) -> dict[int, object]:
        """Which op of its layer's kept step an op is like: the two steps compared as texts of ops.

        The first step may do less, where what it starts from needs no gradient, and so may the
        last, where nothing reads a state.
        """
        slots: dict[int, object] = {}
        for (layer, _), members in self.members.items():
            kept = self.members[layer, self.kept[layer]]
            ours, theirs = ([_what(self.records[y]) for y in ys] for ys in (kept, members))
            if ours == theirs:
                slots |= dict(zip(members, range(len(kept)), strict=True))
                continue
            slots |= {y: (y,) for y in members}
            found = SequenceMatcher(None, ours, theirs, False).get_matching_blocks()
            texts = {members[b + k]: kept[a + k] for a, b, size in found for k in range(size)}
            slots |= {y: kept.index(z) for y, z in self._checked(members, texts)}
        return slots

    def _checked(self, members: list[int], texts: dict[int, int]) -> Iterator[tuple[int, int]]:
        """The pairs of equal texts of ops that also do the same with the same, where any does."""
        taken: set[int] = set()
        for y in members:
            z = texts.get(y)
            if z is None or not self._is_twin(y, z, 5):
                twins = self.twins(y)
                z = twins[0] if len(twins) == 1 else None if twins else z
            if z is not None and z not in taken:
                taken.add(z)
                yield y, z

    def fold(self) -> Fold:
        """Copy what the outputs lead to, oldest first."""
        wanted = self._wanted()
        for y in sorted(wanted):
            self._copy(self.records[y])
        for y in sorted(wanted):
            self._connect(self.records[y])
        trace = self.done.trace
        trace.outputs = sorted(
            {self.image[z] for y in self.whole.outputs if (z := self.kept_like(y)) in self.image}
        )
        lengths = self.whole.lengths
        self.done.counts = {
            layer: lengths.get(layer, len(times)) for layer, times in self.times.items()
        }
        return self.done

    def twins(self, y: int) -> list[int]:
        """The ops of its layer's kept step that do the same with the same.

        What an op of another step reads that is none of its own step may be anything there.
        """
        r = self.records[y]
        kept = self.members[r.layer, self.kept[r.layer]]
        return [z for z in kept if self.records[z].call.op == r.call.op and self._is_twin(y, z, 5)]

    def _is_twin(self, y: int, z: int, depth: int) -> bool:
        a, b = self.records[y], self.records[z]
        if _what(a) != _what(b) or len(a.inputs) != len(b.inputs):
            return False
        for one, other in zip(a.inputs, b.inputs, strict=True):
            (x, part), (u, of) = self.whole.whole(*one), self.whole.whole(*other)
            inside = self.step.get(x) == (a.layer, a.t)
            if inside and (part != of or (depth and not self._is_twin(x, u, depth - 1))):
                return False
            if self.records[x].kind == "parameter" and x != u:
                return False
        return True

    # -- what is kept --------------------------------------------------------------------------

    def kept_like(self, y: int) -> int:
        """The op of the kept step that an op of any step is like; itself outside the steps."""
        r = self.records[y]
        if y not in self.slot:
            return y
        return self.at[r.layer, self.slot[y]].get(self.kept[r.layer], y)

    def _wanted(self) -> set[int]:
        """The kept ops and leaves: all that the outputs lead to, through kept steps only."""
        found: set[int] = set()
        left = [self.kept_like(y) for y in self.whole.outputs]
        while left:
            y = left.pop()
            if y in found:
                continue
            found.add(y)
            for x, _ in self._inputs(y):
                if self._is_constant(y, x) or self._is_alone(x):
                    left.append(x)
                elif self.records[z := self.kept_like(x)].t == self.kept[self.records[z].layer]:
                    left.append(z)
        return found

    def _is_alone(self, x: int) -> bool:
        """Whether it is outside the steps, or of a step and like nothing of the kept one."""
        return self.slot.get(x, (x,)) == (x,)

    def _inputs(self, y: int) -> list[tuple[int, int]]:
        """What an op reads; outside the steps, of many steps' likes the one that is kept."""
        inputs = [self.whole.whole(*x) for x in self.records[y].inputs]
        if y in self.slot:
            return inputs
        found: dict[tuple[int, int], None] = {}
        for x, part in inputs:
            if not self._only_others(x):
                found[self.kept_like(x), part] = None
        return list(found) or inputs[-1:]

    def _only_others(self, x: int) -> bool:
        """Whether an op outside the steps reads only steps that are not kept: one of many alike."""
        r = self.records[x]
        if r.kind != "op" or x in self.slot or r.call.restacked:
            return False
        steps = [z for z, _ in (self.whole.whole(*z) for z in r.inputs) if z in self.slot]
        return bool(steps) and all(
            self.records[z].t != self.kept[self.records[z].layer] for z in steps
        )

    # -- what a kept step reads ----------------------------------------------------------------

    def _before(self, y: int) -> int | None:
        """The same op one step earlier."""
        r = self.records[y]
        times = self.times[r.layer]
        k = times.index(r.t)
        return self.at[r.layer, self.slot[y]].get(times[k - 1]) if k else None

    def _is_constant(self, y: int, x: int) -> bool:
        """Whether the step before read the very same op: then it is no part of a step."""
        if (
            y not in self.slot
            or x not in self.slot
            or x in self.members[self.records[y].layer, self.records[y].t]
        ):
            return False
        before = self._before(y)
        return before is not None and any(
            x == z for z, _ in (self.whole.whole(*z) for z in self.records[before].inputs)
        )

    def _delay(self, y: int, x: int) -> int:
        """How many steps ago what an op reads was made; 0 if that is no recurrence."""
        a, b = self.records[y], self.records[x]
        late = self.rank[a.t] - self.rank[b.t]
        if a.layer == b.layer or not late:
            return late
        before = self._before(y)
        if before is None:
            return 0
        twins = self.records[before].inputs
        steady = any(
            z in self.slot
            and self.kept_like(z) == self.kept_like(x)
            and self.rank[self.records[before].t] - self.rank[self.records[z].t] == late
            for z, _ in (self.whole.whole(*z) for z in twins)
        )
        return late if steady else 0

    # -- the new trace -------------------------------------------------------------------------

    def _add(self, key: object, r: Record, origins: dict[int, int]) -> int:
        number = self.image[key] = len(self.done.trace.records)
        r.id = number
        self.done.trace.records.append(r)
        self.done.origins.append(origins)
        return number

    def _copy(self, r: Record) -> None:
        in_step = r.id in self.slot and r.t == self.kept[r.layer]
        origins = self.at[r.layer, self.slot[r.id]] if in_step else {-1: r.id}
        place = Place(r.layer, r.layer, 0) if in_step else replace(r.place, t=-1)
        new = replace(r, place=place, inputs=[])
        self._add(r.id, new, origins)

    def _connect(self, r: Record) -> None:
        own = self.done.trace.records[self.image[r.id]]
        for x, part in self._inputs(r.id):
            number = self.image.get(x if own.t < 0 or x not in self.slot else self.kept_like(x))
            if own.t == 0 and x in self.slot and self._is_constant(r.id, x):
                number = self.image.get(x)
            elif own.t == 0 and not self._is_alone(x) and (late := self._delay(r.id, x)):
                number = self._delayed(self.kept_like(x), late, own.layer)
            if number is not None:
                likes = list(self._likes(r.id, x, part))
                self.done.readers[own.id, len(own.inputs)] = likes
                own.inputs.append((number, -1 if self._differs(likes) else part))

    def _differs(self, likes: list[tuple[int, int, int]]) -> bool:
        """Whether each step reads another part: its own of a sequence."""
        parts = {self.whole.whole(*self.records[y].inputs[place])[1] for _, y, place in likes}
        return len(parts) > 1

    def _likes(self, y: int, x: int, part: int) -> Iterator[tuple[int, int, int]]:
        """The connections of the whole trace that one of the kept ones stands for."""
        inputs = [self.whole.whole(*z) for z in self.records[y].inputs]
        if y in self.slot:
            places = [k for k, z in enumerate(inputs) if z == (x, part)]
            for t, twin in self.done.origins[self.image[y]].items():
                yield from ((t, twin, place) for place in places)
        else:
            for place, (z, of) in enumerate(inputs):
                if of == part and (z == x or (z in self.slot and self.kept_like(z) == x)):
                    yield self.records[z].t, y, place

    def _delayed(self, source: int, late: int, layer: str) -> int:
        key = ("z", source, late, layer)
        if key not in self.image:
            power = "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(k)] for k in str(abs(late)))
            r = self.records[source]
            name = f"z{'⁻' if late > 0 else '⁺'}{power}"
            call = Call(name, dtype=r.call.dtype, delay=late)
            place = Place(layer, layer, 0)
            new = replace(r, call=call, place=place, inputs=[], terms=[], sizes=[])
            if r.shape is None:
                new.shape = []
            made = self.image.get(source)
            if made is not None:
                new.inputs = [(made, -1)]
            self._add(key, new, {})
        return self.image[key]


def _what(r: Record) -> tuple[str, bool]:
    """What an op does, to be compared."""
    return r.call.op, r.call.own
