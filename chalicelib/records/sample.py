"""The row sample of a window: which labelled requests the candidates are asked to answer again.

Requests are taken whole, in the order of a hash of their event id, until there are enough rows: the same window gives
the same sample whatever the order of its files. Refuses to know who answers.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.errors import UnreadableError
from chalicelib.records.attributes import Attributes, ProblemType
from chalicelib.records.capture import BadLines, CapturedRequest, Payload, read_capture_lines
from chalicelib.records.cells import hashes_of
from chalicelib.records.ground_truth import Label
from chalicelib.records.merge import MergedRequest, write_captured
from chalicelib.records.table import Floats, Table, to_table

# One invocation takes at most this many rows and bytes (InvokeEndpoint's limit is 6 MB; serverless answers in 60 s).
BATCH_ROWS = 500
BATCH_BYTES = 4_000_000
# Losses are added up over windows, and stored as strict JSON.
GREATEST_LOSS = 1e300


class Question(msgspec.Struct, frozen=True):
    """One invocation: what a model is sent, and the requests whose rows it holds, in order."""

    body: bytes
    content_type: str
    requests: tuple[CapturedRequest, ...]


class SampledRequest(msgspec.Struct, frozen=True, array_like=True):
    """A request that was chosen: the hash of its event id, how many rows it can be asked with, its captured line."""

    hash: int
    rows: int
    line: bytes

    @property
    def request(self) -> CapturedRequest:
        return read_capture_lines([(1, self.line)], BadLines("sample", "a capture record"))[0]


class SampleFold:
    """Chooses at least `rows` rows (or all there are) among requests that come in any parts and order."""

    def __init__(self, rows: int, chosen: Sequence[SampledRequest] = ()) -> None:
        self._rows = rows
        self._chosen = list(chosen)

    def add(self, requests: Sequence[CapturedRequest], rows_of_event: Counter[str]) -> None:
        """Look at requests; `rows_of_event`: how many rows each can be asked with."""
        counts = np.array([rows_of_event[one.event_id] for one in requests], dtype=np.int64)
        self.offer(hashes_of([one.event_id for one in requests]), counts, requests.__getitem__)

    def offer(
        self,
        hashes: npt.NDArray[np.uint64],
        counts: npt.NDArray[np.int64],
        request_at: Callable[[int], CapturedRequest],
    ) -> None:
        """Look at requests by the hashes of their event ids and how many rows each can be asked with, shape (n,)."""
        places = np.flatnonzero(counts > 0)
        if sum(each.rows for each in self._chosen) >= self._rows:
            places = places[hashes[places] <= np.uint64(self._chosen[-1].hash)]
        places = places[np.argsort(hashes[places], kind="stable")]
        # What comes after enough rows of smaller hashes is chosen by no order of the others.
        before = np.cumsum(counts[places]) - counts[places]
        places = places[before < self._rows]
        found = [
            SampledRequest(hash, count, write_captured(request_at(place)))
            for place, hash, count in zip(
                places.tolist(), hashes[places].tolist(), counts[places].tolist(), strict=True
            )
        ]
        chosen, reached = [], 0
        for each in sorted([*self._chosen, *found], key=lambda each: (each.hash, each.line)):
            if reached >= self._rows:
                break
            chosen.append(each)
            reached += each.rows
        self._chosen = chosen

    @property
    def chosen(self) -> tuple[SampledRequest, ...]:
        """The requests that were chosen, in the order of their hashes."""
        return tuple(self._chosen)


def rows_by_event(table: Table) -> Counter[str]:
    """How many usable rows each event has in a table."""
    events = [record_id.rpartition("#")[0] for record_id in table.record_ids]
    return Counter(event for event, regular in zip(events, table.regular, strict=True) if regular)


def labelled_sample(
    sample: Sequence[SampledRequest],
    labels_of: Callable[[Sequence[str]], Mapping[str, Label]],
    rows: int,
    left_out: Callable[[CapturedRequest], bool],
) -> list[MergedRequest]:
    """The first labelled requests that have at least `rows` rows (or all there are), without those `left_out`, in the
    order of (inference time, event id). `labels_of` finds the labels of ids."""
    chosen, reached = [], 0
    requests = [each.request for each in sample]
    labels = labels_of([request.join_id for request in requests])
    for each, request in zip(sample, requests, strict=True):
        if reached >= rows:
            break
        label = labels.get(request.join_id)
        if label is None or left_out(request):
            continue
        chosen.append(MergedRequest(request, label))
        reached += each.rows
    return sorted(chosen, key=lambda one: (one.request.inference_time, one.request.event_id))


def sample_digest(sample: Sequence[MergedRequest]) -> str:
    """Identifies a sample with its labels."""
    lines = [(one.request.event_id, one.label.digest) for one in sample]
    return hashlib.sha256(msgspec.json.encode(lines)).hexdigest()[:32]


def questions(sample: Sequence[MergedRequest], header: Sequence[str] = ()) -> Iterator[Question]:
    """What to send: CSV requests joined into batches, any other payload as it was sent by its caller.

    So is CSV with a row of names (`header`): it could stand at the beginning of a batch only.
    """
    batch: list[CapturedRequest] = []
    lines: list[str] = []
    size = 0
    for one in sample:
        payload = one.request.input
        if payload is None:
            continue
        text = decoded(payload)
        media_type = (payload.content_type or "text/csv").partition(";")[0].strip().lower()
        first = [field.strip(' "\r') for field in text.partition("\n")[0].split(",")] if header else []
        named = bool(header) and header[0] in first
        if media_type != "text/csv" or named or text.lstrip()[:1] in ("{", "["):
            yield Question(text.encode(), payload.content_type or "application/json", (one.request,))
            continue
        rows = text.rstrip("\r\n").split("\n")
        if batch and (len(lines) + len(rows) > BATCH_ROWS or size + len(text) > BATCH_BYTES):
            yield Question("\n".join(lines).encode(), "text/csv", tuple(batch))
            batch, lines, size = [], [], 0
        batch.append(one.request)
        lines.extend(rows)
        size += len(text)
    if batch:
        yield Question("\n".join(lines).encode(), "text/csv", tuple(batch))


def decoded(payload: Payload) -> str:
    """A payload's text. Raises UnreadableError for Base64 that is not text."""
    if payload.encoding.upper() != "BASE64":
        return payload.data
    try:
        return base64.b64decode(payload.data, validate=True).decode()
    except ValueError:
        raise UnreadableError("captured payload", "expected Base64 of UTF-8 text") from None


