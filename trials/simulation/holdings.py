"""What the simulated account holds before anything happens, and what users put into it: definitions, configurations,
baselines, lines of captures and labels.

Refuses to know when things come and what becomes of them (world.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from chalicelib.definition import Definition, parse_definition
from chalicelib.evaluation.baseline_states import MEASUREMENT
from chalicelib.evaluation.measurement import Subject, measure
from chalicelib.monitors.baseline import baseline_documents
from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.ground_truth import Label
from chalicelib.records.table import to_table
from emulator.memory import SETTINGS
from trials.simulation.history import START, TOYS, Draws, History, Request

MONITOR = ENDPOINT = "churn"
SLOW = "churn-slow"
OWN, DATA = SETTINGS.bucket, "data"
HOOK = "https://hook.example/alerts"
PIPELINE = "retraining"
SCHEDULE = "churn-model-monitor"


def model_data(name: str) -> str:
    return f"s3://{DATA}/models/{name}/model.tar.gz"


def serving_config(name: str, model: str) -> dict[str, Any]:
    served = {"VariantName": "AllTraffic", "ModelName": model, "InstanceType": "ml.m5.large"}
    return {
        "EndpointConfigName": name,
        "ProductionVariants": [{**served, "InitialInstanceCount": 2, "InitialVariantWeight": 1.0}],
        "DataCaptureConfig": {
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{DATA}/captures",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        },
        "KmsKeyId": "alias/endpoints",
    }


def definition(history: History, policy: Mapping[str, Any] | None = None) -> Definition:
    """The monitor of the history, hour by hour."""
    return parse_definition(
        {
            "name": MONITOR,
            "endpoint": ENDPOINT,
            "capture_s3_uri": f"s3://{DATA}/captures",
            "ground_truth_s3_uri": f"s3://{DATA}/ground-truth/{ENDPOINT}",
            "output_s3_uri": f"s3://{DATA}/reports",
            "attributes": {"features": ["x", "z"], "probability_attribute": "0"},
            "labels": {"horizon": history.horizon},
            "merged_records": "always",
            "baseline": {
                "data_quality_statistics": f"s3://{DATA}/baseline/data_quality/statistics.json",
                "data_quality_constraints": f"s3://{DATA}/baseline/data_quality/constraints.json",
                "model_quality_constraints": f"s3://{DATA}/baseline/model_quality/constraints.json",
                "measurement": f"s3://{DATA}/baseline/measurement.msgpack",
            },
            "policy": {**history.policy, **(policy or {})},
            "alarms": [
                {"name": "accuracy-low", "role": "trigger"},
                {"name": "deploying", "role": "veto"},
                {"name": "latency", "role": "evidence"},
            ],
            "schedules": [SCHEDULE],
            "retraining": {
                "pipeline_name": PIPELINE,
                "output_uri": f"s3://{DATA}/retraining/{MONITOR}",
                "parameters": {"Manifest": "{manifest_uri}", "Output": "{output_uri}"},
            },
            "routes": [{"kind": "webhook", "url": HOOK, "secret": "/hook"}],
        }
    )


def slow_definition(history: History) -> Definition:
    """A second monitor of the same endpoint: other windows, no baseline, alerts only."""
    return parse_definition(
        {
            "name": SLOW,
            "endpoint": ENDPOINT,
            "capture_s3_uri": f"s3://{DATA}/captures",
            "ground_truth_s3_uri": f"s3://{DATA}/ground-truth/{ENDPOINT}",
            "output_s3_uri": f"s3://{DATA}/reports",
            "attributes": {"features": ["x", "z"], "probability_attribute": "0"},
            "window": {"length": "PT2H"},
            "labels": {"horizon": history.horizon},
            "merged_records": "always",
            "policy": {"retrain": False, "roll_back": False, "min_labelled_rows": 2},
        }
    )


@lru_cache(maxsize=1)
def baseline_files() -> dict[str, bytes]:
    """Baseline files of the x model on rows that it answers rightly."""
    draw = Draws(0).of("baseline")
    rows = [(round(draw.random(), 3), round(draw.random(), 3)) for _ in range(100)]
    asked = Payload("\n".join(f"{x},{z}" for x, z in rows), "CSV", "text/csv")
    answered = Payload("\n".join(repr(TOYS["x"](x, z)) for x, z in rows), "CSV", "text/csv")
    labels = {"b": Label("b", json.dumps([int(x > 0.5) for x, _ in rows]), "JSON")}
    attributes = Attributes(features=("x", "z"), probability_attribute="0")
    table = to_table([CapturedRequest("b", None, START, asked, answered)], labels, attributes)
    documents = baseline_documents(table, table.predictions, table.scores, START.isoformat())
    return {**documents, MEASUREMENT: measure(table, Subject(attributes=attributes)).to_bytes()}


def capture_line(request: Request, toy: Callable[[float, float], float], wide: bool) -> bytes:
    asked = "\n".join(f"{x},{z}" + (",1,1" if wide else "") for x, z in request.rows)
    document = {
        "captureData": {
            "endpointInput": {
                "observedContentType": "text/csv",
                "mode": "INPUT",
                "data": asked,
                "encoding": "CSV",
            },
            "endpointOutput": {
                "observedContentType": "text/csv; charset=utf-8",
                "mode": "OUTPUT",
                "data": "\n".join(repr(toy(x, z)) for x, z in request.rows),
                "encoding": "CSV",
            },
        },
        "eventMetadata": {
            "eventId": request.event_id,
            "inferenceId": request.inference_id,
            "inferenceTime": request.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "eventVersion": "0",
    }
    return json.dumps(document).encode() + b"\n"


def label_document(entry: Any) -> dict[str, Any]:
    metadata = {"eventId": entry.inference_id}
    if entry.inference_time is not None:
        metadata["inferenceTime"] = entry.inference_time.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "groundTruthData": {"data": entry.data, "encoding": entry.encoding},
        "eventMetadata": metadata,
        "eventVersion": "0",
    }
