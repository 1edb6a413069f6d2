"""Lesson 04: mistakes that are often made."""

import numpy as np

from .solution import count_parameters, iterate, step, unroll


def iterate__begins_too_early(f, s, steps):
    """The list begins with s itself: f(s) is the first state that was made"""
    return [s, *iterate(f, s, steps - 1)]


def iterate__not_handed_on(f, s, steps):
    """Every state is made from s: each comes from the one before it"""
    return [f(s)] * steps


def iterate__last_only(f, s, steps):
    """Only the last state is left: the list has all of them"""
    return iterate(f, s, steps)[-1]


def iterate__backwards(f, s, steps):
    """The last state comes first: the list is in the order of time"""
    return iterate(f, s, steps)[::-1]


def step__bias_in_the_sum(x, h, Wx, Wh, b):
    """The bias is added once for each number that is read: it stands outside the sum"""
    return step(x, h, Wx, Wh, b * (x.shape[1] + h.shape[1]))


def step__bias_in_the_sum_over_inputs(x, h, Wx, Wh, b):
    """The bias is added once for each input: it stands outside the sum"""
    return step(x, h, Wx, Wh, b * x.shape[1])


def step__bias_twice(x, h, Wx, Wh, b):
    """The bias is added to both products: once is enough"""
    return step(x, h, Wx, Wh, 2 * b)


def step__no_bias(x, h, Wx, Wh, b):
    """The bias is missing"""
    return step(x, h, Wx, Wh, 0 * b)


def step__no_state(x, h, Wx, Wh, b):
    """It forgets: the state before has no part in it"""
    return step(x, 0 * h, Wx, Wh, b)


def step__no_tanh(x, h, Wx, Wh, b):
    """tanh is missing"""
    return x @ Wx + h @ Wh + b


def step__tanh_of_a_part(x, h, Wx, Wh, b):
    """tanh is taken of a part only: it is taken of the whole sum"""
    return np.tanh(x @ Wx) + h @ Wh + b


def step__transposed(x, h, Wx, Wh, b):
    """Wh is turned round: its rows belong to the state before, its columns to the new one"""
    return step(x, h, Wx, Wh.T, b)


def step__each_unit_alone(x, h, Wx, Wh, b):
    """Each unit sees only itself: every unit reads all of the state before"""
    return step(x, h, Wx, np.diag(np.diag(Wh)), b)


def unroll__not_handed_on(x, h, Wx, Wh, b, V, c):
    """The state is not handed on: each step begins with the one that the step before made"""
    states = [step(now, h, Wx, Wh, b) for now in x]
    return np.array([state @ V + c for state in states]), states[-1]


def unroll__begins_anew(x, h, Wx, Wh, b, V, c):
    """The state to begin with is not used"""
    return unroll(x, 0 * h, Wx, Wh, b, V, c)


def unroll__output_first(x, h, Wx, Wh, b, V, c):
    """The output is made before the state: it comes from the new state"""
    outputs = []
    for now in x:
        outputs.append(h @ V + c)
        h = step(now, h, Wx, Wh, b)
    return np.array(outputs), h


def unroll__new_weights(x, h, Wx, Wh, b, V, c):
    """Each step has weights of its own: all steps share the same ones"""
    outputs = []
    for t, now in enumerate(x):
        if t:
            rng = np.random.default_rng(t)
            Wx, Wh = rng.normal(size=Wx.shape), rng.normal(size=Wh.shape)
        h = step(now, h, Wx, Wh, b)
        outputs.append(h @ V + c)
    return np.array(outputs), h


def unroll__states_for_outputs(x, h, Wx, Wh, b, V, c):
    """These are the states: an output is a state times V, plus c"""
    outputs, last = unroll(x, h, Wx, Wh, b, np.eye(len(V)), np.zeros(len(V)))
    return outputs, last


def unroll__outputs_handed_on(x, h, Wx, Wh, b, V, c):
    """The last thing returned is the last output: the last state is asked for"""
    outputs, _ = unroll(x, h, Wx, Wh, b, V, c)
    return outputs, outputs[-1]


def unroll__last_output_only(x, h, Wx, Wh, b, V, c):
    """Only the last output is left: every step has one"""
    outputs, last = unroll(x, h, Wx, Wh, b, V, c)
    return outputs[-1], last


def unroll__backwards(x, h, Wx, Wh, b, V, c):
    """The sequence is read from its end"""
    return unroll(x[::-1], h, Wx, Wh, b, V, c)


def count_parameters__each_step(inputs, hidden, outputs, steps):
    """Each step has weights of its own: all steps share the same ones"""
    return steps * count_parameters(inputs, hidden, outputs, steps)


def count_parameters__no_biases(inputs, hidden, outputs, steps):
    """The biases are missing"""
    return (inputs + hidden + outputs) * hidden


def count_parameters__no_output(inputs, hidden, outputs, steps):
    """V and c are missing: the output has to be learned, too"""
    return (inputs + hidden + 1) * hidden


def count_parameters__no_state(inputs, hidden, outputs, steps):
    """Wh is missing: the weights from state to state"""
    return inputs * hidden + hidden + hidden * outputs + outputs


def count_parameters__sides_swapped(inputs, hidden, outputs, steps):
    """A bias has a number for each one that comes out, not for each one that goes in"""
    return (inputs + hidden) * hidden + inputs + hidden * outputs + outputs


def count_parameters__two_biases(inputs, hidden, outputs, steps):
    """b is counted twice: in this network both products share it"""
    return count_parameters(inputs, hidden, outputs, steps) + hidden
