"""Tables of results: printed row by row in a terminal, and as Markdown."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from measure import QUIET, said

WIDTH = 100


@dataclass
class Column:
    """One column: its key in a row, its heading, how values are written, and how wide."""

    key: str
    heading: str
    form: str = ""
    wide: int = 9

    def text(self, row):
        value = row.get(self.key)
        if isinstance(value, Ratio):
            return value.text(self.form)
        if value is None:
            return "–"
        if isinstance(value, tuple):
            return "×".join(map(str, value))
        return value if isinstance(value, str) else format(value, self.form or _digits(value))

    def fitted(self, text):
        return text.ljust(self.wide) if self.form == "<" else text.rjust(self.wide)


def _digits(value):
    """Three digits that say something."""
    return f".{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f"


@dataclass
class Ratio:
    """A number with a goal: at least so much, or with `most` at most so much; None has none.

    In doubt, it does not say whether the goal is met: other programs were running.
    """

    value: float | None
    goal: float | None = None
    most: bool = False
    doubtful: bool = False

    @property
    def met(self):
        if self.value is None or self.goal is None:
            return None
        return self.value <= self.goal if self.most else self.value >= self.goal

    def text(self, form=""):
        if self.value is None:
            return "–"
        number = format(self.value, form or ".2f")
        if self.goal is None:
            return number
        goal = format(self.goal, form) if form else f"{self.goal:g}"
        mark = "?" if self.doubtful else "✓" if self.met else "✗"
        return f"{number} {'≤' if self.most else '≥'}{goal} {mark}"

    def plain(self):
        return vars(self) | {"met": self.met}


@dataclass
class Table:
    """Rows that are measured while they are printed.

    `cases` gives each row's labels and the function that measures the rest of it; `closing` makes
    the last rows, such as means, from those above.
    """

    title: str
    note: str
    columns: list[Column]
    cases: Iterable[tuple[dict[str, Any], Callable[[], dict[str, Any]]]]
    closing: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda rows: []
    rows: list[dict[str, Any]] = field(default_factory=list)

    def run(self):
        """Measure and print row by row; a row that raises says so and the next one follows."""
        print(f"\n{self.title}\n{'─' * min(len(self.title), WIDTH)}")
        print(*_wrapped(self.note), sep="\n")
        heads = [c.fitted(c.heading) for c in self.columns]
        print("\n" + " ".join(heads).rstrip(), flush=True)
        print(" ".join("─" * c.wide for c in self.columns))
        for labels, case in self.cases:
            try:
                row = labels | case()
            except Exception as error:
                row = labels | {"errors": {"row": said(error)}}
            self._add(row)
        for row in self.closing(self.rows):
            self._add(row)

    def _add(self, row):
        self.rows.append(row)
        if (row.get("others") or 0) > QUIET:
            for ratio in ratios(row):
                ratio.doubtful = True
        print(" ".join(c.fitted(c.text(row)) for c in self.columns).rstrip())
        for name, error in row.get("errors", {}).items():
            print(f"    {name}: {error}"[:WIDTH])
        print(end="", flush=True)

    def plain(self):
        """For JSON."""
        rows = [{k: _plain(v) for k, v in row.items()} for row in self.rows]
        return {"title": self.title, "note": self.note, "rows": rows}

    def markdown(self):
        """For the docs; what went wrong stands below."""
        lines = [f"### {self.title}", "", *_wrapped(self.note), ""]
        lines += ["| " + " | ".join(c.heading for c in self.columns) + " |"]
        lines += ["|" + "|".join("---" if c.form == "<" else "--:" for c in self.columns) + "|"]
        for row in self.rows:
            lines += ["| " + " | ".join(c.text(row).strip() for c in self.columns) + " |"]
        errors = [f"{k}: `{e}`" for r in self.rows for k, e in r.get("errors", {}).items()]
        if errors:
            lines += ["", *(f"- {error}" for error in dict.fromkeys(errors))]
        return "\n".join(lines)


def _plain(value):
    return value.plain() if isinstance(value, Ratio) else value


def _wrapped(text):
    import textwrap

    return textwrap.wrap(" ".join(text.split()), WIDTH)


def ratios(row):
    return [value for value in row.values() if isinstance(value, Ratio)]


def tally(tables):
    """How many goals are met, in words."""
    found = [r for t in tables for row in t.rows for r in ratios(row) if r.met is not None]
    sure = [r for r in found if not r.doubtful]
    text = f"{sum(r.met for r in sure)} of {len(found)} goals met"
    doubt = f", {len(found) - len(sure)} in doubt (?): other programs used the machine meanwhile"
    return text if len(sure) == len(found) else text + doubt
