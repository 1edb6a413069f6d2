"""A toy engine that is right, and engines that are each wrong in one place: what the kit must find.

A rule is a method, which an engine below spoils by another of the same name.
"""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np


class Value:
    """An array, the values that it was computed from, and for each what pulls a gradient back."""

    def __init__(self, engine, data, *parents):
        self.engine, self.data, self.parents = engine, np.asarray(data, float), parents

    __add__ = lambda a, b: a.engine.add(a, b)
    __radd__ = lambda a, b: a.engine.add(b, a)
    __sub__ = lambda a, b: a.engine.sub(a, b)
    __rsub__ = lambda a, b: a.engine.sub(b, a)
    __mul__ = lambda a, b: a.engine.mul(a, b)
    __rmul__ = lambda a, b: a.engine.mul(b, a)
    __truediv__ = lambda a, b: a.engine.div(a, b)
    __rtruediv__ = lambda a, b: a.engine.div(b, a)
    __pow__ = lambda a, n: a.engine.power(a, n)
    __neg__ = lambda a: a.engine.neg(a)
    __matmul__ = lambda a, b: a.engine.matmul(a, b)
    __getitem__ = lambda a, index: a.engine.index(a, index)


class Toy:
    """The engine, which is its own adapter. Derivatives are values, and so differentiable."""

    kind = Value

    def __init__(self):
        self.ops, self.recording = self, True

    # -- rules: a value, and of each input what comes back of g ---------------------------------

    def add(self, a, b):
        a, b = self.both(a, b)
        return self.made(a.data + b.data, (a, lambda g: g), (b, lambda g: g))

    def sub(self, a, b):
        a, b = self.both(a, b)
        return self.made(a.data - b.data, (a, lambda g: g), (b, lambda g: -g))

    def mul(self, a, b):
        a, b = self.both(a, b)
        return self.made(a.data * b.data, (a, lambda g: g * b), (b, lambda g: g * a))

    def div(self, a, b):
        a, b = self.both(a, b)
        return self.made(
            a.data / b.data, (a, lambda g: g / b), (b, lambda g: self.divisor(g, a, b))
        )

    def divisor(self, g, a, b):
        return -(g * a) / (b * b)

    def neg(self, a):
        return self.made(-a.data, (a, lambda g: -g))

    def power(self, a, n):
        if isinstance(n, Value):
            raise NotImplementedError("powers of numbers only")
        return self.made(a.data**n, (a, lambda g: self.slope_of_power(g, a, n)))

    def slope_of_power(self, g, a, n):
        return g * n * (a ** (n - 1) if n != 1 else 1)

    def exp(self, a):
        return self.made(np.exp(a.data), (a, lambda g: self.slope_of_exp(g, a)))

    def slope_of_exp(self, g, a):
        return g * self.exp(a)

    def log(self, a):
        return self.made(np.log(a.data), (a, lambda g: g / a))

    def sqrt(self, a):
        return self.made(np.sqrt(a.data), (a, lambda g: 0.5 * g / self.sqrt(a)))

    def tanh(self, a):
        return self.made(np.tanh(a.data), (a, lambda g: self.slope_of_tanh(g, self.tanh(a))))

    def slope_of_tanh(self, g, y):
        return g * (1 - y * y)

    def sigmoid(self, a):
        return self.made(self.logistic(a.data), (a, lambda g: self.slope_of_sigmoid(g, a)))

    def slope_of_sigmoid(self, g, a):
        return g * self.sigmoid(a) * (1 - self.sigmoid(a))

    def logistic(self, x):
        return 0.5 * (1 + np.tanh(0.5 * x))

    def relu(self, a):
        return self.made(a.data * (a.data > 0), (a, lambda g: g * self.open(a.data)))

    def open(self, x):
        return 1.0 * (x > 0)

    def sum(self, a, axis=None):
        kept = None if axis is None else np.expand_dims(a.data.sum(axis), axis).shape
        spread = lambda g: self.spread(self.shaped(g, kept) if kept else g, a.data.shape)
        return self.made(a.data.sum(axis), (a, spread))

    def spread(self, g, shape):
        return self.made(np.broadcast_to(g.data, shape), (g, lambda h: h))

    def mean(self, a):
        return self.sum(a) * (1 / a.data.size)

    def matmul(self, a, b):
        (n, m), one = a.data.shape[-2:] if a.data.ndim > 1 else (1, a.data.shape[0]), b.data.ndim
        if a.data.ndim == 1 or one == 1:  # as matrices
            left = self.shaped(a, (n, m))
            right = self.shaped(b, (m, 1)) if one == 1 else b
            shape = (a.data @ b.data).shape
            return self.shaped(self.matmul(left, right), shape)
        pulls = (lambda g: g @ self.turned(b)), (lambda g: self.turned(a) @ g)
        return self.made(a.data @ b.data, (a, pulls[0]), (b, pulls[1]))

    def turned(self, a):
        return self.made(np.swapaxes(a.data, -1, -2), (a, self.turned))

    def transpose(self, a):
        return self.made(a.data.T, (a, self.back_of_transpose))

    def back_of_transpose(self, g):
        return self.transpose(g)

    def shaped(self, a, shape):
        return self.made(a.data.reshape(shape), (a, lambda g: self.shaped(g, a.data.shape)))

    def reshape(self, a, shape):
        back = lambda g: self.back_of_reshape(g, a.data.shape)
        return self.made(a.data.reshape(shape), (a, back))

    def back_of_reshape(self, g, shape):
        return self.shaped(g, shape)

    def index(self, a, index):
        return self.made(a.data[index], (a, lambda g: self.put(g, a.data.shape, index)))

    def put(self, g, shape, index):
        whole = np.zeros(shape)
        self.place(whole, index, g.data)
        return self.made(whole, (g, lambda h: self.index(h, index)))

    def place(self, whole, index, g):
        np.add.at(whole, index, g)

    def concatenate(self, parts, axis):
        ends = np.cumsum([a.data.shape[axis] for a in parts])
        begins = [0, *ends[:-1]]
        cuts = [(slice(None),) * axis + (slice(*c),) for c in zip(begins, ends, strict=True)]
        pulls = [(a, lambda g, c=c: g[c]) for a, c in zip(parts, cuts, strict=True)]
        return self.made(np.concatenate([a.data for a in parts], axis), *pulls)

    def stack(self, parts, axis):
        shape = np.expand_dims(parts[0].data, axis).shape
        return self.concatenate([self.shaped(a, shape) for a in parts], axis)

    def max(self, a, axis):
        at = self.largest(a.data, axis)
        return self.sum(a * at, axis=axis)

    def largest(self, x, axis):
        return 1.0 * (x == x.max(axis, keepdims=True))

    def where(self, mask, a, b):
        of_a, of_b = (lambda g: self.chosen(mask, g)), (lambda g: self.chosen(~mask, g))
        return self.made(np.where(mask, a.data, b.data), (a, of_a), (b, of_b))

    def chosen(self, mask, g):
        return self.where(mask, g, g * 0.0)

    def softmax(self, a, axis):
        if axis == 0:
            return self.turned(self.softmax(self.turned(a), -1))
        y = lambda: self.softmax(a, axis)
        return self.made(self.shares(a.data), (a, lambda g: self.slope_of_softmax(g, y())))

    def shares(self, x):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def slope_of_softmax(self, g, y):
        inner = self.sum(g * y, axis=-1)
        return y * (g - self.shaped(inner, (*inner.data.shape, 1)))

    def log_softmax(self, a, axis):
        x = a.data - a.data.max(-1, keepdims=True)
        found = x - np.log(np.exp(x).sum(-1, keepdims=True))
        return self.made(found, (a, lambda g: self.slope_of_logarithms(g, self.softmax(a, -1))))

    def slope_of_logarithms(self, g, y):
        total = self.sum(g, axis=-1)
        return g - y * self.shaped(total, (*total.data.shape, 1))

    def detach(self, a):
        return Value(self, a.data)

    # -- values and the backward pass --------------------------------------------------------------

    def both(self, *values):
        return [v if isinstance(v, Value) else Value(self, v) for v in values]

    def made(self, data, *parents):
        return self.kind(self, data, *(parents if self.recording else ()))

    @contextmanager
    def no_grad(self):
        self.recording = False
        try:
            yield
        finally:
            self.recording = True

    def order(self, y):
        """A value, and all behind it: each after what was computed from it."""
        found, seen, waiting = [], set(), [(y, False)]
        while waiting:
            value, done = waiting.pop()
            if done:
                found.append(value)
            elif id(value) not in seen:
                seen.add(id(value))
                waiting += [(value, True), *((parent, False) for parent, _ in value.parents)]
        return found[::-1]

    def pulled(self, y, seed=1.0):
        grads = {id(y): Value(self, seed)}
        for value in self.order(y):
            for parent, pull in value.parents:
                g = self.unbroadcast(pull(grads[id(value)]), parent.data.shape)
                self.gather(grads, id(parent), g)
        return grads

    def gather(self, grads, key, g):
        grads[key] = grads[key] + g if key in grads else g

    def unbroadcast(self, g, shape):
        for _ in range(g.data.ndim - len(shape)):
            g = self.sum(g, axis=0)
        for axis, size in enumerate(shape):
            if size == 1 != g.data.shape[axis]:
                kept = [*g.data.shape[:axis], 1, *g.data.shape[axis + 1 :]]
                g = self.shaped(self.sum(g, axis=axis), kept)
        return g

    # -- the adapter ----------------------------------------------------------------------------

    def entered(self, array):
        return np.array(array)

    def grad(self, f, xs):
        grads = self.pulled(f(*xs))
        return [grads.get(id(x)) or Value(self, np.zeros(x.data.shape)) for x in xs]

    def value_and_grad(self, f, arrays, times=1):
        xs = [Value(self, self.entered(a)) for a in arrays]
        y = f(*xs)
        found = [self.pulled(y) for _ in range(times)]
        return y.data, [self.total([g.get(id(x)) for g in found], x) for x in xs]

    def total(self, grads, x):
        found = [np.array(g.data) for g in grads if g is not None]
        return sum(found[1:], found[0]) if found else np.zeros(x.data.shape)

    def jvp(self, f, arrays, tangents):
        xs = [Value(self, a) for a in arrays]
        y = f(*xs)
        given = zip(self.grad(lambda *_: y, xs), tangents, strict=True)
        return y.data, sum((g.data * t).sum() for g, t in given)


