"""The only module that reads the time; everything else takes it as an argument."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of time, both in seconds."""

    def wall(self) -> float:
        """Return Unix time: what windows and expiry are counted from; may jump."""

    def steady(self) -> float:
        """Return a time that never goes back: what deadlines and durations are counted from."""


class SystemClock:
    """The machine's own clock."""

    def wall(self) -> float:
        """Return Unix time."""
        return time.time()  # noqa: TID251 - this is the one place

    def steady(self) -> float:
        """Return the time that asyncio's loops count by."""
        return time.monotonic()  # noqa: TID251 - this is the one place
