"""Products of vectors, matrices and tensors, made of transposes, reshapes and `matmul`."""

from math import prod
from string import ascii_letters
from typing import Any

import numpy as np

from ..limits import axes_of, whole
from ..op import function, operand
from ..tensor import Value
from .arithmetic import astype, mul, where
from .linear import matmul
from .moving import moveaxis, roll
from .reduce import sum
from .shape import reshape, transpose

__all__ = [
    "cross", "diagonal", "dot", "einsum", "kron", "outer", "tensordot", "trace", "tril", "triu",
]  # fmt: skip


@function(method=True)
def dot(a: Value, b: Value) -> Value:
    """Return the sum of products over the last axis of a and the last but one of b, as `np.dot`.

    Of vectors the inner product, of matrices the matrix product, with a number the product.

    >>> tg.dot(tg.tensor([1.0, 2.0]), [3.0, 4.0])
    tensor(11., dtype=float64)
    """
    if not np.ndim(a) or not np.ndim(b):
        return mul(a, b)
    a, b = operand(a), operand(b)
    return matmul(a, b) if b.ndim < 3 else tensordot(a, b, axes=(-1, -2))


@function(2)
def outer(a: Value, b: Value) -> Value:
    """Return the products of each element of a with each of b, (M, N), both laid out flat.

    >>> tg.outer(tg.tensor([1.0, 2.0]), [3.0, 4.0])
    tensor([[3., 4.],
            [6., 8.]], dtype=float64)
    """
    return mul(reshape(a, shape=(-1, 1)), reshape(b, shape=(1, -1)))


@function(2)
def kron(a: Value, b: Value) -> Value:
    """Return the Kronecker product: a with each element replaced by its product with all of b.

    >>> tg.kron(tg.tensor([1.0, 10.0]), [1.0, 2.0])
    tensor([ 1.,  2., 10., 20.], dtype=float64)
    """
    n = max(a.ndim, b.ndim)
    s, t = ((1,) * (n - x.ndim) + x.shape for x in (a, b))
    wide = reshape(a, shape=tuple(size for k in s for size in (k, 1)))
    fine = reshape(b, shape=tuple(size for k in t for size in (1, k)))
    return reshape(mul(wide, fine), shape=tuple(i * k for i, k in zip(s, t, strict=True)))


