"""A training step that has never heard of Plumbline's code: manifest in, logistic regression out.

Reads the manifest from its one input channel, fetches the merged files that it names, and fits. It compares itself
with nobody and is registered whatever it is worth: Plumbline evaluates what it registers.
"""

import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import joblib
import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ROOT = Path(os.environ.get("ML_ROOT", "/opt/ml"))


def main():
    """Fit on every training window of the manifest and write the model directory."""
    channel = Path(os.environ.get("SM_CHANNEL_MANIFEST", ROOT / "input/data/manifest"))
    model_dir = Path(os.environ.get("SM_MODEL_DIR", ROOT / "model"))
    (path,) = (path for path in channel.iterdir() if path.is_file())
    manifest = json.loads(path.read_bytes())
    uris = [uri for window in manifest["training"] for uri in window["merged"]]
    rows, labels = [], []
    for uri in uris:
        try:
            body = fetch(uri)
        except Exception as error:
            sys.exit(f"{uri} cannot be read: {type(error).__name__}")
        for line in body.splitlines():
            read_record(json.loads(line), rows, labels)
    if len(set(labels)) < 2:
        sys.exit(f"{len(labels)} labelled rows in {len(uris)} merged files; expected rows of both classes")
    model = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression(random_state=0))
    model.fit(np.array(rows), np.array(labels))
    (model_dir / "code").mkdir(parents=True, exist_ok=True)
    joblib.dump(model, model_dir / "model.joblib")
    shutil.copyfile(Path(__file__).with_name("inference.py"), model_dir / "code/inference.py")
    print(f"trained on {len(labels)} rows")


def read_record(record, rows, labels):
    """Append the CSV rows of one merged record, and their labels: plain text, or a JSON list by position."""
    truth = record["groundTruthData"]["data"].strip()
    values = json.loads(truth) if truth.startswith("[") else truth.split(",")
    request = csv.reader(io.StringIO(record["captureData"]["endpointInput"]["data"]))
    for features, label in zip((row for row in request if row), values, strict=True):
        rows.append([float(field) if field else np.nan for field in features])
        labels.append(int(label))


def fetch(uri):
    """The bytes of an s3:// object, or of a local file:// one."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).read_bytes()
    import boto3

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()


def run():
    """Run, and leave the reason of a failure where SageMaker looks for it."""
    try:
        main()
    except (Exception, SystemExit) as error:
        # The text of an unexpected error may quote the data, so only its class is reported.
        reason = str(error) if isinstance(error, SystemExit) else f"training failed: {type(error).__name__}"
        (ROOT / "output").mkdir(parents=True, exist_ok=True)
        (ROOT / "output/failure").write_text(reason[:1024])
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run())
