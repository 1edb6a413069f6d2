"""The formula of a tensor, read from what it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..op import Op, pick
from ..ops import arithmetic as ar
from ..ops import linear, reduce, shape
from ..tensor import Tensor
from .term import Call, Number, Term, minus, plus, raised, scaled, times


class Reader:
    """Formulas of tensors, in which those that are in `names` go by their names.

    batch: the size that is the batch's, over which a sum is Σ_batch; below 0 for one that no other
    axis has, which is B in shapes.
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
        if y.op is None:
            return constant(y._array)
        inputs = [self.names[x] if x in self.names else self.known[x] for x in y.inputs]
        if y.op.pointwise:
            inputs = _unexpanded(y, inputs)
        write = _FORMS.get(y.op)
        if write is not None:
            made = write(self, y, *inputs)
            if made is not None:
                return made
        return Call(y.op, tuple(inputs), tuple((k, self.setting(k, v)) for k, v in y.attrs.items()))

    def setting(self, name: str, value: Any) -> Any:
        """An attribute, in which a shape has B for the batch."""
        if name != "shape" or not self.is_own:
            return value
        return tuple(["B" if n == self.batch else n for n in value])

    def total(self, y: Tensor, x: Term) -> Term | None:
        """A sum that has a sign of its own: over the batch, or along the last axis."""
        before, after = y.inputs[0].shape, y.shape
        if before == after:
            return x
        axes, rank = reduce.axes_of(y.inputs[0], y.attrs.get("axis")), len(before)
        if y.op is shape.sum_to:
            axes = tuple(range(rank - len(after))) or tuple(
                k for k in range(rank) if before[k] != after[k]
            )
        over = ""
        if axes == (0,) and before[0] == self.batch and after == before[1:]:
            over = "batch"
        elif axes == (rank - 1,) and after == (*before[:-1], 1):
            over = "j"
        c, p = scaled(x)
        if isinstance(p, Number):
            return None
        return times(Number(c), Call(reduce.sum, (p,), (("over", over),))) if over else None


def constant(array: Any) -> Term:
    """A number, or an array of one number."""
    flat = np.asarray(array).reshape(-1)
    if not array.ndim:
        return Number(float(flat[0]))
    if flat.size and (flat == flat[0]).all():
        full = Call(filled, (Number(float(flat[0])),), (("shape", array.shape),))
        return full
    raise ValueError("a constant array has no name")


def _full(x: Any, shape: Any) -> Any:
    return np.full(shape, x)


_full.__name__ = "full"
filled = Op(_full, [None])


def _unexpanded(y: Tensor, inputs: list[Term]) -> list[Term]:
    """Inputs of a pointwise op without what broadcasting does anyway; constants as numbers."""
    shapes = [x.shape for x in y.inputs]
    for k, term in enumerate(inputs):
        if not isinstance(term, Call) or term.op not in (filled, shape.broadcast_to):
            continue
        inner = term.inputs[0]
        small: tuple[int, ...] = ()
        if term.op is shape.broadcast_to:
            small = (
                y.inputs[k].inputs[0].shape if y.inputs[k].op is shape.broadcast_to else shapes[k]
            )
        if np.broadcast_shapes(*shapes[:k], small, *shapes[k + 1 :]) == y.shape:
            inputs[k], shapes[k] = inner, small
    return inputs


# -- ops that have a sign of their own -------------------------------------------------------------


def _power(read: Reader, y: Tensor, x: Term, n: Term) -> Term | None:
    whole = isinstance(n, Number) and n.value == round(n.value) and 1 <= n.value <= 9
    return raised(x, int(n.value)) if whole and isinstance(n, Number) else None


def _transpose(read: Reader, y: Tensor, x: Term) -> Term | None:
    if y.ndim != 2 or y.attrs.get("axes") not in (None, (1, 0), (-1, -2), (-1, 0), (1, -2)):
        return None
    return turned(x)


def _swapaxes(read: Reader, y: Tensor, x: Term) -> Term | None:
    whole = y.ndim == 2 and y.attrs["axis1"] % 2 != y.attrs["axis2"] % 2
    return turned(x) if whole else None


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


def _astype(read: Reader, y: Tensor, x: Term) -> Term | None:
    return x if y.inputs[0].dtype.kind == "f" and y.dtype.kind == "f" else None


def _matmul(read: Reader, y: Tensor, a: Term, b: Term) -> Term:
    """Numbers go before the product; they come from means, and from what is taken away."""
    (c, p), (d, q) = scaled(a), scaled(b)
    return times(Number(c * d), Call(linear._matmul, (p, q)))


def _sum(read: Reader, y: Tensor, x: Term) -> Term | None:
    return read.total(y, x)


def _same_shape(read: Reader, y: Tensor, x: Term) -> Term | None:
    return x if y.shape == y.inputs[0].shape else None


def _concat(read: Reader, y: Tensor, *xs: Term) -> Term:
    last = y.attrs["axis"] in (-1, y.ndim - 1)
    return Call(shape._concat, xs, (("axis", "last" if last else y.attrs["axis"]),))


def _pick(read: Reader, y: Tensor, x: Term) -> Term | None:
    """A part of what was just put together."""
    if isinstance(x, Call) and x.op is shape._split and isinstance(x.inputs[0], Call):
        whole = x.inputs[0]
        sizes = y.inputs[0].inputs[0]
        if whole.op is shape._concat and sizes.op is shape._concat:
            parts = [part.shape for part in sizes.inputs]
            cuts = [part.shape for part in y.inputs[0]._array]
            if parts == cuts and sizes.attrs["axis"] % y.ndim == y.inputs[0].attrs["axis"] % y.ndim:
                return whole.inputs[y.attrs["i"]]
    return None


_FORMS: dict[Op, Any] = {
    ar.add: lambda read, y, a, b: plus(a, b),
    ar.sub: lambda read, y, a, b: minus(a, b),
    ar.mul: lambda read, y, a, b: times(a, b),
    ar.div: lambda read, y, a, b: times(a, reciprocal(b)),
    ar.neg: lambda read, y, a: times(Number(-1.0), a),
    ar.power: _power,
    ar.astype: _astype,
    linear._matmul: _matmul,
    shape.transpose: _transpose,
    shape.swapaxes: _swapaxes,
    shape.reshape: _same_shape,
    shape.broadcast_to: _same_shape,
    shape._concat: _concat,
    shape.sum_to: _sum,
    reduce.sum: _sum,
    pick: _pick,
}


def reciprocal(x: Term) -> Term:
    """1 / x."""
    c, p = scaled(x)
    if not c:
        return raised(x, -1)
    return times(Number(1 / c), raised(p, -1)) if not isinstance(p, Number) else Number(1 / c)
