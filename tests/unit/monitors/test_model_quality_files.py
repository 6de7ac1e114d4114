import csv
import json
import re
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from chalicelib.errors import MisconfiguredError
from chalicelib.monitors import model_quality
from chalicelib.monitors.documents import encode_json, violations_document
from chalicelib.monitors.quality_metrics import BINARY
from chalicelib.states.scores import Tally, tally
from tests.unit.records.building import DATA

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
