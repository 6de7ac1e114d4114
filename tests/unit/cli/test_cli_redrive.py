"""`plumbline redrive`: dead letters are shown without being touched, judged rightly, and sent back as they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import boto3
import msgspec
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from chalicelib import keys, wiring
from chalicelib.errors import MisconfiguredError, NotFoundError, PermanentError
from chalicelib.events import (
    ClaimMessage,
    LabelContainersMessage,
    WindowMessage,
    endpoint_changed_body,
    execution_changed_body,
    object_created_body,
    package_changed_body,
)
from chalicelib.facts import due, labels
from chalicelib.handlers.alert_published import UndeliveredError
from chalicelib.ports import DeadLetters
from chalicelib.records.window import Window
from chalicelib.topology import SOURCES, resource_name
from emulator.memory import SETTINGS
from plumbline.cli import redrive
from plumbline.cli.account import dead_letters
from plumbline.cli.main import main
from tests.unit.adapters.test_settings import REQUIRED
from tests.unit.handlers.world import (
    DATA,
    HANDLERS,
    HOUR,
    MONITOR,
    OWN,
    World,
    definition,
    hour,
    label_line,
    rows_of,
    window_name,
)

STAGE = SETTINGS.stage


@cache
def _lived() -> World:
    world = World(definition())
    for number in range(4):
        world.live(number, truth="x" if number < 2 else "not-x")
    world.minutes(70)
    assert world.retraining().state == "STARTED"
    return world


@pytest.fixture
def world() -> Iterator[World]:
    """Four labelled hours, a retraining that runs; handlers and services in memory."""
    found = deepcopy(_lived())
    wiring.use(found.services)
    yield found
    wiring.use(None)


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """SQS with every queue of the topology and its dead-letter queue, all empty."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        client = boto3.client("sqs", region_name=SETTINGS.region)
        for source in SOURCES:
            for name in (source.queue, f"{source.queue}-dead"):
                client.create_queue(QueueName=resource_name(STAGE, name), Attributes={"VisibilityTimeout": "0"})
        yield client


def url(sqs: Any, queue: str) -> str:
    return str(sqs.get_queue_url(QueueName=resource_name(STAGE, queue))["QueueUrl"])


def bury(sqs: Any, queue: str, body: str | bytes, **more: Any) -> str:
    """Put a message on a dead-letter queue; returns its id."""
    text = body if isinstance(body, str) else body.decode()
    return str(sqs.send_message(QueueUrl=url(sqs, f"{queue}-dead"), MessageBody=text, **more)["MessageId"])


def waiting(sqs: Any, queue: str) -> list[dict[str, Any]]:
    """What can be received from a queue at this moment, all of it (nothing is hidden: its visibility timeout is 0)."""
    found: dict[str, dict[str, Any]] = {}
    count = sqs.get_queue_attributes(QueueUrl=url(sqs, queue), AttributeNames=["ApproximateNumberOfMessages"])
    for _ in range(50):
        answer = sqs.receive_message(
            QueueUrl=url(sqs, queue), MaxNumberOfMessages=10, VisibilityTimeout=600,
            MessageAttributeNames=["All"], AttributeNames=["All"],
        )  # fmt: skip
        if not answer.get("Messages"):
            break
        found |= {message["MessageId"]: message for message in answer["Messages"]}
    assert len(found) == int(count["Attributes"]["ApproximateNumberOfMessages"])
    return list(found.values())


def output_of(capsys: pytest.CaptureFixture[str], status: int, *arguments: str) -> tuple[str, str]:
    assert main(["redrive", *arguments]) == status
    return tuple(capsys.readouterr())  # type: ignore[return-value]


def window_body(number: int = 1, monitor: str = MONITOR) -> bytes:
    return msgspec.json.encode(WindowMessage(monitor, window_name(number)))


# Showing and moving ---------------------------------------------------------------------------------------------------


def test_no_letters(capsys: pytest.CaptureFixture[str], world: World, sqs: Any) -> None:
    assert output_of(capsys, 0) == (
        f"stage test, judged by table {SETTINGS.table}: 0 dead letters, 12 queues looked into\n",
        "",
    )
    assert output_of(capsys, 0, "windows", "captures")[0].endswith("0 dead letters, 2 queues looked into\n")


