"""What docstrings say is so: every example of a public name is run, and every name has one."""

import doctest
import runpy
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg

PACKAGES = {"nn": tg.nn, "optim": tg.optim, "data": tg.data, "io": tg.io, "lab": tg.lab}
PACKAGES |= {m.__name__: m for m in tg.ops.MODULES if m not in (tg.ops.reduce, tg.ops.loss)}
PUBLIC = {
    f"{package}.{name}": getattr(module, name)
    for package, module in PACKAGES.items()
    for name in module.__all__
    if callable(getattr(module, name))
}


@pytest.mark.parametrize("name", PUBLIC)
def test_example(name, as_python):
    test = doctest.DocTestParser().get_doctest(
        PUBLIC[name].__doc__, {"tg": tg, "np": np}, f"tg.{name}", None, 0
    )
    assert test.examples, f"tg.{name} has no example"
    told: list[str] = []
    with np.printoptions(precision=8, suppress=False, linewidth=75):
        doctest.DocTestRunner(verbose=False).run(test, out=told.append)
    if any("ModuleNotFoundError" in text for text in told):
        pytest.skip(told[-1].strip().splitlines()[-1])
    assert not told, "".join(told)


def test_the_page_of_ops_is_made_from_the_declarations():
    path = Path(__file__).parent.parent / "docs/ops.py"
    page = runpy.run_path(str(path))
    assert path.with_name("ops.md").read_text("utf-8") == page["text"](), "run python docs/ops.py"
