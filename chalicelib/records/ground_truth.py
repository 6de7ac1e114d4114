"""Ground-truth files: JSON Lines, one label document per line, joined to captures by id.

Knows the envelope, and which of several labels for one id counts; refuses to know what a label means (`table`) and
which requests exist (`merge`).

A label with a record index is for one record of its request. `resolve` joins those of a request, and the label of the
whole request beside them, into one label whose document has the form RECORD_LABELS: so whatever carries a label
(merged records, samples) carries its records' labels as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import chain
from typing import Annotated, Any, Literal

import msgspec

from chalicelib.errors import UNDECODABLE
from chalicelib.records.capture import UNREADABLE, BadLine, BadLines, lines_of, plausible

Conflict = Literal["latest", "first", "reject"]

# {"recordLabels": {"0": "1", "2": "0"}, "others": "[1,1,1]"}: the texts of single records' labels by position, and the
# label document of the whole request that holds for the others ("others" is absent where there is none).
RECORD_LABELS = '{"recordLabels":'
# A request of more records is refused by the readers of captures.
MOST_RECORDS = 100_000

# By so much may a sender's clock be ahead of the moment at which a label arrives.
CLOCK_DIFFERENCE = timedelta(hours=1)

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Label(msgspec.Struct, frozen=True, gc=False):
    """The label of one request: one value, or one document with a value per record.

    `id` is an inference id or an event id, `data` the text as delivered, `label_time` when it became known,
    `source` the object that it was read from (never compared). With a `record_index` (from 0) it is the label of that
    record of the request alone.
    """

    id: str
    data: str
    encoding: str = "CSV"
    label_time: datetime | None = None
    inference_time: datetime | None = None
    source: str = ""
    record_index: int | None = None

    @property
    def digest(self) -> str:
        """Hex digest of what the label says (id, encoding, data): the last word between labels of one time."""
        return blake2b(msgspec.json.encode((self.id, self.encoding, self.data)), digest_size=16).hexdigest()


class GroundTruthFile(msgspec.Struct, frozen=True):
    """`bad_lines` are the first ones; `more_bad_lines` counts those beyond `capture.MOST_BAD_LINES`."""

    labels: list[Label]
    bad_lines: list[BadLine]
    more_bad_lines: int = 0


class Resolved(msgspec.Struct, frozen=True):
    """One label per id, and how the others went.

    `repeated`: labels beyond the first of the same id and value. `conflicting`: ids, or single records of them, with
    different values. `rejected`: those left without a label because of that. `first_times`: when the first label of an
    id came, where that is not the label time of the one here.
    """

    by_id: dict[str, Label]
    repeated: int
    conflicting: int
    rejected: int
    first_times: dict[str, datetime] = {}

    def known_at(self, id: str) -> datetime | None:
        """When the first label for an id became known; None where it has none, or nothing tells its time."""
        label = self.by_id.get(id)
        return self.first_times.get(id, label.label_time) if label else None


class _Data(msgspec.Struct, gc=False):
    data: str | int | float | bool
    encoding: str = "CSV"


class _Metadata(msgspec.Struct, gc=False, rename="camel"):
    event_id: Annotated[str, msgspec.Meta(min_length=1)]
    label_time: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    # SageMaker ignores this field, and real files hold templates in it: anything may stand here.
    inference_time: Any = None
    record_index: Annotated[int, msgspec.Meta(ge=0, lt=MOST_RECORDS)] | None = None


class LabelLine(msgspec.Struct, gc=False, rename="camel"):
    """A line of a ground-truth file as it is decoded."""

    ground_truth_data: _Data
    event_metadata: _Metadata


_decoder = msgspec.json.Decoder(LabelLine)
decode_label, decode_labels = _decoder.decode, _decoder.decode_lines


def read_ground_truth(body: bytes, where: str, arrived: datetime, latest: datetime | None = None) -> GroundTruthFile:
    """Read a ground-truth file; lines that cannot be read are counted and named.

    The label's time is `eventMetadata.labelTime` where our webhook wrote one, else `arrived` (the object's arrival).
    A label that is a JSON number or boolean instead of a string is taken as its JSON text. A label whose time is after
    `latest` cannot be read: nothing could correct it before then. `where` names the file in errors and becomes the
    labels' source. Raises UnreadableError when there are lines and none is a label. Layout:
    model-monitor formats, section 3.
    """
    bad_lines = BadLines(where, "a ground-truth record")
    labels = read_label_lines(lines_of(body), where, arrived, bad_lines, latest=latest)
    bad_lines.refuse_if_hopeless(len(labels))
    return GroundTruthFile(labels, bad_lines.named, bad_lines.more)


def not_after(known: datetime, latest: datetime | None) -> datetime:
    """When a label became known. Raises OverflowError where that is later than it may be."""
    if latest is not None and known > latest:
        raise OverflowError("a label time after the file's arrival")
    return known


def text_of_label(data: str | int | float | bool) -> str:
    """A label as text: itself, or its JSON."""
    return data if isinstance(data, str) else msgspec.json.encode(data).decode()


def read_label_lines(
    lines: Iterable[tuple[int, bytes]],
    where: str,
    arrived: datetime,
    bad_lines: BadLines,
    good: int = 0,
    latest: datetime | None = None,
) -> list[Label]:
    """Read numbered lines of a ground-truth file, `good` of which were read before; `bad_lines` notes those that are
    none. Raises UnreadableError as `BadLines.add`."""
    labels: list[Label] = []
    for number, line in lines:
        try:
            parsed = decode_label(line)
            content, metadata = parsed.ground_truth_data, parsed.event_metadata
            data = text_of_label(content.data)
            known = metadata.label_time
            labels.append(
                Label(
                    metadata.event_id,
                    data,
                    content.encoding,
                    arrived if known is None else not_after(plausible(known), latest),
                    _time_or_none(metadata.inference_time),
                    where,
                    metadata.record_index,
                )
            )
        except UNREADABLE as error:
            bad_lines.add(number, error, good + len(labels))
    return labels


def write_ground_truth(labels: Iterable[Label]) -> bytes:
    """Write labels as canonical JSON Lines: the same set of labels gives the same bytes, a repeat adds nothing.

    SageMaker's layout, plus `eventMetadata.labelTime`, `inferenceTime` and `recordIndex` where there is one.
    """
    lines: set[bytes] = set()
    for label in labels:
        metadata: dict[str, Any] = {"eventId": label.id}
        if label.inference_time is not None:
            metadata["inferenceTime"] = label.inference_time.astimezone(UTC)
        if label.label_time is not None:
            metadata["labelTime"] = label.label_time.astimezone(UTC)
        if label.record_index is not None:
            metadata["recordIndex"] = label.record_index
        document = {
            "groundTruthData": {"data": label.data, "encoding": label.encoding},
            "eventMetadata": metadata,
            "eventVersion": "0",
        }
        lines.add(msgspec.json.encode(document) + b"\n")
    return b"".join(sorted(lines))


def resolve(labels: Iterable[Label], conflict: Conflict = "latest") -> Resolved:
    """Choose one label per id, whatever the order in which they came.

    The same value repeated is one label. Between different values: `latest` or `first` by label time (ties by
    digest), or `reject`, which leaves the id without a label. "1" and "1.0" are the same value.

    Labels of single records are chosen per record and joined (`_join` says how they meet a whole request's label;
    `reject`: a request that has both has no label).
    """
    by_id: dict[str, Label] = {}
    several: dict[str | tuple[str, int], list[Label]] = {}
    by_record: dict[tuple[str, int], Label] = {}
    for label in labels:
        if label.record_index is not None:
            record = (label.id, label.record_index)
            if record in by_record:
                several.setdefault(record, [by_record[record]]).append(label)
            else:
                by_record[record] = label
        elif label.id in by_id:
            several.setdefault(label.id, [by_id[label.id]]).append(label)
        else:
            by_id[label.id] = label
    first_times = _first_times(by_id, by_record, several)
    # Told before labels that differ are taken out below: a request has both whatever becomes of either.
    both = {id for id, _ in by_record if id in by_id} if conflict == "reject" else set()
    repeated = conflicting = rejected = 0
    for key, candidates in several.items():
        chosen: dict[Any, Label] = by_record if isinstance(key, tuple) else by_id
        values = {value_of(label.data) for label in candidates}
        repeated += len(candidates) - len(values)
        if len(values) > 1:
            conflicting += 1
            if conflict == "reject":
                rejected += 1
                del chosen[key]
                continue
        chosen[key] = (min if conflict == "first" else max)(candidates, key=_precedence)
    for id in both & by_id.keys():  # the others were counted above
        del by_id[id]
        conflicting, rejected = conflicting + 1, rejected + 1
    _join(by_id, (each for each in by_record.items() if each[0][0] not in both), conflict)
    first_times = {id: at for id, at in first_times.items() if id in by_id and at != by_id[id].label_time}
    return Resolved(by_id, repeated, conflicting, rejected, first_times)


def _first_times(
    by_id: dict[str, Label],
    by_record: dict[tuple[str, int], Label],
    several: dict[str | tuple[str, int], list[Label]],
) -> dict[str, datetime]:
    """When the first label came, whether of the request or of a record, for ids that may have more than one."""
    first: dict[str, datetime] = {}
    beside_records = (by_id[id] for id, _ in by_record if id in by_id)
    for label in chain(by_record.values(), beside_records, chain.from_iterable(several.values())):
        if label.label_time:
            first[label.id] = min(first.get(label.id, label.label_time), label.label_time)
    return first


def _join(by_id: dict[str, Label], by_record: Iterable[tuple[tuple[str, int], Label]], conflict: Conflict) -> None:
    """Put one label per request in `by_id`, made of its records' labels and of the whole request's label.

    `latest`: a record's label counts where it is later than the whole request's, which counts for the other records;
    `first`: where it is earlier.
    """
    records: dict[str, dict[int, Label]] = {}
    for (id, index), label in by_record:
        records.setdefault(id, {})[index] = label
    for id, labels in records.items():
        whole = by_id.get(id)
        if whole is not None:
            later = conflict == "latest"
            at = _precedence(whole)
            labels = {index: label for index, label in labels.items() if (_precedence(label) > at) == later}
            if not labels:
                continue
        document: dict[str, Any] = {"recordLabels": {str(index): labels[index].data for index in sorted(labels)}}
        if whole is not None:
            document["others"] = whole.data
        newest = max([*labels.values(), *([whole] if whole else [])], key=_precedence)
        data = msgspec.json.encode(document).decode()
        by_id[id] = msgspec.structs.replace(newest, data=data, encoding="JSON", record_index=None)


def _precedence(label: Label) -> tuple[datetime, str, str, datetime]:
    return label.label_time or _LONG_AGO, label.digest, label.source, label.inference_time or _LONG_AGO


def value_of(data: str) -> str | float:
    """What a label's text says, in the one form in which two labels of an id are compared: "1", "1.0", {"label": 1}
    and {"instances": [{"label": 1}]} say the same."""
    text = data.strip()
    if text[:1] in ("{", "[") and not text.startswith(RECORD_LABELS):
        try:
            said = _said(msgspec.json.decode(text))
        except UNDECODABLE:
            return text
        # A list of several labels, or a document that only its attribute can read, is compared as JSON.
        if isinstance(said, list | dict):
            return msgspec.json.encode(said, order="sorted").decode()
        text = "" if said is None else text_of_label(said)
    try:
        number = float(text)
    except ValueError:
        return text.lower() if text.lower() in ("true", "false") else text
    return number if number == number else "nan"


def _said(document: Any) -> Any:
    """The one value of a label document; the list of its values, or the document itself, where it has not one."""
    if isinstance(document, dict):
        listed = document.get("instances", document.get("predictions"))
        if isinstance(listed, list):
            return _said(listed)
        if "label" in document:
            return document["label"]
        return next(iter(document.values())) if len(document) == 1 else document
    if isinstance(document, list):
        found = [_said(each) for each in document]
        return found[0] if len(found) == 1 else found
    return document


def _time_or_none(raw: Any) -> datetime | None:
    try:
        time = msgspec.convert(raw, datetime)
        return plausible(time) if time.tzinfo else None
    except (msgspec.ValidationError, OverflowError):
        return None