@function()
def cross(
    a: Value, b: Value, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Value:
    """Return the vector product of vectors of three elements along an axis.

    `axisa`, `axisb` and `axisc` say where they lie in a, in b and in the answer; `axis` all three.

    >>> tg.cross(tg.tensor([1.0, 0.0, 0.0]), [0.0, 1.0, 0.0])
    tensor([0., 0., 1.], dtype=float64)
    """
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis,) * 3
    a, b = moveaxis(a, axisa, -1), moveaxis(b, axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError(f"cross: expected vectors of 3 elements, got {a.shape} and {b.shape}")
    z = roll(a, -1, -1) * roll(b, -2, -1) - roll(a, -2, -1) * roll(b, -1, -1)
    return moveaxis(z, -1, axisc)


# -- parts of matrices ---------------------------------------------------------------------------


@function(method=True)
def diagonal(x: Value, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """Return the elements of which both indices along two axes are equal, as a new last axis.

    `offset` is how far to the right of the diagonal (negative: below) they stand.

    >>> tg.diagonal(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 4.], dtype=float64)
    """
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = x.shape[-2:]
    first = offset if offset >= 0 else -offset * columns
    count = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    flat = reshape(x, shape=(*x.shape[:-2], rows * columns))
    return flat[..., first : first + count * (columns + 1) : columns + 1]


@function(method=True)
def trace(x: Value, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """Return the sum of the diagonal over two axes.

    >>> tg.trace(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(5., dtype=float64)
    """
    return sum(diagonal(x, offset, axis1, axis2), axis=-1)


@function(1)
def tril(x: Value, k: int = 0) -> Value:
    """Return the matrices of the last two axes with 0 above the k-th diagonal.

    >>> tg.tril(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[1., 0.],
            [3., 4.]], dtype=float64)
    """
    below = np.tril(np.ones(x.shape[-2:], bool), k)
    return where(below, x, np.zeros((), x.dtype))


@function(1)
def triu(x: Value, k: int = 0) -> Value:
    """Return the matrices of the last two axes with 0 below the k-th diagonal.

    >>> tg.triu(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[1., 2.],
            [0., 4.]], dtype=float64)
    """
    return where(np.tril(np.ones(x.shape[-2:], bool), k - 1), np.zeros((), x.dtype), x)


# -- sums of products over named axes --------------------------------------------------------------


@function(2)
def tensordot(a: Value, b: Value, axes: Any = 2) -> Value:
    """Return the sum of products over the last `axes` axes of a and the first of b.

    axes=(axes of a, axes of b) says over which instead, a number or a list each. The axes of a
    that are left come first. Raises ValueError where sizes differ.

    >>> tg.tensordot(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), [1.0, 10.0], axes=1)
    tensor([21., 43.], dtype=float64)
    """
    axes = axes.tolist() if isinstance(axes, np.ndarray) else axes
    if not isinstance(axes, tuple | list):
        count = whole("tensordot", "axes", axes, 0, min(a.ndim, b.ndim))
        axes = range(a.ndim - count, a.ndim), range(count)
    first, second = axes
    first = axes_of("tensordot: axes", first, a.ndim)
    second = axes_of("tensordot: axes", second, b.ndim)
    left = list(range(a.ndim))
    right = list(range(a.ndim, a.ndim + b.ndim))
    for i, k in zip(first, second, strict=True):
        if a.shape[i] != b.shape[k]:
            raise ValueError(f"tensordot: {a.shape} and {b.shape} differ along axes {i} and {k}")
        right[k] = left[i]
    return _product(a, left, b, right, {*left} ^ {*right})[0]


@function()
def einsum(subscripts: str, *operands: Value) -> Value:
    """Return the sum of products that the subscripts name, as `np.einsum` does.

    A letter is an axis: one that stands behind the arrow stays, any other is summed over. "..."
    stands for all axes that have no letter. Without an arrow, "..." and what is named once stay,
    in alphabetical order. A letter twice in one operand takes its diagonal. Operands are met
    from left to right. Raises ValueError for subscripts that do not fit the operands.

    >>> tg.einsum("ij,j->i", tg.tensor([[1.0, 2.0], [3.0, 4.0]]), [1.0, 10.0])
    tensor([21., 43.], dtype=float64)
    """
    xs = [operand(x) for x in operands]
    kind = np.result_type(*[x.dtype for x in xs])
    xs = [x if x.dtype == kind else astype(x, dtype=kind) for x in xs]
    terms, out = _terms(subscripts, [x.ndim for x in xs])
    sizes = _sizes(subscripts, terms, [x.shape for x in xs])
    (x, have), *rest = (_plain(x, term, sizes) for x, term in zip(xs, terms, strict=True))
    for k, (y, term) in enumerate(rest):
        wanted = {*out}.union(*[later for _, later in rest[k + 1 :]])
        x, have = _product(x, have, y, term, wanted)
    x, have = _summed(x, have, out)
    return _laid(x, [have.index(c) for c in out])


def _terms(text: str, ndims: list[int]) -> tuple[list[str], str]:
    """The labels of each operand's axes and of the answer's: letters, and one for each of "..."."""
    left, arrow, out = text.replace(" ", "").partition("->")
    terms = left.split(",")
    if not {*text.replace("...", "").replace("->", "")} <= {*ascii_letters, ",", " "}:
        raise ValueError(f"einsum: expected letters, commas, ... and ->, got {text!r}")
    if len(terms) != len(ndims):
        raise ValueError(f"einsum: {text!r} names {len(terms)} operands, got {len(ndims)}")
    if not arrow:
        once = sorted(c for c in {*left} - {",", "."} if left.count(c) == 1)
        out = "..." * ("..." in left) + "".join(once)
    hidden = [n - len(t.replace("...", "")) for t, n in zip(terms, ndims, strict=True)]
    most = max([n for t, n in zip(terms, hidden, strict=True) if "..." in t], default=0)
    dots = "".join(map(chr, range(max(most, 0))))
    terms = [
        t.replace("...", dots[len(dots) - n :]) if n >= 0 else ""
        for t, n in zip(terms, hidden, strict=True)
    ]
    out = out.replace("...", dots)
    for term, n in zip(terms, ndims, strict=True):
        if len(term) != n:
            raise ValueError(f"einsum: {text!r} does not fit operands of {ndims} axes")
    if len({*out}) < len(out) or not {*dots} <= {*out} <= {*"".join(terms)}:
        raise ValueError(f"einsum: {text!r}: expected each label of the answer once, from its left")
    return terms, out


def _sizes(text: str, terms: list[str], shapes: list[Any]) -> dict[str, int]:
    """The size of each label; an axis of size 1 is repeated, but not on a diagonal."""
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for c, n in zip(term, shape, strict=True):
            known = sizes.setdefault(c, n)
            own = {k for d, k in zip(term, shape, strict=True) if d == c}
            if len(own) > 1 or (known != n and 1 not in (known, n)):
                raise ValueError(f"einsum: {text!r} does not fit shapes {shapes}")
            sizes[c] = n if known == 1 else known
    return sizes


def _plain(x: Value, term: str, sizes: dict[str, int]) -> Any:
    """An operand without axes that are repeated, and with its diagonals taken."""
    real = [(c, n) for c, n in zip(term, x.shape, strict=True) if n != 1 or sizes[c] == 1]
    x, labels = _laid(x, shape=tuple(n for _, n in real)), [c for c, _ in real]
    for c in {*labels}:
        while labels.count(c) > 1:
            i = labels.index(c)
            k = labels.index(c, i + 1)
            x = diagonal(x, 0, i, k)
            labels = [*labels[:i], *labels[i + 1 : k], *labels[k + 1 :], c]
    return x, labels


def _product(x: Value, a: Any, y: Value, b: Any, kept: Any) -> tuple[Value, Any]:
    """The product of x with labels a and y with labels b, summed over what is not kept."""
    x, a = _summed(x, a, {*kept, *b})
    y, b = _summed(y, b, {*kept, *a})
    size = dict(zip(a, x.shape, strict=True))
    size |= dict(zip(b, y.shape, strict=True))
    lead, over = ([c for c in a if c in b and (c in kept) == on] for on in (True, False))
    left = [c for c in a if c not in b]
    right = [c for c in b if c not in a]
    x = _laid(x, [a.index(c) for c in [*lead, *left, *over]])
    y = _laid(y, [b.index(c) for c in [*lead, *over, *right]])
    n, m, k, p = (tuple([size[c] for c in labels]) for labels in (lead, left, over, right))
    if over:
        x = _laid(x, shape=(*n, prod(m), prod(k)))
        y = _laid(y, shape=(*n, prod(k), prod(p)))
        z = _laid(matmul(x, y), shape=(*n, *m, *p))
    else:
        x = _laid(x, shape=(*n, *m, *[1] * len(p)))
        y = _laid(y, shape=(*n, *[1] * len(m), *p))
        z = mul(x, y)
    return z, [*lead, *left, *right]


def _summed(x: Value, labels: Any, kept: Any) -> tuple[Value, Any]:
    """x summed in its own dtype over the labels that are not kept."""
    gone = tuple([k for k, c in enumerate(labels) if c not in kept])
    left = [c for c in labels if c in kept]
    y = sum(x, axis=gone) if gone else x
    return y if y.dtype == x.dtype else astype(y, dtype=x.dtype), left


def _laid(x: Value, axes: Any = None, shape: Any = None) -> Value:
    """x in another shape, then with its axes in another order; itself where nothing changes."""
    x = x if shape is None or shape == x.shape else reshape(x, shape=shape)
    same = axes is None or list(axes) == list(range(x.ndim))
    return x if same else transpose(x, axes=tuple(axes))
