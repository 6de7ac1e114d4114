"""Cells of CSV text counted into the states of a measurement, without a Python object for each.

What they say is what `to_table` and `measure` say of the same payloads. A request with a row that could mean anything
else (a header, a quote, another width, an answer that cannot be read) is not counted here. Not here: files, labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from chalicelib.evaluation.measurement import Measurement, Subject
from chalicelib.records.batch_reader import Captures, rows_of_texts
from chalicelib.records.cells import (
    LONGEST,
    MINUS,
    Bytes,
    Cells,
    Flags,
    Floats,
    Places,
    endings,
    hashes,
    hashes_of,
    last_words,
    numbers,
    text_at,
)
from chalicelib.records.values import (
    GREATEST_PROBABILITY,
    LEAST_PROBABILITY,
    NAN,
    ambiguous,
    binary_class,
    class_reader,
    class_text,
    classes_of,
    number_of,
)
from chalicelib.states.columns import ProfileFold

_BLANK, _TILDE = b" ~"


class Counted(NamedTuple):
    """Which requests were counted, how many records each of them has, and what was answered for each record:
    the score (nan: none), and the class 0 or 1, its place in `classes`, or the number."""

    fine: Flags
    counts: Places
    scores: Floats
    served: Floats
    classes: tuple[str, ...]


class RowFold:
    """Counts requests whose payloads are plain rows, as many asked as answered."""

    def __init__(self, subject: Subject) -> None:
        attributes = subject.attributes
        self._attributes = attributes
        self._score = _position(attributes.probability_attribute, attributes.output_names)
        self._class = _position(attributes.inference_attribute, attributes.output_names)
        self.fits = fits(subject)
        self._profile = ProfileFold((*attributes.output_names, *attributes.features), len(attributes.features))
        self._rows = self._answered = 0
        self._spelled: set[str] = set()
        self._headers = [_Header(names) for names in (attributes.features, attributes.output_names)]

    def finish(self) -> Measurement:
        """What was counted."""
        return Measurement(
            rows=self._rows,
            whole=self._rows,
            answered=self._answered,
            profile=self._profile.state,
            spelled=tuple(sorted(self._spelled)),
        )

    def add(self, captures: Captures) -> Counted:
        """Count those requests that can be counted so, each as a whole or not at all."""
        features, outputs = self._attributes.features, self._attributes.output_names
        asked, answered = map(rows_of_texts, captures.texts(self._attributes))
        width, usual = len(features), max(_usual(answered.widths), self._needed)
        fine = asked.fine & answered.fine & (asked.counts == answered.counts)
        for rows, each in ((asked, width), (answered, usual)):
            fine &= _of_all(rows.widths == each, rows.counts)
        columns = asked.columns(width, np.repeat(fine, asked.counts))
        answers = answered.columns(usual, np.repeat(fine, answered.counts))
        counts = asked.counts[fine]
        usable = ~self._headers[0].may_be(asked.buffer, columns[0])
        if outputs:
            usable &= ~self._headers[1].may_be(answered.buffer, answers[0])
        scores, served, texts, readable = self._answers(answered.buffer, answers, len(usable))
        classes: tuple[str, ...] = ()
        usable &= readable
        if not usable.all():
            whole = _of_all(usable, counts)
            kept = np.repeat(whole, counts)
            columns, answers = [each.of(kept) for each in columns], [each.of(kept) for each in answers]
            scores, served, counts = scores[kept], served[kept], counts[whole]
            fine[fine] = whole
        if texts:
            # Without those of rows that are not counted.
            met, found = np.unique(served, return_inverse=True)
            classes, places = classes_of([texts[int(each)] for each in met])
            served = np.array(places)[found]
            self._spelled |= {*ambiguous(texts[int(each)] for each in met)}
        described = answers[: len(outputs)]
        self._profile.add(
            [*((answered.buffer, each) for each in described), *((asked.buffer, each) for each in columns)]
        )
        self._rows += len(served)
        self._answered += int(np.count_nonzero(~np.isnan(served)))
        return Counted(fine, counts, scores, served, classes)

    @property
    def _needed(self) -> int:
        """How many fields an answer must have."""
        places = [place + 1 for place in (self._score, self._class) if place is not None]
        return max([len(self._attributes.output_names), *places])

    def _answers(self, buffer: Bytes, answers: Sequence[Cells], count: int) -> tuple[Floats, Floats, list[str], Flags]:
        """Scores, what was served, the texts that it points into where there are several classes, and in which rows all
        of it can be read."""
        attributes = self._attributes
        fine = np.ones(count, dtype=np.bool_)
        scores = np.full(count, NAN)
        texts: list[str] = []
        if self._score is not None:
            scores = _values(buffer, answers[self._score], number_of)
            if attributes.has_margins:
                fine &= ~np.isnan(scores)
            else:
                fine &= (scores >= LEAST_PROBABILITY) & (scores <= GREATEST_PROBABILITY)
        if self._class is None and self._score is None:
            return scores, scores, texts, fine
        if self._class is None:
            served = np.where(scores > attributes.probability_threshold, 1.0, 0.0)
        elif attributes.problem_type == "MulticlassClassification":
            served, texts = _class_places(buffer, answers[self._class])
        elif attributes.positive_class is not None:
            read = class_reader(attributes.positive_class)
            texts, places = _different(buffer, answers[self._class])
            served = np.array([read(text) for text in texts], dtype=np.float64)[places]
        else:
            read = number_of if attributes.problem_type == "Regression" else binary_class
            served = _values(buffer, answers[self._class], read)
        return scores, served, texts, fine & ~np.isnan(served)


def fits(subject: Subject) -> bool:
    """Whether rows of such a subject can be counted without being laid out in a table."""
    attributes = subject.attributes
    positions = (
        _position(each, attributes.output_names)
        for each in (attributes.probability_attribute, attributes.inference_attribute)
    )
    return subject.bias is None and subject.attribution is None and bool(attributes.features) and -1 not in positions


def _position(attribute: str | None, outputs: tuple[str, ...]) -> int | None:
    """Where a CSV answer has it; None where nothing is asked for, -1 where a CSV answer has none."""
    if attribute is None:
        return None
    if attribute.isdecimal():
        return int(attribute)
    return outputs.index(attribute) if attribute in outputs else -1


def _usual(widths: Places) -> int:
    """The width that most rows have."""
    return int(np.bincount(widths).argmax()) if len(widths) else 1


def _of_all(flags: Flags, counts: Places) -> Flags:
    """Whether all rows of each request are flagged."""
    if flags.all():
        return np.ones(len(counts), dtype=np.bool_)
    found = np.ones(len(counts), dtype=np.bool_)
    found[np.repeat(np.arange(len(counts)), counts)[~flags]] = False
    return found


class _Header:
    """Finds rows that may be a header: their first field, without blanks around it, is one of the names."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = hashes_of(names)
        self._initials = np.zeros(256, dtype=np.bool_)
        self._initials[[name.encode()[0] for name in names]] = True

    def may_be(self, buffer: Bytes, cells: Cells) -> Flags:
        first, last = buffer[cells.begins], buffer[cells.begins + cells.lengths - 1]
        unclear = (first <= _BLANK) | (last <= _BLANK) | (first > _TILDE) | (last > _TILDE) | (cells.lengths > LONGEST)
        unclear &= cells.lengths > 0
        possible: Flags = unclear | self._initials[first]
        if possible.any():
            rows = np.flatnonzero(possible)
            some = cells.of(rows)
            possible[rows] = unclear[rows] | np.isin(hashes(last_words(buffer, some), some.lengths), self._names)
        return possible


