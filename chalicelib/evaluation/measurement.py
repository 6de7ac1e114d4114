"""Everything that reports are made of, as one state: what a part of a window was measured to be.

A window is `measure(part) + measure(part) + ...`: the functions, the command line and the benchmark fold the same
states into it, and every number of a report comes from it. Parts share no event (who reads several files counts each
event once: `records.segment`, `folding`). Knows which states there are; refuses to know files, thresholds and
texts (`evaluation`).

With declared features the order and the split of the rows change nothing, but the quantiles of columns of more than
`quantiles.K` numbers, which then agree within the bound that they state. Without declared features each part finds
names of its own: `with_found_features` settles them once, from the first part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import msgspec
import numpy as np

from chalicelib.errors import MisconfiguredError
from chalicelib.monitors.model_explainability import AttributionSettings
from chalicelib.records.answers import Answers, answers_of
from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import CapturedRequest
from chalicelib.records.table import BadRecords, Table
from chalicelib.states.attributions import Attributions, attributions_of_table
from chalicelib.states.bias import BiasCounts, bias_counts_of, facet_rows_of
from chalicelib.states.class_matrix import ClassMatrix, class_matrix_of
from chalicelib.states.facets import BiasSettings
from chalicelib.states.profile import Profile, profile_of
from chalicelib.states.residuals import Residuals, residuals_of
from chalicelib.states.scores import Tally, tally_of
from chalicelib.states.selection import Selection, selection_of
from chalicelib.states.serialization import MOST_ROWS, pack, unpack

VERSION = 1

NO_ATTRIBUTIONS = "the model returns no attributions (attribution.columns is empty), and was not asked for them"

# Ids named for each reason.
SAMPLES = 3


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: how payloads are read, and what is asked of the rows beside data and model quality.

    `inputs`: whether the rows of inputs are asked for; without them an image, a text or an array may be asked, and the
    answers say how many records a request has.
    """

    attributes: Attributes
    inputs: bool = True
    bias: BiasSettings | None = None
    attribution: AttributionSettings | None = None


# A reason, how many records or requests met it, and the smallest of their ids.
Reason = tuple[str, int, tuple[str, ...]]


