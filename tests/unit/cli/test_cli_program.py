"""`plumbline` as a process: what it does with an output that cannot spell or take its words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest

from plumbline.cli.main import main
from tests.unit.cli.evaluating import line

ROOT = Path(__file__).parents[3]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only some systems have a full device")


def program(folder: Path, *arguments: str, stdout: str = "", **environment: str) -> tuple[int, str, str]:
    """Status, output and errors of the program; `stdout`: a path that its output goes to."""
    done = subprocess.run(
        [sys.executable, "-m", "plumbline.cli.main", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=open(stdout, "w") if stdout else subprocess.PIPE,  # noqa: SIM115
        stderr=subprocess.PIPE,
    )
    return done.returncode, (done.stdout or b"").decode(), done.stderr.decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n5,6\n")
    assert program(tmp_path, "baseline", "t.csv", "--out", "b")[0] == 0
    return tmp_path


def test_a_capture_file_whose_name_is_no_utf8_is_named_all_the_same(folder: Path) -> None:
    (folder / "captures").mkdir()
    with open(os.fsencode(folder) + b"/captures/\xff.jsonl", "w") as file:
        file.write("\n".join(line(n, "1,2", "0.5") for n in range(40)) + "\n{bad\n")
    given = ("evaluate", "--captures", "captures", "--baseline", "b", "--out", "o")
    for environment in ({}, ASCII):
        status, out, err = program(folder, *given, **environment)
        assert (status, err) == (0, "") and "captures/?.jsonl line 41: " in out
    document = json.loads((folder / "o/data_quality/evaluation.json").read_text())
    [bad] = document["bad_lines"]["sample"]
    assert bad["key"] == "captures/\ufffd.jsonl"


def test_what_the_output_cannot_spell_is_replaced(folder: Path) -> None:
    status, out, err = program(folder, "evaluate", "--help", **ASCII)
    assert (status, err) == (0, "") and "s3://?" in out


@needs_full
def test_an_output_that_cannot_be_written_to_is_no_verdict(folder: Path) -> None:
    for columns in (1, 1000):  # less and more than is kept in a buffer
        (folder / "wide.csv").write_text("\n".join(",".join([text] * columns) for text in "123") + "\n")
        given = ("baseline", "wide.csv", "--no-header", "--out", "b", "--json")
        status, _, err = program(folder, *given, stdout="/dev/full")
        assert (status, err) == (74, "plumbline: standard output cannot be written to: No space left on device\n")


class Interrupted(MetaPathFinder):
    """Ctrl-C while a module is looked for."""

    def find_spec(self, *_: object) -> None:
        raise KeyboardInterrupt


def test_an_interruption_while_the_commands_are_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "plumbline.cli.commands", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted()])
    assert main(["status"]) == 130
    assert capsys.readouterr() == ("", "plumbline: interrupted\n")
