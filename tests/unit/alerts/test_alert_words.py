"""The words and shapes of alerts, and which route takes which."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.decisions.alert import (
    Alert,
    Route,
    alert_id,
    attributes,
    decode_alert,
    encode_alert,
    incident_id,
    pagerduty_event,
    route_accepts,
    slack_message,
    subject,
    teams_message,
    webhook_body,
)
from chalicelib.errors import UnreadableError

INCIDENT = incident_id("churn", "model-quality", 3)


def alert_of(**changes: Any) -> Alert:
    state = changes.get("state", "opened")
    fields: dict[str, Any] = {
        "alert_id": alert_id(INCIDENT, state),
        "monitor": "churn",
        "endpoint": "churn-prod",
        "kind": "model-quality",
        "state": state,
        "severity": "error",
        "title": "AUC fell",
        "summary": "auc 0.71 is below 0.80",
        "occurred_at": "2026-03-01T13:05:00Z",
        "incident": INCIDENT,
        "reasons": ["auc 0.71 < 0.80", "p = 0.0003"],
        "window": "2026-03-01T12:00:00Z",
        "decision_id": "d1",
        "report": "s3://bucket/report",
    }
    return Alert(**(fields | changes))


SLACK = Route("slack", url="https://hooks.example.com/T/B/x")
TEAMS = Route("teams", secret="teams")
PAGER = Route("pagerduty", secret="pager")
HOOK = Route("webhook", url="https://example.com/hook", secret="hook")


def test_ids_are_functions_of_the_incident_and_its_state():
    assert alert_id(INCIDENT, "opened") == hashlib.sha256(b"churn|model-quality|3|opened").hexdigest()
    ids = {
        alert_id(incident_id(m, k, n), s) for m in "ab" for k in "xy" for n in (1, 2) for s in ("opened", "resolved")
    }
    assert len(ids) == 16
    assert all(len(i) == 64 for i in ids)


texts = st.text(max_size=50)


@given(title=texts, summary=texts, reasons=st.lists(texts, max_size=3))
def test_the_message_of_the_topic_round_trips_byte_for_byte(title: str, summary: str, reasons: list[str]):
    alert = alert_of(title=title, summary=summary, reasons=reasons)
    text = encode_alert(alert)
    assert decode_alert(text) == decode_alert(text.encode()) == alert
    assert encode_alert(decode_alert(text)) == text


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "not json", b"\xff", encode_alert(alert_of()).replace("error", "bad")]
)
def test_a_message_that_is_no_alert(text: str | bytes):
    with pytest.raises(UnreadableError, match="alert"):
        decode_alert(text)


def test_attributes_leave_out_what_is_empty():
    expected = {"monitor": "churn", "kind": "model-quality", "state": "opened", "severity": "error"}
    assert attributes(alert_of()) == {**expected, "endpoint": "churn-prod"}
    assert attributes(alert_of(endpoint="")) == expected


def test_the_subject_says_how_bad_it_is():
    assert subject(alert_of(title="AUC\nfell")) == "Plumbline [error] AUC fell"
    assert subject(alert_of(state="resolved")) == "Plumbline [resolved] AUC fell"


# Routes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "route, changes, accepted",
    [
        (SLACK, {}, True),
        (Route("slack", url=SLACK.url, severities=("critical",)), {}, False),
        (Route("slack", url=SLACK.url, severities=("critical", "error")), {}, True),
        (Route("slack", url=SLACK.url, kinds=("retraining",)), {}, False),
        (Route("slack", url=SLACK.url, kinds=("retraining", "model-quality")), {}, True),
        (PAGER, {"severity": "info"}, False),
        (PAGER, {"severity": "warning"}, False),
        (PAGER, {"state": "changed", "severity": "error"}, True),
        (Route("pagerduty", secret="pager", severities=("warning",)), {"severity": "warning"}, True),
        (PAGER, {"state": "notice", "severity": "error"}, True),
        (PAGER, {"state": "notice", "severity": "critical"}, True),
        (PAGER, {"state": "notice", "severity": "warning"}, False),
        (PAGER, {"state": "notice", "severity": "info"}, False),
        (PAGER, {"state": "resolved", "severity": "info"}, False),
        (PAGER, {"state": "resolved", "severity": "error"}, True),
        (SLACK, {"state": "notice", "severity": "info"}, True),
    ],
)
def test_which_route_takes_what(route: Route, changes: dict[str, Any], accepted: bool):
    assert route_accepts(route, alert_of(**changes)) is accepted


@given(route=st.builds(Route, st.just("pagerduty"), secret=st.just("s"),
                       severities=st.lists(st.sampled_from(["critical", "error", "warning", "info"])).map(tuple)),
       severity=st.sampled_from(["critical", "error", "warning", "info"]))  # fmt: skip
def test_a_route_that_takes_the_opening_takes_its_resolution(route: Route, severity: str):
    opened, resolved = alert_of(severity=severity), alert_of(severity=severity, state="resolved")
    assert route_accepts(route, opened) is route_accepts(route, resolved)


@pytest.mark.parametrize(
    "document, words",
    [
        ({"kind": "slack"}, "`url` or `secret`"),
        ({"kind": "slack", "url": "https://hooks.example.com/hidden", "secret": "s"}, "either"),
        ({"kind": "pagerduty"}, "routing key"),
        # Its body holds the text of the secret: who writes a definition may not send that to a host of his.
        ({"kind": "pagerduty", "secret": "x", "url": "https://attacker.example/collect"}, "events.eu.pagerduty.com"),
        ({"kind": "pagerduty", "secret": "x", "url": "https://events.pagerduty.com.evil.example/"}, "no `url`"),
        ({"kind": "pagerduty", "secret": "x", "url": "https://events.pagerduty.com@evil.example/"}, "no `url`"),
        ({"kind": "webhook", "url": "https://example.com/hidden"}, "`url` and `secret`"),
        ({"kind": "webhook", "secret": "s"}, "`url` and `secret`"),
        ({"kind": "webhook", "url": "ftp://example.com/hidden", "secret": "s"}, "https://"),
        ({"kind": "carrier-pigeon"}, "carrier-pigeon"),
        ({"kind": "slack", "url": "https://example.com/hidden", "severity": []}, "severity"),
        ({"kind": "slack", "url": "https://example.com/hidden", "severities": ["fatal"]}, "severities"),
    ],
)
def test_a_route_that_cannot_work_says_where_and_why_but_not_its_url(document: dict[str, Any], words: str):
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"routes": [document]}, dict[str, list[Route]])
    assert words in str(caught.value)
    assert "hidden" not in str(caught.value)


# Slack ---------------------------------------------------------------------------------------------------------------


def texts_of(message: dict[str, Any]) -> list[str]:
    inner = [b["text"]["text"] for b in message["blocks"] if "text" in b]
    return [message["text"], *inner, *(e["text"] for b in message["blocks"] for e in b.get("elements", []))]


def test_slack_says_what_where_and_why():
    message = slack_message(alert_of())
    fallback, head, reasons, facts = texts_of(message)
    assert fallback == "[error] AUC fell: auc 0.71 is below 0.80"
    assert head == ":red_circle: *[error] AUC fell*\nauc 0.71 is below 0.80"
    assert reasons == "• auc 0.71 &lt; 0.80\n• p = 0.0003"
    assert "endpoint churn-prod" in facts and "report s3://bucket/report" in facts
    assert slack_message(alert_of(state="resolved"))["blocks"][0]["text"]["text"].startswith(":white_check_mark:")
    assert len(slack_message(alert_of(reasons=[]))["blocks"]) == 2


nasty = st.text(st.sampled_from("a<>&!@#`*;lg "), max_size=40)


@given(title=nasty, summary=nasty, reason=nasty)
def test_slack_never_reads_a_text_as_a_command(title: str, summary: str, reason: str):
    message = slack_message(alert_of(title=title, summary=summary, reasons=[reason], window="<!channel>"))
    for text in texts_of(message):
        assert "<" not in text and ">" not in text
        bare = text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
        assert "&" not in bare
    assert all(b["text"]["verbatim"] for b in message["blocks"] if "text" in b)


@pytest.mark.parametrize("shift", range(6))
def test_slack_texts_fit_and_are_not_cut_within_an_escape(shift: int):
    message = slack_message(alert_of(title="x" * shift, summary="&" * 4000, reasons=["<" * 900] * 9))
    for text in texts_of(message):
        assert len(text) <= 3000
        assert "&" not in text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")


# PagerDuty -----------------------------------------------------------------------------------------------------------


def test_pagerduty_triggers_and_resolves_the_same_incident():
    opened = pagerduty_event(alert_of(), "key")
    resolved = pagerduty_event(alert_of(state="resolved"), "key")
    assert opened["event_action"] == "trigger"
    assert opened["payload"]["summary"] == "AUC fell: auc 0.71 is below 0.80"
    assert opened["payload"]["severity"] == "error"
    assert opened["payload"]["source"] == "churn-prod"
    assert opened["payload"]["timestamp"] == "2026-03-01T13:05:00Z"
    assert resolved == {"routing_key": "key", "event_action": "resolve", "dedup_key": opened["dedup_key"]}


def test_pagerduty_keeps_notices_apart():
    notices = [alert_of(state="notice", incident="", alert_id=f"n{i}") for i in range(2)]
    assert [pagerduty_event(notice, "key")["dedup_key"] for notice in notices] == ["n0", "n1"]


def test_pagerduty_limits():
    event = pagerduty_event(alert_of(title="&" * 600, summary="x" * 600), "key")
    assert len(event["payload"]["summary"]) == 1024
    with pytest.raises(UnreadableError):
        decode_alert(encode_alert(alert_of(incident="i" * 256)))


# Webhook -------------------------------------------------------------------------------------------------------------


def test_the_webhook_body_has_type_time_and_data_and_is_canonical():
    body = webhook_body(alert_of())
    document = json.loads(body)
    assert document["type"] == "alert.opened"
    assert document["timestamp"] == "2026-03-01T13:05:00Z"
    assert msgspec.convert(document["data"], Alert) == alert_of()
    assert webhook_body(alert_of()) == body
    assert json.dumps(document, sort_keys=True, separators=(",", ":")).encode() == body


# Teams ----------------------------------------------------------------------------------------------------------------


def card_of(alert: Alert) -> dict[str, Any]:
    message = teams_message(alert)
    [attachment] = message["attachments"]
    assert message["type"] == "message" and attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card: dict[str, Any] = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    return card


def test_a_card_says_what_since_when_and_where():
    title, summary, *reasons, facts = card_of(alert_of())["body"]
    assert (title["text"], title["color"]) == (r"\[error\] AUC fell", "Attention")
    assert summary["text"] == "auc 0.71 is below 0.80"
    assert [each["text"] for each in reasons] == [r"auc 0.71 \< 0.80", "p = 0.0003"]
    assert {each["title"]: each["value"] for each in facts["facts"]} == {
        "Monitor": "churn",
        "Endpoint": "churn-prod",
        "Window": "2026-03-01T12:00:00Z",
        "Decision": "d1",
        "Report": "s3://bucket/report",
    }
    assert card_of(alert_of(state="resolved"))["body"][0]["color"] == "Good"


def test_names_are_no_links_in_a_card():
    body = card_of(alert_of(reasons=["[click](https://evil.example) **now**"]))["body"]
    assert body[2]["text"] == r"\[click\]\(https://evil.example\) \*\*now\*\*"


@given(st.lists(st.text(alphabet="[]*a ", min_size=1, max_size=1200), max_size=40), st.text(max_size=600))
def test_a_card_fits_a_message(reasons: list[str], title: str):
    message = msgspec.json.encode(teams_message(alert_of(reasons=reasons, title=title, report="s3://b/" + "[" * 900)))
    assert len(message) <= 28 * 1024


def test_a_test_goes_to_every_route():
    test = alert_of(kind="test", severity="info")
    narrow = [Route("slack", url="https://hooks.example.com/T", severities=("critical",), kinds=("promotion",)), PAGER]
    assert all(route_accepts(route, test) for route in (*narrow, TEAMS, HOOK))
    with pytest.raises(ValueError, match="in a teams route either `url` or `secret`"):
        Route("teams")
