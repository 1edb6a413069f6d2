"""A module is an object whose tensors can be named, counted, saved and put back."""

from __future__ import annotations

import inspect
from collections import UserList, deque
from collections.abc import Callable, Iterator, Mapping, Set, ValuesView
from functools import lru_cache
from itertools import starmap
from math import isfinite
from reprlib import recursive_repr
from reprlib import repr as short
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ..hooks import Handle
from ..lengths import plain
from ..limits import lost, ragged, whole
from ..refusals import refuse_made
from ..tensor import Operand, Tensor, foreign, replace, wholly
from .activations import name_of
from .hooks import GRADIENTS, INPUTS, OUTPUTS, called, register


class StateDict(dict[str, np.ndarray]):
    """Arrays by path, as any dict of them, and in `conventions` how each module inside reads its
    own: {path: {"order": "figo", ...}}. What is made of one by hand, also by `dict(state)`, has the
    arrays alone. `tg.io.save` and `load` keep both.

    >>> state = tg.nn.LSTM(3, 4, rng=0).state_dict()
    >>> sorted(state)
    ['Wh', 'Wx', 'b']
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray] = MappingProxyType({}),
        conventions: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ):
        super().__init__(arrays)
        self.conventions = dict(conventions)

    def copy(self) -> StateDict:
        """Another dict of the same arrays, which knows the same.

        >>> tg.nn.GRU(3, 4, rng=0).state_dict().copy().conventions[""]["reset"]
        'before'
        """
        return StateDict(self, self.conventions)

    def update(self, *others: Any, **arrays: Any) -> None:
        """Take the arrays of another dict, and what it knows of them.

        >>> state = tg.nn.GRU(3, 4).state_dict()
        >>> state.update(tg.nn.GRU(3, 4, convention="keras").state_dict())
        >>> state.conventions[""]["reset"]
        'after'
        """
        super().update(*others, **arrays)
        for other in others:
            for path, known in getattr(other, "conventions", {}).items():
                if any(name.startswith(path and f"{path}.") for name in other):
                    self.conventions[path] = known

    def __ior__(self, other: Any) -> Self:  # type: ignore[override]
        self.update(other)
        return self

    def __or__(self, other: Any) -> StateDict:  # type: ignore[override]
        state = self.copy()
        state.update(other)
        return state

    def __ror__(self, other: Any) -> StateDict:  # type: ignore[override]
        return StateDict(other) | self


class Module:
    """Plain attributes hold the parts: tensors that require gradients are its parameters.

    Modules nest through attributes, lists, tuples and dicts. Order is the order of assignment.
    A subclass defines `__call__`. `training` is switched by `train()` and `eval()`.

    >>> class Head(tg.nn.Module):
    ...     def __init__(self):
    ...         self.linear = tg.nn.Linear(4, 2, rng=0)
    ...
    ...     def __call__(self, h):
    ...         return tg.softmax(self.linear(h))
    >>> head = Head()
    >>> [(name, x.shape) for name, x in head.named_parameters()]
    [('linear.W', (4, 2)), ('linear.b', (2,))]
    >>> head.modules()[1:], len(head.parameters())
    ([Linear(W=4×2, b=2)], 2)
    >>> head.load_state_dict(head.state_dict())  # what was missing, and what was too much
    ([], [])
    >>> head(np.ones((3, 4), np.float32)).sum().backward()
    >>> head.zero_grad()
    >>> head.linear.W.grad is None
    True
    >>> head.eval().training, head.train().training
    (False, True)
    """

    training: bool = True
    draws: bool = False  # whether it asks for what `nn.each_step` draws, when used in a step
    # Attributes that change what the weights mean, or the function, and not the shapes.
    _conventions: ClassVar[tuple[str, ...]] = ()
    _frozen: tuple[str, ...] = ()  # the paths of its own parameters that `freeze` stopped
    _runs_hooks: ClassVar[dict[str, Any]] = {"__call__": called}  # which methods, and how

    def __new__(cls, *given: Any, **words: Any) -> Self:
        refuse_made(cls, given, words)
        if (given or words) and cls.__init__ is object.__init__:
            raise TypeError(f"{cls.__name__}: takes no arguments: write its __init__")
        if hasattr(cls, "forward") and not any("__call__" in vars(kind) for kind in cls.__mro__):
            raise TypeError(
                f"{cls.__name__}: a Module is called by its __call__: rename its method forward"
            )
        return super().__new__(cls)

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            if hasattr(type(self), name):  # a property that could not be read says why itself
                return object.__getattribute__(self, name)
            hint = foreign("module", name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")

    def __setattr__(self, name: str, value: Any) -> None:
        if type(value) not in _PLAIN or hasattr(type(self), name):
            self._check_place(name, value)
        old = vars(self).get(name)
        parameter = isinstance(value, Tensor) and value.op is None and value.requires_grad
        if isinstance(old, Tensor) and old.requires_grad and not parameter and value is not None:
            raise TypeError(
                f"{type(self).__name__}.{name} is a parameter. Give it new values by "
                f"module.{name}.data = ..., or a new tensor with requires_grad=True, or None."
            )
        if parameter and value.name is None:
            value.name = name  # as equations and pictures are to call it
        _tell_apart(value, name)
        super().__setattr__(name, value)

    def _check_place(self, name: str, value: Any) -> None:
        """Refuse parts where they would hide what the library means, or would not be found."""
        who = f"{type(self).__name__}.{name} = {type(value).__name__}"
        kind: Any = type(self)
        held, (owner, is_method) = list(_held(value)), _meaning(kind, name)
        if owner and (held or (is_method and not callable(value))):
            raise TypeError(
                f"{who}: {owner} means something else by {name}. Give the attribute another name."
            )
        if not all(found for _, found in held):
            raise TypeError(
                f"{who}: modules and parameters in it would not be found, nor trained or saved. "
                "Keep them in a list, a tuple, or the values of a dict."
            )

    @recursive_repr()
    def __repr__(self) -> str:
        parts = [f"{k}={_shown(v)}" for k, v in vars(self).items() if _shown(v)]
        return f"{type(self).__name__}({', '.join(parts)})"

    def named_parameters(self) -> list[tuple[str, Tensor]]:
        """Every parameter after its path, such as "cells.0.Wx"; a shared one once, by its first."""
        return [(path, x) for path, x in self._leaves().items() if x.requires_grad]

    def _leaves(self) -> dict[str, Tensor]:
        """The parameters, and the tensors that are kept but not (or no longer) trained."""
        found, seen = dict[str, Tensor](), set[Tensor]()
        for path, x in _walk(self, ""):
            if isinstance(x, Tensor) and x.op is None and x not in seen:
                seen.add(x)
                if path in found:
                    raise ValueError(f"two parameters have the path {path!r}: rename an attribute")
                found[path] = x
        return found

    def parameters(self) -> list[Tensor]:
        """The tensors that training changes, in order."""
        found: dict[Tensor, None] = {}
        if not _gather(self, found, set()):
            return [x for _, x in self.named_parameters()]
        return [x for x in found if x.tracked]

    def modules(self) -> list[Module]:
        """This module and all inside it."""
        return [x for _, x in _walk(self, "") if isinstance(x, Module)]

    def train(self, on: bool = True) -> Self:
        """Switch what differs in training (dropout) on, here and in every module inside."""
        for module in self.modules():
            module.training = on
        return self

    def eval(self) -> Self:
        """Switch to use: no dropout, here and in every module inside."""
        return self.train(False)

    def freeze(self, on: bool = True) -> Self:
        """Train no parameter inside any more; `freeze(False)` trains those again that were frozen.

        A frozen one gets no gradient, an optimiser leaves it alone, and `state_dict` keeps it. What
        an optimiser is to train later must not be frozen while the optimiser is made.

        >>> model = tg.nn.LanguageModel(5, embedding=3, hidden=4, rng=0)
        >>> model.embedding.freeze()
        Embedding(table=5×3)
        >>> [name for name, _ in model.named_parameters()][:2]
        ['recurrent.cells.0.Wh', 'recurrent.cells.0.Wx']
        """
        turned: list[Tensor] = []
        for module, own in [(module, _own(module)) for module in self.modules()]:
            paths = [p for p, x in own.items() if x.requires_grad] if on else module._frozen
            module._frozen = (*module._frozen, *paths) if on else ()
            turned += [own[path] for path in paths if path in own]
        for x in turned:  # when all are found: one may be of several modules
            x.requires_grad, x.grad = not on, None  # with which an optimiser would go on
        return self

    def register_forward_pre_hook(self, hook: Callable[[Any, tuple[Any, ...]], Any]) -> Handle:
        """Call `hook(module, inputs)` before each call of this module, with what it is called with.

        inputs: a tuple of what was given by position. A tuple that the hook returns, or one value,
        takes their place; None leaves them. See `register_forward_hook`.

        >>> layer = tg.nn.Linear(2, 1, rng=0)
        >>> handle = layer.register_forward_pre_hook(lambda module, inputs: 0.0 * inputs[0])
        >>> layer(tg.tensor([3.0, 4.0], dtype="float32")).item()
        0.0
        """
        return register("register_forward_pre_hook", self, hook, INPUTS)

    def register_forward_hook(self, hook: Callable[[Any, tuple[Any, ...], Any], Any]) -> Handle:
        """Call `hook(module, inputs, output)` after each call of this module; returns a `Handle`.

        What the hook returns takes the place of the output: tensors of the same shapes and dtypes,
        in tuples of the same size. None leaves it. Hooks run in the order in which they were
        registered; one that raises ends the call. Where a module is called in a step of a compiled
        loop, its hooks are part of the step, which is run once, without numbers.

        A cell, or a `Bidirectional`, has its hooks run where it is folded over a sequence, also by
        a `Recurrent` around it: the inputs are xs (T, B, inputs) and its state, a tuple of (B,
        size); the output all of its ys (T, B, outputs) and the last state. Raises ValueError where
        another cell takes single steps of it, which no hook can see. Copies have no hooks.

        >>> shapes = []
        >>> layer = tg.nn.Recurrent(tg.nn.GRU(3, 4, rng=0), tg.nn.GRU(4, 2, rng=1))
        >>> for cell in layer.cells:
        ...     handle = cell.register_forward_hook(lambda c, xs, out: shapes.append(out[0].shape))
        >>> ys, state = layer(np.ones((5, 1, 3), np.float32))
        >>> shapes
        [(5, 1, 4), (5, 1, 2)]
        """
        return register("register_forward_hook", self, hook, OUTPUTS)

    def register_full_backward_hook(self, hook: Callable[[Any, Any, Any], Any]) -> Handle:
        """Call `hook(module, grad_inputs, grad_outputs)` when a backward pass has come by a call.

        Both are tuples of tensors, like the inputs and the outputs: None for what has no gradient,
        zeros for what the pass did not reach. A tuple that the hook returns, or one value, takes
        the place of grad_inputs; None leaves them. Inputs by name are not seen. Where no input has
        a gradient, the hook is called when those of the outputs are there; where one has, in a pass
        that leads to it. See `register_forward_hook` for the rest.

        Raises Untraceable where the module is called in a step of a compiled loop, and TypeError
        for a `Bidirectional`, whose directions have hooks of their own.

        >>> layer = tg.nn.Linear(2, 1, rng=0)
        >>> handle = layer.register_full_backward_hook(lambda m, gx, gy: abs(gx[0]) * 0.0)
        >>> x = tg.tensor([[3.0, 4.0]], dtype="float32", requires_grad=True)
        >>> layer(x).sum().backward()
        >>> x.grad.numpy(), layer.b.grad.numpy()
        (array([[0., 0.]], dtype=float32), array([1.], dtype=float32))
        """
        return register("register_full_backward_hook", self, hook, GRADIENTS)

    def zero_grad(self) -> None:
        """Forget the gradients; `backward()` adds to them otherwise."""
        for x in self._leaves().values():  # those that were switched off meanwhile, too
            x.grad = None

    def state_dict(self) -> StateDict:
        """Copies of the arrays of parameters and other leaf tensors, frozen ones too, by path.

        It is a snapshot, and knows the conventions in which it is written: see `StateDict`.
        """
        arrays = {path: np.array(x.data, order="C") for path, x in self._leaves().items()}
        return StateDict(arrays, self._told())

    def _told(self) -> dict[str, dict[str, Any]]:
        """The conventions of each module inside that has some, by path, as JSON has them."""
        return {
            path: {name: _plain(getattr(module, name, None)) for name in module._conventions}
            for path, module in _walk(self, "")
            if isinstance(module, Module) and module._conventions
        }

    def load_state_dict(
        self, state: Mapping[str, np.ndarray], *, strict: bool = True
    ) -> tuple[list[str], list[str]]:
        """Put saved arrays back, all or (on a ValueError that lists every misfit) none.

        Shapes must agree, and with `strict` the paths too; values are cast to the parameter's
        dtype. Returns the paths that `state` lacked and those that the module does not have. A
        state that knows its conventions has to be in those of the module, where both tell them:
        the order of gates, reset and update, activations, clip, merge, reverse, ways around.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"{type(self).__name__}.load_state_dict: state: expected arrays by name, got "
                f"{type(state).__name__}. tg.io.load(path) returns arrays and metadata: pass the "
                "first."
            )
        _check_conventions(type(self).__name__, self._told(), getattr(state, "conventions", {}))
        parameters = self._leaves()
        wrong = misfits(parameters, state, strict)
        if wrong:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: nothing was loaded: {'; '.join(wrong)}. "
                "Build the module with the sizes it was saved with."
            )
        found = [(x, state[path]) for path, x in parameters.items() if path in state]
        new = [(x, np.array(array, dtype=x.dtype)) for x, array in found]
        wholly(lambda: deque(starmap(replace, new), 0))
        return [p for p in parameters if p not in state], [p for p in state if p not in parameters]


