"""The conformance kit: its numbers, engines that are broken in one place, and known engines."""

import doctest
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import broken_engines
import conform_numbers
import numpy as np
import pytest

from tinygrad_rnn import conform, language
from tinygrad_rnn.cli.main import main
from tinygrad_rnn.conform.apart import graded
from tinygrad_rnn.conform.engine import Engine, Wrong, load
from tinygrad_rnn.conform.evidence import MISTAKES, Numbers, compare, stored

ENGINES = Path(__file__).parent / "engines"
SLOW = ("deep", "leak", "cycles")
HANGING = "paths"


def verdicts(adapter, skipped=()):
    before = {n: conform.Verdict(n, 3, "passed", "", "") for n in skipped}
    return {v.name: v for v in conform.grade(adapter, before)}


# -- the numbers ----------------------------------------------------------------------------------


def test_the_stored_numbers_are_those_of_complex_steps_in_doubles():
    found = conform_numbers.entries(conform_numbers.Doubles)
    assert found.keys() == stored().keys()
    for name, entry in found.items():
        known = stored()[name]
        pairs = zip(entry["gradients"], known.gradients, strict=True)
        for got, want in [(np.array(entry["value"]), known.value), *pairs]:
            assert got.shape == want.shape, name
            assert np.all(abs(got - want) <= 1e-11 * max(1, abs(want).max())), name


@pytest.mark.parametrize("name", [n for n, case in conform.CASES.items() if case.f])
def test_a_case_notices_a_gradient_that_is_a_little_off(name):
    known = stored()[name]

    class Told:
        off, ops = 0.0, type("", (), {"sum": sum})

        def value_and_grad(self, f, arrays):
            return known.value, [g + self.off for g in known.gradients]

    told = Told()
    conform.CASES[name].judge(Engine(told))
    told.off = 1e-7 * max(1, *(abs(g).max() for g in known.gradients))
    with pytest.raises(Wrong, match="gradient of input 0"):
        conform.CASES[name].judge(Engine(told))


KNOWN = [(name, words) for name, known in stored().items() for words in known.mistakes]


@pytest.mark.parametrize(("name", "words"), KNOWN)
def test_a_known_mistake_is_called_by_its_name(name, words):
    known = stored()[name]
    with pytest.raises(Wrong) as wrong:
        compare((known.value, known.mistakes[words]), known)
    assert str(wrong.value).endswith(MISTAKES[words])


@pytest.mark.parametrize(
    ("got", "words"),
    [
        (lambda g: -g, "same size, other sign"),
        (lambda g: 0 * g, "all of it is 0"),
        (lambda g: g.T, "transposed"),
        (lambda g: 0.5 * g, "0.5 times as large"),
        (lambda g: g * np.nan, "not every number is finite"),
        (lambda g: g + np.eye(3), "3 of 9 numbers differ"),
        (lambda g: np.stack([g - 1, np.ones((3, 3))]), "summed over axis=0"),
        (lambda g: g[:2].T, "a gradient has the shape of its input"),
    ],
)
def test_what_a_wrong_gradient_looks_like(got, words):
    want = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 10]])
    with pytest.raises(Wrong, match=words):
        compare((np.array(1.0), [got(want)]), Numbers([], np.array(1.0), [want]))


def test_cases_stand_after_those_that_they_need():
    seen = set()
    for name, case in conform.CASES.items():
        assert name == case.name and seen >= {*case.needs} and case.finds
        seen.add(name)
    levels = [case.level for case in conform.CASES.values()]
    assert levels == sorted(levels) and {*levels} == {1, 2, 3, 4, 5}


# -- broken engines -------------------------------------------------------------------------------


def test_the_toy_that_is_right_passes_all_that_it_offers():
    found = verdicts(broken_engines.Toy())
    assert [v for v in found.values() if v.outcome in ("failed", "not judged")] == []
    lacking = {"power_of", "write", "own_rnn", "own_lstm", "own_gru"}
    assert {v.name for v in found.values() if v.outcome == "not offered"} == lacking


