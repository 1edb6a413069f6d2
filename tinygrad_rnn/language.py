"""What is said in another language: an English sentence is found again in a catalogue.

The code speaks English only. A catalogue (gettext's, in `locale/`) has its sentences, with `{}` for
what is filled in, and what they are in the other language; `python docs/words.py` finds them in the
code. `said` recognises a sentence by its words, and fills the same values in.
"""

from __future__ import annotations

import gettext
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

DOMAIN, LOCALE = "tinygrad_rnn", Path(__file__).with_name("locale")
WIDE = "[\u3001-\u9fff\uff00-\uffef]"  # what Chinese is written with, between which no space stands
SPACE = re.compile(f"(?<={WIDE}) (?={WIDE})")
PROSE = re.compile(r"\b[a-z]{2,}( [a-z]{2,}){4,}\b")
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
GIVEN = "\ue000"  # a space in what is filled in, which stays
DEEP = 4  # sentences that are filled into each other
LEAST = 11  # letters of one that is not vague; by so many one that is counts less
MOST = 2000  # letters of a text from which on gaps are not looked into: that takes time
_sentences: dict[str, str] = {}  # of the language in use, by the English ones
_used = ["en"]
_patterns: dict[str, re.Pattern[str]] = {}  # what recognises them
_hook: Any = sys.excepthook  # what showed errors before, and does it still


def use(language: str | None = None) -> str:
    """Say what is in a catalogue in its language from now on, and return the language's name.

    language: such as "zh" or "zh_CN.UTF-8"; "" is English, and None what $LANGUAGE, $LC_ALL,
    $LC_MESSAGES or $LANG say. Where there is no catalogue it is English. Below the English words of
    an error that nobody catches stand those of the language.

    >>> from tinygrad_rnn import language
    >>> language.use("zh"), language.said("expected at least 1, got 0")
    ('zh', '至少应为 1，却得到 0')
    >>> language.use("")
    'en'
    """
    found = gettext.find(DOMAIN, LOCALE, None if language is None else [language or "en"])
    _sentences.clear()
    _patterns.clear()
    for path in sorted(Path(found).parent.glob("*.mo")) if found else ():
        with path.open("rb") as file:
            catalogue: dict[Any, str] = vars(gettext.GNUTranslations(file))["_catalog"]
        _sentences.update({k: v for k, v in catalogue.items() if isinstance(k, str) and k and v})
    _patterns.update({words: pattern(words) for words in _sentences if "{}" in words})
    _below_errors(bool(found))
    _used[:] = [Path(found).parts[-3] if found else "en"]
    return used()


def used() -> str:
    """The name of the language in use: "en", "zh".

    >>> from tinygrad_rnn import language
    >>> language.used()
    'en'
    """
    return _used[0]


def said(text: str) -> str:
    """A sentence in the language in use; as it is where no catalogue has it, or not all of it."""
    way = read(text, _patterns)
    return text if _is_left(way) else _translated(way).replace(GIVEN, " ")


class Reading(NamedTuple):
    """A text as a sentence ("": none) with its gaps filled, and how many characters are known."""

    text: str
    sentence: str = ""
    parts: tuple[Reading, ...] = ()
    known: int = 0


def read(text: str, patterns: dict[str, re.Pattern[str]]) -> Reading:
    """Read a text in that way in which most of its characters are those of sentences.

    Of two such ways it is that whose outer sentence has more of them. A vague sentence, which has
    few and begins with a gap, counts less, and what is filled in behind a word is none: there stand
    names of files and people.
    """
    letters = lambda sentence: len(sentence.replace("{}", ""))

    @cache
    def way_of(text: str, deep: int, free: bool) -> Reading:
        best, whole = Reading(text), text.strip()
        if whole in _sentences or patterns.get(whole):
            return Reading(text, whole, (), len(whole))
        long = len(whole) > MOST
        for sentence, gaps in patterns.items() if deep else ():
            vague = sentence.startswith("{}") and letters(sentence) < LEAST
            match = None if vague and not free else gaps.fullmatch(whole)
            if match:
                within = 0 if long else deep - 1
                before = [words.rstrip()[-1:] in ":;.," for words in sentence.split("{}")[:-1]]
                parts = tuple(map(way_of, match.groups(), repeat(within), before))
                known = letters(sentence) + sum(part.known for part in parts)
                known = max(1, known - LEAST) if vague else known
                way = Reading(text, sentence, parts, known)
                best = max(best, way, key=lambda way: (way.known, letters(way.sentence)))
        return best

    return way_of(text, DEEP, True)


def _is_left(way: Reading) -> bool:
    """Whether something is filled in that is prose: half a sentence helps nobody."""
    return (
        any(map(_is_left, way.parts))
        if way.sentence
        else bool(PROSE.search(QUOTED.sub("", way.text)))
    )


def pattern(sentence: str) -> re.Pattern[str]:
    """What recognises a sentence, and finds what fills its gaps."""
    return re.compile("(.*?)".join(map(re.escape, sentence.split("{}"))), re.S)


def _translated(way: Reading) -> str:
    if not way.sentence:
        return way.text.replace(" ", GIVEN)
    words = _sentences[way.sentence]
    words = words.format(*map(_translated, way.parts)) if way.parts else words
    return way.text.replace(way.text.strip(), SPACE.sub("", words))


@contextmanager
def spoken(language: str | None) -> Iterator[None]:
    """The language of a command: also what Python's own parser of arguments says."""
    before, domain = os.environ.get("LANGUAGE"), gettext.textdomain()
    try:
        os.environ["LANGUAGE"] = use(language)
        gettext.bindtextdomain(DOMAIN, str(LOCALE))
        gettext.textdomain(DOMAIN)
        yield
    finally:
        use("")
        gettext.textdomain(domain)
        os.environ.pop("LANGUAGE")
        if before is not None:
            os.environ["LANGUAGE"] = before


def _below_errors(on: bool) -> None:
    """Have what an error says in the language in use printed below it, or no longer."""
    global _hook
    if on and sys.excepthook is not _told:
        _hook, sys.excepthook = sys.excepthook, _told
    elif not on and sys.excepthook is _told:
        sys.excepthook = _hook
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:  # a notebook shows errors itself
        shell.set_custom_exc((Exception,) if on else (), _told_in_a_notebook)


def _told(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    _hook(kind, error, trace)
    _say(error)


def _told_in_a_notebook(shell: Any, kind: Any, error: Any, trace: Any, **_: Any) -> None:
    shell.showtraceback((kind, error, trace))
    _say(error)


def _say(error: BaseException) -> None:
    words = said(str(error))
    if words != str(error):
        print(words, file=sys.stderr)
