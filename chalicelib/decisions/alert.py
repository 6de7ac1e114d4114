"""An alert, where it should go, and how each receiver wants to read it.

Knows the words and the shapes of messages; refuses to know how one is sent, whether one was sent before
(facts/deliveries.py), what opens or closes an incident (facts/incidents.py), and any secret.
Texts are written by whoever decides and hold names, numbers and reasons: never captured data or labels.

Formats: Slack incoming webhooks and Block Kit (docs.slack.dev/reference/block-kit), Adaptive Cards 1.4
(adaptivecards.io/explorer), PagerDuty Events API v2
(developer.pagerduty.com/docs/events-api-v2), Standard Webhooks 1.0.0, "Payload structure" (standardwebhooks.com).
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, Literal

import msgspec

from chalicelib.errors import UNDECODABLE, UnreadableError

State = Literal["opened", "changed", "resolved", "notice"]
Severity = Literal["critical", "error", "warning", "info"]

# What an alert may be about; routes choose among these.
Kind = Literal[
    "broken-data",
    "data-quality",
    "model-quality",
    "model-bias",
    "model-explainability",
    "model-monitor",
    "deployment",
    "traffic",
    "retraining",
    "promotion",
]

# What `plumbline alerts` sends: every route takes it.
TEST = "test"

PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"

# A routing key is sent in the body, so no definition may choose who gets it: PagerDuty's two service regions
# (support.pagerduty.com/main/docs/service-regions), and http for a stand-in, which only an allowance of the
# deployment lets the courier reach.
_PAGERDUTY_HOSTS = ("https://events.pagerduty.com/", "https://events.eu.pagerduty.com/", "http://")

# Limits of the receivers, in characters: a longer text is refused by them, so it is cut by us.
_SLACK_TEXT = 3000
# A message to Teams holds 28 KB (learn.microsoft.com, "Format cards in Teams"); escaped, a character may be two.
_TEAMS_TEXT, _TEAMS_REASONS = 500, 12
_PAGERDUTY_SUMMARY = 1024
_PAGERDUTY_DEDUP_KEY = 255

# An Adaptive Card's colours.
_COLOR = {"critical": "Attention", "error": "Attention", "warning": "Warning", "info": "Accent"}
_SIGN = {
    "critical": ":red_circle:",
    "error": ":red_circle:",
    "warning": ":large_yellow_circle:",
    "info": ":large_blue_circle:",
}


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One message to people.

    An incident is opened once and resolved once, and announced again in between when something joins it or its severity
    rises. These alerts all hold the same `incident`, and the severity that it has by then: a route that took the last
    announcement takes the resolution. A notice stands alone (`incident` is empty).
    `report` is the S3 URI of the report folder; `window` the start of the window; `occurred_at` ISO 8601.
    """

    alert_id: str
    monitor: str
    endpoint: str
    kind: str
    state: State
    severity: Severity
    title: str
    summary: str
    occurred_at: str
    incident: Annotated[str, msgspec.Meta(max_length=_PAGERDUTY_DEDUP_KEY)] = ""
    reasons: list[str] = []
    window: str = ""
    decision_id: str = ""
    report: str = ""


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One receiver of a monitor's alerts. `severities` and `kinds`: empty takes all.

    `secret` is the NAME of a secret, whose text is for slack and teams the URL (then `url` stays empty), for pagerduty
    the routing key, for a webhook the signing secret (whsec_…; two, separated by white space, during a rotation).
    """

    kind: Literal["slack", "teams", "pagerduty", "webhook"]
    url: str = ""
    secret: str = ""
    severities: tuple[Severity, ...] = ()
    kinds: tuple[Kind, ...] = ()

    def __post_init__(self) -> None:
        # ValueError, because msgspec turns it into its ValidationError with the place in the document. Each text says
        # what was expected.
        # The URL is not repeated: a chat's URL is a password.
        if self.kind in ("slack", "teams") and bool(self.url) == bool(self.secret):
            raise ValueError(
                f"in a {self.kind} route either `url` or `secret` (the name of a secret that holds the URL)"
            )
        if self.kind == "pagerduty" and not self.secret:
            raise ValueError("in a pagerduty route `secret` (the name of a secret that holds the routing key)")
        if self.kind == "pagerduty" and self.url and not self.url.startswith(_PAGERDUTY_HOSTS):
            raise ValueError("in a pagerduty route no `url`, or one of events.pagerduty.com or events.eu.pagerduty.com")
        if self.kind == "webhook" and not (self.url and self.secret):
            raise ValueError("in a webhook route `url` and `secret` (the name of a secret that holds whsec_…)")
        if self.secret.startswith(("whsec_", "https://")):
            raise ValueError("`secret` is the name of a secret in SSM or Secrets Manager, never the secret itself")
        if self.url and not self.url.startswith(("https://", "http://")):
            raise ValueError("a `url` that begins with https://")


def incident_id(monitor: str, kind: str, number: int | str) -> str:
    """The name that an opening and its resolution share; for a notice `number` is what it is about (a decision id)."""
    return f"{monitor}|{kind}|{number}"


def alert_id(incident: str, state: str) -> str:
    """SHA-256 of monitor|kind|number|state (for changes with their number): publishing the same alert again gives the
    same id."""
    return hashlib.sha256(f"{incident}|{state}".encode()).hexdigest()


def encode_alert(alert: Alert) -> str:
    """The alert as the text of an SNS message: JSON, indented because e-mail subscribers read it as it is."""
    return msgspec.json.format(msgspec.json.encode(alert, order="sorted"), indent=2).decode()


def decode_alert(text: str | bytes) -> Alert:
    """Read what `encode_alert` wrote. Raises UnreadableError."""
    try:
        return msgspec.json.decode(text, type=Alert)
    except UNDECODABLE:
        raise UnreadableError("message", "expected an alert as JSON") from None


def attributes(alert: Alert) -> dict[str, str]:
    """The SNS message attributes that subscriptions filter on; empty ones are left out because SNS refuses them."""
    pairs = {
        "monitor": alert.monitor,
        "endpoint": alert.endpoint,
        "kind": alert.kind,
        "state": alert.state,
        "severity": alert.severity,
    }
    return {name: value for name, value in pairs.items() if value}


def subject(alert: Alert) -> str:
    """The SNS subject, which is the subject of an e-mail; the topic's adapter makes it fit."""
    return f"Plumbline {_headline(alert)}"


