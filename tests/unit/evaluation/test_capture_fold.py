"""The batch reader measures what the general payload reader measures, for any mixture, split and batch."""

import json
from base64 import b64encode
from collections import Counter
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import UnreadableError
from chalicelib.evaluation import capture_fold
from chalicelib.evaluation.capture_fold import CaptureFold, Folded
from chalicelib.evaluation.label_join import LabelJoin
from chalicelib.evaluation.measurement import Measurement, Subject, measure_and_answer
from chalicelib.evaluation.quality import quality_of
from chalicelib.records import batch_reader, cells, joins
from chalicelib.records.attributes import Attributes
from chalicelib.records.batch_reader import Source
from chalicelib.records.capture import MOST_BAD_LINES, read_captures
from chalicelib.records.ground_truth import read_ground_truth, resolve, value_of
from chalicelib.records.joins import Events, ids_of, read_labels
from chalicelib.records.label_table import columns_of
from chalicelib.records.sorting import order_of_hashes
from chalicelib.records.table import to_table
from chalicelib.states.facets import BiasSettings, Facet

ARRIVED = datetime(2026, 1, 2, tzinfo=UTC)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FEATURES = ("age", "plan", "score")

SUBJECTS = {
    "probability": Subject(attributes=Attributes(features=FEATURES, probability_attribute="0")),
    "named": Subject(
        attributes=Attributes(
            features=FEATURES,
            probability_attribute="p",
            inference_attribute="class",
            output_names=("class", "p"),
        )
    ),
    "margin": Subject(attributes=Attributes(features=FEATURES, probability_attribute="0", probability_threshold=0.0)),
    "class": Subject(attributes=Attributes(features=FEATURES, inference_attribute="0")),
    "jmespath": Subject(attributes=Attributes(features=FEATURES, probability_attribute="predictions[0]")),
    "found": Subject(attributes=Attributes(probability_attribute="0")),
    "bias": Subject(
        attributes=Attributes(features=FEATURES, probability_attribute="0"),
        bias=BiasSettings(facets=(Facet(name="plan", values=("basic",)),)),
    ),
    "regression": Subject(attributes=Attributes(features=FEATURES, inference_attribute="0", problem_type="Regression")),
    "nothing asked": Subject(attributes=Attributes(features=FEATURES)),
    "several": Subject(
        attributes=Attributes(
            features=FEATURES, inference_attribute="0", problem_type="MulticlassClassification", output_names=("class",)
        )
    ),
}

cell = st.one_of(
    st.sampled_from(["", "1", "-1", "0.5", "-0.25", ".5", "5.", "-", ".", "+3", "1e3", "-1E-5", "nan", "NaN", "inf"]),
    st.sampled_from(["-nan", "+NaN", "1e400", "-1E400", "Infinity", "9" * 310]),
    st.sampled_from(["basic", "premium plan", " 1", "1 ", " ", "true", "False", "1_0", "1.2.3", "007", "-0", "age"]),
    st.sampled_from(
        [
            "x" * 8,
            "y" * 9,
            "z" * 70,
            "é",
            "٣",
            "\uff11\uff12",
            "\xa05",
            "12345678",
            "123456789",
            "0.1234567890123456789",
            "1:2",
        ]
    ),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(-1000, 1000, places=4).map(str),
)
answer = st.sampled_from(
    [
        "0.25",
        "0.75",
        "1",
        "0",
        "0.123456789",
        "1e-05",
        "?",
        "",
        "0.5,1",
        "1,0.9",
        "0,0.1",
        "true",
        "2",
        "1.7",
        "-3",
        "1,-0.5",
        "1.0000000001",
        "[0.5]",
        "0.5\n",
        "-nan",
        "1e400",
    ]
)
request = st.tuples(
    st.sampled_from(
        ["csv"] * 9 + ["json", "base64", "not base64", "rows", "quoted", "short", "long", "header", "one side", "line"]
    ),
    st.tuples(cell, cell, cell),
    answer,
    st.sampled_from(["1", "0", "1", "0", "1.0", "true", " 1", "?", "1,0", "{}", "", None]),
    st.integers(0, 30),
    st.sampled_from([None, None, None, "shared", "own"]),
    st.integers(0, 3),
)


