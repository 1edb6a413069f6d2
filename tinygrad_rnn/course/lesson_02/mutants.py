"""Lesson 02: mistakes that are often made."""

import math
import sys

from .solution import Node, order


def mul__own_slopes(a, b):
    """The slopes are exchanged: nudge a alone, and see how far the product goes"""
    return Node(a.value * b.value, (a, b), (a.value, b.value))


def mul__of_a_sum(a, b):
    """These are the slopes of a sum"""
    return Node(a.value * b.value, (a, b), (1.0, 1.0))


def mul__numbers(a, b):
    """The parents are numbers: nothing can be handed back to a number, so keep the nodes"""
    return Node(a.value * b.value, (a.value, b.value), (b.value, a.value))


def tanh__of_the_input(a):
    """The slope is computed from the input; the rule has the value of tanh in it"""
    y = math.tanh(a.value)
    return Node(y, (a,), (1 - a.value * a.value,))


def tanh__no_square(a):
    """A square is missing in the slope"""
    y = math.tanh(a.value)
    return Node(y, (a,), (1 - y,))


def tanh__of_the_sigmoid(a):
    """This is the slope of another curve, the sigmoid"""
    y = math.tanh(a.value)
    return Node(y, (a,), (y * (1 - y),))


def tanh__no_slope(a):
    """The value's own tanh stands where its slope belongs"""
    y = math.tanh(a.value)
    return Node(y, (a,), (y,))


def order__end_first(end):
    """The list is the wrong way round: it begins with the end"""
    return order(end)[::-1]


def order__twice(end):
    """A node that is used twice is listed twice: remember which ones you have been to"""
    return [node for parent in end.parents for node in order__twice(parent)] + [end]


def order__as_met(end):
    """Nodes stand as they were met: one that is met early may be needed again, farther on"""
    found, todo = [], [end]
    while todo:
        node = todo.pop()
        if node not in found:
            found.append(node)
            todo += node.parents[::-1]
    return found[::-1]


def order__levels(end):
    """Nodes stand by the shortest way to the end; what matters is the longest one"""
    found, level = [], [end]
    while level:
        found += [node for node in dict.fromkeys(level) if node not in found]
        level = [p for node in level for p in node.parents if p not in found]
    return found[::-1]


def backward__overwritten(end):
    """What one use had handed on is lost when the next one does: a value may be used twice"""
    end.gradient = 1.0
    for node in reversed(order(end)):
        for parent, slope in zip(node.parents, node.slopes, strict=True):
            parent.gradient = node.gradient * slope


def backward__slope_alone(end):
    """Only the slope is handed on: what had arrived at the node itself is left out"""
    end.gradient = 1.0
    for node in reversed(order(end)):
        for parent, slope in zip(node.parents, node.slopes, strict=True):
            parent.gradient += slope


def backward__not_begun(end):
    """Nothing is ever handed on: how fast does the end rise with itself?"""
    for node in reversed(order(end)):
        for parent, slope in zip(node.parents, node.slopes, strict=True):
            parent.gradient += node.gradient * slope


def backward__forwards(end):
    """The walk begins at the wrong end of the list"""
    end.gradient = 1.0
    for node in order(end):
        for parent, slope in zip(node.parents, node.slopes, strict=True):
            parent.gradient += node.gradient * slope


def backward__too_early(end):
    """A node handed on before all of its own gradient had arrived: that is the wrong order"""
    end.gradient = 1.0
    for node in reversed(order__levels(end)):
        for parent, slope in zip(node.parents, node.slopes, strict=True):
            parent.gradient += node.gradient * slope


def deep_order__recursion(end):
    """A function calls itself once for each op, and Python ends that at about 1,000"""
    return order(end)


def deep_order__limit(end):
    """A higher limit only moves the wall to a longer run: do without such calls"""
    sys.setrecursionlimit(1_000_000)
    return order(end)


def deep_order__as_met(end):
    """Nodes are listed when they are met: a node must wait until its parents are listed"""
    return order__as_met(end)


def deep_order__twice(end):
    """A node that is used twice is listed twice: look whether it is there already"""
    found, todo = [], [end]
    while todo:
        found.append(todo.pop())
        todo += found[-1].parents
    return found[::-1]
