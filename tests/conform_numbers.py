"""The reference numbers of the conformance kit: `python tests/conform_numbers.py` writes them.

Every formula stands here a second time, in NumPy, and is differentiated by complex steps: in
doubles, and in numbers of 60 digits by mpmath, which are what is stored. No engine has a part in
it. A known mistake is a formula too, whose gradient is the mistaken one: `stop` holds constant.
"""

from __future__ import annotations

import json
from pathlib import Path

import mpmath
import numpy as np

PATH = Path(__file__).parent.parent / "tinygrad_rnn" / "conform" / "numbers.json"
DIGITS = 60
LENGTHS = (4, 2)


class Doubles:
    """NumPy's functions, of complex numbers."""

    step = 1e-30
    exp, log, sqrt, tanh = np.exp, np.log, np.sqrt, np.tanh

    @staticmethod
    def of(a):
        return np.array(a, complex)

    @staticmethod
    def real(a):
        return np.real(a)

    @staticmethod
    def unit():
        return 1j * Doubles.step

    @staticmethod
    def imag(z):
        return np.imag(z) / Doubles.step


class Digits:
    """The same of many digits, in arrays of objects."""

    exp, log, sqrt, tanh = (
        np.frompyfunc(f, 1, 1) for f in (mpmath.exp, mpmath.log, mpmath.sqrt, mpmath.tanh)
    )
    of = np.frompyfunc(lambda x: mpmath.mpc(float(np.real(x)), 0), 1, 1)
    real = np.frompyfunc(lambda z: mpmath.mpf(mpmath.re(z)), 1, 1)

    @staticmethod
    def unit():
        return mpmath.mpc(0, mpmath.mpf(10) ** -DIGITS)

    @staticmethod
    def imag(z):
        return mpmath.im(z) * mpmath.mpf(10) ** DIGITS


