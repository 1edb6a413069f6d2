"""The reference: a page for each package, from the docstrings of every public name.

What stands here is what `help()` shows. A public name without an example is refused.
"""

from __future__ import annotations

import doctest
import inspect
import json
import re
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.nn.elsewhere import Absent

PLACES = ("nn", "optim", "data", "io", "lab", "transforms", "view")
PACKAGES = {name: import_module(f"tinygrad_rnn.{name}") for name in PLACES}


def names() -> dict[str, dict[str, Any]]:
    """Every public name and what it is, by the page that it stands on."""
    top = [n for n in tg.__all__ if n not in (*tg.ops.__all__, *PLACES, "ops")]
    found = {"tensors": {name: getattr(tg, name) for name in top}}
    found["tensors"] |= {
        f"Tensor.{name}": f
        for name, f in vars(tg.Tensor).items()
        if not (name.startswith("_") or name in tg.ops.__all__ or inspect.ismemberdescriptor(f))
        if not isinstance(f, Absent)
    }
    for module in tg.ops.MODULES:
        place = module.__name__.rpartition(".")[2]
        found[f"ops.{place}"] = {name: getattr(module, name) for name in module.__all__}
    for place, package in PACKAGES.items():
        found[place] = {f"{place}.{name}": getattr(package, name) for name in package.__all__}
    return {page: {n: x for n, x in all.items() if callable(x)} for page, all in found.items()}


def escaped(text: str) -> str:
    """Plain text as Markdown that shows it; `code` stays code."""
    parts = re.split(r"(`[^`\n]*`)", text)
    return "".join(
        part if number % 2 else re.sub(r"([\\*_<>\[\]$~#])", r"\\\1", part)
        for number, part in enumerate(parts)
    )


def markdown(text: str) -> str:
    """A docstring as Markdown: its examples as sessions, its indented lines as they are."""
    found, session = [], False
    for paragraph in re.split(r"\n\s*\n", text):
        lines = paragraph.strip("\n").splitlines()
        if lines and lines[0].lstrip().startswith(">>>"):
            found.append("```pycon\n" + inspect.cleandoc("\n".join(["", *lines])) + "\n```")
            session = True
        elif session and lines and lines[0].startswith("    "):
            found[-1] = found[-1][:-3] + "\n".join(lines) + "\n```"
        elif lines and lines[0].startswith("    "):
            found.append("```text\n" + "\n".join(lines) + "\n```")
        else:
            found.append("\n".join(map(escaped, lines)))
    return "\n\n".join(found)


def signature(f: Any) -> str:
    """How it is called, without types, which the text says better."""
    try:
        given = inspect.signature(getattr(f, "body", f))
    except (TypeError, ValueError):
        return "()"
    plain = [p.replace(annotation=p.empty) for p in given.parameters.values()]
    text = str(given.replace(parameters=plain, return_annotation=given.empty))
    return re.sub(r"<(?:class|function|object) '?(?:[\w.]+\.)?(\w+)[^>]*>", r"\1", text)


def is_property(f: Any) -> bool:
    """Whether it is read without a call."""
    return isinstance(f, (property, cached_property))


def methods(kind: type) -> dict[str, Any]:
    """The public methods of a class that say what they do; of a base it is not said again."""
    if not inspect.isclass(kind) or kind is tg.Tensor:  # whose methods have entries of their own
        return {}
    bases = [{*vars(base), *inspect.get_annotations(base)} for base in kind.__mro__[1:]]
    return {
        name: f
        for name, f in vars(kind).items()
        if inspect.isfunction(f) or is_property(f) or isinstance(f, (classmethod, staticmethod))
        if (not name.startswith("_") or name == "__call__") and f.__doc__
        if not (isinstance(f, Absent) or (is_property(f) and name in set().union(*bases)))
    }


def told(name: str, f: Any) -> str:
    """Run the examples of a public name; what they show that its docstring does not.

    A method is shown in its own docstring or in that of its class.
    """
    names = {"tg": tg, "np": np}
    text = inspect.getdoc(f) or ""
    test = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
    used = " ".join(example.source for example in test.examples)
    own = {m: g for m, g in methods(f).items() if ">>>" in (g.__doc__ or "")}
    mute = [m for m in methods(f) if not (m in own or m in re.findall(r"\w+", used + "__call__"))]
    if not test.examples or mute:
        raise SystemExit(f"tg.{'.'.join([name, *mute[:1]])} is public and has no example")
    found: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)  # of messages
    with np.printoptions(precision=8, suppress=False, linewidth=75):
        runner.run(test, out=found.append)
    return "".join(found + [told(f"{name}.{method}", g) for method, g in own.items()])


