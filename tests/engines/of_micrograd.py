"""An adapter of micrograd: one class of scalars."""

from micrograd.engine import Value


class ops:
    relu = Value.relu


def value_and_grad(f, arrays, times=1):
    xs = [Value(float(a)) for a in arrays]
    y = f(*xs)
    for _ in range(times):
        y.backward()
    return y.data, [x.grad for x in xs]
