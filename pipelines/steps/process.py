"""From the manifest to the three tables of a retraining.

    manifest  ->  train.csv (header; label first), holdback.csv (label, window, features), serving.csv (as train.csv,
                  the rows of both), summary.json

Reads the manifest and SageMaker's merged records (through chalicelib.records). Not here: what is trained on
them. A row without a readable label, or with a feature that is not a number, is left out and counted by reason; a
merged object that is missing stops the step, because a challenger trained on less than the manifest says would be
another one than was decided on.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from container import INPUT, OUTPUT, StepFailureError, fetch, only_file, run

from chalicelib.errors import UnreadableError
from chalicelib.records.attributes import Attributes
from chalicelib.records.merge import read_merged
from chalicelib.records.table import Table, text_of, to_table


class WindowEntry(msgspec.Struct, frozen=True):
    window: str
    merged: list[str]


class Manifest(msgspec.Struct, frozen=True):
    """The part of Plumbline's manifest that this step reads."""

    version: int
    decision_id: str
    attributes: Attributes
    training: list[WindowEntry]
    holdback: list[WindowEntry]


class Rows(msgspec.Struct, frozen=True):
    """The usable rows of one window: label text "0" or "1", feature texts; and why the others were left out."""

    window: str
    features: tuple[str, ...]
    labels: list[str]
    values: list[list[str]]
    left_out: dict[str, int]

    def pairs(self) -> Iterator[tuple[str, list[str]]]:
        return zip(self.labels, self.values, strict=True)


def main() -> None:
    """Read the manifest, fetch every merged object, write the four files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--decision-id", help="fail if the manifest belongs to another decision")
    parser.add_argument("--min-training-rows", type=int, default=200)
    parser.add_argument("--min-holdback-rows", type=int, default=50)
    arguments = parser.parse_args()

    manifest = read_manifest(only_file(INPUT / "manifest"), arguments.decision_id)
    training = [window_rows(entry, manifest.attributes) for entry in manifest.training]
    holdback = [window_rows(entry, manifest.attributes) for entry in manifest.holdback]
    features = check_features(training + holdback)
    check_rows("training", training, arguments.min_training_rows)
    check_rows("holdback", holdback, arguments.min_holdback_rows)
    classes = {label for rows in training for label in rows.labels}
    if len(classes) < 2:
        raise StepFailureError(f"all training labels are {classes.pop()}; expected both classes")

    write_csv("train", ["label", *features], [[x, *v] for r in training for x, v in r.pairs()])
    write_csv("serving", ["label", *features], [[x, *v] for r in (*training, *holdback) for x, v in r.pairs()])
    write_csv("holdback", ["label", "window", *features], [[x, r.window, *v] for r in holdback for x, v in r.pairs()])
    summary = {
        "version": 1,
        "decision_id": manifest.decision_id,
        "features": list(features),
        "training": [window_summary(rows) for rows in training],
        "holdback": [window_summary(rows) for rows in holdback],
    }
    path = OUTPUT / "summary/summary.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def read_manifest(path: Path, decision_id: str | None) -> Manifest:
    """Decode and check the manifest. Raises StepFailureError saying what was expected."""
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.DecodeError as error:
        raise StepFailureError(f"manifest {path.name}: {error}") from None
    if manifest.version != 1:
        raise StepFailureError(f"manifest {path.name}: version {manifest.version}; expected 1")
    if decision_id is not None and decision_id != manifest.decision_id:
        raise StepFailureError(f"manifest {path.name} belongs to decision {manifest.decision_id}, not {decision_id}")
    if (manifest.attributes.probability_attribute, manifest.attributes.inference_attribute) != ("0", None):
        # A promoted challenger must answer where the monitor looks: this pipeline's models answer a probability only.
        raise StepFailureError('manifest attributes: expected probability_attribute "0" and no inference_attribute')
    trained = max((entry.window for entry in manifest.training), default="")
    for entry in manifest.holdback:
        if entry.window <= trained:
            raise StepFailureError(f"holdback window {entry.window} is not after the training windows (to {trained})")
    return manifest


def window_rows(entry: WindowEntry, attributes: Attributes) -> Rows:
    """Fetch and read one window. Raises StepFailureError naming the window and the object that is missing or broken."""
    merged = []
    left_out: Counter[str] = Counter()
    for uri in entry.merged:
        try:
            part = read_merged(fetch(uri), uri)
        except (StepFailureError, UnreadableError) as error:
            raise StepFailureError(f"window {entry.window}: merged object {error}") from None
        merged += part.requests
        left_out.update({"line is no merged record": len(part.bad_lines)} if part.bad_lines else {})
    labels = {one.request.join_id: one.label for one in merged}
    table = to_table([one.request for one in merged], labels, attributes)
    left_out.update({reason: bad.count for reason, bad in table.bad.items() if not reason.startswith("output")})
    rows = Rows(entry.window, tuple(table.features), [], [], {})
    for index in range(len(table)):
        if table.labels[index] != table.labels[index] or not table.regular[index]:
            continue  # counted above
        values = numbers(table, index)
        if values is None:
            left_out["a feature is not a number"] += 1
            continue
        rows.labels.append(str(int(table.labels[index])))
        rows.values.append(values)
    return msgspec.structs.replace(rows, left_out=dict(sorted(left_out.items())))


def numbers(table: Table, index: int) -> list[str] | None:
    """One row's features as number texts ("" where missing), or None when one of them is no number."""
    texts = []
    for column in table.features.values():
        value = column[index]
        text = str(int(value)) if isinstance(value, bool) else text_of(value).strip()
        try:
            float(text or 0)
        except ValueError:
            return None
        texts.append(text)
    return texts


def check_features(windows: list[Rows]) -> tuple[str, ...]:
    """The one list of feature names. Raises StepFailureError naming the first window that has another."""
    filled = [rows for rows in windows if rows.labels]
    for rows in filled:
        if rows.features != filled[0].features:
            raise StepFailureError(
                f"window {rows.window} has {len(rows.features)} features, others than the {len(filled[0].features)} of"
                f" window {filled[0].window}; declare attributes.features in the monitor's definition"
            )
    return filled[0].features if filled else ()


def check_rows(part: str, windows: list[Rows], least: int) -> None:
    """Raise StepFailureError when a part has too few usable rows, with the reasons of those left out."""
    found = sum(len(rows.labels) for rows in windows)
    if found < least:
        reasons: Counter[str] = Counter()
        for rows in windows:
            reasons.update(rows.left_out)
        left_out = "".join(f"; {count} left out: {reason}" for reason, count in sorted(reasons.items()))
        raise StepFailureError(f"{part}: {found} usable rows in {len(windows)} windows; expected {least}{left_out}")


def window_summary(rows: Rows) -> dict[str, Any]:
    """What summary.json says of a window."""
    return {
        "window": rows.window,
        "rows": len(rows.labels),
        "positives": rows.labels.count("1"),
        "left_out": rows.left_out,
    }


def write_csv(name: str, header: list[str], rows: Iterable[list[str]]) -> None:
    """Write `{name}/{name}.csv` under the output folder."""
    (OUTPUT / name).mkdir(parents=True, exist_ok=True)
    with (OUTPUT / name / f"{name}.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(run(main))
