"""report.html: what it says, that captured names cannot become markup, and that people can read it."""

import json
import re
from collections import Counter
from copy import deepcopy
from datetime import timedelta
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.errors import MisconfiguredError, UnreadableError
from chalicelib.evaluation.measurement import Subject
from chalicelib.evaluation.served import Span
from chalicelib.evidence.calibration import calibration
from chalicelib.monitors import baseline as paths
from chalicelib.monitors.documents import shortened
from chalicelib.pages import charts, distributions, markup
from chalicelib.pages.report import html_report
from chalicelib.pages.style import STYLE
from chalicelib.states.categories import categories_of
from chalicelib.states.quantiles import quantiles_of
from chalicelib.states.scores import tally
from tests.unit.monitors.churn_windows import ATTRIBUTES, BAD_LINES, decoded, decoded_baseline, hurt, window
from tests.unit.records.building import DATA, NOON

HOUR = timedelta(hours=1)

VOID = {"meta"}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)></style></svg>&lt;b&gt;\u202e\x00"


class Page(HTMLParser):
    """Reads the page as a browser without scripts would: elements with their attributes, and the text of each."""

    def __init__(self, body):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.unbalanced = [], [], []
        self.texts, self.tables = [], []
        self.feed(body.decode())
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.texts.append(data)
        if self.open and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.texts))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def violated():
    documents = decoded(window(hurt()).documents)
    return documents, html_report(documents, decoded_baseline())


def page_of(findings, known=None):
    return Page(html_report(decoded(findings.documents), decoded_baseline() if known is None else known))


# What it says ---------------------------------------------------------------------------------------------------------


def test_the_verdict_counts_the_violations_of_each_type(violated):
    documents, body = violated
    numbers = {kind: len(files["constraint_violations.json"]["violations"]) for kind, files in documents.items()}
    assert numbers["DataQuality"] and numbers["ModelQuality"] and numbers["ModelBias"]
    total = sum(numbers.values())
    assert f"▲{total} violations: {numbers['DataQuality']} in data quality, " in Page(body).text
    listed = Page(body).tables
    [table] = [table for table in listed if table[0] == ["Monitor", "What", "Check", "Description"]]
    assert len(table) == 1 + total
    descriptions = {row[3] for row in table}
    for files in documents.values():
        told = {shortened(each["description"]) for each in files["constraint_violations.json"]["violations"]}
        assert told <= descriptions


def test_a_clean_window_says_so():
    findings = window(monitor_types=("DataQuality",), subject=Subject(attributes=ATTRIBUTES))
    assert findings.violations == {"DataQuality": []}
    text = page_of(findings).text
    assert "✓No violations in data quality." in text
    assert "Model bias" in text and "not among this monitor's types" in text


def test_what_is_clean_of_broken_data_is_not_called_clean():
    documents = decoded(window(monitor_types=("DataQuality",), subject=Subject(attributes=ATTRIBUTES)).documents)
    documents["DataQuality"]["evaluation.json"]["broken"] = ["36% of the lines of captures cannot be read"]
    body = html_report(documents, decoded_baseline())
    assert "▲The data is broken. No violations in data quality." in Page(body).text
    assert b'class="verdict violated"' in body and b'class="verdict clean"' not in body


def test_a_window_that_was_not_evaluated_says_why():
    text = page_of(window([], known=False), {}).text
    assert "○Not evaluated: no readable rows; looked for captures of DEMO-xgb-churn/AllTraffic" in text


def test_labels_that_did_not_come_are_told():
    text = page_of(window(labelled=False)).text
    assert "Model quality and model bias were not evaluated." in text
    assert "no labels yet for 266 rows; looked in 1 label objects" in text
    assert "266 rows have no label that counts" in text


def test_inputs_bad_lines_and_bad_records_are_told():
    documents = decoded(window(measured=BAD_LINES).documents)
    for files in documents.values():
        files["evaluation.json"]["noted_records"] = {"read as JSON": {"count": 3, "sample": ["event-1#0"]}}
        files["evaluation.json"]["inputs"]["requests_elsewhere"] = 12
    text = Page(html_report(documents, decoded_baseline())).text
    assert "Records that were used, and noted" in text and "read as JSON3event-1#0" in text
    assert "Requests to others12, counted nowhere else" in text
    assert "266 rows in 266 requests from 3 files" in text
    assert "266 rows labelled (100 %) from 1 file" in text
    assert "2 unreadable lines" in text and "captures/2026/01/01/12/a.jsonl7not JSON" in text
    assert "b.jsonlwhole fileempty" in text
    assert "Repeated requests2, counted once" in text