@pytest.mark.parametrize("name", [n for n in broken_engines.BROKEN if n != HANGING])
def test_of_an_engine_broken_in_one_place_its_own_case_fails_first(name):
    found = verdicts(broken_engines.BROKEN[name](), [n for n in SLOW if n != name])
    failed = [v for v in found.values() if v.outcome == "failed"]
    assert failed[0].name == name and len(broken_engines.BROKEN) >= 25
    for v in found.values():
        if name in conform.CASES[v.name].needs:
            assert v.outcome == "not judged" and v.words.endswith("`, which failed")


def test_an_engine_that_hangs_loses_one_case(tmp_path):
    tests = str(Path(__file__).parent)
    text = f"import sys\nsys.path.append({tests!r})\nfrom broken_engines import BROKEN\n"
    path = tmp_path / "hanging.py"
    path.write_text(text + f"engine = BROKEN[{HANGING!r}]()\n", "utf-8")
    found = graded(str(path), "engine", 2.0)
    failed = next(v for v in found if v.outcome == "failed")
    assert (failed.name, failed.words) == (HANGING, "gives no answer within 2 seconds")
    assert next(found).outcome == "passed"  # it goes on
    found.close()


@pytest.mark.timeout(60)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks there")
def test_what_an_engine_has_begun_is_not_waited_for(tmp_path):
    path = tmp_path / "forking.py"
    text = (
        "import os, time\nif not os.fork():\n    time.sleep(100)\n    os._exit(0)\ntime.sleep(100)"
    )
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match="its import gives no answer"):
        next(graded(str(path), "engine", 0.5))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("order", ["rzn", "zrn", "Zrn", "nrZ"])
def test_a_gru_of_an_engine_is_judged_by_its_own_convention(order, after):
    class Own(broken_engines.Toy):
        scale = 1.0

        def gru(self, xs, h, Wx, Wh, b):
            at = {g.lower(): slice(3 * n, 3 * n + 3) for n, g in enumerate(order)}
            hs, gate = [], lambda x, g: x @ Wx[:, at[g]] + b[at[g]]
            for t in range(4):
                r, z = (self.sigmoid(gate(xs[t], g) + h @ Wh[:, at[g]]) for g in "rz")
                back = r * (h @ Wh[:, at["n"]]) if after else (r * h) @ Wh[:, at["n"]]
                n = self.tanh(gate(xs[t], "n") + back * self.scale)
                keeps = ("Z" in order) == after
                h = (1 - z) * n + z * h if keeps else z * n + (1 - z) * h
                hs.append(h)
            return self.stack(hs, axis=0)

    judge = conform.CASES["own_gru"].judge
    way = "gru_after" if after else "gru"
    assert judge(Engine(Own())) == f"as `{way}`, with gates in the order {' '.join(order)}"
    Own.scale = 1.01
    with pytest.raises(Wrong):
        judge(Engine(Own()))


# -- known engines --------------------------------------------------------------------------------

SCALARS = "identity mul after_error add sub neg div number_right number_left number_over power"
GRAPH = "fan_out diamond order shared paths unused again twins in_place aliases leak"

MICROGRAD = {  # by its engine.py: what passes, and of the rest why
    "passed": f"{SCALARS} power_at_zero relu {GRAPH} changed_later unit_relu",
    "failed": {
        # build_topo calls itself for each child
        "deep": "raised RecursionError",
        # backward sets the gradient of the last value to 1, and none of those between to 0: the
        # second pass adds x.grad += y * 2z where it should be z
        "backward_twice": "1.5 times as large",
        # out._backward is a function that holds out
        "cycles": "while the collector is off",
    },
    "not offered": {
        # __pow__ asserts that the exponent is an int or a float
        "power_of": "AssertionError: only supporting int/float powers for now",
        # the only function is relu
        "exp": "ops.exp", "log": "ops.log", "sqrt": "ops.sqrt", "tanh": "ops.tanh",
        "sigmoid": "ops.sigmoid", "unit_rnn": "needs `tanh`", "rtrl": "needs `tanh`",
        # of scalars only
        "sum": "ops.sum", "matmul": "needs `sum`", "rnn": "needs `sum`", "write": "needs `sum`",
        # nothing switches recording off, and gradients are floats, which have no past
        "no_grad": "no_grad", "detach": "ops.detach", "second": "grad", "jvp": "jvp",
    },
}  # fmt: skip

