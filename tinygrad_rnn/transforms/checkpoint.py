"""A function whose insides are forgotten, and computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from ..grad import pullback
from ..op import Op, pick
from ..randomness import Draws, noted, repeated
from ..tensor import Tensor, _births, _Switch, mode
from .containers import built, function, leaves
from .tangents import Tangents, as_tensor, older, pushed, refuse_changed


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
    outside, a module's parameters among them. It must do the same when it is run again: layers in
    it draw the same masks, but one that draws by itself is refused in the backward pass, a
    RuntimeError; draw outside, and give it the mask. In a step of a scan nothing is kept or not
    kept: see `checkpoint=` of `tg.scan`.

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
    began, here = next(_births), mode.within
    with noted() as draws:
        out = f(*args, **words)
    made = {x for _, x in leaves(out) if isinstance(x, Tensor) and x.op and x.born > began}
    return recalled(out, made, older([*made], began), lambda: f(*args, **words), draws, here)


def recalled(
    out: Any, made: Collection[Tensor], read: Iterable[Tensor], again: Callable[[], Any],
    draws: Draws, here: bool,
) -> Any:  # fmt: skip
    """Containers of tensors, of which those that were `made` are now parts of one node.

    It was made of what was `read`; its derivative comes of doing all `again`, with the same `draws`
    of layers, `here` in a transform or not.
    """
    parts = [x for _, x in leaves(out)]
    places = [k for k, x in enumerate(parts) if isinstance(x, Tensor) and x in made]
    arrays = tuple([parts[k]._array for k in places])
    switch = _Switch(recording=True, within=here, scope=mode.scope)

    def results(node: Tensor) -> list[Tensor]:
        refuse_changed([node])
        with switch, repeated(draws):
            found = [x for _, x in leaves(again())]
        found = [found[k] for k in places if k < len(found)]
        _check_same(arrays, found)
        return found

    given = tuple(sorted(read, key=lambda x: x.born))
    whole = checkpointed._remember(arrays, given, {"again": results})
    for i, k in enumerate(places):
        parts[k] = pick._remember(arrays[i], (whole,), {"i": i})
    return built(out, iter(parts), lambda module, _: module)


def _check_same(arrays: Sequence[np.ndarray], results: Sequence[Any]) -> None:
    """Refuse a function that gave other numbers when it was run again."""
    same = len(arrays) == len(results)
    for a, y in zip(arrays, results, strict=False):
        same = same and isinstance(y, Tensor) and y.shape == a.shape and y.dtype == a.dtype
        near = np.finfo(a.dtype).eps ** 0.5  # of the largest number
        size = np.abs(a[np.isfinite(a)]).max(initial=0.0)
        same = same and np.allclose(y._array, a, near, near * size, equal_nan=True)
    if not same:
        raise RuntimeError(
            "transforms: a function gave other numbers when it was run again for a backward pass, "
            "so the gradient would be wrong. Draw random numbers outside and give them to it, but "
            "for those of layers, which draw the same again; and change nothing that it reads."
        )
