"""Every op, found on its own, against numerical first and second derivatives."""

import inspect

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops
from tinygrad_rnn.op import Op, pick
from tinygrad_rnn.ops import (
    arithmetic,
    clipping,
    ctc,
    likelihood,
    linear,
    reduce,
    shape,
    sorting,
    statistics,
)
from tinygrad_rnn.tensor import Tensor

MODULES = (arithmetic, clipping, ctc, likelihood, linear, reduce, shape, sorting, statistics)
OPS = {op.name: op for module in MODULES for op in vars(module).values() if isinstance(op, Op)}

# Shapes that broadcast together: 0-d, zero-size, size 1, missing axes.
SHAPES = [(), (1,), (3,), (0,), (2, 3), (1, 3), (2, 1), (0, 3), (2, 0, 1), (2, 1, 3)]
PAIRS = [
    ((), ()),
    ((), (3,)),
    ((1,), (3,)),
    ((3,), (2, 3)),
    ((2, 1), (1, 3)),
    ((2, 1, 3), (4, 1)),
    ((0, 3), (1, 3)),
    ((0,), ()),
    ((2, 3), (2, 3)),
]
AXES = [((3,), -1), ((2, 3), 0), ((2, 3), -1), ((1, 3), 0), ((2, 3, 2), 1), ((0, 3), -1)]
REDUCTIONS = [(s, a, k) for s, a in AXES for k in (False, True)] + [
    ((), None, False),
    ((2, 3), None, True),
    ((2, 3, 2), (0, 2), False),
    ((0, 3), 0, False),
]
INDICES = [
    ((4, 3), np.s_[1:3,], ()),
    ((4, 3), np.s_[::-2, 0], ()),
    ((4, 3), np.s_[..., None, 1:], ()),
    ((4, 3), (-1,), ()),
    ((4, 3), ("array",), (np.array([0, 0, 2]),)),
    ((4, 3), ("array", "array"), (np.array([0, 0]), np.array([1, 1]))),
    ((4, 3), (slice(None), "array"), (np.array([[2, 0], [2, 2]]),)),
    ((4, 3), ("array",), (np.zeros(0, np.int64),)),
    ((4,), ("array",), (np.array([True, False, True, True]),)),
    ((0, 3), np.s_[:, 1], ()),
]


def indexed(shape, index, arrays):
    """The shape of what an index takes out of an array of a shape."""
    arrays = iter(arrays)
    return np.zeros(shape)[tuple(next(arrays) if i == "array" else i for i in index)].shape


def away_from(kinks, *shapes, seed=0):
    """Random arrays whose elements stay clear of where a derivative jumps."""
    rng = np.random.default_rng(seed)
    arrays = [rng.uniform(0.2, 1.5, s) * rng.choice([-1, 1], s) for s in shapes]
    return [a + kinks for a in arrays]


def positive(*shapes):
    return [np.abs(a) for a in away_from(0.0, *shapes)]


def distinct(*shapes):
    """Elements that are never near a tie."""
    rng = np.random.default_rng(1)
    size = sum(int(np.prod(s)) for s in shapes)
    values = list(rng.permutation(size) * 0.37 - 1.1)
    return [np.array([values.pop() for _ in range(int(np.prod(s)))]).reshape(s) for s in shapes]


def unary(domain):
    return [domain(s) for s in SHAPES]


def binary(domain):
    return [domain(*pair) for pair in PAIRS]


smooth = lambda *shapes: away_from(0.0, *shapes)

COMPARISONS = ["less", "less_equal", "greater", "greater_equal", "equal", "not_equal"]
TARGET = [[0, 2], [-100, 1]]

