"""Every op of one number at a time against mpmath: values and slopes, eager and in a loop."""

import functools
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops
from tinygrad_rnn.ops import activation

OPS = {
    f.name: f
    for module in ops.MODULES
    for f in vars(module).values()
    if isinstance(f, tg.op.Op) and f.ours and f.pointwise and any(f.rules)
}
with mp.workprec(300):
    ONE, ZERO = mp.mpf(1), mp.mpf(0)
    SCALE = mp.mpf("1.0507009873554804934193349852946")  # of selu (Klambauer et al. 2017)
    ALPHA = mp.mpf("1.6732632423543772848170429916717")


def sigma(x):
    return 1 / (1 + mp.exp(-x))


def soft(x):
    return max(x, 0) + mp.log1p(mp.exp(-abs(x)))


def tanh(x):
    return -mp.sign(x) * mp.expm1(-2 * abs(x)) / (1 + mp.exp(-2 * abs(x)))


def sech2(x):
    return 4 * mp.exp(-2 * abs(x)) / (1 + mp.exp(-2 * abs(x))) ** 2


def Phi(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2 if abs(x) < 50 else ONE * (x > 0)


def phi(x):
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def share(x, y):
    """What x gets of the gradient of the larger of two."""
    return ONE / 2 if x == y else ONE if x > y else ZERO


def mish_slope(x):
    return tanh(soft(x)) + x * sech2(soft(x)) * sigma(x)


def left(x, y):
    rest = Fraction(float(x)) % Fraction(float(y))
    return mp.mpf(rest.numerator) / rest.denominator


def times(x, y):
    return mp.mpf(Fraction(float(x)) // Fraction(float(y)))


def low(x):
    return mp.expm1(x) if x < 0 else x


TRUTH = {  # the value, and the slope by each input
    "add": (lambda x, y: x + y, lambda x, y: ONE, lambda x, y: ONE),
    "sub": (lambda x, y: x - y, lambda x, y: ONE, lambda x, y: -ONE),
    "mul": (lambda x, y: x * y, lambda x, y: y, lambda x, y: x),
    "div": (lambda x, y: x / y, lambda x, y: 1 / y, lambda x, y: -x / y / y),
    "power": (lambda x, y: x**y, lambda x, y: y * x ** (y - 1), lambda x, y: x**y * mp.log(x)),
    "remainder": (left, lambda x, y: ONE, lambda x, y: -times(x, y)),
    "maximum": (max, share, lambda x, y: share(y, x)),
    "minimum": (min, lambda x, y: share(y, x), share),
    "hypot": (mp.hypot, lambda x, y: x / mp.hypot(x, y), lambda x, y: y / mp.hypot(x, y)),
    "arctan2": (
        mp.atan2,
        lambda y, x: x / mp.hypot(x, y) ** 2,
        lambda y, x: -y / mp.hypot(x, y) ** 2,
    ),
    "neg": (lambda x: -x, lambda x: -ONE),
    "abs": (abs, mp.sign),
    "relu": (lambda x: max(x, 0), lambda x: ONE if x > 0 else ZERO),
    "astype": (lambda x: x, lambda x: ONE),
    "square": (lambda x: x * x, lambda x: 2 * x),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / x / x),
    "sqrt": (mp.sqrt, lambda x: 1 / (2 * mp.sqrt(x))),
    "rsqrt": (lambda x: 1 / mp.sqrt(x), lambda x: -1 / (2 * x * mp.sqrt(x))),
    "exp": (mp.exp, mp.exp),
    "exp2": (lambda x: mp.mpf(2) ** x, lambda x: mp.mpf(2) ** x * mp.log(2)),
    "expm1": (mp.expm1, mp.exp),
    "log": (mp.log, lambda x: 1 / x),
    "log2": (lambda x: mp.log(x) / mp.log(2), lambda x: 1 / (x * mp.log(2))),
    "log1p": (mp.log1p, lambda x: 1 / (1 + x)),
    "sin": (mp.sin, mp.cos),
    "cos": (mp.cos, lambda x: -mp.sin(x)),
    "tan": (mp.tan, lambda x: 1 / mp.cos(x) ** 2),
    "arcsin": (mp.asin, lambda x: 1 / mp.sqrt((1 - x) * (1 + x))),
    "arccos": (mp.acos, lambda x: -1 / mp.sqrt((1 - x) * (1 + x))),
    "arctan": (mp.atan, lambda x: 1 / (1 + x * x)),
    "sinh": (mp.sinh, mp.cosh),
    "cosh": (mp.cosh, mp.sinh),
    "arcsinh": (lambda x: mp.sign(x) * mp.asinh(abs(x)), lambda x: 1 / mp.sqrt(1 + x * x)),
    "arccosh": (mp.acosh, lambda x: 1 / mp.sqrt((x - 1) * (x + 1))),
    "arctanh": (mp.atanh, lambda x: 1 / ((1 - x) * (1 + x))),
    "erf": (mp.erf, lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x)),
    "ndtr": (Phi, phi),
    "tanh": (tanh, sech2),
    "sigmoid": (sigma, lambda x: sigma(x) * sigma(-x)),
    "softplus": (soft, sigma),
    "log_sigmoid": (lambda x: -soft(-x), lambda x: sigma(-x)),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "silu": (lambda x: x * sigma(x), lambda x: sigma(x) * (1 + x * sigma(-x))),
    "mish": (lambda x: x * tanh(soft(x)), mish_slope),
    "gelu": (lambda x: x * Phi(x), lambda x: Phi(x) + x * phi(x)),
    "elu": (low, lambda x: mp.exp(min(x, 0))),
    "selu": (
        lambda x: SCALE * (x if x >= 0 else ALPHA * low(x)),
        lambda x: SCALE * (ONE if x >= 0 else ALPHA * mp.exp(x)),
    ),
    "leaky_relu": (
        lambda x: x if x >= 0 else mp.mpf(0.01) * x,
        lambda x: ONE if x >= 0 else mp.mpf(0.01),
    ),
    "hard_tanh": (lambda x: min(max(x, -1), 1), lambda x: share(x, -1) - share(x, 1)),
    "hard_sigmoid": (
        lambda x: min(max(mp.mpf(0.2) * x + 0.5, 0), 1),
        lambda x: mp.mpf(0.2) * (share(x, -2.5) - share(x, 2.5)),
    ),
}
UNWRITTEN = {"arctan2", "erf", "gelu", "ndtr", "power", "remainder"}  # loops of them are Numba's
FIRST = {"exp", "log", "sqrt", "tanh", "sigmoid", "softplus", "expm1", "log1p"}
# What is near a zero that lies between numbers, or in float32 made from an answer that is near 1.
ABSOLUTE = {("hard_sigmoid", 0), ("silu", 1), ("mish", 1), ("gelu", 1)}
ANSWERS = {("tanh", 1), ("sigmoid", 1)}


