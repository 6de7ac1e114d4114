"""`plumbline ground-truth`: what is missing, handed out as a file, brought back in one; repeats, crashes, refusals."""

from __future__ import annotations

import csv
import dataclasses
import http.server
import json
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from chalicelib import wiring
from chalicelib.handlers.ground_truth_posted import PostedRequest, handle
from chalicelib.wiring import Services
from plumbline.cli import push
from plumbline.cli.main import main
from tests.unit.handlers.world import DATA, MONITOR, World, definition, hour

CANARY = "canary-7f3a"
# Small parts, and no waiting between attempts.
PARTS = ("--batch", "3", "--pause", "0")


@pytest.fixture
def world() -> Iterator[World]:
    """Two labelled hours and one without labels."""
    found = World(definition())
    for number in range(3):
        found.live(number, labelled=number < 2)
    wiring.use(found.services)
    yield found
    wiring.use(None)


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["ground-truth", *arguments]) == code
    out, err = capsys.readouterr()
    assert (out == "") == (code != 0)
    return out or err


def export(world: World, capsys: pytest.CaptureFixture[str], folder: Path) -> tuple[Path, list[dict[str, str]]]:
    path = folder / "unlabelled.csv"
    output_of(capsys, "export-unlabelled", MONITOR, "--from", "2026-01-05", "--out", str(path))
    with path.open(newline="", encoding="utf-8") as file:
        return path, list(csv.DictReader(file))


def fill_in(path: Path, rows: list[dict[str, str]], label: str = "1") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "label": label} for row in rows)


# status ---------------------------------------------------------------------------------------------------------------


def test_status_says_what_is_missing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    lines = output_of(capsys, "status", MONITOR).splitlines()
    assert [line.split()[:5] for line in lines[1:4]] == [
        ["2026-01-05T02:00:00Z", "20", "0", "20", "0%"],
        ["2026-01-05T01:00:00Z", "20", "20", "0", "100%"],
        ["2026-01-05T00:00:00Z", "20", "20", "0", "100%"],
    ]
    assert lines[4] == "20 labels are missing in 3 open windows"
    assert lines[5].endswith("export-unlabelled churn --from 2026-01-05T02:00:00Z --out unlabelled.csv")
    assert output_of(capsys, "status").splitlines()[1].split() == [
        "churn",
        "3",
        "60",
        "40",
        "20",
        "67%",
        "2",
        "windows",
    ]


