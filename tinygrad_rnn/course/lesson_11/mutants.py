"""Lesson 11: mistakes that are often made."""

import numpy as np

from . import solution


def bits__nats(logits, target):
    """It is measured in nats: a logarithm to base e. Bits are to base 2"""
    return solution.bits(logits, target) * np.log(2)


def bits__averaged_twice(logits, target):
    """The average over time is taken twice: a mean is already divided by the number of steps"""
    return solution.bits(logits, target) / len(target)


def bits__summed(logits, target):
    """It is the sum over all symbols: the cost of one is asked for"""
    return solution.bits(logits, target) * target.size


def bits__overflow(logits, target):
    """exp of a large score is not finite: only differences of scores matter, so subtract first"""
    with np.errstate(all="ignore"):
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return -np.log2(np.take_along_axis(p, target[..., None], -1)).mean()


def teacher_forcing__not_shifted(step, state, text):
    """The symbol that was just read is looked up: it is the one after it that is foretold"""
    found = []
    for symbol in text[:-1]:
        logits, state = step(symbol, state)
        found.append(np.exp(logits)[symbol] / np.exp(logits).sum())
    return np.array(found)


def teacher_forcing__own_guess(step, state, text):
    """The model reads its own guesses: here it is to read the text, whatever it guessed"""
    found, symbol = [], text[0]
    for following in text[1:]:
        logits, state = step(symbol, state)
        found.append(np.exp(logits)[following] / np.exp(logits).sum())
        symbol = int(np.argmax(logits))
    return np.array(found)


def teacher_forcing__forgetful(step, state, text):
    """Each step begins with the first state: hand on the state that the step before returned"""
    parts = [solution.teacher_forcing(step, state, text[k : k + 2]) for k in range(len(text) - 1)]
    return np.concatenate(parts)


def draw__argmax(logits, temperature, u):
    """It is always the likeliest symbol, whatever the chance: then it writes the same for ever"""
    return int(np.argmax(logits))


def draw__multiplied(logits, temperature, u):
    """The temperature is multiplied: then heat makes it sure, and cold makes it wild"""
    return solution.draw(logits * temperature, 1.0, u)


def draw__of_probabilities(logits, temperature, u):
    """The temperature changes nothing: a factor on probabilities cancels, it acts on the scores"""
    return solution.draw(logits, 1.0, u)


def draw__overflow(logits, temperature, u):
    """exp of a large score is not finite: only differences of scores matter, so subtract first"""
    with np.errstate(all="ignore"):
        p = np.exp(logits / temperature)
        return int(np.argmax(np.cumsum(p / p.sum()) > u))


def write__stuck(step, state, prompt, count, choose):
    """It reads the prompt's last symbol again and again: what was written is to be read next"""
    for symbol in prompt:
        logits, state = step(symbol, state)
    written = []
    for _ in range(count):
        written.append(choose(logits))
        logits, state = step(prompt[-1], state)
    return written


def write__last_only(step, state, prompt, count, choose):
    """Of the prompt only the last symbol is read: the state comes from all of it"""
    return solution.write(step, state, prompt[-1:], count, choose)


def write__read_twice(step, state, prompt, count, choose):
    """The last symbol of the prompt is read twice"""
    return solution.write(step, state, [*prompt, prompt[-1]], count, choose)


def write__forgetful(step, state, prompt, count, choose):
    """The state is not handed on: each symbol is read with the first one"""
    written, symbol = [], prompt[-1]
    for _ in range(count):
        symbol = choose(step(symbol, state)[0])
        written.append(symbol)
    return written


def write__prompt_too(step, state, prompt, count, choose):
    """The prompt is returned, too: only what was written is asked for"""
    return [*prompt, *solution.write(step, state, prompt, count, choose)]


def _run(cell, xs, h):
    states = []
    for x in xs:
        h = cell(x, h)
        states.append(h)
    return np.array(states)


def both_ways__not_turned_back(forward, backward, xs, begin):
    """The second half runs from the last step to the first: its states are to be reversed again"""
    return np.concatenate([_run(forward, xs, begin), _run(backward, xs[::-1], begin)], axis=1)


def both_ways__never_reversed(forward, backward, xs, begin):
    """Both cells read from first to last: then neither knows what comes after"""
    return np.concatenate([_run(forward, xs, begin), _run(backward, xs, begin)], axis=1)


def both_ways__last_everywhere(forward, backward, xs, begin):
    """The backward cell's final state stands in every row: each step has its own"""
    back = np.tile(_run(backward, xs[::-1], begin)[-1], (len(xs), 1))
    return np.concatenate([_run(forward, xs, begin), back], axis=1)


def both_ways__goes_on(forward, backward, xs, begin):
    """The backward cell begins where the forward one ended: both begin with the first state"""
    left = _run(forward, xs, begin)
    return np.concatenate([left, _run(backward, xs[::-1], left[-1])[::-1]], axis=1)
