"""The options that locate predictions and labels: `--monitor FILE`, or SageMaker's attributes, an option each.

In a table an attribute is a column name; in a capture it is a 0-based CSV index or a JMESPath expression.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from chalicelib.definition import Definition
from chalicelib.errors import MisconfiguredError
from chalicelib.records.attributes import Attributes, ProblemType, check
from plumbline.cli.add import read_definition

_NEEDS = ("inference_attribute", "probability_attribute", "probability_threshold_attribute", "positive_class",
          "ground_truth_attribute")  # fmt: skip


def add_options(parser: argparse.ArgumentParser, where: str, label: str) -> None:
    """Add the options to a command; `where` and `label` are the help texts for an attribute and for the label."""
    parser.add_argument(
        "--monitor", type=Path, metavar="FILE", help="a monitor definition (YAML or JSON), in place of --problem-type"
    )
    parser.add_argument(
        "--problem-type",
        choices=get_args(ProblemType),
        help="without it (and without --monitor): data quality alone",
    )
    parser.add_argument("--inference-attribute", metavar="A", help=f"the predicted class or number: {where}")
    parser.add_argument("--probability-attribute", metavar="A", help=f"the probability of class 1: {where}")
    parser.add_argument(
        "--probability-threshold-attribute",
        type=float,
        metavar="T",
        help="class 1 above this probability; default: 0.5. 0: the scores are margins, any number",
    )
    parser.add_argument(
        "--positive-class", metavar="VALUE", help="which of two values is class 1, where they are not 0 and 1"
    )
    parser.add_argument("--ground-truth-attribute", metavar="A", help=f"the label: {label}")


def definition_of(options: argparse.Namespace) -> Definition | None:
    """The definition that --monitor names, or None. Raises MisconfiguredError, also for contradicting options."""
    if options.monitor is None:
        return None
    if options.problem_type is not None:
        expected = "no such option with --monitor, whose definition has it"
        raise MisconfiguredError("--problem-type", options.problem_type, expected)
    return read_definition(options.monitor)


def attributes_of(options: argparse.Namespace) -> Attributes | None:
    """The attributes that the options name; None without --problem-type. Raises MisconfiguredError."""
    if options.problem_type is None:
        for name in _NEEDS:
            if getattr(options, name) is not None:
                field = f"--{name.replace('_', '-')}"
                raise MisconfiguredError(field, getattr(options, name), "--problem-type with it, or --monitor FILE")
        return None
    threshold = options.probability_threshold_attribute
    attributes = Attributes(
        problem_type=options.problem_type,
        inference_attribute=options.inference_attribute,
        probability_attribute=options.probability_attribute,
        probability_threshold=0.5 if threshold is None else threshold,
        positive_class=options.positive_class,
        ground_truth_attribute=options.ground_truth_attribute,
    )
    try:
        check(attributes)
    except MisconfiguredError as error:
        field = "probability_threshold_attribute" if error.field == "probability_threshold" else error.field
        raise MisconfiguredError(f"--{field.replace('_', '-')}", error.value, error.expected) from None
    return attributes
