"""The classic tests of memory: what their generators promise, and that the cells learn them."""

import re
from functools import cache
from itertools import product

import memory_lessons as lessons
import numpy as np
import pytest

from tinygrad_rnn import data, nn


def generator(seed=0):
    return np.random.default_rng(seed)


def close_to(mean, samples):
    """Within four standard errors of what it should be on average."""
    return abs(np.mean(samples) - mean) < 4 * np.std(samples) / np.sqrt(len(samples))


# --- the adding problem ---------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [2, 3, 50, 101])
def test_adding_marks_one_number_in_each_half(steps):
    xs, sums = data.adding(generator(), steps, 40)
    assert xs.dtype == sums.dtype == np.float32
    assert xs.shape == (steps, 40, 2) and sums.shape == (40, 1)
    numbers, marks = xs[..., 0], xs[..., 1]
    assert (numbers >= 0).all() and (numbers <= 1).all() and ((marks == 0) | (marks == 1)).all()
    half = steps // 2
    assert (marks[:half].sum(0) == 1).all() and (marks[half:].sum(0) == 1).all()
    for b in range(40):
        one, two = numbers[marks[:, b] == 1, b]
        assert sums[b, 0] == one + two


def test_adding_marks_every_step_and_numbers_are_even():
    xs, sums = data.adding(generator(), 6, 60_000)
    for mark in xs[..., 1]:
        assert close_to(1 / 3, mark)
    assert close_to(1 / 2, xs[3, :, 0]) and close_to(1 / 3, xs[3, :, 0] ** 2)
    assert close_to(1, sums)


def test_a_constant_answer_to_adding_has_an_error_of_a_sixth():
    _, sums = data.adding(generator(), 20, 100_000)
    assert close_to(1 / 6, (sums - 1) ** 2)


# --- temporal order, copying, parity --------------------------------------------------------------


