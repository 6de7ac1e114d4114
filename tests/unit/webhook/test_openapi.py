"""The OpenAPI document says what the app does: routes, statuses, and which entries are taken."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any

import jsonschema
import pytest
from chalice.app import IAMAuthorizer

import app as deployed
from chalicelib.openapi import CONTENT_TYPES, TITLES, document
from tests.unit.webhook.test_ground_truth_posted import BAD_ENTRIES, GOOD, World, sagemaker

DOCUMENT = json.loads(json.dumps(document()))
POSTS = [operations["post"] for operations in DOCUMENT["paths"].values() if "post" in operations]


def validator(place: Any) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**place, "components": DOCUMENT["components"]})


def test_the_document_can_be_read_by_others() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    references = re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(DOCUMENT))
    assert references and set(references) <= set(DOCUMENT["components"]["schemas"])
    assert set(references) == set(DOCUMENT["components"]["schemas"])


def test_routes_methods_and_who_is_asked_are_the_apps() -> None:
    served = {
        (path, method.lower(), "iam" if isinstance(route.authorizer, IAMAuthorizer) else "")
        for path, methods in deployed.app.routes.items()
        for method, route in methods.items()
        # The pages are for people; what they say as JSON is told in docs/page.md.
        if not route.view_name.startswith(("page_of_", "fleet_as_"))
    }
    told = {
        (path, method, "iam" if {"iam": []} in operation["security"] else "")
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
    }
    assert told == served


def test_every_refusal_is_told_and_has_its_standard_title() -> None:
    for operation in POSTS:
        problems = {
            int(status)
            for status, answer in operation["responses"].items()
            if "application/problem+json" in answer["content"]
        }
        assert problems == set(TITLES)
    # RFC 9110 names two of them anew; http.HTTPStatus of older Pythons has the former names.
    renamed = {413: "Content Too Large", 422: "Unprocessable Content"}
    assert {status: renamed.get(status, HTTPStatus(status).phrase) for status in TITLES} == TITLES


def test_bodies_come_in_every_content_type_that_is_taken() -> None:
    for operation in POSTS:
        assert tuple(operation["requestBody"]["content"]) == CONTENT_TYPES


def body_schema() -> Any:
    return POSTS[0]["requestBody"]["content"]["application/json"]["schema"]


# What a schema cannot say, or what depends on the monitor: refused all the same, and told in words.
BEYOND_THE_SCHEMA = {
    json.dumps(entry)
    for entry in [
        {"id": "r", "label": "cat"},
        {"id": "r", "label": "nan"},
        {"id": "r", "label": "1_0"},
        {"id": "r", "label": [1, "cat"]},
        {"id": "r", "label": [1], "recordIndex": 0},
        {"id": "r", "label": 1, "recordIndex": 1.0},
        {"id": "r", "label": 1, "labelTime": "yesterday"},
        {"id": "r", "label": 1, "labelTime": "2026-01-01T00:00:00"},
        {"id": "r", "label": 1, "labelTime": "0001-01-01T00:00:00+10:00"},
        {"id": "r", "label": 1, "inferenceTime": "2026-13-01T00:00:00Z"},
        sagemaker("r", "cat"),
        sagemaker("r", "1,cat"),
        sagemaker("r", "{1", "JSON"),
        sagemaker("r", '["cat"]', "JSON"),
        sagemaker("r", "1", labelTime="now"),
    ]
}


@pytest.mark.parametrize("entry", [entry for entry, _ in BAD_ENTRIES])
def test_what_the_webhook_refuses_the_schema_refuses(entry: Any) -> None:
    fits = validator(body_schema()).is_valid([GOOD, entry])
    assert fits is (json.dumps(entry) in BEYOND_THE_SCHEMA)


@pytest.mark.parametrize(
    "body",
    [
        GOOD,
        [GOOD, {"id": "ä", "label": [0, 1, True], "labelTime": None, "inferenceTime": "2026-01-01T00:00:00Z"}],
        [{"id": "r", "label": False, "recordIndex": 99_999}, {"id": "s", "label": "1"}, {"id": "t", "label": 0.0}],
        sagemaker("r", "1"),
        sagemaker("r", 1, None),
        sagemaker("r", True, inferenceTime="{{now}}", extra=1, recordIndex=3),
        {"groundTruthData": {"data": "0,1"}, "eventMetadata": {"eventId": "r"}},
    ],
)
def test_what_the_webhook_takes_the_schema_takes(body: Any) -> None:
    status, answer, _ = World().post(body)
    assert status == 202
    validator(body_schema()).validate(body)
    validator(POSTS[0]["responses"]["202"]["content"]["application/json"]["schema"]).validate(answer)
