from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ratelimit.limits import Unit, Window, Windows


@pytest.mark.parametrize(
    ("unit", "start"),
    [
        (Unit.SECOND, 1_000_000),
        (Unit.MINUTE, 999_960),
        (Unit.HOUR, 997_200),
        (Unit.DAY, 950_400),
        (Unit.WEEK, 604_800),
        (Unit.MONTH, 0),
        (Unit.YEAR, 0),
    ],
    ids=lambda value: value.name if isinstance(value, Unit) else "",
)
def test_windows_are_counted_from_the_epoch(unit: Unit, start: int) -> None:
    window = Windows().at(unit, 1_000_000.9)

    assert window == Window(start, start + unit.seconds)


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        (datetime(2026, 2, 14, 12, 30, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),
        (datetime(2024, 2, 29, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        (
            datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC),
            datetime(2026, 12, 1, tzinfo=UTC),
            datetime(2027, 1, 1, tzinfo=UTC),
        ),
    ],
    ids=["february", "leap-day", "year-end"],
)
def test_a_calendar_month_begins_on_its_first_day_in_utc(now: datetime, start: datetime, end: datetime) -> None:
    window = Windows(calendar_month=True).at(Unit.MONTH, now.timestamp())

    assert window == Window(int(start.timestamp()), int(end.timestamp()))


def test_calendar_months_change_no_other_unit() -> None:
    now = 1_700_007_200.0

    assert Windows(calendar_month=True).at(Unit.DAY, now) == Windows().at(Unit.DAY, now)
