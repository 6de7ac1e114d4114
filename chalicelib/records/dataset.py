"""A data set's named columns as a table: what baselines are made of.

Knows which columns hold the answer, its probability and the label; all others are features. Refuses to know the format
that the columns were read from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from chalicelib.errors import MisconfiguredError
from chalicelib.records.attributes import ProblemType
from chalicelib.records.table import BadRecords, Floats, Table
from chalicelib.records.values import NAN, binary_class, class_name, class_order, number_of

_EXPECTED = {
    "BinaryClassification": "0 or 1",
    "MulticlassClassification": "the name of a class",
    "Regression": "a number",
}


class Roles(msgspec.Struct, frozen=True, kw_only=True):
    """The columns that are no features, by name; None: there is none.

    `inference` holds the predicted class or number, `probability` that of class 1 (binary only), `ground_truth` the
    label. Without `inference` the class is 1 where the probability is > `threshold`. `outputs` are columns that data
    quality describes before the features, `features` the features in their order; (): all other columns.
    """

    problem_type: ProblemType = "BinaryClassification"
    inference: str | None = None
    probability: str | None = None
    ground_truth: str | None = None
    threshold: float = 0.5
    outputs: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


def table_of(columns: Mapping[str, Sequence[Any]], roles: Roles) -> Table:
    """Lay n rows of named columns out as a table; `Table.bad` counts answers and labels that cannot be read.

    Raises MisconfiguredError for a role whose column is not there, naming those that are.
    """
    for role, name in (
        ("inference_attribute", roles.inference),
        ("probability_attribute", roles.probability),
        ("ground_truth_attribute", roles.ground_truth),
        *(("features", name) for name in roles.features),
        *(("output_names", name) for name in roles.outputs),
    ):
        if name is not None and name not in columns:
            raise MisconfiguredError(role, name, f"one of the table's columns: {_shown(list(columns))}")
    rows = len(next(iter(columns.values()), ()))
    taken = {roles.inference, roles.probability, roles.ground_truth, *roles.outputs}
    features = roles.features or tuple(name for name in columns if name not in taken)
    bad: dict[str, BadRecords] = {}
    scores = np.full(rows, NAN)
    if roles.probability is not None:
        scores = np.array([number_of(value) for value in columns[roles.probability]], dtype=np.float64)
        _count(bad, "probability is not a number", scores)
    answers = columns[roles.inference] if roles.inference is not None else None
    labels = columns[roles.ground_truth] if roles.ground_truth is not None else None
    classes: tuple[str, ...] = ()
    if roles.problem_type == "MulticlassClassification":
        names = {name for column in (answers or (), labels or ()) for value in column if (name := class_name(value))}
        classes = tuple(sorted(names, key=class_order))
        place = {name: float(index) for index, name in enumerate(classes)}
        predictions, known = (
            np.array([place.get(class_name(value) or "", NAN) for value in column or [None] * rows], dtype=np.float64)
            for column in (answers, labels)
        )
    else:
        read = number_of if roles.problem_type == "Regression" else binary_class
        predictions, known = (
            np.array([read(value) for value in column or [None] * rows], dtype=np.float64)
            for column in (answers, labels)
        )
    if answers is None:
        predictions = np.where(np.isnan(scores), NAN, (scores > roles.threshold).astype(np.float64))
    else:
        _count(bad, f"prediction is not {_EXPECTED[roles.problem_type]}", predictions)
    if labels is not None:
        _count(bad, f"label is not {_EXPECTED[roles.problem_type]}", known)
    return Table(
        [f"row {number + 1}" for number in range(rows)],
        np.zeros(rows),
        {name: list(columns[name]) for name in features},
        {name: list(columns[name]) for name in roles.outputs},
        scores,
        predictions,
        known,
        np.ones(rows, dtype=np.bool_),
        {},
        bad,
        roles.probability is not None,
        roles.problem_type,
        classes,
    )


def _count(bad: dict[str, BadRecords], reason: str, values: Floats) -> None:
    missing = np.flatnonzero(np.isnan(values))
    if len(missing):
        bad[reason] = BadRecords(len(missing), tuple(f"row {index + 1}" for index in missing[:3].tolist()))


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
