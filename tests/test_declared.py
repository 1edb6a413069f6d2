"""What follows from an op's declaration, for every op that is declared."""

import numpy as np
import pytest
import where_ops_live
from test_ops import CASES

import tinygrad_rnn as tg
from tinygrad_rnn import ops
from tinygrad_rnn.kernels.numbers import Called, typed
from tinygrad_rnn.loops import runtime

OPS = {
    f.name: f
    for module in ops.MODULES
    for f in vars(module).values()
    if isinstance(f, tg.op.Op) and f.ours
}
POINTWISE = [op for op in OPS.values() if op.pointwise]
SMOOTH = [op for op in POINTWISE if any(op.rules)]
COMPOSED = [op for op in OPS.values() if op.declared.formula and op.arity == 1]
VALUES = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0])


def called(op, xs):
    """The op on its share of a sequence of inputs; a condition is the sign of one."""
    counts = op.company(op.arity)
    given = [x if counts[k] else x > 0 for k, x in enumerate(xs)]
    return op(*given, **{name: np.float64 for name in op.attributes if name == "dtype"})


def step_of(some):
    """A step in which each op has inputs of its own, so that a NaN in one hides no other."""

    def step(*given):
        xs, h = iter(given[:-1]), given[-1]
        return h, *[called(op, [next(xs) for _ in range(op.arity)]) for op in some]

    return step


def derivatives(some, arrays, unroll):
    """The answers, and the first and second derivatives of their sum by every input."""
    xs = [tg.Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    _, *ys = tg.scan(step_of(some), np.zeros(1), xs, unroll=unroll)
    total = sum((y.sum() for y in ys), start=0.0)
    first = tg.grad(total, xs, create_graph=True, allow_unused=True)
    weights = np.random.default_rng(1).normal(size=arrays[0].shape)
    bent = [(g * weights).sum() for g in first if g is not None and g.requires_grad]
    second = tg.grad(sum(bent, start=0.0), xs, allow_unused=True)
    found = [*ys, *first, *second]
    assert len([x for x in found if x is not None]) > 3 * len(some)
    return [x if x is None else x.data for x in found]


@pytest.mark.parametrize("edges", [False, True])
def test_F09_every_op_of_one_element_has_the_same_derivatives_in_a_loop(edges):
    """Values, first and second derivatives; with NaN, infinities and ties too."""
    rng = np.random.default_rng(0)
    count = sum(op.arity for op in SMOOTH)
    shape = (2, 50)
    arrays = [rng.uniform(0.2, 0.9, shape) for _ in range(count)]
    if edges:
        arrays = [rng.choice(VALUES, shape) for _ in range(count)]
    with np.errstate(all="ignore"):
        ours, theirs = (derivatives(SMOOTH, arrays, unroll) for unroll in (False, True))
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_every_op_of_one_element_has_its_derivatives_over_broadcasting():
    """Numerically, with a number and an empty array too; the others have rows in `test_ops`."""
    rng = np.random.default_rng(0)
    for op in [op for op in SMOOTH if op.name == "mul" or op.name not in CASES]:
        for k, shapes in enumerate(
            [((2, 1), (1, 3), (3,)), ((), (2,), ()), ((0, 3), (1, 3), (3,))]
        ):
            least = 1.2 if op.name == "arccosh" else 0.2  # it begins at 1
            xs = [rng.uniform(least, least + 0.7, shape) for shape in shapes[: op.arity]]
            constant = [not c for c in op.company(op.arity)]
            f = lambda *given, op=op, xs=xs, constant=constant: called(
                op, [x if c else y for x, y, c in zip(xs, given, constant, strict=True)]
            )
            tg.check_grads(f, xs, order=1 if k else 2)


@pytest.mark.parametrize(
    "dtype", [np.int64, np.int8, np.bool_, pytest.param(np.uint8, marks=pytest.mark.compiled)]
)
def test_every_op_of_whole_numbers_is_the_same_in_a_loop(dtype):
    """What NumPy refuses of them is refused; exponents that are not known are not compiled."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 4, (2, 9)).astype(dtype) for _ in range(3)]
    some = [op for op in POINTWISE if op.declared.loop is None and allowed(op, arrays)]
    assert len(some) > len(POINTWISE) / 2
    if dtype is np.uint8:  # compiled: what stays a whole number, which Numba would make wider
        some = [
            op for op in some if called(op, [*map(tg.Tensor, arrays[: op.arity])]).dtype == dtype
        ]
    given = [a for op in some for a in arrays[: op.arity]]
    ours, theirs = (
        tg.scan(step_of(some), np.zeros(1), given, unroll=unroll) for unroll in (False, True)
    )
    for op, a, b in zip(some, ours[1:], theirs[1:], strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-6, atol=1e-7, err_msg=op.name)
        assert a.dtype == b.dtype


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32, np.float64])
def test_a_quotient_by_minus_one_is_wrapped_as_numpys(dtype):
    low = np.iinfo(dtype).min if np.dtype(dtype).kind == "i" else -np.inf
    x, y = np.array([low, low, -5, 5, 0, 7], dtype), np.array([-1, 1, -1, -1, -1, -2], dtype)
    step = lambda y, x: (x, x // y, x % y)
    ours, theirs = (tg.scan(step, [x], [y[None]], unroll=unroll) for unroll in (False, True))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(np.signbit(a.data), np.signbit(b.data))


def allowed(op, arrays):
    with np.errstate(all="ignore"):
        try:
            return called(op, [tg.Tensor(a) for a in arrays[: op.arity]]) is not None
        except TypeError:
            return False


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_op_of_one_element_keeps_the_dtype_of_its_numbers_in_a_loop(dtype):
    """A constant of another would make the loop slow, and its numbers others than NumPy's."""
    from tinygrad_rnn.kernels import compiles
    from tinygrad_rnn.loops.formula import Word, number_of, spelled

    if not compiles():
        pytest.skip("there is no compiler")
    from llvmlite import ir
    from numba import from_dtype, types

    from tinygrad_rnn.kernels import pointwise, text, written

    kind, real = from_dtype(np.dtype(dtype)), written.KINDS[np.dtype(dtype)]
    seen = 0
    for op in POINTWISE:
        number = number_of(op)
        company = op.company(op.arity)
        given = [real if c else written.I1 for c in company]
        function = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), given), "f")
        builder = ir.IRBuilder(function.append_basic_block())
        try:
            of = text.function_of(builder, Called(number, np.dtype(dtype)))
            named = dict.fromkeys(op.attributes)
            made = of(*[written.Number(builder, x) for x in function.args], **named)
            assert made.kind in (real, written.I1), op.name
            seen += 1
            continue
        except (KeyError, TypeError, AttributeError, NotImplementedError):
            pass  # what Numba compiles
        function = pointwise.function(number, np.dtype(dtype))
        word = spelled(op, [Word(x) for x in "xyz"[: op.arity]])
        if hasattr(function, "overloads") and word is None:
            function.compile(tuple([kind if c else types.boolean for c in company]))
            answer = next(iter(function.overloads.values())).signature.return_type
            assert answer in (kind, types.boolean), op.name
    assert seen > 0.8 * len(POINTWISE)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8, np.bool_])
