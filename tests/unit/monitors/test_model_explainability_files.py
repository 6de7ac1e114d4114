import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from chalicelib.errors import MisconfiguredError
from chalicelib.monitors.documents import encode_json
from chalicelib.monitors.model_explainability import (
    GlobalAttributions,
    analysis,
    check_constraints,
    global_attributions,
    ndcg,
    read_analysis,
    suggest_constraints,
)
from chalicelib.states.attributions import Attributions, attributions_of
from tests.unit.records.building import DATA

PUBLISHED = DATA / "model-monitor-published-runs/attribution-drift-endpoint-jsonlines-2023-01/baseline_analysis.json"
BASELINE = {"SAT": 0.70, "GPA": 0.50, "Class rank": 0.05}
LIVE = {"SAT": 0.10, "GPA": 0.20, "Class rank": 0.70}


def one(values):
    return analysis({"label0": GlobalAttributions(values)})


def test_the_example_of_the_documentation():
    assert ndcg(LIVE, BASELINE) == pytest.approx(0.6876, abs=5e-5)
    assert check_constraints(one(LIVE), one(BASELINE)) == [
        {
            "label": "label0",
            "metric_name": "shap",
            "constraint_check_type": "feature_attribution_drift_check",
            "description": f"Feature attribution drift {ndcg(LIVE, BASELINE)} exceeds threshold 0.9",
        }
    ]
    assert check_constraints(one(LIVE), one(BASELINE), threshold=0.68) == []


def test_the_published_baseline_is_read_and_written_unchanged():
    published = json.loads(PUBLISHED.read_text())
    found = read_analysis(published)
    written = json.loads(encode_json(suggest_constraints(found)))
    assert written == published
    assert list(written["explanations"]["kernel_shap"]["label0"]["global_shap_values"]) == list(found["label0"].values)
    assert ndcg(found["label0"].values, found["label0"].values) == 1.0
    assert check_constraints(published, published) == []


def test_several_labels_and_parts_that_are_not_ours_are_read():
    fixture = json.loads((DATA / "model-monitor-sdk-fixtures/clarify_explanability.json").read_text())
    found = read_analysis(fixture)
    assert list(found) == ["label0", "label1"]
    assert found["label1"].values["Education-Num"] == 0.037243930827630646
    live = json.loads(json.dumps(fixture))
    values = live["explanations"]["kernel_shap"]["label1"]["global_shap_values"]
    values["fnlwgt"], values["Education-Num"] = 1.0, 0.0
    assert [violation["label"] for violation in check_constraints(live, fixture)] == ["label1"]


# Small whole numbers, so that ties come. No subnormal ones: scikit-learn's own products of them are 0.
attribution = st.integers(0, 5).map(float) | st.floats(0, 1e6, allow_subnormal=False)
pairs = st.lists(st.tuples(attribution, attribution), min_size=2, max_size=12)


@settings(deadline=None)
@given(pairs)
def test_ndcg_is_that_of_scikit_learn(some):
    live, baseline = ({f"f{place}": pair[side] for place, pair in enumerate(some)} for side in (0, 1))
    if not any(baseline.values()):
        with pytest.raises(MisconfiguredError):
            ndcg(live, baseline)
        return
    truth, scores = (np.array([list(one.values())]) for one in (baseline, live))
    found = ndcg(live, baseline)
    assert found == pytest.approx(ndcg_score(truth, scores), abs=1e-9)
    assert ndcg(dict(reversed(live.items())), baseline) == found
    assert ndcg(baseline, baseline) == pytest.approx(1.0, abs=1e-12)
    assert check_constraints(one(baseline), one(baseline), threshold=1.0) == []


def test_huge_and_tiny_attributions():
    huge = {f"f{place}": 1.7e308 for place in range(5)}
    assert ndcg(huge, huge) == pytest.approx(1.0, abs=1e-12)
    assert ndcg({"a": 5e-324, "b": 0.0}, {"a": 5e-324, "b": 0.0}) == 1.0
    tied = {"a": 0.0, "b": 0.0}
    assert ndcg(tied, {"a": 0.0, "b": 5e-324}) == ndcg(tied, {"a": 0.0, "b": 1.0}) < 1.0


def test_global_attributions_are_means_of_sizes_or_squares():
    values = np.array([[1.0, -4.0], [-3.0, 2.0]])
    state = attributions_of(values, np.array([0.25, 0.5]), ["a", "b"])
    assert global_attributions(state) == GlobalAttributions({"a": 2.0, "b": 3.0}, 0.375)
    assert global_attributions(state, "mean_sq") == GlobalAttributions({"a": 5.0, "b": 10.0}, 0.375)
    nothing = attributions_of(values, np.array([math.nan, math.nan]), ["a", "b"])
    assert global_attributions(nothing).expected_value is None
    assert "expected_value" not in analysis({"x": global_attributions(nothing)})["explanations"]["kernel_shap"]["x"]


@pytest.mark.parametrize(
    "call",
    [
        lambda: global_attributions(Attributions()),
        lambda: suggest_constraints({}),
        lambda: suggest_constraints({"label0": GlobalAttributions({"a": 0.0})}),
        lambda: suggest_constraints({"label0": GlobalAttributions({})}),
        lambda: check_constraints(one(LIVE), one(BASELINE), threshold=0.0),
        lambda: check_constraints(one(LIVE), one(BASELINE), threshold=float("nan")),
        lambda: check_constraints(one(LIVE), one({"SAT": 1.0})),
        lambda: check_constraints(one(LIVE), analysis({"other": GlobalAttributions(BASELINE)})),
        lambda: read_analysis({"version": "1.0"}),
        lambda: read_analysis({"explanations": {"kernel_shap": {"label0": 1}}}),
        lambda: read_analysis(one({"a": "x"})),
        lambda: read_analysis(one({"a": True})),
        lambda: read_analysis(one({"a": -0.1})),
        lambda: read_analysis(one({"a": math.inf})),
        lambda: read_analysis(analysis({"label0": GlobalAttributions({"a": 1.0}, math.nan)})),
    ],
)
def test_what_cannot_be_compared_is_refused(call):
    with pytest.raises(MisconfiguredError):
        call()
