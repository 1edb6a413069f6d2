"""Build the site in every language: `python docs/build.py` writes build/site/index.html.

Needs `pip install -e '.[docs]'`. Pages are the Markdown files of docs/, and those that are made
here: the reference, the gallery, the table of ops. Every Python and shell block on them is run,
once for all languages. A warning, an error in a block, a dead link, a public name without an
example and a sentence without its translation are errors.

    --update    write sentences that have no translation yet into docs/locale/, to be filled in;
                those of which only numbers have changed are
    --only en   one language
    --pages course/05   only pages whose names begin so, while they are being written; what leads
                to other pages is not looked at
"""

from __future__ import annotations

import argparse
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import chdir
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
BUILD = ROOT / "build" / "site"
SOURCE = BUILD / "source"
LANGUAGES = {"en": "en", "zh": "zh_CN"}
NOTEBOOK = "---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n"
RUN = re.compile(r"^```(python|sh)\n", re.M)
MEASURED = re.compile(r"[≤≥]?[\d.,]*\d%?(?: ±\d+%)?|[✓✗]|(?<= )\?$")
CODE = re.compile(r"\]\((?:\.\./)+((?:tinygrad_rnn|tests|examples)(?:/[\w./-]*)?)\)")


BETWEEN = " · "  # words that are translated one by one
EXERCISE = re.compile(r"^\{exercise\} (\d\d\.\d)$", re.M)


def exercises(text: str) -> str:
    """A page that shows an exercise of the course where `{exercise} 05.2` stands: what is asked
    for, and its hints, folded."""
    from tinygrad_rnn.course import exercise, lessons
    from tinygrad_rnn.course.words import paragraphs, passages

    def shown(found: re.Match[str]) -> str:
        lesson, one = exercise(found[1])
        stub = lessons.text_of(lesson.source(), one.name)
        words = passages(stub)[0]
        signature = "\n".join(stub.splitlines()[: words.first])
        asked = "\n\n".join(paragraphs(words))
        asked = re.sub(r"^ .*(\n .*)*", lambda code: f"```text\n{code[0]}\n```", asked, flags=re.M)
        caption = f"`course/{lesson.file}.py` · {found[1]}"
        parts = [
            f"### {one.title}",
            f"```{{code-block}} python\n:caption: {caption}\n\n{signature}\n```",
        ]
        hints = (f":::{{dropdown}} Hint {k}\n{hint}\n:::" for k, hint in enumerate(one.hints, 1))
        return "\n\n".join([*parts, asked, *hints])

    return EXERCISE.sub(shown, text).replace("\n{lessons}\n", f"\n{overview()}\n")


def overview() -> str:
    """A table of the lessons, as they are declared."""
    from tinygrad_rnn.course import lesson, lessons

    rows = ["| | lesson | minutes | exercises |", "|---|---|--:|---|"]
    found = [lesson(number) for number in lessons.numbers()]
    for one in found:
        page = (DOCS / "course" / f"{one.file}.md").exists()
        title = f"[{one.title}]({one.file}.md)" if page else one.title
        asked = BETWEEN.join(exercise.title for exercise in one.exercises)
        rows.append(f"| {one.number} | {title} | {one.minutes} | {asked} |")
    return "\n".join([*rows, f"| | | {sum(one.minutes for one in found)} | |"])


def executed(text: str) -> str:
    """A page whose Python and shell blocks are cells, which are run."""
    if not RUN.search(text) and "{code-cell}" not in text:
        return text
    cell = {"python": "```{code-cell}\n", "sh": "```{code-cell}\n%%sh\n"}
    return NOTEBOOK + RUN.sub(lambda found: cell[found[1]], text)


def sources(text: str, folder: str) -> str:
    """A page whose links to the code lead to pages that show it."""

    def page(found: re.Match[str]) -> str:
        path = found[1].rstrip("/")
        if not (ROOT / path).exists():
            raise SystemExit(f"a page links to {path}, which is not there")
        return f"]({'../' * folder.count('/')}code/{shown(path)}.md)"

    return CODE.sub(page, text)


def shown(path: str) -> str:
    """Make the page of a file of code, or of the folder's files, and return its name."""
    name = path.replace("/", ".")
    page = SOURCE / "code" / f"{name}.md"
    if not page.exists():
        page.parent.mkdir(exist_ok=True)
        page.write_text("", "utf-8")
        target = ROOT / path
        if target.is_dir():
            files = sorted(p for p in target.rglob("*.py") if p.name != "__init__.py")
            inside = [p.relative_to(ROOT).as_posix() for p in files]
            body = "\n".join(f"- [{p}]({shown(p)}.md)" for p in inside)
        else:
            body = f"```{{literalinclude}} {os.path.relpath(target, page.parent)}\n:linenos:\n```"
        page.write_text(f"---\norphan: true\nno-search: true\n---\n# {path}\n\n{body}\n", "utf-8")
    return name


def write(name: str, text: str) -> None:
    """A page of the site's source."""
    path = SOURCE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(executed(sources(exercises(text), name)), "utf-8")


