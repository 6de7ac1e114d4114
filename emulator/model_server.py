"""The serving side of the SageMaker emulator: loads the model of an endpoint and answers invocations.

Knows the scikit-learn container's contract (model_fn, input_fn, predict_fn, output_fn in code/inference.py), the
runtime's errors, metrics and fault injection. Not here: HTTP, and how an endpoint gets its configuration.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import sys
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from emulator.model_capture import Call, Capture, sampled
from emulator.pipeline_jobs import split_uri, unpack
from emulator.sagemaker_events import World
from emulator.sagemaker_shapes import ApiError
from emulator.sagemaker_state import Document, identifier

METRIC_NAMESPACE = "AWS/SageMaker"
_METRICS = ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")


class ModelError(ApiError):
    """The model answered with an error. Its text names the kind only: an exception's own text may hold payload."""

    def __init__(self, status: int, kind: str, log_stream: str) -> None:
        super().__init__(
            "ModelError", f'Received server error ({status}) from primary with message "{kind}". See {log_stream}.', 424
        )
        self.original_status = status
        self.original_message = kind
        self.log_stream = log_stream


class UnsupportedContent(ValueError):
    """The default functions read and write CSV and JSON only."""

    status_code = 415


class InjectedFault(RuntimeError):
    """What `fail_next` makes the model's process raise."""


@dataclass(frozen=True)
class Answer:
    """A model's answer to one invocation."""

    body: bytes
    content_type: str
    variant: str
    event_id: str


class ServedModel:
    """One model, loaded: the contract's four functions around it. `predict` may be called from several threads."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Import `folder`/code/inference.py (or SAGEMAKER_PROGRAM) and call its model_fn."""
        script = folder / "code" / environment.get("SAGEMAKER_PROGRAM", "inference.py")
        if not script.is_file():
            raise FileNotFoundError(f"the model archive holds no code/{script.name}")
        module = _import(script, folder.name)
        if not hasattr(module, "model_fn"):
            raise NotImplementedError(f"code/{script.name} has no model_fn")
        self._model = module.model_fn(str(folder))
        self._input: Callable[[bytes, str], Any] = getattr(module, "input_fn", default_input)
        self._predict: Callable[[Any, Any], Any] = getattr(module, "predict_fn", default_predict)
        self._output: Callable[[Any, str], Any] = getattr(module, "output_fn", default_output)

    def answer(self, body: bytes, content_type: str, accept: str) -> tuple[bytes, str]:
        """The answer and its content type. Raises whatever the model's code raises."""
        data: Any = body
        if content_type.startswith("text/") or "json" in content_type:
            data = body.decode()  # the container hands text types over as text
        prediction = self._predict(self._input(data, content_type), self._model)
        produced = self._output(prediction, accept)
        out, out_type = produced if isinstance(produced, tuple) else (produced, accept)
        if out_type.startswith("text/") and "charset" not in out_type:
            out_type += "; charset=utf-8"
        return (out.encode() if isinstance(out, str) else bytes(out)), out_type


_IMPORT = threading.Lock()


def _import(script: Path, name: str) -> ModuleType:
    """Import a model's script under a name of its own; its helper modules are not seen by other models."""
    spec = importlib.util.spec_from_file_location(f"served_model_{name}", script)
    if spec is None or spec.loader is None:
        raise ImportError(f"{script.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    with _IMPORT:
        before = set(sys.modules)
        sys.path.insert(0, str(script.parent))
        try:
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(script.parent))
            for other in set(sys.modules) - before - {spec.name}:
                if str(getattr(sys.modules[other], "__file__", None) or "").startswith(str(script.parent)):
                    del sys.modules[other]
    return module


