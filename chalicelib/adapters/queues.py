"""SQS by logical queue name: sending, and the dead-letter queues.

Knows the limits of SendMessageBatch and SQS's attributes of a message. Not here: what a message says and who reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.errors import NotFoundError, PlumblineError
from chalicelib.ports import DeadLetter

_BATCH_MESSAGES = 10
# The lowest of the limits that AWS has had for one batch; regions have not all been raised to 1 MiB.
_BATCH_BYTES = 256 * 1024


class SqsQueues:
    """`ports.Queues` over an SQS client; `name_of` turns a logical name into the queue's name in the account.

    URLs are requested once per queue and cached: a queue keeps its URL for life.
    """

    def __init__(self, client: Any, name_of: Callable[[str], str]) -> None:
        self._client = client
        self._name_of = name_of
        self._urls: dict[str, str] = {}

    def send(self, queue: str, bodies: Sequence[bytes]) -> None:
        """Send each body (UTF-8 text) as one message, in order, at most ten per request.

        Raises PlumblineError when SQS did not accept some of them. Accepted ones stay sent: delivery is at least once,
        and every handler tolerates repeats.
        """
        for batch in _batches(bodies):
            answer = self._client.send_message_batch(
                QueueUrl=self._url(queue),
                Entries=[{"Id": str(i), "MessageBody": body.decode("utf-8")} for i, body in enumerate(batch)],
            )
            failed = answer.get("Failed", [])
            if failed:
                codes = ", ".join(sorted({entry["Code"] for entry in failed}))
                raise PlumblineError(f"queue {queue}: {len(failed)} of {len(batch)} messages not accepted ({codes})")

    def _url(self, queue: str) -> str:
        if queue not in self._urls:
            self._urls[queue] = self._client.get_queue_url(QueueName=self._name_of(queue))["QueueUrl"]
        return self._urls[queue]


class SqsDeadLetters:
    """`ports.DeadLetters` over an SQS client; `name_of` as above, and `dead_name_of` for the dead-letter queues.

    Not SQS's StartMessageMoveTask: it moves a whole queue instead of chosen messages, in the background, with whatever
    arrives meanwhile.
    """

    def __init__(self, client: Any, name_of: Callable[[str], str], dead_name_of: Callable[[str], str]) -> None:
        self._client = client
        self._name_of, self._dead_name_of = name_of, dead_name_of
        self._urls: dict[str, str] = {}

    def count(self, queue: str) -> tuple[int, int]:
        """How many can be received now, and how many are hidden. Raises NotFoundError when the queue does not exist."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        found = self._client.get_queue_attributes(QueueUrl=self._dead(queue), AttributeNames=list(names))
        visible, hidden = (int(found["Attributes"][name]) for name in names)
        return visible, hidden

    def receive(self, queue: str, seconds: int) -> list[DeadLetter]:
        """At most ten, hidden for `seconds`. Waiting a second makes SQS ask all of its servers, not some."""
        answer = self._client.receive_message(
            QueueUrl=self._dead(queue),
            MaxNumberOfMessages=_BATCH_MESSAGES,
            VisibilityTimeout=seconds,
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return [_letter(message) for message in answer.get("Messages", [])]

    def send_back(self, queue: str, letter: DeadLetter) -> None:
        """Send body and attributes, as they are, to the queue itself."""
        more = {"MessageSystemAttributes": letter.system_attributes} if letter.system_attributes else {}
        url = self._url(self._name_of(queue))
        self._client.send_message(QueueUrl=url, MessageBody=letter.body, MessageAttributes=letter.attributes, **more)

    def delete(self, queue: str, letter: DeadLetter) -> None:
        """Delete a received message from the dead-letter queue."""
        self._client.delete_message(QueueUrl=self._dead(queue), ReceiptHandle=letter.handle)

    def release(self, queue: str, letters: Sequence[DeadLetter]) -> None:
        """Make letters visible again; one that cannot be released reappears when its timeout ends."""
        for first in range(0, len(letters), _BATCH_MESSAGES):
            self._client.change_message_visibility_batch(
                QueueUrl=self._dead(queue),
                Entries=[
                    {"Id": str(i), "ReceiptHandle": letter.handle, "VisibilityTimeout": 0}
                    for i, letter in enumerate(letters[first : first + _BATCH_MESSAGES])
                ],
            )

    def _dead(self, queue: str) -> str:
        return self._url(self._dead_name_of(queue))

    def _url(self, name: str) -> str:
        if name not in self._urls:
            try:
                self._urls[name] = self._client.get_queue_url(QueueName=name)["QueueUrl"]
            except ClientError as error:
                if error.response["Error"]["Code"] not in (
                    "AWS.SimpleQueueService.NonExistentQueue",
                    "QueueDoesNotExist",
                ):
                    raise
                raise NotFoundError(f"queue {name}: not in this account and region") from error
        return self._urls[name]


def _letter(message: dict[str, Any]) -> DeadLetter:
    past = message.get("Attributes", {})
    # Attributes come back as they were sent, plus two empty lists that SQS reserves and does not accept.
    attributes = {
        name: {key: value for key, value in attribute.items() if key in ("DataType", "StringValue", "BinaryValue")}
        for name, attribute in message.get("MessageAttributes", {}).items()
    }
    trace = past.get("AWSTraceHeader")
    return DeadLetter(
        message_id=message["MessageId"],
        body=message["Body"],
        first_sent=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(past["SentTimestamp"])),
        receives=int(past["ApproximateReceiveCount"]),
        handle=message["ReceiptHandle"],
        attributes=attributes,
        system_attributes={"AWSTraceHeader": {"DataType": "String", "StringValue": trace}} if trace else {},
    )


def _batches(bodies: Sequence[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for body in bodies:
        if batch and (len(batch) == _BATCH_MESSAGES or size + len(body) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += len(body)
    if batch:
        yield batch
