"""An adapter of HIPS autograd: it differentiates NumPy's own functions."""

from types import SimpleNamespace

import autograd
from autograd import numpy
from autograd.differential_operators import make_jvp
from autograd.tracer import getval

ops = SimpleNamespace(**vars(numpy), detach=getval)


def value_and_grad(f, arrays):
    return autograd.value_and_grad(lambda xs: f(*xs))(list(arrays))


def grad(f, xs):
    return autograd.grad(lambda xs: f(*xs))(list(xs))


def jvp(f, arrays, tangents):
    return make_jvp(lambda xs: f(*xs))(list(arrays))(list(tangents))
