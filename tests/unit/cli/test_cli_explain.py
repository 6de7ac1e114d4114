"""`plumbline explain`: a stored decision in words, from the account or from a folder of reports."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib import wiring
from chalicelib.facts import decisions
from chalicelib.facts.decisions import Evidence, Outcome, Record
from emulator.memory import MemoryServices, memory_services
from plumbline.cli.explain import FILES_SHOWN
from plumbline.cli.main import main

FIRST, SECOND, THIRD = "abc1" + "0" * 60, "abc2" + "0" * 60, "def3" + "0" * 60


def record(decision_id: str, **changes: Any) -> Record:
    usual: dict[str, Any] = {
        "decision_id": decision_id,
        "monitor": "churn",
        "endpoint": "churn-endpoint",
        "window": "2026-01-05T12:00:00Z",
        "action": "RETRAIN",
        "reasons": ("excess loss 0.6000 reached it", "2 ModelQuality violations"),
        "serve": "churn/2",
        "excess": 0.6,
        "reference": 0.2,
        "differences": {"churn/3": 0.0, "churn/2": -0.1, "churn/1": 0.05},
        "champion": "churn/3",
        "generation": 7,
        "policy_version": "v1",
        "evaluation_digest": "e1",
        "evidence_digest": "e2",
        "evidence": (Evidence("s3://captures/a", "etag-a"), Evidence("s3://labels/b", "etag-b")),
        "made_at": "2026-01-05T13:05:00Z",
    }
    return Record(**{**usual, **changes})


OUTCOMES = [
    Outcome(
        decision_id=FIRST, window="w", kind="started", detail="pipeline execution arn:1", at="2026-01-05T13:06:00Z"
    ),
    Outcome(decision_id=SECOND, window="w", kind="refused", detail="not better", at="2026-01-05T14:00:00Z"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Reports of two monitors, as the demo writes them."""
    for monitor, decision_id in (("churn", FIRST), ("churn", SECOND), ("fraud", THIRD)):
        place = tmp_path / monitor / "decisions"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{decision_id}.json").write_bytes(msgspec.json.encode(record(decision_id, monitor=monitor)))
    (tmp_path / "outcomes.json").write_bytes(msgspec.json.encode(OUTCOMES))
    return tmp_path


@pytest.fixture
def services() -> Iterator[MemoryServices]:
    found = memory_services(lambda: datetime(2026, 1, 5, tzinfo=UTC))
    for decision_id in (FIRST, SECOND):
        decisions.save(found.ledger, record(decision_id))
    for outcome in OUTCOMES:
        decisions.save_outcome(found.ledger, "churn", outcome)
    wiring.use(found)
    yield found
    wiring.use(None)


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["explain", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["explain", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("plumbline: ")
    return err


EXPLANATION = f"""\
decision   {FIRST}
monitor    churn (endpoint churn-endpoint)
window     2026-01-05T12:00:00Z, decided at 2026-01-05T13:05:00Z
action     RETRAIN, serve churn/2
because
  - excess loss 0.6000 reached it
  - 2 ModelQuality violations
champion   churn/3 (generation 7)
excess     0.6000 window-losses since the last start, reference 0.2000
decayed paired loss against what was served
  -0.1000  churn/2
  +0.0000  churn/3
  +0.0500  churn/1
led to
  2026-01-05T13:06:00Z  started: pipeline execution arn:1
policy     version v1
evidence   digest e2
  s3://captures/a  [etag-a]
  s3://labels/b  [etag-b]
"""


def test_from_the_table(capsys: pytest.CaptureFixture[str], services: MemoryServices):
    assert output_of(capsys, FIRST) == EXPLANATION


@pytest.mark.parametrize("decision", [FIRST, "abc1", "abc10"])
def test_from_a_folder(capsys: pytest.CaptureFixture[str], folder: Path, decision: str):
    assert output_of(capsys, decision, "--from", str(folder)) == EXPLANATION


def test_a_folder_without_outcomes(capsys: pytest.CaptureFixture[str], folder: Path):
    (folder / "outcomes.json").unlink()
    assert "led to\n  nothing to be done\n" in output_of(capsys, "abc1", "--from", str(folder))


def test_a_decision_of_another_monitor_has_its_own_outcomes(capsys: pytest.CaptureFixture[str], folder: Path):
    text = output_of(capsys, "def", "--from", str(folder))
    assert "monitor    fraud" in text and "led to\n  nothing to be done\n" in text


def test_a_decision_while_the_reference_is_learned(capsys: pytest.CaptureFixture[str], services: MemoryServices):
    quiet = record(THIRD, action="HOLD", serve="", reference=None, excess=0.0, differences={}, evidence=())
    decisions.save(services.ledger, quiet)
    text = output_of(capsys, THIRD)
    assert "action     HOLD\n" in text and "reference not learned yet\n" in text
    assert "decayed paired loss" not in text and text.endswith("evidence   digest e2\n")


def test_much_evidence_is_counted(capsys: pytest.CaptureFixture[str], services: MemoryServices):
    evidence = tuple(Evidence(f"s3://captures/{number:03}", "e") for number in range(FILES_SHOWN + 100))
    decisions.save(services.ledger, record(THIRD, evidence=evidence))
    text = output_of(capsys, THIRD)
    assert text.count("s3://captures/") == FILES_SHOWN and text.endswith("  … and 100 more\n")


def test_an_ambiguous_beginning(capsys: pytest.CaptureFixture[str], folder: Path):
    err = refused(capsys, "abc", "--from", str(folder))
    assert "2 decisions start like this (abc1000000000000, abc2000000000000" in err


@pytest.mark.parametrize("decision", ["fff", "*", "**", "?", "[a-f]", "../decisions/abc1", "/", "abc1*"])
def test_an_unknown_decision_in_a_folder(capsys: pytest.CaptureFixture[str], folder: Path, decision: str):
    err = refused(capsys, decision, "--from", str(folder))
    assert err.startswith(f"plumbline: decision {decision}: no file") and str(folder) in err


def test_a_folder_that_does_not_exist(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert "no file" in refused(capsys, "abc", "--from", str(tmp_path / "missing"))


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"decision_id": "abc1"}', b"\xff"])
@pytest.mark.parametrize(
    "name, expected", [(f"churn/decisions/{FIRST}.json", "a decision"), ("outcomes.json", "a list")]
)
def test_a_file_that_is_something_else(
    capsys: pytest.CaptureFixture[str], folder: Path, name: str, expected: str, body: bytes
):
    if name == "outcomes.json" and body == b"[]":
        body = b"{}"
    (folder / name).write_bytes(body)
    err = refused(capsys, "abc1", "--from", str(folder))
    assert f"{folder / name}: expected {expected}" in err


@pytest.mark.parametrize("decision", ["abc1", "fff", FIRST.upper()])
def test_an_unknown_decision_in_the_table(capsys: pytest.CaptureFixture[str], services: MemoryServices, decision: str):
    err = refused(capsys, decision)
    assert err == f"plumbline: decision {decision}: not in the table (expected the whole id, 64 hex digits)\n"
