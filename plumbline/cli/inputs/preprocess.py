"""A user's preprocessing script, as Model Monitor takes it: `preprocess_handler(inference_record[, logger])`.

Loading runs the file, so it is for a user's own scripts on a user's own machine. The deployed functions never load one:
a script must not get their captures, keys and permission to start pipelines.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
from collections.abc import Callable
from pathlib import Path

from chalicelib.errors import MisconfiguredError
from chalicelib.records.preprocess import InferenceRecord, Preprocessor

_HANDLER = "preprocess_handler"


def load_preprocessor(path: Path) -> Preprocessor:
    """The handler of a script, as a function of a record; a handler of two arguments also gets a logger.

    The logger writes to standard error under the script's name. Raises MisconfiguredError for a file that cannot be
    read or run, or that has no such function.
    """
    specification = importlib.util.spec_from_file_location(f"preprocess_{path.stem}", path)
    if specification is None or specification.loader is None:
        raise MisconfiguredError("preprocess", str(path), "a Python file, named *.py")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except OSError as error:
        raise MisconfiguredError("preprocess", str(path), f"a file that can be read ({error.strerror})") from None
    except (Exception, SystemExit) as error:  # a script may raise anything, or end the process
        raise MisconfiguredError("preprocess", str(path), f"a script that runs; got {_place(error)}") from None
    handler = getattr(module, _HANDLER, None)
    if not callable(handler):
        raise MisconfiguredError("preprocess", str(path), f"a function {_HANDLER}(inference_record)")
    if _takes(handler, 2):
        logger = logging.getLogger(path.name)

        def with_logger(record: InferenceRecord) -> object:
            return handler(record, logger)

        return with_logger
    if not _takes(handler, 1):
        raise MisconfiguredError("preprocess", str(path), f"{_HANDLER}(inference_record[, logger])")

    def alone(record: InferenceRecord) -> object:
        return handler(record)

    return alone


def _takes(handler: Callable[..., object], arguments: int) -> bool:
    try:
        inspect.signature(handler).bind(*[None] * arguments)
    except TypeError:
        return False
    return True


def _place(error: Exception) -> str:
    """The type of an error and the script's line that raised it, without the script's own text."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__} in line {error.lineno}"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{type(error).__name__} in line {trace.tb_lineno}" if trace else type(error).__name__
