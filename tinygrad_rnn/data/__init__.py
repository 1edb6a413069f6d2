"""Text as numbers, sequences of different length, data sets, and tests of memory.

Text: read_text, default_text, Vocabulary, streams, windows, TextError.
Sequences of different length: pad, unpad, mask_of, buckets, padding_share, check_lengths,
check_mask. Symbols as vectors: one_hot.
Data sets: sunspots, co2, digits, names, dates, tagged_sentences, tunes.
Tests of memory: adding, copy_memory, temporal_order and its ORDER_SYMBOLS, parity, reber,
embedded_reber.
"""

from ..lengths import check_lengths, check_mask
from .sequences import buckets, mask_of, one_hot, pad, padding_share, unpad
from .series import co2, digits, sunspots
from .tasks import ORDER_SYMBOLS, adding, copy_memory, embedded_reber, parity, reber, temporal_order
from .text import TextError, Vocabulary, default_text, read_text, streams, windows
from .tunes import tunes
from .words import dates, names, tagged_sentences

__all__ = [
    "ORDER_SYMBOLS", "TextError", "Vocabulary", "adding", "buckets", "check_lengths",
    "check_mask", "co2", "copy_memory", "dates", "default_text", "digits", "embedded_reber",
    "mask_of", "names", "one_hot", "pad", "padding_share", "parity", "read_text", "reber",
    "streams", "sunspots", "tagged_sentences", "temporal_order", "tunes", "unpad", "windows",
]  # fmt: skip
