"""What the learner wrote is run beside a reference; the first difference is shown as evidence.

The kind of a mistake is found in two ways: the known mistakes of the exercise are run on the same
input, and the two results are compared in the ways in which derivatives usually go wrong.
"""

from __future__ import annotations

import copy
import os
import signal
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from inspect import cleandoc, isfunction, signature
from pathlib import Path
from typing import Any

import numpy as np

from ..likeness import likeness
from ..tensor import Tensor

LIMIT = 20.0  # seconds an exercise may take
AGAIN = 1e-4  # seconds between two alarms, once it has taken so long
# Where lines are no learner's: this package, Python and its libraries.
FOLDERS = (str(Path(__file__).parent.parent), *map(sysconfig.get_path, ("stdlib", "purelib")))
Run = Callable[[Any], Any]


class Open(Exception):
    """The exercise has not been begun."""


class Wrong(Exception):
    """What the learner wrote is not right; its lines are the evidence."""

    def __init__(self, *lines: str):
        super().__init__("\n".join(filter(None, lines)))


class Overtime(BaseException):
    """It took too long; no `except Exception` of the learner's stops it."""


def call(*given: Any, **words: Any) -> Run:
    """Call the learner's function with copies of these, and refuse one that changes them.

    >>> from tinygrad_rnn.course import call
    >>> call(2.0, 3.0)(lambda x, y: x * y)
    6.0
    """

    def run(function: Any) -> Any:
        mine = copy.deepcopy(given)
        result = function(*mine, **words)
        for k, (before, after) in enumerate(zip(given, mine, strict=True)):
            pairs = [(before, after)]
            if isinstance(before, dict):
                pairs = [(x, after.get(name)) for name, x in before.items()]
            arrays = [(x, y) for x, y in pairs if isinstance(x, np.ndarray)]
            if not all(y is not None and np.array_equal(x, y, equal_nan=True) for x, y in arrays):
                name = list(signature(function).parameters)[k]
                raise Wrong(f"it changed its argument {name}: work on a copy of it")
        return result

    return run


@dataclass
class Judge:
    """Compares what the learner made with what is expected, case by case.

    made: the learner's function or class. mistakes: known wrong ones by the words for their kind.

    >>> from tinygrad_rnn.course import Judge, call
    >>> judge = Judge(lambda x: x * x, {})
    >>> judge.see("x = 3", call(3.0), 9.0)
    >>> judge.see("x = 3", call(3.0), -9.0, by="finite differences")
    Traceback (most recent call last):
    tinygrad_rnn.course.judge.Wrong: x = 3
    finite differences: -9, yours: 9
    same size, other sign
    """

    made: Any
    mistakes: Mapping[str, Any]

    def see(
        self, what: str, run: Run, expected: Any, by: str = "the reference", tolerance: float = 1e-6
    ) -> None:
        """Raise Wrong unless the result is what is expected.

        what: the case, in words. run: what is done with the learner's function, most often
        `call(*arguments)`. expected: a number, an array, or a tuple or dict of them, whose keys
        name what a tuple returns. by: who expects it. tolerance: relative to the largest entry.
        """
        got = self._run(what, run)
        difference = compare(expected, got, tolerance)
        if difference:
            kind = self._known(run, got) or difference.kind
            raise Wrong(what, difference.words(by), kind)

    def demand(self, what: str, run: Run, holds: Callable[[Any], bool], words: str) -> None:
        """Raise Wrong with these words unless the result has a property."""
        got = self._run(what, run)
        if got is None:
            raise Wrong(what, NOTHING)
        try:
            right = bool(holds(got))
        except Exception:  # a result of another type has no such property
            right = False
        if not right:
            raise Wrong(what, words, self._known(run, got, holds))

    def _run(self, what: str, run: Run) -> Any:
        returned: list[Any] = []
        try:
            return run(remembering(self.made, returned))
        except (Wrong, Open, Overtime, KeyboardInterrupt):
            raise
        except BaseException as error:  # exit() too
            if is_open(error):
                raise Open from None
            if returned and returned[-1] is None:
                raise Wrong(what, NOTHING) from error
            frames = traceback.extract_tb(error.__traceback__)
            lines = [f"in line {f.lineno}, `{f.line}`" for f in frames if ours(f) and f.line]
            line = lines[-1] if lines else ""
            raise Wrong(what, f"{type(error).__name__}: {error}", line) from error

    def _known(self, run: Run, got: Any, holds: Any = lambda found: False) -> str:
        """The words for the known mistake that has the same wrong result; "" if there is none."""
        for words, mistake in self.mistakes.items():
            try:
                found = run(mistake)
                same = compare(found, got, 1e-9) is None and not holds(found)
            except Exception:  # a mistake may fail where the learner's function does not
                continue
            if same:
                return words
        return ""


NOTHING = "None: nothing was returned"


def remembering(made: Any, returned: list[Any]) -> Any:
    """A learner's function that remembers what it returned last; anything else as it is."""
    if not isfunction(made):
        return made

    @wraps(made)
    def function(*given: Any, **words: Any) -> Any:
        returned.clear()
        returned.append(found := made(*given, **words))
        return found

    return function


def is_open(error: BaseException) -> bool:
    """Whether it is the exercise's own `raise NotImplementedError`: others come with words."""
    return isinstance(error, NotImplementedError) and not error.args


def ours(frame: traceback.FrameSummary) -> bool:
    """Whether a line is the learner's: neither of this package nor of another library."""
    other = frame.filename.startswith(("<frozen ", *(f"{path}{os.sep}" for path in FOLDERS)))
    return not (other or "site-packages" in frame.filename)


