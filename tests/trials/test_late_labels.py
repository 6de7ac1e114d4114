"""The law of `make late-labels` holds on a few hours of the demo's captures, and each part of it can be broken.

A model is really trained and asked; the functions of app.py work over the fakes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from demo.account import FIRST
from trials.late_labels.laws import label_maturity
from trials.late_labels.plan import HORIZON, Plan, Told, plan
from trials.late_labels.play import after_all, play, windows
from trials.late_labels.recording import Recording, record
from trials.late_labels.run import Ended, Verdict, at_once, ended, judge
from trials.late_labels.summary import MOMENTS, Watch, chosen, conclusion

HOURS = 4


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record(HOURS)


@pytest.fixture(scope="module")
def drawn(recording: Recording) -> Plan:
    return plan(recording.asked, seed=5)


@pytest.fixture(scope="module")
def watch(recording: Recording) -> Watch:
    return Watch(chosen(windows(recording)))


@pytest.fixture(scope="module")
def late(recording: Recording, drawn: Plan, watch: Watch) -> Ended:
    return ended(play(recording, [*drawn.deliveries, *drawn.after_the_seal], passed=watch))


@pytest.fixture(scope="module")
def every(recording: Recording, drawn: Plan) -> Ended:
    return at_once(recording, drawn.at_once(after_all(recording, drawn.deliveries)))


@pytest.fixture(scope="module")
def final(recording: Recording, drawn: Plan) -> Ended:
    return at_once(recording, drawn.final_at_once(after_all(recording, drawn.deliveries)))


@pytest.fixture(scope="module")
def verdict(late: Ended, every: Ended, final: Ended, recording: Recording, drawn: Plan) -> Verdict:
    return judge(late, every, final, recording, drawn)


def key(run: Ended, *parts: str) -> str:
    return next(name for name in sorted(run.stored) if all(part in name for part in parts))


def with_file(run: Ended, name: str, body: bytes) -> Ended:
    return Ended({**run.stored, name: body}, run.failures)


def test_everything_that_can_befall_a_label_befalls_some(recording: Recording, drawn: Plan) -> None:
    for name in ("never", "after the seal", "corrected", "repeated", "sent again", "posts", "files", "by record"):
        assert drawn.counts[name] > 0, name
    assert abs(drawn.counts["never"] / drawn.counts["labels"] - 0.05) < 0.01
    arrivals = [each.at for each in drawn.deliveries]
    assert (max(arrivals) - min(arrivals)) > HORIZON - HORIZON / 8, "spread over the horizon"
    assert drawn.delays()[len(drawn.final) // 2] < 4 < 10 < drawn.delays()[-1], "with a long tail"
    for delivery in drawn.deliveries:
        assert all(label.known_at <= delivery.at for label in delivery.labels)
    known = [label.known_at for delivery in drawn.deliveries for label in delivery.labels]
    assert known != sorted(known), "in any order"
    again = plan(recording.asked, seed=5)
    assert again == drawn, "the same seed draws the same"
    assert plan(recording.asked, seed=6).deliveries != drawn.deliveries


def test_late_labels_end_where_labels_at_once_end(verdict: Verdict) -> None:
    assert verdict.broken == []
    assert verdict.status == 0
    assert conclusion(verdict)[-1] == "the reports end the same, and no label was lost"
    assert verdict.every.files == verdict.final.files > 10 * HOURS
    assert 0 < verdict.every.without < verdict.final.without < verdict.final.files


def test_reports_say_along_the_way_how_far_they_are_settled(late: Ended, watch: Watch, drawn: Plan) -> None:
    told = [json.loads(body) for body in label_maturity(late.stored)]
    told = [each for each in told if each["requests"]]
    assert len(told) == HOURS
    for each in told:
        coverages = [revision["label_coverage"] for revision in each["revisions"]]
        # Each restatement has news enough: many posts of a day end in some reports, not in one each.
        assert 5 < len(coverages) <= 40 and coverages[0] < 0.1
        assert 0.7 < coverages[-1] < 1.0, "some labels never come"
    assert sum(each["late_label_count"] for each in told) == drawn.counts["after the seal"]
    assert all(len(lines) == len(MOMENTS) for lines in watch.lines.values())
    assert "sealed" in watch.tables()[2 + len(MOMENTS)]


def test_a_label_that_ends_otherwise_is_found(late: Ended, every: Ended, recording: Recording, drawn: Plan) -> None:
    """Planted: one of the final labels is another one when they come at once."""
    planted = replace(drawn, final=(_flipped(drawn.final[0]), *drawn.final[1:]))
    run = at_once(recording, planted.final_at_once(after_all(recording, drawn.deliveries)))
    found = judge(late, every, run, recording, drawn)
    assert found.status == 1
    assert f"final labels at once: {drawn.final[0].of.id}: merged with another label" in found.broken
    assert any("/merge/" in words and "differs in line" in words for words in found.final.different)
    assert any("evaluation.json" in words for words in found.final.different)
    assert found.every.different == []
    assert conclusion(found)[-1] == "the law is broken"


def test_a_label_that_is_lost_is_found(late: Ended, every: Ended, recording: Recording, drawn: Plan) -> None:
    """Planted: one of the final labels does not come."""
    planted = replace(drawn, final=drawn.final[1:])
    run = at_once(recording, planted.final_at_once(after_all(recording, drawn.deliveries)))
    found = judge(late, every, run, recording, drawn)
    assert any(words.startswith("final labels at once: the reports count") for words in found.broken)
    assert found.final.different


def _flipped(label: Told) -> Told:
    return replace(label, values=(1 - label.values[0], *label.values[1:]))


def test_fields_that_may_differ_may_and_no_others(
    late: Ended, every: Ended, final: Ended, recording: Recording, drawn: Plan
) -> None:
    name = next(each for each in sorted(late.stored) if each.endswith("/evaluation.json") and _untimed(late, each))

    def differing(*path: str) -> tuple[int, int]:
        document = json.loads(late.stored[name])
        place = document
        for each in path[:-1]:
            place = place[each]
        place[path[-1]] = 12345
        changed = with_file(late, name, json.dumps(document).encode())
        found = judge(changed, every, final, recording, drawn)
        return len(found.every.different), len(found.final.different)

    assert differing("label_ages") == (0, 0)
    assert differing("inputs", "label_objects") == (1, 0)
    assert differing("inputs", "labelled_rows") == (1, 1)
    assert differing("served_loss") == (1, 1)


def _untimed(late: Ended, name: str) -> bool:
    document: Mapping[str, object] = json.loads(late.stored[name])
    hour = int(str(document["window"]["start"])[11:13])  # type: ignore[index]
    return f"/{FIRST}-model-quality/" in name and hour % 2 == 1 and document["served_loss"] is not None


def test_each_other_part_of_the_law_can_be_broken(
    late: Ended, every: Ended, final: Ended, recording: Recording, drawn: Plan
) -> None:
    def broken(run: Ended) -> str:
        return "\n".join(judge(run, every, final, recording, drawn).broken)

    statistics = key(late, f"/{FIRST}-model-quality/", "statistics.json")
    assert f"{statistics}: " in broken(with_file(late, statistics, late.stored[statistics] + b" "))
    less = Ended({name: body for name, body in late.stored.items() if name != statistics}, [])
    assert f"{statistics}: only in the run with labels at once" in broken(less)

    merged = key(late, "/merge/")
    twice = late.stored[merged] + late.stored[merged].splitlines(keepends=True)[0]
    assert "was merged twice" in broken(with_file(late, merged, twice))

    report = next(name for name in sorted(late.stored) if name.endswith("label_maturity.json") and _listed(late, name))
    told = json.loads(late.stored[report])
    forgotten = json.dumps({**told, "late_label_count": 0}).encode()
    assert "labels came after the seal" in broken(with_file(late, report, forgotten))
    once = json.dumps({**told, "revisions": told["revisions"][-1:]}).encode()
    assert "was never restated" in broken(with_file(late, report, once))
    gone = Ended({name: body for name, body in late.stored.items() if name != told["revisions"][0]["key"]}, [])
    assert "a revision of" in broken(gone)
    assert "a function failed" in broken(Ended(late.stored, ["a function failed"]))


def _listed(late: Ended, name: str) -> bool:
    return bool(json.loads(late.stored[name])["late_label_count"])


def test_a_correction_that_is_lost_is_found(recording: Recording, drawn: Plan, late: Ended, final: Ended) -> None:
    """Planted: of corrected labels only what was wrong comes."""
    wrong = {label.of for each in drawn.deliveries for label in each.labels if label.values != label.of.truth}
    assert len(wrong) == drawn.counts["corrected"]
    deliveries = []
    for each in drawn.at_once(after_all(recording, drawn.deliveries)):
        kept = tuple(label for label in each.labels if label.of not in wrong or label.values != label.of.truth)
        deliveries += [replace(each, labels=kept)] if kept else []
    found = judge(late, at_once(recording, deliveries), final, recording, drawn)
    told = [words for words in found.broken if "merged with another label" in words]
    assert len(told) == len({each.id for each in wrong})
    assert found.every.different and not found.final.different
