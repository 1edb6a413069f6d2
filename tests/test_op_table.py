"""The op table: forward against NumPy, derivatives against differences, edges, refusals."""

import math
import warnings

import mpmath
import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.op import Op
from tinygrad_rnn.ops import activation, elementary

X = np.random.default_rng(0).uniform(0.2, 0.9, (2, 3, 4))
Y = np.random.default_rng(1).uniform(-0.9, -0.2, (4, 3))
Z = np.random.default_rng(2).uniform(-0.9, 0.9, (3, 3))
SHAPES = [(), (3,), (0,), (2, 0, 1), (2, 3)]
EDGES = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -2.5, 1e300, 5e-324]
)


def leaf(x):
    return tg.tensor(x, requires_grad=True)


def agree(found, expected, rtol=1e-13):
    """Shape, kind of dtype and numbers, of one result or several."""
    if isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            agree(one, other, rtol)
        return
    found, expected = np.asarray(found.data if isinstance(found, tg.Tensor) else found), expected
    assert found.shape == np.shape(expected) and found.dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-13)


# -- one number at a time ------------------------------------------------------------------------

POINTWISE = {name: getattr(elementary, name) for name in elementary.__all__
             if isinstance(getattr(elementary, name), Op)}  # fmt: skip
SHIFTED = {"arccosh": 1.0}  # what is added to numbers in (0.2, 0.9) to be in the domain


def numbers(op, shape, seed=0):
    """Inputs in the domain of an op, away from where it jumps."""
    rng = np.random.default_rng(seed)
    return [rng.uniform(0.2, 0.9, shape) + SHIFTED.get(op.name, k) for k in range(op.arity)]


def reference(name):
    if hasattr(np, name):
        return getattr(np, name)
    own = {"rsqrt": lambda x: 1 / np.sqrt(x), "erf": math.erf, "ndtr": mpmath.ncdf}
    return np.vectorize(lambda x: float(own[name](x)), otypes=[float])


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise_ops_are_numpys_functions(name):
    op, f = POINTWISE[name], reference(name)
    for shape in SHAPES:
        xs = numbers(op, shape)
        for given in (xs, [-x for x in xs], [x.astype(np.float32) for x in xs]):
            with np.errstate(all="ignore"):
                expected = f(*given)
            exact = given[0].dtype == np.float64
            expected = expected if exact or not hasattr(expected, "astype") else expected.astype(
                np.float32 if expected.dtype.kind == "f" else expected.dtype)  # fmt: skip
            agree(op(*map(tg.tensor, given)), expected, 1e-15 if exact else 3e-7)
    for ints in (np.arange(-2, 3), np.array([True, False])) if hasattr(np, name) else ():
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                expected = f(*[ints] * op.arity)
            except TypeError:  # NumPy has no remainder of flags
                continue
        if expected.dtype.char != "e":  # as NumPy has it for bools
            agree(op(*[tg.tensor(ints)] * op.arity), expected)


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise_ops_at_the_edges(name):
    op, f = POINTWISE[name], reference(name)
    grid = np.meshgrid(EDGES, EDGES) if op.arity == 2 else [EDGES]
    with np.errstate(all="ignore"):
        expected = f(*grid)
    found = op(*map(tg.tensor, grid)).data
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    if found.dtype.kind == "f":
        np.testing.assert_array_equal(
            np.signbit(found)[found == 0], np.signbit(expected)[found == 0]
        )


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise_derivatives_of_two_orders(name):
    op = POINTWISE[name]
    for shape in SHAPES:
        tg.check_grads(op, numbers(op, shape), order=2)
    if op.arity == 2:
        a, b = numbers(op, (2, 1))[0], numbers(op, (4, 1, 3))[1]
        tg.check_grads(op, [a, b], order=2)
        tg.check_grads(lambda x: op(x, 1.7) + op(2.3, x + 1), [a], order=2)


