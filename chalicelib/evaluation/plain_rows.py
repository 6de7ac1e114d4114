"""Rows of plain CSV text counted into the states of a measurement, without a Python object for each.

Texts come as places in a buffer (of lines of a file, or of what Base64 and JSON were made into); what they say is what
`to_table` and `measure` say of the same. Every row that could mean anything else (a header, a quote, another width, an
answer or a label that is no plain number) is told to the caller and not counted. Refuses to know files and envelopes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from chalicelib.evaluation.measurement import Measurement, Subject
from chalicelib.records.cells import (
    COMMA,
    LONGEST,
    MINUS,
    PAD,
    Bytes,
    Cells,
    Flags,
    Floats,
    Places,
    counts_between,
    endings,
    fields,
    hashes,
    hashes_of,
    last_words,
    numbers,
    text_at,
)
from chalicelib.records.envelopes import Span
from chalicelib.records.joins import NONE, Ids, Labels
from chalicelib.records.json_rows import JsonRows
from chalicelib.records.payload import MOST_RECORDS, MOST_VALUES
from chalicelib.records.texts import Encoding, Rows, Texts, from_base64, rows_in, without_quotes
from chalicelib.records.values import GREATEST_PROBABILITY, LEAST_PROBABILITY, NAN, binary_class, number_of
from chalicelib.states.columns import ProfileFold
from chalicelib.states.scores import TallyFold
from chalicelib.states.selection import BinarySelectionFold

# Rows that are worked on together: their columns stay in the processor's cache.
ROWS = 13_824

_BLANK, _BRACKET, _BRACE = b" [{"
_NO_LABEL = set('"[{\n\r')


class Group(NamedTuple):
    """Requests whose payloads are written in the same way: how, their masked texts, and the ids that labels name."""

    encodings: tuple[Encoding, Encoding]
    asked: Texts
    answered: Texts
    ids: Ids


class _Laid(NamedTuple):
    """Requests as rows of CSV text on both sides, as many on one as on the other."""

    asked: Rows
    answered: Rows
    ids: Ids


class _Read(NamedTuple):
    """Rows as they were read; `fine`: those that can be counted."""

    asked: Bytes
    columns: list[Cells]
    answered: Bytes
    answers: list[Cells]
    scores: Floats
    served: Floats
    fine: Flags


class PlainRows:
    """Counts requests of plain rows, as many on one side as on the other."""

    def __init__(self, subject: Subject, labels: Labels) -> None:
        attributes = subject.attributes
        self._labels, self._attributes = labels, attributes
        self._features, self._outputs = attributes.features, attributes.output_names
        self._score = _position(attributes.probability_attribute, self._outputs)
        self._class = _position(attributes.inference_attribute, self._outputs)
        self.fits = _fits(subject) and NONE not in (self._score, self._class)
        self._profile = ProfileFold((*self._outputs, *self._features), len(self._features))
        self._tally = TallyFold()
        # Without a probability the served class stands for it.
        margins = self._score is not None and attributes.has_margins
        self._selection = BinarySelectionFold(margins)
        self._labelled = self._count = 0
        self._hints = [1] * len(self._features)
        self._answer_hints: list[int] = []
        self._classes: dict[int, list[float]] = {}
        self._json: dict[tuple[int, Encoding], JsonRows] = {}
        self._names = hashes_of(self._features)
        self._initials = np.zeros(256, dtype=np.bool_)
        self._initials[[name.encode()[0] for name in self._features]] = True

    def finish(self) -> Measurement:
        """What was counted; nothing is left then."""
        self._labels = Labels()
        return Measurement(
            rows=self._count,
            whole=self._count,
            answered=self._count,
            labelled=self._labelled,
            profile=self._profile.state,
            tally=self._tally.finish(),
            selection=self._selection.state,
        )

    def add(self, buffer: Bytes, asked: Span, answered: Span, ids: Ids) -> Places:
        """Count requests of one row; the places of those that cannot be counted here."""
        known, labels = self._truths(ids)
        fine = np.isfinite(labels) | ~known
        read = self._read_rows(buffer, asked, buffer, answered, fine)
        self._count_rows(read, labels)
        return np.flatnonzero(~read.fine)

    def add_texts(self, groups: Sequence[Group]) -> list[Flags]:
        """Count requests of any number of rows whose payloads are plain once they are decoded; of each group, which
        were counted."""
        counted: list[Flags] = []
        laid: list[_Laid] = []
        for group in groups:
            fine, found = self._laid(group)
            counted.append(fine)
            laid.append(found)
        every = _joined(laid)
        del laid, found
        fine = self._count_laid(every)
        for flags in counted:
            some = int(np.count_nonzero(flags))
            flags[flags], fine = fine[:some], fine[some:]
        return counted

    def _laid(self, group: Group) -> tuple[Flags, _Laid]:
        """Which requests of a group have plain text and as many answers as rows, and these."""
        asked, is_asked = self._plain(0, group.encodings[0], group.asked)
        answered, is_answered = self._plain(1, group.encodings[1], group.answered)
        fine = is_asked & is_answered
        questions, replies = rows_in(asked.of(fine)), rows_in(answered.of(fine))
        same = (questions.counts == replies.counts) & (questions.counts <= MOST_RECORDS)
        fine[fine] = same
        return fine, _Laid(_only(questions, same), _only(replies, same), group.ids[fine])

    def _plain(self, side: int, encoding: Encoding, texts: Texts) -> tuple[Texts, Flags]:
        """Texts of one side as CSV, and which of them are that."""
        fine = np.ones(len(texts.begins), dtype=np.bool_)
        if encoding.is_base64:
            texts, fine = from_base64(texts)
        if not encoding.is_json:
            return texts, fine & without_quotes(texts) & _has_few_values(texts)
        attributes = self._attributes
        positions = (attributes.probability_attribute, attributes.inference_attribute)
        if side == 0 and attributes.features_attribute is not None:
            return texts, np.zeros_like(fine)
        if side == 1 and not all(each is None or each.isdecimal() for each in positions):
            return texts, np.zeros_like(fine)
        key = side, encoding
        if key not in self._json:
            self._json[key] = JsonRows(*((self._features, len(self._features)), ((), 0))[side], encoding.content_type)
        rows = np.flatnonzero(fine)
        found, is_plain = self._json[key].csv(texts.of(rows))
        fine[rows] = is_plain
        begins, ends = np.full((2, len(fine)), PAD)
        begins[rows], ends[rows] = found.begins, found.ends
        return Texts(found.buffer, begins, ends, found.marks), fine

    def _count_laid(self, laid: _Laid) -> Flags:
        """Which requests were counted; each as a whole or not at all."""
        counts = laid.asked.counts
        fine = np.zeros(len(counts), dtype=np.bool_)
        after = np.cumsum(counts)
        labels, readable = self._labels_of_rows(laid.ids, counts)
        # In parts of about the same number of rows, see `folding`.
        total = int(counts.sum())
        size = -(-total // -(-total // ROWS)) if total else 1
        edges = [*np.flatnonzero(np.diff((after - 1) // size, prepend=0)).tolist(), len(counts)]
        start = 0
        for stop in edges:
            if stop == start:
                continue
            some = slice(start, stop)
            rows = slice(int(after[start] - counts[start]), int(after[stop - 1]))
            read = self._read_rows(
                laid.asked.buffer,
                (laid.asked.begins[rows], laid.asked.lengths[rows]),
                laid.answered.buffer,
                (laid.answered.begins[rows], laid.answered.lengths[rows]),
                np.repeat(readable[some], counts[some]),
            )
            whole = np.logical_and.reduceat(read.fine, after[some] - counts[some] - rows.start)
            self._count_rows(read._replace(fine=np.repeat(whole, counts[some])), labels[rows])
            fine[some] = whole
            start = stop
        return fine

    def _labels_of_rows(self, ids: Ids, counts: Places) -> tuple[Floats, Flags]:
        """The class that each row's label names (nan: none), and for which requests all of them could be read."""
        codes = self._labels.find(ids)
        labels = np.full(int(counts.sum()), NAN)
        readable = np.ones(len(counts), dtype=np.bool_)
        firsts = np.cumsum(counts) - counts
        for code in np.unique(codes[codes != NONE]).tolist():
            values = self._labels_of(code)
            named = np.flatnonzero(codes == code)
            fine = (counts[named] == len(values)) & (NAN not in values)
            readable[named[~fine]] = False
            for place, value in enumerate(values):
                labels[firsts[named[fine]] + place] = value
        return labels, readable

    def _read_rows(self, buffer: Bytes, asked: Span, answer_buffer: Bytes, answered: Span, fine: Flags) -> _Read:
        """What rows say, and which of those that are `fine` can be counted."""
        begins, lengths = asked
        columns, regular = fields(buffer, begins, begins + lengths, len(self._features), self._hints)
        answers, usual = self._answer(answer_buffer, *answered)
        fine = fine & regular & usual & (lengths > 0)
        fine &= ~self._may_be_header(buffer, columns[0]) & ~_may_be_json(buffer, begins)
        scores = served = np.full(len(fine), NAN)
        if self._score is not None:
            scores = _values(answer_buffer, answers[self._score], fine, number_of)
            if self._attributes.has_margins:
                fine &= ~np.isnan(scores)
            else:
                fine &= (scores >= LEAST_PROBABILITY) & (scores <= GREATEST_PROBABILITY)
        if self._class is not None:
            served = _values(answer_buffer, answers[self._class], fine, binary_class)
        else:
            served = np.where(scores > self._attributes.probability_threshold, 1.0, 0.0)
        fine &= ~np.isnan(served)
        return _Read(buffer, columns, answer_buffer, answers, scores, served, fine)

    def _count_rows(self, read: _Read, labels: Floats) -> None:
        """Count the rows that are fine (labels nan: none)."""
        asked, columns, answered, answers, scores, served, fine = read
        if not fine.all():
            columns, answers = [each.of(fine) for each in columns], [each.of(fine) for each in answers]
            scores, served, labels = scores[fine], served[fine], labels[fine]
        outputs = answers[: len(self._outputs)]
        self._profile.add([*((answered, each) for each in outputs), *((asked, each) for each in columns)])
        scored = served if self._score is None else scores
        self._tally.add(scored, served, labels)
        self._selection.add(scored, served, labels)
        self._count += len(served)
        self._labelled += int(np.count_nonzero(np.isfinite(labels)))

    def _answer(self, buffer: Bytes, begins: Places, lengths: Places) -> tuple[list[Cells], Flags]:
        """The fields of the answers, as many as are needed, and which answers have as many as usual."""
        needed = max(len(self._outputs), (self._score or 0) + 1, (self._class or 0) + 1)
        if not self._answer_hints:
            # As many as most have: those of another width cost a hundred times as much.
            commas = counts_between(np.flatnonzero(buffer == COMMA), begins, begins + lengths)
            widths, times = np.unique(commas + 1, return_counts=True)
            width = int(widths[times.argmax()])
            self._answer_hints = [1] * max(width, needed)
        found, fine = fields(buffer, begins, begins + lengths, len(self._answer_hints), self._answer_hints)
        return found, fine & (lengths > 0) & ~_may_be_json(buffer, begins)

    def _may_be_header(self, buffer: Bytes, cells: Cells) -> Flags:
        """Whether a row's first field, without blanks around it, could be one of the names: such a row is no record."""
        first, last = buffer[cells.begins], buffer[cells.begins + cells.lengths - 1]
        possible: Flags = (first <= _BLANK) | (last <= _BLANK) | self._initials[first]
        if possible.any():
            keys = hashes(last_words(buffer, cells), cells.lengths)
            possible &= (first <= _BLANK) | (last <= _BLANK) | np.isin(keys, self._names)
        return possible

    def _truths(self, ids: Ids) -> tuple[Flags, Floats]:
        """Whether there is a label for each id of one row, and which class it names (nan: none, or not plainly)."""
        codes = self._labels.find(ids)
        known = codes != NONE
        labels = np.full(len(codes), NAN)
        for code in np.unique(codes[known]).tolist() if known.any() else ():
            values = self._labels_of(code)
            labels[codes == code] = values[0] if len(values) == 1 else NAN
        return known, labels

    def _labels_of(self, code: int) -> list[float]:
        """The classes that a label's text names, one for each row; nan for what is not plainly one."""
        if code not in self._classes:
            text = self._labels.texts[code].strip()
            plain = bool(text) and not set(text) & _NO_LABEL and text.isascii()
            values = [binary_class(field) for field in text.split(",")] if plain else [NAN]
            self._classes[code] = [NAN if value != value else value for value in values]
        return self._classes[code]


