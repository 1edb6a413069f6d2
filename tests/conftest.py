"""What all tests share: who compiles which kernels, and a collector that leaves the tests alone."""

import gc
import os
from contextlib import nullcontext

import numpy as np
import pytest

from tinygrad_rnn import kernels

gc.disable()  # until all tests are there: they are no garbage
MANY = 1000  # tests that between them use every kernel


def pytest_collection_finish(session):
    """Thousands of tests and what they imported stay to the end: not to be walked again and again.

    Compiling a loop makes a million objects that soon go by themselves.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and len(session.items) > MANY and kernels.compiles():
        load_kernels([np.float64, np.float32][int(worker.removeprefix("gw")) % 2])


def load_kernels(dtype):
    """Compile what is of one precision: the next worker does the other, and each finds both."""
    from tinygrad_rnn.kernels import panels

    written = [name for name in kernels.__all__ if hasattr(kernels.plain, name)]
    for name in dict.fromkeys([*kernels._loaded, *written, *kernels.RULES]):
        kernels._load(name, np.dtype(dtype))
    panels.load(np.dtype(dtype))


@pytest.fixture(autouse=True)
def as_python(request):
    """Loops run as plain Python in memory of NaN, so that no test waits for a compiler.

    The mark `compiled` is for tests of what users run: compiled loops, in memory that is lent.
    """
    from plain_loops import uncompiled

    with nullcontext() if request.node.get_closest_marker("compiled") else uncompiled():
        yield
