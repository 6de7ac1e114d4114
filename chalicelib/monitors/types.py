"""The monitor types: SageMaker's four, with everything that differs between them by name only.

A new type is a line here, a module that builds and checks its files beside this one, and its state.
Not here: what is measured for a type (`evaluation`) and what its files say (`data_quality`, `model_quality`, …).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

MonitorType = Literal["DataQuality", "ModelQuality", "ModelBias", "ModelExplainability"]


class Kind(NamedTuple):
    """One monitor type.

    suffix        how SageMaker's schedule names end; also the kind of an incident that its violations open
    title         its name for people
    incident      what an alert about its violations says
    needs_labels  whether it is evaluated on labelled rows only
    section       the field of a definition that configures it; "" where it needs none
    """

    suffix: str
    title: str
    incident: str
    needs_labels: bool = False
    section: str = ""

    @property
    def folder(self) -> str:
        """The folder of its files in a baseline and in the output of `plumbline evaluate`."""
        return self.suffix.replace("-", "_")

    @property
    def metric(self) -> str:
        """The CloudWatch metric that counts its violations."""
        return f"{self.folder}_violations"


TYPES: Mapping[str, Kind] = {
    "DataQuality": Kind("data-quality", "Data quality", "columns moved away from the baseline"),
    "ModelQuality": Kind("model-quality", "Model quality", "answers are worse than in the baseline", needs_labels=True),
    "ModelBias": Kind("model-bias", "Model bias", "bias drift", needs_labels=True, section="bias"),
    "ModelExplainability": Kind(
        "model-explainability", "Feature attribution", "feature-attribution drift", section="attribution"
    ),
}


def needs_inputs(monitor_types: Collection[str], features: Sequence[str]) -> bool:
    """Whether a monitor of these types asks for the rows of inputs: all but model quality alone do, and where features
    are declared somebody relies on them."""
    return bool(features) or set(monitor_types) != {"ModelQuality"}


LABELLED_TYPES: tuple[str, ...] = tuple(name for name, kind in TYPES.items() if kind.needs_labels)
