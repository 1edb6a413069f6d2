"""A tape as a JSON document: rounded to what a picture needs, and read back with a check."""

from __future__ import annotations

import json
import math
import reprlib
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any

import numpy as np

from ..io.header import parse_json
from .numbers import Numbers
from .tape import VERSION, Call, Place, Record, Tape, Term

TABLES = {"call": ("calls", Call), "place": ("places", Place)}  # told once for all that are alike
USUAL = {"least": None, "largest": None, "average": None, "nan": 0, "infinite": 0}


def written(tape: Tape) -> str:
    """The document as text. What is as it is by default is left out."""
    document = _short_form(tape)
    for word, (table, _) in TABLES.items():
        alike = dict.fromkeys(getattr(r, word) for r in tape.records)
        number = {told: k for k, told in enumerate(alike)}
        document[table] = _short_form(list(alike))
        for given, r in zip(document["records"], tape.records, strict=True):
            given[word] = number[getattr(r, word)]
    for given, r in zip(document["records"], tape.records, strict=True):
        for short, term in zip(given.get("terms", ()), r.terms, strict=True):
            if short["numbers"] == document["records"][r.inputs[term.place][0]].get("grad"):
                del short["numbers"]  # the only one: all that came to what it belongs to
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def rounded(v: Any, digits: int = 6) -> Any:
    """A number of so many significant digits. JSON has no NaN: such numbers are words there."""
    if not isinstance(v, float):
        return v
    if math.isfinite(v):
        short = float(f"{v:.{digits}g}")
        if any(f"{short:.{k}g}" != f"{v:.{k}g}" for k in (2, 3)):  # as pages round it again
            short = v
        return short + 0.0  # without the sign of -0, which scripts lose
    return "NaN" if math.isnan(v) else "Infinity" if v > 0 else "-Infinity"


def statistics(x: Numbers) -> dict[str, Any]:
    """What is told of an array beside its elements."""
    told = {name: getattr(x, name) for name in USUAL}
    return {"l2": rounded(x.l2)} | {k: rounded(v) for k, v in told.items() if v != USUAL[k]}


def _short_form(x: Any) -> Any:
    if isinstance(x, Numbers):
        if x.data is not None:
            digits = 4 if len(x.data) > 1 else 6
            return {"l2": rounded(x.l2), "data": [rounded(v, digits) for v in x.data]}
        return statistics(x)
    if is_dataclass(x):
        given = [(name, getattr(x, name), usual) for name, usual in usual(x.__class__).items()]
        return {name: _short_form(v) for name, v, usual in given if v != usual}
    if isinstance(x, list | tuple):
        return [_short_form(v) for v in x]
    return rounded(x)


@cache
def usual(kind: Any) -> dict[str, Any]:
    """The fields of a class, each with what it is by default; nothing where it is always told."""
    made = {f.name: f.default for f in fields(kind)}
    made |= {f.name: f.default_factory() for f in fields(kind) if f.default_factory is not MISSING}
    return made | dict.fromkeys({"version", "made_by"} & made.keys())


def read(text: str) -> Tape:
    """The tape of a document; ValueError says why it is none."""
    try:
        return _read(parse_json(text))
    except ValueError as error:
        reason = str(error)
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        reason = repr(error)
    raise ValueError(f"Tape: the document is no tape: {reason}; make it again from the run")


def _read(given: Any) -> Tape:
    version = given.get("version") if isinstance(given, dict) else type(given).__name__
    if version != VERSION:
        raise ValueError(f"expected a tape of version {VERSION}, got {reprlib.repr(version)}")
    for word, (table, kind) in TABLES.items():
        alike = [kind(**_frozen(told)) for told in given.pop(table)]
        for r in given["records"]:
            r[word] = alike[r[word]]
    records: list[Record] = []
    for told in given.pop("records"):
        records.append(_record(told, records))
    tape = Tape(records=records, **given)
    if not tape.outputs or not all(0 <= y < len(records) for y in tape.outputs):
        raise ValueError("it has not all of its outputs")
    return tape


def _frozen(told: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}


def _record(given: dict[str, Any], before: list[Record]) -> Record:
    """A record; refused where it reads what does not come before it: no pass would end there."""
    r, number = Record(**given), len(before)
    r.inputs = [(source, part) for source, part in r.inputs]
    if r.id != number or not all(0 <= source < number for source, _ in r.inputs):
        raise ValueError(f"record {number} is out of order")
    for source, part in r.inputs:
        if before[source].call.restacked and part >= 0:
            before[before[source].inputs[0][0]].inputs[part]
    r.value, r.grad = _numbers(given.get("value")), _numbers(given.get("grad"))
    all_of = [before[source].grad for source, _ in r.inputs]  # that of a term which tells none
    terms = [(t["place"], _numbers(t.get("numbers"))) for t in given.get("terms", ())]
    r.terms = [Term(place, all_of[place] if told is None else told) for place, told in terms]
    return r


def _numbers(given: dict[str, Any] | None) -> Any:
    if given is None:
        return None
    if "data" in given:
        return Numbers(np.array(list(map(float, given["data"]))), l2=float(given["l2"]))
    kinds = {"nan": int, "infinite": int}
    told = {k: kinds.get(k, float)(v) for k, v in given.items()}  # "NaN" is a word there
    return Numbers(data=None, **{**USUAL, **told})
