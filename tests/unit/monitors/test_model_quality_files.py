import csv
import json
import re
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from chalicelib.errors import MisconfiguredError
from chalicelib.monitors import model_quality
from chalicelib.monitors.documents import encode_json, violations_document
from chalicelib.monitors.quality_metrics import BINARY, MULTICLASS
from chalicelib.records.attributes import Attributes
from chalicelib.records.ground_truth import Label
from chalicelib.records.table import to_table
from chalicelib.states.class_matrix import class_matrix
from chalicelib.states.residuals import hashes_of, residuals
from chalicelib.states.scores import Tally, tally
from tests.unit.records.building import DATA, captured

TIME = datetime(2026, 1, 1, 13, tzinfo=UTC)
NAN = float("nan")


def churn():
    with (DATA / "churn/validation_with_predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    return tally(*(np.array([float(row[name]) for row in rows]) for name in ("probability", "prediction", "label")))


def counted(tn, fp, fn, tp):
    """A tally of served classes alone."""
    served = np.repeat([0.0, 1.0, 0.0, 1.0], [tn, fp, fn, tp])
    return tally(served, served, np.repeat([0.0, 0.0, 1.0, 1.0], [tn, fp, fn, tp]))


def values_of(state):
    found = model_quality.statistics(state, TIME)["binary_classification_metrics"]
    return {name: found[name]["value"] for name in BINARY}


# Thresholds as the violations of the same baseline print them, the rest as its statistics do (rounded there).
PUBLISHED = {
    "recall": 0.5714285714285714,
    "precision": 1.0,
    "accuracy": 0.9402985074626866,
    "recall_best_constant_classifier": 0.0,
    "precision_best_constant_classifier": 0.0,
    "accuracy_best_constant_classifier": 173 / 201,
    "true_positive_rate": 0.5714285714285714,
    "true_negative_rate": 1.0,
    "false_positive_rate": 0.0,
    "false_negative_rate": 0.4285714285714286,
    "auc": 0.9395127993393889,
    "f0_5": 0.8695652173913043,
    "f1": 0.7272727272727273,
    "f2": 0.625,
    "f0_5_best_constant_classifier": 0.0,
    "f1_best_constant_classifier": 0.0,
    "f2_best_constant_classifier": 0.0,
}


def test_the_published_baseline():
    document = model_quality.statistics(churn(), TIME)
    assert document["dataset"] == {"item_count": 201, "evaluation_time": "2026-01-01T13:00:00.000Z"}
    found = document["binary_classification_metrics"]
    assert found["confusion_matrix"] == {"0": {"0": 173, "1": 0}, "1": {"0": 12, "1": 16}}
    assert values_of(churn()) == pytest.approx(PUBLISHED, abs=1e-12)
    assert len(found["receiver_operating_characteristic_curve"]["true_positive_rates"]) == 203
    assert len(found["precision_recall_curve"]["recalls"]) == 202
    for name in BINARY:
        # The published deviations of this baseline are 0.004 to 0.042, of five draws each.
        assert 0.0 <= found[name]["standard_deviation"] < 0.1
    assert found["accuracy"]["standard_deviation"] > 0.0


def test_the_file_is_strict_json_and_the_same_every_time():
    body = encode_json(model_quality.statistics(churn(), TIME))
    assert body == encode_json(model_quality.statistics(churn(), TIME))
    json.loads(body, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_the_published_baseline_by_scikit_learn():
    with (DATA / "churn/validation_with_predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores, served, labels = (
        np.array([float(row[name]) for row in rows]) for name in ("probability", "prediction", "label")
    )
    constant = np.zeros(len(labels))
    tn, fp, fn, tp = sk.confusion_matrix(labels, served).ravel().tolist()
    expected = {
        "auc": sk.roc_auc_score(labels, scores),
        "true_positive_rate": tp / (tp + fn),
        "true_negative_rate": tn / (tn + fp),
        "false_positive_rate": fp / (tn + fp),
        "false_negative_rate": fn / (tp + fn),
    }
    for suffix, answers in (("", served), ("_best_constant_classifier", constant)):
        expected["recall" + suffix] = sk.recall_score(labels, answers, zero_division=0)
        expected["precision" + suffix] = sk.precision_score(labels, answers, zero_division=0)
        expected["accuracy" + suffix] = sk.accuracy_score(labels, answers)
        for name, beta in (("f0_5", 0.5), ("f1", 1.0), ("f2", 2.0)):
            expected[name + suffix] = sk.fbeta_score(labels, answers, beta=beta, zero_division=0)
    assert len(expected) == 17
    assert values_of(churn()) == pytest.approx(expected, abs=1e-12)


# The container of February 2021 took every row as positive for the curve, and answered always 1 where the majority
# is 0 (listed in docs/model-monitor-formats.md).
FEBRUARY = {"auc": 1.0} | {
    name: value
    for name, value in {
        "recall_best_constant_classifier": 1.0,
        "precision_best_constant_classifier": 28 / 201,
        "accuracy_best_constant_classifier": 28 / 201,
        "f0_5_best_constant_classifier": 0.168269,
        "f1_best_constant_classifier": 0.244541,
        "f2_best_constant_classifier": 0.447284,
    }.items()
}


@pytest.mark.parametrize("run", ["churn-2021-02", "churn-2021-05-18", "churn-2021-05-26"])
def test_the_published_statistics_to_their_six_digits(run):
    folder = DATA / "model-monitor-published-runs" / run
    published = json.loads((folder / "baseline_statistics.flat.rounded.json").read_text())
    document = model_quality.statistics(churn(), TIME)["binary_classification_metrics"]
    ours = values_of(churn()) | (FEBRUARY if run == "churn-2021-02" else {})
    assert {name: published[f"{name}.value"] for name in BINARY} == pytest.approx(ours, abs=5.1e-7)
    matrix = document["confusion_matrix"]
    assert [published[f"confusion_matrix.{label}.{served}"] for label in "01" for served in "01"] == [
        matrix[label][served] for label in "01" for served in "01"
    ]
    suggested = json.loads((folder / "suggested_constraints.rounded.json").read_text())[
        "binary_classification_constraints"
    ]
    constraints = model_quality.suggest_constraints(model_quality.statistics(churn(), TIME))
    found = constraints["binary_classification_constraints"]
    assert list(found) == list(suggested)
    for name, constraint in found.items():
        assert constraint["comparison_operator"] == suggested[name]["comparison_operator"]
        expected = FEBRUARY.get(name, constraint["threshold"]) if run == "churn-2021-02" else constraint["threshold"]
        assert suggested[name]["threshold"] == pytest.approx(expected, abs=5.1e-7)


def test_suggested_constraints_are_the_published_ones():
    suggested = model_quality.suggest_constraints(model_quality.statistics(churn(), TIME))
    constraints = suggested["binary_classification_constraints"]
    assert list(constraints) == [
        *("recall", "precision", "accuracy", "true_positive_rate", "true_negative_rate", "false_positive_rate"),
        *("false_negative_rate", "auc", "f0_5", "f1", "f2"),
    ]
    for name, constraint in constraints.items():
        rate = name in ("false_positive_rate", "false_negative_rate")
        assert constraint["comparison_operator"] == ("GreaterThanThreshold" if rate else "LessThanThreshold")
        assert constraint["threshold"] == pytest.approx(PUBLISHED[name], abs=1e-12)


# Confusion matrices recovered from the published ratios (recall, false-positive rate, accuracy).
RUNS = {
    "churn-2021-02": (649, 97, 1749, 228),
    "churn-2021-05-18": (449, 69, 1218, 156),
    "churn-2021-05-26": (434, 65, 1167, 151),
}


@pytest.mark.parametrize("run", RUNS)
def test_the_violations_of_published_hourly_runs(run):
    published = json.loads((DATA / f"model-monitor-published-runs/{run}/constraint_violations.json").read_text())
    constraints = model_quality.suggest_constraints(model_quality.statistics(churn(), TIME))
    found = model_quality.check_constraints(model_quality.statistics(counted(*RUNS[run]), TIME), constraints)
    by_name = {violation["metric_name"]: violation for violation in found}
    # The scores of these runs are not published, so neither is what makes the area.
    expected = [one for one in published["violations"] if one["metric_name"] != "auc"]
    assert len(expected) == 9
    for violation in expected:
        ours = by_name[violation["metric_name"]]
        assert ours["constraint_check_type"] == violation["constraint_check_type"]
        assert parts(ours)[::2] == parts(violation)[::2]
        assert numbers(ours) == pytest.approx(numbers(violation), abs=1e-12)
    # Model Monitor suggests a constraint for f0_5 and never reports it.
    assert by_name.keys() - {one["metric_name"] for one in expected} == {"auc", "f0_5"}
    assert violations_document(found)["violations"] == found


def parts(violation):
    pattern = r"(Metric \w+ with )(\S+)( \+/- )\S+( was \w+ ')(\S+)(')"
    groups = re.fullmatch(pattern, violation["description"]).groups()
    return [groups[0], groups[1], groups[2] + groups[3], groups[4], groups[5]]


def numbers(violation):
    return [float(part) for part in parts(violation)[1::2]]


rows = st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), min_size=1, max_size=80).map(
    lambda some: [np.array(column, dtype=float) for column in zip(*some, strict=True)]
)


