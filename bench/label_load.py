"""`make bench-labels`: signed posts of ten labels each over loopback, and then a count: is every label in a report?

The webhook runs in a process of its own behind Chalice's local server, once over the fakes (what our code and Chalice
cost) and once over the emulator's S3, DynamoDB and SSM (what each call to a server beside it adds). When the time is
over, that process gets the captures of every request that a label was posted for, the label objects' events are worked
off and the windows evaluated by the handlers; what the reports count as labelled must be what was accepted.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from chalicelib import keys, wiring
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import NotFoundError
from chalicelib.events import object_created_body
from chalicelib.facts import due, evaluations, monitors
from chalicelib.records.window import Window
from chalicelib.settings import from_environment
from chalicelib.webhooks import signed_headers
from chalicelib.wiring import LazyServices, Services
from emulator.aws import LocalAws, create_resources
from emulator.label_server import BUCKET, ENDPOINT, KEYS, NEW_KEY, OLD_KEY, ROLE, ROOT, STAGE, definition

LABELS = 10
SENDERS = 8
POSTS_PER_WINDOW = 500
GOAL = 200.0
HOUR = timedelta(hours=1)

Post = tuple[int, int]  # sender, number


def ids_of(post: Post) -> list[str]:
    return [f"r-{post[0]}-{post[1]}-{index}" for index in range(LABELS)]


def place_of(post: Post, began: datetime) -> datetime:
    """When the requests of a post were answered: each window has the requests of some hundred posts."""
    number = post[1] * SENDERS + post[0]
    first = Window.of(began, HOUR).start - 400 * HOUR
    return first + (number // POSTS_PER_WINDOW) * HOUR + timedelta(minutes=number % 60)


# The sending side -----------------------------------------------------------------------------------------------------


class Sender(threading.Thread):
    """Posts one after the other on a kept connection until the time is over, at most one in `every` seconds."""

    def __init__(self, number: int, port: int, began: datetime, ends: float, every: float) -> None:
        super().__init__()
        self.accepted: list[Post] = []
        self.sent: list[Post] = []
        self.took: list[float] = []
        self.others: list[int] = []
        self._number, self._port, self._began, self._ends, self._every = number, port, began, ends, every

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.connect()
        start = time.monotonic()
        while time.monotonic() < self._ends:
            time.sleep(max(start + len(self.sent) * self._every - time.monotonic(), 0))
            post = (self._number, len(self.sent))
            when = place_of(post, self._began).isoformat()
            body = json.dumps([{"id": id, "label": 1, "inferenceTime": when} for id in ids_of(post)]).encode()
            headers = signed_headers([NEW_KEY], f"load-{post[0]}-{post[1]}", datetime.now(UTC), body)
            begins = time.perf_counter()
            connection.request(
                "POST", f"/ground-truth/{ENDPOINT}", body, {**headers, "Content-Type": "application/json"}
            )
            # The local server writes an answer in two pieces; without this the second waits for a late acknowledgement.
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            answer = connection.getresponse()
            answer.read()
            self.took.append(time.perf_counter() - begins)
            self.sent.append(post)
            if answer.status == 202:
                self.accepted.append(post)
            else:
                self.others.append(answer.status)
        connection.close()


def load(name: str, environment: dict[str, str], seconds: float, most: float) -> bool:
    """One run against one kind of storage; prints its figures. True when every accepted label is in a report."""
    command = [sys.executable, "-m", "bench.label_load", "--serve", name]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdin=pipe, stdout=pipe, stderr=log, text=True
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        began = datetime.now(UTC)
        begins = time.monotonic()
        every = SENDERS / most if most else 0.0
        senders = [Sender(number, port, began, begins + seconds, every) for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        took = time.monotonic() - begins
        sent = [post for sender in senders for post in sender.sent]
        accepted = sum(len(sender.accepted) for sender in senders)
        others = sorted({status for sender in senders for status in sender.others})
        times = sorted(each for sender in senders for each in sender.took)
        print(
            f"{name}: {accepted} posts of {LABELS} labels accepted in {took:.1f} s, {accepted / took:.0f} a second; "
            f"median {1000 * times[len(times) // 2]:.0f} ms, 99 % within {1000 * times[len(times) * 99 // 100]:.0f} ms"
            + (f"; other answers: {others}" if others else ""),
            flush=True,
        )
        process.stdin.write(json.dumps({"began": began.isoformat(), "sent": sent}) + "\n")
        process.stdin.flush()
        begins = time.monotonic()
        line = process.stdout.readline()
        process.stdin.close()
        if others or not line:
            log.seek(0)
            words = [each for each in log.read().decode(errors="replace").splitlines() if '"POST /' not in each]
            print(*words[-40:], sep="\n", file=sys.stderr)
        counted = json.loads(line)
    print(
        f"{name}: {counted['labelled']} of {accepted * LABELS} accepted labels are in the reports of "
        f"{counted['windows']} windows with {counted['rows']} records ({time.monotonic() - begins:.0f} s for it)",
        flush=True,
    )
    slow = name == "fakes" and accepted / took < GOAL
    if slow:
        print(f"{name}: fewer than {GOAL:.0f} posts a second")
    return bool(counted["labelled"] == accepted * LABELS) and not others and not slow


# The process that is posted to ----------------------------------------------------------------------------------------


def serve(name: str) -> None:
    """Serve until a line with what was sent comes; then evaluate, say what the reports count, and end."""
    # Metrics go to stdout, a line for each post: written as ever, and out of the way of what is said here.
    spoken = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stdout = nowhere
        services, monitor = _services(name), definition()
        monitors.add(services.ledger, services.objects, services.settings.bucket, monitor, "2020-01-01T00:00:00Z")
        wiring.use(services)
        with _http_server() as port:
            print(json.dumps({"port": port}), file=spoken, flush=True)
            told = json.loads(sys.stdin.readline())
        sent = [(sender, number) for sender, number in told["sent"]]
        counted = evaluate(services, monitor, sent, datetime.fromisoformat(told["began"]))
        print(json.dumps(counted), file=spoken, flush=True)


def _services(name: str) -> Services:
    if name == "emulator":
        return LazyServices(from_environment(os.environ))
    from emulator.memory import SETTINGS, memory_services
    from emulator.memory.shared import SharedLedger, SharedObjects

    services = memory_services(wiring.utc_now, msgspec.structs.replace(SETTINGS, stage=STAGE, bucket=BUCKET))
    services = dataclasses.replace(services, ledger=SharedLedger(wiring.utc_now), objects=SharedObjects(wiring.utc_now))
    services.secrets.values[SETTINGS.webhook_key_parameter] = f"{NEW_KEY} {OLD_KEY}"
    return services


@contextlib.contextmanager
def _http_server() -> Iterator[int]:
    """What `chalice local` runs, in a thread; yields its port."""
    from chalice.config import Config
    from chalice.local import create_local_server

    import app

    config = Config.create(chalice_stage=STAGE, function_name="api_handler", project_dir=str(ROOT))
    server = create_local_server(app.app, config, "127.0.0.1", 0)
    thread = threading.Thread(target=server.server.serve_forever)
    thread.start()
    yield server.server.server_address[1]
    server.shutdown()
    thread.join()


def evaluate(services: Services, monitor: Definition, sent: list[Post], began: datetime) -> dict[str, int]:
    """Capture every request that a label was sent for, work the label objects off, evaluate, and add the reports up."""
    from chalicelib.handlers import ground_truth_landed, window_due

    captures: dict[datetime, list[bytes]] = {}
    for post in sent:
        when = place_of(post, began)
        captures.setdefault(Window.of(when, HOUR).start, []).extend(_capture(id, when) for id in ids_of(post))
    bucket, prefix = split_s3_uri(monitor.capture_s3_uri)
    for hour, lines in captures.items():
        folder = keys.hour_folder(hour)
        key = f"{keys.capture_prefix(prefix, ENDPOINT, monitor.variant)}/{folder}/load.jsonl"
        services.objects.put(bucket, key, b"".join(lines))
    bucket, prefix = split_s3_uri(monitor.ground_truth_s3_uri)
    for each in list(services.objects.list(bucket, f"{prefix}/")):
        event = object_created_body(bucket, each.key, each.etag, each.size, each.last_modified)
        ground_truth_landed.handle(event.decode(), services)
    for owed in due.owed(services.ledger, monitor.name):
        window_due.handle(json.dumps({"monitor": monitor.name, "window": owed.window}), services)
    found = [_report(services, monitor, each.window) for each in evaluations.evaluations(services.ledger, monitor.name)]
    return {
        "windows": len(found),
        "rows": sum(int(report["rows"]) for report in found),
        "labelled": sum(int(report["labelled_rows"]) for report in found),
    }


def _capture(id: str, when: datetime) -> bytes:
    side = {"observedContentType": "text/csv", "encoding": "CSV"}
    document = {
        "captureData": {
            "endpointInput": {**side, "mode": "INPUT", "data": "1,2"},
            "endpointOutput": {**side, "mode": "OUTPUT", "data": "0.9"},
        },
        "eventMetadata": {"eventId": f"e-{id}", "inferenceId": id, "inferenceTime": when.isoformat()},
        "eventVersion": "0",
    }
    return json.dumps(document).encode() + b"\n"


def _report(services: Services, monitor: Definition, window: str) -> dict[str, Any]:
    """What the window's report counts, from its file."""
    bucket, output = split_s3_uri(monitor.output_s3_uri)
    folder = keys.report_folder(output, ENDPOINT, monitor.name, "ModelQuality", Window.parse(window, HOUR))
    try:
        report = json.loads(services.objects.get(bucket, f"{folder}/evaluation.json").body)
    except NotFoundError:
        return {"rows": 0, "labelled_rows": 0}
    counted: dict[str, Any] = report["inputs"]
    return counted


