"""What the SageMaker SDK makes of the files below a folder; runs where the SDK is, and imports nothing of ours.

Each file is read as the SDK reads a monitor's output: from a local file, which it uploads to its bucket, and from S3.
What it holds then must be what the file says, and a constraints file must survive being switched off and saved.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path


def main(folder: Path) -> int:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    import boto3
    from sagemaker.core.helper.session_helper import Session
    from sagemaker.core.model_monitor import Constraints, ConstraintViolations, Statistics

    bucket = "sdk-reads"
    boto3.client("s3").create_bucket(Bucket=bucket)
    session = Session(boto_session=boto3.Session(), default_bucket=bucket)
    readers = {
        "statistics.json": (Statistics, "statistics_file_path", "statistics_file_s3_uri"),
        "constraints.json": (Constraints, "constraints_file_path", "constraints_file_s3_uri"),
        # A baseline's analysis is what the bias and explainability monitors are given as constraints.
        "analysis.json": (Constraints, "constraints_file_path", "constraints_file_s3_uri"),
        "constraint_violations.json": (
            ConstraintViolations,
            "constraint_violations_file_path",
            "constraint_violations_file_s3_uri",
        ),
    }
    read: dict[str, int] = dict.fromkeys(readers, 0)
    for path in sorted(folder.rglob("*.json")):
        if path.name not in readers:
            continue  # evaluation.json is ours
        reader, by_path, by_uri = readers[path.name]
        document = json.loads(path.read_bytes())
        uploaded = reader.from_file_path(**{by_path: str(path)}, sagemaker_session=session)
        assert uploaded.body_dict == document, f"{path}: the SDK holds something else"
        again = reader.from_s3_uri(**{by_uri: uploaded.file_s3_uri}, sagemaker_session=session)
        assert again.body_dict == document, f"{path}: the SDK reads something else from S3"
        if reader is Constraints and "monitoring_config" in document:
            switch(again, document)
        read[path.name] += 1
    print(", ".join(f"{count} {name}" for name, count in read.items()), "read by the SDK")
    return 0 if all(read.values()) else 1


def switch(constraints: object, document: dict[str, object]) -> None:
    """Data-quality constraints can be switched off and saved with the SDK's own methods."""
    constraints.set_monitoring(enable_monitoring=False)
    constraints.save()
    assert constraints.body_dict["monitoring_config"]["evaluate_constraints"] == "Disabled"
    assert constraints.body_dict["features"] == document["features"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
