"""Sequences of different length, and the data sets that packages carry: sizes, facts, refusals."""

import importlib.util
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import data

RAGGED = [[3, 1, 4, 1, 5], [], [9, 2], [6]]


# --- lengths and masks --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*"bhilqBHILQ", ">i4"])
def test_lengths_of_any_integer_type(dtype):
    """Zero is a length; a small type may be compared with more steps than it can count."""
    found = data.check_lengths("f", np.array([100, 0, 7], dtype), 300, 3)
    assert found.dtype == np.int64 and found.tolist() == [100, 0, 7]


def test_lengths_as_lists_and_tensors():
    assert data.check_lengths("f", [2, 0], 2, 2).tolist() == [2, 0]
    assert data.check_lengths("f", tg.tensor([2, 0]), 2, 2).tolist() == [2, 0]
    assert data.check_lengths("f", [tg.tensor(2), tg.tensor(0)], 2, 2).tolist() == [2, 0]
    empty = data.check_lengths("f", [], 2, 0)
    assert empty.dtype == np.int64 and empty.shape == (0,)


def test_lengths_come_as_an_array_of_their_own():
    mine = np.array([1, 2])
    found = data.check_lengths("f", mine, 2, 2)
    mine[0] = 9
    assert found.tolist() == [1, 2]


WRONG_LENGTHS = {
    "integral floats": ([3.0, 1.0], TypeError, "integers.*float64"),
    "fractions": ([3.5, 1.0], TypeError, "integers.*float64"),
    "nan": ([np.nan, 1.0], TypeError, "integers.*float64"),
    "bools": ([True, False], TypeError, "integers.*bool.*mask"),
    "words": (["3", "1"], TypeError, "<U1"),
    "none": (None, TypeError, "NoneType"),
    "negative": ([3, -1], ValueError, "at least 0.*got -1 at index 1"),
    "too long": ([1, 5], ValueError, "at most 4.*got 5 at index 1"),
    "too long by a wrap": (np.array([1, 255], "B"), ValueError, "got 255 at index 1"),
    "beyond int64": (np.array([2**64 - 1, 1], "Q"), ValueError, "got 18446744073709551615"),
    "beyond 64 bits": ([2**70, 1], TypeError, "object"),
    "too few": ([1], ValueError, "2 of them.*shape \\(1,\\)"),
    "two axes": ([[1, 2]], ValueError, "shape \\(1, 2\\)"),
    "one number": (3, ValueError, "shape \\(\\)"),
    "ragged": ([[1], [1, 2]], ValueError, "ragged"),
    "masked": (np.ma.array([1, 2], mask=[0, 1]), TypeError, "masked"),
}


@pytest.mark.parametrize("case", WRONG_LENGTHS)
def test_wrong_lengths_are_refused(case):
    lengths, error, message = WRONG_LENGTHS[case]
    with pytest.raises(error, match=f"^Layer: lengths: .*{message}"):
        data.check_lengths("Layer", lengths, 4, 2)


def test_lengths_that_fit_anywhere_still_fit_an_int64():
    assert data.check_lengths("f", [10**12]).tolist() == [10**12]
    with pytest.raises(ValueError, match="at index 0"):
        data.check_lengths("f", np.array([2**63], "Q"))


@pytest.mark.parametrize("dtype", ["?", "i1", "u8", "f4", "f8"])
def test_masks_of_zeros_and_ones(dtype):
    holes = [[1, 0], [0, 0], [1, 0]]
    found = data.check_mask("f", np.array(holes, dtype), 3, 2)
    assert found.dtype == bool and found.tolist() == np.array(holes, bool).tolist()


WRONG_MASKS = {
    "half": ([[1, 0.5], [1, 1], [1, 1]], ValueError, "0.5 at step 0 of sequence 1"),
    "nan": ([[1, 1], [1, 1], [np.nan, 1]], ValueError, "nan at step 2 of sequence 0"),
    "two": ([[1, 1], [2, 1], [1, 1]], ValueError, "got 2 at step 1"),
    "minus one": ([[1, 1], [1, 1], [1, -1]], ValueError, "got -1"),
    "turned": (np.ones((2, 3)), ValueError, "\\(3, 2\\), got \\(2, 3\\). Use its .T"),
    "one axis": ([True, False, True], ValueError, "got \\(3,\\)"),
    "words": ([["a", "b"]] * 3, TypeError, "<U1"),
}