def entry(name: str, f: Any) -> str:
    """One public name."""
    text = inspect.getdoc(f) or ""
    wrong = told(name, f)
    if wrong and "ModuleNotFoundError" not in wrong:
        raise SystemExit(f"the example of tg.{name} is not true:\n{wrong}")
    kind = "class" if inspect.isclass(f) else "property" if is_property(f) else "function"
    parts = [f":::::{{py:{kind}}} tg.{name}{'' if kind == 'property' else signature(f)}\n"]
    parts.append(markdown(text) + "\n")
    for method, g in methods(f).items():
        known = "property" if is_property(g) else "method"
        called = getattr(g, "__func__", g)
        given = "" if known == "property" else signature(called).replace("(self, ", "(", 1)
        given = given.replace("(self)", "()", 1)
        parts.append(f"::::{{py:{known}}} {method}{given}\n\n{markdown(inspect.getdoc(g) or '')}\n")
        parts.append("::::\n")
    return "\n".join([*parts, ":::::\n"])


def groups(page: str, all: dict[str, Any]) -> dict[str, list[str]]:
    """The names on a page, by the words under which the docstring of its package has them."""
    body = (inspect.getdoc(PACKAGES[page]) or "").partition("\n\n")[2] if page in PACKAGES else ""
    _, *parts = re.split(r"(?m)(?:^|(?<=\. ))([A-Z][\w ,']*): ", body)
    if not parts:
        return {"": list(all)}
    found: dict[str, list[str]] = {}
    for head, text in zip(parts[::2], parts[1::2], strict=True):
        words = (f"{page}.{word}" for word in re.findall(r"\w+", text))
        found[head] = [name for name in dict.fromkeys(words) if name in all]
    if left := all.keys() - {name for names in found.values() for name in names}:
        raise SystemExit(f"the docstring of tg.{page} does not say what these are for: {left}")
    return {head: names for head, names in found.items() if names}


def first_words(f: Any) -> str:
    """What a docstring begins with, which is translated."""
    return escaped((inspect.getdoc(f) or "").split("\n\n")[0].replace("\n", " "))


def overview(page: str, all: dict[str, Any]) -> str:
    """The names of a page, each with what it is, and a link."""
    lines = []
    for head, names in groups(page, all).items():
        lines += [f"```{{rubric}} {head}\n```\n"] if head else []
        lines += [f"{{py:obj}}`{n} <tg.{n}>`\n: {first_words(all[n])}\n" for n in names]
    return "\n".join(lines)


def title(page: str) -> tuple[str, str]:
    """A page's heading and its first sentence, from the docstring of its package."""
    if page == "tensors":
        return "tg", "Tensors, gradients, loops and what else stands at the top."
    module = PACKAGES.get(page) or import_module(f"tinygrad_rnn.{page}")
    sentence = (inspect.getdoc(module) or "").splitlines()[0].rstrip(".:") + "."
    return f"tg.{page}" if page in PACKAGES else page.replace("ops.", "Ops: "), sentence


def pages() -> dict[str, str]:
    """The pages of the reference, by file."""
    made, first = {}, {"Reference"}
    for page, all in names().items():
        head, sentence = title(page)
        body = "\n".join(entry(name, f) for name, f in all.items())
        top = f"# {head}\n\n{escaped(sentence)}\n\n{overview(page, all)}"
        made[f"reference/{page}.md"] = f"{top}\n{body}"
        first |= {head, escaped(sentence), *groups(page, all), *map(first_words, all.values())}
    words = "Every public name: how it is called, what it means, shapes, errors, and an example."
    listed = "\n".join(made).replace("reference/", "")
    made["reference/index.md"] = f"# Reference\n\n{words}\n\n```{{toctree}}\n{listed}\n```\n"
    return made | {"first.json": json.dumps(sorted(first | {words}), ensure_ascii=False)}
