"""The texts of many payloads at a time: which encoding they have, Base64 undone, and the rows of CSV in them.

Texts are masked (`lines.Masked`), so that a row of CSV ends at a byte that is nothing else. What is not plain is told
by flags and left to `payload`. Refuses to know what rows mean.
"""

from __future__ import annotations

from binascii import a2b_base64
from string import ascii_letters, digits
from typing import Any, NamedTuple

import numpy as np

from chalicelib.records.capture import Payload
from chalicelib.records.cells import LINE_END, PAD, Bytes, Flags, Places, buffer_of, counts_between, gathered
from chalicelib.records.lines import BROKEN, QUOTED, masks_in
from chalicelib.records.payload import declared_as, is_base64

_SPACE, _TILDE, _QUOTE, _BACKSLASH, _PADDING = b' ~"\\='
_BASE64 = np.zeros(256, dtype=np.bool_)
_BASE64[list(f"{ascii_letters}{digits}+/".encode())] = True
# What decoded bytes are masked to; 0 for what no plain text has.
_TABLE = np.zeros(256, dtype=np.uint8)
_TABLE[_SPACE : _TILDE + 1] = np.arange(_SPACE, _TILDE + 1)
_TABLE[[_QUOTE, LINE_END, _BACKSLASH]] = QUOTED, BROKEN, 0
_MASKED = _TABLE.tobytes()


class Encoding(NamedTuple):
    """How the payloads of one side are written, as far as it is declared (`payload.content_of`)."""

    is_base64: bool
    is_json: bool
    content_type: str | None


class Marks(NamedTuple):
    """Where the quotes and line breaks of texts are in a buffer, ascending."""

    quotes: Places
    breaks: Places


class Texts(NamedTuple):
    """A text of each of many requests, from `begins` to `ends` in a buffer; shape (n,)."""

    buffer: Bytes
    begins: Places
    ends: Places
    marks: Marks

    def of(self, rows: Any) -> Texts:
        """Those of some requests."""
        return Texts(self.buffer, self.begins[rows], self.ends[rows], self.marks)


class Rows(NamedTuple):
    """Rows of text, those of one request after those of another: (begin, length) of each row in a buffer, and how many
    each request has."""

    buffer: Bytes
    begins: Places
    lengths: Places
    counts: Places


def encoding_of(payload: Payload) -> Encoding:
    """What a payload is declared to be. An undeclared one counts as CSV."""
    return Encoding(is_base64(payload), declared_as(payload) == "JSON", payload.content_type)


def marks_of(buffer: Bytes, places: Places | None = None) -> Marks:
    """The marks of a buffer, which is looked through once for all of its texts; or not at all, where their places are
    known."""
    if places is None:
        places = masks_in(buffer)
    found = buffer[places]
    return Marks(places[found == QUOTED], places[found == BROKEN])


def texts_of(masked: list[bytes]) -> Texts:
    """These texts, one after the other."""
    ends = np.cumsum([len(text) for text in masked])
    moved = PAD + np.concatenate([np.zeros(1, dtype=np.int64), ends])
    buffer = buffer_of(masked)
    return Texts(buffer, moved[:-1], moved[1:], marks_of(buffer))


def mask_text(text: str) -> bytes | None:
    """A decoded text, masked; None where it has more than printable ASCII and line breaks."""
    found = text.encode().translate(_MASKED) if text.isascii() else b"\0"
    return None if b"\0" in found else found


def from_base64(texts: Texts) -> tuple[Texts, Flags]:
    """What Base64 texts hold, and which of them are right and hold plain text."""
    buffer, begins, ends, _ = texts
    fine = (ends > begins) & ((ends - begins) % 4 == 0)
    pads = (buffer[ends - 1] == _PADDING).astype(np.int64)
    pads += (buffer[ends - 2] == _PADDING) & (pads == 1)
    sizes = np.where(fine, ends - begins, 0)
    # Zero bytes between the texts are passed over, as is all that is not Base64.
    padded, firsts = gathered(buffer, begins, begins + sizes)
    for place in (1, 2):
        padded[(firsts + sizes)[fine & (pads >= place)] - place] = ord("A")
    stops = np.cumsum(sizes) // 4 * 3
    try:
        bytes_of = a2b_base64(padded.data)
    except ValueError:  # so many bytes that are no Base64 that the others are no whole number of fours
        bytes_of = b""
    if len(bytes_of) != int(stops[-1]):
        wrong = np.flatnonzero(~_BASE64[padded] & (padded > 0))
        fine[np.searchsorted(firsts, wrong, side="right") - 1] = False
        padded[wrong] = ord("A")
        bytes_of = a2b_base64(padded.data)
    masked = bytes_of.translate(_MASKED)
    decoded = buffer_of([masked])
    stops += PAD
    found = Texts(decoded, stops - sizes // 4 * 3, np.where(fine, stops - pads, stops), marks_of(decoded))
    if b"\0" in masked:
        fine &= counts_between(np.flatnonzero(decoded == 0), found.begins, found.ends) == 0
    return found, fine


def rows_in(texts: Texts) -> Rows:
    """The lines of CSV texts; a line break at the end of a text begins none."""
    buffer, begins, ends, (_, breaks) = texts
    ends = ends - ((ends > begins) & (buffer[ends - 1] == BROKEN))
    # The backslash of an escaped one is part of it, and is nowhere else in a plain text.
    ends -= buffer[ends - 1] == _BACKSLASH
    first = np.searchsorted(breaks, begins)
    inner = np.searchsorted(breaks, ends) - first
    if not inner.any():
        return Rows(buffer, begins, ends - begins, inner + 1)
    counts = inner + 1
    total, after = int(counts.sum()), np.cumsum(counts)
    inside = breaks[np.repeat(first - (np.cumsum(inner) - inner), inner) + np.arange(total - len(counts))]
    row_begins, row_ends = np.empty(total, dtype=np.int64), np.empty(total, dtype=np.int64)
    is_first, is_last = np.zeros(total, dtype=np.bool_), np.zeros(total, dtype=np.bool_)
    is_first[after - counts] = is_last[after - 1] = True
    row_begins[is_first], row_begins[~is_first] = begins, inside + 1
    row_ends[is_last], row_ends[~is_last] = ends, inside - (buffer[inside - 1] == _BACKSLASH)
    return Rows(buffer, row_begins, row_ends - row_begins, counts)


def without_quotes(texts: Texts) -> Flags:
    """Which texts have no quotes in them."""
    found: Flags = counts_between(texts.marks.quotes, texts.begins, texts.ends) == 0
    return found
