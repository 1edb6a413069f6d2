"""A tensor is an array that remembers where it came from."""

from __future__ import annotations

import inspect
import itertools
import math
import operator
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ContextDecorator
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from . import limits

Operand: TypeAlias = "Tensor | np.ndarray | float | int | Sequence[Any]"
Axis: TypeAlias = int | tuple[int, ...] | None
Value: TypeAlias = Any  # an array or a tensor: an op and its rules are run on both

if TYPE_CHECKING:  # what the ops attach, see ops/spelling.py and tests/stub.py
    from .methods import Methods
else:
    Methods = object

_births = itertools.count(1)
_package = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


# -- what each thread has switched on ---------------------------------------------------------


class Mode(threading.local):
    """What is on in this thread: history, looking for NaN, a transform, a trace; and the scope."""

    def __init__(self) -> None:
        self.recording, self.anomaly, self.scope, self.within = True, False, "", False
        self.trace: Any = None  # the list that is being made of a step's ops, see loops/trace.py
        self.before: list[Any] = []  # the blocks that are open, and what each will put back


mode = Mode()


HELD_HERE = 2  # references to a block of which only the list of them knows: its own, and a call's


class _Block:
    """A block in which something is on in this thread; it is put back on an exception too.

    At its end all is as it was at its beginning, whatever the blocks within have put back: Ctrl-C
    may come just when one of them ends.
    """

    __slots__ = ()

    def changed(self) -> dict[str, Any]:
        """What is on in it."""
        raise NotImplementedError

    # Python looks for a Ctrl-C when a function begins, after a call, and where a loop turns, and
    # at nothing else: what is changed here is changed at once, or not at all.

    def __enter__(self) -> None:
        here = mode.__dict__
        before = here["before"]
        while before and sys.getrefcount(before[-1][0]) == HELD_HERE:  # by no `with` any longer
            here |= before[-1][1]
            del before[-1]
        changed, state = self.changed(), here.copy()
        here["before"] += [(self, state)]
        here |= changed

    def __exit__(self, *_: object) -> None:
        here = mode.__dict__
        before = here["before"]
        if before and before[-1][0] is not self:  # of blocks within that did not end
            if not any([block is self for block, _ in before]):
                return
            while before[-1][0] is not self:
                del before[-1]
        if before:
            here |= before[-1][1]
            del before[-1]


class _Switch(_Block, ContextDecorator):
    """Set a switch of this thread for a while; nests."""

    def __init__(self, **switches: Any):
        self.switches = switches

    def changed(self) -> dict[str, Any]:
        return self.switches

    def __call__(self, function: Any) -> Any:
        for kind in ("generator", "coroutine", "asyncgen"):
            if getattr(inspect, f"is{kind}function")(function):
                raise TypeError(
                    f"{function.__name__} is a {kind}: the block would be left before its body "
                    "runs. Put the block inside it, around what is not a yield or await."
                )
        return super().__call__(function)


def recording(on: bool) -> _Switch:
    """Make ops remember (or not) what they were made from, in this block, on this thread."""
    return _Switch(recording=on)


def no_grad() -> _Switch:
    """Keep no history of tensors in this block (or decorated function), on this thread.

    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> with tg.no_grad():
    ...     y = x * x
    >>> y.requires_grad
    False
    """
    return _Switch(recording=False)


def detect_anomaly() -> _Switch:
    """Raise at the op that made a NaN, forward or backward, naming its line, in this block.

    One that was in the data raises when a gradient comes by, and names the leaf that brought it.
    Every result is looked at, and every op notes the line that called it, which takes time; a
    compiled loop is looked at as a whole, and done again step by step only if there is a NaN.

    >>> x = tg.tensor([-1.0], requires_grad=True, name="x")
    >>> with tg.detect_anomaly():
    ...     tg.log(x)
    Traceback (most recent call last):
    RuntimeError: NaN from log, called at ...
    """
    return _Switch(anomaly=True)


