"""A function whose insides are forgotten, and computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from operator import attrgetter
from types import CellType, FunctionType
from typing import Any
from zlib import crc32

import numpy as np

from ..grad import pullback
from ..loops.reach import ABSENT, PLAIN, cell, used
from ..loops.scanned import scanned
from ..loops.trace import surroundings
from ..nn.moment import step_now
from ..op import Op, pick
from ..randomness import noted, repeated
from ..tensor import Tensor, _births, _Switch, mode
from .containers import built, function, leaves
from .tangents import Tangents, as_tensor, made_since, older, pushed, refuse_changed


class Checkpoint(Op):
    """A function's results as one node: `again` in its attributes computes them with a history."""

    def __init__(self) -> None:
        super().__init__(_checkpoint, [_checkpoint], variadic=True)

    def pull(self, g: Any, y: Tensor, wanted: set[Tensor] | None = None) -> list[Any]:
        asked = [x for x in y.inputs if (x.tracked if wanted is None else x in wanted)]
        results = y.attrs["again"](y)
        found = pullback(
            [results[i] for i in g], list(g.values()), asked, until=set(y.inputs),
            create_graph=mode.recording, retain_graph=mode.recording,
        )  # fmt: skip
        return [found.get(x) for x in y.inputs]

    def push(self, y: Tensor, found: Tangents) -> Any:
        """The tangents of the results, from those of what they are computed from."""
        results = y.attrs["again"](y)
        seeds = {x: as_tensor(found[x]) for x in y.inputs if x in found}
        moved = pushed(results, seeds, set(y.inputs))
        return dict(enumerate(moved if mode.recording else [v._array for v in moved]))


def _checkpoint(*inputs: Any, again: Any) -> Any:
    """What a function returns, from the tensors that require gradients and are read by it."""
    raise TypeError("what it returns is not a function of the arrays alone")


checkpointed = Checkpoint()


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does what f does, and keeps of it only what f returns.

    In the backward pass f is run again: less memory, for one more forward pass. f may take and
    return anything; its tensors may be in lists, tuples and dicts, and it may read others from
    outside, a module's parameters among them. It must do the same when it is run again: its own
    names mean what they meant, and layers in it draw the same masks, but one that draws by itself,
    or reads an array that has changed, is refused in the backward pass, a RuntimeError; draw
    outside, and give it the mask. In a step of a scan nothing is kept or not kept: see
    `checkpoint=` of `tg.scan`.

    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> block = tg.transforms.checkpoint(lambda x: tg.exp(tg.sin(x)))
    >>> tg.grad(block(x), x).item() == tg.grad(tg.exp(tg.sin(x)), x).item()
    True
    """
    function("checkpoint", f)

    @wraps(f)
    def forgetful(*args: Any, **words: Any) -> Any:
        if not mode.recording or mode.trace is not None:
            return f(*args, **words)
        return _forgotten(f, args, words)

    return forgetful


def _forgotten(f: Any, args: Any, words: Any) -> Any:
    """What f returns, its tensors as parts of one node."""
    began, same = next(_births), fixed(f)
    around = Around(mode.within, lambda: same(*args, **words))
    with around.first():
        out = f(*args, **words)
    made = {x for _, x in leaves(out) if isinstance(x, Tensor) and x.op and x.born > began}
    before = Made(out, began)

    def again() -> Any:
        began = next(_births)
        out = around.run()
        before.check(Made(out, began))
        return out

    return recalled(out, made, older([*made], began), again, around, before)


def fixed(f: Any) -> Any:
    """A function in which its own names mean what they mean now, as those of a loop around it.

    One that gives such a name another meaning is left as it is: others may have to see that.
    """
    if not isinstance(f, FunctionType) or used(f.__code__, *STORES):
        return f
    found = map(cell, f.__closure__ or ())
    cells = [CellType() if x is ABSENT else CellType(x) for x in found]
    made = FunctionType(f.__code__, {**f.__globals__}, f.__name__, f.__defaults__, tuple(cells))
    made.__kwdefaults__, made.__dict__ = f.__kwdefaults__, {**f.__dict__}
    return made


STORES = "STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"
FOLD = 8 * 61  # bytes
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # odd, and no pattern that numbers have


class Made:
    """What results were made of since a birth, in brief: each op, and what came in from before.

    `ends` are made anew for each run, and what they are made of does not count.

    Two runs made the same if their ops are, if what requires gradients is the same, and if other
    numbers that came in are equal.
    """

    def __init__(self, out: Any, began: int, ends: Sequence[Tensor] = ()):
        ys = [x for _, x in leaves(out) if isinstance(x, Tensor)]
        made, _ = made_since([y for y in ys if y.born > began], began, ends)
        number: dict[Tensor, int] = {}
        self.came: list[Any] = []  # from before: a tensor, or a digest of new numbers

        def place(x: Tensor) -> int:
            if x not in number:
                number[x] = len(number)
                self.came.append(_brief(x._array) if x.born > began else x)
            return number[x]

        rows: list[Any] = [*map(place, ends)]
        for y in sorted(made.difference(number), key=attrgetter("born")):
            if y.op:
                inputs = [*(y.inputs or ())]
                if y.op is checkpointed:  # what its function made counts, too
                    inside = y.attrs["made"]
                    came = {x: x for x in inside.came if isinstance(x, Tensor) and x.tracked}
                    inputs = [x for x in (*inputs, *came) if x.tracked]
                    rows += [inside.ops, *[_numbers(x) for x in inside.came if x not in came]]
                rows.append((_brief_op(y.op), _brief(y.attrs) if y.attrs else ()))
                if y.op is scanned:
                    run = y.attrs["run"]
                    rows += [
                        repr(run),
                        run.program.forward.source,
                        *run.program.step.around.values(),
                    ]
                rows += [number[x] if x in number else place(x) for x in inputs]
                number[y] = len(number)
        self.ops = hash((*rows, *map(place, ys)))

    def check(self, other: Made) -> None:
        """Refuse another run if it made something else."""
        pairs = zip(self.came, other.came, strict=False)
        alike = self.ops == other.ops and len(self.came) == len(other.came)
        if not alike or not all(x is y or _numbers(x) == _numbers(y) for x, y in pairs):
            raise _unlike()


def _brief_op(op: Op) -> Any:
    """Somebody else's op is all that it reads; one made again at every call is the same."""
    return op.name if op.ours else (op.name, surroundings(op))


