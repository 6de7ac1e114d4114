"""Packaging: the same sources give the same bytes, Chalice's silence is not believed, errors are one line."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from chalicelib.topology import WEBHOOK
from infra import package
from infra.expressions import logical
from infra.package import PackageError, check_stage, main, rewrite_zip, run_chalice
from infra.permissions import Deployment
from infra.template import FUNCTIONS, merge_template
from plumbline.cli.account.bucket_rules import rule_name
from plumbline.cli.account.stage_checks import lets_send


def test_zips_are_the_same_bytes_whatever_the_order_and_the_times(tmp_path: Path) -> None:
    for name, files, year in (("a", ["x.py", "y.py"], 2001), ("b", ["y.py", "x.py"], 2020)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for file in files:
                archive.writestr(zipfile.ZipInfo(file, (year, 1, 1, 0, 0, 0)), file.encode())
            archive.writestr("__pycache__/x.pyc", name)
        rewrite_zip(tmp_path / f"{name}.zip", tmp_path / f"{name}-new.zip")
    assert (tmp_path / "a-new.zip").read_bytes() == (tmp_path / "b-new.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a-new.zip") as archive:
        assert archive.namelist() == ["x.py", "y.py"]
        assert archive.getinfo("x.py").external_attr >> 16 == 0o644, "Lambda must be able to read it"


def test_the_template_of_a_stage_is_always_the_same() -> None:
    assert merge_template("dev") == merge_template("dev")
    assert merge_template("dev") != merge_template("prod")


def test_each_function_has_its_own_policy_file(tmp_path: Path) -> None:
    package.write_source(tmp_path / "source", "dev", "arm64")
    config = package.chalice_config("dev", "arm64")
    functions = config["stages"]["dev"]["lambda_functions"]
    assert set(functions) == {package.API_HANDLER if name == WEBHOOK else name for name in FUNCTIONS}
    for settings in functions.values():
        assert (tmp_path / "source" / ".chalice" / settings["iam_policy_file"]).is_file()


def test_no_other_file_of_the_repository_is_given_to_chalice(tmp_path: Path) -> None:
    package.write_source(tmp_path / "source", "dev", "arm64")
    assert sorted(path.name for path in (tmp_path / "source").iterdir()) == [
        ".chalice",
        "app.py",
        "chalicelib",
        "requirements.txt",
    ]
    assert not list((tmp_path / "source").rglob("__pycache__"))


@pytest.mark.parametrize(
    ("says", "status", "message"),
    [
        (
            "Creating shared layer deployment package.\n\nCould not install dependencies:\nnumpy==2.4.6\nYou will have",
            0,
            "no wheel for Lambda of numpy==2.4.6",
        ),
        ("Traceback\nModuleNotFoundError: No module named 'msgspec'", 1, "failed: ModuleNotFoundError: No module"),
        ("", 1, "it said nothing"),
    ],
)
def test_what_chalice_says_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, status: int, message: str
) -> None:
    """Chalice leaves a package without a wheel out and ends with 0."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "chalice"
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\nexit {status}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    with pytest.raises(PackageError) as raised:
        run_chalice(tmp_path, tmp_path / "made", "dev", tmp_path / "merge.json")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_wrong_stage_is_refused_before_anything_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    for stage in ("Prod", "", "a" * 21, "1st", "x_y", "dev-2"):
        with pytest.raises(PackageError, match="expected a lower-case letter"):
            check_stage(stage)
    assert main(["--stage", "Prod"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_python_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    """A name on PATH may be a version manager's shim."""
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/bin:/usr/bin", "HOME": str(tmp_path), "PYENV_ROOT": str(tmp_path)}
    done = subprocess.run(
        ["sh", str(package.ROOT / "infra" / "find-python")], env=environment, capture_output=True, text=True
    )
    assert str(shim) not in done.stdout
    if done.returncode:
        assert done.stderr.startswith("Packaging needs Python 3.12, 3.13 or 3.14")
        assert done.stderr.count("\n") == 1


def test_a_python_that_runs_is_found(tmp_path: Path) -> None:
    """An emulator for 3.12: whatever says where it is when it is asked."""
    found = tmp_path / "python3.13"
    found.write_text(f"#!/bin/sh\necho {found}\n")
    found.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:/bin:/usr/bin", "PYENV_ROOT": "/nowhere"}
    environment.pop("PYTHON", None)
    done = subprocess.run(
        ["sh", str(package.ROOT / "infra" / "find-python")], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(found)


def resolved(value: Any, deployment: Deployment) -> Any:
    """A policy document as the deployed queue has it."""
    if isinstance(value, list):
        return [resolved(each, deployment) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and next(iter(value)) in ("Ref", "Fn::GetAtt", "Fn::Sub", "Fn::If"):
        return deployment.resolve(value)
    return {name: resolved(each, deployment) for name, each in value.items()}


@pytest.mark.parametrize("queue", ["captures", "ground-truth"])
def test_the_queues_take_the_rules_that_connect_makes(queue: str) -> None:
    """`plumbline connect` refuses a queue that does not let its rules send; its own judgement is asked here."""
    deployment = Deployment("dev", "123456789012", "eu-west-1", {})
    resources = merge_template("dev")["Resources"]
    rule = deployment.arn("events", f"rule/{rule_name('dev', queue, 'somebodys-bucket')}")
    for kind in ("Queue", "DeadQueue"):
        policy = resources[logical(queue, f"{kind}Policy")]["Properties"]["PolicyDocument"]
        assert lets_send(json.dumps(resolved(policy, deployment)), rule)
        other = rule.replace("plumbline-dev-", "plumbline-prod-")
        assert not lets_send(json.dumps(resolved(policy, deployment)), other)
