"""What a NumPy user writes first means here what it means there, or is refused by name."""

import asyncio
import operator
from itertools import pairwise

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops
from tinygrad_rnn.ops import protocols
from tinygrad_rnn.tensor import recording

X = np.random.default_rng(0).uniform(0.2, 0.9, (2, 3, 4))
Y = np.random.default_rng(1).uniform(0.2, 0.9, (2, 3, 4))
SQUARE = X[0] @ X[1].T


def leaf(x):
    return tg.tensor(x, requires_grad=True)


# -- functions of NumPy's on tensors -----------------------------------------------------------

# For every function of NumPy's that has an op: calls of it. One without a row fails.
BINARY = (
    *("add", "subtract", "multiply", "divide", "power", "maximum", "minimum"),
    *("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"),
)
CALLS = {
    **{name: [lambda f: f(X)] for name in ("exp", "log", "sqrt", "tanh", "sign", "absolute")},
    **{name: [lambda f: f(X, Y), lambda f: f(X, 0.5), lambda f: f(X[0], Y)] for name in BINARY},
    **{
        name: [lambda f: f(X), lambda f: f(X, 1), lambda f: f(X, axis=(0, -1), keepdims=True)]
        for name in ("sum", "mean", "max", "min", "amax", "amin")
    },
    "negative": [lambda f: f(X)],
    "matmul": [lambda f: f(X, SQUARE[0, 0] * X.swapaxes(1, 2)), lambda f: f(X, X[0, 0])],
    "where": [lambda f: f(X > 0.5, X, Y), lambda f: f(X > 0.5, X, 0)],
    "astype": [lambda f: f(X, np.float32), lambda f: f(X, np.float64)],
    "reshape": [lambda f: f(X, (3, -1)), lambda f: f(X, shape=(4, 6))],
    "transpose": [lambda f: f(X), lambda f: f(X, (1, 0, 2)), lambda f: f(X, axes=(0, 2, 1))],
    "swapaxes": [lambda f: f(X, 0, 2), lambda f: f(X, axis1=0, axis2=1)],
    "flip": [lambda f: f(X), lambda f: f(X, 1), lambda f: f(m=X, axis=(0, 1))],
    "broadcast_to": [lambda f: f(X, (5, 2, 3, 4))],
    "concatenate": [lambda f: f([X, Y]), lambda f: f((X, Y, X), axis=-1)],
    "stack": [lambda f: f([X, Y]), lambda f: f((X, Y), 1), lambda f: f(arrays=[X, Y], axis=-1)],
    "split": [lambda f: f(X, 2), lambda f: f(X, [1, 3], axis=2), lambda f: f(X, [1], 1)],
    "unstack": [lambda f: f(X), lambda f: f(X, axis=1)],
}
# More of them, as the arguments of each call.
V, M, T = X[0, 0], X[0], X  # a vector, a matrix, a stack, all ending in 4
APART = np.random.default_rng(2).permutation(np.arange(24.0)).reshape(2, 3, 4)
W, Z, ONE = Y.swapaxes(1, 2), X[0, :, :3], X[:1, :, :1]
ANGLES = "sin cos tan arcsin arccos arctan sinh cosh arcsinh arctanh"
EXPONENTIALS = "expm1 exp2 log1p log2 square reciprocal"
PAIRS = "logical_and logical_or logical_xor floor_divide remainder arctan2 hypot"
QUESTIONS = "isnan isinf isfinite logical_not floor ceil trunc rint"
ARGUMENTS = {
    **{name: [(X,)] for name in f"{EXPONENTIALS} {ANGLES} {QUESTIONS}".split()},
    **{name: [(X, Y), (X, 0.5), (X[0], Y)] for name in PAIRS.split()},
    "arccosh": [(X + 1,)],
    **{name: [(X,), (X, 1)] for name in ("round", "around")},
    "clip": [(X, 0.3, 0.6), (X, Y, None), (X, None, Y[0])],
    "dot": [(V, V), (M, V), (V, M.T), (M, M.T), (T, V), (T, M.T), (T, W), (V, W), (2.0, M)],
    "outer": [(V, V), (M, V), (2.0, V), (np.zeros(0), V)],
    "einsum": [("ij,kj->ik", M, M), ("...i->...", T)],  # see test_op_table
    "tensordot": [(M, M), (T, W, ([0, 2], [0, 1])), (V, M, 0), (T, W, (2, 1)), (T, T, 3),
                  (T, W, ((-1,), (-2,)))],
    "kron": [(V, V), (M, V), (V, M), (M, M), (T, M), (2.0, M)],
    "cross": [(Z, Z[::-1]), (Z, Z[0]), (M, M[:, ::-1], 0, 0, 0), (M, M.T, 0, 1, 1)],
    "diagonal": [(M,), (M, 1), (M, -2), (M, 9), (T, 0, 1, 2), (T, -1, 2, 0), (np.zeros((0, 3)),)],
    "trace": [(M,), (M, 1), (T, -1, 2, 0), (M, 7)],
    **{name: [(M,), (M, 1), (T, -1), (V,)] for name in ("tril", "triu")},
    "ravel": [(T,), (np.zeros((2, 0)),)],
    "moveaxis": [(T, 0, -1), (T, (0, 1), (-1, 0)), (T, [2], [0]), (T, 1, 1)],
    "squeeze": [(ONE,), (ONE, 0), (ONE, (0, -1)), (T,), (ONE[:, :1],)],
    "expand_dims": [(T, 0), (T, -1), (T, (0, 2)), (T, [1, -1])],
    "repeat": [(T, 2), (T, 3, 1), (T, [2, 0, 1], 1), (T, 0, -1), (T, [2], 0)],
    "tile": [(V, 2), (M, (2, 1)), (M, (2, 1, 2)), (T, 2), (V, 0)],
    "roll": [(T, 1), (T, -5), (T, 1, 1), (T, (1, 2), (0, 2)), (T, 2, (0, 1)), (T, 7, -1),
             (np.zeros((0, 2)), 1, 0)],
    "pad": [(V, 1), (M, (1, 2)), (M, ((1, 0), (0, 2))), (T, 1, "edge"), (M, 2, "reflect"),
            (M, ((1, 2), (0, 1)), "symmetric"), (V, (3, 1), "wrap"), (np.zeros((2, 0)), 1)],
    "take_along_axis": [(M, np.argsort(M, 1), 1), (M, np.argsort(M, 0)[:1], 0),
                        (V, np.argsort(V), 0), (M, np.array([0, 11, -1]), None),
                        (T, np.array([[[1]]]), 1), (T[:1], np.argsort(T, 1), 1)],
    **{name: [(T,), (T, np.float32)] for name in ("zeros_like", "ones_like")},
    "full_like": [(T, 2), (T, 0.5)],
    **{name: [(T,), (T, 1), (T, (0, -1)), (T, None, None, None, 1), (T, 1, None, None, 1, True)]
       for name in ("var", "std")},
    "prod": [(T,), (T, 1), (T, (0, -1))],
    **{name: [(T,), (T, 1), (T, (0, -1))] for name in ("any", "all")},
    **{name: [(T,), (T, 1), (T, -1)] for name in ("argmax", "argmin", "cumsum", "cumprod")},
    **{name: [(APART,), (APART, 0), (APART, None)] for name in ("sort", "argsort")},
    "linalg.norm": [(T,), (V, 3), (T, 1, 1), (T, None, (0, 1), True), (M, np.inf), (M, "fro")],
}  # fmt: skip
for name, rows in ARGUMENTS.items():
    CALLS[name] = [lambda f, row=row: f(*row) for row in rows]
