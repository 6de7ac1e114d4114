"""Every input that the fuzzer is started from, and every one that once broke a reader, is read as the law says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from trials.fuzz.__main__ import READERS as OF_THE_COMMAND
from trials.fuzz.readers import KINDS_OF_FACTS, READERS
from trials.fuzz.replay import kept_inputs

ROOT = Path(__file__).parents[3]


@cache
def replayed(hash_seed: str) -> dict[str, dict[str, str]]:
    """What each kept input led to, in a process of its own: memory is measured there."""
    process = subprocess.run(
        [sys.executable, "-m", "trials.fuzz.replay"],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        text=True,
    )
    assert process.stdout, process.stderr
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    return {line["input"]: line for line in lines}


@pytest.mark.xdist_group("replay")
@pytest.mark.parametrize("path", [path.relative_to(ROOT / "trials/fuzz").as_posix() for _, path in kept_inputs()])
def test_a_kept_input_is_read_as_the_law_says(path: str):
    assert replayed("1")[path]["broken"] == ""


@pytest.mark.xdist_group("replay")
def test_the_order_of_sets_changes_no_outcome():
    outcomes = {path: line["outcome"] for path, line in replayed("1").items()}
    assert outcomes == {path: line["outcome"] for path, line in replayed("2").items()}


def test_every_reader_has_a_corpus_and_is_in_the_command():
    assert tuple(READERS) == OF_THE_COMMAND
    assert {reader for reader, path in kept_inputs() if path.parts[-3] == "corpus"} == set(READERS)
    assert {reader for reader, _ in kept_inputs()} == set(READERS), "an input of no reader"


def test_the_kinds_of_facts_are_found():
    assert {"Champion", "RetrainClaim", "Due", "Evaluation"} <= {kind.__name__ for kind in KINDS_OF_FACTS}
