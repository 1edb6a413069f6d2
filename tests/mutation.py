"""Changes the code in small ways, one at a time, and sees whether a test notices.

    python tests/mutation.py [--seed 0] [--count 30] [packages or files]
    python tests/mutation.py --again       what has survived, with the tests of today
    python tests/mutation.py --listed      the changes of mutants.py that have to stay noticed
    python tests/mutation.py --control     no change at all: nothing may notice

Changes are drawn by the seed, of every kind as many, from all that can be made in the functions of
a package: a sign, an operand (swapped or replaced), an axis, a comparison, a constant, a term or a
call that is dropped. Each is made in a copy of the tree. A first pass, kept until the package or
a file of tests changes, notes which test reaches which line (it needs `pip install coverage`). The
tests that reach the line are run, one case of each first, the fastest and those that go where few
others do, then some of those that reach the function, the file and the folder, or find there what
another has made; one that fails, crashes or hangs has noticed. Verdicts are appended to a file and
hold as long as the changed file stays as it is, so that a run can be stopped and gone on with.
"""

import argparse
import ast
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from mutants import EQUIVALENT, MUTANTS

ROOT = Path(__file__).resolve().parent.parent
TREE = ("tinygrad_rnn", "tests", "docs", "examples", "pyproject.toml", "README.md", "CHANGELOG.md",
        "LICENSE")  # fmt: skip
PACKAGES = {
    "ops": ["ops/"],
    "grad": ["grad.py", "op.py", "tensor.py", "check.py", "refusals.py", "caches.py", "tape/"],
    "loops": ["loops/", "kernels/"],
    "nn": ["nn/"],
    "optim": ["optim/"],
    "io": ["io/"],
    "cli": ["cli/"],
    "draw": ["view/"],
    "page": ["page/"],
    "transforms": ["transforms/"],
    "lab": ["lab/"],
    "formula": ["formula/"],
    "data": ["data/"],
}
KINDS = ("sign", "operand", "axis", "comparison", "constant", "term", "call")
READ = {"test_house"}  # of these many tests read the text of the code: that it changed is no news
FIRST = 4, 100  # files of tests, and tests of each, that are asked before all others
FEW = 3  # tests of a file that reach a line: perhaps the others find it done
MEMORY = 8 << 30


# -- what can be changed -------------------------------------------------------------------------


class Change(NamedTuple):
    """Some bytes of a function, and what is written in their place."""

    kind: str
    file: str  # in the package
    function: str  # its qualified name
    span: tuple[int, int]  # of bytes in the file
    new: str

    def made(self, text):
        """The text of the file with the change in it, and the numbers of the lines it is on."""
        whole = text.encode()
        start, stop = self.span
        first = whole[:start].count(b"\n") + 1
        lines = range(first, first + whole[start:stop].count(b"\n") + 1)
        return (whole[:start] + self.new.encode() + whole[stop:]).decode(), lines

    def shown(self, text):
        """The lines that it changes, without comments: as they are, and as it writes them."""
        whole = text.encode()
        start, stop = self.span
        begin = whole.rfind(b"\n", 0, start) + 1
        end = (whole.find(b"\n", stop) + 1 or len(whole) + 1) - 1
        after = whole[begin:start] + self.new.encode() + whole[stop:end]
        code = [re.sub(r"\s# .*", "", text.decode()) for text in (whole[begin:end], after)]
        return tuple(" ".join(text.split()) for text in code)


NEIGHBOURS = {
    ast.Lt: ("<=", ">="), ast.LtE: ("<", ">"), ast.Gt: (">=", "<="), ast.GtE: (">", "<"),
    ast.Eq: ("!=",), ast.NotEq: ("==",), ast.Is: ("is not",), ast.IsNot: ("is",),
    ast.In: ("not in",), ast.NotIn: ("in",),
}  # fmt: skip
SPELLED = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in", ast.Add: "+",
    ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
    ast.MatMult: "@",
}  # fmt: skip
ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult)
TEXT = (ast.JoinedStr, ast.List, ast.Tuple, ast.ListComp, ast.Set, ast.Dict)
ALONE = {  # without them, or with their arguments swapped, nothing runs, or it is the same
    "isinstance", "issubclass", "getattr", "hasattr", "setattr", "len", "range", "enumerate", "zip",
    "type", "str", "repr", "iter", "next", "super", "callable", "max", "min", "cast", "map",
}  # fmt: skip
AXES = {"axis", "axes", "dim", "keepdims"}


