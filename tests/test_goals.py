"""The benchmarks' bookkeeping: when a goal is met, missed or in doubt, and what the page says."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "benchmarks"))  # its scripts find each other there

from goals import FLOOR, MUST, Ratio, reached, tally
from machine import LIBRARIES
from measure import Effort, mean, paired, ratio_of
from scan import SECTIONS, page, summed
from table import Column, Table


@pytest.mark.parametrize(
    "ratio, state, text",
    [
        (Ratio(2.0, 1.3), "met", "2.00 ≥1.3 ✓"),
        (Ratio(1.2, 1.3, rank=MUST), "missed", "1.20 ≥1.3 must ✗"),
        (Ratio(1.2, 1.3, most=True, rank=FLOOR), "met", "1.20 ≤1.3 floor ✓"),
        (Ratio(1.3, 1.3), "met", "1.30 ≥1.3 ✓"),
        (Ratio(1.2, 1.3, spread=0.05), "missed", "1.20 ±5% ≥1.3 ✗"),
        (Ratio(1.2, 1.3, spread=0.1), "in doubt", "1.20 ±10% ≥1.3 ?"),
        (Ratio(1.4, 1.3, spread=0.1), "in doubt", "1.40 ±10% ≥1.3 ?"),
        (Ratio(9.0, 1.3, busy=True), "in doubt", "9.00 ≥1.3 ?"),
        (Ratio(None, 1.3), "not measured", "–"),
        (Ratio(1.2), None, "1.20"),
    ],
)
def test_a_ratio_says_whether_its_goal_is_met(ratio, state, text):
    assert (ratio.state, ratio.text()) == (state, text)


def test_the_interval_of_a_ratio_is_that_of_its_rounds():
    assert ratio_of([1.0, 1.0]).spread is None  # too few to say
    found = ratio_of([1.1, 1.0, 0.9, 1.0, 1.1, 0.9], 1)
    assert found.value == 1.0 and 0.08 < found.spread < 0.1  # 2.57 × 0.0896 / √6 = 0.094
    both = mean([found, Ratio(4.0, spread=0.0), Ratio(None)], 2)
    assert both.value == pytest.approx(2.0) and both.spread == pytest.approx(found.spread / 2)
    assert mean([Ratio(None)], 2).state == "not measured"


def test_a_run_may_time_itself_and_one_that_disagrees_is_left_out():
    class Timed:
        def __init__(self, seconds, answer):
            self.one, self.answer = seconds, answer

        def __call__(self):
            return ([self.answer],)

        def seconds(self, calls):
            return self.one

    builders = {"a": lambda: Timed(1e-3, 1.0), "b": lambda: Timed(3e-3, 1.0 + 1e-9)}
    builders["c"] = lambda: Timed(1e-3, 1.001)
    result = paired(builders, Effort(0, 3, 0), ["a", "b", "c"], within=1e-6)
    assert result.ratio("b", "a").value == pytest.approx(3)
    assert [*result.errors] == ["c"] and "off by 1.0e-03" in result.errors["c"]
    assert result.ratio("c", "a", 2).state == "not measured"


def test_the_page_has_every_goal_once_at_its_end(capsys):
    columns = [Column("cell", "cell", "<"), Column("over", "torch / ours", "", 20)]
    rows = [("RNN", 2.0), ("GRU", 1.2), ("LSTM", None)]
    table = Table("Layers", "All of them.", columns, [
        ({"cell": cell}, lambda value=value: {"over": Ratio(value, 1.3, rank=MUST)})
        for cell, value in rows
    ])  # fmt: skip
    failing = Table("Broken", "Raises.", columns, [({"cell": "RNN"}, lambda: 1 / 0)])
    for each in (table, failing):
        each.run()
    (goal,) = reached([table, failing])
    assert (goal["rows"], goal["goal"], goal["worst"]) == ("RNN, GRU, LSTM", "≥1.3 must", 1.2)
    assert (goal["met"], goal["missed"], goal["in doubt"], goal["not measured"]) == (
        "1",
        "1",
        "",
        "1",
    )
    words = "1 of 3 goals met, 1 missed, 1 not measured"
    assert tally([table, failing]) == words
    closing = summed([table, failing])
    closing.run()
    facts = {"cpu": "A", "cores": 2, "vectors": "avx2", "system": "L", "threads": 2, "python": "3"}
    facts |= dict.fromkeys((*LIBRARIES, "caches", "memory"), "1") | {"date": "today"}
    text = page(facts, {"layers": [table], "own": [failing]}, closing, quick=True)
    order = ["# How fast it is", "A, 2 cores", "A quick run", words, "### Layers"]
    order += ["| GRU | 1.20 ≥1.3 must ✗ |", "### Broken", "ZeroDivisionError"]
    order += ["## What is reached", "| Layers | RNN, GRU, LSTM |"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "RuntimeError" not in capsys.readouterr().out and len(SECTIONS) == 15
