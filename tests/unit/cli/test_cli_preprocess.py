import logging
from pathlib import Path

import pytest

from chalicelib.errors import MisconfiguredError
from chalicelib.records.attributes import Attributes
from chalicelib.records.table import to_table
from plumbline.cli.inputs.preprocess import load_preprocessor
from tests.unit.records.building import captured

# The documentation's example for CSV (its names are padded so that they sort), and its form with a logger.
ONE = """
def preprocess_handler(inference_record):
    input_data = inference_record.endpoint_input.data.rstrip("\\n")
    output_data = inference_record.endpoint_output.data.rstrip("\\n")
    return {str(i).zfill(20): d for i, d in enumerate((output_data + "," + input_data).split(","))}
"""
TWO = """
def preprocess_handler(inference_record, logger):
    logger.warning("record %s", inference_record.event_metadata.event_id)
    return {"a": inference_record.endpoint_input.data} if inference_record.endpoint_input.data != "0" else []
"""


def script(folder: Path, text: str) -> Path:
    path = folder / "preprocessing.py"
    path.write_text(text)
    return path


def test_a_script_for_model_monitor(tmp_path: Path):
    handler = load_preprocessor(script(tmp_path, ONE))
    table = to_table([captured("e", "5,x\n", "0.5\n")], {}, Attributes(), handler)
    assert table.features == {"0" * 20: ["0.5"], "0" * 19 + "1": ["5"], "0" * 19 + "2": ["x"]}
    assert table.bad == {}


def test_a_script_with_a_logger(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    handler = load_preprocessor(script(tmp_path, TWO))
    with caplog.at_level(logging.WARNING):
        table = to_table([captured("e1", "5", "1"), captured("e2", "0", "1")], {}, Attributes(), handler)
    assert table.features == {"a": ["5"]} and table.noted["preprocess_handler left the request out"].count == 1
    assert caplog.messages == ["record e1", "record e2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1", "a function preprocess_handler"),
        ("preprocess_handler = 1", "a function preprocess_handler"),
        ("def preprocess_handler(): pass", "preprocess_handler(inference_record[, logger])"),
        ("def preprocess_handler(a, b, c): pass", "preprocess_handler(inference_record[, logger])"),
        ("\nraise ValueError('a secret')", "ValueError in line 2"),
        ("def f(:", "SyntaxError in line 1"),
        ("import sys\nsys.exit(0)", "a script that runs; got SystemExit in line 2"),
    ],
)
def test_a_script_that_cannot_be_used_is_refused(tmp_path: Path, text: str, expected: str):
    with pytest.raises(MisconfiguredError) as caught:
        load_preprocessor(script(tmp_path, text))
    assert expected in str(caught.value) and "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_no_script_is_refused(tmp_path: Path):
    with pytest.raises(MisconfiguredError, match="a file that can be read"):
        load_preprocessor(tmp_path / "missing.py")
    other = tmp_path / "script.txt"
    other.write_text(ONE)
    with pytest.raises(MisconfiguredError, match="named"):
        load_preprocessor(other)