def capture_line(number, kind, cells, answered, inference, style):
    event = f"{number % 1000:08}-0000-4000-8000-00000000000{number % 10}"
    sides = {"endpointInput": side(kind, cells), "endpointOutput": {**csv(answered), "mode": "OUTPUT"}}
    if kind == "one side":
        del sides["endpointOutput"]
    metadata = {"eventId": event, "inferenceTime": (NOON + timedelta(minutes=number)).strftime("%Y-%m-%dT%H:%M:%SZ")}
    if inference:
        metadata["inferenceId"] = "shared" if inference == "shared" else f"own-{number}"
    document = {"captureData": sides, "eventMetadata": metadata, "eventVersion": "0"}
    if style == 1:
        document = {"eventMetadata": metadata, "eventVersion": "0", "captureData": dict(reversed(sides.items()))}
    if style == 2:
        sides["endpointInput"] = dict(reversed(sides["endpointInput"].items()))
        document["more"] = {"data": "a", "eventId": "b"}
    separators = (",", ":") if style else (", ", ": ")
    if kind == "line":
        return '{"captureData":{},' if style else "   "
    return json.dumps(document, separators=separators, ensure_ascii=bool(style % 2)) + ("\r" if style == 3 else "")


def csv(text):
    return {"observedContentType": "text/csv; charset=utf-8", "mode": "INPUT", "data": text, "encoding": "CSV"}


def side(kind, cells):
    row = ",".join(cells)
    if kind == "json":
        document = {"instances": [{"features": list(cells)}]}
        return {**csv(json.dumps(document)), "observedContentType": "application/json", "encoding": "JSON"}
    if kind == "base64":
        return {**csv(b64encode(row.encode()).decode()), "encoding": "BASE64"}
    if kind == "not base64":
        # Of another alphabet, too short, or with too much of what fills it up.
        text = b64encode(row.encode()).decode()
        return {**csv((f"{text[:-2]}-_", text[:-1], f"{text[:-3]}===", "====")[len(row) % 4]), "encoding": "BASE64"}
    texts = {
        "rows": f"{row}\n{row}",
        "quoted": ",".join(f'"{each}"' for each in cells),
        "short": cells[0],
        "long": f"{row},{row}",
        "header": ",".join(FEATURES),
    }
    return csv(texts.get(kind, row))


