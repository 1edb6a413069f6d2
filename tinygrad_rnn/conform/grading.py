"""Grade an engine: every case in its order, and what becomes of those that need one that failed."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .cases import CASES, Case
from .engine import Engine, NotOffered, Wrong, told

PASSED, FAILED, NOT_OFFERED, NOT_JUDGED = OUTCOMES = "passed", "failed", "not offered", "not judged"


class Verdict(NamedTuple):
    """What became of a case.

    outcome: one of "passed", "failed", "not offered", "not judged". words: the evidence of a
    failure; else what was not offered, or which case it waits for. finds: the mistake that the case
    finds.
    """

    name: str
    level: int
    outcome: str
    words: str
    finds: str


def verdict(case: Case, outcome: str, words: str = "") -> Verdict:
    return Verdict(case.name, case.level, outcome, words, case.finds)


def grade(adapter: Any, before: Mapping[str, Verdict] | None = None) -> Iterator[Verdict]:
    """Judge every case, in the order in which they depend on each other.

    adapter: what has a function `value_and_grad(f, arrays)`, and `ops`. before: verdicts that are
    there already. Nothing limits the time that a case takes, as the command does.

    Raises ValueError where there is no value_and_grad.

    >>> from tinygrad_rnn import conform
    >>> class Adapter:
    ...     @staticmethod
    ...     def value_and_grad(f, arrays):
    ...         return 0.0, [0.0 for _ in arrays]
    >>> next(conform.grade(Adapter)).words
    'value: expected -0.7, yours 0: all of it is 0'
    """
    engine, known = Engine(adapter), dict(before or {})
    for case in CASES.values():
        if case.name not in known:
            known[case.name] = waiting(case, known) or _judged(case, engine)
            yield known[case.name]


def waiting(case: Case, known: Mapping[str, Verdict]) -> Verdict | None:
    """The verdict on a case that needs one which did not pass."""
    for need in (known[name] for name in case.needs):
        if need.outcome == FAILED:
            return verdict(case, NOT_JUDGED, f"needs `{need.name}`, which failed")
        if need.outcome == NOT_JUDGED:
            return verdict(case, NOT_JUDGED, need.words)
    for need in (known[name] for name in case.needs):
        if need.outcome == NOT_OFFERED:
            first = need.words if need.words.startswith("needs") else f"needs `{need.name}`"
            return verdict(case, NOT_OFFERED, first)
    return None


def _judged(case: Case, engine: Engine) -> Verdict:
    engine.lacking, running = None, gc.isenabled()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return verdict(case, PASSED, case.judge(engine) or "")
    except (Exception, SystemExit) as error:
        lacking = error if isinstance(error, NotOffered) else engine.lacking
        if lacking is not None:
            return verdict(case, NOT_OFFERED, str(lacking))
        wrong = str(error) if isinstance(error, Wrong) else f"raised {told(error)}"
        return verdict(case, FAILED, wrong)
    finally:
        gc.enable() if running else gc.disable()
