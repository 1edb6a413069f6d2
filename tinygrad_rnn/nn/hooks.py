"""Hooks of modules: what is called before one is called, and after."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref

from ..hooks import Handle, Hooks
from ..tensor import Tensor

Run = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]


def register(who: str, module: Any, hook: Any, first: bool) -> Handle:
    """One more hook, which is run first or last.

    A module that has some is of a class that runs them. All others are what they were, and are
    called as fast as if there were no hooks.
    """
    kind, hooks = type(module), hooks_of(module) or Hooks()
    if not callable(module):
        raise TypeError(f"{who}: {kind.__name__} has no __call__ for a hook to run before or after")
    handle = hooks.add(who, hook, partial(_unhooked, ref(module), hooks))
    hooks.functions[handle.number] = first, hook
    if hooks_of(module) is None:
        vars(module)["_hooks"] = hooks
        object.__setattr__(module, "__class__", _hooked(kind))
    return handle


def hooks_of(module: Any) -> Hooks | None:
    """Those of a module, if it has some."""
    return vars(module).get("_hooks")


def _hooked(kind: Any) -> type:
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
    inputs = through_hooks(module, True, inputs)
    return through_hooks(module, False, kind.__call__(module, *inputs, **words), inputs)


def through_hooks(module: Any, first: bool, value: Any, *inputs: Any) -> Any:
    """What hooks make of the inputs of a module, those that run first; or last, of its output."""
    who = type(module).__name__
    for when, hook in hooks_of(module) or ():
        if when is first:
            try:
                new = hook(module, *inputs, value)
                if new is not None:
                    new = new if isinstance(new, tuple) or not first else (new,)
                    _check(who, value, new)
                    value = new
            except Exception as error:
                error.add_note(f"in a hook of {who}")
                raise
    return value


def _check(who: str, old: Any, new: Any) -> None:
    """Refuse what cannot stand for what it replaces; beside tensors the module itself looks."""
    if isinstance(old, tuple | list | dict):
        if type(new) is type(old) and len(new) == len(old):
            keys = old if isinstance(old, dict) else range(len(old))
            for key in keys:
                _check(who, old[key], new[key])
            return
    elif not isinstance(old, Tensor) or _words(new) == _words(old):
        return
    raise (ValueError if isinstance(new, Tensor) else TypeError)(
        f"a hook of {who} returned {_words(new)}, expected {_words(old)} like what it was given, "
        "or None to leave it as it is."
    )


def _words(x: Any) -> str:
    if isinstance(x, Tensor):
        return f"a tensor of shape {x.shape} and dtype {x.dtype}"
    return type(x).__name__ + (f" of {len(x)}" if isinstance(x, tuple | list | dict) else "")
