"""Labels joined to stored answers say what labels laid out beside the captures say."""

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import UnreadableError
from chalicelib.evaluation.measurement import Measurement, Subject, measure, measure_and_answer
from chalicelib.evaluation.quality import quality_of
from chalicelib.records.answers import Answers, together
from chalicelib.records.attributes import Attributes
from chalicelib.records.ground_truth import Label, resolve
from chalicelib.records.id_hashes import hash_ids
from chalicelib.records.joins import ids_of
from chalicelib.records.label_table import NEVER, LabelColumns, columns_of
from chalicelib.records.table import to_table
from chalicelib.states.facets import BiasSettings, Facet
from tests.unit.records.building import captured, minutes

BIAS = BiasSettings(
    facets=(Facet(name="a", values=(1,)), Facet(name="b", above=1.5)), group_variable="b", label_values=(1, "x")
)
KINDS = {
    "BinaryClassification": Attributes(features=("a", "b"), probability_attribute="0", ground_truth_attribute="y"),
    "MulticlassClassification": Attributes(
        features=("a", "b"), inference_attribute="0", problem_type="MulticlassClassification"
    ),
    "Regression": Attributes(features=("a", "b"), inference_attribute="0", problem_type="Regression"),
}
CONFLICTS = ("latest", "first", "reject")

value = st.sampled_from(["0", "1", "2.5", "", "x", "nan"])
record = st.tuples(value, value, st.sampled_from(["0", "0.25", "1", "x", "b", ""]))
request = st.tuples(st.lists(record, min_size=1, max_size=3), st.booleans())
label = st.builds(
    Label,
    st.sampled_from([*(f"e{number}" for number in range(6)), "i1", "i2", "other"]),
    st.sampled_from(["0", "1", "1.0", " 1 ", "x", "b", "[0,1]", "0,1", '{"y": [1, 0]}', "{", "", '{"recordLabels":{}']),
    st.sampled_from(["CSV", "JSON"]),
    st.sampled_from([None, *(minutes(count) for count in range(3))]),
    record_index=st.sampled_from([None, None, None, 0, 1, 5]),
)


def requests_of(some):
    found = []
    for number, (records, with_id) in enumerate(some):
        asked = "\n".join(f"{a},{b}" for a, b, _ in records)
        answered = "\n".join(answer for _, _, answer in records)
        own = f"i{number % 3}" if with_id else None
        found.append(captured(f"e{number}", asked, answered, inference_id=own, at=minutes(number)))
    return found


