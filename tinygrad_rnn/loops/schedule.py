"""What a loop does in one step, in an order in which everything is there when it is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .formula import cheap
from .nest import Nest, indented, nested
from .nodes import Leaf, Node, Pointwise, Unsupported, View, under
from .places import Places
from .roles import Carried, Place
from .where import ROWS, Ways, here, straight

SEVERAL = 8  # ops that are done again sooner than what they make is kept and read


@dataclass(eq=False, slots=True)
class Store:
    """Put a node's numbers somewhere; `target` says where on each axis, in axes of the loop.

    `how` it joins what is there: "=", "+=", "larger" or "smaller"; along an axis that is nowhere in
    `target`, all are joined. What it `makes` can be read from there afterwards. It is done `after`
    another task, as a sum is after what it begins with.
    """

    node: Node
    place: Place
    target: Ways | None = None  # straight on, if nothing is said
    how: str = "="
    makes: Node | None = None
    after: Task | None = None

    @property
    def ways(self) -> Ways:
        return straight(len(self.node.shape)) if self.target is None else self.target


@dataclass(eq=False, slots=True)
class Piece:
    """A piece of text that is not a loop over numbers, as a product."""

    makes: Node | None
    reads: Sequence[Node]
    lines: list[str]
    after: Task | None = None


Task = Store | Piece
Needs = dict[Task, list[tuple[Task, bool]]]  # what comes before, and may it share the nest


class Schedule:
    """All that a loop does: in each step, and before and after each block of steps."""

    def __init__(self, places: Places):
        self.places = places
        self.tasks: list[Task] = []
        self.early: list[str] = []
        self.late: list[str] = []

    def add(self, task: Task) -> Task:
        self.tasks.append(task)
        return task

    def keep(self, node: Node) -> None:
        """Have what is computed in an array of its own."""
        self.add(Store(node, self.places.buffer(node), makes=node))

    def settle(self, x: Node, alone: bool = False) -> None:
        """Have an operand in an array: its own or, unless `alone`, what it is a plain cut of."""
        there = x in self.places.at or x in self.places.numbers
        if not there and (alone or self.places.base(x) is None):
            self.keep(x)

    def body(self) -> tuple[list[str], list[Node]]:
        """The lines of one step: loops that can share their nest do. And what costs much and is
        computed in more than one of them."""
        groups: list[list[str]] = []
        open_rows: list[str] | None = None
        where = defaultdict[Node, list[int]](list)  # each is computed, its inputs before it
        for group in self.groups():
            first = group[0]
            if isinstance(first, Piece):
                groups.append(list(first.lines))
                open_rows = None
                continue
            shape = first.node.shape
            nest = Nest(self.places, shape, [task for task in group if isinstance(task, Store)])
            by_row = shape[:1] == (ROWS,) and bool(nest.outer)
            if by_row and open_rows is not None:  # the same row is at hand: one loop for both
                open_rows += indented(nested(nest.outer[1:], nest.core()))
            else:
                groups.append(nested(nest.outer, nest.core()))
                open_rows = groups[-1] if by_row else None
            for node, *_ in nest.registers:
                if isinstance(node, Node):
                    where[node].append(len(groups))
        return [line for lines in groups for line in lines], costly(where)

    def groups(self) -> Iterator[list[Task]]:
        """All tasks, those together that one nest of loops can do."""
        left, needs, done = self.tasks, self.needs(), set[Task]()
        while left:
            group = next_group(left, needs, done)
            if not group:
                raise Unsupported("a step whose parts wait for each other")
            yield group
            done.update(group)
            left = [task for task in left if task not in done]

    def needs(self) -> Needs:
        """The tasks that come before each, and whether it may share their nest."""
        makers = defaultdict[Node | None, list[Task]](list)
        for task in self.tasks:
            makers[task.makes].append(task)
        reads = {task: self.reads(task) for task in self.tasks}
        needs: Needs = {}
        for task in self.tasks:
            needs[task] = [
                (maker, same and isinstance(maker, Store) and maker.makes is maker.node)
                for n, same in reads[task].items()
                for maker in makers[n]
                if maker is not task
            ]
            if task.after is not None:
                needs[task].append((task.after, False))
        for leaf, place in self.carried():  # what overwrites one waits for all who read it
            for writer in [task for task in self.tasks if self.place(task) == place]:
                needs[writer] += [
                    (task, found[leaf] and isinstance(writer, Store))
                    for task, found in reads.items()
                    if leaf in found and task is not writer
                ]
        return needs

    def carried(self) -> list[tuple[Leaf, Place]]:
        """The cotangents of the carry, which a step overwrites, and where they are."""
        at = self.places.at.items()
        return [(x, p) for x, p in at if isinstance(x, Leaf) and isinstance(x.role, Carried)]

    def place(self, task: Task) -> Place | None:
        """Return where a task writes."""
        if isinstance(task, Store):
            return task.place
        return None if task.makes is None else self.places.at.get(task.makes)

    def reads(self, task: Task) -> dict[Node, bool]:
        """What a task reads of what has a place, and whether each only where its loop is."""
        if isinstance(task, Store):
            at = here(task.node.shape)
            return reads(self.places, task.node, at, task.makes is task.node)
        found = dict[Node, bool]()
        for x in task.reads:
            base = self.places.base(x) or x
            found |= dict.fromkeys([base, *reads(self.places, x, here(x.shape))], False)
        return found


def costly(where: dict[Node, list[int]]) -> list[Node]:
    """What is to be kept: it costs much, by itself or by all that it is made of, and is computed in
    several nests of loops. `where`: the numbers of these; all that share a loop over rows are one.
    """
    kept, ops = list[Node](), dict[Node, int]()
    for node, nests in where.items():
        ops[node] = 1
        for x in node.inputs:
            while isinstance(x, View):
                x = x.inputs[0]
            if nests[0] in where.get(x, ()):  # it is computed there, and not read
                if ops[x] >= SEVERAL and where[x][0] < nests[0]:
                    kept.append(x)
                    ops[x] = 0
                ops[node] += ops[x]
        if not cheap(node) and nests[0] != nests[-1]:
            kept.append(node)
            ops[node] = 0
    return kept


def next_group(left: Sequence[Task], needs: Needs, done: set[Task]) -> list[Task]:
    """The first that can be done: a piece, or all stores that share a nest of loops."""
    group: dict[Task, None] = {}
    ready: Callable[[Task], bool] = lambda task: all(
        n in done or (same and n in group) for n, same in needs[task]
    )
    for task in left:
        if isinstance(task, Piece) and ready(task):
            return [task]
    shape, size = None, -1
    while size < len(group):  # one that has joined may be what another one waits for
        size = len(group)
        for task in left:
            if isinstance(task, Piece) or task in group or shape not in (None, task.node.shape):
                continue
            if ready(task):
                group[task], shape = None, task.node.shape
    return list(group)


def reads(places: Places, node: Node, home: Ways, making: bool = False) -> dict[Node, bool]:
    """The placed nodes that a formula reads, and whether each only at the loop's own position.

    The node itself is not looked up if this is what is `making` it.
    """
    found: dict[Node, bool] = {}
    stack = [(node, tuple(home), making)]
    seen = set()
    while stack:
        n, at, made = stack.pop()
        if (n, at) in seen:
            continue
        seen.add((n, at))
        if n in places.at and not made:
            found[n] = found.get(n, True) and at == home
        elif isinstance(n, View):
            stack.append((n.inputs[0], tuple([way.of(at) for way in n.ways]), False))
        elif isinstance(n, Pointwise):
            stack += [(x, under(x, at), False) for x in n.inputs]
    return found
