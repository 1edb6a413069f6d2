"""The page that a learner gets when a lesson is done: why it is right, their code, their run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape, unescape
from typing import Any

from ..language import said, used
from .grade import picture
from .lessons import Lesson, text_of

STYLE = """
body { font: 1rem/1.6 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff }
pre { background: #8881; padding: .8rem; white-space: pre-wrap; border-radius: .4rem }
h2 { margin-top: 2rem } svg { max-width: 100%; height: auto; background: #fff }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #15171a } }
@media print { h2, pre, svg { break-inside: avoid } }
"""


def page(lesson: Lesson, names: Mapping[str, Any], source: str) -> str:
    """An HTML page that stands alone."""
    title = f"{lesson.number} {said(lesson.title)}"
    body = [f"<h1>{escape(title)}</h1>"]
    drawn = picture(lesson, names)
    if drawn is not None:
        svg = re.sub(
            r"(?<=>)[^<>]+(?=</)", lambda words: escape(said(unescape(words[0]))), drawn.svg
        )
        body.append(f"<h2>{said('Your own run')}</h2>\n{svg}")
    for k, exercise in enumerate(lesson.exercises, 1):
        body.append(f"<h2>{lesson.number}.{k} {escape(said(exercise.title))}</h2>")
        body.append(f"<p>{escape(said(exercise.why))}</p>")
        body.append(f"<pre>{escape(text_of(source, exercise.name))}</pre>")
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    head += '<meta name="viewport" content="width=device-width">'
    text = "\n".join(body)
    return f'<!doctype html>\n<html lang="{used()}">\n<head>{head}</head>\n{text}\n</html>\n'