def prepare(pages: str = "") -> None:
    """Write the source of the site: pages as they are kept, and pages that are made."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    for path in sorted(DOCS.rglob("*.md")):
        name = path.relative_to(DOCS).as_posix()
        if name.startswith(pages):
            write(name, path.read_text("utf-8"))
    shutil.rmtree(BUILD / "locale", ignore_errors=True)
    shutil.copytree(DOCS / "locale", BUILD / "locale")
    for name in ("conf.py", "site", "lstm.svg"):
        (SOURCE / name).symlink_to(DOCS / name)
    if pages:
        (SOURCE / "first.json").write_text("[]", "utf-8")
        write("index.md", "# Pages\n\n```{toctree}\n:glob:\n**\n```\n")
        return
    with TemporaryDirectory() as folder, chdir(folder):  # examples write files
        for maker in ("gallery", "glossary", "ops", "reference"):
            for name, text in runpy.run_path(str(DOCS / f"{maker}.py"))["pages"]().items():
                write(name, text)


def sphinx(builder: str, target: Path, language: str = "en", *, whole: bool = True) -> None:
    """Run Sphinx; a warning is an error. whole: all pages are there, and links lead to them."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", builder]
    folders = ["-d", str(BUILD / "doctrees" / f"{builder}-{language}"), str(SOURCE), str(target)]
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": programs}  # shell blocks find the command that is tried
    options = ["-D", f"language={language}", *folders]
    if not whole:
        options += [
            "-D",
            "suppress_warnings=toc,ref.doc,myst.xref_missing,mystnb.unknown_mime_type",
        ]
    done = subprocess.run([*command, *options], cwd=ROOT, env=environment)
    if done.returncode:
        raise SystemExit(f"the site was not built: {builder} in {language}")


def spoken(words: str) -> bool:
    """Whether a message holds words, and not only code, numbers and formulas."""
    bare = re.sub(
        r"(\{[\w:]+\})?`[^`]*`|\$[^$]*\$|\\[a-zA-Z]+(\{[a-z]+\})?|\]\([^)]*\)|<[^>]*>", "", words
    )
    return bool(re.search(r"[A-Za-z][a-z]+", bare))


def renumbered(words: str, known: dict[str, str]) -> str:
    """The translation of the same sentence with other numbers, with these; "" if there is none."""
    numbers, between = MEASURED.findall(words), MEASURED.split(words)
    for was, translation in known.items():
        same = MEASURED.split(was) == between
        if same and MEASURED.findall(was) == MEASURED.findall(translation):
            parts = zip(MEASURED.split(translation), [*numbers, ""], strict=True)
            return "".join(text + number for text, number in parts)
    return ""


def translated(words: str, known: dict[str, str]) -> str:
    """The translation of a message, of the parts of a row or of a link; "" if there is none."""
    link = re.fullmatch(r"\[(.+)\]\(([^)]+)\)", words)
    if link:
        said = translated(link[1], known)
        return said and f"[{said}]({link[2]})"
    parts = [known.get(part, "") for part in words.split(BETWEEN)]
    return BETWEEN.join(parts) if all(parts) else ""


def translations(update: bool, pages: str = "") -> None:
    """Refuse a sentence that has no Chinese; with `update`, write it where it is to be filled in.

    Of the reference only the frame and the first sentences are asked for.
    """
    from babel.messages.catalog import Catalog
    from babel.messages.pofile import read_po, write_po

    templates, missing = BUILD / "gettext", []
    shutil.rmtree(templates, ignore_errors=True)
    sphinx("gettext", templates, whole=not pages)
    first = set(json.loads((SOURCE / "first.json").read_text("utf-8")))
    files = sorted((DOCS / "locale" / "zh_CN" / "LC_MESSAGES").rglob("*.po"))
    lessons = sorted((ROOT / "tinygrad_rnn" / "locale" / "zh" / "LC_MESSAGES").glob("lesson_*.po"))
    both = [*lessons, *files]  # what an exercise says is in the catalogue of its lesson
    every = [m for path in both for m in read_po(BytesIO(path.read_bytes()), locale="zh_CN")]
    known = {m.id: m.string for m in every if m.id and m.string}  # said once for all pages
    for template in sorted(templates.rglob("*.pot")):
        name = template.relative_to(templates).with_suffix(".po")
        if not name.as_posix().startswith(pages):
            continue
        path = DOCS / "locale" / "zh_CN" / "LC_MESSAGES" / name
        kept = read_po(BytesIO(path.read_bytes()), locale="zh_CN") if path.exists() else ()
        own = {m.id: m.string for m in kept}  # a page may say it otherwise
        found = Catalog("zh_CN")
        for message in read_po(BytesIO(template.read_bytes())):
            wanted = name.parts[0] != "reference" or message.id in first
            if message.id and spoken(message.id) and name.parts[0] != "code" and wanted:
                said = own.get(message.id) or translated(message.id, known)
                found.add(message.id, said or (renumbered(message.id, known) if update else ""))
        missing += [(name, m.id) for m in found if m.id and not m.string]
        built = BUILD / path.relative_to(DOCS)  # what is known from elsewhere is shown, too
        for place in [built, *[path] * update] if len(found) else []:
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as file:
                write_po(file, found, width=0, omit_header=True)
    for name, words in [] if update else missing[:40]:
        print(f"{name}: not translated: {words!r}", file=sys.stderr)
    if missing and not update:
        raise SystemExit(f"{len(missing)} sentences have no Chinese (--update lists them all)")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--update", action="store_true", help="list what is to be translated")
    parser.add_argument("--only", choices=LANGUAGES, help="build one language")
    parser.add_argument("--pages", default="", help="build only pages whose names begin so")
    asked = parser.parse_args()
    prepare(asked.pages)
    if asked.update or not asked.only:
        translations(asked.update, asked.pages)
    for folder in [asked.only] if asked.only else LANGUAGES:
        shutil.rmtree(BUILD / folder, ignore_errors=True)
        sphinx("html", BUILD / folder, LANGUAGES[folder], whole=not asked.pages)
    shutil.copy(DOCS / "site" / "choose.html", BUILD / "index.html")
    print(BUILD / "index.html")


if __name__ == "__main__":
    main()