BROKEN = {}  # by the case that must be the first to fail


def breaks(name):
    def listed(kind):
        assert name not in BROKEN
        BROKEN[name] = kind
        return kind

    return listed


@breaks("identity")
class Doubled(Toy):
    pulled = lambda self, y: Toy.pulled(self, y, 2.0)


@breaks("mul")
class SumForProduct(Toy):
    def mul(self, a, b):
        a, b = self.both(a, b)
        return self.made(a.data * b.data, (a, lambda g: g), (b, lambda g: g))


@breaks("add")
class SecondTermForgotten(Toy):
    def add(self, a, b):
        a, b = self.both(a, b)
        return self.made(a.data + b.data, (a, lambda g: g))


@breaks("sub")
class SignOfSecondTerm(Toy):
    def sub(self, a, b):
        a, b = self.both(a, b)
        return self.made(a.data - b.data, (a, lambda g: g), (b, lambda g: g))


@breaks("neg")
class SignForgotten(Toy):
    neg = lambda self, a: self.made(-a.data, (a, lambda g: g))


@breaks("div")
class DivisorNotSquared(Toy):
    divisor = lambda self, g, a, b: -1 * (g * a) / b


@breaks("number_left")
class NumberOnTheLeft(Toy):
    def sub(self, a, b):
        return Toy.sub(self, a, b) if isinstance(a, Value) else Toy.sub(self, b, a)