def test_models_that_answered_and_what_was_captured_are_told():
    spans = [
        Span("churn-1", NOON - 2 * HOUR, NOON - HOUR, 100),
        Span("churn-2", NOON + HOUR / 30, NOON + HOUR / 20, 25),
    ]
    documents = decoded(window(deployments=spans).documents)
    [table] = [t for t in Page(html_report(documents, decoded_baseline())).tables if t[0][0] == "Configuration"]
    assert [(row[0], row[1], row[5]) for row in table[1:]] == [
        ("churn-1", "2026-01-01 12:00:00", "100 %"),
        ("churn-2", "2026-01-01 12:03:00", "25 %"),
    ]
    rows = [int(row[2]) for row in table[1:]]
    assert rows == [each["rows"] for each in documents["ModelQuality"]["evaluation.json"]["segments"]]


def test_metrics_stand_beside_baseline_and_threshold(violated):
    documents, body = violated
    own = documents["ModelQuality"]["statistics.json"]["binary_classification_metrics"]
    before = decoded_baseline()[paths.MODEL_STATISTICS]["binary_classification_metrics"]
    [table] = [table for table in Page(body).tables if table[0][:3] == ["Metric", "Live", "± std dev"]]
    rows = {row[0].partition("▲")[0]: row[1:] for row in table[1:]}
    flags = {row[0].partition("▲")[0]: row[0].partition("▲")[2] for row in table[1:]}
    assert rows["auc"][0] == f"{own['auc']['value']:.4g}" and rows["auc"][3] == f"{before['auc']['value']:.4g}"
    assert rows["auc"][4] == f"at least {before['auc']['value']:.4g}"
    assert rows["false positive rate"][4].startswith("at most ")
    better = documents["ModelQuality"]["evaluation.json"]["deviations"]["standard_deviations"]
    assert rows["auc"][1:3] == [f"{better['auc']:.4g}", f"{own['auc']['standard_deviation']:.4g}"]
    names = {each["metric_name"] for each in documents["ModelQuality"]["constraint_violations.json"]["violations"]}
    marked = {name for name, flag in flags.items() if flag}
    beyond = (before["accuracy"]["value"] - own["accuracy"]["value"]) / better["accuracy"]
    assert flags["accuracy"] == f" Violation by {beyond:.1f} std dev"
    assert marked == {re.sub("([A-Z])", r" \1", name).lower().replace("f0_5", "f0.5") for name in names}


def test_charts_of_violated_features_come_first(violated):
    documents, body = violated
    cards = re.findall(r'<section class="(card|card hit)"><h3><bdi>(.*?)</bdi>', body.decode())
    wrong = {
        each["feature_name"]
        for each in documents["DataQuality"]["constraint_violations.json"]["violations"]
        if each["feature_name"] not in ("Missing columns", "Extra columns")
    }
    assert {name for look, name in cards if look == "card hit"} == wrong
    assert [look for look, _ in cards] == sorted((look for look, _ in cards), reverse=True)
    assert len(cards) == len(documents["DataQuality"]["statistics.json"]["features"])
    assert "1 live value is not a number, or not listed: not drawn." in Page(body).text


def test_bias_and_attribution_are_compared_with_the_baseline(violated):
    documents, body = violated
    tables = Page(body).tables
    [states] = [t for t in tables if t[0][:3] == ["Metric", "Of", "Baseline"] and len(t) == 22][1:]
    [entry] = documents["ModelBias"]["analysis.json"]["pre_training_bias_metrics"]["facets"]["State"]
    ci = next(metric for metric in entry["metrics"] if metric["name"] == "CI")
    row = next(row for row in states if row[0].startswith("Class Imbalance (CI)"))
    assert row[1] == "pre-training" and row[3] == f"{ci['value']:.4g}"
    violations = documents["ModelBias"]["constraint_violations.json"]["violations"]
    violated_here = {each["metric_name"] for each in violations if each["facet"] == "State"}
    assert sum("▲ Violation" in row[0] for row in states) == len(violated_here)
    assert "no group_variable is set" in Page(body).text
    assert "The live ranking agrees with the baseline's at nDCG" in Page(body).text
    [ranking] = [table for table in tables if table[0][0] == "Feature"]
    assert [row[0] for row in ranking[1:]][:1] == ["Day Mins"]


