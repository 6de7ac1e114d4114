"""A batch of labels: which windows hold their ids? Not an event source: ground_truth_landed's second half.

Ids are looked for in filters of a day's windows and in the id lists of windows that have none yet. Of a day that is
over the lists are made into a filter here, and deleted. Whoever looks lists the id lists first and the filters after
them, and begins again when a list that it has seen is gone: so nothing is overlooked.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib import keys
from chalicelib.definition import Definition
from chalicelib.errors import ConflictError, NotFoundError
from chalicelib.facts import due, labels, news
from chalicelib.facts.document import Stored
from chalicelib.facts.labels import Awaiting, Source
from chalicelib.records.cells import hashes_of
from chalicelib.records.ground_truth import CLOCK_DIFFERENCE, Label
from chalicelib.records.id_filters import MOST_WINDOWS, build, candidates, confirmed, filter_from_bytes
from chalicelib.records.id_hashes import hashes_from_bytes, hashes_to_bytes
from chalicelib.records.id_times import seconds_of
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.label_containers import read_sources

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

# A filter is of a day, or of one window where windows are longer.
SPAN = timedelta(days=1)
# Captures and their lists come a little later than the day's end.
SETTLED_AFTER = timedelta(hours=2)
# Lists that came after their day's filter was made: so many are made into another one.
STRAGGLERS = 8
# An id is made before its request, by a clock of its own, and may wait for it.
BEFORE, AFTER = timedelta(hours=1), timedelta(days=1)
# Another builder takes lists away now and then; more often in a row is for the queue's retry.
ATTEMPTS = 3


class _Shelf(msgspec.Struct, frozen=True):
    """What there is to look in: id lists as (window, key) and filters as (span, key, key of the check)."""

    lists: list[tuple[Window, str]]
    filters: list[tuple[Window, str, str]]


class Found(msgspec.Struct, frozen=True, eq=False):
    """Where hashes were found: per window, positions among the hashes that were looked for."""

    windows: dict[Window, Places]


def awaiting_of(source: Source, unplaced: Sequence[Label], arrived: datetime) -> Awaiting:
    """How labels that no time leads to a window wait."""
    return labels.awaiting_ids(source, arrived, _ids_of(unplaced))


def _ids_of(unplaced: Sequence[Label]) -> dict[bytes, tuple[int, int]]:
    """Hash of each id -> the seconds that it tells, and how many of the labels are of it: a request may have one for
    each of its records."""
    counts = Counter(label.id for label in unplaced)
    hashes = hashes_to_bytes(hashes_of(list(counts)))
    return {
        hashes[8 * place : 8 * place + 8]: (seconds_of(id), count) for place, (id, count) in enumerate(counts.items())
    }


def unplaced(definition: Definition, found: Sequence[Label], arrived: datetime) -> list[Label]:
    """Labels without an inference time, or with one whose window was sealed: where their ids are must be looked up."""
    return [label for label in found if claimed(definition, label, arrived) is None]


def claimed(definition: Definition, label: Label, arrived: datetime) -> Window | None:
    """The window that a label's inference time names, if it was open when the label arrived and had begun."""
    if label.inference_time is None or label.inference_time > arrived + CLOCK_DIFFERENCE:
        return None
    window = Window.of(label.inference_time, definition.window_length)
    return window if arrived < window.end + definition.horizon else None


def look_up(services: Services, definition: Definition) -> None:
    """Look up everything that waits, mark the windows that hold it due, and list what came after their seal."""
    name, now = definition.name, services.now()
    waiting = labels.awaiting(services.ledger, name, limit=labels.MOST_AT_ONCE)
    if waiting:
        _work_off(services, definition, waiting, now)
    labels.end_batch(services.ledger, name)


