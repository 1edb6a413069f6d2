"""Changes of the code that no test had noticed: each is made again, and a test has to notice it.

    python tests/mutants.py [words of the rows to try]

A change is found by its function and by a piece of text in it, whatever line that is on, and is
made in a copy of the tree. Exit 1 if a change survives, cannot be made, or has no test that passes
without it.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
TREE = ("tinygrad_rnn", "tests", "docs", "examples", "pyproject.toml", "README.md", "CHANGELOG.md")


class Mutant(NamedTuple):
    """What is changed where, and which tests see it."""

    what: str
    file: str  # in the package
    function: str  # its qualified name
    old: str  # a pattern that is found once in the function
    new: str
    tests: str  # a file of tests, and after "::" a word of their names


JUDGED = "test_runs.py::costs_is_a_sum_over"
TRAINED = "test_runs.py::epoch_drops_out_clips"
BEGUN = "test_beginnings.py::every_weight_begins"
EDGES = "test_edges.py::edges"
MUTANTS = [
    Mutant("the curve in nats", "cli/train.py", "_epochs",
           r"update\.loss / math\.log\(2\)", "update.loss", TRAINED),
    Mutant("the judgement in nats", "cli/train.py", "judge",
           r"total / count / math\.log\(2\)", "total / count", JUDGED),
    Mutant("windows without their sizes", "cli/train.py", "judge",
           r"(float\(loss\.item\(\)\)) \* y\.size, count \+ y\.size", r"\1, count + 1", JUDGED),
    Mutant("no state carried while judging", "cli/train.py", "judge",
           r"state = detach\(state\)", "state = None", JUDGED),
    Mutant("dropout while judging", "cli/train.py", "judge",
           r"run\.model\.eval\(\)", "run.model.train()", JUDGED),
    Mutant("no dropout while training", "cli/train.py", "_epochs",
           r"run\.model\.train\(\)", "run.model.eval()", TRAINED),
    Mutant("no clipping", "cli/train.py", "_epochs",
           r'"max_norm": 1\.0', '"max_norm": math.inf', TRAINED),
    Mutant("a state over epochs", "cli/train.py", "_epochs",
           r"(run\.epoch \+ 1, 0), None", r"\1, run.state", TRAINED),
    Mutant("the largest norm for the joint one", "optim/clip.py", "clip_grad_norm",
           r"euclidean\((\[.*?\])\)", r"max([euclidean([a]) for a in \1])",
           "test_optim.py::joint_norm"),
    Mutant("squares too small for a float64", "optim/clip.py", "euclidean",
           r"SAFE < total", "0 < total", "test_clip.py::keeps_its_digits"),
    Mutant("one count for all of Adam", "optim/optimizers.py", "Adam.update",
           r'int\(memory\.get\("count", 0\)\) \+ 1', "max(1, self.steps)",
           "test_optim.py::adam_counts"),
    Mutant("a schedule one step early", "optim/truncated.py", "truncated_bptt",
           r"schedule\(optimizer\.steps\)", "schedule(optimizer.steps + 1)",
           "test_optim.py::rates_of_the_schedule"),
    Mutant("a cosine that forgets its warm-up", "optim/schedule.py", "cosine",
           r"\(step - warmup\) / \(total - warmup\)", "step / total", "test_optim.py::cosine"),
    Mutant("so far, without whole blocks", "grad.py", "Cotangents.sum_so_far",
           r"self\.blocks\[x\] \+ self\.sums\[x\]", "self.sums[x]",
           "test_backward_steps.py::so_far"),
    Mutant("gradients in between stay", "grad.py", "BackwardPass.walk",
           r"del sums\[y\]", "pass", "test_backward_steps.py::tensors_in_between"),
    Mutant("GRU.Wn is not orthogonal", "nn/cells.py", "GRU.__init__",
           r"orthogonal\(rng, hidden\)", "rng.normal(size=(hidden, hidden))", BEGUN),
    Mutant("MinimalGatedUnit.Wn is not orthogonal", "nn/cells.py", "MinimalGatedUnit.__init__",
           r"orthogonal\(rng, hidden\)", "rng.normal(size=(hidden, hidden))", BEGUN),
    Mutant("IRNN without Wh = I", "nn/cells.py", "IRNN.__init__",
           r"self\.Wh\.data = .*", "pass", BEGUN),
    Mutant("orthogonal without the sign of R", "nn/init.py", "orthogonal",
           r"np\.where\(np\.diag\(r\) < 0, -1\.0, 1\.0\)", "1.0",
           "test_beginnings.py::orthogonal"),
    Mutant("hidden edges are one", "view/reader.py", "*._connect",
           r"edge\.hidden \+= 1", "edge.hidden = 1", "test_levels.py::dashed_edge"),
    Mutant("used in one step more", "view/reader.py", "*._leaf",
           r"len\(\{t for", "1 + len({t for", "test_levels.py::how_many_steps"),
    Mutant("nothing is saved", "tape/tape.py", "Record.saved",
           r"size \* np", "0 * size * np", "test_levels.py::saved_are_the_bytes"),
    Mutant("no gate is named", "lab/provenance.py", "_at",
           r"_gate\(tape, r\) if inside and op", '"" if inside and op',
           "test_flow.py::gate_is_the_first"),
    Mutant("the sums of two threads only", "loops/runtime.py", "Work.totals",
           r"self\.fresh\[1:\]", "self.fresh[1:2]",
           "test_scan.py::three_threads_and_five"),
    Mutant("relu without NaN", "ops/arithmetic.py", "relu",
           r"0\.0 if x < 0\.0 else x", "x if x > 0.0 else 0.0", EDGES),
    Mutant("the sign of NaN is 0", "ops/arithmetic.py", "sign",
           r"(-1\.0 if x < 0\.0 else) x", r"\1 0.0", EDGES),
    Mutant("logsumexp of infinities", "ops/reduce.py", "_logsumexp",
           r"where\(equal\(abs\(top\), np\.inf\), 0, top\)", "top", EDGES),
    Mutant("tangents of a loop that keep all carries", "transforms/tangents.py", "_of_loop",
           r"checkpoint=every", "checkpoint=None", "test_transforms.py::any_lengths"),
    Mutant("steps of tangents without a history", "transforms/tangents.py", "_of_loop",
           r"(given = )given if mode\.trace else tuple\(map\(renewed, given\)\)", r"\1given",
           "test_transforms.py::runs_unrolled_has"),
    Mutant("a mask by its shape alone", "transforms/tangents.py", "_pulled_twice",
           r"if made and any\(map\(_masked, made\.nodes\)\)", "if False",
           "test_transforms.py::ones_own"),
    Mutant("a checkpoint run again as if alone", "transforms/checkpoint.py", "recalled",
           r"within=here, ", "", "test_transforms.py::changes_nothing"),
    Mutant("what a checkpoint reads in two ways", "transforms/checkpoint.py", "Checkpoint.pull",
           r"until=set\(y\.inputs\),", "", "test_transforms.py::changes_nothing"),
    Mutant("a gradient under no_grad kept", "transforms/functions.py", "kept",
           r"mode\.recording and mode\.within", "mode.within", "test_transforms.py::no_past"),
]  # fmt: skip


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


def changed(text, mutant):
    """The text of a file with the change in it."""
    node = function(ast.parse(text), mutant.function)
    lines = text.splitlines(keepends=True)
    start = min([node.lineno, *[d.lineno for d in node.decorator_list]]) - 1
    stop = node.end_lineno
    before = "".join(lines[start:stop])
    after, count = re.subn(mutant.old, mutant.new, before)
    if count != 1:
        raise LookupError(f"{mutant.old} is {count} times in {mutant.function}")
    text = "".join(lines[:start]) + after + "".join(lines[stop:])
    ast.parse(text)
    return text


def passes(tests, tree):
    """Whether some tests pass in a copy of the tree; None if there are none."""
    file, _, word = tests.partition("::")
    command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", f"tests/{file}"]
    environment = os.environ | {
        "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": f"{tree}/kept",
    }  # fmt: skip
    done = subprocess.run(
        [*command, *(["-k", word] if word else [])], cwd=tree, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    return {0: True, 1: False}.get(done.returncode)


def tried(mutant, tree, whole):
    """In one word: what became of a change."""
    path = tree / "tinygrad_rnn" / mutant.file
    text = path.read_text("utf-8")
    try:
        after = changed(text, mutant)
    except (LookupError, SyntaxError) as error:
        return f"cannot be made: {error}"
    if mutant.tests not in whole:
        whole[mutant.tests] = passes(mutant.tests, tree)
    if not whole[mutant.tests]:
        return f"has no test: {mutant.tests} " + (
            "is not there" if whole[mutant.tests] is None else "fails without the change"
        )
    path.write_text(after, "utf-8")
    try:
        return "survived" if passes(mutant.tests, tree) else "killed"
    finally:
        path.write_text(text, "utf-8")


def main(words):
    chosen = [m for m in MUTANTS if not words or any(w in m.what for w in words)]
    whole, bad = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in TREE:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=lambda *_: ["__pycache__"])
            elif source.exists():
                shutil.copy(source, tree / name)
        for mutant in chosen:
            answer = tried(mutant, tree, whole)
            bad += answer != "killed"
            print(f"{mutant.what:40} {answer}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} changes are noticed")
    return bool(bad or not chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
