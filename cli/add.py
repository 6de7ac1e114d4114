"""`plumbline add monitor.yaml`: check a monitor definition, store it as a new version and index it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from chalicelib.definition import Definition, parse_definition
from chalicelib.errors import MisconfiguredError, NotFoundError
from chalicelib.facts import champions, monitors
from chalicelib.facts.champions import Candidate
from chalicelib.records.window import Window
from chalicelib.wiring import Services


def read_definition(path: Path) -> Definition:
    """Read a YAML or JSON file (JSON is YAML). Raises MisconfiguredError naming the field or the place in the file."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MisconfiguredError("file", str(path), "a monitor definition that exists") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        where = f"{path}, line {place.line + 1}" if place else str(path)
        raise MisconfiguredError("file", where, "YAML or JSON") from None
    return parse_definition(document)


def add_monitor(services: Services, definition: Definition) -> monitors.Entry:
    """Store a definition, index it, and take the model that its endpoint serves now as the first champion.

    Raises MisconfiguredError when the endpoint or its variant does not exist: nothing is stored then.
    """
    candidate, config_name = _serving(services, definition)
    now = services.now()
    since = Window.of(now, definition.window_length)
    champions.crown_first(services.ledger, definition.name, candidate, config_name, since.name)
    return monitors.add(services.ledger, services.objects, services.settings.bucket, definition, since.name)


def _serving(services: Services, definition: Definition) -> tuple[Candidate, str]:
    try:
        config_name = services.sagemaker.describe_endpoint(definition.endpoint).config_name
    except NotFoundError:
        raise MisconfiguredError("endpoint", definition.endpoint, "an endpoint that exists in this account") from None
    variants = services.sagemaker.describe_endpoint_config(config_name)["ProductionVariants"]
    model_name = next((each["ModelName"] for each in variants if each["VariantName"] == definition.variant), None)
    if model_name is None:
        known = ", ".join(sorted(each["VariantName"] for each in variants))
        raise MisconfiguredError("variant", definition.variant, f"a variant of {definition.endpoint}: {known}")
    package_arn, model_data = _artifact(services, services.sagemaker.describe_model(model_name))
    candidate = Candidate(name=model_name, model_name=model_name, model_data=model_data, package_arn=package_arn)
    return candidate, config_name


def _artifact(services: Services, model: Mapping[str, Any]) -> tuple[str, str]:
    """The model package and the archive behind a model; of several containers, the first has the model to retrain."""
    container = model.get("PrimaryContainer") or next(iter(model.get("Containers", [])), {})
    if package_arn := container.get("ModelPackageName", ""):
        return package_arn, services.sagemaker.describe_model_package(package_arn).model_data_url
    return "", container.get("ModelDataUrl", "")