def main(arguments: list[str] | None = None) -> int:
    """Load both kinds of storage; 0 when every accepted label was found, and the goal was reached over the fakes."""
    parser = argparse.ArgumentParser(prog="python -m bench.label_load")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to post, for each kind of storage")
    parser.add_argument(
        "--most", type=float, default=400.0, help="posts a second that are tried at most; 0: as many as go"
    )
    parser.add_argument("--storage", choices=("fakes", "emulator"), help="only this one")
    parser.add_argument("--serve", choices=("fakes", "emulator"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve)
        return 0
    well = True
    if options.storage != "emulator":
        well = load("fakes", {"PLUMBLINE_STAGE": STAGE}, options.seconds, options.most)
    if options.storage != "fakes":
        well = on_the_stand_in(options.seconds, options.most) and well
    return 0 if well else 1


def on_the_stand_in(seconds: float, most: float) -> bool:
    """The same over the emulator's own processes."""
    with LocalAws() as aws:
        resources = create_resources(aws, STAGE, [BUCKET])
        aws.client("ssm").put_parameter(Name=KEYS, Value=f"{NEW_KEY} {OLD_KEY}", Type="SecureString")
        environment = {
            **aws.environment(),
            "PLUMBLINE_STAGE": STAGE,
            "PLUMBLINE_BUCKET": BUCKET,
            "PLUMBLINE_TABLE": resources.table_name,
            "PLUMBLINE_TOPIC_ARN": resources.topic_arn,
            "PLUMBLINE_WEBHOOK_KEYS": KEYS,
            "PLUMBLINE_MODEL_ROLE_ARN": ROLE,
        }
        return load("emulator", environment, seconds, most)


if __name__ == "__main__":
    sys.exit(main())