class Formulas:
    """What formulas are written with, over one of the two."""

    def __init__(self, m):
        self.m = m
        self.exp, self.log, self.sqrt, self.tanh = m.exp, m.log, m.sqrt, m.tanh

    def sigmoid(self, x):
        return (1 + self.tanh(x / 2)) / 2

    def stop(self, x):
        return self.m.real(x) + 0 * self.m.of(1)

    def relu(self, x):
        return x if self.m.real(x) > 0 else 0 * x

    def largest(self, x):
        return np.array([row[np.argmax(self.m.real(row))] for row in x])

    def softmax(self, x):
        e = self.exp(x - self.m.real(x).max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def log_softmax(self, x):
        far = x - self.m.real(x).max(axis=-1, keepdims=True)
        return far - self.log(self.exp(far).sum(axis=-1, keepdims=True))


def gradients(formula, inputs, m):
    """The value of a formula, and its derivative by every number of its inputs."""
    given = [m.of(np.array(a)) if np.ndim(a) else m.of(a) for a in inputs]
    k, found = Formulas(m), []
    for n, a in enumerate(given):
        g = np.empty(np.shape(a), object)
        for place in np.ndindex(np.shape(a)):
            moved = np.array(a)
            moved[place] = moved[place] + m.unit()
            new = moved if np.ndim(a) else moved[()]
            g[place] = m.imag(formula(k, *given[:n], new, *given[n + 1 :]))
        found.append(g.astype(float))
    value = formula(k, *given)
    return float(m.real(value)), found


def draw(rng, *shapes):
    """Inputs of few digits."""
    drawn = [np.round(rng.uniform(-1, 1, shape), 2) for shape in shapes]
    return [np.where(a == 0, 0.5, a) for a in drawn]


# -- formulas -------------------------------------------------------------------------------------


def rnn(k, xs, h, Wx, Wh, b, ws, back=lambda h, t: h, read=range(4)):
    total = 0
    for t in range(4):
        h = k.tanh(xs[t] @ Wx + back(h, t) @ Wh + b)
        total = total + ((h * ws[t]).sum() if t in read else 0)
    return total


def stacked(k, xs, h, Wx, Wh, b, ws):
    states, total, above = [h], 0, h
    for x in xs:
        states.append(k.tanh(x @ Wx + states[-1] @ Wh + b))
    for h, w in zip(states[1:], ws, strict=True):
        above = k.tanh(h @ Wx + above @ Wh + b)
        total += (above * w).sum()
    return total


def lstm(k, xs, h, c, Wx, Wh, b, ws, back=lambda h: h):
    total = 0
    W = np.concatenate([Wx, Wh])
    for x, w in zip(xs, ws, strict=True):
        i, f, g, o = np.split(np.concatenate([x, back(h)], axis=1) @ W + b, 4, axis=1)
        c = k.sigmoid(f) * back(c) + k.sigmoid(i) * k.tanh(g)
        h = k.sigmoid(o) * k.tanh(c)
        total = total + (h * w).sum()
    return total


def lstm_peephole(k, xs, h, c, Wx, Wh, p, ws):
    total = 0
    for x, w in zip(xs, ws, strict=True):
        f, g, o = (x @ Wx[:, n : n + 3] + h @ Wh[:, n : n + 3] for n in (0, 3, 6))
        f = k.sigmoid(f + p * c)
        c = c * f + k.tanh(g) - f * k.tanh(g)
        h = k.sigmoid(o + c * p) * k.tanh(c)
        total = total + (h * w).sum()
    return total


def gru(k, xs, h, Wx, Wh, b, ws, after=False, back=lambda h: h):
    total = 0
    for x, w in zip(xs, ws, strict=True):
        h = back(h)
        (xr, xz, xn), (ur, uz, un) = (np.split(a, 3, axis=1) for a in (x @ Wx + b, Wh))
        r, z = k.sigmoid(xr + h @ ur), k.sigmoid(xz + h @ uz)
        n = k.tanh(xn + (r * (h @ un) if after else (r * h) @ un))
        h = h + z * (n - h) if after else n + z * (h - n)
        total = total + (h * w).sum()
    return total


def of_lengths(k, xs, h, Wx, Wh, b, w):
    """Each sequence by itself, to its end."""
    total = 0
    for row, length in enumerate(LENGTHS):
        own = h[row : row + 1]
        for t in range(length):
            own = k.tanh(xs[t, row : row + 1] @ Wx + own @ Wh + b)
        total = total + (own[0] * w[row]).sum()
    return total


def unit(f, back=lambda k, h, n: h):
    def formula(k, h, x1, x2, x3, w, u, b):
        h1 = f(k)(w * x1 + u * h + b)
        h2 = f(k)(w * x2 + u * back(k, h1, 1) + b)
        h3 = f(k)(w * x3 + u * back(k, h2, 2) + b)
        return h1 + 2 * h2 + 3 * h3

    return formula


def unit_lstm(k, h, c, x1, x2, x3, wi, ui, wf, uf, wg, ug, wo, uo):
    total = 0
    for n, x in ((1, x1), (2, x2), (3, x3)):
        i, f, o = (k.sigmoid(x * w + h * u) for w, u in ((wi, ui), (wf, uf), (wo, uo)))
        c = f * c + i * k.tanh(wg * x + ug * h)
        h = o * k.tanh(c)
        total += n * h
    return total


def unit_gru(k, h, x1, x2, x3, wr, ur, wz, uz, wn, un):
    total = 0
    for n, x in ((1, x1), (2, x2), (3, x3)):
        r, z = k.sigmoid(x * wr + h * ur), k.sigmoid(x * wz + h * uz)
        new = k.tanh(wn * x + un * r * h)
        h = new + z * (h - new)
        total += n * h
    return total


def sums(text):
    """A formula whose elements are added up."""
    f = eval(f"lambda k, {text}")
    return lambda k, *given: np.sum(f(k, *given))


def last(f):
    """An RNN of which the last state alone is read, with one array in place of four."""
    return lambda k, *a: f(k, *a[:5], [None, None, None, a[5]], read=[3])


def stopped(k, h, n):
    return k.stop(h)


def rnn_cut(k, *a, **how):
    return rnn(k, *a, back=lambda h, t: k.stop(h) if t else h, **how)


def rnn_truncated(k, *a):
    return rnn(k, *a, back=lambda h, t: k.stop(h) if t == 2 else h)


def gru_after(k, *a, **how):
    return gru(k, *a, after=True, **how)


def steps_cut(f):
    return lambda k, *a: f(k, *a, back=k.stop)


def cut_at_two(k, h, n):
    return k.stop(h) if n == 2 else h


def untransposed(k, a, b, w):
    first = product(k, a, k.stop(b.T), k.stop(w)) + product(k, k.stop(a.T), b, k.stop(w))
    return first + product(k, k.stop(a), k.stop(b), w)


def diagonal(k, x, w):
    slope = k.softmax(x) * (1 - k.softmax(x)) * w
    return (k.softmax(k.stop(x)) * w + k.stop(slope) * x).sum()


def chosen(k, x, y, w):
    of_x = ((0, 0), (0, 2), (1, 2))
    return sum(((x if at in of_x else y)[at] * w[at]) for at in np.ndindex(2, 3))


def gathered(k, x, w, first=lambda k, x: x):
    x = [first(k, x)[0], x[2], x[0]]
    return sum((x[n] * w[n]).sum() for n in range(3))


def scalars():
    """By case: its inputs, its formula, and by known mistakes theirs."""
    far = lambda *a: [np.array(x) for x in a]
    three, two = far(-0.62, 0.84, -0.37), far(0.43, -0.91)
    yield "identity", far(-0.7), sums("x: x"), {}
    ignored = {"ignored": sums("x, y, z: x * y + k.stop(x * y) * z")}
    yield "mul", three, sums("x, y, z: x * y * z"), ignored
    yield "add", three, sums("x, y, z: x * z + y * z"), {}
    yield "sub", three, sums("x, y, z: x * z - y * z"), {}
    yield "neg", two, sums("x, y: -(x * y)"), {"ignored": sums("x, y: -x - k.stop(x) * y")}
    ignored = {"ignored": sums("x, y, z: x / y + k.stop(x / y) * z")}
    yield "div", three, sums("x, y, z: x * z / y"), ignored
    yield "number_right", two, sums("x, y: 3 * x * y + y"), {}
    yield "number_left", two, sums("x, y: 8 * y - 3 * x * y"), {}
    yield "number_over", two, sums("x, y: y / x / 2"), {}
    ignored = {"ignored": sums("x, y: x * x * x + k.stop(x * x * x) * y")}
    yield "power", far(-1.3, 0.7), sums("x, y: x * x * x * y"), ignored
    yield "power_at_zero", far(0.0, 0.7), sums("x, y: x * x * y"), {}
    yield "power_of", far(1.7, -0.6, 0.8), sums("x, y, z: k.exp(y * k.log(x)) * z"), {}
    for f, at in (("exp", -0.4), ("log", 1.6), ("sqrt", 2.2), ("tanh", 0.8), ("sigmoid", -0.9)):
        ignored = {"ignored": sums(f"x, y: k.{f}(x) + k.stop(k.{f}(x)) * y")}
        yield f, far(at, 0.6), sums(f"x, y: k.{f}(x) * y"), ignored
    for f in ("tanh", "sigmoid"):
        formula = sums(f"x, y, z: (k.{f}(x) + k.{f}(y)) * z")
        yield f"{f}_far", far(-900, 900, 0.6), formula, {}
    yield "relu", far(-0.8, 1.4, 0.6), sums("x, y, z: (k.relu(x) + k.relu(y)) * z"), {}
    overwritten = {"overwritten": sums("x, y: k.stop(x) * x * y")}
    yield "fan_out", two, sums("x, y: x * x * y"), overwritten
    yield "diamond", two, sums("x, y: x * x * y * y + x * x * y"), {}
    yield "order", two, sums("x, y: x * x * y * y + x * x * x * y * y"), {}
    yield "shared", two, sums("x, y: 3 * x + y + 2 * x * y"), {}
    for name in ("no_grad", "detach"):
        yield name, two, sums("x, y: k.stop(x * y) * x"), {"through": sums("x, y: x * x * y")}
    yield "paths", far(1.0), sums("x: 2**40 * x"), {}
    yield "unused", three, sums("x, y, z: x * z + 0 * y"), {}
    yield "deep", far(1.0, 0.5), sums("x, y: y * k.exp(10_000 * k.log(x))"), {}
    yield "twins", far(1.5, 1.5), sums("x, y: x * y"), {}
    twice = sums("x, y, z: 2 * x * y * z - k.stop(x * y * z)")  # the value once, gradients twice
    yield "backward_twice", three, twice, {}
    yield "in_place", far(1.3), sums("x: x * x * x * x + x * x + x"), {}
    yield "second", two, sums("x, y: 3 * x * x * y"), {}
    yield "third", two, sums("x, y: 12 * x * x * y"), {}


def arrays(some):
    """The same of arrays. some: draws inputs of such shapes."""
    ignored = {"ignored": sums("x, y: x.sum() + k.stop(x.sum()) * y")}
    yield "sum", some((2, 3), ()), sums("x, y: x * y"), ignored
    yield "elementwise", some((2, 3), (2, 3)), sums("x, y: x * y"), {}
    yield "elementwise_tanh", some((2, 3), (2, 3)), sums("x, y: k.tanh(x) * y"), {}
    yield "mean", some((2, 3), ()), sums("x, y: x / 6 * y"), {}
    yield "sum_axis", some((3, 3), (3,)), sums("x, y: x[0] * y + x[1] * y + x[2] * y"), {}
    yield "sum_last", some((3, 3), (3,)), sums("x, y: x[:, 0] * y + x[:, 1] * y + x[:, 2] * y"), {}
    yield "broadcast_number", some((), (2, 3), (2, 3)), sums("c, x, w: c * (x * w).sum()"), {}
    formula = sums("x, b, w: x * w + np.array([b, b]) * w")
    yield "broadcast_row", some((2, 3), (3,), (2, 3)), formula, {}
    formula = sums("c, x, w: c[0, 0] * x[0] * w[0] + c[1, 0] * x[1] * w[1]")
    yield "broadcast_column", some((2, 1), (2, 3), (2, 3)), formula, {}
    formula = sums("a, b, w: a[0, 0] * b[0] * w[0] + a[1, 0] * b[0] * w[1]")
    yield "broadcast_both", some((2, 1), (1, 3), (2, 3)), formula, {}
    wrong = {"untransposed": untransposed}
    yield "matmul", some((3, 3), (3, 3), (3, 3)), product, wrong
    yield "matmul_oblong", some((2, 3), (3, 4), (2, 4)), product, {}
    formula = lambda k, a, v, w: product(k, a, v[:, None], w[:, None])
    yield "matmul_vector", some((3, 3), (3,), (3,)), formula, {}
    formula = lambda k, v, a, w: product(k, v[None], a, w[None])
    yield "vector_matmul", some((3,), (3, 3), (3,)), formula, {}
    formula = lambda k, a, b, w: product(k, a[0], b, w[0]) + product(k, a[1], b, w[1])
    yield "matmul_stack", some((2, 2, 3), (3, 2), (2, 2, 2)), formula, {}
    formula = lambda k, x, w: sum(x[i, j] * w[j, i] for i, j in np.ndindex(3, 3))
    yield "transpose", some((3, 3), (3, 3)), formula, {}
    formula = lambda k, x, w: sum(x[n // 3, n % 3] * w[n // 2, n % 2] for n in range(6))
    yield "reshape", some((2, 3), (3, 2)), formula, {}
    yield "index", some((3, 3), (3,)), lambda k, x, w: sum(x[1, j] * w[j] for j in range(3)), {}
    yield "cut", some((2, 3), (2, 2)), sums("x, w: x[:, 1] * w[:, 0] + x[:, 2] * w[:, 1]"), {}
    wrong = {"last": lambda k, x, w: gathered(k, x, w, Formulas.stop)}
    yield "gather", some((3, 2), (3, 2)), gathered, wrong
    formula = lambda k, x, y, w: (x * w[:, :2]).sum() + (y * w[:, 2:]).sum()
    yield "concatenate", some((2, 2), (2, 2), (2, 4)), formula, {}
    yield "stack", some((2, 2), (2, 2), (2, 2, 2)), sums("x, y, w: x * w[0] + y * w[1]"), {}
    x = np.array([[0.3, -0.8, 0.7], [0.2, -0.1, -0.5]])
    yield "max", [x, *some((2,))], sums("x, w: k.largest(x) * w"), {}
    yield "where", some((2, 3), (2, 3), (2, 3)), chosen, {}
    softmax = sums("x, w: k.softmax(x) * w")
    yield "softmax", some((2, 3), (2, 3)), softmax, {"diagonal": diagonal}
    far = [np.array([[800.0, -800.0, 799.0], [1000.0, 1000.5, -1000.0]]), *some((2, 3))]
    yield "softmax_far", far, softmax, {}
    yield "log_softmax", far, sums("x, w: k.log_softmax(x) * w"), {}
    formula = lambda k, x, w: (x * w * x * w).sum() + w[1] + x[1] * w[1]
    yield "write", some((2,), (2,)), formula, {}
    yield "second_arrays", some((2, 3), (3, 2), (2, 3), (3, 2)), second_arrays, {}


def more(some):
    """Those of arrays that came later: the others keep the numbers that they drew."""
    minus = sums("x, b, w: x * w - np.array([b, b]) * w")
    yield "broadcast_minus", some((2, 3), (3,), (2, 3)), minus, {}
    over = [*some((2, 3)), np.array([0.8, -1.2, 0.7]), *some((2, 3))]
    yield "broadcast_over", over, sums("x, b, w: x * w / np.array([b, b])"), {}
    turned = sums("x, w: k.softmax(x.T) * w.T")
    yield "softmax_axis", some((3, 3), (3, 3)), turned, {}


def recurrent(some):
    """The same of networks."""
    units, tanh, relu = some(*[()] * 7), lambda k: k.tanh, lambda k: k.relu
    positive = [abs(x) for x in units[:6]] + [np.array(-0.1)]
    yield "unit_relu", positive, unit(relu), {"cut": unit(relu, stopped)}
    yield "unit_rnn", units, unit(tanh), {"cut": unit(tanh, stopped)}
    yield "unit_lstm", some(*[()] * 13), unit_lstm, {}
    yield "unit_gru", some(*[()] * 10), unit_gru, {}
    wrong = {"through": unit(tanh), "cut": unit(tanh, stopped)}
    yield "unit_truncation", units, unit(tanh, cut_at_two), wrong
    yield "second_rnn", units, second_rnn, {}
    inputs = some((4, 2, 2), (2, 3), (2, 3), (3, 3), (3,), (4, 2, 3))
    later = lambda k, *a: rnn(k, *a, read=[3])
    yield "rnn", inputs, rnn, {"cut": rnn_cut, "later": later}
    yield "truncation", inputs, rnn_truncated, {"through": rnn, "cut": rnn_cut}
    inputs = [*inputs[:5], inputs[5][3]]
    yield "rnn_last", inputs, last(rnn), {"cut": last(rnn_cut)}
    yield "lengths", inputs, of_lengths, {}
    padded = np.array(inputs[0])
    padded[LENGTHS[1] :, 1] = np.nan
    formula = lambda k, xs, o, *a: of_lengths(k, xs, *a)
    yield "padding", [padded, np.zeros((2, 2)), *inputs[1:]], formula, {}
    yield "stacked", some((4, 2, 3), (2, 3), (3, 3), (3, 3), (3,), (4, 2, 3)), stacked, {}
    begin, ends = ((4, 2, 2), (2, 3)), (4, 2, 3)
    inputs = some(*begin, (2, 3), (2, 12), (3, 12), (12,), ends)
    yield "lstm", inputs, lstm, {"cut": steps_cut(lstm)}
    yield "lstm_peephole", some(*begin, (2, 3), (2, 9), (3, 9), (3,), ends), lstm_peephole, {}
    inputs = some(*begin, (2, 9), (3, 9), (9,), ends)
    yield "gru", inputs, gru, {"cut": steps_cut(gru)}
    yield "gru_after", inputs, gru_after, {"cut": steps_cut(gru_after)}


def formulas():
    """All of them."""
    rng = np.random.default_rng(0)
    some = lambda *shapes: draw(rng, *shapes)
    return [*scalars(), *arrays(some), *recurrent(some), *more(some)]


def product(k, a, b, w):
    places = np.ndindex(*a.shape, b.shape[1])
    return sum(a[i, j] * b[j, l] * w[i, l] for i, j, l in places)


def second_arrays(k, x, W, u, v):
    """d/dt of Σ tanh² at x + t u, W + t v, written out."""
    y = k.tanh(x @ W)
    return (2 * y * (1 - y * y) * (u @ W + x @ v)).sum()


def second_rnn(k, h, x1, x2, x3, w, u, b):
    """The gradient of unit_rnn by hand, each number of it times its place."""
    h1 = k.tanh(w * x1 + u * h + b)
    h2 = k.tanh(w * x2 + u * h1 + b)
    h3 = k.tanh(w * x3 + u * h2 + b)
    d3 = 3 * (1 - h3 * h3)
    d2 = (2 + u * d3) * (1 - h2 * h2)
    d1 = (1 + u * d2) * (1 - h1 * h1)
    found = (u * d1, w * d1, w * d2, w * d3, d1 * x1 + d2 * x2 + d3 * x3,
             d1 * h + d2 * h1 + d3 * h2, d1 + d2 + d3)  # fmt: skip
    return sum(n * g for n, g in enumerate(found, 1))


def entries(m=Digits):
    """What is stored, by case."""
    found = {}
    with mpmath.workdps(3 * DIGITS), np.errstate(invalid="ignore"):  # of NaN in the padding
        for name, inputs, formula, mistakes in formulas():
            value, derivatives = gradients(formula, inputs, m)
            found[name] = {"inputs": inputs, "value": value, "gradients": derivatives}
            wrong = {w: gradients(f, inputs, m)[1] for w, f in mistakes.items()}
            found[name] |= {"mistakes": wrong} if wrong else {}
    return found


def text():
    """One line a case."""
    plain = lambda a: a.tolist() if isinstance(a, np.ndarray) else a
    lines = [
        f'"{name}": ' + json.dumps(entry, default=plain, separators=(",", ":"))
        for name, entry in entries().items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    PATH.write_text(text(), "utf-8")
    print(f"{PATH}: {PATH.stat().st_size} bytes")
