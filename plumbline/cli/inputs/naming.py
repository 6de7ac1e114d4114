"""What columns without names are called: the baseline's names by position, and how that was decided.

Model Monitor lays a record out as its outputs and then its inputs. Not here: what is measured of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
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
# Of a column's values: so many must be possible for the column to fit.
NEARLY_ALL = 0.9
# Requests whose values are compared with the baseline.
LOOKED_AT = 100


class Naming:
    """Names columns by a baseline's; `notes` say what was decided, `missing` is the column that requests lack.

    `folder` names the baseline in errors.
    """

    def __init__(self, baselines: Baselines, folder: str) -> None:
        constraints = baselines.data_quality_constraints or {}
        statistics = baselines.data_quality_statistics or {}
        self._folder = folder
        self._known: dict[str, Document] = {str(each["name"]): each for each in statistics.get("features", [])}
        self._columns = [str(feature["name"]) for feature in constraints.get("features", [])]
        self.notes: list[str] = []
        self.missing: str | None = None

    def named(self, attributes: Attributes, requests: Sequence[CapturedRequest], preprocessed: bool) -> Attributes:
        """The attributes with the names that the baseline has for columns without names, where none are declared.

        A baseline of as many columns as an input has names the inputs; one of as many as output and input have together
        names both, the output first as Model Monitor has it; where most columns of the requests do not fit so, and all
        do with the output last, it is last; where all do with one column missing from the inputs, that one is missing.
        A transform's output that was joined with its input has the input's first. `requests`: the first ones, those of
        the usual width at the beginning.

        Raises MisconfiguredError for names that cannot be those of columns.
        """
        # A declared output is no feature, wherever the baseline has it.
        names = [name for name in self._columns if name not in attributes.output_names]
        if attributes.features or not names:
            return attributes
        outputs, request = 0, requests[0]
        if not preprocessed:  # else its records are objects: the baseline's names are their keys
            width, answered = widths_of(request, attributes)
            joined = request.is_batch and request.input is None and request.output and request.output.encoding == "CSV"
            if joined and answered:
                width, answered = min(answered - 1, len(names)), 1
            elif answered is not None:
                answered = max(0, answered - (len(self._columns) - len(names)))
            if width is None:
                return attributes
            if answered and len(names) - width == answered:
                outputs = answered
            elif answered and len(names) - width == answered + 1 and not joined:
                # One column fewer than output and input have together, where that is how the values fit.
                outputs = answered if self._missing(names[answered:], _rows(requests, width)) else 0
        try:
            check_names(Attributes(features=tuple(names)))
        except MisconfiguredError as error:
            expected = f"{baseline.DATA_CONSTRAINTS} with {error.expected}"
            raise MisconfiguredError("--baseline", error.value, expected) from None
        first, rest = names[:outputs], names[outputs:]
        if outputs and not joined:
            first, rest = self._ordered(names, outputs, requests)
        if not preprocessed:
            self._tell_missing(rest, requests)
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

    def _ordered(
        self, names: list[str], outputs: int, requests: Sequence[CapturedRequest]
    ) -> tuple[list[str], list[str]]:
        """The names of outputs and of inputs."""
        width = len(names) - outputs
        asked, answers = _rows(requests, width), _rows(requests, outputs, answers=True)
        if asked:
            inputs = self._fitting(names[outputs:], asked)
            first = inputs + self._fitting(names[:outputs], answers)
            last = self._fitting(names[-outputs:], answers) + self._fitting(names[:-outputs], asked)
            if self._known and first < FEW_FIT * len(names) and last == len(names):
                self.notes.append(
                    f"columns are named by position, with the answer last ({', '.join(names[-outputs:])}): so the "
                    "values fit the baseline; with the answer first, as Model Monitor lays records out, they do not"
                )
                return names[-outputs:], names[:-outputs]
            if outputs == 1 and inputs < width and self._missing(names, asked):
                return [], names
        self.notes.append(
            f"columns are named by position, the answer first ({', '.join(names[:outputs])}), as Model Monitor lays "
            "records out; where the baseline has it elsewhere, name it in output_names of --monitor FILE"
        )
        return names[:outputs], names[outputs:]

    def _tell_missing(self, features: Sequence[str], requests: Sequence[CapturedRequest]) -> None:
        """Note which column requests lack that have one value less than there are features."""
        self.missing = self._missing(features, _rows(requests, len(features) - 1))
        if self.missing:
            self.notes.append(
                f"requests of {len(features) - 1} values: they fit the {len(features)} columns of the baseline if "
                f"`{self.missing}` is missing"
            )

    def _missing(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str | None:
        """The column without which all values fit the others by position; of several the one where they fit best."""
        if not self._known or not rows or len(rows[0]) != len(names) - 1:
            return None
        found = []
        for place, name in enumerate(names):
            others = [*names[:place], *names[place + 1 :]]
            if self._fitting(others, rows) == len(others):
                found.append((self._distance(others, rows), place, name))
        return min(found)[2] if found else None

    def _fitting(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> int:
        """How many columns have values that nearly all could be the baseline's."""
        columns = zip(names, zip(*rows, strict=False), strict=False)
        return sum(
            sum(_fits(self._known.get(name), value) for value in values) >= NEARLY_ALL * len(values)
            for name, values in columns
        )

    def _distance(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> float:
        """How far medians lie from the baseline's means, in its standard deviations, summed over columns of numbers."""
        total = 0.0
        for name, values in zip(names, zip(*rows, strict=False), strict=False):
            numeric = self._known.get(name, {}).get("numerical_statistics") or {}
            mean, deviation = numeric.get("mean"), numeric.get("std_dev")
            if isinstance(mean, int | float) and isinstance(deviation, int | float) and deviation > 0:
                total += abs(median(map(number_of, values)) - mean) / deviation
        return total


def _rows(requests: Sequence[CapturedRequest], width: int, answers: bool = False) -> list[list[Any]]:
    """The first record of each request that has so many values, of the first hundred requests."""
    found = [_first_row(one.output if answers else one.input) for one in requests[:LOOKED_AT]]
    return [row for row in found if width and len(row) == width]


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