ACTIVATIONS = {
    "log_sigmoid": lambda x: -mpmath.log1p(mpmath.exp(-x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "leaky_relu": lambda x: x if x >= 0 else x * mpmath.mpf(0.01),
    "elu": lambda x: x if x >= 0 else mpmath.expm1(x),
    "selu": lambda x: (
        mpmath.mpf("1.0507009873554804934193349852946")
        * (x if x >= 0 else mpmath.mpf("1.6732632423543772848170429916717") * mpmath.expm1(x))
    ),
    "gelu": lambda x: x * mpmath.ncdf(x),
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "mish": lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))),
    "hard_sigmoid": lambda x: min(max(mpmath.mpf(0.2) * x + 0.5, 0), 1),
    "hard_tanh": lambda x: min(max(x, -1), 1),
    "erf": mpmath.erf,
    "ndtr": mpmath.ncdf,
}


def ulps(name, x):
    """How far an activation is off at the worst element of x, in units of its last place."""
    found = getattr(tg, name)(tg.tensor(x)).data
    assert found.dtype == x.dtype
    with mpmath.workprec(300):
        exact = [ACTIVATIONS[name](mpmath.mpf(float(v))) for v in x]
        off = [float(abs(mpmath.mpf(float(y)) - z) / np.spacing(x.dtype.type(max(abs(z), 1e-300))))
               for y, z in zip(found, exact, strict=True)]  # fmt: skip
    return max(off), x[np.argmax(off)]


@pytest.mark.parametrize("name", ["erf", "gelu", "ndtr"])
def test_the_bell_curve_keeps_its_tails_in_float32(name):
    off, where = ulps(name, np.linspace(-13, 6, 200, dtype=np.float32))
    assert off <= 2, where


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_within_four_ulp(name):
    rng = np.random.default_rng(3)
    parts = [rng.uniform(-30, 8, 40), rng.uniform(-2, 2, 40), rng.normal(size=20) * 1e-6]
    x = np.concatenate([*parts, [-37.0, -1e-300, 0.0, 40.0, -1e5, 1e5]])
    off, where = ulps(name, x)
    assert off <= 4, (off, where)


def test_activations_derivatives():
    assert set(activation.__all__) - {"clip"} <= set(ACTIVATIONS)
    x = np.array([-2.7, -0.6, -0.1, 0.3, 0.9, 2.8])
    for name in ACTIVATIONS:
        tg.check_grads(getattr(tg, name), [x], order=2)
    tg.check_grads(lambda x: tg.gelu(x, approximate="tanh"), [x], order=2)
    with pytest.raises(ValueError, match=r"approximate.*'fast'"):
        tg.gelu(x, "fast")


def slope(f, at):
    x = leaf([float(at)])
    return tg.grad(f(x).sum(), x).item()


def test_slopes_where_there_is_a_choice():
    assert slope(tg.elu, 0) == slope(tg.leaky_relu, 0) == 1 and slope(tg.elu, -1e-9) < 1
    assert slope(lambda x: tg.clip(x, 0, 1), 0) == slope(lambda x: tg.clip(x, 0, 1), 1) == 0.5
    assert slope(lambda x: tg.clip(x, -1, None), 0) == 1 and slope(tg.hard_tanh, 3) == 0
    assert slope(tg.hard_sigmoid, 0) == 0.2 and slope(tg.hard_sigmoid, 9) == 0
    assert slope(lambda x: x % 2, 4.0) == 1 and slope(lambda x: tg.remainder(7.0, x), 2.0) == -3
    assert slope(tg.rsqrt, 0) == -np.inf and slope(tg.arcsin, 1) == np.inf
    assert slope(tg.elu, -1000) == 0 and np.isnan(slope(lambda x: tg.arctan2(x, x), 0))


def test_clip_as_numpy_has_it():
    for low, high in ((-0.5, 0.5), (None, 0.1), (0.1, None), (0.5, -0.5), (Y[0, 0], X), (0, 1)):
        agree(tg.clip(tg.tensor(Z[0, 0]), low, high), np.clip(Z[0, 0], low, high))
    agree(tg.clip(tg.tensor([1, 5, 9]), 2, 6), np.array([2, 5, 6]))
    assert np.isnan(tg.clip(tg.tensor(np.nan), 0, 1).data)
    x, low = leaf(Z), leaf(np.full(3, 0.2))
    tg.check_grads(lambda x, low: tg.clip(x, low, 0.7), [Z, low.data], order=2)
    with pytest.raises(ValueError, match="a_min or a_max"):
        tg.clip(x)


