"""POST /ground-truth/{endpoint}: posted labels become one canonical object in SageMaker's ground-truth layout.

All or nothing: with one bad entry nothing is stored. Answers name positions and expectations, never what was sent. The
caller is authenticated by a signature (Standard Webhooks), or on the other path by IAM through API Gateway. Entries and
answers are the types of chalicelib/openapi.py; errors are problem documents (RFC 9457).

Not here: HTTP (app.py), what a label means to a monitor, and which windows it touches (ground_truth_landed, which the
stored object triggers).
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from chalicelib import keys
from chalicelib.facts.deliveries import Receipt, receive
from chalicelib.openapi import (
    CONTENT_TYPES,
    ENDPOINT_NAME,
    JSON_TYPE,
    LINE_TYPES,
    MAX_BODY_BYTES,
    PROBLEM_TYPE,
    TITLES,
    Accepted,
    Entry,
    Fault,
    Problem,
)
from chalicelib.records.capture import plausible
from chalicelib.records.ground_truth import CLOCK_DIFFERENCE, MOST_RECORDS, Label, write_ground_truth
from chalicelib.webhooks import SignatureError, Verified, read_id, verify
from chalicelib.wiring import Services

_ENDPOINT = re.compile(ENDPOINT_NAME)
_NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")

# (bucket, key prefix, problem type) of every monitor that takes ground truth for an endpoint.
Places = Callable[[str], Sequence[tuple[str, str, str]]]
Answer = tuple[int, dict[str, Any], dict[str, str]]


class PostedRequest(msgspec.Struct, frozen=True):
    """The request as received: `body` is exactly what was signed.

    `caller`: None on the signed path; on the other one the ARN that IAM authorized, "" where IAM was not used.
    """

    endpoint: str
    headers: Mapping[str, str]
    body: bytes
    content_type: str
    caller: str | None = None


class _Refusal(Exception):
    """Carries an answer other than 202 to `handle`; nothing was stored."""

    def __init__(self, status: int, detail: str, errors: Sequence[Fault] = ()) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, list(errors)


class _BadEntry(Exception):
    """Every (field, what was expected) of one entry that is wrong."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


def handle(request: PostedRequest, services: Services, ground_truth_places: Places) -> Answer:
    """Verify, check and store posted labels; returns (status, body, headers).

    202 {"stored": n, "object": key, "webhookId": id}, the same for every repeat of a webhook id; with several places
    "objects" names all. Otherwise a problem document: 400, 401, 404, 409, 413, 415, 422. Raises MisconfiguredError
    when the deployment's keys cannot be used.
    """
    try:
        now = services.now()
        verified = _verified(request, services, now) if request.caller is None else _let_in(request, services, now)
        places = _places(request.endpoint, ground_truth_places)
        labels = _read(request, places, now)
        # The digest leaves out the time that is added here, or each attempt would look like another body.
        canonical = write_ground_truth(labels)
        digest = hashlib.sha256(verified.webhook_id.encode() + b"\n" + canonical).hexdigest()
        hour = keys.hour_folder(now)
        objects = tuple((bucket, keys.join(prefix, hour, f"{digest}.jsonl")) for bucket, prefix in places)
        receipt = Receipt(digest, verified.timestamp, objects, canonical.count(b"\n"))
        first = receive(services.ledger, request.endpoint, verified.webhook_id, receipt, now)
        if first.digest != digest:
            raise _Refusal(409, "this webhook-id was used before with another body; a new message needs a new id")
        _store(first, labels, services)
        return 202, _accepted(first, verified.webhook_id), {"Content-Type": JSON_TYPE}
    except _Refusal as refusal:
        problem = Problem(
            type="about:blank",
            title=TITLES[refusal.status],
            status=refusal.status,
            detail=refusal.detail,
            errors=refusal.errors,
        )
        return refusal.status, msgspec.to_builtins(problem), {"Content-Type": PROBLEM_TYPE}


