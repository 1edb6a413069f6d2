"""The cases of the third level: what a graph of values has to do besides the rules of its ops."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import reduce
from typing import Any

import numpy as np

from .cases import CASES, Stop, case, check, same
from .engine import Engine, NotOffered, Wrong, told
from .evidence import stored

DEEP, STEPS, LEAST = 10_000, 200, 100  # values in a chain; calls, and bytes a call, of a leak


def under_no_grad(k: Any, x: Any, y: Any) -> Any:
    with k.no_grad():
        a = x * y
    return a * x


def added_in_place(k: Any, x: Any) -> Any:
    y = x * x
    z = y * y
    y += x
    return z + y


def written(k: Any, x: Any, w: Any) -> Any:
    y = x * w
    z = k.sum(y * y)
    y[0] = w[1]
    return z + k.sum(y)


# fmt: off
for row in (
    ("fan_out", "mul", "a value used twice in one op gets one of its two gradients",
     lambda k, x, y: x * x * y),
    ("diamond", "fan_out,add", "a value used by two ops gets the gradient of one",
     lambda k, x, y: x * y * (x * y) + x * y * x),
    ("order", "diamond", "a gradient is passed on before all of it has come: the order of the walk",
     lambda k, x, y: (lambda a: (a + a * x) * a)(x * y)),
    ("shared", "order", "a gradient that goes on along two ways is one array, added to on one",
     lambda k, x, y: (lambda w: (x + y) + x + ((w + x) + w))(x * y)),
    ("paths", "order", "each path is walked by itself: 40 doublings take 2 ** 40 steps",
     lambda k, x: reduce(lambda x, _: x + x, range(40), x)),
    ("unused", "mul", "an input that is not used has no gradient, where it is 0",
     lambda k, x, y, z: x * z),
    ("deep", "order", "recursion: a chain of 10,000 values is too deep",
     lambda k, x, y: reduce(lambda y, _: y * x, range(DEEP), y)),
    ("no_grad", "fan_out", "no_grad() has no effect: what is computed under it gets a gradient",
     under_no_grad),
    ("detach", "fan_out", "detach() lets a gradient through, or changes the value",
     lambda k, x, y: k.detach(x * y) * x),
):
    case(3, *row)
# fmt: on


def allowed(judge: Callable[[], None]) -> None:
    """Judge what an engine may also refuse, if it does so loudly."""
    try:
        judge()
    except (NotOffered, Wrong):
        raise
    except Exception as error:
        raise NotOffered(f"refused by {told(error)}") from error


@check(3, "again", "mul", "the gradients of the call before are still there")
def again(engine: Engine) -> None:
    given = [a.copy() for a in stored()["mul"].inputs]
    for _ in range(3):
        same(engine, "mul", arrays=given, copy=False)
    if any(a != b for a, b in zip(given, stored()["mul"].inputs, strict=True)):
        raise Wrong("what was given has other numbers now: it was written into")


@check(3, "twins", "mul", "an array that is given twice is taken for one input")
def twins(engine: Engine) -> None:
    one = stored()["twins"].inputs[0].copy()
    same(engine, "twins", lambda k, x, y: x * y, [one, one], copy=False)


@check(3, "backward_twice", "again", "backward twice over one graph adds what is between twice")
def backward_twice(engine: Engine) -> None:
    if not engine.takes("times"):
        raise NotOffered("value_and_grad(f, arrays, times)")
    allowed(lambda: same(engine, "backward_twice", CASES["mul"].f, times=2))


@check(3, "in_place", "order", "y += x writes into a number that the backward pass needs")
def in_place(engine: Engine) -> None:
    allowed(lambda: same(engine, "in_place", added_in_place))


@check(3, "write", "index", "y[0] = x writes into a number that the backward pass needs")
def write(engine: Engine) -> None:
    allowed(lambda: same(engine, "write", written))


@check(3, "changed_later", "fan_out", "an array that its owner changes later changes the gradient")
def changed_later(engine: Engine) -> None:
    given = [a.copy() for a in stored()["fan_out"].inputs]

    def changing(k: Any, x: Any, y: Any) -> Any:
        result = x * x * y
        given[0][...] = 7.0
        return result

    allowed(lambda: same(engine, "fan_out", changing, given, copy=False))


@check(3, "aliases", "add", "two gradients are one array: who adds to the first changes the second")
def aliases(engine: Engine) -> None:
    sizes = (2,) if engine.has_arrays else ()
    given = [np.full(sizes, a) for a in (3.0, 5.0)]
    added = lambda k, x, y: k.sum(x + y) if sizes else x + y
    (first, beside), (later, _) = (engine.run(added, given, copy=False)[1] for _ in range(2))
    every = {"input 0": given[0], "gradient 1": beside, "gradient 0 of the next call": later}
    for name, other in every.items():
        if np.shares_memory(first, other) and first.flags.writeable:
            raise Wrong(f"gradient 0 and {name} are one array")


@check(3, "no_grad_ends", "no_grad", "no_grad() is still on after an error under it", True)
def no_grad_ends(engine: Engine) -> None:
    def left(k: Any, x: Any, y: Any, z: Any) -> Any:
        with suppress(Stop), k.no_grad():
            raise Stop
        return x * y * z

    same(engine, "mul", left)


@check(3, "leak", "again", "a leak: something keeps every graph, over 200 calls")
def leak(engine: Engine) -> None:
    if all((grown := _grown(engine, gc.collect)) > LEAST for _ in range(3)):
        raise Wrong(
            f"memory grows by {grown:.0f} bytes with every call: nothing lets go of a graph"
        )


@check(3, "cycles", "leak", "a cycle: graphs stay until the garbage collector comes")
def cycles(engine: Engine) -> None:
    gc.disable()
    if (grown := _grown(engine, lambda: None)) > LEAST:
        raise Wrong(f"memory grows by {grown:.0f} bytes with every call while the collector is off")


def _grown(engine: Engine, collect: Callable[[], Any]) -> float:
    """By how many bytes a call memory grows, in that half in which it grows less.

    What fills a cache, its own or Python's, has come to an end by then; what leaks goes on.
    """
    marks = []
    for step in range(2 * STEPS + 1):
        if step == STEPS:
            tracemalloc.start()
        if step >= STEPS and step % (STEPS // 2) == 0:
            collect()
            marks.append(tracemalloc.get_traced_memory()[0])
        engine.run(lambda k, x, y: (x * y + x) * y * x, [3.0, 5.0])
    tracemalloc.stop()
    return float(np.diff(marks).min()) / (STEPS // 2)
