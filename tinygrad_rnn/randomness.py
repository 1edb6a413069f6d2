"""Where random numbers come from: the generator that is given, or else that of the thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

Random: TypeAlias = "np.random.Generator | np.random.SeedSequence | int | None"
Draws: TypeAlias = list[tuple[np.random.Generator, Any]]  # who drew, and its state before

_seeded: WeakKeyDictionary[threading.Thread, np.random.Generator] = WeakKeyDictionary()


class _Here(threading.local):
    unnamed = 0  # how often something has drawn that was given no generator
    noted: Draws | None = None
    again: Iterator[np.random.Generator] = iter(())  # who draws next, where it is done again


_here = _Here()


def manual_seed(seed: Random) -> np.random.Generator:
    """Seed what is drawn on this thread without an `rng=`, and return the generator of it.

    First weights, masks of dropout and zoneout, batches, tasks and sampled text follow it, each
    where it is drawn. Other threads need a seed of their own: while one has it, what is drawn on
    another without `rng=` is refused. seed is a whole number that is not negative, a SeedSequence
    or a Generator of NumPy's; with None the operating system seeds, as before any call. NumPy's
    own global state is neither read nor changed. Raises TypeError and ValueError for other seeds.

    >>> rng = tg.manual_seed(0)
    >>> before = rng.bit_generator.state  # a dict: keep it beside a checkpoint
    >>> mask = tg.nn.Dropout(0.5)(np.ones(4, np.float32)).data
    >>> rng.bit_generator.state = before
    >>> bool((tg.nn.Dropout(0.5)(np.ones(4, np.float32)).data == mask).all())
    True
    >>> _ = tg.manual_seed(None)
    """
    thread, rng = threading.current_thread(), given("manual_seed", seed)
    if rng is None:
        _seeded.pop(thread, None)
        return _unseeded(os.getpid())
    _seeded[thread] = rng
    return rng


def generator(who: object, rng: Random) -> np.random.Generator:
    """What `who` draws from now: what it was given as `rng`, or else the thread's generator."""
    found, thread = given(who, rng), threading.current_thread()
    before = next(_here.again, None)
    if found is None:
        _here.unnamed += 1
        usual = _seeded.get(thread) or (None if _seeded else _unseeded(os.getpid()))
        found = before or usual
    if found is None:
        raise RuntimeError(
            f"{_name(who)}: rng: expected a seed on the thread {thread.name!r}, got none, while "
            "tg.manual_seed was called on another. Give rng=, or call tg.manual_seed here too"
        )
    if _here.noted is not None:
        _here.noted.append((found, found.bit_generator.state))
    return found


def given(who: object, rng: Any) -> np.random.Generator | None:
    """The generator that a user means by `rng`; None, for that of the thread, stays None."""
    if rng is None or isinstance(rng, np.random.Generator):
        return rng
    number = isinstance(rng, int | np.integer) and not isinstance(rng, bool)
    if (number and rng >= 0) or isinstance(rng, np.random.SeedSequence | np.random.BitGenerator):
        return np.random.default_rng(rng)
    raise (ValueError if number else TypeError)(
        f"{_name(who)}: rng: expected a whole number that is not negative, a np.random.Generator "
        f"or SeedSequence, or None, got {rng!r}. Use rng=0, or one np.random.default_rng(0) for all"
    )


def unnamed() -> int:
    """How often this thread has drawn from a generator that nobody gave."""
    return _here.unnamed


@contextmanager
def noted(draws: Draws) -> Iterator[None]:
    """Note who draws in this block, on this thread."""
    outer, _here.noted = _here.noted, draws
    try:
        yield
    finally:
        _here.noted = outer
        if outer is not None:
            outer += draws


@contextmanager
def repeated(draws: Draws) -> Iterator[None]:
    """Let those who drew in a block draw the same in this one; who draws here is then put back."""
    now = [(rng, rng.bit_generator.state) for rng, _ in draws]
    outer, _here.again = _here.again, iter([rng for rng, _ in draws])
    _set(draws)
    try:
        with noted(now):
            yield
    finally:
        _set(now)
        _here.again = outer


def _set(draws: Draws) -> None:
    for rng, before in reversed(draws):  # the first of each comes last
        rng.bit_generator.state = before


def _name(who: object) -> str:
    return who if isinstance(who, str) else type(who).__name__


@lru_cache(1)
def _unseeded(process: int) -> np.random.Generator:
    """Of all threads that have no seed; a forked process has its own."""
    return np.random.default_rng()