@pytest.mark.parametrize("decimals", [-2, -1, 0, 1, 3])
def test_round(decimals):
    x = np.array([0.5, 1.5, -2.5, 12.345, -1234.5678, 15.0, 25.0, np.nan, np.inf])
    for given in (x, x.astype(np.float32), np.array([15, 25, -1234, 49])):
        agree(tg.round(tg.tensor(given), decimals), np.round(given, decimals))


def test_operators():
    x, y = leaf([7.5, -7.5]), tg.tensor([2.0, 2.0])
    for f in (lambda a, b: a // b, lambda a, b: a % b):
        agree(f(x, y), f(x.data, y.data))
        agree(f(x, 2), f(x.data, 2))
        agree(f(20, x), f(20, x.data))
        agree(f(np.array([5.0, 6.0]), x), f(np.array([5.0, 6.0]), x.data))


# -- products ------------------------------------------------------------------------------------

EINSUMS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ii", (3, 3)), ("ii->i", (3, 3)),
    ("iij->j", (3, 3, 2)), ("iii->i", (2, 2, 2)), ("abab->ba", (2, 3, 2, 3)), ("ij->ji", (2, 3)),
    ("...ij,...jk->...ik", (5, 2, 3), (3, 4)), ("bi,bj,bk->ijk", (2, 3), (2, 1), (2, 2)),
    ("ij->", (2, 3)), ("i,j", (2,), (3,)), ("ba,b...->a...", (2, 3), (2, 4, 2)),
    ("i,i", (1,), (3,)), ("ik,jk->ijk", (2, 1), (3, 1)),
    ("i...,i...->...", (3, 1, 4), (3, 2, 1)), ("ij,ij->ij", (1, 3), (2, 3)), ("", ()),
    (",", (), ()), ("...,...", (2, 3), (3,)), ("ij,kj->ik", (0, 3), (2, 3)), ("i->i", (1,)),
    ("ij,jk->ik", (2, 0), (0, 3)), ("i,ij,j->", (2,), (2, 3), (3,)), ("... , ...", (), (3,)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 1), (2, 2, 2, 1)), (" i j -> j i ", (2, 3)), ("ba", (2, 3)),
    ("a...a->...", (2, 3, 2)), ("ij,ij->i", (1, 3), (2, 3)), ("i,i->i", (1,), (1,)),
]  # fmt: skip
REFUSED = [
    ("ij,jk->ik", (2, 3), (4, 4)), ("ij->i", (2,)), ("i,j->i", (2,)), ("i->ii", (2,)),
    ("i->j", (2,)),
    ("i1->i", (2, 3)), ("ii->i", (2, 3)), ("ii->i", (1, 3)), ("...->", (2,)), ("i->i->", (2,)),
    ("..i->i", (2, 3)), ("i", (2, 3)),
]  # fmt: skip


def arrays(*shapes):
    rng = np.random.default_rng(4)
    return [rng.uniform(-1, 1, shape) for shape in shapes]


@pytest.mark.parametrize("subscripts, shapes", [(s, shapes) for s, *shapes in EINSUMS])
def test_einsum(subscripts, shapes):
    xs = arrays(*shapes)
    agree(tg.einsum(subscripts, *map(tg.tensor, xs)), np.einsum(subscripts, *xs))
    agree(tg.einsum(subscripts, *xs), np.einsum(subscripts, *xs))
    tg.check_grads(lambda *xs: tg.einsum(subscripts, *xs), xs, order=2)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8])
@pytest.mark.parametrize("subscripts", ["ij->j", "ij,jk->ik", "ij,k->k", "ij->"])
def test_einsum_keeps_the_kind_of_its_numbers(subscripts, dtype):
    x, y = np.array([[1, 0], [1, 1]], dtype), np.array([[1, 0], [0, 1]], dtype)
    xs = [x, y[0] if ",k" in subscripts else y][: 1 + subscripts.count(",")]
    found, expected = tg.einsum(subscripts, *map(tg.tensor, xs)), np.einsum(subscripts, *xs)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.data, expected)


