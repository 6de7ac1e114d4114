"""Train the challenger: scikit-learn's gradient-boosted trees with their defaults, on train.csv.

    channel train: train.csv (header; label first)  ->  model dir: model.joblib, code/inference.py, metadata.json

Runs in the image that will also serve the model; needs scikit-learn only, nothing of Plumbline's.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import joblib
import numpy as np
from container import ROOT, StepFailureError, only_file, run
from sklearn.ensemble import HistGradientBoostingClassifier


def main() -> None:
    """Read the channel, fit, and write the model directory."""
    channel = Path(os.environ.get("SM_CHANNEL_TRAIN", ROOT / "input/data/train"))
    model_dir = Path(os.environ.get("SM_MODEL_DIR", ROOT / "model"))
    seed = random_state(ROOT / "input/config/hyperparameters.json")
    features, labels, rows = read_table(only_file(channel, "*.csv"))
    model = HistGradientBoostingClassifier(random_state=seed).fit(rows, labels)

    (model_dir / "code").mkdir(parents=True, exist_ok=True)
    joblib.dump(model, model_dir / "model.joblib")
    shutil.copyfile(Path(__file__).with_name("inference.py"), model_dir / "code/inference.py")
    metadata = {
        "rows": len(labels),
        "classes": sorted({int(label) for label in labels}),
        "features": features,
        "seed": seed,
    }
    (model_dir / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    print(f"trained on {len(labels)} rows, {len(features)} features")


def random_state(path: Path) -> int:
    """The hyperparameter random_state (SageMaker writes every value as a string), 0 where none is given."""
    values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    text = str(values.get("random_state", 0))
    if not text.isdecimal():
        raise StepFailureError(f"hyperparameter random_state: got {text!r}; expected a whole number of at least 0")
    return int(text)


def read_table(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Feature names, labels of shape (rows,), features of shape (rows, features) with NaN for empty fields."""
    with path.open(newline="", encoding="utf-8") as lines:
        header = next(csv.reader(lines), [])
        if len(header) < 2 or header[0] != "label":
            raise StepFailureError(f"{path.name}: expected a header of label and at least one feature")
        table = np.genfromtxt(lines, delimiter=",", dtype=float, ndmin=2)
    if table.shape[0] == 0:
        raise StepFailureError(f"{path.name}: expected rows below the header, found none")
    labels = table[:, 0].astype(int)
    if len(set(labels.tolist())) < 2:
        raise StepFailureError(f"{path.name}: all {len(labels)} labels are the same; expected two classes")
    return header[1:], labels, table[:, 1:]


if __name__ == "__main__":
    sys.exit(run(main))