class scope(_Block):
    """Name the part of the model that ops in this block belong to; scopes nest with a slash.

    The core carries the string and does not understand it. Pictures do: `t=3` is a time step.

    >>> with tg.scope("encoder"), tg.scope("gate"):
    ...     y = tg.tanh(tg.tensor(1.0))
    >>> y.scope
    'encoder/gate'
    """

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def changed(self) -> dict[str, Any]:
        before = mode.scope
        return {"scope": f"{before}/{self.name}" if before else self.name}


# -- the noun ---------------------------------------------------------------------------------


class Outline:
    """What is known of an array before it is there, while a step is traced: shape and dtype."""

    __slots__ = ("dtype", "ndim", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise leaked()


class Untraceable(TypeError):
    """A step reads the numbers of a tensor, or draws new ones: a compiled loop cannot follow.

    >>> tg.scan(lambda h: h * float(h), tg.tensor(1.0), None, length=2)
    Traceback (most recent call last):
    tinygrad_rnn.tensor.Untraceable: scan: the step ...
    """


def outside() -> FrameType:
    """The frame outside this package that led here."""
    frame = sys._getframe(1)
    while frame.f_back and os.path.abspath(frame.f_code.co_filename).startswith(_package):
        frame = frame.f_back
    return frame


def caller() -> str:
    """The line outside this package that led here."""
    frame = outside()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"


def leaked(x: Tensor | None = None) -> Untraceable:
    """What is said of a tensor that was kept from inside a step, and is used."""
    word = "a tensor" if x is None else describe(x)
    return Untraceable(
        f"{word} was kept from inside a step of tg.scan or a layer, or a function under vmap, "
        "which is run on tensors without numbers: it has none. Return it from the step as an "
        "output, after the new carry (or name it with nn.gates and ask for return_gates=True), or "
        "run with unroll=True; return it from the function."
    )


def seen(x: Tensor, wish: str) -> Any:
    """The numbers of a tensor; refused while a step is traced, when there are none yet."""
    if x._array.__class__ is Outline:
        if not mode.trace:
            raise leaked(x)
        raise mode.trace.unseen(x, wish)
    return x._array


def every(x: Value) -> Any:
    """The numbers of a tensor, under vmap of all examples; None while there are none yet."""
    array = getattr(x, "_array", x)
    return mode.trace and mode.trace.every(x) if array.__class__ is Outline else array


SLOTS = (
    "__weakref__", "_array", "_grad", "_hooks", "attrs", "born", "inputs", "line", "name", "op",
    "scope", "tracked",
)  # fmt: skip


class Tensor(Methods):
    """An n-dimensional array that remembers where it came from.

    `data` is a read-only NumPy array: an array in a graph never changes, so a derivative is always
    that of the values the forward pass saw. A leaf may be given a *new* array (`x.data = array`,
    same shape and dtype); a graph that had used the old one then refuses to be differentiated.

    - `grad`: the gradient left by `backward()`, a tensor, or None when there is none yet.
    - `op, inputs, attrs`: the op that made it and what from; a leaf has no `op`.
    - `born`: a counter; inputs are always born before outputs, so birth order is a topological
      order of every graph.
    - `name, scope`: words for people, carried along.

    Data are copied on the way in. Floats are float32 or float64 (float16 becomes float32),
    integers and bools are as given; anything else is refused. Raises TypeError for other dtypes and
    for masked arrays, ValueError for a ragged list, OverflowError for an integer beyond 64 bits.

    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad.numpy()
    array([2., 4.])
    """

    __slots__ = SLOTS
    _array: np.ndarray | Any  # read-only; inside a graph also a tuple of them, see `pick`
    _grad: Tensor | None
    _hooks: Any  # see hooks.py; None where there never was one
    tracked: bool
    born: int
    name: str | None
    scope: str
    line: str | None
    op: Any  # the Op that made it, see op.py; None for a leaf
    inputs: tuple[Tensor, ...]
    attrs: dict[str, Any]

    def __init__(
        self,
        data: Operand,
        requires_grad: bool = False,
        dtype: Any = None,
        name: str | None = None,
    ):
        owned(as_array(data, dtype, copy=True), self)
        self.name = name
        self.requires_grad = requires_grad

    @property
    def data(self) -> np.ndarray:
        """The numbers, a read-only array; see the class for what may be assigned.

        >>> tg.tensor([1.0, 2.0]).data
        array([1., 2.])
        """
        array: Any = self._array
        if array.__class__ is Outline:
            seen(self, "reads the numbers of")
        return np.asarray(memoryview(array).toreadonly())  # which nobody can make writable again

    @data.setter
    def data(self, data: Operand) -> None:
        if self.op is not None:
            raise RuntimeError(
                f"tensor.data: {describe(self)} was computed by {self.op.name}, and a computed "
                "tensor does not change. Assign to a leaf, or build a new tensor."
            )
        array = as_array(data, copy=True)
        _check_like(self, array, "data", "Build a new tensor to change them.")
        replace(self, array)

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward()` has left, or None. May be assigned: None clears it.

        >>> x = tg.tensor(3.0, requires_grad=True)
        >>> (x * x).backward()
        >>> x.grad.item()
        6.0
        """
        return self._grad

    @grad.setter
    def grad(self, gradient: Operand | None) -> None:
        if gradient is not None:
            gradient = gradient if isinstance(gradient, Tensor) else Tensor(gradient)
            _check_like(self, gradient, "grad", "None clears it.")
        self._grad = gradient

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to it. Of a leaf it may be assigned, if the data are floats.

        >>> x = tg.tensor(3.0, requires_grad=True)
        >>> x.requires_grad, (x * 2.0).requires_grad, x.detach().requires_grad
        (True, True, False)
        """
        return self.tracked

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        on = limits.flag("tensor", "requires_grad", on)
        if self.op is not None:
            raise RuntimeError(
                f"requires_grad: {describe(self)} was computed by {self.op.name}; only a leaf's "
                "can be set. Use x.detach() to cut it from its history."
            )
        if on and self._array.dtype.kind != "f":
            raise TypeError(
                f"requires_grad: expected float32 or float64 data, got {self.dtype}: only floats "
                "have gradients. Give dtype=np.float32, or write the numbers with a point."
            )
        if on and not self.tracked:
            self.born = next(_births)  # a graph made before does not lead here
        self.tracked = on

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of its axes.

        >>> tg.zeros((2, 3)).shape
        (2, 3)
        """
        return self._array.shape

    @property
    def dtype(self) -> np.dtype:
        """What its numbers are: float32, float64, an integer or bool.

        >>> tg.tensor([1, 2]).dtype
        dtype('int64')
        """
        return self._array.dtype

    @property
    def ndim(self) -> int:
        """How many axes it has.

        >>> tg.zeros((2, 3)).ndim
        2
        """
        return self._array.ndim

    @property
    def size(self) -> int:
        """How many elements it has.

        >>> tg.zeros((2, 3)).size
        6
        """
        return math.prod(self.shape)

    def numpy(self) -> np.ndarray:
        """Return a read-only view of the array; take `.copy()` of it to write.

        >>> tg.tensor([1.0, 2.0]).numpy().mean()
        np.float64(1.5)
        """
        return self.data

    def item(self) -> float | int | bool:
        """Return the only element of a tensor of size 1, as a Python number; else ValueError.

        >>> tg.tensor([[3.0]]).item()
        3.0
        """
        if self._array.size != 1:
            raise ValueError(f"item: expected one element, got shape {self.shape}. Index it first.")
        return seen(self, "reads the number of").item()  # type: ignore[no-any-return]

    def detach(self) -> Tensor:
        """Return the same values without the past: gradients stop here.

        >>> x = tg.tensor(3.0, requires_grad=True)
        >>> tg.grad(x * x.detach(), x).item()
        3.0
        """
        if self._array.__class__ is Outline:
            if mode.trace is None:
                raise leaked(self)
            return mode.trace.detach(self)  # type: ignore[no-any-return]
        return owned(self._array)

    def __bool__(self) -> bool:
        seen(self, "branches on")
        raise TypeError(
            "a tensor has no truth value, because a branch on data is not part of the graph. "
            "Use tg.where(condition, x, y), or branch on x.item()."
        )

    def __init_subclass__(cls) -> None:
        raise TypeError("a Tensor is not subclassed: give it a name, or hold it in a Module")

    __hash__ = object.__hash__

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(seen(self, "indexes with"))

    def __len__(self) -> int:
        if not self._array.ndim:
            words = "Its number is x.item(); to other libraries give the array, x.data."
            raise TypeError(f"len: a tensor without axes has no length. {words}")
        return len(self._array)

    def __repr__(self) -> str:
        if self._array.__class__ is not np.ndarray:
            return f"<{describe(self)}>"
        lines = np.array2string(self._array, separator=", ", prefix="tensor(", threshold=100)
        past = f", op={self.op.name}" if self.op else ", requires_grad=True" if self.tracked else ""
        name = f", name={self.name!r}" if self.name else ""
        return f"tensor({lines}, dtype={self.dtype}{past}{name})"

    def __format__(self, specification: str) -> str:
        return format(self.item(), specification) if specification else repr(self)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.op is not None:
            raise RuntimeError(
                f"copy or pickle: {describe(self)} has a history; only leaves can be copied. "
                "Use x.detach()."
            )
        return Tensor, (self.data, self.tracked, None, self.name)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "x[i] = y: a tensor does not change in place, so that gradients stay right. Write "
            "x = tg.index_put(x, i, y), or tg.where(mask, y, x), or build the array in NumPy first."
        )


array_of, is_tracked = operator.attrgetter("_array"), operator.attrgetter("tracked")

ELSEWHERE: dict[tuple[str, str], str] = {}  # what other libraries call it, see nn/elsewhere.py


def foreign(place: str, word: str) -> str:
    """What to use here for another library's word, for the end of a refusal; "" if it is none."""
    advice = ELSEWHERE.get((place, word), "").replace("`", "")
    return f"; use {advice}" if advice else ""


def tensor(
    data: Operand, requires_grad: bool = False, dtype: Any = None, name: str | None = None
) -> Tensor:
    """Return a tensor holding a copy of `data`, with no past; see `Tensor` for dtypes and errors.

    >>> tg.tensor([1, 2], dtype=np.float32, name="x")
    tensor([1., 2.], dtype=float32, name='x')
    """
    return Tensor(data, requires_grad, dtype, name)


def detach(state: Any) -> Any:
    """Return the same tensors without their past: of a tensor, or tuples, lists, dicts of them.

    >>> h = tg.tensor(1.0, requires_grad=True) * 2.0
    >>> [x.requires_grad for x in tg.detach((h, h))]
    [False, False]
    """
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, dict):
        return {name: detach(part) for name, part in state.items()}
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*map(detach, state))
    if isinstance(state, tuple | list):
        return type(state)(map(detach, state))
    return state


