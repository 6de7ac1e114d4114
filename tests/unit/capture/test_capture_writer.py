"""The capture writer: what its files hold, what it drops and counts, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chalicelib.records.capture import CapturedRequest, read_captures
from plumbline.capture import CaptureWriter, blank
from plumbline.capture.lines import is_sampled
from plumbline.capture.places import S3Prefix
from tests.unit.cli.evaluating import BINARY, ROWS, call, label, read, write

ROOT = Path(__file__).parents[3]
AT = datetime(2022, 4, 1, 10, 30, 5, tzinfo=UTC).timestamp()


def captured(folder: Path) -> list[CapturedRequest]:
    """What the files below a folder hold, read as the product reads them."""
    files = [read_captures(path.read_bytes(), path.name) for path in sorted(folder.rglob("*.jsonl"))]
    assert not [line for file in files for line in file.bad_lines]
    return [request for file in files for request in file.requests]


class Place:
    """Keeps files in memory; raises `fails` times before."""

    def __init__(self, fails: int = 0) -> None:
        self.files: dict[str, bytes] = {}
        self.fails = fails

    def put(self, key: str, body: bytes) -> None:
        if self.fails:
            self.fails -= 1
            raise OSError("secret: no space")
        self.files[key] = body


def test_files_have_sagemakers_layout_and_lines(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path, "churn", "blue")
    assert writer.record(b"1,2\n", b"0.5", "text/csv", "text/csv; charset=utf-8", "id-1", "trace=7", at=AT)
    writer.record(b'{"a":1}', b"\x00\xff", "application/json", "application/x-npy", at=AT + 3600)
    writer.record(b"\xff", b"", "text/csv", "", at=AT)
    writer.close()
    paths = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.jsonl"))
    assert [path.parent.as_posix() for path in paths] == [f"churn/blue/2022/04/01/{hour}" for hour in (10, 11)]
    assert all(len(path.stem) == len("07-21-267-ca5fa9e7-8266-486f-9524-5f4da3e72739") for path in paths)
    first, third, second = captured(tmp_path)
    assert (first.inference_id, first.custom_attributes) == ("id-1", ("trace=7",))
    assert first.inference_time == datetime(2022, 4, 1, 10, 30, 5, tzinfo=UTC)
    assert first.input and (first.input.data, first.input.encoding, first.input.mode) == ("1,2\n", "CSV", "INPUT")
    assert first.output and first.output.content_type == "text/csv; charset=utf-8"
    assert second.inference_id is None and second.output and second.output.encoding == "BASE64"
    assert second.input and (second.input.data, second.input.encoding) == ('{"a":1}', "JSON")
    # Text that is no UTF-8 is Base64, whatever was declared.
    assert third.input and (third.input.data, third.input.encoding) == ("/w==", "BASE64")
    assert len({first.event_id, second.event_id, third.event_id}) == 3
    assert writer.counts.written == 3 and writer.counts.files == 2


def test_evaluate_reads_them_and_joins_labels_by_inference_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path / "table.csv", ["a,b,p,y", *(",".join(map(str, row)) for row in ROWS)])
    call(capsys, 0, "baseline", table, *BINARY, "p", "--ground-truth-attribute", "y", "--out", tmp_path / "baseline")
    writer = CaptureWriter(tmp_path / "captures", "churn")
    for number, row in enumerate(ROWS):
        writer.record(f"{row[0]},{row[1]}".encode(), str(row[2]).encode(), inference_id=f"event-{number}", at=AT)
    writer.close()
    labels = write(tmp_path / "labels.jsonl", [label(n, row[3]) for n, row in enumerate(ROWS)])
    given = ("--captures", tmp_path / "captures", "--ground-truth", labels, "--baseline", tmp_path / "baseline")
    out, _ = call(capsys, 0, "evaluate", *given, *BINARY, "0", "--out", tmp_path / "out")
    assert out.startswith("All right: ") and "400 rows labelled (100.0%)" in out
    mine = read(tmp_path / "out/model_quality/statistics.json")["binary_classification_metrics"]
    assert mine == read(tmp_path / "baseline/model_quality/statistics.json")["binary_classification_metrics"]


def test_the_sample_is_chosen_by_the_id() -> None:
    ids = [f"id-{number}" for number in range(20_000)]
    some = {each for each in ids if is_sampled(each, 20)}
    assert abs(len(some) / len(ids) - 0.2) < 0.01
    # A larger sample has the smaller one in it, and every host answers alike.
    assert some < {each for each in ids if is_sampled(each, 30)}
    place = Place()
    writer = CaptureWriter(place, "churn", sampling_percentage=20, max_requests=len(ids))
    assert {each for each in ids if writer.record(b"1", b"0", inference_id=each)} == some
    writer.close()
    assert writer.counts.written == len(some)
    assert not CaptureWriter(place, "churn", sampling_percentage=0).record(b"1", b"0")


def test_what_is_above_a_bound_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    writer = CaptureWriter(place, "churn", max_requests=10, max_bytes=1000, max_payload_bytes=400)
    monkeypatch.setattr(writer, "_start", lambda: None)  # nothing is taken out of the queue
    assert not writer.record(b"x" * 300, b"y" * 101)
    assert [writer.record(b"1", b"2") for _ in range(12)] == [True] * 10 + [False] * 2
    assert writer.counts.dropped_full == 2 and writer.counts.dropped_large == 1
    more = CaptureWriter(place, "churn", max_requests=10, max_bytes=1000, max_payload_bytes=400)
    monkeypatch.setattr(more, "_start", lambda: None)
    assert [more.record(b"x" * 300, b"") for _ in range(4)] == [True] * 3 + [False]
    monkeypatch.undo()
    for each in (writer, more):
        each._start()
        each.close()
    assert (writer.counts.written, more.counts.written) == (10, 3)
    assert not writer.record(b"1", b"2") and writer.counts.dropped_closed == 1


def test_what_waits_is_written_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    writer = CaptureWriter(Place(), "churn")
    assert writer.record(b"1", b"2") and writer.record(b"3", b"4")
    writer.close()
    assert writer.counts.written == 2


def test_many_threads_lose_nothing() -> None:
    place = Place()
    writer = CaptureWriter(place, "churn", max_requests=100_000)

    def work(name: int) -> None:
        for number in range(2000):
            writer.record(b"1", b"2", inference_id=f"{name}-{number}", at=AT)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    lines = [json.loads(line) for body in place.files.values() for line in body.splitlines()]
    assert len({line["eventMetadata"]["inferenceId"] for line in lines}) == len(lines) == 16_000
    assert writer.counts.written == 16_000


def test_a_place_that_fails_is_tried_again_and_its_words_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    place = Place(fails=2)
    writer = CaptureWriter(place, "churn")
    writer.record(b"1", b"2")
    assert not writer.flush() and not place.files
    writer.close()
    assert writer.counts.written == 1 and writer.counts.failed_writes == 2 and len(place.files) == 1
    assert "OSError" in caplog.text and "secret" not in caplog.text


def test_what_cannot_be_written_in_time_is_counted() -> None:
    writer = CaptureWriter(Place(fails=1_000_000), "churn")
    writer.record(b"1", b"2")
    writer.close(timeout=0.5)
    time.sleep(0.5)
    assert writer.counts.written == 0 and writer.counts.dropped_closed == 1


def test_values_are_left_out_before_anything_is_written(caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    writer = CaptureWriter(place, "churn", redact=blank(fields=["name"], columns=[1]))
    writer.record(b'1,"secret, too",3\n4,secret,6', b"0.5", at=AT)
    writer.record(b'{"instances":[{"name":"secret","a":1}]}', b"0.5", "application/json", at=AT)
    writer.record(b'{"name":"secret"}\n{"a":2}', b"0.5", "application/jsonlines", at=AT)
    for body, kind in ((b"secret", "image/png"), (b"{secret", "application/json"), (b'"secret', "text/csv")):
        assert writer.record(body, b"0.5", kind, at=AT)
    writer.close()
    written = b"".join(place.files.values())
    assert b"secret" not in written and "secret" not in caplog.text
    data = [json.loads(line)["captureData"]["endpointInput"]["data"] for line in written.splitlines()]
    assert data == ["1,,3\n4,,6\n", '{"instances":[{"name":null,"a":1}]}', '{"name":null}\n{"a":2}']
    assert writer.counts.written == 3 and writer.counts.dropped_unredacted == 3


def test_s3_gets_whole_objects_with_their_key() -> None:
    class Client:
        puts: list[dict[str, Any]]

        def put_object(self, **call: Any) -> None:
            self.puts = [*getattr(self, "puts", []), call]

    client = Client()
    S3Prefix("s3://bucket/some/captures/", "key-1", client).put("churn/blue/x.jsonl", b"body")
    S3Prefix("s3://bucket", client=client).put("churn/blue/x.jsonl", b"body")
    assert client.puts == [
        {
            **{"Bucket": "bucket", "Key": "some/captures/churn/blue/x.jsonl", "Body": b"body"},
            **{"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-1"},
        },
        {"Bucket": "bucket", "Key": "churn/blue/x.jsonl", "Body": b"body"},
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"endpoint": "a/b"}, "endpoint: got 'a/b'"),
        ({"endpoint": "a", "variant": ".b"}, "variant: got '.b'"),
        ({"endpoint": "a", "sampling_percentage": 101}, "sampling_percentage: got 101"),
    ],
)
def test_wrong_settings_are_refused_when_the_service_starts(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        CaptureWriter(Place(), **given)


PROGRAM = """
import signal, sys, time
{before}
from plumbline.capture import CaptureWriter
writer = CaptureWriter(sys.argv[1], "churn")
for number in range(500):
    writer.record(b"1", b"2")
