"""Endpoint configurations and endpoints of the SageMaker emulator, with the logical time that a deployment takes.

Blue/green: while an endpoint is Updating the old configuration answers. Not here: how a model is run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from emulator.sagemaker_events import World
from emulator.sagemaker_registry import Registry, page
from emulator.sagemaker_shapes import invalid
from emulator.sagemaker_state import Document, moment, sortable

Probe = Callable[[Sequence[Document]], str | None]


class Endpoints:
    """Endpoint configurations and endpoints; names keep their case and are found in any, as AWS has it."""

    def __init__(
        self, world: World, registry: Registry, probe: Probe, *, takes: timedelta, serverless_takes: timedelta
    ) -> None:
        """`probe` loads a model's containers and returns why it cannot (None: it can); `takes` is logical time."""
        self._world = world
        self._store = world.store
        self._registry = registry
        self._probe = probe
        self._takes = takes
        self._serverless_takes = serverless_takes

    # Endpoint configurations

    def create_endpoint_config(self, request: Document) -> Document:
        """CreateEndpointConfig; every model must exist."""
        name = request["EndpointConfigName"]
        arn = self._world.arn("endpoint-config", name.lower())
        if self._store.get("endpoint-config", name.lower()):
            raise invalid(f'Cannot create already existing endpoint configuration "{arn}".')
        variants = request["ProductionVariants"]
        if len({variant["VariantName"] for variant in variants}) != len(variants):
            raise invalid("Variant names must be unique within an endpoint configuration.")
        for variant in variants:
            if "ModelName" not in variant:
                raise invalid(f"Production variant {variant['VariantName']} needs a ModelName.")
            if "ServerlessConfig" not in variant and not {"InstanceType", "InitialInstanceCount"} <= variant.keys():
                raise invalid(
                    f"Production variant {variant['VariantName']} needs InstanceType and InitialInstanceCount, "
                    "or a ServerlessConfig."
                )
            self._registry.model(variant["ModelName"])
        kept = [
            variant if "InitialVariantWeight" in variant else {**variant, "InitialVariantWeight": 1.0}
            for variant in variants
        ]
        config = {**request, "ProductionVariants": kept, "EndpointConfigArn": arn, "CreationTime": self._world.time()}
        self._store.put("endpoint-config", name.lower(), config)
        return config

    def describe_endpoint_config(self, request: Document) -> Document:
        """DescribeEndpointConfig."""
        return self._config(request["EndpointConfigName"])

    def delete_endpoint_config(self, request: Document) -> Document:
        """DeleteEndpointConfig; an endpoint that uses it goes on."""
        name = self._config(request["EndpointConfigName"])["EndpointConfigName"]
        self._store.delete("endpoint-config", name.lower())
        return {}

    def _config(self, name: str) -> Document:
        config = self._store.get("endpoint-config", name.lower())
        if config is None:
            arn = self._world.arn("endpoint-config", name.lower())
            raise invalid(f'Could not find endpoint configuration "{arn}".')
        return config

    # Endpoints

    def create_endpoint(self, request: Document) -> Document:
        """CreateEndpoint: Creating, then InService (or Failed when the model cannot be loaded)."""
        name = request["EndpointName"]
        arn = self._world.arn("endpoint", name.lower())
        if self._store.get("endpoint", name.lower()):
            raise invalid(f'Cannot create already existing endpoint "{arn}".')
        endpoint = {"EndpointName": name, "EndpointArn": arn, "CreationTime": self._world.time()}
        return self._deploy(endpoint, self._config(request["EndpointConfigName"]))

    def update_endpoint(self, request: Document) -> Document:
        """UpdateEndpoint: Updating, then InService with the new configuration (with the old one when that fails)."""
        endpoint = self.endpoint(request["EndpointName"])
        if endpoint["EndpointStatus"] in ("Creating", "Updating"):
            raise invalid(f'Cannot update in-progress endpoint "{endpoint["EndpointArn"]}".')
        if endpoint["EndpointStatus"] == "Failed":
            raise invalid(f'Cannot update endpoint "{endpoint["EndpointArn"]}" with status "Failed".')
        kept = endpoint["Serving"]["Variants"] if request.get("RetainAllVariantProperties") else []
        return self._deploy(endpoint, self._config(request["EndpointConfigName"]), kept)

    def update_endpoint_weights_and_capacities(self, request: Document) -> Document:
        """UpdateEndpointWeightsAndCapacities, done at once: how scaling sets instances."""
        endpoint = self.endpoint(request["EndpointName"])
        if endpoint["EndpointStatus"] != "InService":
            raise invalid(f'Cannot update in-progress endpoint "{endpoint["EndpointArn"]}".')
        for wanted in request["DesiredWeightsAndCapacities"]:
            for variant in endpoint["Serving"]["Variants"]:
                if variant["VariantName"] == wanted["VariantName"]:
                    variant["Instances"] = wanted.get("DesiredInstanceCount", variant["Instances"])
                    variant["Weight"] = wanted.get("DesiredWeight", variant["Weight"])
        self._store.put("endpoint", endpoint["EndpointName"].lower(), endpoint)
        return {"EndpointArn": endpoint["EndpointArn"]}

    def _deploy(self, endpoint: Document, config: Document, kept: Sequence[Document] = ()) -> Document:
        """`kept`: variants whose instances and weight go over to those of the same name."""
        name, now = endpoint["EndpointName"], self._world.now()
        served = self._served(config)
        for variant in served["Variants"]:
            for known in kept:
                if known["VariantName"] == variant["VariantName"]:
                    variant |= {"Instances": known["Instances"], "Weight": known["Weight"]}
        serverless = all(variant["Serverless"] for variant in served["Variants"])
        ready = now + (self._serverless_takes if serverless else self._takes)
        reasons = (self._probe(variant["Containers"]) for variant in served["Variants"])
        failure = next((reason for reason in reasons if reason), None)
        endpoint = {
            key: endpoint[key]
            for key in ("EndpointName", "EndpointArn", "CreationTime", "Serving", "LastModifiedTime")
            if key in endpoint
        }
        endpoint["Pending"] = {**served, "StartTime": sortable(now), "ReadyAt": sortable(ready), "Failure": failure}
        with self._store.transaction():
            self._store.put("endpoint", name.lower(), endpoint)
            for when in (now, ready):
                view = _settle(endpoint, when)
                event = self._world.events.endpoint(view, view["EndpointStatus"], view["ProductionVariants"], when)
                self._store.schedule(when, event, endpoint["EndpointArn"])
        return endpoint

    def _served(self, config: Document) -> Document:
        # A copy of all that serving needs: models and configurations may be deleted while the endpoint lives.
        return {
            "EndpointConfigName": config["EndpointConfigName"],
            "DataCaptureConfig": config.get("DataCaptureConfig"),
            "Variants": [
                {
                    "VariantName": variant["VariantName"],
                    "Weight": variant["InitialVariantWeight"],
                    "InitialVariantWeight": variant["InitialVariantWeight"],
                    "InitialInstanceCount": variant.get("InitialInstanceCount", 1),
                    "Instances": variant.get("InitialInstanceCount", 1),
                    "Serverless": "ServerlessConfig" in variant,
                    "Containers": self._registry.serving_containers(variant["ModelName"]),
                }
                for variant in config["ProductionVariants"]
            ],
        }

    def describe_endpoint(self, request: Document) -> Document:
        """DescribeEndpoint: while Updating it names the old configuration, and the new one as pending."""
        return self.endpoint(request["EndpointName"])

    def endpoint(self, name: str) -> Document:
        """The endpoint as it is at the logical time, with Serving (None while Creating)."""
        found = self._store.get("endpoint", name.lower())
        if found is None:
            raise invalid(f'Could not find endpoint "{self._world.arn("endpoint", name.lower())}".')
        return _settle(found, self._world.now())

    def list_endpoints(self, request: Document) -> Document:
        """ListEndpoints, newest first unless asked otherwise."""
        now = self._world.now()
        views = [_settle(endpoint, now) for endpoint in self._store.all("endpoint")]
        found = [
            view
            for view in views
            if request.get("NameContains", "") in view["EndpointName"]
            and request.get("StatusEquals", view["EndpointStatus"]) == view["EndpointStatus"]
        ]
        return page(found, request, "Endpoints", time="CreationTime")

    def delete_endpoint(self, request: Document) -> Document:
        """DeleteEndpoint: it is gone at once; what was announced for later is not sent."""
        with self._store.transaction():
            endpoint, now = self.endpoint(request["EndpointName"]), self._world.now()
            self._store.delete("endpoint", endpoint["EndpointName"].lower())
            self._store.cancel(endpoint["EndpointArn"], now)
            event = self._world.events.endpoint(endpoint, "Deleting", endpoint["ProductionVariants"], now)
            self._store.schedule(now, event)
        return {}