def default_input(body: Any, content_type: str) -> Any:
    """CSV rows or a JSON array of rows as a float array of shape (rows, columns). Raises UnsupportedContent."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "text/csv":
        rows = [line.split(",") for line in body.splitlines() if line.strip()]
        return np.array([[float(cell) if cell.strip() else np.nan for cell in row] for row in rows])
    if media_type == "application/json":
        return np.array(json.loads(body), dtype=float)
    raise UnsupportedContent(f"content type {media_type}")


def default_predict(data: Any, model: Any) -> Any:
    """`model.predict(data)`."""
    return model.predict(data)


def default_output(prediction: Any, accept: str) -> Any:
    """One CSV line per row, or a JSON array. Raises UnsupportedContent."""
    media_type = accept.partition(";")[0].strip().lower()
    values = np.asarray(prediction).tolist()
    if media_type == "text/csv":
        return "\n".join(",".join(map(str, row)) if isinstance(row, list) else str(row) for row in values)
    if media_type == "application/json":
        return json.dumps(values, allow_nan=False)
    raise UnsupportedContent(f"accept {media_type}")


class ModelServer:
    """Answers invocations of every endpoint; one instance per emulator."""

    def __init__(
        self, world: World, s3: Any, endpoint: Callable[[str], Document], capture: Capture, folder: Path, seed: str
    ) -> None:
        """`endpoint` describes an endpoint (ApiError when there is none); models are unpacked below `folder`."""
        # One row at a time gains nothing from OpenMP's threads, and waiting for them made an answer eight times slower
        # (measured with 100 boosted trees). Read when the first model's library is loaded; an own setting is kept.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self._world = world
        self._s3 = s3
        self._endpoint = endpoint
        self._capture = capture
        self._folder = folder
        self._namespace = uuid.uuid5(uuid.NAMESPACE_URL, f"plumbline:{seed}")
        self._lock = threading.Lock()
        self._load_lock = threading.Lock()
        self._models: dict[tuple[str, str], ServedModel] = {}
        self._faults: dict[str, int] = {}
        self._calls: dict[str, int] = {}
        self._counts: dict[tuple[str, str, datetime], list[int]] = defaultdict(lambda: [0, 0, 0])

    def probe(self, containers: Sequence[Document]) -> str | None:
        """Load the containers of a model; why that fails, the way DescribeEndpoint tells it, or None."""
        try:
            for container in containers:
                self._load(container)
        except Exception as error:  # a model's code may raise anything, and the endpoint must say Failed
            return f"The primary container did not pass the ping health check: {type(error).__name__}."
        return None

    def fail_next(self, endpoint: str, count: int) -> None:
        """Make the model of an endpoint raise in its next `count` invocations."""
        with self._lock:
            self._faults[endpoint] = count

    def invoke(
        self,
        endpoint: str,
        body: bytes,
        *,
        content_type: str = "text/csv",
        accept: str = "",
        inference_id: str = "",
        custom_attributes: str = "",
        target_variant: str = "",
    ) -> Answer:
        """InvokeEndpoint. Raises ApiError (ValidationError) for a bad call, ModelError when the model raises."""
        now = self._world.now()
        if inference_id and (len(inference_id) > 64 or not inference_id.isprintable() or inference_id[0].isspace()):
            raise ApiError("ValidationError", "InferenceId: 1 to 64 printable characters, the first not blank.")
        served = self._serving(endpoint)
        with self._lock:
            if endpoint not in self._calls:
                self._calls[endpoint] = self._world.store.counter(f"invocations/{endpoint}")
            self._calls[endpoint] += 1
            event_id = str(uuid.uuid5(self._namespace, f"{endpoint}|{self._calls[endpoint]}"))
            fault = self._faults.get(endpoint, 0) > 0
            if fault:
                self._faults[endpoint] -= 1
        variant = _choose(served["Variants"], event_id, target_variant)
        try:
            answer, answer_type = self._answer(variant, body, content_type, accept, fault)
        except Exception as error:  # as in the container: whatever the model's code raises becomes an error answer
            status = getattr(error, "status_code", 500)
            self._count(endpoint, variant["VariantName"], now, status)
            log = f"https://console.aws.amazon.com/cloudwatch/home#logStream:group=/aws/sagemaker/Endpoints/{endpoint}"
            raise ModelError(status, type(error).__name__, log) from error
        self._count(endpoint, variant["VariantName"], now, 200)
        config = served["DataCaptureConfig"]
        # Serverless endpoints have no data capture.
        if config is not None and not variant["Serverless"]:
            call = Call(event_id, now, body, content_type, answer, answer_type, inference_id, custom_attributes)
            self._capture.record(config, endpoint, variant["VariantName"], call)
        return Answer(answer, answer_type, variant["VariantName"], event_id)

    def flush(self, now: datetime) -> list[str]:
        """Write the buffered captures; returns their S3 URIs.

        The invocation counters are kept only here, after the files: calls whose captures a kill has lost get the same
        event ids when they are made again.
        """
        with self._lock:
            calls = dict(self._calls)
        written = self._capture.flush(now)
        with self._world.store.transaction():
            for endpoint, count in sorted(calls.items()):
                self._world.store.set_counter(f"invocations/{endpoint}", count)
        return written

    def metrics(self, now: datetime) -> list[dict[str, Any]]:
        """The data points of the invocations up to `now` that were not returned before, in PutMetricData's form.

        One point per endpoint, variant, minute and metric of METRIC_NAMESPACE; the value is the minute's sum.
        """
        with self._lock:
            due = sorted(key for key in self._counts if key[2] <= now)
            counts = [(key, self._counts.pop(key)) for key in due]
        return [
            {
                "MetricName": name,
                "Dimensions": [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}],
                "Timestamp": minute,
                "Value": float(value),
                "Unit": "None",
            }
            for (endpoint, variant, minute), values in counts
            for name, value in zip(_METRICS, values, strict=True)
        ]

    def _serving(self, endpoint: str) -> Document:
        served: Document | None = None
        with contextlib.suppress(ApiError):
            found = self._endpoint(endpoint)
            # InvokeEndpoint alone wants the name in its own case.
            served = found["Serving"] if found["EndpointName"] == endpoint else None
        if served is None:
            account = self._world.events.account
            raise ApiError("ValidationError", f"Endpoint {endpoint} of account {account} not found.")
        return served

    def _answer(self, variant: Document, body: bytes, content_type: str, accept: str, fault: bool) -> tuple[bytes, str]:
        if fault:
            raise InjectedFault("asked for by fail_next")
        wanted = accept if accept and accept != "*/*" else "text/csv"
        # An inference pipeline: each container answers to the one before it.
        for container in variant["Containers"]:
            body, content_type = self._load(container).answer(body, content_type, wanted)
        return body, content_type

    def _load(self, container: Document) -> ServedModel:
        url = container["ModelDataUrl"]
        environment = container["Environment"]
        key = (url, json.dumps(environment, sort_keys=True))
        with self._load_lock:
            if key not in self._models:
                bucket, object_key = split_uri(url)
                body = self._s3.get_object(Bucket=bucket, Key=object_key)["Body"].read()
                folder = self._folder / identifier(16, *key)
                if folder.exists():
                    shutil.rmtree(folder)
                unpack(body, folder)
                self._models[key] = ServedModel(folder, environment)
            return self._models[key]

    def _count(self, endpoint: str, variant: str, now: datetime, status: int) -> None:
        with self._lock:
            counts = self._counts[endpoint, variant, now.replace(second=0, microsecond=0)]
            counts[0] += 1
            counts[1] += 400 <= status < 500
            counts[2] += status >= 500


def _choose(variants: Sequence[Document], event_id: str, target: str) -> Document:
    """The variant that answers: the one asked for, else by weight, decided by the event id."""
    if target:
        for variant in variants:
            if variant["VariantName"] == target:
                return variant
        raise ApiError("ValidationError", f"Variant {target} not found.")
    total = sum(variant["Weight"] for variant in variants)
    reached = 0.0
    for variant in variants[:-1]:
        reached += variant["Weight"]
        if total > 0 and sampled(f"variant|{event_id}", 100 * reached / total):
            return variant
    return variants[-1]