def _verified(request: PostedRequest, services: Services, now: datetime) -> Verified:
    if not services.settings.webhook_key_parameter:
        raise _Refusal(404, "this deployment takes no webhooks: it has no key to verify them with")
    secrets = services.keys_of("webhook_key_parameter")
    try:
        return verify(secrets, request.headers, request.body, now)
    except SignatureError as error:
        raise _Refusal(401, error.reason) from None


def _let_in(request: PostedRequest, services: Services, now: datetime) -> Verified:
    """The counterpart of a verified signature where IAM authorizes: the id is the header's, the time is now."""
    if not services.settings.webhook_iam:
        raise _Refusal(404, "this deployment takes no labels by IAM; post signed ones to /ground-truth/{endpoint}")
    if not request.caller:
        raise _Refusal(401, "IAM was not asked who calls: this path must be called through API Gateway")
    try:
        return Verified(read_id(request.headers), int(now.timestamp()))
    except SignatureError as error:
        raise _Refusal(400, error.reason) from None


def _places(endpoint: str, ground_truth_places: Places) -> dict[tuple[str, str], set[str]]:
    """Each distinct (bucket, prefix), in order, with the problem types of the monitors that read it."""
    places: dict[tuple[str, str], set[str]] = {}
    # A name that no endpoint can have is not looked for: it may be longer than a key of the table.
    for bucket, prefix, problem_type in ground_truth_places(endpoint) if _ENDPOINT.fullmatch(endpoint) else ():
        places.setdefault((bucket, prefix.strip("/")), set()).add(problem_type)
    if not places:
        raise _Refusal(404, "no monitor takes ground truth for an endpoint of this name")
    return dict(sorted(places.items()))


def _store(receipt: Receipt, labels: Sequence[Label], services: Services) -> None:
    """Write the object wherever it is not yet, from the receipt alone: any repeat writes the same bytes."""
    seen = datetime.fromtimestamp(receipt.timestamp, UTC)
    dated = [msgspec.structs.replace(label, label_time=label.label_time or seen) for label in labels]
    body = write_ground_truth(dated)
    for bucket, key in receipt.objects:
        services.objects.put_if_absent(bucket, key, body, content_type="application/jsonlines")


def _accepted(receipt: Receipt, webhook_id: str) -> dict[str, Any]:
    several = len(receipt.objects) > 1
    objects = [keys.s3_uri(bucket, key) for bucket, key in receipt.objects] if several else []
    answer: dict[str, Any] = msgspec.to_builtins(Accepted(receipt.stored, receipt.objects[0][1], webhook_id, objects))
    return answer


def _read(request: PostedRequest, places: Mapping[tuple[str, str], set[str]], now: datetime) -> list[Label]:
    """The labels of the body, or a refusal that names every bad entry."""
    if len(request.body) > MAX_BODY_BYTES:
        bucket, prefix = next(iter(places))
        place = keys.s3_uri(bucket, keys.join(prefix, "YYYY/MM/DD/HH", "{any name}.jsonl"))
        raise _Refusal(
            413,
            f"the body has {len(request.body)} bytes, the limit is {MAX_BODY_BYTES}; "
            f"send it in parts, or write JSON Lines to {place}",
        )
    unit, entries = _entries(request)
    labels, faults, count = checked(entries, takes_numbers_only(places.values()), now)
    if not count:
        raise _Refusal(422, "the body holds no entry; expected at least one")
    if faults:
        # By fault and not by entry: thousands of entries of one mistake stay a short answer that names them all.
        errors = [Fault(field, expected, **{unit: at}) for (field, expected), at in sorted(faults.items())]
        bad_count = len({position for at in faults.values() for position in at})
        raise _Refusal(422, f"{bad_count} of {count} entries are wrong, so none was stored", errors)
    return labels


def takes_numbers_only(problem_types: Iterable[Iterable[str]]) -> bool:
    """Whether labels must be 0, 1 or booleans: the strictest of the monitors that read a place decides."""
    return any("BinaryClassification" in each for each in problem_types)