def test_status_leaves_out_what_is_sealed(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.clock.time = hour(2) + definition().horizon
    found = json.loads(output_of(capsys, "status", MONITOR, "--json"))[MONITOR]
    assert [(each["window"], each["open_for"]) for each in found] == [("2026-01-05T02:00:00Z", 1)]


def test_an_unknown_monitor(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not in the table" in output_of(capsys, "status", "nobody", code=2)


# export and push ------------------------------------------------------------------------------------------------------


def test_the_file_holds_what_is_asked_for_and_only_the_owner_reads_it(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, rows = export(world, capsys, tmp_path)
    assert len(rows) == 20 and {row["label"] for row in rows} == {""}
    assert list(rows[0])[:6] == ["id", "record_index", "inference_time", "label", "prediction", "score"]
    assert len(rows[0]) > 6 and all(row["inference_time"].startswith("2026-01-05T02:") for row in rows)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "captured data" in output_of(
        capsys, "export-unlabelled", MONITOR, "--from", "2026-01-05", "--out", str(tmp_path / "again.csv")
    )
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()


def test_out_and_back_in_settles_the_window(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, rows = export(world, capsys, tmp_path)
    fill_in(path, rows)
    assert output_of(capsys, "push", str(path), MONITOR, "--s3").startswith("20 labels sent in 1 parts")
    world.settle()
    world.minutes(10)
    assert (world.evaluation(2).labelled, world.evaluation(2).settled) == (20, True)
    assert "0 labels are missing" in output_of(capsys, "status", MONITOR)
    assert export(world, capsys, tmp_path)[1] == []


def test_pushed_again_nothing_is_stored_twice(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, rows = export(world, capsys, tmp_path)
    fill_in(path, rows)
    output_of(capsys, "push", str(path), MONITOR, "--s3")
    before = world.services.objects.keys(DATA, "ground-truth/")
    world.clock.time += 2 * (hour(1) - hour(0))
    assert "0 labels sent in 1 parts" in output_of(capsys, "push", str(path), MONITOR, "--s3")
    # The note of the part was lost with its process, that of the hour was not.
    journal = path.with_name("unlabelled.csv.pushed")
    journal.write_text(journal.read_text().splitlines()[0] + "\n")
    assert "20 labels sent" in output_of(capsys, "push", str(path), MONITOR, "--s3")
    assert world.services.objects.keys(DATA, "ground-truth/") == before


def test_json_lines_of_either_form(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    entries: list[dict[str, Any]] = [
        {"id": "a", "label": 1, "time": "2026-01-05T03:00:00Z"},
        {"id": "b", "label": 0, "record_index": 2},
        {"groundTruthData": {"data": "1", "encoding": "CSV"}, "eventMetadata": {"eventId": "c"}},
    ]
    path.write_text("\n".join(map(json.dumps, entries)) + "\n\n")
    output_of(capsys, "push", str(path), MONITOR, "--s3")
    [key] = [key for key in world.services.objects.keys(DATA, "ground-truth/") if "push-" in key]
    lines = [json.loads(line) for line in world.services.objects.get(DATA, key).body.splitlines()]
    assert {line["eventMetadata"]["eventId"]: line["eventMetadata"] for line in lines} == {
        "a": {"eventId": "a", "labelTime": "2026-01-05T03:00:00Z"},
        "b": {"eventId": "b", "recordIndex": 2},
        "c": {"eventId": "c"},
    }


@pytest.mark.parametrize(
    "content, told_of",
    [
        (f"id,label\na,1\nb,{CANARY}\n,1\n", ["line 3: label", "line 4: id"]),
        (
            f'{{"id":"a","label":1}}\n{{"id":"b","label":"{CANARY}"}}\n{CANARY}\n',
            ["line 2: label", "line 3: the entry"],
        ),
        ("id,label,record_index\na,1,-1\n", ["line 2: recordIndex"]),
        ("id,label,time\na,1,yesterday\n", ["line 2: labelTime"]),
        (f"name,{CANARY}\n", ["a CSV header with id and label"]),
        ("id,label\na,\n", ["at least one row with a label"]),
        ("", ["a CSV header"]),
    ],
)
def test_a_file_with_a_mistake_is_refused_whole(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, told_of: list[str]
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content)
    before = world.services.objects.keys(DATA, "ground-truth/")
    error = output_of(capsys, "push", str(path), MONITOR, "--s3", code=2)
    assert all(each in error for each in told_of) and CANARY not in error
    assert world.services.objects.keys(DATA, "ground-truth/") == before
    assert not path.with_name("labels.csv.pushed").exists()


# To the webhook -------------------------------------------------------------------------------------------------------


class Webhook(http.server.BaseHTTPRequestHandler):
    """The real handler behind a real socket; `fails` says which calls are answered 503 before or after their work."""

    services: Services
    fails: ClassVar[list[str]] = []
    calls: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        fault = self.fails.pop(0) if self.fails else ""
        self.calls.append(self.headers["webhook-id"])
        status, answer = 503, {"message": "Service Unavailable"}
        if fault != "before":
            request = PostedRequest(self.path.rsplit("/", 1)[1], self.headers, body, self.headers["content-type"])
            done = handle(request, self.services, self.services.definitions.ground_truth_places)
            if fault != "after":
                status, answer = done[0], done[1]
        raw = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url(world: World) -> Iterator[str]:
    Webhook.services, Webhook.fails, Webhook.calls = world.services, [], []
    with http.server.HTTPServer(("127.0.0.1", 0), Webhook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def labels_file(folder: Path, count: int = 10) -> Path:
    path = folder / "labels.csv"
    path.write_text("id,label\n" + "".join(f"p-{number},1\n" for number in range(count)))
    return path


def pushed(world: World) -> list[str]:
    found = []
    for key in world.services.objects.keys(DATA, "ground-truth/"):
        for line in world.services.objects.get(DATA, key).body.splitlines():
            found.append(json.loads(line)["eventMetadata"]["eventId"])
    return sorted(id for id in found if id.startswith("p-"))


def test_signed_calls(world: World, url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = labels_file(tmp_path)
    assert output_of(capsys, "push", str(path), MONITOR, "--url", url, *PARTS).startswith("10 labels sent in 4 parts")
    assert pushed(world) == sorted(f"p-{number}" for number in range(10))


def test_calls_without_an_answer_are_made_again(
    world: World, url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Webhook.fails = ["before", "after", "", "after"]
    output_of(capsys, "push", str(labels_file(tmp_path)), MONITOR, "--url", url, *PARTS)
    assert len(Webhook.calls) == 7 and len(set(Webhook.calls)) == 4
    assert pushed(world) == sorted(f"p-{number}" for number in range(10))


def test_it_goes_on_where_it_stopped(
    world: World, url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = labels_file(tmp_path)
    Webhook.fails = ["", "", *["after"] * push.ATTEMPTS]
    assert "answers 503: Service Unavailable; after 5 attempts" in output_of(
        capsys, "push", str(path), MONITOR, "--url", url, *PARTS, code=1
    )
    begun = len(Webhook.calls)
    text = output_of(capsys, "push", str(path), MONITOR, "--url", url, *PARTS)
    assert text.startswith("4 labels sent in 4 parts") and "6 were sent before" in text
    assert len(Webhook.calls) == begun + 2
    assert pushed(world) == sorted(f"p-{number}" for number in range(10))


def test_a_refusal_ends_it_with_the_webhooks_words(
    world: World, url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    wrong = dataclasses.replace(world.services)
    wrong.secrets.values["other"] = "whsec_" + "A" * 40
    wiring.use(wrong)
    error = output_of(
        capsys, "push", str(labels_file(tmp_path)), MONITOR, "--url", url, *PARTS, "--keys", "other", code=1
    )
    assert "answers 401: no v1 signature" in error and len(Webhook.calls) == 1
    assert pushed(world) == []


def test_nobody_answers(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    error = output_of(
        capsys, "push", str(labels_file(tmp_path)), MONITOR, "--url", "http://127.0.0.1:9", *PARTS, code=1
    )
    assert "after 5 attempts; run the command again to continue" in error


@pytest.mark.parametrize("url", ["http://hooks.example/api", "file:///etc/passwd", "hooks.example", "https://"])
def test_labels_go_out_encrypted_or_not_at_all(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path, url: str
) -> None:
    assert "--url" in output_of(capsys, "push", str(labels_file(tmp_path)), MONITOR, "--url", url, *PARTS, code=2)
