"""Goals: a number and what it has to reach, whether it does, and how many of all are reached."""

import math
from dataclasses import dataclass

MUST, FLOOR = "must", "floor"
"""What has no excuse, and what is never to be lost again."""

STATES = {"met": "✓", "missed": "✗", "in doubt": "?"}


@dataclass
class Ratio:
    """A number with a goal: at least so much, or with `most` at most so much; None has none.

    `spread` is half of its 95 % interval, as a part of it. In doubt, it does not say whether the
    goal is met: the interval reaches across the goal, or other programs were running.
    """

    value: float | None
    goal: float | None = None
    most: bool = False
    rank: str = ""
    spread: float | None = None
    busy: bool = False

    @property
    def state(self):
        """One of `STATES`, "not measured", or None without a goal."""
        if self.goal is None:
            return None
        if self.value is None:
            return "not measured"
        near = math.log1p(self.spread or 0) > abs(math.log(self.value / self.goal))
        if self.busy or near:
            return "in doubt"
        met = self.value <= self.goal if self.most else self.value >= self.goal
        return "met" if met else "missed"

    def text(self, form=""):
        if self.value is None:
            return "–"
        parts = [format(self.value, form or ".2f")]
        if self.spread is not None:
            parts.append(f"±{self.spread:.0%}")
        if self.goal is not None:
            parts += [self.wanted(form), *([self.rank] if self.rank else []), STATES[self.state]]
        return " ".join(parts)

    def wanted(self, form=""):
        """The goal by itself."""
        goal = format(self.goal, form) if form else f"{self.goal:g}"
        return f"{'≤' if self.most else '≥'}{goal}"

    def plain(self):
        return vars(self) | {"state": self.state}


def ratios(row):
    return [value for value in row.values() if isinstance(value, Ratio)]


def tally(tables):
    """How many goals are met, in words."""
    states = [r.state for t in tables for row in t.rows for r in ratios(row) if r.state]
    met, *others = (states.count(s) for s in ("met", "missed", "in doubt", "not measured"))
    words = zip(others, ("missed", "in doubt (?)", "not measured"), strict=True)
    return ", ".join(
        [f"{met} of {len(states)} goals met", *(f"{n} {word}" for n, word in words if n)]
    )


def reached(tables):
    """A row for each goal of the tables: what it is for, how many rows meet it, and the worst."""
    groups = {}
    for table in tables:
        for row in table.rows:
            for column in table.columns:
                value = row.get(column.key)
                if isinstance(value, Ratio) and value.goal is not None:
                    key = table.title, column.heading, value.rank, value.wanted(column.form)
                    groups.setdefault(key, []).append((label(row, table.columns), value))
    return [summary(*key, found) for key, found in groups.items()]


def label(row, columns):
    """The words that a row begins with; sizes are none."""
    words = []
    for column in columns:
        value = row.get(column.key)
        if isinstance(value, str):
            words.append(value)
        elif not isinstance(value, tuple | int):
            break
    return " ".join(words)


def summary(title, heading, rank, wanted, found):
    labels = [*dict.fromkeys(words for words, _ in found if words)]
    values = [ratio for _, ratio in found]
    known = [ratio.value for ratio in values if ratio.value is not None]
    worst = (max if values[0].most else min)(known, default=None)
    counts = {state: sum(r.state == state for r in values) for state in (*STATES, "not measured")}
    return {
        "where": title,
        "rows": ", ".join(labels) if 0 < len(labels) <= 4 else "every row",
        "what": heading,
        "goal": f"{wanted} {rank}".strip(),
        "worst": worst,
        **{state: f"{n}" if n else "" for state, n in counts.items()},
    }