class Measurement(msgspec.Struct, frozen=True, array_like=True):
    """One part of a window, measured; `Measurement()` is the identity of `+`.

    rows          records, whatever is wrong with them
    whole         of these, records as they should be (`Table.whole`)
    answered      records with an answer that could be read, whole or not: model quality counts them all
    labelled      of these, records with a label
    repeated      events that came again and are counted nowhere else
    bad           (reason, count, the smallest ids) of records or requests that met a problem, in order of the reason
    noted         the same for what is worth knowing of records that were read all the same (`Table.noted`)
    profile       data quality
    tally         model quality of a binary classifier
    matrix        model quality of a classifier of several classes
    residuals     model quality of a regression; two of these three are empty
    bias          bias, empty where it is not asked for
    attributions  attributions, empty where they are not asked for
    unmeasured    (monitor type, why) of what was asked for and these data do not have, in order
    selection     answered rows with and without a label, by score
    spelled       how classes were written that can be written in several ways, in answers and labels, in order
    """

    rows: int = 0
    whole: int = 0
    answered: int = 0
    labelled: int = 0
    repeated: int = 0
    bad: tuple[Reason, ...] = ()
    noted: tuple[Reason, ...] = ()
    profile: Profile = Profile()
    tally: Tally = Tally()
    matrix: ClassMatrix = ClassMatrix()
    residuals: Residuals = Residuals()
    bias: BiasCounts = BiasCounts()
    attributions: Attributions = Attributions()
    unmeasured: tuple[tuple[str, str], ...] = ()
    selection: Selection = Selection()
    spelled: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        reasons = (*self.bad, *self.noted)
        counts = (
            self.rows,
            self.whole,
            self.answered,
            self.labelled,
            self.repeated,
            *(count for _, count, _ in reasons),
        )
        if not 0 <= min(counts) <= max(counts) <= MOST_ROWS:
            raise ValueError(f"counts from 0 to {MOST_ROWS}")
        each = [[reason for reason, _, _ in found] for found in (self.bad, self.noted)]
        for names in (*each, *(ids for _, _, ids in reasons)):
            if any(one >= other for one, other in pairwise(names)):
                raise ValueError("each once, in order")
        if any(one >= other for one, other in pairwise(self.unmeasured)):
            raise ValueError("each once, in order")
        if any(one >= other for one, other in pairwise(self.spelled)):
            raise ValueError("each once, in order")

    def __add__(self, other: Measurement) -> Measurement:
        return Measurement(
            self.rows + other.rows,
            self.whole + other.whole,
            self.answered + other.answered,
            self.labelled + other.labelled,
            self.repeated + other.repeated,
            _added(self.bad, other.bad),
            _added(self.noted, other.noted),
            self.profile + other.profile,
            self.tally + other.tally,
            self.matrix + other.matrix,
            self.residuals + other.residuals,
            self.bias + other.bias,
            self.attributions + other.attributions,
            tuple(sorted({*self.unmeasured, *other.unmeasured})),
            self.selection + other.selection,
            tuple(sorted({*self.spelled, *other.spelled})),
        )

    @property
    def quality(self) -> Tally | ClassMatrix | Residuals:
        """The state that the problem type is measured by."""
        if self.matrix.rows:
            return self.matrix
        return self.residuals if self.residuals.rows else self.tally

    @property
    def bad_records(self) -> dict[str, BadRecords]:
        """Reason -> how many records met it, in order of the reason."""
        return {reason: BadRecords(count, ids) for reason, count, ids in self.bad}

    @property
    def noted_records(self) -> dict[str, BadRecords]:
        """The same for what was noted."""
        return {reason: BadRecords(count, ids) for reason, count, ids in self.noted}

    @property
    def why_unmeasured(self) -> Mapping[str, str]:
        """Monitor type -> why it was not measured."""
        return dict(reversed(self.unmeasured))

    def without(self, gone: Callable[[str], bool]) -> Measurement:
        """The same, naming no request that is `gone`."""
        left = [
            tuple((reason, count, tuple(id for id in ids if not gone(id))) for reason, count, ids in found)
            for found in (self.bad, self.noted)
        ]
        return msgspec.structs.replace(self, bad=left[0], noted=left[1])

    def to_bytes(self) -> bytes:
        return pack("measurement", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> Measurement:
        """Raises UnreadableError."""
        return unpack(body, "measurement", VERSION, cls)


def _added(mine: tuple[Reason, ...], others: tuple[Reason, ...]) -> tuple[Reason, ...]:
    found = {reason: (count, ids) for reason, count, ids in mine}
    for reason, count, ids in others:
        known_count, known_ids = found.get(reason, (0, ()))
        found[reason] = (known_count + count, tuple(sorted({*known_ids, *ids})[:SAMPLES]))
    return tuple((reason, *found[reason]) for reason in sorted(found))


def _reasons(found: Mapping[str, BadRecords]) -> tuple[Reason, ...]:
    return tuple((reason, each.count, tuple(sorted(each.sample))) for reason, each in sorted(found.items()))


def measure(table: Table, subject: Subject, repeated: int = 0) -> Measurement:
    """Measure the rows of a table with the labels that it has; `repeated` events were left out before.

    Columns that `subject` names and the table does not have are no error: see `Measurement.unmeasured`.
    """
    bias = BiasCounts()
    unmeasured: tuple[tuple[str, str], ...] = ()
    if subject.bias:
        try:
            bias = bias_counts_of(table, subject.bias)
        except MisconfiguredError as error:
            unmeasured = (unmeasured_bias(error),)
    answered = ~np.isnan(table.predictions)
    labels = Measurement(
        labelled=int((answered & ~np.isnan(table.labels)).sum()),
        tally=tally_of(table) if table.problem_type == "BinaryClassification" else Tally(),
        matrix=class_matrix_of(table) if table.problem_type == "MulticlassClassification" else ClassMatrix(),
        residuals=residuals_of(table) if table.problem_type == "Regression" else Residuals(),
        bias=bias,
        unmeasured=unmeasured,
        selection=selection_of(table, margins=subject.attributes.has_margins),
    )
    return measure_captures(table, subject, repeated) + labels


def measure_captures(table: Table, subject: Subject, repeated: int = 0) -> Measurement:
    """What needs no labels of a table's rows. The rest is `evaluation.quality`'s, whenever labels come."""
    attributions = Attributions()
    unmeasured: tuple[tuple[str, str], ...] = ()
    if subject.attribution and not subject.attribution.columns:
        unmeasured = (("ModelExplainability", NO_ATTRIBUTIONS),)
    elif subject.attribution:
        asked = subject.attribution
        try:
            attributions = attributions_of_table(table, tuple(table.features), asked.columns, asked.expected_column)
        except MisconfiguredError as error:
            unmeasured = (("ModelExplainability", f"attribution.{error}"),)
    return Measurement(
        rows=len(table),
        whole=int(table.whole.sum()),
        answered=int((~np.isnan(table.predictions)).sum()),
        repeated=repeated,
        bad=_reasons(table.bad),
        noted=_reasons(table.noted),
        profile=profile_of(table),
        attributions=attributions,
        unmeasured=unmeasured,
        spelled=table.spelled,
    )


def measure_and_answer(
    table: Table, requests: Sequence[CapturedRequest], subject: Subject
) -> tuple[Measurement, Answers]:
    """What needs no labels of a table's rows, and the answers that labels will be joined to.

    `requests`: those that the table was laid out from, and maybe others.
    """
    measured, facets = measure_captures(table, subject), None
    if subject.bias:
        try:
            facets = facet_rows_of(table, subject.bias)
        except MisconfiguredError as error:
            measured += Measurement(unmeasured=(unmeasured_bias(error),))
    return measured, answers_of(table, requests, facets)


def unmeasured_bias(error: MisconfiguredError) -> tuple[str, str]:
    """What `Measurement.unmeasured` says where a column is not there: the definition was checked as far as it names
    columns; the rest only the data knows."""
    return "ModelBias", f"bias.{error}"


def with_attributions(measured: Measurement, found: Attributions) -> Measurement:
    """The measurement with attributions that somebody asked the model for."""
    unmeasured = tuple(each for each in measured.unmeasured if each != ("ModelExplainability", NO_ATTRIBUTIONS))
    return msgspec.structs.replace(measured, attributions=found, unmeasured=unmeasured)


def with_found_features(subject: Subject, table: Table) -> Subject:
    """The subject with the feature names that a first part was found to have, where none are declared."""
    if subject.attributes.features or not len(table):
        return subject
    names = tuple(table.features)
    return msgspec.structs.replace(subject, attributes=msgspec.structs.replace(subject.attributes, features=names))