# What the public functions add to the ops they are made of.
WRAPPED = {
    "vector @ vector": (ops.matmul, smooth((3,), (3,))),
    "vector @ matrix": (ops.matmul, smooth((3,), (3, 2))),
    "matrix @ vector": (ops.matmul, smooth((2, 3), (3,))),
    "stack @ vector": (ops.matmul, smooth((4, 2, 3), (3,))),
    "vector @ stack": (ops.matmul, smooth((3,), (4, 3, 2))),
    "mean": (lambda x: ops.mean(x, (0, 2), keepdims=True), smooth((2, 3, 4))),
    "mean of all": (lambda x: ops.mean(x), smooth((2, 3))),
    "cross entropy": (lambda x: ops.cross_entropy(x, TARGET), smooth((2, 2, 3))),
    "its sum": (lambda x: ops.cross_entropy(x, TARGET, reduction="sum"), smooth((2, 2, 3))),
    "each": (lambda x: ops.cross_entropy(x, TARGET, reduction="none"), smooth((2, 2, 3))),
    "none": (lambda x: ops.cross_entropy(x, np.zeros((0, 2), int)), smooth((0, 2, 3))),
    "squares": (ops.mean_squared_error, smooth((2, 3), (2, 3))),
    "their sum": (lambda x, y: ops.mean_squared_error(x, y, reduction="sum"), smooth((3,), (3,))),
    "index": (lambda x: x[np.array([0, 0, 1]), 1:] * x[1, ..., None, 1:], smooth((2, 3))),
    "mask": (lambda x: x[np.array([True, False])], smooth((2, 3))),
    "iteration": (lambda x: ops.stack([row * k for k, row in enumerate(x)]), smooth((3, 2))),
    "numbers beside": (lambda x: (2 - x) / 3 + 1 / x + 2**x, smooth((3,))),
}

