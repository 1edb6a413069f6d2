"""A function of one example made one of many, along an axis of what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from inspect import unwrap
from typing import Any

import numpy as np

from ..loops.reach import WORLD, Reach, by_itself
from ..nn.module import Module
from ..ops import moveaxis
from ..randomness import unnamed
from ..tensor import Tensor, Untraceable, describe, mode
from .batch import Batch
from .containers import built, function, got, leaves


def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """Return the function that does f to many examples at once, of which f takes one.

    in_axes: the axis of each argument along which the examples are, or None where it is the same
    for all; one for all arguments, or a tuple of one for each, in which lists, tuples and dicts
    stand for those of the argument. A module is the same for all. out_axes: where the examples are
    in what f returns, tensors in containers, in the same forms; None for what is the same for all.
    Arguments by name are passed on, and hold no tensors.

    f is run once, on tensors without numbers that are like one example: every op is then done on
    all, and a scan or a layer is one compiled loop. It may differentiate, and be differentiated;
    what `grad` in it gives by a module or another argument is one gradient for each example.

    Raises ValueError for axes that do not fit and for examples that are not equally many, TypeError
    for what is no tensor, Untraceable (a TypeError too) for a function that reads numbers, or draws
    random ones.

    >>> x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> tg.transforms.vmap(lambda x, y: x @ y, in_axes=(0, None))(x, tg.tensor([1.0, 1.0])).numpy()
    array([3., 7.])
    >>> tg.transforms.vmap(tg.transforms.grad(lambda x: (x ** 3).sum()))(x).numpy()
    array([[ 3., 12.],
           [27., 48.]])
    """
    function("vmap", f)

    @wraps(f, updated=())
    def mapped(*args: Any, **words: Any) -> Any:
        for name, value in words.items():
            if any(isinstance(x, Tensor | np.ndarray) for _, x in leaves(value)):
                raise TypeError(
                    f"vmap: {name}: expected a tensor by its place, so that in_axes says where "
                    "the examples are in it, got it by name"
                )
        return _done(f, args, words, in_axes, out_axes)

    return mapped


def _done(f: Callable[..., Any], args: Any, words: Any, in_axes: Any, out_axes: Any) -> Any:
    if isinstance(in_axes, list | tuple) and len(in_axes) != len(args):
        raise ValueError(
            f"vmap: in_axes: expected one for each of {len(args)} arguments given by position, "
            f"got {len(in_axes)}"
        )
    places = [*_axes("in_axes", in_axes, args, "argument ")]
    given = [_given(*place) for place in places]
    batch = Batch(_size(places, given), mode.trace)
    pairs = zip(given, places, strict=True)
    ones = [x if axis is None else batch.one(x) for x, (*_, axis) in pairs]
    met: list[Any] = [x for x in ones if not isinstance(x, Tensor)]

    def itself(module: Module, _: Any) -> Module:
        met.append(module)
        return module

    args = built(args, iter(ones), itself)
    roots = f, unwrap(f), *met, *words.values()
    look = lambda: Reach(*roots, **WORLD if Reach(*roots).is_blind() else {})
    one, reach, before = batch.on()(lambda: f(*args, **words)), Reach(*roots, **WORLD), unnamed()
    out = one()
    changed = "draws random numbers" if unnamed() > before else reach.changed()
    if changed and (not reach.drew or by_itself(one, look)):
        raise Untraceable(
            f"vmap: the function {changed}. It is run once for all examples. Draw random numbers "
            "for all of them outside, and give them as one more argument; return what changes."
        )
    found = [_returned(batch, *place) for place in _axes("out_axes", out_axes, out, "its result")]
    return built(out, iter(found))


def _axes(who: str, axes: Any, given: Any, where: str) -> Iterator[tuple[str, Any, int | None]]:
    """Each thing in a container after its place, and the axis that is said of it."""
    if isinstance(given, Module):
        if axes is not None:
            raise TypeError(
                f"vmap: {where}: a module is the same for all examples: give None for it in "
                "in_axes, as in vmap(f, in_axes=(None, 0)). For many models at once, give their "
                "weights as tensors, or use nn.Ensemble."
            )
        yield from ((place, x, None) for place, x in leaves(given, where))
        return
    whole = axes is None or isinstance(axes, int | np.integer)
    if given is None and whole:
        return
    inside: Any = None
    if isinstance(given, dict | list | tuple):
        inside = given if isinstance(given, dict) else range(len(given))
        kind: Any = dict if isinstance(given, dict) else (list, tuple)
        if whole or (isinstance(axes, kind) and len(axes) == len(given)):
            for name in inside:
                part = axes if whole else axes.get(name, axes) if kind is dict else axes[name]
                yield from _axes(who, part, given[name], f"{where}[{name!r}]")
            return
    if inside is not None or not whole or isinstance(axes, bool):
        raise ValueError(
            f"vmap: {who}: expected the number of an axis, None, or containers of them like "
            f"{where}, got {axes!r} for {got(given)[4:]}"
        )
    yield where, given, axes


def _given(where: str, x: Any, axis: int | None) -> Any:
    """What is given, with the examples in front."""
    if axis is None:
        return x
    if not isinstance(x, Tensor | np.ndarray | np.generic | float | int):
        raise TypeError(
            f"vmap: {where}: expected a tensor with examples along axis {axis}, {got(x)}. What is "
            "the same for all examples has None in in_axes."
        )
    x = x if isinstance(x, Tensor) else Tensor(np.asarray(x))
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"vmap: in_axes: {where} has no axis {axis}, got {describe(x)}. What is the same for "
            "all examples has None there."
        )
    return moveaxis(x, axis, 0)


def _size(places: Sequence[tuple[str, Any, int | None]], given: Sequence[Any]) -> int:
    """How many examples there are."""
    sizes = [(where, len(x)) for (where, _, axis), x in zip(places, given, strict=True)
             if axis is not None]  # fmt: skip
    if not sizes:
        raise ValueError(
            "vmap: in_axes: expected an axis of examples in at least one argument, got None for all"
        )
    for where, size in sizes:
        if size != sizes[0][1]:
            raise ValueError(
                f"vmap: expected as many examples in all arguments, got {sizes[0][1]} in "
                f"{sizes[0][0]} and {size} in {where}"
            )
    return sizes[0][1]


def _returned(batch: Batch, where: str, y: Any, axis: int | None) -> Tensor:
    """What is returned for all examples."""
    if not isinstance(y, Tensor | np.ndarray | np.generic | float | int):
        raise TypeError(
            f"vmap: {where}: expected tensors, or containers of them, {got(y)}. Return numbers "
            "only; what is no tensor does not depend on the example."
        )
    y = y if isinstance(y, Tensor) else Tensor(np.asarray(y))
    if axis is None:
        if batch.whole(y) is not None:
            raise ValueError(
                f"vmap: out_axes: {where} is not the same for all examples: give the axis where "
                "they are to be, such as 0, not None"
            )
        return y
    if not -y.ndim - 1 <= axis <= y.ndim:
        raise ValueError(
            f"vmap: out_axes: {where} has {y.ndim} axes, and one more for the examples: expected "
            f"{-y.ndim - 1} to {y.ndim}, got {axis}"
        )
    with batch.on():
        whole = batch.spread(y)
    return moveaxis(whole, 0, axis)
