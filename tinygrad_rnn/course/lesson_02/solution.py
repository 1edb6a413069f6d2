"""Lesson 02, solved."""

import math


class Node:
    def __init__(self, value, parents=(), slopes=()):
        self.value = value
        self.parents = parents
        self.slopes = slopes
        self.gradient = 0.0


def mul(a, b):
    return Node(a.value * b.value, (a, b), (b.value, a.value))


def tanh(a):
    y = math.tanh(a.value)
    return Node(y, (a,), (1 - y * y,))


def order(end):
    found, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent in node.parents:
                visit(parent)
            found.append(node)

    visit(end)
    return found


def backward(end):
    end.gradient = 1.0
    for node in reversed(order(end)):
        for parent, slope in zip(node.parents, node.slopes, strict=True):
            parent.gradient += node.gradient * slope


def deep_order(end):
    found, seen, todo = [], set(), [(end, False)]
    while todo:
        node, parents_done = todo.pop()
        if parents_done:
            found.append(node)
        elif node not in seen:
            seen.add(node)
            todo.append((node, True))
            todo += [(parent, False) for parent in node.parents]
    return found
