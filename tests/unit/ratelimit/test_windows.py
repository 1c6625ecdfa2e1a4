from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit.limits import Unit, Window
from ratelimit.windows import CALENDAR_UNITS, Calendar, Every

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo"]


def moment(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def hours(window: Window) -> float:
    return (window.end - window.start) / 3600


@pytest.mark.parametrize(("seconds", "now", "start"), [(30, 59, 30), (18_000, 18_000, 18_000), (7, 6, 0)])
def test_windows_of_one_length_are_counted_from_the_epoch(seconds: int, now: int, start: int) -> None:
    assert Every(seconds).at(now) == Window(start, start + seconds)
    assert Every(seconds).longest_seconds == seconds


@pytest.mark.parametrize(
    ("unit", "zone", "now", "first", "after"),
    [
        (Unit.MONTH, "Europe/Berlin", "2026-11-30T23:59:59", "2026-11-01", "2026-12-01"),
        (Unit.MONTH, "Europe/Berlin", "2026-12-31T12:00:00", "2026-12-01", "2027-01-01"),
        (Unit.MONTH, "America/New_York", "2024-02-29T00:00:00", "2024-02-01", "2024-03-01"),
        (Unit.WEEK, "Europe/Berlin", "2026-11-24T10:00:00", "2026-11-23", "2026-11-30"),
        (Unit.WEEK, "UTC", "2027-01-01T00:00:00", "2026-12-28", "2027-01-04"),
        (Unit.YEAR, "Asia/Kathmandu", "2024-12-31T23:00:00", "2024-01-01", "2025-01-01"),
        (Unit.DAY, "Asia/Kathmandu", "2026-06-01T00:00:00", "2026-06-01", "2026-06-02"),
    ],
)
def test_a_calendar_window_begins_at_midnight_of_its_zone(
    unit: Unit, zone: str, now: str, first: str, after: str
) -> None:
    window = Calendar(unit, zone).at(moment(now, zone))

    assert window == Window(moment(first, zone), moment(after, zone))


@pytest.mark.parametrize(
    ("zone", "day", "length"),
    [
        ("Europe/Berlin", "2026-03-29T12:00:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00:00", 25),
        ("Australia/Lord_Howe", "2026-04-05T12:00:00", 24.5),
        # Clocks skip midnight: the day begins at one.
        ("America/Sao_Paulo", "2018-11-04T12:00:00", 23),
        ("America/Sao_Paulo", "2018-02-17T12:00:00", 25),
    ],
)
def test_a_day_is_as_long_as_its_clocks_say(zone: str, day: str, length: float) -> None:
    assert hours(Calendar(Unit.DAY, zone).at(moment(day, zone))) == length


@given(
    now=st.integers(0, 4_000_000_000),
    unit=st.sampled_from(CALENDAR_UNITS),
    zone=st.sampled_from(ZONES),
)
def test_calendar_windows_tile_time(now: int, unit: Unit, zone: str) -> None:
    calendar = Calendar(unit, zone)
    window = calendar.at(now)

    assert window.start <= now < window.end
    assert calendar.at(window.start) == window
    assert calendar.at(window.end).start == window.end
    assert window.end - window.start <= calendar.longest_seconds


def test_a_window_has_one_name_for_each_zone() -> None:
    assert Calendar(Unit.MONTH, "Europe/Berlin").tag == "month@Europe/Berlin"
    assert Calendar(Unit.MONTH).at(datetime(2026, 2, 3, tzinfo=UTC).timestamp()) == Window(
        moment("2026-02-01"), moment("2026-03-01")
    )


@pytest.mark.parametrize(
    ("windowing", "words"),
    [
        (Every(18_000), "5 hours"),
        (Every(90), "90 seconds"),
        (Every(60), "minute"),
        (Every(7_200), "2 hours"),
        (Every(1_209_600), "2 weeks"),
        (Calendar(Unit.MONTH, "Europe/Berlin"), "month"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.tag,
)
def test_windows_have_the_name_that_people_give_them(windowing: Every | Calendar, words: str) -> None:
    assert windowing.words == words
