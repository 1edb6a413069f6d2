"""Where every op goes: which step is which column, which layer which band, and what is hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..tape import Tape
from .graph import Column


@dataclass(frozen=True)
class Wanted:
    """What a picture is to show: so many of the first and last steps, and those around some."""

    first: int = 3
    last: int = 1
    around: tuple[int, ...] = ()
    level: str = "op"
    shapes: bool = True
    legend: bool = True
    counts: Mapping[str, int] | None = None  # of a folded trace: how many steps each layer has

    def hidden(self, times: list[int]) -> list[list[int]]:
        """The steps that are not shown, in runs; a gap of one step is not worth hiding."""
        shown = {*times[: self.first], *times[len(times) - self.last :]}
        for k, t in enumerate(times):
            if t in self.around:
                shown.update(times[max(0, k - 1) : k + 2])
        runs: list[list[int]] = []
        for before, t in zip([None, *times], times, strict=False):
            if t in shown:
                continue
            if runs and runs[-1][-1] == before:
                runs[-1].append(t)
            else:
                runs.append([t])
        hidden = [run for run in runs if len(run) > 1]
        if times and sum(map(len, hidden)) == len(times):
            raise ValueError(
                f"draw: around: no step would be shown: expected one of t={times[0]} to "
                f"t={times[-1]}, got {list(self.around)}"
            )
        return hidden


class Places:
    """The place of each op of a trace that is drawn.

    inputs: of each op what it reads, as (record, part). ops: those that are drawn, or hidden.
    cells: of those in steps, the layer and the time. runs: hidden steps, in runs; each is a column,
    a gap. before: the ops outside the steps that steps depend on. spots: the column and band of
    each op that is shown. home: of each that is hidden, the number of its gap.
    """

    def __init__(self, tape: Tape, wanted: Wanted):
        self.tape, self.wanted = tape, wanted
        records = tape.records
        self.inputs = {y.id: tape.sources(y) for y in records if y.kind == "op"}
        ops = [y for y in self.inputs if not records[y].call.restacked]
        read = {*tape.outputs, *(x for y in ops for x, _ in self.inputs[y])}
        self.ops = [y for y in ops if y in read]
        self.cells = {y: (records[y].layer, records[y].t) for y in self.ops if records[y].t >= 0}
        self.times = sorted({t for _, t in self.cells.values()})
        self.runs = wanted.hidden(self.times)
        feeds: set[int] = set()
        for r in reversed(records):
            if r.id in self.cells or r.id in feeds:
                feeds.update(x for x, _ in r.inputs)
        self.before = {y for y in self.ops if y not in self.cells and y in feeds}
        self.columns = list(self._columns())
        self.spots = dict(self._spots())
        run_of = {t: k for k, run in enumerate(self.runs) for t in run}
        self.home = {y: run_of[t] for y, (_, t) in self.cells.items() if t in run_of}
        if self.runs:
            self._hide_what_only_hidden_steps_touch()

    @property
    def lone(self) -> list[int]:
        """The leaves that no op reads."""
        used = {x for y in self.tape.records for x, _ in y.inputs}
        return [y.id for y in self.tape.records if y.kind != "op" and y.id not in used]

    @property
    def layers(self) -> list[str]:
        """The layers, from the bottom up."""
        return list(dict.fromkeys(layer for layer, _ in self.cells.values()))

    @property
    def outside(self) -> int:
        """The column of what no step depends on."""
        return next((k for k, c in enumerate(self.columns) if c.kind in ("after", "plain")), -1)

    def _spots(self) -> dict[int, tuple[int, int]]:
        bands = {layer: k for k, layer in enumerate(self.layers)}
        steps = {c.time: k for k, c in enumerate(self.columns) if c.kind == "step"}
        spots = {}
        for y in self.ops:
            if y not in self.cells:
                spots[y] = (0 if y in self.before else self.outside), 0
            elif (t := self.cells[y][1]) in steps:
                spots[y] = steps[t] + self._shift(y), bands[self.cells[y][0]]
        return spots

    def _shift(self, y: int) -> int:
        """A delay stands left of the step, one from the other end right of it."""
        delay = self.tape.records[y].call.delay
        return (delay < 0) - (delay > 0)

    def _columns(self) -> list[Column]:
        if not self.times:
            return [Column("plain", "")]
        columns = [self._column_before()] if self.before else []
        hidden = {t: run for run in self.runs for t in run}
        for t in self.times:
            if self.wanted.counts is not None:
                columns += self._folded_columns(self.wanted.counts)
            elif t not in hidden:
                columns.append(Column("step", f"t = {t}", t))
            elif t == hidden[t][0]:
                columns.append(Column("gap", f"… {len(hidden[t])} steps …", t))
        after = len(self.ops) > len(self.before) + len(self.cells) or self.lone
        return columns + [Column("after", "after the steps", word="after")] * bool(after)

    def _folded_columns(self, by_layer: Mapping[str, int]) -> list[Column]:
        counts = set(by_layer.values())
        many = f"×{max(counts):,}" if len(counts) == 1 else "×T"
        shifts = {self._shift(y) for y in self.cells}
        return [
            *[Column("delay", "the step before", word="earlier")] * (-1 in shifts),
            Column("step", f"every step  {many}", 0, word="every", every=True),
            *[Column("delay", "the step after", word="later")] * (1 in shifts),
        ]

    def _column_before(self) -> Column:
        """Some of it may come from other steps: what an encoder leaves for a decoder."""
        late: set[int] = set()
        for y in self.ops:
            if y in self.cells or any(x in late for x, _ in self.inputs[y]):
                late.add(y)
        if late.isdisjoint(self.before):
            return Column("before", "before the steps", word="before")
        return Column("before", "before and between", word="between")

    def _hide_what_only_hidden_steps_touch(self) -> None:
        """Outside the steps, hide what reads hidden steps only, and what only they read."""
        records, outputs = self.tape.records, set(self.tape.outputs)
        kept = outputs | self.before | set(self.cells)
        for y in self.ops:
            made = [x for x, _ in self.inputs[y] if records[x].kind == "op"]
            if y not in kept and made and not any(x in self.spots for x in made):
                del self.spots[y]
                self.home[y] = self.home[made[0]]
        read_by_shown = outputs
        for y in reversed(self.ops):
            if y in self.before and y not in read_by_shown:
                del self.spots[y]
            elif y in self.spots:
                read_by_shown.update(x for x, _ in self.inputs[y])
            for x, _ in self.inputs[y]:
                if y in self.home and x in self.before:
                    self.home.setdefault(x, self.home[y])
