"""Runs the text of a loop as plain Python, in memory that holds NaN until something is written.

No compiler is needed, so some forty random steps a second can be compared with `unroll`; and what
values alone hide is seen: entries that nobody wrote, arrays that are written though the plan says
they are only read, arrays of another dtype than the compiled function would take.
"""

import contextlib
import functools

import numpy as np
import pytest

from tinygrad_rnn import caches
from tinygrad_rnn.kernels import generated, numbers, text
from tinygrad_rnn.kernels.spare import Spare
from tinygrad_rnn.loops import plan, runtime
from tinygrad_rnn.loops.roles import Packed

SPOILED = {"f": np.nan, "i": 85, "u": 85, "b": True}


class Spoiled(Spare):
    """Fresh memory, of any size, in which nothing is right."""

    def maker(self, shape, dtype, zero=False):
        wrong = SPOILED[np.dtype(dtype).kind]
        return functools.partial(np.full, shape, 0 if zero else wrong, dtype)


spoiled = Spoiled()


def multiply(x, w, out, fresh):
    """out[s] (+)= x[s] @ w; `out` may be as wide as whole panels."""
    product = x @ w
    into = out[..., : w.shape[1]]
    assert into.shape == product.shape
    into[...] = product if fresh else into + product


def gather(x, g, out, scratch, fresh):
    """out (+)= the sum of outer(x[s, r], g[s, r])."""
    total = np.einsum("srk,src->kc", x, g)
    out[...] = total if fresh else out + total


def pack_rows(g, panels):
    assert g.size <= panels.size
    panels[...] = np.nan
    panels[: g.size] = g.reshape(-1)


def gather_packed(x, panels, out, scratch, fresh):
    steps, rows, _ = x.shape
    columns = out.shape[1]
    gather(x, panels[: steps * rows * columns].reshape(steps, rows, columns), out, scratch, fresh)


SPACE = {
    "np": np, "f32": np.float32, "f64": np.float64, "multiply": multiply, "gather": gather,
    "gather_packed": gather_packed, "pack_rows": pack_rows, "plus": lambda total, x: total + x,
    "larger": np.maximum, "smaller": np.minimum, "flush_denormals": lambda: None,
    "restore": lambda control: None,
}  # fmt: skip
assert {*text.words(None)} == {*SPACE, "min"}, "a new word: say here what it means"


@functools.cache
def code(source):
    return compile(source, "<loop>", "exec")


def plain(source, counts, arguments, called):
    """What `generated.function` gives, uncompiled: it takes the same arrays, and nothing else."""
    space = SPACE | {
        word: numbers.typed(c.function, c.dtype) if c.dtype else c.function
        for word, c in called.items()
    }
    exec(code(source), space)
    loop = space["forward" if "def forward(" in source else "backward"]

    def run(*given):
        *whole, (numbers, *arrays) = given
        assert len(whole) == counts
        assert all(isinstance(n, int | np.integer) for n in whole) and numbers.dtype == np.float64
        handed = []
        for argument, array in zip(arguments, arrays, strict=True):
            assert array.dtype == argument.dtype, argument
            if not isinstance(argument.role, Packed):  # here a matrix, there panels
                assert array.ndim == argument.ndim and array.flags.c_contiguous, argument
            view = array.view()
            view.flags.writeable = argument.written
            handed.append(view)
        with np.errstate(all="ignore"):
            loop(*whole, numbers, *handed)

    return run


@contextlib.contextmanager
def uncompiled():
    """In this block every loop that is new runs as plain Python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caches, "programs", caches.Cache(256))
        patch.setattr(caches, "pasts", caches.Cache(256))
        patch.setattr(generated, "function", plain)
        patch.setattr(generated, "packed", np.asarray)
        patch.setattr(runtime, "spare", spoiled)
        patch.setattr(plan, "spare", spoiled)
        yield