@breaks("number_over")
class NumberOver(Toy):
    def div(self, a, b):
        return Toy.div(self, a, b) if isinstance(a, Value) else Toy.div(self, b, a)


@breaks("power")
class PowerNotLess(Toy):
    slope_of_power = lambda self, g, a, n: g * n * a**n


@breaks("power_at_zero")
class PowerOverBase(Toy):
    slope_of_power = lambda self, g, a, n: g * n * Toy.made(self, a.data**n) / a


@breaks("exp")
class ExpForgetsWhatComesIn(Toy):
    slope_of_exp = lambda self, g, a: self.exp(a)


@breaks("tanh")
class TanhNotSquared(Toy):
    slope_of_tanh = lambda self, g, y: g * (1 - y)


@breaks("sigmoid_far")
class SigmoidOverflows(Toy):
    logistic = lambda self, x: np.exp(x) / (1 + np.exp(x))


@breaks("relu")
class ReluAlwaysOpen(Toy):
    open = lambda self, x: np.ones_like(x)


@breaks("sum")
class SumNotSpread(Toy):
    spread = lambda self, g, shape: g


@breaks("sum_axis")
class SumSpreadAlongAnotherAxis(Toy):
    def sum(self, a, axis=None):
        spread = lambda g: self.spread(self.shaped(g, (-1, 1)), a.data.shape)
        return Toy.sum(self, a) if axis is None else self.made(a.data.sum(axis), (a, spread))


