"""Rules that turn a gradient into a change of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from reprlib import repr as short
from typing import Any, Self, TypeAlias

import numpy as np

from .. import kernels
from ..kernels.spare import spare
from ..limits import number
from ..quiet import quiet
from ..refusals import refuse_made
from ..tensor import Tensor, describe, replace, wholly

Parameters: TypeAlias = "Mapping[str, Tensor] | Iterable[Tensor] | Any"
Memory: TypeAlias = "dict[str, np.ndarray]"


class Setting:
    """A number of an optimiser's, in its range whenever it is set; NaN is in no range."""

    def __init__(self, limits: str = "[0, inf)"):
        self.limits = limits

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return self if owner is None else vars(owner)[self.name]

    def __set__(self, owner: Any, value: Any) -> None:
        vars(owner)[self.name] = self.checked(owner, value)

    def checked(self, owner: Any, value: Any) -> float:
        return number(type(owner).__name__, self.name, value, self.limits)


class Settings(Setting):
    """Two such numbers."""

    def checked(self, owner: Any, value: Any) -> Any:
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise ValueError(
                f"{type(owner).__name__}: {self.name}: expected two numbers, got {value!r}"
            )
        return tuple(super(Settings, self).checked(owner, one) for one in value)


class Optimizer:
    """Holds parameters by name, and what a rule remembers of each between steps.

    `parameters` is a module, a mapping of names to tensors, or tensors (read once; named by their
    place and their own name). A parameter without a gradient is left alone, its memory too.
    `step()` computes every new value before it changes the first, and leaves the arrays that others
    may hold untouched.

    Raises ValueError for no parameters, one given twice, or a number out of range; TypeError for
    what is not a leaf that requires gradients.

    >>> class Signs(tg.optim.Optimizer):
    ...     def update(self, x, g, memory):
    ...         return x - self.lr * np.sign(g), memory
    >>> W = tg.tensor([1.0, -1.0], requires_grad=True)
    >>> optimizer = Signs([W], lr=0.1)
    >>> (W * W).sum().backward()
    >>> optimizer.step()
    >>> W.data.tolist()
    [0.9, -0.9]
    >>> optimizer.zero_grad()
    >>> W.grad is None
    True
    >>> Signs([W], lr=0.0).load_state_dict(optimizer.state_dict())
    """

    lr = Setting()
    remembers: tuple[str, ...] = ()  # what `memory` holds of a parameter after its first step

    def __new__(cls, *_: Any, **words: Any) -> Self:
        refuse_made(cls, (), words)
        return super().__new__(cls)

    def __init__(self, parameters: Parameters, lr: float):
        self.parameters = _named(parameters, type(self).__name__)
        self.lr, self.steps = lr, 0
        self.memory: dict[str, Memory] = {name: {} for name in self.parameters}

    def update(self, x: np.ndarray, g: np.ndarray, memory: Memory) -> tuple[np.ndarray, Memory]:
        """The new values of a parameter and the new memory of it; the old ones stay as they are."""
        raise NotImplementedError(f"{type(self).__name__} has no update(x, g, memory)")

    def __repr__(self) -> str:
        kind, count = type(self).__name__, len(self.parameters)
        return f"{kind}(lr={self.lr:g}, {count} parameters, {self.steps} steps done)"

    def step(self) -> None:
        """Change every parameter that has a gradient, or on an error or Ctrl-C perhaps none."""
        new, steps = self._every_update(), self.steps + 1

        def change() -> None:
            for name, (array, memory) in new.items():
                replace(self.parameters[name], array)
                self.memory[name] = memory
            self.steps = steps

        wholly(change)

    @quiet
    def _every_update(self) -> dict[str, tuple[np.ndarray, Memory]]:
        leaves = self.parameters.items()
        return {name: self._updated(name, x, x.grad) for name, x in leaves if x.grad is not None}

    def _ruled(
        self, rule: str, settings: tuple[float, ...], x: np.ndarray, *rest: np.ndarray
    ) -> list[np.ndarray]:
        """One pass of a kernel over weights, gradient and memory: new weights and memory."""
        new = [spare(x.shape, x.dtype) for _ in rest]  # in place of the gradient, the new weights
        kernels.update(rule, settings, [x, *rest], new)
        return new

    def _updated(self, name: str, x: Tensor, g: Tensor) -> tuple[np.ndarray, Memory]:
        array, memory = self.update(x.data, g.data, self.memory[name])
        array = np.asarray(array, x.dtype)
        if array.shape != x.shape:
            raise ValueError(
                f"{type(self).__name__}.update: expected the new values of {name!r} in shape "
                f"{x.shape}, got {array.shape}"
            )
        memory = {kind: np.asarray(part) for kind, part in memory.items()}
        return (array if self.lr else x.data), memory  # 0 · ∞ is not 0, and -0 - 0 is not -0

    def zero_grad(self) -> None:
        """Forget the gradients; `backward()` adds to them otherwise."""
        for x in self.parameters.values():
            x.grad = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """What it remembers, as arrays by name, with the number of steps and the learning rate."""
        arrays = {
            f"{kind}/{name}": array.copy()
            for name, memory in self.memory.items()
            for kind, array in memory.items()
        }
        return {"steps": np.array(self.steps), "lr": np.array(self.lr), **arrays}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Remember again; raises ValueError, changing nothing, when names or shapes differ.

        What an `update` of your own remembers may be of any shape, and stays as it was.
        """
        if not isinstance(state, Mapping):
            kind, who = type(state).__name__, type(self).__name__
            raise TypeError(f"{who}: state: expected arrays by name, got {kind}")
        memory: dict[str, Memory] = {name: {} for name in self.parameters}
        ours = type(self).update.__module__ == __name__  # what it remembers is like the weights
        wrong = [f"missing {key!r}" for key in ("steps", "lr") if key not in state]
        for key, array in state.items():
            kind, _, name = key.partition("/")
            x = self.parameters.get(name) if kind in self.remembers else None
            if key not in ("steps", "lr") and x is None:
                wrong.append(f"unexpected {key!r}")
            elif (ours or x is None) and (unlike := _misfit(kind, np.asarray(array), x)):
                wrong.append(f"{key!r} is {unlike}")
            elif (found := np.asarray(array)).dtype.kind not in "biuf":
                wrong.append(f"{key!r} is {found.dtype}{list(found.shape)}, expected numbers")
            elif x is not None:
                memory[name][kind] = np.array(array, x.dtype if ours and kind != "count" else None)
        for name, parts in memory.items():
            if parts and len(parts) < len(self.remembers):
                wrong.append(f"{name!r} has only {sorted(parts)} of {list(self.remembers)}")
        if wrong:
            raise ValueError(
                f"{type(self).__name__}: nothing was loaded: {'; '.join(wrong)}. Make it of the "
                "parameters that it was saved with, in the same order and of the same names."
            )
        self.lr = float(state["lr"])
        self.memory, self.steps = memory, int(state["steps"])


def _misfit(kind: str, array: np.ndarray, x: Tensor | None) -> str:
    """How this cannot be what is remembered of a parameter, or its count of steps, in words."""
    if x is None or kind == "count":
        kinds, expected = ("iuf", "a number") if kind == "lr" else ("iu", "a whole number")
        if not array.shape and array.dtype.kind in kinds and array >= 0:
            return ""
        return (
            f"{array.dtype}{list(array.shape)} {short(array.tolist())}, expected {expected} from 0"
        )
    if array.shape == x.shape and array.dtype.kind == "f":
        return ""
    return f"{array.dtype}{list(array.shape)}, expected {x.dtype}{list(x.shape)}"


class SGD(Optimizer):
    """x ← x - lr v, with v ← momentum v + g (+ weight_decay x in g).

    >>> W = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.SGD([W], lr=0.1)
    >>> (W * W).sum().backward()
    >>> optimizer.step()
    >>> W.data.tolist()
    [0.8]
    """

    remembers = ("v",)
    momentum, weight_decay = Setting("[0, 1)"), Setting()

    def __init__(
        self, parameters: Parameters, lr: float, *, momentum: float = 0.0, weight_decay: float = 0.0
    ):
        super().__init__(parameters, lr)
        self.momentum, self.weight_decay = momentum, weight_decay

    def update(self, x: np.ndarray, g: np.ndarray, memory: Memory) -> tuple[np.ndarray, Memory]:
        if not self.momentum:
            (x,) = self._ruled("descent", (self.weight_decay, self.lr), x, g)
            return x, memory
        settings = self.momentum, self.weight_decay, self.lr
        x, v = self._ruled("momentum", settings, x, g, _begun(memory, "v", x))
        return x, {"v": v}


class RMSprop(Optimizer):
    """x ← x - lr g / (√s + eps), with s ← decay s + (1 - decay) g² (Tieleman & Hinton 2012).

    >>> W = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.RMSprop([W], lr=0.01)
    >>> (W * W).sum().backward()
    >>> optimizer.step()
    >>> W.data.round(6).tolist()
    [0.9]
    """

    remembers = ("s",)
    decay, eps = Setting("[0, 1)"), Setting("(0, inf)")

    def __init__(
        self, parameters: Parameters, lr: float = 1e-3, *, decay: float = 0.99, eps: float = 1e-8
    ):
        super().__init__(parameters, lr)
        self.decay, self.eps = decay, eps

    def update(self, x: np.ndarray, g: np.ndarray, memory: Memory) -> tuple[np.ndarray, Memory]:
        settings = self.decay, 1 - self.decay, self.lr, self.eps
        x, s = self._ruled("rmsprop", settings, x, g, _begun(memory, "s", x))
        return x, {"s": s}


class Adam(Optimizer):
    """x ← x - lr m̂ / (√v̂ + eps), moments corrected for their start at 0 (Kingma & Ba 2015).

    The correction counts the steps this parameter had a gradient in.

    >>> W = tg.tensor([1.0, -1.0], requires_grad=True)
    >>> optimizer = tg.optim.Adam([W], lr=0.1)
    >>> (W * W).sum().backward()
    >>> optimizer.step()
    >>> W.data.round(6).tolist()
    [0.9, -0.9]
    """

    remembers = ("m", "v", "count")
    betas, eps = Settings("[0, 1)"), Setting("(0, inf)")
    decoupled = 0.0  # the weight decay of AdamW

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(parameters, lr)
        self.betas, self.eps = betas, eps

    def update(self, x: np.ndarray, g: np.ndarray, memory: Memory) -> tuple[np.ndarray, Memory]:
        first, second = self.betas
        count = int(memory.get("count", 0)) + 1
        settings = (
            *(first, 1 - first, second, 1 - second),
            1 - self.lr * self.decoupled,
            self.lr / (1 - first**count),
            1 / math.sqrt(1 - second**count),
            self.eps,
        )
        m, v = _begun(memory, "m", x), _begun(memory, "v", x)
        x, m, v = self._ruled("adam", settings, x, g, m, v)
        return x, {"m": m, "v": v, "count": np.array(count)}


class AdamW(Adam):
    """Adam, with weights drawn towards 0 by lr · weight_decay (Loshchilov & Hutter 2019).

    >>> model = tg.nn.Linear(3, 2, rng=0)
    >>> optimizer = tg.optim.AdamW(model, lr=0.01, weight_decay=0.1)
    >>> optimizer.lr
    0.01
    """

    weight_decay = Setting()
    decoupled = property(lambda self: self.weight_decay)

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(parameters, lr, betas=betas, eps=eps)
        self.weight_decay = weight_decay


def _begun(memory: Memory, kind: str, x: np.ndarray) -> np.ndarray:
    """What is remembered of a parameter: zeros before its first step."""
    return memory[kind] if kind in memory else np.zeros_like(x)


def _own_name(x: Any) -> list[str]:
    return [x.name] if isinstance(x, Tensor) and x.name else []


def _named(parameters: Parameters, who: str) -> dict[str, Tensor]:
    if hasattr(parameters, "named_parameters") and not isinstance(parameters, type):
        named = dict(parameters.named_parameters())
    elif isinstance(parameters, Mapping):
        named = dict(parameters)
    elif isinstance(parameters, Tensor):
        raise TypeError(f"{who}: parameters: expected a module or a list, got one tensor")
    elif not isinstance(parameters, Iterable):
        kind = type(parameters).__name__
        raise TypeError(f"{who}: parameters: expected a module or a list of tensors, got {kind}")
    else:
        named = {" ".join([str(k), *_own_name(x)]): x for k, x in enumerate(parameters)}
    if not named:
        raise ValueError(
            f"{who}: parameters: got none: tensors with requires_grad=True are wanted. A generator "
            "is used up by its first reader: pass module.parameters() itself."
        )
    for name, x in named.items():
        if not isinstance(x, Tensor) or x.op is not None or not x.requires_grad:
            got = describe(x) if isinstance(x, Tensor) else type(x).__name__
            got += ": give its parameters()" * hasattr(x, "parameters")
            got += ": each group has an optimiser of its own" * isinstance(x, dict)
            raise TypeError(
                f"{who}: parameter {name!r}: expected a leaf with requires_grad=True, got {got}"
            )
    first: dict[Tensor, str] = {}
    for name, x in named.items():
        if first.setdefault(x, name) != name:
            raise ValueError(
                f"{who}: parameters {first[x]!r} and {name!r} are one tensor given twice"
            )
    return named
