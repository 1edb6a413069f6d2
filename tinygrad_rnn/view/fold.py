"""The recurrence behind an unrolled graph: one step that stands for all, and what it hands on.

Nothing is guessed from shapes. Of each layer one step is kept, the last but one that was done, and
compared with the one before it. What both read of an equally earlier step goes through a delay,
z⁻¹ or more; what both read of one and the same op is no part of the step, and stands before it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cached_property

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
        for r in self.records:
            if r.t >= 0 and r.kind == "op" and not r.call.restacked:
                self.members[r.layer, r.t].append(r.id)
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
        """Which op of its layer's kept step an op is like: by its place, or by what it does.

        The first step may do less, where what it starts from needs no gradient, and so may the
        last, where nothing reads a state.
        """
        slots: dict[int, object] = {}
        for (layer, _), members in self.members.items():
            kept = self.members[layer, self.kept[layer]]
            places = {z: k for k, z in enumerate(kept)}
            ours, theirs = ([_what(self.records[y]) for y in ys] for ys in (kept, members))
            for k, y in enumerate(members):
                twins = kept[k : k + 1] if ours == theirs else self.twins(y)
                free = [z for z in twins if z in places]
                slots[y] = places.pop(free[0]) if free else (y,)
        return slots

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
        return [z for z in kept if self._is_twin(y, z, 5)]

    def _is_twin(self, y: int, z: int, depth: int) -> bool:
        a, b = self.records[y], self.records[z]
        if _what(a) != _what(b):
            return False
        pairs = zip(self.whole.sources(a), self.whole.sources(b), strict=True)
        for (x, part), (u, of) in pairs:
            inside = x in self.members[a.layer, a.t]
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
            for x, _, _ in self._inputs(y):
                if self._is_constant(y, x) or self._is_alone(x):
                    left.append(x)
                elif self.records[z := self.kept_like(x)].t == self.kept[self.records[z].layer]:
                    left.append(z)
        return found

    def _is_alone(self, x: int) -> bool:
        """Whether it is outside the steps, or of a step and like nothing of the kept one."""
        return self.slot.get(x, (x,)) == (x,)

    def _inputs(self, y: int) -> list[tuple[int, int, list[int]]]:
        """What an op reads, its part, and as which of its inputs; outside the steps, of many
        steps' likes the one that is kept."""
        inputs = self.whole.sources(self.records[y])
        if y in self.slot:
            return [(x, part, [k]) for k, (x, part) in enumerate(inputs)]
        found: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for k, (x, part) in enumerate(inputs):
            if not self._only_others(x) or (k == len(inputs) - 1 and not found):
                found[self.kept_like(x), part].append(k)
        return [(x, part, places) for (x, part), places in found.items()]

    def _only_others(self, x: int) -> bool:
        """Whether an op outside the steps reads only steps that are not kept: one of many alike."""
        steps = self._read(x)
        alike = bool(steps) and all(z.t != self.kept[z.layer] for z in steps)
        return alike and _what(self.records[x]) in self.readers_of_kept

    @cached_property
    def readers_of_kept(self) -> set[object]:
        """What ops outside the steps do that read a kept one."""
        return {
            _what(r)
            for r in self.records
            if any(z.t == self.kept[z.layer] for z in self._read(r.id))
        }

    def _read(self, x: int) -> list[Record]:
        """The ops of steps that an op outside the steps reads."""
        r = self.records[x]
        if r.kind != "op" or x in self.slot or r.call.restacked:
            return []
        return [self.records[z] for z, _ in self.whole.sources(r) if z in self.slot]

    # -- what a kept step reads ----------------------------------------------------------------

    def _before(self, y: int) -> dict[int, int]:
        """What the same op one step earlier reads of the steps: how many steps it is older."""
        r = self.records[y]
        times = self.times[r.layer]
        t = times[max(0, times.index(r.t) - 1)]
        before = self.at[r.layer, self.slot[y]].get(t, y)
        reads = [x for x, _ in self.whole.sources(self.records[before]) if x in self.slot]
        return {x: self.rank[t] - self.rank[self.records[x].t] for x in reads if before != y}

    def _is_constant(self, y: int, x: int) -> bool:
        """Whether the step before read the very same op: then it is no part of a step."""
        r = self.records[y]
        return y in self.slot and x not in self.members[r.layer, r.t] and x in self._before(y)

    def _delay(self, y: int, x: int) -> int:
        """How many steps ago what an op reads was made; 0 if that is no recurrence."""
        a, b = self.records[y], self.records[x]
        late, like = self.rank[a.t] - self.rank[b.t], self.kept_like(x)
        if a.layer == b.layer or not late:
            return late
        before = self._before(y).items()
        return late if any(late == n for z, n in before if self.kept_like(z) == like) else 0

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
        inputs, twins = self.whole.sources(r), self.done.origins[own.id]
        for x, part, places in self._inputs(r.id):
            number = self.image.get(self.kept_like(x))
            if own.t == 0 and self._is_constant(r.id, x):
                number = self.image.get(x)
            elif own.t == 0 and not self._is_alone(x) and (late := self._delay(r.id, x)):
                number = self._delayed(self.kept_like(x), late, own.layer)
            if number is not None:
                likes = [(t, y, k) for t, y in twins.items() for k in places]
                if own.t < 0:
                    likes = [(self.records[inputs[k][0]].t, r.id, k) for k in places]
                parts = {self.whole.whole(*self.records[y].inputs[k])[1] for _, y, k in likes}
                self.done.readers[own.id, len(own.inputs)] = likes
                # each step reads another part: its own of a sequence
                own.inputs.append((number, -1 if len(parts) > 1 else part))

    def _delayed(self, source: int, late: int, layer: str) -> int:
        key = ("z", source, late, layer)
        if key not in self.image:
            power = "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(k)] for k in str(abs(late)))
            r = self.records[source]
            name = f"z{'⁻' if late > 0 else '⁺'}{power}"
            call = Call(name, dtype=r.call.dtype, delay=late)
            place = Place(layer, layer, 0)
            inputs = [(self.image[source], -1)] if source in self.image else []
            new = replace(r, call=call, place=place, inputs=inputs, terms=[], sizes=[])
            new.shape = r.shape or []
            self._add(key, new, {})
        return self.image[key]


def _what(r: Record) -> tuple[str, bool, int]:
    """What an op is, to be compared."""
    return r.call.op, r.call.own, len(r.inputs)
