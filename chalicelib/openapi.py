"""The label webhook's requests and answers as types, and the OpenAPI 3.1 document made from them.

The document is the same for every deployment: it names no endpoint, bucket or account, so it is open to all. Sources:
OpenAPI 3.1.1, RFC 9457 (problem documents), Standard Webhooks 1.0.0, model-monitor formats section 3 (SageMaker's
entries). Not here: how a request is verified, read and stored (handlers/ground_truth_posted.py).
"""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal

import msgspec

from chalicelib.records.ground_truth import MOST_RECORDS
from chalicelib.webhooks import ID_HEADER, MAX_ID_LENGTH, SIGNATURE_HEADER, TIMESTAMP_HEADER, TOLERANCE

VERSION = "1.0.0"
PATH, IAM_PATH, DOCUMENT_PATH = "/ground-truth/{endpoint}", "/iam/ground-truth/{endpoint}", "/openapi.json"

MAX_BODY_BYTES = 1024 * 1024
# SageMaker's rule for an endpoint's name (CreateEndpoint, EndpointName).
ENDPOINT_NAME = "^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$"
JSON_TYPE, LINE_TYPES = "application/json", ("application/jsonlines", "application/x-ndjson")
CONTENT_TYPES = (JSON_TYPE, *LINE_TYPES)
PROBLEM_TYPE = "application/problem+json"

# Every refusal of the webhook; API Gateway adds 403 (IAM), 429 (too many requests) and 5xx.
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
}
_MEANINGS = {
    400: "The body is not JSON in UTF-8, or is no list and no object; with IAM also: no usable webhook-id.",
    401: f"No signature fits, or it was made more than {int(TOLERANCE.total_seconds())} seconds from now.",
    404: "No monitor takes ground truth for an endpoint of this name, or this way in is closed.",
    409: "This webhook-id was used before with another body.",
    413: f"The body has more than {MAX_BODY_BYTES} bytes. The detail names the place in S3 for more.",
    415: f"Another content type than {', '.join(CONTENT_TYPES)}, or another charset than UTF-8.",
    422: "At least one entry is wrong, so none was stored; `errors` names every one.",
}

_Text = Annotated[str, msgspec.Meta(pattern=r"\S")]
_Id = Annotated[str, msgspec.Meta(min_length=1, description="The inference id or the event id of the request.")]
_Value = bool | int | float | _Text
_Time = Annotated[str, msgspec.Meta(description="ISO 8601 with its zone.", extra_json_schema={"format": "date-time"})]
_Index = Annotated[
    int, msgspec.Meta(ge=0, lt=MOST_RECORDS, description="Position of one record of the request, from 0.")
]