def test_every_op_of_one_number_is_here():
    private = {
        "where",
        "bell",
        "steep",
        "tanh_slope",
        "sigmoid_slope",
    }  # a choice, and what is in the slopes of others
    assert set(TRUTH) == (set(OPS) | set(activation.__all__)) - private - {"clip"}


def points(dtype):
    """Numbers of every size, around branches, zeros, poles and overflow. float32 stays in 1e±30:
    loops take for zero what is below the normal range there, in between too."""
    info, rng = np.finfo(dtype), np.random.default_rng(0)
    eps, least, most = float(info.eps), 1e-30, 1e30
    edges = [1e-5, 0.25, 0.7, 2, 3, 5, 8, 9, 18.37, 19, 22, 36.8, 38, 88, 89, 104, 1e5, 1e8, 1e15]
    if dtype == np.float64:
        least, most = float(info.smallest_subnormal), float(info.max)
        edges += [float(info.tiny), 300, 350, 708, 709.7, 709.8, 710.4, 746, 1.3e154, 1.4e154]
    ones = [1 - eps / 2, 1 + eps, *(1 + rng.choice([-1, 1], 12) * 10 ** rng.uniform(-14, -1, 12))]
    small = [eps / 2, eps, eps**0.5, *(10 ** rng.uniform(-3, 1.5, 60)), *rng.uniform(0, 1, 20)]
    wide = [least, 3 * least, most, most / 4, *np.exp(rng.uniform(np.log(least), np.log(most), 20))]
    folds = [*(np.log(2) / 2 * np.arange(1, 20)), *(np.pi / 2 * np.arange(1, 9)), 0.5, 1, 2.5]
    x = np.array([*edges, *ones, *small, *wide, *folds], dtype)
    return [np.concatenate([x, -x, [0]]).astype(dtype)]