def route_accepts(route: Route, alert: Alert) -> bool:
    """Whether the route wants the alert. A pager takes a warning only where its route names the severity: it would wake
    somebody. A test goes to all."""
    if alert.kind == TEST:
        return True
    if route.severities and alert.severity not in route.severities:
        return False
    if route.kinds and alert.kind not in route.kinds:
        return False
    quiet = alert.severity in ("warning", "info") and (alert.state == "notice" or not route.severities)
    return not (route.kind == "pagerduty" and quiet)


def slack_message(alert: Alert) -> dict[str, Any]:
    """The alert for a Slack-compatible incoming webhook: `text` for notifications, `blocks` for the channel."""
    sign = ":white_check_mark:" if alert.state == "resolved" else _SIGN[alert.severity]
    more = f"\n{_escape(alert.summary)}" if alert.summary not in alert.title else ""
    blocks = [_section(f"{sign} *{_escape(_headline(alert))}*{more}")]
    if alert.reasons:
        blocks.append(_section("\n".join(f"• {_escape(_one_line(reason))}" for reason in alert.reasons)))
    facts = {
        "monitor": alert.monitor,
        "endpoint": alert.endpoint,
        "kind": alert.kind,
        "window": alert.window,
        "decision": alert.decision_id,
        "report": alert.report,
    }
    line = " · ".join(f"{name} {_escape(value)}" for name, value in facts.items() if value)
    blocks.append({"type": "context", "elements": [_mrkdwn(line)]})
    return {"text": _cut(_escape(_with_summary(_headline(alert), alert)), _SLACK_TEXT), "blocks": blocks}


