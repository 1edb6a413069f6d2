"""Lesson 03: mistakes that are often made."""

import numpy as np

from .solution import cross_entropy, matmul_backward, softmax, unbroadcast


def unbroadcast__in_front_only(gradient, shape):
    """Only axes that were added in front are summed, not those that were stretched"""
    return gradient.sum(tuple(range(gradient.ndim - len(shape))))


def unbroadcast__not_summed(gradient, shape):
    """Nothing is summed: an entry that was used in many places gets something from each"""
    return gradient


def unbroadcast__first_place(gradient, shape):
    """Only what came from the first place is taken"""
    gradient = gradient[(0,) * (gradient.ndim - len(shape))]
    return gradient[tuple(slice(0, size) for size in shape)]


def unbroadcast__mean(gradient, shape):
    """It is a mean over the places; each of them counts in full"""
    return unbroadcast(gradient, shape) * (np.prod(shape) / gradient.size)


def unbroadcast__axis_lost(gradient, shape):
    """Axes of size 1 are lost in the sum: the shape has to be kept"""
    summed = unbroadcast(gradient, shape)
    return summed.reshape([size for size in summed.shape if size != 1])


def matmul_backward__not_transposed(x, W, gradient):
    """No matrix is transposed: that fits square ones only, and is wrong there"""
    return gradient @ W, x @ gradient


def matmul_backward__other_side(x, W, gradient):
    """The factors of both products are exchanged: which index is summed over?"""
    return W.T @ gradient, gradient @ x.T


def matmul_backward__exchanged(x, W, gradient):
    """The two answers are in the wrong order"""
    return matmul_backward(x, W, gradient)[::-1]


def matmul_backward__transposed(x, W, gradient):
    """The gradient of W is transposed: it must have the shape of W"""
    return gradient @ W.T, gradient.T @ x


def matmul_backward__mean(x, W, gradient):
    """The gradient of W is a mean over the rows; rows add up"""
    return gradient @ W.T, x.T @ gradient / len(x)


def softmax__unstable(x):
    """exp overflows for large numbers, and is 0 in a whole row for very small ones"""
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def softmax__one_maximum(x):
    """One number is taken off from all rows: a row that is far below it is lost"""
    e = np.exp(x - x.max())
    return e / e.sum(-1, keepdims=True)


def softmax__over_all(x):
    """The sum goes over all rows together: each row is a choice of its own"""
    e = np.exp(x - x.max())
    return e / e.sum()


def softmax__first_axis(x):
    """The sum goes along the first axis"""
    return softmax(x.T).T


def softmax__not_exp(x):
    """Numbers are divided by their sum, without exp"""
    return x / x.sum(-1, keepdims=True)


def softmax_backward__diagonal(p, gradient):
    """This is the diagonal of the Jacobian alone: a probability depends on the others, too"""
    return gradient * p * (1 - p)


def softmax_backward__of_exp(p, gradient):
    """The sum below the line was taken for a constant: it depends on x, too"""
    return gradient * p


def softmax_backward__over_all(p, gradient):
    """The sum goes over all rows together: a row depends on itself only"""
    return p * (gradient - (gradient * p).sum())


def softmax_backward__unweighted(p, gradient):
    """What is taken off is a plain mean: not all entries weigh the same"""
    return p * (gradient - gradient.mean(-1, keepdims=True))


def cross_entropy__summed(x, targets):
    """It is a sum over rows where a mean is asked for"""
    loss, gradient = cross_entropy(x, targets)
    return loss * len(x), gradient * len(x)


def cross_entropy__gradient_summed(x, targets):
    """The loss is a mean, and the gradient is that of the sum"""
    loss, gradient = cross_entropy(x, targets)
    return loss, gradient * len(x)


def cross_entropy__over_classes(x, targets):
    """It is divided by the number of all entries: the mean goes over rows"""
    loss, gradient = cross_entropy(x, targets)
    return loss / x.shape[1], gradient / x.shape[1]


def cross_entropy__diagonal(x, targets):
    """Only the right class gets a gradient, as if softmax' were a diagonal"""
    loss, gradient = cross_entropy(x, targets)
    right = np.zeros_like(x)
    right[np.arange(len(x)), targets] = 1
    return loss, gradient * right


def cross_entropy__sign(x, targets):
    """The gradient has the other sign: more of the right class must make the loss smaller"""
    loss, gradient = cross_entropy(x, targets)
    return loss, -gradient


def cross_entropy__log_of_zero(x, targets):
    """A probability was rounded to 0 before its logarithm was taken"""
    right = softmax(x)[np.arange(len(x)), targets]
    return -np.log(right).mean(), cross_entropy(x, targets)[1]


def cross_entropy__of_the_numbers(x, targets):
    """The gradient of the probabilities was returned, not that of x"""
    loss, gradient = cross_entropy(x, targets)
    rows = np.arange(len(x))
    p = softmax(x)
    gradient = np.zeros_like(p)
    gradient[rows, targets] = -1 / p[rows, targets] / len(x)
    return loss, gradient
