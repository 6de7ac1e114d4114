"""Chalice's local server over the emulator: the label webhook as a process of its own that is called over real HTTP.

Creates an account with one endpoint and one monitor, and shows what is stored in it. Chalice's server plays API
Gateway: routing and content types are its own; it does not implement IAM, so the IAM path refuses every caller. Not
here: what is posted.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.adapters.ledger import DynamoLedger
from chalicelib.adapters.object_store import S3ObjectStore
from chalicelib.definition import Definition, parse_definition
from chalicelib.facts import monitors
from chalicelib.facts.deliveries import Receipt
from chalicelib.ports import Ledger, ObjectStore
from emulator.aws import LocalAws, StandInError, create_resources

ROOT = Path(__file__).resolve().parent.parent
STAGE, BUCKET, ENDPOINT = "dev", "plumbline-labels", "churn"
KEYS = "/plumbline/dev/webhook-keys"
NEW_KEY = "whsec_" + base64.b64encode(b"the key that is in use from now on").decode()
OLD_KEY = "whsec_" + base64.b64encode(b"the key that was in use till now..").decode()
ROLE = "arn:aws:iam::123456789012:role/plumbline-model"


@dataclass(frozen=True)
class LabelServer:
    """A running webhook at `url`; `objects` and `ledger` look at what it has stored."""

    url: str
    objects: ObjectStore
    ledger: Ledger

    def stored(self) -> dict[str, bytes]:
        """Every label object, by its key."""
        return {
            each.key: self.objects.get(BUCKET, each.key).body for each in self.objects.list(BUCKET, "ground-truth/")
        }

    def receipts(self) -> dict[str, Receipt]:
        """Every webhook that is written down, by its id."""
        items = self.ledger.query(f"WEBHOOK#{ENDPOINT}")
        return {item.sk: msgspec.json.decode(item.body, type=Receipt) for item in items}


def definition(problem_type: str = "BinaryClassification") -> Definition:
    """The monitor of the one endpoint."""
    binary = problem_type == "BinaryClassification"
    place = f"s3://{BUCKET}"
    document: dict[str, Any] = {
        "name": "churn-quality",
        "endpoint": ENDPOINT,
        "capture_s3_uri": f"{place}/captures",
        "ground_truth_s3_uri": f"{place}/ground-truth/{ENDPOINT}",
        "output_s3_uri": f"{place}/reports",
        "monitor_types": ["ModelQuality"],
        "attributes": {
            "problem_type": problem_type,
            **({"probability_attribute": "0"} if binary else {"inference_attribute": "0"}),
        },
    }
    return parse_definition(document)


@contextlib.contextmanager
def label_server(monitor: Definition | None = None, **environment: str) -> Iterator[LabelServer]:
    """A webhook that takes labels for ENDPOINT under NEW_KEY and OLD_KEY; `environment` changes its variables.

    Raises StandInError when the server does not come up.
    """
    monitor = monitor or definition()
    with LocalAws() as aws:
        resources = create_resources(aws, STAGE, [BUCKET])
        objects = S3ObjectStore(aws.client("s3"))
        ledger = DynamoLedger(aws.client("dynamodb"), resources.table_name)
        aws.client("ssm").put_parameter(Name=KEYS, Value=f"{NEW_KEY} {OLD_KEY}", Type="SecureString")
        monitors.add(ledger, objects, BUCKET, monitor, "2026-01-01T00:00:00Z")
        variables = {
            **aws.environment(),
            "PLUMBLINE_STAGE": STAGE,
            "PLUMBLINE_BUCKET": BUCKET,
            "PLUMBLINE_TABLE": resources.table_name,
            "PLUMBLINE_TOPIC_ARN": resources.topic_arn,
            "PLUMBLINE_WEBHOOK_KEYS": KEYS,
            "PLUMBLINE_MODEL_ROLE_ARN": ROLE,
            **environment,
        }
        with served([sys.executable, "-m", "emulator.label_process", STAGE], variables) as url:
            yield LabelServer(url, objects, ledger)


@contextlib.contextmanager
def served(command: list[str], variables: Mapping[str, str], timeout: float = 60.0) -> Iterator[str]:
    """Run a server that prints its port as its first line, until the block ends; yields its address.

    Raises StandInError with the server's last words when it does not answer /openapi.json within `timeout` seconds, or
    ended before the block did.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )

        def fault(what: str) -> StandInError:
            log.seek(0)
            return StandInError(f"the server {what}: {log.read().decode(errors='replace')[-2000:]}")

        ended = False
        try:
            ends = time.monotonic() + timeout
            port = _first_line(process, timeout)
            while port.isdigit() and not _answers(port) and process.poll() is None and time.monotonic() < ends:
                time.sleep(0.05)
            if not port.isdigit() or process.poll() is not None or time.monotonic() >= ends:
                raise fault("does not answer")
            yield f"http://127.0.0.1:{port}"
            ended = process.poll() is not None
        except Exception as error:
            if process.poll() is not None and not isinstance(error, StandInError):
                raise fault(f"ended with status {process.returncode}") from error
            raise
        finally:
            _end(process)
        if ended:
            raise fault(f"ended with status {process.returncode}")


def _first_line(process: subprocess.Popen[bytes], timeout: float) -> str:
    """What the process prints first; "" when that is nothing within so many seconds."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout)
    return process.stdout.readline().decode(errors="replace").strip() if ready else ""


def _answers(port: str) -> bool:
    """Whether the webhook itself answers there, and not just another listener."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=5)
    try:
        connection.request("GET", "/openapi.json")
        answer = connection.getresponse()
        return answer.status == 200 and b'"openapi"' in answer.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
