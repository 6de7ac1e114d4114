"""Requests of a file of any kind that a capture leaves: an endpoint's, a batch transform's, merged records.

Knows which reader a file needs and where a manifest's files are; refuses to know what is measured of them.
"""

from __future__ import annotations

from datetime import datetime

from chalicelib import keys
from chalicelib.errors import MisconfiguredError, UnreadableError
from chalicelib.records.batch import read_manifest, read_transform
from chalicelib.records.capture import BadLine, CapturedRequest, read_captures
from chalicelib.records.files import kind_of
from chalicelib.records.ground_truth import Label
from chalicelib.records.merge import read_merged
from chalicelib.records.segment import BadInput
from cli.places import File, files_of


class Requests:
    """What files hold: requests, labels by the id that they join by, and what cannot be read.

    `bad` names files and lines, `more_bad` counts lines beyond those that are named.
    """

    def __init__(self) -> None:
        self.requests: list[CapturedRequest] = []
        self.labels: dict[str, Label] = {}
        self.bad: list[BadInput] = []
        self.more_bad = 0

    def add(self, name: str, requests: list[CapturedRequest], bad: list[BadLine], more_bad: int) -> None:
        self.requests += requests
        self.bad += [BadInput(name, line.line, line.reason) for line in bad]
        self.more_bad += more_bad


def read_requests(file: File) -> Requests:
    """The requests of a file; what cannot be read is named, nothing is raised for it.

    A manifest stands for the output files that it names, a manifest of a transform's input for none: the output's
    records say what was asked, where the output was joined with its input. Records of a transform without a time get
    the hour of the file or manifest.
    """
    found = Requests()
    try:
        body = file.read()
        if kind_of(body) != "manifest":
            _add(found, body, file.name, file.arrived)
        elif not _is_input(file.name):
            for uri in read_manifest(body, file.name):
                for each in files_of(uri, file.name):
                    _add(found, each.read(), each.name, file.arrived)
    except UnreadableError as error:
        found.bad.append(BadInput(file.name, 0, error.reason))
    except MisconfiguredError as error:  # a manifest names a place where nothing is
        found.bad.append(BadInput(file.name, 0, f"got {error.value}; expected {error.expected}"))
    return found


def _add(found: Requests, body: bytes, name: str, arrived: datetime) -> None:
    kind = kind_of(body)
    if kind == "merged":
        merged = read_merged(body, name, arrived)
        found.add(name, [one.request for one in merged.requests], merged.bad_lines, merged.more_bad_lines)
        found.labels.update({one.request.join_id: one.label for one in merged.requests})
        return
    file = read_transform(body, name, started=arrived) if kind == "transform" else read_captures(body, name)
    found.add(name, file.requests, file.bad_lines, file.more_bad_lines)


def _is_input(name: str) -> bool:
    hourly = keys.parse_hourly(name.removeprefix("s3://").lstrip("/"))
    return hourly is not None and hourly.prefix.rpartition("/")[2] == "input"
