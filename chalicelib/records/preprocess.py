"""A user's own function between the capture and the table, with Model Monitor's contract.

`preprocess_handler(inference_record)` gets one captured request and returns its record as a flat object, a list of
them, or nothing to leave the request out (model-monitor formats, section 12). Knows what the function is shown and
what it may return; refuses to know where it came from: loading a user's file is the command line's business, and the
deployed functions never do it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.ground_truth import Label
from chalicelib.records.times import iso


class Data(msgspec.Struct, frozen=True):
    """One side of the request, or its label: the text as captured, and its encoding (CSV, JSON, BASE64).

    Spelt as scripts for Model Monitor spell it.
    """

    data: str
    encoding: str
    observedContentType: str | None = None
    mode: str | None = None


class EventMetadata(msgspec.Struct, frozen=True):
    """`event_time` is ISO-8601, UTC, whole seconds; `custom_attribute`: the values of the CustomAttributes header,
    None where the request had none (model-monitor formats, section 12)."""

    event_id: str
    event_time: str
    custom_attribute: list[str] | None
    inference_id: str | None = None


class EventData(msgspec.Struct, frozen=True):
    """The two sides under the names that older scripts use: `inference_record.event_data.endpointInput.data`."""

    endpointInput: Data | None
    endpointOutput: Data | None


class InferenceRecord(msgspec.Struct, frozen=True):
    """What the function is given. A side that was not captured is None."""

    endpoint_input: Data | None
    endpoint_output: Data | None
    batch_transform_output: Data | None
    ground_truth: Data | None
    event_metadata: EventMetadata
    event_version: str = "0"

    @property
    def event_data(self) -> EventData:
        return EventData(self.endpoint_input, self.endpoint_output)


Preprocessor = Callable[[InferenceRecord], Any]


class PreprocessError(ValueError):
    """The function failed, or returned something else than records. Holds no payload: only kinds of things."""


def inference_record(request: CapturedRequest, label: Label | None) -> InferenceRecord:
    """A captured request, with its label where it has one, as Model Monitor would show it."""
    answered = _data(request.output)
    return InferenceRecord(
        _data(request.input),
        None if request.is_batch else answered,
        answered if request.is_batch else None,
        None if label is None else Data(label.data, label.encoding),
        EventMetadata(
            request.event_id,
            iso(request.inference_time),
            [*request.custom_attributes] or None,
            request.inference_id,
        ),
    )


def records_of(preprocess: Preprocessor, request: CapturedRequest, label: Label | None) -> list[dict[str, Any]]:
    """What the function makes of a request; [] when it leaves it out. Raises PreprocessError.

    Values are texts, numbers, booleans or None, those of numpy as Python's own; anything nested is refused, as Model
    Monitor's records are flat.
    """
    try:
        made = preprocess(inference_record(request, label))
    except (Exception, SystemExit) as error:
        # The message may repeat what was captured; the kind of the error cannot.
        raise PreprocessError(f"preprocess_handler raised {type(error).__name__}") from None
    if made is None:
        return []
    records = made if isinstance(made, list) else [made]
    if not all(isinstance(record, dict) for record in records):
        raise PreprocessError("preprocess_handler returned no object, list of objects or nothing")
    records = [{key: _plain(value) for key, value in record.items()} for record in records]
    for record in records:
        if not all(isinstance(key, str) for key in record):
            raise PreprocessError("preprocess_handler returned a key that is no text")
        if not all(value is None or isinstance(value, str | int | float | bool) for value in record.values()):
            raise PreprocessError("preprocess_handler returned a value that is no text, number or boolean")
    return [record for record in records if record]


def with_labels(preprocess: Preprocessor, labels: Mapping[str, Label]) -> Preprocessor:
    """The function, shown the label of each request by its id."""

    def labelled(record: InferenceRecord) -> Any:
        metadata = record.event_metadata
        label = labels.get(metadata.event_id if metadata.inference_id is None else metadata.inference_id)
        if label is not None:
            record = msgspec.structs.replace(record, ground_truth=Data(label.data, label.encoding))
        return preprocess(record)

    return labelled


def _plain(value: Any) -> Any:
    # numpy's float is one of Python's, and is written as np.float64(1.5).
    return value.item() if isinstance(value, np.generic) else value


def _data(payload: Payload | None) -> Data | None:
    if payload is None:
        return None
    return Data(payload.data, payload.encoding, payload.content_type, payload.mode)
