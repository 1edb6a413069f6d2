"""Hooks: functions that are called when a gradient comes by, or when a module is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from .op import has_nan
from .tensor import Outline, Tensor, Untraceable, describe, mode, owned

_numbers = count()


class Hooks:
    """Functions, in the order in which they were registered."""

    __slots__ = ("functions",)

    def __init__(self) -> None:
        self.functions: dict[int, Any] = {}

    def add(self, who: str, function: Any, last: Callable[[], object] | None = None) -> Handle:
        """One more, and what removes it; `last` is called when none is left after that."""
        if not callable(function):
            raise TypeError(f"{who}: hook: expected a function, got {type(function).__name__}")
        number = next(_numbers)
        self.functions[number] = function
        return Handle(self, number, last)

    def __iter__(self) -> Iterator[Any]:
        """Those that are there now; one that is removed before its turn comes is left out."""
        for number in tuple(self.functions):
            if number in self.functions:
                yield self.functions[number]


class Handle:
    """What takes a hook away again: `handle.remove()`, or the end of a `with` block.

    To remove it twice is to remove it once. A hook may do so while it runs. A copy of a handle
    removes nothing.

    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> with x.register_hook(lambda g: 10.0 * g):
    ...     slope = tg.grad(x * x, x)
    >>> slope.item(), tg.grad(x * x, x).item()
    (60.0, 6.0)
    """

    __slots__ = ("hooks", "last", "number")

    def __init__(self, hooks: Hooks, number: int, last: Callable[[], object] | None = None):
        self.hooks, self.number, self.last = hooks, number, last

    def remove(self) -> None:
        """Forget the hook."""
        self.hooks.functions.pop(self.number, None)
        if self.last is not None and not self.hooks.functions:
            self.last()

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def __reduce__(self) -> Any:
        return Handle, (Hooks(), -1)


def register_hook(x: Tensor, hook: Callable[[Tensor], Any]) -> Handle:
    """Call `hook(gradient)` whenever a backward pass has all of the gradient of this tensor.

    What it returns, a tensor of the same shape and dtype, stands for the gradient from there on: in
    `.grad`, in what `tg.grad` returns, and for all that this was computed from. None leaves it as
    it is. Hooks run in the order in which they were registered, once in each pass that comes by;
    what they do is recorded under `create_graph` alone. Returns a `Handle`.

    Raises RuntimeError for a tensor that has no gradient, and Untraceable in a step of a compiled
    loop, where no gradient of one step comes by. When a hook raises, no `.grad` changes. Copies of
    a tensor have none of its hooks.

    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> h = x * 3.0
    >>> handle = h.register_hook(lambda g: tg.clip(g, -0.5, 0.5))
    >>> h.sum().backward()
    >>> x.grad.numpy()
    array([1.5, 1.5])
    """
    if mode.trace is not None or x._array.__class__ is Outline:
        raise Untraceable(
            f"register_hook: {describe(x)}: a step of tg.scan or a layer is one compiled loop, "
            "where no gradient of one step comes by. Register the hook outside, on what the loop "
            "is given or returns; or run its steps one by one with unroll=True; tg.clip_gradient "
            "clips the gradient of each step in a loop."
        )
    if not x.tracked or type(x._array) is tuple:
        raise RuntimeError(
            f"register_hook: {describe(x)} has no gradient: expected a tensor that was made with "
            "requires_grad=True, or computed from one while recording was on."
        )
    x._hooks = hooks = x._hooks or Hooks()
    return hooks.add("register_hook", hook)


def hooked(x: Tensor, g: Any) -> Any:
    """What the hooks of a tensor make of its gradient, an array or a tensor with a past."""
    for hook in x._hooks or ():
        given = g if isinstance(g, Tensor) else owned(g)
        try:
            new = hook(given)
            if new is None:
                continue
            new = new if isinstance(new, Tensor) else Tensor(new)
            if new.shape != x.shape or new.dtype != x.dtype:
                raise ValueError(
                    f"a hook of {describe(x)} returned a gradient of shape {new.shape} and dtype "
                    f"{new.dtype}, expected shape {x.shape} and dtype {x.dtype}, or None to leave "
                    "it as it is."
                )
            if mode.anomaly and has_nan(new._array) and not has_nan(given._array):
                raise RuntimeError(f"NaN from a hook of {describe(x)}. What it was given had none.")
        except Exception as error:
            error.add_note(f"in a hook of {describe(x)}")
            raise
        g = new if isinstance(g, Tensor) else new._array
    return g
