"""Counts of positive labels and predictions per facet: all bias metrics but one are computed from them.

Per facet: rows by (member of the facet or not, label, prediction), the same per value of the group variable, and the
rows of the flip test. All counts are exact, and any split of the rows gives the same state. Values of the group
variable and rows are payload. Not here: names and signs of metrics (`monitors.model_bias`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.errors import MisconfiguredError
from chalicelib.records.answers import MOST_GROUPS, FacetRows
from chalicelib.records.table import Table
from chalicelib.states.facets import MISSING, BiasSettings, Facet, Members, words_of
from chalicelib.states.flips import FlipRows, digest_of, flip_rows, numbers_of
from chalicelib.states.serialization import MOST_ROWS, pack, unpack

VERSION = 1
# A variable with more values than this is an identifier: conditioning on it is meaningless.
GROUPS = 1000

_SHAPE = (2, 2, 3)
_CELLS = 12
# The prediction's third place: the row has none (a baseline without a model has none at all).
_UNANSWERED = 2

Cells = tuple[int, ...]
Hashes = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]


class FacetCounts(msgspec.Struct, frozen=True, array_like=True):
    """The rows of one facet. `selection` is `Facet.text`, `missing` counts rows without a value of the facet.

    `cells`: 12 counts, indexed [member, label, prediction] with 1 for positive and prediction 2 for none; `groups`:
    the same per value of the group variable, in the order of the values. `too_many_groups`: there were more than
    `GROUPS` of them, and none is kept.
    """

    name: str
    selection: str
    missing: int = 0
    cells: Cells = (0,) * _CELLS
    groups: tuple[tuple[str, Cells], ...] = ()
    too_many_groups: bool = False
    flips: FlipRows = FlipRows()

    def __post_init__(self) -> None:
        for cells in (self.cells, (self.missing,), *(cells for _, cells in self.groups)):
            if not 0 <= min(cells) <= max(cells) <= MOST_ROWS:
                raise ValueError(f"counts from 0 to {MOST_ROWS}")
        if any(len(cells) != _CELLS for cells in (self.cells, *(cells for _, cells in self.groups))):
            raise ValueError(f"{_CELLS} counts of each group")
        values = [value for value, _ in self.groups]
        if len(values) > GROUPS or any(one >= other for one, other in pairwise(values)):
            raise ValueError(f"at most {GROUPS} different groups in order")
        if self.too_many_groups and self.groups:
            raise ValueError("no group where there were too many")

    def __add__(self, other: FacetCounts) -> FacetCounts:
        groups = dict(self.groups)
        for value, cells in other.groups:
            groups[value] = _sum(groups[value], cells) if value in groups else cells
        too_many = self.too_many_groups or other.too_many_groups or len(groups) > GROUPS
        return FacetCounts(
            self.name,
            self.selection,
            self.missing + other.missing,
            _sum(self.cells, other.cells),
            () if too_many else tuple(sorted(groups.items())),
            too_many,
            self.flips + other.flips,
        )

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """`cells` of shape (2, 2, 3)."""
        return np.array(self.cells, dtype=np.int64).reshape(_SHAPE)

    @property
    def group_counts(self) -> npt.NDArray[np.int64]:
        """The cells of all groups, shape (groups, 2, 2, 3)."""
        return np.array([cells for _, cells in self.groups], dtype=np.int64).reshape(-1, *_SHAPE)


class BiasCounts(msgspec.Struct, frozen=True, array_like=True):
    """Facets of a data set; `BiasCounts()` is the identity of `+`.

    `rows`: labelled rows, `unlabelled`: rows left out because they have no label. `facets` in the order of
    (name, selection).
    """

    rows: int = 0
    unlabelled: int = 0
    facets: tuple[FacetCounts, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= min(self.rows, self.unlabelled) <= max(self.rows, self.unlabelled) <= MOST_ROWS:
            raise ValueError(f"counts from 0 to {MOST_ROWS}")
        keys = [(facet.name, facet.selection) for facet in self.facets]
        if any(one >= other for one, other in pairwise(keys)):
            raise ValueError("each facet once, in order")

    def __add__(self, other: BiasCounts) -> BiasCounts:
        facets = {(facet.name, facet.selection): facet for facet in self.facets}
        for facet in other.facets:
            key = (facet.name, facet.selection)
            facets[key] = facets[key] + facet if key in facets else facet
        return BiasCounts(
            self.rows + other.rows, self.unlabelled + other.unlabelled, tuple(facets[key] for key in sorted(facets))
        )

    def facet(self, facet: Facet) -> FacetCounts:
        """The counts of this facet; all zero when no row was seen."""
        for found in self.facets:
            if (found.name, found.selection) == (facet.name, facet.text):
                return found
        return FacetCounts(facet.name, facet.text)

    def to_bytes(self) -> bytes:
        return pack("bias", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> BiasCounts:
        """Raises UnreadableError."""
        return unpack(body, "bias", VERSION, cls)


def bias_counts_of(table: Table, settings: BiasSettings) -> BiasCounts:
    """The counts of a table's labelled rows; irregular records are left out.

    Facets and group variable are features or named outputs; the flip test measures distance by all features but the
    facet's own. Raises MisconfiguredError for a missing column.
    """
    kept = np.flatnonzero(table.regular).tolist()
    features = {name: [column[index] for index in kept] for name, column in table.features.items()}
    outputs = {name: [column[index] for index in kept] for name, column in table.outputs.items()}
    return bias_counts_of_columns(
        {**outputs, **features},
        tuple(table.features),
        [table.record_ids[index] for index in kept],
        table.answers_of(table.labels[table.regular]),
        table.answers_of(table.predictions[table.regular]),
        settings,
    )


def bias_counts_of_columns(
    columns: Mapping[str, Sequence[Any]],
    features: tuple[str, ...],
    record_ids: Sequence[str],
    labels: Sequence[Any],
    predictions: Sequence[Any] | None,
    settings: BiasSettings,
) -> BiasCounts:
    """The counts of named columns of raw values, n each; `features` are the model's inputs.

    `record_ids` choose the rows of the flip test (unique per row, and independent of the file). Labels and predictions
    are raw values (missing: None, blank, nan); `predictions` None: there is no model yet. Raises MisconfiguredError for
    a missing column.
    """
    rows = facet_rows(columns, features, len(labels), settings)
    prediction = np.full(len(labels), MISSING, dtype=np.int8)
    if predictions is not None:
        prediction = settings.positive.members(predictions)
    digests = np.array([int.from_bytes(digest_of(each)) for each in record_ids], dtype=np.uint64)
    return bias_counts(rows, digests, settings.positive.members(labels), prediction, settings)


def facet_rows_of(table: Table, settings: BiasSettings) -> FacetRows:
    """What bias needs of a table's records; of irregular ones nothing is known.

    Raises MisconfiguredError for a column that is not there.
    """
    if not table.regular.any():
        return facet_rows({}, (), len(table), settings)
    return facet_rows({**table.outputs, **table.features}, tuple(table.features), len(table), settings, table.regular)


def facet_rows(
    columns: Mapping[str, Sequence[Any]],
    features: tuple[str, ...],
    count: int,
    settings: BiasSettings,
    kept: Flags | None = None,
) -> FacetRows:
    """What bias needs of named columns of raw values, `count` each; of rows that are not `kept` nothing is known.

    Raises MisconfiguredError for a column that is not there.
    """
    members = np.full((count, len(settings.facets)), MISSING, dtype=np.int8)
    groups = np.full(count, -1, dtype=np.int32)
    usable = np.zeros((count, len(settings.facets)), dtype=np.bool_)
    rows = np.arange(count) if kept is None else np.flatnonzero(kept)
    numbers = np.zeros((0, len(features)))
    names: list[str] = []
    if len(rows) and columns:  # without rows nobody may know the columns' names
        _check_columns(columns, settings)
        wanted = {*features, *(facet.name for facet in settings.facets), settings.group_variable} & columns.keys()
        listed = rows.tolist()
        chosen = {name: [columns[name][row] for row in listed] for name in wanted}
        for place, facet in enumerate(settings.facets):
            members[rows, place] = facet.members(chosen[facet.name])
        words = words_of(chosen[settings.group_variable]) if settings.group_variable else []
        names = sorted({word for word in words if word is not None})
        if words and len(names) <= MOST_GROUPS:
            known: dict[str | None, int] = {None: -1, **{name: index for index, name in enumerate(names)}}
            groups[rows] = [known[word] for word in words]
        read = numbers_of({name: chosen[name] for name in features}, len(rows))
        for place, facet in enumerate(settings.facets):
            others = [column for column, name in enumerate(features) if name != facet.name]
            usable[rows, place] = np.isfinite(read[:, others]).all(axis=1) if features else False
        numbers = read[usable[rows].any(axis=1)]
    too_many = len(names) > MOST_GROUPS
    return FacetRows(
        members=members,
        groups=groups,
        usable=usable,
        numbered=np.flatnonzero(usable.any(axis=1)).astype(np.uint32),
        numbers=numbers,
        group_names=() if too_many else tuple(names),
        features=features,
        too_many_groups=too_many,
    )


def bias_counts(
    rows: FacetRows, hashes: Hashes, label: Members, prediction: Members, settings: BiasSettings
) -> BiasCounts:
    """The counts of n rows; `hashes` choose those of the flip test, `label` and `prediction` are 1 for positive, 0 for
    not, MISSING for none."""
    labelled = label != MISSING
    count, unlabelled = int(labelled.sum()), int((~labelled).sum())
    if not count:
        return BiasCounts(0, unlabelled)
    facets = [
        _counted(rows, place, facet, hashes, label, prediction, settings) for place, facet in enumerate(settings.facets)
    ]
    return BiasCounts(count, unlabelled, tuple(sorted(facets, key=lambda facet: (facet.name, facet.selection))))


def _counted(
    rows: FacetRows,
    place: int,
    facet: Facet,
    hashes: Hashes,
    label: Members,
    prediction: Members,
    settings: BiasSettings,
) -> FacetCounts:
    members, labelled = rows.members[:, place], label != MISSING
    known = labelled & (members != MISSING)
    answers = np.where(prediction == MISSING, _UNANSWERED, prediction)
    cells = (members * 6 + label * 3 + answers).astype(np.int64)
    counts = np.bincount(cells[known], minlength=_CELLS)
    grouped = np.flatnonzero(known & (rows.groups >= 0))
    places, sizes = np.unique(rows.groups[grouped].astype(np.int64) * _CELLS + cells[grouped], return_counts=True)
    by_group: dict[str, list[int]] = {}
    for each, size in zip(places.tolist(), sizes.tolist(), strict=True):
        by_group.setdefault(rows.group_names[each // _CELLS], [0] * _CELLS)[each % _CELLS] = size
    too_many = len(by_group) > GROUPS or (rows.too_many_groups and bool(known.any()))
    return FacetCounts(
        facet.name,
        facet.text,
        int((labelled & ~known).sum()),
        tuple(counts.tolist()),
        () if too_many else tuple((name, tuple(by_group[name])) for name in sorted(by_group)),
        too_many,
        _flips(rows, place, facet, hashes, np.where(known, members, np.int8(MISSING)), prediction),
    )


def _flips(
    rows: FacetRows, place: int, facet: Facet, hashes: Hashes, members: Members, prediction: Members
) -> FlipRows:
    """The rows of the flip test, those among them whose features are kept; all are counted."""
    answered = np.where(prediction == MISSING, np.int8(MISSING), members)
    usable = rows.usable[:, place]
    counted = FlipRows(
        member_count=int((usable & (answered == 1)).sum()),
        other_count=int((usable & (answered == 0)).sum()),
        left_out=int(((answered != MISSING) & ~usable).sum()),
        differing=rows.differing,
    )
    if rows.differing:
        return counted
    columns = [column for column, name in enumerate(rows.features) if name != facet.name]
    names = tuple(rows.features[column] for column in columns)
    numbered = rows.numbered.astype(np.int64)
    among = (answered[numbered] != MISSING) & usable[numbered]
    chosen = numbered[among]
    digests = [each.to_bytes(8) for each in hashes[chosen].tolist()]
    numbers = rows.numbers[among][:, columns]
    kept = flip_rows(digests, names, numbers, answered[chosen], prediction[chosen] == 1)
    return msgspec.structs.replace(
        counted,
        features=names if counted.member_count or counted.other_count else (),
        members=kept.members,
        others=kept.others,
    )


def _check_columns(columns: Mapping[str, Sequence[Any]], settings: BiasSettings) -> None:
    wanted = {f"facets[{place}].name": facet.name for place, facet in enumerate(settings.facets)}
    if settings.group_variable:
        wanted["group_variable"] = settings.group_variable
    for field, name in wanted.items():
        if name not in columns:
            raise MisconfiguredError(field, name, f"one of the columns {', '.join(columns)}")


def _sum(one: Cells, other: Cells) -> Cells:
    return tuple(left + right for left, right in zip(one, other, strict=True))
