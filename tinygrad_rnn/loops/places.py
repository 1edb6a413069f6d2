"""The names in a text, and where everything that it speaks of is kept."""

from __future__ import annotations

import builtins
import keyword
import re
from typing import Any

import numpy as np

from ..kernels.numbers import Called
from ..op import Op
from . import nodes, roles
from .formula import number_of
from .nodes import Node, Unsupported, under
from .roles import Argument, Place, Role
from .trace import surroundings
from .where import ROWS, VARIABLES, ZERO, Sizes, Ways, offset, straight

WORDS = """
    length way block start stop begun numbers rows behind done count low step s t before after np
    f32 f64 multiply gather gather_packed pack_rows plus larger smaller source target
    forward backward control flush_denormals restore
"""  # of every text
RESERVED = {
    *WORDS.split(), *VARIABLES, *keyword.kwlist, *keyword.softkwlist, *dir(builtins),
}  # fmt: skip
WHOLE_BLOCK = {"t": "low", "before": "low + behind", "after": "low + 1 - behind", "s": "0"}


class Names:
    """The words of a text, none of them twice."""

    def __init__(self, taken: set[str]):
        self.taken = taken
        self.counts: dict[str, int] = {}

    def word(self, wish: str) -> str:
        """A word that nothing else in the text goes by: where every name comes from."""
        word = re.sub(r"[^0-9A-Za-z_]", "_", wish)
        word = word if word[:1].isalpha() else f"a{word}"
        while word in self.taken:
            word += "_"
        self.taken.add(word)
        return word

    def fresh(self, stem: str) -> str:
        """Such a word with a number behind it."""
        return self.word(self.numbered(stem))

    def numbered(self, stem: str) -> str:
        """A wish that will be granted: the stem and the next number."""
        self.counts[stem] = self.counts.get(stem, 0) + 1
        name = f"{stem}{self.counts[stem]}"
        return self.numbered(stem) if name in self.taken else name


