"""An alert reaches every receiver that wants it once, however often its message comes and whatever fails between."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.decisions.alert import PAGERDUTY_URL, Alert, Route, alert_id, encode_alert, route_accepts
from chalicelib.facts import deliveries, monitors
from chalicelib.handlers.alert_published import Outcome, UndeliveredError, deliver, handle
from chalicelib.topology import MAX_RECEIVES, SOURCES
from chalicelib.webhooks import verify
from emulator.memory import MemoryServices, ServiceError, memory_services
from tests.unit.alerts.faults import Crash, Faults
from tests.unit.alerts.test_alert_words import INCIDENT, alert_of
from tests.unit.handlers import world as handler_world

START = datetime(2026, 3, 1, 13, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SLACK_URL = "https://hooks.example.com/services/T0/B0/chat-password"
HOOK_URL = "https://example.com/hook?token=hook-password"

SLACK = Route("slack", url=SLACK_URL)
PAGER = Route("pagerduty", secret="pager")
HOOK = Route("webhook", url=HOOK_URL, secret="hook")
ROUTES = (SLACK, PAGER, HOOK)
URLS = [SLACK_URL, PAGERDUTY_URL, HOOK_URL]


class World:
    def __init__(self) -> None:
        self.time = START
        self.services: MemoryServices = memory_services(lambda: self.time)
        self.services.secrets.values |= {"pager": "routing-key-1\n", "hook": SECRET, "chat": SLACK_URL}

    def deliver(self, alert: Alert, routes: tuple[Route, ...] = ROUTES, services: Any = None) -> list[Outcome]:
        """What each accepting route's own message comes to."""
        outcomes = []
        for route in {deliveries.route_digest(each): each for each in routes if route_accepts(each, alert)}.values():
            try:
                outcomes.append(deliver(alert, route, services or self.services))
            except UndeliveredError as error:
                text = str(error) + repr(error.outcome)
                assert not any(secret in text for secret in ("password", "routing-key", SECRET[6:]))
                outcomes.append(error.outcome)
        return outcomes

    @property
    def urls(self) -> list[str]:
        return [delivery.url for delivery in self.services.courier.delivered]

    def answer(self, url: str, answer: int | Exception) -> None:
        self.services.courier.answers[url] = answer


@pytest.fixture
def world() -> World:
    return World()


def results(outcomes: Any) -> list[str]:
    return [outcome.result for outcome in outcomes]


OPENED, RESOLVED = alert_of(), alert_of(state="resolved")
NOTICE = alert_of(state="notice", severity="info", incident="", alert_id="notice-1")


def test_every_receiver_reads_its_own_form(world: World):
    assert results(world.deliver(OPENED)) == ["delivered"] * 3
    slack, pager, hook = world.services.courier.delivered
    assert [slack.url, pager.url, hook.url] == URLS
    assert all(d.headers["Content-Type"] == "application/json" for d in (slack, pager, hook))
    assert json.loads(slack.body)["blocks"]
    event = json.loads(pager.body)
    assert (event["routing_key"], event["event_action"], event["dedup_key"]) == ("routing-key-1", "trigger", INCIDENT)
    verified = verify([SECRET], hook.headers, hook.body, START)
    assert (verified.webhook_id, verified.signed_at) == (OPENED.alert_id, START)
    assert json.loads(hook.body)["data"]["alert_id"] == OPENED.alert_id


def test_the_url_of_a_chat_may_be_a_secret(world: World):
    world.deliver(OPENED, (Route("slack", secret="chat"),))
    assert world.urls == [SLACK_URL]


def test_a_webhook_is_signed_with_both_keys_while_they_are_rotated(world: World):
    newer = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
    world.services.secrets.values["hook"] = f"{newer}\n{SECRET}"
    world.deliver(OPENED, (HOOK,))
    [hook] = world.services.courier.delivered
    assert verify([SECRET], hook.headers, hook.body, START) == verify([newer], hook.headers, hook.body, START)


def test_only_routes_that_want_it(world: World):
    assert world.deliver(NOTICE, (PAGER,)) == []
    assert world.deliver(OPENED, (Route("slack", url=SLACK_URL, severities=("critical",)),)) == []
    assert world.urls == []


