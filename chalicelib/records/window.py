"""Windows: the pieces of time that are evaluated, aligned to the UTC epoch.

Knows how time is cut, how a piece is named and which hour prefixes it touches; refuses to know the present moment
and what lies under a prefix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from chalicelib.errors import MisconfiguredError
from chalicelib.records.times import iso

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_NAME = "%Y-%m-%dT%H:%M:%SZ"
_DURATION = re.compile(
    r"P(?=[0-9T])(?:(?P<weeks>[0-9]{1,6})W)?(?:(?P<days>[0-9]{1,6})D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]{1,6})H)?(?:(?P<minutes>[0-9]{1,6})M)?(?:(?P<seconds>[0-9]{1,6})S)?)?"
)


@dataclass(frozen=True, order=True)
class Window:
    """The half-open piece of time [start, start + length), `start` in UTC and a whole number of lengths after 1970."""

    start: datetime
    length: timedelta

    @classmethod
    def of(cls, time: datetime, length: timedelta) -> Window:
        """The window of this length that contains `time` (timezone-aware)."""
        return cls(_EPOCH + (time - _EPOCH) // length * length, length)

    @classmethod
    def parse(cls, name: str, length: timedelta) -> Window:
        """The window with this name; raises MisconfiguredError when no window of this length is called so."""
        return _parsed(name, length)

    @property
    def end(self) -> datetime:
        return self.start + self.length

    @property
    def name(self) -> str:
        """The start, such as 2026-01-01T00:00:00Z; names sort like their windows."""
        return _named(self.start)

    def contains(self, time: datetime) -> bool:
        """Whether `start` <= `time` < `end`."""
        return self.start <= time < self.end

    def hours(self) -> list[str]:
        """The UTC hour prefixes "YYYY/MM/DD/HH" that the window touches, in order."""
        first = self.start.replace(minute=0, second=0, microsecond=0)
        count = -((first - self.end) // _HOUR)
        return [(first + index * _HOUR).strftime("%Y/%m/%d/%H") for index in range(count)]

    def hour_before(self) -> str:
        """The hour prefix before those: its last capture file stays open for about a minute after the hour."""
        first = self.start.replace(minute=0, second=0, microsecond=0)
        return (first - _HOUR).strftime("%Y/%m/%d/%H")

    def next(self) -> Window:
        return Window(self.end, self.length)

    def previous(self) -> Window:
        return Window(self.start - self.length, self.length)


@lru_cache(maxsize=4096)
def _named(start: datetime) -> str:
    return iso(start)


@lru_cache(maxsize=4096)
def _parsed(name: str, length: timedelta) -> Window:
    try:
        start = datetime.strptime(name, _NAME).replace(tzinfo=UTC)
    except ValueError:
        raise MisconfiguredError("window", name, "a start such as 2026-01-01T00:00:00Z") from None
    window = Window.of(start, length)
    if window.start != start or window.name != name:
        raise MisconfiguredError("window", name, f"the start of a window of length {length}")
    return window


def check_length(length: timedelta, field: str) -> None:
    """Refuse a window length that does not tile days: whole hours that divide a day, or whole days.

    Raises MisconfiguredError naming `field`.
    """
    tiles = length > timedelta(0) and length % _HOUR == timedelta(0)
    if not tiles or (_DAY % length and length % _DAY):
        raise MisconfiguredError(field, str(length), "1, 2, 3, 4, 6, 8, 12 or 24 hours, or whole days")


@lru_cache(maxsize=256)
def parse_duration(text: str, field: str) -> timedelta:
    """Read an ISO-8601 duration of weeks, days, hours, minutes and seconds: PT1H, P1D, P45D, PT5M.

    Raises MisconfiguredError naming `field`; years and months have no fixed length and are refused.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise MisconfiguredError(field, text, "an ISO-8601 duration such as PT5M, PT1H or P1D")
    return timedelta(**{unit: int(count) for unit, count in match.groupdict().items() if count})