class Places:
    """Where the numbers of each node are: in which argument, or under which name."""

    def __init__(self, sizes: Sizes, batched: bool, around: Places | None = None):
        self.sizes: Sizes = around.sizes if around else sizes
        self.batched, self.inside = batched, around is not None
        self.names: Names = around.names if around else Names({*RESERVED, *sizes.words.values()})
        self.arguments: dict[str, Argument] = {}
        # arrays, of loops inside too, that are of float64 though the step computes in float32
        self.wide: set[str] = around.wide if around else set()
        self.at: dict[Node, Place] = {}
        self.numbers: dict[Node, str] = {}
        self.given: set[Node] = set()  # what is there before the loop
        self.in_blocks: set[Node] = set()  # what is kept for a block of steps
        self.packs: dict[Node, str] = {}
        self.called: dict[str, Called] = around.called if around else {}

    def argument(self, wish: str, role: Role, like: Node, written: bool = True) -> str:
        """A new argument for such a node, by a name that is near to what is wished for."""
        word = self.names.word(wish)
        written = written or self.inside  # by the loop around, maybe
        self.arguments[word] = Argument(word, role, like.dtype, written, like.shape)
        return word

    def widen(self, word: str) -> None:
        """Have an argument's numbers in float64, whatever is put there."""
        self.arguments[word] = self.arguments[word]._replace(dtype=np.dtype(np.float64))
        self.wide.add(word)

    def buffer(self, node: Node) -> Place:
        """Room for what a step computes: of one step, or of a block of them."""
        blocks = node in self.in_blocks
        kinds = (nodes.Product, *((nodes.Pointwise, nodes.Join) if blocks else ()))
        padded = isinstance(node, kinds) and node.shape[:1] == (ROWS,) and len(node.shape) == 2
        wish = node.name or self.names.numbered(f"{node.stem}_")
        role = roles.Buffer(padded, blocks)
        name = self.argument(wish, role, node)
        self.at[node] = Place(name, "s" if blocks else "0")
        return self.at[node]

    def packed(self, w: Node) -> str:
        """A fixed matrix as products read it."""
        if w not in self.packs:
            assert isinstance(w, nodes.Leaf)
            role, wish = roles.Packed(w.role.of), f"{w.name or 'W'}_packed"
            self.packs[w] = self.argument(wish, role, w, False)
        return self.packs[w]

    def called_name(self, op: Op, dtype: np.dtype[Any] | None = None) -> str:
        """What an op goes by in the text, on numbers of a dtype or on whole arrays."""
        number = number_of(op)
        for name, known in self.called.items():
            if known.function is number and known.dtype == dtype:
                return name
        word = self.names.word(op.name if op.ours else f"op_{op.name}")
        self.called[word] = Called(number, dtype, None if op.ours else surroundings(op))
        return word

    # -- how they are looked at ------------------------------------------------------------------

    def is_early(self, x: Node) -> bool:
        """Whether it is an input or a cut of one, which is there for a whole block of steps."""
        role = getattr(self.base(x), "role", None)
        return isinstance(role, roles.Timed) and role.kind == "x"

    def is_padded(self, place: Place) -> bool:
        """Whether an array has rows that are wider than what is in them, see `panels.padded`."""
        role = self.arguments[place.array].role
        return isinstance(role, roles.Buffer | roles.Carried) and role.padded

    def base(self, x: Node) -> Node | None:
        """What an operand of a product is a plain cut of; None where it must be copied first."""
        if x in self.at:
            return x
        if not isinstance(x, nodes.View):
            return None if isinstance(x, nodes.Pointwise | nodes.Written) else x
        base = x.inputs[0]
        if isinstance(base, nodes.Formula) and base not in self.at:
            return None
        cut = len(base.shape) == len(x.shape) == 2 and not x.ways[0].offset
        cut = cut and all(way.axis == k and way.step == 1 for k, way in enumerate(x.ways))
        row = len(base.shape) == 1 and len(x.shape) == 2 and x.ways == straight(2)[1:]
        return base if cut or row or x.ways == straight(len(x.shape)) else None

    def entry(self, x: Node, index: Ways) -> str:
        """One of the numbers of an operand, through its views, as text."""
        at = under(x, index)
        while x not in self.at:
            assert isinstance(x, nodes.View)
            at, x = tuple([way.of(at) for way in x.ways]), x.inputs[0]
        return self.at[x].entry(at)

    def whole(self, x: Node) -> str:
        """All of it at this step, or a number, as text."""
        if x in self.numbers:
            return self.numbers[x]
        place = self.at[x]
        return place.array if place.time is None else f"{place.array}[{place.time}]"

    def array(self, x: Node, block: bool, filled: bool = False) -> str:
        """An operand of a kernel, with axes (steps, rows, columns), as text.

        Of one step, or of a whole block; `filled` where the kernel may write into the padding.
        """
        base = self.base(x)
        assert base is not None and base in self.at, (x, base)
        place = self.at[base]
        if place.time is None:
            if block:
                raise Unsupported("a sum over time of what is fixed")
            return f"{place.array}.reshape((1, {x.shape[0]}, {x.shape[1]}))"
        first, count = (WHOLE_BLOCK[place.time], "count") if block else (place.time, "1")
        steps = f"{first}:{count if first == '0' else f'{first} + {count}'}"
        if len(base.shape) == 1:
            rows = steps if block else first
            return f"{place.array}[{rows}].reshape(({count}, 1, {base.shape[0]}))"
        parts = [steps, *(["start:stop"] if place.shift else [])]
        begin = x.ways[1].offset if x is not base and isinstance(x, nodes.View) else ZERO
        wide = self.is_padded(place) and not filled
        if begin or wide or x.shape[1] != base.shape[1]:
            parts += [":"] if len(parts) == 1 else []
            parts.append(f"{begin}:{begin + offset(x.shape[1])}")
        return f"{place.array}[{', '.join(parts)}]"
