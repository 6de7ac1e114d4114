"""Pure functions of the code under test, with what they said before: most of a history's time is theirs.

A calm and a hostile play evaluate the same windows on the same inputs, and every handler reads the same documents again
and again. What is remembered here depends on the arguments alone, and nobody changes what comes out. Imported once, the
functions are in place for the process; a planted fault (mutations.py) that replaces one of them stands before it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import msgspec

from chalicelib.definition import Definition, version_of
from chalicelib.evaluation.evaluate import Task
from chalicelib.facts import document, due, labels
from chalicelib.handlers import capture_landed, ground_truth_landed, window_due
from chalicelib.monitors import baseline
from chalicelib.ports import Item
from chalicelib.workflows import label_containers, window_decision

Answer = TypeVar("Answer")

# Enough for a few histories: beyond it everything is forgotten at once.
MOST = 3_000


def remembered(
    function: Callable[..., Answer], key: Callable[..., Hashable], most: int = MOST
) -> Callable[..., Answer]:
    """The function, which is not asked again while it is known what it says of this key."""
    known: dict[Hashable, Answer] = {}

    def remembering(*arguments: Any) -> Answer:
        name = key(*arguments)
        if name in known:
            return known[name]
        if len(known) >= most:
            known.clear()
        known[name] = answer = function(*arguments)
        return answer

    return remembering


def _decoded() -> Callable[[Item, Any], Any]:
    """Documents of the table, by their bytes: asked so often that a key of two parts would tell."""
    known: dict[Any, dict[bytes, Any]] = {}
    decode = document.decoded

    def decoded(item: Item, kind: Any) -> Any:
        of_kind = known.setdefault(kind, {})
        if (value := of_kind.get(item.body)) is None:
            if len(of_kind) >= MOST:
                of_kind.clear()
            value = of_kind[item.body] = decode(item, kind)
        return value

    return decoded


def _version_of() -> Callable[[Definition], str]:
    known: dict[int, tuple[Definition, str]] = {}  # by identity, so each is kept: it cannot be hashed

    def version(definition: Definition) -> str:
        if id(definition) not in known:
            if len(known) >= MOST:
                known.clear()
            known[id(definition)] = definition, version_of(definition)
        return known[id(definition)][1]

    return version


def _of_task(task: Task) -> Hashable:
    """All that an evaluation depends on, as bytes."""
    labels = task.labels
    columns = (labels.keys, labels.checks, labels.codes, labels.known)
    rest = {name: getattr(task, name) for name in Task.__struct_fields__ if name not in ("measured", "labels")}
    counts = (labels.said, labels.repeated, labels.conflicting, labels.rejected)
    return task.measured.to_bytes(), *(each.tobytes() for each in columns), msgspec.msgpack.encode((rest, counts))


def _install() -> None:
    for module in (document, due, labels):
        module.decoded = decoded  # type: ignore[attr-defined]
    by_value = msgspec.msgpack.encode
    window_due.evaluate = remembered(window_due.evaluate, _of_task, 500)
    baseline._document = remembered(baseline._document, lambda *given: given)
    capture_landed.looked_at = remembered(capture_landed.looked_at, lambda *given: given)
    capture_landed.broken_rows = remembered(capture_landed.broken_rows, lambda *given: by_value(given))
    read_label_file = remembered(label_containers.read_label_file, lambda *given: given)
    for reader in (ground_truth_landed, label_containers):
        reader.read_label_file = read_label_file  # type: ignore[attr-defined]
    window_decision.version_of = _version_of()


decoded = _decoded()
_install()
