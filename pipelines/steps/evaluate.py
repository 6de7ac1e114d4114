"""Challenger against champion and every pool member, on the same held-back rows.

    manifest, holdback.csv, the challenger's model.tar.gz
        ->  evaluation.json, model_metrics.json, model_constraints.json

The loss is the error rate at the monitor's threshold, as in Plumbline's own gate (decisions/challenger.py). Knows
nothing of S3 layouts: champion and pool are fetched from where the manifest says. A pool member that cannot be asked
is listed with the reason or the error's class, and not compared; the champion or the challenger failing is a failure
of the step, because a comparison without them would say nothing.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from container import INPUT, OUTPUT, StepFailureError, fetch, only_file, run
from models import probabilities

from chalicelib.monitors import model_quality
from chalicelib.records.attributes import Attributes
from chalicelib.states.scores import tally


@dataclass(frozen=True)
class Holdback:
    """Held-back rows: labels 0/1 and window starts, shape (rows,); the features as CSV text, a line per row."""

    labels: np.ndarray
    windows: np.ndarray
    csv_rows: str


def main() -> None:
    """Score every model, write the comparison and the challenger's own baseline files."""
    manifest = json.loads(only_file(INPUT / "manifest").read_bytes())
    attributes = msgspec.convert(manifest["attributes"], Attributes)
    holdback = read_holdback(only_file(INPUT / "holdback", "*.csv"))
    archives = {"challenger": only_file(INPUT / "challenger", "*.tar.gz").as_uri()}
    archives["champion"] = manifest["champion"]["model_data"]
    pool = {member["name"]: member["model_data"] for member in manifest["pool"]}

    answers = {role: _ask(role, uri, holdback) for role, uri in archives.items()}
    wrong = {role: _wrong(answer, holdback, attributes) for role, answer in answers.items()}
    not_compared: dict[str, str] = {}
    pool_wrong: dict[str, np.ndarray] = {}
    for name, uri in sorted(pool.items()):
        # Throttling or a broken network is not the model's fault: it fails the step, which may be repeated.
        try:
            archive = fetch(uri)
        except StepFailureError as error:
            not_compared[name] = str(error)
            continue
        try:
            answer = probabilities(archive, holdback.csv_rows, len(holdback.labels))
        except Exception as error:
            not_compared[name] = type(error).__name__
            continue
        pool_wrong[name] = _wrong(answer, holdback, attributes)

    OUTPUT.joinpath("evaluation").mkdir(parents=True, exist_ok=True)
    document = _evaluation(manifest, holdback, wrong, pool_wrong, not_compared)
    _write("evaluation.json", document)
    # The challenger's baseline, should it be promoted: from held-back rows, never from rows it was trained on.
    metrics = _metrics(answers["challenger"], holdback, attributes)
    _write("model_metrics.json", metrics)
    _write("model_constraints.json", model_quality.suggest_constraints(metrics))
    print(f"challenger {document['losses']['challenger']:.4f}, best incumbent {document['best_incumbent']:.4f}")


def read_holdback(path: Path) -> Holdback:
    """Read holdback.csv (header; label, window, features). Raises StepFailureError when it is not that."""
    with path.open(newline="", encoding="utf-8") as lines:
        header, *rows = list(csv.reader(lines)) or [[]]
    if header[:2] != ["label", "window"] or not rows:
        raise StepFailureError(f"{path.name}: expected the columns label, window, features, and at least one row")
    return Holdback(
        np.array([int(row[0]) for row in rows]),
        np.array([row[1] for row in rows]),
        "".join(",".join(row[2:]) + "\n" for row in rows),
    )


def _ask(role: str, uri: str, holdback: Holdback) -> np.ndarray:
    try:
        return probabilities(fetch(uri), holdback.csv_rows, len(holdback.labels))
    except StepFailureError:
        raise
    except Exception as error:
        raise StepFailureError(f"the {role} {uri} cannot be asked: {type(error).__name__}") from None


def _wrong(answer: np.ndarray, holdback: Holdback, attributes: Attributes) -> np.ndarray:
    predicted: np.ndarray = answer > attributes.probability_threshold
    return predicted != (holdback.labels == 1)


def _evaluation(
    manifest: dict[str, Any],
    holdback: Holdback,
    wrong: dict[str, np.ndarray],
    pool_wrong: dict[str, np.ndarray],
    not_compared: dict[str, str],
) -> dict[str, Any]:
    def losses(rows: np.ndarray) -> dict[str, Any]:
        named: dict[str, Any] = {role: float(values[rows].mean()) for role, values in wrong.items()}
        named["pool"] = {name: float(values[rows].mean()) for name, values in pool_wrong.items()}
        return named

    overall = losses(np.ones(len(holdback.labels), dtype=bool))
    best = min([overall["champion"], *overall["pool"].values()])
    windows = sorted(set(holdback.windows.tolist()))
    return {
        "version": 1,
        "decision_id": manifest["decision_id"],
        "rows": len(holdback.labels),
        "windows": windows,
        "losses": overall,
        "best_incumbent": best,
        "challenger_better": overall["challenger"] < best,
        "not_compared": not_compared,
        "per_window": [
            {"window": window, "rows": int(rows.sum()), "losses": losses(rows)}
            for window in windows
            for rows in [holdback.windows == window]
        ],
    }


def _metrics(answer: np.ndarray, holdback: Holdback, attributes: Attributes) -> dict[str, Any]:
    predictions = (answer > attributes.probability_threshold).astype(float)
    counted = tally(answer, predictions, holdback.labels.astype(float))
    # Derived output knows no clock: the newest held-back window stands for the time of evaluation.
    return model_quality.statistics(counted, datetime.fromisoformat(max(holdback.windows.tolist())))


def _write(name: str, document: Any) -> None:
    text = json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"
    (OUTPUT / "evaluation" / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run(main))