def _fits(subject: Subject) -> bool:
    """Whether rows of such a subject can be counted without being laid out in a table."""
    attributes = subject.attributes
    names = (*attributes.features, *attributes.output_names)
    return (
        attributes.problem_type == "BinaryClassification"
        and subject.bias is None
        and subject.attribution is None
        and bool(attributes.features)
        and all(len(name.encode()) <= LONGEST for name in names)
        # A header of such names would look like a row of numbers.
        and not any(number_of(name) == number_of(name) or name != name.strip() or "," in name for name in names)
    )


def _position(attribute: str | None, outputs: tuple[str, ...]) -> int | None:
    """Where a CSV answer has it; None where nothing is asked for, NONE where a CSV answer has none."""
    if attribute is None:
        return None
    if attribute.isdecimal():
        return int(attribute)
    return outputs.index(attribute) if attribute in outputs else NONE


def _only(rows: Rows, requests: Flags) -> Rows:
    if requests.all():
        return rows
    kept = np.repeat(requests, rows.counts)
    return Rows(rows.buffer, rows.begins[kept], rows.lengths[kept], rows.counts[requests])


def _joined(laid: Sequence[_Laid]) -> _Laid:
    """All of them in one buffer, which is the largest of theirs, made larger: it is not copied."""
    sides = [each.asked for each in laid], [each.answered for each in laid]
    buffers = {id(rows.buffer): rows.buffer for rows in (*sides[0], *sides[1])}
    buffer = max(buffers.values(), key=lambda each: len(each) if each.flags.owndata else 0)
    if not buffer.flags.owndata:
        buffer = np.zeros(0, dtype=np.uint8)
    moved = {id(buffer): 0}
    end = len(buffer)
    for key, part in buffers.items():
        if key not in moved:
            moved[key] = end
            end += len(part)
    # Nothing else looks at its bytes in between: what does takes copies.
    buffer.resize(end, refcheck=False)
    for key, part in buffers.items():
        if part is not buffer:
            buffer[moved[key] : moved[key] + len(part)] = part
    asked, answered = (
        Rows(
            buffer,
            np.concatenate([rows.begins + moved[id(rows.buffer)] for rows in side]),
            np.concatenate([rows.lengths for rows in side]),
            np.concatenate([rows.counts for rows in side]),
        )
        for side in sides
    )
    ids = Ids(np.concatenate([each.ids.keys for each in laid]), np.concatenate([each.ids.checks for each in laid]))
    return _Laid(asked, answered, ids)


