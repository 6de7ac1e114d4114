"""Labels as other systems write them, by a mapping."""

from datetime import UTC, datetime

import pytest

from chalicelib.errors import MisconfiguredError, UnreadableError
from chalicelib.records.ground_truth import Label, write_ground_truth
from chalicelib.records.label_files import LabelMapping, check_mapping, read_label_file

ARRIVED = datetime(2026, 1, 5, 3, tzinfo=UTC)
MAPPING = LabelMapping(
    id="order", label="outcome", label_time="decided", inference_time="asked", record_index="line", delimiter=";"
)


def read(text, mapping=MAPPING):
    return read_label_file(text.encode(), "labels.csv", ARRIVED, mapping)


EXPECTED = [
    Label("a", "1", "CSV", datetime(2026, 1, 4, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC), "labels.csv"),
    Label("b", "0", "CSV", ARRIVED, None, "labels.csv", 2),
]


@pytest.mark.parametrize(
    "text",
    [
        "\ufefforder;outcome;decided;asked;line;more\r\n"
        "a;1;2026-01-04T02:00:00+01:00;2026-01-03T00:00:00Z;;x\r\nb; 0;;;2;y\r\n",
        '{"order":"a","outcome":1,"decided":"2026-01-04T01:00:00Z","asked":"2026-01-03T00:00:00Z"}\n'
        '{"outcome":"0","line":2,"order":"b","asked":null}\n',
        '[{"order":"a","outcome":1,"decided":"2026-01-04T01:00:00Z","asked":"2026-01-03T00:00:00Z"},'
        '\n{"outcome":0,"line":2,"order":"b"}]',
    ],
    ids=["csv", "lines", "list"],
)
def test_csv_and_json_say_the_same(text):
    assert read(text).labels == EXPECTED


def test_a_json_line_ends_at_a_line_feed_alone():
    separators = "\u2028\u2029\u0085"
    lines = [f'{{"order":"a{each}b","outcome":"x{each}y"}}' for each in separators]
    found = read("\ufeff" + "\r\n\n".join(lines) + "\n{")
    assert [(label.id, label.data) for label in found.labels] == [(f"a{each}b", f"x{each}y") for each in separators]
    assert [line.line for line in found.bad_lines] == [6]


def test_a_file_of_garbage_lines_is_given_up():
    with pytest.raises(UnreadableError, match="1 of the first 10102 lines"):
        read('{"order":"a","outcome":"1"}\n' + "{\n" * 20_000)


def test_sagemakers_own_files_are_read_as_such():
    body = write_ground_truth(EXPECTED)
    assert {label.id for label in read_label_file(body, "x", ARRIVED, MAPPING).labels} == {"a", "b"}
    assert {label.id for label in read_label_file(body, "x", ARRIVED).labels} == {"a", "b"}


def test_bad_rows_are_named_by_their_line_and_the_others_count():
    found = read(
        "order;outcome;decided;line\na;1;;\n;1;;\nb;;;\nc;1;yesterday;\nd;1;2026-01-01T00:00:00;\ne;1;;x\nf;1;;1\n"
    )
    assert [label.id for label in found.labels] == ["a", "f"]
    assert [line.line for line in found.bad_lines] == [3, 4, 5, 6, 7]
    assert not any("yesterday" in line.reason for line in found.bad_lines)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("id;outcome\na;1\n", "no column order"),
        ("order;outcome\n;1\n", "none of 1 lines"),
        ("[1, 2]", "a JSON list of objects"),
        ('{"order": "a"}\n', "none of 1 lines"),
    ],
)
def test_files_without_a_label_are_refused(text, why):
    with pytest.raises(UnreadableError, match=why):
        read(text)


@pytest.mark.parametrize("text", ["a" * 200_000, "order;outcome\na;1\n" + "b" * 200_000], ids=["header", "row"])
def test_a_header_or_row_that_is_no_csv_makes_the_file_unreadable(text):
    with pytest.raises(UnreadableError, match="expected CSV: field larger"):
        read(text)


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(UnreadableError, match="UTF-8"):
        read_label_file(b"\xff\xfe\x00", "x", ARRIVED, MAPPING)
    assert read("").labels == []


@pytest.mark.parametrize(
    "mapping",
    [
        LabelMapping(id="", label="y"),
        LabelMapping(id="a", label="a"),
        LabelMapping(id="a", label="b", delimiter=";;"),
        LabelMapping(id="a", label="b", delimiter='"'),
    ],
)
def test_mappings_that_cannot_be_meant_are_refused(mapping):
    with pytest.raises(MisconfiguredError):
        check_mapping(mapping)