def pairs(dtype):
    rng, most = np.random.default_rng(1), 1e30 if dtype == np.float32 else np.finfo(dtype).max
    some = [1 / most, 1e-5, 0.5, 1 - np.finfo(dtype).epsneg, 1, 3, 100.3, 1e10, most / 2, most]
    x, y = (v.ravel() for v in np.meshgrid(some, some))
    a, b = np.exp(rng.uniform(-40, 40, (2, 60))) * rng.choice([-1, 1], (2, 60))
    c, d = rng.uniform(-5, 5, (2, 40))
    return [np.concatenate(v).astype(dtype) for v in ([x, -x, x, a, c], [y, y, -y, b, d])]


def inputs(name, dtype):
    if name != "power":
        return (points if len(TRUTH[name]) == 2 else pairs)(dtype)
    # Its slope by x takes the exponent less 1, which is rounded below 1/2.
    x = np.exp(np.random.default_rng(2).uniform(-20, 20, 150))
    return [v.astype(dtype) for v in (x, np.resize([-3, -2, -1, -0.5, 0, 0.5, 1, 1.7, 2, 3], 150))]


def exact(f, xs):
    try:
        y = f(*xs)
    except (ValueError, ZeroDivisionError):
        return None
    return y if isinstance(y, mp.mpf) and mp.isfinite(y) else None


def ulps(found, truths, xs, absolute):
    """How far numbers are off in units of the last place of the truth; where it is absolute, of 1
    or the x it is at, if that is larger. Nothing is off by less than the smallest normal number."""
    info, largest = np.finfo(found.dtype), float(np.finfo(found.dtype).max)
    sizes = np.maximum(1, np.abs(np.float64(xs)))
    near = sizes if absolute else [abs(float(truth)) for truth in truths]
    units = np.spacing(np.minimum(near, largest / 2).astype(found.dtype)).astype(float)

    def off(v, truth, size, unit):
        if np.isinf(v):
            right = abs(truth) >= largest * (1 - 4 * info.eps) and (truth > 0) == (v > 0)
            return 0.0 if right else np.inf
        error = abs(mp.mpf(v) - truth)
        return 0.0 if error <= info.tiny * size else float(error) / unit

    return list(map(off, found.tolist(), truths, sizes.tolist(), units.tolist()))


def called(name, xs, dtype):
    words = {"dtype": dtype} if name == "astype" else {}
    return OPS.get(name, getattr(tg, name, None))(*xs, **words)


def eagerly(name, dtype):
    """Without a warning, unless it is made of sums or products whose answers do overflow."""
    xs = [tg.Tensor(x, requires_grad=True) for x in inputs(name, dtype)]
    loud = name in ("add", "sub", "mul", "selu")
    with np.errstate(over="ignore" if loud else "warn"):
        y = called(name, xs, dtype)
    return [y.data, *[g.data for g in tg.grad(y, xs, np.ones_like(y.data))]]


def in_a_loop(names, dtype):
    """Of several ops at once: what compiles takes a moment each."""
    given = {n: [tg.Tensor(x[None], requires_grad=True) for x in inputs(n, dtype)] for n in names}

    def step(*xs):
        rest = iter(xs[:-1])
        return xs[-1], *[called(n, [next(rest) for _ in given[n]], dtype) for n in names]

    xs = [x for each in given.values() for x in each]
    _, *ys = tg.scan(step, np.zeros(1, dtype), xs)
    with np.errstate(all="ignore"):
        slopes = iter(tg.grad(sum(y.sum() for y in ys), xs))
    return {n: [y.data[0], *[next(slopes).data[0] for _ in given[n]]]
            for n, y in zip(names, ys, strict=True)}  # fmt: skip