def test_all_are_shown_and_none_is_hidden_afterwards(
    capsys: pytest.CaptureFixture[str], world: World, sqs: Any
) -> None:
    ids = {bury(sqs, "windows", window_body(number % 4)) for number in range(23)}
    found = json.loads(output_of(capsys, 0, "--json")[0])
    [queue] = [queue for queue in found["queues"] if queue["letters"]]
    assert {letter["message_id"] for letter in queue["letters"]} == ids
    assert (queue["queue"], queue["function"], queue["others"], queue["unread"]) == ("windows", "window_due", 0, 0)
    assert {letter["received_before"] for letter in queue["letters"]} == {0}
    assert {message["MessageId"] for message in waiting(sqs, "windows-dead")} == ids


def test_the_text(capsys: pytest.CaptureFixture[str], world: World, sqs: Any) -> None:
    first = bury(sqs, "windows", window_body(1))
    bury(sqs, "windows", window_body(1))
    other = bury(sqs, "captures", b"secret,payload,1")
    out, err = output_of(capsys, 0)
    assert err == "" and "secret" not in out
    head, *lines = out.splitlines()
    assert head == f"stage test, judged by table {SETTINGS.table}: 3 dead letters, 12 queues looked into"
    assert lines[:4] == [
        "",
        "captures -> capture_landed: 1 dead letter",
        "  cannot be read",
        "      a replay would do nothing: expected an S3 Object Created event (DecodeError); the function would log "
        "that and drop it",
    ]
    assert lines[4].endswith(f"received 0 times before; message {other}")
    assert lines[6:9] == [
        "windows -> window_due: 2 dead letters",
        f"  2 times: window {window_name(1)} of churn",
        "      a replay would do nothing: the window is not due any more: it was evaluated since",
    ]
    assert first in lines[9]
    assert lines[-1] == "3 would do nothing: --replay or --delete is the same"