def _check_like(x: Tensor, given: Any, word: str, hint: str) -> None:
    if given.shape != x.shape or given.dtype != x.dtype:
        raise ValueError(
            f"tensor.{word}: expected shape {x.shape} and dtype {x.dtype}, got shape "
            f"{given.shape} and dtype {given.dtype}. {hint}"
        )


_new: Any = object.__new__
_NONE: dict[str, Any] = {}
ARRAYS = {np.ndarray, tuple}  # what a tensor may hold as it is


def owned(array: Any, x: Tensor | None = None) -> Tensor:
    """A tensor (or from now on this one), a leaf, around an array nobody else writes to."""
    x = _new(Tensor) if x is None else x
    x._array = array if array.__class__ in ARRAYS else np.asarray(array)
    x.scope, x.born = mode.scope, next(_births)
    x._grad = x._hooks = x.name = x.line = x.op = None
    x.inputs, x.attrs, x.tracked = (), _NONE, False
    return x


def replace(x: Tensor, array: np.ndarray) -> None:
    """Give a leaf new values, and a new birth, so that a graph that used the old ones can tell."""
    x._array, x.born = np.asarray(array), next(_births)


def wholly(change: Callable[[], Any]) -> None:
    """Make a change, which may be made again, to its end: even if Ctrl-C comes in the middle."""
    try:
        change()
    except BaseException:
        change()
        raise