@breaks("mean")
class MeanNotDivided(Toy):
    mean = lambda self, a: self.made(a.data.mean(), (a, lambda g: self.spread(g, a.data.shape)))


@breaks("broadcast_number")
class NothingSummed(Toy):
    unbroadcast = lambda self, g, shape: g


@breaks("broadcast_row")
class RowAveraged(Toy):
    def unbroadcast(self, g, shape):
        less = 1 / g.data.shape[0] if len(shape) == 1 < g.data.ndim else 1.0
        found = Toy.unbroadcast(self, g, shape)
        return found * less if less != 1 else found


@breaks("broadcast_minus")
class LastRowSubtracted(Toy):
    def sub(self, a, b):
        a, b = self.both(a, b)
        rows = a.data.ndim > b.data.ndim == 1
        return self.made(a.data - b.data, (a, lambda g: g), (b, lambda g: -(g[-1] if rows else g)))


@breaks("broadcast_over")
class LastRowDivides(Toy):
    def divisor(self, g, a, b):
        found = Toy.divisor(self, g, a, b)
        return found[-1] if a.data.ndim > b.data.ndim == 1 else found


@breaks("broadcast_column")
class ColumnNotSummed(Toy):
    def unbroadcast(self, g, shape):
        return g if len(shape) == g.data.ndim else Toy.unbroadcast(self, g, shape)


@breaks("matmul")
class NotTransposed(Toy):
    turned = lambda self, a: a


@breaks("matmul_stack")
class StackNotSummed(Toy):
    def unbroadcast(self, g, shape):
        g = self.index(g, 0) if g.data.ndim == 3 > len(shape) else g
        return Toy.unbroadcast(self, g, shape)


@breaks("transpose")
class NotTransposedBack(Toy):
    back_of_transpose = lambda self, g: g


@breaks("reshape")
class OrderOfNumbersLost(Toy):
    back_of_reshape = lambda self, g, shape: self.made(g.data.reshape(shape, order="F"))


@breaks("index")
class FirstRow(Toy):
    def place(self, whole, index, g):
        np.add.at(whole, 0 if isinstance(index, int) else index, g)


@breaks("gather")
class RepeatedRowsOverwritten(Toy):
    def place(self, whole, index, g):
        whole[index] = g


@breaks("concatenate")
class PartsExchanged(Toy):
    def concatenate(self, parts, axis):
        found = Toy.concatenate(self, parts, axis)
        (a, p), (b, q) = found.parents
        return self.made(found.data, (a, q), (b, p))


@breaks("max")
class MaximumOfAll(Toy):
    def max(self, a, axis):
        spread = lambda g: self.spread(self.shaped(g, (-1, 1)), a.data.shape)
        return self.made(a.data.max(axis), (a, spread))


@breaks("where")
class NotChosen(Toy):
    chosen = lambda self, mask, g: g


@breaks("softmax")
class DiagonalAlone(Toy):
    slope_of_softmax = lambda self, g, y: g * y * (1 - y)


@breaks("softmax_axis")
class AxisIgnored(Toy):
    softmax = lambda self, a, axis: Toy.softmax(self, a, -1)


@breaks("softmax_far")
class MaximumNotSubtracted(Toy):
    shares = lambda self, x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)


@breaks("fan_out")
class Overwritten(Toy):
    def gather(self, grads, key, g):
        grads[key] = g


@breaks("shared")
class AddedInPlace(Toy):
    def gather(self, grads, key, g):
        if key in grads:
            grads[key].data += g.data
        else:
            grads[key] = g


@breaks("order")
class WrongOrder(Toy):
    def order(self, y):
        found, waiting = {}, [y]
        while waiting:
            value = waiting.pop(0)
            if id(value) not in found:
                found[id(value)] = value
                waiting += [parent for parent, _ in value.parents]
        return list(found.values())


@breaks("deep")
class Recursion(Toy):
    def order(self, y):
        found = {}

        def visit(value):
            if id(value) not in found:
                found[id(value)] = None
                for parent, _ in value.parents:
                    visit(parent)
                found[id(value)] = found.pop(id(value)) or value

        visit(y)
        return list(found.values())[::-1]


