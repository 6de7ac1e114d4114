"""JSON Schemas (draft 2020-12) of the monitor definition and of every file that Plumbline writes for others.

`python -m schemas` writes them from the types; `--check` says whether the ones here are current. A schema says what
shape a file has, not that it makes sense: a definition is checked by `plumbline add --check`.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import msgspec

from chalicelib import layouts
from chalicelib.decisions.alert import Alert
from chalicelib.definition import Definition
from chalicelib.evidence.assessment import Assessment
from chalicelib.facts.decisions import Record
from chalicelib.monitors import layouts as reports
from chalicelib.workflows.gate import GateRecord

FOLDER = Path(__file__).parent

# File name without ".schema.json" -> the type that it is generated from.
SCHEMAS: dict[str, type[msgspec.Struct]] = {
    "monitor-definition": Definition,
    "data-quality-statistics": reports.DataQualityStatistics,
    "data-quality-constraints": reports.DataQualityConstraints,
    "data-quality-violations": reports.DataQualityViolations,
    "model-quality-statistics": reports.ModelQualityStatistics,
    "model-quality-constraints": reports.ModelQualityConstraints,
    "model-quality-violations": reports.ModelQualityViolations,
    "model-bias-analysis": reports.BiasAnalysis,
    "model-bias-violations": reports.BiasViolations,
    "model-explainability-analysis": reports.ExplainabilityAnalysis,
    "model-explainability-violations": reports.ExplainabilityViolations,
    "evaluation": reports.Evaluation,
    "evidence": Assessment,
    "label-maturity": reports.LabelMaturity,
    "merged-record": layouts.MergedLine,
    "ground-truth-record": layouts.GroundTruthLine,
    "decision": Record,
    "gate": GateRecord,
    "training-manifest": layouts.Manifest,
    "quarantine": layouts.Quarantine,
    "alert": Alert,
    "alert-webhook": layouts.AlertWebhook,
}

# Of these fields a document has exactly one, or at least one; types cannot say so.
ONE_OF = {
    "model-quality-statistics": [
        "binary_classification_metrics",
        "multiclass_classification_metrics",
        "regression_metrics",
    ],
    "model-quality-constraints": [
        "binary_classification_constraints",
        "multiclass_classification_constraints",
        "regression_constraints",
    ],
}
ANY_OF = {"model-bias-analysis": ["post_training_bias_metrics", "pre_training_bias_metrics"]}


def schema(name: str) -> dict[str, Any]:
    """The schema of this name, one of `SCHEMAS`."""
    kind = SCHEMAS[name]
    reference, definitions = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    for definition in definitions.values():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
    [root] = reference
    document: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:plumbline:schema:{name}",
        **root,
    }
    for keyword, fields in (("oneOf", ONE_OF), ("anyOf", ANY_OF)):
        if name in fields:
            document[keyword] = [{"required": [field]} for field in fields[name]]
    return {**document, "$defs": dict(sorted(definitions.items()))}


def written(name: str) -> bytes:
    """The bytes of the schema's file."""
    return json.dumps(schema(name), indent=2, ensure_ascii=False).encode() + b"\n"


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.schema.json"