CALLS["pad"].append(lambda f: f(M, 1, constant_values=((1, 2), (3, 4))))
CALLS["clip"].append(lambda f: f(X, a_max=0.5, a_min=0.2))
CALLS["var"].append(lambda f: f(X, axis=(0, 1), correction=1, keepdims=True))
CALLS = {name: calls for name, calls in CALLS.items() if protocols.numpys(name)}
ROUNDED = ("prod", "cumprod", "linalg.norm", "var", "std")  # in another order
FLAT = {*QUESTIONS.split(), "sign", "round", "around", "floor_divide"}  # no gradient passes


def test_every_function_that_has_an_op_has_a_row():
    made = [name for name in ops.creation.__all__ if not name.endswith("_like")]
    others = [*protocols.QUESTIONS.split(), *("shape", "ndim", "size"), *made]
    assert set(protocols.table()) - {getattr(np, name) for name in others} == {
        protocols.numpys(name) for name in CALLS
    }


def exchanged(call, function, new):
    """What a call gives with `new(x)` in place of each of its float arrays x, and all of those."""
    made = []

    def exchange(x):
        if isinstance(x, list | tuple) and x and isinstance(x[0], np.ndarray):
            return type(x)(map(exchange, x))
        if isinstance(x, np.ndarray) and x.dtype.kind == "f":
            made.append(new(x))
            return made[-1]
        return x

    def f(*args, **options):
        words = {word: exchange(value) for word, value in options.items()}
        return function(*map(exchange, args), **words)

    return call(f), made