@pytest.mark.parametrize("steps", [10, 19, 57, 100])
def test_temporal_order_is_told_by_two_symbols(steps):
    symbols, classes = data.temporal_order(generator(), steps, 500)
    assert symbols.dtype == classes.dtype == np.int64
    assert symbols.shape == (steps, 500) and set(classes) == {0, 1, 2, 3}
    places = set()
    for row, answer in zip(symbols.T, classes, strict=True):
        text = "".join("EBabcdXY"[k] for k in row)
        noise, x, between, y = re.fullmatch("E([abcd]*)(X|Y)([abcd]*)(X|Y)[abcd]*B", text).groups()
        assert ["XX", "XY", "YX", "YY"][answer] == x + y
        places.add((1 + len(noise), 2 + len(noise) + len(between)))
    first, second = map(np.array, zip(*places, strict=True))
    assert (first.min(), first.max()) == (steps // 10, 2 * steps // 10)
    assert (second.min(), second.max()) == (5 * steps // 10, 6 * steps // 10)


def test_the_four_orders_and_the_noise_are_equally_likely():
    symbols, classes = data.temporal_order(generator(), 30, 40_000)
    for k in range(4):
        assert close_to(1 / 4, classes == k) and close_to(1 / 4, symbols[20] == 2 + k)


@pytest.mark.parametrize("steps, length, symbols", [(1, 1, 1), (1, 3, 2), (20, 10, 8)])
def test_copying_asks_for_the_same_symbols_in_their_order(steps, length, symbols):
    given, answers = data.copy_memory(generator(), steps, 60, length=length, symbols=symbols)
    assert given.dtype == answers.dtype == np.int64
    for row, wanted in zip(given.T.tolist(), answers.T.tolist(), strict=True):
        shown = row[:length]
        assert row == shown + [0] * (steps - 1) + [symbols + 1] + [0] * length
        assert wanted == [0] * (steps + length) + shown
    assert set(given[:length].flat) == set(range(1, symbols + 1))


def test_parity_counts_ones():
    bits, answers = data.parity(generator(), 9, 5000)
    assert bits.dtype == answers.dtype == np.int64 and set(bits.flat) == {0, 1}
    for t in range(9):
        assert answers[t].tolist() == [sum(row) % 2 for row in bits[: t + 1].T.tolist()]
        assert close_to(1 / 2, answers[t])


# --- Reber's grammar ------------------------------------------------------------------------------

# The grammar's arrows, and the same language as a pattern; 3 is where its halves meet.
ARROWS = ["0B1", "1T2", "1P3", "2S2", "2X4", "3T3", "3V5", "4X3", "4S6", "5P4", "5V6", "6E7"]
MIDDLE = "(T*VPX)*T*V(V|PS)"
PATTERN = f"B(TS*X(S|X{MIDDLE})|P{MIDDLE})E"


@cache
def legal(before):
    """What may follow: three symbols are enough to come to an end from anywhere in the grammar."""
    ends = ["".join(end) for n in range(4) for end in product("TSXPVE", repeat=n)]
    return {
        symbol
        for symbol in "BTSXPVE"
        if any(re.fullmatch(PATTERN, before + symbol + end) for end in ends)
    }


def test_reber_strings_and_what_may_follow_each_symbol():
    strings, successors = data.reber(generator(), 60)
    assert len(set(strings)) > 10
    for string, following in zip(strings, successors, strict=True):
        assert re.fullmatch(PATTERN, string) and len(following) == len(string)
        for t, found in enumerate(following):
            assert set(found) == legal(string[: t + 1]) and len(set(found)) == len(found)


def test_embedded_reber_strings_end_as_they_begin():
    strings, successors = data.embedded_reber(generator(), 60)
    assert {string[1] for string in strings} == {"T", "P"}
    for string, following in zip(strings, successors, strict=True):
        outer, inner = string[1], string[2:-2]
        assert string == f"B{outer}{inner}{outer}E" and re.fullmatch(PATTERN, inner)
        assert [set(found) for found in following] == [
            {"T", "P"},
            {"B"},
            *[legal(inner[: t + 1]) for t in range(len(inner) - 1)],
            {outer},
            {"E"},
            set(),
        ]


def test_the_least_error_of_a_predictor_is_the_entropy_of_the_grammar():
    """6 ln 2 from the matrix of transitions, one more choice for the outer symbol."""
    ways = np.zeros((8, 8))
    for start, _, end in ARROWS:
        ways[int(start), int(end)] += 1
    choices = ways.sum(1)
    through = np.divide(ways, choices[:, None], where=choices[:, None] > 0, out=np.zeros((8, 8)))
    visits = np.linalg.inv(np.eye(8) - through)[0]
    entropy = visits @ np.log(np.maximum(choices, 1))
    assert entropy == pytest.approx(6 * np.log(2), rel=1e-12)
    for draw, least in ((data.reber, entropy), (data.embedded_reber, entropy + np.log(2))):
        strings, successors = draw(generator(), 20_000)
        nats = [sum(np.log(max(1, len(found))) for found in one) for one in successors]
        assert close_to(least, nats)
        assert close_to(visits.sum() - 1 + 4 * (draw is data.embedded_reber), [*map(len, strings)])
    assert least == pytest.approx(4.852, abs=5e-4)


def test_choices_in_the_grammar_are_equally_likely():
    strings, _ = data.embedded_reber(generator(), 20_000)
    inner = np.array([string[2:-2] for string in strings])
    outer = np.array([string[1] == "T" for string in strings])
    for string, chance in (
        ("BTXSE", 1 / 8),
        ("BPVVE", 1 / 8),
        ("BTSXSE", 1 / 16),
        ("BPTVVE", 1 / 16),
    ):
        assert close_to(chance, inner == string)
        assert close_to(1 / 2, outer[inner == string])


# --- all of them ----------------------------------------------------------------------------------

DRAWS = {
    "adding": (lambda rng, size=2: data.adding(rng, size, 3), 2),
    "temporal_order": (lambda rng, size=10: data.temporal_order(rng, size, 3), 10),
    "copy_memory": (lambda rng, size=1: data.copy_memory(rng, size, 3), 1),
    "parity": (lambda rng, size=5: data.parity(rng, size, 3), 1),
    "reber": (lambda rng, size=9: data.reber(rng, size), 0),
    "embedded_reber": (lambda rng, size=9: data.embedded_reber(rng, size), 0),
}
each_draw = pytest.mark.parametrize("name", DRAWS)


@each_draw
def test_a_seed_says_what_is_drawn_and_the_next_draw_is_another(name):
    draw, rng = DRAWS[name][0], generator(3)
    first, next_one, again = draw(rng), draw(rng), draw(generator(3))
    assert str(first) == str(again) != str(next_one)


@each_draw
def test_what_cannot_be_drawn_is_refused(name):
    draw, least = DRAWS[name]
    for seed in (0, "0"):  # of a seed, every batch would be the same
        with pytest.raises(TypeError, match=f"^{name}: rng: .*default_rng"):
            draw(seed)
    with pytest.raises(ValueError, match=f"^{name}: .*: expected at least {least}"):
        draw(generator(), least - 1)
    with pytest.raises(TypeError, match=f"^{name}: .*whole number"):
        draw(generator(), 20.0)
    assert len(draw(generator(), least)) == 2


def test_sizes_of_copying_are_refused_by_name():
    for word in ("length", "symbols"):
        with pytest.raises(ValueError, match=f"copy_memory: {word}: expected at least 1, got 0"):
            data.copy_memory(generator(), 5, 3, **{word: 0})


def test_no_sequences_at_all():
    assert data.adding(generator(), 4, 0)[0].shape == (4, 0, 2)
    assert data.temporal_order(generator(), 10, 0)[1].shape == (0,)
    assert data.reber(generator(), 0) == ([], [])


# --- what is learnt -------------------------------------------------------------------------------


@pytest.mark.compiled
def test_an_lstm_adds_over_100_steps_and_a_plain_network_does_not():
    task = lessons.Adding(100)
    lstm = lessons.learn(task, lambda I, rng: nn.LSTM(I, 16, rng=rng), seed=0, lr=0.02, most=1500)
    assert lstm[-1]["error"] < 0.01
    plain = lessons.learn(task, lambda I, rng: nn.RNN(I, 16, rng=rng), seed=0, lr=0.02, most=1500)
    assert min(marks["error"] for marks in plain) > 0.10


@pytest.mark.compiled
def test_an_lstm_learns_the_embedded_grammar():
    marks = lessons.learn(
        lessons.EmbeddedReber(),
        lambda I, rng: nn.LSTM(I, 16, rng=rng), seed=0, lr=0.02, most=2000,
    )[-1]  # fmt: skip
    assert marks["least"] < marks["nats"] < marks["least"] + 0.1
    assert marks["least"] == pytest.approx(7 * np.log(2), abs=0.1)  # of the strings that are asked
    assert marks["new"] > 20 and marks["outer"] == 1


@pytest.mark.compiled
def test_an_lstm_tells_the_order_of_symbols_50_steps_apart():
    marks = lessons.learn(
        lessons.TemporalOrder(100),
        lambda I, rng: lessons.patient(nn.LSTM(I, 16, rng=rng), 100, rng),
        seed=0, lr=0.01, most=2000,
    )  # fmt: skip
    assert marks[0]["right"] < 0.9 and marks[-1]["right"] > 0.99