def _digest(x: np.ndarray) -> tuple[int, int]:
    """Of bytes. Weighted sums of words, of a weight for each place, are quicker than a checksum."""
    n = len(x) // FOLD * FOLD if len(x) > 1 << 15 else 0
    words = x[:n].view(np.uint64).reshape(-1, FOLD // 8)
    weights = np.arange(1, 2 * len(words) + 1, 2, dtype=np.uint64) * GOLDEN
    return crc32(np.einsum("i,ij->j", weights, words).data), crc32(x[n:].data)


def _numbers(x: Any) -> Any:
    """What numbers are compared by; where there is a gradient only the tensor itself will do."""
    return x if not isinstance(x, Tensor) else id(x) if x.tracked else _brief(x._array)


def _brief(x: Any) -> Any:
    """Equal for what is equal, and short."""
    if isinstance(x, np.ndarray):
        return x.dtype.str, x.shape, *_digest(np.ascontiguousarray(x).reshape(-1).view(np.uint8))
    if isinstance(x, dict):
        return tuple((name, _brief(v)) for name, v in x.items())
    if isinstance(x, list | tuple):
        return tuple(map(_brief, x))
    return repr(x) if isinstance(x, PLAIN) else type(x).__name__


class Around:
    """What is around a function when it is first run, to be there when it is run again.

    What layers in it drew, which step of a layer is being done, and whether it is `within` a
    transform. `run` runs it.
    """

    def __init__(self, within: bool, run: Callable[[], Any]):
        self.run = run
        self.switch = _Switch(recording=True, within=within, scope=mode.scope)
        self.draws, self.step, self.trace = list[Any](), step_now(), mode.trace

    def first(self) -> AbstractContextManager[None]:
        """The block in which it is run first."""
        return noted(self.draws)

    @contextmanager
    def again(self) -> Iterator[None]:
        """The block in which it is run again."""
        with self.switch, self.step(), repeated(self.draws):
            yield


def recalled(
    out: Any, made: Collection[Tensor], read: Iterable[Tensor], again: Callable[[], Any],
    around: Around, before: Made,
) -> Any:  # fmt: skip
    """Containers of tensors, of which those that were `made` are now parts of one node.

    It was made of what was `read`; its derivative comes of doing all `again`, with what was
    `around` then, and the same is to be made as `before`.
    """
    parts = [x for _, x in leaves(out)]
    places = [k for k, x in enumerate(parts) if isinstance(x, Tensor) and x in made]
    arrays = tuple([parts[k]._array for k in places])

    def results(node: Tensor) -> list[Tensor]:
        refuse_changed([node])
        with around.again():
            found = [x for _, x in leaves(again())]
        found = [found[k] for k in places if k < len(found)]
        _check_same(arrays, found)
        return found

    given = tuple(sorted(read, key=lambda x: x.born))
    whole = checkpointed._remember(arrays, given, {"again": results, "made": before})
    for i, k in enumerate(places):
        parts[k] = pick._remember(arrays[i], (whole,), {"i": i})
    return built(out, iter(parts), lambda module, _: module)


def _check_same(arrays: Sequence[np.ndarray], results: Sequence[Any]) -> None:
    """Refuse other numbers: a number in a step of a loop is not among what was made."""
    same = len(arrays) == len(results)
    for a, y in zip(arrays, results, strict=False):
        same = same and isinstance(y, Tensor) and y.shape == a.shape and y.dtype == a.dtype
        near = np.finfo(a.dtype).eps ** 0.5  # of the largest number
        size = np.abs(a[np.isfinite(a)]).max(initial=0.0)
        same = same and np.allclose(y._array, a, near, near * size, equal_nan=True)
    if not same:
        raise _unlike()


def _unlike() -> RuntimeError:
    return RuntimeError(
        "transforms: a function did something else when it was run again for a backward pass, so "
        "the gradient would be wrong. Give it what it reads as arguments, change no array and no "
        "layer that it reads, and draw random numbers outside, but for those of layers, which "
        "draw the same again."
    )
