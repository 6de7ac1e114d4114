"""Names of metrics and settings in the spellings that real files have."""

from __future__ import annotations

import re


def snake_case(name: str) -> str:
    """A name as statistics and constraints spell it: truePositiveRate and f0.5 are true_positive_rate and f0_5."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace(".", "_")
