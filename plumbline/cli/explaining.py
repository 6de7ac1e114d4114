"""`--explain-with ENDPOINT`: attributions by Kernel SHAP, for a model that returns none.

The endpoint must serve the monitored model, with data capture off: these requests would be captured as traffic.
Rows are sent as text/csv in the order of `attributes.features`; a run makes at most `--explain-calls` calls.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from chalicelib import wiring
from chalicelib.definition import Definition
from chalicelib.errors import MisconfiguredError
from chalicelib.evaluation.explanation import Chosen, background_of
from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.sample import Question, answers
from chalicelib.records.values import text_of
from chalicelib.states.attributions import Attributions

_OPTION = "--explain-with"
_CALLS = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the two options to a command."""
    parser.add_argument(
        _OPTION,
        metavar="ENDPOINT",
        help="compute attributions with this endpoint where the model returns none (Kernel SHAP)",
    )
    parser.add_argument(
        "--explain-calls", type=int, default=_CALLS, metavar="N", help=f"call it at most N times; default: {_CALLS}"
    )


class Explainer:
    """The rows chosen so far, and the endpoint that explains them."""

    def __init__(self, definition: Definition, endpoint: str, max_calls: int) -> None:
        self._attributes, self._endpoint, self._max_calls = definition.attributes, endpoint, max_calls
        self._scorer = wiring.scorer()
        self.chosen = Chosen(definition.attributes.features)

    def explain(self, statistics: Mapping[str, Any]) -> tuple[Attributions, str]:
        """Attributions, and a sentence on what they cost; `statistics` are those of the data quality baseline.

        Raises MisconfiguredError, UnreadableError, and what calling an endpoint raises.
        """
        background = background_of(statistics, self.chosen.features)
        found, calls = self.chosen.explain(self._predict, background, self._max_calls)
        return found, f"{found.rows:,} rows explained by {calls:,} calls of {self._endpoint}"

    def _predict(self, rows: list[list[Any]]) -> Sequence[float]:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([text_of(value) for value in row] for row in rows)
        body = text.getvalue().encode()
        response = self._scorer.invoke(self._endpoint, body, content_type="text/csv", accept="text/csv")
        asked = CapturedRequest("explained", None, _EPOCH, Payload(text.getvalue(), "CSV", "text/csv"), None)
        table = answers(Question(body, "text/csv", (asked,)), response, self._attributes, f"endpoint {self._endpoint}")
        numbers: Sequence[float] = (table.scores if table.probabilities else table.predictions).tolist()
        return numbers


def explainer_of(options: argparse.Namespace, definition: Definition | None) -> Explainer | None:
    """The explainer, or None without the option. Raises MisconfiguredError for what cannot be explained."""
    endpoint = options.explain_with
    if endpoint is None:
        return None
    if definition is None or definition.attribution is None:
        raise MisconfiguredError(_OPTION, endpoint, "--monitor FILE with ModelExplainability among its monitor_types")
    if definition.attribution.columns:
        raise MisconfiguredError(
            _OPTION, endpoint, "no such option: the model returns attributions, named by attribution.columns"
        )
    if getattr(options, "preprocess", None):
        raise MisconfiguredError(_OPTION, endpoint, "no --preprocess with it: the model gets its original requests")
    if definition.attributes.problem_type == "MulticlassClassification":
        raise MisconfiguredError(_OPTION, endpoint, "a model that returns a number, not one of several classes")
    return Explainer(definition, endpoint, options.explain_calls)