@settings(deadline=None)  # scikit-learn takes its time on a busy machine
@given(rows)
def test_ratios_agree_with_scikit_learn(columns):
    scores, predictions, labels = columns
    values = values_of(tally(scores, predictions, labels))
    assert values["accuracy"] == pytest.approx(sk.accuracy_score(labels, predictions), abs=1e-12)
    if not labels.any():
        assert {values[name] for name in ("recall", "precision", "f1", "auc", "false_negative_rate")} == {"NaN"}
        return
    assert values["recall"] == pytest.approx(sk.recall_score(labels, predictions, zero_division=0), abs=1e-12)
    assert values["precision"] == pytest.approx(sk.precision_score(labels, predictions, zero_division=0), abs=1e-12)
    constant = np.full(len(labels), float(labels.mean() > 0.5))
    for name, beta in (("f0_5", 0.5), ("f1", 1.0), ("f2", 2.0)):
        for key, served in ((name, predictions), (f"{name}_best_constant_classifier", constant)):
            expected = sk.fbeta_score(labels, served, beta=beta, zero_division=0)
            assert values[key] == pytest.approx(expected, abs=1e-12)
    assert values["accuracy_best_constant_classifier"] == pytest.approx(sk.accuracy_score(labels, constant), abs=1e-12)
    if labels.all():
        assert values["auc"] == values["true_negative_rate"] == values["false_positive_rate"] == "NaN"
    else:
        assert values["auc"] == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)


