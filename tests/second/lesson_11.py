"""Lesson 11, solved in another way."""

import math

import numpy as np


def softmax(scores):
    p = [math.exp(s - max(scores)) for s in scores]
    return [q / sum(p) for q in p]


def bits(logits, target):
    costs = []
    for scores, k in zip(logits.reshape(-1, logits.shape[-1]), target.ravel(), strict=True):
        top = scores.max()
        costs.append(math.log2(sum(math.exp(s - top) for s in scores)))
        costs[-1] -= (scores[k] - top) * math.log2(math.e)
    return sum(costs) / len(costs)


def teacher_forcing(step, state, text):
    p = np.empty(len(text) - 1)
    for t in range(len(p)):
        logits, state = step(text[t], state)
        p[t] = softmax(logits)[text[t + 1]]
    return p


def draw(logits, temperature, u):
    p = softmax([score / temperature for score in logits])
    symbol = 0
    while u >= p[symbol] and symbol < len(p) - 1:
        u -= p[symbol]
        symbol += 1
    return symbol


def write(step, state, prompt, count, choose):
    text = list(prompt)
    for k in range(len(prompt) + count - 1):
        logits, state = step(text[k], state)
        if k + 1 == len(text):
            text.append(choose(logits))
    return text[len(prompt) :]


def both_ways(forward, backward, xs, begin):
    T, H = len(xs), len(begin)
    states = np.zeros((T, 2 * H))
    left = right = begin
    for t in range(T):
        left, right = forward(xs[t], left), backward(xs[T - 1 - t], right)
        states[t, :H], states[T - 1 - t, H:] = left, right
    return states
