"""What bad input gets, row by row, and which tests keep it.

`python tests/catalogue.py` runs them all and prints the table; `python tests/catalogue.py C03 D`
those of one row and of one chapter. It ends with 1 if a row of severity 1 or 2 is open or failed.

A row is kept by tests whose names carry it, of whatever file: `def test_C03_C04_lengths_...`.
Severities: 1 is a wrong number without a word, a crash, lost data or foreign code run; 2 a late or
misleading error; 3 a nuisance.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CHAPTERS = {
    "A": "making tensors", "B": "shapes and sizes", "C": "lengths and masks",
    "D": "memory layout and sharing", "E": "changing things in place", "F": "the backward walk",
    "G": "numbers at their limits", "H": "depth, size and time",
    "I": "threads, processes, the compiler", "J": "saving and loading",
    "K": "training and data", "L": "pictures", "M": "scan",
}  # fmt: skip

# A row: its name, its severity and the input; below, what users get.
TEXT = """
A01 1 a list of lists that are not of one length
    ValueError that says so, and which shape the rest has; never an array of objects
A02 1 text, None, dates, objects, a dict
    TypeError that names the dtype; no array of objects gets into a graph, by an op neither
A03 2 requires_grad=True of integers or bools
    TypeError that says which dtypes have gradients
A04 1 complex numbers
    TypeError; no imaginary part is dropped without a word
A05 1 float32 and float64 together
    NumPy's promotion between tensors; a layer refuses a tensor of another dtype than its own
A06 2 a Python number with a float32 tensor
    float32, and so is the gradient
A07 2 a NumPy scalar with a float32 tensor
    what NumPy 2 gives: np.float64 makes float64
A08 1 float16, bfloat16, extended precision, foreign byte order
    float16 and bfloat16 become float32, bytes native; longer floats are refused
A09 1 np.matrix, memmap, pandas Series, structured and masked arrays
    their numbers as a plain array; structured and masked ones are refused
A10 3 plain numbers, NumPy scalars, arrays without axes
    tensors without axes, which train like others
A11 2 a tensor of a tensor
    a leaf with the same values, without the past
A12 3 an integer of 400 digits
    OverflowError that says how many digits, and what was asked of it
A13 1 new data or a gradient of another shape or dtype
    ValueError where it is assigned, with both shapes and dtypes
A14 2 the truth value of a tensor, int() of two elements
    TypeError or ValueError that leads to tg.where and item()
A15 2 tensors in sets and dicts, `in` a list, ==
    == goes by elements; sets and dicts go by identity; `in` a list never answers wrongly
B01 2 another number of features than the layer has
    ValueError with layer, both sizes and the layout
B02 2 another number of axes
    one sequence without its batch works; else ValueError with the layouts there are
B03 2 a batch where time should be
    ValueError that mentions batch_first, as soon as a state, lengths or a mask do not fit
B04 2 a state of another size, count or structure
    ValueError or TypeError that says what is expected and what was got
B05 1 no steps
    an empty output, and the state as it was given, with its gradient
B06 1 no rows
    empty outputs, zero gradients; the mean of nothing is NaN as in the conventions
B07 2 no features, no hidden units
    a size of 0 is refused where the layer is made; products over nothing are 0
B08 2 a size that is negative, 0, a float, a bool, text
    ValueError or TypeError where it is made; NumPy's integers are sizes
B09 2 a billion hidden units
    MemoryError that says how much is wanted, before any is taken
B10 1 a target that would broadcast against the output
    ValueError with both shapes
B11 1 classes out of range, negative, of floats, one-hot
    ValueError or TypeError with the range, before anything is looked up
B12 2 targets with time and batch swapped
    ValueError with both shapes
B13 1 rows that a table does not have, negative ones too
    IndexError with the range and the size of the table
B14 2 max, min, mean, softmax of nothing
    max and min are refused; mean is NaN, sum 0, softmax empty
B15 3 axes and shapes that do not exist
    an error that names op, axis and shape
B16 3 joining nothing, or shapes that do not fit
    ValueError that says which one does not fit
C01 1 a row of length 0
    outputs 0, the state as it was, no gradient