def test_deviations_are_those_of_samples_of_the_rows():
    state = counted(700, 100, 60, 140)
    found = model_quality.statistics(state, TIME)["binary_classification_metrics"]["accuracy"]["standard_deviation"]
    # 800 of 1000 rows without replacement: sqrt(p (1 - p) / 800 * 200 / 999); five draws are within a factor of 3.
    expected = (0.84 * 0.16 / 800 * 200 / 999) ** 0.5
    assert expected / 3 < found < expected * 3


def test_below_200_rows_there_is_no_deviation():
    few = model_quality.statistics(counted(100, 30, 30, 39), TIME)["binary_classification_metrics"]
    enough = model_quality.statistics(counted(100, 30, 30, 40), TIME)["binary_classification_metrics"]
    assert few["accuracy"]["standard_deviation"] == "NaN"
    assert enough["accuracy"]["standard_deviation"] > 0


def test_a_multiclass_report():
    rows = [("cat", "cat")] * 150 + [("cat", "dog")] * 30 + [("dog", "dog")] * 60 + [("eel", "cat")] * 10
    names = ("cat", "dog", "eel")
    labels, served = (np.array([float(names.index(row[side])) for row in rows]) for side in (0, 1))
    state = class_matrix(names, served, labels)
    document = model_quality.statistics(state, TIME)
    found = document["multiclass_classification_metrics"]
    assert list(found) == ["confusion_matrix", *MULTICLASS]
    assert found["confusion_matrix"] == {
        "cat": {"cat": 150, "dog": 30, "eel": 0},
        "dog": {"cat": 0, "dog": 60, "eel": 0},
        "eel": {"cat": 10, "dog": 0, "eel": 0},
    }
    assert found["accuracy"]["value"] == pytest.approx(210 / 250)
    assert 0 < found["accuracy"]["standard_deviation"] < 0.05
    constraints = model_quality.suggest_constraints(document)
    wanted = constraints["multiclass_classification_constraints"]
    assert list(wanted) == [
        "accuracy",
        "weighted_recall",
        "weighted_precision",
        "weighted_f0_5",
        "weighted_f1",
        "weighted_f2",
    ]
    assert {one["comparison_operator"] for one in wanted.values()} == {"LessThanThreshold"}
    assert model_quality.check_constraints(document, constraints) == []
    worse = model_quality.statistics(class_matrix(names, np.roll(served, 100), labels), TIME)
    violations = model_quality.check_constraints(worse, constraints)
    assert [one["metric_name"] for one in violations] == list(wanted)
    encode_json(document | {"violations": violations})