def _settle(endpoint: Document, now: datetime) -> Document:
    """The endpoint's description at `now`: a deployment whose time has come is done, or failed and rolled back."""
    view = dict(endpoint)
    pending = view.pop("Pending", None)
    view.setdefault("Serving", None)
    status = "InService"
    if pending is not None:
        if now >= moment(pending["ReadyAt"]):
            view["LastModifiedTime"] = pending["ReadyAt"]
            if pending["Failure"] is None:
                view["Serving"] = pending
            else:
                view["FailureReason"] = pending["Failure"]
                status = "InService" if view["Serving"] else "Failed"
        else:
            status = "Updating" if view["Serving"] else "Creating"
            view["Pending"] = pending
            view["LastModifiedTime"] = pending["StartTime"]
            view["PendingDeploymentSummary"] = {
                "EndpointConfigName": pending["EndpointConfigName"],
                "StartTime": pending["StartTime"],
                "ProductionVariants": _summaries(pending, status),
            }
    shown = view["Serving"] or pending
    view["EndpointStatus"] = status
    view["EndpointConfigName"] = shown["EndpointConfigName"]
    view["ProductionVariants"] = _summaries(shown, status)
    capture = shown["DataCaptureConfig"]
    if capture is not None:
        view["DataCaptureConfig"] = {
            "EnableCapture": bool(capture.get("EnableCapture", False)),
            "CaptureStatus": "Started" if capture.get("EnableCapture", False) else "Stopped",
            "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
            "DestinationS3Uri": capture["DestinationS3Uri"],
            "KmsKeyId": capture.get("KmsKeyId", ""),
        }
    return view


def _summaries(served: Document, status: str) -> list[Document]:
    return [
        {
            "VariantName": variant["VariantName"],
            "CurrentWeight": variant["Weight"],
            "DesiredWeight": variant["Weight"],
            "CurrentInstanceCount": variant["Instances"] if status != "Creating" else 0,
            "DesiredInstanceCount": variant["Instances"],
            "InitialVariantWeight": variant["InitialVariantWeight"],
            "InitialInstanceCount": variant["InitialInstanceCount"],
        }
        for variant in served["Variants"]
    ]