def describe(x: Tensor) -> str:
    """A tensor in a few words, for messages: its name or op, its shape, its dtype."""
    word = x.name or (x.op.name if x.op else "a tensor")
    what = f"of {len(x._array)} parts" if type(x._array) is tuple else f"{x.dtype}{list(x.shape)}"
    return f"{word} {what}"


def as_array(data: Operand, dtype: Any = None, copy: bool = False) -> np.ndarray:
    """The data as a native array of floats, integers or bools, or a refusal that says why."""
    if isinstance(data, Tensor):
        data = seen(data, "copies the numbers of")
    if isinstance(data, tuple) and any(isinstance(x, Tensor) for x in data):
        raise TypeError(
            f"tensor: expected one array, got a tuple of {len(data)} with tensors. A cell or a "
            "layer returns (ys, state): take [0] of it. tg.stack(xs) makes one tensor of several."
        )
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError("tensor: got a masked array: its mask would be lost. Use x.filled(value).")
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"tensor: {limits.ragged(error)}") from None
    if array.dtype == object and isinstance(data, int):
        digits = int(data.bit_length() * 0.30103) + 1  # str() refuses the longest ones
        raise OverflowError(f"tensor: expected at most 64 bits, got an integer of {digits} digits")
    wanted = limits.native(array.dtype)
    if wanted is None:
        raise TypeError(f"tensor: {limits.strange(array.dtype, data)}")
    wanted = wanted if dtype is None else as_dtype(dtype)
    if wanted.kind in "iu" and array.dtype != wanted and (lost := limits.lost(array, wanted)).size:
        hint = f"expected numbers that {wanted} holds, got {lost.flat[0]}"
        raise ValueError(f"tensor: {hint}. Give another dtype, or round the numbers.")
    if copy or type(array) is not np.ndarray or array.dtype != wanted:
        return array.astype(wanted, order="C", subok=False)
    return array


