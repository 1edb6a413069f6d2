"""Changes of the code that a test has to notice, and such that none could.

`python tests/mutation.py --listed` makes each of the first once more. A test of the house looks
that all can still be made: one that cannot be is out of date, and goes or is written anew.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    """What is changed where: no test had noticed it when it was found."""

    what: str
    file: str  # in the package
    function: str  # its qualified name, "*" for any class
    old: str  # a pattern that is found once in the function
    new: str


class Equivalent(NamedTuple):
    """A change that was drawn, and why nobody can tell it from none."""

    file: str
    function: str
    before: str  # the lines that it is on, in one
    after: str
    why: str


MUTANTS = [
    Mutant("the curve in nats", "cli/train.py", "_epochs",
           r"update\.loss / math\.log\(2\)", "update.loss"),
    Mutant("the judgement in nats", "cli/train.py", "judge",
           r"total / count / math\.log\(2\)", "total / count"),
    Mutant("windows without their sizes", "cli/train.py", "judge",
           r"(float\(loss\.item\(\)\)) \* y\.size, count \+ y\.size", r"\1, count + 1"),
    Mutant("no state carried while judging", "cli/train.py", "judge",
           r"state = detach\(state\)", "state = None"),
    Mutant("dropout while judging", "cli/train.py", "judge",
           r"run\.model\.eval\(\)", "run.model.train()"),
    Mutant("no dropout while training", "cli/train.py", "_epochs",
           r"run\.model\.train\(\)", "run.model.eval()"),
    Mutant("no clipping", "cli/train.py", "_epochs",
           r'"max_norm": 1\.0', '"max_norm": math.inf'),
    Mutant("a state over epochs", "cli/train.py", "_epochs",
           r"(run\.epoch \+ 1, 0), None", r"\1, run.state"),
    Mutant("the largest norm for the joint one", "optim/clip.py", "clip_grad_norm",
           r"euclidean\((\[.*?\])\)", r"max([euclidean([a]) for a in \1])"),
    Mutant("squares too small for a float64", "optim/clip.py", "euclidean",
           r"SAFE < total", "0 < total"),
    Mutant("one count for all of Adam", "optim/optimizers.py", "Adam.update",
           r'int\(memory\.get\("count", 0\)\) \+ 1', "max(1, self.steps)"),
    Mutant("a schedule one step early", "optim/truncated.py", "truncated_bptt",
           r"schedule\(optimizer\.steps\)", "schedule(optimizer.steps + 1)"),
    Mutant("a cosine that forgets its warm-up", "optim/schedule.py", "cosine",
           r"\(step - warmup\) / \(total - warmup\)", "step / total"),
    Mutant("so far, without whole blocks", "grad.py", "Cotangents.sum_so_far",
           r"self\.blocks\[x\] \+ self\.sums\[x\]", "self.sums[x]"),
    Mutant("gradients in between stay", "grad.py", "BackwardPass.walk",
           r"del sums\[y\]", "pass"),
    Mutant("GRU.Wn is not orthogonal", "nn/cells.py", "GRU.__init__",
           r"orthogonal\(rng, hidden\)", "rng.normal(size=(hidden, hidden))"),
    Mutant("MinimalGatedUnit.Wn is not orthogonal", "nn/cells.py", "MinimalGatedUnit.__init__",
           r"orthogonal\(rng, hidden\)", "rng.normal(size=(hidden, hidden))"),
    Mutant("IRNN without Wh = I", "nn/cells.py", "IRNN.__init__",
           r"self\.Wh\.data = .*", "pass"),
    Mutant("orthogonal without the sign of R", "nn/init.py", "orthogonal",
           r"np\.where\(np\.diag\(r\) < 0, -1\.0, 1\.0\)", "1.0"),
    Mutant("hidden edges are one", "view/reader.py", "*._connect",
           r"edge\.hidden \+= 1", "edge.hidden = 1"),
    Mutant("used in one step more", "view/reader.py", "*._leaf",
           r"len\(\{t for", "1 + len({t for"),
    Mutant("nothing is saved", "tape/tape.py", "Record.saved",
           r"size \* np", "0 * size * np"),
    Mutant("no gate is named", "lab/provenance.py", "_at",
           r"_gate\(tape, r\) if inside and op", '"" if inside and op'),
    Mutant("the sums of two threads only", "loops/runtime.py", "Work.totals",
           r"self\.fresh\[1:\]", "self.fresh[1:2]"),
    Mutant("relu without NaN", "ops/arithmetic.py", "relu",
           r"0\.0 if x < 0\.0 else x", "x if x > 0.0 else 0.0"),
    Mutant("the sign of NaN is 0", "ops/arithmetic.py", "sign",
           r"(-1\.0 if x < 0\.0 else) x", r"\1 0.0"),
    Mutant("logsumexp of infinities", "ops/reduce.py", "_logsumexp",
           r"where\(equal\(abs\(top\), np\.inf\), 0, top\)", "top"),
    Mutant("tangents of a loop that keep all carries", "transforms/tangents.py", "_of_loop",
           r"checkpoint=every", "checkpoint=None"),
    Mutant("steps of tangents without a history", "transforms/tangents.py", "_of_loop",
           r"given if mode\.trace and not batched else tuple\(map\(own, given\)\)", "given"),
    Mutant("a mask by its shape alone", "transforms/tangents.py", "_pulled_twice",
           r"if made and any\(map\(_masked, made\.nodes\)\)", "if False"),
    Mutant("a checkpoint run again as if alone", "transforms/checkpoint.py", "recalled",
           r"within=here, ", ""),
    Mutant("what a checkpoint reads in two ways", "transforms/checkpoint.py", "Checkpoint.pull",
           r"until=set\(y\.inputs\),", ""),
    Mutant("what is picked stands in front", "transforms/batch.py", "_indexed",
           r"before = picks\[0\] if together else 0", "before = 0"),
    Mutant("all axes in their own order", "transforms/batch.py", "_along",
           r"-1 if op is transpose else 1", "1"),
    Mutant("weights of one example for all", "transforms/batch.py", "lifted",
           r"batch\.lifted\[x\] = ", "_ = "),
    Mutant("a gradient under no_grad kept", "transforms/batch.py", "kept",
           r"mode\.recording and mode\.within", "mode.within"),
]  # fmt: skip

EQUIVALENT = [
    Equivalent("nn/explain.py", "_elsewhere",
               "width, reads = inner.Wx.shape[-1], inner.Wh.shape[-1]",
               "width, reads = inner.Wx.shape[-1], inner.Wh.shape[1]",
               "A matrix has two axes: the last is the second."),
    Equivalent("cli/run.py", "Run._arrays",
               'arrays["judged"] = np.array(self.judged, np.float64).reshape(-1, 2)',
               'arrays["judged"] = np.array(self.judged, np.float64).reshape(-2, 2)',
               "NumPy takes every negative length for the one that is left."),
    Equivalent("kernels/product.py", "Block.broadcast", "value.align = 1", "value.align = 2",
               "On the processors that there are a number is read the same way at any address."),
    Equivalent("cli/graph.py", "graph",
               "model.recurrent.unroll = True",
               "model.recurrent.unroll = False",
               "A loop is drawn as its steps; only the time to compile one is saved."),
    Equivalent("view/residuals.py", "_Chart.bars",
               "if width(words, 11) < self.wide(window) * self.unit or window.again:",
               "if width(words, 11) <= (self.wide(window) * self.unit) or window.again:",
               "Words that are exactly as wide as their bar fit as well as they do not."),
    Equivalent("grad.py", "BackwardPass.__init__",
               "create_graph: bool = False, retain_graph: bool = True,",
               "create_graph: bool = True, retain_graph: bool = True,",
               "Who leaves it out records nothing; sums are only made anew, not in place."),
    Equivalent("nn/convert.py", "_reorder",
               "if x is None or order == cell.order:", "if (x is None):",
               "The blocks in the order that they have are the same numbers, copied."),
    Equivalent("io/atomic.py", "_sync_folder",
               "handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)",
               "handle = os.open(folder, os.O_DIRECTORY)",
               "POSIX systems have O_RDONLY as 0."),
    Equivalent("cli/train.py", "_epochs",
               "if not run.judged[-1][1] < 2 * math.log2(len(run.characters) + 1):",
               "if not run.judged[-1][1] <= (2 * math.log2(len(run.characters) + 1)):",
               "A limit of what is plainly bad, which no mean of logarithms hits."),
    Equivalent("cli/explain.py", "explain",
               "model.recurrent.unroll = True", "model.recurrent.unroll = False",
               "A loop is explained as its steps; only the time to compile one is saved."),
    Equivalent("io/options.py", "_between",
               "first, *rest = _dropped(x) or [0.0]", "first, *rest = _dropped(x) or [1.0]",
               "One rate alone has no rest, whatever it is: there is nothing between."),
    Equivalent("check.py", "_gradient_of",
               "seed = int(rng.integers(2**31))", "seed = int(rng.integers(3**31))",
               "Any seed will do, as long as it stays the same."),
    Equivalent("loops/forms.py", "Builder.reduced",
               'flags = y.dtype.kind == "b"', 'flags = x.dtype.kind == "b"',
               "A sum of flags that is a float is the same counted in whole numbers."),
    Equivalent("loops/trace.py", "Step.fixed",
               "found += [] if x.ndim or is_written(x) else [x]",
               "found += [] if x.ndim and is_written(x) else [x]",
               "An array that a derivative makes is one number, in the text or handed over."),
    Equivalent("ops/elementary.py", "_hill.number",
               "x = kernels.minimum(np.abs(x), 40.0)", "x = kernels.minimum(np.abs(x), 80.0)",
               "exp(-800) is 0 in float64 already."),
    Equivalent("kernels/crew.py", "serve",
               "builder.cbranch(desk.exchanged(ASLEEP, 0), work, sleep)",
               "builder.cbranch(desk.exchanged(ASLEEP, 1), work, sleep)",
               "Who is posted to just before sleep is woken once more, looks, and waits again."),
    Equivalent("nn/explain.py", "_elsewhere",
               "width, reads = inner.Wx.shape[-1], inner.Wh.shape[-1]",
               "width, reads = inner.Wx.shape[1], inner.Wh.shape[-1]",
               "A matrix has two axes: the last is the second."),
    Equivalent("check.py", "_gradients",
               "def _gradients(ys: Any, weights: Any, xs: Any, create_graph: bool = False)"
               " -> list[Any]:",
               "def _gradients(ys: Any, weights: Any, xs: Any, create_graph: bool = True)"
               " -> list[Any]:",
               "Of a history that nobody goes through the numbers are the same."),
    Equivalent("optim/clip.py", "clip_grad_value",
               "largest = float(np.maximum(largest, size))",
               "largest = float(np.maximum(size, largest))",
               "The larger of two, or NaN, in any order."),
    Equivalent("ops/statistics.py", "_length",
               "return (max if p > 0 else min)(abs(x), axes, keepdims)",
               "return (max if p > 1 else min)(abs(x), axes, keepdims)",
               "p is inf or -inf there."),
]  # fmt: skip
