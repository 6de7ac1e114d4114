"""What columns without names are called: the baseline's names by position, and how that was decided.

Model Monitor lays a record out as its outputs and then its inputs. Not here: what is measured of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chalicelib.errors import MisconfiguredError
from chalicelib.evaluation.evaluate import Baselines, Document
from chalicelib.monitors import baseline
from chalicelib.records.attributes import Attributes, check_names
from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.payload import PayloadError, rows_of
from chalicelib.records.preprocess import InferenceRecord, Preprocessor
from chalicelib.records.table import widths_of
from chalicelib.records.values import number_of

# Of the columns: so many must not fit where the answer comes first, for the answer to be tried last.
FEW_FIT = 0.5


class Naming:
    """Names columns by a baseline's; `notes` say what was decided. `folder` names the baseline in errors."""

    def __init__(self, baselines: Baselines, folder: str) -> None:
        constraints = baselines.data_quality_constraints or {}
        self._folder, self._statistics = folder, baselines.data_quality_statistics or {}
        self._columns = [str(feature["name"]) for feature in constraints.get("features", [])]
        self.notes: list[str] = []

    def named(self, attributes: Attributes, request: CapturedRequest, preprocessed: bool) -> Attributes:
        """The attributes with the names that the baseline has for columns without names, where none are declared.

        A baseline of as many columns as an input has names the inputs; one of as many as output and input have together
        names both, the output first as Model Monitor has it; where most columns of `request` do not fit so, and all do
        with the output last, it is last. A transform's output that was joined with its input has the input's first.

        Raises MisconfiguredError for names that cannot be those of columns.
        """
        # A declared output is no feature, wherever the baseline has it.
        names = [name for name in self._columns if name not in attributes.output_names]
        if attributes.features or not names:
            return attributes
        outputs = 0
        if not preprocessed:  # else its records are objects: the baseline's names are their keys
            width, answered = widths_of(request, attributes)
            joined = request.is_batch and request.input is None and request.output and request.output.encoding == "CSV"
            if joined and answered:
                width, answered = min(answered - 1, len(names)), 1
            elif answered is not None:
                answered = max(0, answered - (len(self._columns) - len(names)))
            if width is None:
                return attributes
            if len(names) - width == answered:
                outputs = len(names) - width
        try:
            check_names(Attributes(features=tuple(names)))
        except MisconfiguredError as error:
            expected = f"{baseline.DATA_CONSTRAINTS} with {error.expected}"
            raise MisconfiguredError("--baseline", error.value, expected) from None
        first, rest = names[:outputs], names[outputs:]
        if outputs and not joined:
            first, rest = self._ordered(names, outputs, request)
        return msgspec.structs.replace(
            attributes, features=tuple(rest), output_names=attributes.output_names or tuple(first)
        )

    def by_position(self, preprocess: Preprocessor, attributes: Attributes) -> Preprocessor:
        """A user's function whose keys, where none of them is a name of the baseline and they are as many as it has
        columns, are taken by position in sorted order, as Model Monitor takes them."""
        if attributes.features:
            return preprocess
        columns, notes = self._columns, self.notes

        def renamed(record: Any) -> Any:
            if not isinstance(record, dict) or len(record) != len(columns) or not columns:
                return record
            if not all(isinstance(key, str) for key in record) or record.keys() & set(columns):
                return record
            if not notes:
                notes.append("the keys of preprocess_handler are no names of the baseline: taken by sorted position")
            return dict(zip(columns, (record[key] for key in sorted(record)), strict=True))

        def handler(record: InferenceRecord) -> Any:
            made = preprocess(record)
            return [renamed(each) for each in made] if isinstance(made, list) else renamed(made)

        return handler

    def _ordered(self, names: list[str], outputs: int, request: CapturedRequest) -> tuple[list[str], list[str]]:
        """The names of outputs and of inputs."""
        answer, asked = _first_row(request.output), _first_row(request.input)
        known = {feature["name"]: feature for feature in self._statistics.get("features", [])}

        def fitting(columns: Sequence[str], values: Sequence[Any]) -> int:
            return sum(_fits(known.get(name), value) for name, value in zip(columns, values, strict=False))

        first = fitting(names[:outputs], answer) + fitting(names[outputs:], asked)
        last = fitting(names[-outputs:], answer) + fitting(names[:-outputs], asked)
        if known and first < FEW_FIT * len(names) and last == len(names):
            self.notes.append(
                f"columns are named by position, with the answer last ({', '.join(names[-outputs:])}): so the values "
                "fit the baseline; with the answer first, as Model Monitor lays records out, they do not"
            )
            return names[-outputs:], names[:-outputs]
        self.notes.append(
            f"columns are named by position, the answer first ({', '.join(names[:outputs])}), as Model Monitor lays "
            "records out; where the baseline has it elsewhere, name it in output_names of --monitor FILE"
        )
        return names[:outputs], names[outputs:]


def _first_row(payload: Payload | None) -> list[Any]:
    if payload is None:
        return []
    try:
        rows = rows_of(payload)
    except PayloadError:
        return []
    return rows[0] if rows and isinstance(rows[0], list) else []


def _fits(feature: Document | None, value: Any) -> bool:
    """Whether a value could be one of a column: of its type, and in its range or a tenth of it beyond."""
    if feature is None:
        return True
    numeric: Mapping[str, Any] | None = feature.get("numerical_statistics")
    number = number_of(value)
    if numeric is None:
        return number != number
    if number != number or (feature.get("inferred_type") == "Integral" and not number.is_integer()):
        return False
    least, greatest = numeric.get("min"), numeric.get("max")
    if not isinstance(least, int | float) or not isinstance(greatest, int | float):
        return True
    margin = (greatest - least) / 10
    return bool(least - margin <= number <= greatest + margin)
