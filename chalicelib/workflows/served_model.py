"""Which model an endpoint serves, and whether that is the champion: a person may have deployed another one.

Not an event source: the handlers that describe the endpoint share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.definition import Definition
from chalicelib.errors import MisconfiguredError, NotFoundError
from chalicelib.facts import champions, claims, incidents
from chalicelib.facts.champions import Candidate
from chalicelib.ports import Endpoint
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.incident_alerts import Finding, publish_pending

KIND = "deployment"


def serving(services: Services, definition: Definition) -> tuple[Candidate, Endpoint]:
    """The model that the endpoint's variant serves, and the endpoint.

    Raises MisconfiguredError where the endpoint or its variant does not exist.
    """
    try:
        endpoint = services.sagemaker.describe_endpoint(definition.endpoint)
    except NotFoundError:
        raise MisconfiguredError("endpoint", definition.endpoint, "an endpoint that exists in this account") from None
    variants = services.sagemaker.describe_endpoint_config(endpoint.config_name)["ProductionVariants"]
    model_name = _model_of(variants, definition.variant)
    if model_name is None:
        known = ", ".join(sorted(each["VariantName"] for each in variants))
        raise MisconfiguredError("variant", definition.variant, f"a variant of {definition.endpoint}: {known}")
    package_arn, model_data = _artifact(services, services.sagemaker.describe_model(model_name))
    candidate = Candidate(name=model_name, model_name=model_name, model_data=model_data, package_arn=package_arn)
    return candidate, endpoint


def check_served(services: Services, definition: Definition, endpoint: Endpoint) -> None:
    """Open an incident where an endpoint in service serves another model than the champion, and resolve it where it
    does not any more. While a promotion is under way nothing is said: it changes the model itself."""
    champion = champions.load_champion(services.ledger, definition.name)
    claim = claims.load_promotion(services.ledger, definition.name)
    if champion is None or endpoint.status != "InService" or (claim and claim.in_flight):
        return
    model = champion.candidate.model_name
    if endpoint.config_name != champion.config_name:
        config = services.sagemaker.describe_endpoint_config(endpoint.config_name)
        model = _model_of(config["ProductionVariants"], definition.variant) or "no model of this variant"
    window = Window.of(services.now(), definition.window_length)
    name, now = definition.name, services.now()
    if model == champion.candidate.model_name:
        # In the window that opened it, too: a person who gives the endpoint back has ended it.
        if not incidents.end_if_open(services.ledger, name, KIND, window.name, now):
            return
        reasons = [f"{definition.endpoint} serves {model} again"]
    else:
        incidents.open_incident(services.ledger, name, KIND, window.name, now, "error", joined={model: 0.0})
        reasons = [
            f"{definition.endpoint} serves {model} with {endpoint.config_name}; the champion is "
            f"{champion.candidate.name} with {champion.config_name}",
            f"deploy the champion again, or make the other one the champion: plumbline adopt {name}",
        ]
    publish_pending(services, definition, {KIND: Finding(window=window.name, reasons=reasons)})


def _model_of(variants: list[Mapping[str, Any]], variant: str) -> str | None:
    return next((each["ModelName"] for each in variants if each["VariantName"] == variant), None)


def _artifact(services: Services, model: Mapping[str, Any]) -> tuple[str, str]:
    """A model's package ARN and model data URL; of several containers, the first holds the model to retrain."""
    container: Mapping[str, Any] = model.get("PrimaryContainer") or next(iter(model.get("Containers", [])), {})
    if package_arn := container.get("ModelPackageName", ""):
        return package_arn, services.sagemaker.describe_model_package(package_arn).model_data_url
    return "", container.get("ModelDataUrl", "")
