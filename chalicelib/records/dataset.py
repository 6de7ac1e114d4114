"""A data set's named columns as a table: what baselines are made of.

Knows which columns hold the answer, its probability and the label; all others are features. Refuses to know the format
that the columns were read from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.errors import MisconfiguredError
from chalicelib.records.attributes import ProblemType
from chalicelib.records.table import BadRecords, Floats, Table
from chalicelib.records.values import (
    EXPECTED,
    GREATEST_PROBABILITY,
    LEAST_PROBABILITY,
    NAN,
    OUTSIDE,
    ambiguous,
    class_reader,
    class_text,
    classes_of,
    number_of,
)

# A column with more numbers than this outside of 0 to 1 holds no probabilities.
OUTSIDE_SHARE = 0.05


class Roles(msgspec.Struct, frozen=True, kw_only=True):
    """The columns that are no features, by name; None: there is none.

    `inference` holds the predicted class or number, `probability` that of class 1 (binary only), `ground_truth` the
    label. Without `inference` the class is 1 where the probability is > `threshold`; 0 says that scores are margins.
    `positive`: which value is class 1, where the classes are not 0 and 1. `outputs` are columns that data quality
    describes before the features, `features` the features in their order; (): all other columns.
    """

    problem_type: ProblemType = "BinaryClassification"
    inference: str | None = None
    probability: str | None = None
    ground_truth: str | None = None
    threshold: float = 0.5
    positive: str | None = None
    outputs: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


def table_of(columns: Mapping[str, Sequence[Any]], roles: Roles) -> Table:
    """Lay n rows of named columns out as a table; `Table.bad` counts answers and labels that cannot be read.

    Raises MisconfiguredError for a role whose column is not there, naming those that are, and for a column of
    probabilities, the only answer, that holds something else: more than 5 % of its numbers are outside of 0 to 1.
    """
    for role, name in (
        ("inference_attribute", roles.inference),
        ("probability_attribute", roles.probability),
        ("ground_truth_attribute", roles.ground_truth),
        *(("features", name) for name in roles.features),
        *(("output_names", name) for name in roles.outputs),
    ):
        if name is not None and name not in columns:
            raise MisconfiguredError(role, name, f"one of the table's columns: {first_names(columns)}")
    rows = len(next(iter(columns.values()), ()))
    taken = {roles.inference, roles.probability, roles.ground_truth, *roles.outputs}
    features = roles.features or tuple(name for name in columns if name not in taken)
    bad: dict[str, BadRecords] = {}
    noted: dict[str, BadRecords] = {}
    scores = np.full(rows, NAN)
    if roles.probability is not None:
        scores = np.array([number_of(value) for value in columns[roles.probability]], dtype=np.float64)
        _count(bad, "probability is not a number", np.isnan(scores))
        outside = (scores < LEAST_PROBABILITY) | (scores > GREATEST_PROBABILITY)
        if roles.threshold and roles.inference is not None:
            _count(noted, OUTSIDE, outside)
        elif roles.threshold:
            _refuse_no_probabilities(roles.probability, scores, outside)
            _count(bad, OUTSIDE, outside)
            scores = np.where(outside, NAN, scores)
    answers = columns[roles.inference] if roles.inference is not None else None
    labels = columns[roles.ground_truth] if roles.ground_truth is not None else None
    classes: tuple[str, ...] = ()
    spelled: tuple[str, ...] = ()
    if roles.problem_type == "MulticlassClassification":
        texts = [[class_text(value) for value in column or [None] * rows] for column in (answers, labels)]
        classes, places = classes_of([*texts[0], *texts[1]])
        spelled = ambiguous(text for column in texts for text in column if text is not None)
        predictions, known = np.array(places, dtype=np.float64).reshape(2, rows)
    else:
        read = number_of if roles.problem_type == "Regression" else class_reader(roles.positive)
        predictions, known = (
            np.array([read(value) for value in column or [None] * rows], dtype=np.float64)
            for column in (answers, labels)
        )
    if answers is None:
        predictions = np.where(np.isnan(scores), NAN, (scores > roles.threshold).astype(np.float64))
    else:
        _count(bad, f"prediction is not {EXPECTED[roles.problem_type]}", np.isnan(predictions))
    if labels is not None:
        _count(bad, f"label is not {EXPECTED[roles.problem_type]}", np.isnan(known))
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
        spelled,
        noted,
    )


def _refuse_no_probabilities(column: str, scores: Floats, outside: npt.NDArray[np.bool_]) -> None:
    numbers = scores[~np.isnan(scores)]
    count = int(np.count_nonzero(outside))
    if count > OUTSIDE_SHARE * len(numbers):
        expected = (
            f"a column of probabilities; {count:,} of its {len(numbers):,} numbers are outside of 0 to 1 (from "
            f"{float(numbers.min()):.6g} to {float(numbers.max()):.6g}). For margins (log-odds, cut at 0) set the "
            "threshold to 0, or name the column of the class as inference_attribute"
        )
        raise MisconfiguredError("probability_attribute", column, expected)


def _count(found: dict[str, BadRecords], reason: str, which: npt.NDArray[np.bool_]) -> None:
    rows = np.flatnonzero(which)
    if len(rows):
        found[reason] = BadRecords(len(rows), tuple(f"row {index + 1}" for index in rows[:3].tolist()))


def first_names(columns: Iterable[str]) -> str:
    """The first of these names in words, and how many more there are."""
    names = list(columns)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
