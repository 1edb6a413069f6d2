"""The house rules: who may import whom, what loads when, how long things may be."""

import ast
import io
import re
import runpy
import subprocess
import sys
import tokenize
from contextlib import nullcontext
from functools import cache
from importlib import import_module
from pathlib import Path

import catalogue
import mutants
import mutation
import pytest
import stub
from plain_loops import uncompiled

import tinygrad_rnn as tg
from tinygrad_rnn import ops

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tinygrad_rnn"
FILES = sorted(PACKAGE.rglob("*.py"))

# A file may import from floors below its own; inside one folder, files share the room.
FLOORS = [
    # a stub; what is remembered, allowed, said; NumPy's warnings
    {"methods", "caches", "limits", "language", "quiet"},
    {"tensor", "kernels"},
    {"refusals", "randomness", "lengths"},
    {"op"},
    {"hooks"},
    {"ops"},
    {"grad"},
    {"check"},
    {"loops"},
    {"formula"},
    {"data"},
    {"nn", "optim"},
    {"transforms"},
    {"io"},
    {"tape"},
    {"view"},
    {"lab"},
    {"page"},
    {"likeness"},
    {"course"},
    {"conform"},
    {"cli"},
]


def room(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@cache
def parsed(path):
    return ast.parse(path.read_text("utf-8"))


@cache
def imports(path):
    """The rooms of this package, and the other libraries, that a file imports anywhere."""
    inside, outside = set(), set()
    here = ("tinygrad_rnn", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = (*here[: len(here) - node.level + 1], *filter(None, [node.module]))
            names = [node.module.split(".")[0]] if node.module else [a.name for a in node.names]
            inside |= {base[1].split(".")[0]} if len(base) > 1 else set(names)
        elif isinstance(node, ast.ImportFrom):
            outside.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            outside |= {a.name.split(".")[0] for a in node.names}
    return inside, outside


def floor(name):
    return next((k for k, rooms in enumerate(FLOORS) if name in rooms), None)


def test_floors():
    for path in FILES:
        here = room(path)
        if here.startswith("__"):
            continue
        assert floor(here) is not None, f"{here} has no floor: add it to the house"
        for other in imports(path)[0] - {here, "__version__"}:
            assert floor(other) < floor(here), f"{path.name} ({here}) may not import {other}"


SOLE_IMPORTERS = {
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "graphviz": {"view"},
    "pygraphviz": {"view"},
    "babel": {"data"},
    "faker": {"data"},
    "safetensors": {"io"},
    "tqdm": {"cli"},
}


def test_one_room_per_foreign_library():
    for path in FILES:
        outside = imports(path)[1]
        for library in outside - set(sys.stdlib_module_names) - {"numpy", "tinygrad_rnn"}:
            assert room(path) in SOLE_IMPORTERS.get(library, ()), f"{library} in {path.name}"


def test_import_is_light():
    heavy = ("numba", "llvmlite", "graphviz", "safetensors", "tqdm", "matplotlib", "hypothesis")
    code = f"import tinygrad_rnn, sys; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]" and not out.stderr


def test_without_the_compiler_loops_are_unrolled():
    """As if the file that writes loops were not there."""
    code = """
import sys, numpy as np, tinygrad_rnn as tg
sys.modules["tinygrad_rnn.loops.schedule"] = None
cell = tg.nn.LSTM(2, 3, rng=0)
ys, _ = cell(np.ones((4, 1, 2), np.float32))
ys.sum().backward()
assert ys.shape == (4, 1, 3) and cell.Wh.grad is not None
assert cell(np.ones((0, 1, 2), np.float32))[0].shape == (0, 1, 3)
assert "tinygrad_rnn.loops.compiled" not in sys.modules
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not out.stderr


def test_every_file_opens_with_a_sentence():
    for path in FILES:
        assert (ast.get_docstring(parsed(path)) or "").strip(), path


def code_lines(path):
    """Lines that hold code, and the tokens on them: no comments, no docstrings."""
    tokens = list(tokenize.tokenize(io.BytesIO(path.read_bytes()).readline))
    skip = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
        tokenize.ENCODING, tokenize.ENDMARKER,
    }  # fmt: skip
    first, last = [getattr(tokenize, f"FSTRING_{end}", None) for end in ("START", "END")]
    lines, count, begins, inside = set(), 0, True, 0
    for token in tokens:
        text = token.type == tokenize.STRING and begins
        inside -= token.type == last  # since Python 3.12 an f-string is many tokens: here it is one
        if token.type not in skip and not text:
            lines |= set(range(token.start[0], token.end[0] + 1))
            count += not inside and token.type != last
        inside += token.type == first
        if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            begins = True
        elif token.type not in (tokenize.NL, tokenize.COMMENT, tokenize.ENCODING):
            begins = False
    return len(lines), count


MACHINERY = ("__init__", "protocols", "spelling")  # of ops: what tensors and NumPy call them


def _lines(files):
    lines, tokens = map(sum, zip(*map(code_lines, files), strict=True))
    assert tokens / lines <= 12.5, f"{tokens / lines:.1f} tokens a line"
    return lines


def test_the_core_stays_readable():
    """The engine in an evening; the compiler of loops, which nothing in it needs, in two more."""
    engine = ("tensor", "op", "hooks", "grad", "check", "refusals")
    how = [p for p in FILES if room(p) in engine or (room(p) == "ops" and p.stem in MACHINERY)]
    assert _lines(how) <= 1351
    assert _lines([p for p in FILES if room(p) == "loops"]) <= 3579


def lesson(path):
    """Whether a file is material of the course: what learners read, no code of the engine."""
    return path.parent.name.startswith("lesson_")


def test_the_whole_stays_small():
    """All code, and the page's script, style and words: as many lines as a person may know."""
    assets = {p: p.read_text("utf-8").count("\n") for p in PACKAGE.rglob("*")
              if p.suffix in (".css", ".html", ".js", ".json", ".pyi", ".md")}  # fmt: skip
    shown = ("view", "lab", "page")
    code = {p: code_lines(p)[0] for p in FILES if not lesson(p)} | assets
    assert sum(code.values()) <= 28_119
    assert sum(lines for p, lines in code.items() if room(p) in shown) <= 6642


def test_ops_are_short():
    """Of a pointwise op seven lines of code with its rules, of others fifteen, and of one more; and
    fourteen for the slopes of tanh and sigmoid, which are ops of their own, and sixty-four for
    what NumPy would cut off, or leave NaN, or wrap, or add in an order that depends on others."""
    files = [p for p in FILES if room(p) == "ops" and p.stem not in MACHINERY]
    names = [name for p in files for name in import_module(f"tinygrad_rnn.ops.{p.stem}").__all__]
    pointwise = [name for name in names if getattr(getattr(ops, name), "pointwise", False)]
    more = 15 + 14 + 64
    assert _lines(files) <= more + 7 * len(pointwise) + 15 * (len(names) - len(pointwise))


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.what)
def test_a_change_that_a_test_must_notice_can_still_be_made(mutant):
    assert mutation.listed(mutant)


def test_classes_are_short():
    """A person keeps twelve things of one in mind, and what they do in 250 lines."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                own = {
                    x.attr for x in ast.walk(node)
                    if isinstance(x, ast.Attribute) and isinstance(x.ctx, ast.Store)
                    and ast.unparse(x.value) == "self"
                }  # fmt: skip
                own |= {
                    x.target.id for x in node.body
                    if isinstance(x, ast.AnnAssign) and "InitVar" not in ast.unparse(x.annotation)
                }  # fmt: skip
                assert len(own) <= 12, f"{path.name}: {node.name} has {len(own)} attributes"
                length = node.end_lineno - node.lineno + 1
                assert length <= 250, f"{path.name}: {node.name} has {length} lines"


def test_functions_are_short():
    for path, node in ((p, node) for p in FILES for node in ast.walk(parsed(p))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (body[-1].end_lineno - body[0].lineno + 1) if body else 0
            assert length <= 45, f"{path.name}: {node.name} has {length} lines"


def test_every_row_of_the_catalogue_of_bad_input_has_a_test():
    assert len(catalogue.ROWS) == 161
    without = {row for row, tests in catalogue.tests_of_rows().items() if not tests}
    assert not without, "a test's name carries its row: see tests/catalogue.py"


def test_the_page_of_refusals_shows_what_is_raised_in_every_row_that_has_an_error():
    path = ROOT / "docs/errors.py"
    page = runpy.run_path(str(path))
    found = page["text"]()
    assert path.with_name("errors.md").read_text("utf-8") == found, "run python docs/errors.py"
    raising = {row for row, (*_, gets) in catalogue.ROWS.items() if re.search("Error|refus", gets)}
    assert raising <= page["rows"]()


def test_what_tensors_spell_is_written_down_for_type_checkers():
    assert stub.PATH.read_text("utf-8") == stub.text(), "run python tests/stub.py"


def blocks(path, language):
    return re.findall(rf"```{language}\n(.*?)```", path.read_text("utf-8"), re.S)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param("README.md", marks=pytest.mark.compiled),
        *sorted(p.name for p in (ROOT / "docs").glob("*.md")),
    ],
)
def test_code_in_the_docs_runs(page, tmp_path, monkeypatch):
    path = ROOT / page if page == "README.md" else ROOT / "docs" / page
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(path, "python"):
        trains = "optimizer.step()" in block  # hundreds of steps; the rest needs no compiler
        with nullcontext() if trains else uncompiled():
            exec(compile(block, page, "exec"), names)


def test_the_walk_shows_the_text_that_is_compiled():
    ys, _ = tg.nn.RNN(2, 3, rng=0)(tg.tensor([[[1.0, 2.0]]], dtype="float32"))
    source = ys.inputs[0].attrs["run"].program.source
    known = {line.strip() for line in source.splitlines()} | {"..."}
    shown = [text for text in blocks(ROOT / "docs/walk.md", "text") if "multiply(" in text]
    assert len(shown) == 2
    for text in shown:
        assert {line.strip() for line in text.splitlines()} <= known


def test_readme_has_one_command_each_to_run_and_to_test():
    text = (ROOT / "README.md").read_text("utf-8")
    for heading in ("## Run", "## Test"):
        section = text.split(f"{heading}\n")[1].split("\n## ")[0]
        assert len(re.findall(r"```sh\n.*?```", section, re.S)) == 1


def test_examples_fit_on_a_page():
    """That they run is for `test_examples`."""
    for path in (ROOT / "examples").glob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) < 100, path


def test_systems_that_the_code_refers_to_are_on_the_page_of_notes():
    listed = set(re.findall(r"^\| (S\d+) \|", (ROOT / "docs/notes.md").read_text("utf-8"), re.M))
    named = set()
    for path in [*FILES, *(ROOT / "examples").glob("*.py")]:
        for start, end in re.findall(r"\b(S\d{1,2})(?:-(S\d{1,2}))?\b", path.read_text("utf-8")):
            named |= {start, end or start}
    assert named and named <= listed


def test_the_page_of_notes_names_tests_and_examples_that_exist():
    """Every row S1 to S32 once, each with a test; names are those of files and functions."""
    rows = re.findall(r"^\| S(\d+) \|(.*)\|$", (ROOT / "docs/notes.md").read_text("utf-8"), re.M)
    assert [int(number) for number, _ in rows] == list(range(1, 33))
    for number, row in rows:
        *_, tests, examples = row.split(" | ")
        assert "::" in tests, f"S{number} names no test"
        for name, part in re.findall(r"`(\w+)::(\w*)`", tests):
            text = (ROOT / f"tests/test_{name}.py").read_text("utf-8")
            assert re.search(rf"def test_\w*{part}", text), f"S{number}: no {name}::{part}"
        for name in re.findall(r"`(\w+)`", examples):
            assert (ROOT / f"examples/{name}.py").exists(), f"S{number}: no example {name}"
