"""Fixed windows from the Unix epoch, and waiting for a good place in them."""

from __future__ import annotations

import re
import time

from serving.clock import Clock
from tests.conformance.suites import Scenario

SECONDS = {
    "SECOND": 1,
    "MINUTE": 60,
    "HOUR": 3600,
    "DAY": 86_400,
    "WEEK": 604_800,
    "MONTH": 30 * 86_400,
    "YEAR": 365 * 86_400,
}
HOUR_LEFT_MIN = 20
MINUTE_LEFT_MIN = 12


def left_seconds(unit: str, now: float) -> int:
    """Return the whole seconds to the end of the window of `unit` that `now` is in."""
    span = SECONDS[unit]
    return span - int(now) % span


def begin(unit: str, now: float) -> int:
    """Return the Unix time at which the window of `unit` began that `now` is in."""
    return int(now) - int(now) % SECONDS[unit]


def expand(text: str, now: float) -> str:
    """Replace `{hour}` and the like by the begin of the window."""
    units = "|".join(SECONDS).lower()
    return re.sub(rf"\{{({units})\}}", lambda found: str(begin(found[1].upper(), now)), text)


def wait_seconds(scenario: Scenario, now: float) -> float:
    """Return how long to wait so that no window which matters ends while the scenario runs."""
    hour_left, minute_left = 3600 - now % 3600, 60 - now % 60
    if hour_left < HOUR_LEFT_MIN:
        return hour_left
    if scenario.has_unit("minute") and minute_left < MINUTE_LEFT_MIN:
        return minute_left
    return 1 - now % 1 if scenario.has_unit("second") else 0.0


def sleep_until_next(unit: str, clock: Clock) -> None:
    now = clock.wall()
    time.sleep(left_seconds(unit, now) - now % 1)