AUTOGRAD = {
    "passed": f"{SCALARS} power_at_zero power_of exp log sqrt tanh tanh_far sum elementwise "
    "elementwise_tanh mean sum_axis sum_last broadcast_number broadcast_row broadcast_column "
    "broadcast_minus broadcast_over "
    "broadcast_both matmul matmul_oblong matmul_vector vector_matmul matmul_stack transpose "
    f"reshape index cut gather concatenate stack max where layout {GRAPH} deep detach cycles "
    "unit_rnn unit_truncation rnn rnn_last stacked lengths padding truncation cut_exact "
    "batch_mates second third second_arrays second_rnn jvp jvp_arrays jvp_rnn rtrl",
    "failed": {
        # a box holds the caller's array itself, and the rule of x * y reads it when it goes back
        "changed_later": "gradient of input 0",
    },
    "not offered": {
        # autograd.numpy has what NumPy has, and no more
        "sigmoid": "ops.sigmoid", "relu": "ops.relu", "softmax": "ops.softmax",
        "log_softmax": "ops.log_softmax", "lstm": "needs `sigmoid`",
        # an ArrayBox has no __setitem__
        "write": "'ArrayBox' object does not support item assignment",
        # functions are differentiated: there is no graph to go back over twice, and no switch
        "backward_twice": "value_and_grad(f, arrays, times)", "no_grad": "no_grad",
        "own_rnn": "ops.rnn",
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), [("micrograd", MICROGRAD), ("autograd", AUTOGRAD)])
def test_the_verdicts_on_a_known_engine_are_right(name, expected):
    pytest.importorskip(name)
    found = verdicts(load(str(ENGINES / f"of_{name}.py")))
    passed = {v.name for v in found.values() if v.outcome == "passed"}
    assert passed == {*expected["passed"].split()}
    failed = {v.name: v.words for v in found.values() if v.outcome == "failed"}
    assert failed.keys() == expected["failed"].keys()
    assert all(expected["failed"][n] in words for n, words in failed.items()), failed
    assert not [v for v in found.values() if v.outcome == "not judged"]
    for case, words in expected["not offered"].items():
        assert found[case].outcome == "not offered" and words in found[case].words, found[case]


def test_this_library_passes_all_that_it_offers():
    found = verdicts(load(str(ENGINES / "of_this_library.py")))
    others = {v.name: v.words for v in found.values() if v.outcome != "passed"}
    assert others.keys() == {"write", "own_gru"}
    assert others["write"].startswith("refused by TypeError: x[i] = y: a tensor does not change")
    assert found["own_lstm"].words == "as `lstm`, with gates in the order f i g o"


def test_an_adapter_is_short():
    for path in ENGINES.glob("*.py"):
        lines = [line for line in path.read_text("utf-8").splitlines()[1:] if line.strip()]
        assert len(lines) <= 26 and (len(lines) <= 20 or path.stem == "of_this_library"), path


# -- the command ----------------------------------------------------------------------------------

SMALL = """
class Value:
    def __init__(self, x): self.x = x
    def __mul__(self, other): {what}
def value_and_grad(f, arrays):
    return f(*map(Value, arrays)).x, [1.0 for _ in arrays]
"""


