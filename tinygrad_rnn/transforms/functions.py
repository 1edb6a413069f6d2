"""What differentiates a function: its gradient, its products with vectors, its matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from ..grad import pullback
from ..hooks import hooked
from ..nn.hooks import has_hooks
from ..ops import reshape, stack
from ..ops.clipping import _clip_gradient
from ..tensor import Tensor, _births, _Switch, describe, detach, history, mode, owned, recording
from .batch import Passage, batches, behind, ground, grounded, kept, lifted, own, raised
from .checkpoint import Around, Made, fixed, recalled
from .containers import built, floats, function, got, leaves, matched
from .tangents import as_tensor, nothing, older, pushed

F = Callable[..., Any]
Argnums = int | Sequence[int]


def _is_float(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype.kind == "f"


class Evaluation:
    """A function run once, on tensors of its own in place of those that it is differentiated by.

    They are leaves, or where somebody around differentiates too, copies with a past; a module's
    parameters stay the leaves that they are. What was computed before is constant.
    """

    def __init__(
        self, who: str, f: F, given: Sequence[Any], places: Sequence[int], has_aux: bool,
        words: dict[str, Any],
    ):  # fmt: skip
        function(who, f)
        with ground():
            if mode.trace:
                mode.trace.written_down()
        self.who, self.has_aux, args = who, has_aux, [*given]
        same = fixed(f)
        self.around = Around(True, lambda: Evaluation(who, same, given, places, has_aux, words))
        self.given, fresh = list[Tensor](), list[Tensor]()
        self.began, self.keys = next(_births), [batch.key for batch in batches()]
        for k in places:
            inside = [floats(who, where, x) for where, x in leaves(given[k], f"argument {k}")]
            fresh += map(own, inside)
            part = iter(fresh[len(fresh) - len(inside) :])
            args[k] = built(given[k], part, lambda module, _: module)
            self.given += map(behind, inside)
        for x in filter(has_hooks, self.given if self.keys else ()):
            raise TypeError(
                f"vmap: {describe(x)} has a hook, which is of one gradient, and every example has "
                "its own. Remove it, and do the same to what the transform returns."
            )
        self.like = [args[k] for k in places]
        if len({*self.xs}) != len(self.xs):
            raise ValueError(f"{who}: the same parameters stand twice in what it differentiates by")
        self.aux = None
        with _Switch(recording=True, within=True), lifted(self.xs, fresh) as self.ends:
            with self.around.first():
                out = f(*args, **words)
            if has_aux:
                if not isinstance(out, tuple) or len(out) != 2:
                    raise TypeError(
                        f"{who}: has_aux: expected f to return (result, aux), {got(out)}"
                    )
                out, self.aux = out
            self.result = out
            self.wholes = [
                grounded(self._checked(where, y)) for where, y in leaves(out, "its result")
            ]
        self.outside = older(self.wholes, self.began)

    @property
    def xs(self) -> list[Tensor]:
        """What it is differentiated by."""
        return [x for _, x in leaves(self.like)]

    @property
    def ys(self) -> list[Tensor]:
        """The tensors in its result."""
        return [y for _, y in leaves(self.result)]

    def _checked(self, where: str, y: Any) -> Tensor:
        if not isinstance(y, Tensor) or y.dtype.kind != "f":
            raise TypeError(
                f"{self.who}: {where}: expected tensors of floats, {got(y)}. Write the function "
                "in tensor arithmetic; what has no derivative it may return as aux, with has_aux."
            )
        return y

    def one(self) -> Tensor:
        """The result, which has to be one number."""
        if not isinstance(self.result, Tensor) or self.result.size != 1:
            raise TypeError(
                f"{self.who}: expected a function that returns one number, {got(self.result)}. "
                "Reduce it (y.sum()), or use jacobian or vjp."
            )
        return self.result

    def pull(
        self, gs: Sequence[Tensor | None], again: bool = True, ys: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """The cotangents of what it is differentiated by; the graph is kept if it is used again."""
        way = Passage(self.keys)
        wholes = self.wholes if ys is None else [*map(grounded, ys)]
        until = self.outside if ys is None else older(wholes, self.began)
        pairs = [(y, way.down(g)) for y, g in zip(wholes, gs, strict=True) if g is not None]
        keep = kept() or bool(way.more)
        with way.on():
            found = pullback(
                [y for y, _ in pairs], [g if keep else g._array for _, g in pairs], self.ends,
                until=until, create_graph=keep, retain_graph=keep or again,
            )  # fmt: skip
            with recording(keep):
                pulled = [
                    as_tensor(hooked(outer, found[x]) if x in found else nothing(x))
                    for x, outer in zip(self.ends, self.given, strict=True)
                ]
        return [way.up(x) for x in pulled]

    def push(self, vs: Sequence[Tensor | None]) -> list[Tensor]:
        """The tangents of the results; None stands for what does not move."""
        for x in filter(has_hooks, self.given):
            raise TypeError(
                f"{self.who}: {describe(x)} has a hook, which is of a gradient, and there is none "
                "in forward mode. Remove it (handle.remove()), or take the gradient (grad, vjp)."
            )
        way = Passage(self.keys)
        with recording(kept()):
            pairs = zip(self.ends, vs, strict=True)
            seeds = {x: way.down(v) for x, v in pairs if v is not None}
            with way.on():
                moved = pushed(self.wholes, seeds, self.outside)
            return [way.up(v) for v in moved]

    def ways(self, tangents: Any) -> list[Tensor]:
        """A tangent of each tensor that it is differentiated by."""
        return matched(self.who, tuple(self.like), tangents, "tangents")

    def turn(self, vs: Sequence[Tensor | None], again: bool = True) -> list[Tensor]:
        """The gradient of the tangent of its one result: how the gradient moves."""
        for y in history(self.ys):
            if (hooks := has_hooks(y)) or _clips(y):
                how = "changed by hooks" if hooks else "clipped"
                raise ValueError(
                    f"{self.who}: a gradient is {how} in the backward pass, and so of no function. "
                    "Differentiate without, or take jvp(grad(f), ...), which follows that pass."
                )
        with _Switch(recording=True, within=True):
            moved = self.push(vs)
        return self.pull([owned(np.ones(y.shape, y.dtype)) for y in moved], again, moved)

    def like_primals(self, values: Sequence[Any]) -> list[Any]:
        """Values in the containers of what it is differentiated by."""
        each = iter(values)
        return [built(like, each) for like in self.like]

    def value(self, x: Any) -> Any:
        """What the function returned; without a past where nothing is recorded."""
        return x if kept() else detach(x)

    def told(self, make: Callable[[Evaluation], Any], *more: Tensor) -> Any:
        """What is made of this run, and that it came from what the function read, and `more`.

        Where somebody outside waits for gradients of that, all is done again when they come by; or
        at once if a transform or a loop around records it, which did not when it was first run.
        """
        read = {*self.outside, *self.given, *map(behind, more)}
        pairs = zip(self.ends, self.given, strict=True)
        cut = any(x.op is None and x is not given and given.tracked for x, given in pairs)
        if kept() and not cut:
            return make(self)
        if not mode.recording or not any(x.tracked for x in read):
            return make(self)
        trace, around, before = mode.trace, self.around, Made(self.wholes, self.began, self.ends)

        def again(made_in: Any) -> Any:
            with _Switch(trace=made_in):
                run = around.run()
            before.check(Made(run.wholes, run.began, run.ends))
            return make(run)

        if kept():  # which was not so when it was run: its past is made now
            with around.again():
                return again(around.trace)
        found = make(self)

        def below(found: Callable[[], Any]) -> Any:
            with _Switch(trace=trace):
                out = found()
                inside = [grounded(x) if _is_float(x) else x for _, x in leaves(out)]
                return built(out, iter(inside), lambda module, _: module)

        found = below(lambda: found)
        made = {x for _, x in leaves(found) if _is_float(x)}
        with ground():
            back = lambda: below(lambda: again(around.trace))
            found = recalled(found, made, read, back, around, before)
        inside = [raised(x) if _is_float(x) else x for _, x in leaves(found)]
        return built(found, iter(inside), lambda module, _: module)


# -- reverse mode --------------------------------------------------------------------------------


def vjp(f: F, *primals: Any, has_aux: bool = False) -> Any:
    """Return f(*primals), and the function that takes its cotangent to those of the primals.

    Both are made of tensors in lists, tuples, dicts and modules; of a module the cotangents are a
    dict by the paths of its parameters. The second returns a tuple, one for each primal, and may
    be called again. With has_aux f returns (result, aux), and aux comes third.

    >>> y, pull = tg.transforms.vjp(lambda x: x * x, tg.tensor([1.0, 3.0]))
    >>> pull([1.0, 1.0])[0].numpy()
    array([2., 6.])
    """
    run = _at("vjp", f, primals, has_aux)

    def pull(cotangents: Any) -> Any:
        gs = matched("vjp", run.result, cotangents, "the cotangent")
        return run.told(lambda run: tuple(run.like_primals(run.pull(gs))), *gs)

    return _with_function(run, pull)


def value_and_grad(f: F, argnums: Argnums = 0, has_aux: bool = False) -> F:
    """Return the function that computes f(...) and its gradient by one argument, or several.

    f returns one number, or with has_aux (number, aux). The arguments that argnums names, by place
    from 0, hold tensors of floats in lists, tuples, dicts and modules, and so does the gradient; of
    a module it is a dict by the paths of its parameters. argnums of several gives a tuple. Other
    arguments, and those by name, may be anything. It returns (value, gradient), with has_aux
    ((value, aux), gradient).

    >>> f = tg.transforms.value_and_grad(lambda w, x: (w["a"] * x).sum())
    >>> value, g = f({"a": tg.tensor(2.0)}, tg.tensor([1.0, 3.0]))
    >>> value.item(), g["a"].item()
    (8.0, 4.0)
    """
    made = lambda run: (_with_aux(run, run.value(run.result)), _gradient(argnums, run))
    return _derivative("value_and_grad", f, argnums, has_aux, made)


def grad(f: F, argnums: Argnums = 0, has_aux: bool = False) -> F:
    """Return the function that computes the gradient of f; arguments as of `value_and_grad`.

    With has_aux it returns (gradient, aux). The gradient of a tensor that is there already is
    `tg.grad(y, xs)`.

    >>> slope = tg.transforms.grad(lambda x: x ** 3)
    >>> slope(2.0).item(), tg.transforms.grad(slope)(2.0).item()
    (12.0, 12.0)
    """
    made = lambda run: _with_aux(run, _gradient(argnums, run))
    return _derivative("grad", f, argnums, has_aux, made)


def _gradient(argnums: Argnums, run: Evaluation) -> Any:
    seed = np.ones(run.one().shape, run.one().dtype)
    return _by(argnums, run, run.pull([owned(seed)], again=False))


# -- forward mode --------------------------------------------------------------------------------


def linearize(f: F, *primals: Any, has_aux: bool = False) -> Any:
    """Return f(*primals), and the function that takes tangents of the primals to that of f.

    As `jvp`, for many tangents: f is run once, and again only for the past of what is made of it.

    >>> y, push = tg.transforms.linearize(lambda x: x * x, tg.tensor([1.0, 3.0]))
    >>> push([1.0, 0.0]).numpy(), push([0.0, 1.0]).numpy()
    (array([2., 0.]), array([0., 6.]))
    """
    run = _at("linearize", f, primals, has_aux)

    def push(*tangents: Any) -> Any:
        vs = run.ways(tangents)
        return run.told(lambda run: built(run.result, iter(run.push(vs))), *vs)

    return _with_function(run, push)


def jvp(f: F, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """Return f(*primals), and how it moves when the primals move along the tangents.

    Forward mode. A tangent is like its primal: tensors of its shapes in the same containers; of a
    module a dict by the paths of its parameters. The cost is a small multiple of that of f, however
    many numbers f returns; a compiled loop is followed by a compiled loop. With has_aux f returns
    (result, aux), and aux comes third.

    >>> y, dy = tg.transforms.jvp(lambda x, z: x * z, (2.0, 3.0), (1.0, 0.0))
    >>> y.item(), dy.item()
    (6.0, 3.0)
    """
    run = _at("jvp", f, primals, has_aux)
    vs = run.ways(tangents)
    both = lambda run: (run.value(run.result), built(run.result, iter(run.push(vs))))
    return run.told(lambda run: _with_aux(run, *both(run)), *vs)


def hvp(f: F, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """Return how the gradients of f at the primals move along the tangents: Hessian times vector.

    f returns one number. The answer is a tuple, one for each primal; with has_aux (answer, aux).
    It is the gradient of a tangent, so that compiled loops stay such; the Hessian is never made.

    >>> x = tg.tensor([1.0, 2.0])
    >>> tg.transforms.hvp(lambda x: (x ** 3).sum(), (x,), ([1.0, 0.0],))[0].numpy()
    array([6., 0.])
    """
    run = _at("hvp", f, primals, has_aux)
    run.one()
    vs = run.ways(tangents)
    turned = lambda run: tuple(run.like_primals(run.turn(vs, again=False)))
    return run.told(lambda run: _with_aux(run, turned(run)), *vs)


def _at(who: str, f: F, primals: Any, has_aux: bool) -> Evaluation:
    """The run of a function at its primals, given as one tuple."""
    if not isinstance(primals, tuple | list):
        raise TypeError(f"{who}: primals: expected a tuple, one for each argument, {got(primals)}")
    return Evaluation(who, f, primals, range(len(primals)), has_aux, {})


# -- matrices ------------------------------------------------------------------------------------


def jacobian(f: F, argnums: Argnums = 0, has_aux: bool = False) -> F:
    """Return the function that computes the Jacobian of f by one argument, or several.

    Arguments as of `value_and_grad`; f may return any tensors of floats in containers. In the place
    of each tensor y of the result stand the derivatives by each tensor x, in the containers of the
    argument, of shape y.shape + x.shape. Forward or reverse mode, whichever has fewer passes. With
    has_aux it returns (Jacobian, aux).

    >>> tg.transforms.jacobian(lambda x: x * x[0])(tg.tensor([1.0, 2.0])).numpy()
    array([[2., 0.],
           [2., 1.]])
    """

    def made(run: Evaluation) -> Any:
        if sum(x.size for x in run.xs) <= sum(y.size for y in run.ys):
            rows = _matrix(run.push, run.ys, run.xs, -1)
        else:
            rows = [[*row] for row in zip(*_matrix(run.pull, run.xs, run.ys, 0), strict=True)]
        return _with_aux(run, built(run.result, iter([_by(argnums, run, row) for row in rows])))

    return _derivative("jacobian", f, argnums, has_aux, made)


def hessian(f: F, argnums: Argnums = 0, has_aux: bool = False) -> F:
    """Return the function that computes the second derivatives of f, which returns one number.

    Arguments as of `value_and_grad`. In the place of each tensor x of the arguments stand the
    containers again, with the derivatives of the gradient by x: of shape x.shape + z.shape for each
    tensor z. One product (`hvp`) for each number. With has_aux it returns (Hessian, aux).

    >>> tg.transforms.hessian(lambda x: x[0] * x[0] * x[1])(tg.tensor([1.0, 2.0])).numpy()
    array([[4., 2.],
           [2., 0.]])
    """

    def made(run: Evaluation) -> Any:
        run.one()
        rows = _matrix(run.turn, run.xs, run.xs, -1)
        return _with_aux(run, _by(argnums, run, [_by(argnums, run, row) for row in rows]))

    return _derivative("hessian", f, argnums, has_aux, made)


def _matrix(
    move: Callable[[Sequence[Any]], list[Tensor]], of: Sequence[Tensor], by: Sequence[Tensor],
    axis: int,
) -> list[list[Tensor]]:  # fmt: skip
    """How each of some tensors moves with every number of each of others, one pass for each.

    The axes of what the passes are for come last, or with axis 0 first.
    """
    table: list[list[Tensor]] = [[] for _ in of]
    for j, x in enumerate(by):
        passes = []
        for i in range(x.size):
            unit = np.zeros(x.shape, x.dtype)
            unit.flat[i] = 1
            passes.append(move([owned(unit) if k == j else None for k in range(len(by))]))
        for k, (row, y) in enumerate(zip(table, of, strict=True)):
            shape = y.shape + x.shape if axis else x.shape + y.shape
            whole = stack([p[k] for p in passes], axis) if passes else owned(np.zeros(0, y.dtype))
            row.append(reshape(whole, shape=shape))
    return table


def _clips(y: Tensor) -> bool:
    """Whether a gradient is clipped there, or in the steps of a loop."""
    held: Any = y.attrs.get("run") or y.attrs.get("scan")
    steps = held.program.step.ops if hasattr(held, "program") else ()
    return y.op is _clip_gradient or any(map(_clips, steps))


# -- what they share -----------------------------------------------------------------------------


def _derivative(
    who: str, f: F, argnums: Argnums, has_aux: bool, made: Callable[[Evaluation], Any]
) -> F:
    """The function that runs f, and returns what is made of that, with a past."""

    def derivative(*args: Any, **words: Any) -> Any:
        run = Evaluation(who, f, args, _places(who, argnums, args), has_aux, words)
        return run.told(made)

    return wraps(function(who, f))(derivative)


def _by(argnums: Argnums, run: Evaluation, values: Sequence[Any]) -> Any:
    """Values in the containers of the arguments, a tuple of them where several are named."""
    found = run.like_primals(values)
    return found[0] if isinstance(argnums, int | np.integer) else tuple(found)


def _with_aux(run: Evaluation, *found: Any) -> Any:
    found = (*found, run.value(run.aux)) if run.has_aux else found
    return found if len(found) > 1 else found[0]


def _with_function(run: Evaluation, more: F) -> Any:
    """The result, a function that differentiates it, and aux."""
    found = run.told(lambda run: _with_aux(run, run.value(run.result)))
    return (found[0], more, found[1]) if run.has_aux else (found, more)


def _places(who: str, argnums: Argnums, args: Sequence[Any]) -> list[int]:
    """The arguments by which a function is differentiated, counted from 0."""
    places: list[Any] = list(argnums) if isinstance(argnums, list | tuple) else [argnums]
    whole = all(isinstance(k, int | np.integer) and not isinstance(k, bool) for k in places)
    inside = {k % len(args) for k in places if -len(args) <= k < len(args)} if whole else set[int]()
    if not places or len(inside) != len(places):
        raise ValueError(
            f"{who}: argnums: expected the place of an argument, or of several, among {len(args)} "
            f"given by position, got {argnums!r}"
        )
    return [int(k) % len(args) for k in places]
