"""Lesson 03, solved in another way."""

import numpy as np


def unbroadcast(gradient, shape):
    while gradient.ndim > len(shape):
        gradient = gradient.sum(0)
    for axis, size in enumerate(shape):
        if size < gradient.shape[axis]:
            gradient = gradient.sum(axis, keepdims=True)
    return gradient


def matmul_backward(x, W, gradient):
    by_x = np.einsum("no,io->ni", gradient, W)
    by_W = np.einsum("ni,no->io", x, gradient)
    return by_x, by_W


def softmax(x):
    difference = np.asarray(x)[..., None, :] - np.asarray(x)[..., :, None]
    with np.errstate(over="ignore"):
        return 1 / np.exp(difference).sum(-1)


def softmax_backward(p, gradient):
    jacobian = p[..., :, None] * (np.eye(p.shape[-1]) - p[..., None, :])
    return (gradient[..., None, :] @ jacobian)[..., 0, :]


def cross_entropy(x, targets):
    right = np.eye(x.shape[1])[targets]
    log_p = x - np.logaddexp.reduce(x, axis=1, keepdims=True)
    return -(right * log_p).sum(1).mean(), (np.exp(log_p) - right) / x.shape[0]
