"""docs/deployment.md says what the code says: parameters, policies, fields of a stage's file, counts."""

from __future__ import annotations

import json
import re

from infra.package import ROOT
from infra.policies import CALLED
from infra.stage_file import StageFile
from infra.template import merge_template, parameters

DOCUMENT = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    begin = DOCUMENT.index(f"\n## {title}\n")
    end = DOCUMENT.find("\n## ", begin + 1)
    return DOCUMENT[begin:end]


def rows(text: str) -> list[list[str]]:
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line] for line in lines]


def test_parameters_and_their_defaults() -> None:
    documented = {row[0].strip("`"): row[1].strip("`") for row in rows(section("Parameters"))}
    words = {None: "required", "": "empty"}
    meant = {name: words.get(each.get("Default"), str(each.get("Default"))) for name, each in parameters("dev").items()}
    assert documented == meant


def test_what_each_function_may_do() -> None:
    documented = {
        row[0].strip("`"): set(re.findall(r"`([^`]+)`", row[1])) for row in rows(section("What each function may do"))
    }
    meant = {
        function: {action for each in statements for action in each.actions} for function, statements in CALLED.items()
    }
    assert documented == meant


def test_the_example_of_a_stages_file() -> None:
    found = re.search(r"```json\n(.*?)```", section("A stage's file"), re.DOTALL)
    assert found is not None
    assert set(json.loads(found[1])) | {"bucket"} == set(StageFile.__struct_fields__)


def test_how_many_alarms() -> None:
    resources = merge_template("dev")["Resources"].values()
    alarms = sum(each.get("Type") == "AWS::CloudWatch::Alarm" for each in resources)
    assert f"{alarms} alarms" in DOCUMENT
