"""The registry side of the SageMaker emulator: model package groups, packages, models, jobs, monitoring schedules.

Applies AWS's rules and error texts. Not here: endpoints and pipelines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from emulator.sagemaker_events import World
from emulator.sagemaker_shapes import invalid, shape_members
from emulator.sagemaker_state import Document, moment, sortable


class Registry:
    """Model package groups, model packages, models, processing and training jobs, monitoring schedules.

    Names of models and jobs keep their case and are found in any, as AWS has it: an ARN holds them in lower case.
    """

    def __init__(self, world: World, has_object: Callable[[str], bool]) -> None:
        """`has_object` says whether an S3 URI names an object (CreateModel refuses model data that is not there)."""
        self._world = world
        self._store = world.store
        self._has_object = has_object

    # Model package groups

    def create_model_package_group(self, request: Document) -> Document:
        """CreateModelPackageGroup."""
        name = request["ModelPackageGroupName"]
        arn = self._world.arn("model-package-group", name)
        if self._store.get("model-package-group", name):
            raise invalid(f"Model Package Group already exists: {arn}")
        return self._put_group(request, self._world.time())

    def describe_model_package_group(self, request: Document) -> Document:
        """DescribeModelPackageGroup."""
        return self._group(request["ModelPackageGroupName"])

    def _put_group(self, request: Mapping[str, Any], created: str) -> Document:
        name = request["ModelPackageGroupName"]
        group = {
            "ModelPackageGroupName": name,
            "ModelPackageGroupArn": self._world.arn("model-package-group", name),
            "ModelPackageGroupDescription": request.get("ModelPackageGroupDescription"),
            "ModelPackageGroupStatus": "Completed",
            "CreationTime": created,
            "CreatedBy": {},
        }
        self._store.put("model-package-group", name, group)
        return group

    def _group(self, name_or_arn: str) -> Document:
        name = name_or_arn.rpartition("/")[2]
        group = self._store.get("model-package-group", name)
        if group is None:
            raise invalid(f"ModelPackageGroup {self._world.arn('model-package-group', name)} does not exist.")
        return group

    # Model packages

    def create_model_package(self, request: Document) -> Document:
        """CreateModelPackage, versioned packages only."""
        if "ModelPackageGroupName" not in request:
            raise invalid("This emulator keeps versioned model packages only: ModelPackageGroupName is required.")
        self._group(request["ModelPackageGroupName"])
        return self.add_model_package(request, self._world.now())

    def register(self, request: Document, when: datetime, owner: str) -> Document:
        """What a RegisterModel step does at the logical time `when`: the group is made where there is none."""
        with self._store.transaction():
            name = request["ModelPackageGroupName"].rpartition("/")[2]
            if self._store.get("model-package-group", name) is None:
                self._put_group({"ModelPackageGroupName": name}, sortable(when))
            return self.add_model_package(request, when, owner)

    def add_model_package(self, request: Document, when: datetime, owner: str = "") -> Document:
        """Write the next version of a group, created at `when`, and its event."""
        group = request["ModelPackageGroupName"].rpartition("/")[2]
        with self._store.transaction():
            version = self._store.advance(f"model-package/{group}")
            arn = self._world.arn("model-package", f"{group}/{version}")
            kept = {name: request[name] for name in shape_members("DescribeModelPackageOutput") if name in request}
            package = {
                **kept,
                "ModelPackageName": group,
                "ModelPackageGroupName": group,
                "ModelPackageVersion": version,
                "ModelPackageArn": arn,
                "CreationTime": sortable(when),
                "ModelPackageStatus": "Completed",
                "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
                "ModelApprovalStatus": request.get("ModelApprovalStatus", "PendingManualApproval"),
            }
            self._store.put("model-package", arn, package)
            self._store.schedule(when, self._world.events.model_package(package, when), owner)
        return package

    def describe_model_package(self, request: Document) -> Document:
        """DescribeModelPackage, by ARN."""
        return self.package(request["ModelPackageName"])

    def package(self, arn: str) -> Document:
        """The package as it is now; one whose step has not ended on the logical clock does not exist yet."""
        package = self._store.get("model-package", arn)
        if package is None or moment(package["CreationTime"]) > self._world.now():
            raise invalid(f"ModelPackage {arn} does not exist.")
        return package

    def update_model_package(self, request: Document) -> Document:
        """UpdateModelPackage: approval and customer metadata; an approval that changes sends an event."""
        with self._store.transaction():
            package = self.package(request["ModelPackageArn"])
            now = self._world.now()
            before = package["ModelApprovalStatus"]
            for name in ("ModelApprovalStatus", "ApprovalDescription", "SourceUri", "ModelCard", "ModelLifeCycle"):
                if name in request:
                    package[name] = request[name]
            properties = package.get("CustomerMetadataProperties", {}) | request.get("CustomerMetadataProperties", {})
            for name in request.get("CustomerMetadataPropertiesToRemove", ()):
                properties.pop(name, None)
            package["CustomerMetadataProperties"] = properties
            package["LastModifiedTime"] = sortable(now)
            self._store.put("model-package", package["ModelPackageArn"], package)
            if package["ModelApprovalStatus"] != before:
                self._store.schedule(now, self._world.events.model_package(package, now))
        return {"ModelPackageArn": package["ModelPackageArn"]}

    def delete_model_package(self, request: Document) -> Document:
        """DeleteModelPackage."""
        self._store.delete("model-package", self.package(request["ModelPackageName"])["ModelPackageArn"])
        return {}

    def list_model_packages(self, request: Document) -> Document:
        """ListModelPackages: by group and approval, oldest first unless asked otherwise."""
        group = request.get("ModelPackageGroupName", "").rpartition("/")[2]
        approval = request.get("ModelApprovalStatus")
        now = self._world.time()
        found = [
            package
            for package in self._store.all("model-package")
            if package["CreationTime"] <= now
            and (not group or package["ModelPackageGroupName"] == group)
            and (approval is None or package["ModelApprovalStatus"] == approval)
            and request.get("NameContains", "") in package["ModelPackageName"]
        ]
        return page(found, request, "ModelPackageSummaryList", time="CreationTime", default_order="Ascending")

    # Models

    def create_model(self, request: Document) -> Document:
        """CreateModel from model packages or from images with model data."""
        name = request["ModelName"]
        arn = self._world.arn("model", name.lower())
        if ("PrimaryContainer" in request) == ("Containers" in request):
            raise invalid("Exactly one of PrimaryContainer and Containers must be given.")
        if self._store.get("model", name.lower()):
            raise invalid(f'Cannot create already existing model "{arn}".')
        for container in containers_of(request):
            self._check_container(container)
        model = {**request, "ModelArn": arn, "CreationTime": self._world.time()}
        self._store.put("model", name.lower(), model)
        return model

    def _check_container(self, container: Document) -> None:
        if "ModelPackageName" in container:
            package = self.package(container["ModelPackageName"])
            # "The value of this parameter must be set to Approved to deploy the model" (API reference).
            if package["ModelApprovalStatus"] != "Approved":
                raise invalid(
                    f"Model package {package['ModelPackageArn']} is {package['ModelApprovalStatus']}; "
                    "only an Approved model package can be deployed."
                )
        elif "Image" not in container:
            raise invalid("A container definition needs an Image or a ModelPackageName.")
        elif "ModelDataUrl" in container and not self._has_object(container["ModelDataUrl"]):
            raise invalid(f"Could not find model data at {container['ModelDataUrl']}.")

    def describe_model(self, request: Document) -> Document:
        """DescribeModel."""
        return self.model(request["ModelName"])

    def model(self, name: str) -> Document:
        """The model's description. Raises ValidationException when there is none."""
        model = self._store.get("model", name.lower())
        if model is None:
            raise invalid(f'Could not find model "{self._world.arn("model", name.lower())}".')
        return model

    def delete_model(self, request: Document) -> Document:
        """DeleteModel; endpoints that serve it go on serving it."""
        self._store.delete("model", self.model(request["ModelName"])["ModelName"].lower())
        return {}

    def serving_containers(self, model_name: str) -> list[Document]:
        """The containers of a model with packages resolved: ModelDataUrl and Environment of each, in order."""
        resolved: list[Document] = []
        for container in containers_of(self.model(model_name)):
            parts = [container]
            if "ModelPackageName" in container:
                package = self.package(container["ModelPackageName"])
                parts = package.get("InferenceSpecification", {}).get("Containers", [])
            for part in parts:
                environment = {**part.get("Environment", {}), **container.get("Environment", {})}
                resolved.append({"ModelDataUrl": part.get("ModelDataUrl", ""), "Environment": environment})
        return resolved

    # Jobs and schedules

    def put_processing_job(self, description: Document, when: datetime, owner: str = "") -> Document:
        """Keep a processing job's description (with ProcessingJobName and -Status) and send its event at `when`."""
        name = description["ProcessingJobName"]
        job = {
            "ProcessingJobArn": self._world.arn("processing-job", name.lower()),
            "CreationTime": sortable(when),
            **description,
        }
        with self._store.transaction():
            self._store.put("processing-job", name.lower(), job)
            self._store.schedule(when, self._world.events.processing_job(job, when), owner)
        return job

    def describe_processing_job(self, request: Document) -> Document:
        """DescribeProcessingJob."""
        return self._job("processing-job", request["ProcessingJobName"])

    def put_training_job(self, description: Document) -> None:
        """Keep a training job's description (with TrainingJobName)."""
        self._store.put("training-job", description["TrainingJobName"].lower(), description)

    def describe_training_job(self, request: Document) -> Document:
        """DescribeTrainingJob."""
        return self._job("training-job", request["TrainingJobName"])

    def _job(self, kind: str, name: str) -> Document:
        job = self._store.get(kind, name.lower())
        if job is None or moment(job["CreationTime"]) > self._world.now():
            raise invalid(f"Could not find requested job with name: {name}")
        return job

    def create_monitoring_schedule(self, request: Document) -> Document:
        """CreateMonitoringSchedule: kept and described; nothing runs by itself, executions are injected."""
        name = request["MonitoringScheduleName"]
        arn = self._world.arn("monitoring-schedule", name.lower())
        if self._store.get("monitoring-schedule", name):
            raise invalid(f"Monitoring Schedule {arn} already exists.")
        now = self._world.time()
        schedule = {
            **request,
            "MonitoringScheduleArn": arn,
            "MonitoringScheduleStatus": "Scheduled",
            "CreationTime": now,
            "LastModifiedTime": now,
        }
        self._store.put("monitoring-schedule", name, schedule)
        return schedule

    def describe_monitoring_schedule(self, request: Document) -> Document:
        """DescribeMonitoringSchedule."""
        name = request["MonitoringScheduleName"]
        schedule = self._store.get("monitoring-schedule", name)
        if schedule is None:
            raise invalid(f"Monitoring Schedule {self._world.arn('monitoring-schedule', name.lower())} not found.")
        return schedule


def containers_of(model: Mapping[str, Any]) -> list[Document]:
    """PrimaryContainer or Containers, as a list."""
    return [model["PrimaryContainer"]] if "PrimaryContainer" in model else list(model["Containers"])


def page(
    items: Sequence[Document], request: Mapping[str, Any], member: str, *, time: str, default_order: str = "Descending"
) -> Document:
    """One page of a listing, sorted by `time` (equal times keep their order); 10 items without MaxResults."""
    descending = request.get("SortOrder", default_order) == "Descending"
    # Reversed before a stable sort: of two resources of the same second the later created one comes first.
    ordered = sorted(reversed(items) if descending else items, key=lambda item: item[time], reverse=descending)
    token = request.get("NextToken", "0")
    if not token.isdigit():
        raise invalid("Invalid pagination token.")
    start = int(token)
    end = start + request.get("MaxResults", 10)
    out: Document = {member: ordered[start:end]}
    if end < len(ordered):
        out["NextToken"] = str(end)
    return out
