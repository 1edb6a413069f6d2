"""Tensors in lists, tuples, dicts and modules: what is inside, and others in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np

from ..nn.module import Module
from ..tensor import Tensor, as_array, describe


def leaves(given: Any, where: str = "") -> list[tuple[str, Any]]:
    """What is inside, each after its place; of a module its parameters, of None nothing."""
    return [(place, x) for place, x, _ in _pairs("", given, given, where)]


def built(
    like: Any, values: Iterator[Any], of_module: Callable[[Module, Any], Any] = lambda _, x: x
) -> Any:
    """The same containers with other things inside; for a module the dict of its parameters."""
    if isinstance(like, Module):
        return of_module(like, {path: next(values) for path, _ in like.named_parameters()})
    if isinstance(like, dict):
        return {name: built(part, values, of_module) for name, part in like.items()}
    if isinstance(like, list | tuple):
        parts = [built(part, values, of_module) for part in like]
        return type(like)(*parts) if hasattr(like, "_fields") else type(like)(parts)
    return None if like is None else next(values)


def floats(who: str, where: str, x: Any) -> Tensor:
    """What is differentiated by, as a tensor; refused if it is not made of floats."""
    if not isinstance(x, Tensor | np.ndarray | np.generic | float | int):
        raise TypeError(
            f"{who}: {where}: expected a tensor, or lists, tuples, dicts or modules of them, got "
            f"{type(x).__name__}. Leave what is no tensor out of what is differentiated."
        )
    x = x if isinstance(x, Tensor) else Tensor(cast(Any, x))
    if x.dtype.kind != "f":
        raise TypeError(
            f"{who}: {where}: expected floats, got {x.dtype}: only floats have derivatives. Write "
            "numbers with a point, or hold it fixed: lambda x: f(x, n)."
        )
    return x


def matched(who: str, like: Any, given: Any, where: str) -> list[Tensor]:
    """What is given for each tensor in `like`, refused where it does not fit."""
    return [_fit(who, place, x, v) for place, x, v in _pairs(who, like, given, where)]


def _pairs(who: str, like: Any, given: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """Each tensor in `like` after its place, and what stands at this place in `given`."""
    parts: list[tuple[str, Any]]
    if isinstance(like, Module):
        own = dict(like.named_parameters())
        given = own if given is like else given
        parts = [(f"{where}.{path}" if where else path, path) for path in own]
        like = own
    elif isinstance(like, dict):
        parts = [(f"{where}[{name!r}]", name) for name in like]
    elif isinstance(like, list | tuple):
        parts = [(f"{where}[{k}]", k) for k in range(len(like))]
    else:
        if like is not None:
            yield where, like, given
        elif given is not None:
            raise TypeError(f"{who}: {where}: expected None, got {type(given).__name__}")
        return
    kind: Any = dict if isinstance(like, dict) else (list, tuple)
    fits = isinstance(given, kind) and len(given) == len(like)
    if not fits or (kind is dict and like.keys() != given.keys()):
        raise TypeError(
            f"{who}: {where}: expected {_shape(like)} like what it belongs to, got {_shape(given)}"
        )
    for place, name in parts:
        yield from _pairs(who, like[name], given[name], place)


def _shape(x: Any) -> str:
    """A container in a few words."""
    if isinstance(x, dict):
        return f"a dict of {', '.join(map(repr, x)) or 'nothing'}"
    if isinstance(x, list | tuple):
        return f"a {type(x).__name__} of {len(x)}"
    return describe(x) if isinstance(x, Tensor) else type(x).__name__


def _fit(who: str, where: str, x: Tensor, v: Any) -> Tensor:
    """A tangent or cotangent of x; arrays and numbers take its dtype, a tensor has to have it."""
    try:
        v = v if isinstance(v, Tensor) else Tensor(as_array(v), dtype=x.dtype)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{who}: {where}: {error}") from None
    if v.shape != x.shape or v.dtype != x.dtype:
        raise ValueError(
            f"{who}: {where}: expected {x.dtype}{list(x.shape)} like what it belongs to, got "
            f"{v.dtype}{list(v.shape)}"
        )
    return v


def got(x: Any) -> str:
    """What was given instead, for a refusal."""
    return f"got {describe(x) if isinstance(x, Tensor) else type(x).__name__}"


def function(who: str, f: Any) -> Callable[..., Any]:
    """What a transform is given; refused if it is no function."""
    if not callable(f):
        hint = (
            " Of a tensor that is there already: tg.grad(y, xs)." if isinstance(f, Tensor) else ""
        )
        raise TypeError(f"{who}: f: expected a function, {got(f)}.{hint}")
    return cast(Callable[..., Any], f)
