"""Lesson 02, solved in another way."""

import math


class Node:
    def __init__(self, value, parents=(), slopes=()):
        self.value, self.parents, self.slopes, self.gradient = value, parents, slopes, 0.0


def mul(a, b):
    made = Node(a.value * b.value)
    made.parents, made.slopes = (a, b), [b.value, a.value]
    return made


def tanh(a):
    e = math.exp(-2 * abs(a.value))
    value = math.copysign((1 - e) / (1 + e), a.value)
    return Node(value, [a], [4 * e / (1 + e) ** 2])


def order(end):
    """By the longest way from a beginning."""
    depth = {}

    def measure(node):
        if node not in depth:
            depth[node] = 1 + max(map(measure, node.parents), default=0)
        return depth[node]

    measure(end)
    return sorted(depth, key=depth.get)


def backward(end):
    arrived = {node: 0.0 for node in order(end)}
    arrived[end] = 1.0
    for node in [*arrived][::-1]:
        node.gradient = arrived[node]
        for k, parent in enumerate(node.parents):
            arrived[parent] += arrived[node] * node.slopes[k]


def deep_order(end):
    """From the end: a node is taken once all that use it are."""
    waits, todo = {end: 0}, [end]
    while todo:
        for parent in todo.pop().parents:
            if parent not in waits:
                waits[parent] = 0
                todo.append(parent)
            waits[parent] += 1
    taken, ready = [], [end]
    while ready:
        taken.append(ready.pop())
        for parent in taken[-1].parents:
            waits[parent] -= 1
            if not waits[parent]:
                ready.append(parent)
    return taken[::-1]
