"""Text in a buffer of bytes, many pieces at a time: where a field ends, what number it is, its hash.

Eight bytes are one 64-bit word, and a step is done for all rows at once; so a million rows cost some twenty steps for
each field and no Python object. Knows bytes only: ASCII digits, separators, lengths. What a field means, and everything
that is not a plain decimal number, is for its callers; nothing here guesses.

Numbers are exact: digits become a whole number below 2^53 that is divided by a power of ten up to 10^22, which rounds
once and rightly (Clinger, 1990); longer ones are divided with their remainder, and left to the caller where that could
still round wrongly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

# Around every buffer, so that whole words may be read at both of its ends.
PAD = 1024
# A field of more bytes is left to the caller: none of numbers, few of texts.
LONGEST = 64
DIGITS = 24

COMMA, QUOTE, DOT, MINUS, LINE_END = 44, 34, 46, 45, 10

_U = np.uint64
_ONES = _U(0x0101010101010101)
_LOW_BITS = _U(0x7F7F7F7F7F7F7F7F)
_HIGH_BITS = _U(0x8080808080808080)
_LOW_HALVES = _U(0x0F0F0F0F0F0F0F0F)
_HIGH_HALVES = _U(0xF0F0F0F0F0F0F0F0)
_TENS = _U(0x1010101010101010)
_SIXES = _U(0x0606060606060606)
_POWERS = 10.0 ** np.arange(23)
_EXACT = _U(1 << 53)

# Odd constants without a pattern (the fractional parts of square roots of primes); stored hashes depend on them.
_LANES = (
    (0x6A09E667F3BCC909, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1),
    (0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179),
)


class Cells(NamedTuple):
    """One field of many rows: where it begins in a buffer and how long it is, shape (n,) each."""

    begins: Places
    lengths: Places

    def of(self, rows: Any) -> Cells:
        """The cells of some rows."""
        return Cells(self.begins[rows], self.lengths[rows])


def buffer_of(parts: Iterable[bytes | memoryview]) -> Bytes:
    """The bytes one after the other with `PAD` zero bytes before and after; positions count from the first zero."""
    return np.frombuffer(b"".join((bytes(PAD), *parts, bytes(PAD))), dtype=np.uint8)


def text_at(buffer: Bytes, begin: int, length: int) -> str:
    """The text of a field. Raises UnicodeDecodeError."""
    return buffer[begin : begin + length].tobytes().decode()


def words_at(buffer: Bytes, places: Places, count: int) -> list[Words]:
    """`count` words from each place on, a byte at a lower place being the lower byte; one array of shape (n,) each."""
    table = _table_at(buffer, places, count)
    if count == 1:
        return [table[:, 0]]
    return [np.ascontiguousarray(table[:, place]) for place in range(count)]


def _table_at(buffer: Bytes, places: Places, count: int) -> Words:
    size = 8 * count
    # A dtype of the wanted size and stride 1: numpy then copies each place's bytes in one move.
    view = np.ndarray((len(buffer) - size + 1,), dtype=f"V{size}", buffer=buffer.data, strides=(1,))
    return np.asarray(view[places].view("<u8").reshape(-1, count), dtype=np.uint64)


def last_words(buffer: Bytes, cells: Cells) -> list[Words]:
    """The words that each cell ends with, as many as the longest one has (at least one); see `endings`."""
    begins, lengths = cells
    count = max(1, -(-int(lengths.max(initial=0)) // 8))
    if count > 2:
        return endings(buffer, begins, lengths, count)
    words = words_at(buffer, begins, count)
    shift = (64 * count - 8 * lengths).view(np.uint64)
    if count == 1:
        # Of no bytes, the shift by 64 leaves nothing.
        return [words[0] << shift]
    # Shifts by 64 or more, and by less than nothing, leave nothing.
    low, high = words
    return [(high << shift) | (low >> (_U(64) - shift)) | (low << (shift - _U(64))), low << shift]


def endings(buffer: Bytes, begins: Places, lengths: Places, count: int) -> list[Words]:
    """The last 8 * `count` bytes of each field as words, the last one first; bytes before the field are zero."""
    words = words_at(buffer, begins + lengths - 8 * count, count)[::-1]
    return _cut(words, lengths)


def hashes(words: Sequence[Words], lengths: Places, lane: int = 0) -> Words:
    """A 64-bit hash of each field of at most `LONGEST` bytes, from all of its words (`endings`).

    More words than a field has change nothing, so that a text has one hash wherever it is met. The second lane is
    another hash of the same text. Stable: stored states hold these.
    """
    first, step, *rest = _LANES[lane]
    three, four = (_U(each) for each in rest)
    total = lengths.astype(np.uint64) * four
    for place, word in enumerate(words):
        mixed = (word ^ (word >> _U(32))) * _U((first + 2 * place * step) % (1 << 64))
        mixed = (mixed ^ (mixed >> _U(29))) * three
        total ^= mixed
    return total ^ (total >> _U(32))


def hashes_of(texts: Sequence[str], lane: int = 0) -> Words:
    """The hash of each text; one of more than `LONGEST` bytes is hashed by its BLAKE2b digest."""
    return hashes(*_endings_of(texts), lane)


def both_hashes_of(texts: Sequence[str]) -> tuple[Words, Words]:
    """The hashes of each text in the first and in the second lane."""
    words, lengths = _endings_of(texts)
    return hashes(words, lengths), hashes(words, lengths, 1)


def _endings_of(texts: Sequence[str]) -> tuple[list[Words], Places]:
    """What is hashed of each text, and the length of the text itself: one that equals a digest is no collision."""
    joined = "".join(texts)
    # Half of a surrogate pair is no UTF-8, and Python's texts may hold one.
    body = joined.encode(errors="surrogatepass")
    lengths = sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    if len(body) != len(joined) or int(lengths.max(initial=0)) > LONGEST:
        encoded = [text.encode(errors="surrogatepass") for text in texts]
        lengths = np.fromiter(map(len, encoded), np.int64, len(texts))
        encoded = [each if len(each) <= LONGEST else blake2b(each, digest_size=32).digest() for each in encoded]
        sizes = np.fromiter(map(len, encoded), np.int64, len(texts))
        body = b"".join(encoded)
    begins = PAD + np.cumsum(sizes) - sizes
    return endings(buffer_of([body]), begins, sizes, max(1, -(-int(sizes.max(initial=0)) // 8))), lengths


def numbers(words: Sequence[Words], lengths: Places, negative: Flags) -> tuple[Floats, Flags, Flags]:
    """Fields as decimal numbers: values, which of them have a point, and which are plain decimal numbers at all.

    `words` as `endings` gives them, `negative`: a minus comes first. Plain: an optional minus, digits with at most one
    point among, before or behind them, at most `DIGITS` bytes. Values of other fields mean nothing.
    """
    if negative.any():
        lengths = lengths - negative
        words = _cut(words, lengths)
    words = list(words[: DIGITS // 8])
    points = [_equal(word, DOT) for word in words]
    counts = [np.bitwise_count(point) for point in points]
    total = sum(counts[1:], counts[0])
    has_point = total > 0
    plain = (lengths > total) & (lengths <= DIGITS)
    places = None
    if has_point.any():
        plain &= total < 2
        words, places = _without_point(words, points, counts)
    wrong = _not_digits(words[0])
    for word in words[1:]:
        wrong |= _not_digits(word)
    plain &= wrong == 0
    parts = [_whole(word) for word in words]
    whole = parts[0]
    if len(parts) > 1:
        whole = whole + parts[1] * _U(10**8)
    if len(parts) > 2:
        plain &= parts[2] < _U(100)
        whole = whole + parts[2] * _U(10**16)
    values = whole.view(np.int64).astype(np.float64)
    if places is not None:
        if len(parts) > 2:
            plain &= places < len(_POWERS)
        # Several points, which no plain number has, add up to more places than there are.
        values /= _POWERS.take(places, mode="clip")
        if len(parts) > 1 and bool((whole > _EXACT).any()):
            _refine(values, plain, whole, places)
    if negative.any():
        values = np.where(negative, -values, values)
    return values, has_point, plain


def _equal(word: Words, byte: int) -> Words:
    """The high bit of each byte that is equal, exactly."""
    other = word ^ (_ONES * _U(byte))
    return ~(((other & _LOW_BITS) + _LOW_BITS) | other | _LOW_BITS)


def _cut(words: Sequence[Words], lengths: Places) -> list[Words]:
    """Words that end with a field (the last one first), with what is before the field's last `lengths` bytes zero."""
    bits = 64 - 8 * lengths
    if len(words) > 1:
        return [_without(word, np.minimum(np.maximum(bits + 64 * place, 0), 64)) for place, word in enumerate(words)]
    return [_without(words[0], np.maximum(bits, 0) if int(lengths.max(initial=0)) > 8 else bits)]