def test_calibration_is_drawn_where_it_is_known(violated):
    documents, _ = violated
    found = calibration(tally(*(np.array(column) for column in ([0.2, 0.8, 0.9], [0.0, 1.0, 1.0], [0.0, 1.0, 0.0]))))
    quality = documents["ModelQuality"]
    with_it = {**quality, "evaluation.json": {**quality["evaluation.json"], "calibration": found}}
    page = Page(html_report({"ModelQuality": with_it}, decoded_baseline()))
    assert f"Brier score {found['brier_score']:.4g}" in page.text
    assert len(page.all("circle")) == 3
    without = {**quality, "evaluation.json": {**quality["evaluation.json"], "calibration": None}}
    text = Page(html_report({"ModelQuality": without}, decoded_baseline())).text
    assert "calibration: the scores are not probabilities (one is outside 0 to 1, or all are 0 or 1)" in text


def test_a_regression_report_of_model_monitor_is_shown(violated):
    documents, _ = violated
    metrics = {"mae": {"value": 1.5915896386811228, "standard_deviation": 0.019549525493231325},
               "r2": {"value": 0.23671182319828743, "standard_deviation": 0.02946664105374692}}  # fmt: skip
    statistics = {"version": 0.0, "dataset": {"item_count": 627}, "regression_metrics": metrics}
    constraints = {"regression_constraints": {"mae": {"threshold": 1.2, "comparison_operator": "GreaterThanThreshold"}}}
    violations = {"violations": [{"metric_name": "mae", "constraint_check_type": "GreaterThanThreshold"}]}
    own = {**documents["ModelQuality"]["evaluation.json"], "deviations": None}
    files = {"evaluation.json": own, "statistics.json": statistics, "constraint_violations.json": violations}
    page = Page(html_report({"ModelQuality": files}, {paths.MODEL_CONSTRAINTS: constraints}))
    assert ["mae▲ Violation", "1.592", "-", "0.01955", "-", "at most 1.2"] in page.tables[-2]
    assert "Regression, 627 labelled rows." in page.text and "ROC" not in page.text


def test_a_multiclass_matrix_has_shares_of_its_rows(violated):
    documents, _ = violated
    matrix = {"cat": {"cat": 3, "dog": 1}, "dog": {"cat": 0, "dog": 4}, "owl": {"cat": 1, "dog": 1}}
    found = {"accuracy": {"value": 0.7, "standard_deviation": "NaN"}, "confusion_matrix": matrix}
    statistics = {"dataset": {"item_count": 10}, "multiclass_classification_metrics": found}
    files = {
        **documents["ModelQuality"],
        "statistics.json": statistics,
        "constraint_violations.json": {"violations": []},
    }
    page = Page(html_report({"ModelQuality": files}, {}))
    [table] = [table for table in page.tables if table[0][0] == "Label"]
    assert table[0] == ["Label", "cat", "dog", "owl"]
    assert table[1] == ["cat", "3 (75.0 %)", "1 (25.0 %)", "0 (0 %)"]
    assert table[3] == ["owl", "1 (50.0 %)", "1 (50.0 %)", "0 (0 %)"]


def test_a_matrix_of_many_classes_is_left_to_the_file(violated):
    documents, _ = violated
    matrix = {str(name): {str(name): 1} for name in range(200)}
    statistics = {"dataset": {"item_count": 200}, "multiclass_classification_metrics": {"confusion_matrix": matrix}}
    files = {**documents["ModelQuality"], "statistics.json": statistics}
    assert "200 classes: more than 40 are not drawn" in Page(html_report({"ModelQuality": files}, {})).text