@pytest.mark.parametrize("name, k", [(name, k) for name in CALLS for k in range(len(CALLS[name]))])
def test_numpys_function_gives_tensors_with_a_past_and_numpys_numbers(name, k):
    function, call = protocols.numpys(name), CALLS[name][k]
    expected = call(function)
    found, leaves = exchanged(call, function, leaf)
    many = isinstance(found, tuple)
    for y, array in zip(found if many else [found], expected if many else [expected], strict=True):
        assert isinstance(y, tg.Tensor) and y.shape == np.shape(array)
        rough = 8e-15 if name in ROUNDED else 1e-15
        np.testing.assert_allclose(y.detach(), array, rtol=rough, atol=0)
        assert y.dtype == np.asarray(array).dtype
        if y.dtype.kind == "f" and name not in FLAT and not name.endswith("_like"):
            y.sum().backward(retain_graph=True)
            assert any(x.grad is not None for x in leaves)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_derivatives_of_two_orders(name):
    """By name, as an op; einsum and what tests of ops have are elsewhere."""
    f = protocols.numpys(name)
    for call in CALLS[name]:
        arrays = exchanged(call, lambda *_, **__: None, lambda x: x)[1]

        def on(*xs, call=call):
            left = list(xs)
            return exchanged(call, f, lambda _: left.pop(0))[0]

        tg.check_grads(on, arrays, order=2)


def test_numbers_of_numpys_beside_tensors():
    x = leaf([1.0, 2.0])
    for f in (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow):
        for other in (np.float64(3), np.array(3.0), np.array([3.0, 4.0])):
            assert f(other, x).op is f(x, other).op is not None
            np.testing.assert_array_equal(f(other, x).detach(), f(other, x.data))
    assert (np.eye(2) @ x).op.name == "reshape" and (np.float32(3) * tg.tensor([1])).item() == 3


@pytest.mark.parametrize(
    "name, f",
    {
        "np.cbrt": np.cbrt,
        "np.add.reduce": np.add.reduce,
        "np.add.accumulate": np.add.accumulate,
        "np.linalg.cond": lambda x: np.linalg.cond(x[None]),
        "np.diff": np.diff,
        "np.nan_to_num": lambda x: np.nan_to_num(x, nan=1),
        "np.vdot": lambda x: np.vdot([1.0, 2.0], x),
        "np.hstack": lambda x: np.hstack([x, x]),
    }.items(),
)
def test_what_is_missing_is_refused_by_its_name(name, f):
    """Of a tensor that remembers; of one that does not, nothing is lost, and NumPy may have it."""
    x = leaf([1.0, 2.0])
    with pytest.raises(TypeError) as refusal:
        f(x)
    assert all(word in str(refusal.value) for word in (f"{name}:", "x.data", "tg.primitive"))
    assert not isinstance(f(x.detach()), tg.Tensor)
    np.testing.assert_array_equal(f(x.detach()), f(x.data))


