"""The demo empties only what an earlier demo has left."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.__main__ import MARK, _empty, main


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["--out", str(tmp_path), "--windows", "1"]) == 2
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert "holds other files" in capsys.readouterr().err


def test_a_new_an_empty_and_an_earlier_folder_are_taken(tmp_path: Path) -> None:
    new = tmp_path / "a/b"
    _empty(new)
    (new / "old report").write_text("x")
    _empty(new)
    assert [path.name for path in new.iterdir()] == [MARK]
