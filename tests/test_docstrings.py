"""What is public: which names there are, and that every one has an example, which is run."""

import pydoc
import runpy
from importlib import import_module
from pathlib import Path

import pytest

import tinygrad_rnn as tg

HOME = Path(tg.__file__).parent
REFERENCE = runpy.run_path(str(HOME.parent / "docs/reference.py"))
PUBLIC = {name: f for page in REFERENCE["names"]().values() for name, f in page.items()}


@pytest.mark.parametrize("name", PUBLIC)
def test_example(name, as_python, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = REFERENCE["told"](name, PUBLIC[name])
    if "ModuleNotFoundError" in told:
        pytest.skip(told.strip().splitlines()[-1])
    assert not told, told


def test_the_top_level_is_the_ops_and_at_most_27_other_names():
    shown = {name for name in dir(tg) if not name.startswith("_")}
    assert shown == {*tg.__all__} and {*tg.ops.__all__} <= shown
    assert len(shown - {*tg.ops.__all__}) <= 27
    assert all(getattr(tg, name).__doc__ for name in shown)


PACKAGES = [p for p in sorted(HOME.rglob("__init__.py")) if not p.parent.name.startswith("lesson_")]


@pytest.mark.parametrize("path", PACKAGES, ids=lambda p: p.parent.name)
def test_a_package_says_what_is_public(path):
    name = ".".join(["tinygrad_rnn", *path.parent.relative_to(HOME).parts])
    package = import_module(name)
    assert len({*package.__all__}) == len(package.__all__) and {*package.__all__} <= {*dir(package)}
    helped = pydoc.plain(pydoc.render_doc(package))
    assert all(hasattr(package, word) and word in helped for word in package.__all__)


def test_a_public_name_without_an_example_is_refused_by_the_reference():
    with pytest.raises(SystemExit, match="mute is public and has no example"):
        REFERENCE["entry"]("mute", lambda x: x)


def test_what_a_class_says_is_what_users_call_and_every_method_has_an_example():
    class Quiet(tg.nn.Module):
        """Says what it does.

        >>> Quiet()
        """

        def loud(self):
            """But not how."""

    with pytest.raises(SystemExit, match=r"Quiet.loud is public and has no example"):
        REFERENCE["told"]("Quiet", Quiet)
    assert {*REFERENCE["methods"](tg.nn.Cell)} == {"step", "output", "explain", "advance"}
    assert not REFERENCE["methods"](tg.nn.LSTM), "its base has said it"