def test_a_constant_takes_the_dtype_of_the_numbers_where_it_fits(dtype):
    limit, dtype = 2.5, np.dtype(dtype)
    number = lambda x, low=3.0: (x + 0.5, x + 2.0, x + 300.0, x + 1e30, x + limit, low, 7)
    made = typed(number, dtype)
    found = made.__code__.co_consts + made.__defaults__ + (made.__closure__[0].cell_contents,)
    for value in (0.5, 2.0, 300.0, 1e30, 3.0, 2.5):
        fits = dtype.kind == "f" or (dtype.kind == "i" and value in (2.0, 3.0))
        fits = fits or (dtype == np.int64 and value == 300.0)
        (kind,) = {type(c) for c in found if isinstance(c, int | float | np.generic) and c == value}
        assert kind is (dtype.type if fits else float), (value, kind)
    assert 7 in [c for c in found if type(c) is int]


@pytest.mark.parametrize("op", COMPOSED, ids=[op.name for op in COMPOSED])
def test_the_kernel_of_a_composite_is_its_formula(op):
    rng = np.random.default_rng(0)
    for x in (rng.normal(size=(4, 3)) * 3, rng.choice(VALUES, (40, 4))):
        several = (0, 1) if op.name == "cumsum" else (0, -1, (0, 1), None)  # which has one axis
        for axis in several if "axis" in op.attributes else (None,):
            for keepdims in (False, True) if "keepdims" in op.attributes else (None,):
                words = {"axis": axis, "keepdims": keepdims}
                words = op.defaults | {k: v for k, v in words.items() if k in op.attributes}
                with np.errstate(all="ignore"):
                    found, right = op(x, **words), op.declared.formula(x, **words)
                np.testing.assert_allclose(found, right, rtol=1e-13, atol=1e-13)