def test_numpys_other_words_are_refused():
    x = leaf(X)
    for word, f in {
        "dtype": lambda: np.sum(x, 0, np.float32),
        "initial": lambda: np.max(x, initial=0.0),
        "order": lambda: np.reshape(x, -1, order="F"),
        "where": lambda: np.add(x, 1, where=X > 0),
    }.items():
        with pytest.raises(TypeError, match=word):
            f()


def test_questions_get_plain_answers():
    x = leaf(X)
    assert np.shape(x) == (2, 3, 4) and np.ndim(x) == 3 and np.size(x) == 24 and np.size(x, 1) == 3
    assert np.array_equal(x, x) and np.array_equal(x, X) and not np.allclose(X + 1, x)
    for f in (np.count_nonzero, np.signbit):
        assert not isinstance(f(x), tg.Tensor) and np.array_equal(f(x), f(X))
    for f in (np.argmax, np.any, np.argsort):
        assert isinstance(f(x), tg.Tensor) and np.array_equal(f(x), f(X))


def test_numpys_functions_in_a_step():
    """The same trace as that of the ops; what needs numbers is refused."""
    W = tg.tensor(np.eye(3), requires_grad=True)

    def ours(x, h):
        a, b = tg.split(tg.tanh(tg.add(x, h @ W)), [1], axis=1)
        return tg.concat([b, a], axis=1) * tg.sum(x, axis=1, keepdims=True)

    def theirs(x, h):
        a, b = np.split(np.tanh(np.add(x, np.matmul(h, W))), [1], axis=1)
        return np.concatenate([b, a], axis=1) * np.sum(x, axis=1, keepdims=True)

    x, h = np.ones((2, 2, 3)), np.zeros((2, 3))
    steps = [tg.unroll(step, h, x)[0] for step in (ours, theirs)]
    assert np.array_equal(*steps)
    from tinygrad_rnn.loops.trace import trace

    leaves = tg.tensor(x[0]), tg.tensor(h)
    names = [[y.op.name for y in trace(s, leaves[:1], leaves[1:]).nodes] for s in (ours, theirs)]
    assert names[0] == names[1] and len(names[0]) > 5
    for word, step in {
        "np.cbrt": lambda x, h: np.cbrt(x) + h,
        "out=": lambda x, h: np.add(x, h, out=np.ones((2, 3))),
        "numbers": lambda x, h: h if np.array_equal(x, h) else x,
        "tg.where": lambda x, h: x[x > 0],
    }.items():
        with pytest.raises(TypeError, match=word):
            trace(step, leaves[:1], leaves[1:])


# -- arrays that leave ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [
        tg.tensor([1.0, 2.0]),
        tg.tensor(X)[:, ::2],
        tg.tensor(X).T,
        tg.split(tg.tensor(X), 2)[1],
        tg.tensor(2.0) * 3,
        tg.tensor(np.zeros((0, 3))),
        tg.tensor([True, False]),
    ],
    ids=["leaf", "slice", "transposed", "part", "number", "empty", "bools"],
)
def test_nobody_can_write_to_the_array_of_a_tensor(x):
    for array in (x.data, x.numpy(), x.data.view(), np.asarray(x), x.data[...]):
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
        assert not isinstance(array.base, np.ndarray) or not array.base.flags.writeable
    assert np.shares_memory(x.data, x._array) or not x.size
    assert x.data.strides == x._array.strides or not x.size


