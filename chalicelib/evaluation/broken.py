"""Is the data itself broken? Schema, nulls and answers, by share: a break alerts and is never learned from.

Model Monitor's own checks fire on a single bad row (a mangled header alone once made 60 violations); they are
reported as they are. What stops a retraining is a break of more than BROKEN_SHARE of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import CapturedRequest
from chalicelib.records.table import BadRecords, is_about, to_table
from chalicelib.states.class_matrix import ClassMatrix
from chalicelib.states.profile import Column, Profile, profile_of

BROKEN_SHARE = 0.05

# A share says something about the columns of a single file from here on; of fewer rows the window will tell.
FILE_ROWS = 20

# How reasons begin that are about one value of an answer that was read (`records.table`).
_READ_FROM_ANSWERS = ("output: probability", "output: prediction")
_NO_RECORD = "no record in the request"

# Reasons that are said of columns, which may be thousands: the report has them all.
COLUMNS_SHOWN = 20

# Characters of payloads that are looked at when a file lands: as rows they take a hundred times as much memory.
LOOKED_AT = 1_000_000


def broken_rows(
    requests: Sequence[CapturedRequest],
    attributes: Attributes,
    constraints: Mapping[str, Any] | None,
    inputs: bool = True,
) -> list[str]:
    """Reasons why the rows of one file are broken, by shape or against the baseline's constraints; empty: they are not.

    Of a large file only the beginning is looked at: the window's evaluation looks at all of it.
    Answers are looked at from FILE_ROWS rows on, and columns too where there are constraints. `inputs` as of a Subject.
    """
    table = to_table(_first(requests, attributes), {}, attributes, inputs=inputs)
    reasons = shape_reasons(len(table), int(table.whole.sum()), table.bad)
    if len(table) >= FILE_ROWS:
        reasons += answer_reasons(len(table), table.bad)
    if constraints and int(table.regular.sum()) >= FILE_ROWS:
        reasons += broken_columns(profile_of(table), constraints)
    return reasons


def _first(requests: Sequence[CapturedRequest], attributes: Attributes) -> list[CapturedRequest]:
    """The monitor's own requests with the first LOOKED_AT characters of payloads."""
    found: list[CapturedRequest] = []
    size = 0
    for request in requests:
        if size >= LOOKED_AT:
            break
        if is_about(request, attributes):
            found.append(request)
            size += sum(len(payload.data) for payload in (request.input, request.output) if payload)
    return found


def shape_reasons(rows: int, whole: int, bad: Mapping[str, object]) -> list[str]:
    """Rows that cannot be laid out under the declared features: all but the `whole` ones of `rows`.

    `bad`: by reason, what was wrong with any of them.
    """
    if not rows:
        return ["no row could be read"] if bad else []
    odd = rows - whole
    if odd <= BROKEN_SHARE * rows:
        return []
    share = odd / rows
    reasons = sorted(reason for reason in bad if reason.startswith(("expected", "input")))
    return [f"{share:.0%} of the rows do not have the declared features ({'; '.join(reasons[:3])})"]


def answer_reasons(rows: int, bad: Mapping[str, BadRecords]) -> list[str]:
    """Answers that were captured and cannot be used: unreadable payloads, a probability of 1.7, no class.

    A loss of the others says little. What was not captured is no broken answer: an endpoint may capture one side.
    """
    found = {reason: each.count for reason, each in bad.items() if reason.startswith("output: ")}
    unlike = {kind: sum(found[reason] for reason in found if reason.startswith(kind)) for kind in _READ_FROM_ANSWERS}
    # One answer may have neither a probability nor a class: it is counted once.
    count = sum(found.values()) - min(unlike.values())
    # Of a request without input that has an unreadable answer there is no row.
    answers = rows + (bad[_NO_RECORD].count if _NO_RECORD in bad else 0)
    if count <= BROKEN_SHARE * answers:
        return []
    most = sorted(found, key=lambda reason: (-found[reason], reason))
    return [f"{count / answers:.0%} of the answers cannot be used ({'; '.join(most[:3])})"]


def label_reasons(labelled: int, bad: Mapping[str, BadRecords]) -> list[str]:
    """Labels that came and cannot be read as the problem type has them: quality of the others says little.

    `labelled`: rows with a label that can be read.
    """
    found = {reason: each.count for reason, each in bad.items() if reason.startswith("label is ")}
    count = sum(found.values())
    if count <= BROKEN_SHARE * (labelled + count):
        return []
    most = sorted(found, key=lambda reason: (-found[reason], reason))
    return [f"{count / (labelled + count):.0%} of the labels cannot be used ({'; '.join(most[:3])})"]


def class_reasons(matrix: ClassMatrix) -> list[str]:
    """Answers and labels that have no class in common: a slip of the set-up, and no bad model."""
    if matrix.rows < FILE_ROWS or set(matrix.served.tolist()) & set(matrix.labels.tolist()):
        return []
    return ["answers and labels have no class in common"]


def broken_columns(profile: Profile, constraints: Mapping[str, Any] | None) -> list[str]:
    """Columns that are of another type or empty, by more than BROKEN_SHARE against the baseline.

    A name that only the baseline has is no break: baselines made from training tables hold the label, and columns of
    headerless CSV have no names. A declared feature that vanishes from JSON is a column of missing values here.
    """
    if not constraints or not profile.rows:
        return []
    reasons = []
    for feature in constraints.get("features", []):
        column = profile.column(feature["name"])
        if column is None:
            continue
        missing = 1 - column.present / profile.rows
        required = feature.get("completeness")
        allowed = 1 - float(required) if isinstance(required, int | float) else 1.0
        if missing - allowed > BROKEN_SHARE:
            reasons.append(f"column {column.name}: {missing:.0%} of the values are missing, baseline {allowed:.0%}")
        if feature.get("inferred_type") in ("Integral", "Fractional") and _not_numeric(column) > BROKEN_SHARE:
            reasons.append(f"column {column.name}: {_not_numeric(column):.0%} of the values are not numbers")
    rest = len(reasons) - COLUMNS_SHOWN
    return [*reasons[:COLUMNS_SHOWN], *([f"and {rest} more such findings about columns"] if rest > 0 else [])]


def _not_numeric(column: Column) -> float:
    """A whole number where fractions were is no break; text is."""
    return 1 - (column.integral + column.fractional) / column.present if column.present else 0.0