def _without(word: Words, bits: Places) -> Words:
    """The word with its lowest `bits` (0 to 64) set to zero."""
    shift = bits.view(np.uint64)
    return (word >> shift) << shift


def _without_point(
    words: Sequence[Words], points: Sequence[Words], counts: Sequence[npt.NDArray[np.uint8]]
) -> tuple[list[Words], Places]:
    """The words with the point taken out (what is before it moves up one byte), and how many digits follow it."""
    joined: list[Words] = []
    behind = np.zeros(len(words[0]), dtype=np.int64)
    moved = np.zeros(0, dtype=np.uint64)
    for index, (word, point, count) in enumerate(zip(words, points, counts, strict=True)):
        has = count.astype(np.uint64)
        bit = point >> _U(7)
        below = bit - has
        upto = (bit << _U(8)) - has
        if index:
            # The point came in a later word: this one moves as a whole.
            below |= _U(0) - moved
            upto |= _U(0) - moved
        above = ~upto
        result = (word & above) | ((word & below) << _U(8))
        if index + 1 < len(words):
            result |= (words[index + 1] >> _U(56)) * (has | moved if index else has)
        joined.append(result)
        digits = (np.bitwise_count(above) >> 3) + np.uint8(8 * index)
        behind += digits * count
        moved = moved | has if index else has
    return joined, behind