class Found(ast.NodeVisitor):
    """All changes of one file."""

    def __init__(self, file, text):
        self.file, self.text = file, text.encode()
        self.starts = [0, *itertools.accumulate(map(len, self.text.splitlines(keepends=True)))]
        self.names, self.parameters, self.found = [], [], []
        tree = ast.parse(text)
        self.modules = {
            a.asname or a.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for a in node.names
        }
        self.visit(tree)

    def span(self, node):
        return (
            self.starts[node.lineno - 1] + node.col_offset,
            self.starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def words(self, node):
        """The text of an operand, in brackets where it is more than one thing."""
        start, stop = self.span(node)
        text = self.text[start:stop].decode()
        simple = ast.Name | ast.Constant | ast.Attribute | ast.Call | ast.Subscript | ast.Starred
        return text if isinstance(node, simple) else f"({text})"

    def add(self, kind, node, new):
        start, stop = self.span(node)
        if self.parameters and self.text[start:stop].decode() != new:
            function = ".".join(self.names)
            self.found.append(Change(kind, self.file, function, (start, stop), new))

    # what is walked through, and what is left alone

    def visit_FunctionDef(self, node):
        for decorator in node.decorator_list:
            self.visit(decorator)
        self.inside(node, node.name, node.body[1:] if ast.get_docstring(node) else node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node):
        self.inside(node, None, [node.body])

    def inside(self, node, name, body):
        given = node.args
        own = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        outer = self.parameters[-1] if self.parameters else []
        self.names += [name] * bool(name)
        self.parameters.append([n for n in own if n not in ("self", "cls")] or outer)
        for part in [*filter(None, [*given.defaults, *given.kw_defaults]), *body]:
            self.visit(part)
        self.parameters.pop()
        del self.names[len(self.names) - bool(name) :]

    def visit_ClassDef(self, node):
        self.names.append(node.name)
        for part in node.body:
            self.visit(part)
        self.names.pop()

    def visit_If(self, node):
        if getattr(node.test, "attr", getattr(node.test, "id", "")) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_JoinedStr(self, node):
        """Words for people; and where a part of it stands is not known before Python 3.12."""

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self.visit(node.value)

    # what is changed

    def visit_UnaryOp(self, node):
        if isinstance(node.op, ast.USub):
            self.add("sign", node, self.words(node.operand))
        if isinstance(node.op, ast.Not):
            self.add("comparison", node, self.words(node.operand))
        self.generic_visit(node)

    def visit_BinOp(self, node):
        left, right = self.words(node.left), self.words(node.right)
        plain = not any(
            isinstance(x, TEXT) or isinstance(getattr(x, "value", None), str | bytes)
            for x in (node.left, node.right)
        )
        if isinstance(node.op, ast.Add | ast.Sub) and plain:
            self.add("sign", node, f"{left} {'-+'[isinstance(node.op, ast.Sub)]} {right}")
        if isinstance(node.op, ORDERED) or not plain:
            self.add("operand", node, f"{right} {SPELLED.get(type(node.op), '+')} {left}")
        self.add("term", node, left)
        if isinstance(node.op, ast.Add | ast.Mult | ast.MatMult | ast.BitAnd | ast.BitOr):
            self.add("term", node, right)
        self.generic_visit(node)

    def visit_AugAssign(self, node):
        target, value = self.words(node.target), self.words(node.value)
        if isinstance(node.op, ast.Add | ast.Sub) and not isinstance(node.value, TEXT):
            self.add("sign", node, f"{target} {'-+'[isinstance(node.op, ast.Sub)]}= {value}")
        self.add("term", node, "pass")
        self.generic_visit(node)

    def visit_Compare(self, node):
        values = [self.words(x) for x in (node.left, *node.comparators)]
        signs = [SPELLED[type(op)] for op in node.ops]
        for k, op in enumerate(node.ops):
            for sign in NEIGHBOURS[type(op)]:
                both = zip([*signs[:k], sign, *signs[k + 1 :]], values[1:], strict=True)
                self.add("comparison", node, " ".join([values[0], *itertools.chain(*both)]))
        self.generic_visit(node)

    def visit_BoolOp(self, node):
        values = [self.words(x) for x in node.values]
        word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        self.add("comparison", node, f" {other} ".join(values))
        for k in range(len(values)):
            self.add("term", node, f" {word} ".join(values[:k] + values[k + 1 :]))
        self.generic_visit(node)

    def visit_IfExp(self, node):
        self.add("term", node, self.words(node.body))
        self.add("term", node, self.words(node.orelse))
        self.generic_visit(node)

    def visit_List(self, node):
        if len(node.elts) > 1 and isinstance(node.ctx, ast.Load):
            self.add("term", node, f"[{', '.join(map(self.words, node.elts[:-1]))}]")
        self.generic_visit(node)

    def visit_Constant(self, node):
        if isinstance(node.value, bool):
            self.add("constant", node, str(not node.value))
        elif isinstance(node.value, int):
            self.add("constant", node, str(node.value + 1))
        elif isinstance(node.value, float):
            self.add("constant", node, repr(node.value * 2 or 1.0))

    def visit_Name(self, node):
        others = self.parameters[-1] if self.parameters else []
        if isinstance(node.ctx, ast.Load) and node.id in others and len(others) > 1:
            self.add("operand", node, others[(others.index(node.id) + 1) % len(others)])

    def visit_Attribute(self, node):
        if node.attr in ("T", "mT"):
            self.add("axis", node, self.words(node.value))
        self.generic_visit(node)

    def visit_Subscript(self, node):
        if isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
            self.turned(node.slice)
        self.generic_visit(node)

    def turned(self, node):
        """Another axis, or none."""
        with suppress(ValueError):
            value = ast.literal_eval(node)
            if isinstance(value, bool):
                self.add("axis", node, str(not value))
            elif value is None or isinstance(value, int):
                self.add("axis", node, "0" if value else "-1" if value == 0 else "0")

    def visit_Call(self, node):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = name or getattr(node.func, "id", "")
        plain = [a for a in node.args if not isinstance(a, ast.Starred)]
        if name not in ALONE:
            if len(plain) == len(node.args) > 1:
                start, stop = self.span(node.args[0])[0], self.span(node.args[1])[1]
                one, two = map(self.words, node.args[:2])
                whole = self.span(node)
                head = self.text[whole[0] : start].decode()
                tail = self.text[stop : whole[1]].decode()
                self.add("operand", node, f"{head}{two}, {one}{tail}")
            of = node.func.value if isinstance(node.func, ast.Attribute) else None
            if of is not None and not (isinstance(of, ast.Name) and of.id in self.modules):
                self.add("call", node, self.words(of))
            elif plain and isinstance(node.func, ast.Name | ast.Attribute):
                self.add("call", node, self.words(plain[0]))
        for keyword in node.keywords:
            if keyword.arg in AXES:
                self.turned(keyword.value)
        node.keywords = [k for k in node.keywords if k.arg != "strict"]  # an assertion
        self.generic_visit(node)

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Call):
            self.add("call", node, "pass")
        self.generic_visit(node)


