"""SageMaker's scikit-learn serving contract for a model trained by train.py: text/csv in, one probability per line out.

Lies in model.tar.gz as code/inference.py. The model is loaded with joblib, which is pickle: loading runs what the
archive says. So an archive is code, and is trusted exactly as far as those who may write to its bucket are
(pipelines/README.md).
"""

from __future__ import annotations

import os
from typing import Any

import joblib
import numpy as np


def model_fn(model_dir: str) -> Any:
    """Load the classifier that train.py wrote."""
    return joblib.load(os.path.join(model_dir, "model.joblib"))


def input_fn(request_body: str | bytes, content_type: str) -> np.ndarray:
    """Parse CSV rows without header into (rows, features); an empty field is a missing value."""
    if content_type.split(";")[0].strip() != "text/csv":
        raise ValueError(f"content type {content_type}: expected text/csv")
    text = request_body.decode("utf-8") if isinstance(request_body, (bytes, bytearray)) else request_body
    lines = [line.split(",") for line in text.splitlines()]
    return np.array([[float(field) if field.strip() else np.nan for field in line] for line in lines], dtype=float)


def predict_fn(rows: np.ndarray, model: Any) -> np.ndarray:
    """The probability of the class 1 for each row, shape (rows,)."""
    return model.predict_proba(rows)[:, 1]


def output_fn(probabilities: np.ndarray, accept: str) -> tuple[str, str]:
    """One probability per line, written so that reading it back gives the same number."""
    return "".join(f"{float(value)!r}\n" for value in probabilities), "text/csv"