CLASSES = np.array([1, -100, 3, 0, 2, 2, -100, 1])


def test_the_kernels_of_cross_entropy_are_its_formulas():
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(8, 4)) * 3, rng.normal(size=8)
    x[1, 2], x[6] = np.nan, np.inf  # of rows that do not count
    for ignored in (-100, 2):
        target = np.where(CLASSES == -100, ignored, CLASSES)
        op, pulled = OPS["cross_entropy"], OPS["cross_entropy_pull"]
        for f, xs in ((op, [x, target]), (pulled, [g, x, target])):
            with np.errstate(all="ignore"):
                found, right = f(*xs, ignored), f.declared.formula(*xs, ignored)
            np.testing.assert_allclose(found, right.data, rtol=1e-13, atol=1e-13)


def test_cross_entropy_in_a_step_has_a_loop(monkeypatch):
    """Of targets that the step closes over, by two threads; without a warning."""
    monkeypatch.setattr(runtime, "SHORT", -1)
    monkeypatch.setattr(runtime, "get_num_threads", lambda: 2)
    rng = np.random.default_rng(0)
    W, x, h = (tg.Tensor(rng.normal(size=size), requires_grad=True)
               for size in ((3, 4), (2, 8, 3), (8, 3)))  # fmt: skip

    def step(x, h):
        h = tg.tanh(x + h)
        losses = [f(h @ W, CLASSES, reduction="none") for f in (tg.cross_entropy, tg.nll_loss)]
        return h, losses[0] * losses[1]

    found = []
    for unroll in (False, True):
        y = tg.scan(step, h, x, unroll=unroll)[1]
        found.append([y.data, *[g.data for g in tg.grad((y * y).sum(), [W, x, h])]])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_what_has_no_form_in_a_loop():
    """All others have a `loop`, a formula, or are done number by number."""
    without = {op.name for op in OPS.values() if not (op.pointwise or op.declared.formula)}
    assert {name for name in without if OPS[name].declared.loop is None} == {"argsort", "ctc"}


# -- what one declaration gives an op that nobody knew before --------------------------------------


@tg.pointwise(
    lambda g, y, x: g * (tg.sigmoid(x) + y * (1 - tg.sigmoid(x))),
    number=lambda x: x / (1.0 + np.exp(-x)),
    sign="silu",
)
def swish(x):
    """x σ(x)."""
    return x / (1 + np.exp(-x))


def spread_out(x, axis):
    low = x - tg.mean(x, axis, True)
    return low * tg.mean(low * low, axis, True)


def spread_rule(g, y, x, axis):
    low = x - tg.mean(x, axis, True)
    g = g * tg.mean(low * low, axis, True) + 2 * low * tg.mean(g * low, axis, True)
    return g - tg.mean(g, axis, True)


@tg.primitive(spread_rule, formula=spread_out)
def spread(x, axis=-1):
    """What is left without the mean, times the variance."""
    low = x - x.mean(axis, keepdims=True)
    return low * x.var(axis, keepdims=True)


@pytest.mark.compiled
def test_a_new_op_and_a_new_composite_have_everything():
    """Arrays, tensors, derivatives of any order, and a loop without a warning."""
    x = np.random.default_rng(0).normal(size=(2, 5))
    assert np.array_equal(swish(x), x / (1 + np.exp(-x)))
    for f in (swish, spread):
        tg.check_grads(f, [x], order=3)
    step = lambda a, h: (h * 0.5 + spread(swish(a)),) * 2
    a, h = (tg.Tensor(v, requires_grad=True) for v in (np.stack([x, -x]), x))
    found = []
    for unroll in (False, True):
        y, ys = tg.scan(step, h, a, unroll=unroll)
        found.append(
            [y.data, ys.data, *[g.data for g in tg.grad((y * y).sum() + ys.sum(), [a, h])]]
        )
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
    source = tg.loops.scan_source(step, h, a)
    assert "op_swish(" in source and "op_spread" not in source


# -- where an op lives -----------------------------------------------------------------------------


def test_an_op_lives_in_one_file():
    for name, files in where_ops_live.everywhere().items():
        assert len(files) == 1, (name, files)
