"""What is looked at of a file when it lands."""

from unittest.mock import patch

import pytest

from chalicelib.evaluation import broken
from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import CapturedRequest
from chalicelib.records.table import to_table
from tests.unit.records.building import captured


@pytest.mark.parametrize("sides", [("1," * 499, "0.5"), (None, "0.5," * 249), ("1," * 250, "0.5," * 125)])
def test_only_the_beginning_of_a_large_file_is_laid_out_whatever_was_captured(sides):
    requests = [captured(f"e{number:05}", *sides) for number in range(3000)]
    with (
        patch.object(broken, "LOOKED_AT", 100_000),
        patch.object(broken, "to_table", wraps=to_table) as laid_out,
    ):
        broken.broken_rows(requests, Attributes(probability_attribute="0"), None)
    [call] = laid_out.call_args_list
    assert 90 <= len(call.args[0]) <= 110


BOTH = Attributes(probability_attribute="0", inference_attribute="1")


def answered(*answers: str | None, asked: str | None = "1") -> list[CapturedRequest]:
    return [captured(f"e{number:05}", asked, answer) for number, answer in enumerate(answers)]


def reasons(requests: list[CapturedRequest], attributes: Attributes = BOTH) -> list[str]:
    return broken.broken_rows(requests, attributes, None)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (["0.5,1"] * 70 + [""] * 30, ["30% of the answers cannot be used (output: payload is empty)"]),
        (
            ["0.5,1"] * 92 + ["x,1"] * 4 + ["0.5,x"] * 4,
            # Whoever has no probability and whoever has no class may be the same.
            [],
        ),
        (["0.5,1"] * 97 + ["x,x"] * 3, []),
        (
            ["0.5,1"] * 92 + ["x,1"] * 3 + [""] * 5,
            ["8% of the answers cannot be used (output: payload is empty; output: probability is not a number)"],
        ),
        (["0.5,1"] * 50 + [None] * 50, []),
    ],
)
def test_all_reasons_about_captured_answers_count_together(answers: list[str | None], told: list[str]):
    assert reasons(answered(*answers)) == told


def test_a_probability_that_is_none_and_one_outside_of_0_to_1_are_counted_together():
    both = "output: probability is not a number; output: probability is outside of 0 to 1"
    requests = answered(*["0.5"] * 92, *["x"] * 4, *["1.7"] * 4)
    assert reasons(requests, Attributes(probability_attribute="0")) == [f"8% of the answers cannot be used ({both})"]


def test_unreadable_answers_of_an_endpoint_that_captures_no_input_are_a_share_of_all_answers():
    requests = answered(*["0.5,1"] * 70, *[""] * 30, asked=None)
    assert reasons(requests) == ["30% of the answers cannot be used (output: payload is empty)"]
    assert reasons(answered(*["0.5,1"] * 97, *[""] * 3, asked=None)) == []


@pytest.mark.parametrize("rows", [20, 60, 1500, 3000])
def test_five_in_a_hundred_are_not_more_than_that(rows):
    odd = rows // 20
    assert broken.shape_reasons(rows, rows - odd, {"expected 3 features": None}) == []
    assert broken.shape_reasons(rows, rows - odd - 1, {"expected 3 features": None}) != []