def written(tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text(text, "utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n1 / 0\n", "line 2: ZeroDivisionError: division by zero"),
        ("x =\n", "line 1: SyntaxError: invalid syntax"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
        ("x = 1\n", "there is no engine in it"),
        ("engine = 1\n", "expected a function value_and_grad(f, arrays)"),
    ],
)
def test_a_file_without_an_adapter_is_refused(text, words, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    monkeypatch.chdir(tmp_path)
    for path in (written(tmp_path, text), "mine.py"):
        with pytest.raises(ValueError, match=re.escape(words)):
            Engine(load(path, "engine"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--limit", "nan"], "--limit: expected a positive number, got nan"),
        (["--limit", "0"], "--limit: expected a positive number, got 0.0"),
        (["--badge", "a.png"], "--badge: expected the name of an .svg file, got 'a.png'"),
        (["--json", "nowhere/a.json"], "there is no folder for nowhere/a.json: make it first"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_grading(options, words, tmp_path, capsys):
    assert main(["conform", written(tmp_path, SMALL.format(what="pass")), *options]) == 2
    out, err = capsys.readouterr()
    assert not out and words in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no such file"),
        ("x = 1\n", "expected a function value_and_grad(f, arrays)"),
        ("import os\nos._exit(3)\n", "its import ends the process, with code 3"),
        ("import time\ntime.sleep(60)\n", "its import gives no answer within 3 seconds"),
    ],
)
def test_without_an_adapter_there_is_one_sentence(text, words, tmp_path, capsys):
    path = str(tmp_path / "mine.py") if text is None else written(tmp_path, text)
    limit = "1" if "within 3" in words else "20"
    assert main(["conform", path, "--limit", limit]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and "conform: " in err and words in err


def test_an_engine_that_an_error_leaves_spoilt_loses_that_case_only(tmp_path):
    """What comes after is judged in a new process."""
    toy = Path(__file__).with_name("broken_engines.py").read_text("utf-8")
    ends = "finally:\n            self.recording = "
    text = toy.replace(f"{ends}True", f"{ends}not sys.exc_info()[0]") + "\nimport sys\n"
    assert text.count(ends) == toy.count(f"{ends}True") == 1
    found = list(graded(written(tmp_path, f"{text}engine = Toy()\n"), "engine"))
    assert [v.name for v in found if v.outcome == "failed"] == ["no_grad_ends"]


def test_an_engine_of_float32_has_as_many_digits_as_its_gradients():
    class Single(broken_engines.Toy):
        def value_and_grad(self, f, arrays, times=1):
            value, found = broken_engines.Toy.value_and_grad(self, f, arrays, times)
            return float(np.float32(value)), [g.astype(np.float32) for g in found]

    class Singles(Single):
        def value_and_grad(self, f, arrays, times=1):
            value, found = Single.value_and_grad(self, f, arrays, times)
            return np.float32(value), found

    for kind in (Single, Singles):
        failed = {v.name: v.words for v in verdicts(kind()).values() if v.outcome == "failed"}
        assert not failed


def test_an_op_that_forgot_to_return_has_failed(tmp_path):
    text = SMALL.format(what="Value(self.x * other.x)")
    mul = next(v for v in graded(written(tmp_path, text)) if v.name == "mul")
    assert mul.outcome == "failed" and "an op returned None: TypeError" in mul.words


def test_an_engine_that_writes_into_what_it_was_given_has_failed():
    class Writes(broken_engines.Toy):
        def value_and_grad(self, f, arrays, times=1):
            found = broken_engines.Toy.value_and_grad(self, f, arrays, times)
            for array in arrays:
                array += 1
            return found

    found = verdicts(Writes())
    assert [v.name for v in found.values() if v.outcome == "failed"] == ["again"]
    assert conform.evidence.stored()["mul"].inputs[0] == -0.62


def test_numbers_that_look_alike_are_shown_apart():
    with pytest.raises(Wrong, match=r"expected 1, yours 1\.0000001: "):
        compare((np.array(1.0000001), []), conform.evidence.Numbers([], np.array(1.0)))


@pytest.mark.skipif(sys.platform == "win32", reason="signals have no names there")
def test_an_engine_that_crashes_loses_one_case(tmp_path):
    crash = "import ctypes; ctypes.string_at(0)"
    found = {v.name: v for v in graded(written(tmp_path, SMALL.format(what=crash)))}
    assert found["mul"].words == "ends the process: SIGSEGV"
    assert found["add"].words == "needs `mul`, which failed"
    assert len(found) == len(conform.CASES)


def test_the_command_writes_a_table_json_and_a_badge(tmp_path, capsys):
    path = written(tmp_path, SMALL.format(what="print('hello'); return Value(self.x * other.x)"))
    files = [str(tmp_path / name) for name in ("a.json", "a.svg")]
    assert main(["conform", path, "--json", files[0], "--badge", files[1]]) == 1
    out = capsys.readouterr().out
    assert "hello" not in out and "level 1: scalars" in out
    assert "✗ mul               gradient of input 0: expected -0.3108, yours 1: " in out
    assert "finds: a product's rule: each factor's gradient is the other" in out
    document = json.loads(Path(files[0]).read_text("utf-8"))
    assert document["engine"] == "mine" and not document["holds"]
    assert [case["name"] for case in document["cases"]] == list(conform.CASES)
    counts = document["counts"]
    assert f"{counts['passed']} passed, {counts['failed']} failed, " in out
    badge = ElementTree.fromstring(Path(files[1]).read_text("utf-8"))
    offered = len(conform.CASES) - counts["not offered"]
    assert badge[0].text == f"mine: gradients {counts['passed']} of {offered}"


def test_the_command_speaks_chinese(tmp_path, capsys):
    path = written(tmp_path, SMALL.format(what="return Value(self.x * other.x)"))
    assert main(["--lang", "zh", "conform", path]) == 1
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.strip()]
    assert all(any("\u4e00" <= letter <= "\u9fff" for letter in line) for line in lines), out


def test_what_a_case_finds_and_says_is_said_in_chinese():
    language.use("zh")
    try:
        told = [case.finds for case in conform.CASES.values()] + list(MISTAKES.values())
        told += ["gradient of input 0[0, 1]: expected 1, yours -1: same size, other sign"]
        assert [words for words in told if language.said(words) == words] == []
        assert (
            language.said(told[-1]) == "输入 0[0, 1] 的梯度：应为 1，你的是 -1：大小相同，符号相反"
        )
    finally:
        language.use("")


def test_the_page_shows_what_is_printed(tmp_path, capsys):
    page = (Path(__file__).parent.parent / "docs" / "conform.md").read_text("utf-8")
    text = "\n".join(re.findall(r"```python\n(.*?)```", page, re.S))
    assert main(["conform", written(tmp_path, text)]) == 1
    assert capsys.readouterr().out in re.findall(r"```text\n(.*?)```", page, re.S)
    assert f"{len(conform.CASES)} cases" in page
    for expected, words in ((MICROGRAD, "three cases of the {}"), (AUTOGRAD, "one of {}:")):
        offered = len(expected["passed"].split()) + len(expected["failed"])
        assert words.format(offered) in page


@pytest.mark.parametrize("module", [conform.grading, conform.report])
def test_examples(module):
    tried = doctest.testmod(module)
    assert tried.attempted and not tried.failed


def test_the_kit_loads_no_compiler():
    code = "import tinygrad_rnn.conform.apart, sys; print('numba' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False" and not out.stderr


def test_where_a_report_cannot_be_written_is_said_before_the_grading(tmp_path, capsys):
    path = written(tmp_path, SMALL.format(what="pass"))
    assert main(["conform", path, "--json", str(tmp_path)]) == 2
    one = str(tmp_path / "one.svg")
    assert main(["conform", path, "--json", one, "--badge", one]) == 2
    assert capsys.readouterr().err.count("expected a file for this alone") == 2
    assert main(["conform", path, "--limit", "1e300"]) == 1
