"""Grade an autodiff engine: adapters, cases, and the evidence where one goes wrong."""

from . import beyond, graph, recurrent
from .cases import CASES, Case
from .grading import Verdict, grade
from .report import Report

__all__ = ["CASES", "Case", "Report", "Verdict", "grade"]

for case in sorted(CASES.values(), key=lambda case: case.level):
    CASES[case.name] = CASES.pop(case.name)  # in the order of levels, not of imports

del beyond, case, graph, recurrent
