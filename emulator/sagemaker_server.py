"""The SageMaker API and runtime on loopback, for an unmodified boto3 client with `endpoint_url`.

Connects the parts and speaks HTTP: JSON 1.1 by X-Amz-Target, and POST /endpoints/{name}/invocations. Runs on a logical
clock: between ticks it only answers. Not here: any operation's rules.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import ClientError

from emulator.model_capture import Capture
from emulator.model_server import Answer, ModelError, ModelServer
from emulator.pipeline_jobs import Jobs, split_uri
from emulator.pipeline_runner import PipelineRunner
from emulator.sagemaker_endpoints import Endpoints
from emulator.sagemaker_events import Events, World
from emulator.sagemaker_pipelines import Pipelines
from emulator.sagemaker_registry import Registry
from emulator.sagemaker_shapes import ApiError, check_input, invalid, service_model, write_output
from emulator.sagemaker_state import Document, Store, moment, sortable


class SageMakerServer:
    """The emulator for SageMaker. All state lies in `state_folder`; a new instance on the same folder goes on."""

    def __init__(
        self,
        state_folder: Path,
        s3: Any,
        *,
        now: Callable[[], datetime],
        emit: Callable[[Document], None],
        region: str = "us-east-1",
        account: str = "123456789012",
        seed: str = "plumbline",
        port: int = 0,
        endpoint_takes: timedelta = timedelta(minutes=3),
        serverless_takes: timedelta = timedelta(minutes=1),
        pipeline_takes: timedelta = timedelta(minutes=20),
        step_environment: Mapping[str, str] | None = None,
        runner: type[PipelineRunner] = PipelineRunner,
    ) -> None:
        """`s3` is a boto3 client; `emit` gets EventBridge events, from the thread that calls `tick`.

        The three durations are logical time. `step_environment` (AWS_ENDPOINT_URL, credentials) is given to every
        step of a pipeline; `runner` decides whether steps run inside `tick` (PipelineRunner) or beside it
        (BackgroundRunner).
        """
        self._now = now
        self._emit = emit
        self._s3 = s3
        self._port = port
        self._store = Store(state_folder)
        world = World(self._store, now, Events(account, region))
        self._registry = Registry(world, self._has_object)
        self._jobs = Jobs(s3, state_folder, step_environment or {})
        self._runner = runner(world, self._registry, self._jobs, s3, pipeline_takes)
        capture = Capture(s3, seed)
        self._models = ModelServer(
            world, s3, lambda name: self._endpoints.endpoint(name), capture, state_folder / "models", seed
        )
        self._endpoints = Endpoints(
            world, self._registry, self._models.probe, takes=endpoint_takes, serverless_takes=serverless_takes
        )
        pipelines = Pipelines(world, self._runner, self._read_object)
        self._operations = _operations(pipelines, self._registry, self._endpoints)
        self._http: _Server | None = None

    # Life

    def start(self) -> str:
        """Listen on loopback in a thread and return the URL; loads the service model, so the first call is fast too."""
        service_model()
        self._http = _Server(("127.0.0.1", self._port), _Handler)
        self._http.standin = self
        threading.Thread(target=self._http.serve_forever, args=(0.2,), name="sagemaker", daemon=True).start()
        return self.url

    @property
    def url(self) -> str:
        """`http://127.0.0.1:{port}`."""
        if self._http is None:
            raise RuntimeError("the emulator for SageMaker was not started")
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        """Stop listening and running; the state stays."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
        self._runner.close()
        self._store.close()

    # The replay's side

    def tick(self) -> None:
        """Run what was started and send every event that is due. Call it after the logical clock has moved."""
        self._runner.start_waiting()
        while (due := self._store.next_due(self._now())) is not None:
            number, event = due
            self._emit(event)
            self._store.sent(number)

    def wait(self, execution_arn: str) -> None:
        """Return when the real work of a pipeline execution is done (its status still follows the logical clock)."""
        self._runner.wait(execution_arn)

    def next_change(self) -> datetime | None:
        """When the next event is due, for a replay that wants to jump; None when nothing is waiting."""
        return self._store.next_time()

    def add_processing_job(self, description: Mapping[str, Any]) -> str:
        """Put a finished job (a monitoring execution) into the account and return its ARN; its event is due at once.

        `description` has the members of DescribeProcessingJob; times may be datetimes. Needs ProcessingJobName and
        ProcessingJobStatus, raises ValueError without.
        """
        missing = {"ProcessingJobName", "ProcessingJobStatus"} - description.keys()
        if missing:
            raise ValueError(f"a processing job's description needs {sorted(missing)}")
        plain = {name: sortable(value) if isinstance(value, datetime) else value for name, value in description.items()}
        ended = plain.get("ProcessingEndTime")
        job = self._registry.put_processing_job(plain, moment(ended) if ended else self._now())
        return str(job["ProcessingJobArn"])

    def invoke(self, endpoint: str, body: bytes, **options: str) -> Answer:
        """InvokeEndpoint without HTTP; the options are those of ModelServer.invoke."""
        return self._models.invoke(endpoint, body, **options)

    def fail_next(self, endpoint: str, count: int) -> None:
        """Make the model of an endpoint raise in its next `count` invocations."""
        self._models.fail_next(endpoint, count)

    def flush(self, now: datetime) -> list[str]:
        """Write the buffered captures to S3 and return their URIs."""
        return self._models.flush(now)

    def metrics(self, now: datetime) -> list[dict[str, Any]]:
        """New data points of namespace AWS/SageMaker, in PutMetricData's form."""
        return self._models.metrics(now)

    def job_log(self, job_name: str) -> Path:
        """The file with the output of a pipeline's processing or training job."""
        return self._jobs.log(job_name)

    def call(self, operation: str, body: Any) -> Document:
        """One API operation without HTTP: a decoded request in, the answer as the wire has it out. Raises ApiError."""
        request = check_input(operation, body)
        if operation not in self._operations:
            raise ApiError("UnknownOperationException", f"{operation} is not offered by this emulator.")
        with self._store.transaction():
            return write_output(operation, self._operations[operation](request))

    def _has_object(self, uri: str) -> bool:
        try:
            bucket, key = split_uri(uri)
            self._s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return False
            raise
        return True

    def _read_object(self, bucket: str, key: str) -> str:
        try:
            return self._s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()  # type: ignore[no-any-return]
        except ClientError as error:
            raise invalid(f"Unable to read the pipeline definition at s3://{bucket}/{key}.") from error


