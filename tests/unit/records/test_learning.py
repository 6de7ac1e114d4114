"""What lines and payloads have in common is learned at a bounded cost, whatever is in them."""

import json

from chalicelib.records import json_rows
from chalicelib.records.envelopes import learn
from chalicelib.records.json_rows import JsonRows
from chalicelib.records.texts import texts_of


def test_a_line_of_very_many_texts_is_not_decoded_for_each_of_them():
    read = []

    def said(line):
        read.append(line)
        return (json.loads(line).get("id"),), None

    assert learn(json.dumps({"id": "a", "more": ["b"] * 10}).encode(), said, -1) is not None
    several = len(read)
    read.clear()
    assert learn(json.dumps({"id": "a", "more": ["b"] * 10_000}).encode(), said, -1) is None
    assert len(read) <= several


def test_a_payload_with_very_much_around_its_record_is_not_read_for_each_value(monkeypatch):
    read = []
    content_of = json_rows.content_of
    monkeypatch.setattr(json_rows, "content_of", lambda payload: read.append(payload) or content_of(payload))
    around = ", ".join(map(str, range(5000)))
    payloads = [f'{{"instances": [[{number}, 2.5]], "meta": [{around}]}}' for number in range(20)]
    masked = [text.replace('"', "\x01").encode() for text in payloads]
    found, fine = JsonRows((), 2, "application/json").csv(texts_of(masked))
    assert fine.all()
    rows = [found.buffer[begin:end].tobytes() for begin, end in zip(found.begins, found.ends, strict=True)]
    assert rows == [b"%d,2.5" % number for number in range(20)]
    assert len(read) <= 2 * len(payloads)