def checked(
    entries: Iterable[tuple[int, Any]], binary: bool, now: datetime
) -> tuple[list[Label], dict[tuple[str, str], list[int]], int]:
    """Entries of either form, each with its position, as labels; `binary`: each is 0, 1 or a boolean.

    Returns the labels, (field, what was expected) -> the positions at which that is wrong, and how many entries came.
    """
    labels: list[Label] = []
    faults: dict[tuple[str, str], list[int]] = {}
    count, latest = 0, now + CLOCK_DIFFERENCE
    for position, entry in entries:
        count += 1
        try:
            labels.append(_not_later(_label(entry, binary), latest))
        except _BadEntry as bad:
            for fault in bad.faults:
                faults.setdefault(fault, []).append(position)
    return labels, faults, count


def _entries(request: PostedRequest) -> tuple[str, Iterable[tuple[int, Any]]]:
    """The entries with their positions, and what a position is: "indexes" from 0, or "lines" from 1."""
    media_type, _, parameters = request.content_type.partition(";")
    charset = re.search(r"charset\s*=\s*\"?([^\s\";]+)", parameters, re.IGNORECASE)
    if media_type.strip().lower() not in CONTENT_TYPES or (charset and charset[1].lower() not in ("utf-8", "us-ascii")):
        raise _Refusal(415, f"expected the content type {', '.join(CONTENT_TYPES)}, in UTF-8")
    if media_type.strip().lower() in LINE_TYPES:
        lines = enumerate(request.body.split(b"\n"), start=1)
        return "lines", [(number, _decoded_line(line)) for number, line in lines if line.strip()]
    try:
        document = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _Refusal(400, "the body is not JSON in UTF-8; for JSON Lines say application/x-ndjson") from None
    if not isinstance(document, list | dict):
        raise _Refusal(400, "expected a list of entries, or one entry")
    return "indexes", enumerate(document if isinstance(document, list) else [document])


def _decoded_line(line: bytes) -> Any:
    """The line's value; a line that is not JSON is no entry, which `_label` says of anything but an object."""
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _not_later(label: Label, latest: datetime) -> Label:
    """The label. Raises _BadEntry for a request to come, which would open a window that is looked at without end, and
    for a label that becomes known in the future, which nothing could correct before then."""
    times = (("inferenceTime", label.inference_time), ("labelTime", label.label_time))
    expected = "a time that is not more than an hour from now"
    if late := [(name, expected) for name, time in times if time is not None and time > latest]:
        raise _BadEntry(late)
    return label


def _label(entry: Any, binary: bool) -> Label:
    """Read one entry of either form. `binary`: each label is a number or a boolean. Raises _BadEntry."""
    if not isinstance(entry, dict):
        raise _BadEntry([("", "a JSON object with groundTruthData and eventMetadata, or with id and label")])
    if "groundTruthData" in entry or "eventMetadata" in entry:
        return _label_of_sagemaker(entry, binary)
    return _label_of_short(entry, binary)


def _label_of_sagemaker(entry: dict[str, Any], binary: bool) -> Label:
    faults: list[tuple[str, str]] = []
    content, metadata = entry.get("groundTruthData"), entry.get("eventMetadata")
    data, encoding, event_id, label_time, inference_time, index = "", "", "", None, None, None
    if isinstance(content, dict):
        raw = content.get("data")
        encoding = content.get("encoding", "CSV")
        if encoding not in ("CSV", "JSON"):
            faults.append(("groundTruthData.encoding", '"CSV" or "JSON"'))
        elif isinstance(raw, bool | int | float | str):
            data = _text(raw)
            if expected := _fault_of_data(data, encoding, binary):
                faults.append(("groundTruthData.data", expected))
        else:
            faults.append(("groundTruthData.data", "the label as text"))
    else:
        faults.append(("groundTruthData", "an object with data and encoding"))
    if isinstance(metadata, dict):
        event_id = _id(metadata.get("eventId"), "eventMetadata.eventId", faults)
        label_time = _time(metadata.get("labelTime"), "eventMetadata.labelTime", faults)
        # SageMaker ignores this field, and real files hold templates in it.
        inference_time = _time(metadata.get("inferenceTime"), "", [])
        index = _index(metadata.get("recordIndex"), "eventMetadata.recordIndex", faults)
    else:
        faults.append(("eventMetadata", "an object with eventId"))
    if faults:
        raise _BadEntry(faults)
    return Label(event_id, data, encoding, label_time, inference_time, record_index=index)