def _has_few_values(texts: Texts) -> Flags:
    """Which texts of CSV have no more values than `payload` reads."""
    fine = np.ones(len(texts.begins), dtype=np.bool_)
    for row in np.flatnonzero(texts.ends - texts.begins > MOST_VALUES).tolist():
        fine[row] = np.count_nonzero(texts.buffer[texts.begins[row] : texts.ends[row]] == COMMA) <= MOST_VALUES
    return fine


def _may_be_json(buffer: Bytes, begins: Places) -> Flags:
    first = buffer[begins]
    return np.asarray((first == _BRACE) | (first == _BRACKET) | (first <= _BLANK), dtype=np.bool_)


def _values(buffer: Bytes, cells: Cells, fine: Flags, read: Callable[[str], float]) -> Floats:
    """Fields as `read` reads their texts; nan where it does, and in rows that are not fine."""
    begins, lengths, _ = cells
    sizes = np.where(fine, lengths, 0)
    count = min(max(1, -(-int(sizes.max(initial=0)) // 8)), 3)
    values, _, plain = numbers(endings(buffer, begins, sizes, count), sizes, buffer[begins] == MINUS)
    if read is binary_class:
        values = np.where((values == 0.0) | (values == 1.0), values, NAN)
    values = np.where(plain, values, NAN)
    for row in np.flatnonzero(fine & ~plain).tolist():
        values[row] = read(text_at(buffer, int(begins[row]), int(lengths[row])))
    return values
