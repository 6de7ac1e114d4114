"""What one value of a payload says: a number, one of the classes 0 and 1, or the name of a class.

Knows the spellings in which CSV and JSON hold the same thing; refuses to know where the value came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

NAN = float("nan")

# A longer text is no name of a class: each would be a key of every report.
LONGEST_CLASS = 256

# Whole numbers beyond this are not told apart by a float64.
_EXACT = 2.0**53

# What a probability may be: sums and averages of 32-bit numbers end a little beyond 0 and 1.
LEAST_PROBABILITY, GREATEST_PROBABILITY = -1e-6, 1.0 + 1e-6

# How Python, pandas, R, Java and JSON write true, false and a missing value.
_WRITTEN_WORDS = frozenset(("true", "false", "True", "False", "TRUE", "FALSE", "nan", "NaN"))

OUTSIDE = "probability is outside of 0 to 1"

# What an answer or a label is, in words, by the type of the problem.
EXPECTED = {
    "BinaryClassification": "0 or 1",
    "MulticlassClassification": "the name of a class",
    "Regression": "a number",
}


def number_of(value: Any) -> float:
    """A finite number, or nan for anything else (true and false are no numbers).

    A text counts when it spells a decimal number in ASCII; a list of one value is that value.
    """
    number = _float_of(value)
    return NAN if math.isinf(number) else number


def _float_of(value: Any) -> float:
    """The same, and infinities."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        # Python's float would also take 1_000 and the digits of other scripts.
        if not value.isascii() or "_" in value:
            return NAN
    elif value is None or isinstance(value, bool | list | dict):
        return NAN
    try:
        return float(value)
    except (ValueError, OverflowError):
        return NAN


def is_missing(text: str) -> bool:
    """Whether a text is blank, or NaN with or without a sign."""
    return text.strip().lower() in ("", "nan", "-nan", "+nan")


def is_infinite(text: str) -> bool:
    """Whether a text spells an infinity, or a number that is too large for a float64."""
    return math.isinf(_float_of(text))


def binary_class(value: Any) -> float:
    """0.0 or 1.0 for a binary class in any of its spellings (1, "1", "1.0", true, "True", [1]), or nan."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return float(value.strip().lower() == "true")
    number = number_of(value)
    return number if number in (0.0, 1.0) else NAN


def class_reader(positive: str | None) -> Callable[[Any], float]:
    """Reads a binary class: 0 and 1 in any spelling, or, where one value is said to be `positive`, that one as 1 and
    any other as 0; nan for what is no class."""
    if positive is None:
        return binary_class
    wanted = class_name(positive)

    def read(value: Any) -> float:
        name = class_name(value)
        return NAN if name is None else float(name == wanted)

    return read


def text_of(value: Any) -> str:
    """A raw value as CSV text: text itself, "" for a missing one, JSON for anything else (true, 1, 1.5)."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else msgspec.json.encode(value).decode()


def word_of(value: Any) -> str | None:
    """One spelling per value: "1" for 1, 1.0, "1" and " 1.00 "; "true" for True and "True"; None for a missing one.

    Missing are null, blank text and NaN. Whole numbers too large for a float64 stay as they are written.
    """
    text = ("true" if value else "false") if isinstance(value, bool) else text_of(value).strip()
    if is_missing(text):
        return None
    if text.lower() in ("true", "false"):
        return text.lower()
    number = number_of(text)
    if number != number or abs(number) >= _EXACT:
        return text
    return str(int(number)) if number.is_integer() else repr(number)


def class_text(value: Any) -> str | None:
    """A class as it is written, without blanks around it; JSON's own values as JSON writes them.

    None for a missing value, lists (but of one value), objects and texts of more than 256 characters.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list | dict) or (isinstance(value, str) and len(value) > LONGEST_CLASS):
        return None
    text = text_of(value).strip()
    return None if _is_written(text) and is_missing(text) else text or None


def class_name(value: Any) -> str | None:
    """The name of a class, or None where `class_text` is None.

    1, 1.0, "1" and "1.0" are one class, as true and "True" are: CSV and JSON write one value so. A text that no writer
    makes of a number is a name and stays as it is: "01", "1.00", "1E3", "+1", "NAN".
    """
    text = class_text(value)
    return word_of(text) if text is not None and _is_written(text) else text


def classes_of(texts: Sequence[str | None]) -> tuple[tuple[str, ...], list[float]]:
    """The classes that texts name, in order, and the place of each text's class among them; nan for None."""
    found = [None if text is None else class_name(text) for text in texts]
    classes = tuple(sorted({name for name in found if name is not None}, key=class_order))
    place: dict[str | None, float] = {None: NAN, **{name: float(index) for index, name in enumerate(classes)}}
    return classes, [place[name] for name in found]


def ambiguous(texts: Iterable[str]) -> tuple[str, ...]:
    """Those of the texts of classes that could as well be written in another way, each once and in order."""
    return tuple(sorted({text for text in texts if _is_written(text)}))


def class_labels(classes: Sequence[str], texts: Iterable[str]) -> list[str]:
    """What to call classes (`class_name`) of which these texts were met: "250.0" where all wrote 250 so."""
    met: dict[str | None, list[str]] = {}
    for text in texts:
        met.setdefault(class_name(text), []).append(text)
    return [met[name][0] if len(met.get(name, ())) == 1 else name for name in classes]


def _is_written(text: str) -> bool:
    """Whether a text is what writers of CSV and JSON make of a number, a boolean or a missing value."""
    if text in _WRITTEN_WORDS:
        return True
    number = number_of(text)
    if number != number:
        return False
    whole = number.is_integer() and abs(number) < _EXACT
    return text in (repr(number), str(int(number)) if whole else "")


def class_order(name: str) -> tuple[bool, float, str]:
    """Sorts names of classes: numbers by size (2 before 10), then texts."""
    number = number_of(name)
    return (number != number, 0.0 if number != number else number, name)
