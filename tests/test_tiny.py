"""A stranger's tour, in the order one would try things."""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim


def test_make_and_add():
    x = tg.tensor([1.0, 2.0]) + 1
    assert x.numpy().tolist() == [2.0, 3.0]


def test_differentiate():
    x = tg.tensor(3.0, requires_grad=True)
    y = x * x + 2 * x
    y.backward()
    assert x.grad.item() == 8.0


def test_differentiate_again_and_again():
    x = tg.tensor(2.0, requires_grad=True)
    y = x**4
    for expected in (32.0, 48.0, 48.0, 24.0):
        y = tg.grad(y, x, create_graph=True)
        assert y.item() == expected


def test_a_verb_of_ones_own():
    @tg.pointwise(lambda g, y, x: 3 * g * x * x)
    def cube(x):
        return x * x * x

    tg.check_grads(cube, [np.array([0.5, -2.0])])


def test_train_a_recurrent_network():
    rng = np.random.default_rng(0)
    cell, output = nn.LSTM(1, 8, rng=rng), nn.Linear(8, 1, rng=rng)
    xs = rng.choice([-1.0, 1.0], (6, 32, 1)).astype(np.float32)
    first = xs[0]
    optimizer = optim.Adam([*cell.parameters(), *output.parameters()], lr=0.03)
    losses = []
    for _ in range(60):
        ys, _ = cell(xs)
        loss = tg.mean_squared_error(output(ys[-1]), first)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 < losses[0]


def test_draw_it():
    cell = nn.RNN(2, 3, rng=0)
    ys, _ = cell(np.ones((4, 1, 2), np.float32))
    picture = tg.draw(ys.sum())
    assert picture.svg.startswith("<svg") and "digraph" in picture.dot
