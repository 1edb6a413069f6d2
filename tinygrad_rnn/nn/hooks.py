"""Hooks of modules: what is called before one is called, after, and when gradients come by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from weakref import ref

import numpy as np

from ..hooks import Handle, Hooks
from ..op import Op, Parts, pick
from ..tensor import Tensor, Untraceable, _births, mode, owned

Run = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]
INPUTS, OUTPUTS, GRADIENTS = "inputs", "outputs", "gradients"  # what a hook may replace


def register(who: str, module: Any, hook: Any, of: str) -> Handle:
    """One more hook, of the inputs, of the outputs, or of the gradients of the inputs.

    A module that has some is of a class that runs them. All others are what they were, and are
    called as fast as if there were no hooks.
    """
    kind, hooks = type(module), hooks_of(module) or Hooks()
    if not callable(module):
        raise TypeError(f"{who}: {kind.__name__} has no __call__ for a hook to run before or after")
    handle = hooks.add(who, hook, partial(_unhooked, ref(module), hooks))
    hooks.functions[handle.number] = of, hook
    if hooks_of(module) is None:
        vars(module)["_hooks"] = hooks
        object.__setattr__(module, "__class__", _hooked_class(kind))
    return handle


def hooks_of(module: Any) -> Hooks | None:
    """Those of a module, if it has some."""
    return vars(module).get("_hooks")


def _hooked_class(kind: Any) -> type:
    """A class like another, but for what runs hooks."""

    def method(run: Run) -> Any:
        return lambda module, *inputs, **words: run(kind, module, inputs, words)

    told = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    runs = {**kind._runs_hooks, "__reduce_ex__": _reduced}
    return type(kind.__name__, (kind,), told | {name: method(run) for name, run in runs.items()})


def _unhooked(module: Callable[[], Any], hooks: Hooks) -> None:
    """Make a module what it was, when the last hook is gone."""
    was = module()
    if was is not None and hooks_of(was) is hooks:
        del vars(was)["_hooks"]
        object.__setattr__(was, "__class__", type(was).__base__)


def _reduced(kind: Any, module: Any, inputs: tuple[Any, ...], words: Any) -> Any:
    """What a copy is made of: all but the hooks."""
    twin = object.__new__(kind)
    vars(twin).update({name: x for name, x in vars(module).items() if name != "_hooks"})
    how, given, *rest = twin.__reduce_ex__(*inputs)
    return _made, (how, *given), *rest


def _made(how: Callable[..., Any], *given: Any) -> Any:
    """What pickle would refuse to write down itself, as it is of another class."""
    return how(*given)


def called(kind: Any, module: Any, inputs: tuple[Any, ...], words: dict[str, Any]) -> Any:
    """What a call returns, with the hooks around it."""
    inputs, leave = watched(module, through_hooks(module, INPUTS, inputs))
    outputs = kind.__call__(module, *inputs, **words)
    return leave(through_hooks(module, OUTPUTS, outputs, inputs))


def through_hooks(module: Any, of: str, value: Any, *inputs: Any) -> Any:
    """What hooks make of the inputs of a module, or of its outputs."""
    for kind, hook in hooks_of(module) or ():
        if kind is of:
            value = _ran(module, of, hook, value, *inputs, value)
    return value


def _ran(module: Any, of: str, hook: Any, value: Any, *given: Any) -> Any:
    """What a hook that is given all this makes of a value."""
    who = type(module).__name__
    try:
        new = hook(module, *given)
        if new is None:
            return value
        new = new if isinstance(new, tuple) or of is OUTPUTS else (new,)
        _check(who, value, new)
    except Exception as error:
        error.add_note(f"in a hook of {who}")
        raise
    return new


def _check(who: str, old: Any, new: Any) -> None:
    """Refuse what cannot stand for what it replaces; beside tensors the module itself looks."""
    if isinstance(old, tuple | list | dict):
        if type(new) is type(old) and len(new) == len(old):
            keys = old if isinstance(old, dict) else range(len(old))
            for key in keys:
                _check(who, old[key], new[key])
            return
    elif isinstance(old, np.ndarray):  # which the module itself makes a tensor of
        if isinstance(new, Tensor | np.ndarray) and new.shape == old.shape:
            return
    elif not isinstance(old, Tensor) or _words(new) == _words(old):
        return
    raise (ValueError if isinstance(new, Tensor | np.ndarray) else TypeError)(
        f"a hook of {who} returned {_words(new)}, expected {_words(old)} like what it was given, "
        "or None to leave it as it is."
    )


def _words(x: Any) -> str:
    if isinstance(x, Tensor | np.ndarray):
        kind = "a tensor" if isinstance(x, Tensor) else "an array"
        return f"{kind} of shape {x.shape} and dtype {x.dtype}"
    return type(x).__name__ + (f" of {len(x)}" if isinstance(x, tuple | list | dict) else "")


# -- of gradients ----------------------------------------------------------------------------------


class Hooked(Op):
    """What tensors go through side by side, so that their gradients come by at one time.

    `back` in its attributes takes the gradients of its parts to those of its inputs.
    """

    def __init__(self) -> None:
        super().__init__(_hooked, [_hooked], variadic=True)

    def pull(self, g: Any, y: Tensor, wanted: set[Tensor] | None = None) -> list[Any]:
        leads = wanted is None or y.inputs[-1] in wanted
        found: list[Any] = y.attrs["back"](g.filled(y._array), leads)
        return found

    def push(self, y: Tensor, found: dict[Tensor, Any]) -> Any:
        """The tangents, as they are."""
        return Parts({i: found[x] for i, x in enumerate(y.inputs) if x in found})

    def passed(self, xs: Sequence[Tensor], back: Any) -> list[Tensor]:
        """The same tensors, as parts of one node."""
        whole = self._remember(tuple([x._array for x in xs]), tuple(xs), {"back": back})
        return [pick._remember(x._array, (whole,), {"i": i}) for i, x in enumerate(xs)]


def _hooked(*inputs: Any, back: Any) -> Any:
    """The same tensors, so that hooks of a module are told of their gradients."""
    raise TypeError("what a hook does is not a function of the arrays alone")


hooked = Hooked()


def has_hooks(x: Tensor) -> bool:
    """Whether a hook is called when the gradient of a tensor comes by."""
    return x.op is hooked or (x._hooks is not None and bool(x._hooks.functions))


def watched(module: Any, inputs: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Inputs, and what the outputs have to go through, so that hooks are told of gradients."""
    hooks = hooks_of(module)
    known = [n for n, (of, _) in hooks.functions.items() if of is GRADIENTS] if hooks else []
    if hooks is None or not known or not mode.recording:
        return inputs, lambda outputs: outputs
    if mode.trace is not None:
        raise Untraceable(
            f"register_full_backward_hook: {type(module).__name__} is called in a step of a "
            "compiled loop, or by vmap, where no gradient of one call comes by. Register the hook "
            "on the cell or the layer around, or run its steps one by one with unroll=True."
        )
    places, xs = _numbered(inputs)
    call = Watched(module, hooks.functions, known, places, bool(xs))
    inside = hooked.passed([*xs, owned(np.zeros(()))], call.enter) if xs else []
    return _put(inputs, inside), partial(call.left, inside[-1:])


