"""Ask a packed model: model.tar.gz in, one answer per row out, through the model's own serving code.

Knows SageMaker's scikit-learn serving contract (model_fn, input_fn, predict_fn, output_fn in code/inference.py) and
nothing of labels or losses. Loading a model runs the code in its archive: see "Whom is trusted" in README.md.
"""

from __future__ import annotations

import importlib.util
import io
import os
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np


def probabilities(archive: bytes, csv_rows: str, rows: int) -> np.ndarray:
    """What a model answers to CSV rows: the first column of its text/csv answer, shape (rows,), each in [0, 1].

    Raises whatever the model's code raises, and ValueError when the answer is no such column.
    """
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            packed.extractall(folder, filter="data")  # refuses paths outside the folder, links out of it, devices
        with _serving_code(Path(folder)) as code:
            model = code.model_fn(folder)
            answer = code.output_fn(code.predict_fn(code.input_fn(csv_rows, "text/csv"), model), "text/csv")
    body = answer[0] if isinstance(answer, tuple) else answer
    text = body.decode("utf-8") if isinstance(body, bytes) else str(body)
    found = np.array([float(line.split(",")[0]) for line in text.splitlines() if line.strip()])
    if found.shape != (rows,):
        raise ValueError(f"{len(found)} answers to {rows} rows")
    if not ((found >= 0) & (found <= 1)).all():
        raise ValueError("an answer is not a probability")
    return found


@contextmanager
def _serving_code(folder: Path) -> Iterator[ModuleType]:
    """The module code/inference.py; the modules it brings along are gone afterwards, so models cannot mix theirs."""
    place = folder / "code"
    specification = importlib.util.spec_from_file_location("inference", place / "inference.py")
    if specification is None or specification.loader is None or not (place / "inference.py").is_file():
        raise FileNotFoundError("code/inference.py")
    module = importlib.util.module_from_spec(specification)
    known = set(sys.modules)
    sys.path.insert(0, str(place))
    # SageMaker imports the handler under this name, and pickles may name classes by it.
    sys.modules["inference"] = module
    here = os.getcwd()
    try:
        specification.loader.exec_module(module)
        yield module
    except SystemExit as error:  # no Exception: it would end this step, too
        raise RuntimeError(f"the model's code called exit({error.code})") from None
    finally:
        os.chdir(here)
        sys.path.remove(str(place))
        for name in set(sys.modules) - known:
            origin = getattr(sys.modules[name], "__file__", None)
            if name == "inference" or (origin and Path(origin).is_relative_to(folder)):
                del sys.modules[name]