@breaks("paths")
class EachPathByItself(Toy):
    def pulled(self, y):
        grads = {}

        def walk(value, g):
            self.gather(grads, id(value), g)
            for parent, pull in value.parents:
                walk(parent, self.unbroadcast(pull(g), parent.data.shape))

        walk(y, Value(self, 1.0))
        return grads


@breaks("unused")
class NothingForUnused(Toy):
    def total(self, grads, x):
        return None if grads[0] is None else Toy.total(self, grads, x)


@breaks("again")
class NotSetBack(Toy):
    def __init__(self):
        super().__init__()
        self.kept = {}

    def value_and_grad(self, f, arrays, times=1):
        value, found = Toy.value_and_grad(self, f, arrays, times)
        for n, a in enumerate(arrays):
            before = self.kept.get(id(a), (a, 0.0))[1]
            self.kept[id(a)] = a, before + found[n]  # with the array, so that its id stays taken
            found[n] = before + found[n]
        return value, found


@breaks("twins")
class TwinsAreOne(Toy):
    def value_and_grad(self, f, arrays, times=1):
        known = {id(a): n for n, a in enumerate(arrays)}
        places = [known[id(a)] for a in arrays]
        once = lambda *xs: f(*[xs[n] for n in places])
        value, found = Toy.value_and_grad(self, once, arrays, times)
        return value, [found[n] for n in places]


@breaks("backward_twice")
class TwiceSquared(Toy):
    def total(self, grads, x):
        return Toy.total(self, grads, x) * len(grads)


@breaks("after_error")
class RemainsOfAnError(Toy):
    depth = 0

    def value_and_grad(self, f, arrays, times=1):
        self.depth += 1
        found = Toy.value_and_grad(self, f, arrays, times)
        self.depth -= 1
        return found

    def pulled(self, y):
        return Toy.pulled(self, y, float(self.depth))


class WritingValue(Value):
    def __iadd__(self, other):
        before = Value(self.engine, self.data, *self.parents)
        self.data = self.data + other.data
        self.parents = ((before, lambda g: g), (other, lambda g: g))
        return self


@breaks("in_place")
class WritesInPlace(Toy):
    kind = WritingValue


class WritableValue(Value):
    def __setitem__(self, index, other):
        self.data[index] = other.data


@breaks("write")
class WritesUnnoticed(Toy):
    kind = WritableValue


@breaks("changed_later")
class KeepsTheCallersArray(Toy):
    entered = lambda self, array: array


@breaks("aliases")
class OneArray(Toy):
    def spread(self, g, shape):
        return self.made(np.array(np.broadcast_to(g.data, shape)), (g, lambda h: h))

    def total(self, grads, x):
        return grads[0].data if len(grads) == 1 and grads[0] else Toy.total(self, grads, x)


@breaks("no_grad")
class NoGradDoesNothing(Toy):
    @contextmanager
    def no_grad(self):
        yield


@breaks("no_grad_ends")
class NoGradStaysOn(Toy):
    @contextmanager
    def no_grad(self):
        self.recording = False
        yield
        self.recording = True


@breaks("detach")
class DetachDoesNothing(Toy):
    detach = lambda self, a: a


@breaks("leak")
class KeepsAll(Toy):
    def __init__(self):
        super().__init__()
        self.kept = []

    def made(self, data, *parents):
        self.kept.append(Toy.made(self, data, *parents))
        return self.kept[-1]


@breaks("cycles")
class Circle(Toy):
    def made(self, data, *parents):
        value = Toy.made(self, data, *parents)
        value.itself = value
        return value


@breaks("padding")
class WhereByProducts(Toy):
    def where(self, mask, a, b):
        return a * (1.0 * mask) + b * (1.0 - mask)


@breaks("second")
class GradientIsConstant(Toy):
    def grad(self, f, xs):
        return [Value(self, g.data) for g in Toy.grad(self, f, xs)]


@breaks("jvp")
class TangentOfTheFirst(Toy):
    def jvp(self, f, arrays, tangents):
        value, _ = Toy.jvp(self, f, arrays, tangents)
        return value, Toy.jvp(self, f, arrays, [tangents[0], *(0 * t for t in tangents[1:])])[1]