def teams_message(alert: Alert) -> dict[str, Any]:
    """The alert for a Microsoft Teams webhook ("post to a channel when a webhook request is received"): one Adaptive
    Card, as Microsoft's "Create incoming webhooks with Workflows" has it."""
    color = "Good" if alert.state == "resolved" else _COLOR[alert.severity]
    body: list[dict[str, Any]] = [
        _text_block(_headline(alert), weight="Bolder", size="Medium", color=color),
    ]
    if alert.summary not in alert.title:
        body.append(_text_block(alert.summary))
    body += [_text_block(reason) for reason in alert.reasons[:_TEAMS_REASONS]]
    if rest := len(alert.reasons[_TEAMS_REASONS:]):
        body.append(_text_block(f"and {rest} more"))
    facts = {
        "Monitor": alert.monitor,
        "Endpoint": alert.endpoint,
        "Window": alert.window,
        "Decision": alert.decision_id,
        "Report": alert.report,
    }
    shown = [{"title": name, "value": _markdown(value)} for name, value in facts.items() if value]
    body.append({"type": "FactSet", "facts": shown})
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _text_block(text: str, **looks: str) -> dict[str, Any]:
    return {"type": "TextBlock", "text": _markdown(_cut(_one_line(text), _TEAMS_TEXT)), "wrap": True, **looks}


def _markdown(text: str) -> str:
    """Text in which a card finds no links and no emphasis: names come from outside."""
    return re.sub(r"([\\`*_\[\]()#~<>|])", r"\\\1", text)


def pagerduty_event(alert: Alert, routing_key: str) -> dict[str, Any]:
    """The alert for PagerDuty's Events API v2: a resolution closes what its opening triggered (same dedup_key).

    The severities are PagerDuty's own four words. Ask `route_accepts` first: quiet notices do not belong here.
    """
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "resolve" if alert.state == "resolved" else "trigger",
        "dedup_key": alert.incident or alert.alert_id,
    }
    if alert.state == "resolved":
        return event
    event["client"] = "Plumbline"
    event["payload"] = {
        "summary": _cut(_with_summary(_one_line(alert.title), alert), _PAGERDUTY_SUMMARY),
        "source": alert.endpoint or alert.monitor,
        "severity": alert.severity,
        "timestamp": alert.occurred_at,
        "component": alert.monitor,
        "class": alert.kind,
        "custom_details": {
            "alert_id": alert.alert_id,
            "reasons": alert.reasons,
            "window": alert.window,
            "decision_id": alert.decision_id,
            "report": alert.report,
        },
    }
    return event


def webhook_body(alert: Alert) -> bytes:
    """The alert for a generic webhook: type, timestamp and data; equal alerts give equal bytes."""
    document = {"type": f"alert.{alert.state}", "timestamp": alert.occurred_at, "data": alert}
    return msgspec.json.encode(document, order="sorted")


def _headline(alert: Alert) -> str:
    """What happened and how bad it is, on one line."""
    word = alert.state if alert.state == "resolved" else alert.severity
    return f"[{word}] {_one_line(alert.title)}"


def _with_summary(line: str, alert: Alert) -> str:
    """A line with the summary behind it, unless the title says it already."""
    return line if alert.summary in alert.title else f"{line}: {_one_line(alert.summary)}"


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text)}


def _mrkdwn(text: str) -> dict[str, Any]:
    # verbatim: Slack shall not make links, channels or mentions out of names.
    return {"type": "mrkdwn", "text": _cut(text, _SLACK_TEXT), "verbatim": True}


def _escape(text: str) -> str:
    """Slack's three control characters; without this a name such as <!channel> would call everybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cut(text: str, limit: int) -> str:
    """At most `limit` characters, never ending within an escaped character."""
    if len(text) <= limit:
        return text
    text = text[: limit - 1]
    start = text.rfind("&", len(text) - len("&amp"))
    if start >= 0 and ";" not in text[start:]:
        text = text[:start]
    return text + "…"