def test_dlpack():
    x = tg.tensor(X)[:, 1:]
    array = np.from_dlpack(x)
    np.testing.assert_array_equal(array, X[:, 1:])
    assert not np.shares_memory(array, x.data)
    assert type(x.__dlpack__()).__name__ == "PyCapsule"  # for those that know of no read-only one
    assert x.__dlpack_device__() == X.__dlpack_device__()
    before = x.data.copy()
    if array.flags.writeable:
        array[...] = 0
    np.testing.assert_array_equal(x.data, before)
    with pytest.raises(TypeError, match=r"x\.data, or x\.detach\(\)"):
        np.from_dlpack(leaf(X) * 1)
    with pytest.raises(BufferError, match="copy"):
        x.__dlpack__(copy=False)
    with pytest.raises(TypeError, match=r"x\.item\(\).*x\.data"):
        len(tg.tensor(1.0))  # torch.tensor(x) comes by here


# -- arrays that come in -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values, dtype",
    [
        ([300], np.uint8),
        ([-1], np.uint64),
        (np.array([128]), np.int8),
        ([1 << 63], np.int64),
        ([1.5], int),
        ([np.nan], int),
        ([np.inf], np.int32),
        (np.float64(1e19), np.int64),
    ],
)
def test_numbers_that_an_integer_dtype_does_not_hold_are_refused(values, dtype):
    with pytest.raises(ValueError, match=f"numbers that {np.dtype(dtype)} holds"):
        tg.tensor(values, dtype=dtype)


@pytest.mark.parametrize("values", [[255, 0], [255.0, 0.0], [True, False], []])
def test_numbers_that_fit_are_taken(values):
    x = tg.tensor(values, dtype=np.uint8)
    assert x.dtype == np.uint8 and x.data.tolist() == values


COMPLEX = [np.array([1j, 2.0]), [1j, 2.0], np.complex64(1j), 1j]
OPS = {
    name: f
    for name, f in vars(ops).items()
    if callable(f) and name[0] != "_" and name not in ("broadcast_to", "sum_to", "einsum")
    if name not in ops.creation.__all__ or name.endswith("s_like")
}
REST = {
    **{"astype": [np.float64], "reshape": [(2,)], "swapaxes": [0, 0], "split": [1]},
    **{"clip": [0, 1], "moveaxis": [0, 0], "expand_dims": [0], "repeat": [2], "tile": [2]},
    **{"roll": [1], "pad": [1], "chunk": [2], "gather": [0, [0]], "scatter_add": [0, [0], [1.0]]},
    **{"index_put": [0, 1.0]},
    **{"take_along_axis": [[0], 0], "cross": [[1.0, 2.0, 3.0]], "tensordot": [[1.0, 2.0], 1]},
    **{name: [[1.0, 2.0]] for name in ("dot", "outer", "kron")},
    **{"where": [1, 2], "matmul": [[1.0, 2.0]], "cross_entropy": [[0, 0]], "embedding": [[0]]},
    **{name: [[1.0, 2.0]] for name in ("kl_div", "l1_loss", "huber_loss")},
    **{"nll_loss": [[0, 0]], "ctc_loss": [[1], [1], [1]], "topk": [1]},
    **{"attention": [[[1.0]], [[1.0]]], "conv1d": [[[[1.0]]]]},
}


@pytest.mark.parametrize("name", OPS)
@pytest.mark.filterwarnings("ignore:Casting complex")
def test_no_imaginary_part_is_dropped(name):
    f = OPS[name]
    binary = getattr(f, "arity", 1) == 2 or name.endswith(("error", "logits"))
    rest = REST.get(name, [1.0] if binary or name == "binary_cross_entropy" else [])
    options = {"value": 1.0} if name == "clip_gradient" else {}
    for z in COMPLEX[: 2 if name == "matmul" else None]:
        with pytest.raises(TypeError, match="complex"):
            f([z, z] if name in ("concat", "stack") else z, *rest, **options)


# -- axes ----------------------------------------------------------------------------------------


def logsumexp(x, axis, keepdims):
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