def test_statistics_of_model_monitor_are_drawn(violated):
    documents, _ = violated
    statistics = json.loads((DATA / "model-monitor-sdk-fixtures/statistics.json").read_bytes())
    files = {"evaluation.json": documents["DataQuality"]["evaluation.json"], "statistics.json": statistics}
    text = Page(html_report({"DataQuality": files}, {paths.DATA_STATISTICS: statistics})).text
    assert "1 feature of 418 rows against 418 rows of the baseline" in text
    assert "preproc-not-YET-supported-for-csv-json100 %100 %" in text


def test_a_feature_without_a_sketch_is_drawn_from_its_buckets():
    buckets = [{"lower_bound": float(x), "upper_bound": x + 1.0, "count": 5.0} for x in range(10)]
    feature = {"name": "x", "inferred_type": "Fractional",
               "numerical_statistics": {"distribution": {"kll": {"buckets": buckets}}}}  # fmt: skip
    document = {"dataset": {"item_count": 50}, "features": [feature]}
    body = distributions.distributions(document, document, {})
    assert "Live: median 4.5, from 0.5 to 9.5." in body and "greatest gap 0" in body


# How much it is -------------------------------------------------------------------------------------------------------


def test_a_category_that_is_not_counted_is_not_drawn_as_none():
    usual = Counter({"a": 500, "b": 490})
    before = categories_of(usual)
    after = categories_of(usual + Counter(f"junk {number}" for number in range(5000)))
    pairs = {pair.name: pair for pair in distributions._shares_of(before, after)}
    listed = dict(after.counts)
    assert not {"a", "b"} <= listed.keys()
    for name, share in (("a", 500 / 5990), ("b", 490 / 5990)):
        assert pairs[name].live == (share if name in listed else None)
        assert pairs[name].baseline == usual[name] / 990
    assert 0.9 < pairs["(all others)"].live <= 1.0


def test_ten_thousand_columns_are_a_page_that_opens(violated):
    documents, _ = violated
    generator = np.random.Generator(np.random.PCG64(1))
    columns = []
    for number in range(10_000):
        level = quantiles_of(generator.normal(size=200)).levels[0].tolist()
        kll = {"sketch": {"data": [level]}}
        described = {"common": {"num_present": 200, "num_missing": 0}, "distribution": {"kll": kll}}
        columns.append({"name": f"c{number}", "inferred_type": "Fractional", "numerical_statistics": described})
    statistics = {"dataset": {"item_count": 200}, "features": columns}
    before = {"dataset": {"item_count": 200}, "features": columns[1:] + columns[:1]}
    violations = [
        {"feature_name": "c9999", "constraint_check_type": "baseline_drift_check", "description": "d"}
    ] * 9_000
    files = {
        "evaluation.json": documents["DataQuality"]["evaluation.json"],
        "statistics.json": statistics,
        "constraint_violations.json": {"violations": violations},
    }
    body = html_report({"DataQuality": files}, {paths.DATA_STATISTICS: before})
    assert len(body) < 1_000_000
    text = Page(body).text
    assert "9,900 further features are left out" in text
    assert "9,000 violations: the first 500 are listed, 8,500 left out" in text
    assert body.index(b"<h3><bdi>c9999</bdi>") < body.index(b"<h3>", body.index(b"<h3>") + 4)


def test_the_same_documents_give_the_same_bytes(violated):
    documents, body = violated
    shuffled = {kind: dict(reversed(files.items())) for kind, files in reversed(documents.items())}
    assert html_report(shuffled, dict(reversed(decoded_baseline().items()))) == body


# Hostile names --------------------------------------------------------------------------------------------------------


def hostile(document):
    """Every text and every name in a document, replaced by one that tries to become markup; layouts stay."""
    if isinstance(document, dict):
        return {key: hostile(value) for key, value in document.items()}
    if isinstance(document, list):
        return [hostile(value) for value in document]
    return HOSTILE if isinstance(document, str) and document not in ("EVALUATED", "NaN") else document