def test_einsum_adds_up_in_the_kind_of_all_operands():
    mask, w = np.ones((2, 4), bool), np.ones(2, np.float32)
    small, f = np.full((1, 2), 100, np.int8), np.ones(3, np.float32)
    for subscripts, *xs in ("bt,b->b", mask, w), ("ij,k->i", small, f):
        found, expected = tg.einsum(subscripts, *map(tg.tensor, xs)), np.einsum(subscripts, *xs)
        np.testing.assert_array_equal(found.data, expected)


@pytest.mark.parametrize("subscripts, shapes", [(s, shapes) for s, *shapes in REFUSED])
def test_einsum_refuses_what_numpy_refuses(subscripts, shapes):
    with pytest.raises(ValueError):
        np.einsum(subscripts, *arrays(*shapes))
    with pytest.raises(ValueError, match="einsum"):
        tg.einsum(subscripts, *arrays(*shapes))


def test_einsum_of_order_three_and_of_integers():
    tg.check_grads(lambda x, y: tg.einsum("ii,ij,j->", x, y, y[0]), arrays((2, 2), (2, 2)), order=3)
    x = np.arange(6).reshape(2, 3)
    agree(tg.einsum("ij,kj->ik", tg.tensor(x), x), np.einsum("ij,kj->ik", x, x))


# -- moved about, made of nothing ------------------------------------------------------------------


def test_chunk_is_pytorchs():
    x = arrays((5, 3))[0]
    for count, sizes in ((1, [5]), (2, [3, 2]), (3, [2, 2, 1]), (4, [2, 2, 1]), (9, [1] * 5)):
        parts = tg.chunk(tg.tensor(x), count)
        assert [len(part) for part in parts] == sizes
        np.testing.assert_array_equal(np.concatenate([part.data for part in parts]), x)
    assert [part.shape for part in tg.chunk(x, 2, -1)] == [(5, 2), (5, 1)]
    assert [part.shape for part in tg.chunk(np.zeros((0, 2)), 3)] == [(0, 2)]
    tg.check_grads(lambda x: tg.chunk(x, 2, 1), [x], order=2)
    with pytest.raises(ValueError, match=r"chunks.*got 0"):
        tg.chunk(x, 0)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_and_scatter_add_by_hand(axis):
    x, src = arrays((3, 4), (3, 4))
    index = np.random.default_rng(0).integers(0, 3, (2, 3))  # shorter than x, with repeats
    taken, added = np.zeros(index.shape), x.copy()
    for i, j in np.ndindex(index.shape):
        at = (index[i, j], j) if axis == 0 else (i, index[i, j])
        taken[i, j] = x[at]
        added[at] += src[i, j]
    agree(tg.gather(tg.tensor(x), axis, index), taken)
    agree(tg.gather(x, axis, tg.tensor(index)), taken)
    agree(tg.scatter_add(tg.tensor(x), axis, index, src), added)
    tg.check_grads(lambda x: tg.gather(x, axis, index), [x], order=2)
    tg.check_grads(lambda x, src: tg.scatter_add(x, axis, index, src), [x, src], order=2)


def test_picking_refuses():
    x = tg.tensor(Z)
    for f in (tg.gather, lambda x, k, i: tg.take_along_axis(x, i, k)):
        with pytest.raises(ValueError, match=r"as many axes, got \(3, 3\) and index \(1,\)"):
            f(x, 0, [0])
        with pytest.raises(IndexError, match=r"out of bounds|3"):
            f(x, 0, [[3, 0, 0]])
        with pytest.raises(IndexError, match="integers or bools"):
            f(x, 0, [[0.5, 0, 0]])


def test_one_hot():
    agree(tg.one_hot(tg.tensor([[2], [0]]), 3), np.eye(3, dtype=int)[[[2], [0]]])
    agree(tg.one_hot([1, 3]), np.eye(4, dtype=int)[[1, 3]])
    assert tg.one_hot([], 3).shape == (0, 3) and tg.one_hot(1, 2, np.float32).dtype == np.float32
    for index in ([3], [-1], [0.5]):
        with pytest.raises((ValueError, TypeError), match="one_hot: index"):
            tg.one_hot(index, 3)


