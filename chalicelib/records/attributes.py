"""Where a record's features, prediction, probability and label stand inside the payloads of one endpoint.

Knows the settings and checks them before any payload is read; refuses to know what the payloads hold.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

import jmespath
import msgspec

from chalicelib.errors import MisconfiguredError

# Longer ones are no place in a payload, and may nest beyond Python's stack.
LONGEST_EXPRESSION = 500


ProblemType = Literal["BinaryClassification", "MulticlassClassification", "Regression"]


class Attributes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to read one endpoint's payloads; the names are those of Model Monitor's job definitions.

    An attribute that is a whole number is a 0-based position (CSV column or JSON list item); any other text is a
    JMESPath expression for JSON payloads, or one of `output_names` for CSV.
    """

    problem_type: ProblemType = "BinaryClassification"
    # The input columns in order. Empty: _c0, _c1, ... for lists, the keys themselves for JSON objects.
    features: tuple[str, ...] = ()
    # Where the features are in a JSON input; None: the usual places ("instances", "features", the document itself).
    features_attribute: str | None = None
    # The predicted class, or the number that a regression predicts. None (binary only): 1 where probability >
    # probability_threshold, else 0.
    inference_attribute: str | None = None
    # The probability of class 1; for binary classification only.
    probability_attribute: str | None = None
    # 0 says that scores are margins (log-odds, distances), which may be any number: it is no use for probabilities.
    probability_threshold: float = 0.5
    # Which of two values, of labels and of predicted classes, is class 1; None: they are 0 and 1 in any spelling.
    positive_class: str | None = None
    # Where the label is in a JSON label document; None: the document itself, "label", or a list by position.
    ground_truth_attribute: str | None = None
    # Names of the output columns that data quality describes beside the features. Empty: outputs are not described.
    output_names: tuple[str, ...] = ()
    # Only requests that this model of a multi-model endpoint answered, or this inference component. None: all.
    target_model: str | None = None
    inference_component: str | None = None

    @property
    def has_margins(self) -> bool:
        """Whether scores are margins and no probabilities."""
        return self.probability_threshold == 0.0


def check(attributes: Attributes) -> None:
    """Refuse settings that cannot work; raises MisconfiguredError naming the field, its value and what was expected."""
    _check_answer(attributes)
    if not 0.0 <= attributes.probability_threshold <= 1.0:
        raise MisconfiguredError("probability_threshold", attributes.probability_threshold, "a number from 0 to 1")
    check_names(attributes)
    if attributes.positive_class is not None and attributes.problem_type != "BinaryClassification":
        raise MisconfiguredError("positive_class", attributes.positive_class, "nothing, or two classes")
    for field in ("target_model", "inference_component", "positive_class"):
        if getattr(attributes, field) == "":
            raise MisconfiguredError(field, "", "a name, or no such field")
    for field in ("features_attribute", "inference_attribute", "probability_attribute", "ground_truth_attribute"):
        expression = getattr(attributes, field)
        # A column name such as "predicted label" is no JMESPath, and fine for CSV when it is a named output.
        if expression is None or expression in attributes.output_names:
            continue
        if len(expression) > LONGEST_EXPRESSION:
            expected = f"a position or a JMESPath expression of at most {LONGEST_EXPRESSION} characters"
            raise MisconfiguredError(field, f"{len(expression)} characters", expected)
        if expression.isdecimal():
            continue
        try:
            jmespath.compile(expression)
        # Beside its own errors jmespath lets Python's through: for numbers of 5,000 digits, for 1,000 brackets.
        except (jmespath.exceptions.JMESPathError, ValueError, RecursionError):
            raise MisconfiguredError(field, expression, "a position (0, 1, ...) or a JMESPath expression") from None


def check_names(attributes: Attributes) -> None:
    """The part of `check` that is about names of columns, which others than a definition may give too."""
    for field, names in (("features", attributes.features), ("output_names", attributes.output_names)):
        if "" in names:
            raise MisconfiguredError(field, names, "names that are not empty")
        if len(set(names)) != len(names):
            twice = sorted(name for name, count in Counter(names).items() if count > 1)
            raise MisconfiguredError(field, twice, "each name once")
    shared = sorted(set(attributes.features) & set(attributes.output_names))
    if shared:
        raise MisconfiguredError("output_names", shared, "names that are not also features")


def _check_answer(attributes: Attributes) -> None:
    """What is needed to know an answer depends on the problem; what would be read by nothing is a slip."""
    if attributes.problem_type == "BinaryClassification":
        if attributes.inference_attribute is None and attributes.probability_attribute is None:
            raise MisconfiguredError(
                "inference_attribute", None, "inference_attribute or probability_attribute (or both) to be set"
            )
        return
    if attributes.inference_attribute is None:
        raise MisconfiguredError("inference_attribute", None, f"a value, as problem_type is {attributes.problem_type}")
    if attributes.probability_attribute is not None:
        expected = f"nothing, as problem_type is {attributes.problem_type}"
        raise MisconfiguredError("probability_attribute", attributes.probability_attribute, expected)
