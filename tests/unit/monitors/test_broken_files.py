"""What is looked at of a file when it lands."""

from unittest.mock import patch

import pytest

from chalicelib.monitors import broken
from chalicelib.records.attributes import Attributes
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
