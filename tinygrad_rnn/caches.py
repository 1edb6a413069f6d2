"""All that is remembered of steps, their programs and their compiled loops, each with a bound."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

Answer = TypeVar("Answer")
_forget: list[Callable[[], None]] = []  # how the answers of functions are forgotten


lock = threading.RLock()  # of all caches: what they do takes no time


class Cache(dict[Any, Any]):
    """A dictionary of at most so many things: what was not used for longest goes first."""

    def __init__(self, most: int):
        super().__init__()
        self.most = most

    def recent(self, key: Any) -> Any:
        """What is known, or None; it will be the last to go. TypeError for an unhashable key."""
        if not self:
            hash(key)  # which an empty dictionary does not look at
        with lock:
            value = self.pop(key, None)
            if value is not None:
                self[key] = value
            return value

    def keep(self, key: Any, value: Answer) -> Answer:
        """Remember one more thing, and return it."""
        with lock:
            self[key] = value
            while len(self) > self.most:
                del self[next(iter(self))]
        return value

    def agree(self, key: Any, value: Answer) -> Answer:
        """Remember it, unless another thread was sooner; return what is remembered."""
        with lock:
            return self[key] if key in self else self.keep(key, value)


def remembered(most: int) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """A function that answers so many questions once."""

    def around(function: Callable[..., Answer]) -> Callable[..., Answer]:
        made = lru_cache(most)(function)
        _forget.append(made.cache_clear)
        return made

    return around


def clear() -> None:
    """Forget everything: what is asked next is recomputed, or found on disk."""
    for cache in (outlines, answers, pasts, programs, functions):
        cache.clear()
    for forget in _forget:
        forget()


outlines = Cache(20_000)  # by shape and dtype
answers = Cache(20_000)  # what an op gives for such inputs
pasts = Cache(256)  # what a step did, by its code and what it was given: a guess, looked at again
programs = Cache(256)  # by all that a step does
functions = Cache(512)  # compiled, by their text
