"""What a setting may be, on the command line and in a run's file, and how much memory it takes."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from reprlib import repr as short
from typing import Any, TypeAlias

from ..data.text import MAX_BYTES
from ..kernels.threads import MOST
from ..nn.language import CELLS


@dataclass(frozen=True)
class Sizes:
    """What the shapes of the weights depend on, besides the vocabulary."""

    cell: str = "lstm"
    hidden: int = 256
    layers: int = 1
    embedding: int = 64

    def sizes(self) -> dict[str, Any]:
        """These alone, by their names."""
        return {f.name: getattr(self, f.name) for f in fields(Sizes)}


@dataclass(frozen=True)
class Settings(Sizes):
    """Everything that decides what a run computes."""

    dropout: float = 0.0
    text: str | None = None
    batch: int = 24
    window: int = 48
    epochs: int = 6
    lr: float = 5e-3
    seed: int = 0
    encoding: str = "utf-8"
    max_bytes: int = MAX_BYTES
    patience: int | None = None  # epochs without a better one before it ends; None: all of them
    threads: int | None = None  # None: as many as there are cores


Rule: TypeAlias = tuple[str, Callable[[Any], bool]]


def _from(least: int) -> Rule:
    return f"a whole number from {least}", lambda x: type(x) is int and x >= least


def _number(words: str, holds: Callable[[float], bool]) -> Rule:
    return words, lambda x: type(x) in (int, float) and holds(x)


def _perhaps(rule: Rule) -> Rule:
    return rule[0], lambda x: x is None or rule[1](x)


_SIZES = ("hidden", "layers", "embedding", "batch", "window", "epochs", "max_bytes", "length")
RULES: dict[str, Rule] = {
    **dict.fromkeys(_SIZES, _from(1)),
    **dict.fromkeys(("steps", "patience"), _perhaps(_from(1))),
    "threads": _perhaps(
        (f"a whole number from 1 to {MOST}", lambda x: type(x) is int and 0 < x <= MOST)
    ),
    **dict.fromkeys(("epoch", "done"), _from(0)),
    "seed": _from(0),
    "text": _perhaps(
        ("the path of a file", lambda x: type(x) is str and x != "" and "\0" not in x)
    ),
    "encoding": ("the name of an encoding", lambda x: type(x) is str),
    "cell": (f"one of {', '.join(CELLS)}", lambda x: type(x) is str and x in CELLS),
    "dropout": _number("a number from 0 to 1", lambda x: 0 <= x <= 1),
    **dict.fromkeys(("lr", "limit"), _number("a positive number", lambda x: 0 < x < math.inf)),
    "temperature": _number("0 or more", lambda x: 0 <= x < math.inf),
}


def check(values: Mapping[str, Any], who: Callable[[str], str]) -> None:
    """Raise ValueError for the first value that is none of those its name allows."""
    for name, value in values.items():
        expected, holds = RULES.get(name, ("", lambda _: True))
        if not holds(value):
            raise ValueError(f"{who(name)}: expected {expected}, got {short(value)}")


def option(name: str) -> str:
    """How a setting is called on the command line."""
    return "--" + name.replace("_", "-")


GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def weights(symbols: int, cell: str, embedding: int, hidden: int, layers: int) -> int:
    """How many numbers the matrices of a language model hold; its biases are few."""
    inputs = embedding + hidden + 2 * hidden * (layers - 1)
    return symbols * (embedding + hidden) + GATES[cell] * hidden * inputs


def check_memory(
    symbols: int, cell: str, embedding: int, hidden: int, layers: int, batch: int, steps: int,
    *, each: int = 0,
) -> None:  # fmt: skip
    """Raise ValueError, before anything is made, for a training step larger than the memory.

    A rough lower estimate: weights with gradient and Adam's two moments and new values, and what
    `steps` steps of `batch` streams keep; `each` bytes more for each step of a layer.
    """
    kept = batch * (layers * hidden * (GATES[cell] + 4) + embedding + 2 * symbols)
    needed = 20 * weights(symbols, cell, embedding, hidden, layers)
    needed += steps * (8 * kept + layers * each)
    there = memory()
    if needed > there:
        sizes = {"--hidden": hidden, "--layers": layers, "--embedding": embedding, "--batch": batch}
        said = ", ".join(f"{name} {size:,}" for name, size in sizes.items() if size != 1)
        raise ValueError(
            f"{cell} {said} over {steps:,} steps does not fit in memory: about "
            f"{_gigabytes(needed)} GB, and there are {_gigabytes(there)}. Give smaller numbers."
        )


def _gigabytes(size: int) -> str:
    return f"{-(-size // 10**9):,}"


def memory() -> int:
    """The bytes that this machine has, or that the container we are in may use."""
    found = [sys.maxsize]
    with suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(ValueError, OSError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(size for size in found if size > 0)