def misfits(
    expected: Mapping[str, Any], given: Mapping[str, Any], strict: bool = True, kind: str = ""
) -> list[str]:
    """What is missing, unexpected, or of another shape or kind of number, in words."""
    wrong = [f"missing {name!r}" for name in expected if strict and name not in given]
    wrong += [f"unexpected {name!r}" for name in given if strict and name not in expected]
    for name, like in expected.items():
        try:
            array = np.asanyarray(given[name]) if name in given else like
        except ValueError as error:
            wrong.append(f"{name!r}: {ragged(error)}")
            continue
        if array.shape != like.shape or array.dtype.kind != like.dtype.kind:
            wanted = f"{kind or like.dtype}{list(like.shape)}"
            wrong.append(f"{name!r} is {array.dtype}{list(array.shape)}, expected {wanted}")
        elif isinstance(array, np.ma.MaskedArray):
            wrong.append(f"{name!r} is a masked array, whose mask would be lost: fill it")
        elif (bad := lost(array, like.dtype)).size:
            wrong.append(f"{name!r} has {bad.flat[0]}, which {like.dtype} does not hold")
    return wrong


def _check_conventions(who: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse a state of the same shapes that means something else."""
    wrong = []
    for path in own.keys() & given.keys():
        here, there = own[path], given[path]
        both = [name for name in here if name in there]
        if any(here[name] != there[name] for name in both if name != "convention"):
            unlike = [name for name in both if here[name] != there[name]]
            told = [", ".join(f"{k}={short(of[k])}" for k in unlike) for of in (there, here)]
            wrong.append(f"{path or who!r} was saved with {told[0]}, and is made with {told[1]}")
    if wrong:
        raise ValueError(
            f"{who}.load_state_dict: nothing was loaded: {'; '.join(sorted(wrong))}. Make it as it "
            "was, load, and nn.convert(module, to=...) it into another convention; "
            "load_state_dict(dict(state)) takes the numbers as they are."
        )


def _plain(value: Any) -> Any:
    """A setting as JSON would give it back; functions by their names here, if they have one."""
    if callable(value):
        return name_of(value) or "a function of its own"
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return [_plain(x) for x in value] if isinstance(value, list | tuple) else value


_PLAIN = (bool, int, float, str, type(None))


@lru_cache(1024)
def _meaning(kind: type, name: str) -> tuple[str, bool]:
    """The class of the library that declares an attribute, if any, and whether it is a method."""
    for owner in kind.__mro__:
        declared = name in vars(owner) or name in inspect.get_annotations(owner)
        if declared and owner.__module__.startswith(f"{__package__}."):
            return owner.__name__, inspect.isroutine(vars(owner).get(name))
    return "", False


def _held(x: Any, found: bool = True, depth: int = 8) -> Iterator[tuple[Any, bool]]:
    """The modules and parameters in an attribute, and whether `_walk` finds each of them there."""
    if isinstance(x, Module) or (isinstance(x, Tensor) and x.op is None and x.requires_grad):
        yield x, found
    elif depth and isinstance(x, Mapping):
        for key, part in x.items():
            yield from _held(key, False, depth - 1)
            yield from _held(part, found and isinstance(x, dict), depth - 1)
    elif depth and (isinstance(x, _HOLDS) or (isinstance(x, np.ndarray) and x.dtype.kind == "O")):
        for part in x:
            yield from _held(part, found and isinstance(x, list | tuple), depth - 1)


_HOLDS = (list, tuple, Set, ValuesView, deque, UserList)


def _tell_apart(part: Any, name: str) -> None:
    """Name the weights of a layer after it, so that pictures tell two layers' W apart."""
    for x in vars(part).values() if isinstance(part, Module) else ():
        if isinstance(x, Tensor) and x.name and "." not in x.name:
            x.name = f"{name}.{x.name}"


def _shown(x: Any) -> str:
    """A part of a module in its repr: sizes of tensors, modules within, nothing else."""
    if isinstance(x, Tensor):
        return "×".join(map(str, x.shape)) or "1"
    if isinstance(x, Module):
        return repr(x)
    if isinstance(x, dict):
        named = [f"{name}={_shown(part)}" for name, part in x.items() if _shown(part)]
        return f"{{{', '.join(named)}}}" if named else ""
    inside = [_shown(part) for part in x] if isinstance(x, list | tuple) else []
    return f"[{', '.join(inside)}]" if any(inside) else ""


def _walk(x: Any, path: str, seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Everything within a module by its first path; each part is entered once."""
    seen = set() if seen is None else seen
    if isinstance(x, Tensor):
        yield path, x
    elif isinstance(x, Module | list | tuple | dict) and id(x) not in seen:
        seen.add(id(x))
        yield path, x
        parts: Any = enumerate(x) if isinstance(x, list | tuple) else None
        for name, part in parts or (x if isinstance(x, dict) else vars(x)).items():
            yield from _walk(part, f"{path}.{name}" if path else str(name), seen)


def _gather(x: Any, found: dict[Tensor, None], seen: set[int]) -> bool:
    """Find the leaf tensors within a module, in the order of `_walk` but without their paths.

    Returns whether these are apart for sure: keys of a dict that are no words may be alike.
    """
    seen.add(id(x))
    apart, parts = True, x
    if not isinstance(x, list | tuple):
        held = x if isinstance(x, dict) else vars(x)
        apart, parts = held is not x or all([str(key).isidentifier() for key in x]), held.values()
    for part in parts:
        if type(part) is Tensor:
            if part.op is None:
                found[part] = None
        elif type(part) in _PLAIN or id(part) in seen:
            continue
        elif isinstance(part, Module | list | tuple | dict):
            apart = _gather(part, found, seen) and apart
    return apart


def _own(module: Module) -> dict[str, Tensor]:
    """The leaves of a module that are in no module within."""
    parts = [part._leaves() for part in module.modules() if part is not module]
    within = {x for leaves in parts for x in leaves.values()}
    return {path: x for path, x in module._leaves().items() if x not in within}


def count_parameters(module: Module) -> int:
    """How many numbers training changes; a shared tensor counts once.

    >>> tg.nn.count_parameters(tg.nn.Linear(3, 2))
    8
    """
    return sum(x.size for x in module.parameters())


def parameter(array: np.ndarray, name: str, dtype: Any = None) -> Tensor:
    """A leaf that training changes, named for pictures and messages."""
    return Tensor(array, requires_grad=True, dtype=dtype, name=name)


def as_floats(who: str, word: str, x: Operand, dtype: Any, features: int | None = None) -> Tensor:
    """An input of a layer as a tensor: arrays, lists and numbers in the dtype of its weights.

    A tensor keeps its own, and is refused if that is another; so are other than so many features.
    """
    if not isinstance(x, Tensor):
        x = Tensor(plain(who, word, x), dtype=dtype)
    if features is not None and x.shape[-1:] != (features,):
        wanted = f"{features} features on the last axis"
        raise ValueError(f"{who}: {word}: expected {wanted}, got shape {x.shape}")
    if x.dtype != dtype:
        wanted = np.dtype(dtype)
        maker = "the cell" if who == "Recurrent" else who  # a layer has the dtype of its cells
        hint = f"Use {word}.astype(np.{wanted}), or {maker} with dtype=np.{x.dtype}."
        if x.dtype.kind != "f":
            hint = f"Indices go through nn.Embedding; numbers through {word}.astype(np.{wanted})."
        raise TypeError(
            f"{who}: {word}: expected floats, {wanted} like the weights, got {x.dtype}. {hint}"
        )
    return x


def floating(who: str, dtype: Any) -> np.dtype:
    """The dtype of a layer's weights: float32 or float64."""
    try:
        if (wanted := np.dtype(dtype)).char in "fd":
            return np.dtype(wanted.type)
    except TypeError:
        wanted = dtype
    raise TypeError(f"{who}: dtype: expected float32 or float64, got {wanted}")


def positive(who: str, **sizes: Any) -> None:
    """Refuse sizes that are not whole numbers of at least 1."""
    for name, size in sizes.items():
        whole(who, name, size, 1)