def test_a_repeated_message_is_delivered_once(world: World):
    world.deliver(OPENED)
    world.time += timedelta(days=3)
    assert results(world.deliver(OPENED)) == ["done before"] * 3
    assert world.urls == URLS


def test_one_receiver_named_twice_is_told_once(world: World):
    world.deliver(OPENED, (SLACK, Route("slack", url=SLACK_URL, severities=("error",))))
    assert world.urls == [SLACK_URL]


@pytest.mark.parametrize("failure", [500, 503, 408, 429, TimeoutError("hook-password"), ConnectionError()])
def test_a_receiver_that_fails_is_tried_again_and_the_others_are_not(world: World, failure: int | Exception):
    world.answer(SLACK_URL, failure)
    assert results(world.deliver(OPENED)) == ["failed", "delivered", "delivered"]
    before = len(world.urls)
    world.answer(SLACK_URL, 200)
    assert results(world.deliver(OPENED)) == ["delivered", "done before", "done before"]
    assert world.urls[before:] == [SLACK_URL]


@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 410])
def test_an_alert_that_is_refused_is_kept_until_its_receiver_takes_it(world: World, status: int):
    world.answer(HOOK_URL, status)
    assert world.deliver(OPENED)[2].result == "refused"
    known = deliveries.read(world.services.ledger, OPENED.alert_id, HOOK)
    assert known is not None and (known.state, known.status) == ("FAILED", status)
    world.answer(HOOK_URL, 200)  # the route was mended, and the dead letter sent back
    assert results(world.deliver(OPENED)) == ["done before", "done before", "delivered"]


def test_a_forbidden_address_is_refused(world: World):
    outcomes = world.deliver(OPENED, (Route("webhook", url="http://169.254.169.254/", secret="hook"), SLACK))
    assert results(outcomes) == ["refused", "delivered"]
    assert results(world.deliver(OPENED, (SLACK,))) == ["done before"]


def test_a_secret_that_is_missing_or_wrong_is_waited_for(world: World):
    del world.services.secrets.values["pager"]
    world.services.secrets.values["hook"] = "not a key"
    assert results(world.deliver(OPENED)) == ["delivered", "failed", "refused"]
    world.services.secrets.values |= {"pager": "routing-key-1", "hook": SECRET}
    assert results(world.deliver(OPENED)) == ["done before", "delivered", "delivered"]


# One message per receiver ---------------------------------------------------------------------------------------------


def watched(*routes: dict[str, str]) -> handler_world.World:
    return handler_world.World(handler_world.definition(routes=routes))


DEAD = {"kind": "webhook", "url": "https://dead.example/x", "secret": "/hook"}
WELL = {"kind": "webhook", "url": "https://pager.example/y", "secret": "/hook"}


def envelopes(count: int) -> list[str]:
    """What the topic puts on the queue for alerts of the watched monitor."""
    found = []
    for number in range(count):
        incident = f"churn|data-quality|{number}"
        alert = alert_of(incident=incident, alert_id=alert_id(incident, "opened"), monitor=handler_world.MONITOR)
        found.append(json.dumps({"Type": "Notification", "Message": encode_alert(alert)}))
    return found


def test_every_route_that_accepts_gets_a_message_of_its_own():
    world = watched(
        DEAD,
        WELL,
        {**WELL, "severities": ["critical"]},
        {**DEAD, "severities": ["critical"], "kind": "slack", "secret": ""},
    )
    [body] = envelopes(1)
    assert handle(body, world.services) is None
    first, second = (message.decode() for message in world.services.queues.take("alerts"))
    assert world.services.courier.delivered == []
    for message, url in ((first, DEAD["url"]), (second, WELL["url"])):
        outcome = handle(message, world.services)
        assert outcome is not None and outcome.result == "delivered"
        assert world.services.courier.delivered[-1].url == url
    assert world.services.queues.take("alerts") == []