def _operations(
    pipelines: Pipelines, registry: Registry, endpoints: Endpoints
) -> dict[str, Callable[[Document], Document]]:
    return {
        "CreatePipeline": pipelines.create_pipeline,
        "UpdatePipeline": pipelines.update_pipeline,
        "DescribePipeline": pipelines.describe_pipeline,
        "StartPipelineExecution": pipelines.start_pipeline_execution,
        "StopPipelineExecution": pipelines.stop_pipeline_execution,
        "DescribePipelineExecution": pipelines.describe_pipeline_execution,
        "ListPipelineExecutions": pipelines.list_pipeline_executions,
        "ListPipelineExecutionSteps": pipelines.list_pipeline_execution_steps,
        "ListPipelineParametersForExecution": pipelines.list_pipeline_parameters_for_execution,
        "CreateModelPackageGroup": registry.create_model_package_group,
        "DescribeModelPackageGroup": registry.describe_model_package_group,
        "CreateModelPackage": registry.create_model_package,
        "DescribeModelPackage": registry.describe_model_package,
        "UpdateModelPackage": registry.update_model_package,
        "DeleteModelPackage": registry.delete_model_package,
        "ListModelPackages": registry.list_model_packages,
        "CreateModel": registry.create_model,
        "DescribeModel": registry.describe_model,
        "DeleteModel": registry.delete_model,
        "DescribeProcessingJob": registry.describe_processing_job,
        "DescribeTrainingJob": registry.describe_training_job,
        "CreateMonitoringSchedule": registry.create_monitoring_schedule,
        "DescribeMonitoringSchedule": registry.describe_monitoring_schedule,
        "CreateEndpointConfig": endpoints.create_endpoint_config,
        "DescribeEndpointConfig": endpoints.describe_endpoint_config,
        "DeleteEndpointConfig": endpoints.delete_endpoint_config,
        "CreateEndpoint": endpoints.create_endpoint,
        "DescribeEndpoint": endpoints.describe_endpoint,
        "UpdateEndpoint": endpoints.update_endpoint,
        "UpdateEndpointWeightsAndCapacities": endpoints.update_endpoint_weights_and_capacities,
        "DeleteEndpoint": endpoints.delete_endpoint,
        "ListEndpoints": endpoints.list_endpoints,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    standin: SageMakerServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one packet
    server: _Server
    _numbers = itertools.count(1)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.split("?")[0].strip("/").split("/")
        try:
            if len(parts) == 3 and parts[0] == "endpoints" and parts[2] == "invocations":
                self._invoke(unquote(parts[1]), body)
            else:
                self._api(body)
        except ModelError as error:
            self._send_json(
                error.status,
                {
                    "ErrorCode": "MODEL_ERROR",
                    "Message": error.message,
                    "OriginalMessage": error.original_message,
                    "OriginalStatusCode": error.original_status,
                    "LogStreamArn": error.log_stream,
                },
                {"x-amzn-ErrorType": error.code},
            )
        except ApiError as error:
            self._send_json(
                error.status, {"__type": error.code, "message": error.message}, {"x-amzn-ErrorType": error.code}
            )
        except Exception as error:  # a fault of the emulator: the caller sees AWS's 500, the terminal the reason
            self._send_json(
                500,
                {"__type": "InternalFailure", "message": f"emulator: {type(error).__name__}"},
                {"x-amzn-ErrorType": "InternalFailure"},
            )
            raise

    def _api(self, body: bytes) -> None:
        service, _, operation = self.headers.get("X-Amz-Target", "").partition(".")
        if service != "SageMaker":
            raise ApiError("UnknownOperationException", "Expected the header X-Amz-Target: SageMaker.<Operation>.")
        try:
            decoded = json.loads(body or b"{}")
        except ValueError:
            raise ApiError("SerializationException", "The request body is not JSON.") from None
        self._send_json(200, self.server.standin.call(operation, decoded), {})

    def _invoke(self, endpoint: str, body: bytes) -> None:
        header = self.headers.get
        answer = self.server.standin.invoke(
            endpoint,
            body,
            content_type=header("Content-Type", "application/octet-stream"),
            accept=header("Accept", ""),
            inference_id=header("X-Amzn-SageMaker-Inference-Id", ""),
            custom_attributes=header("X-Amzn-SageMaker-Custom-Attributes", ""),
            target_variant=header("X-Amzn-SageMaker-Target-Variant", ""),
        )
        self._send(200, answer.body, answer.content_type, {"x-Amzn-Invoked-Production-Variant": answer.variant})

    def _send_json(self, status: int, body: Document, headers: Mapping[str, str]) -> None:
        self._send(status, json.dumps(body).encode(), "application/x-amz-json-1.1", headers)

    def _send(self, status: int, body: bytes, content_type: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amzn-RequestId", f"00000000-0000-4000-8000-{next(self._numbers):012d}")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: every call of the replay would be a line."""