def test_tensors_made_of_nothing_are_numpys_arrays():
    calls = [
        ("zeros", ((2, 3),), {}), ("zeros", (3, np.int32), {}), ("ones", (), {"shape": (0, 2)}),
        ("ones", ((),), {"dtype": np.float32}), ("full", ((2,), 7), {}), ("full", (2, 0.5), {}),
        ("full", (2, [1, 2]), {"dtype": float}), ("eye", (3,), {}), ("eye", (2, 3, -1), {}),
        ("eye", (2,), {"dtype": bool}), ("arange", (4,), {}), ("arange", (1, 2, 0.25), {}),
        ("arange", (3.0,), {"dtype": np.float32}), ("linspace", (0, 1, 5), {}),
        ("linspace", (1, 3, 4, False), {}), ("linspace", (0, 1), {"dtype": np.float32}),
    ]  # fmt: skip
    for name, given, words in calls:
        made = getattr(tg, name)(*given, **words)
        assert isinstance(made, tg.Tensor) and made.op is None and not made.requires_grad
        agree(made, getattr(np, name)(*given, **words))
    x = leaf(np.ones((2, 1), np.float32))
    for made in (tg.zeros_like(x), tg.ones_like(x, dtype=int), tg.full_like(x, 3)):
        assert made.shape == (2, 1) and not made.requires_grad
    with pytest.raises(ValueError, match=r"expected numbers that int64 holds, got 3\.7"):
        tg.full_like([1, 2], 3.7)
    for refused in (lambda: tg.full(2, 1j), lambda: tg.zeros(2, complex), lambda: tg.full(2, x)):
        with pytest.raises(TypeError):
            refused()


def test_axes_and_sizes_that_do_not_fit_are_refused():
    x = tg.tensor(X)
    for f, words in (
        (lambda: tg.squeeze(x, 0), r"squeeze: .*size 1, got axis 0 of shape \(2, 3, 4\)"),
        (lambda: tg.moveaxis(x, (0, 1), 0), "moveaxis: 2 axes cannot go to 1"),
        (lambda: tg.cross(x, x), r"cross: .*3 elements, got \(2, 3, 4\)"),
        (lambda: tg.tensordot(x, x, 1), r"tensordot: \(2, 3, 4\) and \(2, 3, 4\) differ"),
        (lambda: tg.pad(x, -1), "pad: pad_width: expected at least 0"),
        (lambda: tg.pad(x, ((1, 2), (3, 4))), "broadcast"),
        (lambda: tg.roll(x, 1, 3), "axis 3"),
        (lambda: tg.repeat(x, [1, 2], 1), "broadcast"),
        (lambda: tg.expand_dims(x, 5), "axis 5"),
        (lambda: tg.diagonal(x[0, 0]), "axis 1|source"),
    ):
        with pytest.raises(ValueError, match=words):
            f()


# -- indexing --------------------------------------------------------------------------------------