def test_a_message_for_a_route_that_the_definition_dropped_is_done():
    world = watched(DEAD)
    [body] = envelopes(1)
    handle(body, world.services)
    [message] = world.services.queues.take("alerts")
    monitors.add(
        world.services.ledger,
        world.services.objects,
        world.services.settings.bucket,
        handler_world.definition(routes=[WELL]),
        "2026-01-05T00:00:00Z",
    )
    fresh = Faults.replaced(world.services)  # another process: it has decoded no definition yet
    assert handle(message.decode(), fresh) is None
    assert world.services.courier.delivered == []


@pytest.mark.parametrize("dead_seconds", [5, 10, 20, 60])
def test_a_dead_receiver_takes_no_time_from_a_healthy_one(dead_seconds: int):
    """Ten alerts; a call ends after the function's 60 seconds, whatever it is at: all ten reach the healthy one."""
    world = watched(DEAD, WELL)
    waiting = envelopes(10)
    source = next(each for each in SOURCES if each.queue == "alerts")
    got: list[str] = []

    class Courier:
        def __init__(self) -> None:
            self.left = float(source.timeout)

        def post(self, url: str, body: bytes, headers: Any) -> int:
            if url == DEAD["url"]:
                self.left -= dead_seconds
                raise Crash if self.left <= 0 else TimeoutError
            got.append(headers["webhook-id"])
            return 200

    for _ in range(MAX_RECEIVES):
        again: list[str] = []
        while waiting:
            batch, waiting = waiting[: source.batch_size], waiting[source.batch_size :]
            services = Faults.replaced(world.services, courier=Courier())
            try:
                for body in batch:
                    try:
                        handle(body, services)
                    except UndeliveredError:
                        again.append(body)
            except Crash:
                again += batch
            waiting += [message.decode() for message in world.services.queues.take("alerts")]
        waiting = again
        world.clock.time += timedelta(seconds=source.visibility)
    assert len(got) == len(set(got)) == 10
    assert len(waiting) == 10  # the dead receiver's: dead letters now


# Two workers, and crashes --------------------------------------------------------------------------------------------


def test_who_has_it_is_left_alone_until_the_lease_is_over(world: World):
    deliveries.claim(world.services.ledger, OPENED.alert_id, SLACK, world.time)  # and died, or is slow
    world.time += timedelta(seconds=119)
    assert results(world.deliver(OPENED, (SLACK,))) == ["busy"]
    assert world.urls == []
    world.time += timedelta(seconds=1)
    assert results(world.deliver(OPENED, (SLACK,))) == ["delivered"]


def test_a_lease_that_was_lost_does_not_undo_what_was_delivered(world: World):
    ledger = world.services.ledger
    slow, _ = deliveries.claim(ledger, OPENED.alert_id, SLACK, world.time)
    world.time += timedelta(minutes=3)
    world.deliver(OPENED, (SLACK,))
    deliveries.release(ledger, OPENED.alert_id, SLACK, slow, world.time, 503)
    deliveries.finish(ledger, OPENED.alert_id, SLACK, "OVERTAKEN", world.time)
    assert results(world.deliver(OPENED, (SLACK,))) == ["done before"]
    assert world.urls == [SLACK_URL]


def test_the_slow_one_does_not_give_back_the_lease_of_the_next(world: World):
    ledger = world.services.ledger
    slow, _ = deliveries.claim(ledger, OPENED.alert_id, SLACK, world.time)
    world.time += timedelta(minutes=3)
    deliveries.claim(ledger, OPENED.alert_id, SLACK, world.time)
    deliveries.release(ledger, OPENED.alert_id, SLACK, slow, world.time, 503)
    assert results(world.deliver(OPENED, (SLACK,))) == ["busy"]


def attempts(world: World, alert: Alert, services: Any) -> None:
    """What the queue does: again, after its visibility timeout, until it is done."""
    for _ in range(4):
        with suppress(Crash):
            if not {"failed", "busy", "refused"} & set(results(world.deliver(alert, ROUTES, services))):
                return
        world.time += timedelta(minutes=6)
    raise AssertionError("not delivered after four attempts")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("error", [Crash(), ServiceError("InternalServerError", "try again")])