class Watched:
    """One call of a module, and what its hooks, those of `known` numbers, are told of it.

    At the node of the outputs all of their gradients have come. They wait for the pass to be at
    that of the inputs: the number of the visit goes there as the gradient of one more tensor.
    """

    def __init__(self, module: Any, functions: dict[int, Any], known: Any, places: Any, led: bool):
        self.module, self.functions, self.known = module, functions, known
        self.places, self.ends, self.led = places, (), led  # whether any input has a gradient
        self.waiting: tuple[int, Sequence[Any]] = 0, ()

    def left(self, visit: Sequence[Tensor], outputs: Any) -> Any:
        """The outputs, as parts of a node."""
        ends, ys = _numbered(outputs)
        self.ends = ends if isinstance(ends, tuple) else (ends,)
        return _put(outputs, hooked.passed([*ys, *visit], self.leave)) if ys else outputs

    def leave(self, gy: Sequence[Any], leads: bool) -> Sequence[Any]:
        """A backward pass is at the outputs, and perhaps leads to the inputs."""
        if not self.led:
            self.told([], gy)
        if not self.led or not leads:
            return gy
        self.waiting = next(_births), gy
        return [*gy[:-1], np.array(float(self.waiting[0]))]

    def enter(self, gx: Sequence[Any], leads: bool) -> Sequence[Any]:
        """A backward pass is at the inputs, perhaps by another way than the outputs."""
        (visit, gy), self.waiting = self.waiting, (0, ())
        came = visit and gx[-1].item() == visit
        return [*self.told(gx[:-1], gy), None] if came else gx

    def told(self, gx: Sequence[Any], gy: Sequence[Any]) -> list[Any]:
        """The gradients of the inputs, as the hooks leave them."""
        given, beside = _at(self.places, gx), _at(self.ends, gy)
        for number in self.known:
            if number in self.functions:
                hook = self.functions[number][1]
                given = _ran(self.module, GRADIENTS, hook, given, given, beside)
        new = dict(_gradients(type(self.module).__name__, self.places, given))
        return [new[i] if mode.recording else new[i]._array for i in range(len(new))]


def _swapped(value: Any, swap: Callable[[Any], Any]) -> Any:
    """The same containers, with other things inside."""
    if isinstance(value, dict):
        return {name: _swapped(part, swap) for name, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [_swapped(part, swap) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return swap(value)


def _numbered(value: Any) -> tuple[Any, list[Tensor]]:
    """The tensors inside that have gradients, and the number of each at its place, else None."""
    found = list[Tensor]()

    def number(x: Any) -> int | None:
        if not (isinstance(x, Tensor) and x.tracked):
            return None
        found.append(x)
        return len(found) - 1

    return _swapped(value, number), found


def _put(value: Any, parts: Sequence[Tensor]) -> Any:
    """Other tensors in the place of those that have gradients."""
    left = iter(parts)
    return _swapped(value, lambda x: next(left) if isinstance(x, Tensor) and x.tracked else x)


def _at(places: Any, gs: Sequence[Any]) -> Any:
    """Gradients at the places of their numbers."""
    given = [g if isinstance(g, Tensor) else owned(g) for g in gs]
    return _swapped(places, lambda i: None if i is None else given[i])


def _gradients(who: str, places: Any, given: Any) -> Iterator[tuple[int, Any]]:
    """The gradients at these places by their numbers; refused where there is none to replace."""
    if isinstance(places, dict | tuple | list):
        for key in places if isinstance(places, dict) else range(len(places)):
            yield from _gradients(who, places[key], given[key])
    elif places is not None:
        yield places, given
    elif given is not None:
        raise TypeError(
            f"a hook of {who} returned {_words(given)} for an input that has no gradient, "
            "expected None in its place."
        )