CUBE = np.random.default_rng(6).normal(size=(3, 4, 2))
ROWS, MASK = np.array([2, 0, 0]), CUBE[:, :, 0] > 0
INDICES = {
    "numbers": np.s_[1, -1, 0], "row": np.s_[-3], "steps": np.s_[::-2, 1:9:2],
    "dots": np.s_[..., 0], "new": np.s_[None, :, None, 1], "whole": np.s_[...],
    "nothing": np.s_[()], "empty": np.s_[3:1], "np": np.s_[np.int64(2), np.uint8(1) : np.int32(3)],
    "list": np.s_[[0, -1, 0]], "none": np.s_[[]], "nested": np.s_[[[0], [2]], [1, 3]],
    "arrays": np.s_[ROWS, ROWS], "apart": np.s_[ROWS, :, [0, 1, 1]], "beside": np.s_[:, ROWS, 1],
    "first": np.s_[0, :, ROWS % 2], "between": np.s_[..., None, ROWS % 2], "mask": MASK,
    "masks": np.s_[MASK[:, 0], 1:], "row mask": np.s_[:, [True, False, True, True]],
    "all mask": CUBE > 0, "none of it": np.zeros((3, 4), bool),
    "mask and": np.s_[MASK[:, 1], [0], 1], "true": np.s_[True], "false": np.s_[1, False],
    "zero": np.s_[np.array(1), 2], "hollow": np.s_[[[]]], "unsigned": np.s_[ROWS.astype(np.uint8)],
    "wide": np.s_[ROWS[:, None], ROWS, None, ROWS % 2],
}  # fmt: skip


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_indexing_is_numpys(index):
    expected = CUBE[index]
    agree(tg.tensor(CUBE)[index], expected)
    tensors = lambda i: tg.tensor(i) if isinstance(i, np.ndarray) else i
    as_tensors = tuple(map(tensors, index)) if isinstance(index, tuple) else tensors(index)
    agree(tg.tensor(CUBE)[as_tensors], expected)
    tg.check_grads(lambda x: x[index] * x[index], [CUBE], order=2)


def test_indexing_by_slices_with_tensors_and_of_what_is_small():
    x = leaf(CUBE)
    agree(x[tg.tensor(1) : tg.tensor(3)], CUBE[1:3])
    agree(tg.tensor(5.0)[()], np.array(5.0))
    agree(tg.tensor(5.0)[None, ...], np.array([5.0]))
    agree(tg.tensor(np.zeros((0, 2)))[:, [0, 0, 1]], np.zeros((0, 3)))
    twice = tg.grad(x[[1, 1, -2]].sum(), x).data  # row 1 three times
    assert twice[1].tolist() == [[3.0, 3.0]] * 4 and not twice[[0, 2]].any()


@pytest.mark.parametrize(
    "index, words",
    [
        (3, "out of bounds"), (np.s_[0, 0, 0, 0], "too many"), ([3], "out of bounds"),
        (1.5, "integers or bools, got dtype float64"), ([0.5], "integers or bools"),
        (np.array([]), "integers or bools"), (np.s_[..., 0, ...], "ellipsis"),
        (np.zeros((2, 4), bool), "boolean"), (np.s_[[0, 1], [0, 1, 2]], "shape mismatch|broadcast"),
    ],
    ids=str,
)  # fmt: skip
def test_indexing_refuses(index, words):
    with pytest.raises(IndexError, match=words):
        tg.tensor(CUBE)[index]


def test_other_things_are_no_index():
    for index in ("a", slice(1.5), {0}, 1j):
        with pytest.raises((IndexError, TypeError)):
            tg.tensor(CUBE)[index]
    with pytest.raises(ValueError, match="ragged"):
        tg.tensor(CUBE)[[[0], [1, 2]]]


@pytest.mark.parametrize("where", [[[0, 2], [2, 2]], [[0, -1], [2, 2]]], ids=["", "from the end"])
def test_a_step_takes_rows_of_a_table_by_numbers_that_it_is_given(where):
    def run(fold):
        table = leaf(np.eye(3) + 1)
        xs = (tg.tensor(np.ones((2, 2, 3))), tg.tensor(where))
        ys = fold(lambda x, i, h: h * 0.5 + table[i] * x, tg.tensor(np.zeros((2, 3))), xs)
        assert fold is tg.unroll or ys[0].inputs[0].op.name == "scan"  # it did not fall back
        return ys[0].data, tg.grad((ys[0] * ys[0]).sum(), table).data

    for found, expected in zip(run(tg.scan), run(tg.unroll), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-15)
    with pytest.raises(IndexError, match="3"):
        tg.scan(lambda i, h: h + leaf(np.eye(3))[i], np.zeros((2, 3)), np.array([[0, 3]]))


