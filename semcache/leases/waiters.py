"""Who waits in this process for which key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from serving.clock import Clock


class Waiters:
    """Wakes those who wait for a key; looks by itself from time to time, in case nobody calls."""

    def __init__(self, clock: Clock, poll_interval_seconds: float) -> None:
        self._clock = clock
        self._poll_interval_seconds = poll_interval_seconds
        self._events: dict[tuple[str, str], set[asyncio.Event]] = {}
        self._is_stopped = False

    async def wait(self, group: str, key: str, timeout_seconds: float, look: Callable[[], Awaitable[float]]) -> bool:
        """Wait until `look` (seconds that the key is still held) says 0; return False if it did not in time."""
        deadline = self._clock.steady() + timeout_seconds
        # An event for each: whoever stops waiting takes away his own.
        event = asyncio.Event()
        events = self._events.setdefault((group, key), set())
        events.add(event)
        try:
            while not self._is_stopped:
                event.clear()
                # Looked at after the event is there: a release in between is heard.
                held_seconds = await look()
                left_seconds = deadline - self._clock.steady()
                if held_seconds <= 0:
                    return True
                if left_seconds <= 0:
                    return False
                pause_seconds = min(left_seconds, held_seconds, self._poll_interval_seconds)
                # Not wait_for: in Python 3.11 that forgets a cancellation which comes together with the release, and
                # a caller who has gone would go on to fetch.
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_seconds):
                        await event.wait()
            return False
        finally:
            events.discard(event)
            if not events:
                self._events.pop((group, key), None)

    def wake(self, group: str, key: str) -> None:
        """Have those who wait for a key look again."""
        for event in self._events.get((group, key), ()):
            event.set()

    def stop(self) -> None:
        """Let everybody go."""
        self._is_stopped = True
        for events in self._events.values():
            for event in events:
                event.set()
