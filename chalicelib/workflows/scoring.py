"""Asking candidates to answer a row sample again. Not an event source: window_due and promotion_claimed share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.decisions.challenger import upper_end
from chalicelib.definition import Definition
from chalicelib.records.merge import MergedRequest
from chalicelib.records.sample import answers, loss_of, questions, row_losses
from chalicelib.records.table import Table, to_table, with_shared_classes
from chalicelib.wiring import Services

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.bool_] | slice
ALL = slice(None)


class Scored(msgspec.Struct, frozen=True):
    """A sample as it was captured, and one candidate's answers, probabilities and named outputs on the same rows.

    `predictions` are numbers as in `captured`: classes are indices into `captured.classes`.
    """

    captured: Table
    predictions: Floats
    scores: Floats
    outputs: dict[str, list[Any]]

    def loss(self, rows: Rows = ALL) -> float:
        """The candidate's loss on these rows; nan where none of them has a label."""
        return loss_of(self.predictions[rows], self.captured.labels[rows], self.captured.problem_type)

    def row_losses(self) -> Floats:
        """The candidate's loss on each row: 0 or 1, or the absolute error; nan where there is no label."""
        return row_losses(self.predictions, self.captured.labels, self.captured.problem_type)

    def upper(self, rows: Rows = ALL) -> float:
        """The upper end of the 95 % interval of the candidate's loss on these rows."""
        return upper_end(self.row_losses()[rows])

    def served_loss(self, rows: Rows = ALL) -> float:
        """The loss of what was served on these rows."""
        return loss_of(self.captured.predictions[rows], self.captured.labels[rows], self.captured.problem_type)


def score(services: Services, definition: Definition, endpoint: str, sample: Sequence[MergedRequest]) -> Scored:
    """Invoke an endpoint with the sample's inputs; rows are in the order of (inference time, event id, position).

    Raises UnreadableError when the model does not answer every row.
    """
    asked = [question for question in questions(sample, definition.attributes.features)]
    tables = []
    for question in asked:
        accept = "text/csv" if question.content_type.startswith("text/csv") else "application/json"
        response = services.scorer.invoke(endpoint, question.body, content_type=question.content_type, accept=accept)
        tables.append(answers(question, response, definition.attributes, endpoint))
    covered = {request.event_id for question in asked for request in question.requests}
    labels = {one.request.join_id: one.label for one in sample}
    captured = to_table(
        [one.request for one in sample if one.request.event_id in covered], labels, definition.attributes
    )
    captured, *tables = with_shared_classes([captured, *tables])
    return Scored(
        captured,
        np.concatenate([table.predictions for table in tables]),
        np.concatenate([table.scores for table in tables]),
        {
            name: [value for table in tables for value in table.outputs[name]]
            for name in definition.attributes.output_names
        },
    )