# For each op: the inputs, or (inputs, attributes), to check it on. An op without a row fails.
CASES = {
    **{name: unary(smooth) for name in ("neg", "exp", "tanh", "sigmoid", "softplus")},
    **{name: unary(smooth) for name in ("abs", "sign", "relu")},
    **{name: unary(positive) for name in ("log", "sqrt")},
    **{name: binary(smooth) for name in ("add", "sub", "mul", "div")},
    **{name: binary(distinct) for name in ("maximum", "minimum")},
    **{name: binary(distinct) for name in COMPARISONS},
    # Of an answer and what it is of; the answer says nothing of its own.
    **{name: [[0, *smooth(s)] for s in SHAPES] for name in ("tanh_slope", "sigmoid_slope")},
    "power": [[*positive(a), *smooth(b)] for a, b in PAIRS],
    "where": [[np.arange(np.prod(a)).reshape(a) % 2 == 0, *smooth(a, b)] for a, b in PAIRS],
    "astype": [(smooth(s), {"dtype": np.float64}) for s in SHAPES],
    "reshape": [(smooth((2, 3)), {"shape": s}) for s in ((6,), (3, -1), (1, 6, 1))]
    + [(smooth((0, 3)), {"shape": (3, 0)}), (smooth(()), {"shape": (1, 1)})],
    "transpose": [(smooth((2, 3, 4)), {"axes": a}) for a in (None, (1, 0, 2), (2, 0, -2))]
    + [(smooth(()), {"axes": None}), (smooth((0, 2)), {"axes": None})],
    "swapaxes": [(smooth((2, 3, 1)), {"axis1": 0, "axis2": -1})],
    "broadcast_to": [
        (smooth(a), {"shape": b})
        for a, b in [((), (2, 3)), ((1, 3), (2, 3)), ((3,), (0, 3)), ((2, 1), (4, 2, 5))]
    ],
    "sum_to": [
        (smooth(b), {"shape": a})
        for a, b in [((), (2, 3)), ((1, 3), (2, 3)), ((3,), (0, 3)), ((2, 1), (4, 2, 5))]
    ],
    "flip": [(smooth((2, 3)), {"axis": a}) for a in (None, 0, -1)],
    "concat": [
        (smooth((2, 3), (2, 1), (2, 0)), {"axis": -1}),
        (smooth((2, 3)), {"axis": 0}),
    ],
    "stack": [(smooth((2, 3), (2, 3)), {"axis": a}) for a in (0, 1, -1)]
    + [(smooth((), ()), {"axis": 0})],
    "split": [
        (smooth((2, 6)), {"sections": 3, "axis": -1}),
        (smooth((5, 2)), {"sections": [1, 0, 4], "axis": 0}),
    ],
    "unstack": [(smooth((3, 2)), {"axis": a}) for a in (0, 1)] + [(smooth((3,)), {"axis": 0})],
    "take": [([*smooth(s), *arrays], {"index": i}) for s, i, arrays in INDICES],
    "put": [
        ([*smooth(indexed(s, i, arrays)), *arrays], {"index": i, "shape": s})
        for s, i, arrays in INDICES
    ],
    "embedding": [[*smooth((4, 3)), i] for i in (np.array([1, 1, 0]), np.zeros((2, 0), int))]
    + [[*smooth((4, 3)), np.array([[3, 0], [3, 3]])]],
    "scatter_rows": [
        ([*smooth((3, 2)), np.array([1, 1, 0])], {"rows": 4}),
        ([*smooth((2, 0, 2)), np.zeros((2, 0), int)], {"rows": 1}),
    ],
    "matmul": [
        smooth(a, b)
        for a, b in [
            ((2, 3), (3, 4)),
            ((1, 1), (1, 1)),
            ((0, 3), (3, 2)),
            ((2, 0), (0, 2)),
            ((5, 2, 3), (3, 2)),
            ((5, 2, 3), (5, 3, 1)),
            ((1, 2, 3), (5, 3, 2)),
            ((2, 3), (5, 3, 2)),
        ]
    ],
    "sum": [(smooth(s), {"axis": a, "keepdims": k}) for s, a, k in REDUCTIONS],
    **{
        name: [
            (distinct(s), {"axis": a, "keepdims": k})
            for s, a, k in REDUCTIONS
            if s != (0, 3) or a == -1
        ]
        for name in ("max", "min")
    },
    **{
        name: [(smooth(s), {"axis": a}) for s, a in AXES]
        for name in ("softmax", "log_softmax", "logsumexp")
    },
    "cumsum": [(smooth(s), {"axis": a}) for s, a in AXES],
    "argsort": [(distinct(s), {"axis": a}) for s, a in AXES] + [(distinct((2, 3)), {"axis": None})],
    **{
        name: [
            (distinct(s), {"axis": a, "keepdims": k})
            for s, a, k in REDUCTIONS
            if s != (0, 3) or a == -1
        ]
        for name in ("argmax", "argmin")
    },
    "ctc": [  # places, times, sizes
        [*smooth((3, 2, 3)), [[-1, 0, 1, 0, 2, 0], [-1, 0, 2, 0, 0, 0]], [3, 2], [2, 1]],
        [*smooth((0, 1, 2)), [[-1, 0]], [0], [0]],
    ],
    "clip_gradient": [  # limits that are not reached: it is the identity; see test_clip
        (smooth((2, 3)), {"norm": 1e6, "value": None}),
        (smooth((0, 3)), {"norm": 1e6, "value": None}),
        (smooth((2, 0)), {"norm": 1e6, "value": None}),
        (smooth(()), {"norm": None, "value": 1e6}),
    ],
    "cross_entropy": [
        ([*smooth((4, 3)), np.array([0, 2, -100, 1])], {"ignore_index": -100}),
        ([*smooth((1, 1)), np.array([0])], {"ignore_index": -100}),
        ([*smooth((0, 3)), np.zeros(0, int)], {"ignore_index": -100}),
    ],
    "cross_entropy_pull": [
        ([*smooth((4,), (4, 3)), np.array([0, 2, -100, 1])], {"ignore_index": -100}),
        ([*smooth((0,), (0, 3)), np.zeros(0, int)], {"ignore_index": -100}),
    ],
}


PLACES = ("argmax", "argmin", "argsort")  # which answer in integers


def test_F09_every_op_has_a_row():
    assert set(OPS) == set(CASES)


def each_case():
    for name, cases in CASES.items():
        for k, case in enumerate(cases):
            inputs, attrs = case if isinstance(case, tuple) else (case, {})
            yield pytest.param(OPS[name], inputs, attrs, id=f"{name}-{k}")