@cache
def source(file):
    return (ROOT / "tinygrad_rnn" / file).read_text("utf-8")


@cache
def candidates(file):
    """All changes of a file, some of which may be none, or no Python."""
    return list(dict.fromkeys(Found(file, source(file)).found))


def real(change):
    """Whether the file is still Python, and another program."""
    text = source(change.file)
    try:
        return ast.dump(ast.parse(change.made(text)[0])) != ast.dump(ast.parse(text))
    except SyntaxError:
        return False


def files(words):
    """The files whose names begin with one of the words."""
    package = ROOT / "tinygrad_rnn"
    every = sorted(p.relative_to(package).as_posix() for p in package.rglob("*.py"))
    return [f for f in every if f.startswith(tuple(words))]


def drawn(package, seed, count):
    """So many changes of a package, the kinds in turn: of a larger count these are the first."""
    every = defaultdict(list)
    for file in files(PACKAGES.get(package, [package])):
        for change in candidates(file):
            every[change.kind].append(change)
    chance = random.Random(f"{seed} {package}")
    for kind in KINDS:
        chance.shuffle(every[kind])
    turns = itertools.chain(*itertools.zip_longest(*[every[kind] for kind in KINDS]))
    return list(itertools.islice((c for c in turns if c and real(c)), count))


