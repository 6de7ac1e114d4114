"""Deployed models as plain functions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chalicelib.errors import NotFoundError
from emulator.memory.errors import ServiceError

Rows = list[list[str]]
Model = Callable[[Rows], Sequence[Any]]


class MemoryScorer:
    """`ports.Scorer`: an endpoint's name -> a function of the request's rows (cells as text), one prediction a row.

    Reads text/csv and application/json ({"instances": [[...], ...]}); answers text/csv (one line per row, a sequence
    being several cells) or application/json ({"predictions": [...]}), as `accept` says.
    """

    def __init__(self, models: Mapping[str, Model] | None = None) -> None:
        self.models: dict[str, Model] = dict(models or {})

    def invoke(self, endpoint: str, body: bytes, *, content_type: str, accept: str) -> bytes:
        if endpoint not in self.models:
            raise NotFoundError(f"endpoint {endpoint}: no such endpoint")
        predictions = list(self.models[endpoint](_rows(body, content_type)))
        if accept == "application/json":
            return json.dumps({"predictions": predictions}).encode()
        if accept == "text/csv":
            return "".join(_line(prediction) + "\n" for prediction in predictions).encode()
        raise ServiceError("ModelError", f"the model container cannot answer in {accept}")


def _rows(body: bytes, content_type: str) -> Rows:
    if content_type == "text/csv":
        return [row for row in csv.reader(io.StringIO(body.decode())) if row]
    if content_type == "application/json":
        return [[str(cell) for cell in row] for row in json.loads(body)["instances"]]
    raise ServiceError("ModelError", f"the model container cannot read {content_type}")


def _line(prediction: Any) -> str:
    if isinstance(prediction, (list, tuple)):
        return ",".join(str(cell) for cell in prediction)
    return str(prediction)
