"""Text as numbers: a vocabulary of characters, and a text cut into streams and windows."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..lengths import plain
from ..limits import whole

if TYPE_CHECKING:  # at run time it is imported where it is needed: that takes a while
    from pathlib import Path


class TextError(ValueError):
    """A text that cannot be trained on, and why.

    >>> try:
    ...     tg.data.streams(np.arange(2), batch=2)
    ... except tg.data.TextError as error:
    ...     print(type(error).__name__)
    TextError
    """


def default_text() -> str:
    """The language reference that every Python carries (`pydoc_data.topics`).

    About 465,000 characters, 103 different ones, on Python 3.11. Its entropy per character is 4.69
    bits, 3.55 given the character before, 2.45 given the two before. Licence: PSF.

    >>> "lambda" in tg.data.default_text()
    True
    """
    from pydoc_data.topics import topics

    return "\n".join(topics.values())


MAX_BYTES = 100_000_000
BLOCK = 1 << 20  # bytes that are read at a time


def read_text(
    path: str | Path, *, encoding: str = "utf-8", max_bytes: int | None = MAX_BYTES
) -> str:
    """The text of a file or pipe, lines ending in a newline only.

    path: what to read. A mark at the beginning that says the order of bytes is left out.
    encoding: how characters are written in it, by a name that Python knows.
    max_bytes: the most that is read; None for any amount.

    Raises TextError for what is missing, a folder, empty, longer than max_bytes, binary (it holds
    NUL) or of another encoding, as soon as that is seen; ValueError for no encoding of texts.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "text.txt"
    >>> _ = path.write_text("to be")
    >>> tg.data.read_text(path)
    'to be'
    """
    if not str(path):
        raise TextError("the name of the text is empty")
    from pathlib import Path

    path = Path(path)
    decoder = _decoder(encoding)
    try:
        text = "".join(_decoded(path, decoder, encoding, max_bytes)).removeprefix("\ufeff")
    except FileNotFoundError:
        raise TextError(f"there is no text at {path}") from None
    except IsADirectoryError:
        raise TextError(f"{path} is a folder; give the path of one text file") from None
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror or error}") from None
    if not text:
        raise TextError(f"{path} is empty")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    try:
        "a".encode(encoding)  # refuses what is no encoding of texts, as hex is
        return codecs.getincrementaldecoder(encoding)()
    except (LookupError, ValueError) as error:
        raise ValueError(
            f"--encoding: expected a name such as utf-8, utf-16, latin-1 or gb18030: {error}"
        ) from None


def _decoded(
    path: Path, decoder: codecs.IncrementalDecoder, encoding: str, most: int | None
) -> Iterator[str]:
    """The characters of a file, block by block: what is wrong with it ends the reading."""
    size, ended = 0, False
    with open(path, "rb") as file:
        while not ended:
            block = file.read(BLOCK)
            size, ended = size + len(block), not block
            if most is not None and size > most:
                raise TextError(
                    f"{path} has more than {most:,} bytes, the most that is read: give a shorter "
                    "text, or a larger --max-bytes (max_bytes= in Python)"
                )
            try:
                text = decoder.decode(block, final=ended)
            except UnicodeError as error:
                why = str(error)
                if isinstance(error, UnicodeDecodeError):
                    at, byte = size - len(error.object) + error.start, error.object[error.start]
                    why = f"byte {at} is 0x{byte:02x}"
                raise TextError(
                    f"{path} is not {encoding.upper()} ({why}): say what it is, for example "
                    "--encoding utf-16, latin-1 or gb18030 (encoding= in Python), or convert it "
                    "with iconv"
                ) from None
            if re.search("[\ud800-\udfff]", text):
                raise TextError(f"{path} holds halves of characters (surrogates): no --encoding")
            if "\0" in text:
                raise TextError(
                    f"{path} holds NUL characters: it is a binary file, not a text, or one in an "
                    "--encoding such as utf-16"
                )
            yield text


class UnknownCharacter(TextError):
    """A character that is not in a vocabulary."""


class Vocabulary:
    """The characters of a text, numbered in the order of their code points.

    >>> vocabulary = tg.data.Vocabulary("banana")
    >>> len(vocabulary), vocabulary.encode("ban").tolist(), vocabulary.decode([2, 0])
    (3, [1, 0, 2], 'na')
    """

    def __init__(self, text: str):
        _check_text("Vocabulary", text)
        self.characters = "".join(sorted(set(text)))
        self._codes = _codes(self.characters)

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> np.ndarray:
        """The number of each character, int64. Raises TextError naming one that is not known."""
        _check_text("Vocabulary.encode", text)
        codes = _codes(text)
        index = np.minimum(np.searchsorted(self._codes, codes), max(0, len(self) - 1))
        unknown = self._codes[index] != codes if len(self) else codes == codes
        if unknown.any():
            character = text[int(unknown.argmax())]
            raise UnknownCharacter(
                f"the character {character!r} does not occur in the training text"
            )
        return index.astype(np.int64)

    def decode(self, index: np.ndarray | Iterable[int] | int) -> str:
        """The characters of some numbers, as `sample` yields them. Raises IndexError for others."""
        given = [*index] if isinstance(index, Iterator) else index
        numbers = plain("Vocabulary.decode", "index", given).reshape(-1)
        wrong = [i for i in numbers.tolist() if type(i) is not int or not 0 <= i < len(self)]
        if wrong:
            most = f"whole numbers from 0 to {len(self) - 1}"
            raise IndexError(f"Vocabulary.decode: index: expected {most}, got {wrong[0]!r}")
        return "".join(self.characters[i] for i in numbers)

    def __repr__(self) -> str:
        return f"Vocabulary({self.characters!r})"


def _check_text(who: str, text: object) -> None:
    if not isinstance(text, str):
        got = f"expected a text, whose characters are numbered, got {type(text).__name__}"
        raise TypeError(f"{who}: text: {got}")


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def streams(index: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """One long sequence as `batch` streams side by side, (T, batch), and what follows each symbol.

    Stream b is the b-th stretch of the sequence; what does not fill the last row is left out.
    Both are views of the sequence, which may be on disk (np.memmap). Raises TextError when there
    are fewer than two symbols a stream.

    >>> x, y = tg.data.streams(np.arange(7), batch=2)
    >>> x.tolist(), y.tolist()
    ([[0, 3], [1, 4], [2, 5]], [[1, 4], [2, 5], [3, 6]])
    """
    batch = whole("streams", "batch", batch, 1)
    if isinstance(index, str):
        raise TypeError(
            "streams: index: expected numbers, got text: encode it, Vocabulary(text).encode(text)"
        )
    index = np.asanyarray(index)
    if index.ndim != 1:
        got = f"shape {index.shape}"
        raise ValueError(f"streams: index: expected one long sequence of numbers, got {got}")
    plain("streams", "index", index[:0])  # all of it would be read from a disk
    length = (len(index) - 1) // batch
    if length < 1:
        raise TextError(
            f"the text is too short: {len(index)} characters cannot fill {batch} streams with "
            f"one step each; {batch + 1} would"
        )
    x = index[: length * batch].reshape(batch, length)
    y = index[1 : length * batch + 1].reshape(batch, length)
    return x.T, y.T


def windows(
    index: np.ndarray, batch: int, length: int, start: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The streams in windows of `length` steps (the last may be shorter), from window `start` on.

    Consecutive windows continue each other, so a state may be carried from one to the next.

    >>> [x.shape for x, y in tg.data.windows(np.arange(21), batch=2, length=4)]
    [(4, 2), (4, 2), (2, 2)]
    """
    length, start = whole("windows", "length", length, 1), whole("windows", "start", start)
    x, y = streams(index, batch)
    starts = range(start * length, len(x), length)
    copied = np.ascontiguousarray  # of each window, as it is asked for
    return ((copied(x[t : t + length]), copied(y[t : t + length])) for t in starts)
