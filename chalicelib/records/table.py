"""Captured requests and their labels as columns, one entry per record.

Knows how a request becomes records (several per request, labels by position) and what makes a record unusable;
refuses to raise for that: an unusable part is counted with a reason and record ids, never with its values.
"""

from __future__ import annotations

import csv
import io
from bisect import insort
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.records.attributes import Attributes, ProblemType
from chalicelib.records.capture import CapturedRequest, is_answered_by
from chalicelib.records.ground_truth import RECORD_LABELS, Label
from chalicelib.records.label_values import (
    NOT_READABLE,
    OF_ANOTHER,
    difference,
    label_values,
    not_one_for_each,
    record_labels_of,
    search,
)
from chalicelib.records.payload import ANSWER, Content, PayloadError, Row, are_columns, content_of, rows_in
from chalicelib.records.preprocess import PreprocessError, Preprocessor, records_of
from chalicelib.records.values import (
    EXPECTED,
    GREATEST_PROBABILITY,
    LEAST_PROBABILITY,
    NAN,
    OUTSIDE,
    ambiguous,
    class_order,
    class_reader,
    class_text,
    classes_of,
    number_of,
    text_of,
)

Floats = npt.NDArray[np.float64]

# More columns than this are a table only where they are declared.
MOST_FOUND = 5_000
# Cells that may be empty whatever the rows hold, and beyond that how many may stand to one that is not.
EMPTY_CELLS = 2_000_000
SPARSEST = 20

_SAMPLES = 3


class BadRecords(msgspec.Struct, frozen=True):
    """How many records (or requests, where their records could not be told apart) met one problem.

    `sample`: the three smallest record ids, in order.
    """

    count: int
    sample: tuple[str, ...]


class Table(msgspec.Struct, frozen=True, eq=False):
    """One entry per record in every column, in the order of (inference time, event id, position).

    record_ids    "{event id}#{position}"
    times         seconds since 1970
    features      name -> raw values: text from CSV, JSON values from JSON, None where missing
    outputs       the same for the columns named by `output_names`
    scores        the probability of class 1, nan where absent or outside of 0 to 1; margins, where the threshold is 0,
                  and what a model that also says the class calls a probability (then `noted`): any number
    predictions   what was served, nan where unknown: the class 0 or 1; for multiclass the index of the class in
                  `classes`; for regression the number
    labels        what turned out to be true, in the same way, nan where unlabelled
    regular       False where the features could not be laid out by name: these rows are no part of any statistic of
                  features or outputs
    irregular     how many features such a record had -> how many records
    bad           reason -> BadRecords
    probabilities whether scores are expected (a probability attribute is set)
    problem_type  what predictions and labels are
    classes       for multiclass the names that occur among predictions and labels (`values.class_name`), numbers by
                  size before texts; () otherwise. Two tables have two lists: see `with_shared_classes`
    spelled       how these were written, where they could be written in several ways (`values.ambiguous`)
    noted         what is worth knowing of records that were read all the same (a payload was declared as another
                  type than it has) or were left out on purpose, like `bad`
    unasked       True where only the output was captured: such a record has an answer and no features
    """

    record_ids: list[str]
    times: Floats
    features: dict[str, list[Any]]
    outputs: dict[str, list[Any]]
    scores: Floats
    predictions: Floats
    labels: Floats
    regular: npt.NDArray[np.bool_]
    irregular: dict[int, int]
    bad: dict[str, BadRecords]
    probabilities: bool
    problem_type: ProblemType = "BinaryClassification"
    classes: tuple[str, ...] = ()
    spelled: tuple[str, ...] = ()
    noted: dict[str, BadRecords] = {}
    unasked: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.record_ids)

    @property
    def whole(self) -> npt.NDArray[np.bool_]:
        """Which records are as they should be: laid out by name, or of a request whose input was not captured."""
        return self.regular if self.unasked is None else self.regular | self.unasked

    def answers_of(self, column: Floats) -> list[float] | list[str | None]:
        """Predictions or labels as values again: the names of classes (None where unknown), else the numbers."""
        values: list[float] = column.tolist()
        if self.problem_type != "MulticlassClassification":
            return values
        return [self.classes[int(index)] if index == index else None for index in values]


