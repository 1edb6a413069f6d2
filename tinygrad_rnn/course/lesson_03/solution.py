"""Lesson 03, solved."""

import numpy as np


def unbroadcast(gradient, shape):
    added = gradient.ndim - len(shape)
    gradient = gradient.sum(tuple(range(added)))
    stretched = tuple(k for k, size in enumerate(shape) if size == 1)
    return gradient.sum(stretched, keepdims=True)


def matmul_backward(x, W, gradient):
    return gradient @ W.T, x.T @ gradient


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax_backward(p, gradient):
    mean = (gradient * p).sum(-1, keepdims=True)
    return p * (gradient - mean)


def cross_entropy(x, targets):
    rows = np.arange(len(x))
    shifted = x - x.max(-1, keepdims=True)
    total = np.log(np.exp(shifted).sum(-1))
    gradient = softmax(x)
    gradient[rows, targets] -= 1
    return (total - shifted[rows, targets]).mean(), gradient / len(x)
