"""States of a baseline that only Model Monitor's files are left of: the reading side of `data_quality.statistics`.

Numbers come back as their sketch says them, categories as they are listed. What the files do not hold is not there:
scores, labels row by row, columns whose sketch cannot be read.
Layouts: model-monitor formats, sections 5.1 and 6.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from chalicelib.records.values import class_name, class_order
from chalicelib.states.categories import Categories
from chalicelib.states.moments import Moments, moments_of_counts
from chalicelib.states.profile import Column, Profile
from chalicelib.states.quantiles import K, Quantiles, weighted
from chalicelib.states.selection import LABELLED, Selection

# Rank error of a KLL sketch of more than one level, as a share of its values: what Apache DataSketches states for a
# sketch of this k (its KllHelper, "single-sided" at 99 % confidence, 2.296 / k^0.9021).
KLL_ERROR = 2.296 / K**0.9021

_BINARY = "binary_classification_metrics"
_MULTICLASS = "multiclass_classification_metrics"


def profile_of_statistics(document: Mapping[str, Any]) -> Profile:
    """The profile in a data-quality statistics.json (checked by `baseline.read_statistics`).

    A column of which the file does not say how its values are distributed is not there: no sketch (buckets alone are
    too coarse), or one with more numbers in a level than a sketch of k = 2048 has.
    """
    rows = int(document.get("dataset", {}).get("item_count", 0))
    columns = []
    for place, feature in enumerate(document.get("features", [])):
        numeric, texts = feature.get("numerical_statistics"), feature.get("string_statistics")
        name, kind = str(feature["name"]), feature.get("inferred_type")
        column = Column(name, place)
        if numeric:
            column = _of_numbers(name, place, kind == "Integral", numeric)
        elif texts:
            column = _of_texts(name, place, texts)
        rows = max(rows, column.present)
        if column.present or not _present(feature):
            columns.append(column)
    return Profile(rows, tuple(columns), rows)


def _present(feature: Mapping[str, Any]) -> int:
    """How many values the file says that a column has."""
    described = feature.get("numerical_statistics") or feature.get("string_statistics") or {}
    return int(described.get("common", {}).get("num_present", 0))


def selection_of_statistics(document: Mapping[str, Any]) -> Selection:
    """Right and wrong answers in a model-quality statistics.json, without their scores; of a regression nothing."""
    for field, multiclass in ((_BINARY, False), (_MULTICLASS, True)):
        matrix = (document.get(field) or {}).get("confusion_matrix")
        if isinstance(matrix, Mapping):
            return _of_matrix(matrix, multiclass)
    return Selection()


def _of_numbers(name: str, place: int, integral: bool, statistics: Mapping[str, Any]) -> Column:
    data = statistics.get("distribution", {}).get("kll", {}).get("sketch", {}).get("data") or []
    levels = [np.sort(np.array(level, dtype="<f8") + 0.0) for level in data]
    items, weights = weighted(levels)
    if not len(items) or max(map(len, levels)) > K or not np.isfinite(items).all():
        return Column(name, place)
    count = int(weights.sum())
    error = math.ceil(KLL_ERROR * count) if any(map(len, levels[1:])) else 0
    quantiles = Quantiles(tuple(level.tobytes() for level in levels), (0,) * len(levels), error)
    moments = _with_range(moments_of_counts(items, weights), statistics.get("min"), statistics.get("max"))
    return Column(
        name,
        place,
        integral=count if integral else 0,
        fractional=0 if integral else count,
        moments=moments,
        quantiles=quantiles,
    )


def _with_range(moments: Moments, least: object, greatest: object) -> Moments:
    """A sketch may have dropped the least and the greatest value; the file has them."""
    values = [float(each) for each in (least, greatest) if isinstance(each, (int, float)) and math.isfinite(each)]
    if moments.least is None or moments.greatest is None or not values:
        return moments
    found = [moments.least, moments.greatest, *values]
    return Moments(moments.count, moments.total, moments.squares, min(found), max(found))


def _of_texts(name: str, place: int, statistics: Mapping[str, Any]) -> Column:
    buckets = statistics.get("distribution", {}).get("categorical", {}).get("buckets") or []
    counts = {str(bucket["value"]): int(bucket["count"]) for bucket in buckets if bucket["count"] >= 1}
    present = max(int(statistics.get("common", {}).get("num_present", 0)), sum(counts.values()))
    if not counts:
        return Column(name, place)
    more = present - sum(counts.values())
    return Column(name, place, string=present, categories=Categories(tuple(sorted(counts.items())), more))


def _of_matrix(matrix: Mapping[str, Any], multiclass: bool) -> Selection:
    """`matrix`: label -> served class -> rows."""
    found: dict[tuple[str, bool], int] = {}
    for label, served in matrix.items():
        for answer, rows in served.items() if isinstance(served, Mapping) else ():
            if isinstance(rows, (int, float)) and rows >= 1:
                # The file spells a class as it was met, and another window may spell it in another way.
                name = class_name(str(answer)) or str(answer)
                key = (name, name == (class_name(str(label)) or str(label)))
                found[key] = found.get(key, 0) + int(rows)
    if not found:
        return Selection()
    classes = tuple(sorted({answer for answer, _ in found}, key=class_order))
    cells = []
    for (answer, right), rows in found.items():
        if multiclass:
            cells.append((classes.index(answer), LABELLED + int(right), rows))
        else:
            served_one = answer == "1"
            cells.append((0, LABELLED + 2 * served_one + (served_one if right else 1 - served_one), rows))
    packed = np.array(sorted(cells), dtype="<i8").tobytes()
    if multiclass:
        return Selection("MulticlassClassification", classes, packed)
    return Selection("BinaryClassification", (), packed)