EACH = list(each_case())


@pytest.mark.parametrize("op, inputs, attrs", EACH)
def test_F09_first_and_second_derivative(op, inputs, attrs):
    def f(*xs):
        return op(*xs, **attrs)

    tg.check_grads(f, inputs, order=2)


@pytest.mark.parametrize("f, inputs", WRAPPED.values(), ids=WRAPPED)
def test_wrapped_verbs(f, inputs):
    tg.check_grads(f, inputs, order=2)


@pytest.mark.parametrize("op, inputs, attrs", EACH)
def test_arrays_in_array_out_and_the_same_numbers(op, inputs, attrs):
    arrays = op(*[np.asarray(x) for x in inputs], **attrs)
    tensors = op(*map(Tensor, inputs), **attrs)
    arrays = arrays if isinstance(arrays, tuple) else (arrays,)
    tensors = tensors if isinstance(tensors, tuple) else (tensors,)
    for a, t in zip(arrays, tensors, strict=True):
        assert not isinstance(a, Tensor)
        assert np.array_equal(a, t.data, equal_nan=True) and np.shape(a) == t.shape


@pytest.mark.parametrize("op, inputs, attrs", EACH)
def test_float32_stays_float32_and_so_do_gradients(op, inputs, attrs):
    attrs = {k: np.float32 if k == "dtype" else v for k, v in attrs.items()}
    xs = [Tensor(x, dtype=np.float32 if np.asarray(x).dtype.kind == "f" else None) for x in inputs]
    for x in xs:
        x.requires_grad = x.dtype.kind == "f"
    ys = op(*xs, **attrs)
    for y in ys if isinstance(ys, tuple) else (ys,):
        assert y.dtype in ((np.int64,) if op.name in PLACES else (np.float32, np.bool_))
        if y.requires_grad:
            y.backward(np.ones(y.shape, np.float32), retain_graph=True)
    for x in xs:
        if x.grad is not None:
            assert x.grad.dtype == np.float32 and x.grad.shape == x.shape


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_rules_fit_the_body(op):
    if op.arity >= 0:
        for rule in op.rules:
            if rule is not None:
                wanted = 2 + op.arity + len(op.attributes)
                assert len(inspect.signature(rule).parameters) == wanted


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_are_bools_without_a_history(name):
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = OPS[name](x, 1.0)
    assert y.dtype == bool and y.op is None and not y.requires_grad