def attacked():
    documents, known = decoded(window(hurt(), measured=BAD_LINES).documents), decoded_baseline()
    for files in documents.values():
        for name in files:
            files[name] = hostile(files[name])
        files["evaluation.json"]["bad_records"] = {HOSTILE: {"count": 1, "sample": [HOSTILE]}}
        files["evaluation.json"]["broken"] = [HOSTILE]
    quality = documents["ModelQuality"]["statistics.json"]["binary_classification_metrics"]
    quality["confusion_matrix"] = {HOSTILE: {HOSTILE: 1}}
    for stage in ("pre_training_bias_metrics", "post_training_bias_metrics"):
        facets = documents["ModelBias"]["analysis.json"][stage]["facets"]
        documents["ModelBias"]["analysis.json"][stage]["facets"] = {HOSTILE: facets["State"]}
    documents["ModelExplainability"]["analysis.json"]["explanations"]["kernel_shap"] = {
        HOSTILE: {"global_shap_values": {HOSTILE: 1.0, f"{HOSTILE}2": 0.5}}
    }
    return html_report(
        documents, {path: hostile(document) for path, document in known.items() if "explain" not in path}
    )


def test_captured_names_never_become_markup(violated):
    page, fair = Page(attacked()), Page(violated[1])
    allowed = {tag for tag, _ in fair.elements} | {"circle", "ul", "li", "div"}
    assert {tag for tag, _ in page.elements} <= allowed
    assert not page.unbalanced and not page.open
    names = {name for _, attributes in page.elements for name in attributes}
    assert names <= {name for _, attributes in fair.elements for name in attributes}
    assert not [name for name in names if name.startswith("on") or name in ("src", "srcdoc", "action")]
    # It stands there as text, cut, without what HTML cannot say.
    assert page.text.count("<script>alert(1)</script>") > 20
    assert "\x00" not in page.text and "&lt;b&gt;" in page.text


def test_nothing_is_asked_of_a_network_and_nothing_runs(violated):
    for body in (violated[1], attacked()):
        page = Page(body)
        assert {tag for tag, _ in page.elements}.isdisjoint(
            {"script", "link", "img", "iframe", "object", "form", "base"}
        )
        assert all(each["href"].startswith("#") for each in page.all("a"))
        assert "url(" not in STYLE and "@import" not in STYLE
        policy = next(each["content"] for each in page.all("meta") if "http-equiv" in each)
        assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_markup_escapes_what_is_no_markup():
    assert markup.element("p", "<b>", title='"&') == '<p title="&quot;&amp;">&lt;b&gt;</p>'
    assert markup.element("p", markup.element("b", "x")) == "<p><b>x</b></p>"
    assert markup.text("\x00\ud800").encode() == "\ufffd\ufffd".encode()
    assert markup.foreign("") == "<bdi>(empty)</bdi>"
    assert len(markup.clipped("x" * 1_000_000)) == markup.LONGEST_NAME


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0 %"), (1.0, "100 %"), (1e-9, "< 0.1 %"), (0.99999, "> 99.9 %"), (0.1234, "12.3 %")],
)
def test_shares_are_not_rounded_to_nothing_or_all(value, said):
    assert markup.share(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(1234567, "1,234,567"), (0.123456, "0.1235"), (1e308, "1e+308"), ("Infinity", "∞"), ("NaN", "not defined"),
     (None, "not defined"), (2**60, "1.153e+18")],
)  # fmt: skip
def test_figures(value, said):
    assert markup.figure(value) == said


# Baselines of others --------------------------------------------------------------------------------------------------

JUNK = (None, True, -1, 0, 2**62, 1e308, "x", "NaN", [], {}, [1.0], {"x": 1})


