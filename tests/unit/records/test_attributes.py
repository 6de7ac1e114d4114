import msgspec
import pytest

from chalicelib.errors import MisconfiguredError
from chalicelib.records.attributes import Attributes, check


def test_good_settings_pass():
    check(Attributes(inference_attribute="0"))
    check(Attributes(problem_type="MulticlassClassification", inference_attribute="0"))
    check(Attributes(problem_type="Regression", inference_attribute="0"))
    check(Attributes(probability_attribute="predictions[*].score", features=("a", "b"), output_names=("c",)))
    check(Attributes(probability_attribute="not JMESPath", output_names=("not JMESPath",)))


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({}, "inference_attribute"),
        ({"probability_attribute": "0", "probability_threshold": 1.5}, "probability_threshold"),
        ({"probability_attribute": "0", "probability_threshold": float("nan")}, "probability_threshold"),
        ({"probability_attribute": "0", "features": ("a", "a")}, "features"),
        ({"probability_attribute": "0", "features": ("a", "")}, "features"),
        ({"probability_attribute": "0", "output_names": ("a", "a")}, "output_names"),
        ({"probability_attribute": "0", "features": ("a",), "output_names": ("a",)}, "output_names"),
        ({"problem_type": "Regression"}, "inference_attribute"),
        ({"problem_type": "MulticlassClassification"}, "inference_attribute"),
        (
            {"problem_type": "Regression", "inference_attribute": "0", "probability_attribute": "1"},
            "probability_attribute",
        ),
        (
            {"problem_type": "MulticlassClassification", "inference_attribute": "0", "probability_attribute": "1"},
            "probability_attribute",
        ),
        ({"probability_attribute": "a[["}, "probability_attribute"),
        ({"probability_attribute": "0", "ground_truth_attribute": "a["}, "ground_truth_attribute"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_field(settings, field):
    with pytest.raises(MisconfiguredError) as caught:
        check(Attributes(**settings))
    assert caught.value.field == field


def test_an_unknown_field_or_problem_type_is_refused():
    for raw in ({"feature": []}, {"problem_type": "Ranking"}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(raw, Attributes)