def test_a_matrix_of_many_classes_leaves_empty_cells_out():
    names = [f"c{index:03}" for index in range(101)]
    places = np.arange(101.0)
    found = model_quality.statistics(class_matrix(names, np.roll(places, 1), places), TIME)
    matrix = found["multiclass_classification_metrics"]["confusion_matrix"]
    assert matrix["c001"] == {"c000": 1}
    assert sum(len(row) for row in matrix.values()) == 101


def test_a_regression_report():
    generator = np.random.Generator(np.random.PCG64(6))
    labels = generator.normal(10, 3, 627)
    predictions = labels + generator.normal(0, 2, 627)
    state = residuals(hashes_of([f"r{index}" for index in range(627)]), predictions, labels)
    document = model_quality.statistics(state, TIME)
    assert document["dataset"]["item_count"] == 627
    found = document["regression_metrics"]
    # The keys of the real file in the SDK's tests, and deviations of its size.
    assert list(found) == ["mae", "mse", "rmse", "r2"]
    assert all(list(one) == ["value", "standard_deviation"] for one in found.values())
    assert 0 < found["mae"]["standard_deviation"] < 0.1
    constraints = model_quality.suggest_constraints(document)
    assert {name: one["comparison_operator"] for name, one in constraints["regression_constraints"].items()} == {
        "mae": "GreaterThanThreshold",
        "mse": "GreaterThanThreshold",
        "rmse": "GreaterThanThreshold",
        "r2": "LessThanThreshold",
    }
    assert model_quality.check_constraints(document, constraints) == []
    worse = model_quality.statistics(
        residuals(hashes_of([f"r{index}" for index in range(627)]), 2 * predictions, labels), TIME
    )
    violations = model_quality.check_constraints(worse, constraints)
    assert [one["metric_name"] for one in violations] == ["mae", "mse", "rmse", "r2"]
    assert violations[0]["description"].startswith("Metric mae with ")
    encode_json(document | {"violations": violations})


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e12])
def test_a_regression_baseline_computed_elsewhere_never_violates_itself(scale):
    labels, predictions = scale * np.array([1.0, 2.5, 3.1]), scale * np.array([1.3, 2.2, 3.7])
    document = model_quality.statistics(residuals(hashes_of(list("abc")), predictions, labels), TIME)
    constraints = model_quality.suggest_constraints(document)
    for constraint in constraints["regression_constraints"].values():
        constraint["threshold"] *= 1 - 2e-16
    assert model_quality.check_constraints(document, constraints) == []


def test_the_better_deviations_are_beside_the_files():
    few = counted(100, 30, 30, 39)
    assert (
        model_quality.statistics(few, TIME)["binary_classification_metrics"]["accuracy"]["standard_deviation"] == "NaN"
    )
    found = model_quality.deviations(few)
    assert found["draws"] == 200
    accuracy = 139 / 199
    assert found["standard_deviations"]["accuracy"] == pytest.approx((accuracy * (1 - accuracy) / 199) ** 0.5, rel=0.2)
    assert model_quality.deviations(Tally())["standard_deviations"]["auc"] is None
    encode_json(found)


def test_a_table_is_counted_as_its_problem_type_says():
    requests = [captured(f"e{index}", "1", answer) for index, answer in enumerate(["2", "10", "x", "2"])]
    labels = {f"e{index}": Label(f"e{index}", label) for index, label in enumerate(["2.0", "2", "x", "?"])}
    classes = to_table(requests, labels, Attributes(problem_type="MulticlassClassification", inference_attribute="0"))
    matrix = model_quality.counted(classes)
    assert matrix.classes == ("2", "10", "?", "x")
    assert matrix.rows == 4
    numbers = model_quality.counted(
        to_table(requests, labels, Attributes(problem_type="Regression", inference_attribute="0"))
    )
    assert (numbers.rows, numbers.sizes.mean) == (2, 4.0)