@pytest.mark.parametrize("case", WRONG_MASKS)
def test_wrong_masks_are_refused(case):
    mask, error, message = WRONG_MASKS[case]
    with pytest.raises(error, match=f"^Layer: mask: .*{message}"):
        data.check_mask("Layer", mask, 3, 2)


def test_mask_of_lengths():
    found = data.mask_of(np.array([2, 0, 3], "u1"), 4)
    expected = [[1, 0, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert found.dtype == bool and found.tolist() == np.array(expected, bool).tolist()
    assert data.mask_of([], 2).shape == (2, 0) and data.mask_of([0], 0).shape == (0, 1)
    with pytest.raises(ValueError, match="mask_of: lengths"):
        data.mask_of([3], 2)
    with pytest.raises(TypeError, match="mask_of: steps"):
        data.mask_of([3], 3.0)


# --- padding ------------------------------------------------------------------------------------


def test_pad_writes_sequences_in_columns():
    padded, lengths = data.pad(RAGGED, -1)
    assert padded.tolist() == [
        [3, -1, 9, 6],
        [1, -1, 2, -1],
        [4, -1, -1, -1],
        [1, -1, -1, -1],
        [5, -1, -1, -1],
    ]
    assert padded.dtype == np.int64 and lengths.dtype == np.int64
    assert lengths.tolist() == [5, 0, 2, 1]


@pytest.mark.parametrize("rest", [(), (3,), (2, 0)])
@pytest.mark.parametrize("lengths", [(4, 0, 7, 1), (0, 0), (5,)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "?"])
def test_unpad_undoes_pad(lengths, rest, dtype):
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 2, (n, *rest)).astype(dtype) for n in lengths]
    padded, found = data.pad(iter(sequences), 1)
    assert padded.dtype == dtype and padded.shape == (max(lengths), len(lengths), *rest)
    assert (padded[~data.mask_of(found, len(padded))] == 1).all()
    for ours, theirs in zip(data.unpad(padded, found), sequences, strict=True):
        assert ours.dtype == dtype and np.array_equal(ours, theirs)
        assert not np.shares_memory(ours, padded)


def test_pad_mixes_types_as_numpy_does():
    assert data.pad([np.ones(2, "f4"), np.ones(1, "f8")])[0].dtype == np.float64
    assert data.pad([np.ones((2, 3), "f4"), []])[0].dtype == np.float32
    assert np.isnan(data.pad([[1.0], []], np.nan)[0][0, 1])


@pytest.mark.parametrize(
    "sequences, value, error, message",
    [
        ([], 0, ValueError, "at least one sequence, got none"),
        ([np.ones((2, 3)), np.ones((2, 4))], 0, ValueError, "sequence 1.*\\(2, 3\\).*\\(2, 4\\)"),
        ([np.ones(2), 3.0], 0, ValueError, "sequence 1.*got \\(\\)"),
        ([3.0, np.ones(2)], 0, ValueError, "sequence 0.*got \\(\\)"),
        ([np.ones(2), "ab"], 0, TypeError, "sequence 1.*<U2"),
        ([np.ones(2, "u1")], -1, ValueError, "value.*uint8.*-1"),
        ([np.ones(2, "u1")], 256, ValueError, "value.*uint8.*256"),
        ([np.ones(2, "i8")], 0.5, ValueError, "value.*int64.*0.5"),
        ([np.ones(2, "i8")], np.nan, ValueError, "value.*int64.*nan"),
        ([np.ones(2, "f4")], 1e300, ValueError, "value.*float32.*1e"),
        ([np.ones(2, "f4")], 1j, TypeError, "value: expected a number, got 1j"),
        ([np.ones(2, "f4")], [1, 2], TypeError, "value: expected a number"),
    ],
)
def test_pad_refuses(sequences, value, error, message):
    with pytest.raises(error, match=f"^pad: .*{message}"):
        data.pad(sequences, value)