C02 1 a negative length
    ValueError that says where
C03 1 a length beyond the last step
    ValueError that says where, which, and how many steps there are
C04 1 lengths of floats, fractions, NaN
    TypeError that asks for whole numbers
C05 1 lengths of every integer dtype, of bools, too many, in two axes
    every integer dtype is right, also where it would wrap; the rest is refused
C06 1 lengths in any order
    the same as sorted, row by row
C07 2 no row as long as the array
    the tail is 0 and the last states are the same
C08 1 both directions over padding
    the way back begins at each row's own last step
C09 1 NaN and infinity in the padding
    reach no output, no state, no gradient
C10 1 masks with gaps, rows of False, numbers in place of bools
    gaps and empty rows work; other than bools is refused
C11 1 a mean loss over padded steps
    divides by what counts; 0 where nothing does
C12 1 rows in another order
    states come back in the caller's order
D01 1 arrays in Fortran order, strided, reversed
    the same bits
D02 1 an array of broadcast_to
    the same, with a gradient of its whole shape; the small array stays untouched
D03 1 a read-only array
    taken as any other, by loops too
D04 1 an array that is not aligned
    taken as any other
D05 1 one array as two inputs, one weight in two layers
    gradients add up, once each
D06 1 two views that overlap
    the same as two copies
D07 3 a memory map of a gigabyte
    only what is used of it is copied, and not into float64
D08 1 the caller's array changed between forward and backward
    the gradient is that of the values then
D09 1 writing into .data, .numpy(), .grad
    ValueError: they are read-only
D10 1 the next call of the same layer
    leaves what the first returned alone
D11 1 gradients that share memory
    adding to one changes no other
E01 1 x[i] = y, out=, writing inside an op
    TypeError or ValueError that says what to write instead
E02 1 changing a parameter in place
    TypeError that leads to p.data and tg.optim
E03 1 optimizer.step() between forward and backward
    RuntimeError that names the weights
E04 1 new data under a view
    RuntimeError at backward; values stay
E05 1 indices that repeat
    every one of them adds to the gradient
E06 2 h += y in a loop
    a new tensor; what h was stays
E07 3 adding in place what is larger
    a new tensor of the larger shape, or for a parameter a refusal; never a partial write
E08 2 a loss of what no_grad computed
    RuntimeError that mentions no_grad
E09 1 new data of a detached tensor
    the other one keeps its values
E10 2 a rule of one's own with a wrong shape, dtype, count, or None
    an error that names the op, what is expected and what was got
E11 1 a rule that writes into its cotangent
    ValueError: it is read-only
E12 2 a function called during the walk that raises or gives nonsense
    its error comes through; gradients and graph stay right
F01 1 backward twice
    RuntimeError that leads to retain_graph=True
F02 2 backward of many numbers without a cotangent
    RuntimeError that leads to y.sum()
F03 2 a cotangent of another shape or dtype
    ValueError with both shapes; floats are cast
F04 1 a kept graph walked twice
    twice the gradient, exactly
F05 2 the gradient by something not used
    RuntimeError, or None with allow_unused=True
F06 1 a graph with 2^60 paths
    each node is visited once, the number exact
F07 1 two losses with one trunk
    the same as of their sum
F08 2 branches that are cut off
    are not visited
F09 1 second derivatives of every op, of loops too
    the right numbers
F10 1 a rule that raises
    its own error with the op's name; gradients stay as they were
F11 2 NaN in a gradient, with detect_anomaly
    RuntimeError with op, scope and line
F12 1 where, sqrt, log, powers and quotients at 0
    the gradients that the conventions say
F13 2 ties and kinks
    equal parts, as the conventions say
F14 1 graphs that nobody holds any more
    are freed at once, without the collector
F15 1 an error inside no_grad
    the switch is put back, per thread
F16 3 a generator left inside no_grad
    the conventions say what holds
G01 1 exp, softmax, losses of numbers up to 1e5
    finite where the truth is, without a warning
G02 1 logits of 1e300, of -inf, of nothing else
    probability 0 and gradient 0; a row of nothing else is NaN
G03 1 NaN and infinity in inputs and weights
    stay NaN and infinity, in loops too