def test_what_the_labels_leave_undefined_violates_nothing():
    constraints = model_quality.suggest_constraints(model_quality.statistics(churn(), TIME))
    only_zeros = model_quality.statistics(counted(50, 0, 0, 0), TIME)
    assert model_quality.check_constraints(only_zeros, constraints) == []
    nothing = model_quality.statistics(Tally(), TIME)
    assert model_quality.check_constraints(nothing, constraints) == []
    assert model_quality.suggest_constraints(nothing)["binary_classification_constraints"] == {}
    encode_json(nothing)


def test_a_baseline_never_violates_itself():
    statistics = model_quality.statistics(churn(), TIME)
    suggested = model_quality.suggest_constraints(statistics)
    assert model_quality.check_constraints(statistics, suggested) == []
    # What AWS computed from the same rows differs in the last digits.
    suggested["binary_classification_constraints"]["auc"]["threshold"] = 0.9395127993393898
    assert model_quality.check_constraints(statistics, suggested) == []


def test_both_spellings_of_a_rate_are_read():
    statistics = model_quality.statistics(counted(50, 10, 10, 30), TIME)
    found = [
        model_quality.check_constraints(
            statistics,
            {
                "binary_classification_constraints": {
                    name: {"threshold": 0.0, "comparison_operator": "GreaterThanThreshold"}
                }
            },
        )
        for name in ("false_positive_rate", "falsePositiveRate")
    ]
    assert found[0] == found[1]
    assert found[0][0]["metric_name"] == "falsePositiveRate"
    assert found[0][0]["description"].startswith("Metric falsePositiveRate with 0.16666666666666666 +/- NaN was ")


def test_a_metric_that_is_named_twice_is_refused():
    constraint = {"threshold": 0.0, "comparison_operator": "GreaterThanThreshold"}
    both = {"false_positive_rate": constraint, "falsePositiveRate": constraint}
    with pytest.raises(MisconfiguredError, match="false_positive_rate once"):
        model_quality.check_constraints(
            model_quality.statistics(counted(5, 1, 1, 3), TIME), {"binary_classification_constraints": both}
        )


@pytest.mark.parametrize("written", ["f0_5", "f0.5", "weightedF1", "weighted_f1"])
def test_other_spellings_of_a_metric_are_read(written):
    state = class_matrix(("a", "b"), np.array([0.0, 1.0]), np.array([0.0, 0.0]))
    if not written.startswith("weighted"):
        state = counted(5, 1, 1, 3)
    document = model_quality.statistics(state, TIME)
    kind = "multiclass" if written.startswith("weighted") else "binary"
    constraint = {"threshold": 1.0, "comparison_operator": "LessThanThreshold"}
    (found,) = model_quality.check_constraints(document, {f"{kind}_classification_constraints": {written: constraint}})
    assert found["metric_name"] == ("weighted_f1" if kind == "multiclass" else "f0_5")


@pytest.mark.parametrize(
    ("constraints", "field"),
    [
        ({}, "constraints"),
        ({"regression_constraints": {}}, "constraints"),
        ({"binary_classification_constraints": {"f3": {}}}, "binary_classification_constraints"),
        (
            {"binary_classification_constraints": {"auc": 0.5}},
            "binary_classification_constraints.auc.comparison_operator",
        ),
        (
            {
                "binary_classification_constraints": {
                    "auc": {"threshold": "0.5", "comparison_operator": "LessThanThreshold"}
                }
            },
            "binary_classification_constraints.auc.threshold",
        ),
    ],
)
def test_constraints_that_are_not_understood_are_refused_by_field(constraints, field):
    with pytest.raises(MisconfiguredError) as caught:
        model_quality.check_constraints(model_quality.statistics(churn(), TIME), constraints)
    assert caught.value.field == field


def test_long_curves_are_thinned_and_keep_their_ends():
    scores = np.linspace(0, 1, 30_000)
    labels = (np.arange(30_000) % 3 == 0).astype(float)
    found = model_quality.statistics(tally(scores, (scores > 0.5).astype(float), labels), TIME)
    curve = found["binary_classification_metrics"]["receiver_operating_characteristic_curve"]
    assert {len(axis) for axis in curve.values()} == {10_000}
    assert {(axis[0], axis[-1]) for axis in curve.values()} == {(0.0, 1.0)}


def test_nan_is_no_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_json({"value": NAN})
