"""The formula of a tensor, read from what it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..op import Op, pick
from ..ops import arithmetic as ar
from ..ops import linear, reduce, shape
from ..tensor import Tensor
from .term import Call, Number, Symbol, Term, minus, plus, raised, scaled, times

CHOSEN = range(211, 250)  # batches to choose from, of which hardly anything else is a multiple


class Reader:
    """Formulas of tensors, in which those that are in `names` go by their names.

    batch: the size that is the batch's, over which a sum is Σ_batch; below 0 for one that no other
    axis has, which is B in shapes and, if it was `CHOSEN`, as no number is by chance, in formulas.
    """

    def __init__(self, names: Mapping[Tensor, Term], batch: int = 0):
        self.names, self.batch, self.is_own = names, abs(batch), batch < 0
        self.known: dict[Tensor, Term] = {}

    def __call__(self, y: Tensor) -> Term:
        """Its name, or its formula."""
        return self.names[y] if y in self.names else self.formula(y)

    def formula(self, y: Tensor) -> Term:
        """How it is made, whether or not it has a name."""
        stack = [y]
        while stack:
            z = stack[-1]
            waits = [x for x in z.inputs if x not in self.known and x not in self.names]
            if z in self.known or not waits:
                stack.pop()
                self.known.setdefault(z, self._made(z))
            stack += waits
        return self.known[y]

    def _made(self, y: Tensor) -> Term:
        if y.op is None and not y.name and self.is_own:
            return self.in_batches(constant(y._array))
        if y.op is None:
            return Symbol(y.name) if y.name else constant(y._array)
        inputs = [self.names[x] if x in self.names else self.known[x] for x in y.inputs]
        if y.op.pointwise:
            inputs = _unexpanded(y, inputs)
        made: Term | None = _FORMS[y.op](self, y, *inputs) if y.op in _FORMS else None
        attrs = tuple((name, self.setting(name, value)) for name, value in y.attrs.items())
        return made or Call(y.op, tuple(inputs), attrs)

    def setting(self, name: str, value: Any) -> Any:
        """An attribute, in which a shape has B for the batch."""
        if name != "shape" or not self.is_own:
            return value
        times = [n // self.batch if n % self.batch == 0 else 0 for n in value]
        pairs = zip(times, value, strict=True)
        return tuple([f"{k} * B" if k > 1 else "B" if k else n for k, n in pairs])

    def in_batches(self, x: Term) -> Term:
        """A constant, in which the batch is B."""
        if isinstance(x, Call):
            return replace(x, attrs=tuple([(name, self.setting(name, v)) for name, v in x.attrs]))
        assert isinstance(x, Number)
        if self.batch not in CHOSEN or not x.value:
            return x
        for value, n in (x.value, 1), (1 / x.value, -1):
            times_batch = round(value / self.batch)
            if times_batch and times_batch * self.batch in (value, value + 1):
                whole = times(Number(float(times_batch)), Symbol("B"))
                return raised(plus(whole, Number(value - times_batch * self.batch)), n)
        return x

    def total(self, y: Tensor, x: Term) -> Term | None:
        """A sum that has a sign of its own: over the batch, or along the last axis."""
        before, after = y.inputs[0].shape, y.shape
        if before == after:
            return x
        axes = None if y.op is shape.sum_to else reduce.axes_of(y.inputs[0], y.attrs["axis"])
        over = ""
        if axes in (None, (0,)) and before == (self.batch, *after):
            over = "batch"
        elif axes in (None, (len(before) - 1,)) and after == (*before[:-1], 1):
            over = "j"
        c, p = scaled(x)
        if isinstance(p, Number) or not over:
            return None
        return times(Number(c), Call(reduce.sum, (p,), (("over", over),)))


def constant(array: Any) -> Term:
    """A number, or an array of one number."""
    flat = np.asarray(array).reshape(-1)
    if flat.size and ((flat == flat[0]) | ((flat != flat) & (flat[0] != flat[0]))).all():
        one = Number(float(flat[0]))
        return Call(shape.broadcast_to, (one,), (("shape", array.shape),)) if array.ndim else one
    raise ValueError("a constant array has no name")


def _unexpanded(y: Tensor, inputs: list[Term]) -> list[Term]:
    """Inputs of a pointwise op without what broadcasting does anyway; constants as numbers."""
    shapes = [x.shape for x in y.inputs]
    for k, (x, term) in enumerate(zip(y.inputs, inputs, strict=True)):
        if not isinstance(term, Call) or term.op is not shape.broadcast_to or x.op not in _SPREAD:
            continue
        small = x.inputs[0].shape if x.op is not None else ()
        if np.broadcast_shapes(*shapes[:k], small, *shapes[k + 1 :]) == y.shape:
            inputs[k], shapes[k] = term.inputs[0], small
    return inputs


_SPREAD = (None, shape.broadcast_to)

# -- ops that have a sign of their own -------------------------------------------------------------


def _power(read: Reader, y: Tensor, x: Term, n: Term) -> Term | None:
    whole = isinstance(n, Number) and n.value == round(n.value) and 1 <= n.value <= 9
    return raised(x, int(n.value)) if whole and isinstance(n, Number) else None


def _moved(read: Reader, y: Tensor, x: Term) -> Term | None:
    """Axes that change places, if these are rows and columns."""
    is_turned = y.ndim == 2 and y.op.body(_WIDE, **y.attrs).shape == _WIDE.shape[::-1]
    return turned(x) if is_turned else None


_WIDE = np.empty((2, 3))


def turned(x: Term) -> Term:
    """xᵀ: of a product of matrices the other way round, and of one turned already what it was."""
    c, p = scaled(x)
    if c != 1 and not isinstance(p, Number):
        return times(Number(c), turned(p))
    if isinstance(x, Call) and x.op is shape.transpose and x.attrs == _TURNED:
        return x.inputs[0]
    if isinstance(x, Call) and x.op is linear._matmul:
        a, b = x.inputs
        return Call(linear._matmul, (turned(b), turned(a)))
    return Call(shape.transpose, (x,), _TURNED)


_TURNED = (("axes", None),)


def _where(read: Reader, y: Tensor, condition: Term, *ways: Term) -> Term | None:
    """Where it is known which way, that one."""
    if not isinstance(condition, Number):
        return None
    k = 0 if condition.value else 1
    return ways[k] if y.inputs[1 + k].shape == y.shape else None


def _astype(read: Reader, y: Tensor, x: Term) -> Term | None:
    return x if y.inputs[0].dtype.kind == "f" and y.dtype.kind == "f" else None


def _matmul(read: Reader, y: Tensor, a: Term, b: Term) -> Term:
    """Numbers go before the product; they come from means, and from what is taken away."""
    (c, p), (d, q) = scaled(a), scaled(b)
    return times(Number(c * d), Call(linear._matmul, (p, q)))


def _same_shape(read: Reader, y: Tensor, x: Term) -> Term | None:
    return x if y.shape == y.inputs[0].shape else None


def _concat(read: Reader, y: Tensor, *xs: Term) -> Term:
    last = y.attrs["axis"] in (-1, y.ndim - 1)
    return Call(shape._concat, xs, (("axis", "last" if last else y.attrs["axis"]),))


def _pick(read: Reader, y: Tensor, x: Term) -> Term | None:
    """A part of what is taken apart as a block of it; of what was just put together, that part."""
    parts, i = y.inputs[0], y.attrs["i"]
    if not isinstance(x, Call) or parts.op not in (shape._split, shape.unstack):
        return None
    (z,), (whole,) = parts.inputs, x.inputs
    axis = parts.attrs["axis"] % z.ndim
    place: int | slice = i
    if parts.op is shape._split:
        sizes = [part.shape[axis] for part in parts._array]
        if isinstance(whole, Call) and whole.op is z.op is shape._concat:
            own = [part.shape[axis] for part in z.inputs]
            if own == sizes and z.attrs["axis"] % z.ndim == axis:
                return whole.inputs[i]
        first, end = sum(sizes[:i]), sum(sizes[: i + 1])
        place = slice(first or None, None if end == z.shape[axis] else end)
    return Call(shape.take, (whole,), (("index", (slice(None),) * axis + (place,)),))


_FORMS: dict[Op, Any] = {
    ar.add: lambda read, y, a, b: plus(a, b),
    ar.sub: lambda read, y, a, b: minus(a, b),
    ar.mul: lambda read, y, a, b: times(a, b),
    ar.div: lambda read, y, a, b: times(a, reciprocal(b)),
    ar.neg: lambda read, y, a: times(Number(-1.0), a),
    ar.power: _power,
    ar.astype: _astype,
    ar.where: _where,
    ar.tanh_slope: lambda read, z, y, x: minus(Number(1.0), raised(y, 2)),
    ar.sigmoid_slope: lambda read, z, y, x: minus(y, raised(y, 2)),
    linear._matmul: _matmul,
    shape.transpose: _moved,
    shape.swapaxes: _moved,
    shape.reshape: _same_shape,
    shape.broadcast_to: _same_shape,
    shape._concat: _concat,
    shape.sum_to: Reader.total,
    reduce.sum: Reader.total,
    pick: _pick,
}


def reciprocal(x: Term) -> Term:
    """1 / x."""
    c, p = scaled(x)
    if not c:
        return raised(x, -1)
    return times(Number(1 / c), raised(p, -1)) if not isinstance(p, Number) else Number(1 / c)
