"""What only the fakes promise, or what moto gets wrong: the start token, parameters, endpoints in progress, copies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.errors import ConflictError, NotFoundError, RefusedError
from chalicelib.ports import ExecutionStep, Metric
from emulator.memory import (
    MemoryCourier,
    MemoryLedger,
    MemoryMetrics,
    MemoryQueues,
    MemorySageMaker,
    MemoryScorer,
    ServiceError,
    memory_services,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time


def _sagemaker(clock: Clock | None = None, delay: timedelta = timedelta(0)) -> MemorySageMaker:
    sagemaker = MemorySageMaker(clock or Clock(), delay)
    sagemaker.add_pipeline("retrain", {"Window": None, "Mode": "full"})
    return sagemaker


def _request(**changed: Any) -> dict[str, Any]:
    return {
        "PipelineName": "retrain",
        "PipelineExecutionDisplayName": "decision-1",
        "PipelineParameters": [{"Name": "Window", "Value": "w1"}],
        "ClientRequestToken": "a" * 64,
        **changed,
    }


# moto starts a second execution for a repeated token, so these hold the fake to AWS's documented promise alone.


def test_the_same_token_gives_the_same_execution() -> None:
    sagemaker = _sagemaker()
    first = sagemaker.start_pipeline(_request())
    sagemaker.finish_execution(first)
    assert sagemaker.start_pipeline(_request()) == first
    assert sagemaker.start_pipeline(_request(ClientRequestToken="b" * 64)) != first
    assert len(sagemaker.executions) == 2


def test_the_same_token_with_another_request_is_refused() -> None:
    sagemaker = _sagemaker()
    sagemaker.start_pipeline(_request())
    with pytest.raises(RefusedError, match="another request"):
        sagemaker.start_pipeline(_request(PipelineParameters=[{"Name": "Window", "Value": "w2"}]))
    assert len(sagemaker.executions) == 1


def test_a_request_changed_after_the_start_is_not_the_request_that_was_sent() -> None:
    sagemaker = _sagemaker()
    request = _request()
    arn = sagemaker.start_pipeline(request)
    request["PipelineParameters"][0]["Value"] = "w2"
    assert sagemaker.requests[arn] == _request()
    assert sagemaker.start_pipeline(_request()) == arn


@pytest.mark.parametrize(
    "changed",
    [
        {"PipelineName": "unknown"},
        {"PipelineParameters": [{"Name": "Window", "Value": "w"}, {"Name": "Colour", "Value": "blue"}]},
        {"PipelineParameters": []},
        {"PipelineParameters": [{"Name": "Window", "Value": 3}]},
        {"PipelineParameters": [{"Name": "Window", "Value": "w"}, {"Name": "Window", "Value": "w"}]},
        {"PipelineExecutionDisplayName": "a" * 83},
        {"PipelineExecutionDisplayName": "two words"},
        {"ClientRequestToken": "a" * 31},
        {"ClientRequestToken": "a" * 129},
        {"Colour": "blue"},
    ],
)
def test_starts_that_sagemaker_refuses(changed: dict[str, Any]) -> None:
    sagemaker = _sagemaker()
    with pytest.raises(RefusedError):
        sagemaker.start_pipeline(_request(**changed))
    assert sagemaker.executions == {}


def test_an_execution_runs_until_it_is_finished_with_its_package() -> None:
    sagemaker = _sagemaker()
    arn = sagemaker.start_pipeline(_request())
    assert sagemaker.describe_execution(arn).status == "Executing"
    assert sagemaker.execution_steps(arn) == []
    package = sagemaker.add_model_package("champions", model_data_url="s3://data/1", metadata={"decision": "d1"})
    better = ExecutionStep("Better", "Succeeded", {"Condition": {"Outcome": "True"}})
    sagemaker.finish_execution(arn, package=package, steps=[better])
    assert sagemaker.describe_execution(arn).status == "Succeeded"
    steps = sagemaker.execution_steps(arn)
    assert [step.name for step in steps] == ["Better", "RegisterModel"]
    assert steps[1].metadata["RegisterModel"]["Arn"] == package
    assert sagemaker.describe_model_package(package).group == "champions"


def test_a_failed_execution_says_why() -> None:
    sagemaker = _sagemaker()
    arn = sagemaker.start_pipeline(_request())
    sagemaker.finish_execution(arn, "Failed", failure_reason="no capacity")
    described = sagemaker.describe_execution(arn)
    assert (described.status, described.failure_reason) == ("Failed", "no capacity")


def test_packages_of_a_group_count_their_versions_and_keep_the_reason() -> None:
    sagemaker = _sagemaker()
    arns = [sagemaker.add_model_package("champions", model_data_url=f"s3://data/{i}") for i in range(2)]
    assert [arn.rpartition("/")[2] for arn in arns] == ["1", "2"]
    sagemaker.set_approval(arns[1], "Rejected", "worse by 0.1")
    assert sagemaker.approvals == {arns[1]: ("Rejected", "worse by 0.1")}
    with pytest.raises(ServiceError):
        sagemaker.set_approval("arn:none", "Approved", "")


def _deployed(clock: Clock, delay: timedelta) -> MemorySageMaker:
    sagemaker = _sagemaker(clock, delay)
    for name in ("champion-1", "champion-2"):
        sagemaker.ensure_model({"ModelName": name})
        sagemaker.ensure_endpoint_config(
            {"EndpointConfigName": name, "ProductionVariants": [{"VariantName": "v", "ModelName": name}]}
        )
    sagemaker.ensure_endpoint("churn", "champion-1")
    return sagemaker


def test_an_update_takes_its_time_and_stands_in_the_way_of_another() -> None:
    clock = Clock()
    sagemaker = _deployed(clock, timedelta(minutes=5))
    assert sagemaker.describe_endpoint("churn").status == "Creating"
    with pytest.raises(ConflictError):
        sagemaker.update_endpoint("churn", "champion-2")
    clock.time += timedelta(minutes=7)
    settled = sagemaker.describe_endpoint("churn")
    assert (settled.status, settled.last_modified) == ("InService", START + timedelta(minutes=5))
    sagemaker.update_endpoint("churn", "champion-2")
    updating = sagemaker.describe_endpoint("churn")
    assert (updating.status, updating.config_name) == ("Updating", "champion-2")
    sagemaker.fail_endpoint("churn")
    clock.time += timedelta(minutes=7)
    assert sagemaker.describe_endpoint("churn").status == "Failed"


def test_an_update_needs_its_endpoint_and_its_configuration() -> None:
    sagemaker = _deployed(Clock(), timedelta(0))
    with pytest.raises(ServiceError, match="Could not find endpoint none"):
        sagemaker.update_endpoint("none", "champion-1")
    with pytest.raises(ServiceError, match="Could not find endpoint configuration none"):
        sagemaker.update_endpoint("churn", "none")
    assert sagemaker.describe_endpoint("churn").config_name == "champion-1"


def test_what_exists_is_not_replaced_and_answers_are_copies() -> None:
    sagemaker = _deployed(Clock(), timedelta(0))
    sagemaker.ensure_model({"ModelName": "champion-1", "ExecutionRoleArn": "another"})
    model: Any = sagemaker.describe_model("champion-1")
    assert "ExecutionRoleArn" not in model
    model["ModelName"] = "changed"
    assert sagemaker.describe_model("champion-1")["ModelName"] == "champion-1"


def test_a_model_is_a_function_of_rows() -> None:
    scorer = MemoryScorer({"churn": lambda rows: [float(row[0]) * 2 for row in rows]})
    scorer.models["two"] = lambda rows: [(1, 0.75) for _ in rows]
    csv, json = "text/csv", "application/json"
    assert scorer.invoke("churn", b"1,a\n2,b\n", content_type=csv, accept=csv) == b"2.0\n4.0\n"
    assert scorer.invoke("two", b"1\n", content_type=csv, accept=csv) == b"1,0.75\n"
    answer = scorer.invoke("churn", b'{"instances": [[1.5, "a"]]}', content_type=json, accept=json)
    assert answer == b'{"predictions": [3.0]}'
    with pytest.raises(NotFoundError):
        scorer.invoke("none", b"1\n", content_type=csv, accept=csv)
    with pytest.raises(ServiceError):
        scorer.invoke("churn", b"1\n", content_type="image/png", accept=csv)


@pytest.mark.parametrize(
    ("value", "age"),
    [(float("nan"), timedelta(0)), (float("inf"), timedelta(0)), (1.0, timedelta(days=15)), (1.0, -timedelta(hours=3))],
)
def test_metrics_that_cloudwatch_refuses(value: float, age: timedelta) -> None:
    metrics = MemoryMetrics(Clock())
    with pytest.raises(ServiceError):
        metrics.put("Plumbline", [Metric("Rows", {}, value, START - age)])
    metrics.put("Plumbline", [Metric("Rows", {}, 1.0, START - timedelta(days=14))])
    assert metrics.values("Plumbline", "Rows") == [1.0]


def test_messages_that_sqs_refuses() -> None:
    queues = MemoryQueues()
    for body in (b"", b"x" * (256 * 1024 + 1)):
        with pytest.raises(ServiceError):
            queues.send("windows", [body])
    assert queues.take("windows") == []


def test_a_courier_that_fails_and_refuses() -> None:
    courier = MemoryCourier({"https://down.example/": TimeoutError("down"), "https://gone.example/": 410})
    assert courier.post("https://hooks.example/", b"a", {"X": "1"}) == 200
    assert courier.post("https://gone.example/", b"b", {}) == 410
    with pytest.raises(TimeoutError):
        courier.post("https://down.example/", b"c", {})
    with pytest.raises(RefusedError):
        courier.post("http://hooks.example/", b"d", {})
    assert [(delivery.url, delivery.body) for delivery in courier.delivered] == [
        ("https://hooks.example/", b"a"),
        ("https://gone.example/", b"b"),
    ]


def test_expired_items_go_when_the_table_gets_to_it() -> None:
    clock = Clock()
    ledger = MemoryLedger(clock)
    ledger.put("m", "short", b"1", expected=None, expires_at=START + timedelta(hours=1))
    ledger.put("m", "long", b"1", expected=None)
    clock.time += timedelta(hours=2)
    assert ledger.get("m", "short") is not None
    ledger.reap()
    assert [item.sk for item in ledger.query("m")] == ["long"]


def test_the_same_calls_give_the_same_bytes() -> None:
    def run() -> tuple[object, ...]:
        services = memory_services(Clock())
        services.sagemaker.add_pipeline("retrain", {"Window": None})
        revision = services.ledger.put("m", "w", b"1", expected=None)
        etag = services.objects.put(services.settings.bucket, "k", b"1")
        arn = services.sagemaker.start_pipeline(_request())
        return revision, etag, arn, services.objects.get(services.settings.bucket, "k"), services.ledger.query("m")

    assert run() == run()