def test_a_step_that_indexes_otherwise_runs_one_by_one():
    table = leaf(np.eye(3))

    def step(i, h):
        return h * 0.5 + table[:, i]

    where = tg.tensor([[0, -1, 1], [2, 2, 0]])
    with pytest.warns(tg.ScanWarning, match=r"indexing with an array.*tg\.embedding"):
        ys = tg.scan(step, tg.tensor(np.zeros((3, 3))), where)
    same = tg.unroll(step, tg.tensor(np.zeros((3, 3))), where)
    np.testing.assert_array_equal(ys[0].data, same[0].data)
    with pytest.raises(tg.Untraceable, match=r"tg\.where"):
        tg.scan(lambda x, h: h + x[x > 0].sum(), tg.tensor(np.zeros(2)), tg.tensor(np.ones((3, 2))))


def test_views_and_joins_of_the_table_are_compiled():
    """One program that holds many of them: none falls back, which would warn."""
    W = leaf(arrays((4, 4))[0])

    def step(x, h):
        y = tg.roll(x, 1, -1) + tg.pad(h[:, 1:], ((0, 0), (1, 0)), constant_values=0.5)
        y = y + tg.tile(h[:, :2], (1, 2)) + tg.repeat(h[:, ::2], 2, 1)
        y = y + tg.squeeze(tg.expand_dims(h, 1), 1) + tg.moveaxis(tg.moveaxis(x, 0, 1), 1, 0)
        y = y * tg.clip(x, -0.4, 0.4) + tg.einsum("bi,ij->bj", h, W) - tg.full_like(h, 0.25)
        return tg.arctan(y)

    xs, h = arrays((3, 2, 4), (2, 4))
    xs, h = leaf(xs), leaf(h)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ys = tg.scan(step, h, xs)[0]
    same = tg.unroll(step, h, xs)[0]
    agree(ys, same.data)
    for one, other in zip(
        tg.grad(ys.sum(), [xs, h, W]), tg.grad(same.sum(), [xs, h, W]), strict=True
    ):
        agree(one, other.data)


def test_numbers_that_no_tensor_has_are_refused_in_plain_arrays():
    for f, count in ((tg.exp, 1), (tg.add, 2), (tg.softmax, 1), (tg.relu, 1)):
        with pytest.raises(TypeError, match="at most 64 bits"):
            f(*[np.ones(2, np.longdouble)] * count)
    for f in (tg.exp2, tg.sqrt, tg.sin):  # for which NumPy would take float16
        x = np.array([20], np.uint8)
        agree(f(x), f(tg.tensor(x)).data)
    with pytest.raises(TypeError, match="repeats: expected a whole number"):
        tg.repeat([1.0], 2.9)


def test_second_slopes_at_the_edge():
    """By x first or by y first; where 1 / x is infinite, x⁰ is constant."""
    f, hessian = tg.power, tg.transforms.hessian
    for x, y in ((2.0, 0.0), (0.5, 0.0), (3.0, 1.0), (0.0, 0.0), (1e-300, 0.0)):
        (_, xy), (yx, _) = [[part.item() for part in row] for row in hessian(f, (0, 1))(x, y)]
        expected = x ** (y - 1) * (y * math.log(x) + 1) if x > 1e-200 else None
        assert math.isfinite(yx) and (not expected or xy == yx == pytest.approx(expected))
    assert not np.any(
        [[part.item() for part in row] for row in hessian(tg.hypot, (0, 1))(0.0, 0.0)]
    )


@pytest.mark.parametrize("args, words, message", [
    ([[1, 2]], {}, "expected floats in one of them"), ([[0.5]], {"order": 0}, "at least 1, got 0"),
    ([[0.5]], {"step": 0}, "step: expected a number in"), ([[0.5]], {"order": "2"}, "whole number"),
])  # fmt: skip
def test_a_check_of_nothing_is_refused(args, words, message):
    with pytest.raises((TypeError, ValueError), match=f"check_grads: .*{message}"):
        tg.check_grads(lambda x: x * x.detach(), args, **words)


@pytest.mark.parametrize("rules, body", [
    ([lambda g, x: g], lambda x: x), ([lambda g, y, a, b: g, lambda g, y, b: g], lambda a, b: a),
    ([lambda g, y, x: g], lambda x, axis=0: x),
])  # fmt: skip
def test_a_derivative_that_cannot_be_called_is_refused_where_it_is_declared(rules, body):
    for declare in (tg.pointwise, tg.primitive):
        with pytest.raises(
            TypeError, match=r"derivative of input \d: expected a function of \(g, y, "
        ):
            declare(*rules)(body)
    assert declare(None)(lambda x: x) and declare(np.add)(lambda x: x)


