"""Lesson 12: how its exercises are judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import nn
from ...loops import scan_source
from ...view import curve
from .. import Exercise, Judge, Lesson, call

LOOP = """\
def forward(count, rows, x, h, z, o, Wx_packed, Wh_packed, V_packed):
    multiply(x, Wx_packed, z, True)
    for step in range(count):
        multiply(h, Wh_packed, z, False)
        for i in range(rows):
            h[i] = tanh(z[i])

    multiply(h, V_packed, o, True)
"""


def waiting(judge: Judge) -> None:
    """Expected: of each cell the products with its state, as its formula has them."""
    by = "by the formula"
    judge.see("before the loop Wx, inside it Wh, after it V", call(LOOP), ["Wh"], by)
    for cell, expected in (
        (nn.RNN(4, 5, rng=0), ["Wh"]),
        (nn.LSTM(4, 5, rng=0), ["Wh"]),
        (nn.GRU(4, 5, rng=0), ["Wh", "Wn"]),
    ):
        text = scan_source(cell.step, cell.begin(2), np.ones((3, 2, 4), np.float32))
        name = type(cell).__name__
        run = call(text.split("def backward")[0])
        judge.see(f"the compiled loop of nn.{name}", run, expected, by)


def hoisted(judge: Judge) -> None:
    """Expected: each row and step by itself, and one product with Wx, however many steps."""
    rng = np.random.default_rng(0)
    for T, B in ((1, 1), (4, 1), (4, 3)):
        xs, Wx, Wh = rng.normal(size=(T, B, 5)), rng.normal(size=(5, 2)), rng.normal(size=(2, 2))
        b, begin = rng.normal(size=2), rng.normal(size=(B, 2))
        expected, states = np.zeros((T, B, 2)), begin.copy()
        for t, row, j in np.ndindex(T, B, 2):
            before = expected[t - 1, row] if t else states[row]
            total = sum(xs[t, row] * Wx[:, j]) + sum(before * Wh[:, j]) + b[j]
            expected[t, row, j] = np.tanh(total)
        given = (xs, Wx, Wh, b, begin)
        judge.see(f"T = {T}, B = {B}", call(*given, np.matmul), expected, "number by number")

        def count(made: Any, given: Any = given) -> list[int]:
            widths = []

            def multiply(a: Any, w: Any) -> Any:
                widths.append(len(w))
                return a @ w

            call(*given, multiply)(made)
            return [widths.count(5), widths.count(2)]

        calls = {"products with Wx": 1, "products with Wh": T}
        judge.see(f"T = {T}, B = {B}: calls of multiply", count, calls, "counted")


def work(judge: Judge) -> None:
    """Expected: counted in three loops, and the sizes of arrays in memory."""
    for n, k, m, size in ((1, 1, 1, 4), (2, 3, 4, 4), (5, 1, 2, 8)):
        flops = 0
        for _ in np.ndindex(n, m, k):
            flops += 2  # total = total + a * b
        shapes = ((n, k), (k, m), (n, m))
        moved = sum(np.zeros(shape, f"f{size}").nbytes for shape in shapes)
        words = f"({n}, {k}) @ ({k}, {m}), a number takes {size} bytes"
        expected = {"flops": flops, "bytes": moved}
        judge.see(words, call(n, k, m, size), expected, "counted one by one")


def roof(judge: Judge) -> None:
    """Expected: worked out by hand for round numbers."""
    by = "by hand"
    words = "peak 100, bandwidth 10, 2 flops for each byte"
    judge.see(words, call(200.0, 100.0, 100.0, 10.0), 20.0, by)
    words = "peak 100, bandwidth 10, 50 flops for each byte"
    judge.see(words, call(5000.0, 100.0, 100.0, 10.0), 100.0, by)
    words = "peak 100, bandwidth 10, 1 flop for each 2 bytes"
    judge.see(words, call(50.0, 100.0, 100.0, 10.0), 5.0, by)


def speedup(judge: Judge) -> None:
    """Expected: twice as fast, in each case, by how the times were made up."""
    by = "as the times were made up"
    judge.see("2 s before, 1 s after, three times", call([2.0] * 3, [1.0] * 3), 2.0, by)
    after = [50.0, 1.0, 1.0, 1.0, 1.0]
    judge.see("the same, and the first new run compiled for 50 s", call([2.0] * 5, after), 2.0, by)
    slow = call([2.0, 20.0, 2.2], [1.0, 10.0, 1.0])
    judge.see("the machine was ten times as slow during the second pair", slow, 2.0, by)
    short = call([2.0, 2.0, 0.8], [1.0, 1.0, 1.0])
    judge.see("the last of the old runs broke off early", short, 2.0, by)
    four = call([2.0, 3.0, 5.0, 9.0], [1.0] * 4)
    judge.see("of four ratios, 2, 3, 5 and 9, the middle is between two", four, 4.0, by)


def picture(made: Mapping[str, Any]) -> Any:
    """The roof by the learner's own formulas, for batches that double."""
    peak, bandwidth, width = 100.0, 10.0, 1024
    batches = [2**k for k in range(11)]
    reached = [made["roof"](*made["work"](n, width, width, 4), peak, bandwidth) for n in batches]
    lines = {"roof": reached, "peak": [peak] * len(batches)}
    title = "A product with weights (1024, 1024): 100 GFLOP/s and 10 GB/s"
    return curve(lines, log=True, title=title, x_label="doublings of the batch", y_label="GFLOP/s")


