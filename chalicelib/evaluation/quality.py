"""Labels joined to answers: the states that depend on labels, of one batch or of a whole stored window.

A label is known by its request's id and holds a value for each record. Each different text of a label is read once.
Not here: which of several labels counts (`records.label_table`), what needs no label (`measurement`), and thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.evaluation.measurement import SAMPLES, Measurement, Reason, Subject
from chalicelib.records.answers import Answers, places_among
from chalicelib.records.attributes import Attributes
from chalicelib.records.ground_truth import RECORD_LABELS
from chalicelib.records.joins import NONE
from chalicelib.records.label_values import (
    NOT_READABLE,
    OF_ANOTHER,
    label_values,
    not_one_for_each,
    record_labels_of,
)
from chalicelib.records.values import EXPECTED, NAN, ambiguous, class_reader, class_text, classes_of, number_of
from chalicelib.states.bias import BiasCounts, bias_counts
from chalicelib.states.class_matrix import class_matrix
from chalicelib.states.facets import MISSING, BiasSettings, Members
from chalicelib.states.residuals import residuals
from chalicelib.states.scores import TallyFold
from chalicelib.states.selection import BinarySelectionFold, class_selection, regression_selection

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]

# Lengths of label documents that have none.
_UNREADABLE, _OF_RECORDS = -1, -2


class Quality(msgspec.Struct, frozen=True, eq=False):
    """What labels say of n answers.

    `measured` has the label-dependent states alone: it is added to what was measured without labels. `served` and
    `labels`, shape (n,), are the class 0 or 1, a place in one common list of classes, or the number; nan for none.
    """

    measured: Measurement
    served: Floats
    labels: Floats


def quality_of(
    answers: Answers,
    codes: Codes,
    texts: Sequence[str],
    subject: Subject,
    names: Callable[[Places], Sequence[str]],
) -> Quality:
    """Join labels to answers.

    `codes`, shape (n,): the label's place in `texts` for each answer, `joins.NONE` without one. `names` gives the ids
    that the labels of some rows name, to say which labels cannot be read.
    """
    fold = QualityFold(subject)
    served, labels = fold.add(answers, codes, texts, names)
    return Quality(fold.finish(), served, labels)


class QualityFold:
    """Joins labels to answers that come in parts, each request in one of them; arguments as `quality_of`."""

    def __init__(self, subject: Subject) -> None:
        attributes = subject.attributes
        self._subject, self._has_scores = subject, attributes.probability_attribute is not None
        self._measured = Measurement()
        self._tally = TallyFold()
        self._selection = BinarySelectionFold(attributes.has_margins and self._has_scores)

    def add(
        self, answers: Answers, codes: Codes, texts: Sequence[str], names: Callable[[Places], Sequence[str]]
    ) -> tuple[Floats, Floats]:
        """What was served and the labels, as `Quality` has them."""
        subject, attributes = self._subject, self._subject.attributes
        reading = _Reading(answers, codes, texts, attributes, names)
        served, labels, classes = reading.columns()
        answered, known = np.isfinite(served), ~np.isnan(labels)
        bias = BiasCounts()
        if subject.bias and answers.facets is not None:
            bias = _bias(answers, served, labels, classes, subject.bias)
        self._measured += Measurement(
            labelled=int((answered & known).sum()), bad=reading.bad(), bias=bias, spelled=reading.spelled
        )
        if attributes.problem_type == "BinaryClassification":
            scores = answers.scores if self._has_scores else served
            self._tally.add(scores, served, labels)
            self._selection.add(scores[answered], served[answered], labels[answered])
        elif attributes.problem_type == "MulticlassClassification":
            self._measured += Measurement(
                matrix=class_matrix(classes, served, labels),
                selection=class_selection(classes, served[answered], labels[answered]),
            )
        else:
            self._measured += Measurement(
                residuals=residuals(answers.hashes, served, labels),
                selection=regression_selection(served[answered], labels[answered]),
            )
        return served, labels

    def finish(self) -> Measurement:
        """What was joined; nothing can be added then."""
        return self._measured + Measurement(tally=self._tally.finish(), selection=self._selection.state)


def _bias(
    answers: Answers, served: Floats, labels: Floats, classes: Sequence[str], settings: BiasSettings
) -> BiasCounts:
    assert answers.facets is not None
    rows = np.flatnonzero(answers.regular)
    label, prediction = (_positive(column[rows], classes, settings) for column in (labels, served))
    return bias_counts(answers.facets[rows], answers.hashes[rows], label, prediction, settings)


def _positive(column: Floats, classes: Sequence[str], settings: BiasSettings) -> Members:
    """Which of a column of answers or labels are positive, each different one asked once."""
    found = np.full(len(column), MISSING, dtype=np.int8)
    known = ~np.isnan(column)
    different, places = np.unique(column[known], return_inverse=True)
    values: list[Any] = [classes[int(each)] for each in different.tolist()] if classes else different.tolist()
    found[known] = settings.positive.members(values)[places]
    return found


class _Reading:
    """Reads the labels of answers, and notes which cannot be read."""

    def __init__(
        self,
        answers: Answers,
        codes: Codes,
        texts: Sequence[str],
        attributes: Attributes,
        names: Callable[[Places], Sequence[str]],
    ) -> None:
        self._answers, self._codes, self._texts = answers, codes, texts
        self._attributes, self._names = attributes, names
        self._problem_type = attributes.problem_type
        # What is known once `columns` were read: how the labels wrote classes.
        self.spelled: tuple[str, ...] = ()
        self._texts_of_classes: dict[str, float] = {}
        self._known: dict[str, list[float] | None] = {}
        self._rows_of: dict[str, list[Places]] = {}

    def columns(self) -> tuple[Floats, Floats, tuple[str, ...]]:
        """What was served, the labels, and the classes that both point into."""
        labels = self._labels()
        if self._problem_type != "MulticlassClassification":
            return self._answers.served, labels, ()
        known = ~np.isnan(labels)
        # Without those that only a document held which fits no request.
        used, found = np.unique(labels[known], return_inverse=True)
        met = [*self._texts_of_classes]
        texts = [met[int(place)] for place in used]
        self.spelled = ambiguous(texts)
        classes, places = classes_of([*self._answers.classes, *texts])
        labels[known] = np.array(places[len(self._answers.classes) :], dtype=np.float64)[found]
        return places_among(classes, self._answers.classes, self._answers.served), labels, classes

    def bad(self) -> tuple[Reason, ...]:
        found = []
        for reason, parts in sorted(self._rows_of.items()):
            rows = np.concatenate(parts)
            ids = sorted({*self._names(np.unique(rows))})[:SAMPLES]
            found.append((reason, len(rows), tuple(ids)))
        return tuple(found)

    def _labels(self) -> Floats:
        answers = self._answers
        labels = np.full(len(answers), NAN)
        rows = np.flatnonzero(self._codes != NONE)
        if not len(rows):
            return labels
        used, places = np.unique(self._codes[rows], return_inverse=True)
        values: list[float] = []
        lengths, offsets = np.zeros(len(used), dtype=np.int64), np.zeros(len(used), dtype=np.int64)
        for place, code in enumerate(used.tolist()):
            text = self._texts[code]
            if text.startswith(RECORD_LABELS):
                lengths[place] = _OF_RECORDS
                continue
            read = label_values(text, self._attributes.ground_truth_attribute, self._read)
            lengths[place], offsets[place] = (_UNREADABLE if read is None else len(read)), len(values)
            values += read or []
        found = lengths[places]
        self._note(NOT_READABLE, rows[found == _UNREADABLE])
        counts = answers.counts[rows].astype(np.int64)
        unequal = (found >= 0) & (found != counts)
        for length, count in sorted({*zip(found[unequal].tolist(), counts[unequal].tolist(), strict=True)}):
            self._note(not_one_for_each(length, count), rows[(found == length) & (counts == count)])
        fine = found == counts
        flat = np.array(values, dtype=np.float64)
        labels[rows[fine]] = flat[offsets[places[fine]] + answers.positions[rows[fine]]]
        self._note(f"label is not {EXPECTED[self._problem_type]}", rows[fine][np.isnan(labels[rows[fine]])])
        of_records = rows[found == _OF_RECORDS]
        # The records of a request stand together, and its first one begins it.
        firsts = np.flatnonzero(answers.positions[of_records] == 0)
        for first in firsts.tolist():
            some = of_records[first : first + int(answers.counts[of_records[first]])]
            labels[some] = self._of_records(self._texts[int(self._codes[some[0]])], some)
        return labels

    def _of_records(self, text: str, rows: Places) -> list[float]:
        """Labels of single records (`ground_truth.resolve` joined them); a record without one is unlabelled."""
        document = record_labels_of(text)
        if document is None:
            self._note(NOT_READABLE, rows)
            return [NAN] * len(rows)
        values = [NAN] * len(rows) if document.others is None else self._one(document.others, rows)
        for index, each in document.record_labels.items():
            if index >= len(rows):
                self._note(OF_ANOTHER, rows[:1])
                continue
            [values[index]] = self._one(each, rows[index : index + 1])
        return values

    def _one(self, text: str, rows: Places) -> list[float]:
        """The values of one document for these rows."""
        if text not in self._known:
            self._known[text] = label_values(text, self._attributes.ground_truth_attribute, self._read)
        values = self._known[text]
        if values is None or len(values) != len(rows):
            self._note(NOT_READABLE if values is None else not_one_for_each(len(values), len(rows)), rows)
            return [NAN] * len(rows)
        bad = [place for place, value in enumerate(values) if value != value]
        self._note(f"label is not {EXPECTED[self._problem_type]}", rows[bad])
        return [*values]

    def _read(self, value: Any) -> float:
        if self._problem_type == "BinaryClassification":
            return class_reader(self._attributes.positive_class)(value)
        if self._problem_type == "Regression":
            return number_of(value)
        text = class_text(value)
        known = self._texts_of_classes
        return NAN if text is None else known.setdefault(text, float(len(known)))

    def _note(self, reason: str, rows: Places) -> None:
        if len(rows):
            self._rows_of.setdefault(reason, []).append(rows)