class _Answers:
    """Reads predictions and labels of one problem type as numbers; classes in the order in which they are met."""

    def __init__(self, attributes: Attributes) -> None:
        problem_type = attributes.problem_type
        self._texts: dict[str, float] = {}
        self._is_multiclass = problem_type == "MulticlassClassification"
        self.read = {
            "BinaryClassification": class_reader(attributes.positive_class),
            "MulticlassClassification": self._met,
            "Regression": number_of,
        }[problem_type]
        self.expected = EXPECTED[problem_type]

    def _met(self, value: Any) -> float:
        text = class_text(value)
        return NAN if text is None else self._texts.setdefault(text, float(len(self._texts)))

    def laid_out(self, *columns: list[float]) -> tuple[tuple[str, ...], tuple[str, ...], list[Floats]]:
        """The classes in order, their spellings, and columns of what was read as arrays that point into the classes."""
        arrays = [np.array(column, dtype=np.float64) for column in columns]
        if not self._is_multiclass:
            return (), (), arrays
        # Without those that only a label document held which fits no request.
        met = {index for column in columns for index in column if index == index}
        names, places = classes_of([text if index in met else None for text, index in self._texts.items()])
        spelled = ambiguous(text for text, index in self._texts.items() if index in met)
        return names, spelled, [_moved(array, places) for array in arrays]


def _moved(indices: Floats, places: Sequence[float]) -> Floats:
    """Each index replaced by the place that it has now; nan stays."""
    known = ~np.isnan(indices)
    moved = np.full(len(indices), NAN)
    moved[known] = np.array(places, dtype=np.float64)[indices[known].astype(np.int64)]
    return moved