def _not_digits(word: Words) -> Words:
    """Not zero where a byte is neither zero nor an ASCII digit (no field has bytes from 1 to 15)."""
    high = (word & _HIGH_HALVES) ^ ((word & _TENS) * _U(3))
    above_nine: Words = ((word & _LOW_HALVES) + _SIXES) & _TENS
    return high | above_nine


def _whole(word: Words) -> Words:
    """Eight digits (zero bytes count as 0), the first in the lowest byte, as a whole number."""
    pairs = ((word & _LOW_HALVES) * _U(2561)) >> _U(8)
    fours = ((pairs & _U(0x00FF00FF00FF00FF)) * _U(6553601)) >> _U(16)
    return ((fours & _U(0x0000FFFF0000FFFF)) * _U(42949672960001)) >> _U(32)


def _refine(values: Floats, plain: Flags, whole: Words, places: Places) -> None:
    """Divide whole numbers beyond 2^53 with their remainder; rows that could still be rounded wrongly are not plain."""
    # Without a point the conversion was the only rounding.
    rows = np.flatnonzero(plain & (whole > _EXACT) & (places > 0))
    number, power = whole[rows].view(np.int64), np.asarray(_POWERS[places[rows]], dtype=np.float64)
    high = number.astype(np.float64)
    low = (number - high.astype(np.int64)).astype(np.float64)
    first: Floats = high / power
    product = first * power
    # The error of the product, exactly (Dekker, 1971).
    one, two = _halves(first), _halves(power)
    error = ((one[0] * two[0] - product) + one[0] * two[1] + one[1] * two[0]) + one[1] * two[1]
    second = (((high - product) - error) + low) / power
    result = first + second
    rest = second - (result - first)
    values[rows] = result
    half = np.spacing(np.abs(result)) / 2.0
    # Half a unit in the last place, nearly: only exact arithmetic could tell which way.
    doubtful = np.abs(np.abs(rest) - half) <= half * 1e-9
    plain[rows[doubtful]] = False


def _halves(values: Floats) -> tuple[Floats, Floats]:
    spread = 134217729.0 * values  # 2^27 + 1
    high = spread - (spread - values)
    return high, values - high