@pytest.mark.parametrize("name", [n for n in CASES if OPS[n].pointwise and OPS[n].arity == 2])
def test_broadcasting_is_explicit_tiling(name):
    """P39: the gradient has the input's shape, and is the sum over what was repeated."""
    for a, b in PAIRS:
        x, y = (Tensor(v, requires_grad=True) for v in positive(a, b))
        z = OPS[name](x, y)
        if not z.requires_grad or None in OPS[name].rules:
            continue
        g = np.random.default_rng(0).normal(size=z.shape)
        dx, dy = tg.grad(z, [x, y], g)
        big = [np.broadcast_to(v.data, z.shape) for v in (x, y)]
        u, v = (Tensor(w, requires_grad=True) for w in big)
        du, dv = tg.grad(OPS[name](u, v), [u, v], g)
        assert dx.shape == a and dy.shape == b
        np.testing.assert_allclose(dx.data, ops.sum_to(du.data, a), rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(dy.data, ops.sum_to(dv.data, b), rtol=1e-13, atol=1e-14)


SMOOTH_ANYWHERE = ["exp", "tanh", "sigmoid", "softplus"]


@pytest.mark.parametrize("name", SMOOTH_ANYWHERE)
def test_derivatives_of_order_three_and_four(name):
    tg.check_grads(OPS[name], [np.linspace(-1, 1, 5)], order=4)


def test_an_axis_that_has_no_way_back_is_refused_at_once():
    x = Tensor(np.ones(3), requires_grad=True)
    for f in (lambda x: ops.transpose(x, 0), lambda x: ops.unstack(x, (0,))):
        with pytest.raises(TypeError, match=r"(transpose|unstack): .*\[3\], ax[ei]s"):
            f(x)


def test_several_results_and_one_unused():
    x = Tensor(np.arange(6.0), requires_grad=True)
    first, _, last = ops.split(x, 3)
    (first * 2 + last * last).sum().backward()
    assert x.grad.data.tolist() == [2, 2, 0, 0, 8, 10]


def test_pick_is_not_for_the_table():
    assert pick.name == "pick" and "pick" not in OPS


# -- conventions a rule has to choose ----------------------------------------------------------


@pytest.mark.parametrize(
    "f, x, expected",
    [
        (ops.abs, [0.0], [0.0]),
        (ops.relu, [0.0], [0.0]),
        (lambda x: ops.max(x), [2.0, 5.0, 5.0], [0.0, 0.5, 0.5]),
        (lambda x: ops.maximum(x, Tensor([1.0])), [1.0], [0.5]),
        (lambda x: x**0, [0.0], [0.0]),
        (lambda x: x**1, [0.0], [1.0]),
        (lambda x: x**2, [0.0], [0.0]),
        (lambda x: ops.softmax(x), [1e4, -1e4], [0.0, 0.0]),
        (lambda x: -ops.softplus(-x), [-1000.0, 1000.0], [1.0, 0.0]),
    ],
)
def test_chosen_subgradients(f, x, expected):
    x = Tensor(x, requires_grad=True)
    assert tg.grad(f(x).sum(), x).data.tolist() == expected


def test_masked_classes_get_no_probability_and_no_gradient():
    x = Tensor([[1.0, -np.inf, 2.0]], requires_grad=True)
    loss = tg.cross_entropy(x, [2])
    loss.backward()
    assert np.isfinite(loss.item()) and x.grad.data[0, 1] == 0 and np.isfinite(x.grad.data).all()


def test_a_million_float32_terms_keep_their_digits():
    rows = np.random.default_rng(0).random((500_000, 2)).astype(np.float32)
    exact = rows.astype(np.float64)
    for axis in (0, None):
        np.testing.assert_allclose(ops.sum(rows, axis), exact.sum(axis), rtol=1e-6)
    x = Tensor(np.zeros(2, np.float32), requires_grad=True)
    tg.grad((x + rows).sum(), x)
    (gradient,) = [tg.grad((x * rows).sum(), x)]
    np.testing.assert_allclose(gradient.data, exact.sum(0), rtol=1e-6)


@pytest.mark.parametrize("call", [
    lambda x: x.sum(keepdims="no"), lambda x: tg.mean(x, keepdims="no"),
    lambda x: tg.topk(x, 1, largest="no"), lambda x: tg.attention(x, x, x, causal="no"),
])  # fmt: skip
def test_what_is_true_or_false_is_not_asked_of_other_things(call):
    with pytest.raises(ValueError, match="expected one of \\(True, False\\), got 'no'"):
        call(tg.tensor([[1.0, 2.0]]))
    assert tg.max(tg.tensor([[1.0, 2.0]]), axis=0, keepdims=np.True_).shape == (1, 2)


@pytest.mark.parametrize("call, who", [
    (lambda x: tg.eye("a"), "eye"), (lambda x: tg.repeat(x, [1, 2, 3], axis=0), "repeat"),
    (lambda x: tg.pad(x[:0], 1, mode="edge"), "pad"),
])  # fmt: skip
def test_a_refusal_of_numpys_says_whose_it_is(call, who):
    with pytest.raises((TypeError, ValueError), match=f"^{who}: "):
        call(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))


def test_a_flag_of_an_op_of_ones_own_may_be_anything():
    @tg.pointwise(lambda g, y, x, leak=False: g * tg.where(x > 0, 1.0, float(leak)))
    def leaky(x, leak=False):
        return np.where(x > 0, x, x * leak)

    assert leaky(tg.tensor([1.0, -2.0]), leak=0.5).data.tolist() == [1.0, -1.0]