def test_unpad_refuses():
    with pytest.raises(ValueError, match="unpad: array"):
        data.unpad([1, 2], [1])
    with pytest.raises(ValueError, match=r"unpad: lengths: .*at most 2"):
        data.unpad([[1], [2]], [3])


# --- batches of similar length ------------------------------------------------------------------


@pytest.mark.parametrize("count, batch", [(0, 4), (1, 4), (8, 4), (103, 10), (5, 100)])
def test_buckets_hold_every_sequence_once(count, batch):
    lengths = np.random.default_rng(0).integers(0, 50, count)
    batches = list(data.buckets(lengths, batch, rng=1))
    assert sorted(k for index in batches for k in index) == list(range(count))
    assert sorted(map(len, batches))[1:] == [batch] * max(0, -(-count // batch) - 1)
    assert all(index.dtype == np.int64 for index in batches)


def test_buckets_follow_their_seed():
    lengths = np.random.default_rng(0).integers(1, 50, 103)
    first, same, other = (list(data.buckets(lengths, 10, rng=seed)) for seed in (3, 3, 4))
    assert all(map(np.array_equal, first, same)) and not all(map(np.array_equal, first, other))
    rng = np.random.default_rng(3)
    again = [list(data.buckets(lengths, 10, rng=rng)) for _ in range(2)]
    assert all(map(np.array_equal, first, again[0]))
    assert {frozenset(b.tolist()) for b in again[0]} != {frozenset(b.tolist()) for b in again[1]}


def test_buckets_spare_padding_and_come_in_no_order():
    lengths = np.random.default_rng(0).integers(1, 100, 1000)
    batches = list(data.buckets(lengths, 20, rng=0))
    longest = [lengths[index].max() for index in batches]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)
    assert 0 < data.padding_share(lengths, batches) < 0.08
    assert data.padding_share(lengths, np.arange(1000).reshape(-1, 20)) > 0.4


def test_a_masked_sequence_is_no_stream():
    with pytest.raises(TypeError, match="streams: index: got a masked array"):
        next(data.windows(np.ma.masked_array(np.arange(7), np.arange(7) == 2), 2, 3))


def test_padding_share_counts_steps():
    assert data.padding_share([4, 1, 3], [[0, 1], [2]]) == pytest.approx(3 / 11)
    assert data.padding_share([4, 4], [[0, 1]]) == 0
    assert data.padding_share([0, 0], [[0, 1], []]) == 0 == data.padding_share([], [])
    big = np.full(300, 255, np.uint8)
    assert data.padding_share(big, [np.arange(300)]) == 0


def test_buckets_refuse_before_they_are_read():
    with pytest.raises(TypeError, match="buckets: lengths"):
        data.buckets([1.5], 2, rng=0)
    with pytest.raises(ValueError, match="buckets: batch: expected at least 1, got 0"):
        data.buckets([1], 0, rng=0)
    with pytest.raises(TypeError, match="buckets: batch"):
        data.buckets([1], 2.0, rng=0)


def test_one_hot():
    found = data.one_hot(np.array([[2, 0], [1, 2]], "u1"), 3)
    assert found.dtype == np.float32 and found.tolist() == [
        [[0, 0, 1], [1, 0, 0]],
        [[0, 1, 0], [0, 0, 1]],
    ]
    assert data.one_hot(1, 2, np.float64).dtype == np.float64
    for wrong in ([3], [-1]):
        with pytest.raises(IndexError, match="0 <= index < 3"):
            data.one_hot(wrong, 3)
    for wrong in ([1.0], [True]):
        with pytest.raises(TypeError, match="index"):
            data.one_hot(wrong, 3)
    with pytest.raises(TypeError, match="one_hot: classes"):
        data.one_hot([1], 2.5)


# --- what packages carry ------------------------------------------------------------------------

PACKAGES = {
    "digits": ("sklearn", "scikit-learn", "pip install '.[data]'"),
    "sunspots": ("statsmodels", "statsmodels", "pip install '.[data]'"),
    "co2": ("statsmodels", "statsmodels", "pip install '.[data]'"),
    "tagged_sentences": ("pycantonese", "pycantonese", "pip install '.[data]'"),
    "names": ("faker", "faker", "pip install '.[data]'"),
    "dates": ("babel", "babel", "pip install '.[data]'"),
    "tunes": ("music21", "music21", "pip install --no-deps music21"),
}
FOUND = {name: importlib.util.find_spec(row[0]) is not None for name, row in PACKAGES.items()}


def load(name):
    return data.dates(500, 7) if name == "dates" else getattr(data, name)()


def needs(name):
    _, project, command = PACKAGES[name]
    return pytest.mark.skipif(not FOUND[name], reason=f"needs {project}: {command}")


each = pytest.mark.parametrize("name", [pytest.param(n, marks=needs(n)) for n in PACKAGES])


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_says_how_to_install_it(name, monkeypatch):
    package, project, command = PACKAGES[name]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        load(name)
    assert str(caught.value) == f"data.{name}: needs {project}: {command}"
    assert caught.value.name == package


@pytest.mark.parametrize("file", ["sklearn.py", "sklearn/__init__.py"])
def test_a_package_without_its_data_says_so(file, tmp_path, monkeypatch):
    """A file of the same name that lies in the way, or a copy that came without its data."""
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    with pytest.raises(FileNotFoundError, match=f"digits.csv.gz in sklearn .at .*{file}"):
        data.digits()


@each
def test_loading_twice_gives_the_same(name):
    first, second = load(name), load(name)
    if isinstance(first, tuple):
        for a, b in zip(first, second, strict=True):
            assert a.dtype == b.dtype and a.tobytes() == b.tobytes() and a.flags.writeable
    else:
        assert first == second and len(first)


@each
def test_every_data_set_says_where_it_comes_from(name):
    text = " ".join(getattr(data, name).__doc__.split())
    assert "Source: " in text and re.search(r"Licence: [^.]", text) and re.search(r"\d", text)


def test_loading_imports_nothing_heavy():
    names = [name for name in FOUND if FOUND[name] and name not in ("names", "dates")]
    heavy = (
        "sklearn",
        "scipy",
        "statsmodels",
        "pandas",
        "pycantonese",
        "music21",
        "faker",
        "babel",
    )
    code = f"""
import sys
from tinygrad_rnn import data
for name in {names}: getattr(data, name)()
print([m for m in {heavy} if m in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]" and not out.stderr


@needs("digits")
def test_digits():
    images, labels = data.digits()
    assert images.shape == (1797, 8, 8) and images.dtype == np.float32
    assert images.min() == 0 and images.max() == 1
    assert labels.dtype == np.int64 and np.bincount(labels).tolist() == [
        *(178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
    ]
    from sklearn.datasets import load_digits

    theirs = load_digits()
    assert np.array_equal(images * 16, theirs.images) and np.array_equal(labels, theirs.target)


@needs("sunspots")
def test_sunspots():
    years, activity = data.sunspots()
    assert years.tolist() == list(range(1700, 2009))
    assert activity.shape == (309,) and activity.dtype == np.float64
    assert years[activity.argmax()] == 1957 and activity.max() == 190.2


@needs("co2")
def test_co2():
    days, ppm = data.co2()
    assert len(days) == len(ppm) == 2284 and np.isnan(ppm).sum() == 59
    assert (np.diff(days) == np.timedelta64(7, "D")).all()
    assert (str(days[0]), ppm[0]) == ("1958-03-29", 316.1)
    assert (str(days[-1]), ppm[-1]) == ("2001-12-29", 371.5)


@needs("tagged_sentences")
def test_tagged_sentences():
    sentences = data.tagged_sentences()
    tokens = [token for sentence in sentences for token in sentence]
    words = [word for word, tag in tokens if tag != "PUNCT"]
    assert (len(sentences), len(words), len(set(words))) == (16_162, 125_394, 7_213)
    assert len(tokens) == 153_656 and min(map(len, sentences)) > 0
    tags = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT VERB X"
    assert {tag for _, tag in tokens} == set(tags.split())
    assert sentences[0][:4] == [("喂", "INTJ"), ("遲", "ADJ"), ("啲", "PART"), ("去", "VERB")]


@needs("tagged_sentences")
def test_universal_tags_are_those_of_pycantonese():
    """But for a few dozen words of rare tags."""
    from pycantonese.pos_tagging.hkcancor_to_ud import hkcancor_to_ud

    folder = importlib.util.find_spec("pycantonese").submodule_search_locations[0]
    paths = sorted(Path(folder, "data/hkcancor").glob("*.cha"))
    text = "".join(path.read_text("utf-8") for path in paths)
    marks = re.sub(r"\n\t", " ", text)
    theirs = [
        hkcancor_to_ud(tag.split("|")[0])
        for line in re.findall(r"^%mor:(.*)$", marks, re.M)
        for tag in line.split()
    ]
    ours = [tag for sentence in data.tagged_sentences() for _, tag in sentence]
    assert len(ours) == len(theirs)
    differ = Counter(pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1])
    assert differ.total() < 60, differ


@needs("names")
def test_names():
    found = data.names()
    assert len(found) == 18 and all(len(names) >= 40 for names in found.values())
    assert 12_000 < sum(map(len, found.values())) < 20_000
    for language, names in found.items():
        assert names == sorted(set(names)) and all(names), language
        assert max("".join(names)) < "ʰ", f"{language} is not in Latin letters"
    assert "Adler" in found["German"] and "Adamaszek" in found["Polish"]


@needs("dates")
def test_dates():
    pairs = data.dates(20_000, rng=0)
    assert len(pairs) == 20_000 and pairs[:50] == data.dates(20_000, np.random.default_rng(0))[:50]
    assert pairs[:50] != data.dates(50, rng=1)
    assert all(re.fullmatch(r"(19[5-9]|20[0-4])\d-\d\d-\d\d", iso) for _, iso in pairs)
    meaning = {}
    for text, iso in pairs:
        assert meaning.setdefault(text, iso) == iso, f"{text} has two meanings"
        numbers = [int(digits) for digits in re.findall(r"\d+", text)]
        year, _, day = map(int, iso.split("-"))
        assert {year, day} <= set(numbers)


@needs("dates")
def test_dates_of_chosen_locales():
    assert data.dates(0, 0) == []
    pairs = data.dates(200, 0, locales=["zh"])
    assert all(re.match(r"\d{4}年\d+月\d+日", text) for text, _ in pairs)
    with pytest.raises(TypeError, match=r"data\.dates: count"):
        data.dates(1.5, 0)


@needs("tunes")
def test_tunes():
    found = data.tunes()
    assert len(found) == 2009 and len(set(found)) == 2008
    text = "\n".join(found)
    assert text.isascii() and 530_000 < len(text) < 540_000 and "@" not in text
    for tune in found:
        fields = re.findall(r"^(.):", tune, re.M)
        assert set(fields) <= set("TRMLK") and "K" in fields and "\n\n" not in tune
        assert len(tune.split("\n")) > len(fields), "a tune without notes"
    assert found[0].startswith("T:The Enchanted Valley\nM:2/4\nL:1/16\nK:Gm\nG3-A (Bcd=e) | f4")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_a_mark_of_the_order_of_bytes_is_no_letter(tmp_path, encoding):
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffto be".encode(encoding.removesuffix("-sig")))
    assert data.read_text(path, encoding=encoding) == "to be"
    path.write_bytes("\ufeff".encode(encoding.removesuffix("-sig")))
    with pytest.raises(data.TextError, match="is empty"):
        data.read_text(path, encoding=encoding)


def test_padding_of_very_long_sequences_is_counted_without_wrapping():
    assert tg.data.padding_share([2**62, 2**62], [np.array([0, 1])]) == 0.0


def test_halves_of_characters_are_refused_where_the_text_is_read(tmp_path):
    path = tmp_path / "halves.txt"
    path.write_text("abc\\ud800abc" * 20, "utf-8")
    with pytest.raises(tg.data.TextError, match="halves of characters"):
        tg.data.read_text(path, encoding="unicode_escape")