def places(document, path=()):
    """Every place in a document, as the keys that lead there."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield (*path, key)
            yield from places(value, (*path, key))
    elif isinstance(document, list):
        for key, value in enumerate(document[:3]):
            yield (*path, key)
            yield from places(value, (*path, key))


PLACES = [(path, place) for path, document in decoded_baseline().items() for place in places(document)]
READERS = {
    paths.DATA_STATISTICS: paths.read_statistics,
    paths.DATA_CONSTRAINTS: paths.read_constraints,
    paths.MODEL_CONSTRAINTS: paths.read_model_constraints,
    paths.BIAS_CONSTRAINTS: paths.read_analysis,
    paths.EXPLAINABILITY_CONSTRAINTS: paths.read_analysis,
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(JUNK)), min_size=1, max_size=3))
def test_a_baseline_of_any_shape_makes_a_page_or_a_named_error(violated, changes):
    known = decoded_baseline()
    for (path, (*way, last)), junk in changes:
        node = known[path]
        try:
            for key in way:
                node = node[key]
            node[last] = deepcopy(junk)
        except (KeyError, IndexError, TypeError):
            pass  # an earlier change took the place away
    try:
        for path, read in READERS.items():
            read(json.dumps(known[path]).encode(), path)
        page = Page(html_report(violated[0], known))
    except (UnreadableError, MisconfiguredError):
        return
    assert not page.unbalanced and not page.open


def test_a_feature_that_the_baseline_tells_in_another_way_is_said(violated):
    known = decoded_baseline()
    feature = known[paths.DATA_STATISTICS]["features"][-1]
    feature["numerical_statistics" if "numerical_statistics" in feature else "string_statistics"]["common"] = "many"
    assert "not drawable from the baseline" in Page(html_report(violated[0], known)).text


# Reading it -----------------------------------------------------------------------------------------------------------


def test_the_page_can_be_read_without_eyes(violated):
    page = Page(violated[1])
    assert not page.unbalanced and not page.open
    assert page.all("html") == [{"lang": "en"}] and len(page.all("title")) == 1 and len(page.all("h1")) == 1
    assert len(page.all("caption")) == len(page.all("table"))
    for chart in page.all("svg"):
        assert chart.get("aria-hidden") == "true" or (chart["role"] == "img" and chart["aria-label"])
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert set(ids.values()) == {1}
    assert {each["href"][1:] for each in page.all("a")} == set(ids)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))


def luminance(colour):
    colour = "".join(2 * digit for digit in colour) if len(colour) == 3 else colour
    parts = [int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_and_marks_have_contrast(scheme):
    palettes = [dict(re.findall(r"--([a-z-]+):#([0-9a-f]+)", block)) for block in re.findall(r":root{(.*?)}", STYLE)]
    colours = palettes[scheme]
    for text, grounds in {
        "text": ("page", "card", "bad-fill", "good-fill", "open-fill"),
        "quiet": ("page", "card", "open-fill"),
        "bad": ("page", "card", "bad-fill"),
        "good": ("good-fill",),
        "link": ("page",),
    }.items():
        for ground in grounds:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for mark in ("baseline", "live"):
        for ground in ("page", "card"):
            assert contrast(colours[mark], colours[ground]) >= 3, (mark, ground)
    assert contrast(colours["live"], colours["baseline-fill"]) >= 3


# Charts ---------------------------------------------------------------------------------------------------------------


def side(*values):
    return quantiles_of(np.array(values, dtype=float)).weighted()


def test_a_far_tail_is_left_out_of_the_axis_and_said():
    values = np.linspace(0, 1, 1000)
    assert "tails left out" in charts.histogram("x", side(*values), side(*values[:-1], 1e9))
    assert "tails left out" not in charts.histogram("x", side(*values), side(*values))


def test_the_greatest_width_of_numbers_can_be_drawn():
    body = charts.histogram("x", side(-1e308, 0.0, 1e308), side(*[1e308] * 3))
    assert "nan" not in body and "inf" not in body


def test_a_histogram_is_as_high_as_its_greatest_share():
    assert "75.0 % of rows" in charts.histogram("x", None, side(0.0, 0.01, 0.02, 9.0))


def test_curves_are_thinned_to_what_a_screen_shows_and_keep_their_ends():
    xs = np.linspace(0, 1, 10_000)
    ys = np.random.Generator(np.random.PCG64(2)).uniform(size=10_000)
    thin = charts.thinned(xs, ys)
    assert len(thin[0]) <= 600 and (thin[0][0], thin[0][-1]) == (0.0, 1.0)
    assert thin[1][-1] == ys[-1]
    smooth = charts.thinned(xs, xs**2)
    assert len(smooth[0]) > 100
    assert np.abs(np.interp(xs, *smooth) - xs**2).max() < 0.01


def test_ranges_of_shares_are_wilsons():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for positive, rows, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611),
                                      (1, 29, 0.0061, 0.1718)):  # fmt: skip
        assert charts.wilson(positive / rows, rows) == pytest.approx((low, high), abs=5e-5)