def joined(answers, table, subject):
    rows = table.find(answers.ids)
    return quality_of(answers, table.codes_of(rows), table.texts, subject, lambda some: table.ids.at(rows[some]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("conflict", CONFLICTS)
@settings(deadline=None, max_examples=60)
@given(some=st.lists(request, max_size=6), labels=st.lists(label, max_size=8), cut=st.integers(0, 6))
def test_answers_and_labels_say_what_captures_with_labels_say(kind, conflict, some, labels, cut):
    subject = Subject(attributes=KINDS[kind], bias=BIAS)
    requests, by_id = requests_of(some), resolve(labels, conflict).by_id
    expected = measure(to_table(requests, by_id, subject.attributes), subject)
    table = columns_of(labels).resolved(conflict)
    whole, parts = Measurement(), []
    for part in (requests[:cut], requests[cut:]):
        measured, answers = measure_and_answer(to_table(part, {}, subject.attributes), part, subject)
        whole += measured + joined(answers, table, subject).measured
        parts.append(answers)
    answers = Answers.from_bytes(together(parts).to_bytes())
    at_once = joined(answers, table, subject).measured
    assert at_once.to_bytes() == joined(together(parts), table, subject).measured.to_bytes()
    for name in ("labelled", "tally", "matrix", "selection"):
        assert getattr(at_once, name) == getattr(whole, name) == getattr(expected, name)
    assert at_once.residuals.sizes == whole.residuals.sizes == expected.residuals.sizes
    counted = [(reason, count) for reason, count, _ in expected.bad]
    assert [(reason, count) for reason, count, _ in whole.bad] == counted
    named = {id for reason, _, ids in at_once.bad for id in ids}
    assert named <= {one.join_id for one in requests} & {one.id for one in labels}
    assert unhashed(at_once.bias) == unhashed(whole.bias) == unhashed(expected.bias)


def unhashed(counts):
    """Bias counts with the rows of the flip test in an order of their own: their hashes are made otherwise."""
    facets = []
    for each in counts.facets:
        flips = each.flips
        sides = [sorted(row[1:] for row in rows) for rows in (flips.members, flips.others)]
        plain = msgspec.structs.replace(flips, members=(), others=())
        facets.append((msgspec.structs.replace(each, flips=plain), sides))
    return counts.rows, counts.unlabelled, facets


@pytest.mark.parametrize("conflict", CONFLICTS)
@settings(deadline=None, max_examples=300)
@given(labels=st.lists(label, max_size=12), cut=st.integers(0, 12), order=st.randoms(use_true_random=False))
def test_columns_choose_the_labels_that_the_rule_chooses(conflict, labels, cut, order):
    distinct = list(
        {(one.id, one.data, one.encoding, one.label_time, one.record_index): one for one in labels}.values()
    )
    expected = resolve(distinct, conflict)
    columns = columns_of(labels)
    shuffled = [*labels, *labels[:cut]]
    order.shuffle(shuffled)
    again = columns_of(shuffled[:cut]) + columns_of(shuffled[cut:])
    assert again.to_bytes() == columns.to_bytes() == LabelColumns.from_bytes(columns.to_bytes()).to_bytes()
    table = columns.resolved(conflict)
    ids = sorted({one.id for one in labels})
    found = table.by_id(ids)
    assert {id: (one.data, one.encoding) for id, one in found.items()} == {
        id: (one.data, one.encoding) for id, one in expected.by_id.items()
    }
    assert (table.repeated, table.conflicting, table.rejected) == (
        expected.repeated,
        expected.conflicting,
        expected.rejected,
    )
    rows = table.find(ids_of(ids))
    for id, row in zip(ids, rows.tolist(), strict=True):
        if id in expected.by_id:
            known, at = int(table.known[row]), expected.known_at(id)
            assert (None if known == NEVER else datetime.fromtimestamp(0, UTC) + timedelta(microseconds=known)) == at
            assert table.ids.at(np.array([row])) == [id]


def test_only_the_labels_of_those_who_stay_are_left():
    columns = columns_of([Label("a", "1"), Label("b", "2"), Label("c", "1")])
    left = columns.without(hash_ids(["b"]).tolist())
    assert left.to_bytes() == columns_of([Label("a", "1"), Label("c", "1")]).to_bytes()


def test_rows_for_the_flip_test_are_bounded_and_the_choice_does_not_depend_on_parts():
    subject = Subject(attributes=KINDS["BinaryClassification"], bias=BIAS)
    requests = requests_of([([(str(n % 2), str(n % 3), "0.25")], False) for n in range(60)])
    parts = [
        measure_and_answer(to_table(part, {}, subject.attributes), part, subject)[1]
        for part in (requests[:20], requests[20:])
    ]
    bounded = together([part.with_fewer_numbers(5) for part in parts]).with_fewer_numbers(5)
    assert bounded.to_bytes() == together(parts).with_fewer_numbers(5).to_bytes()
    assert len(bounded.facets.numbered) <= 5 * 4
    labels = columns_of([Label(f"e{n}", str(n % 2)) for n in range(60)]).resolved()
    all_rows, some_rows = (joined(answers, labels, subject).measured.bias for answers in (together(parts), bounded))
    for one, other in zip(all_rows.facets, some_rows.facets, strict=True):
        assert (one.cells, one.groups, one.flips.member_count) == (other.cells, other.groups, other.flips.member_count)
        assert {*other.flips.members} <= {*one.flips.members} and len(other.flips.members) >= 5


def test_a_record_costs_about_forty_bytes_and_damage_is_noticed():
    subject = Subject(attributes=KINDS["BinaryClassification"])
    requests = requests_of([([("1", "2", "0.25")], True)] * 500)
    _, answers = measure_and_answer(to_table(requests, {}, subject.attributes), requests, subject)
    body = answers.to_bytes()
    assert len(body) / len(answers) < 40
    for damaged in (b"", body[:-1], body.replace(b"answers", b"anothers"), columns_of([]).to_bytes()):
        with pytest.raises(UnreadableError):
            Answers.from_bytes(damaged)
    with pytest.raises(UnreadableError):
        LabelColumns.from_bytes(body)
