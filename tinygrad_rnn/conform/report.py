"""What a grading found: as a table, as JSON, as a badge."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import groupby

from ..language import said
from .grading import FAILED, NOT_JUDGED, NOT_OFFERED, OUTCOMES, PASSED, Verdict

MARKS = {PASSED: "✓", FAILED: "✗", NOT_OFFERED: "–", NOT_JUDGED: "?"}
HEADS = ("level 1: scalars", "level 2: arrays", "level 3: graph semantics",
         "level 4: recurrent networks", "level 5: beyond the gradient")  # fmt: skip
BADGE = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img">
<title>{words}</title>
<rect width="{width}" height="20" rx="3" fill="#555"/>
<path d="M{cut} 0h{rest}a3 3 0 0 1 3 3v14a3 3 0 0 1 -3 3h-{rest}z" fill="{colour}"/>
<g fill="#fff" font-family="DejaVu Sans,Verdana,sans-serif" font-size="11">
<text x="6" y="14">{left}</text>
<text x="{place}" y="14">{right}</text>
</g>
</svg>
"""


@dataclass
class Report:
    """The verdicts on an engine, by its name.

    >>> from tinygrad_rnn import conform
    >>> verdict = conform.Verdict("mul", 1, "passed", "", "a product's rule")
    >>> print(conform.Report("mine", [verdict]))
        case              which mistake it finds
    level 1: scalars
      ✓ mul               a product's rule
    1 passed, 0 failed, 0 not offered, 0 not judged
    """

    engine: str
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """How many cases passed, failed, were not offered and were not judged."""
        found = Counter(v.outcome for v in self.verdicts)
        return {outcome: found[outcome] for outcome in OUTCOMES}

    @property
    def holds(self) -> bool:
        """Whether something passed, and all that is offered."""
        counts = self.counts
        return counts[PASSED] > 0 and not counts[FAILED] and not counts[NOT_JUDGED]

    def lines(self, verdicts: Iterable[Verdict]) -> Iterator[str]:
        """The table, line by line, as its verdicts come; what is missing for one reason in one."""
        level = 0
        alike = lambda v: (v.level, v.outcome, v.words, v.outcome in (PASSED, FAILED) and v.name)
        for _, group in groupby(verdicts, alike):
            v, *others = group
            if not level:
                yield " " * 4 + said("case              which mistake it finds")
            if v.level != level:
                level = v.level
                yield said(HEADS[level - 1])
            words = said(v.finds) + (f" ({said(v.words)})" if v.words else "")
            if v.outcome == FAILED:
                words = said(v.words)
            elif v.outcome == NOT_OFFERED:
                words = said(f"not offered: {v.words}")
            elif v.outcome == NOT_JUDGED:
                words = said(f"not judged: {v.words}")
            if others:
                words += " " + said(f"(and {len(others)} more, up to `{others[-1].name}`)")
            yield f"  {MARKS[v.outcome]} {v.name:<17} {words}"
            if v.outcome == FAILED:
                yield " " * 22 + said(f"finds: {v.finds}")

    def summary(self) -> str:
        """How many of each there are, in a line."""
        passed, failed, lacking, waiting = self.counts.values()
        return said(
            f"{passed} passed, {failed} failed, {lacking} not offered, {waiting} not judged"
        )

    def __str__(self) -> str:
        return "\n".join([*self.lines(self.verdicts), self.summary()])

    def json(self) -> str:
        """The verdicts as a document."""
        cases = [v._asdict() for v in self.verdicts]
        document = {"engine": self.engine, "holds": self.holds, "counts": self.counts}
        return json.dumps(document | {"cases": cases}, indent=1, ensure_ascii=False) + "\n"

    def badge(self) -> str:
        """A badge as SVG: of how many cases that are offered the engine passed how many."""
        counts = self.counts
        offered = sum(counts.values()) - counts[NOT_OFFERED]
        left, right = "gradients", f"{counts[PASSED]} of {offered}"
        cut, rest = 7 * len(left) + 6, 7 * len(right) + 8
        colour = "#2e7d32" if self.holds else "#c62828" if counts[FAILED] > 3 else "#b26a00"
        words = escape(f"{self.engine}: {left} {right}")
        return BADGE.format(
            width=cut + rest + 3, cut=cut, rest=rest, colour=colour, words=words, left=left,
            right=right, place=cut + 6,
        )  # fmt: skip