@dataclass(frozen=True)
class Difference:
    """Where two results differ first, and how."""

    place: str
    expected: str
    got: str
    kind: str = ""

    def words(self, by: str) -> str:
        if self.place:
            return f"{by}: {self.expected} at {self.place}, yours: {self.got}"
        return f"{by}: {self.expected}, yours: {self.got}"


def compare(expected: Any, got: Any, tolerance: float) -> Difference | None:
    """The first difference of two results, None if there is none."""
    for place, one, other in leaves(expected, got, ""):
        if isinstance(other, Missing):
            return Difference(place, short(one), str(other))
        if isinstance(one, str | bytes | bool | type(None)) or callable(one):
            if one != other:
                return Difference(place, repr(one), repr(other)[:60])
            continue
        found = numbers(place, np.asarray(one) + 0, other, tolerance)
        if found:
            return found
    return None


class Missing(str):
    """Words for what is not there."""


def leaves(expected: Any, got: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """The numbers and arrays of both, side by side, each with the name of its place."""
    got = got.data if isinstance(got, Tensor) else got
    if isinstance(expected, Tensor):
        expected = expected.data
    if isinstance(expected, Mapping):
        names = list(expected)
        if isinstance(got, tuple | list) and len(got) == len(names):
            got = dict(zip(names, got, strict=True))
        if not isinstance(got, Mapping) or any(name not in got for name in names):
            words = f"{len(names)} results, {', '.join(names)}"
            yield place, Missing(words), Missing(_kind(got))
            return
        for name in names:
            yield from leaves(expected[name], got[name], f"{place}{name}")
    elif isinstance(expected, tuple | list):
        if not isinstance(got, tuple | list) or len(got) != len(expected):
            words = f"a {type(expected).__name__} with {len(expected)} entries"
            yield place, Missing(words), Missing(_kind(got))
            return
        for k, (one, other) in enumerate(zip(expected, got, strict=True)):
            yield from leaves(one, other, f"{place}[{k}]")
    else:
        yield place, expected, Missing(_kind(got)) if got is None else got


def _kind(got: Any) -> str:
    """What was returned, where several results are expected."""
    if got is None:
        return NOTHING
    return (
        f"{len(got)} of them" if isinstance(got, tuple | list) else f"a single {type(got).__name__}"
    )


def numbers(place: str, one: np.ndarray, given: Any, tolerance: float) -> Difference | None:
    """The first difference of two arrays, and its kind."""
    try:
        other = np.asarray(given)
        if other.dtype.kind not in "biufc":
            raise TypeError
        other = np.asarray(other + 0)  # bools become 0 and 1
    except (TypeError, ValueError):
        large = isinstance(given, int)  # of so many digits Python may print none
        words = f"of {given.bit_length()} bits" if large else f"{str(given)[:40]!r}"
        return Difference(place, short(one), f"{type(given).__name__} {words}")
    kind = lambda: likeness(other, one, partial(near, tolerance=max(tolerance, 1e-9)))
    if one.shape != other.shape:
        return Difference(place, f"shape {one.shape}", f"shape {other.shape}", kind())
    scale = max(float(np.abs(one).max(initial=0, where=np.isfinite(one))), 1e-300)
    with np.errstate(all="ignore"):  # inf - inf
        distance = np.abs(other - one)
    off = ~(distance <= tolerance * scale) & (one != other) & ~(np.isnan(one) & np.isnan(other))
    if not off.any():
        return None
    far = np.where(off, np.nan_to_num(distance, nan=np.inf), -1)
    worst = np.unravel_index(np.argmax(far), one.shape)
    index = f"[{', '.join(map(str, worst))}]" if worst else ""
    where = f"entry {index} of {place}" if index and " " in place else place + index
    return Difference(where, short(one[worst]), short(other[worst]), kind())


def near(other: np.ndarray, one: np.ndarray, tolerance: float) -> bool:
    """Whether another array is like one, by the largest entry of that."""
    scale = float(np.abs(one).max(initial=0))
    return bool((np.abs(other - one) <= tolerance * scale).all())


def short(x: Any) -> str:
    """A number in few digits, an array by its shape."""
    if isinstance(x, str):
        return x
    x = np.asarray(x)
    if x.ndim:
        return f"shape {x.shape}"
    return f"{x:.6g}" if x.dtype.kind == "f" else str(x)


@contextmanager
def limit(seconds: float = LIMIT) -> Iterator[None]:
    """Stop what runs after so many seconds, where the system has alarms."""
    main = threading.current_thread() is threading.main_thread()
    if not (main and hasattr(signal, "setitimer")):
        yield
        return

    def ring(_: int, frame: Any) -> None:
        if frame is None or not frame.f_code.co_filename.startswith(FOLDERS):
            raise Overtime  # where it is stopped, and not while that is put in order

    before, began = signal.signal(signal.SIGALRM, ring), time.monotonic()
    left, _ = signal.getitimer(signal.ITIMER_REAL)  # of a limit around this one
    # Again and again: an `except:` in a loop that has no end takes one for its own, or many.
    signal.setitimer(signal.ITIMER_REAL, min(seconds, left or seconds), AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(
                signal.ITIMER_REAL, max(left - (time.monotonic() - began), 1e-3), AGAIN
            )


def mistakes_of(module: Any, exercise: str) -> dict[str, Any]:
    """The known mistakes of an exercise by their kind: `delta__sign` is one of `delta`."""
    prefix = f"{exercise}__"
    return {
        " ".join(cleandoc(made.__doc__).split()): made
        for name, made in vars(module).items()
        if name.startswith(prefix)
    }