LESSON = Lesson(
    "fast",
    "Why it is fast",
    60,
    (
        Exercise(
            "waiting",
            "What has to wait",
            ("the engine's loop is text that can be read", "what needs the state waits for it"),
            (
                "Go through the lines, and remember whether you are inside the loop over time.",
                "The indentation of a line is len(line) - len(line.lstrip()). The loop ends at "
                "the first line that is not empty and not indented more than its beginning.",
                'From such a line the name is line.split("_packed")[0].split()[-1].',
            ),
            "Of an RNN and an LSTM one product waits at each step, of a GRU two, one after the "
            "other: its reset gate has to be known before the second can begin.",
            waiting,
        ),
        Exercise(
            "hoisted",
            "Out of the loop",
            ("x @ Wx needs no state", "many small products become one large one"),
            (
                "The inputs of all steps are known from the beginning.",
                "Rows of a product do not know of each other: T times B rows can be multiplied "
                "as one array (T * B, I).",
                "Before the loop: multiply(xs.reshape(T * B, I), Wx).reshape(T, B, -1) + b; "
                "inside it only multiply(h, Wh) is left.",
            ),
            "The result is the same, row by row. The number of flops is the same, too: what is "
            "saved is that Wx is fetched once instead of at each step, and that a large product "
            "makes better use of the processor.",
            hoisted,
        ),
        Exercise(
            "work",
            "Flops and bytes",
            ("a product's flops", "a product's bytes"),
            (
                "Count for one entry of the result first, and then how many entries there are.",
                "An entry takes k multiplications and k additions. The three arrays have n k, k m "
                "and n m numbers.",
                "The flops are 2 n k m; for the bytes add up the three sizes, times size.",
            ),
            "Flops grow with the product of three lengths, bytes with products of two. So large "
            "products do a lot with each byte, and small ones do little.",
            work,
        ),
        Exercise(
            "roof",
            "The roof",
            ("arithmetic intensity", "the lower limit counts"),
            (
                "There are two limits: of the processor, and of the memory.",
                "With q = flops / bytes_moved the memory allows q flops for each byte it "
                "delivers: q * bandwidth a second.",
                "The smaller one of peak and flops / bytes_moved * bandwidth.",
            ),
            "Below the intensity peak / bandwidth the memory decides, above it the processor. A "
            "step with one row does half a flop for each byte, in float32: it waits for its "
            "weights, wherever they are kept.",
            roof,
        ),
        Exercise(
            "speedup",
            "Times that can be trusted",
            ("pairs that were measured in turn", "a median is not moved by a few"),
            (
                "First the ratios, then one number of them.",
                "A ratio is the old time over the new one of the same pair.",
                "np.median of np.array(before) / np.array(after).",
            ),
            "A machine has other things to do. What slows down both of a pair cancels in their "
            "ratio, and a few spoiled pairs do not move the median.",
            speedup,
        ),
    ),
    fast=2,
    picture=picture,
)
