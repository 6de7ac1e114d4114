"""Posted labels: what is stored, what is answered, and that repeats and crashes change neither."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.errors import MisconfiguredError
from chalicelib.handlers.ground_truth_posted import Answer, PostedRequest, handle
from chalicelib.openapi import MAX_BODY_BYTES
from chalicelib.records.ground_truth import Label, read_ground_truth
from chalicelib.webhooks import signed_headers
from emulator.memory import SETTINGS, MemoryServices, memory_services
from tests.unit.alerts.faults import Crash, Faults

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
START = datetime(2026, 3, 1, 12, 59, 30, tzinfo=UTC)
BINARY = ("labels", "ground-truth/churn", "BinaryClassification")
PLACES = {"churn": [BINARY]}


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time


class World:
    """One deployment with a key, and a sender who holds it."""

    def __init__(self, places: dict[str, list[tuple[str, str, str]]] | None = None) -> None:
        self.clock = Clock()
        self.services: MemoryServices = memory_services(self.clock)
        self.services.secrets.values[SETTINGS.webhook_key_parameter] = f"{SECRET}\n"
        self.places = PLACES if places is None else places

    def post(
        self,
        body: Any,
        *,
        webhook_id: str = "msg_1",
        endpoint: str = "churn",
        content_type: str = "application/json",
        services: Any = None,
        caller: str | None = None,
        **changes: str,
    ) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = signed_headers([SECRET], webhook_id, self.clock(), raw) | changes
        if caller is not None:
            headers = {"webhook-id": webhook_id} | changes
        request = PostedRequest(endpoint, headers, raw, content_type, caller)
        return handle(request, services or self.services, lambda name: self.places.get(name, []))

    def labels(self, bucket: str = "labels") -> list[Label]:
        return [label for key in self.keys(bucket) for label in self.read(bucket, key)]

    def keys(self, bucket: str = "labels") -> tuple[str, ...]:
        return self.services.objects.keys(bucket)

    def read(self, bucket: str, key: str) -> list[Label]:
        stored = self.services.objects.get(bucket, key)
        found = read_ground_truth(stored.body, "", stored.last_modified)
        assert found.bad_lines == []
        return [msgspec.structs.replace(label, source="") for label in found.labels]

    def nothing_stored(self) -> bool:
        return not self.services.objects.objects and not self.services.ledger.items


@pytest.fixture
def world() -> World:
    return World()


def sagemaker(event_id: str, data: Any, encoding: str | None = "CSV", **metadata: Any) -> dict[str, Any]:
    content = {"data": data} if encoding is None else {"data": data, "encoding": encoding}
    return {"groundTruthData": content, "eventMetadata": {"eventId": event_id, **metadata}, "eventVersion": "0"}


def problem(answer: Answer, status: int) -> dict[str, Any]:
    code, body, headers = answer
    assert (code, body["status"]) == (status, status)
    assert headers == {"Content-Type": "application/problem+json"}
    assert body["type"] == "about:blank" and body["title"] and body["detail"]
    json.dumps(body)
    return body


def test_a_label_is_stored_by_arrival_hour_with_the_time_of_its_signature(world: World):
    status, body, headers = world.post([{"id": "r-1", "label": 1}])
    [key] = world.keys()
    assert (status, headers) == (202, {"Content-Type": "application/json"})
    assert body == {"stored": 1, "object": key, "webhookId": "msg_1"}
    assert key.startswith("ground-truth/churn/2026/03/01/12/") and key.endswith(".jsonl")
    assert world.labels() == [Label("r-1", "1", "CSV", START)]


def test_the_object_is_in_sagemakers_layout(world: World):
    world.post([{"id": "r-1", "label": 1}])
    [key] = world.keys()
    line = json.loads(world.services.objects.get("labels", key).body)
    assert line == {
        "groundTruthData": {"data": "1", "encoding": "CSV"},
        "eventMetadata": {"eventId": "r-1", "labelTime": "2026-03-01T12:59:30Z"},
        "eventVersion": "0",
    }


@pytest.mark.parametrize(
    "label, data, encoding",
    [
        (1, "1", "CSV"),
        (0.0, "0.0", "CSV"),
        (True, "1", "CSV"),
        (False, "0", "CSV"),
        ("1", "1", "CSV"),
        ("true", "true", "CSV"),
        ([0, 1, True], "[0,1,1]", "JSON"),
        (["0", "1"], '["0","1"]', "JSON"),
    ],
)
def test_the_short_form(world: World, label: Any, data: str, encoding: str):
    assert world.post({"id": "r-1", "label": label})[0] == 202
    assert world.labels() == [Label("r-1", data, encoding, START)]


def test_times_of_an_entry_are_kept(world: World):
    times = {"labelTime": "2026-02-28T10:00:00+02:00", "inferenceTime": "2026-02-01T00:00:00Z"}
    world.post([{"id": "a", "label": 1, **times}, sagemaker("b", "0", **times)])
    label_time, inference_time = datetime(2026, 2, 28, 8, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    assert world.labels() == [
        Label("b", "0", "CSV", label_time, inference_time),
        Label("a", "1", "CSV", label_time, inference_time),
    ]


@pytest.mark.parametrize(
    "entry, data, encoding",
    [
        (sagemaker("r", "1"), "1", "CSV"),
        (sagemaker("r", "0,1\n1"), "0,1\n1", "CSV"),
        (sagemaker("r", 1, None), "1", "CSV"),
        (sagemaker("r", True), "1", "CSV"),
        (sagemaker("r", '{"instances":[{"label":0}]}', "JSON"), '{"instances":[{"label":0}]}', "JSON"),
        (sagemaker("r", '{"instances":[{"label":0}]}', "CSV"), '{"instances":[{"label":0}]}', "CSV"),
        (sagemaker("r", "[0, 1]", "JSON"), "[0, 1]", "JSON"),
        (sagemaker("r", "1", inferenceTime="{{now}}", extra=1), "1", "CSV"),
    ],
)
def test_sagemakers_form(world: World, entry: dict[str, Any], data: str, encoding: str):
    assert world.post(entry)[0] == 202
    assert world.labels() == [Label("r", data, encoding, START)]


@pytest.mark.parametrize("content_type", ["application/jsonlines", "application/x-ndjson", "Application/X-NDJSON"])
def test_json_lines(world: World, content_type: str):
    lines = b"\n".join([json.dumps(sagemaker("a", "1")).encode(), b"", b'{"id":"b","label":0}\r', b""])
    status, body, _ = world.post(lines, content_type=content_type)
    assert (status, body["stored"]) == (202, 2)
    assert {label.id for label in world.labels()} == {"a", "b"}


def test_json_with_its_charset(world: World):
    assert world.post({"id": "ä", "label": 1}, content_type="application/json; charset=UTF-8")[0] == 202


@pytest.mark.parametrize("form", ["short", "sagemaker"])
def test_the_label_of_one_record(world: World, form: str):
    if form == "short":
        entries = [{"id": "r", "label": 1, "recordIndex": 2}, {"id": "r", "label": 0, "recordIndex": 0}]
    else:
        entries = [sagemaker("r", "1", recordIndex=2), sagemaker("r", "0", recordIndex=0)]
    assert world.post(entries)[1]["stored"] == 2
    assert sorted((label.record_index, label.data) for label in world.labels()) == [(0, "0"), (2, "1")]


# IAM in the signature's place -----------------------------------------------------------------------------------------

CALLER = "arn:aws:sts::123456789012:assumed-role/labels/batch"
OPEN = msgspec.structs.replace(SETTINGS, webhook_iam=True)


def by_iam(caller: str = CALLER, settings: Any = OPEN, **named: Any) -> tuple[World, Answer]:
    world = World()
    world.services = memory_services(world.clock, settings)
    return world, world.post({"id": "r", "label": 1}, caller=caller, **named)


def test_whom_iam_lets_in_needs_no_signature_and_no_key():
    world, (status, body, _) = by_iam(settings=msgspec.structs.replace(OPEN, webhook_key_parameter=""))
    assert (status, body["webhookId"]) == (202, "msg_1")
    assert world.labels() == [Label("r", "1", "CSV", START)]


def test_a_repeat_by_iam_stores_once():
    world, first = by_iam()
    world.clock.time += timedelta(hours=2)
    assert world.post({"id": "r", "label": 1}, caller=CALLER) == first
    assert len(world.keys()) == 1
    problem(world.post({"id": "r", "label": 0}, caller=CALLER), 409)


def test_by_iam_only_where_the_deployment_says_so_and_iam_was_asked():
    for status, named in (
        (404, {"settings": SETTINGS}),
        (401, {"caller": ""}),
        (400, {"webhook-id": ""}),
        (400, {"webhook-id": "two words"}),
    ):
        world, answer = by_iam(**named)
        problem(answer, status)
        assert world.nothing_stored()


# What is refused -----------------------------------------------------------------------------------------------------


def test_an_unsigned_request_learns_nothing_but_that(world: World):
    forged = problem(world.post(b"not json", endpoint="unknown", **{"webhook-signature": "v1,AAAA"}), 401)
    assert "signature" in forged["detail"] and SECRET[6:] not in json.dumps(forged)
    assert world.nothing_stored()


def test_an_old_signature(world: World):
    stamp = str(int((START - timedelta(minutes=6)).timestamp()))
    assert "300 seconds ago" in problem(world.post([], **{"webhook-timestamp": stamp}), 401)["detail"]


def test_both_keys_hold_while_they_are_rotated(world: World):
    other = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
    world.services.secrets.values[SETTINGS.webhook_key_parameter] = f"{other} {SECRET}"
    assert world.post({"id": "r", "label": 1})[0] == 202


@pytest.mark.parametrize("stored", [None, "", "secret", "whsec_c2hvcnQ="])
def test_a_key_that_cannot_be_used_is_the_deployments_fault(world: World, stored: str | None):
    del world.services.secrets.values[SETTINGS.webhook_key_parameter]
    if stored is not None:
        world.services.secrets.values[SETTINGS.webhook_key_parameter] = stored
    with pytest.raises(MisconfiguredError):
        world.post({"id": "r", "label": 1})


def test_without_a_key_there_is_no_webhook(world: World):
    settings = msgspec.structs.replace(SETTINGS, webhook_key_parameter="")
    problem(world.post({"id": "r", "label": 1}, services=memory_services(world.clock, settings)), 404)


def test_an_endpoint_without_a_monitor(world: World):
    problem(world.post({"id": "r", "label": 1}, endpoint="unknown"), 404)
    assert world.nothing_stored()


def test_a_body_that_is_too_large_is_told_the_other_way(world: World):
    fits = b" " * (MAX_BODY_BYTES - 21) + b'{"id":"r1","label":1}'
    assert world.post(fits)[0] == 202
    detail = problem(world.post(b" " + fits, webhook_id="msg_2"), 413)["detail"]
    assert str(MAX_BODY_BYTES) in detail
    assert "s3://labels/ground-truth/churn/YYYY/MM/DD/HH/" in detail


def test_a_request_to_come(world: World):
    soon, later = START + timedelta(minutes=59), START + timedelta(minutes=61)
    found = problem(world.post([{"id": "r", "label": 1, "inferenceTime": later.isoformat()}]), 422)
    assert found["errors"] == [
        {"field": "inferenceTime", "expected": "a time that is not more than an hour from now", "indexes": [0]}
    ]
    assert world.nothing_stored()
    assert world.post([{"id": "r", "label": 1, "inferenceTime": soon.isoformat()}])[0] == 202


@pytest.mark.parametrize("content_type", ["", "text/csv", "application/json; charset=latin-1", "application/xml"])
def test_another_content_type(world: World, content_type: str):
    assert "application/x-ndjson" in problem(world.post([], content_type=content_type), 415)["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[1,", b'{"id":"\xff"}', b"1", b'"text"', b"null", b"[" * 100_000])
def test_what_is_not_json_or_no_entries(world: World, body: bytes):
    problem(world.post(body), 400)
    assert world.nothing_stored()


@pytest.mark.parametrize("body, content_type", [(b"[]", "application/json"), (b"\n \n", "application/jsonlines")])
def test_no_entry_at_all(world: World, body: bytes, content_type: str):
    assert "at least one" in problem(world.post(body, content_type=content_type), 422)["detail"]


GOOD = {"id": "good", "label": 1}
BAD_ENTRIES = [
    (1, ""),
    (None, ""),
    ([], ""),
    ({}, "id"),
    ({"id": "", "label": 1}, "id"),
    ({"id": 7, "label": 1}, "id"),
    ({"id": "r"}, "label"),
    ({"id": "r", "label": None}, "label"),
    ({"id": "r", "label": "cat"}, "label"),
    ({"id": "r", "label": ""}, "label"),
    ({"id": "r", "label": "nan"}, "label"),
    ({"id": "r", "label": "1_0"}, "label"),
    ({"id": "r", "label": {"a": 1}}, "label"),
    ({"id": "r", "label": []}, "label"),
    ({"id": "r", "label": [1, "cat"]}, "label"),
    ({"id": "r", "label": [[1]]}, "label"),
    ({"id": "r", "label": 1, "lable_time": "2026-01-01T00:00:00Z"}, ""),
    ({"id": "r", "label": 1, "recordIndex": -1}, "recordIndex"),
    ({"id": "r", "label": 1, "recordIndex": 100_000}, "recordIndex"),
    ({"id": "r", "label": 1, "recordIndex": True}, "recordIndex"),
    ({"id": "r", "label": 1, "recordIndex": 1.0}, "recordIndex"),
    ({"id": "r", "label": [1], "recordIndex": 0}, "label"),
    (sagemaker("r", "1", recordIndex="0"), "eventMetadata.recordIndex"),
    ({"id": "r", "label": 1, "labelTime": "yesterday"}, "labelTime"),
    ({"id": "r", "label": 1, "labelTime": "2026-01-01T00:00:00"}, "labelTime"),
    ({"id": "r", "label": 1, "labelTime": 1700000000}, "labelTime"),
    ({"id": "r", "label": 1, "labelTime": "0001-01-01T00:00:00+10:00"}, "labelTime"),
    ({"id": "r", "label": 1, "inferenceTime": "2026-13-01T00:00:00Z"}, "inferenceTime"),
    (sagemaker("", "1"), "eventMetadata.eventId"),
    (sagemaker("r", "cat"), "groundTruthData.data"),
    (sagemaker("r", "1,cat"), "groundTruthData.data"),
    (sagemaker("r", " "), "groundTruthData.data"),
    (sagemaker("r", None), "groundTruthData.data"),
    (sagemaker("r", [1]), "groundTruthData.data"),
    (sagemaker("r", "1", "BASE64"), "groundTruthData.encoding"),
    (sagemaker("r", "{1", "JSON"), "groundTruthData.data"),
    (sagemaker("r", '["cat"]', "JSON"), "groundTruthData.data"),
    (sagemaker("r", "1", labelTime="now"), "eventMetadata.labelTime"),
    ({"groundTruthData": "1", "eventMetadata": {"eventId": "r"}}, "groundTruthData"),
    ({"groundTruthData": {"data": "1"}}, "eventMetadata"),
]


@pytest.mark.parametrize("entry, field", BAD_ENTRIES)
def test_one_bad_entry_refuses_all(world: World, entry: Any, field: str):
    found = problem(world.post([GOOD, entry, GOOD]), 422)
    assert field in [error["field"] for error in found["errors"]]
    assert all(error["indexes"] == [1] and error["expected"] for error in found["errors"])
    assert "1 of 3" in found["detail"]
    assert "cat" not in json.dumps(found)
    assert world.nothing_stored()


def test_every_bad_entry_is_named(world: World):
    entries = [GOOD if index % 3 else {"id": "", "label": "cat"} for index in range(30)]
    found = problem(world.post(entries), 422)
    assert [error["field"] for error in found["errors"]] == ["id", "label"]
    assert all(error["indexes"] == list(range(0, 30, 3)) for error in found["errors"])


def test_bad_lines_are_named_by_their_number(world: World):
    body = b'{"id":"a","label":1}\n\nnot json\n{"id":"b","label":"cat"}\n\xff'
    found = problem(world.post(body, content_type="application/x-ndjson"), 422)
    assert {error["field"]: error["lines"] for error in found["errors"]} == {"": [3, 5], "label": [4]}
    assert world.nothing_stored()


def test_a_million_bytes_of_mistakes_have_an_answer_that_fits(world: World):
    found = problem(world.post(b"[" + b"1," * 500_000 + b"1]"), 422)
    assert len(found["errors"][0]["indexes"]) == 500_001
    assert len(json.dumps(found)) < 6 * 1024 * 1024  # what a function may answer


def test_other_problems_take_labels_of_text():
    world = World({"churn": [("labels", "gt", "MulticlassClassification")]})
    assert world.post([{"id": "r", "label": "cat"}, sagemaker("s", "dog")])[0] == 202
    assert world.labels() == [Label("r", "cat", "CSV", START), Label("s", "dog", "CSV", START)]


# Several monitors ----------------------------------------------------------------------------------------------------


def test_each_distinct_place_gets_the_object_once():
    world = World(
        {"churn": [BINARY, ("other", "gt/", "MulticlassClassification"), ("other", "gt", "Regression"), BINARY]}
    )
    status, body, _ = world.post({"id": "r", "label": 1})
    [first], [second] = world.keys("labels"), world.keys("other")
    assert status == 202
    assert body["object"] == first
    assert body["objects"] == [f"s3://labels/{first}", f"s3://other/{second}"]
    assert world.labels("labels") == world.labels("other") != []


def test_the_strictest_reader_decides():
    world = World({"churn": [("a", "gt", "Regression"), ("b", "gt", "BinaryClassification")]})
    problem(world.post({"id": "r", "label": "cat"}), 422)


# Repeats -------------------------------------------------------------------------------------------------------------


def test_a_repeat_stores_once_and_answers_the_same(world: World):
    first = world.post([{"id": "r", "label": 1}])
    stored = dict(world.services.objects.objects)
    world.clock.time += timedelta(hours=3)
    assert world.post([{"id": "r", "label": 1}]) == first
    assert world.services.objects.objects == stored


def test_a_repeat_in_other_spelling_is_the_same(world: World):
    first = world.post([{"id": "r", "label": 1}, {"id": "s", "label": 0}])
    again = b'{"label":0,"id":"s"}\n{"id":"r","label":1}'
    assert world.post(again, content_type="application/x-ndjson") == first
    assert len(world.keys()) == 1


def test_the_same_content_under_another_id_is_another_label(world: World):
    bodies = [world.post([{"id": "r", "label": label}], webhook_id=f"msg_{i}")[1] for i, label in enumerate((0, 1, 0))]
    assert len({body["object"] for body in bodies}) == len(world.keys()) == 3


def test_one_id_for_two_bodies(world: World):
    world.post([{"id": "r", "label": 1}])
    before = dict(world.services.objects.objects)
    problem(world.post([{"id": "r", "label": 0}]), 409)
    assert world.services.objects.objects == before


def test_ids_of_different_endpoints_have_nothing_to_do_with_each_other():
    world = World({"a": [("labels", "a", "BinaryClassification")], "b": [("labels", "b", "BinaryClassification")]})
    assert world.post([{"id": "r", "label": 1}], endpoint="a")[0] == 202
    assert world.post([{"id": "r", "label": 0}], endpoint="b")[0] == 202


def test_an_id_is_forgotten_after_seven_days(world: World):
    world.post([{"id": "r", "label": 1}])
    world.clock.time += timedelta(days=7) - timedelta(seconds=1)
    world.services.ledger.reap()
    problem(world.post([{"id": "r", "label": 0}]), 409)
    world.clock.time += timedelta(seconds=1)
    world.services.ledger.reap()
    assert world.post([{"id": "r", "label": 0}])[0] == 202


def test_places_that_changed_between_attempts_do_not_move_a_webhook(world: World):
    first = world.post([{"id": "r", "label": 1}])
    world.places = {"churn": [("elsewhere", "gt", "BinaryClassification")]}
    assert world.post([{"id": "r", "label": 1}]) == first
    assert world.keys("elsewhere") == ()


def crashes() -> Iterator[tuple[int, bool]]:
    for step in range(1, 20):
        for after in (False, True):
            yield step, after


def test_a_crash_between_any_two_steps_is_finished_by_the_repeat():
    places = {"churn": [BINARY, ("other", "gt", "BinaryClassification")]}
    calm = World(places)
    expected_answer = calm.post([{"id": "r", "label": 1}])
    met = 0
    for step, after in crashes():
        world = World(places)
        faults = Faults(step, after)
        breaking = faults.services(world.services)
        try:
            assert world.post([{"id": "r", "label": 1}], services=breaking) == expected_answer
        except Crash:
            met += 1
            known = bool(world.services.ledger.items)
            world.clock.time += timedelta(minutes=40)  # another hour, another signature
            answer = world.post([{"id": "r", "label": 1}])
            assert answer[0] == 202
            if known:  # what was written down first holds: hour, time and answer
                assert answer == expected_answer
                assert world.services.objects.objects.keys() == calm.services.objects.objects.keys()
                assert world.labels() == calm.labels()
            else:
                assert {label.label_time for label in world.labels()} == {world.clock.time}
        assert [len(world.keys(bucket)) for bucket in ("labels", "other")] == [1, 1]
        assert world.labels("labels") == world.labels("other")
    assert met >= 8  # read, write, two objects: before and after each


def test_a_race_of_two_attempts_stores_once(world: World):
    ledger, post = world.services.ledger, world.post
    answers: list[Answer] = []

    class Interrupted:
        """The other attempt happens whole, just before our own write."""

        def __getattr__(self, name: str) -> Any:
            return getattr(ledger, name)

        def put(self, *args: Any, **kwargs: Any) -> str:
            if not answers:
                answers.append(post([{"id": "r", "label": 1}]))
            return ledger.put(*args, **kwargs)

    racing = Faults.replaced(world.services, ledger=Interrupted())
    assert world.post([{"id": "r", "label": 1}], services=racing) == answers[0]
    assert len(world.keys()) == 1
