import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.evaluation.measurement import Measurement, Subject, measure
from chalicelib.records.attributes import Attributes
from chalicelib.records.ground_truth import Label
from chalicelib.records.sample import loss_of
from chalicelib.records.table import to_table, with_shared_classes
from chalicelib.records.values import ambiguous, binary_class, class_labels, class_name, class_order, number_of
from tests.unit.records.building import captured, captured_json

MULTICLASS = Attributes(problem_type="MulticlassClassification", inference_attribute="0")
REGRESSION = Attributes(problem_type="Regression", inference_attribute="0")


def table_of(answers, labels, attributes):
    requests = [captured(f"e{index}", "1,2", answer) for index, answer in enumerate(answers)]
    return to_table(requests, {f"e{i}": Label(f"e{i}", text) for i, text in enumerate(labels)}, attributes)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ((1, 1.0, "1", "1.0", " 1 ", [1], ["1"]), "1"),
        ((-0.0, 0, "0", "0.0"), "0"),
        ((0.5, "0.5"), "0.5"),
        # No writer makes these of a number.
        (("00501",), "00501"),
        (("250.00",), "250.00"),
        (("1E3",), "1E3"),
        (("+1",), "+1"),
        (("NAN",), "NAN"),
        ((True, "True", "TRUE", "true"), "true"),
        (("setosa", " setosa\n"), "setosa"),
        (("9007199254740993",), "9007199254740993"),
        (("1_000",), "1_000"),
        (("inf",), "inf"),
        ((None, "", " ", "nan", float("nan"), [], [1, 2], {}, "x" * 257), None),
    ],
)
def test_a_class_has_one_name(values, name):
    assert {class_name(value) for value in values} == {name}


def test_a_class_is_called_as_all_wrote_it():
    texts = ["250.0", "250.00", "038.10", "True", "cat", "7", "7.0"]
    spelled = ambiguous(texts)
    assert spelled == ("250.0", "7", "7.0", "True")
    names = sorted({class_name(text) for text in texts})
    assert class_labels(names, spelled) == ["038.10", "250.0", "250.00", "7", "cat", "True"]
    assert class_labels(names, []) == names


@given(st.lists(st.sampled_from(["1", "1.0", "01", "true", "True", " 2 ", "2.0", "x"]), max_size=6))
def test_how_classes_were_written_does_not_depend_on_the_split(values):
    whole = Measurement(spelled=table_of(values, values[::-1], MULTICLASS).spelled)
    subject = Subject(attributes=MULTICLASS)
    parts = Measurement()
    for index, (answer, label) in enumerate(zip(values, values[::-1], strict=True)):
        one = to_table([captured(f"e{index}", "1,2", answer)], {f"e{index}": Label(f"e{index}", label)}, MULTICLASS)
        parts += measure(one, subject)
    assert parts.spelled == whole.spelled


def test_numbers_are_written_in_ascii_decimals():
    assert [number_of(value) for value in ("1e308", "-.5", " 7 ", 2**60, [3])] == [1e308, -0.5, 7.0, 2.0**60, 3.0]
    for value in ("1_000", "١٢", "inf", "1e309", 10**400, "", "0x10", True, None, {}, [1, 2], float("-inf")):
        assert number_of(value) != number_of(value)
    assert [binary_class(value) for value in (True, "False", "1.0", 0)] == [1.0, 0.0, 1.0, 0.0]


def test_multiclass_columns_point_into_sorted_classes():
    table = table_of(["10", "2.0", "b\n", "a"], ["2", "2", "10", '{"label": "c"}'], MULTICLASS)
    assert table.classes == ("2", "10", "a", "b", "c")
    assert table.answers_of(table.predictions) == ["10", "2", "b", "a"]
    assert table.answers_of(table.labels) == ["2", "2", "10", "c"]
    assert table.bad == {} and np.isnan(table.scores).all()
    assert loss_of(table.predictions, table.labels, table.problem_type) == 0.75


def test_a_class_that_no_row_has_is_no_class():
    table = table_of(["a", ""], ["b,z", "a"], MULTICLASS)
    assert table.classes == ("a",)
    assert table.answers_of(table.labels) == [None, "a"]
    assert {reason: bad.count for reason, bad in table.bad.items()} == {
        "expected a label for each record, got 1 more": 1,
        "output: payload is empty": 1,
    }


def test_tables_are_compared_over_one_list_of_classes():
    one, other = with_shared_classes(
        [table_of(["b", "c"], ["b", "b"], MULTICLASS), table_of(["a", "c"], [], MULTICLASS)]
    )
    assert one.classes == other.classes == ("a", "b", "c")
    assert one.predictions.tolist() == [1.0, 2.0] and other.predictions.tolist() == [0.0, 2.0]
    assert one.labels.tolist() == [1.0, 1.0] and np.isnan(other.labels).all()
    plain = table_of(["1"], ["1"], Attributes(inference_attribute="0"))
    assert with_shared_classes([plain]) == [plain] and plain.classes == ()


def test_regression_reads_numbers():
    table = table_of(["1.5", "-2e3", "high", "inf"], ["1", "[2]", "3", "x"], REGRESSION)
    assert table.predictions.tolist()[:2] == [1.5, -2000.0] and np.isnan(table.predictions[2:]).all()
    assert table.labels.tolist()[:3] == [1.0, 2.0, 3.0] and np.isnan(table.labels[3])
    assert {reason: bad.count for reason, bad in table.bad.items()} == {
        "label is not a number": 1,
        "output: prediction is not a number": 2,
    }
    assert loss_of(table.predictions, table.labels, table.problem_type) == (0.5 + 2002) / 2


def test_a_loss_is_finite():
    huge = np.array([1e308, -1e308])
    assert loss_of(huge, -huge, "Regression") == 1e300
    assert np.isnan(loss_of(huge, np.full(2, np.nan), "Regression"))


def test_json_answers_of_several_records():
    request = captured_json("e", {"instances": [[1], [2]]}, {"predictions": [{"y": "x"}, {"y": 3}]})
    attributes = Attributes(problem_type="MulticlassClassification", inference_attribute="predictions[*].y")
    table = to_table([request], {"e": Label("e", '{"instances": [{"label": 3.0}, {"label": "x"}]}')}, attributes)
    assert table.answers_of(table.predictions) == ["x", "3"]
    assert table.answers_of(table.labels) == ["3", "x"]


@given(st.lists(st.one_of(st.text(max_size=4), st.integers(), st.floats(), st.booleans(), st.none())))
def test_names_are_stable_and_have_an_order(values):
    names = [name for value in values if (name := class_name(value)) is not None]
    assert [class_name(name) for name in names] == names
    assert sorted(names, key=class_order) == sorted(reversed(names), key=class_order)


@given(
    st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), max_size=6),
    st.sampled_from([MULTICLASS, REGRESSION]),
)
def test_no_answer_and_no_label_makes_it_raise(texts, attributes):
    requests = [captured(f"e{index}", "1", answer) for index, (answer, _) in enumerate(texts)]
    labels = {f"e{index}": Label(f"e{index}", text) for index, (_, text) in enumerate(texts)}
    table = to_table(requests, labels, attributes)
    turned = to_table(requests[::-1], labels, attributes)
    assert turned.classes == table.classes and turned.bad == table.bad
    assert turned.predictions.tobytes() == table.predictions.tobytes()
    assert turned.labels.tobytes() == table.labels.tobytes()
    if attributes is MULTICLASS:
        met = {*table.answers_of(table.predictions), *table.answers_of(table.labels)} - {None}
        assert met == {*table.classes}