G04 2 numbers below the normal range
    kept in float64; taken for 0 in compiled loops of float32, and no slower
G05 1 float32 sums over a million terms
    right to 1e-5
G06 1 arrays of more than 2^31 elements
    indices do not wrap
G07 1 clipping a gradient of NaN, of 0, of nothing
    the norm, and the gradients as they were; an error if asked for
G08 2 lr, betas, eps, decay out of range
    ValueError where it is given; lr=0 changes nothing
G09 1 dropout and zoneout of 0, 1, outside, NaN
    as it is, all zero, refused
G10 1 a loss of which nothing counts
    0, gradient 0
G11 2 np.seterr(all="raise")
    training works, and the setting stays
G12 2 a loss that goes to infinity
    is reported as it is; training stops before it touches the weights
H01 1 100,000 steps, eager
    forward, backward and del work
H02 2 copy, pickle, repr of a deep graph
    a refusal that leads to detach(); leaves are copied; repr is short
H03 3 weak references to tensors, pickle of one with a past
    weak references work; pickle is refused with the way out
H04 2 a loop of a million steps
    memory in proportion; with checkpoint="sqrt" to the root
H05 1 not enough memory
    MemoryError; nothing half changed, all goes on working
H06 2 a sum of 100,000 leaves
    time in proportion
H07 2 a picture of 100,000 nodes
    an excerpt or a refusal, never a program that hangs
I01 1 two threads with graphs of their own
    each its own numbers, switches and scopes
I02 1 two threads into the same parameters
    the conventions say that it is not safe
I03 1 one compiled loop in two threads
    each its own numbers
I04 1 fork after a compiled call
    the child works
I05 2 spawn, and several that compile at once
    all of them work
I06 2 backward inside a rule
    works
I07 1 no home, no cache folder to write to
    works, with one warning
I08 1 a cache that is damaged, old or open to others
    compiled again; a folder that others may write to is not used
I09 1 no compiler, or one switched off
    the same numbers without it, or an error that names versions
I10 2 Ctrl-C in a long loop
    KeyboardInterrupt within a second
I11 2 threads and signals at the end of the program
    no crash
I12 2 one thread or two
    the same to 1e-12; the same number of them, the same bits
I13 2 the first call
    compiled once, not for each length or batch
I14 2 other layouts in a loop
    one way in, nothing compiled again
J01 1 a file cut off, empty, or of something else
    CheckpointError with file and reason; the model stays as it was
J02 1 a header that claims gigabytes, or nests without end
    CheckpointError before memory is taken
J03 1 offsets that overlap, leave holes, lie outside
    CheckpointError
J04 1 a pickle, an npz of objects
    never unpickled
J05 1 names missing, unknown, of another shape
    one ValueError with all of them; nothing is loaded
J06 1 a file of another precision
    cast as the conventions say, or refused
J07 2 a file of another class, convention or version
    an error that names both
J08 1 killed, interrupted, disk full while saving
    the old file is whole, no half one stays
J09 1 two processes that save one file
    the last one that finished, whole
J10 2 a folder, a link, a missing folder, a Path
    OSError that names it; Paths and links work
J11 1 names with NUL, newlines, ../, very long
    kept as text or refused; never a path
J12 1 a file overwritten or deleted after loading
    what was loaded stays
J13 1 going on after a break
    the same bits as without it
J14 1 an optimizer's state of other parameters
    an error; states go by name
J15 2 tied weights, arrays in any layout
    load as they were
J16 2 empty arrays, numbers, names of any script
    the same after saving and loading
K01 2 Ctrl-C in a step
    all parameters are before it or all after it
K02 2 an optimizer of nothing, of constants, of one thing twice
    ValueError with the reason
K03 1 a step with some gradients missing
    those parameters are left alone
K04 3 zero_grad forgotten
    gradients add up, as the conventions say
K05 3 schedules of no steps, of negative ones
    ValueError where they are made
K06 2 data shorter than a window, a batch that is not full
    works, or ValueError with the sizes
K07 1 a state carried on without detach
    truncated_bptt cuts it, exactly
K08 2 train() and eval() on the way
    reach every part; eval is repeatable