def test_a_replay_sends_the_same_message(capsys: pytest.CaptureFixture[str], world: World, sqs: Any) -> None:
    attributes = {
        "number": {"DataType": "Number", "StringValue": "1"},
        "blob": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
    body = '{"monitor": "é",\n "window" : "not ours"}'
    bury(sqs, "windows", body, MessageAttributes=attributes, MessageSystemAttributes=trace)
    bury(sqs, "alerts", "{}")
    out, _ = output_of(capsys, 0, "windows", "--replay")
    assert out.splitlines()[-1] == "1 sent back"
    [sent] = waiting(sqs, "windows")
    assert sent["Body"] == body
    assert sent["MessageAttributes"] == attributes
    assert sent["Attributes"]["AWSTraceHeader"] == trace["AWSTraceHeader"]["StringValue"]
    assert waiting(sqs, "windows-dead") == [] and waiting(sqs, "alerts") == []
    assert len(waiting(sqs, "alerts-dead")) == 1


def test_only_the_chosen_ones(capsys: pytest.CaptureFixture[str], world: World, sqs: Any) -> None:
    ids = [bury(sqs, "windows", window_body(number)) for number in range(4)]
    out, _ = output_of(capsys, 1, "--replay", "--message", ids[0], "--message", ids[2], "--message", "nobody")
    assert "windows -> window_due: 2 dead letters, 2 others not chosen" in out
    assert out.endswith("2 sent back\nmessage nobody: not found\n")
    assert {message["MessageId"] for message in waiting(sqs, "windows-dead")} == {ids[1], ids[3]}
    assert {message["Body"].encode() for message in waiting(sqs, "windows")} == {window_body(0), window_body(2)}


def test_deleting_needs_names(capsys: pytest.CaptureFixture[str], world: World, sqs: Any) -> None:
    ids = [bury(sqs, "windows", window_body(number)) for number in range(2)]
    assert output_of(capsys, 2, "--delete")[1] == (
        "plumbline: --message: got None; expected with --delete, the ids of the messages to delete\n"
    )
    assert output_of(capsys, 0)[0].startswith(f"stage test, judged by table {SETTINGS.table}: 2 dead letters")
    assert output_of(capsys, 0, "--delete", "--message", ids[0])[0].splitlines()[-1] == "1 deleted"
    assert [message["MessageId"] for message in waiting(sqs, "windows-dead")] == [ids[1]]
    assert waiting(sqs, "windows") == []


class Struck:
    """Dead-letter queues one call of which goes wrong: `error` at the call number `step` of a method."""

    def __init__(self, inner: DeadLetters, method: str, step: int, error: BaseException) -> None:
        self._inner, self._method, self._left, self._error = inner, method, step, error

    def __getattr__(self, name: str) -> Any:
        if name != self._method:
            return getattr(self._inner, name)

        def struck(*arguments: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                raise self._error
            return getattr(self._inner, name)(*arguments)

        return struck


REFUSED = ClientError({"Error": {"Code": "KmsThrottled", "Message": "later"}}, "SendMessage")


def test_what_fails_stays_and_the_rest_goes(world: World, sqs: Any) -> None:
    ids = [bury(sqs, "windows", window_body(number)) for number in range(4)]
    dead: Any = Struck(wiring.dead_letters(SETTINGS), "send_back", 2, REFUSED)
    queues = redrive.redrive(world.services, dead, ["windows"], [], "replay")
    [left] = [shown for shown in queues[0].shown if shown.fate == "left"]
    assert "KmsThrottled" in left.trouble and not redrive.all_well(queues, [])
    text = redrive.text(STAGE, "t", queues, [], "replay")
    assert "left where it is: An error occurred (KmsThrottled)" in text
    assert text.endswith("3 sent back, 1 left where they are")
    assert [message["MessageId"] for message in waiting(sqs, "windows-dead")] == [left.letter.message_id]
    assert left.letter.message_id in ids and len(waiting(sqs, "windows")) == 3


def test_what_was_sent_and_cannot_be_deleted_is_told(world: World, sqs: Any) -> None:
    bury(sqs, "windows", window_body())
    dead: Any = Struck(wiring.dead_letters(SETTINGS), "delete", 1, REFUSED)
    queues = redrive.redrive(world.services, dead, ["windows"], [], "replay")
    assert [shown.fate for shown in queues[0].shown] == ["doubled"] and not redrive.all_well(queues, [])
    assert len(waiting(sqs, "windows-dead")) == len(waiting(sqs, "windows")) == 1


@pytest.mark.parametrize("method, sent", [("send_back", 1), ("delete", 2)])
def test_a_crash_doubles_but_never_loses(world: World, sqs: Any, method: str, sent: int) -> None:
    for number in range(4):
        bury(sqs, "windows", window_body(number))
    dead: Any = Struck(wiring.dead_letters(SETTINGS), method, 2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        redrive.redrive(world.services, dead, ["windows"], [], "replay")
    bodies = [message["Body"].encode() for message in waiting(sqs, "windows")]
    there = [message["Body"].encode() for message in waiting(sqs, "windows-dead")]
    assert len(bodies) == sent and len(there) == 3
    assert {*bodies, *there} == {window_body(number) for number in range(4)}


def test_another_look_hides_letters_and_that_is_told(
    capsys: pytest.CaptureFixture[str], world: World, sqs: Any
) -> None:
    for number in range(2):
        bury(sqs, "windows", window_body(number))
    sqs.receive_message(QueueUrl=url(sqs, "windows-dead"), MaxNumberOfMessages=1, VisibilityTimeout=600)
    assert "1 dead letter, 1 more that cannot be read now" in output_of(capsys, 0, "windows")[0]


def test_wrong_questions(capsys: pytest.CaptureFixture[str], world: World, sqs: Any) -> None:
    assert "queue: got 'window'; expected one of captures, ground-truth" in output_of(capsys, 2, "window")[1]
    assert output_of(capsys, 2, "--stage", "prod")[1] == (
        "plumbline: queue plumbline-prod-captures-dead: not in this account and region\n"
    )
    assert "PLUMBLINE_STAGE: got 'PROD'" in output_of(capsys, 2, "--stage", "PROD")[1]
    with pytest.raises(SystemExit):
        main(["redrive", "--replay", "--delete"])


def test_without_credentials_one_line_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    wiring.use(None)
    # The session of earlier tests in this process remembers the address and the credentials that these had.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**REQUIRED, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    try:
        out, err = output_of(capsys, 1)
        assert out == "" and err.startswith("plumbline: AWS: Unable to locate credentials; next: sign in")
        monkeypatch.delenv("AWS_REGION", raising=False)
        monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
        wiring.use(None)
        assert "expected an AWS region" in output_of(capsys, 2)[1]
    finally:
        wiring.use(None)


def test_names_are_the_topologys() -> None:
    for source in SOURCES:
        assert wiring.dead_queue_name("prod", source.queue) == resource_name("prod", f"{source.queue}-dead")
    assert set(dead_letters._PARTS) == {source.queue for source in SOURCES}


# Judging: what is said is what happens --------------------------------------------------------------------------------


def capture(world: World, number: int = 1) -> str:
    return world.services.objects.keys(DATA, f"captures/churn/AllTraffic/{hour(number):%Y/%m/%d/%H}/")[0]


def s3_event(key: str, etag: str = "e", bucket: str = DATA) -> bytes:
    return object_created_body(bucket, key, etag, 1, hour(1))


def label_event(world: World) -> bytes:
    [key] = [key for key in world.services.objects.keys(DATA, "ground-truth/") if "labels-1" in key]
    return s3_event(key, world.services.objects.get(DATA, key).etag)


def mark(world: World, number: int = 1, monitor: str = MONITOR) -> bytes:
    due.mark(world.services.ledger, monitor, Window.of(hour(number), HOUR), HOUR, world.clock.time)
    return window_body(number, monitor)


def forget(world: World, *pks: str) -> None:
    for (pk, sk), (item, _) in list(world.services.ledger.items.items()):
        if any(f"{pk}/{sk}".startswith(each) for each in pks):
            world.services.ledger.delete(pk, sk, expected=item.revision)


def removed(world: World, body: bytes) -> bytes:
    """The monitor is not in the table any more."""
    forget(world, f"MONITORS/{MONITOR}")
    return body


def undefined(world: World, body: bytes, text: bytes | None = None) -> bytes:
    """The definition in force cannot be read."""
    [key] = world.services.objects.keys(OWN, f"plumbline/facts/{MONITOR}/definitions/")
    if text is None:
        world.services.objects.delete(OWN, key)
    else:
        world.services.objects.put(OWN, key, text)
    world.services.definitions._decoded.clear()
    return body


def without(world: World, key: str, body: bytes, bucket: str = DATA) -> bytes:
    world.services.objects.delete(bucket, key)
    return body


def measured(world: World, number: int = 1) -> str:
    return keys.measured_key(MONITOR, Window.of(hour(number), HOUR), world.evaluation(number).measured)


def cut_off(world: World, body: bytes) -> bytes:
    world.services.objects.put(OWN, measured(world), b"\x80")
    return body


def later(world: World, body: bytes) -> bytes:
    world.clock.time += world.definition.horizon
    return body


def claim(world: World, claim_id: str = "") -> bytes:
    return msgspec.json.encode(ClaimMessage(MONITOR, claim_id or world.retraining().decision_id))


def execution(world: World) -> bytes:
    [running] = world.running()
    world.services.sagemaker.finish_execution(running.arn, "Failed", package=None, failure_reason="why")
    return execution_changed_body(running.arn, "Failed", world.clock.time)


def alert(world: World, monitor: str = MONITOR) -> bytes:
    message = json.loads(world.services.topic.published[0].message)
    return json.dumps({"Message": json.dumps({**message, "monitor": monitor})}).encode()


def undelivered(world: World) -> bytes:
    forget(world, "ALERT#")
    return alert(world)


def refused(world: World) -> bytes:
    """The message of one receiver, which answered 404 and is well again."""
    HANDLERS["alerts"](undelivered(world).decode(), world.services)
    [message] = world.services.queues.take("alerts")
    [url] = {each.url for each in world.services.courier.delivered}
    world.services.courier.answers[url] = 404
    with pytest.raises(UndeliveredError):
        HANDLERS["alerts"](message.decode(), world.services)
    del world.services.courier.answers[url]
    return message


def dropped(world: World) -> bytes:
    return json.dumps({**json.loads(alert(world)), "Route": "0" * 32}).encode()


def alarm_event(world: World, name: str = "accuracy-low", at: datetime | None = None) -> bytes:
    body = world.alarm(name, "ALARM", at)
    world.services.queues.take("alarms")
    return body


def known_alarm(world: World) -> bytes:
    world.alarm("accuracy-low", "OK")
    world.settle()
    return alarm_event(world, at=hour(1))


def package(world: World, wait: bool) -> bytes:
    if not wait:
        return package_changed_body("arn:1", "Approved", world.clock.time)
    world.add(definition(policy={"promotion": "manual"}))
    _, arn = world.finish_pipeline("not-x")
    world.settle()
    assert world.retraining().state == "AWAITING_APPROVAL"
    world.services.sagemaker.set_approval(arn, "Rejected", "by hand")
    return package_changed_body(arn, "Rejected", world.clock.time)


def promotion(world: World, over: bool) -> bytes:
    world.finish_pipeline("not-x", approval="Approved")
    for queue, message in world.take():
        if queue == "pipelines":
            world.deliver(queue, message)
    [message] = world.services.queues.take("promotion-claims")
    if over:
        world.deliver("promotion-claims", message)
        world.minutes(30)
    return message


def containers_word(world: World, begun: bool) -> bytes:
    """The clock's word that label objects can be copied; `begun`: an hour with enough of them is over."""
    if begun:
        for index in range(10):
            world.put_labels(label_line(f"somebody-{index}", 1), f"post-{index}")
        world.settle()
        world.clock.time += 2 * HOUR
        ledger, now = world.services.ledger, world.clock.time
        assert labels.begin_compaction(ledger, MONITOR, window_name(0), Window.of(now, HOUR).name, now)
    return msgspec.json.encode(LabelContainersMessage(MONITOR))


CASES: list[tuple[str, Callable[[World], bytes], str, str]] = [
    ("captures", lambda w: b"[]", "nothing", "expected an S3 Object Created event"),
    ("captures", lambda w: s3_event("readme.txt"), "nothing", "SageMaker's hourly layout"),
    ("captures", lambda w: s3_event(capture(w), bucket="other"), "nothing", "no monitor reads"),
    ("captures", lambda w: removed(w, s3_event(capture(w))), "nothing", "no monitor reads"),
    ("captures", lambda w: without(w, capture(w), s3_event(capture(w))), "nothing", "does not exist any more"),
    ("captures", lambda w: undefined(w, s3_event(capture(w))), "fails", "is not in the bucket"),
    (
        "captures",
        lambda w: undefined(w, s3_event(capture(w)), b'{"name": 1}'),
        "fails",
        "cannot be read by this release",
    ),
    ("captures", lambda w: undefined(w, s3_event(capture(w)), b"{"), "fails", "cannot be read by this release"),
    ("captures", lambda w: s3_event(capture(w)), "works", f"the window {window_name(1)} of churn due"),
    ("ground-truth", label_event, "nothing", "was processed"),
    ("ground-truth", lambda w: s3_event(w.put_labels(b"{}", "new")), "works", "finds the windows of churn"),
    ("ground-truth", lambda w: containers_word(w, begun=False), "nothing", "all past hours of arrival"),
    ("ground-truth", lambda w: containers_word(w, begun=True), "works", "copies those that arrived from"),
    ("clock", lambda w: b"{}", "nothing", "the next tick"),
    ("clock", lambda w: undefined(w, b"{}"), "fails", "the definition of churn"),
    ("windows", lambda w: b'{"monitor": 1}', "nothing", "expected a WindowMessage"),
    ("windows", lambda w: window_body(), "nothing", "not due any more"),
    ("windows", lambda w: removed(w, mark(w)), "fails", "there is no monitor churn"),
    ("windows", lambda w: without(w, measured(w), mark(w), OWN), "fails", "plumbline rebuild --monitor churn --from"),
    ("windows", lambda w: cut_off(w, mark(w)), "fails", "what is stored of it cannot be read"),
    ("windows", lambda w: later(w, mark(w)), "nothing", "sealed"),
    (
        "windows",
        lambda w: without(w, "baseline/data_quality/statistics.json", mark(w)),
        "fails",
        "baseline/data_quality/statistics.json",
    ),
    ("windows", lambda w: mark(w), "works", "would be evaluated"),
    ("executions", lambda w: w.job_event("nobody", "Completed"), "nothing", "does not exist any more"),
    ("alarms", lambda w: alarm_event(w, "another"), "nothing", "no monitor names this alarm"),
    ("alarms", known_alarm, "nothing", "has a newer state of it, OK"),
    ("alarms", lambda w: alarm_event(w), "works", "records it"),
    ("retrain-claims", lambda w: claim(w, "another"), "nothing", "another claim"),
    ("retrain-claims", lambda w: claim(w), "nothing", "it is STARTED"),
    ("promotion-claims", lambda w: claim(w, "another"), "nothing", "another claim"),
    ("promotion-claims", lambda w: promotion(w, over=True), "nothing", "the claim has ended"),
    ("promotion-claims", lambda w: promotion(w, over=False), "works", "(APPLYING) goes one step further"),
    ("pipelines", lambda w: execution_changed_body("arn:1", "Failed", hour(1)), "nothing", "does not exist any more"),
    ("pipelines", execution, "works", "the retraining of churn continues: the execution Failed"),
    ("pipelines", lambda w: removed(w, execution(w)), "fails", "there is no monitor churn"),
    ("model-packages", lambda w: package(w, wait=False), "nothing", "no retraining waits"),
    ("model-packages", lambda w: package(w, wait=True), "works", "the retraining of churn continues"),
    ("endpoints", lambda w: endpoint_changed_body("other", "c", hour(1)), "nothing", "no monitor names"),
    ("endpoints", lambda w: endpoint_changed_body("churn", "churn-1", hour(1)), "works", "is added to the timeline"),
    ("alerts", alert, "nothing", "every receiver has it"),
    ("alerts", undelivered, "works", "1 of 1 receivers do not have it: webhook "),
    ("alerts", refused, "works", "1 of 1 receivers do not have it: webhook "),
    ("alerts", refused, "works", ", last answer HTTP 404"),
    ("alerts", dropped, "nothing", "names no such receiver"),
    ("alerts", lambda w: alert(w, "gone"), "nothing", "there is no monitor gone"),
    ("alerts", lambda w: b'{"Message": "{}"}', "nothing", "expected an alert"),
]


@pytest.mark.parametrize("queue, make, verdict, why", CASES, ids=[f"{case[0]}-{case[3]}" for case in CASES])
def test_what_is_said_is_what_happens(
    world: World, queue: str, make: Callable[[World], bytes], verdict: str, why: str
) -> None:
    body = make(world).decode()
    before, objects = dict(world.services.ledger.items), dict(world.services.objects.objects)
    sent = deepcopy(world.services.queues.messages)
    judged = dead_letters.judge(world.services, queue, body)
    assert (judged.verdict, why in judged.why) == (verdict, True), judged
    assert (world.services.ledger.items, world.services.objects.objects) == (before, objects)
    assert world.services.queues.messages == sent
    owed = {*world.owed()}
    failed = False
    try:
        HANDLERS[queue](body, world.services)
    except PermanentError:
        failed = queue == "windows" and {*world.owed()} == owed != set()  # done with the message, not with the window
    except Exception:
        failed = True
    assert failed == (verdict == "fails")
    if verdict == "works" and queue != "endpoints":  # a mark that is known changes nothing
        assert world.services.ledger.items != before or world.services.queues.messages != sent


def test_a_look_that_is_refused(world: World) -> None:
    class Refusing:
        def __getattr__(self, name: str) -> Any:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DescribeProcessingJob")

    object.__setattr__(world.services, "sagemaker", Refusing())
    judged = dead_letters.judge(world.services, "executions", world.job_event("job", "Completed").decode())
    assert (
        judged.verdict == "unknown" and "AccessDeniedException" in judged.why and judged.about.startswith("processing")
    )


def test_payload_is_never_told(world: World) -> None:
    secret = "4711,secret"
    for source in SOURCES:
        for body in (secret, json.dumps({"detail": secret}), json.dumps({"Message": secret}), json.dumps([secret])):
            judged = dead_letters.judge(world.services, source.queue, body)
            assert secret not in f"{judged.about}{judged.why}", source.queue


def test_a_message_that_was_never_evaluated_is_no_riddle(world: World) -> None:
    world.capture(4, rows_of(4, 3))
    world.clock.time = datetime(2026, 1, 5, 6, tzinfo=UTC) + timedelta(minutes=1)
    assert dead_letters.judge(world.services, "windows", mark(world, 5).decode()).verdict == "works"


def test_a_queue_that_is_none() -> None:
    with pytest.raises(MisconfiguredError):
        redrive.redrive(_lived().services, None, ["nowhere"], [], "show")  # type: ignore[arg-type]


def test_a_stage_without_queues(sqs: Any) -> None:
    with pytest.raises(NotFoundError, match="plumbline-test-other-dead"):
        wiring.dead_letters(SETTINGS).count("other")