def test_an_optimiser_of_modules_says_how_to_give_their_parameters():
    with pytest.raises(TypeError, match=r"got Linear: give its parameters\(\)"):
        tg.optim.SGD([tg.nn.Linear(2, 2)], lr=0.1)


@pytest.mark.parametrize("call, message", [
    (lambda: tg.round([1.5], 1.5), "round: decimals: expected a whole number"),
    (lambda: tg.round([1.5], 400), "round: decimals: expected -308 to 308"),
    (lambda: tg.one_hot([1], 2.5), "one_hot: num_classes: expected a whole number"),
    (lambda: tg.one_hot([3], 2), "one_hot: index: expected 0 <= index < 2"),
    (lambda: tg.roll([1.0, 2.0], 1.5), "roll: shift: expected a whole number"),
    (lambda: tg.pad([1, 2], 1, constant_values=np.nan), "int64"),
    (lambda: tg.pad([1], 1, constant_values=tg.tensor(2)), "pad: constant_values: .* tg.concat"),
    (lambda: tg.pad([1, 2], 1.5), "pad: pad_width: expected a whole number"),
    (lambda: tg.tensordot(np.eye(2), np.eye(2), ([0, 1], [0, 0])), "repeated axis"),
    (lambda: tg.tensordot(np.eye(2), np.eye(2), True), "tensordot: axes: expected a whole number"),
    (lambda: tg.tensordot(np.eye(2), np.eye(2), 3), "tensordot: axes: expected 0 to 2"),
    (lambda: tg.cross_entropy(np.eye(2), [0, 1], ignore_index=1.5), "ignore_index: expected a wh"),
    (lambda: tg.nll_loss(np.eye(2), [0, 1], ignore_index=None), "ignore_index: expected a whole"),
    (lambda: tg.optim.cosine(1, peak=np.nan, total=3), "cosine: peak: expected a number"),
    (lambda: tg.optim.clip_grad_norm([1.0], 1), "clip_grad_norm: parameters: expected a module"),
    (lambda: tg.optim.Adam(5), "Adam: parameters: expected a module or a list"),
    (lambda: tg.optim.Adam(tg.nn.Linear(1, 1)).load_state_dict(5), "Adam: state: expected arrays"),
])  # fmt: skip
def test_options_that_mean_nothing_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_half_precision_is_float32_for_functions_of_arrays_too():
    many = np.full(70_000, 1, np.float16)
    assert tg.sum(many) == 70_000 and tg.sum(many).dtype == np.float32
    for f in (tg.exp, tg.tanh, tg.relu, tg.abs, tg.softmax, tg.square):
        assert f(np.float16([12.0])).dtype == np.float32 and np.isfinite(f(np.float16([12.0])))


def test_one_large_gradient_does_not_stop_a_weight_for_good():
    for rule in (tg.optim.Adam, tg.optim.RMSprop):
        w = tg.tensor(np.ones(1, np.float32), requires_grad=True)
        optimizer = rule([w], lr=0.1)
        for g in [2e19] + [1.0] * 5:
            w.grad = np.float32([g])
            optimizer.step()
        memory = optimizer.memory["0"]
        assert all(np.isfinite(array).all() for array in memory.values()), memory


def test_whole_numbers_may_be_arrays_of_one():
    one, x = np.array(1), np.eye(2)
    assert np.array_equal(tg.round([1.55], one), [1.6]) and tg.one_hot([0], np.array(3)).shape == (
        1,
        3,
    )
    assert np.array_equal(tg.tensordot(x, x, np.array([[1], [0]])), x)
    assert (
        tg.cross_entropy(x, [0, 1], ignore_index=one).item() == tg.cross_entropy(x[:1], [0]).item()
    )
    assert tg.optim.cosine(3, peak=np.array(0.5), total=3) == 0