@functools.cache
def truths(name, dtype):
    """Of each input where the op has a value, that and each slope; None where it has none."""
    rows = [[mp.mpf(float(v)) for v in row] for row in zip(*inputs(name, dtype), strict=True)]
    values = [exact(TRUTH[name][0], row) for row in rows]
    known = [v is not None for v in values]
    slopes = [[exact(f, row) if yes else None for row, yes in zip(rows, known, strict=True)]
              for f in TRUTH[name][1:]]  # fmt: skip
    return rows, [values, *slopes]


def worst(name, found, dtype):
    """Of the value and each slope, how far it is off at the worst number, and that number."""
    coarse = ABSOLUTE if dtype == np.float64 else ABSOLUTE | ANSWERS
    rows, answers = truths(name, dtype)
    for k, of in enumerate(answers):
        at = [i for i, truth in enumerate(of) if truth is not None]
        assert len(at) > 40
        xs = [float(rows[i][0]) for i in at]
        off = ulps(found[k][at], [of[i] for i in at], xs, (name, k) in coarse)
        most = int(np.argmax(off))  # a NaN is the most
        yield k, (off[most], *map(float, rows[at[most]]))


def bound(name, slope, dtype):
    if dtype == np.float64:
        return 1 if name in FIRST and not slope else 4
    return 3 if name in FIRST and not slope else 4


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_values_and_slopes_are_within_a_few_ulp(dtype):
    some = [n for n in TRUTH if n not in UNWRITTEN]
    groups = [some[i::5] for i in range(5)] + [sorted(UNWRITTEN)] * (dtype == np.float64)
    wrong = []
    with mp.workprec(300):
        loops = {n: y for group in groups for n, y in in_a_loop(group, dtype).items()}
        for name in TRUTH:
            for where, found in (("eager", eagerly(name, dtype)), ("loop", loops.get(name))):
                for k, (off, *at) in worst(name, found, dtype) if found else ():
                    print(f"{name} {where} {k}: {off:.2f} at {at}")
                    if not off <= bound(name, k, dtype):
                        wrong.append(f"{name}, {where}, {'slope ' * (k > 0)}{k}: {off:.1f} at {at}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("tanh", lambda x: -2 * tanh(x) * sech2(x)),
        ("sigmoid", lambda x: -sigma(x) * sigma(-x) * tanh(x / 2)),
    ],
)
def test_second_slopes_of_float64_do_not_cancel_at_the_ends_either(name, truth):
    f, (x,) = getattr(tg, name), points(np.float64)
    slope, slopes = tg.transforms.grad, []
    for run in (lambda x: f(x).sum(), lambda x: tg.scan(lambda x, h: (h, f(x)), 0.0, x)[1].sum()):
        slopes.append(slope(lambda x, run=run: slope(run)(x).sum())(tg.tensor(x)).data)
    with mp.workprec(300):
        right = [truth(mp.mpf(float(a))) for a in x]
        for found in slopes:
            assert np.max(ulps(found, right, x, False)) <= 8


@pytest.mark.compiled
def test_a_million_float32_terms_keep_their_digits():
    """Summed at once, in a loop, and by a product; `test_contract` has the other eager sums."""
    x = np.random.default_rng(0).uniform(0, 1, 10**6).astype(np.float32)
    total, ones = x.astype(np.float64).sum(), np.ones((10**6, 1), np.float32)
    given = np.zeros(1, np.float32), tg.Tensor(x[None], requires_grad=True)
    _, in_loop = tg.scan(lambda x, h: (h, tg.sum(x)), *given)
    for found, near in (
        (tg.sum(x), 1e-6),
        (in_loop.data[0], 1e-6),
        ((x @ tg.Tensor(ones)).data, 1e-5),
    ):
        assert abs(float(np.asarray(found).item()) - total) <= near * total