def answers(question: Question, response: bytes, attributes: Attributes, where: str) -> Table:
    """Lay an answer out in columns, one entry per row of the question in the question's order.

    Raises UnreadableError when the model did not answer every row with what the attributes name.
    """
    first = question.requests[0]
    kind = "CSV" if question.content_type.startswith("text/csv") else "JSON"
    content_type = "text/csv" if kind == "CSV" else "application/json"
    asked = Payload(question.body.decode(), kind, question.content_type)
    answered = Payload(response.decode(errors="replace"), kind, content_type)
    request = CapturedRequest(first.event_id, None, first.inference_time, asked, answered)
    table = to_table([request], {}, attributes)
    if not len(table) or bool(np.isnan(table.predictions[table.regular]).any()):
        raise UnreadableError(where, f"expected one answer per row for {len(table)} rows; got {sorted(table.bad)}")
    return table


def loss_of(predictions: Floats, labels: Floats, problem_type: ProblemType) -> float:
    """The loss over the rows that have both an answer and a label, shape (n,) each; nan when there is none.

    The share of wrong answers (0 to 1); for a regression the mean absolute error, in units of the target (at most
    1e300). Classes must be those of one table (`with_shared_classes`).
    """
    losses = row_losses(predictions, labels, problem_type)
    known = losses[~np.isnan(losses)]
    if not known.size:
        return float("nan")
    with np.errstate(over="ignore"):
        return min(float(np.mean(known)), GREATEST_LOSS)


def row_losses(predictions: Floats, labels: Floats, problem_type: ProblemType) -> Floats:
    """The loss of each row, shape (n,): 1 for a wrong answer, or the absolute error; nan without answer or label."""
    with np.errstate(over="ignore"):
        if problem_type == "Regression":
            return np.asarray(np.abs(predictions - labels))
    known = ~np.isnan(predictions) & ~np.isnan(labels)
    return np.where(known, (predictions != labels).astype(np.float64), np.nan)
