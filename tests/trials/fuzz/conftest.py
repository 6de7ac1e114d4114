"""Tests before these have used memory in the same process, which is no reader's."""

from __future__ import annotations

import pytest

from trials.fuzz import law


@pytest.fixture(autouse=True)
def measured_from_here_on() -> None:
    law.begin()