REDUCTIONS = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "logsumexp": logsumexp}
AXES = [None, 0, -1, np.int64(1), (0, 2), [0, -1], (2, 1, 0), (-2, 0), (1,), ()]


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_take_the_axes_that_numpys_take(name, keepdims, axis):
    f = getattr(tg, name)
    numpys = tuple(axis) if isinstance(axis, list) else axis
    found = f(tg.tensor(X), axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(found, REDUCTIONS[name](X, axis=numpys, keepdims=keepdims), 1e-14)
    tg.check_grads(lambda x: f(x, axis=axis, keepdims=keepdims), [X], order=2)


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_softmax_over_any_axes(axis):
    numpys = tuple(axis) if isinstance(axis, list) else axis
    expected = np.exp(X) / np.exp(X).sum(numpys, keepdims=True)
    np.testing.assert_allclose(tg.softmax(tg.tensor(X), axis=axis), expected, 1e-14)
    np.testing.assert_allclose(tg.log_softmax(tg.tensor(X), axis), np.log(expected), 1e-13, 1e-15)
    for f in (tg.softmax, tg.log_softmax):
        tg.check_grads(lambda x, f=f: f(x, axis=axis), [X], order=2)


@pytest.mark.parametrize("f", [*map(tg.__dict__.get, REDUCTIONS), tg.softmax, tg.log_softmax])
def test_axes_that_are_not_there(f):
    for x, axis in ((X, 3), (X, -4), (X, (0, 5)), (2.0, 0), (2.0, -1), (2.0, (0,))):
        for given in (tg.tensor(x), np.asarray(x)):
            with pytest.raises((ValueError, IndexError), match="axis"):
                f(given, axis=axis)
    for axis in ((0, 0), [1, -2], (0, 1, -3)):
        with pytest.raises(ValueError, match="axis"):
            f(tg.tensor(X), axis=axis)
    with pytest.raises(TypeError):
        f(tg.tensor(X), axis=1.5)
    assert f(tg.tensor(2.0), axis=None).shape == f(tg.tensor(2.0), axis=()).shape == ()


# -- split ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [[], [1, 3], (2,), [0, 4], [-1], [1, 9], [2, 2], np.array([3])])
def test_split_at_points_as_numpy_does(points):
    x = leaf(X)
    parts = tg.split(x, points, axis=-1)
    for part, expected in zip(parts, np.split(X, points, axis=-1), strict=True):
        np.testing.assert_array_equal(part.data, expected)
    sizes = [part.shape[-1] for part in parts]
    again = tg.split(x, sizes=sizes, axis=2)
    assert all(a.data.tobytes() == b.data.tobytes() for a, b in zip(parts, again, strict=True))
    tg.check_grads(lambda x: tg.split(x, points, axis=-1), [X], order=2)


def test_split_cuts_the_first_axis_unless_told_otherwise():
    assert [part.shape for part in tg.split(tg.tensor(X), 2)] == [(1, 3, 4)] * 2
    assert [part.shape for part in tg.split(X, np.int64(2), -1)] == [(2, 3, 2)] * 2
    rows = np.arange(5)
    ends = pairwise([0, 2, 5])
    assert [p.tolist() for p in tg.split(rows, sizes=[2, 3])] == [[*range(*e)] for e in ends]


def test_split_refuses():
    x = tg.tensor(X)
    for error, word, f in (
        (ValueError, "3 into 2", lambda: tg.split(x, 2, axis=1)),
        (ValueError, "increasing", lambda: tg.split(x, [2, 1], axis=1)),
        (ValueError, "add up to 3", lambda: tg.split(x, sizes=[2, 2], axis=1)),
        (ValueError, "axis 3", lambda: tg.split(x, [1], axis=3)),
        (TypeError, "sizes=", lambda: tg.split(x)),
        (TypeError, "sizes=", lambda: tg.split(x, 2, sizes=[1, 1])),
    ):
        with pytest.raises(error, match=word):
            f()


# -- blocks as decorators --------------------------------------------------------------------------


@pytest.mark.parametrize("block", [tg.no_grad, tg.detect_anomaly, lambda: recording(False)])
def test_a_block_does_not_decorate_what_runs_later(block):
    async def coroutine():
        pass

    async def asyncgen():
        yield

    def generator():
        yield

    for f in (coroutine, asyncgen, generator):
        with pytest.raises(TypeError, match=f"{f.__name__} is a {f.__name__}.*inside it"):
            block()(f)
    assert asyncio.run(coroutine()) is None


def test_narrow_integers_keep_their_size_and_digits():
    half = np.full(3, 0.5)
    found = tg.power(tg.tensor(np.array([63, 100, 2], np.int8)), half)
    np.testing.assert_array_equal(found.data, np.sqrt([63.0, 100.0, 2.0]))
    for given in (np.array([127, -128], np.int8), np.array([255, 0], np.uint8)):
        wide = given.astype(np.float64)
        np.testing.assert_array_equal(tg.softsign(given), wide / (1 + np.abs(wide)), strict=True)


@pytest.mark.parametrize("mode", ["mean", "maximum", "minimum", "median", "linear_ramp", "empty"])
def test_padding_by_what_is_no_element_is_refused(mode):
    for pad in (tg.pad, np.pad):
        with pytest.raises(ValueError, match="pad: mode: expected one of"):
            pad(tg.tensor([1.0, 5.0, 2.0]), 1, mode=mode)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tg.full((2,), 0.5, dtype=np.int64),
        lambda: tg.full_like(tg.tensor([1, 2]), np.nan),
        lambda: tg.full((1,), 300.0, dtype=np.uint8),
        lambda: tg.linspace(0, 1, 5, dtype=int),
        lambda: tg.arange(0, 2, 0.5, dtype=int),
    ],
)
def test_numbers_that_are_made_fit_their_dtype(make):
    with pytest.raises(ValueError, match=r"expected numbers that u?int\d+ holds"):
        make()
    assert tg.linspace(0, 10, 6, dtype=int).data.tolist() == [0, 2, 4, 6, 8, 10]
    assert tg.linspace(0, 3, 31, dtype="float32").dtype == np.float32
    assert tg.arange(2**60 + 1, 2**60 + 3, dtype="int64").data.tolist() == [2**60 + 1, 2**60 + 2]