class Entry(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The label of a request: one value, or a list with one per record; with `recordIndex` of that record alone.

    For binary classification a value is 0, 1 or a boolean. `labelTime` is when the label became known (by default when
    the call was signed); `inferenceTime`, when the request was answered, spares a search.
    """

    id: _Id
    label: _Value | Annotated[list[_Value], msgspec.Meta(min_length=1)]
    record_index: _Index | None = None
    label_time: _Time | None = None
    inference_time: _Time | None = None


class EntryData(msgspec.Struct, rename="camel"):
    """A label as text: CSV, or JSON with a value per record."""

    data: _Value
    encoding: Literal["CSV", "JSON"] = "CSV"


class EntryMetadata(msgspec.Struct, rename="camel"):
    """`labelTime` and `recordIndex` are our addition; `inferenceTime` is used where it is a time."""

    event_id: _Id
    record_index: _Index | None = None
    label_time: _Time | None = None
    inference_time: Any = None


class SageMakerEntry(msgspec.Struct, rename="camel"):
    """A label in the layout of SageMaker's ground truth."""

    ground_truth_data: EntryData
    event_metadata: EntryMetadata
    event_version: Any = "0"


class Accepted(msgspec.Struct, rename="camel", omit_defaults=True):
    """All labels are stored. A repeat of the same webhook-id gets the same answer and stores nothing more.

    `stored` counts distinct labels, `object` is the key of the ground-truth object; where monitors of the endpoint
    read several places, `objects` names each.
    """

    stored: Annotated[int, msgspec.Meta(ge=1)]
    object: str
    webhook_id: str
    objects: list[str] = []


class Fault(msgspec.Struct, omit_defaults=True):
    """One mistake: the field ("": the entry), what was expected, and which entries have it.

    `indexes` count from 0 in a list, `lines` from 1 in JSON Lines.
    """

    field: str
    expected: str
    indexes: list[int] = []
    lines: list[int] = []


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Why nothing was stored (RFC 9457). Names places and expectations, never what was sent."""

    # Always written: a problem document without a type is legal, but less clear.
    type: str
    title: str
    status: int
    detail: str
    errors: list[Fault] = []


class Message(msgspec.Struct):
    """API Gateway's own answer."""

    message: str


def document() -> dict[str, Any]:
    """The OpenAPI document, made from the types of this module."""
    kinds = (Entry, SageMakerEntry, Accepted, Problem, Message)
    _, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    for each in components.values():
        each["description"] = inspect.cleandoc(each["description"])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Plumbline: labels",
            "version": VERSION,
            "summary": "Hands over what turned out to be true of a model's answers.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "./", "description": "where this document lies"}],
        "paths": {
            PATH: {"post": _post(signed=True)},
            IAM_PATH: {"post": _post(signed=False)},
            DOCUMENT_PATH: {"get": _get()},
        },
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "standardWebhooks": {
                    "type": "apiKey",
                    "in": "header",
                    "name": SIGNATURE_HEADER,
                    "description": "Standard Webhooks 1.0.0: HMAC-SHA256 over id, timestamp and body.",
                },
                "iam": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "AWS Signature Version 4 of an identity that may execute-api:Invoke.",
                },
            },
        },
    }


def _post(signed: bool) -> dict[str, Any]:
    entry = {"oneOf": [_ref("Entry"), _ref("SageMakerEntry")]}
    lines = {"type": "string", "description": "JSON Lines: one entry per line."}
    body = {JSON_TYPE: {"schema": {"oneOf": [*entry["oneOf"], {"type": "array", "items": entry, "minItems": 1}]}}}
    refusals = {str(status): _answer(meaning, PROBLEM_TYPE, "Problem") for status, meaning in _MEANINGS.items()}
    gateway = {"429": "Too many requests for this deployment.", "500": "The deployment is at fault, not the call."}
    if not signed:
        gateway["403"] = "IAM does not let this identity call."
    return {
        "operationId": "postGroundTruth" if signed else "postGroundTruthByIam",
        "summary": "Store labels, all or none.",
        "security": [{"standardWebhooks" if signed else "iam": []}],
        "parameters": [_endpoint(), *_headers(signed)],
        "requestBody": {"required": True, "content": {**body, **{each: {"schema": lines} for each in LINE_TYPES}}},
        "responses": {
            "202": _answer("Stored, now or at the first time.", JSON_TYPE, "Accepted"),
            **refusals,
            **{status: _answer(meaning, JSON_TYPE, "Message") for status, meaning in sorted(gateway.items())},
        },
    }


def _get() -> dict[str, Any]:
    return {
        "operationId": "getOpenapi",
        "summary": "This document.",
        "security": [],
        "responses": {"200": {"description": "OpenAPI 3.1.", "content": {JSON_TYPE: {"schema": {"type": "object"}}}}},
    }


def _endpoint() -> dict[str, Any]:
    schema = {"type": "string", "pattern": ENDPOINT_NAME}
    return {"name": "endpoint", "in": "path", "required": True, "description": "The endpoint's name.", "schema": schema}


def _headers(signed: bool) -> list[dict[str, Any]]:
    texts = {ID_HEADER: ("The same for every attempt of one message.", f"^[!-~]{{1,{MAX_ID_LENGTH}}}$")}
    if signed:
        texts[TIMESTAMP_HEADER] = ("When this attempt was signed, in seconds since 1970.", "^[1-9][0-9]{0,10}$")
        texts[SIGNATURE_HEADER] = ("v1,<base64>; several separated by blanks.", "^v1,")
    return [
        {
            "name": name,
            "in": "header",
            "required": True,
            "description": description,
            "schema": {"type": "string", "pattern": pattern},
        }
        for name, (description, pattern) in texts.items()
    ]


def _answer(description: str, media_type: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": _ref(schema)}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
