"""Words: sentences with parts of speech, names of many languages, dates written in many ways."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ..limits import whole
from ..randomness import Random, generator
from .packages import carried, imported

Sentence = list[tuple[str, str]]

# The corpus has 94 tags. Each begins with one of these; the longest that fits decides.
UNIVERSAL = {
    "a": "ADJ", "ad": "ADV", "an": "NOUN", "b": "ADJ", "c": "CCONJ", "d": "ADV", "e": "INTJ",
    "f": "ADV", "g1": "VERB", "g2": "ADJ", "h": "PROPN", "j": "NOUN", "jb": "ADJ", "jns": "PROPN",
    "jnt": "PROPN", "jnz": "PROPN", "jv": "VERB", "m": "NUM", "n": "NOUN", "n1": "DET",
    "nr": "PROPN", "ns": "PROPN", "nt": "PROPN", "nz": "PROPN", "p": "ADP", "q": "NOUN",
    "r": "PRON", "s": "NOUN", "t": "ADV", "u": "PART", "v": "VERB", "vd": "ADV", "vn": "NOUN",
    "vu": "AUX", "y": "PART", "z": "ADJ",
}  # fmt: skip


def tagged_sentences() -> list[Sentence]:
    """Cantonese conversations: 16,162 utterances of (word, part of speech).

    125,394 words, 7,213 different ones, and 28,262 punctuation marks, of 58 recordings from
    Hong Kong, 1995 to 1998, one after another: cut off the last tenth to test on other
    conversations. The 94 tags are mapped to 15 of the 17 of Universal Dependencies.
    Source: pycantonese's copy of K. K. Luke and M. L. Y. Wong, The Hong Kong Cantonese corpus:
    design and uses (2015). Licence: CC BY 4.0.

    Raises ModuleNotFoundError without pycantonese, which is not imported.

    >>> words = tg.data.tagged_sentences()
    >>> len(words)
    16162
    """
    folder = carried("data.tagged_sentences", "pycantonese", "data/hkcancor")
    texts = [path.read_text("utf-8") for path in sorted(folder.glob("*.cha"))]
    return [sentence for text in texts for sentence in _utterances(text)]


def _utterances(text: str) -> list[Sentence]:
    """What was said in a CHAT file: a line of words, `*XXA:`, and below it their tags, `%mor:`."""
    found: list[Sentence] = []
    words: list[str] = []
    for line in text.replace("\n\t", " ").splitlines():  # a line goes on after a tab
        if line.startswith("*"):
            words = line.split(":", 1)[1].split()
        elif line.startswith("%mor:"):
            tags = line.split(":", 1)[1].split()
            found.append([(w, _universal(t)) for w, t in zip(words, tags, strict=True)])
    return found


def _universal(tag: str) -> str:
    """The universal tag of `v|heoi3`, a tag and how the word is spoken, or of a lone mark."""
    tag, bar, _ = tag.lower().partition("|")
    if not bar:
        return "PUNCT"
    tag = tag[1:] if tag.startswith("x") else tag  # a foreign word
    return next((UNIVERSAL[tag[:k]] for k in (3, 2, 1) if tag[:k] in UNIVERSAL), "X")


# Where faker keeps the last names of languages in Latin letters: others would be told by those.
LANGUAGES = {
    "Chinese": "zh_CN last_romanized_names", "Croatian": "hr_HR last_names",
    "Czech": "cs_CZ last_names", "Dutch": "nl_NL last_names", "English": "en_GB last_names",
    "Estonian": "et_EE last_names_est", "Finnish": "fi_FI last_names", "French": "fr_FR last_names",
    "German": "de_DE last_names", "Irish": "ga_IE last_names", "Italian": "it_IT last_names",
    "Japanese": "ja_JP last_romanized_names", "Polish": "pl_PL unisex_last_names",
    "Portuguese": "pt_PT last_names", "Spanish": "es_ES last_names", "Swedish": "sv_SE last_names",
    "Turkish": "tr_TR last_names", "Zulu": "zu_ZA last_names",
}  # fmt: skip


def names() -> dict[str, list[str]]:
    """Last names by language, sorted, each once: 18 languages in Latin letters.

    About 14,000 names, from 49 of Japanese to 3,690 of Polish: weigh them, or draw languages
    first. Some names belong to several. Source: faker's lists. Licence: MIT.

    Raises ModuleNotFoundError without faker.

    >>> len(tg.data.names())
    18
    """
    found = {}
    for language, place in LANGUAGES.items():
        locale, attribute = place.split()
        module = imported("data.names", "faker", f"providers.person.{locale}")
        found[language] = sorted(set(getattr(module.Provider, attribute)))
    return found


def dates(
    count: int,
    rng: Random = None,
    locales: Sequence[str] = ("de", "en", "es", "fr", "it", "ja", "nl", "zh"),
) -> list[tuple[str, str]]:
    """Pairs of a date as people write it and the same date in ISO 8601, drawn at random.

    Such as ("5 de marzo de 2024", "2024-03-05"): a day from 1950 to 2049, a locale, and a style
    (medium, long or full), each equally likely. No text of these locales means two dates; those
    of others may. Source: patterns and words of the Unicode CLDR, through babel.
    Licence: Unicode-3.0, babel's own BSD-3-Clause.

    Raises ModuleNotFoundError without babel, and what babel raises for an unknown locale.

    >>> pairs = tg.data.dates(100, rng=0)
    >>> len(pairs), all(len(iso) == 10 for _, iso in pairs)
    (100, True)
    """
    write = imported("data.dates", "babel", "dates").format_date
    count, rng = whole("data.dates", "count", count, 0), generator("data.dates", rng)
    first, end = datetime.date(1950, 1, 1).toordinal(), datetime.date(2050, 1, 1).toordinal()
    days = map(datetime.date.fromordinal, rng.integers(first, end, count).tolist())
    places = [locales[k] for k in rng.integers(len(locales), size=count)]
    styles = [("medium", "long", "full")[k] for k in rng.integers(3, size=count)]
    return [
        (write(day, style, locale), day.isoformat())
        for day, style, locale in zip(days, styles, places, strict=True)
    ]