class _Problems:
    """Counts reasons, and keeps the smallest few ids of each: the same whatever came first."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._samples: dict[str, list[str]] = {}

    def add(self, reason: str, record_id: str, count: int = 1) -> None:
        self._counts[reason] += count
        sample = self._samples.setdefault(reason, [])
        if (len(sample) < _SAMPLES or record_id < sample[-1]) and record_id not in sample:
            insort(sample, record_id)
            del sample[_SAMPLES:]

    def result(self) -> dict[str, BadRecords]:
        return {
            reason: BadRecords(self._counts[reason], tuple(self._samples[reason])) for reason in sorted(self._counts)
        }


def is_about(request: CapturedRequest, attributes: Attributes) -> bool:
    """Whether the model and the inference component answered that the attributes name (none named: any)."""
    return is_answered_by(request.target_model, request.inference_component, attributes)


def to_table(
    requests: Sequence[CapturedRequest],
    labels: Mapping[str, Label],
    attributes: Attributes,
    preprocess: Preprocessor | None = None,
    inputs: bool = True,
) -> Table:
    """Lay captured requests and the labels found for them out in columns.

    `labels` maps join ids to labels (`ground_truth.resolve`). The order of `requests` does not matter, and an event
    id that comes again at the same time is counted and left out (the file was copied). Nothing is raised for bad
    payloads or labels: see `Table.bad`. Without `inputs` what was asked is not looked at: there are no features, and
    the answers say how many records a request has. With `preprocess` the records of a request are what it makes of it,
    objects by name, and attributes name their keys (`preprocess.records_of`).
    """
    problems, notes = _Problems(), _Problems()
    record_ids: list[str] = []
    times: list[float] = []
    rows: list[Row | None] = []
    scores: list[float] = []
    predictions: list[float] = []
    truths: list[float] = []
    outputs: list[list[Any]] = [[] for _ in attributes.output_names]
    unasked: list[bool] = []
    answers = _Answers(attributes)
    reader = _OutputReader(attributes, answers, problems, notes)
    label_values = _LabelReader(attributes.ground_truth_attribute, answers)
    previous: tuple[str, datetime] | None = None
    for request in sorted(requests, key=_order):
        event_id = request.event_id
        if (event_id, request.inference_time) == previous:
            problems.add("event id came before", event_id)
            continue
        previous = (event_id, request.inference_time)
        label = labels.get(request.join_id)
        request_rows: list[Row] | None
        content: Content | None
        if preprocess is not None:
            made = _preprocessed(preprocess, request, label, attributes, problems, notes)
            if made is None:
                continue
            request_rows, content = made
        else:
            content = _output_content(request, attributes, problems, notes)
            request_rows = _input_rows(request, attributes, problems, notes) if inputs else None
            if request_rows is not None and content and reader.tells_apart(request_rows, content):
                # What was asked is one document whose records nothing names: the answers say how many there are.
                problems.add("input: its records cannot be told apart", event_id)
                request_rows = None
        count = len(request_rows) if request_rows is not None else reader.count(content)
        if count == 0:
            problems.add("no record in the request", event_id)
            continue
        ids = [f"{event_id}#{position}" for position in range(count)]
        record_ids += ids
        times += [request.inference_time.timestamp()] * count
        rows += request_rows if request_rows is not None else [None] * count
        only_output = request_rows is None and not request.is_batch and (request.input is None or not inputs)
        unasked += [only_output] * count
        if only_output and inputs:
            notes.add("input was not captured", event_id)
        reader.read(content, ids, scores, predictions, outputs)
        truths += [NAN] * count if label is None else label_values.read(label.data, ids, problems)
    names, columns, regular, irregular = _feature_columns(rows, record_ids, attributes.features, problems)
    classes, spelled, (served, known) = answers.laid_out(predictions, truths)
    return Table(
        record_ids,
        np.array(times, dtype=np.float64),
        dict(zip(names, columns, strict=True)),
        dict(zip(attributes.output_names, outputs, strict=True)),
        np.array(scores, dtype=np.float64),
        served,
        known,
        regular,
        irregular,
        problems.result(),
        attributes.probability_attribute is not None,
        attributes.problem_type,
        classes,
        spelled,
        notes.result(),
        np.array(unasked, dtype=np.bool_),
    )


def widths_of(request: CapturedRequest, attributes: Attributes) -> tuple[int | None, int | None]:
    """How many values a record of a request has, asked and answered; None for a side whose values have names of their
    own, and for one that is not there or cannot be read.

    A transform's joined CSV row is asked as a whole: nothing in it tells where the answer begins.
    """
    nobody = _Problems()
    content = _output_content(request, attributes, nobody, nobody)
    return _width(_input_rows(request, attributes, nobody, nobody)), _width(content.rows if content else None)


def answer_names(request: CapturedRequest) -> tuple[str, ...]:
    """What the values of a request's first answer are called: the keys of an object, else places from 0; () where it
    cannot be read."""
    nobody = _Problems()
    content = _output_content(request, Attributes(), nobody, nobody)
    first = content.rows[0] if content and content.rows else ()
    return tuple(first) if isinstance(first, dict) else tuple(str(place) for place in range(len(first)))


def _width(rows: list[Row] | None) -> int | None:
    return len(rows[0]) if rows and isinstance(rows[0], list) else None


def with_shared_classes(tables: Sequence[Table]) -> list[Table]:
    """The same tables with one list of classes, so that their predictions and labels can be compared or joined.

    Tables that are not multiclass have no classes and come back as they are.
    """
    names = tuple(sorted({name for table in tables for name in table.classes}, key=class_order))
    place = {name: float(index) for index, name in enumerate(names)}
    shared = []
    for table in tables:
        if table.problem_type == "MulticlassClassification":
            places = [place[name] for name in table.classes]
            table = msgspec.structs.replace(
                table,
                predictions=_moved(table.predictions, places),
                labels=_moved(table.labels, places),
                classes=names,
            )
        shared.append(table)
    return shared


def feature_rows(table: Table, indices: Sequence[int] | None = None) -> list[str]:
    """Each record's features as one CSV line in feature order, without a line end; "" for an irregular record.

    This is what a model is asked when a record is scored again. `indices`: only these records, in this order.
    """
    wanted = range(len(table)) if indices is None else indices
    lines = [""] * len(wanted)
    columns = list(table.features.values())
    for place, index in enumerate(wanted):
        if not table.regular[index]:
            continue
        values = [text_of(column[index]) for column in columns]
        line = ",".join(values)
        if line.count(",") >= len(values) or '"' in line or "\n" in line or "\r" in line:
            buffer = io.StringIO()
            # The writer quotes a line break only where it is part of its own line end.
            csv.writer(buffer, lineterminator="\r\n").writerow(values)
            line = buffer.getvalue().removesuffix("\r\n")
        lines[place] = line
    return lines


def _order(request: CapturedRequest) -> tuple[Any, ...]:
    # The payloads decide only between copies of one event that differ, so that the order of arrival never does.
    payloads = tuple(payload.data if payload else "" for payload in (request.input, request.output))
    return (request.inference_time, request.event_id, payloads)


def _input_rows(
    request: CapturedRequest, attributes: Attributes, problems: _Problems, notes: _Problems
) -> list[Row] | None:
    payload, is_joined = request.input, False
    if payload is None and request.is_batch:
        payload, is_joined = request.output, True
    if payload is None:
        return None
    try:
        content = content_of(payload, attributes.features)
        asked = _asked_of(content, attributes) if is_joined else content
    except PayloadError as error:
        problems.add(f"input: {error}", request.event_id)
        return None
    if asked is None:
        return None
    if asked.noted:
        notes.add(f"input: {asked.noted}", request.event_id)
    if attributes.features_attribute is None or asked.documents is None:
        return asked.rows
    rows: list[Row] = []
    for document in asked.documents:
        found = search(attributes.features_attribute, document)
        if not isinstance(found, list | dict):
            problems.add("input: nothing at features_attribute", request.event_id)
            return None
        if isinstance(found, dict) or (found and all(isinstance(row, list | dict) for row in found)):
            try:
                rows += rows_in(found)
            except PayloadError as error:
                problems.add(f"input: {error}", request.event_id)
                return None
        else:
            rows.append(found)
    return rows


def _asked_of(content: Content, attributes: Attributes) -> Content | None:
    """The input side of a batch transform's record, where the output was joined with it; None where it was not.

    Of a joined CSV row the declared features are the first columns (all columns where none are declared), of a
    document everything but what the model answered. Raises PayloadError.
    """
    if content.documents is None:
        width = len(attributes.features)
        if any(len(row) < width for row in content.rows):
            return None
        return Content([row[:width] if width and isinstance(row, list) else row for row in content.rows])
    documents = [
        {key: value for key, value in document.items() if key != ANSWER} if isinstance(document, dict) else document
        for document in content.documents
    ]
    if not all(documents):
        return None
    rows: list[Row] = []
    for asked, document in zip(documents, content.documents, strict=True):
        is_answered = isinstance(document, dict) and ANSWER in document
        rows += _answered_rows(asked, document[ANSWER]) if is_answered else rows_in(asked)
    return Content(rows, documents, content.is_lines)


def _answered_rows(asked: dict[str, Any], answer: Any) -> list[Row]:
    """The records that a document asked, which was joined with its answer. Raises PayloadError."""
    answers = rows_in(answer)
    only = answers[0] if len(answers) == 1 else None
    count = len(only) if isinstance(only, list) else len(answers)
    # {"a": [1, 2]} is two records or one with a list: the answer tells.
    lengths = {len(value) for value in asked.values() if isinstance(value, list)}
    return rows_in(asked, is_columnar=not lengths.isdisjoint({1, count}))


def _output_content(
    request: CapturedRequest, attributes: Attributes, problems: _Problems, notes: _Problems
) -> Content | None:
    payload = request.output
    if payload is None:
        problems.add("output was not captured", request.event_id)
        return None
    try:
        content = content_of(payload, attributes.output_names)
        if request.is_batch and content.documents is not None:
            answers = [
                document[ANSWER] if isinstance(document, dict) and ANSWER in document else document
                for document in content.documents
            ]
            rows = [row for answer in answers for row in rows_in(answer)]
            content = Content(rows, content.documents, content.is_lines, content.noted)
    except PayloadError as error:
        problems.add(f"output: {error}", request.event_id)
        return None
    if content.noted:
        notes.add(f"output: {content.noted}", request.event_id)
    return content


def _preprocessed(
    preprocess: Preprocessor,
    request: CapturedRequest,
    label: Label | None,
    attributes: Attributes,
    problems: _Problems,
    notes: _Problems,
) -> tuple[list[Row], Content] | None:
    """A request's records as the user's function makes them: features, and the same objects as the output."""
    try:
        made = records_of(preprocess, request, label)
    except PreprocessError as error:
        problems.add(str(error), request.event_id)
        return None
    if not made:
        notes.add("preprocess_handler left the request out", request.event_id)
        return None
    answers = {*attributes.output_names, attributes.inference_attribute, attributes.probability_attribute}
    rows: list[Row] = [{key: record[key] for key in sorted(record) if key not in answers} for record in made]
    return rows, Content([*made])


class _OutputReader:
    """Finds probability, predicted class and named outputs of each record in the output payloads."""

    def __init__(self, attributes: Attributes, answers: _Answers, problems: _Problems, notes: _Problems) -> None:
        self._answers = answers
        self._features = frozenset(attributes.features)
        self._probability = attributes.probability_attribute
        self._inference = attributes.inference_attribute
        self._threshold, self._has_margins = attributes.probability_threshold, attributes.has_margins
        self._names = attributes.output_names
        self._problems, self._notes = problems, notes

    def read(
        self,
        content: Content | None,
        ids: list[str],
        scores: list[float],
        predictions: list[float],
        outputs: list[list[Any]],
    ) -> None:
        """Append one entry per id to each list; nan or None where the payload does not tell."""
        count = len(ids)
        if content is not None and len(content.rows) != count:
            content = self._aligned(content, ids)
        if content is None:
            scores += [NAN] * count
            predictions += [NAN] * count
            for column in outputs:
                column += [None] * count
            return
        found = [NAN] * count if self._probability is None else self._scores(self._probability, content, ids)
        scores += found
        if self._inference is not None:
            predictions += self._classes(self._inference, content, ids)
        else:
            threshold = self._threshold
            # nan > threshold is False, and would become class 0.
            predictions += [(1.0 if s > threshold else 0.0) if s == s else NAN for s in found]
        for position, (name, column) in enumerate(zip(self._names, outputs, strict=True)):
            column += [_item(row, name, position) for row in content.rows]

    def count(self, content: Content | None) -> int:
        """How many records were answered, where what was asked does not say it: as many as an expression finds values
        in the whole document, else as many as the payload has rows."""
        if content is None:
            return 0
        found = self._in_whole(content)
        if found is None:
            return len(content.rows)
        return len(found) if isinstance(found, list) else 1

    def tells_apart(self, rows: list[Row], content: Content) -> bool:
        """Whether one object without any declared feature was asked, and several answers say that it holds several
        records."""
        if len(rows) != 1 or not isinstance(rows[0], dict) or not self._features or self._features & rows[0].keys():
            return False
        return self.count(content) > 1

    def _in_whole(self, content: Content) -> Any:
        """What the attributes, where they are expressions, find in the one document of an answer; None: nothing, or
        different numbers of values."""
        asked = [each for each in (self._inference, self._probability) if each is not None]
        documents = content.documents
        if not asked or documents is None or content.is_lines or len(documents) != 1:
            return None
        if any(each.isdecimal() for each in asked):
            return None
        found = [search(each, documents[0]) for each in asked]
        sizes = {len(each) if isinstance(each, list) else -1 for each in found}
        return None if any(each is None for each in found) or len(sizes) > 1 else found[0]

    def _aligned(self, content: Content, ids: list[str]) -> Content | None:
        # An expression sees the whole document first: all classes of one text stand in one flat list.
        found = self._in_whole(content)
        if found is not None and (len(found) if isinstance(found, list) else 1) == len(ids):
            return Content([content.documents[0] if content.documents else []] * len(ids), content.documents)
        # {"probabilities": [0.1, 0.9]} is two records or one with two values: the input tells.
        documents = content.documents or []
        if len(documents) == len(ids) and all(_is_filled(each) for each in documents):
            return Content([*documents], documents, content.is_lines)
        # One line "0.1,0.9,0.4" is how some containers answer three records.
        only = content.rows[0] if len(content.rows) == 1 else None
        if isinstance(only, list) and len(only) == len(ids):
            return Content([value if isinstance(value, list | dict) else [value] for value in only], content.documents)
        reason = f"output: expected an answer for each record, {difference(len(content.rows), len(ids))}"
        self._problems.add(reason, ids[0], len(ids))
        return None

    def _scores(self, attribute: str, content: Content, ids: list[str]) -> list[float]:
        numbers = []
        for id, value in zip(ids, self._found(attribute, content), strict=True):
            number = number_of(value)
            if number != number:
                self._problems.add("output: probability is not a number", id)
            elif not self._has_margins and not LEAST_PROBABILITY <= number <= GREATEST_PROBABILITY:
                if self._inference is None:
                    # A class that was cut from it would be anything.
                    self._problems.add(f"output: {OUTSIDE}", id)
                    number = NAN
                else:
                    self._notes.add(f"output: {OUTSIDE}", id)
            numbers.append(number)
        return numbers

    def _classes(self, attribute: str, content: Content, ids: list[str]) -> list[float]:
        classes = []
        for id, value in zip(ids, self._found(attribute, content), strict=True):
            number = self._answers.read(value)
            if number != number:
                self._problems.add(f"output: prediction is not {self._answers.expected}", id)
            classes.append(number)
        return classes

    def _found(self, attribute: str, content: Content) -> list[Any]:
        rows = content.rows
        if attribute.isdecimal():
            index = int(attribute)
            return [row[index] if isinstance(row, list) and index < len(row) else None for row in rows]
        documents = content.documents
        if documents is None:
            index = self._names.index(attribute) if attribute in self._names else -1
            return [_item(row, attribute, index) if index >= 0 or isinstance(row, dict) else None for row in rows]
        if content.is_lines and len(documents) == len(rows):
            return [search(attribute, document) for document in documents]
        if len(documents) == 1:
            found = search(attribute, documents[0])
            if isinstance(found, list) and len(found) == len(rows):
                return found
            if found is not None and len(rows) == 1:
                return [found]
        return [search(attribute, row) if isinstance(row, dict) else None for row in rows]


class _LabelReader:
    """The labels, by position, that one label document holds. The same short text is read once."""

    def __init__(self, attribute: str | None, answers: _Answers) -> None:
        self._attribute = attribute
        self._answers = answers
        self._known: dict[str, list[float] | None] = {}

    def read(self, data: str, ids: list[str], problems: _Problems) -> list[float]:
        """One label per id; nan, counted, where there is none to be had."""
        if data.startswith(RECORD_LABELS):
            return self._of_records(data, ids, problems)
        if data not in self._known:
            if len(self._known) > 1000:
                self._known.clear()
            self._known[data] = label_values(data, self._attribute, self._answers.read)
        values = self._known[data]
        if values is None:
            problems.add(NOT_READABLE, ids[0], len(ids))
            return [NAN] * len(ids)
        if len(values) != len(ids):
            problems.add(not_one_for_each(len(values), len(ids)), ids[0], len(ids))
            return [NAN] * len(ids)
        for id, value in zip(ids, values, strict=True):
            if value != value:
                problems.add(f"label is not {self._answers.expected}", id)
        return values

    def _of_records(self, data: str, ids: list[str], problems: _Problems) -> list[float]:
        """Labels of single records (`ground_truth.resolve` joined them); a record without one is unlabelled."""
        document = record_labels_of(data)
        if document is None:
            problems.add(NOT_READABLE, ids[0], len(ids))
            return [NAN] * len(ids)
        values = [NAN] * len(ids) if document.others is None else [*self.read(document.others, ids, problems)]
        for index, text in document.record_labels.items():
            if index >= len(ids):
                problems.add(OF_ANOTHER, ids[0])
                continue
            values[index] = self.read(text, ids[index : index + 1], problems)[0]
        return values


def _is_filled(document: Any) -> bool:
    """Whether a document is columnar JSON with something in its columns."""
    return isinstance(document, dict) and any(document.values()) and are_columns(document)


def _item(row: Row, name: str, position: int) -> Any:
    if isinstance(row, dict):
        return row.get(name)
    return row[position] if position < len(row) else None


def _feature_columns(
    rows: list[Row | None], record_ids: list[str], declared: tuple[str, ...], problems: _Problems
) -> tuple[list[str], list[list[Any]], npt.NDArray[np.bool_], dict[int, int]]:
    """Lay rows out by feature name; rows of another width are irregular, objects go by key."""
    names = list(declared) if declared else _found_names(rows)
    width = len(names)
    # The common case first: every row is a list of the right width.
    fitting = width <= MOST_FOUND or bool(declared)
    if rows and fitting and all(type(row) is list and len(row) == width for row in rows):
        lists = cast("list[list[Any]]", rows)
        return names, [list(column) for column in zip(*lists, strict=True)], np.ones(len(rows), dtype=np.bool_), {}
    known = set(names)
    regular = np.zeros(len(rows), dtype=np.bool_)
    irregular: Counter[int] = Counter()
    if refused := _unfit(rows, width, bool(declared)):
        for record_id, row in zip(record_ids, rows, strict=True):
            if row is not None:
                problems.add(refused, record_id)
                irregular[len(row)] += 1
        return [], [], regular, dict(sorted(irregular.items()))
    nothing: list[Any] = [None] * width
    laid: list[list[Any]] = []
    for index, row in enumerate(rows):
        if isinstance(row, dict):
            regular[index] = True
            laid.append([row.get(name) for name in names])
            unknown = len(row.keys() - known)
            if unknown:
                problems.add(f"expected {width} features, {difference(width + unknown, width)}", record_ids[index])
                irregular[len(row)] += 1
        elif row is not None and len(row) == width:
            regular[index] = True
            laid.append(row)
        else:
            laid.append(nothing)
            if row is not None:
                problems.add(f"expected {width} features, {difference(len(row), width)}", record_ids[index])
                irregular[len(row)] += 1
    columns = [list(column) for column in zip(*laid, strict=True)] if laid else [[] for _ in names]
    return names, columns, regular, dict(sorted(irregular.items()))


def _unfit(rows: list[Row | None], width: int, declared: bool) -> str:
    """Why rows cannot be laid out as columns, or "": a few short or odd payloads must not ask for gigabytes."""
    if width > MOST_FOUND and not declared:
        return f"expected at most {MOST_FOUND} features where none are declared"
    values = sum(len(row) for row in rows if row is not None)
    if len(rows) * width > max(EMPTY_CELLS, SPARSEST * values):
        return "expected features that fill more of the table"
    return ""


def _found_names(rows: list[Row | None]) -> list[str]:
    """Names where none are declared: the keys of objects as they come, else _c0, _c1, ... for the usual width."""
    keys: dict[str, None] = {}
    widths: Counter[int] = Counter()
    for row in rows:
        if isinstance(row, dict):
            keys.update(dict.fromkeys(row))
        elif row is not None:
            widths[len(row)] += 1
    if keys or not widths:
        return list(keys)
    usual = max(widths, key=lambda width: (widths[width], width))
    return [f"_c{position}" for position in range(usual)]
