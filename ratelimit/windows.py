"""Windows beyond the reference's units: any length, and calendars in a time zone.

    Every(seconds)            ├────┼────┼────┤  counted from the Unix epoch
    Calendar(unit, zone)      ├──────┼─────┼──  from the first moment of a day, a week (Monday), a month, a year

A calendar window is as long as its days are: 23 or 25 hours for a day on which clocks change. Its first moment is
midnight of the zone; where clocks skip midnight, it is the moment they skip.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from ratelimit.limits import Unit, Window

_WHOLE_UNITS = (Unit.WEEK, Unit.DAY, Unit.HOUR, Unit.MINUTE, Unit.SECOND)
CALENDAR_UNITS = (Unit.DAY, Unit.WEEK, Unit.MONTH, Unit.YEAR)


@dataclass(frozen=True, slots=True)
class Every:
    """Windows of one length."""

    seconds: int

    @property
    def longest_seconds(self) -> int:
        """Return the length."""
        return self.seconds

    @property
    def tag(self) -> str:
        """Return what names these windows in counter keys."""
        return f"{self.seconds}s"

    @property
    def words(self) -> str:
        """Return what people call one of them, such as `5 hours`."""
        unit = next(unit for unit in _WHOLE_UNITS if self.seconds % unit.seconds == 0)
        number = self.seconds // unit.seconds
        return unit.name.lower() if number == 1 else f"{number} {unit.name.lower()}s"

    def at(self, now: float) -> Window:
        """Return the window around `now`."""
        start = int(now) // self.seconds * self.seconds
        return Window(start, start + self.seconds)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Windows of a calendar, in an IANA time zone."""

    unit: Unit
    """DAY, WEEK, MONTH or YEAR."""
    zone: str = "UTC"

    @property
    def longest_seconds(self) -> int:
        """Return what none of its windows is longer than: a day more than its longest, for clocks that change."""
        return {Unit.DAY: 1, Unit.WEEK: 7, Unit.MONTH: 31, Unit.YEAR: 366}[self.unit] * 86_400 + 86_400

    @property
    def tag(self) -> str:
        """Return what names these windows in counter keys."""
        return f"{self.unit.name.lower()}@{self.zone}"

    @property
    def words(self) -> str:
        """Return what people call one of them."""
        return self.unit.name.lower()

    def at(self, now: float) -> Window:
        """Return the window around `now`."""
        zone = ZoneInfo(self.zone)
        # Worked out once a second at most: it costs some microseconds, and a batch asks for every rule.
        return _calendar(self.unit, zone, int(now))


@lru_cache(maxsize=256)
def _calendar(unit: Unit, zone: ZoneInfo, now: int) -> Window:
    today = datetime.fromtimestamp(now, UTC).astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    match unit:
        case Unit.WEEK:
            first = today - timedelta(days=today.weekday())
            after = first + timedelta(days=7)
        case Unit.MONTH:
            first = today.replace(day=1)
            after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
        case Unit.YEAR:
            first = today.replace(month=1, day=1)
            after = first.replace(year=first.year + 1)
        case _:
            first, after = today, today + timedelta(days=1)
    # Arithmetic above is on the wall clock of the zone; the offset of each end is looked up here.
    return Window(int(first.timestamp()), int(after.timestamp()))
