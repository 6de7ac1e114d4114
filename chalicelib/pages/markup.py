"""HTML that is safe by construction: everything that is not markup already is escaped.

Also formats numbers for people. Names, categories and ids come from captured data, so they are written with `foreign`
only. Not here: what a page says.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

# Longer names are cut: a category may be a whole document.
LONGEST_NAME = 80
LONGEST_SENTENCE = 500

_VOID = {"meta", "line", "rect", "circle", "path"}
# HTML cannot contain these, and UTF-8 cannot contain half surrogate pairs.
_INVALID = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML; only this module makes it from plain text."""

    __slots__ = ()


def text(value: str) -> Markup:
    """Plain text as HTML, in an element or in a quoted attribute."""
    return Markup(html.escape(_INVALID.sub("\ufffd", value), quote=True))


def element(name: str, /, *children: str | Iterable[Markup], **attributes: str | float | None) -> Markup:
    """An element; children are escaped unless they are `Markup`, attributes always.

    Attribute names: a trailing "_" is dropped (class_), any other becomes "-" (aria_label); None omits the attribute.
    """
    spelled = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(_coordinate(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{spelled}>" if name == "meta" else f"<{name}{spelled}/>")
    return Markup(f"<{name}{spelled}>{joined(*children)}</{name}>")


def joined(*children: str | Iterable[Markup]) -> Markup:
    """The children concatenated."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(text(child))
        else:
            parts.extend(child)
    return Markup("".join(parts))


def foreign(name: Any) -> Markup:
    """A name from outside, isolated in its text direction, so that it cannot reverse the text around it."""
    return element("bdi", clipped(name))


def sentence(words: Any) -> Markup:
    """The same for a sentence that contains such names."""
    return element("bdi", clipped(words, LONGEST_SENTENCE))


def clipped(name: Any, longest: int = LONGEST_NAME) -> str:
    """A text from outside, at most `longest` characters; an empty or blank one is named so."""
    found = str(name)
    if not found.strip():
        return f"({'empty' if not found else 'blank'})"
    return found if len(found) <= longest else f"{found[: longest - 1]}…"


def figure(value: Any) -> str:
    """A number in at most four significant digits, "Infinity" as a sign; anything else is "not defined"."""
    if isinstance(value, str):
        return {"Infinity": "∞", "-Infinity": "-∞"}.get(value, "not defined")
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return "not defined"
    if value == int(value) and abs(value) < 1e15:
        return count(int(value))
    return f"{value:.4g}"


def count(value: int) -> str:
    """A whole number with commas between thousands."""
    return f"{value:,}"


def share(value: float) -> str:
    """A share of 1 as a percentage; only 0 and 1 are shown as 0 % and 100 %."""
    if value in (0, 1):
        return f"{100 * value:.0f} %"
    if 0 < value < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= value < 1:
        return "> 99.9 %"
    return f"{100 * value:.1f} %"


def plural(number: int, one: str, many: str = "") -> str:
    """1 row, 2 rows."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def _coordinate(value: str | float) -> str:
    # A tenth of a pixel is enough, and shorter.
    return value if isinstance(value, str) else f"{round(value, 1):g}"