def test_a_crash_between_any_two_steps_loses_nothing(after: bool, error: BaseException):
    fired = 0
    for step in range(1, 40):
        world = World()
        faults = Faults(step, after, error)
        attempts(world, OPENED, faults.services(world.services))
        fired += faults.fired
        told = Counter(world.urls)
        assert set(told) == set(URLS)
        # Only what was posted and not yet marked can be posted twice, and then under the same id.
        between = faults.fired and (faults.fired_at, after) in (
            ("post", True),
            ("put", False),
            ("get", False),
            ("get", True),
        )
        assert sum(told.values()) <= (4 if between else 3)
        ids = {d.headers["webhook-id"] for d in world.services.courier.delivered if d.url == HOOK_URL}
        assert ids == {OPENED.alert_id}
        assert results(world.deliver(OPENED)) == ["done before"] * 3
    assert 15 <= fired < 39


# An opening and its resolution ---------------------------------------------------------------------------------------


def test_a_resolution_is_delivered_after_its_opening(world: World):
    world.deliver(OPENED)
    assert results(world.deliver(RESOLVED)) == ["delivered"] * 3
    actions = [json.loads(d.body)["event_action"] for d in world.services.courier.delivered if d.url == PAGERDUTY_URL]
    assert actions == ["trigger", "resolve"]


def test_an_opening_that_comes_after_its_resolution_is_not_delivered(world: World):
    world.answer(PAGERDUTY_URL, 503)
    world.deliver(OPENED)
    world.answer(PAGERDUTY_URL, 202)
    world.deliver(RESOLVED)
    # The pager would open again what nobody will resolve.
    assert results(world.deliver(OPENED)) == ["done before", "overtaken", "done before"]
    assert results(world.deliver(OPENED)) == ["done before"] * 3
    pages = [json.loads(d.body)["event_action"] for d in world.services.courier.delivered if d.url == PAGERDUTY_URL]
    assert pages == ["trigger", "resolve"]  # the first was answered with 503


def test_while_one_is_on_its_way_the_other_waits(world: World):
    for first, second in ((OPENED, RESOLVED), (RESOLVED, OPENED)):
        fresh = World()
        deliveries.claim(fresh.services.ledger, first.alert_id, PAGER, fresh.time)
        assert results(fresh.deliver(second, (PAGER,))) == ["busy"]
        assert fresh.urls == []
        fresh.time += timedelta(minutes=6)
        assert results(fresh.deliver(second, (PAGER,))) == ["delivered"]


class Interleaved:
    """A port before whose calls, at the step-th of all, another worker does its whole work."""

    def __init__(self, port: Any, calls: list[str], step: int, other: Callable[[], object]) -> None:
        self._port, self._calls, self._step, self._other = port, calls, step, other

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls.append(name)
            if len(self._calls) == self._step:
                self._other()
            return getattr(self._port, name)(*args, **kwargs)

        return call


@pytest.mark.parametrize("step", range(1, 7))
def test_at_the_same_moment_the_pager_never_ends_with_an_open_incident(world: World, step: int):
    calls: list[str] = []
    ports = {
        name: Interleaved(getattr(world.services, name), calls, step, lambda: world.deliver(RESOLVED, (PAGER,)))
        for name in ("ledger", "courier")
    }
    mixed = Faults.replaced(world.services, **ports)
    for alert, services in ((OPENED, mixed), (RESOLVED, world.services), (OPENED, world.services)):
        if world.deliver(alert, (PAGER,), services)[0].result in ("failed", "busy"):
            world.time += timedelta(minutes=6)
    pages = [json.loads(d.body)["event_action"] for d in world.services.courier.delivered]
    assert len(calls) >= step  # the other one did come between
    assert pages[-1] == "resolve"
    assert len(pages) == len(set(pages))


def test_other_incidents_are_none_of_its_business(world: World):
    later = alert_of(incident="churn|model-quality|4", alert_id=alert_id("churn|model-quality|4", "opened"))
    world.deliver(RESOLVED)
    assert results(world.deliver(later)) == ["delivered"] * 3
