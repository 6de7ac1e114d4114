import csv
import json
import re
from collections import Counter
from itertools import cycle, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from chalicelib.errors import MisconfiguredError
from chalicelib.monitors import data_quality
from chalicelib.monitors.documents import encode_json
from chalicelib.records.attributes import Attributes
from chalicelib.records.table import to_table
from chalicelib.states.profile import Profile, profile_of, profile_of_columns
from tests.unit.records.building import DATA, captured


def profile_of_values(**columns):
    return profile_of_columns(columns, len(next(iter(columns.values()))))


def checked(current, baseline, **monitoring_config):
    constraints = data_quality.suggest_constraints(baseline)
    constraints["monitoring_config"] |= monitoring_config
    return data_quality.check_constraints(current, constraints, data_quality.statistics(baseline))


def kinds(violations):
    return [(violation["feature_name"], violation["constraint_check_type"]) for violation in violations]


def published_baseline():
    with (DATA / "churn/training-dataset-with-header.csv").open() as file:
        names, *rows = csv.reader(file)
    return names, profile_of_columns(dict(zip(names, zip(*rows, strict=True), strict=True)), len(rows))


def test_the_published_run_of_the_mangled_header():
    """60 violations from 1977 requests: the sample input once up to row 119, then from row 0 again and again.

    Its row 0 is a mangled header, which came seven times. `Churn` is compared in type alone: no probability is a whole
    number, and what has another type has no drift.
    """
    names, baseline = published_baseline()
    lines = (DATA / "churn/test-dataset-input-cols.csv").read_text().splitlines()
    sent = lines[:120] + list(islice(cycle(lines), 1857))
    assert (len(lines), len(sent), sent.count(lines[0])) == (334, 1977, 7)
    requests = [captured(f"e{index:04}", line, f"0.{index % 97 + 1:03}\n") for index, line in enumerate(sent)]
    attributes = Attributes(features=tuple(names[1:]), probability_attribute="0", output_names=("Churn",))
    current = profile_of(to_table(requests, {}, attributes))
    violations = checked(current, baseline)
    assert Counter(violation["constraint_check_type"] for violation in violations) == {"data_type_check": 60}
    path = DATA / "model-monitor-published-runs/churn-data-quality-2022-04/constraint_violations.first10.json"
    published = json.loads(path.read_text())["violations"]
    assert len(published) == 10
    assert all(violation in violations for violation in published)
    assert "99.64592817400101%" in published[1]["description"]


def test_the_published_baseline():
    """What is known of the baseline of that run: every column is numeric, complete and not negative."""
    _, baseline = published_baseline()
    constraints = data_quality.suggest_constraints(baseline)["features"]
    assert len(constraints) == 70
    for feature in constraints:
        assert feature["inferred_type"] in ("Integral", "Fractional")
        assert (feature["completeness"], feature["num_constraints"]) == (1.0, {"is_non_negative": True})
    statistics = data_quality.statistics(baseline)
    assert statistics["dataset"] == {"item_count": 2333}
    churn, length = (feature["numerical_statistics"] for feature in statistics["features"][:2])
    assert (round(churn["mean"], 6), round(churn["std_dev"], 6)) == (0.139306, 0.346265)
    first = length["distribution"]["kll"]["buckets"][0]
    assert (length["min"], length["max"], first["lower_bound"], first["upper_bound"]) == (1.0, 243.0, 1.0, 25.2)


def test_rows_that_were_chosen_to_drift():
    """AWS's sample data for the drift check: with the default settings it fires."""
    with (DATA / "data-quality-drift/baseline.csv").open() as file:
        names, *rows = csv.reader(file)
    baseline = profile_of_columns(dict(zip(names, zip(*rows, strict=True), strict=True)), len(rows))
    with (DATA / "data-quality-drift/data_quality_drift.csv").open() as file:
        rows = list(csv.reader(file))
    current = profile_of_columns(dict(zip(names[1:], zip(*rows, strict=True), strict=True)), len(rows))
    drifted = [name for name, kind in kinds(checked(current, baseline)) if kind == "baseline_drift_check"]
    assert drifted
    for name in drifted:
        one, other = (np.array(profile.column(name).quantiles.weighted()[0]) for profile in (baseline, current))
        distance = stats.ks_2samp(one, other).statistic
        assert distance - 1.8 * (620 / 96_000) ** 0.5 > 0.1


