"""Question counts: + is a commutative monoid, any split gives the same, they equal a count of the rows."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import UnreadableError
from chalicelib.evidence.questions import column_list, column_shares, loss_list, loss_shares, questions_of
from chalicelib.states.profile import Profile, profile_of_columns
from chalicelib.states.question_counts import ColumnCounts, QuestionCounts, question_counts
from chalicelib.states.selection import Selection, binary_selection, class_selection, regression_selection

cells = st.tuples(
    st.sampled_from(["", "0", "1", "1.0", "2.5", "-3", "x", "7", "8", "9", "10", "11", "12", "1e3"]),
    st.sampled_from(["a", "b", "c", "", "1"]),
    st.sampled_from(["1", "2", "2.0", "3", ""]),
    st.sampled_from(["5", "5.0", "4", "6"]),
    st.sampled_from([0.1, 0.4, 0.8]),
    st.sampled_from([0.0, 1.0, np.nan]),
)
rows = st.lists(cells, max_size=40)
NAMES = ("number", "text", "few", "constant")


def profile_of_rows(some) -> Profile:
    columns = {name: [row[place] for row in some] for place, name in enumerate(NAMES)}
    return profile_of_columns(columns, len(some)) if some else Profile()


def selection_of_rows(some) -> Selection:
    scores, labels = (np.array([row[place] for row in some], dtype=np.float64) for place in (4, 5))
    return binary_selection(scores, (scores > 0.5) * 1.0, labels)


BASELINE = [
    (str(value), "aabc"[value % 4], str(value % 3), "5", (value % 10) / 10, float(value % 7 < 3)) for value in range(40)
]
QUESTIONS = questions_of("b1", profile_of_rows(BASELINE), selection_of_rows(BASELINE))


def counts_of(some):
    return question_counts(QUESTIONS, profile_of_rows(some), selection_of_rows(some))


@settings(deadline=None, max_examples=60)
@given(some=rows, cut=st.integers(0, 40), second_cut=st.integers(0, 40))
def test_any_split_in_any_order_gives_the_same_counts(some, cut, second_cut):
    cut, second_cut = sorted((min(cut, len(some)), min(second_cut, len(some))))
    a, b, c = (counts_of(part) for part in (some[:cut], some[cut:second_cut], some[second_cut:]))
    whole = counts_of(some)
    assert (a + b) + c == a + (b + c) == (c + b) + a == whole
    assert ((a + b) + c).to_bytes() == ((c + a) + b).to_bytes() == whole.to_bytes()
    assert whole + QuestionCounts() == QuestionCounts() + whole == whole
    assert QuestionCounts.from_bytes(whole.to_bytes()) == whole


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


@settings(deadline=None, max_examples=60)
@given(some=st.lists(cells, min_size=1, max_size=40))
def test_counts_are_those_of_the_rows(some):
    yes, asked, error = column_shares(QUESTIONS, counts_of(some))
    baseline = [float(row[0]) for row in BASELINE]
    assert not error.any()
    for place, question in enumerate(column_list(QUESTIONS)):
        column = NAMES.index(question.column)
        texts = [row[column] for row in some]
        values = texts if question.column == "text" else [number(text) for text in texts]
        present = [value for value in values if value not in (None, "")]
        if question.kind == "missing":
            assert (yes[place], asked[place]) == (len(values) - len(present), len(values))
            continue
        assert asked[place] == len(present)
        known = {"text": set("abc"), "few": {0.0, 1.0, 2.0}, "constant": {5.0}}.get(question.column, set())
        if question.kind == "at_or_below":
            expected = sum(value <= float(question.value) for value in present)
        elif question.kind == "below":
            expected = sum(value < float(question.value) for value in present)
        elif question.kind == "outside":
            expected = sum(not 0 <= value <= 39 for value in present)
        elif question.kind == "larger":
            pairs = [(value, other) for value in present for other in baseline]
            expected = sum((value > other) + 0.5 * (value == other) for value, other in pairs) / len(baseline)
        elif question.kind == "category":
            wanted = question.value if question.column == "text" else float(question.value)
            expected = sum(value == wanted for value in present)
        else:
            assert question.kind == "not_seen"
            expected = sum(value not in known for value in present)
        assert yes[place] == pytest.approx(expected), question


def test_wrong_answers_of_each_problem_type():
    nan = np.nan
    selection = binary_selection(np.array([0.9, 0.9, 0.1, 0.1]), np.array([1.0, 1, 0, 0]), np.array([1.0, 0, 1, nan]))
    questions = questions_of("b", Profile(), selection)
    assert [each.kind for each in loss_list(questions)] == ["wrong"]
    assert [each.tolist() for each in loss_shares(question_counts(questions, Profile(), selection))] == [[2], [3]]

    selection = class_selection(["a", "b", "c"], np.array([0.0, 1, 2, 2]), np.array([0.0, 2, 2, nan]))
    questions = questions_of("b", Profile(), selection)
    assert [each.tolist() for each in loss_shares(question_counts(questions, Profile(), selection))] == [[1], [3]]
    other = questions_of("b", Profile(), regression_selection(np.zeros(2), np.ones(2)))
    assert question_counts(other, Profile(), selection).labelled == 0


def test_errors_of_a_regression_above_the_points_of_the_baseline():
    sizes = np.geomspace(1, 1000, 400)
    selection = regression_selection(np.zeros(400), sizes)
    questions = questions_of("b", Profile(), selection)
    assert [each.value for each in loss_list(questions)] == ["50 %", "90 %"]
    wrong, labelled = loss_shares(question_counts(questions, Profile(), selection))
    # A bin is an eighth of an octave: 1.25 % of these rows.
    assert labelled.tolist() == [400, 400]
    assert abs(wrong[0] / 400 - 0.5) < 0.02 and abs(wrong[1] / 400 - 0.1) < 0.02
    doubled = question_counts(questions, Profile(), regression_selection(np.zeros(400), 2 * sizes))
    assert (np.array(doubled.wrong) > wrong).all()


def test_sketches_and_bounded_categories_state_their_error():
    draw = np.random.default_rng(5)
    base = {"x": list(map(str, draw.normal(size=500))), "t": ["a", "b"] * 250}
    questions = questions_of("b", profile_of_columns(base, 500))
    values, texts = draw.normal(size=9000), [f"t{value}" for value in range(8000)] + ["a"] * 1000
    counts = question_counts(
        questions, profile_of_columns({"x": list(map(str, values)), "t": texts}, 9000), Selection()
    )
    x, t = counts.columns
    exact = [int((values <= cut).sum()) for cut in questions.columns[0].cuts]
    assert 0 < x.error < 90
    assert all(abs(one - other) <= x.error for one, other in zip(x.at_or_below, exact, strict=True))
    known = np.array([float(value) for value in base["x"]])
    numerator = sum(int((known < value).sum() + (known <= value).sum()) for value in values)
    assert abs(x.numerator - numerator) <= 2 * x.error * 500
    assert t.present == 9000 and abs(t.categories[0] - 1000) <= t.error and abs(t.not_seen - 8000) <= t.error


def test_columns_that_a_window_lacks_are_missing_in_every_row():
    counts = question_counts(QUESTIONS, profile_of_columns({"text": ["a", "z"]}, 2), Selection())
    assert [column.present for column in counts.columns] == [0, 2, 0, 0]


def test_counts_of_two_baselines_are_not_added_and_impossible_ones_refused():
    other = msgspec.structs.replace(counts_of(BASELINE), baseline="b2")
    with pytest.raises(ValueError, match="one baseline"):
        counts_of(BASELINE) + other
    for wrong in (dict(present=1, outside=2), dict(present=-1), dict(present=1, error=-1)):
        with pytest.raises(ValueError):
            ColumnCounts(**wrong)
    for wrong in (
        dict(rows=1),
        dict(baseline="b", labelled=1, wrong=(2,)),
        dict(baseline="b", columns=(ColumnCounts(1),)),
    ):
        with pytest.raises(ValueError):
            QuestionCounts(**wrong)
    body = counts_of(BASELINE).to_bytes()
    for damaged in (b"", body[:-1], Selection().to_bytes()):
        with pytest.raises(UnreadableError):
            QuestionCounts.from_bytes(damaged)
