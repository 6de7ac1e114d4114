"""The SNS topic of alerts.

Knows what SNS rejects in a subject and in attributes. Not here: who subscribes, and what an alert says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SUBJECT_CHARACTERS = 99  # SNS: "less than 100 characters long"


class SnsTopic:
    """`ports.Topic` over an SNS client and the topic's ARN."""

    def __init__(self, client: Any, topic_arn: str) -> None:
        self._client = client
        self._arn = topic_arn

    def publish(self, subject: str, message: str, attributes: Mapping[str, str]) -> None:
        """Publish one message with string attributes for subscription filters.

        SNS rejects a subject that is long or has line breaks, and attributes without text. An alert must not be lost
        because of them, so the subject is made to fit and empty attributes are left out.
        """
        self._client.publish(
            TopicArn=self._arn,
            Subject=fit_subject(subject),
            Message=message,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items() if value
            },
        )


def fit_subject(subject: str) -> str:
    """A subject as SNS accepts it: one line of printable characters, at most 99 of them."""
    line = " ".join("".join(c if c.isprintable() else " " for c in subject).split())
    return line if len(line) <= _SUBJECT_CHARACTERS else line[: _SUBJECT_CHARACTERS - 1] + "…"