def function(tree, path):
    """The function of a qualified name, "*" standing for any class."""
    *outer, name = path.split(".")
    found = []
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and (not outer or isinstance(node, ast.ClassDef)):
            fits = not outer or outer[-1] in ("*", getattr(node, "name", ""))
            found += [n for n in body if fits and getattr(n, "name", "") == name]
    if len(found) != 1:
        raise LookupError(f"{len(found)} functions are called {path}")
    return found[0]


def listed(row):
    """A change of the list that was made by hand."""
    text = source(row.file)
    node = function(ast.parse(text), row.function)
    lines = text.splitlines(keepends=True)
    start = min([node.lineno, *[d.lineno for d in node.decorator_list]]) - 1
    before = "".join(lines[start : node.end_lineno])
    found = [*re.finditer(row.old, before)]
    if len(found) != 1:
        raise LookupError(f"{row.old} is {len(found)} times in {row.function}")
    (match,) = found
    head = len(("".join(lines[:start]) + before[: match.start()]).encode())
    span = head, head + len(match[0].encode())
    change = Change("listed", row.file, row.function, span, match.expand(row.new))
    if not real(change):
        raise LookupError(f"{row.what}: it is no other program")
    return change


# -- which tests reach what ----------------------------------------------------------------------


def bounded():
    """Have a process fail that takes all the memory there is."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


class Copy:
    """A copy of the tree, and what is known of its tests: of one process at a time.

    budget: so many seconds of tests are asked of one change.
    """

    def __init__(self, work, budget):
        import fcntl

        self.work, self.tree, self.budget = work, work / "tree", budget
        self.seen, self.rare, self.near = {}, {}, {}
        held = os.open(work / "held", os.O_CREAT | os.O_RDWR)  # until this process ends
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or there is another run: an error
        self.cache = work / "compiled"
        for folder in (self.tree, work / "reach", self.cache):
            folder.mkdir(parents=True, exist_ok=True)
        for name in TREE:  # copied where it differs, so that what Python made of the rest stays
            for path in [p for p in [ROOT / name, *(ROOT / name).rglob("*")] if p.is_file()]:
                into = self.tree / path.relative_to(ROOT)
                if "__pycache__" in path.parts or path.suffix == ".pyc":
                    continue
                if not into.exists() or into.read_bytes() != path.read_bytes():
                    into.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, into)
        for into in self.tree.rglob("*.py"):
            if not (ROOT / into.relative_to(self.tree)).exists():
                into.unlink()

    def run(self, arguments, errand, cache, limit=None, log=None):
        """Run pytest in the tree; its code, None if it took too long."""
        with tempfile.NamedTemporaryFile("w", suffix=".json", dir=self.work) as told:
            json.dump(errand, told)
            told.flush()
            environment = os.environ | {
                "PYTHONPATH": f"{self.tree}:{self.tree}/tests", "NUMBA_CACHE_DIR": str(cache),
                "MUTATION": told.name, "PYTHONHASHSEED": "0",
            }  # fmt: skip
            environment["PYTHONDONTWRITEBYTECODE"] = "" if "reach" in errand else "1"
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                       "-p", "mutation", "--hypothesis-seed=0", *arguments]  # fmt: skip
            process = subprocess.Popen(
                command, cwd=self.tree, env=environment, stdout=log or subprocess.DEVNULL,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
                preexec_fn=bounded,
            )  # fmt: skip
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return None
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def survey(self):
        """Note which tests reach which lines, of the files of tests of which that is not known."""
        code = hashlib.sha256()
        for path in sorted([*self.tree.rglob("*.py")]):
            if not path.name.startswith("test_") and path.name not in ("mutation.py", "mutants.py"):
                code.update(path.read_bytes())
        for path in sorted((self.tree / "tests").glob("test_*.py")):
            stamp = hashlib.sha256(code.digest() + path.read_bytes()).hexdigest()
            note = self.work / "reach" / f"{path.stem}.json"
            if path.stem in READ or (note.exists() and json.loads(note.read_text())["of"] == stamp):
                continue
            database = note.with_suffix(".db")
            database.unlink(missing_ok=True)
            note.unlink(missing_ok=True)
            began = time.monotonic()
            errand = {"reach": str(database), "note": str(note), "of": stamp}
            fresh = self.work / "fresh"  # so that what writes the kernels is reached, too
            shutil.rmtree(fresh, ignore_errors=True)
            with open(self.work / "reach" / f"{path.stem}.log", "w") as log:
                ended = self.run([f"tests/{path.name}"], errand, fresh, 1800, log)
            if fresh.exists():
                shutil.copytree(fresh, self.cache, dirs_exist_ok=True)
            print(f"{path.stem:28} {time.monotonic() - began:6.1f} s, exit {ended}", flush=True)

    @cached_property
    def times(self):
        """How long each test takes that passes."""
        found = {}
        for note in (self.work / "reach").glob("*.json"):
            if (self.tree / "tests" / f"{note.stem}.py").exists():
                found |= json.loads(note.read_text())["times"]
        return found

    def reach(self, file):
        """For each line of a file, the tests that reach it."""
        if file not in self.seen:
            from coverage import CoverageData

            self.seen = {file: defaultdict(set)}  # one at a time: they are large
            for database in (self.work / "reach").glob("*.db"):
                data = CoverageData(str(database))
                data.read()
                lines = data.contexts_by_lineno(str(self.tree / "tinygrad_rnn" / file))
                for line, tests in lines.items():
                    self.seen[file][line] |= {*tests} & self.times.keys()
            self.rare = {file: Counter()}  # who goes where few others go knows most of a file
            for tests in self.seen[file].values():
                self.rare[file].update(dict.fromkeys(tests, 1 / max(1, len(tests))))
        return self.seen[file]

    def around(self, folder):
        """The tests that reach anything in a folder."""
        if folder not in self.near:
            found = [tests for f in files([folder]) for tests in self.reach(f).values()]
            self.near[folder] = set().union(*found)
        return self.near[folder]

    def chosen(self, file, lines, function):
        """The tests to ask of a change on some lines of a function, in order."""
        reach, times = self.reach(file), self.times
        near = set().union(*[reach[k] for k in lines])
        # of what is compiled or remembered only the first who needs it in a process, which runs
        # one file of tests, reaches the line: so all of such a file
        met = Counter(test.partition("::")[0] for test in near)
        groups = (
            near,
            set().union(*[reach[k] for k in function]),
            {test for test in times if 0 < met[test.partition("::")[0]] <= FEW},
            set().union(*reach.values()),
            None,  # the folder, which takes long to find
        )
        rare = self.rare[file]
        price = lambda test: (times[test] / (rare[test] or 1e-3), test)
        order, spent, turn = [], 0.0, Counter()
        for group in groups:
            if spent < self.budget and group is None:
                group = self.around(file.rpartition("/")[0] or file)
            ranked = []
            for test in sorted((group or set()) - {*order}, key=price):
                turn[test.partition("[")[0]] += 1
                ranked.append((turn[test.partition("[")[0]], price(test), test))
            for _, _, test in sorted(ranked):  # the first case of every test, then the second
                if spent < self.budget:
                    order.append(test)
                    spent += times[test]
        return order

    def asked(self, tests, slow=False, cache=None):
        """In a word what the tests say, and which of them said so."""
        times = self.times
        limit = (300 if slow else 40) + 4 * sum(times[test] for test in tests)
        names = sorted({test.partition("::")[0] for test in tests})
        with tempfile.TemporaryFile("w+", dir=self.work, errors="replace") as log:
            code = self.run(["-x", *names], {"chosen": tests}, cache or self.cache, limit, log)
            log.seek(0)
            said = re.findall(r"^(?:FAILED|ERROR) (.*)$", log.read(), re.M)
        word = {None: "hangs", 0: "survived", 5: "no test"}.get(code, "killed")
        return word, said[0][:300] if said else f"exit {code}"

    def judged(self, file, text, lines, function):
        """What becomes of a change: the word, who said so, and how many tests were asked."""
        path = self.tree / "tinygrad_rnn" / file
        order = self.chosen(file, lines, function)
        by_file = defaultdict(list)
        for test in order:
            by_file[test.partition("::")[0]].append(test)
        most = sorted(by_file, key=lambda name: (-len(by_file[name]), name))[: FIRST[0]]
        first = {test for name in most for test in by_file[name][: FIRST[1]]}
        turns = [[t for t in order if t in first], [t for t in order if t not in first]]
        cache = self.work / "its own"  # what a changed compiler wrote is nobody else's
        shutil.rmtree(cache, ignore_errors=True)
        answer = "no test", "none reaches it"
        path.write_text(text, "utf-8")
        try:
            shutil.copytree(self.cache, cache, copy_function=os.link)
            for tests in filter(None, turns):
                answer = self.asked(tests, file.startswith("kernels/"), cache)
                if answer[0] != "survived":
                    break
        finally:
            shutil.rmtree(cache, ignore_errors=True)
            shutil.rmtree(self.tree / ".hypothesis", ignore_errors=True)
            shutil.copyfile(ROOT / "tinygrad_rnn" / file, path)
        return *answer, len(order)


# -- what pytest does with an errand, for which it loads this file -------------------------------

ERRAND = json.loads(Path(os.environ["MUTATION"]).read_text()) if "MUTATION" in os.environ else {}

if "reach" in ERRAND:
    import coverage
    import pytest

    _reached = coverage.Coverage(
        data_file=ERRAND["reach"], source=[str(ROOT / "tinygrad_rnn")], config_file=False
    )
    _reached.start()
    _times, _bad = {}, set()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(item):
        _reached.switch_context(item.nodeid)
        began = time.perf_counter()
        yield
        _times[item.nodeid] = round(time.perf_counter() - began, 4)
        _reached.switch_context("")

    def pytest_runtest_logreport(report):
        if report.outcome != "passed":
            _bad.add(report.nodeid)

    def pytest_sessionfinish():
        _reached.stop()
        _reached.save()
        times = {test: took for test, took in _times.items() if test not in _bad}
        Path(ERRAND["note"]).write_text(json.dumps({"of": ERRAND["of"], "times": times}))


if "chosen" in ERRAND:

    def pytest_collection_modifyitems(items):
        known = {item.nodeid: item for item in items}
        items[:] = [known[test] for test in ERRAND["chosen"] if test in known]


# -- the verdicts --------------------------------------------------------------------------------


def key(change):
    """What a verdict is found by: the change, in the file as it is."""
    return hashlib.sha256(repr((change, source(change.file))).encode()).hexdigest()[:16]


def rows(tree, span):
    """The lines of the innermost function around some lines."""
    around = [
        range(node.lineno, node.end_lineno + 1)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.Lambda)
        and node.lineno <= span[0] and span[-1] <= node.end_lineno
    ]  # fmt: skip
    return min(around, key=len, default=span)


class Verdicts:
    """What is known of the changes, in a file to which one is added at a time."""

    def __init__(self, path):
        self.path, self.known = path, {}
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            verdict = json.loads(line)
            self.known[verdict["key"]] = verdict

    def judge(self, copy, change):
        text, lines = change.made(source(change.file))
        began = time.monotonic()
        function = rows(ast.parse(source(change.file)), lines)
        word, by, asked = copy.judged(change.file, text, lines, function)
        before, after = change.shown(source(change.file))
        verdict = {
            "key": key(change), "verdict": word, "kind": change.kind, "file": change.file,
            "line": lines[0], "function": change.function, "before": before, "after": after,
            "by": by, "asked": asked, "seconds": round(time.monotonic() - began, 1),
        }  # fmt: skip
        self.known[verdict["key"]] = verdict
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(verdict, ensure_ascii=False) + "\n")
        return verdict


def told(verdict):
    place = f"{verdict['file']}:{verdict['line']} {verdict['function']}"
    return (
        f"{verdict['verdict']:9} {verdict['seconds']:5.0f} s {verdict['kind']:10} {place}\n"
        f"    - {verdict['before']}\n    + {verdict['after']}"
    )


def drawable(row):
    """Whether the change of such a row can still be drawn."""
    made = (c for c in candidates(row.file) if c.function == row.function)
    return any(c.shown(source(c.file)) == (row.before, row.after) for c in made)


def equivalent(change):
    """Why a change changes nothing that anybody could ask for, if somebody has argued it."""
    before, after = change.shown(source(change.file))
    for row in EQUIVALENT:
        if row[:4] == (change.file, change.function, before, after):
            return row.why
    return None


def report(chosen, verdicts):
    """The table, and what is not noticed; whether that is too much."""
    print(f"\n{'':11} drawn  noticed  of them hung  equivalent  survived")
    whole, left = Counter(), []
    for package, found in chosen.items():
        count = Counter()
        for change in found:
            verdict = verdicts.known.get(key(change))
            word = "equivalent" if equivalent(change) else verdict["verdict"] if verdict else ""
            count[word] += 1
            if word in ("survived", "no test"):
                left.append(verdict)
        count["noticed"] = count["killed"] + count["hangs"]
        count["left"] = count["survived"] + count["no test"]
        _line(package, len(found), count)
        whole += count
    _line("all", sum(map(len, chosen.values())), whole)
    print()
    for verdict in left:
        print(told(verdict))
    for row in EQUIVALENT:
        if not drawable(row):
            print(f"out of date: {row.file} {row.function}: {row.before}")
    real = whole["noticed"] + whole["left"]
    print(f"{whole['noticed']} of {real} changes that matter are noticed")
    return real == 0 or whole["noticed"] / real < 0.97


def _line(name, drawn, count):
    print(f"{name:11} {drawn:5}  {count['noticed']:7}  {count['hangs']:12}  "
          f"{count['equivalent']:10}  {count['left']:8}")  # fmt: skip


def try_all(copy, verdicts, changes):
    for k, change in enumerate(changes, 1):
        verdict = verdicts.judge(copy, change)
        print(f"{k} of {len(changes)}  {told(verdict)}", flush=True)


def control(copy):
    """Run all tests as a change would have them, each budget's worth of them."""
    left = sorted(copy.times, key=lambda test: (copy.times[test], test))
    while left:
        sums = itertools.accumulate(copy.times[test] for test in left)
        some = left[: max(1, sum(total < copy.budget for total in sums))]
        print(len(some), "tests:", *copy.asked(some), flush=True)
        left = left[len(some) :]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("packages", nargs="*", default=[*PACKAGES][:9])
    parser.add_argument("--seed", default="0")
    parser.add_argument("--count", type=int, default=30, help="of each package")
    parser.add_argument("--budget", type=float, default=45.0, help="seconds of tests for each")
    parser.add_argument("--again", action="store_true", help="only what has survived")
    parser.add_argument("--listed", action="store_true", help="the list that was made by hand")
    parser.add_argument("--control", action="store_true", help="no change")
    parser.add_argument("--report", action="store_true", help="only what is known")
    parser.add_argument("--work", type=Path, help="the folder of the copy and of the verdicts",
                        default=Path(tempfile.gettempdir()) / "tinygrad_rnn-mutation")  # fmt: skip
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and the tests, and the change
    asked.work.mkdir(parents=True, exist_ok=True)
    verdicts = Verdicts(asked.work / "verdicts.jsonl")
    chosen = {package: drawn(package, asked.seed, asked.count) for package in asked.packages}
    if asked.listed:
        chosen = {"listed": [listed(row) for row in MUTANTS]}
    if not asked.report:
        copy = Copy(asked.work, asked.budget)
        copy.survey()
        if asked.control:
            return control(copy)
        old = {key(c): verdicts.known.get(key(c), {}).get("verdict") for c in chain(chosen)}
        wanted = ("survived", "no test") if asked.again else (None,)
        open_ = [c for c in chain(chosen) if old[key(c)] in wanted and not equivalent(c)]
        try_all(copy, verdicts, [*chain(chosen)] if asked.listed else open_)
    return report(chosen, verdicts)


def chain(chosen):
    """One change of each package, then the next of each: stopped early, it has seen them all."""
    turns = itertools.zip_longest(*chosen.values())
    return [change for turn in turns for change in turn if change is not None]


if __name__ == "__main__":
    sys.exit(main())
