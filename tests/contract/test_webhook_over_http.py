"""The label webhook as a caller meets it: real HTTP to `chalice local` in a process of its own, storage beside it."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import jsonschema
import pytest

from chalicelib.openapi import MAX_BODY_BYTES, document
from chalicelib.records.ground_truth import read_ground_truth
from chalicelib.webhooks import signed_headers
from emulator.label_server import ENDPOINT, NEW_KEY, OLD_KEY, LabelServer, label_server

WRONG_KEY = "whsec_" + base64.b64encode(b"nobody gave this key to anybody").decode()
GOOD = {"id": "r-1", "label": 1}
CANARY = "canary-7f3a"


class Answer(NamedTuple):
    status: int
    content_type: str
    body: Any


@pytest.fixture(scope="module")
def server() -> Iterator[LabelServer]:
    with label_server() as found:
        yield found


def call(
    server: LabelServer, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> Answer:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers.get_content_type(), json.loads(answer.read() or b"null"))
    finally:
        connection.close()


def post(
    server: LabelServer,
    body: Any,
    webhook_id: str,
    *,
    keys: tuple[str, ...] = (NEW_KEY,),
    path: str = f"/ground-truth/{ENDPOINT}",
    content_type: str = "application/json",
    ago: timedelta = timedelta(0),
    **changes: str,
) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = signed_headers(keys, webhook_id, datetime.now(UTC) - ago, raw) | changes
    answer = call(server, "POST", path, raw, {"Content-Type": content_type, **headers})
    hold(path, answer)
    return answer


def hold(path: str, answer: Answer) -> None:
    """What was answered is what the OpenAPI document says of this status."""
    told = document()
    operation = told["paths"]["/iam/ground-truth/{endpoint}" if path.startswith("/iam") else "/ground-truth/{endpoint}"]
    [(media_type, content)] = operation["post"]["responses"][str(answer.status)]["content"].items()
    assert media_type == answer.content_type
    schema = {**content["schema"], "components": told["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer.body)


def labels(server: LabelServer) -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        each.id: each.data for key, body in server.stored().items() for each in read_ground_truth(body, key, now).labels
    }


def refused(server: LabelServer, status: int, *args: Any, **named: Any) -> dict[str, Any]:
    """A refusal: a problem document without a word of the payload, and nothing is stored of it."""
    before = (server.stored(), server.receipts())
    answer = post(server, *args, **named)
    assert (answer.status, answer.body["status"], answer.content_type) == (status, status, "application/problem+json")
    assert answer.body["title"] and answer.body["detail"] and CANARY not in json.dumps(answer.body)
    assert (server.stored(), server.receipts()) == before
    problem: dict[str, Any] = answer.body
    return problem


def test_good_labels_are_stored_in_every_form(server: LabelServer) -> None:
    sagemaker = {
        "groundTruthData": {"data": "0", "encoding": "CSV"},
        "eventMetadata": {"eventId": "g-3"},
        "eventVersion": "0",
    }
    one = post(server, {"id": "g-0", "label": True}, "good-one")
    several = post(server, [{"id": "g-1", "label": 1}, {"id": "g-2", "label": [0, 1]}], "good-list")
    lines = json.dumps(sagemaker).encode() + b'\n{"id":"g-4","label":"1"}\n'
    by_line = post(server, lines, "good-lines", content_type="application/x-ndjson")
    assert [each.status for each in (one, several, by_line)] == [202] * 3
    assert [each.body["stored"] for each in (one, several, by_line)] == [1, 2, 2]
    found = {id: data for id, data in labels(server).items() if id.startswith("g-")}
    assert found == {"g-0": "1", "g-1": "1", "g-2": "[0,1]", "g-3": "0", "g-4": "1"}
    assert one.body["object"] in server.stored()


def test_labels_of_single_records(server: LabelServer) -> None:
    answer = post(server, [{"id": "m", "recordIndex": index, "label": index % 2} for index in range(3)], "records")
    assert (answer.status, answer.body["stored"]) == (202, 3)
    lines = [json.loads(line) for line in server.stored()[answer.body["object"]].splitlines()]
    assert sorted(line["eventMetadata"]["recordIndex"] for line in lines) == [0, 1, 2]


def test_unsigned(server: LabelServer) -> None:
    before = server.stored()
    answer = call(server, "POST", f"/ground-truth/{ENDPOINT}", b"[]", {"Content-Type": "application/json"})
    assert (answer.status, answer.content_type) == (401, "application/problem+json")
    assert "webhook-id is missing" in answer.body["detail"]
    assert server.stored() == before


def test_a_wrong_key(server: LabelServer) -> None:
    assert "no v1 signature" in refused(server, 401, GOOD, "wrong-key", keys=(WRONG_KEY,))["detail"]


def test_a_changed_body(server: LabelServer) -> None:
    forged = signed_headers([NEW_KEY], "changed", datetime.now(UTC), b'{"id":"r-1","label":0}')
    refused(server, 401, GOOD, "changed", **{"webhook-signature": forged["webhook-signature"]})


def test_both_keys_hold_while_they_are_rotated(server: LabelServer) -> None:
    assert post(server, GOOD, "old-key", keys=(OLD_KEY,)).status == 202
    assert post(server, GOOD, "new-key", keys=(NEW_KEY,)).status == 202
    assert post(server, GOOD, "both-keys", keys=(WRONG_KEY, OLD_KEY)).status == 202


@pytest.mark.parametrize("ago", [timedelta(minutes=6), timedelta(minutes=-6)])
def test_an_old_or_future_timestamp(server: LabelServer, ago: timedelta) -> None:
    assert "300 seconds" in refused(server, 401, GOOD, "old", ago=ago)["detail"]


def test_a_replay_stores_once_and_is_answered_the_same(server: LabelServer) -> None:
    first = post(server, [{"id": "again", "label": 1}], "replayed")
    stored = server.stored()
    assert [post(server, [{"id": "again", "label": 1}], "replayed", ago=timedelta(seconds=s)) for s in (5, 0)] == [
        first
    ] * 2
    assert server.stored() == stored
    assert "new id" in refused(server, 409, [{"id": "again", "label": 0}], "replayed")["detail"]


def test_a_body_that_is_too_large(server: LabelServer) -> None:
    detail = refused(server, 413, b" " * MAX_BODY_BYTES + json.dumps(GOOD).encode(), "large")["detail"]
    assert str(MAX_BODY_BYTES) in detail and "s3://plumbline-labels/ground-truth/churn/YYYY/MM/DD/HH/" in detail


def test_bad_entries_are_named_one_and_all(server: LabelServer) -> None:
    bad = [GOOD, {"id": "", "label": 1}, {"id": "x", "label": CANARY}, {"id": "y", "label": 1, "recordIndex": -1}, 7]
    problem = refused(server, 422, bad, "bad")
    assert {(each["field"], *each["indexes"]) for each in problem["errors"]} == {
        ("id", 1), ("label", 2), ("recordIndex", 3), ("", 4),
    }  # fmt: skip
    assert all(each["expected"] for each in problem["errors"])


@pytest.mark.parametrize("body", [CANARY.encode(), b"\xff", b"", b'"text"'])
def test_what_is_no_json(server: LabelServer, body: bytes) -> None:
    refused(server, 400, body, "no-json")


@pytest.mark.parametrize("endpoint", ["nobody", "x" * 3000, "%00", "a%20b"])
def test_an_unknown_endpoint(server: LabelServer, endpoint: str) -> None:
    refused(server, 404, GOOD, "unknown", path=f"/ground-truth/{endpoint}")


@pytest.mark.parametrize("content_type", ["text/csv", "application/json; charset=latin-1", ""])
def test_another_content_type(server: LabelServer, content_type: str) -> None:
    refused(server, 415, GOOD, "type", content_type=content_type)


def test_the_way_for_iam_is_closed_where_it_was_not_opened(server: LabelServer) -> None:
    assert "by IAM" in refused(server, 404, GOOD, "iam", path=f"/iam/ground-truth/{ENDPOINT}")["detail"]


def test_a_caller_of_whom_iam_was_not_asked_is_refused() -> None:
    with label_server(PLUMBLINE_WEBHOOK_IAM="yes") as server:
        assert "API Gateway" in refused(server, 401, GOOD, "iam", path=f"/iam/ground-truth/{ENDPOINT}")["detail"]


def test_the_openapi_document_is_served_to_all(server: LabelServer) -> None:
    answer = call(server, "GET", "/openapi.json")
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert answer.body == json.loads(json.dumps(document()))