def test_the_published_statistics_of_text():
    published = json.loads((DATA / "model-monitor-sdk-fixtures/statistics.json").read_text())
    profile = profile_of_values(message=["preproc-not-YET-supported-for-csv-json"] * 418)
    assert data_quality.statistics(profile) == published
    feature = data_quality.suggest_constraints(profile)["features"][0]
    constraints = json.loads((DATA / "model-monitor-sdk-fixtures/constraints.json").read_text())
    assert feature["string_constraints"]["domains"] == constraints["features"][0]["string_constraints"]["domains"]
    # Its second feature is not in the data; old keys are ignored.
    assert kinds(data_quality.check_constraints(profile, constraints, published)) == [
        ("Missing columns", "missing_column_check")
    ]


def test_statistics_of_numbers():
    values = ["1", "243", "", "25.2", "25.1", "2"]
    document = data_quality.statistics(profile_of_values(x=values))
    assert document["dataset"] == {"item_count": 6}
    feature = document["features"][0]
    assert feature["inferred_type"] == "Fractional"
    numbers = feature["numerical_statistics"]
    present = np.array([1, 243, 25.2, 25.1, 2])
    assert numbers["common"] == {"num_present": 5, "num_missing": 1}
    assert numbers["mean"] == pytest.approx(present.mean())
    assert numbers["std_dev"] == pytest.approx(present.std())
    assert (numbers["sum"], numbers["min"], numbers["max"]) == (pytest.approx(296.3), 1.0, 243.0)
    buckets = numbers["distribution"]["kll"]["buckets"]
    # Bounds as a published run prints them for 1 to 243; 25.2 belongs to the second bucket, 243 to the last.
    assert buckets[0] == {"lower_bound": 1.0, "upper_bound": 25.2, "count": 3.0}
    assert [bucket["count"] for bucket in buckets] == [3, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert numbers["distribution"]["kll"]["sketch"]["data"] == [[1.0, 2.0, 25.1, 25.2, 243.0]]
    assert numbers["distribution"]["kll"]["sketch"]["parameters"]["k"] == 2048.0


def test_constant_and_empty_columns():
    document = data_quality.statistics(profile_of_values(x=["5", "5"], y=["", ""]))
    buckets = document["features"][0]["numerical_statistics"]["distribution"]["kll"]["buckets"]
    assert sum(bucket["count"] for bucket in buckets) == 2.0
    assert {bucket["lower_bound"] for bucket in buckets} == {5.0}
    assert document["features"][1]["inferred_type"] == "Unknown"
    assert document["features"][1]["string_statistics"]["common"] == {"num_present": 0, "num_missing": 2}


def test_suggested_constraints():
    profile = profile_of_values(
        count=["1", "2", ""] * 20,
        change=["-0.5", "1", "2"] * 20,
        color=["red", "green", "red"] * 20,
        name=[f"n{index}" for index in range(60)],
        gone=[""] * 60,
    )
    features = data_quality.suggest_constraints(profile)["features"]
    assert features == [
        {
            "name": "count",
            "inferred_type": "Integral",
            "completeness": 40 / 60,
            "num_constraints": {"is_non_negative": True},
        },
        {
            "name": "change",
            "inferred_type": "Fractional",
            "completeness": 1.0,
            "num_constraints": {"is_non_negative": False},
        },
        {
            "name": "color",
            "inferred_type": "String",
            "completeness": 1.0,
            "string_constraints": {"domains": ["green", "red"]},
        },
        {"name": "name", "inferred_type": "String", "completeness": 1.0},
        {"name": "gone", "inferred_type": "Unknown", "completeness": 0.0},
    ]


BASELINE = profile_of_values(
    n=[str(index % 50) for index in range(1000)],
    f=[str(index / 10) for index in range(1000)],
    s=["red", "green"] * 500,
)


def changed(**columns):
    values = {
        "n": [str(index % 50) for index in range(500)],
        "f": [str(index / 5) for index in range(500)],
        "s": ["red", "green"] * 250,
    }
    return profile_of_values(**(values | columns))


def test_the_same_distribution_violates_nothing():
    assert checked(BASELINE, BASELINE) == []
    assert checked(changed(), BASELINE) == []
    assert checked(Profile(), BASELINE) == []


@pytest.mark.parametrize(
    ("columns", "expected", "description"),
    [
        (
            {"n": [str(index % 50) for index in range(499)] + ["1.5"]},
            [("n", "data_type_check")],
            "Data type match requirement is not met. Expected data type: Integral, Expected match: 100.0%. "
            "Observed: Only 99.8% of data is Integral.",
        ),
        (
            {"f": ["x"] * 250 + [str(index / 2.5) for index in range(250)]},
            [("f", "data_type_check")],
            "Observed: Only 50.0% of data is Fractional.",
        ),
        (
            {"f": [""] * 100 + [str(index / 4) for index in range(400)]},
            [("f", "completeness_check")],
            "Value: 0.8 does not meet the constraint requirement!",
        ),
        (
            {"s": ["red", "green"] * 245 + ["blue"] * 10},
            [("s", "categorical_values_check")],
            "Value: 0.98 does not meet the constraint requirement!",
        ),
        (
            {"n": [str(index % 50 // 2) for index in range(500)]},
            [("n", "baseline_drift_check")],
            " exceeds threshold: 0.1",
        ),
        ({"s": ["red"] * 500}, [("s", "baseline_drift_check")], "Baseline drift distance: 0.40"),
        ({"extra": ["1"] * 500}, [("Extra columns", "extra_column_check")], "in current dataset: 4, Number"),
    ],
)
def test_each_check(columns, expected, description):
    violations = checked(changed(**columns), BASELINE)
    assert kinds(violations) == expected
    assert description in violations[0]["description"]
    encode_json({"violations": violations})


def test_known_values_that_are_not_counted_do_not_violate_their_domain():
    baseline = profile_of_values(s=["a", "b"] * 100)
    quiet = {"domain_content_threshold": 0.9, "distribution_constraints": {"perform_comparison": "Disabled"}}
    junk = [f"junk{index}" for index in range(5000)]
    current = profile_of_values(s=["a"] * 500_000 + ["b"] * 490_000 + junk)
    assert [value for value in ("a", "b") if value in dict(current.column("s").categories.counts)] == ["a"]
    assert checked(current, baseline, **quiet) == []
    [violation] = checked(current, baseline, **quiet | {"domain_content_threshold": 1.0})
    # All listed values but one are known to be junk.
    most = (995_000 - 999) / 995_000
    assert violation["description"] == (
        f"Value: {most} does not meet the constraint requirement! Expected share of known values: 1.0. "
        f"It is at most this and at least {500_000 / 995_000}: not all values are counted."
    )


def test_known_values_that_are_counted_or_provably_absent_have_an_exact_share():
    # The hashes of both are small.
    baseline = profile_of_values(s=["a", "n26"] * 100)
    current = profile_of_values(s=["a"] * 4000 + [f"junk{index}" for index in range(5000)])
    assert current.column("s").categories.more
    [violation] = checked(current, baseline, distribution_constraints={"perform_comparison": "Disabled"})
    assert violation["description"].endswith("Expected share of known values: 1.0.")
    assert f"Value: {4000 / 9000} does not meet" in violation["description"]


def test_a_column_that_is_gone():
    current = profile_of_values(n=[str(index % 50) for index in range(500)], s=["red", "green"] * 250)
    violations = checked(current, BASELINE)
    assert kinds(violations) == [("Missing columns", "missing_column_check")]
    assert "in current dataset: 2, Number of columns in baseline constraints: 3" in violations[0]["description"]


def test_records_of_another_width():
    attributes = Attributes(features=("x", "y"), probability_attribute="0")
    good = [captured(f"g{index}", f"{index % 9},1", "0.5") for index in range(98)]
    baseline = profile_of(to_table(good, {}, attributes))
    broken = [*good, captured("b1", "1", "0.5"), captured("b2", "1,2,3", "0.5")]
    current = profile_of(to_table(broken, {}, attributes))
    violations = checked(current, baseline)
    assert kinds(violations) == [
        ("Missing columns", "missing_column_check"),
        ("Extra columns", "extra_column_check"),
    ]
    assert violations[0]["description"] == "1 of 100 records have fewer features than the 2 expected"
    assert checked(current, baseline, datatype_check_threshold=0.95) == []
    nothing_fits = profile_of(to_table(broken[98:99], {}, attributes))
    assert kinds(checked(nothing_fits, baseline)) == [("Missing columns", "missing_column_check")]


def test_texts_keep_what_the_visualiser_of_aws_looks_for():
    violations = checked(changed(f=[""] * 100 + [str(index) for index in range(400)], s=["blue"] * 500), BASELINE)
    for violation in violations:
        match = re.search(
            r"distance: (.+) exceeds|Value: (.+) does not meet the constraint requirement!", violation["description"]
        )
        assert 0.0 <= float(match[1] or match[2]) <= 1.0
    assert len(violations) == 4


def test_settings():
    shifted = changed(n=[str(index % 50 // 2) for index in range(500)])

    def with_distribution(**options):
        return checked(shifted, BASELINE, distribution_constraints=options)

    assert with_distribution(comparison_threshold=0.6) == []
    assert with_distribution(perform_comparison="Disabled") == []
    assert checked(shifted, BASELINE, evaluate_constraints="Disabled") == []
    simple = with_distribution(comparison_method="Simple")[0]["description"]
    robust = with_distribution()[0]["description"]
    distances = [float(re.search("distance: (.+) exceeds", text)[1]) for text in (simple, robust)]
    assert distances[0] == 0.5
    assert distances[1] == pytest.approx(0.5 - 1.8 * (1500 / 500_000) ** 0.5)
    for field, value in (
        ("comparison_method", "Median"),
        ("categorical_drift_method", "Chi"),
        ("comparison_threshold", "high"),
        ("perform_comparison", True),
    ):
        with pytest.raises(MisconfiguredError, match=re.escape(field)):
            with_distribution(**{field: value})


@pytest.mark.parametrize("key", ["monitoringConfigOverrides", "monitoring_config_overrides"])
@pytest.mark.parametrize("place", [None, "num_constraints"])
@pytest.mark.parametrize(
    "overrides",
    [
        {"distribution_constraints": {"comparison_threshold": 0.6}},
        {"comparison_threshold": 0.6},
        {"distributionConstraints": {"comparisonThreshold": 0.6}},
        {"evaluate_constraints": "Disabled"},
        {"distribution_constraints": {"perform_comparison": "Disabled"}},
    ],
)
def test_a_feature_may_have_its_own_settings(key, place, overrides):
    constraints = data_quality.suggest_constraints(BASELINE)
    feature = constraints["features"][0]
    (feature[place] if place else feature)[key] = overrides
    statistics = data_quality.statistics(BASELINE)
    shifted = changed(n=[str(index % 50 // 2) for index in range(500)], s=["red"] * 500)
    assert kinds(data_quality.check_constraints(shifted, constraints, statistics)) == [("s", "baseline_drift_check")]


def test_the_sdk_switches_a_text_column_off_where_it_writes_that():
    constraints = data_quality.suggest_constraints(BASELINE)
    constraints["features"][2]["string_constraints"]["monitoring_config_overrides"] = {
        "evaluate_constraints": "Disabled"
    }
    statistics = data_quality.statistics(BASELINE)
    assert data_quality.check_constraints(changed(s=["blue"] * 500), constraints, statistics) == []


def test_the_misprint_of_the_documentation_is_read():
    shifted = changed(n=[str(index % 50 // 2) for index in range(500)])
    found = checked(shifted, BASELINE, distribution_constraints={"comparion_method": "Simple"})
    assert found[0]["description"] == "Baseline drift distance: 0.5 exceeds threshold: 0.1"


def test_chi_squared_violates_below_the_threshold_and_says_so_as_a_distance():
    def with_threshold(current, threshold):
        options = {"categorical_drift_method": "ChiSquared", "categorical_comparison_threshold": threshold}
        return checked(changed(s=current), BASELINE, distribution_constraints=options)

    shifted = ["red"] * 275 + ["green"] * 225
    p = float(stats.chisquare([275, 225], [250, 250]).pvalue)
    assert 0.02 < p < 0.03
    assert with_threshold(["red", "green"] * 250, 0.1) == []
    assert with_threshold(shifted, p * 0.999) == []
    (violation,) = with_threshold(shifted, 0.1)
    assert (violation["feature_name"], violation["constraint_check_type"]) == ("s", "baseline_drift_check")
    pattern = r"Baseline drift distance: (.+) exceeds threshold: 0.9, ChiSquared p-value: (.+) below 0.1"
    found = [float(number) for number in re.fullmatch(pattern, violation["description"]).groups()]
    assert found == [pytest.approx(1 - p, rel=1e-12), pytest.approx(p, rel=1e-12)]


@pytest.mark.parametrize("constraints", [{}, {"features": {}}, {"features": [{}]}, {"features": [1]}])
def test_what_is_no_constraints_file_is_refused(constraints):
    with pytest.raises(MisconfiguredError, match=r"^constraints\.features"):
        data_quality.check_constraints(BASELINE, constraints)


def test_without_baseline_statistics_drift_is_not_checked():
    constraints = data_quality.suggest_constraints(BASELINE)
    assert data_quality.check_constraints(changed(s=["red"] * 500), constraints) == []


def test_distances_of_large_samples_stay_within_the_bound_of_the_sketch():
    generator = np.random.Generator(np.random.PCG64(3))
    one, two = generator.normal(0, 1, 20_000), generator.normal(0.2, 1, 20_000)
    sketches = [profile_of_values(x=list(map(repr, some.tolist()))).columns[0].quantiles for some in (one, two)]
    found = data_quality.numeric_distance(*(sketch.weighted() for sketch in sketches), robust=False)
    points = np.concatenate([one, two])
    cdfs = [np.searchsorted(np.sort(some), points, side="right") / 20_000 for some in (one, two)]
    bound = sum(sketch.rank_error for sketch in sketches) / 20_000
    assert found == pytest.approx(np.abs(cdfs[0] - cdfs[1]).max(), abs=bound + 1e-4)
    assert data_quality.numeric_distance(sketches[0].weighted(), sketches[0].weighted(), robust=False) == 0.0


def test_distances_of_texts_with_many_values():
    texts = [f"v{index}" for index in range(3000)] * 2 + ["often"] * 4000
    categories = profile_of_values(x=texts).columns[0].categories
    assert data_quality.categorical_distance(categories, categories, robust=False) == 0.0


value = st.one_of(
    st.sampled_from(["", "1", "1.5", "true", "x", "nan", "-0"]), st.floats().map(repr), st.text(max_size=4)
)


@settings(deadline=None)
@given(st.lists(value, min_size=1, max_size=30), st.lists(value, min_size=1, max_size=30))
def test_any_values_give_strict_files_and_a_baseline_accepts_itself(one, two):
    baseline, current = profile_of_values(x=one), profile_of_values(x=two)
    statistics, constraints = data_quality.statistics(baseline), data_quality.suggest_constraints(baseline)
    assert data_quality.check_constraints(baseline, constraints, statistics) == []
    # What is read back from the files means the same.
    statistics, constraints = (json.loads(encode_json(document)) for document in (statistics, constraints))
    assert data_quality.check_constraints(baseline, constraints, statistics) == []
    encode_json({"violations": data_quality.check_constraints(current, constraints, statistics)})
    for feature in statistics["features"]:
        numbers = feature.get("numerical_statistics")
        if numbers:
            counts = [bucket["count"] for bucket in numbers["distribution"]["kll"]["buckets"]]
            assert sum(counts) == numbers["common"]["num_present"]