def _label_of_short(entry: dict[str, Any], binary: bool) -> Label:
    faults: list[tuple[str, str]] = []
    if any(name not in Entry.__struct_encode_fields__ for name in entry):
        faults.append(("", "no other fields than " + ", ".join(Entry.__struct_encode_fields__)))
    event_id = _id(entry.get("id"), "id", faults)
    label = entry.get("label")
    label_time = _time(entry.get("labelTime"), "labelTime", faults)
    inference_time = _time(entry.get("inferenceTime"), "inferenceTime", faults)
    index = _index(entry.get("recordIndex"), "recordIndex", faults)
    if index is not None and isinstance(label, list):
        faults.append(("label", "one value, for with recordIndex it is the label of one record"))
    values = label if isinstance(label, list) else [label]
    if not values or not all(_is_value(value, binary) for value in values):
        one = "0, 1, a boolean, or a text with one of them in it" if binary else "a number, a boolean or a text"
        faults.append(("label", f"{one}, or a list of those (one per record)"))
    if faults:
        raise _BadEntry(faults)
    if isinstance(label, list):
        plain = [int(value) if isinstance(value, bool) else value for value in label]
        return Label(event_id, msgspec.json.encode(plain).decode(), "JSON", label_time, inference_time)
    return Label(event_id, _text(label), "CSV", label_time, inference_time, record_index=index)


def _text(value: Any) -> str:
    """A scalar as the text of a label; booleans as 1 and 0, the words that every reader of CSV labels understands."""
    if isinstance(value, bool):
        return str(int(value))
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _fault_of_data(data: str, encoding: str, binary: bool) -> str:
    """What was expected of a label's text, or "" when it is as expected.

    Where in a JSON object the label stands is the monitor's setting, so an object is taken as it is.
    """
    text = data.strip()
    if not text:
        return "a label that is not empty"
    values: list[Any]
    # As in reading: real files mark JSON labels as CSV, so the text decides.
    if encoding == "JSON" or text[0] in "{[":
        try:
            document = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return "JSON text"
        values = document if isinstance(document, list) else [document]
        values = [value for value in values if not isinstance(value, dict | list)]
    else:
        try:
            values = [value for row in csv.reader(io.StringIO(text, newline="")) for value in row]
        except csv.Error:
            return "CSV text"
    if all(_is_value(value, binary) for value in values):
        return ""
    return "0, 1 or a boolean, or several (one per record)" if binary else "a label, or several (one per record)"


def _is_value(value: Any, binary: bool) -> bool:
    if isinstance(value, str):
        if not binary:
            return bool(value.strip())
        return value.strip().lower() in ("true", "false") or (
            bool(_NUMBER.fullmatch(value)) and float(value) in (0.0, 1.0)
        )
    if binary:
        return isinstance(value, bool | int | float) and value in (0, 1)
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


def _id(value: Any, field: str, faults: list[tuple[str, str]]) -> str:
    if isinstance(value, str) and value:
        return value
    faults.append((field, "a text: the inference id or the event id of the request"))
    return ""


def _index(value: Any, field: str, faults: list[tuple[str, str]]) -> int | None:
    if value is None or (type(value) is int and 0 <= value < MOST_RECORDS):
        return value
    faults.append((field, f"a whole number from 0 to {MOST_RECORDS - 1}: which record of the request it is"))
    return None


def _time(value: Any, field: str, faults: list[tuple[str, str]]) -> datetime | None:
    if value is None:
        return None
    try:
        time = msgspec.convert(value, datetime)
        if isinstance(value, str) and time.tzinfo is not None:
            return plausible(time)
    except (msgspec.ValidationError, OverflowError):
        pass
    faults.append((field, "a time in ISO 8601 with its zone, such as 2026-01-02T03:04:05Z"))
    return None
