"""What must hold in the end, read from the stored files: nothing lost, and the same reports as of labels at once.

Each law is one function that returns its breaches as text. Not here: how an account was played.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from chalicelib import keys
from chalicelib.records.merge import read_merged
from chalicelib.records.window import Window
from demo.account import BUCKET, FIRST
from trials.late_labels.plan import HOUR, Plan, Told
from trials.late_labels.recording import Recording

# The output place of the demo's monitors; model-quality reports lie under the hour of their window's end.
OUTPUT = "reports"
LABEL_MATURITY = "label_maturity.json"

# Fields of evaluation.json that may differ, and why.
AGES = {"label_ages": "in every other window labels say no time, so they are as old as their arrival"}
ONCE = {
    "inputs.label_objects": "the number of objects that the labels came in",
    "inputs.labels_repeated": "what was sent twice comes once",
    "inputs.labels_conflicting": "what was wrong at first comes right at once",
    "label_ages": "as above, and what was wrong at first came earlier than its correction",
}

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Compared:
    """How many files were compared, how many are the same but for fields that may differ, and what else differs."""

    files: int
    without: int
    different: list[str]


def final_files(stored: Files) -> dict[str, bytes]:
    """The files that must be the same: every report and every merged record.

    label_maturity.json says how far labels had come at a moment and in how many revisions: that is each run's own.
    """
    return {
        key: body
        for key, body in stored.items()
        if key.startswith(f"{OUTPUT}/") and not key.endswith(f"/{LABEL_MATURITY}")
    }


def same(mine: Files, theirs: Files, left_out: Mapping[str, str], only_untimed: bool) -> Compared:
    """Compare two runs' final files byte for byte; in evaluation.json the fields of `left_out` may differ.

    `only_untimed`: only in windows whose labels do not say when they became known.
    """
    mine, theirs = final_files(mine), final_files(theirs)
    different, without = [], 0
    for key in sorted({*mine, *theirs}):
        if key not in mine or key not in theirs:
            different.append(f"{key}: only in the run with labels {'late' if key in mine else 'at once'}")
            continue
        if mine[key] == theirs[key]:
            continue
        may_differ = key.endswith("/evaluation.json") and not (only_untimed and _timed(json.loads(mine[key])))
        one, other = (_without(body, left_out) if may_differ else body for body in (mine[key], theirs[key]))
        if one == other:
            without += 1
        else:
            different.append(f"{key}: {_where(one, other)}")
    return Compared(len(mine), without, different)


def _timed(evaluation: Mapping[str, Any]) -> bool:
    return int(Window.parse(evaluation["window"]["start"], HOUR).start.timestamp()) // 3600 % 2 == 0


def _without(body: bytes, fields: Mapping[str, str]) -> bytes:
    document = json.loads(body)
    for field in fields:
        section, _, name = field.rpartition(".")
        (document.get(section, {}) if section else document).pop(name, None)
    return json.dumps(document).encode()


def _where(mine: bytes, theirs: bytes) -> str:
    """The first place in which two documents differ; never what stands there, for it may be captured."""
    try:
        return _place(json.loads(mine), json.loads(theirs), "") or "the same values, written in another way"
    except ValueError:
        pairs = list(zip(mine.splitlines(), theirs.splitlines(), strict=False))
        line = next((number for number, (one, other) in enumerate(pairs, 1) if one != other), len(pairs) + 1)
        return f"differs in line {line}"


def _place(mine: Any, theirs: Any, at: str) -> str:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for name in [*mine, *(each for each in theirs if each not in mine)]:
            if name not in mine or name not in theirs:
                return f"{at}.{name} is only in one of them".lstrip(".")
            if found := _place(mine[name], theirs[name], f"{at}.{name}"):
                return found
        return ""
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        return next(
            (found for n, pair in enumerate(zip(mine, theirs, strict=True)) if (found := _place(*pair, f"{at}[{n}]"))),
            "",
        )
    return "" if mine == theirs else f"{at.lstrip('.')} differs"


def nothing_lost(stored: Files, recording: Recording, plan: Plan) -> list[str]:
    """Every label that came in time is merged with its final value, and nothing else is: by the plan, not by a run."""
    wanted = _wanted(recording, plan)
    found: dict[str, list[int | None]] = {}
    for key, body in stored.items():
        if key.startswith(f"{OUTPUT}/merge/"):
            for one in read_merged(body, key).requests:
                if one.request.join_id in found:
                    return [f"{one.request.join_id} was merged twice"]
                found[one.request.join_id] = _values(one.label.data, len(wanted.get(one.request.join_id, ())))
    wrong = [f"{id}: its label was not merged" for id in wanted if id not in found]
    wrong += [f"{id}: merged without a label that counts" for id in found if id not in wanted]
    wrong += [f"{id}: merged with another label" for id in found if id in wanted and found[id] != wanted[id]]
    counted = 0
    for key, body in stored.items():
        if key.endswith("/evaluation.json") and f"/{FIRST}-model-quality/" in key:
            counted += json.loads(body)["inputs"]["labelled_rows"]
    rows = sum(value is not None for values in wanted.values() for value in values)
    if counted != rows:
        wrong.append(f"the reports count {counted} labelled rows of {rows}")
    return wrong


def _wanted(recording: Recording, plan: Plan) -> dict[str, list[int | None]]:
    """The final value of each record, by the id of its request; requests without any label are left out."""
    sizes = {one.id: len(one.truth) for one in recording.asked}
    wanted: dict[str, list[int | None]] = {}
    for label in plan.final:
        values = wanted.setdefault(label.of.id, [None] * sizes[label.of.id])
        for number, value in _placed(label):
            values[number] = value
    return wanted


def _placed(label: Told) -> list[tuple[int, int]]:
    first = label.of.record or 0
    return [(first + number, value) for number, value in enumerate(label.values)]


def _values(data: str, size: int) -> list[int | None]:
    """The value of each record in a merged label: a number, a list, or the labels of single records."""
    document = json.loads(data)
    if isinstance(document, dict):
        return [int(text) if (text := document["recordLabels"].get(str(n))) is not None else None for n in range(size)]
    return document if isinstance(document, list) else [document]


def late_listed(stored: Files, plan: Plan) -> list[str]:
    """What came after the seal is listed and counted with its window, each label once."""
    listed = sum(json.loads(body)["late_label_count"] for body in label_maturity(stored))
    sent = plan.counts["after the seal"]
    return [] if listed == sent else [f"{sent} labels came after the seal, {listed} are listed"]


def restated(stored: Files) -> list[str]:
    """Each window was restated; the revisions are listed, kept, and the last is what lies in the report's place."""
    wrong = []
    for body in label_maturity(stored):
        maturity = json.loads(body)
        name = maturity["window"]["start"]
        if not maturity["requests"]:
            continue  # an hour without traffic has nothing to restate
        if len(maturity["revisions"]) < 2:
            wrong.append(f"the report of {name} was never restated")
        for each in maturity["revisions"]:
            if each["key"] not in stored:
                wrong.append(f"a revision of {name} that is listed is not there")
        files = msgspec.msgpack.decode(stored[maturity["revisions"][-1]["key"]])["files"]
        folder = keys.report_folder(OUTPUT, FIRST, FIRST, "ModelQuality", Window.parse(name, HOUR))
        report = f"{folder}/evaluation.json"
        if stored.get(report) != files.get(report):
            wrong.append(f"the report of {name} is not its last revision")
    return wrong


def label_maturity(stored: Files) -> list[bytes]:
    """Every stored label_maturity.json, oldest window first."""
    return [
        stored[key] for key in sorted(stored) if key.startswith(f"{OUTPUT}/{FIRST}/") and key.endswith(LABEL_MATURITY)
    ]


def bytes_of(objects: Mapping[tuple[str, str], Any]) -> dict[str, bytes]:
    """What an account's bucket holds, by key."""
    return {key: stored.body for (bucket, key), stored in objects.items() if bucket == BUCKET}
