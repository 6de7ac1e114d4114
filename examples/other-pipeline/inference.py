"""SageMaker's scikit-learn serving contract for train.py's model: text/csv in, one probability per line out."""

import os

import joblib
import numpy as np


def model_fn(model_dir):
    """Load what train.py wrote."""
    return joblib.load(os.path.join(model_dir, "model.joblib"))


def input_fn(request_body, content_type):
    """CSV rows without header; an empty field is a missing value."""
    if not content_type.startswith("text/csv"):
        raise ValueError(f"content type {content_type}: expected text/csv")
    text = request_body.decode() if isinstance(request_body, bytes) else request_body
    return np.array([[float(field) if field else np.nan for field in line.split(",")] for line in text.splitlines()])


def predict_fn(rows, model):
    """The probability of class 1."""
    return model.predict_proba(rows)[:, 1]


def output_fn(probabilities, accept):
    """One probability per line."""
    return "".join(f"{float(value)!r}\n" for value in probabilities), "text/csv"
