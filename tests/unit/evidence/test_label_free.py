"""Quality without labels: the estimate is right where inputs move, and is withdrawn where the relation moves."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import f1_score, roc_auc_score

from chalicelib.evidence.error_model import ErrorModel, errors_of, estimate_error, fit_error_model
from chalicelib.evidence.gap import REGRESSION_FLOOR, Gap, gap_alarms, gap_of, point, regression_gap
from chalicelib.evidence.label_free import (
    calibrate,
    calibrate_for,
    cells_of,
    estimate,
    isotonic,
    metrics_of,
    realised,
)
from chalicelib.states.row_sample import RowSample, row_hashes, row_sample
from chalicelib.states.scores import Tally, tally
from chalicelib.states.selection import binary_selection

NAN = float("nan")


def generator(seed):
    return np.random.Generator(np.random.PCG64(seed))


def drawn(rows, seed, shift=0.0, flip=0.0):
    """Two columns; the score sees only the first, the label both. `flip`: share of labels that are turned round."""
    draw = generator(seed)
    columns = draw.normal(size=(rows, 2))
    columns[:, 1] += shift
    truth = 1.0 / (1.0 + np.exp(-2.0 * columns[:, 0] - columns[:, 1]))
    scores = 1.0 / (1.0 + np.exp(-2.0 * columns[:, 0]))
    labels = (draw.random(rows) < truth).astype(float)
    turned = draw.random(rows) < flip
    return columns, scores, (scores > 0.5).astype(float), np.where(turned, 1.0 - labels, labels)


def selection_of(data, labelled=True):
    _, scores, served, labels = data
    return binary_selection(scores, served, labels if labelled else np.full(len(labels), NAN))


def tally_of_rows(data):
    _, scores, served, labels = data
    return tally(scores, served, labels)


def sample_of(data, most=20_000):
    columns, scores, served, labels = data
    hashes = row_hashes(np.arange(len(scores), dtype=np.uint64), np.zeros(len(scores), dtype=np.uint64))
    features = {"a": columns[:, 0].tolist(), "b": columns[:, 1].tolist()}
    return row_sample(hashes, features, scores, served, labels, most)


def test_isotonic_is_scikit_learns():
    draw = generator(1)
    rows = draw.integers(0, 5, 200).astype(float)
    positives = draw.binomial(rows.astype(int), np.linspace(0.1, 0.9, 200)).astype(float)
    used = rows > 0
    theirs = IsotonicRegression().fit(np.flatnonzero(used), positives[used] / rows[used], sample_weight=rows[used])
    assert isotonic(rows - positives, positives) == pytest.approx(theirs.predict(np.arange(200)))


def test_metrics_of_cells_are_scikit_learns():
    _, scores, served, labels = drawn(3000, 2)
    found = realised(binary_selection(scores, served, labels))
    binned = np.floor(scores * 1000)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, binned))
    assert found["f1"] == pytest.approx(f1_score(labels, served))
    assert found["accuracy"] == np.mean(labels == served)
    assert realised(binary_selection(scores, served, np.full(3000, NAN))) == {}
    assert np.isnan(metrics_of(np.zeros((3, 2, 2)))["f1"])


def test_an_estimate_is_close_and_labels_take_its_place():
    curve = calibrate(tally_of_rows(drawn(20_000, 3)))
    data = drawn(5000, 4)
    truth = realised(selection_of(data))
    found = estimate(selection_of(data, labelled=False), curve)
    assert (found.kind, found.rows, found.labelled) == ("estimated", 5000, 0)
    for name, figure in found.metrics.items():
        assert figure.low <= truth[name] <= figure.high
        assert figure.high - figure.low < 0.07
    columns, scores, served, labels = data
    labels[::2] = NAN
    half = estimate(selection_of((columns, scores, served, labels)), curve)
    assert half.kind == "partial"
    width = {name: figure.high - figure.low for name, figure in found.metrics.items()}
    assert all(0.0 < figure.high - figure.low < width[name] for name, figure in half.metrics.items())
    full = estimate(selection_of(drawn(5000, 4)), curve)
    assert full.kind == "labelled"
    assert {name: figure.value for name, figure in full.metrics.items()} == pytest.approx(truth)
    assert all(figure.high - figure.low < 1e-9 for figure in full.metrics.values())


def test_no_curve_without_both_labels():
    scores = np.array([0.2, 0.8])
    assert calibrate(Tally()) is None
    assert calibrate(tally(scores, np.ones(2), np.ones(2))) is None
    assert calibrate(tally(scores, np.ones(2), np.array([0.0, 1.0]))).shares.tolist() == [0.0, 1.0]


def test_margins_are_calibrated_too():
    _, scores, served, labels = drawn(20_000, 3)
    margins = np.log(scores / (1.0 - scores))
    curve = calibrate(tally(margins, served, labels), margins=True)
    window = drawn(5000, 4)
    _, scores, served, labels = window
    margins = np.log(scores / (1.0 - scores))
    found = estimate(binary_selection(margins, served, np.full(5000, NAN), margins=True), curve)
    truth = realised(selection_of(window))
    assert found.metrics["accuracy"].low <= truth["accuracy"] <= found.metrics["accuracy"].high
    assert found.metrics["auc"].value == pytest.approx(truth["auc"], abs=0.02)


def test_weighting_follows_a_column_that_the_score_does_not_see():
    baseline, window = drawn(20_000, 5), drawn(20_000, 6, shift=1.0)
    cbpe = calibrate(tally_of_rows(baseline))
    pape = calibrate_for(sample_of(baseline), sample_of(window, 2048))
    truth = realised(selection_of(window))["accuracy"]
    without = estimate(selection_of(window, labelled=False), cbpe)
    weighted = estimate(selection_of(window, labelled=False), cbpe, pape)
    assert (without.method, weighted.method, weighted.claim) == ("CBPE", "PAPE", "")
    missed = [abs(each.metrics["accuracy"].value - truth) for each in (without, weighted)]
    assert missed[1] < 0.01 < 0.015 < missed[0]
    assert weighted.effective < 0.8


def test_weighting_needs_rows_and_says_where_the_window_is_unlike_the_baseline():
    baseline = sample_of(drawn(20_000, 5))
    assert calibrate_for(baseline, sample_of(drawn(2047, 6))) is None
    assert calibrate_for(sample_of(drawn(9_999, 5)), sample_of(drawn(4000, 6))) is None
    assert calibrate_for(baseline, RowSample()) is None
    window = drawn(4000, 7, shift=3.0)
    far = calibrate_for(baseline, sample_of(window, 2048))
    found = estimate(selection_of(window, labelled=False), calibrate(tally_of_rows(drawn(20_000, 5))), far)
    assert far.effective < 0.1
    assert found.method == "CBPE"
    assert "unlike the baseline" in found.claim


def gaps_of(curve, flips, rows=1000):
    windows = [selection_of(drawn(rows, 100 + place, flip=flip)) for place, flip in enumerate(flips)]
    return [(f"w{place:02}", place, gap_of(each, curve)) for place, each in enumerate(windows)]


def test_a_gap_withdraws_the_estimate_and_a_correction_takes_that_back():
    curve = calibrate(tally_of_rows(drawn(20_000, 8)))
    quiet = gaps_of(curve, [0.0] * 16)
    assert gap_alarms(quiet, looks=100) == []
    loud = gaps_of(curve, [0.0] * 8 + [0.2] * 8)
    alarms = gap_alarms(loud, looks=100)
    assert (alarms[0].first, alarms[0].windows) == ("w08", 1)
    assert gap_alarms(loud[::-1], looks=100) == alarms
    assert gap_alarms(loud[:8] + quiet[8:], looks=100) == []
    found = estimate(selection_of(drawn(1000, 200), labelled=False), curve)
    gone = point("w16", found, None, alarms)
    assert (gone.kind, gone.metrics) == ("estimated", {})
    assert gone.note.startswith("withdrawn: in window w08 the loss of 1,000 labelled rows was 0.3")
    kept = point("w16", found, None)
    assert (kept.kind, kept.metrics, kept.note) == ("estimated", found.metrics, "")
    known = point("w08", found, {"accuracy": 0.7}, alarms)
    assert (known.kind, known.metrics["accuracy"].value, known.note) == ("settled", 0.7, "")
    assert point("w17", None, None).note == "no baseline with labels to estimate from"


def test_small_gaps_need_many_windows_and_the_floor():
    curve = calibrate(tally_of_rows(drawn(20_000, 9)))
    small = gaps_of(curve, [0.04] * 16)
    alarms = gap_alarms(small, looks=1000)
    assert alarms
    assert min(alarm.windows for alarm in alarms) > 1
    assert gap_alarms(small, looks=1000, floor=0.05) == []
    # A block that misses a window does not count.
    assert all(alarm.windows < 16 for alarm in gap_alarms(small[:7] + small[8:], looks=1000))


def test_gaps_add_up():
    curve = calibrate(tally_of_rows(drawn(5000, 10)))
    one, other = drawn(500, 11), drawn(700, 12)
    both = tuple(np.concatenate(pair) for pair in zip(one, other, strict=True))
    found, whole = (
        gap_of(selection_of(one), curve) + gap_of(selection_of(other), curve),
        gap_of(selection_of(both), curve),
    )
    assert (found.rows, found.realised) == (whole.rows, whole.realised)
    assert found.expected == pytest.approx(whole.expected)
    assert found.variance == pytest.approx(whole.variance)
    assert found.resampled == pytest.approx(whole.resampled)
    assert found + Gap() == Gap() + found == found
    assert (Gap().p, Gap().change) == (1.0, 0.0)
    assert Gap(rows=10, realised=5.0).p == 0.0


def regression(rows, seed, shift=0.0, factor=1.0, most=20_000, labelled=True):
    """Errors whose size is an interaction of two columns."""
    draw = generator(seed)
    columns = draw.normal(size=(rows, 2)) + np.array([shift, 0.0])
    sizes = 0.2 + 2.0 * (columns[:, 0] > 0.5) * (columns[:, 1] > 0.0)
    served = columns[:, 0]
    labels = served + factor * sizes * draw.normal(size=rows)
    hashes = row_hashes(np.arange(rows, dtype=np.uint64), np.zeros(rows, dtype=np.uint64))
    features = {"a": columns[:, 0].tolist(), "b": columns[:, 1].tolist()}
    nothing = np.full(rows, NAN)
    return row_sample(hashes, features, nothing, served, labels if labelled else nothing, most), np.abs(labels - served)


def test_the_error_model_follows_inputs_and_its_gap_finds_what_it_cannot_know():
    baseline, errors = regression(20_000, 13)
    model = fit_error_model(baseline)
    assert model.mean == pytest.approx(errors.mean())
    window, truth = regression(5000, 14, shift=1.0, most=2048, labelled=False)
    found = estimate_error(model, window)
    assert (found.method, found.kind) == ("error model", "estimated")
    figure = found.metrics["mae"]
    assert abs(figure.value - truth.mean()) < 0.2 * abs(errors.mean() - truth.mean())
    assert figure.low <= truth.mean() <= figure.high
    assert ErrorModel.from_bytes(model.to_bytes()) == model
    labelled, _ = regression(5000, 14, shift=1.0, most=2048)
    full = estimate_error(model, labelled)
    assert full.kind == "labelled"
    assert full.metrics["mae"].value == pytest.approx(errors_of(labelled).mean())
    fine = regression_gap(model, labelled)
    worse = regression_gap(model, regression(5000, 15, factor=1.5, most=2048)[0])
    assert gap_alarms([("a", 0, fine)], looks=100, floor=REGRESSION_FLOOR) == []
    assert [
        alarm.first for alarm in gap_alarms([("a", 0, fine), ("b", 1, worse)], looks=100, floor=REGRESSION_FLOOR)
    ] == ["b", "a"]
    assert regression_gap(model, window) == Gap()
    assert estimate_error(model, RowSample()) is None
    assert fit_error_model(regression(999, 16)[0]) is None


def test_cells_have_labelled_and_open_rows():
    scores = np.array([0.1, 0.1, 0.9, 0.9, 0.9])
    served, labels = (scores > 0.5).astype(float), np.array([1.0, NAN, NAN, 1.0, NAN])
    known, unlabelled, bins = cells_of(binary_selection(scores, served, labels))
    assert bins.tolist() == [100, 900]
    assert known.tolist() == [[[0, 1], [0, 0]], [[0, 0], [0, 1]]]
    assert unlabelled.tolist() == [[1, 0], [0, 2]]
