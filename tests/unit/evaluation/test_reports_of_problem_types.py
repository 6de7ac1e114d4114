"""Multiclass and regression windows from captures to files: the same for every split, read again by their checks."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from chalicelib.errors import MisconfiguredError, UnreadableError
from chalicelib.evaluation.evaluate import Asked, Baselines, report
from chalicelib.evaluation.measurement import Measurement, Subject, measure
from chalicelib.monitors import baseline
from chalicelib.monitors.baseline import baseline_documents, read_model_constraints
from chalicelib.records.attributes import Attributes
from chalicelib.records.ground_truth import Label
from chalicelib.records.table import to_table
from tests.unit.records.building import captured, minutes

END = datetime(2026, 1, 1, 13, tzinfo=UTC)
KINDS = {
    "MulticlassClassification": ("multiclass_classification", ["accuracy", "weighted_recall", "weighted_precision"]),
    "Regression": ("regression", ["mae", "mse", "rmse", "r2"]),
}


def attributes_of(problem_type):
    return Attributes(problem_type=problem_type, features=("a",), inference_attribute="0", output_names=("answer",))


def table_of(problem_type, rows, wrong, first=0):
    """Rows from `first` on; every `wrong`-th answer is wrong."""
    requests, labels = [], {}
    for index in range(first, first + rows):
        if problem_type == "Regression":
            label, answer = f"{index % 17}.5", f"{index % 17 + (0.5 if index % wrong else 9)}"
        else:
            label = ("cat", "dog", "10", "2")[index % 4]
            answer = label if index % wrong else "dog" if index % 2 else "eel"
        requests.append(captured(f"e{index:04}", str(index % 7), answer, at=minutes(0)))
        labels[f"e{index:04}"] = Label(f"e{index:04}", label)
    return to_table(requests, labels, attributes_of(problem_type))


def reports_of(measured, problem_type, constraints):
    asked = Asked(
        monitor_types=("ModelQuality",),
        subject=Subject(attributes=attributes_of(problem_type)),
        baselines=Baselines(model_quality_constraints=constraints),
        end=END,
        looked_for="nothing",
        label_objects=1,
    )
    return report(measured, asked)


def constraints_of(problem_type):
    table = table_of(problem_type, 300, 20)
    documents = baseline_documents(table, table.predictions, table.scores, END.isoformat())
    return read_model_constraints(documents[baseline.MODEL_CONSTRAINTS], "constraints.json")


@pytest.mark.parametrize("problem_type", KINDS)
def test_a_baseline_accepts_its_own_rows_and_a_worse_window_violates(problem_type):
    constraints = constraints_of(problem_type)
    subject = Subject(attributes=attributes_of(problem_type))
    same = reports_of(measure(table_of(problem_type, 300, 20), subject), problem_type, constraints)
    assert same.states["ModelQuality"] == ("EVALUATED", "")
    assert same.violations["ModelQuality"] == []
    worse = reports_of(measure(table_of(problem_type, 300, 3), subject), problem_type, constraints)
    kind, names = KINDS[problem_type]
    violated = [name.partition(":")[0] for name in worse.violations["ModelQuality"]]
    assert [name for name in violated if name in names] == names
    statistics = json.loads(worse.documents["ModelQuality"]["statistics.json"])
    assert statistics["dataset"]["item_count"] == 300
    assert set(names) <= set(statistics[f"{kind}_metrics"])


@pytest.mark.parametrize("problem_type", KINDS)
@pytest.mark.parametrize("parts", [2, 5])
def test_any_split_of_a_window_gives_the_same_files(problem_type, parts):
    subject = Subject(attributes=attributes_of(problem_type))
    constraints = constraints_of(problem_type)
    whole = measure(table_of(problem_type, 250, 4), subject)
    folded = Measurement()
    for edges in np.array_split(np.arange(250), parts):
        # Later parts first: classes are met in another order than in the whole.
        folded = measure(table_of(problem_type, len(edges), 4, int(edges[0])), subject) + folded
    assert folded == whole
    assert reports_of(folded, problem_type, constraints) == reports_of(whole, problem_type, constraints)
    assert Measurement.from_bytes(whole.to_bytes()) == whole


def test_constraints_of_another_problem_type_are_refused():
    subject = Subject(attributes=attributes_of("Regression"))
    measured = measure(table_of("Regression", 30, 4), subject)
    with pytest.raises(MisconfiguredError, match="a document with regression_constraints"):
        reports_of(measured, "Regression", constraints_of("MulticlassClassification"))


def test_a_file_without_any_constraints_is_refused():
    with pytest.raises(
        UnreadableError, match="binary_classification_constraints, multiclass_classification_constraints"
    ):
        read_model_constraints(b'{"version":0.0}', "constraints.json")