def label_line(number, label, inference, style):
    id = {"shared": "shared", "own": f"own-{number}"}.get(inference)
    id = id or f"{number % 1000:08}-0000-4000-8000-00000000000{number % 10}"
    data = int(label) if label in ("0", "1") and style == 1 else label
    document = {"groundTruthData": {"data": data, "encoding": "CSV"}, "eventMetadata": {"eventId": id}}
    if style == 2:
        document["eventMetadata"]["labelTime"] = (NOON + timedelta(hours=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps(document, separators=(",", ":") if style else None)


def source(name, lines, piece=None):
    body = "\n".join(lines).encode()
    size = piece or max(len(body), 1)
    return Source(name, lambda: [body[start : start + size] for start in range(0, len(body), size)], ARRIVED)


def body_of(one):
    return b"".join(one.pieces())


def slowly(captures, label_files, subject, since, until, conflict):
    """The same by records: every request and every label is an object."""
    labels, seen, inside, repeated, bad = [], set(), [], 0, 0
    for each in label_files:
        try:
            content = read_ground_truth(body_of(each), each.name, each.arrived)
        except UnreadableError:
            continue
        labels += content.labels
    resolved = resolve(labels, conflict)
    for each in captures:
        try:
            content = read_captures(body_of(each), each.name)
        except UnreadableError:
            bad += 1
            continue
        bad += len(content.bad_lines)
        for one in content.requests:
            if (since and one.inference_time < since) or (until and one.inference_time >= until):
                continue
            if one.event_id in seen:
                repeated += 1
                continue
            seen.add(one.event_id)
            inside.append(one)
    measured = Measurement(repeated=repeated)
    if inside:
        found, answers = measure_and_answer(to_table(inside, {}, subject.attributes), inside, subject)
        table = columns_of(labels).resolved(conflict)
        rows = table.find(answers.ids)

        def names(some):
            return table.ids.at(rows[some])

        measured += found + quality_of(answers, table.codes_of(rows), table.texts, subject, names).measured
    return measured, resolved, bad, len(inside)


def fold_captures(captures, labels, subject_of, since=None, until=None, **options):
    """All that is measured of files, as `plumbline evaluate` does it."""
    join = LabelJoin(labels)
    fold = CaptureFold(subject_of, join.take, since, until, **options)
    for each in captures:
        fold.read(each)
    folded, subject = fold.result()
    folded.measured += join.finish()
    return folded, subject


@pytest.mark.parametrize("name", [name for name in SUBJECTS if name != "found"])
@settings(deadline=None, max_examples=60)
@given(
    some=st.lists(request, max_size=40),
    cuts=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    block=st.sampled_from([300, 2000, 1 << 16]),
    piece=st.sampled_from([7, 500, None]),
    rows=st.sampled_from([3, capture_fold.ROWS]),
    limits=st.sampled_from([(None, None), (None, None), (5, 20)]),
    conflict=st.sampled_from(["latest", "first", "reject"]),
)
def test_any_mixture_is_measured_as_records_are(name, some, cuts, block, piece, rows, limits, conflict):
    subject = SUBJECTS[name]
    lines = [capture_line(at, kind, cells, said, id, style) for kind, cells, said, _, at, id, style in some]
    truth = [
        label_line(at, label, inference, style) for _, _, _, label, at, inference, style in some if label is not None
    ]
    low, high = sorted(min(cut, len(lines)) for cut in cuts)
    captures = [source(f"c{n}", lines[a:b], piece) for n, (a, b) in enumerate(((0, low), (low, high), (high, None)))]
    label_files = [source("l0", truth[::2], piece), source("l1", truth[1::2], piece)]
    since, until = (None if limit is None else NOON + timedelta(minutes=limit) for limit in limits)
    with patch.object(batch_reader, "PIECE", block), patch.object(capture_fold, "ROWS", rows):
        labels = read_labels(label_files, conflict)
        folded, found = fold_captures(captures, labels, lambda _: subject, since, until)
    expected, resolved, bad, requests = slowly(captures, label_files, subject, since, until, conflict)
    assert folded.measured == expected
    assert (folded.requests, len(folded.bad)) == (requests, bad)
    assert (labels.repeated, labels.conflicting, labels.rejected) == (
        resolved.repeated,
        resolved.conflicting,
        resolved.rejected,
    )
    found_labels = labels.by_id([*resolved.by_id, "nobody"])
    assert {id: value_of(label.data) for id, label in found_labels.items()} == {
        id: value_of(label.data) for id, label in resolved.by_id.items()
    }
    assert (found is None) == (not requests)
    assert type(folded.measured).from_bytes(folded.measured.to_bytes()) == folded.measured


# JSON values as they are written: many that Python would write otherwise.
written = st.one_of(
    st.sampled_from(
        ["null", "true", "false", "0", "-0", "-0.0", "0.0", "1.50", "1e5", "1E-5", "1e-05", "0.00001", "100"]
    ),
    st.sampled_from(["12345678901234567890", "0.1234567890123456789", "-1.0", "0.0001", "123456789012345678", "1e+16"]),
    st.sampled_from(["007", "+1", ".5", "5.", "NaN", "[1]", "{}", "1,2", '"a,b"', '"a\\u0062"', '"\\n"', '"\\\\"', ""]),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    cell.map(json.dumps),
    # A line break around a value is no part of it; within one, or with a quote, it is no JSON.
    st.sampled_from(["1.1234567890123456\n", "\n2", "2\n", "1.5\n7", '1.1234567890123456"x"', "null\n"]),
)
usual = st.one_of(st.integers(-999, 999).map(str), st.floats(-9, 9).map(repr), st.sampled_from(['"basic"', "null"]))
FORMS = (
    ('{"instances": [', "[{0}, {1}, {2}]", "]}"),
    ('{"instances":[', '{{"features":[{0},{1},{2}]}}', "]}"),
    ('{"instances": [', '{{"plan": {1}, "age": {0}, "score": {2}}}', "]}"),
    ("[", "[{0}, {1}, {2}]", "]"),
    ("", "[{0},{1},{2}]", ""),
    ("", '{{"features": [{0}, {1}, {2}]}}', "\n"),
    ('{"parameters": {"x": 1}, "instances": [', "[{0}, {1}, {2}]", "]}\n"),
    ("", "{0},{1},{2}", ""),
)
ANSWERS = ("{0}", '{{"predictions": [{0}]}}', "[{0}]", '{{"predictions":[[{0}, 1]]}}', "{0}\n")


@pytest.mark.parametrize("name", ["probability", "class", "named", "jmespath"])
@settings(deadline=None, max_examples=60)
@given(
    form=st.sampled_from(FORMS),
    answered=st.sampled_from(ANSWERS),
    # Mostly plain payloads of one form, and some among them that are not.
    some=st.lists(st.tuples(usual, usual, usual), min_size=16, max_size=40),
    odd=st.dictionaries(st.integers(0, 39), st.tuples(written, written, written), max_size=6),
    several=st.dictionaries(st.integers(0, 39), st.integers(2, 3), max_size=6),
    base64=st.sampled_from([None, "text/csv", "application/json", "application/octet-stream"]),
    block=st.sampled_from([2000, 1 << 16]),
)
def test_payloads_of_one_form_are_measured_as_records_are(name, form, answered, some, odd, several, base64, block):
    head, row, tail = form
    lines, truth = [], []
    for number, usual_values in enumerate(some):
        count = several.get(number, 1)
        rows = [row.format(*(odd.get(number, usual_values))) for _ in range(count)]
        between = ", " if head else "\n"
        kind = "CSV" if row.startswith("{0}") else "JSON"
        content = "text/csv" if kind == "CSV" else "application/json"
        asked = {"observedContentType": content, "mode": "INPUT", "data": head + between.join(rows) + tail}
        asked["encoding"] = kind
        if base64:
            data = b64encode(asked["data"].encode()).decode()
            asked = {"observedContentType": base64, "mode": "INPUT", "data": data, "encoding": "BASE64"}
        reply = answered.format("\n".join([str(number % 2)] * count))
        json_reply = reply.startswith(("{", "["))
        output = {
            "observedContentType": "application/json" if json_reply else "text/csv",
            "mode": "OUTPUT",
            "data": reply,
            "encoding": "JSON" if json_reply else "CSV",
        }
        event = f"{number:08}-0000-4000-8000-000000000000"
        metadata = {"eventId": event, "inferenceTime": f"2026-01-01T12:00:{number:02}Z"}
        data = {"endpointInput": asked, "endpointOutput": output}
        document = {"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}
        lines.append(json.dumps(document, separators=(",", ":")))
        label = {"data": ",".join([str(number // 2 % 2)] * count), "encoding": "CSV"}
        truth.append(json.dumps({"groundTruthData": label, "eventMetadata": {"eventId": event}}))
    captures, labels = [source("c", lines)], [source("l", truth)]
    with patch.object(batch_reader, "PIECE", block):
        folded, _ = fold_captures(captures, read_labels(labels), lambda _: SUBJECTS[name])
    expected, _, bad, requests = slowly(captures, labels, SUBJECTS[name], None, None, "latest")
    assert folded.measured == expected
    assert (folded.requests, len(folded.bad)) == (requests, bad)


@given(st.lists(st.text(max_size=5), max_size=40), st.sampled_from([1, 13, 60]))
def test_hashes_are_ordered_as_a_stable_sort_does(texts, times):
    keys = ids_of(texts * times).keys
    assert order_of_hashes(keys).tolist() == np.argsort(keys, kind="stable").tolist()


def test_undeclared_features_are_measured_block_by_block():
    lines = [capture_line(number, "csv", ("1", "a", "2.5"), "0.75", None, 0) for number in range(30)]
    folded, _ = fold_captures([source("c", lines)], read_labels([]), lambda _: SUBJECTS["found"])
    assert [column.name for column in folded.measured.profile.columns] == ["_c0", "_c1", "_c2"]
    assert folded.measured.rows == folded.requests == 30


@pytest.mark.parametrize(("files", "rows"), [(1, capture_fold.ROWS), (1, 700), (300, 700)])
def test_many_rows_agree_within_the_bound_of_the_sketch(files, rows, monkeypatch):
    monkeypatch.setattr(capture_fold, "ROWS", rows)
    draw = np.random.Generator(np.random.PCG64(3))
    numbers = draw.normal(size=9000)
    words = [("basic", "plus", f"id{row}")[row % 3] for row in range(9000)]
    cells = [(repr(number), word, str(row % 7)) for row, (number, word) in enumerate(zip(numbers, words, strict=True))]
    lines = [
        capture_line(row, "csv", each, repr(round(float(draw.random()), 3)), "own", row % 2)
        for row, each in enumerate(cells)
    ]
    # Event ids of this test's lines come again after 1000; inference ids are the lines' own.
    lines = [line.replace(f"{row % 1000:08}-", f"{row:08}-") for row, line in enumerate(lines)]
    truth = [label_line(row, str(row % 2), "own", 1 + row % 2) for row in range(9000)]
    labels = read_labels([source("l", truth)])
    subject = SUBJECTS["probability"]
    captures = [source(f"c{number}", lines[number::files]) for number in range(files)]
    folded, _ = fold_captures(captures, labels, lambda _: subject)
    expected, _, _, _ = slowly([source("c", lines)], [source("l", truth)], subject, None, None, "latest")
    assert folded.measured.tally == expected.tally
    assert folded.measured.labelled == 9000
    for column, other in zip(folded.measured.profile.columns, expected.profile.columns, strict=True):
        assert (column.moments, column.categories, column.integral) == (other.moments, other.categories, other.integral)
        points = np.linspace(-3, 3, 50)
        error = np.abs(column.quantiles.ranks(points) - other.quantiles.ranks(points)).max()
        assert error <= column.quantiles.rank_error + other.quantiles.rank_error
    assert [column.quantiles.rank_error for column in folded.measured.profile.columns][1:] == [0, 0]
    assert folded.measured.profile.column("plan").categories.counts[:1] != ()
    assert dict(folded.measured.profile.column("plan").categories.counts).get("basic", 3000) == 3000


def test_quotes_that_make_more_texts_of_one_are_no_payload():
    line = capture_line(1, "csv", ("1", "a", "2"), "0.75", None, 1)
    # The same bytes around it, but the text between is two members.
    odd = line.replace('"data":"1,a,2"', '"data":"1","data":"7,b,8"')
    assert odd != line
    lines = [line, odd.replace("00000001-", "00000002-"), line.replace("00000001-", "00000003-")]
    folded, _ = fold_captures([source("c", lines)], read_labels([]), lambda _: SUBJECTS["probability"])
    age = folded.measured.profile.column("age")
    assert age.categories.counts == (("1", 2), ("7", 1))


@pytest.mark.parametrize(("rows", "width"), [(100_000, 3), (100_001, 3), (80_000, 26), (80_000, 27)])
def test_requests_of_more_than_is_read_are_refused_in_both_ways(rows, width):
    attributes = Attributes(features=tuple(f"f{number}" for number in range(width)), probability_attribute="0")
    subject = Subject(attributes=attributes)
    asked, answered = "\n".join([",".join("1" * width)] * rows), "\n".join(["0.5"] * rows)
    line = capture_line(1, "csv", [asked], answered, None, 1)
    folded, _ = fold_captures([source("c", [line])], read_labels([]), lambda _: subject)
    expected, _, _, _ = slowly([source("c", [line])], [], subject, None, None, "latest")
    assert folded.measured == expected


def test_large_requests_do_not_wait_for_many():
    lines = [capture_line(number, "csv", ("1", "x" * 1000, "2"), "0.75", None, 1) for number in range(100)]
    pieces, size = patch.object(batch_reader, "PIECE", 2000), patch.object(capture_fold, "TABLE_BYTES", 10_000)
    with pieces, size, patch.object(capture_fold, "to_table", wraps=to_table) as laid_out:
        folded, _ = fold_captures([source("c", lines)], read_labels([]), lambda _: SUBJECTS["jmespath"])
    assert folded.requests == folded.measured.rows == 100
    assert all(len(call.args[0]) < 15 for call in laid_out.call_args_list)


def test_an_odd_answer_is_not_taken_for_the_usual_one_because_it_is_the_first():
    answers = ["no, not now\n", *["0.75\n"] * 30]
    lines = [capture_line(number, "csv", ("1", "a", "2"), each, None, 1) for number, each in enumerate(answers)]
    with patch.object(capture_fold, "to_table", wraps=to_table) as laid_out:
        folded, _ = fold_captures([source("c", lines)], read_labels([]), lambda _: SUBJECTS["probability"])
    assert folded.measured.rows == 31
    assert [len(call.args[0]) for call in laid_out.call_args_list] == [1]


def test_files_that_hold_nothing_readable_and_lines_that_are_too_long_are_named():
    good = capture_line(1, "csv", ("1", "a", "2"), "0.75", None, 1)
    long = iter([b"x" * (1 << 20)] * 70 + [b"\n" + good.encode()])
    captures = [
        source("garbage", ["what", "is", "this"]),
        Source("long", lambda: long),
        source("good", [good.replace("00000001-", "00000002-"), "{"]),
    ]
    folded, _ = fold_captures(captures, read_labels([]), lambda _: SUBJECTS["probability"])
    assert [(bad.key, bad.line) for bad in folded.bad] == [("garbage", 0), ("long", 1), ("good", 2)]
    assert "none of 3 lines is a capture record" in folded.bad[0].reason
    assert "longer than" in folded.bad[1].reason
    assert folded.requests == folded.measured.rows == 2


@pytest.mark.parametrize("piece", [1, 2, None])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n\n\n"])
def test_empty_lines_and_a_byte_order_mark_are_no_requests(end, mark, piece):
    good = capture_line(1, "csv", ("1", "a", "2"), "0.75", None, 1)
    captures = [source("empty", [mark + end], piece), source("good", [mark + good + end], piece)]
    # In the first block the request, in the next one what follows it.
    with patch.object(batch_reader, "PIECE", len((mark + good).encode()) + 1):
        folded, _ = fold_captures(captures, read_labels([]), lambda _: SUBJECTS["probability"])
    assert (folded.requests, folded.measured.rows, folded.bad) == (1, 1, [])


@pytest.mark.parametrize("answered", ["0.75", "0.75\n"])
@pytest.mark.parametrize("length", [64, 65, 256, 257])
def test_long_ids_are_the_same_ids_in_both_ways(length, answered):
    ids = [f"{number:03}".rjust(length, "x") for number in range(40)]
    lines = [capture_line(number, "csv", ("1", "a", "2"), answered, "own", 1) for number in range(40)]
    by_event = [
        line.replace(f"{number:08}-0000-4000-8000-00000000000{number % 10}", ids[number])
        for number, line in enumerate(lines[:20])
    ]
    by_inference = [line.replace(f"own-{number}", ids[number]) for number, line in enumerate(lines)][20:]
    # What is read one by one: an envelope of its own for each line.
    single = [f'{line[:-1]},"more":{"1" * (10 + number)}}}' for number, line in enumerate(by_event)]
    truth = [record_label(id, "1") for id in ids]
    truth[::2] = [line.replace(": ", ":" + " " * number) for number, line in enumerate(truth[::2])]
    captures = [source("c0", by_event + by_inference), source("c1", single)]
    label_files = [source("l0", truth)]
    folded, _ = fold_captures(captures, read_labels(label_files), lambda _: SUBJECTS["probability"])
    expected, _, bad, _ = slowly(captures, label_files, SUBJECTS["probability"], None, None, "latest")
    assert folded.measured == expected
    assert len(folded.bad) == bad


def test_events_are_new_once():
    texts = [f"id{number}" for number in range(50_000)]
    keys, events = ids_of(texts).keys, Events()
    assert len(set(keys.tolist())) == 50_000
    assert events.add(keys[:30_000]).all()
    again = events.add(np.concatenate([keys[20_000:40_000], keys[35_000:45_000]]))
    assert again.tolist() == [False] * 10_000 + [True] * 10_000 + [False] * 5_000 + [True] * 5_000
    assert Counter(events.add(keys).tolist()) == {False: 45_000, True: 5_000}


def record_label(id, data, index=None):
    metadata = {"eventId": id, **({} if index is None else {"recordIndex": index})}
    return json.dumps({"groundTruthData": {"data": data, "encoding": "CSV"}, "eventMetadata": metadata})


@pytest.mark.parametrize("conflict", ["latest", "first", "reject"])
def test_labels_of_single_records_are_joined_as_resolve_does(conflict):
    lines = [record_label(f"r{n}", str(n % 2)) for n in range(20)]
    lines += [record_label("r3", "0", 1), record_label("r3", "1", 2), record_label("r5", "1", 0)]
    lines += [record_label("new", "1", 0), record_label("new", "0", 1), record_label("new", "1", 1)]
    lines += [record_label("r7", "1"), record_label("r8", "1")]
    files = [source("l0", lines[::2]), source("l1", lines[1::2])]
    found = read_labels(files, conflict)
    labels = [each for file in files for each in read_ground_truth(body_of(file), file.name, file.arrived).labels]
    expected = resolve(labels, conflict)
    ids = sorted({label.id for label in labels})
    assert {id: label.data for id, label in found.by_id(ids).items()} == {
        id: label.data for id, label in expected.by_id.items()
    }
    assert (found.repeated, found.conflicting, found.rejected) == (
        expected.repeated,
        expected.conflicting,
        expected.rejected,
    )


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("decided", [1, 7, 1 << 16])
@pytest.mark.parametrize("conflict", ["latest", "first", "reject"])
def test_labels_that_differ_are_decided_a_part_of_the_ids_at_a_time(conflict, decided, shared):
    lines = [record_label(f"id{n:03}", str(n % 2)) for n in range(300)]
    # Said otherwise, said again, said otherwise again; and labels of single records.
    lines += [record_label(f"id{n:03}", str((n + 1) % 2)) for n in range(0, 300, 2)]
    lines += [record_label(f"id{n:03}", str(n % 2)) for n in range(0, 300, 3)]
    lines += [record_label(f"id{n:03}", "5") for n in range(0, 300, 5)]
    lines += [record_label(f"id{n:03}", str(n % 3), n % 2) for n in range(0, 300, 7)]
    files = [source("l0", lines[::2]), source("l1", lines[1::2])]
    labels = [each for file in files for each in read_ground_truth(body_of(file), file.name, file.arrived).labels]
    expected = resolve(labels, conflict)
    first_bits = np.uint64(0xFC << 56)

    def of_few_hashes(texts):
        keys, others = cells.both_hashes_of(texts)
        return keys & first_bits if shared else keys, others

    asked = []

    def watched(some, rule):
        asked.append({label.id for label in some})
        return resolve(some, rule)

    with (
        patch.object(joins, "DECIDED", decided),
        patch.object(joins, "READINGS", 1000),
        patch.object(joins, "resolve", watched),
        patch.object(joins, "both_hashes_of", of_few_hashes),
    ):
        found = read_labels(files, conflict)
        by_id = found.by_id(sorted({label.id for label in labels}))
    assert {id: label.data for id, label in by_id.items()} == {id: label.data for id, label in expected.by_id.items()}
    assert (found.repeated, found.conflicting, found.rejected) == (
        expected.repeated,
        expected.conflicting,
        expected.rejected,
    )
    if not shared:
        assert max(len(ids) for ids in asked) <= decided


def test_files_are_read_again_a_bounded_number_of_times():
    lines = [record_label(f"id{n:03}", str(each)) for n in range(500) for each in range(2)]
    read = []
    body = "\n".join(lines).encode()
    file = Source("l", lambda: read.append("l") or [body], ARRIVED)
    with patch.object(joins, "DECIDED", 1):
        found = read_labels([file])
    assert (len(found), found.conflicting) == (500, 500)
    assert 50 < len(read) <= 1 + joins.READINGS


@pytest.mark.parametrize("kind", ["csv", "base64"])
@pytest.mark.parametrize("odd", [("",), ("1", "2"), ("1", "2", "3", "4")])
@pytest.mark.parametrize("files", [1, 2])
def test_an_odd_first_request_does_not_say_how_the_others_are_read(kind, odd, files):
    lines = [capture_line(0, kind, odd, "0.75", None, 0)]
    lines += [capture_line(number, kind, ("1", "a", "2.5"), "0.75", None, 0) for number in range(1, 30)]
    captures = [source(f"c{number}", lines[number::files]) for number in range(files)]
    assert asked_about(captures) == [side(kind, ("1", "a", "2.5"))["data"]]


@pytest.mark.parametrize("style", [0, 3])
def test_requests_that_do_not_count_do_not_say_how_the_others_are_read(style):
    def lines_of(numbers, cells, model):
        some = [json.loads(capture_line(number, "csv", cells, "0.75", None, style)) for number in numbers]
        for each in some:
            each["eventMetadata"]["targetModel"] = model
        return [json.dumps(each) for each in some]

    before = lines_of(range(10), ("1", "2", "3", "4"), "ours")
    others = lines_of(range(10, 30), ("1", "2"), "theirs")
    ours = lines_of(range(10, 20), ("1", "a", "2.5"), "ours")
    for each, line in enumerate(ours):
        ours[each] = line.replace("-4000-8000-", "-4001-8000-")
    captures = [source("c", [*before, *others, *ours])]
    declared = Attributes(probability_attribute="0", target_model="ours")
    since = NOON + timedelta(minutes=10)
    assert asked_about(captures, since=since, attributes=declared) == ["1,a,2.5"]
    folded, _ = fold_captures(
        captures, read_labels([]), lambda _: Subject(attributes=declared), since=since, attributes=declared
    )
    assert (folded.requests, folded.elsewhere, folded.outside) == (10, 20, 10)
    assert folded.measured.whole == 10
    nobody = fold_captures([source("c", others)], read_labels([]), asked_about, attributes=declared)
    assert nobody == (Folded(bad=[], elsewhere=20, of_files={"c": 0}), None)


def test_names_that_were_found_hold_for_what_comes_later():
    lines = [capture_line(number, "csv", ("1", "2"), "0.75", None, 0) for number in range(50)]
    lines += [capture_line(60, "csv", ("1", "2", "3", "4"), "0.75", None, 0)]
    together, found = fold_captures([source("c", lines)], read_labels([]), lambda _: SUBJECTS["found"])
    with patch.object(capture_fold, "TABLE_ROWS", 10), patch.object(capture_fold, "ROWS", 10):
        apart, _ = fold_captures([source("c", lines)], read_labels([]), lambda _: SUBJECTS["found"])
    assert found.attributes.features == ("_c0", "_c1")
    assert apart.measured == together.measured
    assert apart.measured.whole == 50


def asked_about(captures, **options):
    asked = []

    def subject_of(requests):
        asked.append(requests[0].input.data)
        return SUBJECTS["found"]

    fold_captures(captures, read_labels([]), subject_of, **options)
    return asked


def test_labels_of_a_file_that_is_given_up_do_not_count():
    good = [record_label(f"id{number}", "1") for number in range(9)]
    bad = ["no label"] * (MOST_BAD_LINES + 400)
    files = [source("l0", good[:3]), source("l1", good[3:6] + bad), source("l2", good[6:])]
    with patch.object(batch_reader, "PIECE", 1000):
        found = read_labels(files)
    ids = [f"id{number}" for number in range(9)]
    assert list(found.by_id(ids)) == [*ids[:3], *ids[6:]]
    assert len(found) == 6
    [(name, line)] = found.bad
    assert (name, line.line) == ("l1", 0)
    assert "of the first" in line.reason