def as_dtype(dtype: Any) -> np.dtype:
    """A dtype that a tensor can have, in this machine's byte order; float16 becomes float32."""
    wanted = limits.native(dtype)
    if wanted is None:
        raise TypeError(f"dtype: expected float32, float64, an integer or bool, got {dtype}")
    return wanted


def history(outputs: Iterable[Tensor], until: Collection[Tensor] = ()) -> list[Tensor]:
    """Everything the outputs came from, themselves included, youngest first.

    Inputs are older than outputs, so this is a topological order, found without recursion. What
    the tensors in `until` came from is left out. Raises RuntimeError where a graph was already
    spent by `backward()`.
    """
    known = set(outputs)
    stack = list(known.difference(until))
    while stack:
        y = stack.pop()
        if y.inputs is None:
            raise RuntimeError(
                f"the history of {describe(y)} was freed: backward() or tg.grad() went through "
                "it before. Give retain_graph=True the first time; or, if this is a state "
                "carried from one sequence to the next, carry x.detach() (of a tuple, "
                "tg.detach(state)); a weight is computed in every pass, or made a leaf: "
                "tg.tensor(array, requires_grad=True)."
            )
        for x in y.inputs:
            if x not in known:
                known.add(x)
                if x.op is not None and x not in until:
                    stack.append(x)
    return sorted(known, key=operator.attrgetter("born"), reverse=True)