def test_flags_stay_flags():
    flags = tg.tensor(np.ones((2, 2), bool))
    put = tg.index_put(flags[0], [0, 0], [True, False])
    for found, expected in ((put, [False, True]), (tg.tril(flags), [[1, 0], [1, 1]]),
                            (tg.triu(flags), [[1, 1], [0, 1]])):  # fmt: skip
        np.testing.assert_array_equal(found.data, np.array(expected, bool), strict=True)


@pytest.mark.parametrize("order", [0.5, 1.5, 2.5])
def test_norms_of_broken_order_have_no_slope_at_0(order):
    x = tg.tensor([3.0, 0.0], requires_grad=True)
    slope = tg.grad(tg.norm(x, order), x, create_graph=True)
    np.testing.assert_allclose(slope.data, [1, 0], rtol=1e-14, atol=0)
    np.testing.assert_allclose(tg.grad(slope.sum(), x).data, 0, atol=1e-15)
    z = tg.tensor([0.0, 0.0], requires_grad=True)
    np.testing.assert_array_equal(tg.grad(tg.norm(z, order), z).data, [0, 0])


def test_a_query_to_which_infinity_is_added_everywhere_sees_nothing():
    given = np.random.default_rng(0).normal(size=(3, 2, 3))
    q, k, v = [tg.tensor(x, requires_grad=True) for x in given]
    added, seen = np.array([[0.0, -np.inf], [-np.inf, -np.inf]]), np.array([[1, 0], [0, 0]], bool)
    both = [tg.attention(q, k, v, mask=mask) for mask in (added, seen)]
    np.testing.assert_array_equal(both[0].data, both[1].data)
    for a, b in zip(*(tg.grad(y.sum(), [q, k, v]) for y in both), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