def _work_off(services: Services, definition: Definition, waiting: list[Stored[Awaiting]], now: datetime) -> None:
    name = definition.name
    unmatched = labels.unmatched_revisions(services.ledger, name, [each.value.source for each in waiting])
    parts = [_hashes_of(services, definition, each.value) for each in waiting]
    every, times, counts = (np.concatenate([part[column] for part in parts]) for column in range(3))
    owners = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    order = np.argsort(every, kind="stable")
    every, times, counts, owners = every[order], times[order], counts[order], owners[order]
    wanted, starts = np.unique(every, return_index=True)
    ends = np.append(starts[1:], len(every))
    found = _find(services, definition, wanted, times[starts], now)
    expires_at = now + definition.horizon
    known = np.zeros(len(wanted), dtype=np.bool_)
    for window in sorted(found.windows):
        places = found.windows[window]
        known[places] = True
        rows = np.concatenate([np.arange(starts[place], ends[place]) for place in places.tolist()])
        came = 0
        for owner in np.unique(owners[rows]).tolist():
            source = waiting[owner].value.source
            count = int(counts[rows][owners[rows] == owner].sum())
            if waiting[owner].value.landed_at < window.end + definition.horizon:
                labels.add_source(services.ledger, name, window.name, source, expires_at)
                came += count
            else:
                labels.add_late(services.ledger, name, window.name, source, count, now)
        is_enough = bool(came) and news.heard(services.ledger, name, window.name, came)
        if is_enough or now >= window.end + definition.horizon:  # a sealed window says how many came too late
            due.mark(services.ledger, name, window, definition.grace, now, wait=news.WAIT)
    left = set(owners[np.repeat(~known, ends - starts)].tolist())
    for owner, each in enumerate(waiting):
        if owner not in left:
            source = each.value.source
            labels.remove_unmatched(services.ledger, name, source, unmatched.get(source.sort_key))
        labels.looked_up(services.ledger, name, each)


def _hashes_of(services: Services, definition: Definition, waits: Awaiting) -> tuple[Hashes, Places, Places]:
    """Hashes of the ids that wait, the seconds that the ids tell, and how many labels each has."""
    if not waits.all:
        return _columns(waits.ids)
    # Gone: what it held is lost for the windows that do not have it yet.
    read = [label for each in read_sources(services, definition, [waits.source]) for label in each.labels]
    return _columns(_ids_of(unplaced(definition, read, waits.landed_at)))


def _columns(ids: Mapping[bytes, tuple[int, int]]) -> tuple[Hashes, Places, Places]:
    numbers = np.array(list(ids.values()), dtype=np.int64).reshape(-1, 2)
    return hashes_from_bytes(b"".join(ids), "ids"), numbers[:, 0], numbers[:, 1]


def _find(services: Services, definition: Definition, wanted: Hashes, times: Places, now: datetime) -> Found:
    """Every window that holds any of the hashes: near the times that ids tell first, then in all open windows, and what
    is in none of them in those that were sealed within another horizon."""
    for _ in range(ATTEMPTS):
        try:
            shelf = _shelf(services, definition)
            return _search(services, definition, shelf, wanted, times, now)
        except NotFoundError:
            continue  # somebody made a filter of the lists meanwhile
    raise ConflictError(f"{definition.name}: its id lists went away {ATTEMPTS} times")


def _shelf(services: Services, definition: Definition) -> _Shelf:
    bucket, name, length = services.settings.bucket, definition.name, definition.window_length
    lists = [
        (Window.parse(keys.parse_ids_key(each.key), length), each.key)
        for each in services.objects.list(bucket, keys.ids_prefix(name))
    ]
    filters = []
    for each in services.objects.list(bucket, keys.filters_prefix(name)):
        span, digest = keys.parse_filter_key(each.key)
        window = Window.parse(span, max(SPAN, length))
        filters.append((window, each.key, keys.filter_check_key(name, span, digest)))
    return _Shelf(lists, filters)