print("ready", flush=True)
{after}
while True:
    time.sleep(0.01)
"""
SERVER = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))"


@pytest.mark.parametrize(
    ("before", "after", "status"), [("", "", -signal.SIGTERM), (SERVER, "", 7), ("", SERVER, 7), ("", "sys.exit(0)", 0)]
)
def test_a_process_that_ends_writes_what_waits(tmp_path: Path, before: str, after: str, status: int) -> None:
    """Ended by SIGTERM without a handler, with a server's handler (before and after ours), and by its own end."""
    program = PROGRAM.format(before=before, after=after)
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        if "exit(0)" not in after:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == status
    assert len(captured(tmp_path)) == 500


def test_a_forked_worker_writes_its_own_requests_and_not_its_parents(tmp_path: Path) -> None:
    program = """
import os, sys
from plumbline.capture import CaptureWriter
writer = CaptureWriter(sys.argv[1], "churn")
writer.record(b"1", b"2", inference_id="parent")
child = os.fork()
writer.record(b"1", b"2", inference_id="child" if child == 0 else "parent-2")
if child:
    os.waitpid(child, 0)
sys.exit(0)
"""
    subprocess.run([sys.executable, "-c", program, tmp_path], cwd=ROOT, check=True, timeout=30)
    assert sorted(each.join_id for each in captured(tmp_path)) == ["child", "parent", "parent-2"]


def test_importing_it_imports_nothing_else() -> None:
    program = "import sys, plumbline.capture; print([m for m in ('numpy', 'boto3', 'msgspec') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    replace = os.replace

    def watched(source: Path, target: Path) -> None:
        seen.extend(path.name for path in tmp_path.rglob("*") if path.is_file())
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    writer = CaptureWriter(tmp_path, "churn")
    writer.record(b"1", b"2")
    writer.close()
    assert seen and all(name.startswith(".") for name in seen)
    assert len(captured(tmp_path)) == 1
