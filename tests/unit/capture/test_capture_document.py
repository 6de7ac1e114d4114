"""docs/capture.md says what is so."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from plumbline.capture import CaptureWriter, Counts
from plumbline.cli.inputs import logged

TEXT = (Path(__file__).parents[3] / "docs/capture.md").read_text(encoding="utf-8")


def test_every_argument_of_the_writer_is_told() -> None:
    table = TEXT.partition("| argument | default |")[2].partition("\n\n")[0]
    told = {
        name for cell in re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert told == set(inspect.signature(CaptureWriter).parameters)
    defaults = {name: each.default for name, each in inspect.signature(CaptureWriter).parameters.items()}
    assert "| `max_requests` | 10,000 |" in table and defaults["max_requests"] == 10_000
    assert "| `max_bytes` | 64 MiB |" in table and defaults["max_bytes"] == 64 << 20
    assert "| `max_payload_bytes` | 1 MiB |" in table and defaults["max_payload_bytes"] == 1 << 20
    assert "| `flush_seconds` | 60 |" in table and defaults["flush_seconds"] == 60


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"app": None}
    for block in re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        exec(block, names)
    assert len(list(tmp_path.glob("captures/churn/AllTraffic/*/*/*/*/*.jsonl"))) == 1
    assert names["writer"].counts == Counts(written=1, files=1)


def test_every_type_of_event_is_told() -> None:
    table = TEXT.partition("| which events |")[2].partition("\n")[0]
    told = set(re.findall(r"[`.](\w+)`", table))
    assert told == {*logged._INPUTS, *logged._OUTPUTS}