def _search(
    services: Services, definition: Definition, shelf: _Shelf, wanted: Hashes, times: Places, now: datetime
) -> Found:
    found: dict[Window, list[Places]] = {}
    known = np.zeros(len(wanted), dtype=np.bool_)
    shelf = _tidied(services, definition, shelf, now)

    def look(inside: Callable[[Window], bool], which: Places) -> None:
        for window, places in _hits(services, definition, shelf, inside, wanted[which]):
            found.setdefault(window, []).append(which[places])
            known[which[places]] = True

    told = np.flatnonzero(times)
    if len(told):
        near = {
            Window.of(datetime.fromtimestamp(second, UTC) + shift, SPAN)
            for second in np.unique(times[told] // 3600 * 3600).tolist()
            for shift in (-BEFORE, timedelta(0), AFTER)
        }
        look(lambda window: any(day.start < window.end and window.start < day.end for day in near), told)
    open_from = now - definition.horizon
    look(lambda window: window.end > open_from, np.flatnonzero(~known))
    sealed_from = open_from - definition.horizon
    look(lambda window: sealed_from < window.end <= open_from, np.flatnonzero(~known))
    return Found({window: np.unique(np.concatenate(parts)) for window, parts in found.items()})


def _hits(
    services: Services, definition: Definition, shelf: _Shelf, inside: Callable[[Window], bool], wanted: Hashes
) -> Iterator[tuple[Window, Places]]:
    """Windows with any of the hashes, and which; a filter is read where any of its days is inside."""
    if not len(wanted):
        return
    bucket, length = services.settings.bucket, definition.window_length
    for window, key in shelf.lists:
        if inside(window):
            there = hashes_from_bytes(services.objects.get(bucket, key).body, key)
            places = np.flatnonzero(np.isin(wanted, there))
            if len(places):
                yield window, places
    for span, key, check_key in shelf.filters:
        if not inside(span):
            continue
        made = filter_from_bytes(services.objects.get(bucket, key).body, key)
        named = candidates(made, wanted)
        if not len(named.wanted):
            continue
        check = services.objects.get(bucket, check_key).body
        named = confirmed(made, check, wanted, named, check_key)
        for number in np.unique(named.windows).tolist():
            yield Window.parse(made.windows[number], length), named.wanted[named.windows == number]


def _tidied(services: Services, definition: Definition, shelf: _Shelf, now: datetime) -> _Shelf:
    """Make the id lists of days that are over into filters, and delete them."""
    length = max(SPAN, definition.window_length)
    by_span: dict[Window, list[tuple[Window, str]]] = {}
    for window, key in shelf.lists:
        by_span.setdefault(Window.of(window.start, length), []).append((window, key))
    have = {span for span, _, _ in shelf.filters}
    made = _Shelf([], list(shelf.filters))
    for span, lists in sorted(by_span.items()):
        if now < span.end + SETTLED_AFTER or (span in have and len(lists) < STRAGGLERS):
            made.lists.extend(lists)
            continue
        made.filters.append(_made_filter(services, definition, span, lists))
    return made


def _made_filter(
    services: Services, definition: Definition, span: Window, lists: list[tuple[Window, str]]
) -> tuple[Window, str, str]:
    """One filter of these lists, written before they are deleted; the check is there before the filter is."""
    bucket = services.settings.bucket
    by_window: dict[Window, list[Hashes]] = {}
    kms_key_id = None
    for window, key in lists:
        stored = services.objects.get(bucket, key)
        kms_key_id = kms_key_id or stored.kms_key_id
        by_window.setdefault(window, []).append(hashes_from_bytes(stored.body, key))
    assert len(by_window) <= MOST_WINDOWS, "a window is an hour or longer, a span a day or one window"
    made, check = build(
        [(window.name, np.unique(np.concatenate(parts))) for window, parts in sorted(by_window.items())]
    )
    body = made.to_bytes()
    digest = hashlib.sha256(body + check).hexdigest()
    key = keys.filter_key(definition.name, span, digest)
    check_key = keys.filter_check_key(definition.name, span.name, digest)
    for name, content in ((check_key, check), (key, body)):
        services.objects.put_if_absent(
            bucket, name, content, content_type="application/octet-stream", kms_key_id=kms_key_id
        )
    for _, each in lists:
        services.objects.delete(bucket, each)
    return span, key, check_key