def _class_places(buffer: Bytes, cells: Cells) -> tuple[Floats, list[str]]:
    """The place of each field's class in a list of how classes are written; nan where it names none."""
    fields, places = _different(buffer, cells)
    known: dict[str, float] = {}
    found = [NAN if (text := class_text(field)) is None else known.setdefault(text, len(known)) for field in fields]
    return np.array(found, dtype=np.float64)[places], list(known)


def _different(buffer: Bytes, cells: Cells) -> tuple[list[str], Places]:
    """The different texts of fields, and which of them each field has."""
    begins, lengths = cells
    known: dict[str, int] = {}
    places = [
        known.setdefault(text_at(buffer, *place), len(known))
        for place in zip(begins.tolist(), lengths.tolist(), strict=True)
    ]
    return list(known), np.array(places, dtype=np.int64)


def _values(buffer: Bytes, cells: Cells, read: Callable[[str], float]) -> Floats:
    """Fields as `read` reads their texts."""
    begins, lengths = cells
    count = min(max(1, -(-int(lengths.max(initial=0)) // 8)), 3)
    values, _, plain = numbers(endings(buffer, begins, lengths, count), lengths, buffer[begins] == MINUS)
    if read is binary_class:
        values = np.where((values == 0.0) | (values == 1.0), values, NAN)
    for row in np.flatnonzero(~plain).tolist():
        values[row] = read(text_at(buffer, int(begins[row]), int(lengths[row])))
    return values