K09 1 seeds
    the same seed, the same bits; NumPy's own state stays untouched
K10 2 modules in lists, dicts, twice, in a circle
    found in order, once; what cannot be found is refused
K11 2 copy and pickle of a module
    one of its own
K12 3 a model that returns no tensor
    an error that says what it returned
L01 2 Graphviz missing, broken, hanging
    an error that says how to get it; the text is there anyway
L02 1 labels with quotes, markup, control characters
    shown as they are; nothing gets in by them
L03 1 file names like options or paths
    written where they say, or refused; no shell sees them
L04 2 two tensors of one name, names that Graphviz uses
    two nodes
L05 3 a picture of a freed graph, of a leaf, of nothing
    a picture, or an error that says why not
L06 2 a picture of a graph in use
    changes nothing in it
L07 3 NaN and large arrays in a label
    in short
L08 2 a locale without UTF-8
    files are UTF-8
M01 2 a step that changes shape, dtype or structure of its state
    an error that names the state, expected and got
M02 2 a step that returns something else, sequences of two lengths
    an error that says which
M03 1 a step with side effects, random numbers, branches, outer tensors
    outer gradients are right; the rest is as the conventions say
M04 1 something outside changed between calls
    the new value counts
M05 1 loops in loops, of no steps, of one, backwards, differentiated twice
    the same as step by step
M06 1 an op that cannot be compiled
    step by step, with a warning that names it
M07 1 steps whose order matters
    gradients go back in reverse
M08 1 states in buffers
    each step keeps its own
M09 1 the same step with another dtype, size, option
    compiled for that
M10 2 a step that raises
    its error, with the step; memory is given back
"""


def parsed(text):
    """By name of a row: its severity, the input, and what users get."""
    found = re.findall(r"^([A-M]\d\d) ([123]) (.+)\n    (.+)$", text, re.M)
    return {name: (int(severity), given, gets) for name, severity, given, gets in found}


ROWS = parsed(TEXT)


def tests_of_rows(folder=TESTS):
    """By name of a row: the tests that carry it, as pytest names them."""
    found = defaultdict(list)
    for path in sorted(folder.glob("test_*.py")):
        for name, ids in re.findall(r"^def (test_((?:[A-P]\d\d_)+)\w+)", path.read_text(), re.M):
            for row in ids.split("_")[:-1]:
                found[row].append(f"{path}::{name}")
    return {row: found[row] for row in ROWS}


class Outcomes:
    """What became of each test, in all the cases it was run with."""

    def __init__(self):
        self.seen = defaultdict(set)

    def pytest_runtest_logreport(self, report):
        """A test that is expected to fail is open, and so is one that was skipped."""
        if report.when == "call" or report.outcome != "passed":
            path, name = report.nodeid.split("[")[0].split("::")
            outcome = "open" if hasattr(report, "wasxfail") else report.outcome
            self.seen[f"{TESTS.parent / path}::{name}"].add(outcome)


def status(tests, seen):
    """Of a row: kept, open or failed."""
    outcomes = set().union(*(seen[test] or {"not run"} for test in tests))
    if outcomes & {"failed", "not run"}:
        return "failed"
    return "kept" if "passed" in outcomes and "open" not in outcomes else "open"


def main(wanted):
    """Run the tests of these rows, print the table, and say whether what matters is kept."""
    rows = [row for row in ROWS if not wanted or any(row.startswith(w) for w in wanted)]
    tests, outcomes = tests_of_rows(), Outcomes()
    chosen = list(dict.fromkeys(test for row in rows for test in tests[row]))
    if chosen:
        pytest.main(["-q", "--no-header", "-r", "fE", *chosen], plugins=[outcomes])
    print("\n| row | severity | input | what users get | tests | |\n|---|---|---|---|---|---|")
    lost = []
    for row in rows:
        severity, given, gets = ROWS[row]
        found = status(tests[row], outcomes.seen)
        print(f"| {row} | {severity} | {given} | {gets} | {len(tests[row])} | {found} |")
        lost += [row] if found != "kept" and severity < 3 else []
    print(f"\n{len(rows)} rows; not kept, of severity 1 or 2: {' '.join(lost) or 'none'}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
