"""Why an error changed: parts that add up, put where they belong, and a segment only where it stands out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.evidence.alarms import Alarm
from chalicelib.evidence.cause import cause_of, moved_questions, segment_of, unused_columns
from chalicelib.evidence.label_free import realised
from chalicelib.states.row_sample import RowSample, row_hashes, row_sample
from chalicelib.states.selection import Selection, binary_selection, class_selection, regression_selection

NAN = float("nan")


def alarm(column, p, change=0.1, text="share at or below 3 fell from 50.0 to 40.0 %"):
    return Alarm(
        column=column, kind="at_or_below", text=text, plain=text, first="w1", last="w1", windows=1, since="w1",
        p=p, level=1e-3,
        before=0.5, share=0.5 + change, change=change, confirmed=True, calibrated=True,
    )  # fmt: skip


def drawn(rows, seed, center=0.0, flip=None):
    """Two columns; the score sees the first. `flip`: from where on in the second the labels are turned round."""
    draw = np.random.Generator(np.random.PCG64(seed))
    columns = draw.normal(size=(rows, 2)) + np.array([center, 0.0])
    scores = 1.0 / (1.0 + np.exp(-2.0 * columns[:, 0]))
    labels = (draw.random(rows) < scores).astype(float)
    if flip is not None:
        labels = np.where(columns[:, 1] > flip, 1.0 - labels, labels)
    return columns, scores, (scores > 0.5).astype(float), labels


def selection_of(data, labelled=True):
    _, scores, served, labels = data
    return binary_selection(scores, served, labels if labelled else np.full(len(labels), NAN))


def sample_of(data, texts=None):
    columns, scores, served, labels = data
    hashes = row_hashes(np.arange(len(scores), dtype=np.uint64), np.zeros(len(scores), dtype=np.uint64))
    features = {"a": columns[:, 0].tolist(), "b": columns[:, 1].tolist() if texts is None else texts}
    return row_sample(hashes, features, scores, served, labels, 20_000)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), rows=st.integers(1, 300), center=st.floats(-3, 3), flip=st.none() | st.floats(-1, 1))
def test_the_parts_add_up_to_the_change(seed, rows, center, flip):
    before, after = selection_of(drawn(400, seed)), selection_of(drawn(rows, seed + 1, center, flip))
    cause = cause_of(before, after)
    truths = [realised(before), realised(after)]
    assert cause.loss.change == pytest.approx(truths[0]["accuracy"] - truths[1]["accuracy"], abs=1e-12)
    for name, split in {"loss": cause.loss, **cause.metrics}.items():
        assert split.inputs + split.relation + split.unsupported == pytest.approx(split.change, abs=1e-12)
        if name != "loss":
            assert split.change == pytest.approx(truths[1][name] - truths[0][name], abs=1e-12)


def test_inputs_and_relation_are_told_from_each_other():
    before = selection_of(drawn(20_000, 1, center=1.5))
    moved = cause_of(before, selection_of(drawn(20_000, 2)))
    assert moved.loss.change > 0.05
    assert moved.loss.inputs == pytest.approx(moved.loss.change, abs=0.01)
    assert moved.metrics["auc"].inputs != 0.0
    turned = cause_of(before, selection_of(drawn(20_000, 3, center=1.5, flip=1.0)))
    assert turned.loss.relation == pytest.approx(turned.loss.change, abs=0.01)
    assert turned.metrics["f1"].relation == pytest.approx(turned.metrics["f1"].change, abs=0.01)
    assert turned.text[0].startswith("the error rose from ")
    assert "relation +" in turned.text[0]


def test_without_labels_the_relation_is_unknown():
    before = selection_of(drawn(5000, 4, center=1.5))
    cause = cause_of(before, selection_of(drawn(5000, 5), labelled=False))
    assert (cause.after, cause.loss.change, cause.loss.relation, cause.loss.unsupported) == (None, None, None, None)
    assert cause.loss.inputs > 0.05
    assert "the relation part is unknown" in cause.text[0]
    assert cause.metrics == {}
    assert cause_of(selection_of(drawn(10, 5), labelled=False), before) is None
    assert cause_of(before, Selection()).loss.inputs == 0.0


def test_what_has_too_few_rows_on_a_side_is_unsupported():
    before, after = selection_of(drawn(500, 6, center=-3.0)), selection_of(drawn(500, 7, center=3.0))
    cause = cause_of(before, after)
    assert (cause.loss.inputs, cause.loss.relation) == (0.0, 0.0)
    assert cause.loss.unsupported == cause.loss.change


def test_a_regression_and_several_classes():
    served = np.repeat([1.0, 1000.0], 500)
    before = regression_selection(served, served + 1.0)
    after = regression_selection(served, served + np.repeat([1.0, 4.0], 500))
    cause = cause_of(before, after)
    assert cause.loss.relation == cause.loss.change == pytest.approx(1.5, rel=0.1)
    assert cause.text[0].startswith("the mean absolute error rose from ")
    classes, wrong = ("ham", "spam"), np.array([0.0] * 100 + [1.0] * 100)
    before = class_selection(classes, wrong, np.array([0.0] * 90 + [1.0] * 110))
    after = class_selection(("spam",), np.zeros(50), np.zeros(50))
    assert cause_of(before, after).loss.unsupported == pytest.approx(-0.05)


def test_the_segment_that_changed_is_named_and_no_other():
    before, same = sample_of(drawn(5000, 8)), sample_of(drawn(2000, 9))
    assert segment_of(before, same) is None
    found = segment_of(before, sample_of(drawn(2000, 10, flip=0.8)))
    assert (found.column, found.words[:8]) == ("b", "b above ")
    assert abs(found.cut - 0.8) < 0.3
    assert found.errors > 4.0
    assert found.loss_change > 0.3 > abs(found.rest_change)
    assert segment_of(before, RowSample()) is None
    cause = cause_of(
        selection_of(drawn(5000, 8)), selection_of(drawn(2000, 10, flip=0.8)),
        samples=(before, sample_of(drawn(2000, 10, flip=0.8))),
    )  # fmt: skip
    assert cause.segment == found
    assert cause.text[-1].startswith(f"where b above {found.cut:.6g} the error changed by +")


def test_a_known_text_can_be_the_segment():
    texts = ["sea", "air", "land", "air"] * 1000
    data, other = drawn(4000, 11), drawn(4000, 12)
    columns, scores, served, labels = other
    labels = np.where(np.array(texts) == "sea", 1.0 - labels, labels)
    samples = sample_of(data, texts), sample_of((columns, scores, served, labels), texts)
    found = segment_of(*samples, categories={"b": ("air", "land", "sea")})
    assert (found.words, found.rows) == ("b is 'sea'", 1000)


def test_columns_that_the_score_does_not_depend_on():
    assert unused_columns(sample_of(drawn(4000, 13))) == ("b",)
    assert unused_columns(RowSample()) == ()
    columns, _, served, labels = drawn(400, 14)
    assert unused_columns(sample_of((columns, np.full(400, 0.3), served, labels))) == ()


def test_where_an_unused_column_moved_the_two_cannot_be_told_apart():
    before, after = selection_of(drawn(5000, 15)), selection_of(drawn(5000, 16, flip=1.0))
    alarms = [alarm("a", 1e-9), alarm("b", 1e-20), alarm("a", 1e-12)]
    cause = cause_of(before, after, alarms=alarms, unused=("b",))
    assert "in b, which the model does not use; the two cannot be told apart" in cause.text[1]
    assert cause.text[2].startswith("b: share at or below 3 fell")
    assert not any("apart" in line for line in cause_of(before, after, alarms=alarms).text)
    moved = selection_of(drawn(5000, 17, center=1.5))
    assert not any("apart" in line for line in cause_of(before, moved, alarms=alarms, unused=("b",)).text)
    assert [one.p for one in moved_questions(alarms)] == [1e-20, 1e-12]
