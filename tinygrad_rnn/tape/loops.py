"""A compiled loop is what it means: the steps one by one, without doing them again."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..loops.scanned import expand, scanned
from ..op import Op, pick
from ..tensor import Outline, Tensor, _births, _Switch, history
from ..transforms.tangents import refuse_changed
from .words import literal


def with_steps(
    outputs: Sequence[Tensor], values: bool = True, most: int | None = None
) -> tuple[list[Tensor], dict[str, int]]:
    """The outputs, with a history in which every step of every scan is recorded.

    Leaves, and what is older than the first scan, are the tensors themselves; what is younger is
    copied, so that the graph stays as it is. Without `values` only numbers of no dimension, which a
    picture tells, are computed. most: of a longer scan record only so many steps, the first it
    does; the second answer tells, by the scope of each such scan, how many it has. Raises
    RuntimeError where `values` would mix old and new: those of a leaf changed since.
    """
    order = history(outputs)[::-1]
    if values:
        refuse_changed(order)
    lengths: dict[str, int] = {}
    first = next((k for k, y in enumerate(order) if y.op is scanned), None)
    if first is None:
        return list(outputs), lengths
    image: dict[Tensor, Any] = {y: y for k, y in enumerate(order) if k < first or y.op is None}
    with _Switch(recording=True, anomaly=False, trace=None), np.errstate(all="ignore"):
        for y in (y for y in order if y not in image):
            inputs = [image[x] for x in y.inputs]
            if y.op is scanned:
                run = y.attrs["run"]
                if most is not None and run.length > most:
                    lengths[literal(run.told.scope, 200)] = run.length
                    image[y] = _begun(run, inputs, most, values)
                else:
                    image[y] = _recorded(run, inputs, values)
            elif y.op is pick and y.inputs[0].op is scanned:
                image[y] = _result(y, inputs[0])
            else:
                image[y] = copied(y, inputs)
    shown = [image[y] for y in outputs]
    return [x for y in shown for x in (y if type(y) is list else [y])], lengths


def work(outputs: Sequence[Tensor]) -> int:
    """How many ops all steps of all scans have, before any is recorded."""
    runs = [y.attrs["run"] for y in history(outputs) if y.op is scanned]
    return sum(run.length * count(run.program.step) for run in runs)


def scans_in(step: Any) -> list[Any]:
    """The scans inside a step: what each does, and how often."""
    return [y.attrs["scan"] for y in step.ops if hasattr(y.op, "steps")]


def count(step: Any) -> int:
    """How many ops a step has where scans in it are step by step."""
    return len(step.ops) + sum(x.length * count(x.program.step) for x in scans_in(step))


def answers(step: Any) -> list[Any]:
    """What all ops give, those of scans in it too."""
    return sum([answers(x.program.step) for x in scans_in(step)], [y._array for y in step.ops])


def _begun(run: Any, inputs: list[Tensor], most: int, values: bool) -> list[Tensor]:
    """The results of a scan of which only the first steps are recorded.

    What it read has its whole length again in the end.
    """
    short, count = copy(run), len(run.program.step.xs)
    short.length = most
    cut = slice(None, most) if run.way > 0 else slice(-most, None)
    xs = [copied(x, x.inputs) for x in inputs[:count]]
    for x in xs:
        x._array = x._array[cut]
    results = _recorded(short, [*xs, *inputs[count:]], values)
    for x, whole in zip(xs, inputs, strict=False):
        x._array = whole._array
    for y in history(results):
        if not set(xs).isdisjoint(y.inputs) and type(y._array) is tuple:
            y._array = y._array[:1] * run.length
    return results


def _recorded(run: Any, inputs: list[Tensor], values: bool) -> list[Tensor]:
    """The results of a scan, every step of it recorded."""
    shapes = [a.shape for a in answers(run.program.step) if type(a) is Outline]
    names = [x.name for x in inputs]
    node: Any = SimpleNamespace(attrs={"run": run})
    results = expand(node, inputs, None if values or () in shapes else _outlined)
    for x, name in zip(inputs, names, strict=True):
        x.name = name  # a step that hands one of them on has given it the name of a state
    return results


def _outlined(op: Op, inputs: Sequence[Tensor], attrs: dict[str, Any], answer: Any) -> Any:
    """What an op would remember of a call, without doing it."""
    if type(answer) is tuple:
        return op.several(tuple(map(_blank, answer)), tuple(inputs), attrs)
    return op._remember(_blank(answer), tuple(inputs), attrs)


@lru_cache(64)
def _blank(outline: Outline) -> np.ndarray:
    """An array of that shape that takes no room."""
    return np.broadcast_to(np.zeros((), outline.dtype), outline.shape)


def _result(y: Tensor, results: list[Tensor]) -> Tensor:
    """What was picked from a scan: with its numbers, its gradient, and its name."""
    x = results[y.attrs["i"]]
    x._array, x._grad, x._hooks, x.name = y._array, y._grad, y._hooks, y.name or x.name
    return x


def copied(y: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """A tensor as it is, but made of others, and younger."""
    x = object.__new__(Tensor)
    for slot in ("_array", "_grad", "_hooks", "tracked", "name", "scope", "line", "op", "attrs"):
        setattr(x, slot, getattr(y, slot))
    x.inputs, x.born = tuple(inputs), next(_births)
    return x
