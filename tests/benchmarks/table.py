"""Tables of results: printed row by row in a terminal, and as Markdown."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from goals import Ratio, ratios
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
                ratio.busy = True
        print(" ".join(c.fitted(c.text(row)) for c in self.columns).rstrip())
        for name, error in row.get("errors", {}).items():
            print(f"    {name}: {error}"[:WIDTH])
        print(end="", flush=True)

    def plain(self):
        """For JSON."""
        rows = [{k: _plain(v) for k, v in row.items()} for row in self.rows]
        return {"title": self.title, "note": self.note, "rows": rows}

    def markdown(self, heading="###"):
        """For the docs; what went wrong stands below."""
        lines = [f"{heading} {self.title}", "", *_wrapped(self.note), ""] if heading else []
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
